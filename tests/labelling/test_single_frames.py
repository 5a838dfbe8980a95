"""Single frames by OpenSim agree with whole runs, and stand in for frames that a run got wrong."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from small_models import biped, write_squat

from bige_opensim.io.storage import read_storage
from bige_opensim.labelling import optimization
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.request import LabelSettings, TrialRequest

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
    assert label["audit"]["frames"] == 10
    assert label["audit"]["max"] < 0.02
    assert not list(request_of_a_squat.out.glob("single_frames*"))
