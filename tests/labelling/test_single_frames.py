"""Single frames by OpenSim agree with whole runs, and stand in for frames that a run got wrong."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from small_models import biped, write_squat

from bige_opensim.io.storage import read_coordinates, read_storage
from bige_opensim.labelling import optimization
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.labelling.single_frames import FrameSolver
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.model import load
from bige_opensim.osim.static_optimization import run_setup

SETTINGS = LabelSettings(geometry="exact", audit=0.0, solver="opensim")


@pytest.fixture
def request_of_a_squat(tmp_path, monkeypatch) -> TrialRequest:
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))
    model = biped(tmp_path / "biped.osim")
    motion = write_squat(model, tmp_path / "squat.mot")
    return TrialRequest(model, motion, tmp_path / "label", tmp_path / "label", "s", "s", "squat")


def activations(request: TrialRequest) -> np.ndarray:
    return read_storage(request.out / "activations.sto").values


@pytest.mark.parametrize("wrong", [[0], [7], [3, 4, 20]], ids=["the first frame alone", "one frame", "several"])
def test_frames_that_a_run_got_wrong_are_solved_again(request_of_a_squat, monkeypatch, wrong):
    request = request_of_a_squat
    plain = label_trial(request, SETTINGS)
    expected = activations(request)
    assert plain["notes"] == []
    by_opensim = optimization._by_opensim

    def spoilt(*arguments):
        found, reserves = by_opensim(*arguments)
        found[wrong] = 0.5
        return found, reserves

    monkeypatch.setattr(optimization, "_by_opensim", spoilt)
    other = replace(request, out=request.out.with_name("again"), model_folder=request.out.with_name("again"))
    label = label_trial(other, SETTINGS)
    assert label["notes"] == [f"{len(wrong)} frame(s) were solved by OpenSim a second time, one by one."]
    assert label["frames_solved"] == label["frames"]
    assert_allclose(activations(other), expected, atol=1e-3)
    assert not list(other.out.glob("single_frames*"))


def test_the_audit_says_what_is_wrong_with_a_fast_label(request_of_a_squat):
    label = label_trial(request_of_a_squat, replace(SETTINGS, solver="fast", audit=0.02))
    assert label["audit"]["frames"] == 20
    assert label["audit"]["max"] < 0.02
    assert not list(request_of_a_squat.out.glob("single_frames*"))


def test_reserves_of_single_frames_are_forces_as_those_of_a_run(request_of_a_squat):
    """In N and N·m, also where a reserve's optimal force is not 1 (the residuals of the root have 1000)."""
    request = request_of_a_squat
    label_trial(request, SETTINGS)
    model = load(request.model)
    read = read_coordinates(request.out / "coordinates.mot", rotational=model.rotational)
    whole = Prepared.of(complete(model, read.motion), (0.0, ""), ())
    run = run_setup(request.out / "setup_static_optimization.xml")
    time = run.reserves.time[[3, 10]]
    model_file = "model_static_optimization.osim"
    _, forces = FrameSolver(request.out, model, model_file, whole).solve(time)
    assert set(forces) == set(run.reserves.names)
    for name, force in forces.items():
        assert_allclose(force, run.reserves[name][[3, 10]], atol=0.05)
    assert max(np.abs(forces[name]).max() for name in model.root_coordinates) > 0.1
