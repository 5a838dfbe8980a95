"""The files of a labelled trial that people and programs open, written from a label and read back into one."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bige_opensim.io.documents import DocumentError, read_json
from bige_opensim.io.external_loads import (
    GROUND_FORCES_TITLE,
    external_forces,
    ground_force_columns,
    write_external_loads,
)
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.io.partial_folders import whole_folder
from bige_opensim.io.storage import (
    ColumnsText,
    StorageTable,
    columns_text,
    coordinates_text,
    read_storage,
    write_columns,
    write_storage,
)
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label import Label, LabelChannels, LabelError
from bige_opensim.labelling.optimization_result import OptimizedFrames
from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel
from bige_opensim.osim.static_optimization import write_setup
from bige_opensim.physics.contact import FEET, GroundForces, Supports
from bige_opensim.physics.effort_cost import USUAL

LABEL = "label.json"
ACTIVATIONS, STATES, MOMENTS = "activations.sto", "states.sto", "inverse_dynamics.sto"
JOINT_LOADS = "joint_loads.sto"
BANDS = {
    "activations": "activations_bands.sto",
    "moments": "inverse_dynamics_bands.sto",
    "ground_forces": "grf_bands.sto",
    "joint_loads": "joint_loads_bands.sto",
}
COORDINATES, GROUND, LOADS = "coordinates.mot", "grf.mot", "external_loads.xml"
SETUP = "setup_static_optimization.xml"
MODEL_NAME = "model_static_optimization.osim"
ADJUSTED = "model_adjusted.osim"
LOADED = "model_loaded.osim"
FORMAT = "bige-label/1"


def write_inputs(
    folder: Path,
    recorded: np.ndarray,
    coordinates: ColumnsText,
    time: np.ndarray,
    ground: Motion | None,
    model_file: str,
    exponent: float,
) -> None:
    """Coordinates, ground forces and the setup file: everything OpenSim needs to repeat the optimization.

    `recorded` are the times of the coordinates, `time` those of the frames to solve, s.
    """
    write_columns(folder / COORDINATES, recorded, [coordinates], in_degrees=True)
    if ground is not None:
        path = folder / GROUND
        write_storage(path, ground.time, ground.values, ground.names, in_degrees=False, title=GROUND_FORCES_TITLE)
        write_external_loads(folder / LOADS, GROUND, external_forces(ground.names))
    write_setup(
        folder,
        model_file=model_file,
        coordinates_file=COORDINATES,
        external_loads_file=LOADS if ground is not None else None,
        start=float(time[0]),
        end=float(time[-1]),
        exponent=exponent,
    )


def ground_motion(time: np.ndarray, forces: GroundForces | None) -> Motion | None:
    """Ground forces of both feet as the columns of `grf.mot`."""
    if forces is None:
        return None
    feet = {side: _three(forces, i) for i, side in enumerate(FEET)}
    supports = forces.supports
    others = {} if supports is None else {name: _three(supports, i) for i, name in enumerate(supports.bodies)}
    names, values = ground_force_columns(time, feet, supports=others)
    return Motion(time, values, tuple(names))


def _three(forces: GroundForces | Supports, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return forces.force[:, i].numpy(), forces.point[:, i].numpy(), forces.torque[:, i].numpy()


def label_of(
    record: dict[str, Any],
    model: OsimModel,
    whole: Prepared,
    window: Prepared,
    solution: OptimizedFrames,
    bands: Mapping[str, Motion],
) -> Label:
    """What labelling found, in memory, without the model that static optimization runs on."""
    time = solution.time
    moments = tuple(f"{n}_{'moment' if n in model.rotational else 'force'}" for n in record["coordinates"])
    channels = LabelChannels(
        coordinates=whole.q,
        speeds=window.qd,
        activations=Motion(time, solution.activations, model.muscle_names),
        moments=Motion(time, solution.net_moments, moments),
        ground_forces=ground_motion(time, solution.ground),
        joint_loads=None if solution.joint_loads is None else solution.joint_loads.motion(time),
        bands=bands,
    )
    return Label(record, channels, joints_of(model), model.rotational, None)


@dataclass(frozen=True, eq=False)
class LabelText:
    """What several files of a label share, formatted once: activations, and coordinates in degrees, of its frames."""

    time: np.ndarray
    activations: ColumnsText
    coordinates: ColumnsText


def write_files(folder: Path, label: Label, model_file: str) -> LabelText:
    """Write activations, states, moments, joint loads and what OpenSim needs, then label.json last.

    `model_file` is the path from the folder, where it will be, to the model with the reserves.
    """
    found = label.channels
    time = found.activations.time
    coordinates = coordinates_text(found.coordinates, label.rotational, folder / COORDINATES)
    activations = columns_text(found.activations.values, found.activations.names, folder / ACTIVATIONS)
    if not (folder / SETUP).is_file():
        exponent = float(label.record.get("cost", {}).get("exponent", USUAL.exponent))
        write_inputs(folder, found.coordinates.time, coordinates, time, found.ground_forces, model_file, exponent)
    write_columns(folder / ACTIVATIONS, time, [activations], in_degrees=False, title="Activations")
    window = found.coordinates.between(float(found.speeds.time[0]), float(found.speeds.time[-1]))
    names, values = state_columns(label.joints, window, found.speeds)
    states = columns_text(values, names, folder / STATES)
    shown = activations.named(f"/forceset/{m}/activation" for m in activations.names)
    write_columns(folder / STATES, time, [states, shown], in_degrees=False, title="States")
    moments = found.moments
    path = folder / MOMENTS
    write_storage(
        path, time, moments.values, moments.names, in_degrees=False, title="Inverse Dynamics Generalized Forces"
    )
    if found.joint_loads is not None:
        loads = found.joint_loads
        write_storage(
            folder / JOINT_LOADS, time, loads.values, loads.names, in_degrees=False, title="Joint contact forces"
        )
    for name, bands in found.bands.items():
        title = f"Bands of {name.replace('_', ' ')}, 5, 50 and 95 %"
        write_storage(folder / BANDS[name], bands.time, bands.values, bands.names, in_degrees=False, title=title)
    (folder / LABEL).write_text(record_text(label.record), encoding="utf-8")
    return LabelText(time, activations, coordinates.at(np.searchsorted(found.coordinates.time, time - 1e-9)))


def record_text(record: Mapping[str, Any]) -> str:
    """What `label.json` holds, an entry a line."""
    return "{\n" + ",\n".join(f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in record.items()) + "\n}\n"


def save_label(label: Label, out: Path) -> Path:
    """Write a label's folder with the model in it, whole or not at all; errors as `Label.save`."""
    if label.model is None:
        raise LabelError(
            f"{out}: this label was read from a folder without the model that static optimization ran on, so the new "
            "folder would not be whole. Label the motion again."
        )
    with whole_folder(out, LABEL) as folder:
        (folder / MODEL_NAME).write_bytes(label.model)
        if label.adjusted_model is not None:
            (folder / ADJUSTED).write_bytes(label.adjusted_model)
        if label.loaded_model is not None:
            (folder / LOADED).write_bytes(label.loaded_model)
        write_files(folder, label, MODEL_NAME)
    return out


