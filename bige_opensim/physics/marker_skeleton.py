"""Markers on a compiled skeleton, and the normal equations of fitting them, for many frames at once.

Markers at p_m(q) with weights w_m shall lie on observed places o_m. With r_m = p_m - o_m the objective of a frame is

    phi(q) = 1/2 sum_m w_m |r_m|^2 / sum_m w_m,

its gradient J'Wr and its Gauss-Newton matrix J'WJ. Neither takes the Jacobian J itself. Coordinate c moves all markers
below it by one twist (omega_c, v_c), the velocity dp/dq_c = v_c + omega_c x p about the ground origin: (a, o x a) for a
rotation about the axis a through o, (0, a) for a translation, times ds/dq. A force of w r at every marker has the
generalized forces

    g_c = omega_c . sum p x w r + v_c . sum w r                                               (markers below c),

and J'WJ is the mass matrix of a tree that carries a point mass w_m at every marker, found as composite rigid bodies
are (Featherstone 2008, doi:10.1007/978-1-4899-7560-7, chapter 6): with the mass m, first moment c and second moments S
of the markers below d, the twist of d has the momentum

    P_d = m v_d + omega_d x c,      L_d = c x v_d + (tr S) omega_d - S omega_d,

and H_cd = omega_c . L_d + v_c . P_d for every c above d; coordinates on different branches do not meet.

The second derivatives of phi have one term more, sum w r . d2p/dq_c dq_d. What c does to the velocity of a marker
below d is to turn it, d2p/dq_c dq_d = omega_c x (v_d + omega_d x p), so that with F = sum w r and A = sum w p r'

    N_cd = H_cd + omega_c . K_d,      K_d = v_d x F + A omega_d - (tr A) omega_d,

(but for the bend of functions s(q) and the order of primitives that share a coordinate, both left out). Near a minimum
with residuals Newton's steps with N converge where those with H creep or swing.

Frames are the last axis of every tensor, so that each operation runs along memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.hermite import hermite
from bige_opensim.physics.skeleton import ROTATION, SkeletonTables, _cross_matrix


@dataclass(frozen=True, eq=False)
class MarkerTables:
    """A skeleton with M markers and the limits that its C coordinates must keep.

    Attributes
    ----------
    skeleton
        The skeleton; its locked coordinates keep their default values.
    names, body, place
        Of the markers: names; (M,) index of the body; (M, 3) place on the body, m.
    low, high
        (C,) limits in rad or m; infinite where the model does not clamp a coordinate.

    """

    skeleton: SkeletonTables
    names: tuple[str, ...]
    body: np.ndarray
    place: np.ndarray
    low: np.ndarray
    high: np.ndarray


class NormalEquations(NamedTuple):
    """phi (N,) in m2, its gradient (C', N), and the Gauss-Newton and Newton matrices (N, C', C').

    Of the matrices the upper triangles are 0. C' counts the columns of `MarkerSkeleton.columns`.
    """

    cost: Tensor
    gradient: Tensor
    matrix: Tensor
    newton: Tensor


class MarkerSkeleton:
    """The part of a skeleton that moves the markers in use.

    Attributes
    ----------
    columns
        (C',) index of the free coordinates that move at least one marker in use, from the root outwards.
    idle
        Index of the free coordinates that move none of them.

    """

    def __init__(self, tables: MarkerTables, markers: Sequence[str]) -> None:
        t = tables.skeleton
        self.tables, self.markers = tables, tuple(markers)
        at = np.array([tables.names.index(name) for name in markers])
        carrier = t.body_primitive[tables.body[at]]
        above = [_with_ancestors(t.parent, int(k)) for k in carrier]
        depth = {k: len(_with_ancestors(t.parent, k)) for k in set().union(*above)}
        self._order = np.array(sorted(depth, key=lambda k: (depth[k], k)), dtype=int)
        self._place_transforms(t, depth)
        slot = {-1: 0} | {int(k): i + 1 for i, k in enumerate(self._order)}
        self._carrier = torch.tensor([slot[int(k)] for k in carrier])
        turned = t.body_rotation[tables.body[at]] @ tables.place[at][:, :, None]
        self._place = torch.as_tensor(t.body_translation[tables.body[at]] + turned[:, :, 0])[:, :, None, None]
        moves = np.array([[k in chain for chain in above] for k in self._order]).reshape(len(self._order), len(at))
        self._place_columns(t, moves)

    def _place_transforms(self, t: SkeletonTables, depth: dict[int, int]) -> None:
        """Constants of the local transforms A0 + sin(s) A1 + (1 - cos s) A2 + s A3, each 3 x 4."""
        order = self._order
        turns = torch.as_tensor(t.kind[order] == ROTATION)[:, None, None]
        fixed, axis = torch.as_tensor(t.fixed_rotation[order]), torch.as_tensor(t.axis[order])[:, :, None]
        cross = torch.stack([_cross_matrix(a) for a in axis[:, :, 0]]) if len(axis) else fixed.new_zeros(0, 3, 3)
        none, still = torch.zeros_like(fixed), torch.zeros_like(axis)
        shift = torch.as_tensor(t.fixed_translation[order])[:, :, None]
        parts = (
            (fixed, shift),
            (torch.where(turns, fixed @ cross, none), still),
            (torch.where(turns, fixed @ cross @ cross, none), still),
            (none, torch.where(turns, still, fixed @ axis)),
        )
        self._constant = [torch.cat(part, 2).reshape(-1, 12, 1) for part in parts]
        self._axis = axis[..., None]
        self._turns = turns.to(fixed.dtype)
        slot = {-1: 0} | {int(k): i + 1 for i, k in enumerate(order)}
        self._levels = []
        for d in range(1, max(depth.values(), default=0) + 1):
            members = [slot[int(k)] for k in order if depth[int(k)] == d]
            parents = torch.tensor([slot[int(t.parent[k])] for k in order if depth[int(k)] == d])
            self._levels.append((slice(members[0], members[-1] + 1), parents))
        self._coordinate = torch.as_tensor(t.coordinate[order].astype(np.int64))
        self._affine = torch.as_tensor(t.affine[order])
        self._splined = torch.as_tensor(np.flatnonzero(t.spline[order] >= 0))
        row = t.spline[order][t.spline[order] >= 0]
        grids = (t.spline_low[row], t.spline_step[row], t.spline_nodes)
        self._spline = [*map(torch.as_tensor, grids), torch.as_tensor(row.astype(np.int64))]

    def _place_columns(self, t: SkeletonTables, moves: np.ndarray) -> None:
        """Groups of primitives of one coordinate that move the same markers, and which group is above which."""
        free = [c for c in range(len(t.coordinates)) if not t.locked[c]]
        groups: dict[tuple[int, bytes], list[int]] = {}
        for i, k in enumerate(self._order):
            if not t.locked[t.coordinate[k]]:
                groups.setdefault((int(t.coordinate[k]), moves[i].tobytes()), []).append(i)
        self.columns = torch.tensor(list(dict.fromkeys(c for c, _ in groups)), dtype=torch.int64)
        self.idle = [c for c in free if c not in set(self.columns.tolist())]
        member = np.zeros((len(groups), len(self._order)))
        for g, members in enumerate(groups.values()):
            member[g, members] = 1.0
        self._member = torch.as_tensor(member)
        sets = np.array([moves[members[0]] for members in groups.values()]).reshape(len(groups), -1)
        unique, self_row = np.unique(sets, axis=0, return_inverse=True)
        self._below = torch.as_tensor(unique.astype(np.float64))
        self._row = torch.as_tensor(self_row.reshape(-1))
        meets = np.tril((sets[:, None, :] <= sets[None, :, :]).all(axis=2))
        self._meets = torch.as_tensor(meets.astype(np.float64))
        place = {c: i for i, c in enumerate(self.columns.tolist())}
        contract = np.zeros((len(self.columns), len(groups)))
        contract[[place[c] for c, _ in groups], range(len(groups))] = 1.0
        self._contract = None if len(groups) == len(self.columns) else torch.as_tensor(contract)

    def positions(self, q: Float[Tensor, "coordinate frame"]) -> Float[Tensor, "marker 3 frame"]:
        """Where the markers are, m."""
        return self._markers(self._frames(self._displacements(q)[0]))

    def jacobian(
        self, q: Float[Tensor, "coordinate frame"]
    ) -> tuple[Float[Tensor, "marker 3 frame"], Float[Tensor, "column marker 3 frame"]]:
        """Where the markers are, m, and the derivative of that in the coordinates of `columns`."""
        value, slope = self._displacements(q)
        X = self._frames(value)
        p = self._markers(X)
        spin, slide = self._twists(X, slope)
        moved = _cross(spin[:, :, None].expand(-1, -1, len(p), -1), p.transpose(0, 1)[None]) + slide[:, :, None]
        J = (moved * self._below[self._row][:, None, :, None]).transpose(1, 2)
        if self._contract is not None:
            J = (self._contract @ J.flatten(1)).unflatten(1, J.shape[1:])
        return p, J

    def normal_equations(
        self,
        q: Float[Tensor, "coordinate frame"],
        observed: Float[Tensor, "marker 3 frame"],
        weight: Float[Tensor, "marker frame"],
    ) -> NormalEquations:
        """The equations of the module's docstring.

        Parameters
        ----------
        q
            Coordinates, rad and m.
        observed
            Recorded places, m; any finite number where a marker has no weight.
        weight
            w_m, 0 where a marker was not seen.

        """
        value, slope = self._displacements(q)
        X = self._frames(value)
        p = self._markers(X)
        w = (weight / weight.sum(0).clamp(min=torch.finfo(weight.dtype).tiny))[:, None]
        r = torch.where(w > 0.0, p - observed, 0.0)
        wr, wp = w * r, w * p
        outer = (p[:, :, None] * wr[:, None]).flatten(1, 2)
        sums = torch.cat([w, wp, wp * p, wp[:, :2] * p[:, 1:], wp[:, :1] * p[:, 2:], wr, outer], 1)
        sums = (self._below @ sums.flatten(1)).unflatten(1, (22, -1))[self._row]
        mass, first, square, mixed, force, outer = sums.split([1, 3, 3, 3, 3, 9], 1)
        A = outer.unflatten(1, (3, 3))
        torque = torch.stack([A[:, 1, 2] - A[:, 2, 1], A[:, 2, 0] - A[:, 0, 2], A[:, 0, 1] - A[:, 1, 0]], 1)
        spin, slide = self._twists(X, slope)
        gradient = (spin * torque + slide * force).sum(1)
        P = mass * slide + _cross(spin, first)
        xy, yz, xz = mixed.unbind(1)
        x, y, z = spin.unbind(1)
        mix = torch.stack([xy * y + xz * z, xy * x + yz * z, xz * x + yz * y], 1)
        L = _cross(first, slide) + (square.sum(1, keepdim=True) - square) * spin - mix
        trace = A[:, 0, 0] + A[:, 1, 1] + A[:, 2, 2]
        K = _cross(slide, force) + (A * spin[:, None]).sum(2) - trace[:, None] * spin
        twist = torch.cat([spin, slide], 1).permute(2, 1, 0).contiguous()
        both = torch.cat([torch.cat([L, P], 1), torch.cat([L + K, P], 1)]).permute(2, 0, 1).contiguous()
        matrix, newton = ((both @ twist).unflatten(1, (2, -1)) * self._meets).unbind(1)
        if self._contract is not None:
            E = self._contract
            matrix, newton = (E @ (H + H.tril(-1).mT) @ E.T for H in (matrix, newton))
            gradient = E @ gradient
            matrix, newton = matrix.tril(), newton.tril()
        return NormalEquations(0.5 * (wr * r).sum((0, 1)), gradient, matrix, newton)

    def _displacements(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """s and ds/dq of every primitive, (K, N)."""
        x = q[self._coordinate]
        value = torch.addcmul(self._affine[:, 1:], x, self._affine[:, :1])
        slope = self._affine[:, :1].expand_as(x).contiguous()
        if len(self._splined):
            cubics = hermite(x[self._splined].T, *self._spline)
            value[self._splined], slope[self._splined] = cubics.value().T, cubics.slope().T
        return value, slope

    def _frames(self, s: Float[Tensor, "primitive frame"]) -> Float[Tensor, "slot 3 4 frame"]:
        """Rotation and origin, side by side, of ground (slot 0) and of every primitive after its motion."""
        A = self._constant
        local = torch.addcmul(torch.addcmul(A[0], A[1], s.sin()[:, None]), A[2], (1.0 - s.cos())[:, None])
        local = local.addcmul_(A[3], s[:, None]).unflatten(1, (3, 4))
        X = s.new_empty(len(s) + 1, 3, 4, s.shape[1])
        X[0] = torch.eye(3, 4, dtype=s.dtype, device=s.device)[..., None]
        for at, parents in self._levels:
            up, move, here = X.index_select(0, parents), local[at.start - 1 : at.stop - 1], X[at]
            torch.mul(up[:, :, :1], move[:, :1], out=here)
            here.addcmul_(up[:, :, 1:2], move[:, 1:2]).addcmul_(up[:, :, 2:3], move[:, 2:3])
            here[:, :, 3].add_(up[:, :, 3])
        return X

    def _markers(self, X: Tensor) -> Tensor:
        x, y, z, origin = X.index_select(0, self._carrier).unbind(2)
        lx, ly, lz = self._place.unbind(1)
        return origin.addcmul(x, lx).addcmul_(y, ly).addcmul_(z, lz)

    def _twists(self, X: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Angular and linear part of the twist of every group, (G, 3, N)."""
        x, y, z, origin = X[1:].unbind(2)
        ax, ay, az = self._axis.unbind(1)
        axis = (x * ax).addcmul_(y, ay).addcmul_(z, az) * slope[:, None]
        spin = axis * self._turns
        slide = axis - spin + _cross(origin, spin)
        both = (self._member @ torch.cat([spin, slide], 1).flatten(1)).unflatten(1, (6, -1))
        return both[:, :3], both[:, 3:]


def _with_ancestors(parent: np.ndarray, k: int) -> set[int]:
    found = set()
    while k >= 0:
        found.add(k)
        k = int(parent[k])
    return found


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross product along the second axis."""
    (a1, a2, a3), (b1, b2, b3) = a.unbind(1), b.unbind(1)
    return torch.stack([a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1], 1)
