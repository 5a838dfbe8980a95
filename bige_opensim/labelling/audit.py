"""Check fast labels: OpenSim solves a sample of the frames again, and the difference is kept beside the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.optimization_result import Solution
from bige_opensim.labelling.single_frames import solve_single_frames
from bige_opensim.osim.model import OsimModel
from bige_opensim.physics.effort_cost import USUAL, EffortCost

FEWEST_FRAMES = 10


def audit(
    folder: Path,
    model: OsimModel,
    model_file: str,
    whole: Prepared,
    solution: Solution,
    share: float,
    cost: EffortCost = USUAL,
) -> dict[str, Any]:
    """Solve a random sample of the frames by OpenSim's StaticOptimization under the same loads.

    `whole` is the recording, of which the solution may be a part: OpenSim differentiates it for itself. Returns the
    number of frames (`share` of them, at least ten), the root mean square and the largest difference of activations,
    and its muscle and time. The sample is drawn from the number of frames alone, so that it is repeatable.
    """
    frames = len(solution.time)
    count = min(frames, max(FEWEST_FRAMES, round(share * frames)))
    at = np.sort(np.random.default_rng(frames).choice(frames, count, replace=False))
    found, _ = solve_single_frames(folder, model, model_file, whole, solution.time[at], cost)
    difference = solution.activations[at] - found
    worst = np.unravel_index(int(np.abs(difference).argmax()), difference.shape)
    return {
        "frames": count,
        "rmse": float(np.sqrt((difference**2).mean())),
        "max": float(np.abs(difference).max()),
        "muscle": model.muscle_names[int(worst[1])],
        "time_s": float(solution.time[at][int(worst[0])]),
    }
