"""Edits of a recorded repetition, from the file to OpenSim's verdict and the report."""

import json
from pathlib import Path

import numpy as np
import pytest

import bige_opensim as bige
from bige_opensim.cli import app
from bige_opensim.guidance.edited import Edited
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import Objective
from bige_opensim.io.storage import write_coordinates
from bige_opensim.osim.model import load
from bige_opensim.workflows.edit import EditError, Window, read_repetition, with_value
from bige_opensim.workflows.simulated_motions import Simulator

DEEPER = """
name = "Three centimetres deeper, right knee below 107 degrees"
[[term]]
name = "depth"
quantity = "depth"
stat = "peak"
at_least = 0.35
hard = true
[[term]]
name = "vasti"
quantity = "activation"
of = ["vasmed_r", "vasmed_l"]
stat = "peak"
at_most = 0.9
hard = true
"""
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def objective(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("objective") / "deeper.toml"
    path.write_text(DEEPER, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def edited(objective: Path) -> Edited:
    session = bige.sample_session()
    return bige.edit(session.motion, model=session.model, objective=objective, repetition=1, strength={"soleus_*": 0.9})


def test_the_edit_meets_the_objective_by_a_change_of_some_degrees(edited: Edited) -> None:
    table = edited.to_frame()
    assert table.loc["depth", "recorded"] < 0.33
    assert table.loc["depth", "edited"] >= 0.35
    assert edited.satisfied == 1
    assert edited.record["edit"]["size"] < 6.0
    motion, recorded = edited.motions["motion_01"], edited.recorded
    for name in ("arm_flex_r", "elbow_flex_l"):
        assert motion[name] == pytest.approx(recorded[name], abs=1e-9)
    largest = np.abs(motion.values - recorded.values)[:, [motion.index(n) for n in ("knee_angle_r", "hip_flexion_l")]]
    assert 2.0 < np.rad2deg(largest.max()) < 25.0
    assert any("At the lowest point" in sentence and "lower" in sentence for sentence in edited.changes)


def test_opensim_confirms_the_edit_and_the_report_shows_before_and_after(edited: Edited, tmp_path: Path) -> None:
    out = edited.save(tmp_path / "edited")
    assert {p.name for p in out.iterdir()} >= {"motion_01.mot", "model.osim", "objective.toml", "recorded"}
    assert (out / "recorded/recorded.mot").is_file()
    (certificate,) = bige.validate(out, jobs=1)
    assert certificate.confirmed, certificate.reason
    depth, vasti = certificate.terms["depth"], certificate.terms["vasti"]
    assert depth.simulated == pytest.approx(depth.predicted, abs=1e-3)
    assert vasti.simulated == pytest.approx(vasti.predicted, abs=0.01)
    assert certificate.contact["foot_slide_mm"] < 12.0
    assert certificate.person["strength"] == {"soleus_*": 0.9}
    page = bige.report(out).read_text(encoding="utf-8")
    for words in ("What was changed", "As recorded", "Strength of soleus_*", edited.changes[0][:30]):
        assert words in page


def test_the_objective_of_a_dose_is_in_its_folder(objective: Path) -> None:
    asked = with_value(Objective.load(objective), "vasti", 0.3)
    term = next(t for t in asked.terms if t.name == "vasti")
    assert (term.low, term.high, term.hard) == (0.3, 0.3, True)
    with pytest.raises(ObjectiveError, match="no term is called 'vastus'; did you mean 'vasti'"):
        with_value(asked, "vastus", 0.3)


def test_a_series_has_a_folder_per_dose_and_one_table(objective: Path, tmp_path: Path) -> None:
    session, out = bige.sample_session(), tmp_path / "series"
    words = ["edit", session.motion, "--model", session.model, "--objective", objective, "--out", out,
             "--repetition", "1", "--sweep", "depth", "0.33", "0.34", "2", "--steps", "2"]  # fmt: skip
    assert app([str(w) for w in words], result_action="return_value") == 0
    table = (out / "doses.csv").read_text(encoding="utf-8").splitlines()
    assert table[0].startswith("folder,met,change,duration_s,depth,vasti")
    assert len(table) == 3
    for folder, value in (("dose_01", 0.33), ("dose_02", 0.34)):
        term = Objective.load(out / folder / "objective.toml").terms[0]
        assert (term.name, term.low, term.high, term.hard) == ("depth", value, value, True)
        record = json.loads((out / folder / "generation.json").read_text(encoding="utf-8"))
        assert record["edit"]["simulations"] == 2


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (Window(repetition=9), "repetition 9 of 4 squats; name one of them"),
        (Window(start=-3.0), "-3 s is not in the recording"),
        (Window(start=1.0, end=1.2), "0.20 s from 1.00 to 1.20 s; from 0.5 to 10 s are edited at once"),
    ],
)
def test_what_is_no_repetition_is_refused(objective: Path, window: Window, message: str) -> None:
    session = bige.sample_session()
    with pytest.raises(EditError, match=message):
        read_repetition(session.motion, Simulator(session.model, Objective.load(objective)), window)


def test_a_motion_that_fails_its_own_gates_is_refused(objective: Path, tmp_path: Path) -> None:
    session = bige.sample_session()
    motion = bige.sample_motion()
    shaken = motion.values.copy()
    shaken[:, motion.index("pelvis_tx")] += 0.05 * np.sin(9.0 * motion.time)
    path = tmp_path / "shaken.mot"
    write_coordinates(path, motion.with_values(shaken), rotational=load(session.model).rotational)
    simulator = Simulator(session.model, Objective.load(objective))
    with pytest.raises(EditError, match="the motion fails its own gates"):
        read_repetition(path, simulator, Window(repetition=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strength", "vas*=0"], "must be above 0"),
        (["--objective", "depp_squat"], "did you mean 'deep_squat'"),
        (
            ["--limit", "knee_angle_r=0..50", "--objective", "deep_squat"],
            "'knee flexion' .* is out of reach: knee_angle",
        ),
        (["--sweep", "depth", "0.2", "0.3", "1"], "at least two are needed"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(
    options: list[str], message: str, objective: Path, tmp_path: Path, capsys
):
    import re

    session = bige.sample_session()
    if "--objective" not in options:
        options = [*options, "--objective", str(objective)]
    words = ["edit", str(session.motion), "--model", str(session.model), "--out", str(tmp_path / "out"), *options]
    assert app(words, result_action="return_value") == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
