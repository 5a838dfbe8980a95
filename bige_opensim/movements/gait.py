"""Gait: one repetition per stride, from a heel strike to the next of the same foot."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy.signal import find_peaks

from bige_opensim.movements.body import Body, body_of
from bige_opensim.movements.events import SIDE_NAMES, Repetition
from bige_opensim.movements.recording import Recording
from bige_opensim.movements.standing import runs

SMALLEST_SWING = 0.25  # of the leg's length, of a foot against the pelvis
WALKING_MS = 0.3  # mean speed from which the way of the pelvis tells the direction, slower its facing (treadmill)
STRIDE_S = (0.5, 2.5)
OPPOSITE_SHARE = (0.25, 0.75)  # of the stride at which the other heel strikes
SHORTEST_STEP = 0.1  # of the leg's length, by which a heel strikes in front of the other
LARGEST_DROP = 0.12  # of it, of the hips: deeper is a lunge
EDGE_SHARE = 0.05  # of the foot's swing: a file that begins or ends so near a strike begins or ends with it
LOADED_N = 50.0  # of a foot; labels hold forces low-passed at some 6 Hz, which pass this when raw ones pass 20 N
SAME_EVENT_S = 0.1


def gait_repetitions(recording: Recording) -> list[Repetition]:
    """Strides of both feet, right and left overlapping in time; events are toe-off and the other foot's strike.

    1. Heel strikes are maxima of the heel's coordinate relative to the pelvis along the direction of walking, toe-offs
       minima of the toes' (Zeni et al. 2008, doi:10.1016/j.gaitpost.2007.07.007, who take the sacrum; the pelvis's
       origin differs by a constant). The foot must swing by a quarter of the leg.
    2. Where a foot's force was measured, a strike or toe-off within 0.1 s of its passing 50 N is moved there.
    3. A stride lasts 0.5 to 2.5 s, contains one strike of the other foot between 25 and 75 % of it, and each heel
       strikes in front of the other: steps on the spot, squats and jumps have none. The hips stay up.
    4. Files are often cut at heel strikes: the file's first and last sample count as one where the foot is within 5 %
       of its swing of where it strikes otherwise, or at its foremost.

    Raises
    ------
    RepetitionError
        If the motion lacks coordinates of pelvis, hips, knees or ankles.

    """
    body = body_of(recording)
    along = _direction(body)
    heels = np.einsum("tsx,tx->ts", body.heels - body.pelvis[:, None], along)
    toes = np.einsum("tsx,tx->ts", body.toes - body.pelvis[:, None], along)
    strikes = [_peaks(heels[:, i], SMALLEST_SWING * body.leg_m) for i in range(2)]
    lifts = [_peaks(-toes[:, i], SMALLEST_SWING * body.leg_m) for i in range(2)]
    if recording.vertical_force is not None:
        for i, name in enumerate("rl"):
            force = np.interp(body.time, recording.vertical_force.time, recording.vertical_force[name])
            loaded = runs(force > LOADED_N)
            strikes[i] = _moved(strikes[i], [a for a, _ in loaded if a > 0], body)
            lifts[i] = _moved(lifts[i], [b for _, b in loaded if b < len(force) - 1], body)
    found = [
        stride
        for i in range(2)
        for pair in pairwise(strikes[i])
        if (stride := _stride(body, heels, pair, i, strikes[1 - i], lifts[i])) is not None
    ]
    return sorted(found, key=lambda stride: stride.start)


def _direction(body: Body) -> Float[np.ndarray, "time 3"]:
    way = (body.pelvis[-1] - body.pelvis[0]) * [1.0, 0.0, 1.0]
    if np.linalg.norm(way) < WALKING_MS * (body.time[-1] - body.time[0]):
        return body.forward
    return np.tile(way / np.linalg.norm(way), (len(body.time), 1))


def _peaks(signal: Float[np.ndarray, " time"], swing: float) -> list[int]:
    """Maxima that rise by `swing` on both sides, and file ends that come near the highest of them."""
    if np.ptp(signal) < swing:
        return []
    padded = np.concatenate([[signal.min()], signal, [signal.min()]])
    peaks = [int(at) - 1 for at in find_peaks(padded, prominence=swing)[0]]
    inner = [at for at in peaks if 0 < at < len(signal) - 1]
    highest = np.median(signal[inner]) if inner else signal.max()
    level = highest - EDGE_SHARE * np.ptp(signal)
    return [at for at in peaks if at in inner or signal[at] >= level]


def _moved(events: list[int], measured: list[int], body: Body) -> list[int]:
    """Events, each at the nearest measured one within 0.1 s."""
    if not measured:
        return events
    reach = SAME_EVENT_S * body.rate_hz
    nearest = [measured[int(np.argmin(np.abs(np.array(measured) - at)))] for at in events]
    return [m if abs(m - at) <= reach else at for at, m in zip(events, nearest, strict=True)]


def _stride(
    body: Body,
    heels: Float[np.ndarray, "time 2"],
    strikes: tuple[int, int],
    foot: int,
    other_strikes: list[int],
    lifts: list[int],
) -> Repetition | None:
    a, b = strikes
    start, end = float(body.time[a]), float(body.time[b])
    inside = [at for at in other_strikes if a < at < b]
    lifted = [at for at in lifts if a < at < b]
    if not STRIDE_S[0] <= end - start <= STRIDE_S[1] or len(inside) != 1 or len(lifted) != 1:
        return None
    step = SHORTEST_STEP * body.leg_m
    ahead = (heels[a, foot] - heels[a, 1 - foot], heels[inside[0], 1 - foot] - heels[inside[0], foot])
    share = (inside[0] - a) / (b - a)
    drop = np.ptp(body.hip_height[a : b + 1])
    if not OPPOSITE_SHARE[0] <= share <= OPPOSITE_SHARE[1] or min(ahead) < step or drop > LARGEST_DROP * body.leg_m:
        return None
    toe_off, opposite = float(body.time[lifted[0]]), float(body.time[inside[0]])
    events = sorted([("opposite_strike", opposite), ("toe_off", toe_off)], key=lambda event: event[1])
    depth = float(np.rad2deg(body.knees[a : b + 1].max()))
    return Repetition(start, end, toe_off, depth, SIDE_NAMES[foot], tuple(events))
