"""Movements in closed form: where hips and feet go is given, the legs follow by two-link inverse kinematics."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation

from bige_opensim.motion import Motion
from bige_opensim.movements.body import GENERIC_LENGTHS, HEEL, HIP

FEMUR, TIBIA = GENERIC_LENGTHS["femur_length_m"], GENERIC_LENGTHS["tibia_length_m"]
ANKLE_M = -HEEL[1]  # height of the ankle over the sole
STAND_M = 0.985 * (FEMUR + TIBIA) + ANKLE_M  # height of standing hips
GRAVITY = 9.81


def moving(
    time: np.ndarray,
    hip: np.ndarray,
    ankles: tuple[np.ndarray, np.ndarray],
    lean: np.ndarray | float = 0.0,
    pitch: tuple[np.ndarray | float, np.ndarray | float] = (0.0, 0.0),
    heading: float = 0.0,
) -> Motion:
    """Coordinates that put the hips at `hip` (time, 2: forward, up), the ankles likewise, and lean the pelvis forward.

    `pitch` raises the toes against the heels (rad); the whole motion is turned by `heading` about the vertical.
    """
    lean = np.broadcast_to(lean, time.shape)
    facing = Rotation.from_euler("Y", heading) * Rotation.from_rotvec(-lean[:, None] * np.array([0.0, 0.0, 1.0]))
    angles = np.unwrap(facing.as_euler("ZXY"), axis=0)
    q = dict(zip(("pelvis_tilt", "pelvis_list", "pelvis_rotation"), angles.T, strict=True))
    offset = np.stack(
        [np.cos(-lean) * HIP[0] - np.sin(-lean) * HIP[1], np.sin(-lean) * HIP[0] + np.cos(-lean) * HIP[1]], axis=1
    )
    pelvis = hip - offset
    q["pelvis_tx"], q["pelvis_tz"] = pelvis[:, 0] * np.cos(heading), -pelvis[:, 0] * np.sin(heading)
    q["pelvis_ty"] = pelvis[:, 1]
    for side, ankle, toes_up in zip("rl", ankles, pitch, strict=True):
        thigh, knee = _leg(ankle - hip)
        q[f"hip_flexion_{side}"] = thigh + lean
        q[f"knee_angle_{side}"] = knee
        q[f"ankle_angle_{side}"] = toes_up - (thigh - knee)
    return Motion(time, np.stack(list(q.values()), axis=1), tuple(q))


def _leg(way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle of the thigh from hanging and flexion of the knee, for ways from hip to ankle, the knee in front."""
    length = np.minimum(np.linalg.norm(way, axis=1), 0.9999 * (FEMUR + TIBIA))
    knee = np.pi - np.arccos((FEMUR**2 + TIBIA**2 - length**2) / (2 * FEMUR * TIBIA))
    at_hip = np.arccos((FEMUR**2 + length**2 - TIBIA**2) / (2 * FEMUR * length))
    return np.arctan2(way[:, 0], -way[:, 1]) + at_hip, knee


def along(time: np.ndarray, knots: dict[float, float]) -> np.ndarray:
    """Half cosines between knots {time: level}, constant outside."""
    at, level = np.array(list(knots)), np.array(list(knots.values()))
    inside = np.clip(time, at[0], at[-1])
    piece = np.clip(np.searchsorted(at, inside, side="right") - 1, 0, len(at) - 2)
    share = (inside - at[piece]) / (at[piece + 1] - at[piece])
    return level[piece] + (level[piece + 1] - level[piece]) * (0.5 - 0.5 * np.cos(np.pi * share))


def grid(end: float, rate_hz: float = 100.0, begin: float = 0.0) -> np.ndarray:
    return np.linspace(begin, end, round((end - begin) * rate_hz) + 1)


def feet(time: np.ndarray, right: float | np.ndarray = 0.0, left: float | np.ndarray = 0.0, up: float = 0.0):
    """Ankles over soles that lie on the ground, or `up` above it."""
    return tuple(np.stack([x + 0 * time, up + ANKLE_M + 0 * time], axis=1) for x in (right, left))


