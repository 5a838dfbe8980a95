"""A skeleton for what moves it in C, see `skeleton_motion.h`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from bige_opensim.physics import native
from bige_opensim.physics.frames_last import FramesLast, Home
from bige_opensim.physics.skeleton import ROTATION, Skeleton, SkeletonTables

FEWEST_PER_THREAD = 4_000
"""Frames that are worth a thread, some 10 ms."""


class SkeletonInC(ctypes.Structure):
    """`Skeleton` in C."""

    _fields_ = (
        *((n, ctypes.c_int) for n in ("coordinates", "primitives", "spins", "bodies", "points")),
        *((n, ctypes.c_void_p) for n in ("turns", "parent", "coordinate", "spline", "axis", "step", "affine")),
        ("splines", native.Curves),
        *((n, ctypes.c_void_p) for n in ("spin", "body", "mass", "com", "inertia", "gravity", "carrier", "point")),
    )


def able(tables: SkeletonTables) -> bool:
    """Whether there is a compiled library, and the skeleton is one that it knows."""
    spin = tables.simbody_spin.reshape(-1, 4)
    return native.library() is not None and bool((spin[:, 1:3] <= spin[:, :1]).all())


class OfMotions(native.Tables):
    """A function of q, q' and q'' of a skeleton in C: `name` gives `sizes` numbers, and `name`_pullback gradients."""

    name: str

    def __init__(self) -> None:
        super().__init__()
        self.structure: ctypes.Structure
        self.sizes: tuple[int, ...]

    def __call__(
        self,
        q: Float[Tensor, "frame coordinate"],
        qd: Float[Tensor, "frame coordinate"],
        qdd: Float[Tensor, "frame coordinate"],
    ) -> tuple[Float[Tensor, "frame number"], ...]:
        """What the function gives, in double precision, from q, q' and q'' (rad, m, s); differentiable."""
        found: tuple[Tensor, ...] = _OfMotions.apply(q.double(), qd.double(), qdd.double(), self)
        return found

    def forward(self, states: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The same of contiguous doubles."""
        found = tuple(np.empty((len(states[0]), size)) for size in self.sizes)
        self._over(self.name, self.structure, (*states, *found), FEWEST_PER_THREAD)
        return found

    def pull_back(self, states: Sequence[np.ndarray], asked: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Gradients in q, q' and q'' of what has the gradients `asked` in what the function gives."""
        to = [np.empty_like(x) for x in states]
        self._over(f"{self.name}_pullback", self.structure, (*states, *asked, *to), FEWEST_PER_THREAD)
        return to

    def _skeleton(
        self, tables: SkeletonTables, home: Home, bodies: Sequence[int], places: Float[np.ndarray, "point 3"]
    ) -> SkeletonInC:
        """With points of bodies, as they lie from the origins of those bodies' carriers at home, m."""
        t, integers, doubles = tables, self._integers, self._doubles
        heavy = np.flatnonzero(home.mass)
        return SkeletonInC(
            *(len(t.coordinates), len(t.kind), len(t.simbody_spin.reshape(-1, 4)), len(heavy), len(bodies)),
            *map(integers, (t.kind == ROTATION, t.parent, t.coordinate, t.spline)),
            *map(doubles, (home.axis, home.step, t.affine)),
            self._curves(t.spline_low, t.spline_step, t.spline_nodes),
            *map(integers, (t.simbody_spin, t.body_primitive[heavy])),
            *map(doubles, (home.mass[heavy], home.com[heavy], home.inertia[heavy], t.gravity)),
            integers(t.body_primitive[list(bodies)]),
            doubles(places),
        )


class NativeDemand(OfMotions):
    """(q, q', q'') -> force, N, and moment about the ground origin, N·m, that motions take, each (frame, 3)."""

    name = "bige_demand"

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.sizes = 3, 3
        self.structure = self._skeleton(skeleton.tables, FramesLast(skeleton).home, [], np.zeros((0, 3)))


class _OfMotions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, qd: Tensor, qdd: Tensor, function: OfMotions) -> tuple[Tensor, ...]:
        ctx.function, ctx.given = function, [np.ascontiguousarray(x.detach().numpy()) for x in (q, qd, qdd)]
        return tuple(map(torch.from_numpy, function.forward(ctx.given)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *asked: Tensor) -> tuple[Tensor | None, ...]:
        to = ctx.function.pull_back(ctx.given, [np.ascontiguousarray(x.numpy()) for x in asked])
        return *map(torch.from_numpy, to), None
