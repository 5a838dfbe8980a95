"""What an event rule reads: a motion, and what else is known about its recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.signal import savgol_filter

from bige_opensim.motion import Motion
from bige_opensim.movements.heading import Root

KNEES = ("knee_angle_r", "knee_angle_l")
SMOOTHING_WINDOW_S = 21 / 60  # 21 samples at 60 Hz
SMOOTHING_ORDER = 3
OPENSIM_ROOT = Root(
    ("pelvis_tilt", "pelvis_list", "pelvis_rotation"),
    "ZXY",
    (1.0, 1.0, 1.0),
    ("pelvis_tx", "pelvis_ty", "pelvis_tz"),
)


@dataclass(frozen=True, eq=False)
class Recording:
    """A motion, and what else is known about it.

    Attributes
    ----------
    q
        Coordinates by OpenSim names, rad and m, at any rate and starting at any time.
    root
        The joint to ground.
    lengths
        Of segments, m, by the names of `body.GENERIC_LENGTHS`; those missing or 0 are taken from there.
    vertical_force
        Measured vertical ground force of the right and the left foot, N, as channels `r` and `l`.
    missing_support
        Times (start, end), s, in which something beside the ground carried the body.

    """

    q: Motion
    root: Root = OPENSIM_ROOT
    lengths: Mapping[str, float] | None = None
    vertical_force: Motion | None = None
    missing_support: tuple[tuple[float, float], ...] = ()


def evenly_sampled(motion: Motion) -> Motion:
    """The motion on an even grid of about its median step."""
    grid = np.linspace(motion.time[0], motion.time[-1], round(motion.duration * motion.rate_hz) + 1)
    return motion.resampled(grid)


def knee_flexion(motion: Motion) -> Float[np.ndarray, "time 2"]:
    """Knee angles (rad), right and left, positive in flexion also where the model counts extension positive."""
    knees = motion.select(KNEES).values
    furthest = knees.flat[np.argmax(np.abs(knees))]
    return -knees if furthest < 0 else knees


def smoothed(values: np.ndarray, rate_hz: float) -> np.ndarray:
    """Savitzky and Golay's filter (1964, doi:10.1021/ac60214a047) over time: order 3, 0.35 s, 21 samples at 60 Hz."""
    window = max(2 * round((SMOOTHING_WINDOW_S * rate_hz - 1) / 2) + 1, SMOOTHING_ORDER + 2)
    longest = len(values) - 1 + len(values) % 2
    if longest <= SMOOTHING_ORDER:
        return values
    return savgol_filter(values, min(window, longest), SMOOTHING_ORDER, axis=0)