def squats(rate_hz: float = 100.0, heading: float = 0.0) -> Motion:
    """Three, with bottoms at 1.5, 4 and 6.5 s, the centre of mass over the feet."""
    time = grid(8.0, rate_hz)
    down = along(time, {0.5: 0, 1.5: 1, 2.5: 0, 3: 0, 4: 1, 5: 0, 5.5: 0, 6.5: 1, 7.5: 0})
    hip = np.stack([0.04 - 0.16 * down, STAND_M - 0.38 * down], axis=1)
    return moving(time, hip, feet(time), lean=0.75 * down, heading=heading)


SIT_M, BEHIND_M = 0.50, -0.36  # of seated hips


def sit_to_stands(rate_hz: float = 100.0, heading: float = 0.0, times: int = 3) -> Motion:
    """From 1 s on, every 4 s: lean forward for 0.5 s, rise for 1 s, stand for 0.5 s, sit down for 1 s."""
    time = grid(4.0 * times + 1.0, rate_hz)
    lean, up = np.zeros_like(time), np.zeros_like(time)
    for k in range(times):
        t = 4.0 * k
        lean += along(time, {t + 1: 0, t + 1.5: 0.7, t + 2.5: 0, t + 3: 0, t + 3.5: 0.6, t + 4.0: 0})
        up += along(time, {t + 1.5: 0, t + 2.5: 1, t + 3: 1, t + 4: 0})
    hip = np.stack([BEHIND_M * (1 - up) + 0.04 * up, SIT_M + (STAND_M - SIT_M) * up], axis=1)
    return moving(time, hip, feet(time), lean=lean, heading=heading)


def lunges(rate_hz: float = 100.0, heading: float = 0.0) -> Motion:
    """Right foot forward at 1 s, left at 5 s: step of 0.5 s, down and up for 1 s, step back of 0.5 s."""
    time = grid(8.0, rate_hz)
    step = [along(time, {t: 0, t + 0.5: 1, t + 1.5: 1, t + 2: 0}) for t in (1.0, 5.0)]
    lift = [sum(_hop(time, b, b + 0.5) for b in (t, t + 1.5)) for t in (1.0, 5.0)]
    down = along(time, {1.2: 0, 2: 1, 2.8: 0, 5.2: 0, 6: 1, 6.8: 0})
    ankles = tuple(np.stack([0.7 * s, ANKLE_M + 0.08 * h], axis=1) for s, h in zip(step, lift, strict=True))
    hip = np.stack([0.04 + 0.33 * (step[0] + step[1]), STAND_M - 0.02 - 0.28 * down], axis=1)
    return moving(time, hip, ankles, lean=0.1 * down, heading=heading)  # type: ignore[arg-type]


def _hop(time: np.ndarray, begin: float, end: float) -> np.ndarray:
    return np.sin(np.pi * np.clip((time - begin) / (end - begin), 0, 1))


TAKE_OFF_MS = 2.5
FLIGHT_S = 2 * TAKE_OFF_MS / GRAVITY


