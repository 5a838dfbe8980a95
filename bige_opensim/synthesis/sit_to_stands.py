"""Sit-to-stands of synthetic people: from a seat, over planted feet, to standing, and back down in between.

The pelvis is led by the point that it sits on, between the ischial tuberosities (`physics.seat`), from its place on the
seat to where it is in standing, forward by F and up by V, along minimum-jerk courses S (`squats.minimum_jerk`) that end
together at T:

    F(t) = S((t - t_off + ahead) / (T - t_off + ahead)),      V(t) = S((t - t_off) / (T - t_off)).

Until t_off, when the seat is left, the trunk leans forward by S(t / t_off), and rises with the body: the phases of
Schenkman et al. (1990, doi:10.1093/ptj/70.10.638). The legs are what planted feet leave. What carries must be possible:
once the pelvis is off the seat, the zero-moment point of the motion lies within the feet, for which the lean is made
deeper and the way ahead longer. People sit down as they rise, backwards in time: accelerations are then the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.motion import Motion
from bige_opensim.physics.dynamics import body_wrenches, kinematics
from bige_opensim.physics.seat import Seat
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.synthesis.closed_chain import (
    SIDES,
    ClosedChainError,
    PlantedFeet,
    Stance,
    close_legs,
    plant,
    solve,
)
from bige_opensim.synthesis.people import around, bounded_normal, shares_around
from bige_opensim.synthesis.squats import RATE_HZ, SWAY_DEG, minimum_jerk, outside, sway
from bige_opensim.synthesis.styles import arm_offsets

STANDING_KNEE = np.deg2rad(12.0)
"""Knees that are nearly straight could not follow a pelvis that sways."""
FLESH_M = 0.06
"""How far a knee's axis lies above a seat that is level with it: half the thickness of a thigh."""
LEFT_M, WITHIN_M = 0.012, 0.012
"""Height above the seat from which it cannot push, and how far inside heel and toe the zero-moment point stays, m."""
DEEPER, FARTHER, TRIES = np.deg2rad(2.5), 0.03, 12

ARMS_DEG = {
    "clasped": {
        "arm_flex": (15, 65, 5), "arm_add": (-8, -20, -8), "arm_rot": (8, 20, 8), "elbow_flex": (112, 110, 105),
        "pro_sup": (97, 97, 97),
    },
    "reaching": {
        "arm_flex": (35, 75, 12), "arm_add": (-10, -12, -9), "arm_rot": (5, 8, 5), "elbow_flex": (25, 18, 22),
        "pro_sup": (85, 82, 85),
    },
}  # fmt: skip
"""Degrees of the arms' coordinates when seated, when the seat is left, and when standing."""


@dataclass(frozen=True)
class RisingStyle:
    """How a person rises. Angles in rad, times in s.

    seat: height over that of the knees with vertical shanks; ankle: dorsiflexion when seated; tilt, lumbar: of pelvis
    and trunk when seated, when the seat is left, and when standing; width: between the heels, in distances between the
    hips; toe_out; balance: place of the centre of mass from heel (0) to toe (1) in standing; lean_s, rise_s: until the
    seat is left and from then on; ahead_s: how much earlier the pelvis moves forward; sit_s, stand_s: at rest between;
    arms: a key of ARMS_DEG, and offsets of their coordinates.
    """

    seat: float
    ankle: float
    tilt: tuple[float, float, float]
    lumbar: tuple[float, float, float]
    width: float
    toe_out: float
    balance: float
    lean_s: float
    rise_s: float
    ahead_s: float
    sit_s: float
    stand_s: float
    arms: str
    arm_offsets: dict[str, float]


@dataclass(frozen=True)
class Rise:
    """One repetition: what of the person's style varies; lean is added to the pelvis's when the seat is left, rad."""

    lean: float
    lean_s: float
    rise_s: float
    ahead_s: float
    sit_s: float
    stand_s: float

    @property
    def duration(self) -> float:
        """Seconds of the rise."""
        return self.lean_s + self.rise_s


