"""The surrogate's word on a motion: intervals, what is outside, files; and the network that comes with the package."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import biped
from squat_like_repetitions import MUSCLES_80, squat_like_dataset, squat_like_mechanics

import bige_opensim as bige
from bige_opensim.built_in import BUILT_IN, MODEL, built_in, built_in_network
from bige_opensim.cli import app
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.io.storage import read_storage
from bige_opensim.labelling.person_model import person_mechanics
from bige_opensim.learning.checkpoint import CheckpointError, load_surrogate, read_config
from bige_opensim.learning.surrogate import SurrogateConfig
from bige_opensim.learning.training import SurrogateTraining, train_surrogate
from bige_opensim.motion import MotionError
from bige_opensim.movements.repetitions import Recording, find_repetitions
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import ModelError
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.workflows.sample import SampleSession

MOST_BYTES = 5_000_000
QUICK = SurrogateTraining(epochs=2, model=SurrogateConfig(width=16, layers=1, ground_width=16, ground_layers=1))


@pytest.fixture(scope="module")
def session(own_cache: None) -> SampleSession:
    return bige.sample_session()


@pytest.fixture(scope="module")
def squat(session) -> bige.Motion:
    """The first squat of the sample's person, who is synthetic and was not trained on."""
    motion = bige.read_motion(session.motion, model=session.model)
    first = find_repetitions(Recording(motion), movement="squat")[0]
    return motion.between(first.start, first.end)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A surrogate of the sample's channels, trained for a moment."""
    return train_surrogate(squat_like_dataset(MUSCLES_80), tmp_path_factory.mktemp("quick") / "surrogate", QUICK)


@pytest.fixture(scope="module")
def shipped() -> Path:
    """The surrogate that comes with the package."""
    try:
        return built_in_network("surrogate")
    except FileNotFoundError:
        pytest.skip("no surrogate is built in yet: make it with pipelines/built_in_surrogate.py")


def test_a_prediction_lies_within_its_interval_at_101_times_of_the_motion(
    session: SampleSession, squat: bige.Motion, quick: Path
) -> None:
    found = bige.predict(squat, model=session.model, surrogate=quick)
    assert list(found.activations) == list(MUSCLES_80)
    assert found.activations.index.to_numpy() == pytest.approx(np.linspace(squat.time[0], squat.time[-1], 101))
    for below, above in ((found.lower, found.activations), (found.activations, found.upper)):
        assert (below <= above).all(axis=None)
    assert ((found.upper - found.lower) > 1e-4).any(axis=None)
    assert found.lower.min(axis=None) >= 0.0
    assert found.upper.max(axis=None) <= 1.0


