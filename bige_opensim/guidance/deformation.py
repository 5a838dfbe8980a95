"""Smooth changes of a recorded motion on planted feet, and how large they are.

A change is a vector x. Cubic B-splines over the cycle, some of them per coordinate, change the pelvis's place and
orientation and the trunk's angles; each foot may stand elsewhere and turned, for the whole motion; the duration is
stretched. The legs follow: every pose becomes the nearest one whose feet are where they stand (`closest_pose`). One
unit of x is 5 degrees, 5 cm or a tenth of the duration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import BSpline
from torch import Tensor

from bige_opensim.guidance.planting import FootPlanting
from bige_opensim.guidance.quantities import TRUNK_BODY
from bige_opensim.physics.closest_pose import Closest, closest_pose
from bige_opensim.physics.dynamics import State, point_jacobian
from bige_opensim.physics.planted_feet import MIDDLE, along, foot_axes
from bige_opensim.physics.skeleton import Skeleton

ANGLE_UNIT, LENGTH_UNIT_M, DURATION_UNIT = math.radians(5.0), 0.05, 0.1
BALANCE_UNIT_M = 0.02
"""Horizontal way of the mass centre relative to the feet that counts like 5 degrees of a joint: what keeps balance."""
SPLINES = 10
NEAR_GROUND_M = 0.01
LIFTED_M = 0.08
TOLERANCE_M, STEPS = 1e-6, 40
SIDES = ("right", "left")


class DeformationError(ValueError):
    """A motion that is not made on two planted feet."""


class Shape(NamedTuple):
    """A changed motion (time, coordinate) in rad and m, its duration in s, and dq/dx."""

    q: Float[Tensor, "time coordinate"]
    duration: float
    slopes: Float[Tensor, "time coordinate variable"]


class Size(NamedTuple):
    """Residuals R whose squares sum up to the size of a change, and their derivative dR/dx."""

    residuals: Float[Tensor, " row"]
    slopes: Float[Tensor, "row variable"]

    @property
    def total(self) -> float:
        """Sum of squares."""
        return float(self.residuals.square().sum())


@dataclass(frozen=True)
class _Stand:
    """Where a foot stands: its number, and the middle that it turns about, m."""

    foot: int
    middle: Float[Tensor, " 3"]


class Deformation:
    """All changes of one recorded repetition, (time, coordinate) in rad and m with the ground at height 0.

    Attributes
    ----------
    base
        The recorded motion with its feet planted: each foot stays where it stood on average and keeps its orientation
        over time, heels that rise included (`planted_ways`).
    variables
        How many numbers a change has.

    Raises
    ------
    DeformationError
        A foot leaves the ground.

    """

    def __init__(self, skeleton: Skeleton, recorded: Float[Tensor, "time coordinate"], duration: float) -> None:
        self.skeleton, self.duration = skeleton, duration
        self.planting = FootPlanting(skeleton, skeleton.coordinates)
        self.feet, self.own = self.planting.feet, self.planting.unknown
        ways = planted_ways(skeleton, recorded)
        points, _ = self.feet.where(recorded.T.contiguous())
        self.places = points + ways.permute(1, 2, 0)[:, None]
        shifts = [skeleton.index(n) for n in skeleton.tables.root["translations"]]
        onto = recorded.clone()
        onto[:, shifts] += ways.mean(1)
        self.base = self._closest(onto, self.places)[0]
        root = {*skeleton.tables.root["rotations"], *skeleton.tables.root["translations"]}
        self.free = [c for c in self.own if skeleton.coordinates[c] in root] + trunk_of(skeleton)
        self.moved = sorted({*self.own, *self.free})
        self.basis = torch.as_tensor(splines(len(recorded)))
        self.unit = torch.where(torch.tensor(skeleton.tables.rotational), ANGLE_UNIT, LENGTH_UNIT_M).to(self.base)
        self.stands = [_Stand(f, self.places[f, MIDDLE].mean(-1)) for f in range(len(self.places))]
        self.placing = len(self.free) * self.basis.shape[1]
        self.variables = self.placing + 3 * len(self.stands) + 1

    def shape(self, x: Float[Tensor, " variable"]) -> Shape:
        """The changed motion, its duration and dq/dx, legs included."""
        proposed = self.base.clone()
        proposed[:, self.free] += self.proposed(x) * self.unit[self.free]
        q, found = self._closest(proposed, self._moved_places(x))
        return Shape(q, self.duration * math.exp(DURATION_UNIT * float(x[-1])), self._slopes(found))

    def proposed(self, x: Float[Tensor, " variable"]) -> Float[Tensor, "time free"]:
        """What x asks of pelvis and trunk, in units, before the legs are closed over the feet."""
        return self.basis @ x[: self.placing].reshape(len(self.free), -1).T

    def size(self, x: Float[Tensor, " variable"], shape: Shape) -> Size:
        """How large a change is: R'R with, as mean squares over time,

        the change of every joint angle and of the pelvis's orientation (5 degrees) and place (5 cm), and the horizontal
        way of the mass centre relative to the feet (2 cm); and as squares the feet's places (5 cm, 5 degrees) and the
        duration (10 %).
        """
        root = len(shape.q) ** 0.5
        change = (shape.q - self.base)[:, self.moved] / self.unit[self.moved]
        com, J = self._com(shape.q)
        way = com - self._com(self.base)[0]
        of_way = torch.einsum("txc,tcn->txn", J, shape.slopes)
        for f in range(len(self.stands)):
            for axis in range(2):
                k, share = self.placing + 3 * f + axis, LENGTH_UNIT_M / len(self.stands)
                way[:, axis] -= share * x[k]
                of_way[:, axis, k] -= share
        rest = torch.eye(self.variables, dtype=x.dtype)[self.placing :]
        residuals = [change / root, way / BALANCE_UNIT_M / root, x[self.placing :]]
        slopes = [shape.slopes[:, self.moved] / self.unit[self.moved, None] / root, of_way / BALANCE_UNIT_M / root]
        return Size(torch.cat([r.flatten() for r in residuals]), torch.cat([*(s.flatten(0, 1) for s in slopes), rest]))

    def duration_slope(self, duration: float) -> float:
        """d(duration)/dx of the last variable, s."""
        return DURATION_UNIT * duration

    def _closest(self, q: Float[Tensor, "time coordinate"], places: Tensor) -> tuple[Tensor, Closest]:
        """The nearest poses whose feet are at these places."""
        p, there = self.planting, places.contiguous()
        equations = self.feet.equations(q.T.contiguous(), self.own, there)
        found = closest_pose(equations, q[:, self.own], p.weight, p.low, p.high, tolerance=TOLERANCE_M, steps=STEPS)
        return q.index_copy(1, torch.tensor(self.own), found.x), found

    def _slopes(self, found: Closest) -> Float[Tensor, "time coordinate variable"]:
        """dq/dx: the proposed changes projected onto poses whose feet stand, and what moved feet take along."""
        T, K = self.basis.shape
        own = self.own
        project = torch.eye(len(own), dtype=self.base.dtype) - found.inverse.mT @ found.jacobian
        project = torch.where(found.held.unsqueeze(1), 0.0, project)
        G = self.base.new_zeros(T, self.base.shape[1], self.variables)
        for j, c in enumerate(self.free):
            change = self.basis * self.unit[c]
            if c in own:
                G[:, own, j * K : (j + 1) * K] = project[:, :, own.index(c), None] * change[:, None]
            else:
                G[:, c, j * K : (j + 1) * K] = change
        axes = foot_axes(self.places)
        for stand in self.stands:
            moved = along(axes, self._ways(stand)).permute(2, 1, 0)
            first = self.placing + 3 * stand.foot
            G[:, own, first : first + 3] = found.inverse.mT @ moved
        return G

    def _ways(self, stand: _Stand) -> Float[Tensor, "3 2 3 3 time"]:
        """How the points of the feet move with a foot's variables: forward, to the right, turned about the vertical."""
        arm = self.places[stand.foot] - stand.middle[:, None]
        ways = self.places.new_zeros(3, *self.places.shape)
        ways[0, stand.foot, :, 0] = ways[1, stand.foot, :, 2] = LENGTH_UNIT_M
        ways[2, stand.foot, :, 0], ways[2, stand.foot, :, 2] = ANGLE_UNIT * arm[:, 2], -ANGLE_UNIT * arm[:, 0]
        return ways

    def _moved_places(self, x: Tensor) -> Float[Tensor, "2 3 3 time"]:
        places = self.places.clone()
        for stand in self.stands:
            first = self.placing + 3 * stand.foot
            forward, right, turn = (float(v) for v in x[first : first + 3])
            c, s = math.cos(ANGLE_UNIT * turn), math.sin(ANGLE_UNIT * turn)
            arm = self.places[stand.foot] - stand.middle[:, None]
            places[stand.foot, :, 0] = stand.middle[0] + c * arm[:, 0] + s * arm[:, 2] + LENGTH_UNIT_M * forward
            places[stand.foot, :, 2] = stand.middle[2] + c * arm[:, 2] - s * arm[:, 0] + LENGTH_UNIT_M * right
        return places

    def _com(self, q: Tensor) -> tuple[Float[Tensor, "time 2"], Float[Tensor, "time 2 coordinate"]]:
        """Horizontal place of the mass centre, and its Jacobian."""
        skeleton = self.skeleton
        displacement = skeleton.displacements(q)
        chain = skeleton.chain(displacement.value)
        still = State(chain, displacement, skeleton.body_frames(chain), None)  # type: ignore[arg-type]
        every = list(range(len(skeleton.bodies)))
        share = skeleton.person_mass / skeleton.person_mass.sum()
        J = point_jacobian(skeleton, still, skeleton.body_coms(still.poses), every)
        return skeleton.com(still.poses)[:, [0, 2]], torch.einsum("b,tbxc->txc", share, J[:, :, [0, 2]])


