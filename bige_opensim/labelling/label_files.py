"""The files of a labelled trial that people and programs open (`label.json`, activations, states, moments)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bige_opensim.io.external_loads import ground_forces, write_external_loads, write_ground_forces
from bige_opensim.io.storage import write_coordinates, write_storage
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.optimization_result import Solution
from bige_opensim.osim.model import OsimModel
from bige_opensim.osim.static_optimization import write_setup
from bige_opensim.physics.contact import GroundForces


def write_inputs(
    folder: Path,
    model: OsimModel,
    whole: Prepared,
    window: Prepared,
    forces: GroundForces | None,
    model_file: str,
    exponent: float,
) -> None:
    """Coordinates, ground forces and the setup file: everything OpenSim needs to repeat the optimization."""
    write_coordinates(folder / "coordinates.mot", whole.q, rotational=model.rotational)
    if forces is not None:
        right, left = (tuple(part[:, i].numpy() for part in forces) for i in range(2))
        write_ground_forces(folder / "grf.mot", window.q.time, {"r": _three(right), "l": _three(left)})
        loads = ground_forces({"r": "calcn_r", "l": "calcn_l"})
        write_external_loads(folder / "external_loads.xml", "grf.mot", loads)
    write_setup(
        folder,
        model_file=model_file,
        coordinates_file="coordinates.mot",
        external_loads_file="external_loads.xml" if forces is not None else None,
        start=float(window.q.time[0]),
        end=float(window.q.time[-1]),
        exponent=exponent,
    )


def _three(parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    force, point, torque = parts
    return force, point, torque


def write_files(folder: Path, model: OsimModel, window: Prepared, solution: Solution, label: dict[str, Any]) -> None:
    """Write activations.sto, states.sto, inverse_dynamics.sto and the GUI's motion, then label.json last."""
    time = solution.time
    write_storage(
        folder / "activations.sto",
        time,
        solution.activations,
        model.muscle_names,
        in_degrees=False,
        title="Activations",
    )
    names, values = coordinate_states(model, window)
    names += [f"/forceset/{m}/activation" for m in model.muscle_names]
    values = np.hstack([values, solution.activations])
    write_storage(folder / "states.sto", time, values, names, in_degrees=False, title="States")
    moments = [f"{n}_{'moment' if n in model.rotational else 'force'}" for n in label["coordinates"]]
    write_storage(
        folder / "inverse_dynamics.sto",
        time,
        solution.net_moments,
        moments,
        in_degrees=False,
        title="Inverse Dynamics Generalized Forces",
    )
    (folder / "label.json").write_text(json.dumps(label, indent=1), encoding="utf-8")


def coordinate_states(model: OsimModel, motion: Prepared) -> tuple[list[str], np.ndarray]:
    """Values and speeds of all coordinates under OpenSim's names of states: names, and (T, states) in rad, m, s."""
    names, columns = [], []
    for c in model.coordinates:
        names += [f"/jointset/{c.joint}/{c.name}/value", f"/jointset/{c.joint}/{c.name}/speed"]
        columns += [motion.q[c.name], motion.qd[c.name]]
    return names, np.column_stack(columns)
