"""Norms of made-up people, to hold motions against."""

import numpy as np

from bige_opensim.validation.norms import Channel, Performance, norms_of
from bige_opensim.validation.norms_files import Norms


def norms_around(knee_deg: float, force_bw: float = 0.5) -> Norms:
    """Five people whose knees bend by about so many degrees, twice each."""
    curve = np.sin(np.linspace(0.0, np.pi, 101))
    performances = []
    for k in range(5):
        for again in (-0.5, 0.5):
            channels = {
                f"knee_angle_{side}": Channel("degrees", (knee_deg + k - 2 + again) * curve, True) for side in "rl"
            } | {f"ground_force_{side}_vy": Channel("body weights", force_bw * curve, False) for side in "rl"}
            performances.append(Performance(f"s{k}", "squat", 2.0, channels))
    return Norms(norms_of(performances), (), {})
