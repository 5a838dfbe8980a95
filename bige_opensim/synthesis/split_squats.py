"""Split squats of synthetic people: one foot flat in front, the other on its toes behind.

As in `squats`, knees are led along minimum-jerk courses from standing to the bottom and back, and the legs are what
planted feet, the mean flexion of both knees and the centre of mass over the base of support leave (`closed_chain`). The
heel behind is raised throughout, as far as the toes bend, and the trunk stays nearly upright.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.motion import Motion
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.synthesis.closed_chain import SIDES, TOE, ClosedChainError, PlantedFeet, Stance, plant, solve
from bige_opensim.synthesis.people import around, bounded_normal, shares_around
from bige_opensim.synthesis.squats import BALANCE_SWAY_M, SWAY_DEG, outside, progress, sway
from bige_opensim.synthesis.styles import Squat, arm_offsets

FRONT, BEHIND = SIDES
STANDING_KNEE = np.deg2rad(26.0)
"""Mean flexion of both knees between repetitions: legs apart are not locked."""
SHALLOWER, TRIES = 0.94, 10
LIMITS_DEG = {
    "hip_flexion": (-28.0, 116.0),
    "hip_rotation": (-32.0, 32.0),
    "ankle_angle": (-25.0, 48.0),
    "subtalar_angle": (-45.0, 45.0),
}
"""Where joints of a leg stay, instead of a squat's limits, degrees: the hip behind extends, the ankle behind bends."""
ARMS_DEG = {
    "hanging": {"arm_flex": 2, "arm_add": -12, "arm_rot": 2, "elbow_flex": 18, "pro_sup": 90},
    "clasped": {"arm_flex": 24, "arm_add": -20, "arm_rot": 20, "elbow_flex": 108, "pro_sup": 97},
}  # fmt: skip


@dataclass(frozen=True)
class SplitStyle:
    """How a person makes split squats. Angles in rad, times in s.

    depth: mean knee flexion at the bottom; step: between the heels, over the length of a leg; width: sideways, over the
    distance between the hips; lift: of the heel behind; forward: place of the centre of mass from the ball of the foot
    behind (0) to the middle of the one in front (1), standing and at the bottom; tilt, lumbar: of pelvis and trunk, and
    lean: what the trunk leans at the bottom; down_s, hold_s, up_s, pause_s; arms and their offsets.
    """

    depth: float
    step: float
    width: float
    lift: float
    forward: tuple[float, float]
    tilt: float
    lumbar: float
    lean: float
    down_s: float
    hold_s: float
    up_s: float
    pause_s: float
    arms: str
    arm_offsets: dict[str, float]


def draw_split_style(random: np.random.Generator) -> SplitStyle:
    """Draw how a person makes split squats; the spreads are our choice."""

    about = around(random)
    return SplitStyle(
        depth=np.deg2rad(about(86.0, 6.0)),
        step=about(0.66, 0.04),
        width=about(1.05, 0.15),
        lift=np.deg2rad(about(39.0, 1.5)),
        forward=(about(0.45, 0.025), about(0.54, 0.025)),
        tilt=np.deg2rad(about(-7.0, 2.5)),
        lumbar=np.deg2rad(about(-3.0, 2.0)),
        lean=np.deg2rad(about(10.0, 3.0)),
        down_s=about(1.3, 0.15),
        hold_s=random.uniform(0.0, 0.3),
        up_s=about(1.2, 0.15),
        pause_s=random.uniform(0.4, 0.8),
        arms=str(random.choice(list(ARMS_DEG))),
        arm_offsets=arm_offsets(random),
    )


def draw_split_squats(style: SplitStyle, count: int, random: np.random.Generator) -> list[Squat]:
    """Repetitions of one person, a few per cent apart."""

    about = shares_around(random)
    return [
        Squat(
            depth=about(style.depth, 0.03),
            lean=about(style.lean, 0.08),
            balance=0.015 * bounded_normal(random),
            shift=0.003 * bounded_normal(random),
            down_s=about(style.down_s, 0.06),
            hold_s=about(style.hold_s, 0.2),
            up_s=about(style.up_s, 0.06),
            pause_s=about(style.pause_s, 0.15),
            heel_lift=style.lift,
        )
        for _ in range(count)
    ]