def load_label(folder: Path) -> Label:
    """Read a label's folder; errors as `Label.load`."""
    record = _record(folder)
    missing = [n for n in (ACTIVATIONS, STATES, MOMENTS, COORDINATES) if not (folder / n).is_file()]
    if missing:
        raise LabelError(f"{folder}: the label lacks {', '.join(missing)}; label the trial again.")
    states = read_storage(folder / STATES)
    joints, columns = _states_by_coordinate(states)
    recorded = read_storage(folder / COORDINATES)
    moments = _motion(read_storage(folder / MOMENTS))
    rotational = _rotational(record, recorded, states, columns, moments)
    turns = np.array([name in rotational for name in recorded.names])
    coordinates = Motion(recorded.time, np.where(turns, np.deg2rad(recorded.values), recorded.values), recorded.names)
    speeds = states.values[:, [columns[name, "speed"] for name in joints]]
    channels = LabelChannels(
        coordinates=coordinates,
        speeds=Motion(states.time, speeds, tuple(joints)),
        activations=_motion(read_storage(folder / ACTIVATIONS)),
        moments=moments,
        ground_forces=_motion(read_storage(folder / GROUND)) if (folder / GROUND).is_file() else None,
        joint_loads=_motion(read_storage(folder / JOINT_LOADS)) if (folder / JOINT_LOADS).is_file() else None,
        bands={n: _motion(read_storage(folder / f)) for n, f in BANDS.items() if (folder / f).is_file()},
    )
    return with_model(Label(record, channels, joints, rotational, None), folder)


