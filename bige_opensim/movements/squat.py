"""Squats: from standing over the deepest knee flexion to standing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from bige_opensim.motion import Motion
from bige_opensim.movements.body import LEGS, body_of
from bige_opensim.movements.events import Repetition, RepetitionError
from bige_opensim.movements.jump import flights
from bige_opensim.movements.lunge import APART
from bige_opensim.movements.recording import KNEES, Recording, evenly_sampled, knee_flexion, smoothed
from bige_opensim.movements.sit_to_stand import seated
from bige_opensim.movements.standing import between_standing, meets_standing

SMALLEST_RANGE = np.deg2rad(40.0)  # rad the knee must rise on both sides of the bottom
NEAR_STANDING = np.deg2rad(3.0)  # rad above the valley at which a repetition leaves it
BOTH_LEGS_SHARE = 0.5  # of the deeper knee's flexion that the other knee must reach
SAME_HEIGHT_M = 0.12  # largest change of the pelvis's height from start to end
LARGEST_TRAVEL_M = 0.2  # largest horizontal way of the pelvis from start to end
AROUND_FLIGHT_S = 0.2  # a flight as near as this makes it a jump's countermovement or landing


def squat_repetitions(recording: Recording) -> list[Repetition]:
    """Squats.

    1. Knee flexion φ(t) is the larger of both knees, positive in flexion, smoothed.
    2. Bottoms and standing valleys of φ are those of `standing.between_standing`, with at least 40° between them.
    3. A repetition starts where φ last leaves its standing by 3°, and ends where it first returns, plus 0.1 s each
       of what standing there is.
    4. Both knees must flex, and the pelvis come back to its height and place: steps and landings are no squats.
    5. Where the motion has the coordinates of pelvis, hips and ankles: the centre of mass stays over the feet (else
       somebody sits down), the feet are side by side at the bottom (else it is a lunge), and never in the air (else it
       is a jump).

    Raises
    ------
    RepetitionError
        If the motion has no knee angles.

    """
    motion = recording.q
    missing = [name for name in KNEES if name not in motion]
    if missing:
        raise RepetitionError(
            f"Squats are found by the knee angles; the motion lacks {', '.join(missing)}. "
            f"It has {', '.join(motion.names[:8])}."
        )
    pelvis = recording.root.translations
    even = evenly_sampled(motion.select([*KNEES, *(name for name in pelvis if name in motion)]))
    knees = smoothed(knee_flexion(even), even.rate_hz)
    flexion = knees.max(axis=1)
    possible = _on_both_feet(recording)
    found = []
    for left, bottom, right in between_standing(flexion, SMALLEST_RANGE):
        start = meets_standing(flexion, bottom, left, NEAR_STANDING, even.rate_hz)
        end = meets_standing(flexion, bottom, right, NEAR_STANDING, even.rate_hz)
        if not _both_legs_and_back(even, pelvis, knees, start, bottom, end):
            continue
        if possible is None or possible(start, bottom, end):
            begins, ends, deepest = even.time[[start, end, bottom]].tolist()
            found.append(Repetition(begins, ends, deepest, depth_deg=float(np.rad2deg(flexion[bottom]))))
    return found


def _both_legs_and_back(
    motion: Motion, pelvis: tuple[str, ...], knees: Float[np.ndarray, "time 2"], start: int, bottom: int, end: int
) -> bool:
    deeper, other = np.sort(knees[bottom] - np.minimum(knees[start], knees[end]))[::-1]
    if other < BOTH_LEGS_SHARE * deeper:
        return False
    if any(name not in motion for name in pelvis):
        return True
    way = motion.select(pelvis).values[end] - motion.select(pelvis).values[start]
    return bool(abs(way[1]) <= SAME_HEIGHT_M and np.hypot(way[0], way[2]) <= LARGEST_TRAVEL_M)


def _on_both_feet(recording: Recording) -> Callable[[int, int, int], bool] | None:
    """Whether the feet carry the body side by side between two samples, None where the motion does not say."""
    root = recording.root
    if any(name not in recording.q for name in (*root.rotations, *root.translations, *LEGS)):
        return None
    body = body_of(recording)
    apart = np.abs(np.diff(body.ahead(body.heels), axis=1)[:, 0])
    sits, in_the_air = seated(recording, body), flights(body, recording.vertical_force)
    margin = round(AROUND_FLIGHT_S * body.rate_hz)

    def carried(start: int, bottom: int, end: int) -> bool:
        flying = any(a <= end + margin and b >= start - margin for a, b in in_the_air)
        return bool(not flying and not sits[start : end + 1].any() and apart[bottom] < APART * body.leg_m)

    return carried
