"""Degrees or radians? What the numbers of a motion prove about the unit of its rotations."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float

Units = Literal["degrees", "radians"]

# All in the file's own unit.
SURELY_DEGREES = 6.0 * math.pi  # three turns, if radians
SEVERAL_SURELY_DEGREES, SEVERAL = 4.0, 3  # 229° if radians: no joint goes there, an unlucky shoulder angle may
WITHIN_RADIANS = 3.5  # 200° if radians; if degrees, the whole person is within 3.5° of the zero pose
STILL_RANGE = 0.2  # 11° if radians
SWAY_RANGE, SWAY_TRANSLATION_M = 1.0, 0.03  # quiet stance, if degrees


def unit_by_range(
    rotations: Float[np.ndarray, "time rotation"], translations: Float[np.ndarray, "time translation"]
) -> Units | None:
    """The unit that the numbers prove, or None where both are possible.

    Degrees: one rotation exceeds 6π, or at least three exceed 4.

    Radians: no rotation exceeds 3.5 and one ranges over more than 0.2. In degrees that would be a person within 3.5° of
    the zero pose at all times, who is not still. The exception is a person who could be standing quietly there: every
    rotation ranges over at most 1 and every translation (metres) over at most 3 cm; then the numbers prove nothing. A
    movement of the legs in radians moves the pelvis by more than that, and an arm that is raised turns by more than 1.
    """
    peaks, ranges = np.abs(rotations).max(axis=0), np.ptp(rotations, axis=0)
    if peaks.max() > SURELY_DEGREES or np.count_nonzero(peaks > SEVERAL_SURELY_DEGREES) >= SEVERAL:
        return "degrees"
    if peaks.max() > WITHIN_RADIANS or ranges.max() <= STILL_RANGE:
        return None
    in_place = translations.shape[1] > 0 and float(np.ptp(translations, axis=0).max()) <= SWAY_TRANSLATION_M
    return None if in_place and ranges.max() <= SWAY_RANGE else "radians"
