"""Loads of motions on two feet in C, see `stance_loads.c`: a tenth of the processor time of the same by torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from bige_opensim.physics import native
from bige_opensim.physics.frames_last import Home
from bige_opensim.physics.skeleton import ROTATION, SkeletonTables

FEWEST_PER_THREAD = 4_000
"""Frames that are worth a thread, some 10 ms."""


class Feet(NamedTuple):
    """Contact points of the right foot, then of the left, and the constants of `stance_loads`.

    bodies (P,) that carry them; place (P, 3) from the origins of those bodies' carriers, at home, m; radius (P,), m;
    ahead (P,): their weights in where a foot points, m; feet: bodies that take the ground force.
    """

    bodies: Sequence[int]
    place: Float[np.ndarray, "point 3"]
    radius: Float[np.ndarray, " point"]
    ahead: Float[np.ndarray, " point"]
    feet: Sequence[int]
    weight_n: float
    least_weight: float
    least_apart_m2: float
    least_foot_m2: float


class _Skeleton(ctypes.Structure):
    """`Skeleton` in C."""

    _fields_ = (
        *((n, ctypes.c_int) for n in ("coordinates", "primitives", "nodes_of_spline", "spins", "bodies", "points")),
        *((n, ctypes.c_void_p) for n in ("turns", "parent", "coordinate", "spline", "axis", "step", "affine")),
        *((n, ctypes.c_void_p) for n in ("low", "spacing", "nodes", "spin", "body", "mass", "com", "inertia")),
        *((n, ctypes.c_void_p) for n in ("gravity", "carrier", "point")),
    )


class _Stance(ctypes.Structure):
    """`Stance` in C."""

    _fields_ = (
        ("skeleton", _Skeleton),
        ("channels", ctypes.c_int),
        *((n, ctypes.c_void_p) for n in ("column", "foot", "radius", "ahead")),
        *((n, ctypes.c_double) for n in ("weight", "least_weight", "least_apart", "least_foot")),
    )


def able(tables: SkeletonTables) -> bool:
    """Whether there is a compiled library, and the skeleton is one that it knows."""
    spin = tables.simbody_spin.reshape(-1, 4)
    return native.library() is not None and bool((spin[:, 1:3] <= spin[:, :1]).all())


class NativeStance(native.Tables):
    """A person who stands on two feet, in C, and is told so many loads beside those of the coordinates `columns`."""

    def __init__(self, tables: SkeletonTables, home: Home, feet: Feet, columns: Sequence[int], told: int) -> None:
        super().__init__()
        t, integers, doubles = tables, self._integers, self._doubles
        self.loads = len(columns) + told
        heavy = np.flatnonzero(home.mass)
        skeleton = _Skeleton(
            *(len(t.coordinates), len(t.kind), t.spline_nodes.shape[1], len(t.simbody_spin.reshape(-1, 4))),
            *(len(heavy), len(feet.bodies)),
            *map(integers, (t.kind == ROTATION, t.parent, t.coordinate, t.spline)),
            *map(doubles, (home.axis, home.step, t.affine, t.spline_low, t.spline_step, t.spline_nodes)),
            *map(integers, (t.simbody_spin, t.body_primitive[heavy])),
            *map(doubles, (home.mass[heavy], home.com[heavy], home.inertia[heavy], t.gravity)),
            integers(t.body_primitive[list(feet.bodies)]),
            doubles(feet.place),
        )
        self._stance = _Stance(
            skeleton,
            len(columns),
            *map(integers, (columns, t.body_primitive[list(feet.feet)])),
            *map(doubles, (feet.radius, feet.ahead)),
            *(feet.weight_n, feet.least_weight, feet.least_apart_m2, feet.least_foot_m2),
        )

    def __call__(
        self,
        q: Float[Tensor, "frame coordinate"],
        qd: Float[Tensor, "frame coordinate"],
        qdd: Float[Tensor, "frame coordinate"],
    ) -> Float[Tensor, "frame load"]:
        """Loads as `StanceLoads` has them, from q, q' and q'' (rad, m, s); differentiable."""
        found: Tensor = _Loads.apply(q.double(), qd.double(), qdd.double(), self)
        return found.to(q)

    def forward(self, states: Sequence[np.ndarray]) -> np.ndarray:
        """The same of contiguous doubles."""
        found = np.empty((len(states[0]), self.loads))
        self._over("bige_stance_loads", self._stance, (*states, found), FEWEST_PER_THREAD)
        return found

    def pull_back(self, states: Sequence[np.ndarray], asked: np.ndarray) -> list[np.ndarray]:
        """Gradients in q, q' and q'' of what has the gradients `asked` in the loads."""
        to = [np.empty_like(x) for x in states]
        self._over("bige_stance_loads_pullback", self._stance, (*states, asked, *to), FEWEST_PER_THREAD)
        return to


class _Loads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, qd: Tensor, qdd: Tensor, stance: NativeStance) -> Tensor:
        ctx.stance, ctx.given = stance, [np.ascontiguousarray(x.detach().numpy()) for x in (q, qd, qdd)]
        return torch.from_numpy(stance.forward(ctx.given))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, asked: Tensor) -> tuple[Tensor | None, ...]:
        to = ctx.stance.pull_back(ctx.given, np.ascontiguousarray(asked.numpy()))
        return *map(torch.from_numpy, to), None
