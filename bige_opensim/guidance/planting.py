"""Motions whose feet stand still: legs closed over planted feet, as near to the given motion as that is possible."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.closest_pose import Closest, closest_pose, differentiable
from bige_opensim.physics.planted_feet import AHEAD, ASIDE, MIDDLE, REACH_M, Feet, Y, along, foot_axes
from bige_opensim.physics.skeleton import Skeleton

ROOT_TURN, ROOT_SHIFT, BELOW_SHANK = 4.0, 30.0, 0.1
"""What turning the root costs against turning a hip or knee, per rad2; what moving it does, per m2; and ankles, whose
angles carry the errors of the few markers on a foot. Near straight knees legs reach their places by large turns of
everything else, and the root, which carries the trunk, has to move as smoothly as the motion does."""
TOLERANCE_M = 1e-5
RAISED_FROM = 0.25
"""Bending of the toes in the first frame, rad, from which a heel is raised there, as behind in a split squat."""
LIFT_FROM, POINTS_FROM, LIFT_WIDTH = 0.00873, 0.3, 0.035
"""Bending of the toes, and pointing down of a foot, rad, from which they count as a raised heel (feet on the ground are
recorded as pointing up to 8 degrees down), and over which they begin to count."""


class FootPlanting:
    """Motions of one skeleton to motions whose feet stand flat on the ground at height 0 and do not move.

    A motion's feet stand where they are in it on average: at their mean headings and their mean distance from each
    other, their middle where it was in the first frame. Where they are not level, ankles are taken to be wrong, and
    headings are those of feet that their ankles have levelled. Where the toes of a motion bend further up than in its
    first frame, or a foot points down, the heel is raised about toes that stay flat; small angles are taken for errors.
    The root is moved onto these feet, wherever it was: a generator's translations come from bodies of other sizes. Then
    every pose becomes the nearest one that stands there (`closest_pose`), by the coordinates that move the feet. Trunk
    and arms keep their angles, and coordinates that the model holds are put where it holds them. Valid for movements in
    which no foot leaves the ground. Differentiable in the motion. Each call starts from the poses of the last one of
    the same size, which saves steps in a search and changes no answer.

    A motion that was planted and then filtered is planted `again`: heels are as high as its toes bend, for taking small
    angles for errors twice would lower them by a kink. Angles stay `margin_rad` inside their ranges: where the first
    planting leaves such room, the second meets no limit that the filter smoothed over.
    """

    def __init__(
        self, skeleton: Skeleton, channels: Sequence[str], *, again: bool = False, margin_rad: float = 0.0
    ) -> None:
        tables, self.again = skeleton.tables, again
        self.feet = Feet(skeleton)
        self.default = torch.as_tensor(tables.default, dtype=torch.float64)
        self.places = [tables.coordinates.index(n) for n in channels]
        self.held = [place for place in self.places if tables.locked[place]]
        self.unknown = [c for c in self.feet.columns if c in self.places]
        self.ankles = [k for k, c in enumerate(self.feet.columns) if c in self.feet.below_shank and c in self.places]
        self.toes = [None if t is None or t.coordinate not in self.places else t for t in self.feet.toes]
        self.shifts = [tables.coordinates.index(n) for n in tables.root["translations"]]
        costs = {tables.coordinates.index(n): ROOT_TURN for n in tables.root["rotations"]}
        costs |= dict.fromkeys(self.shifts, ROOT_SHIFT)
        costs |= dict.fromkeys(self.feet.below_shank, BELOW_SHANK)
        self.weight = torch.tensor([costs.get(c, 1.0) for c in self.unknown], dtype=torch.float64)
        limits = torch.as_tensor(tables.range[self.unknown], dtype=torch.float64)
        turns = torch.tensor([tables.rotational[c] for c in self.unknown])
        margin = torch.where(turns, margin_rad, 0.0).minimum(0.25 * (limits[:, 1] - limits[:, 0]).nan_to_num(torch.inf))
        self.low = (limits[:, 0] + margin).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        self.high = (limits[:, 1] - margin).nan_to_num(nan=torch.inf, posinf=torch.inf)
        self._last: Closest | None = None

    def __call__(self, q: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch time channel"]:
        """The motions with planted feet, in rad and m."""
        full = self._full(q)
        target, full = self._target(full)
        flat = full.flatten(0, 1)
        start, target = flat[:, self.unknown], target.flatten(0, 1).permute(1, 2, 3, 0)
        there, fixed = target.detach().contiguous(), start.detach()
        equations = self.feet.equations(flat.detach().T.contiguous(), self.unknown, there)
        near = self._last if self._last is not None and len(self._last.x) == len(start) else None
        found = closest_pose(equations, fixed, self.weight, self.low, self.high, tolerance=TOLERANCE_M, near=near)
        self._last = found
        x = found.x
        if q.requires_grad:
            x = differentiable(found, start, along(foot_axes(there), (there - target)[None])[0].T)
        planted = flat.index_copy(-1, torch.tensor(self.unknown), x)[:, self.places]
        return planted.reshape(q.shape).to(q)

    def _full(self, q: Tensor) -> Float[Tensor, "batch time coordinate"]:
        full = self.default.expand(*q.shape[:-1], -1).clone()
        full[..., self.places] = q.to(full)
        full[..., self.held] = self.default[self.held]
        return full

    def _target(self, full: Float[Tensor, "batch time coordinate"]) -> tuple[Tensor, Tensor]:
        """The points of feet that stand (batch, time, 2, 3, 3), and the motion moved onto them, its toes on the ground.

        The root is moved by as much as takes the middle of both feet where it stands.
        """
        points, lift = self._levelled(full)
        ahead = (points[..., AHEAD, :] - points[..., MIDDLE, :])[..., [0, 2]]
        heading = _unit(_unit(ahead).mean(1, keepdim=True))
        middle = points[..., MIDDLE, :][..., [0, 2]]
        apart = 0.5 * (middle[..., 0, :] - middle[..., 1, :]).mean(1, keepdim=True)
        between = middle[:, :1].mean(2)
        stand = torch.stack([between + apart, between - apart], 2)
        for side, toes in enumerate(self.toes):
            if toes is not None:
                bent = (toes.straight - lift[..., side]).unsqueeze(-1)
                full = full.index_copy(-1, torch.tensor([toes.coordinate]), bent)
        shape = (*full.shape[:2], 2, 2)
        target = self.feet.standing(stand.expand(shape), heading.expand(shape), lift)
        onto = (target - points)[..., MIDDLE, :].mean(-2)
        free = [k for k, c in enumerate(self.shifts) if c in self.unknown]
        return target, full.index_add(-1, torch.tensor(self.shifts)[free], onto[..., free])

    def _levelled(
        self, full: Float[Tensor, "batch time coordinate"]
    ) -> tuple[Float[Tensor, "batch time 2 3 3"], Float[Tensor, "batch time 2"]]:
        """The points of the feet, to first order after the ankles have levelled them, and the rise of the heels, rad.

        Both are differentiable in the motion. Per foot, with the height differences r of its points and their
        derivatives L in the ankle's coordinates, these change by -L' (L L' + e I)^-1 r. A foot whose heel is raised is
        levelled up to that.
        """
        flat = full.flatten(0, 1)
        with torch.no_grad():
            points, J = self.feet.where(flat.T.contiguous())
            L = (J[:, :, [AHEAD, ASIDE], Y] - J[:, :, [MIDDLE], Y])[self.ankles].permute(3, 1, 2, 0)
            LL = L @ L.mT
            LL.diagonal(dim1=-2, dim2=-1).mul_(1.0 + 1e-3).add_(1e-12)
            level = torch.linalg.solve(LL, L).permute(3, 1, 2, 0)
        if full.requires_grad:
            shift = flat[:, self.feet.columns] - flat[:, self.feet.columns].detach()
            points = points + (J * shift.T[:, None, None, None]).sum(0)
        tilt = points[:, [AHEAD, ASIDE], Y] - points[:, [MIDDLE], Y]
        lift = self._raised(full, -tilt[:, 0] / REACH_M)
        tilt = torch.stack([tilt[:, 0] + REACH_M * lift.sin(), tilt[:, 1]], 1)
        turn = (level * tilt).sum(2)
        points = points - (J[self.ankles] * turn[:, :, None, None]).sum(0)
        return points.permute(3, 0, 1, 2).unflatten(0, full.shape[:2]), lift.T.unflatten(0, full.shape[:2])

    def _raised(
        self, full: Float[Tensor, "batch time coordinate"], slope: Float[Tensor, "2 frame"]
    ) -> Float[Tensor, "2 frame"]:
        """How far heels are raised: by toes that bend up, or by feet that point down beyond what is mismeasured."""
        lifts = []
        for side, toes in enumerate(self.toes):
            lift = torch.zeros_like(slope[side])
            if toes is not None and self.again:
                most = toes.straight - float(self.feet.points.tables.low[toes.coordinate])
                lift = (toes.straight - full[..., toes.coordinate]).flatten().clamp(0.0, most)
            elif toes is not None:
                first = full[:, :1, toes.coordinate]
                flat = torch.where(toes.straight - first > RAISED_FROM, toes.straight, first)
                bend = (flat - full[..., toes.coordinate]).flatten()
                most = toes.straight - float(self.feet.points.tables.low[toes.coordinate])
                lift = torch.maximum(_above(bend, LIFT_FROM), _above(slope[side], POINTS_FROM)).clamp(max=most)
            lifts.append(lift)
        return torch.stack(lifts)


def plant_feet(
    skeleton: Skeleton, channels: Sequence[str], q: Float[Tensor, "batch time channel"]
) -> Float[Tensor, "batch time channel"]:
    """`FootPlanting` of motions, once."""
    return FootPlanting(skeleton, channels)(q)


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def _above(angle: Tensor, least: float) -> Tensor:
    """Zero up to the least, then smoothly (twice differentiable) to a slope of 1 over LIFT_WIDTH."""
    x = (angle - least).clamp(min=0.0)
    u = (x / LIFT_WIDTH).clamp(max=1.0)
    return LIFT_WIDTH * (u**3 - 0.5 * u**4) + (x - LIFT_WIDTH).clamp(min=0.0)