def _record(folder: Path) -> dict[str, Any]:
    path = folder / LABEL
    if not path.is_file():
        raise LabelError(f"{folder}: no {LABEL}; name the folder of one labelled trial.")
    try:
        record = read_json(path)
    except DocumentError as error:
        raise LabelError(f"{error} Label the trial again.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT or "gates" not in record:
        raise LabelError(f"{path}: no label in format {FORMAT}; label the trial again.")
    return record


def _motion(table: StorageTable) -> Motion:
    return Motion(table.time, table.values, table.names)


def _states_by_coordinate(states: StorageTable) -> tuple[dict[str, str], dict[tuple[str, str], int]]:
    """The joint of every coordinate, and the column of its `value` and `speed`."""
    joints, columns = {}, {}
    for at, name in enumerate(states.names):
        parts = name.strip("/").split("/")
        if len(parts) == 4 and parts[0] == "jointset":
            joints[parts[2]] = parts[1]
            columns[parts[2], parts[3]] = at
    return joints, columns


def _rotational(
    record: Mapping[str, Any],
    recorded: StorageTable,
    states: StorageTable,
    columns: Mapping[tuple[str, str], int],
    moments: Motion,
) -> frozenset[str]:
    """Coordinates in degrees in `coordinates.mot`; labels of earlier versions do not say which.

    Independent ones have a moment in inverse dynamics; coupled ones are compared with `states.sto`, in rad and m.
    """
    if "rotational" in record:
        return frozenset(record["rotational"])
    independent = {name.rsplit("_", 1)[0]: name.endswith("_moment") for name in moments.names}
    rows = np.searchsorted(recorded.time, states.time - 1e-9)
    found = set()
    for at, name in enumerate(recorded.names):
        written, state = recorded.values[rows, at], states.values[:, columns[name, "value"]]
        in_degrees = np.abs(written - np.rad2deg(state)).max() < np.abs(written - state).max()
        if independent.get(name, bool(in_degrees)):
            found.add(name)
    return frozenset(found)


def with_model(label: Label, folder: Path) -> Label:
    """The label with the model that the setup of static optimization in a folder names, where it is there."""
    named = model_of(folder)
    if named is None:
        return label
    corrected = (label.record.get("residual_reduction") or {}).get("applied", False)
    return replace(
        label,
        model=_bytes(named, file_sha256(named)),
        adjusted_model=_model_beside(named, ADJUSTED) if corrected else None,
        loaded_model=_model_beside(named, LOADED) if label.record.get("load") else None,
    )


def _model_beside(named: Path, other: str) -> bytes | None:
    path = named.with_name(other)
    return _bytes(path, file_sha256(path)) if path.is_file() else None


def model_of(folder: Path) -> Path | None:
    """The model that the setup of static optimization in a label's folder names, where it is there."""
    path, named = folder / SETUP, folder / MODEL_NAME
    if path.is_file():
        try:
            named = folder / (ElementTree.parse(path).findtext(".//model_file") or MODEL_NAME).strip()
        except ElementTree.ParseError:
            return None
    return named if named.is_file() else None


@lru_cache(maxsize=8)
def _bytes(path: Path, sha256: str) -> bytes:
    """The same bytes for all labels of one model."""
    return path.read_bytes()


def joints_of(model: OsimModel) -> dict[str, str]:
    """The joint of every coordinate, in model order."""
    return {c.name: c.joint for c in model.coordinates}


def coordinate_states(model: OsimModel, motion: Prepared) -> tuple[list[str], np.ndarray]:
    """Values and speeds of all coordinates under OpenSim's names of states: names, and (T, states) in rad, m, s."""
    return state_columns(joints_of(model), motion.q, motion.qd)


def state_columns(joints: Mapping[str, str], q: Motion, qd: Motion) -> tuple[list[str], np.ndarray]:
    """Names of states, and (T, states) in rad, m, s."""
    names, columns = [], []
    for name, joint in joints.items():
        names += [f"/jointset/{joint}/{name}/value", f"/jointset/{joint}/{name}/speed"]
        columns += [q[name], qd[name]]
    return names, np.column_stack(columns)
