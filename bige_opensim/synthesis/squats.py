"""Squats of synthetic people: repetitions of a style as a motion with planted feet.

A repetition leads the knees from standing to the bottom and back along minimum-jerk courses (Flash & Hogan 1985,
doi:10.1523/JNEUROSCI.05-07-01688.1985),

    S(u) = 10 u^3 - 15 u^4 + 6 u^5,      u = t / T in [0, 1],

down in T_down, held for T_hold, up in T_up; one that turns at the bottom along that of `countermovements`. Trunk, arms,
weight and heels follow the same progress S(t). The legs are then what planted feet, the depth of the knees and the
centre of mass over the base of support leave: `closed_chain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float

from bige_opensim.motion import Motion
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.synthesis.closed_chain import SIDES, ClosedChainError, Stance, plant, solve
from bige_opensim.synthesis.countermovements import turned_course
from bige_opensim.synthesis.styles import ARMS, STANDING_KNEE, Squat, Style

RATE_HZ = 60.0
REST_S = 0.6
"""Standing before the first and after the last repetition, s."""
HIGHEST_HEEL = np.deg2rad(7.0)
ANKLE_MARGIN = np.deg2rad(0.5)
BASE_MARGIN = 0.15
"""Share of the base of support, at its front and its back, that the centre of mass keeps away from."""
LIMITS_DEG = {
    "hip_flexion": (-12.0, 116.0),
    "hip_adduction": (-32.0, 8.0),
    "hip_rotation": (-24.0, 15.0),
    "knee_angle": (0.3, 125.0),
    "ankle_angle": (-5.0, 44.0),
    "subtalar_angle": (-12.0, 16.0),
}
"""Where a joint of a squatting leg is taken to stay, inside the limits of the model, degrees."""
SHALLOWER = 0.95
TRIES = 25

SWAY_DEG = {
    "pelvis_list": 0.4, "pelvis_rotation": 0.6, "pelvis_tilt": 0.5,
    "lumbar_extension": 0.7, "lumbar_bending": 0.5, "lumbar_rotation": 0.7,
    "arm_flex": 1.5, "arm_add": 0.7, "arm_rot": 1.0, "elbow_flex": 1.5, "pro_sup": 1.0,
}  # fmt: skip
SWAY_HZ = (0.1, 0.6)
SWAY_WAVES = 5
BALANCE_SWAY_M = 0.004
"""Root mean square of the unintended, slow wandering of trunk, arms and centre of mass."""


def minimum_jerk(u: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """S(u) = 10 u^3 - 15 u^4 + 6 u^5, 0 before u = 0 and 1 after u = 1."""
    u = np.clip(u, 0.0, 1.0)
    return u**3 * (10.0 + u * (6.0 * u - 15.0))


def progress(squats: Sequence[Squat]) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, "squat time"]]:
    """Time in s at 60 Hz, and the progress of every repetition, 0 standing and 1 at the bottom."""
    starts = REST_S + np.cumsum([0.0, *(s.duration + s.pause_s for s in squats)])
    end = starts[-1] - squats[-1].pause_s + REST_S
    time = np.arange(int(np.ceil(end * RATE_HZ)) + 1) / RATE_HZ
    return time, np.array([_course(time - start, squat) for start, squat in zip(starts[:-1], squats, strict=True)])


def _course(time: Float[np.ndarray, " time"], squat: Squat) -> Float[np.ndarray, " time"]:
    """Progress of one repetition that begins at time 0."""
    if squat.turns:
        return turned_course(time, squat.down_s, squat.up_s)
    return minimum_jerk(time / squat.down_s) - minimum_jerk((time - squat.down_s - squat.hold_s) / squat.up_s)


def sway(time: Float[np.ndarray, " time"], rms: float, random: np.random.Generator) -> Float[np.ndarray, " time"]:
    """A smooth wandering: a few sines between 0.1 and 0.6 Hz at random phases."""
    frequency = random.uniform(*SWAY_HZ, SWAY_WAVES)
    phase = random.uniform(0.0, 2.0 * np.pi, SWAY_WAVES)
    waves = np.sin(2.0 * np.pi * frequency * time[:, None] + phase)
    return rms * np.sqrt(2.0 / SWAY_WAVES) * waves.sum(1)


def squat_motion(
    skeleton: Skeleton, style: Style, squats: Sequence[Squat], random: np.random.Generator
) -> tuple[Motion, tuple[Squat, ...]]:
    """The motion of some repetitions, and the repetitions as they came out: ankles lift heels, or end the descent.

    Where the ankles would bend further than the person's dorsiflexion, heels rise by as much, at most HIGHEST_HEEL;
    where that is not enough, or another joint would leave `LIMITS_DEG`, the repetition is made shallower.

    Raises
    ------
    ClosedChainError
        There is no such posture within the limits.

    """
    fitting = tuple(_within_reach(skeleton, style, squat) for squat in squats)
    time, S = progress(fitting)
    wander = {
        name: sway(time, np.deg2rad(SWAY_DEG[name.removesuffix("_r").removesuffix("_l")]), random)
        for name in skeleton.coordinates
        if name.removesuffix("_r").removesuffix("_l") in SWAY_DEG
    }
    balance = sway(time, BALANCE_SWAY_M, random), sway(time, BALANCE_SWAY_M, random)
    q = _solved(skeleton, style, fitting, S, wander, balance)
    broken = outside(skeleton, q)
    if broken:
        raise ClosedChainError(f"{', '.join(broken)} would leave the limits.")
    return Motion(time, q.numpy(), skeleton.coordinates), fitting


def _within_reach(skeleton: Skeleton, style: Style, squat: Squat) -> Squat:
    """The repetition with heels raised and depth reduced as far as its bottom needs."""
    bottom = np.ones((1, 1))
    for _ in range(TRIES):
        lifted = replace(squat, heel_lift=0.0)
        for _ in range(3):
            q = _solved(skeleton, style, (lifted,), bottom, {}, (np.zeros(1), np.zeros(1)))
            ankle = max(float(q[0, skeleton.index(f"ankle_angle_{s}")]) for s in SIDES)
            more = lifted.heel_lift + ankle - style.dorsiflexion
            lifted = replace(lifted, heel_lift=float(np.clip(more, 0.0, HIGHEST_HEEL)))
        if ankle <= style.dorsiflexion + ANKLE_MARGIN and not outside(skeleton, q):
            return lifted
        squat = replace(squat, depth=SHALLOWER * squat.depth)
    raise ClosedChainError("no depth keeps the joints within their limits.")


def outside(
    skeleton: Skeleton, q: torch.Tensor, limits_deg: Mapping[str, tuple[float, float]] = MappingProxyType({})
) -> list[str]:
    """Coordinates of the legs outside LIMITS_DEG, or others in their place, and any outside the model's range."""
    narrower = LIMITS_DEG | dict(limits_deg)
    broken = []
    for name in skeleton.coordinates:
        c = skeleton.index(name)
        low, high = (float(x) for x in skeleton.range[c])
        narrow = narrower.get(name.removesuffix("_r").removesuffix("_l"))
        if narrow is not None:
            low, high = max(low, np.deg2rad(narrow[0])), min(high, np.deg2rad(narrow[1]))
        if not (low <= float(q[:, c].min()) and float(q[:, c].max()) <= high):
            broken.append(name)
    return broken


