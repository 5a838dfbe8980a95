"""Some frames of a trial by OpenSim's StaticOptimization, each on its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from bige_opensim.io.storage import write_storage
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_files import coordinate_states
from bige_opensim.labelling.muscle_capacity import muscle_weights
from bige_opensim.osim.model import OsimModel, reserve_optimal_forces
from bige_opensim.osim.static_optimization import solve_frames
from bige_opensim.osim.weighted_model import stretch, write_weighted
from bige_opensim.physics.effort_cost import USUAL, EffortCost

STATES = "single_frames_states.sto"
LOADS = "external_loads.xml"
WEIGHTED = "single_frames_weighted.osim"


def solve_single_frames(
    folder: Path,
    model: OsimModel,
    model_file: str,
    whole: Prepared,
    time: Float[np.ndarray, " frame"],
    cost: EffortCost = USUAL,
) -> tuple[Float[np.ndarray, "frame muscle"], dict[str, Float[np.ndarray, " frame"]]]:
    """Activations of muscles, and forces of reserves by coordinate, at some times (s, increasing) of a recording.

    `folder` holds the trial's external loads, where there are any; `model_file` is the path from it to the model with
    reserves; `whole` is the recording, which OpenSim differentiates for itself. Muscles with weights are solved in a
    model that has the weights in its forces (see `osim.weighted_model`); passive fibre forces OpenSim does not have.

    Raises
    ------
    StaticOptimizationError
        OpenSim stopped.

    """
    rows = np.abs(whole.q.time[:, None] - time).argmin(0)
    names, values = coordinate_states(model, whole)
    write_storage(folder / STATES, whole.q.time, values, names, in_degrees=False, title="States")
    loads, weight = folder / LOADS, muscle_weights(model, cost)
    solved, of_muscles, of_reserves = folder / model_file, np.ones(len(model.muscle_names)), 1.0
    if weight is not None:
        of_muscles, of_reserves = stretch(weight.numpy(), cost.exponent)
        solved = write_weighted(solved, model.muscle_names, weight.numpy(), cost.exponent, folder / WEIGHTED)
    try:
        found = solve_frames(
            solved,
            folder / STATES,
            rows,
            external_loads=loads if loads.is_file() else None,
            exponent=cost.exponent,
        )
    finally:
        (folder / STATES).unlink()
        (folder / WEIGHTED).unlink(missing_ok=True)
    active = {m: np.zeros(len(rows)) for m in model.muscles_off} | found
    optimal = reserve_optimal_forces(model)
    forces = {n: found[f"reserve_{n}"] / of_reserves * optimal[n] for n in optimal if f"reserve_{n}" in found}
    return np.column_stack([active[name] for name in model.muscle_names]) / of_muscles, forces
