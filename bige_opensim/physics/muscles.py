"""Muscle paths as polynomials and rigid-tendon muscle strength, batched and differentiable.

A muscle's length is a polynomial of the coordinates x_c = (q_c - centre_c) / scale_c that its path spans,

    L(q) = sum_k w_k prod_c x_c^e_kc,     R_c = -dL/dq_c,     dL/dt = -R qd,

so that moment arms are exact derivatives of lengths, save in muscles whose own moment arms are not (`apart` in
`MuscleTables`): those have a second polynomial for R (An et al. 1984, doi:10.1115/1.3138494; polynomials as in
Menegaldo et al. 2004, doi:10.1016/j.jbiomech.2003.11.014). Muscles that span the same coordinates share the monomials,
and lengths and all their derivatives come out of one matrix product per group.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bige_opensim.physics.muscle_strength import Strength
from bige_opensim.physics.muscle_tables import MuscleTables, MuscleTablesError
from bige_opensim.physics.native_paths import NativePaths, PathGroup

CHUNK_FRAMES = 2048
RANGE_TOLERANCE = 1e-6

__all__ = ["MuscleTables", "MuscleTablesError", "Muscles", "monomial_exponents"]


@lru_cache(maxsize=64)
def monomial_exponents(variables: int, degree: int) -> Int[np.ndarray, "term variable"]:
    """Exponents of all monomials of total degree <= `degree`, by rising degree, the constant first."""
    rows = [np.zeros(variables, dtype=np.int64)]
    for d in range(1, degree + 1):
        for chosen in combinations_with_replacement(range(variables), d):
            rows.append(np.bincount(chosen, minlength=variables))
    exponents = np.array(rows, dtype=np.int64).reshape(-1, variables)
    exponents.setflags(write=False)
    return exponents


class _Level(NamedTuple):
    """Monomials of one degree: row `parent` of the degree below times coordinate `variable`."""

    parent: list[int]
    variable: list[int]


class _Group(NamedTuple):
    """Muscles that span the same coordinates: weights (terms, muscles * (1 + spans)), lengths first."""

    muscles: tuple[int, ...]
    coordinates: tuple[int, ...]
    levels: tuple[_Level, ...]
    weights: Float[np.ndarray, "term output"]


def _levels(variables: int, degree: int) -> tuple[_Level, ...]:
    exponents = [tuple(e) for e in monomial_exponents(variables, degree)]
    levels = []
    for d in range(1, degree + 1):
        below = {e: i for i, e in enumerate([e for e in exponents if sum(e) == d - 1])}
        parents, factors = [], []
        for e in (e for e in exponents if sum(e) == d):
            last = max(i for i, p in enumerate(e) if p)
            parents.append(below[tuple(p - (i == last) for i, p in enumerate(e))])
            factors.append(last)
        levels.append(_Level(parents, factors))
    return tuple(levels)


def _group(tables: MuscleTables, muscles: list[int]) -> _Group:
    coordinates = tables.spans(muscles[0])
    n = len(coordinates)
    terms = [tables.terms(m) for m in muscles]
    degree = max(int(e.sum(axis=1).max(initial=0)) for e, _ in terms)
    exponents = monomial_exponents(n, degree)
    digits = (degree + 1) ** np.arange(n, dtype=np.int64)
    codes = exponents @ digits
    order = np.argsort(codes)
    weights = np.zeros((len(exponents), len(muscles), 1 + n))
    for m, (powers, (lengths, arms)) in enumerate(terms):
        code = powers @ digits
        np.add.at(weights[:, m, 0], order[np.searchsorted(codes, code, sorter=order)], lengths)
        for j in range(n):
            has = powers[:, j] > 0
            lowered = order[np.searchsorted(codes, code[has] - digits[j], sorter=order)]
            np.add.at(weights[:, m, 1 + j], lowered, arms[has] * powers[has, j] / tables.scale[coordinates[j]])
    flat = np.concatenate([weights[:, :, 0], weights[:, :, 1:].reshape(len(exponents), -1)], axis=1)
    return _Group(tuple(muscles), coordinates, _levels(n, degree), flat)


class Muscles(torch.nn.Module):
    """Lengths, moment arms, velocities and strengths of all muscles of one model.

    Every method takes any leading batch shape; the last axis of `q` and `qd` are the coordinates in the order of
    `coordinates` (rad, m, and per second). Results are differentiable in their arguments, moment arms included.
    """

    _unsort: Tensor
    _unsort_spans: Tensor
    _span_muscle: Tensor
    _span_coordinate: Tensor
    lower: Tensor
    upper: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, tables: MuscleTables, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.names, self.coordinates = tables.names, tables.coordinates
        self.tables = tables
        spans = [tables.spans(m) for m in range(len(self.names))]
        groups: dict[tuple[int, ...], list[int]] = {}
        for m, span in enumerate(spans):
            groups.setdefault(span, []).append(m)
        self._groups = [_group(tables, muscles) for muscles in groups.values()]
        self._register(dtype)
        order = [m for g in self._groups for m in g.muscles]
        self.register_buffer("_unsort", torch.as_tensor(np.argsort(order)))
        pairs = [(m, c) for g in self._groups for m in g.muscles for c in g.coordinates]
        canonical = [(m, c) for m, span in enumerate(spans) for c in span]
        place = {pair: k for k, pair in enumerate(pairs)}
        self.register_buffer("_unsort_spans", torch.tensor([place[p] for p in canonical], dtype=torch.long))
        self.register_buffer("_span_muscle", torch.tensor([m for m, _ in canonical], dtype=torch.long))
        self.register_buffer("_span_coordinate", torch.tensor([c for _, c in canonical], dtype=torch.long))
        self.strengths = Strength(tables, dtype)
        self._native = NativePaths(tables, self._groups_in_c(canonical)) if NativePaths.able(tables) else None

    def _groups_in_c(self, spans: list[tuple[int, int]]) -> list[PathGroup]:
        place = {span: k for k, span in enumerate(spans)}
        groups = []
        for g in self._groups:
            before = np.cumsum([0, 1, *(len(level.parent) for level in g.levels)])
            parent = [0] + [
                int(start) + p for start, level in zip(before, g.levels, strict=False) for p in level.parent
            ]
            variable = [0] + [v for level in g.levels for v in level.variable]
            of_group = np.array([[place[m, c] for c in g.coordinates] for m in g.muscles])
            groups.append(
                PathGroup(g.muscles, g.coordinates, of_group, np.array(parent), np.array(variable), g.weights)
            )
        return groups

    def _register(self, dtype: torch.dtype) -> None:
        for k, g in enumerate(self._groups):
            self.register_buffer(f"_weights_{k}", torch.as_tensor(g.weights, dtype=dtype))
            self.register_buffer(f"_coordinates_{k}", torch.tensor(g.coordinates, dtype=torch.long))
            for d, level in enumerate(g.levels):
                self.register_buffer(f"_parent_{k}_{d}", torch.tensor(level.parent, dtype=torch.long))
                self.register_buffer(f"_variable_{k}_{d}", torch.tensor(level.variable, dtype=torch.long))
        for name in ("centre", "scale", "lower", "upper"):
            self.register_buffer(name, torch.as_tensor(getattr(self.tables, name), dtype=dtype))

    @property
    def spans(self) -> tuple[Tensor, Tensor]:
        """(S,) muscle and (S,) coordinate index of every moment arm that is not identically zero."""
        return self._span_muscle, self._span_coordinate

    def in_range(self, q: Float[Tensor, "*batch coordinate"]) -> Bool[Tensor, "*batch"]:
        """Whether every coordinate that a muscle spans lies inside the range the polynomials were fitted on."""
        return self.coordinates_in_range(q).all(-1)

    def coordinates_in_range(self, q: Float[Tensor, "*batch coordinate"]) -> Bool[Tensor, "*batch coordinate"]:
        """As `in_range`, per coordinate; NaN is out of range."""
        return (q >= self.lower - RANGE_TOLERANCE) & (q <= self.upper + RANGE_TOLERANCE)

    def lengths(self, q: Float[Tensor, "*batch coordinate"]) -> Float[Tensor, "*batch muscle"]:
        """Muscle-tendon lengths in m."""
        return self._evaluate(q, slopes=False)[0]

    def lengths_and_slopes(
        self, q: Float[Tensor, "*batch coordinate"]
    ) -> tuple[Float[Tensor, "*batch muscle"], Float[Tensor, "*batch span"]]:
        """Lengths in m and dL/dq_c of every span (see `spans`), the moment arms' negative."""
        return self._evaluate(q, slopes=True)

    def moment_arms(self, q: Float[Tensor, "*batch coordinate"]) -> Float[Tensor, "*batch muscle coordinate"]:
        """R = -dL/dq, so that muscle forces F give the generalized forces R^T F (OpenSim `computeMomentArm`)."""
        slopes = self._evaluate(q, slopes=True)[1]
        return self.dense(-slopes)

    def dense(self, spans: Float[Tensor, "*batch span"]) -> Float[Tensor, "*batch muscle coordinate"]:
        """Span values spread into (..., M, C) with zeros elsewhere."""
        size = len(self.names) * len(self.coordinates)
        flat = self._span_muscle * len(self.coordinates) + self._span_coordinate
        full = spans.new_zeros(*spans.shape[:-1], size).index_copy(-1, flat, spans)
        return full.reshape(*spans.shape[:-1], len(self.names), len(self.coordinates))

    def velocities(
        self, q: Float[Tensor, "*batch coordinate"], qd: Float[Tensor, "*batch coordinate"]
    ) -> Float[Tensor, "*batch muscle"]:
        """Lengthening speeds dL/dt = sum_c dL/dq_c qd_c in m/s."""
        return self.lengths_and_velocities(q, qd)[1]

    def lengths_and_velocities(
        self, q: Float[Tensor, "*batch coordinate"], qd: Float[Tensor, "*batch coordinate"]
    ) -> tuple[Float[Tensor, "*batch muscle"], Float[Tensor, "*batch muscle"]]:
        """Lengths in m and lengthening speeds in m/s from one evaluation of the polynomials."""
        lengths, slopes = self._evaluate(q, slopes=True)
        return lengths, self.rates(slopes, qd)

    def rates(
        self, slopes: Float[Tensor, "*batch span"], qd: Float[Tensor, "*batch coordinate"]
    ) -> Float[Tensor, "*batch muscle"]:
        """Lengthening speeds in m/s from dL/dq_c of every span."""
        still = slopes.new_zeros(*slopes.shape[:-1], len(self.names))
        return still.index_add(-1, self._span_muscle, slopes * qd.index_select(-1, self._span_coordinate))

    def paths(
        self, q: Float[Tensor, "frame coordinate"], qd: Float[Tensor, "frame coordinate"]
    ) -> tuple[Float[Tensor, "frame muscle"], Float[Tensor, "frame span"], Float[Tensor, "frame muscle"]]:
        """Lengths in m, dL/dq_c of every span, and active forces in N at full activation, from one evaluation."""
        if self._native is not None and q.device.type == "cpu":
            return self._native(q, qd)
        length, slope = self._evaluate(q, slopes=True)
        return length, slope, self.strength(length, self.rates(slope, qd))

    def pulls(
        self, q: Float[Tensor, "frame coordinate"], qd: Float[Tensor, "frame coordinate"]
    ) -> Float[Tensor, "frame span"]:
        """Generalized force of every span at full activation, N·m or N: the active force times -dL/dq_c."""
        if self._native is not None and q.device.type == "cpu":
            return self._native.pulls(q, qd)
        _, slope, active = self.paths(q, qd)
        return -slope * active.index_select(-1, self._span_muscle)

    def strength(
        self, length: Float[Tensor, "*batch muscle"], velocity: Float[Tensor, "*batch muscle"]
    ) -> Float[Tensor, "*batch muscle"]:
        """Active force in N of a rigid-tendon muscle at full activation; see `Strength.active`."""
        flat = [a.reshape(-1, a.shape[-1]).split(CHUNK_FRAMES) for a in torch.broadcast_tensors(length, velocity)]
        return torch.cat([self.strengths.active(*part) for part in zip(*flat, strict=True)]).reshape(length.shape)

    def passive_force(self, length: Float[Tensor, "*batch muscle"]) -> Float[Tensor, "*batch muscle"]:
        """Passive elastic force along the tendon in N; see `Strength.passive`."""
        return self.strengths.passive(length)

    def _evaluate(self, q: Tensor, *, slopes: bool) -> tuple[Tensor, Tensor]:
        if q.shape[-1] != len(self.coordinates):
            raise MuscleTablesError(
                f"expected {len(self.coordinates)} coordinates in the last axis of q ({', '.join(self.coordinates)}), "
                f"got shape {tuple(q.shape)}."
            )
        batch = q.shape[:-1]
        x = (q.reshape(-1, q.shape[-1]) - self.centre) / self.scale
        parts = [self._chunk(part, slopes) for part in x.split(CHUNK_FRAMES)]
        lengths, spans = (torch.cat(p) if len(p) > 1 else p[0] for p in zip(*parts, strict=True))
        return lengths.reshape(*batch, lengths.shape[1]), spans.reshape(*batch, spans.shape[1])

    def _chunk(self, x: Float[Tensor, "frame coordinate"], slopes: bool) -> tuple[Tensor, Tensor]:
        lengths, spans = [], []
        for k, g in enumerate(self._groups):
            variables = x.index_select(1, getattr(self, f"_coordinates_{k}")).T.contiguous()
            monomials = [x.new_ones(1, len(x))]
            for d in range(len(g.levels)):
                parent = monomials[-1].index_select(0, getattr(self, f"_parent_{k}_{d}"))
                monomials.append(parent * variables.index_select(0, getattr(self, f"_variable_{k}_{d}")))
            weights = getattr(self, f"_weights_{k}")
            m = len(g.muscles)
            out = torch.cat(monomials).T @ (weights if slopes else weights[:, :m])
            lengths.append(out[:, :m])
            spans.append(out[:, m:])
        return torch.cat(lengths, 1)[:, self._unsort], torch.cat(spans, 1)[:, self._unsort_spans] if slopes else x[
            :, :0
        ]
