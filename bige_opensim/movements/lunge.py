"""Lunges: one foot well in front of the other, the hips lowered between them and raised again."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from bige_opensim.movements.body import Body, body_of
from bige_opensim.movements.events import SIDE_NAMES, Repetition
from bige_opensim.movements.recording import Recording, smoothed
from bige_opensim.movements.standing import between_standing, meets_standing

APART = 0.4  # of the leg's length between the heels, fore and aft
TOGETHER = 0.15  # of it: the feet are side by side
SMALLEST_DROP = 0.12  # of it, of the hips on both sides of the bottom; walking has a third of that
NEAR_STANDING = 0.01  # of it
SMALLEST_FLEXION = np.deg2rad(45.0)  # of the front knee at the bottom
LONGEST_STEP_S = 2.0  # between standing on two feet and the way down, or back
MARGIN_S = 0.1


def lunge_repetitions(recording: Recording) -> list[Repetition]:
    """Lunges forward, backward, walking, or on the spot (split squats); `side` is the front leg.

    1. Bottoms and standing valleys are those of the hips' height (`standing.between_standing`), at least 12 % of the
       leg apart.
    2. At the bottom the heels are at least 40 % of the leg apart along the way the pelvis faces, and the front knee is
       flexed by 45° or more. Heel to heel, a walking step is as long, but its hips stay up and its front knee straight.
    3. From there the repetition reaches to the standing on both sides as a squat's does, and further to where the feet
       are side by side (15 % of the leg) where they come to be so within 2 s: the step belongs to the lunge.

    Raises
    ------
    RepetitionError
        If the motion lacks coordinates of pelvis, hips, knees or ankles.

    """
    body = body_of(recording)
    heels = body.ahead(body.heels)
    separation = smoothed(heels[:, 0] - heels[:, 1], body.rate_hz) / body.leg_m
    drop = smoothed(body.hip_height.max() - body.hip_height, body.rate_hz) / body.leg_m
    ways = between_standing(drop, SMALLEST_DROP)
    found: list[Repetition] = []
    for left, bottom, right in ways:
        front = 0 if separation[bottom] > 0 else 1
        if abs(separation[bottom]) < APART or body.knees[bottom, front] < SMALLEST_FLEXION:
            continue
        start = meets_standing(drop, bottom, left, NEAR_STANDING, body.rate_hz)
        end = meets_standing(drop, bottom, right, NEAR_STANDING, body.rate_hz)
        earliest = int(np.searchsorted(body.time, found[-1].end)) if found else 0
        start = max(_to_side_by_side(body, separation, start, -1), min(earliest, start))
        following = [b for _, b, _ in ways if b > bottom]
        end = min(_to_side_by_side(body, separation, end, 1), (bottom + following[0]) // 2 if following else 10**9)
        begins, lowest, ends = body.time[[start, bottom, end]].tolist()
        depth = float(np.rad2deg(body.knees[start : end + 1].max()))
        found.append(Repetition(begins, ends, lowest, depth, SIDE_NAMES[front]))
    return found


def _to_side_by_side(body: Body, separation: Float[np.ndarray, " time"], at: int, step: int) -> int:
    """The nearest sample, earlier (step -1) or later (1), with the feet side by side, and 0.1 s more; else `at`."""
    outward = np.abs(separation[at::step])[: round(LONGEST_STEP_S * body.rate_hz) + 1]
    together = np.flatnonzero(outward < TOGETHER)
    if not len(together) or not together[0]:
        return at
    way = min(int(together[0]) + round(MARGIN_S * body.rate_hz), len(outward) - 1)
    return at + step * way
