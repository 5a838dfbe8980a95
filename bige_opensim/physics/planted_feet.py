"""Feet that stand flat on the ground, and the equations of a body whose feet stand there.

A foot is its calcaneus with straight toes. It stands flat where the plane through the lowest points of its contact
spheres (least squares) is level and the lowest of them is at height 0. Three points say where it is, fixed in the
calcaneus: its middle on that plane, one ahead of it and one to the right. A heel rises about the axis of the toes,
which stay flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.closest_pose import Equations
from bige_opensim.physics.contact import FEET, feet_of
from bige_opensim.physics.marker_skeleton import MarkerSkeleton, MarkerTables
from bige_opensim.physics.skeleton import ROTATION, Skeleton, SkeletonTables

REACH_M = 0.1
"""Distance of the points ahead and aside from the middle: half the length of a foot, so that turning it weighs like
moving it."""
MIDDLE, AHEAD, ASIDE = range(3)
X, Y, Z = range(3)
INDEPENDENT = ((MIDDLE, X), (MIDDLE, Y), (MIDDLE, Z), (AHEAD, Y), (AHEAD, Z), (ASIDE, Y))
"""Point and direction, along the axes of the planted foot, of the six equations of a foot."""


class Toes(NamedTuple):
    """The joint that bends the toes of a foot: its coordinate, the angle at which they are straight, rad, and its line.

    axis (3,) and origin (3,) m in the calcaneus; the calcaneus turns about it by `slope` times a rise of the coordinate
    when the toes stay.
    """

    coordinate: int
    straight: float
    slope: float
    axis: np.ndarray
    origin: np.ndarray


class Feet:
    """The two feet of a skeleton.

    Attributes
    ----------
    columns
        Coordinates that move a foot and that the model does not hold, from the root outwards.
    below_shank
        Those of them that move no tibia: ankles and what is beyond.
    toes
        Of the right and of the left foot; None where nothing, or more than one plain hinge, bends them.

    """

    def __init__(self, skeleton: Skeleton) -> None:
        tables = skeleton.tables
        foot, bones = feet_of(skeleton)
        self.toes: list[Toes | None] = []
        self._level, places, carriers = [], [], []
        for side in range(len(FEET)):
            mine = [i for i, f in enumerate(foot) if f == side]
            bone = bones[mine[0]]
            toes = _toes(tables, bone, {int(tables.contact_body[i]) for i in mine} - {bone})
            level, middle = _standing(skeleton, bone, mine, toes)
            self.toes.append(toes)
            self._level.append((level, middle))
            places += [middle, middle + REACH_M * level[X], middle + REACH_M * level[Z]]
            carriers += [bone] * 3
        names = tuple(f"{p}_{s}" for s in FEET for p in ("middle", "ahead", "aside"))
        body, place = np.array(carriers), np.array(places)
        # MarkerSkeleton is about limits only where markers are fitted
        points = MarkerTables(tables, names, body, place, tables.range[:, 0], tables.range[:, 1])
        self.points = MarkerSkeleton(points, names)
        self.columns = self.points.columns.tolist()
        moved = (skeleton.selector.T @ skeleton.subtree) > 0
        shanks = [b for b, name in enumerate(tables.bodies) if name in {f"tibia_{s}" for s in FEET}]
        self.below_shank = [c for c in self.columns if shanks and not bool(moved[c, shanks].any())]

    def where(
        self, q: Float[Tensor, "coordinate frame"]
    ) -> tuple[Float[Tensor, "2 3 3 frame"], Float[Tensor, "column 2 3 3 frame"]]:
        """The three points of both feet in ground, m, and their derivatives in the coordinates of `columns`."""
        p, J = self.points.jacobian(q)
        return p.unflatten(0, (2, 3)), J.unflatten(1, (2, 3))

    def standing(
        self, middle: Float[Tensor, "*batch 2 2"], heading: Float[Tensor, "*batch 2 2"], lift: Float[Tensor, "*batch 2"]
    ) -> Float[Tensor, "*batch 2 3 3"]:
        """The points of feet that stand with their middles over (x, z), m, and head along (x, z) of unit length.

        Heels are raised by `lift`, rad, about the toes; the middle is that of the foot with its heel down.
        """
        local = torch.stack([self._raised(side, lift[..., side]) for side in range(len(FEET))], -3)
        place = torch.stack([middle[..., 0], torch.zeros_like(middle[..., 0]), middle[..., 1]], -1)
        return place[..., None, :] + local @ _turned(heading).mT

    def equations(
        self, q: Float[Tensor, "coordinate frame"], unknown: Sequence[int], target: Float[Tensor, "2 3 3 frame"]
    ) -> Equations:
        """Twelve equations, in m, in the coordinates `unknown` of poses q, that hold where the feet are at `target`.

        They are the distances of the points from the target's, along axes of the target: see `INDEPENDENT`.
        """
        columns = torch.tensor(list(unknown))
        chosen = [self.columns.index(c) for c in unknown]
        axes = foot_axes(target)

        def at(x: Tensor) -> tuple[Tensor, Tensor]:
            p, J = self.where(q.index_copy(0, columns, x.T))
            J = J if len(chosen) == len(J) else J[chosen]
            return along(axes, (p - target)[None])[0].T, along(axes, J).permute(2, 1, 0).contiguous()

        return at

    def _raised(self, side: int, lift: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
        """The points of a foot whose middle, heel down, is at the origin, and which heads along X."""
        flat = REACH_M * torch.eye(3, dtype=lift.dtype)[[Y, X, Z]]
        flat[0] = 0.0
        toes = self.toes[side]
        if toes is None or not bool((lift != 0.0).any()):
            return flat.expand(*lift.shape, 3, 3)
        level, middle = self._level[side]
        axis = torch.as_tensor(level @ toes.axis).to(lift)
        about = torch.as_tensor(level @ (toes.origin - middle)).to(lift)
        arm = flat - about
        angle = (toes.slope * lift)[..., None, None]
        across = torch.linalg.cross(axis.expand_as(arm), arm)
        along = (arm @ axis)[:, None] * axis
        return about + along + angle.cos() * (arm - along) + angle.sin() * across


def foot_axes(points: Float[Tensor, "2 3 3 frame"]) -> Float[Tensor, "2 3 3 frame"]:
    """Axes of feet, row by row: ahead, up, aside."""
    ahead, aside = ((points[:, i] - points[:, MIDDLE]) / REACH_M for i in (AHEAD, ASIDE))
    return torch.stack([ahead, torch.linalg.cross(aside, ahead, dim=1), aside], 1)


def along(axes: Float[Tensor, "2 3 3 frame"], moved: Float[Tensor, "way 2 3 3 frame"]) -> Float[Tensor, "way 12 frame"]:
    """How far points of both feet are moved, along the twelve directions of `INDEPENDENT`."""
    point, direction = (list(x) for x in zip(*INDEPENDENT, strict=True))
    return (moved[:, :, point] * axes[:, direction]).sum(3).flatten(1, 2)


def _turned(heading: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations about Y that take X to (x, 0, z)."""
    x, z = heading.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack([x, zero, -z, zero, one, zero, z, zero, x], -1).unflatten(-1, (3, 3))


