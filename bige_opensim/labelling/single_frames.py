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
from bige_opensim.osim.static_optimization import FrameAnalysis
from bige_opensim.osim.weighted_model import stretch, write_weighted
from bige_opensim.physics.effort_cost import USUAL, EffortCost

STATES = "single_frames_states.sto"
LOADS = "external_loads.xml"
WEIGHTED = "single_frames_weighted.osim"


class FrameSolver:
    """Frames of a recording by OpenSim's StaticOptimization, in any order, a few at a time.

    Parameters
    ----------
    folder
        Holds the trial's external loads, where there are any.
    model, model_file
        The person's model, and the path from the folder to the model with reserves.
    whole
        The recording, which OpenSim differentiates for itself.
    cost
        Muscles with weights are solved in a model that has the weights in its forces (see `osim.weighted_model`);
        passive fibre forces OpenSim does not have.

    Raises
    ------
    StaticOptimizationError
        OpenSim cannot read what was written for it.

    """

    def __init__(
        self, folder: Path, model: OsimModel, model_file: str, whole: Prepared, cost: EffortCost = USUAL
    ) -> None:
        self.model, self.time = model, whole.q.time
        self._of_muscles, self._of_reserves = np.ones(len(model.muscle_names)), 1.0
        names, values = coordinate_states(model, whole)
        write_storage(folder / STATES, self.time, values, names, in_degrees=False, title="States")
        loads, weight, solved = folder / LOADS, muscle_weights(model, cost), folder / model_file
        if weight is not None:
            self._of_muscles, self._of_reserves = stretch(weight.numpy(), cost.exponent)
            solved = write_weighted(solved, model.muscle_names, weight.numpy(), cost.exponent, folder / WEIGHTED)
        try:
            self._frames = FrameAnalysis(
                solved,
                folder / STATES,
                external_loads=loads if loads.is_file() else None,
                exponent=cost.exponent,
            )
        finally:
            (folder / STATES).unlink()
            (folder / WEIGHTED).unlink(missing_ok=True)

    def solve(
        self, time: Float[np.ndarray, " frame"]
    ) -> tuple[Float[np.ndarray, "frame muscle"], dict[str, Float[np.ndarray, " frame"]]]:
        """Activations of muscles, and forces of reserves by coordinate, at times of the recording, s.

        Raises
        ------
        StaticOptimizationError
            OpenSim stopped.

        """
        rows = np.abs(self.time[:, None] - time).argmin(0)
        found = self._frames.solve(rows)
        active = {m: np.zeros(len(rows)) for m in self.model.muscles_off} | found
        optimal = reserve_optimal_forces(self.model)
        forces = {
            n: found[f"reserve_{n}"] / self._of_reserves * f for n, f in optimal.items() if f"reserve_{n}" in found
        }
        return np.column_stack([active[name] for name in self.model.muscle_names]) / self._of_muscles, forces
