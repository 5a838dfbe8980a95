"""The surrogate's word on a motion: intervals, what is outside, files; and the network that comes with the package."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import biped

import bige_opensim as bige
from bige_opensim.built_in import BUILT_IN, MODEL, built_in, built_in_network
from bige_opensim.cli import app
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.io.storage import read_storage
from bige_opensim.learning.checkpoint import CheckpointError, load_surrogate, read_config
from bige_opensim.movements.repetitions import Recording, find_repetitions
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import ModelError
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.skeleton import Skeleton

MOST_BYTES = 5_000_000


@pytest.fixture(scope="module")
def session(own_cache: None) -> bige.workflows.sample.SampleSession:
    return bige.sample_session()


@pytest.fixture(scope="module")
def squat(session) -> bige.Motion:
    """The first squat of the sample's person, who is synthetic and was not trained on."""
    motion = bige.read_motion(session.motion, model=session.model)
    first = find_repetitions(Recording(motion), movement="squat")[0]
    return motion.between(first.start, first.end)


def test_a_squat_of_a_new_person_is_predicted_as_labelled_and_is_not_outside(session, squat: bige.Motion) -> None:
    found = bige.predict(squat, model=session.model)
    assert found.outside == ()
    assert (found.lower <= found.activations).all(axis=None)
    assert (found.activations <= found.upper).all(axis=None)
    label = bige.label(squat, model=session.model, solver="fast")
    true = label.activations
    at = found.activations.index.to_numpy()
    for muscle in ("vasmed_r", "vaslat_l", "soleus_r", "glmax1_l"):
        expected = np.interp(at, true.index.to_numpy(), true[muscle].to_numpy())
        error = found.activations[muscle].to_numpy() - expected
        assert 1 - (error**2).mean() / expected.var() > 0.8, muscle


def test_a_motion_unlike_all_squats_and_a_body_unlike_all_bodies_are_said_to_be_outside(
    session, squat: bige.Motion
) -> None:
    hop = squat.values.copy()
    wave = 0.8 * np.sin(np.linspace(0, 12 * np.pi, len(hop)))
    for name in ("hip_flexion_r", "hip_rotation_r", "lumbar_bending"):
        hop[:, squat.index(name)] += wave
    found = bige.predict(squat.with_values(hop), model=session.model)
    assert [s for s in found.outside if s.startswith("The motion is")]
    network = bige.load_surrogate(BUILT_IN)
    known = subject_features(Skeleton(compile_skeleton(session.model)))
    giant = torch.tensor([[3.0 * known[n] for n in network.channels.features]])
    motion = torch.zeros(1, 101, len(network.channels.coordinates)), torch.ones(1)
    assert float(network.strangeness(*motion, giant)[1]) > 1.0


def test_predictions_are_written_and_the_command_shows_intervals(
    session, squat: bige.Motion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    span = ["--start", f"{squat.time[0]:.3f}", "--end", f"{squat.time[-1]:.3f}"]
    given = ["--model", str(session.model), "--motion", str(session.motion), "--out", str(tmp_path / "p")]
    assert app(["predict", *given, *span], result_action="return_value") == 0
    assert "90 % interval" in capsys.readouterr().out
    tables = [read_storage(tmp_path / "p" / f"activations{end}.sto") for end in ("_lower", "", "_upper")]
    assert (np.diff([t.values for t in tables], axis=0) >= -1e-9).all()
    record = json.loads((tmp_path / "p/prediction.json").read_text(encoding="utf-8"))
    assert record["interval"] == 0.9
    assert record["model_sha256"] == file_sha256(session.model)
    assert record["outside"] == []
    assert app(["predict", *given, "--surrogate", str(tmp_path)], result_action="return_value") == 1


def test_a_model_of_another_family_is_a_sentence(tmp_path: Path, squat: bige.Motion) -> None:
    with pytest.raises((ModelError, bige.motion.MotionError), match=r"does not have|lacks"):
        bige.predict(squat, model=biped(tmp_path / "biped.osim"))


def test_shipped_weights_are_what_their_card_says() -> None:
    folder = built_in_network("surrogate")
    card = (folder / "card.md").read_text(encoding="utf-8")
    stated = re.search(r"sha256 of weights\.safetensors:\s+`([0-9a-f]{64})`", card)
    assert stated
    assert stated[1] == file_sha256(folder / "weights.safetensors")
    assert "Apache-2.0" in card
    assert "PDDL" in card
    assert "python pipelines/built_in_surrogate.py" in card
    config = read_config(folder)
    assert f"Seed {config['training']['seed']}," in card
    assert config["provenance"]["data_sha256"][:16] in card
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MOST_BYTES
    network = load_surrogate(folder)
    assert network.calibrated
    assert set(network.channels.muscles) == set(Skeleton(compile_skeleton(built_in(MODEL))).tables.muscles)
    trained = re.search(r"\| trained on \| \d+ \| \d+: ([^|]+)\|", card)
    assert trained
    assert all(re.fullmatch(r"(ui_prmd_s|synth_)\d+", name.strip()) for name in trained[1].split(","))


def test_a_changed_shipped_weight_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "surrogate"
    folder.mkdir()
    for path in built_in_network("surrogate").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-5] ^= 1
    (folder / "weights.safetensors").write_bytes(bytes(weights))
    with pytest.raises(CheckpointError, match="is not the file that was written"):
        load_surrogate(folder)