def jumps(
    rate_hz: float = 100.0,
    heading: float = 0.0,
    box_m: float = 0.0,
    stand_s: float = 1.0,
    speed_ms: float = TAKE_OFF_MS,
) -> Motion:
    """A countermovement jump; from a box, a drop jump. Take-off of the last flight is at `take_off(box_m, stand_s)`."""
    low = STAND_M - 0.3
    fall = np.sqrt(2 * box_m / GRAVITY)
    t = take_off(box_m, stand_s)
    flight_s = 2 * speed_ms / GRAVITY
    knots = [(t - 0.3, low, 0.0), (t, STAND_M, speed_ms)]
    after = [
        (t + flight_s, STAND_M, -speed_ms),
        (t + flight_s + 0.25, low + 0.05, 0.0),
        (t + flight_s + 0.9, STAND_M, 0.0),
    ]
    before = [(stand_s, STAND_M, 0.0)]
    if box_m:
        before = [(stand_s + fall, STAND_M, -GRAVITY * fall)]
    at, y, v = (np.array(column) for column in zip(*before, *knots, *after, strict=True))
    time = grid(float(at[-1]) + 1.0, rate_hz)
    height = np.where(time < at[0], STAND_M, np.where(time > at[-1], STAND_M, CubicHermiteSpline(at, y, v)(time)))
    flight = (time > t) & (time < t + flight_s)
    since = time - t
    height = np.where(flight, STAND_M + speed_ms * since - GRAVITY / 2 * since**2, height)
    soles = np.where(flight, height - STAND_M, 0.0)
    if box_m:
        dropping = (time >= stand_s) & (time < stand_s + fall)
        soles = np.where(time < stand_s, box_m, np.where(dropping, box_m - GRAVITY / 2 * (time - stand_s) ** 2, soles))
        height = np.where(time < stand_s + fall, STAND_M + soles, height)
    down = np.clip(STAND_M + soles - height, 0, None)
    hip = np.stack([0.04 - 0.3 * down, height], axis=1)
    ankle = np.stack([0 * time, soles + ANKLE_M], axis=1)
    return moving(time, hip, (ankle, ankle), lean=1.6 * down, heading=heading)


def take_off(box_m: float = 0.0, stand_s: float = 1.0) -> float:
    """Time of the jump's take-off."""
    return stand_s + (float(np.sqrt(2 * box_m / GRAVITY)) + 0.25 if box_m else 0.5) + 0.3


FIRST_STRIKE_S, STRIDE_S, SPEED_MS, STANCE = 0.2, 1.1, 0.9, 0.6


def walking(rate_hz: float = 100.0, heading: float = 0.0, strides: float = 4.0, treadmill: bool = False) -> Motion:
    """Right heel strikes at 0.2, 1.3, 2.4 s ..., left ones half a stride later; a foot stands 60 % of its stride."""
    time = grid(strides * STRIDE_S, rate_hz)
    ankles = tuple(_stepping(time, shift) for shift in (0.0, 0.5))
    x = SPEED_MS * time
    if treadmill:
        ankles = tuple(a - np.stack([x, 0 * x], axis=1) for a in ankles)
        x = 0 * x
    hip = np.stack([x, np.full(len(time), 0.73 + ANKLE_M)], axis=1)
    return moving(time, hip, ankles, lean=0.05, heading=heading)  # type: ignore[arg-type]


def running(rate_hz: float = 100.0) -> Motion:
    """Strides of 0.7 s at 2.8 m/s; a foot stands for 28 % of its stride, and the hips fall freely between stances."""
    stride_s, stance, speed_ms = 0.7, 0.28, 2.8
    time = grid(4.0, rate_hz)
    ankles = tuple(_stepping(time, shift, stride_s, stance, speed_ms, lift_m=0.25) for shift in (0.0, 0.5))
    often = 4 * np.pi / stride_s
    middle = FIRST_STRIKE_S - (0.5 - stance) / 2 * stride_s
    bounce = GRAVITY / often**2 * np.cos(often * (time - middle))
    hip = np.stack([speed_ms * time, 0.74 + ANKLE_M + bounce], axis=1)
    return moving(time, hip, ankles, lean=0.1)  # type: ignore[arg-type]


def _stepping(
    time: np.ndarray,
    shift: float,
    stride_s: float = STRIDE_S,
    stance: float = STANCE,
    speed_ms: float = SPEED_MS,
    lift_m: float = 0.06,
) -> np.ndarray:
    cycle = (time - FIRST_STRIKE_S) / stride_s - shift
    number, phase = np.floor(cycle), cycle % 1.0
    swing = np.clip((phase - stance) / (1 - stance), 0, 1)
    way = speed_ms * stride_s
    placed = (number + shift) * way + speed_ms * (stride_s * stance / 2 + FIRST_STRIKE_S)
    x = placed + way * (swing - np.sin(2 * np.pi * swing) / (2 * np.pi))
    return np.stack([x, ANKLE_M + lift_m * np.sin(np.pi * swing)], axis=1)
