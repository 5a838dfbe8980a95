"""What the OpenSim GUI does when a motion is loaded: Storage, a coordinate column, degrees to radians, then states."""

import numpy as np
import opensim
import pytest
from gui_import import check_import, column, imported, is_associated, labels, times
from numpy.testing import assert_allclose
from predicted_motions import generated_folder
from recordings import MODELS, motion_path
from small_models import biped, write_squat

from bige_opensim.io.storage import read_storage
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.opencap_activations import place_in_sessions
from bige_opensim.labelling.request import LabelSettings, TrialRequest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))


def test_states_of_a_label_open_in_the_gui_with_pose_and_activations(tmp_path):
    model = biped(tmp_path / "biped.osim")
    motion = write_squat(model, tmp_path / "squat.mot")
    request = TrialRequest(model, motion, tmp_path / "out", tmp_path / "out", "s", "s", "squat")
    label_trial(request, LabelSettings(solver="fast", geometry="exact", audit=0.0))
    check_import(model, request.out)


def test_states_of_a_real_squat_open_in_the_gui_with_the_subjects_model(shared_data, tmp_path):
    model = shared_data / MODELS["phone01"]
    motion = motion_path(shared_data, "phone01", "squats-with-arm-raise")
    request = TrialRequest(model, motion, tmp_path / "out", tmp_path / "out", "s", "s", "squat")
    settings = LabelSettings(solver="fast", geometry="exact", audit=0.0, start=2.0, end=2.2)
    label_trial(request, settings)
    check_import(model, request.out)


def test_the_coordinates_of_a_label_open_in_the_gui_in_degrees(tmp_path):
    model_path = biped(tmp_path / "biped.osim")
    motion = write_squat(model_path, tmp_path / "squat.mot")
    request = TrialRequest(model_path, motion, tmp_path / "out", tmp_path / "out", "s", "s", "squat")
    label_trial(request, LabelSettings(solver="fast", geometry="exact", audit=0.0, cutoff_hz=0.0, consistency=None))
    _, storage, states = imported(model_path, request.out / "coordinates.mot")
    assert storage.getSize() == 60
    knee = column(states, "/jointset/knee_angle_r/knee_angle_r/value")
    recorded = read_storage(motion)
    assert_allclose(knee, np.deg2rad(recorded.values[:, recorded.names.index("knee_angle_r")]), atol=1e-9)


def test_activations_alone_are_what_the_gui_refuses(tmp_path):
    """The reason for `states.sto`: no column is a coordinate."""
    model_path = biped(tmp_path / "biped.osim")
    motion = write_squat(model_path, tmp_path / "squat.mot")
    request = TrialRequest(model_path, motion, tmp_path / "out", tmp_path / "out", "s", "s", "squat")
    label_trial(request, LabelSettings(solver="fast", geometry="exact", audit=0.0))
    model = opensim.Model(str(model_path))
    model.initSystem()
    assert not is_associated(model, opensim.Storage(str(request.out / "activations.sto")))
    assert is_associated(model, opensim.Storage(str(request.out / "states.sto")))


def test_the_file_with_opencaps_name_opens_with_activations(tmp_path):
    """`kinematics_activations_<trial>_so.mot` in a session's OpenSimData/Dynamics: degrees, `<muscle>/activation`."""
    session = tmp_path / "OpenCapData_s"
    model_path = biped(tmp_path / "biped.osim")
    motion = write_squat(model_path, tmp_path / "squat.mot")
    request = TrialRequest(
        model_path, motion, tmp_path / "out", tmp_path / "out", "s", "s", "squat", sessions=(session,)
    )
    label_trial(request, LabelSettings(solver="fast", geometry="exact", audit=0.0))
    (file,) = place_in_sessions(request)
    assert file == session / "OpenSimData/Dynamics/squat/kinematics_activations_squat_so.mot"
    model, _, states = imported(model_path, file)
    written = read_storage(file)
    knee = column(states, "/jointset/knee_angle_r/knee_angle_r/value")
    assert_allclose(knee, np.deg2rad(written.values[:, written.names.index("knee_angle_r")]), atol=1e-9)
    muscle = model.getMuscles().get(0)
    shown = column(states, f"{muscle.getAbsolutePathString()}/activation")
    assert_allclose(shown, written.values[:, written.names.index(f"{muscle.getName()}/activation")], atol=1e-9)


def test_every_file_of_a_folder_of_generated_motions_that_is_a_motion_opens(tmp_path):
    """The motion as it was written, in degrees, on the model beside it; its activations come from `bige export`."""
    folder = generated_folder(biped(tmp_path / "biped.osim"), tmp_path / "motions")
    for file in folder.glob("*.mot"):
        model, storage, states = imported(folder / "model.osim", file)
        written = read_storage(file)
        assert_allclose(times(states), written.time)
        for name in written.names:
            path = model.getCoordinateSet().get(name).getAbsolutePathString()
            turns = model.getCoordinateSet().get(name).getMotionType() == opensim.Coordinate.Rotational
            expected = written.values[:, written.names.index(name)]
            assert_allclose(column(states, f"{path}/value"), np.deg2rad(expected) if turns else expected, atol=1e-9)
        assert "pelvis_tx" in labels(storage)
