"""Check fast labels: OpenSim solves a sample of the frames again, and the difference is kept beside the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.solution import Solution
from bige_opensim.osim.model import OsimModel
from bige_opensim.osim.static_optimization import run_setup, write_setup

FEWEST_FRAMES = 10
NAME = "audit"


def audit(
    folder: Path, model: OsimModel, model_file: str, window: Prepared, solution: Solution, share: float
) -> dict[str, Any]:
    """Solve every k-th frame from a random first one by OpenSim's StaticOptimization under the same loads.

    k = 1 / share, but small enough for at least ten frames. Returns the frames' number, the root mean square and the
    largest difference of activations, and its muscle and time. The sample is random by its first frame, drawn from
    the trial's length alone, so that it is repeatable; scattered frames would each cost a run of the tool.
    """
    frames = window.q.frames
    every = max(1, min(round(1.0 / share), frames // FEWEST_FRAMES))
    first = int(np.random.default_rng(frames).integers(every))
    time = window.q.time
    setup = write_setup(
        folder,
        model_file=model_file,
        coordinates_file="coordinates.mot",
        external_loads_file="external_loads.xml" if (folder / "external_loads.xml").is_file() else None,
        start=float(time[first]),
        end=float(time[-1]),
        every=every,
        name=NAME,
    )
    result = run_setup(setup).activations
    setup.unlink()
    at = np.abs(time[:, None] - result.time[None]).argmin(0)
    difference = solution.activations[at] - result.select(model.muscle_names).values
    worst = np.unravel_index(int(np.abs(difference).argmax()), difference.shape)
    return {
        "frames": len(at),
        "rmse": float(np.sqrt((difference**2).mean())),
        "max": float(np.abs(difference).max()),
        "muscle": model.muscle_names[int(worst[1])],
        "time_s": float(result.time[int(worst[0])]),
    }
