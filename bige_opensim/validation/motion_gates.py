"""Whether a motion that OpenSim explained could be a person's: ground, feet, joints, limbs and balance.

The gates of a label judge the simulation. A body that floats, sinks, slides, or whose legs pass through each other can
be simulated as well as any other, with a ground that is estimated where the feet happen to be. These gates judge the
motion itself, against the ground that it was made for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import uniform_filter1d

from bige_opensim.labelling.chair import seat_of
from bige_opensim.labelling.missing_support import READY
from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel
from bige_opensim.physics.capsules import Capsules, capsules_of
from bige_opensim.physics.contact import FEET
from bige_opensim.physics.dynamics import body_wrenches, kinematics
from bige_opensim.physics.rotations import rotation_triples
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.sessions.plates_to_feet import compass
from bige_opensim.validation.joint_limits import Limits, beyond_limits, joint_limits

GROUND_M = 0.0
"""Height of the ground of generated motions: datasets put it there, and the search plants the feet on it."""
LOADED_SHARE = 0.05
"""Share of body weight from which a foot counts as loaded."""
LOWEST_M = 0.02
"""Points of a loaded foot within this height of its lowest are taken to touch the ground."""
STEPPING_M = 0.04
"""Height above the ground up to which a point of a foot can carry, as in `ContactSettings`: in recordings of video,
loaded feet are seen up to 36 mm above the ground that the whole trial shows."""
CARRIED_BW = 0.1
WINDOW_S = 0.3
FINE_HZ = 100.0
LARGEST_MM = 1e5


@dataclass(frozen=True)
class MotionGate:
    """One gate: the value found, the limit it must not exceed, the unit of both, and what and when it was, in words."""

    value: float
    limit: float
    unit: str
    where: str = ""

    @property
    def satisfied(self) -> bool:
        """A value that is not finite fails."""
        return bool(np.isfinite(self.value) and self.value <= self.limit)

    def as_dict(self) -> dict[str, Any]:
        """For certificate.json."""
        return asdict(self) | {"satisfied": self.satisfied}


@dataclass(frozen=True)
class Anatomy:
    """What of a model the gates need: skeleton, joint limits (rad), joints of three axes, capsules of its segments."""

    skeleton: Skeleton
    limits: Limits
    triples: list[tuple[str, str, str]]
    capsules: Capsules

    @classmethod
    def of(cls, model: OsimModel, skeleton: Skeleton) -> Anatomy:
        """Of a model and its compiled skeleton."""
        triples = rotation_triples(skeleton.tables)
        return cls(skeleton, joint_limits(model), triples, capsules_of(skeleton))


@dataclass(frozen=True, eq=False)
class MotionOnGround:
    """A motion (C coordinates, rad and m), the vertical force under each foot (T, 2) in N, and the ground's height, m.

    `estimated_ground_m` is the height at which the simulation put the ground; `chair` is the one that it found, as a
    label has it, None where nobody sits.
    """

    anatomy: Anatomy
    q: Motion
    vertical_n: Float[np.ndarray, "time 2"]
    estimated_ground_m: float
    ground_m: float = GROUND_M
    chair: Mapping[str, Any] | None = None

    @cached_property
    def state(self) -> Any:
        """Poses, velocities and accelerations."""
        qd, qdd = self.q.derivatives()
        return kinematics(self.anatomy.skeleton, *(torch.as_tensor(m.values) for m in (self.q, qd, qdd)))

    @cached_property
    def points(self) -> Float[np.ndarray, "time point 3"]:
        """Contact points, m, with the known ground at height 0."""
        points = self.anatomy.skeleton.contact_points(self.state.poses).numpy().copy()
        points[..., 1] -= self.ground_m
        return points

    @cached_property
    def resting(self) -> tuple[Float[np.ndarray, "time seat 3"], Bool[np.ndarray, "time seat"]]:
        """Points that can rest on the chair, m, and when they do; none without a chair."""
        seat = seat_of(self.anatomy.skeleton, self.chair, self.estimated_ground_m)
        if seat is None:
            return np.zeros((self.q.frames, 0, 3)), np.zeros((self.q.frames, 0), dtype=bool)
        points, able = seat.footprint(self.anatomy.skeleton, self.state)
        return points.numpy(), (able > READY).numpy()

    @cached_property
    def foot(self) -> np.ndarray:
        """Foot of every contact point, 0 right and 1 left."""
        return np.array([FEET.index(name[-1]) for name in self.anatomy.skeleton.contact_names])

    @cached_property
    def weight_n(self) -> float:
        """Weight of the body and what it carries, N."""
        skeleton = self.anatomy.skeleton
        return float(skeleton.mass.sum() * skeleton.gravity.norm())

    @cached_property
    def loaded(self) -> Bool[np.ndarray, "time 2"]:
        """Which foot is loaded when."""
        return self.vertical_n > LOADED_SHARE * self.weight_n

    @cached_property
    def lowest(self) -> Float[np.ndarray, "time 2"]:
        """Height of each foot's lowest point above the known ground, m."""
        return np.stack([self.points[:, self.foot == f, 1].min(axis=1) for f in range(2)], axis=1)

    @cached_property
    def demand(self) -> tuple[Float[np.ndarray, "time 3"], Float[np.ndarray, "time 3"]]:
        """Force (N) and moment about the ground's origin (N·m) that the motion takes from its surroundings."""
        force, moment = (part.sum(dim=-2).numpy() for part in body_wrenches(self.anatomy.skeleton, self.state))
        return force, moment - np.cross([0.0, self.ground_m, 0.0], force)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Running mean over WINDOW_S: noise of the accelerations passes, a body without support does not."""
        width = max(round(WINDOW_S * self.q.rate_hz), 1)
        return uniform_filter1d(values, min(width, len(values)), axis=0, mode="nearest")

    def at(self, frame: int) -> str:
        """A frame in words."""
        return f"at {self.q.time[frame]:.2f} s"


def motion_gates(motion: MotionOnGround) -> dict[str, MotionGate]:
    """All gates of a motion; those of feet are left out for models without."""
    found = {"sampling": _sampling(motion), "joint_limits": _joint_limits(motion)}
    if len(motion.anatomy.capsules.pairs):
        found["self_intersection"] = _self_intersection(motion)
    if {0, 1} <= set(motion.foot.tolist()):
        off = 1e3 * abs(motion.estimated_ground_m - motion.ground_m)
        found |= {
            "ground_height": MotionGate(
                off, 20.0, "mm", "between the feet's ground and the one the motion was made for"
            ),
            "floating": _floating(motion),
            "penetration": _penetration(motion),
            "foot_slide": _foot_slide(motion),
            "balance": _balance(motion),
        }
    return found


def _sampling(motion: MotionOnGround) -> MotionGate:
    """Longest gap between two samples, ms: what a limb does in between is judged by nobody."""
    gaps = np.diff(motion.q.time)
    return MotionGate(1e3 * float(gaps.max()), 50.0, "ms between samples", motion.at(int(gaps.argmax())))


def _joint_limits(motion: MotionOnGround) -> MotionGate:
    excess = beyond_limits(motion.q, motion.anatomy.limits, motion.anatomy.triples)
    name, worst = max(excess.items(), key=lambda item: float(item[1].max()), default=("", np.zeros(1)))
    where = f"{name} {motion.at(int(worst.argmax()))}" if worst.max() > 0 else ""
    return MotionGate(float(np.rad2deg(worst.max())), 2.0, "degrees beyond a joint's range", where)


def _self_intersection(motion: MotionOnGround) -> MotionGate:
    """Largest share of their thickness by which two segments overlap, beyond that of standing upright, in %."""
    anatomy, fine = motion.anatomy, _finely(motion.q)
    skeleton, capsules = anatomy.skeleton, anatomy.capsules
    upright = capsules.overlap(skeleton(torch.zeros(len(skeleton.coordinates), dtype=skeleton.mass.dtype)))
    overlap = capsules.overlap(skeleton(torch.as_tensor(fine.values))) - upright.clamp(min=0.0)
    frame, pair = divmod(int(overlap.argmax()), overlap.shape[1])
    value = max(100.0 * float(overlap.max()), 0.0)
    names = " and ".join(_segment(name) for name in capsules.pair_names(pair))
    return MotionGate(
        value, 30.0, "% of two segments' thickness", f"{names} at {fine.time[frame]:.2f} s" if value else ""
    )


def _finely(q: Motion) -> Motion:
    """The motion at FINE_HZ at least: limbs must not pass through each other between two samples either."""
    count = int(np.ceil(q.duration * FINE_HZ)) + 1
    return q if count <= q.frames else q.resampled(np.linspace(q.time[0], q.time[-1], count))


def _segment(name: str) -> str:
    sides = {"r": "right", "l": "left"}
    base, _, side = name.rpartition("_")
    return f"{sides[side]} {base}" if base else name


def _floating(motion: MotionOnGround) -> MotionGate:
    """How far the feet are above the ground, mm: each while it is loaded, both while the motion needs support."""
    needs = motion.mean(motion.demand[0][:, 1]) > CARRIED_BW * motion.weight_n
    height = np.where(motion.loaded, motion.lowest, 0.0).max(axis=1)
    height = np.maximum(height, np.where(needs, motion.lowest.min(axis=1), 0.0))
    return MotionGate(_mm(height), 1e3 * STEPPING_M, "mm above the ground", motion.at(int(height.argmax())))


def _penetration(motion: MotionOnGround) -> MotionGate:
    depth = -motion.points[..., 1].min(axis=1)
    return MotionGate(_mm(depth), 30.0, "mm below the ground", motion.at(int(depth.argmax())))


def _foot_slide(motion: MotionOnGround) -> MotionGate:
    """Largest way between two places of a point that touches the ground while its foot stays loaded, mm.

    A point touches while it is among the lowest of its foot, however high the foot is. Its places over the whole
    stretch in which the foot is loaded are compared, so that a foot that rocks as it slides is seen to slide. The limit
    leaves room for a foot that turns about its heel: in recorded squats its toes move by up to 78 mm.
    """
    worst, where = 0.0, ""
    for f, side in enumerate(("right", "left")):
        for run in _runs(motion.loaded[:, f]):
            points = motion.points[run][:, motion.foot == f]
            down = points[..., 1] - motion.lowest[run, f, None] < LOWEST_M
            flat = np.where(down[..., None], points[..., [0, 2]], np.nan)
            way = np.array([_extent(flat[:, p]) for p in range(flat.shape[1])]).max(initial=0.0)
            if way > worst:
                worst, where = (
                    way,
                    f"{side} foot, loaded from {motion.at(run.start)[3:]} to {motion.at(run.stop - 1)[3:]}",
                )
    return MotionGate(1e3 * float(worst), 80.0, "mm while loaded", where)


def _extent(places: Float[np.ndarray, "time 2"]) -> float:
    """Largest distance between two places: the largest of the widths in all directions."""
    known = places[np.isfinite(places).all(axis=1)]
    return float(np.ptp(known @ compass().T, axis=0).max()) if len(known) else 0.0


def _runs(mask: np.ndarray) -> Iterator[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    yield from (slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))


def _balance(motion: MotionOnGround) -> MotionGate:
    """How far the zero-moment point is outside the feet on the ground, mm, in the mean over WINDOW_S.

    The motion takes force F and moment M about the ground's origin. Feet on the ground supply them if the zero-moment
    point p = (M_z / F_y, -M_x / F_y), under the centre of mass in a slow motion, lies in the hull of their points c_i
    (Vukobratovic and Borovac 2004, doi:10.1142/S0219843604000083). Beyond it by

        d = max over directions n of  <F_y (n.p - max_i n.c_i)> / <F_y>,

    as in `missing_support`: a mean, because noise of the accelerations throws single p about. Points that rest on a
    chair are among the c_i. Frames in which neither foot is on the ground have no base; whether they need one is a
    matter of floating.
    """
    force, moment = motion.demand
    upward, normal = np.maximum(force[:, 1], 0.0), compass()
    seat, rests = motion.resting
    points = np.concatenate([motion.points, seat], axis=1)
    on_ground = np.concatenate([motion.points[..., 1] < STEPPING_M, rests], axis=1)
    standing = np.asarray(on_ground.any(axis=1))
    edge = np.where(on_ground[..., None], points[..., [0, 2]] @ normal.T, -np.inf).max(axis=1)
    pressed = np.stack([moment[:, 2], -moment[:, 0]], axis=1) @ normal.T
    beyond = np.where(standing[:, None], pressed - upward[:, None] * np.where(standing[:, None], edge, 0.0), 0.0)
    carried = np.maximum(motion.mean(np.where(standing, upward, 0.0)), CARRIED_BW * motion.weight_n)
    distance = (motion.mean(beyond) / carried[:, None]).max(axis=1)
    return MotionGate(_mm(distance), 40.0, "mm beyond the feet", motion.at(int(distance.argmax())))


def _mm(lengths_m: np.ndarray) -> float:
    return float(np.clip(1e3 * lengths_m.max(), 0.0, LARGEST_MM))