def draw_rising_style(random: np.random.Generator) -> RisingStyle:
    """Draw how a person rises; means are near those of published recordings, spreads are our choice."""

    about = around(random)

    def degrees(*values: tuple[float, float]) -> tuple[float, ...]:
        return tuple(np.deg2rad(about(mean, spread)) for mean, spread in values)

    tilt = degrees((6.0, 4.0), (-22.0, 4.0), (-5.0, 2.0))
    lumbar = degrees((-20.0, 4.0), (-26.0, 4.0), (-4.0, 2.0))
    return RisingStyle(
        seat=about(1.05, 0.06),
        ankle=np.deg2rad(about(18.0, 4.0)),
        tilt=(tilt[0], tilt[1], tilt[2]),
        lumbar=(lumbar[0], lumbar[1], lumbar[2]),
        width=about(1.35, 0.15),
        toe_out=np.deg2rad(about(8.0, 3.0)),
        balance=about(0.42, 0.03),
        lean_s=about(0.65, 0.09),
        rise_s=about(1.25, 0.16),
        ahead_s=about(0.2, 0.04),
        sit_s=random.uniform(0.7, 1.0),
        stand_s=random.uniform(0.5, 0.8),
        arms=str(random.choice(list(ARMS_DEG))),
        arm_offsets=arm_offsets(random),
    )


def draw_rises(style: RisingStyle, count: int, random: np.random.Generator) -> list[Rise]:
    """Repetitions of one person, a few per cent apart."""

    about = shares_around(random)
    return [
        Rise(
            lean=np.deg2rad(2.0) * bounded_normal(random),
            lean_s=about(style.lean_s, 0.06),
            rise_s=about(style.rise_s, 0.06),
            ahead_s=about(style.ahead_s, 0.08),
            sit_s=about(style.sit_s, 0.1),
            stand_s=about(style.stand_s, 0.1),
        )
        for _ in range(count)
    ]


def sit_to_stand_motion(
    skeleton: Skeleton, style: RisingStyle, rises: Sequence[Rise], random: np.random.Generator
) -> tuple[Motion, tuple[Rise, ...]]:
    """The motion of some rises, with sitting down in between, and the rises as they came out.

    Raises
    ------
    ClosedChainError
        There is no such posture within the limits, or no lean with which the feet can carry the rise.

    """
    place = _Places(skeleton, style)
    fitting = tuple(_carried(place, rise) for rise in rises)
    time, phases = _phases(fitting)
    wander = {
        name: sway(time, np.deg2rad(SWAY_DEG[name.removesuffix("_r").removesuffix("_l")]), random)
        for name in skeleton.coordinates
        if name.removesuffix("_r").removesuffix("_l") in SWAY_DEG
    }
    q = place.postures(fitting, phases, wander)
    broken = outside(skeleton, q)
    if broken:
        raise ClosedChainError(f"{', '.join(broken)} would leave the limits.")
    return Motion(time, q.numpy(), skeleton.coordinates), fitting


def _phases(rises: Sequence[Rise]) -> tuple[Float[np.ndarray, " time"], list[np.ndarray]]:
    """Time in s at 60 Hz, and for every rise the time since its start, which runs back while the person sits down.

    The next rise takes over where both are at 0, seated.
    """
    starts, corners, now = [], [], 0.0
    for rise in rises:
        begin = now + rise.sit_s
        stands, sinks = begin + rise.duration, begin + rise.duration + rise.stand_s
        corners.append(([begin, stands, sinks, sinks + rise.duration], [0.0, rise.duration, rise.duration, 0.0]))
        starts.append(now)
        now = sinks + rise.duration
    end = corners[-1][0][2]  # the last one stays up
    time = np.arange(int(np.floor(end * RATE_HZ)) + 1) / RATE_HZ
    return time, [np.interp(time, at, value) for at, value in corners]


