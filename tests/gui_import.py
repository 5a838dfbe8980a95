"""What the OpenSim GUI does when a motion is loaded (File > Load Motion), by the same calls of OpenSim's library.

`MotionsDB.loadMotionFile` reads a `Storage`; `motionAssociationPossible` asks for a column that is a coordinate, by its
name or by that of its state; `addMotion` turns degrees to radians; the states are those of `Model.formStateStorage`.
"""

from pathlib import Path

import numpy as np
import opensim
from numpy.testing import assert_allclose

from bige_opensim.io.storage import read_storage


def imported(model_path: Path, file: Path) -> tuple[opensim.Model, opensim.Storage, opensim.Storage]:
    """The model, the file as the GUI reads it, and the states that it makes of the file."""
    model = opensim.Model(str(model_path))
    model.initSystem()
    storage = opensim.Storage(str(file))
    assert is_associated(model, storage), f"{file}: the GUI says 'Could not associate motion to current model.'"
    if storage.isInDegrees():
        model.getSimbodyEngine().convertDegreesToRadians(storage)
    states = opensim.Storage()
    model.formStateStorage(storage, states, False)
    return model, storage, states


def is_associated(model: opensim.Model, storage: opensim.Storage) -> bool:
    """Whether the GUI takes a file for a motion of the model."""
    coordinates = model.getCoordinateSet()
    for i in range(coordinates.getSize()):
        coordinate = coordinates.get(i)
        names = (coordinate.getName(), coordinate.getStateVariableNames().get(0))
        if any(storage.getStateIndex(name) != -1 for name in names):
            return True
    return False


def column(storage: opensim.Storage, label: str) -> np.ndarray:
    values = opensim.ArrayDouble()
    storage.getDataColumn(label, values)
    return np.array([values.get(i) for i in range(values.getSize())])


def labels(storage: opensim.Storage) -> list[str]:
    names = storage.getColumnLabels()
    return [names.get(i) for i in range(names.getSize())]


def times(storage: opensim.Storage) -> np.ndarray:
    found = opensim.ArrayDouble()
    storage.getTimeColumn(found)
    return np.array([found.get(i) for i in range(found.getSize())])


def check_import(model_path: Path, out: Path) -> None:
    """`states.sto` of a folder opens with the pose and the activations that it holds."""
    model, storage, states = imported(model_path, out / "states.sto")
    coordinates = model.getCoordinateSet()
    found = [coordinates.get(i) for i in range(coordinates.getSize())]
    paths = [f"{c.getAbsolutePathString()}/value" for c in found]
    assert set(paths) <= set(labels(storage))
    expected = read_storage(out / "states.sto")
    assert states.getSize() == len(expected.time)
    for path in paths:
        assert_allclose(column(states, path), expected.values[:, expected.names.index(path)], atol=1e-9)
    assert largest_activation(model, states, out / "states.sto") > 0.1
    assert_allclose(times(states), expected.time)


def largest_activation(model: opensim.Model, states: opensim.Storage, file: Path) -> float:
    """The largest activation that the GUI has; every muscle has that of the file, and none is at 0."""
    expected = read_storage(file)
    muscles = model.getMuscles()
    peaks = []
    for i in range(muscles.getSize()):
        path = f"{muscles.get(i).getAbsolutePathString()}/activation"
        column_of = {p: p for p in expected.names} | {f"/forceset/{p}": p for p in expected.names}
        activation = column(states, path)
        assert_allclose(activation, expected.values[:, expected.names.index(column_of[path])], atol=1e-9)
        assert (activation > 0).all()
        peaks.append(activation.max())
    return float(max(peaks))
