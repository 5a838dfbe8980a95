"""Muscle paths and strengths in C, see `muscle_paths.c`: a seventh of the processor time of the same by torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from bige_opensim.physics import native
from bige_opensim.physics.muscle_tables import MILLARD, MuscleTables

FEWEST_PER_THREAD = 2_000
"""Frames that are worth a thread, some 10 ms."""


class PathGroup(NamedTuple):
    """Muscles that span the same coordinates, as in `muscles`.

    muscles, coordinates: their numbers; spans (muscle, coordinate): numbers of their spans; parent, variable (terms,):
    monomial k > 0 is monomial `parent` times coordinate number `variable` of the group; weights (terms, muscles * (1 +
    coordinates)): of the lengths, then of the slopes of each.
    """

    muscles: Sequence[int]
    coordinates: Sequence[int]
    spans: Int[np.ndarray, "muscle coordinate"]
    parent: Int[np.ndarray, " term"]
    variable: Int[np.ndarray, " term"]
    weights: Float[np.ndarray, "term output"]


class _Group(ctypes.Structure):
    """`Group` in C."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("terms", "outputs")),
        *((name, ctypes.c_void_p) for name in ("coordinate", "parent", "variable", "into", "terms_of", "outputs_of")),
        *((name, ctypes.c_void_p) for name in ("by_output", "by_term")),
    )


FIBRES = (
    "strongest",
    "optimal",
    "height",
    "slack",
    "fastest",
    "least_along",
    "least_fibre",
    "largest_sine",
)


class _Muscles(ctypes.Structure):
    """`Muscles` in C."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("coordinates", "muscles", "spans", "groups")),
        ("group", ctypes.POINTER(_Group)),
        *((name, ctypes.c_void_p) for name in ("first", "coordinate", "active_row", "velocity_row", "centre", "scale")),
        *((name, ctypes.c_void_p) for name in FIBRES),
        ("curves", native.Curves),
    )


class NativePaths(native.Tables):
    """The muscles of a model in C."""

    def __init__(self, tables: MuscleTables, groups: Sequence[PathGroup]) -> None:
        super().__init__()
        of = tables.parameters
        optimal, pennation = of["optimal_fiber_length"], of["pennation_angle_at_optimal"]
        fibres = (
            of["max_isometric_force"],
            optimal,
            optimal * np.sin(pennation),
            of["tendon_slack_length"],
            optimal * of["max_contraction_velocity"],
            of["minimum_fiber_length_along_tendon"],
            of["minimum_fiber_length"],
            np.sin(of["maximum_pennation_angle"]),
        )
        self.coordinates, self.muscles = len(tables.coordinates), len(tables.names)
        self.spans = len(tables.span_coordinates)
        self._groups = (_Group * len(groups))(*(self._group(group) for group in groups))
        self._muscles = _Muscles(
            self.coordinates,
            self.muscles,
            self.spans,
            len(groups),
            self._groups,
            *map(self._integers, (tables.span_offsets, tables.span_coordinates)),
            *map(self._integers, (tables.active_curve, tables.velocity_curve)),
            *map(self._doubles, (tables.centre, tables.scale, *fibres)),
            self._curves(tables.curve_low, tables.curve_step, tables.curve_nodes),
        )

    @staticmethod
    def able(tables: MuscleTables) -> bool:
        """Whether the muscles are of the class that is compiled, and there is a compiled library."""
        return native.library() is not None and set(tables.classes) == {MILLARD}

    def __call__(
        self, q: Float[Tensor, "frame coordinate"], speed: Float[Tensor, "frame coordinate"]
    ) -> tuple[Float[Tensor, "frame muscle"], Float[Tensor, "frame span"], Float[Tensor, "frame muscle"]]:
        """Lengths in m, slopes dL/dq of every span, and active forces at full activation in N; differentiable."""
        return self._called("bige_muscle_paths", (self.muscles, self.spans, self.muscles), q, speed)  # type: ignore[return-value]

    def pulls(
        self, q: Float[Tensor, "frame coordinate"], speed: Float[Tensor, "frame coordinate"]
    ) -> Float[Tensor, "frame span"]:
        """Generalized force of every span at full activation, N·m or N; differentiable."""
        return self._called("bige_muscle_pulls", (self.spans,), q, speed)[0]

    def _called(self, name: str, sizes: tuple[int, ...], q: Tensor, speed: Tensor) -> tuple[Tensor, ...]:
        """Results of a function, so many numbers a frame each, in the precision of q."""
        found = _Paths.apply(q.double(), speed.double(), self, name, sizes)
        return tuple(x.to(q) for x in found)

    def forward(self, name: str, sizes: tuple[int, ...], given: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The same of contiguous doubles."""
        found = tuple(np.empty((len(given[0]), size)) for size in sizes)
        self._over(name, self._muscles, (*given, *found), FEWEST_PER_THREAD)
        return found

    def pull_back(self, name: str, given: Sequence[np.ndarray], asked: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Gradients in q and speed of what has the gradients `asked` in the results."""
        to = tuple(np.empty_like(x) for x in given)
        self._over(f"{name}_pullback", self._muscles, (*given, *asked, *to), FEWEST_PER_THREAD)
        return to

    def _group(self, group: PathGroup) -> _Group:
        """Outputs in the order of how many terms they have, most first."""
        terms_of = _last(group.weights != 0)
        order = np.argsort(-terms_of, kind="stable")
        weights, into = group.weights[:, order], np.concatenate([group.muscles, self.muscles + group.spans.ravel()])
        outputs_of = np.maximum.accumulate(_last(weights.T != 0)[::-1])[::-1]
        return _Group(
            *weights.shape,
            *map(self._integers, (group.coordinates, group.parent, group.variable, into[order])),
            *map(self._integers, (terms_of[order], outputs_of)),
            *map(self._doubles, (weights.T, weights)),
        )


def _last(there: Bool[np.ndarray, "row column"]) -> Int[np.ndarray, " column"]:
    """Number of rows up to the last that is there, of every column."""
    rows = np.arange(1, len(there) + 1)[:, None]
    return np.where(there, rows, 0).max(0)


class _Paths(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, speed: Tensor, paths: NativePaths, name: str, sizes: tuple[int, ...]
    ) -> tuple[Tensor, ...]:
        ctx.paths, ctx.name = paths, name
        ctx.given = [np.ascontiguousarray(x.detach().numpy()) for x in (q, speed)]
        return tuple(torch.from_numpy(x) for x in paths.forward(name, sizes, ctx.given))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *asked: Tensor) -> tuple[Tensor | None, ...]:
        contiguous = [np.ascontiguousarray(x.numpy()) for x in asked]
        of_q, of_speed = ctx.paths.pull_back(ctx.name, ctx.given, contiguous)
        return torch.from_numpy(of_q), torch.from_numpy(of_speed), None, None, None
