"""Verdicts by the frames that decide are those by every frame, in OpenSim, and when the fast solver is wrong."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bige_opensim.guidance.objective import Objective
from bige_opensim.io.storage import read_storage
from bige_opensim.labelling import optimization
from bige_opensim.labelling.deciding_frames import FLOOR, audited_rows, rows_of
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.request import TrialRequest
from bige_opensim.osim.static_optimization import run_setup
from bige_opensim.physics.joint_problem import MusclesAndReserves
from bige_opensim.validation.certificate import Certificate, judge, read_simulated
from bige_opensim.validation.deciding_terms import ObjectiveAsks
from bige_opensim.validation.generated_folder import GeneratedFolder
from bige_opensim.validation.roundtrip import SETTINGS, validate

NAME = "motion_01"


@pytest.fixture(scope="module")
def every(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The motions of `finished`, every frame of them solved by OpenSim."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("every") / "motions"))
    for name in ("motion_01", "motion_02"):
        shutil.rmtree(folder / name)
    list(validate(folder, jobs=1, every_frame=True))
    return folder


def label_of(folder: Path, name: str = NAME) -> dict:
    return json.loads((folder / name / "label.json").read_text(encoding="utf-8"))


def activations(folder: Path) -> np.ndarray:
    return read_storage(folder / "activations.sto").values


@pytest.mark.parametrize("name", ["motion_01", "motion_02"])
def test_the_verdict_is_that_of_every_frame(finished: Path, every: Path, name: str):
    some, all_ = (GeneratedFolder(f).certify(name) for f in (finished, every))
    assert all_.shared_frames is None
    assert some.shared_frames["frames"] < some.shared_frames["of_frames"]
    assert some.confirmed is all_.confirmed
    for term, found in some.terms.items():
        assert found.satisfied is all_.terms[term].satisfied
        assert found.simulated == pytest.approx(all_.terms[term].simulated, abs=2e-6)
    for gate, found in some.gates.items():
        assert found["passed"] is all_.gates[gate]["passed"]
        assert found["value"] == pytest.approx(all_.gates[gate]["value"], abs=0.02 * found["limit"])
    assert some.motion_gates == all_.motion_gates


def test_the_files_hold_opensims_values_where_it_solved(finished: Path, every: Path):
    record = label_of(finished)["shared_frames"]
    rows = rows_of(record["opensim"])
    some, all_ = activations(finished / NAME), activations(every / NAME)
    assert_allclose(some[rows], all_[rows], atol=1e-6)
    assert np.abs(some - all_).max() <= record["margin"]
    assert np.abs(some - all_).max() > 1e-6, "the other frames are another solver's"
    drawn = audited_rows(len(some), label_of(finished)["provenance"]["motion_sha256"])
    assert set(drawn) <= set(rows)


def test_the_setup_beside_is_opensims_own_and_solves_every_frame(finished: Path, every: Path, tmp_path: Path):
    folder = Path(shutil.copytree(finished, tmp_path / "motions"))
    found = run_setup(folder / NAME / "setup_static_optimization.xml").activations
    assert_allclose(found.values, activations(every / NAME), atol=1e-6)


def test_certificates_say_whose_frames_they_are(finished: Path, every: Path):
    said = Certificate.from_dict(json.loads((finished / NAME / "certificate.json").read_text(encoding="utf-8")))
    assert said.shared_frames == label_of(finished)["shared_frames"]
    assert f"OpenSim solved {said.shared_frames['frames']} of 40 frames;" in " ".join(said.notes)
    assert "shared_frames" not in json.loads((every / NAME / "certificate.json").read_text(encoding="utf-8"))
    assert "frames" not in label_of(every)["provenance"]["fingerprint"]


def made(folder: Path) -> int:
    return (folder / NAME / "label.json").stat().st_mtime_ns


def test_a_label_of_every_frame_serves_both_ways_and_one_of_some_does_not(finished: Path, every: Path, tmp_path: Path):
    whole = Path(shutil.copytree(every, tmp_path / "every"))
    before = made(whole)
    list(validate(whole, jobs=1))
    assert made(whole) == before
    some = Path(shutil.copytree(finished, tmp_path / "some"))
    (some / "motion_02.mot").unlink()
    before = made(some)
    list(validate(some, jobs=1))
    assert made(some) == before
    list(validate(some, jobs=1, every_frame=True))
    assert made(some) != before
    assert "shared_frames" not in label_of(some)


def test_an_objective_that_asks_for_more_is_not_judged_by_frames_solved_for_another(folder: Path):
    (folder / "motion_02.mot").unlink()
    asked = (folder / "objective.toml").read_text(encoding="utf-8")
    solved = rows_of(label_of(folder)["shared_frames"]["opensim"])
    other = int(np.setdiff1d(np.arange(40), solved)[0])
    later = f'at = {other / 39}\nat_most = 0.9\nhard = true\nname = "another frame"\n'
    more = f'\n[[term]]\nquantity = "activation"\nof = ["vasmed_r"]\n{later}'
    (folder / "objective.toml").write_text(asked + more, encoding="utf-8")
    held = " ".join(GeneratedFolder(folder).hold(NAME).contradictions)
    assert "OpenSim has not solved all frames that decide another frame" in held
    (verdict,) = validate(folder, jobs=1)
    assert "OpenSim has not solved all frames" in verdict.again
    assert other in rows_of(label_of(folder)["shared_frames"]["opensim"])


class Injected:
    """A motion labelled in this process, with the fast solver or its data spoilt."""

    def __init__(self, finished: Path, scratch: Path) -> None:
        self.generated = GeneratedFolder(finished)
        self.scratch, self.objective = scratch, self.generated.objective

    def verdict(self, name: str, objective: Objective) -> tuple[bool, float, dict]:
        """Whether the peak is met, its value, and the label."""
        folder = self.generated.folder
        out = self.scratch / name
        request = TrialRequest(
            folder / "model.osim", folder / f"{NAME}.mot", out, out, "s", "s", NAME, asked=ObjectiveAsks(objective)
        )
        label = label_trial(request, SETTINGS)
        return *self.judged(out, objective), label

    def judged(self, trial: Path, objective: Objective) -> tuple[bool, float]:
        """Whether the peak is met, and its value, by the files of a trial."""
        _, evaluation = judge(objective, self.generated.skeleton, read_simulated(trial, self.generated.skeleton))
        name = "vastus medialis peak"
        return bool(evaluation.met[name][0]), float(evaluation.values[name][0])


@pytest.fixture
def injected(finished: Path, tmp_path: Path) -> Injected:
    return Injected(finished, tmp_path)


def narrow(objective: Objective, low: float, high: float) -> Objective:
    first = replace(objective.terms[0], low=low, high=high)
    return replace(objective, terms=(first, *objective.terms[1:]))


@pytest.mark.parametrize("delta", [-0.1, -0.012, 0.012, 0.1])
@pytest.mark.parametrize("where", ["at the peak", "away from it"])
def test_a_fast_solver_that_is_wrong_in_some_frames_flips_no_verdict(injected, every, monkeypatch, delta, where):
    table = read_storage(every / NAME / "activations.sto")
    muscles = [table.names.index(m) for m in ("vasmed_r", "vasmed_l")]
    top = float(table.values[:, muscles].max(0).min())
    at_peak = (table.values[:, muscles] > top - 0.06).any(axis=1)
    wrong = np.flatnonzero(at_peak if where == "at the peak" else ~at_peak)
    wrong = np.setdiff1d(wrong, audited_rows(len(table.time), label_of(every)["provenance"]["motion_sha256"]))
    solver = optimization.solve_with_loads

    def spoilt(tau, actuators, start=None):
        answer = solver(tau, actuators, start)
        x = answer.x.clone()
        x[np.ix_(wrong, muscles)] = (x[np.ix_(wrong, muscles)] + delta).clamp(0.01, 1.0)
        return replace(answer, x=x)

    monkeypatch.setattr(optimization, "solve_with_loads", spoilt)
    for k, (low, high) in enumerate([(top - 0.5 * abs(delta), 1.0), (top + 0.5 * abs(delta), 1.0)]):
        asked = narrow(injected.objective, low, high)
        met, value, label = injected.verdict(f"label_{k}", asked)
        expected = injected.judged(every / NAME, asked)
        assert met is expected[0]
        assert value == pytest.approx(expected[1], abs=2e-6)
        assert label["shared_frames"]["unproven"] == len(wrong)
        assert set(wrong) <= set(rows_of(label["shared_frames"]["opensim"]))


def test_data_that_are_not_opensims_are_noticed(injected, every, monkeypatch):
    """The fast solver takes every muscle for a fifth stronger than it is: its answers are proven, and of another."""
    by_fast_solver = optimization._by_fast_solver

    def stronger(model, actuators: MusclesAndReserves, net):
        return by_fast_solver(model, replace(actuators, muscle_columns=1.2 * actuators.muscle_columns), net)

    monkeypatch.setattr(optimization, "_by_fast_solver", stronger)
    top = min(label_of(every)["peaks"][m] for m in ("vasmed_r", "vasmed_l"))
    asked = narrow(injected.objective, top - 0.005, 1.0)
    met, value, label = injected.verdict("label", asked)
    assert (met, pytest.approx(value, abs=2e-6)) == injected.judged(every / NAME, asked)
    assert label["shared_frames"]["unproven"] == 0
    assert label["shared_frames"]["margin"] > 2 * FLOOR
