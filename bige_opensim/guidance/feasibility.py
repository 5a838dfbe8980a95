"""Which terms of an objective no motion can meet together, before any search: bounds on the same curves.

Every bound on a statistic of a curve is an inequality between two numbers: peak <= high is peak - 0 <= high, a bound on
the range is one on peak - min. Others are what holds for every curve (min <= mean <= peak, min <= value at t <= peak,
mean <= rms), how far a joint or a muscle can go (min >= lowest, peak <= highest), and what a bound d on a left-right
difference says of the sides (|peak_r - peak_l| <= d, likewise for min, mean and values at t). A system of inequalities
x_j - x_i <= c has a solution if and only if the graph with an edge of length c from i to j has no cycle of negative
length (Cormen et al. 2009, Introduction to Algorithms, section 24.4), which the Bellman-Ford algorithm decides.

What joints do to one another through the body is not in this system: an objective that passes may still be out of
reach, which the search then says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from bige_opensim.guidance.conflicts import band_text
from bige_opensim.guidance.language import UNITS, ObjectiveError
from bige_opensim.guidance.objective import BoundObjective, BoundTerm

Node = tuple[str, str, str]
"""Quantity, channel, statistic."""
ZERO: Node = ("", "", "")
ORDERED = (("min", "mean"), ("mean", "peak"), ("mean", "rms"))
ROUNDING = 1e-9
T = TypeVar("T")

Reach = Mapping[str, tuple[float, float]]
"""Lowest and highest value of coordinates (rad, m) and muscles (activation) by name; what is not there has no limit."""


class Edge(NamedTuple):
    """The inequality to - origin <= length."""

    origin: Node
    to: Node
    length: float


class _Limit(NamedTuple):
    quantity: str
    channel: str
    low: float
    high: float
    unit: str

    def __str__(self) -> str:
        return f"{self.channel} goes from {self.low:.4g} to {self.high:.4g}{' ' if self.unit else ''}{self.unit}"


def require_feasible(objective: BoundObjective, reach: Reach) -> None:
    """Raise ObjectiveError where no motion within this reach can meet all terms of the verdict."""
    sentence = contradiction(objective, objective.verdict_terms, reach)
    if sentence:
        raise ObjectiveError(f"{objective.objective.source}{sentence}")


def contradiction(objective: BoundObjective, terms: Sequence[BoundTerm], reach: Reach) -> str:
    """Why no motion can meet these terms together, by as few of them as it takes; nothing where none is known.

    ', lines 12 and 20: ...': to follow the name of the objective's file.
    """
    limits = _limits(objective, reach)
    if _solvable(terms, limits):
        return ""
    kept = _needed(terms, lambda some: not _solvable(some, limits))
    within = _needed(limits, lambda some: not _solvable(kept, some))
    said = [f"'{t.name}' ({band_text(t)})" for t in kept]
    known = "; ".join(str(limit) for limit in within)
    if len(kept) == 1:
        return f"{_lines(kept)}: {said[0]} is out of reach: {known or 'no curve has such a value'}"
    because = f", because {known}" if known else ""
    together = f"{', '.join(said[:-1])} and {said[-1]}"
    return f"{_lines(kept)}: {together} contradict each other: no motion meets them together{because}"


def _needed(parts: Sequence[T], contradict: Callable[[Sequence[T]], bool]) -> list[T]:
    """Some of the parts that contradict each other, none of which can be left out."""
    kept = list(parts)
    for part in parts:
        without = [p for p in kept if p is not part]
        if contradict(without):
            kept = without
    return kept


def _limits(objective: BoundObjective, reach: Reach) -> list[_Limit]:
    """How far coordinates and activations go, in the units of the file."""
    frame = objective.frame
    found = [_Limit("activation", m, *reach[m], "") for m in frame.muscles if m in reach]
    for name, angle in zip(frame.channels, frame.rotational, strict=True):
        unit = "deg" if angle else "m"
        if name in reach:
            low, high = (x / UNITS[unit].size for x in reach[name])
            found.append(_Limit("coordinate", name, low, high, unit))
    return found


def _lines(terms: Sequence[BoundTerm]) -> str:
    """', lines 12 and 20' where the file has lines."""
    places = [t.term.place for t in terms]
    lines = [str(line) for p in places if p.lines is not None and (line := p.lines.of(p.table)) is not None]
    return f", line{'s' if len(lines) > 1 else ''} {' and '.join(lines)}" if lines else ""


def _solvable(terms: Sequence[BoundTerm], limits: Sequence[_Limit]) -> bool:
    """Whether the inequalities of these terms, and of the limits of what they measure, have a solution."""
    asked = [edge for term in terms for edge in _of_term(term)]
    curves = {(q, c) for e in asked for q, c, _ in (e.origin, e.to) if q}
    edges = [*asked, *(edge for curve in curves for edge in _of_curve(curve, asked))]
    for limit in limits:
        if limit[:2] in curves:
            edges.append(Edge((*limit[:2], "min"), ZERO, -limit.low))
            edges.append(Edge(ZERO, (*limit[:2], "peak"), limit.high))
    return not _negative_cycle(edges)


def _of_term(bound: BoundTerm) -> list[Edge]:
    term = bound.term
    if not bound.bounded:
        return []
    stat = f"at {term.at:g}" if term.stat == "at" and term.at is not None else term.stat
    edges = []
    for channel in bound.measured.labels:
        top, bottom = (term.quantity, channel, stat), ZERO
        if term.stat == "range":
            top, bottom = (term.quantity, channel, "peak"), (term.quantity, channel, "min")
        edges += _between(bottom, top, bound.low, bound.high)
        if term.quantity == "asymmetry" and math.isfinite(bound.high):
            edges += _of_sides(bound, channel)
    return edges


def _of_sides(bound: BoundTerm, base: str) -> list[Edge]:
    """What a bound on |x_r - x_l| says of the two sides' own statistics."""
    term = bound.term
    kind = "activation" if bound.measured.unit == "1" else "coordinate"
    every = ("peak", "min", "mean")
    stats = {"peak": every, "mean": ("mean",), "rms": ("mean",), "at": (f"at {term.at or 0.0:g}",)}.get(term.stat, ())
    return [
        edge
        for stat in stats
        for edge in _between((kind, f"{base}_r", stat), (kind, f"{base}_l", stat), -bound.high, bound.high)
    ]


def _of_curve(curve: tuple[str, str], edges: Sequence[Edge]) -> list[Edge]:
    """What holds for every curve, in the statistics that are asked for."""
    stats = {node[2] for e in edges for node in (e.origin, e.to) if node[:2] == curve}
    ordered = [*ORDERED, *((a, b) for s in stats if s.startswith("at ") for a, b in (("min", s), (s, "peak")))]
    return [Edge((*curve, b), (*curve, a), 0.0) for a, b in ordered]


def _between(bottom: Node, top: Node, low: float, high: float) -> list[Edge]:
    """low <= top - bottom <= high."""
    edges = [Edge(bottom, top, high)] if math.isfinite(high) else []
    return edges + ([Edge(top, bottom, -low)] if math.isfinite(low) else [])


def _negative_cycle(edges: Sequence[Edge]) -> bool:
    """Whether a cycle of negative length exists (Bellman-Ford from everywhere at once)."""
    distance = {node: 0.0 for e in edges for node in (e.origin, e.to)}
    for _ in range(len(distance) + 1):
        changed = False
        for e in edges:
            if distance[e.origin] + e.length < distance[e.to] - ROUNDING:
                distance[e.to] = distance[e.origin] + e.length
                changed = True
        if not changed:
            return False
    return True