def _solved(
    skeleton: Skeleton,
    style: Style,
    squats: Sequence[Squat],
    S: Float[np.ndarray, "squat time"],
    wander: dict[str, np.ndarray],
    balance_sway: tuple[np.ndarray, np.ndarray],
) -> torch.Tensor:
    def over_time(of: str) -> np.ndarray:
        return np.asarray([getattr(s, of) for s in squats]) @ S

    knee = STANDING_KNEE + np.asarray([s.depth - STANDING_KNEE for s in squats]) @ S
    lift = over_time("heel_lift")
    support = plant(skeleton, _stance(skeleton, style), torch.as_tensor(lift))
    posture = _posture(skeleton, style, S, over_time("lean"), lift, wander)
    # raised heels leave the forefoot to stand on, and the weight follows
    share = style.balance[0] + over_time("balance") + 0.8 * lift
    com_x = support.heel + np.clip(share, BASE_MARGIN, 1.0 - BASE_MARGIN) * (support.toe - support.heel)
    com_z = support.middle + over_time("shift")
    targets = (torch.as_tensor(x) for x in (knee, com_x + balance_sway[0], com_z + balance_sway[1]))
    return solve(skeleton, posture, support, *targets)


def _stance(skeleton: Skeleton, style: Style) -> Stance:
    poses = skeleton(skeleton.default)
    hips = [poses.position[skeleton.bodies.index(f"femur_{s}")] for s in SIDES]
    half = 0.5 * style.width * float((hips[0] - hips[1]).norm())
    return Stance(
        toe_out=(style.toe_out + 0.5 * style.uneven, style.toe_out - 0.5 * style.uneven),
        heel_x=(0.5 * style.stagger, -0.5 * style.stagger),
        heel_z=(half, -half),
    )


def _posture(
    skeleton: Skeleton,
    style: Style,
    S: Float[np.ndarray, "squat time"],
    lean: Float[np.ndarray, " time"],
    lift: Float[np.ndarray, " time"],
    wander: dict[str, np.ndarray],
) -> torch.Tensor:
    """Everything but the legs: pelvis, trunk, arms, toes. The trunk leans by S + early S (1 - S) of its lean."""
    s = S.sum(0)
    leant = lean * (1.0 + style.early * (1.0 - s))
    course = {
        "pelvis_tilt": style.tilt - style.pelvis_share * leant,
        "lumbar_extension": style.lumbar - (1.0 - style.pelvis_share) * leant,
        "pelvis_list": style.list * s,
        "pelvis_rotation": style.rotation * s,
    }
    for name, (standing, bottom, per_lean) in ARMS[style.arms].items():
        way = np.deg2rad(standing) * (1.0 - s) + np.deg2rad(bottom) * s + per_lean * lean
        course |= {f"{name}_{side}": way + style.arm_offsets[f"{name}_{side}"] for side in SIDES}
    course |= {f"mtp_angle_{side}": -lift for side in SIDES}
    q = skeleton.default.expand(len(s), -1).clone()
    for name, values in course.items():
        q[:, skeleton.index(name)] = torch.as_tensor(values)
    for name, values in wander.items():
        q[:, skeleton.index(name)] += torch.as_tensor(values)
    return q