def splines(frames: int, count: int = SPLINES) -> Float[np.ndarray, "frame spline"]:
    """Clamped uniform cubic B-splines on the cycle; they sum up to 1."""
    inner = np.linspace(0.0, 1.0, count - 2)
    knots = np.concatenate([[0.0] * 3, inner, [1.0] * 3])
    return BSpline.design_matrix(np.linspace(0.0, 1.0, frames), knots, 3).toarray()


def trunk_of(skeleton: Skeleton) -> list[int]:
    """Coordinates between pelvis and trunk that the model does not hold."""
    if TRUNK_BODY not in skeleton.bodies:
        return []
    trunk, root = skeleton.bodies.index(TRUNK_BODY), {*skeleton.tables.root["rotations"]}
    root |= {*skeleton.tables.root["translations"]}
    return [
        i
        for i, name in enumerate(skeleton.coordinates)
        if name not in root
        and not skeleton.tables.locked[i]
        and bool(skeleton.subtree[skeleton.coordinate_index == i][:, trunk].any())
    ]


def planted_ways(skeleton: Skeleton, recorded: Float[Tensor, "time coordinate"]) -> Float[Tensor, "time 2 3"]:
    """How far each foot is to be moved, m, so that it does not move.

    A foot keeps its orientation and is shifted: vertically its lowest point is put on the ground; horizontally the
    points near the ground stay at their own mean places. A foot that rolls onto its toes does not slide by that.

    Raises
    ------
    DeformationError
        A foot leaves the ground.

    """
    points = skeleton.contact_points(skeleton(recorded))
    ways = []
    for side, name in enumerate(SIDES):
        foot = points[:, [i for i, n in enumerate(skeleton.contact_names) if n.endswith("rl"[side])]]
        lowest = foot[..., 1].amin(1)
        lifted = float(lowest.max() - lowest.min())
        if lifted > LIFTED_M:
            raise DeformationError(
                f"the {name} foot moves up and down by {100 * lifted:.0f} cm: only motions on two planted feet are "
                "edited, such as squats. Cut the repetition out with --start and --end."
            )
        near = torch.sigmoid((NEAR_GROUND_M - (foot[..., 1] - lowest[:, None])) / (0.25 * NEAR_GROUND_M))
        mean = (near[..., None] * foot).sum(0) / near.sum(0)[:, None]
        way = (near[..., None] * (mean - foot)).sum(1) / near.sum(1)[:, None]
        way[:, 1] = -lowest
        ways.append(way)
    return torch.stack(ways, 1)
