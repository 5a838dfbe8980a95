"""Some frames of a trial by OpenSim's StaticOptimization, each on its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from bige_opensim.io.storage import write_storage
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_files import coordinate_states
from bige_opensim.osim.model import OsimModel
from bige_opensim.osim.static_optimization import solve_frames

STATES = "single_frames_states.sto"
LOADS = "external_loads.xml"


def solve_single_frames(
    folder: Path, model: OsimModel, model_file: str, whole: Prepared, time: Float[np.ndarray, " frame"]
) -> tuple[Float[np.ndarray, "frame muscle"], dict[str, Float[np.ndarray, " frame"]]]:
    """Activations of muscles, and forces of reserves by coordinate, at some times (s, increasing) of a recording.

    `folder` holds the trial's external loads, where there are any; `model_file` is the path from it to the model with
    reserves; `whole` is the recording, which OpenSim differentiates for itself.

    Raises
    ------
    StaticOptimizationError
        OpenSim stopped.

    """
    rows = np.abs(whole.q.time[:, None] - time).argmin(0)
    names, values = coordinate_states(model, whole)
    write_storage(folder / STATES, whole.q.time, values, names, in_degrees=False, title="States")
    loads = folder / LOADS
    try:
        found = solve_frames(
            folder / model_file, folder / STATES, rows, external_loads=loads if loads.is_file() else None
        )
    finally:
        (folder / STATES).unlink()
    active = {m: np.zeros(len(rows)) for m in model.muscles_off} | found
    return np.column_stack([active[name] for name in model.muscle_names]), {
        name: found[f"reserve_{name}"] for name in model.free_coordinates if f"reserve_{name}" in found
    }
