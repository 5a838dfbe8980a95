"""A model that OpenSim cannot read ends in one sentence that says why, and nothing else reaches the terminal."""

import re
import subprocess
import sys
from pathlib import Path

import opensim
import pytest

from bige_opensim.cli import app
from bige_opensim.doctor.repair_models import ModelRepairError, repair_model
from bige_opensim.labelling.label_trials import label_trials
from bige_opensim.labelling.outcome import FAILED
from bige_opensim.osim.model import ModelError, load


def arm(path: Path, muscle: str = "") -> Path:
    """A forearm with a Thelen muscle, whose XML may say more."""
    model = opensim.Model()
    body = opensim.Body("forearm", 1.0, opensim.Vec3(0), opensim.Inertia(1))
    elbow = opensim.PinJoint(
        "elbow", model.getGround(), opensim.Vec3(0), opensim.Vec3(0), body, opensim.Vec3(0, 1, 0), opensim.Vec3(0)
    )
    biceps = opensim.Thelen2003Muscle("biceps", 100, 0.1, 0.2, 0)
    biceps.addNewPathPoint("origin", model.getGround(), opensim.Vec3(0.05, 0, 0))
    biceps.addNewPathPoint("insertion", body, opensim.Vec3(0.05, 0.9, 0))
    model.addBody(body)
    model.addJoint(elbow)
    model.addForce(biceps)
    model.finalizeConnections()
    model.printToXML(str(path))
    text = path.read_text()
    if "<min_control>" in muscle:
        text = re.sub("<min_control>.*</min_control>", "", text)
    path.write_text(text.replace("</Thelen2003Muscle>", f"{muscle}</Thelen2003Muscle>"))
    return path


OLD = "<minimum_activation>0</minimum_activation><min_control>0</min_control>"


def deep(path: Path, levels: int = 100_000) -> Path:
    inside = "<a>" * levels + "</a>" * levels
    path.write_text(
        f'<?xml version="1.0"?><OpenSimDocument Version="40600"><Model name="x">{inside}</Model></OpenSimDocument>'
    )
    return path


def spoilt(path: Path, kind: str) -> Path:
    text = arm(path).read_text()
    path.write_text(
        {
            "cut": text[: len(text) // 2],
            "empty": "",
            "text": "hello",
            "socket": text.replace("/bodyset/forearm<", "/bodyset/nobody<"),
            "class": text.replace("Thelen2003Muscle", "UnheardOfMuscle"),
            "mass": text.replace("<mass>1</mass>", "<mass>-1</mass>"),
        }[kind]
    )
    return path


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("cut", "Error reading end tag"),
        ("empty", "Error document empty"),
        ("text", "Element"),
        ("socket", "could not find '/bodyset/nobody' of type PhysicalFrame"),
        ("class", "UnheardOfMuscle"),
        ("mass", "Body forearm has invalid mass properties. Body b?.*negative mass"),
    ],
)
def test_the_sentence_that_says_why_is_kept_and_log_lines_are_not_shown(tmp_path: Path, capfd, kind: str, why: str):
    with pytest.raises(ModelError, match=rf"{kind}\.osim: OpenSim cannot read this model: .*{why}") as caught:
        load(spoilt(tmp_path / f"{kind}.osim", kind))
    assert "\n" not in str(caught.value)
    assert ".cpp:" not in str(caught.value) or kind in ("cut", "empty", "text")
    said = capfd.readouterr()
    assert said.out + said.err == ""


def test_a_thelen_muscle_of_an_old_model_is_named_with_the_remedy(tmp_path: Path, capfd):
    with pytest.raises(ModelError, match=r"Minimum activation cannot be less than 0\.01.*biceps.*bige doctor .*--fix"):
        load(arm(tmp_path / "arm.osim", OLD))
    said = capfd.readouterr()
    assert said.out + said.err == ""


def test_doctor_repairs_thelen_muscles_of_old_models_in_a_copy(tmp_path: Path, capsys):
    path = arm(tmp_path / "arm.osim", OLD)
    before = path.read_bytes()
    app(["doctor", str(path), "--fix", str(tmp_path / "fixed")], result_action="return_value")
    said = capsys.readouterr().out
    assert "`bige doctor --fix DIR` writes a corrected copy." in said
    assert "OpenSim GUI" not in said
    assert path.read_bytes() == before
    repaired = load(tmp_path / "fixed" / "arm.osim")
    muscle = opensim.Thelen2003Muscle.safeDownCast(repaired.model.getMuscles().get("biceps"))
    assert (muscle.get_minimum_activation(), muscle.getMinControl()) == (0.01, 0.01)
    log = (tmp_path / "fixed" / "repairs.json").read_text()
    assert "minimum_activation was raised to 0.01 in 1 Thelen2003Muscle(s): biceps" in log
    assert "min_control was raised to 0.01 in 1 Thelen2003Muscle(s): biceps" in log


@pytest.mark.parametrize(
    ("muscle", "changes"),
    [
        ("", 0),
        ("<minimum_activation>0.02</minimum_activation><min_control>0.02</min_control>", 0),
        ("<min_control>0</min_control>", 1),
        ("<minimum_activation>0.05</minimum_activation><min_control>0.02</min_control>", 1),
        (OLD, 2),
    ],
)
def test_only_what_is_too_low_is_raised(tmp_path: Path, muscle: str, changes: int):
    path = arm(tmp_path / "arm.osim", muscle)
    target = tmp_path / "fixed" / "arm.osim"
    assert len(repair_model(path, target)) == changes
    assert target.exists() == bool(changes)
    if changes:
        model = load(target)
        fixed = model.model.getMuscles().get("biceps")
        assert fixed.getMinControl() >= opensim.Thelen2003Muscle.safeDownCast(fixed).get_minimum_activation() >= 0.01
        assert repair_model(target, tmp_path / "again.osim") == []


def test_a_model_that_is_no_xml_is_said_to_be_none(tmp_path: Path):
    with pytest.raises(ModelRepairError, match=r"cut\.osim: not XML"):
        repair_model(spoilt(tmp_path / "cut.osim", "cut"), tmp_path / "fixed.osim")


@pytest.mark.parametrize("levels", [250, 100_000])
def test_a_model_nested_without_end_is_named_and_ends_no_process(tmp_path: Path, levels: int):
    with pytest.raises(ModelError, match=rf"deep\.osim: its XML is nested {levels + 2} levels deep"):
        load(deep(tmp_path / "deep.osim", levels))


def test_a_label_says_which_file_is_nested_and_its_worker_lives(tmp_path: Path, request_of, fast):
    request = request_of(model=deep(tmp_path / "deep.osim"))
    (outcome,) = label_trials([request], fast, jobs=1)
    assert (outcome.status, outcome.tries) == (FAILED, 1)
    assert "deep.osim: its XML is nested" in outcome.reason


def test_every_command_that_reads_a_model_survives_one_nested_without_end(tmp_path: Path):
    path = deep(tmp_path / "deep.osim")
    command = [sys.executable, "-m", "bige_opensim.cli", "doctor", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "deep.osim" in done.stdout
    assert "nested" in done.stdout