def test_a_prediction_shares_what_the_persons_own_model_carries(
    session: SampleSession, squat: bige.Motion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = squat_like_dataset(MUSCLES_80)
    network = load_surrogate(train_surrogate(data, tmp_path / "told", QUICK, mechanics=squat_like_mechanics(data)))
    skeleton = compile_skeleton(session.model)
    usual = torch.tensor([subject_features(Skeleton(skeleton))[n] for n in network.channels.features])
    even = squat.resampled(np.linspace(squat.time[0], squat.time[-1], 101)).select(network.channels.coordinates)
    frames = np.linspace(0, 100, len(network.poses)).astype(int)
    network.poses.copy_(torch.as_tensor(even.values[frames]))  # so that paths are fitted around the same poses
    found = bige.predict(squat, model=session.model, surrogate=network, cutoff_hz=0.0).activations
    given = torch.as_tensor(even.values)[None], torch.tensor([even.duration])
    person = person_mechanics(session.model, skeleton, even.names, even.values, 101)
    with torch.no_grad():
        again = network(*given, usual[None], mechanics=person(*given))[0]
    assert float(again.std()) > 0.01
    assert np.sqrt(np.mean((found - again.numpy()) ** 2)) < 0.005
    monkeypatch.setattr("bige_opensim.workflows.predict.stands", lambda skeleton: False)
    with pytest.raises(ModelError, match="predicts people who stand on two feet"):
        bige.predict(squat, model=session.model, surrogate=network)


def test_what_is_outside_is_said_with_the_channel_that_is_farthest(
    session: SampleSession, squat: bige.Motion, quick: Path
) -> None:
    usual = bige.predict(squat, model=session.model, surrogate=quick).record["distance"]["motion"]
    values = squat.values.copy()
    values[:, squat.index("lumbar_bending")] += 1.5 * np.sin(np.linspace(0, 12 * np.pi, len(values)))
    found = bige.predict(squat.with_values(values), model=session.model, surrogate=quick)
    assert found.record["distance"]["motion"] > max(1.0, 1.2 * usual)
    said = [s for s in found.outside if s.startswith("The motion is")]
    assert said
    farthest = re.search(r"of single coordinates (\w+) goes farthest", said[0])
    assert farthest is not None
    assert farthest[1] in squat.names
    assert list(found.outside) == found.record["outside"]


def test_whole_turns_of_an_arm_change_no_prediction(session: SampleSession, squat: bige.Motion, quick: Path) -> None:
    turned = squat.values.copy()
    turned[:, squat.index("arm_rot_r")] += 2 * np.pi
    one, other = (bige.predict(m, model=session.model, surrogate=quick) for m in (squat, squat.with_values(turned)))
    assert np.abs(one.activations - other.activations).max(axis=None) < 1e-4


def test_predictions_are_written_and_the_command_shows_intervals(
    session: SampleSession, squat: bige.Motion, tmp_path: Path, quick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    span = ["--start", f"{squat.time[0]:.3f}", "--end", f"{squat.time[-1]:.3f}"]
    given = [
        "--model",
        str(session.model),
        "--motion",
        str(session.motion),
        "--out",
        str(tmp_path / "p"),
        "--surrogate",
        str(quick),
    ]
    assert app(["predict", *given, *span], result_action="return_value") == 0
    assert "90 % interval" in capsys.readouterr().out
    tables = [read_storage(tmp_path / "p" / f"activations{end}.sto") for end in ("_lower", "", "_upper")]
    assert (np.diff([t.values for t in tables], axis=0) >= -1e-9).all()
    record = json.loads((tmp_path / "p/prediction.json").read_text(encoding="utf-8"))
    assert record["interval"] == 0.9
    assert record["model_sha256"] == file_sha256(session.model)
    assert app(["predict", *given[:-1], str(tmp_path)], result_action="return_value") == 1


def test_a_model_of_another_family_is_a_sentence(tmp_path: Path, squat: bige.Motion, quick: Path) -> None:
    with pytest.raises((ModelError, MotionError), match=r"does not have|lacks"):
        bige.predict(squat, model=biped(tmp_path / "biped.osim"), surrogate=quick)


def test_a_squat_of_a_new_person_is_predicted_as_labelled_and_is_not_outside(
    session: SampleSession, squat: bige.Motion, shipped: Path
) -> None:
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


def test_a_body_unlike_all_bodies_is_outside(session: SampleSession, shipped: Path) -> None:
    network = bige.load_surrogate(BUILT_IN)
    known = subject_features(Skeleton(compile_skeleton(session.model)))
    usual = torch.tensor([[known[n] for n in network.channels.features]])
    motion = torch.zeros(1, 101, len(network.channels.coordinates)), torch.ones(1)
    assert float(network.strangeness(*motion, usual)[1]) < 1.0
    assert float(network.strangeness(*motion, 3.0 * usual)[1]) > 1.0


def test_shipped_weights_are_what_their_card_says(shipped: Path) -> None:
    folder = shipped
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


def test_a_changed_shipped_weight_is_refused(tmp_path: Path, shipped: Path) -> None:
    folder = tmp_path / "surrogate"
    folder.mkdir()
    for path in shipped.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-5] ^= 1
    (folder / "weights.safetensors").write_bytes(bytes(weights))
    with pytest.raises(CheckpointError, match="is not the file that was written"):
        load_surrogate(folder)
