"""How far the fast solution of a setup is from OpenSim: a sample of its frames, solved by OpenSim again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from bige_opensim.io.analyze_setup import AnalyzeSetup
from bige_opensim.io.storage import write_storage
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_files import coordinate_states
from bige_opensim.osim.analyze_setup_model import SetupModel
from bige_opensim.osim.analyze_setup_motion import SetupMotion
from bige_opensim.osim.static_optimization import StaticOptimizationError, solve_frames
from bige_opensim.osim.weighted_model import stretch, write_weighted
from bige_opensim.physics.effort_cost import EffortCost

MOST_STARTS = 4
"""Frames from which OpenSim is asked to begin, where its muscles find no equilibrium at first."""


@dataclass(frozen=True)
class SetupAudit:
    """Difference to OpenSim over frames that both solved: of activations, or of controls where there is no muscle."""

    frames: int
    rmse: float
    largest: float
    worst: str
    time_s: float

    def __str__(self) -> str:
        return (
            f"OpenSim solved {self.frames} of the frames again: RMSE {self.rmse:.4f}, largest difference "
            f"{self.largest:.4f} ({self.worst} at {self.time_s:.3f} s)"
        )


@dataclass(frozen=True)
class OpenSimTask:
    """What OpenSim needs to solve frames of a setup again; `weight` (M,) of the muscles, files go into `folder`."""

    setup: AnalyzeSetup
    composed: SetupModel
    motion: SetupMotion
    cost: EffortCost
    weight: Float[np.ndarray, " muscle"]
    folder: Path


def compare(
    again: OpenSimTask, rows: Int[np.ndarray, " frame"], controls: pd.DataFrame, count: int
) -> SetupAudit | None:
    """Difference of controls to OpenSim's over `count` of the frames, drawn from their number alone; None without any.

    rows are the samples of the motion that belong to the rows of `controls`.

    Raises
    ------
    StaticOptimizationError
        OpenSim stopped wherever it was asked to begin.

    """
    if not len(rows):
        return None
    chosen = np.sort(np.random.default_rng(len(rows)).choice(len(rows), min(count, len(rows)), replace=False))
    found, chosen = _from_some_start(again, rows, chosen)
    compared = list(again.composed.muscles) or list(again.composed.columns)
    difference = controls[compared].to_numpy()[chosen] - found[compared].to_numpy()
    frame, column = np.unravel_index(int(np.abs(difference).argmax()), difference.shape)
    return SetupAudit(
        frames=len(chosen),
        rmse=float(np.sqrt((difference**2).mean())),
        largest=float(np.abs(difference).max()),
        worst=compared[int(column)],
        time_s=float(controls.index[chosen[int(frame)]]),
    )


def _from_some_start(
    again: OpenSimTask, rows: Int[np.ndarray, " frame"], chosen: Int[np.ndarray, " sample"]
) -> tuple[pd.DataFrame, Int[np.ndarray, " sample"]]:
    """OpenSim's controls in the chosen frames, less those at the beginning in which it cannot begin.

    It asks muscles for the equilibrium of their fibres in the first frame, which static optimization then ignores, and
    gives up where there is none.
    """
    for _ in range(min(MOST_STARTS, len(chosen)) - 1):
        try:
            return _by_opensim(again, rows[chosen]), chosen
        except StaticOptimizationError:
            chosen = chosen[1:]
    return _by_opensim(again, rows[chosen]), chosen


def _by_opensim(again: OpenSimTask, rows: Int[np.ndarray, " frame"]) -> pd.DataFrame:
    model, composed, motion, exponent = again.composed.model, again.composed, again.motion, again.cost.exponent
    names, values = coordinate_states(model, Prepared(motion.q, motion.qd, motion.qdd, (0.0, ""), ()))
    states = again.folder / "states.sto"
    write_storage(states, motion.q.time, values, names, in_degrees=False, title="States")
    file, of_muscles, of_others = model.path, np.ones(len(composed.muscles)), 1.0
    if again.cost.weighted:
        file = write_weighted(file, composed.muscles, again.weight, exponent, again.folder / "weighted.osim")
        of_muscles, of_others = stretch(again.weight, exponent)
    found = solve_frames(
        file,
        states,
        rows,
        external_loads=again.setup.external_loads,
        exponent=exponent,
        muscle_physiology=again.setup.muscle_physiology,
    )
    table = pd.DataFrame(found)
    table[list(composed.muscles)] /= of_muscles
    table[[a.name for a in composed.actuators]] /= of_others
    return table