def split_squat_motion(
    skeleton: Skeleton, style: SplitStyle, squats: Sequence[Squat], random: np.random.Generator
) -> tuple[Motion, tuple[Squat, ...]]:
    """The motion of some repetitions with the right foot in front, and the repetitions as they came out.

    A repetition that takes a joint beyond its limits is made shallower.

    Raises
    ------
    ClosedChainError
        There is no such posture within the limits.

    """
    support = _support(skeleton, style)
    fitting = tuple(_within_reach(skeleton, style, support, squat) for squat in squats)
    time, S = progress(fitting)
    wander = {
        name: sway(time, 0.5 * np.deg2rad(SWAY_DEG[name.removesuffix("_r").removesuffix("_l")]), random)
        for name in skeleton.coordinates
        if name.removesuffix("_r").removesuffix("_l") in SWAY_DEG
    }
    balance = sway(time, 0.5 * BALANCE_SWAY_M, random), sway(time, 0.5 * BALANCE_SWAY_M, random)
    q = _solved(skeleton, style, support, fitting, S, wander, balance)
    broken = outside(skeleton, q, LIMITS_DEG)
    if broken:
        raise ClosedChainError(f"{', '.join(broken)} would leave the limits.")
    return Motion(time, q.numpy(), skeleton.coordinates), fitting


def _within_reach(skeleton: Skeleton, style: SplitStyle, support: PlantedFeet, squat: Squat) -> Squat:
    still = np.zeros(1), np.zeros(1)
    for _ in range(TRIES):
        q = _solved(skeleton, style, support, (squat,), np.ones((1, 1)), {}, still)
        broken = outside(skeleton, q, LIMITS_DEG)
        if not broken:
            return squat
        squat = replace(squat, depth=SHALLOWER * squat.depth)
    raise ClosedChainError(f"no depth keeps {', '.join(broken)} within the limits.")


def _support(skeleton: Skeleton, style: SplitStyle) -> PlantedFeet:
    """The feet, one in front and flat, one behind on its toes; of one frame."""
    position = skeleton(skeleton.default).position
    at = {n: position[skeleton.bodies.index(f"{n}_r")] for n in ("femur", "tibia", "talus")}
    leg = float((at["femur"] - at["tibia"]).norm() + (at["tibia"] - at["talus"]).norm())
    hips = float((at["femur"] - position[skeleton.bodies.index("femur_l")]).norm())
    ahead, half = 0.5 * style.step * leg, 0.5 * style.width * hips
    stance = Stance(toe_out=(0.05, 0.05), heel_x=(ahead, -ahead), heel_z=(half, -half))
    return plant(skeleton, stance, torch.tensor([[0.0, style.lift]], dtype=torch.float64))


def _solved(
    skeleton: Skeleton,
    style: SplitStyle,
    support: PlantedFeet,
    squats: Sequence[Squat],
    S: Float[np.ndarray, "squat time"],
    wander: dict[str, np.ndarray],
    balance_sway: tuple[np.ndarray, np.ndarray],
) -> Float[Tensor, "time coordinate"]:
    s = S.sum(0)
    knee = STANDING_KNEE + np.asarray([x.depth - STANDING_KNEE for x in squats]) @ S
    lean = np.asarray([x.lean for x in squats]) @ S
    share = style.forward[0] + (style.forward[1] - style.forward[0]) * s + np.asarray([x.balance for x in squats]) @ S
    names = skeleton.contact_names
    front = support.points[0, [i for i, n in enumerate(names) if n.endswith(FRONT)]]
    ball = support.points[0, [i for i, n in enumerate(names) if n == f"{TOE}_{BEHIND}"]][0]
    middle = 0.5 * float(front[:, 0].min() + front[:, 0].max())
    com_x = float(ball[0]) + share * (middle - float(ball[0])) + balance_sway[0]
    com_z = support.middle + np.asarray([x.shift for x in squats]) @ S + balance_sway[1]
    q = skeleton.default.expand(len(s), -1).clone()
    course = {
        "pelvis_tilt": style.tilt - 0.4 * lean,
        "lumbar_extension": style.lumbar - 0.6 * lean,
        f"mtp_angle_{BEHIND}": np.full(len(s), -style.lift),
    }
    for name, degrees in ARMS_DEG[style.arms].items():
        course |= {
            f"{name}_{d}": np.full(len(s), np.deg2rad(degrees) + style.arm_offsets[f"{name}_{d}"]) for d in SIDES
        }
    for name, values in course.items():
        q[:, skeleton.index(name)] = torch.as_tensor(values)
    for name, values in wander.items():
        q[:, skeleton.index(name)] += torch.as_tensor(values)
    feet = support._replace(points=support.points[:1].expand(len(s), -1, -1))
    return solve(skeleton, q, feet, *(torch.as_tensor(x) for x in (knee, com_x, com_z)))
