"""Cut a recording into repetitions, by the event rule of its movement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from scipy.signal import find_peaks, savgol_filter

from bige_opensim.motion import Motion

KNEES = ("knee_angle_r", "knee_angle_l")
PELVIS = ("pelvis_tx", "pelvis_ty", "pelvis_tz")

SMOOTHING_WINDOW_S = 21 / 60  # 21 samples at 60 Hz
SMOOTHING_ORDER = 3
SMALLEST_RANGE = np.deg2rad(40.0)  # rad the knee must rise on both sides of the bottom
STANDING_SHARE = 0.3  # of the way from standing to the bottom: a valley above it is a bounce, not a stand
REACHED_SHARE = 0.1  # of that way above the valley's level counts as having come up
NEAR_STANDING = np.deg2rad(3.0)  # rad above the valley at which a repetition leaves it
MARGIN_S = 0.1  # of standing kept at both ends
BOTH_LEGS_SHARE = 0.5  # of the deeper knee's flexion that the other knee must reach
SAME_HEIGHT_M = 0.12  # largest change of the pelvis's height from start to end
LARGEST_TRAVEL_M = 0.2  # largest horizontal way of the pelvis from start to end


class RepetitionError(ValueError):
    """A motion that the event rule cannot read, or a movement without a rule."""


@dataclass(frozen=True)
class Repetition:
    """One repetition: times in seconds of the recording, and the largest knee flexion in degrees."""

    start: float
    end: float
    bottom: float
    depth_deg: float

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start


EventRule = Callable[[Motion], list[Repetition]]
"""Finds the repetitions of one movement in a motion of coordinates (rad, m)."""


def find_repetitions(motion: Motion, *, movement: str = "squat") -> list[Repetition]:
    """The repetitions of `movement` in a recording, in order, never overlapping.

    Args:
        motion: Coordinates by OpenSim names, rad and m, at any rate and starting at any time.
        movement: A key of `EVENT_RULES`.

    Raises:
        RepetitionError: If the movement has no rule, or the motion lacks the coordinates that its rule reads.
    """
    return event_rule(movement)(motion)


def event_rule(movement: str) -> EventRule:
    """The rule of a movement.

    Raises:
        RepetitionError: If it has none.
    """
    try:
        return EVENT_RULES[movement]
    except KeyError:
        raise RepetitionError(
            f"There is no event rule for '{movement}'; there are rules for {', '.join(sorted(EVENT_RULES))}."
        ) from None


def squat_repetitions(motion: Motion) -> list[Repetition]:
    """Squats: from standing over the deepest knee flexion to standing.

    1. Knee flexion φ(t) is the larger of both knees, positive in flexion, smoothed by Savitzky and Golay's filter
       (1964, doi:10.1021/ac60214a047) of order 3 over 0.35 s, which is 21 samples at 60 Hz.
    2. Bottoms are maxima of φ that rise at least 40° on both sides; smaller bumps belong to what surrounds them.
    3. The lowest φ between two bottoms, or between a bottom and the file's end, is a standing valley if it lies in the
       lowest 30 % between standing (5th percentile of φ) and the bottom. Bottoms without one between them are one
       repetition (a bounce); a bottom without one towards the file's end is cut off and left out.
    4. A repetition starts where φ last leaves its standing by 3°, and ends where it first returns, plus 0.1 s each
       of what standing there is.
    5. Both knees must flex, and the pelvis come back to its height and place: steps and landings are no squats.

    Raises:
        RepetitionError: If the motion has no knee angles.
    """
    missing = [name for name in KNEES if name not in motion]
    if missing:
        raise RepetitionError(
            f"Squats are found by the knee angles; the motion lacks {', '.join(missing)}. "
            f"It has {', '.join(motion.names[:8])}."
        )
    even = _evenly_sampled(motion)
    knees = _smoothed(_flexion(even), even.rate_hz)
    flexion = knees.max(axis=1)
    found = []
    for left, bottom, right in _between_standing(flexion):
        start = _leaves_standing(flexion, bottom, left, even.rate_hz)
        end = _leaves_standing(flexion, bottom, right, even.rate_hz)
        if _is_squat(even, knees, start, bottom, end):
            begins, ends, deepest = even.time[[start, end, bottom]].tolist()
            found.append(Repetition(begins, ends, deepest, depth_deg=float(np.rad2deg(flexion[bottom]))))
    return found


EVENT_RULES: dict[str, EventRule] = {"squat": squat_repetitions}
"""Event rules by movement. Another movement is added by its own entry."""


def _evenly_sampled(motion: Motion) -> Motion:
    chosen = motion.select([*KNEES, *(name for name in PELVIS if name in motion)])
    grid = np.linspace(motion.time[0], motion.time[-1], round(motion.duration * motion.rate_hz) + 1)
    return chosen.resampled(grid)


def _flexion(motion: Motion) -> Float[np.ndarray, "time 2"]:
    """Knee angles, positive in flexion also where the model counts extension positive."""
    knees = motion.select(KNEES).values
    furthest = knees.flat[np.argmax(np.abs(knees))]
    return -knees if furthest < 0 else knees


def _smoothed(values: Float[np.ndarray, "time channel"], rate_hz: float) -> Float[np.ndarray, "time channel"]:
    window = max(2 * round((SMOOTHING_WINDOW_S * rate_hz - 1) / 2) + 1, SMOOTHING_ORDER + 2)
    longest = len(values) - 1 + len(values) % 2
    if longest <= SMOOTHING_ORDER:
        return values
    return savgol_filter(values, min(window, longest), SMOOTHING_ORDER, axis=0)


def _between_standing(flexion: Float[np.ndarray, " time"]) -> list[tuple[int, int, int]]:
    """Samples (valley before, bottom, valley after) of every complete repetition."""
    peaks = [int(at) for at in find_peaks(flexion, prominence=SMALLEST_RANGE)[0]]
    if not peaks:
        return []
    standing = float(np.percentile(flexion, 5))
    edges = [0, *peaks, len(flexion) - 1]
    valleys = [a + int(np.argmin(flexion[a : b + 1])) for a, b in pairwise(edges)]
    found, first, bottom = [], valleys[0], peaks[0]
    for peak, valley in zip(peaks, valleys[1:], strict=True):
        bottom = max(bottom, peak, key=lambda at: flexion[at])
        limit = standing + STANDING_SHARE * (flexion[bottom] - standing)
        if flexion[valley] <= limit:
            if flexion[first] <= limit:
                found.append((first, bottom, valley))
            first, bottom = valley, valley
    return found


def _leaves_standing(flexion: Float[np.ndarray, " time"], bottom: int, valley: int, rate_hz: float) -> int:
    """Sample where the repetition around `bottom` meets the standing on the side of `valley`."""
    step = 1 if valley > bottom else -1
    outward = flexion[bottom : valley + step : step] if valley + step >= 0 else flexion[bottom::-1]
    level = outward[-1]
    reached = _first(outward <= level + REACHED_SHARE * (outward[0] - level))
    lowest = reached + _first(np.append(np.diff(outward[reached:]) >= 0, True))
    near = _first(outward <= outward[lowest] + NEAR_STANDING)
    return bottom + step * min(near + round(MARGIN_S * rate_hz), len(outward) - 1)


def _first(condition: Bool[np.ndarray, " time"]) -> int:
    return int(np.argmax(condition))


def _is_squat(motion: Motion, knees: Float[np.ndarray, "time 2"], start: int, bottom: int, end: int) -> bool:
    deeper, other = np.sort(knees[bottom] - np.minimum(knees[start], knees[end]))[::-1]
    if other < BOTH_LEGS_SHARE * deeper:
        return False
    if any(name not in motion for name in PELVIS):
        return True
    way = motion.select(PELVIS).values[end] - motion.select(PELVIS).values[start]
    return bool(abs(way[1]) <= SAME_HEIGHT_M and np.hypot(way[0], way[2]) <= LARGEST_TRAVEL_M)
