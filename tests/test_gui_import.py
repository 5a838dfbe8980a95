"""What the OpenSim GUI does when a motion is loaded: Storage, a coordinate column, degrees to radians, then states."""

from pathlib import Path

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose
from recordings import MODELS, motion_path
from small_models import biped, write_squat

from bige_opensim.io.storage import read_storage
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.request import LabelSettings, TrialRequest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))


def imported(model_path: Path, file: Path) -> tuple[opensim.Model, opensim.Storage, opensim.Storage]:
    """The model, the file as the GUI reads it, and the states that it makes of the file."""
    model = opensim.Model(str(model_path))
    model.initSystem()
    storage = opensim.Storage(str(file))
    if storage.isInDegrees():
        model.getSimbodyEngine().convertDegreesToRadians(storage)
    states = opensim.Storage()
    model.formStateStorage(storage, states, False)
    return model, storage, states


def column(storage: opensim.Storage, label: str) -> np.ndarray:
    values = opensim.ArrayDouble()
    storage.getDataColumn(label, values)
    return np.array([values.get(i) for i in range(values.getSize())])


def labels(storage: opensim.Storage) -> list[str]:
    names = storage.getColumnLabels()
    return [names.get(i) for i in range(names.getSize())]


def check_import(model_path: Path, out: Path) -> None:
    model, storage, states = imported(model_path, out / "states.sto")
    coordinates = model.getCoordinateSet()
    found = [coordinates.get(i) for i in range(coordinates.getSize())]
    paths = [f"{c.getAbsolutePathString()}/value" for c in found]
    assert set(paths) <= set(labels(storage))
    expected = read_storage(out / "states.sto")
    assert states.getSize() == len(expected.time)
    for path in paths:
        assert_allclose(column(states, path), expected.values[:, expected.names.index(path)], atol=1e-9)
    muscles = model.getMuscles()
    peaks = []
    for i in range(muscles.getSize()):
        path = f"{muscles.get(i).getAbsolutePathString()}/activation"
        activation = column(states, path)
        assert_allclose(activation, expected.values[:, expected.names.index(path)], atol=1e-9)
        assert (activation > 0).all()
        peaks.append(activation.max())
    assert max(peaks) > 0.1
    time = opensim.ArrayDouble()
    states.getTimeColumn(time)
    assert_allclose([time.get(i) for i in range(time.getSize())], expected.time)


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
