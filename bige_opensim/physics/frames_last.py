"""What moving takes, for very many frames: Newton and Euler of `dynamics` with the frames as the last dimension.

A motion search asks for thousands of frames at once, of which each is a few hundred numbers. With the frames last,
every operation runs along memory, and sums over the tree are products of matrices. The skeleton is a product of
exponentials: in its home pose, where nothing is displaced, every frame is turned as ground is, so that primitive k has

    R_k = R_above exp([a_k] s_k) for a rotation about a_k,      R_k = R_above for a translation,

and translations and constant offsets only add to positions. With r_k the step from the origin above to the own one, e_k
the axis in ground and w the angular velocity of the frame above k, sums over all that moves a frame are its

    position  sum r,      angular velocity  sum e s',      angular acceleration  sum (e s'' + w x e s'),
    acceleration of the origin  sum (w' x r + w x (w x r + 2 e s') + e s''),

with e s' and e s'' of rotations in the first line and of translations in the second: what `dynamics.kinematics`
computes, Simbody's own terms included. Forces and moments of bodies and generalized forces are as there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.hermite import hermite
from bige_opensim.physics.skeleton import ROTATION, Skeleton, SkeletonTables


class Wrenches(NamedTuple):
    """What N frames take, in ground axes, and what turns it into generalized forces.

    force (B, 3, N), N, and moment about the ground origin (B, 3, N), N·m, of the motion of every body that floats,
    gravity included; axis (K, 3, N) and slope ds/dq (K, N) of the primitives; origin (R, 3, N), m, of those that turn;
    position (B, 3, N), m, of what carries each body, and rotation (B, 3, 3, N) from home, column by column.
    """

    force: Tensor
    moment: Tensor
    axis: Tensor
    slope: Tensor
    origin: Tensor
    position: Tensor
    rotation: Tensor


class Home(NamedTuple):
    """A skeleton in its home pose: every frame is turned as ground is, and nothing is displaced.

    axis, step (K, 3): of the primitives, the latter from the origin above, m; mass (B,), kg, 0 of bodies that do not
    float; com (B, 3): from the origin of the body's carrier, m; inertia (B, 3, 3): about it, kg m2, 0 likewise.
    """

    axis: np.ndarray
    step: np.ndarray
    mass: np.ndarray
    com: np.ndarray
    inertia: np.ndarray


class FramesLast(torch.nn.Module):
    """Inverse dynamics of a skeleton for coordinates (C, N), differentiable, in the skeleton's precision.

    Of the K primitives, `turning` are those that rotate, in the order of how many rotations there are from the root,
    `stepping` those whose origin is not the one above. Rotations from home are told apart by rows: 0 for ground, then
    the turning primitives'.
    """

    turning: Tensor
    stepping: Tensor
    coordinate: Tensor
    row_above: Tensor
    row_body: Tensor
    simbody_spin: Tensor
    splined: Tensor
    axis_and_step: Tensor
    exponential: Tensor
    slides: Tensor
    mass: Tensor
    com: Tensor
    inertia: Tensor
    moves_above: Tensor
    moves_body: Tensor
    steps_origin: Tensor
    steps_body: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        t, self.skeleton = skeleton.tables, skeleton
        turns = t.kind == ROTATION
        moved = skeleton.ancestors.double().numpy()
        home = _home(t)
        rotations = (moved * turns).sum(1).astype(int)  # on the way from the root, the own one included
        turning = np.flatnonzero(turns)[np.argsort(rotations[turns], kind="stable")]
        step = np.einsum("kij,kj->ki", _above(home, t.parent, np.eye(3)), t.fixed_translation)
        stepping = np.flatnonzero((step != 0.0).any(1) | ~turns)
        place = np.zeros(len(turns), dtype=np.int64)
        place[turning] = np.arange(len(turning))
        row = _rows(t.parent, turns, place)
        self._levels = _levels(rotations[turning], _above(row, t.parent, 0)[turning])
        carrier, fixed = t.body_primitive, t.body_primitive < 0  # no primitive moves a body that is fixed to ground
        self._body_home = np.where(fixed[:, None, None], np.eye(3), home[carrier])
        moves_body = np.where(fixed[:, None], 0.0, moved[carrier])
        floats = (skeleton.person_mass > 0).double().numpy()
        own = self._body_home @ t.body_rotation
        axis = np.einsum("kij,kj->ki", home, t.axis)
        com = self.from_carrier(np.arange(len(t.bodies)), t.com)
        inertia = floats[:, None, None] * (own @ t.inertia @ own.transpose(0, 2, 1))
        self.home = Home(axis, step, floats * t.mass, com, inertia)
        skew = np.cross(axis[turning, None], np.eye(3)).transpose(0, 2, 1)
        for name, numbers in {
            "axis_and_step": np.stack([axis, step], 1),
            "exponential": np.stack([np.broadcast_to(np.eye(3), skew.shape), skew, skew @ skew], -1).reshape(-1, 9, 3),
            "slides": (~turns[stepping])[:, None],
            "mass": self.home.mass[:, None, None],
            "com": com[:, None],
            "inertia": inertia,
            "moves_above": (moved - np.eye(len(moved)))[:, turning],
            "moves_body": moves_body[:, turning],
            "steps_origin": moved[turning][:, stepping],
            "steps_body": moves_body[:, stepping],
        }.items():
            self.register_buffer(name, torch.as_tensor(numbers).to(skeleton.mass), persistent=False)
        spin = t.simbody_spin.reshape(-1, 4).astype(np.int64)
        for name, indices in {
            "turning": turning,
            "stepping": stepping,
            "splined": np.flatnonzero(t.spline >= 0),
            "coordinate": t.coordinate,
            "row_above": _above(row, t.parent, 0),
            "row_body": np.where(fixed, 0, row[carrier]),
            "simbody_spin": np.column_stack([place[spin[:, :3]], spin[:, 3]]),
        }.items():
            self.register_buffer(name, torch.as_tensor(indices.astype(np.int64)), persistent=False)

    def from_carrier(self, bodies: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Points fixed in bodies (P, 3) as they lie from the origins of the bodies' carriers in the home pose, m."""
        t = self.skeleton.tables
        local = t.body_translation[bodies] + np.einsum("pij,pj->pi", t.body_rotation[bodies], points)
        return np.einsum("pij,pj->pi", self._body_home[bodies], local)

    def forward(
        self,
        q: Float[Tensor, "coordinate frame"],
        qd: Float[Tensor, "coordinate frame"],
        qdd: Float[Tensor, "coordinate frame"],
    ) -> Wrenches:
        """What the frames take, from q, q' and q'' (rad, m, s)."""
        value, slope, rate, second = self._displaced(*(x.index_select(0, self.coordinate) for x in (q, qd, qdd)))
        R = self._rotations(value.index_select(0, self.turning))
        axis, step = turned(self.axis_and_step, R.index_select(0, self.row_above)).unbind(1)
        spin_axis, along = axis.index_select(0, self.turning), axis.index_select(0, self.stepping)
        spin = spin_axis * rate.index_select(0, self.turning)[:, None]
        w_above = summed(self.moves_above, spin)
        spin_rate = spin_axis * second.index_select(0, self.turning)[:, None]
        spin_rate = spin_rate + cross(w_above.index_select(0, self.turning), spin)
        if len(self.simbody_spin):
            at, i, j, sign = self.simbody_spin.unbind(1)
            spin_rate = spin_rate.index_add(0, at, sign[:, None, None] * cross(spin[i], spin[j]))
        w, dw = w_above.index_select(0, self.stepping), summed(self.moves_above[self.stepping], spin_rate)
        slide, speed, gain = (
            along * (x.index_select(0, self.stepping) * self.slides)[:, None] for x in (value, rate, second)
        )
        r = step.index_select(0, self.stepping) + slide
        bent = cross(dw, r) + cross(w, cross(w, r) + 2.0 * speed) + gain
        position, acceleration = summed(self.steps_body, r), summed(self.steps_body, bent)
        omega, alpha = summed(self.moves_body, spin), summed(self.moves_body, spin_rate)
        rotation = R.index_select(0, self.row_body)
        force, moment = self._body_wrenches(rotation, position, acceleration, omega, alpha)
        return Wrenches(force, moment, axis, slope, summed(self.steps_origin, r), position, rotation)

    def generalized(
        self, found: Wrenches, force: Float[Tensor, "body 3 frame"], moment: Float[Tensor, "body 3 frame"]
    ) -> Float[Tensor, "coordinate frame"]:
        """Generalized forces of wrenches on bodies: N, and N·m about the ground origin, in ground axes."""
        subtree, selector = self.skeleton.subtree, self.skeleton.selector
        total = summed(subtree, force)
        about = summed(subtree[self.turning], moment) - cross(found.origin, total.index_select(0, self.turning))
        load = (found.axis * total.index_copy(0, self.turning, about)).sum(1)
        return selector.T @ (load * found.slope)

    def _displaced(self, x: Tensor, xd: Tensor, xdd: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """s = f(q) of every primitive, ds/dq, s' and s'', see `Skeleton.displacements`; all (primitive, frame)."""
        affine = self.skeleton.affine[..., None]
        value, slope = x * affine[:, 0] + affine[:, 1], affine[:, 0].expand_as(x)
        if not len(self.splined):
            return value, slope, slope * xd, slope * xdd
        s, row = self.skeleton, self.skeleton.spline_index[self.splined]
        cubics = hermite(x[self.splined].T, s.spline_low[row], s.spline_step[row], s.spline_nodes, row)
        value = value.index_copy(0, self.splined, cubics.value().T)
        slope = slope.index_copy(0, self.splined, cubics.slope().T)
        bending = cubics.curvature().T * xd[self.splined].square()
        return value, slope, slope * xd, (slope * xdd).index_add(0, self.splined, bending)

    def _rotations(self, angle: Float[Tensor, "turning frame"]) -> Float[Tensor, "row 3 3 frame"]:
        """Rotations from home, column by column: ground's, then those of the turning primitives.

        exp([a] s) = 1 + sin(s) [a] + (1 - cos(s)) [a]^2, one product with those above for every number of rotations.
        """
        one = torch.ones_like(angle)
        own = torch.bmm(self.exponential, torch.stack([one, angle.sin(), 1.0 - angle.cos()], 1)).unflatten(1, (3, 3))
        above = own.new_zeros(1, 3, 3, angle.shape[-1])
        above[0, range(3), range(3)] = 1.0
        parts, first = [above], 0
        for up in self._levels:
            E = own[first : first + len(up)]  # (turning, row, column, frame)
            P = above[up]
            columns = P[:, 0, None] * E[:, 0, :, None]
            columns = torch.addcmul(columns, P[:, 1, None], E[:, 1, :, None])
            above = torch.addcmul(columns, P[:, 2, None], E[:, 2, :, None])
            parts.append(above)
            first += len(up)
        return torch.cat(parts)

    def _body_wrenches(
        self, R: Tensor, position: Tensor, acceleration: Tensor, omega: Tensor, alpha: Tensor
    ) -> tuple[Float[Tensor, "body 3 frame"], Float[Tensor, "body 3 frame"]]:
        """Force and moment about the ground origin that every body's motion takes, see `dynamics.body_wrenches`."""
        arm = turned(self.com, R)[:, 0]
        fall = acceleration - self.skeleton.gravity[:, None]
        force = self.mass * (fall + cross(alpha, arm) + cross(omega, cross(omega, arm)))
        spin, spin_rate = ((R * (self.inertia @ (R * x[:, None]).sum(2))[:, :, None]).sum(1) for x in (omega, alpha))
        return force, spin_rate + cross(omega, spin) + cross(position + arm, force)


def cross(a: Float[Tensor, "*batch 3 frame"], b: Float[Tensor, "*batch 3 frame"]) -> Float[Tensor, "*batch 3 frame"]:
    """Cross products."""
    (a1, a2, a3), (b1, b2, b3) = a.unbind(-2), b.unbind(-2)
    return torch.stack([a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1], -2)


def summed(matrix: Float[Tensor, "into from"], x: Float[Tensor, "from 3 frame"]) -> Float[Tensor, "into 3 frame"]:
    """Weighted sums of vectors, the frames last."""
    return (matrix @ x.flatten(1)).unflatten(1, x.shape[1:])


def turned(
    fixed: Float[Tensor, "one vector 3"], R: Float[Tensor, "one 3 3 frame"]
) -> Float[Tensor, "one vector 3 frame"]:
    """Constant vectors of the home pose, turned."""
    return torch.bmm(fixed, R.flatten(2)).unflatten(2, R.shape[2:])


def _above(values: np.ndarray, parent: np.ndarray, of_ground: np.ndarray | int) -> np.ndarray:
    """Values of the frames above."""
    at_ground = (parent < 0).reshape(-1, *[1] * (values.ndim - 1))
    return np.where(at_ground, of_ground, values[parent])


def _home(t: SkeletonTables) -> np.ndarray:
    """(K, 3, 3) orientations of the primitives in the home pose; parents come first."""
    home = np.empty((len(t.parent), 3, 3))
    for k, p in enumerate(t.parent):
        home[k] = t.fixed_rotation[k] if p < 0 else home[p] @ t.fixed_rotation[k]
    return home


def _rows(parent: np.ndarray, turns: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(K,) row of the last rotation on the way from the root to every primitive, the own one included."""
    row = np.zeros(len(parent), dtype=np.int64)
    for k, p in enumerate(parent):
        row[k] = 1 + place[k] if turns[k] else 0 if p < 0 else row[p]
    return row


def _levels(rotations: np.ndarray, row_above: np.ndarray) -> list[list[int]]:
    """Of those with as many rotations from the root, where the one above is among those with one less."""
    first = {int(n): 1 + int(i) for n, i in zip(*np.unique(rotations, return_index=True), strict=True)}
    return [[int(r) - first.get(n - 1, 0) for r in row_above[rotations == n]] for n in sorted(first)]
