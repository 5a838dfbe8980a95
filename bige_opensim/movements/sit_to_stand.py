"""Sit-to-stand: from the first forward lean on the seat, over seat-off, to standing."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from bige_opensim.movements.body import Body, body_of
from bige_opensim.movements.events import Repetition
from bige_opensim.movements.recording import Recording
from bige_opensim.movements.standing import meets_standing, runs

BEHIND_HEELS_M = 0.03  # the centre of mass so far behind the heels cannot be carried by feet alone
NEAR_HEELS_M = 0.03  # less than this in front of them, and support is missing: neither
SMALLEST_FLEXION = np.deg2rad(50.0)  # of both knees while seated
SHORTEST_SITTING_S = 0.2
SMALLEST_RISE = 0.2  # of the leg's length, of the hips from seat to standing
UPRIGHT = np.deg2rad(40.0)  # knees of somebody who stands
NEAR_STANDING = np.deg2rad(3.0)
ONSET_SHARE = 0.2  # of the largest forward speed of the centre of mass before seat-off
LEFT_SEAT_SHARE = 0.03  # of the rise of the hips at which the seat is left
MARGIN_S = 0.1


def seated(recording: Recording, body: Body) -> Bool[np.ndarray, " time"]:
    """When somebody sits: knees flexed, and the centre of mass where the feet alone cannot carry it.

    A body at rest falls backwards unless its centre of mass projects into the base of support, whose hind edge are the
    heels. In squats it stays between heel and toes; on a seat it lies some 10 to 20 cm behind the heels. Missing
    support found in the dynamics counts where the centre of mass is at the heels at least.
    """
    missing = np.zeros(len(body.time), dtype=bool)
    for start, end in recording.missing_support:
        missing |= (body.time >= start) & (body.time <= end)
    off_balance = (body.balance < -BEHIND_HEELS_M) | (missing & (body.balance < NEAR_HEELS_M))
    resting = runs(off_balance & (body.knees.min(axis=1) > SMALLEST_FLEXION), round(SHORTEST_SITTING_S * body.rate_hz))
    sits = np.zeros(len(body.time), dtype=bool)
    for a, b in resting:
        sits[a : b + 1] = True
    return sits


def sit_to_stand_repetitions(recording: Recording) -> list[Repetition]:
    """Rises from a seat, with the phases of Schenkman et al. (1990, doi:10.1093/ptj/70.10.638).

    1. Sitting is that of `seated`, for at least 0.2 s.
    2. Standing is the least knee flexion until somebody sits again, or until the file's end: below 40°, with the hips
       raised by at least a fifth of the leg. A rise that the file cuts off is left out.
    3. Seat-off ends the flexion-momentum phase: the hips last are at the seat's height, that is within 3 % of the
       rise; the end of missing support replaces it where the dynamics found one.
    4. The repetition starts when the centre of mass begins to move forward on the seat (last below 20 % of its largest
       forward speed before seat-off), 0.1 s earlier if the recording has it, and ends as a squat does, where knee
       flexion comes within 3° of standing, plus 0.1 s. Sitting down is not part of it.

    Raises
    ------
    RepetitionError
        If the motion lacks coordinates of pelvis, hips, knees or ankles.

    """
    body = body_of(recording)
    flexion, height = body.knees.max(axis=1), body.hip_height
    forward = np.einsum("tx,tx->t", body.velocity(body.com), body.forward)
    sitting = runs(seated(recording, body))
    found = []
    sits_again = [*(a for a, _ in sitting), len(flexion) - 1][1:]
    for (begin, last), limit in zip(sitting, sits_again, strict=True):
        stand = last + int(np.argmin(flexion[last : limit + 1]))
        rise = height[stand] - height[last]
        if flexion[stand] > UPRIGHT or rise < SMALLEST_RISE * body.leg_m:
            continue
        off = _seat_off(recording, body, begin, last, stand)
        start = _onset(forward, begin, off, body.rate_hz)
        end = meets_standing(flexion, off, stand, NEAR_STANDING, body.rate_hz)
        depth = float(np.rad2deg(flexion[start : end + 1].max()))
        begins, seat_off, ends = body.time[[start, off, end]].tolist()
        found.append(Repetition(begins, ends, seat_off, depth, events=(("seat_off", seat_off),)))
    return found


def _seat_off(recording: Recording, body: Body, begin: int, last: int, stand: int) -> int:
    for _, end in recording.missing_support:
        if body.time[begin] < end < body.time[stand]:
            return int(np.searchsorted(body.time, end))
    height = body.hip_height
    seat = float(np.median(height[begin : last + 1]))
    above = height[begin:stand] > seat + LEFT_SEAT_SHARE * (height[stand] - seat)
    below = np.flatnonzero(~above)
    return begin + int(below[-1]) if len(below) else last


def _onset(forward: Float[np.ndarray, " time"], begin: int, off: int, rate_hz: float) -> int:
    before = forward[begin : off + 1]
    fastest = int(np.argmax(before))
    slow = np.flatnonzero(before[: fastest + 1] < ONSET_SHARE * before[fastest])
    at = int(slow[-1]) if len(slow) else int(np.argmin(before[: fastest + 1]))
    return begin + max(at - round(MARGIN_S * rate_hz), 0)
