"""Trials labelled with measured forces: from a force file, from sessions, and what becomes of unusable ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from small_models import squat

from bige_opensim.cli import app
from bige_opensim.io.opencap import find_sessions
from bige_opensim.io.storage import read_storage, write_coordinates, write_storage
from bige_opensim.labelling.label_trial import TrialError, label_trial
from bige_opensim.labelling.label_trials import requests_of
from bige_opensim.labelling.request import finished_label
from bige_opensim.osim.model import load


@pytest.fixture
def plates(request_of, fast, tmp_path) -> Path:
    """Estimated forces of a squat, written as two numbered plates that begin earlier and end later."""
    request = request_of(out=tmp_path / "labels" / "first")
    label_trial(request, replace(fast, cutoff_hz=0.0))
    table = read_storage(request.out / "grf.mot")
    names = [name.replace("_r_", "_2_").replace("_l_", "_1_") for name in table.names]
    around = (table.time[1] - table.time[0]) * np.arange(1, 21)
    time = np.concatenate([table.time[0] - around[::-1], table.time, table.time[-1] + around])
    values = np.pad(table.values, ((20, 20), (0, 0)), mode="edge")
    write_storage(tmp_path / "squat_forces.mot", time, values, names, in_degrees=False)
    return tmp_path / "squat_forces.mot"


def test_plates_without_sides_give_the_activations_of_the_forces_they_report(request_of, fast, tmp_path, plates):
    settings = replace(fast, cutoff_hz=0.0, grf="measured")
    request = request_of(forces=plates)
    label = label_trial(request, settings)
    assert (label["status"], label["grf"], label["whole_body_shift"]) == ("passed", "measured", None)
    assert {step["plate"]: step["foot"] for step in label["force_plates"]["steps"]} == {"2": "r", "1": "l"}
    assert label["force_plates"]["carried_kg"] == pytest.approx(70.0, rel=0.01)
    assert label["missing_support"] == []
    first = read_storage(tmp_path / "labels" / "first" / "activations.sto").values
    assert_allclose(read_storage(request.out / "activations.sto").values, first, atol=2e-3)
    assert finished_label(request, settings) == label
    table = read_storage(plates)
    write_storage(plates, table.time, 1.01 * table.values, table.names, in_degrees=False)
    assert finished_label(request, settings) is None


def test_a_force_file_that_is_not_asked_for_is_not_read(request_of, fast, tmp_path):
    (tmp_path / "broken.mot").write_text("nothing")
    request = request_of(forces=tmp_path / "broken.mot")
    label = label_trial(request, fast)
    assert (label["grf"], label["force_plates"]) == ("estimated", None)
    (tmp_path / "broken.mot").unlink()
    assert finished_label(request, fast) == label


def test_measured_forces_that_are_missing_or_broken_are_an_error_and_with_auto_an_estimate(request_of, fast, tmp_path):
    with pytest.raises(TrialError, match=r"this trial has no force file.*--grf auto"):
        label_trial(request_of(), replace(fast, grf="measured"))
    assert label_trial(request_of(), replace(fast, grf="auto"))["grf"] == "estimated"
    (tmp_path / "broken.mot").write_text("nothing")
    broken = request_of(forces=tmp_path / "broken.mot")
    with pytest.raises(TrialError, match="no 'endheader' line"):
        label_trial(broken, replace(fast, grf="measured"))
    label = label_trial(broken, replace(fast, grf="auto"))
    assert label["grf"] == "estimated"
    assert any("Forces were estimated, because" in note and "endheader" in note for note in label["notes"])


def test_both_feet_on_one_plate_are_refused(request_of, fast, tmp_path, plates):
    table = read_storage(plates)
    one = {name: table.values[:, k] for k, name in enumerate(table.names)}
    total = one["ground_force_1_vy"] + one["ground_force_2_vy"]
    names = [name for name in table.names if "_1_" in name]
    columns = [total if name.endswith("vy") else 0.5 * (one[name] + one[name.replace("_1_", "_2_")]) for name in names]
    write_storage(plates, table.time, np.stack(columns, axis=1), names, in_degrees=False)
    with pytest.raises(TrialError, match=r"both feet stand on plate '1' at once"):
        label_trial(request_of(forces=plates), replace(fast, grf="measured"))


def test_sitting_is_marked_in_the_label_and_left_out_of_its_second_verdict(request_of, fast, tmp_path):
    request = request_of("sit")
    motion = squat(request.model, frames=120)
    values = motion.values.copy()
    for side in "rl":
        hip, knee, ankle = (motion.index(f"{n}_{side}") for n in ("hip_flexion", "knee_angle", "ankle_angle"))
        values[:, [hip, knee]], values[:, ankle] = 1.4, 0.0
    still = motion.with_values(np.tile(values[:1], (120, 1)))
    write_coordinates(tmp_path / "sit.mot", still, rotational=load(request.model).rotational)
    label = label_trial(replace(request, motion=tmp_path / "sit.mot"), fast)
    (interval,) = label["missing_support"]
    assert interval["where"] == "behind the feet, near the pelvis: a seat?"
    assert label["status"] == "gates_failed"
    assert "No frame is left without them." in label["reason"]
    assert label["whole_body_shift"]["peak_mm"] < 1e-6


def test_trials_of_sessions_carry_their_force_files(tmp_path, request_of, plates):
    session = tmp_path / "sessions" / "s1"
    for folder in ("OpenSimData/Model", "OpenSimData/Kinematics", "ForceData"):
        (session / folder).mkdir(parents=True)
    request = request_of()
    for source, target in (
        (request.model, "OpenSimData/Model/biped_scaled.osim"),
        (request.motion, "OpenSimData/Kinematics/squat.mot"),
        (plates, "ForceData/squat_forces.mot"),
    ):
        (session / target).write_bytes(source.read_bytes())
    (found,), _ = requests_of(find_sessions([session]), tmp_path / "out")
    assert found.forces == session / "ForceData" / "squat_forces.mot"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--forces", "f.mot", "--grf", "none"], "forces and grf = 'none' contradict each other"),
        (["--forces", "f.mot", "--external-loads", "x.xml"], "both give measured forces"),
    ],
)
def test_contradicting_options_are_refused(capsys, tmp_path, words, message):
    command = ["label", "--model", "m.osim", "--motion", "q.mot", "--out", str(tmp_path / "out"), *words]
    with pytest.raises(SystemExit) as ended:
        app(command)
    assert ended.value.code not in (0, None)
    assert message in " ".join(capsys.readouterr().err.split())


def test_forces_are_for_a_single_motion(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        app(["label", str(tmp_path), "--out", str(tmp_path / "out"), "--forces", "f.mot"])
    assert ended.value.code not in (0, None)
    assert "are for a single motion" in " ".join(capsys.readouterr().err.split())