class _Places:
    """Where feet, seat and pelvis are, of one person and style."""

    def __init__(self, skeleton: Skeleton, style: RisingStyle) -> None:
        self.skeleton, self.style = skeleton, style
        seat = Seat.under(skeleton, 0.0, (0.0, 0.0))
        assert seat is not None
        self.ischium = seat.centre[[k for k, b in enumerate(seat.body) if b == 0]].mean(0)
        poses = skeleton(skeleton.default)
        at = {n: poses.position[skeleton.bodies.index(n)] for n in ("femur_r", "femur_l", "tibia_r", "talus_r")}
        half = 0.5 * style.width * float((at["femur_r"] - at["femur_l"]).norm())
        self.stance = Stance((style.toe_out, style.toe_out), (0.0, 0.0), (half, -half))
        thigh, shank = float((at["femur_r"] - at["tibia_r"]).norm()), float((at["tibia_r"] - at["talus_r"]).norm())
        self.still = plant(skeleton, self.stance, torch.zeros(1, dtype=torch.float64))
        self.standing = self._standing()
        foot = skeleton.contact_points(poses)[:, 1].min()
        ankle = torch.stack([self.still.points[0, :, 0].min(), at["talus_r"][1] - foot])
        heel_to_ankle = float(at["talus_r"][0] - skeleton.contact_points(poses)[:, 0].min())
        knee = ankle + torch.tensor([heel_to_ankle + shank * np.sin(style.ankle), shank * np.cos(style.ankle)])
        height = (
            style.seat * (float(ankle[1]) + shank) - 0.06
        )  # the seat carries flesh, the knee's axis is in its middle
        seated = self._pelvis(np.array([style.tilt[0]]))
        hip = self._hip_over_ischium(seated)
        rise = float(knee[1]) - (height + float(hip[1]))
        if abs(rise) > 0.9 * thigh:
            raise ClosedChainError("the seat is out of the thighs' reach.")
        x = float(knee[0]) - np.sqrt(thigh**2 - rise**2) - float(hip[0])
        self.seat = torch.tensor([x, height, self.still.middle], dtype=torch.float64)

    def postures(
        self, rises: Sequence[Rise], phases: Sequence[np.ndarray], wander: dict[str, np.ndarray]
    ) -> Float[Tensor, "time coordinate"]:
        """Coordinates at the given times since the start of every rise; at most one of them is not 0."""
        skeleton, style = self.skeleton, self.style
        T = len(phases[0])
        lean, forward, up, off = np.zeros(T), np.zeros(T), np.zeros(T), np.zeros(T)
        for rise, t in zip(rises, phases, strict=True):
            to, whole = rise.lean_s, rise.duration
            early = to - rise.ahead_s
            forward += minimum_jerk((t - early) / (whole - early))
            rising = minimum_jerk((t - to) / rise.rise_s)
            up += rising
            bent = minimum_jerk(t / (to + 0.1)) * (1.0 - minimum_jerk((t - 0.85 * to) / (whole - 0.85 * to)))
            lean += bent
            off += bent * rise.lean
        q = skeleton.default.expand(T, -1).clone()
        course = {
            name: values[0] * (1.0 - up) + values[2] * up + (values[1] - values[0]) * lean + off * share
            for name, values, share in (("pelvis_tilt", style.tilt, 1.0), ("lumbar_extension", style.lumbar, 0.0))
        }
        for name, degrees in ARMS_DEG[style.arms].items():
            seated, leaving, standing = np.deg2rad(degrees)
            way = seated * (1.0 - up) + standing * up + (leaving - seated) * lean
            course |= {f"{name}_{side}": way + style.arm_offsets[f"{name}_{side}"] for side in SIDES}
        for name, values in course.items():
            q[:, skeleton.index(name)] = torch.as_tensor(values)
        for name, values in wander.items():
            q[:, skeleton.index(name)] += torch.as_tensor(values)
        share = torch.as_tensor(np.stack([forward, up, forward], 1))
        return self._closed(q, self.seat + share * (self.standing - self.seat), up)

    def _closed(
        self, q: Float[Tensor, "time coordinate"], point: Float[Tensor, "time 3"], up: np.ndarray
    ) -> Float[Tensor, "time coordinate"]:
        """The postures with the sitting point of the pelvis at `point`, and the legs on planted feet."""
        skeleton = self.skeleton
        places = [skeleton.index(n) for n in skeleton.tables.root["translations"]]
        q[:, places] = 0.0
        q[:, places] = point - self._sitting_point(q)
        guess = 1.0 - torch.as_tensor(up)
        for side in SIDES:
            for name, seated, standing in (("hip_flexion", 85, 5), ("knee_angle", 98, 5), ("ankle_angle", 18, 2)):
                q[:, skeleton.index(f"{name}_{side}")] = torch.deg2rad(standing + (seated - standing) * guess)
        support = PlantedFeet(
            self.still.points.expand(len(q), -1, -1), self.still.heel, self.still.toe, self.still.middle
        )
        return close_legs(skeleton, q, support)

    def zero_moment(self, motion: Motion) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
        """Where the force that a motion takes would act on the ground, along x, and the height of the sitting point."""
        skeleton = self.skeleton
        qd, qdd = motion.derivatives()
        state = kinematics(skeleton, *(torch.as_tensor(m.values) for m in (motion, qd, qdd)))
        force, moment = (part.sum(dim=-2) for part in body_wrenches(skeleton, state))
        height = self._sitting_point(torch.as_tensor(motion.values))[:, 1]
        return (moment[:, 2] / force[:, 1].clamp(min=1.0)).numpy(), height.numpy()

    def _sitting_point(self, q: Float[Tensor, "time coordinate"]) -> Float[Tensor, "time 3"]:
        poses = self.skeleton(q)
        pelvis = self.skeleton.bodies.index("pelvis")
        return poses.position[:, pelvis] + poses.rotation[:, pelvis] @ self.ischium

    def _pelvis(self, tilt: np.ndarray) -> Float[Tensor, "time coordinate"]:
        q = self.skeleton.default.expand(len(tilt), -1).clone()
        q[:, self.skeleton.index("pelvis_tilt")] = torch.as_tensor(tilt)
        return q

    def _hip_over_ischium(self, q: Float[Tensor, "time coordinate"]) -> Float[Tensor, " 3"]:
        position = self.skeleton(q).position[0]
        hips = [position[self.skeleton.bodies.index(f"femur_{s}")] for s in SIDES]
        return 0.5 * (hips[0] + hips[1]) - self._sitting_point(q)[0]

    def _standing(self) -> Float[Tensor, " 3"]:
        """Where the sitting point of the pelvis is when the person stands."""
        skeleton, style, feet = self.skeleton, self.style, self.still
        q = self._pelvis(np.array([style.tilt[2]]))
        q[:, skeleton.index("lumbar_extension")] = style.lumbar[2]
        for name, degrees in ARMS_DEG[style.arms].items():
            for side in SIDES:
                q[:, skeleton.index(f"{name}_{side}")] = np.deg2rad(degrees[2]) + style.arm_offsets[f"{name}_{side}"]
        com_x = feet.heel + style.balance * (feet.toe - feet.heel)
        targets = (torch.tensor([x], dtype=torch.float64) for x in (STANDING_KNEE, com_x, feet.middle))
        return self._sitting_point(solve(skeleton, q, feet, *targets))[0]


def _carried(places: _Places, rise: Rise) -> Rise:
    """The rise, leaning deeper and going ahead farther as far as it takes for the feet to carry it."""
    heel, toe = places.still.heel, places.still.toe
    for _ in range(TRIES):
        time = np.arange(-0.3, rise.duration + 0.3, 1.0 / RATE_HZ)
        motion = Motion(time, places.postures((rise,), (np.clip(time, 0.0, rise.duration),), {}).numpy(),
                        places.skeleton.coordinates)  # fmt: skip
        at, height = places.zero_moment(motion)
        alone = height > float(places.seat[1]) + LEFT_M
        behind = heel + WITHIN_M - float(at[alone].min())
        if behind <= 0 and float(at[alone].max()) < toe - WITHIN_M:
            return rise
        rise = replace(rise, lean=rise.lean - DEEPER, ahead_s=rise.ahead_s + FARTHER)
    raise ClosedChainError("no lean lets the feet carry the rise.")
