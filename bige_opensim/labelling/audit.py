"""Check fast labels: OpenSim solves a sample of the frames again, and the difference is kept beside the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bige_opensim.io.storage import write_storage
from bige_opensim.labelling.files import coordinate_states
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.solution import Solution
from bige_opensim.osim.model import OsimModel
from bige_opensim.osim.static_optimization import solve_frames

FEWEST_FRAMES = 10
STATES = "audit_states.sto"


def audit(
    folder: Path, model: OsimModel, model_file: str, whole: Prepared, solution: Solution, share: float
) -> dict[str, Any]:
    """Solve a random sample of the frames by OpenSim's StaticOptimization under the same loads.

    `whole` is the recording, of which the solution may be a part: OpenSim differentiates it for itself. Returns the
    number of frames (`share` of them, at least ten), the root mean square and the largest difference of activations,
    and its muscle and time. The sample is drawn from the number of frames alone, so that it is repeatable.
    """
    frames = len(solution.time)
    count = min(frames, max(FEWEST_FRAMES, round(share * frames)))
    at = np.sort(np.random.default_rng(frames).choice(frames, count, replace=False))
    names, values = coordinate_states(model, whole)
    write_storage(folder / STATES, whole.q.time, values, names, in_degrees=False, title="States")
    try:
        found = solve_frames(
            folder / model_file,
            folder / STATES,
            np.abs(whole.q.time[:, None] - solution.time[at]).argmin(0),
            external_loads=folder / "external_loads.xml" if (folder / "external_loads.xml").is_file() else None,
        )
    finally:
        (folder / STATES).unlink()
    difference = solution.activations[at] - found.select(model.muscle_names).values
    worst = np.unravel_index(int(np.abs(difference).argmax()), difference.shape)
    return {
        "frames": count,
        "rmse": float(np.sqrt((difference**2).mean())),
        "max": float(np.abs(difference).max()),
        "muscle": model.muscle_names[int(worst[1])],
        "time_s": float(solution.time[at][int(worst[0])]),
    }
