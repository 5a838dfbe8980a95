"""The files of a labelled trial that people and programs open (`label.json`, activations, states, moments)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bige_opensim.io.storage import write_storage
from bige_opensim.osim.model import OsimModel

if TYPE_CHECKING:
    from bige_opensim.labelling.kinematics import Prepared
    from bige_opensim.labelling.trial import Solution


def write_files(folder: Path, model: OsimModel, window: Prepared, solution: Solution, label: dict[str, Any]) -> None:
    """Write activations.sto, states.sto, inverse_dynamics.sto and the GUI's motion, then label.json last."""
    time = solution.time
    write_storage(
        folder / "activations.sto", time, solution.activations, model.muscle_names, in_degrees=False, title="Activations"
    )
    names, values = _states(model, window, solution.activations)
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


def _states(model: OsimModel, window: Prepared, activations: np.ndarray) -> tuple[list[str], np.ndarray]:
    names, columns = [], []
    for c in model.coordinates:
        names += [f"/jointset/{c.joint}/{c.name}/value", f"/jointset/{c.joint}/{c.name}/speed"]
        columns += [window.q[c.name], window.qd[c.name]]
    names += [f"/forceset/{m}/activation" for m in model.muscle_names]
    return names, np.hstack([np.column_stack(columns), activations])
