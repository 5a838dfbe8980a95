"""What labelling a trial comes down to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bige_opensim.labelling.joint_loads import JointLoads
from bige_opensim.physics.contact import GroundForces


@dataclass(frozen=True)
class OptimizedFrames:
    """Labels of T frames over M muscles and C independent coordinates, forces in N and N·m.

    `solved_again` counts frames that OpenSim solved a second time, see `optimization.solve`. `joint_loads` are None
    where the model has none of the joints. `shared` says which frames are OpenSim's, where the fast solver has solved
    the others (`deciding_frames`).
    """

    time: np.ndarray
    activations: np.ndarray
    reserves: np.ndarray
    net_moments: np.ndarray
    ground: GroundForces | None
    solved: np.ndarray
    solve_s: float
    solved_again: int = 0
    joint_loads: JointLoads | None = None
    shared: dict[str, Any] | None = None