def _toes(tables: SkeletonTables, bone: int, beyond: set[int]) -> Toes | None:
    """The hinge between a calcaneus and the other body of its foot."""
    if len(beyond) != 1:
        return None
    k, stop, path = int(tables.body_primitive[beyond.pop()]), int(tables.body_primitive[bone]), []
    while k not in (stop, -1):
        path.append(k)
        k = int(tables.parent[k])
    moving = [k for k in path if np.abs(tables.affine[k, 0]) > 0 or tables.spline[k] >= 0]
    if k != stop or len(moving) != 1 or path[-1] != moving[0]:
        return None
    (hinge,) = moving
    c = int(tables.coordinate[hinge])
    if tables.kind[hinge] != ROTATION or tables.spline[hinge] >= 0 or tables.locked[c]:
        return None
    low, high = tables.range[c]
    R, p = tables.body_rotation[bone], tables.body_translation[bone]
    axis = R.T @ tables.fixed_rotation[hinge] @ tables.axis[hinge]
    return Toes(
        c,
        float(np.clip(0.0, low, high)),
        float(tables.affine[hinge, 0]),
        axis,
        R.T @ (tables.fixed_translation[hinge] - p),
    )


def _standing(skeleton: Skeleton, bone: int, mine: Sequence[int], toes: Toes | None) -> tuple[np.ndarray, np.ndarray]:
    """Axes of a foot that stands flat, row by row (ahead, up, aside), and its middle on the ground, in its calcaneus.

    The normal u of the plane has the least sum of squares of u . c - r - const over the spheres (c, r).
    """
    q = skeleton.default.double().clone()
    if toes is not None:
        q[toes.coordinate] = toes.straight
    poses = skeleton(q.to(skeleton.default))
    lowest = skeleton.contact_points(poses)[mine]
    lowest[:, Y] += skeleton.contact_radius[mine]
    centre = ((lowest - poses.position[bone]) @ poses.rotation[bone]).double().numpy()
    radius = skeleton.contact_radius[mine].double().numpy()
    across = np.column_stack([centre[:, X], centre[:, Z], np.ones(len(mine))])
    slope = np.linalg.lstsq(across, radius - centre[:, Y], rcond=None)[0]
    up = np.array([slope[0], 1.0, slope[1]])
    up /= np.linalg.norm(up)
    ahead = np.array([1.0, 0.0, 0.0]) - up[X] * up
    ahead /= np.linalg.norm(ahead)
    middle = centre.mean(0)
    return np.stack([ahead, up, np.cross(ahead, up)]), middle - (middle @ up - (centre @ up - radius).min()) * up
