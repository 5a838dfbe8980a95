"""Movements that leave standing and return to it: where they begin and end."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from scipy.signal import find_peaks

STANDING_SHARE = 0.3  # of the way from standing to the bottom: a valley above it is a bounce, not a stand
REACHED_SHARE = 0.1  # of that way above the valley's level counts as having come up
MARGIN_S = 0.1  # of standing kept at both ends


def between_standing(depth: Float[np.ndarray, " time"], smallest: float) -> list[tuple[int, int, int]]:
    """Samples (valley before, bottom, valley after) of every complete way down and up.

    Bottoms are maxima of `depth` that rise at least `smallest` on both sides; smaller bumps belong to what surrounds
    them. The lowest depth between two bottoms, or between a bottom and the file's end, is a standing valley if it lies
    in the lowest 30 % between standing (5th percentile of the depth) and the bottom. Bottoms without one between them
    are one (a bounce); a bottom without one towards the file's end is cut off and left out.
    """
    peaks = [int(at) for at in find_peaks(depth, prominence=smallest)[0]]
    if not peaks:
        return []
    standing = float(np.percentile(depth, 5))
    edges = [0, *peaks, len(depth) - 1]
    valleys = [a + int(np.argmin(depth[a : b + 1])) for a, b in pairwise(edges)]
    found, first, bottom = [], valleys[0], peaks[0]
    for peak, valley in zip(peaks, valleys[1:], strict=True):
        bottom = max(bottom, peak, key=lambda at: depth[at])
        limit = standing + STANDING_SHARE * (depth[bottom] - standing)
        if depth[valley] <= limit:
            if depth[first] <= limit:
                found.append((first, bottom, valley))
            first, bottom = valley, valley
    return found


def meets_standing(depth: Float[np.ndarray, " time"], bottom: int, valley: int, near: float, rate_hz: float) -> int:
    """Sample where the way from `bottom` comes within `near` of the standing towards `valley`, plus 0.1 s of it."""
    step = 1 if valley > bottom else -1
    outward = depth[bottom : valley + step : step] if valley + step >= 0 else depth[bottom::-1]
    level = outward[-1]
    reached = first(outward <= level + REACHED_SHARE * (outward[0] - level))
    lowest = reached + first(np.append(np.diff(outward[reached:]) >= 0, True))
    at = first(outward <= outward[lowest] + near)
    return bottom + step * min(at + round(MARGIN_S * rate_hz), len(outward) - 1)


def first(condition: Bool[np.ndarray, " time"]) -> int:
    """Sample at which a condition first holds, 0 if never."""
    return int(np.argmax(condition))


def runs(condition: Bool[np.ndarray, " time"], shortest: int = 1) -> list[tuple[int, int]]:
    """First and last sample of every stretch in which a condition holds for at least `shortest` samples."""
    padded = np.concatenate([[False], condition, [False]]).astype(int)
    change = np.diff(padded)
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1) - 1
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b - a + 1 >= shortest]
