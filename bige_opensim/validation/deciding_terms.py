"""Frames that decide the terms of an objective, from intervals in which OpenSim's activations lie.

`labelling.deciding_frames` gives, for every frame and muscle, an interval that holds OpenSim's activation, a point
where OpenSim has solved the frame. A term measures a series x_t that follows from them: an activation itself, or the
difference |a_r - a_l| of a pair, of which |x - y| <= |a_r - b_r| + |a_l - b_l| makes the radius twice that of an
activation. Joint contact forces are made of all muscles that pass a joint: for them the largest difference between the
two solvers, in frames that both have solved, takes the place of the margin, at least `OF_OTHERS`. With x_t in
[l_t, u_t], the statistic S of the series lies between

    peak      max l  and  max u              mean    mean l  and  mean u
    min       min l  and  min u              rms     rms of the least and of the largest |x_t|
    range     max l - min u  and  max u - min l, at least 0
    at        the same interpolation of l and of u (its weights are not negative),

since all but the range are monotone in every x_t (the rms in |x_t|), and the range is a difference of two that are.

Frames that can decide, then, are: for a peak those unsolved with u_t above the largest value that is known, max l,
whether or not the value is near a bound, so that the value that is told is OpenSim's own, to `TOLD`; likewise for the
minimum, and for the range both; for `at` the two frames that it lies between. A mean takes all frames, each by its
share only: with U of T frames unsolved it is known to m U / T. It is told with that bound, and where the term is part
of the verdict frames are solved, those first that contribute most, as long as a bound of the term lies within. (A
band's upper bound, or frames that come near it away from the peak, decide nothing further: no frame outside can exceed
the peak that was found.) Of several channels all that can be the worst one, whose value is told, are looked at.

Coordinates, forces and moments come from the motion and the ground forces, the same whoever solves for the muscles:
terms on them need no frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from bige_opensim.guidance.language import UNITS, Term
from bige_opensim.guidance.objective import BoundObjective, BoundTerm, Objective
from bige_opensim.guidance.quantities import Dynamics, needs_activations, statistic
from bige_opensim.labelling.deciding_frames import FLOOR, Analysed, Criterion, Known, union
from bige_opensim.motion import Motion
from bige_opensim.physics.skeleton import Skeleton

TOLD = 1e-4
"""Share of the least margin to which the value of a peak, a minimum or a range is OpenSim's own."""
OF_OTHERS = 0.05
"""Least margin of quantities that are no activations, in shares of their largest value."""
NO_ROWS = np.array([], dtype=np.int64)


@dataclass(frozen=True)
class ObjectiveAsks:
    """What an objective's verdict asks of a label."""

    objective: Objective

    def criteria(self, analysed: Analysed) -> list[Criterion]:
        """One for each term that moves with activations."""
        grf = torch.zeros(len(analysed.q.time), 6) if analysed.forces is None else analysed.forces.force.flatten(1)
        moments = torch.as_tensor(analysed.net_moments)

        def pressed(activations: torch.Tensor) -> torch.Tensor | None:
            loads = analysed.joint_loads(activations[0].numpy())
            return None if loads is None else torch.as_tensor(loads.resultant_bw)[None]

        bound = bind(self.objective, analysed.skeleton, analysed.muscles, moments, grf, analysed.ground_m, pressed)
        return list(decisions_of(bound, analysed.q))


def bind(
    objective: Objective,
    skeleton: Skeleton,
    muscles: Sequence[str],
    moments: Float[torch.Tensor, "time coordinate"],
    grf: Float[torch.Tensor, "time 6"],
    ground_m: float,
    joint_loads: Callable[[torch.Tensor], torch.Tensor | None],
) -> BoundObjective:
    """An objective on a motion whose moments (N·m, N) and ground forces (N) are known, a batch of one.

    `joint_loads` makes resultant contact forces (1, T, J), in body weights, of activations (1, T, M); None where the
    model has no such joints.
    """

    def dynamics(q: torch.Tensor, duration: torch.Tensor, activations: torch.Tensor | None) -> Dynamics:
        return Dynamics(moments[None], grf[None], None if activations is None else joint_loads(activations))

    return objective.bind(skeleton.coordinates, muscles, skeleton, dynamics=dynamics, ground_height=ground_m)


def decisions_of(bound: BoundObjective, q: Motion) -> list[TermDecision]:
    """The terms that move with activations, on a motion (rad, m)."""
    moving = [t for t in bound.terms if t.term.quantity == "joint_load" or needs_activations(t.term, bound.frame)]
    return [TermDecision.of(bound, term, q) for term in moving]


class Interval(NamedTuple):
    """Least and largest values."""

    low: np.ndarray
    high: np.ndarray

    @property
    def width(self) -> np.ndarray:
        """Largest less least."""
        return self.high - self.low


@dataclass(frozen=True, eq=False)
class TermDecision:
    """One term on one motion: which frames can decide it, and with it the verdict, if the term `decides`.

    `series` makes (T, K) values, in the unit of the file, of activations; `slope` is what they change by at most for
    activations that change by 1 (0: not known).
    """

    bound: BoundTerm
    decides: bool
    series: Callable[[np.ndarray], Float[np.ndarray, "time channel"]]
    slope: float

    @classmethod
    def of(cls, bound: BoundObjective, term: BoundTerm, motion: Motion) -> TermDecision:
        """Of a term and the motion on which it is measured."""
        q = torch.as_tensor(motion.select(bound.frame.channels).values)[None]
        duration = torch.tensor([motion.duration], dtype=torch.float64)

        def series(activations: np.ndarray) -> Float[np.ndarray, "time channel"]:
            observed = bound.observe(q, duration, torch.as_tensor(activations)[None])
            return np.asarray(term.measured.series(observed)[0].numpy() / UNITS[term.measured.unit].size)

        slopes = {"activation": 1.0, "asymmetry": 2.0}
        decides = term in bound.verdict_terms
        return cls(term, decides, series, slopes.get(term.term.quantity, 0.0))

    def __call__(self, known: Known) -> Int[np.ndarray, " row"]:
        """Rows that OpenSim has not solved and that can decide the term; none when it is decided."""
        x, floor = self._series(known)
        return wanted(self.bound, x, ~known.by_opensim, TOLD * floor, decides=self.decides)

    def uncertainty(self, known: Known) -> float:
        """What the term's value may differ by from that of OpenSim's solution of every frame."""
        x, _ = self._series(known)
        found = self.series(known.activations)
        between, value = enclosure(self.bound.term, x), enclosure(self.bound.term, Interval(found, found)).low
        off = np.maximum(between.high - value, value - between.low)
        if not self.bound.bounded:
            return float(off.mean())
        return float(off[np.argmax(_violation(self.bound, value))])

    def _series(self, known: Known) -> tuple[Interval, float]:
        """The interval of every value of the series, and the least margin of one."""
        if self.slope == 1.0:
            return Interval(self.series(known.low), self.series(known.high)), FLOOR
        found = self.series(known.activations)
        if not self.slope:
            by_fast = self.series(known.fast)
            seen = float(np.abs(found - by_fast)[known.by_opensim].max(initial=0.0))
            floor = OF_OTHERS * float(np.abs(found).max(initial=1e-9))
            radius = np.where(known.by_opensim, 0.0, max(floor, seen))[:, None]
            return Interval(found - radius, found + radius), floor
        radius = self.slope * known.radius[:, None]
        return Interval(np.maximum(found - radius, 0.0), np.minimum(found + radius, 1.0)), self.slope * FLOOR


def enclosure(term: Term, x: Interval) -> Interval:
    """Least and largest statistic (K,) of series (T, K) that lie in intervals."""

    def of(values: np.ndarray, stat: Term = term) -> np.ndarray:
        return np.asarray(statistic(stat, torch.as_tensor(values)[None])[0].numpy())

    match term.stat:
        case "peak" | "min" | "mean" | "at":
            return Interval(of(x.low), of(x.high))
        case "rms":
            least = np.maximum(np.maximum(x.low, -x.high), 0.0)
            return Interval(of(least), of(np.maximum(np.abs(x.low), np.abs(x.high))))
        case "range":
            least = np.maximum(x.low.max(0) - x.high.min(0), 0.0)
            return Interval(least, x.high.max(0) - x.low.min(0))
    raise ValueError(f"no enclosure is known for the statistic {term.stat}")


def wanted(
    bound: BoundTerm, x: Interval, unsolved: Bool[np.ndarray, " time"], told: float, *, decides: bool = True
) -> Int[np.ndarray, " row"]:
    """Rows that can decide a term whose series (T, K) lies in intervals, the most promising one of every channel.

    `told` is the width to which the value of a peak, minimum or range is told, in the unit of the file; of a term that
    does not decide, a mean needs no frames.
    """
    value = enclosure(bound.term, x)
    least, most = _violations(bound, value)
    open_ = (least <= 0.0) & (most > 0.0)
    if (least > 0.0).any():  # the term is not met, whatever the others are
        open_[:] = False
    shown = most >= least.max() if bound.bounded else np.ones(len(most), dtype=bool)
    rows = []
    for k in np.flatnonzero(open_ | shown):
        part = Interval(x.low[:, k], x.high[:, k])
        rows.append(_of_channel(bound, part, unsolved, bool(open_[k] and decides), told))
    return union(rows)


def _of_channel(bound: BoundTerm, x: Interval, unsolved: np.ndarray, is_open: bool, told: float) -> np.ndarray:
    exact = 0.0 if is_open else told
    term = bound.term
    match term.stat:
        case "peak":
            return _highest(x.high, x.low.max() + exact, unsolved)
        case "min":
            return _highest(-x.low, -x.high.min() + exact, unsolved)
        case "range":
            both = (_highest(x.high, x.low.max() + exact, unsolved), _highest(-x.low, -x.high.min() + exact, unsolved))
            return union(both)
        case "at":
            place = (term.at or 0.0) * (len(x.low) - 1)
            rows = np.unique([int(np.floor(place)), int(np.ceil(place))])
            return rows[unsolved[rows]]
        case "mean" if is_open:
            return _largest_shares(x, (bound.low, bound.high), unsolved)
        case "rms" if is_open:
            least, most = np.maximum(np.maximum(x.low, -x.high), 0.0), np.maximum(np.abs(x.low), np.abs(x.high))
            return _largest_shares(Interval(least**2, most**2), (bound.low**2, bound.high**2), unsolved)
    return NO_ROWS


def _largest_shares(x: Interval, bounds: tuple[float, float], unsolved: np.ndarray) -> np.ndarray:
    """The rows that contribute most to what a mean is uncertain by: as many as it takes, at best, to pass a bound."""
    low, high = float(x.low.mean()), float(x.high.mean())
    lacking = min((min(high - b, b - low) for b in bounds if low <= b <= high), default=0.0)
    shares = np.where(unsolved, x.width, 0.0) / len(x.low)
    order = np.argsort(-shares, kind="stable")[: int(unsolved.sum())]
    enough = int(np.searchsorted(np.cumsum(shares[order]), lacking)) + 1
    return order[:enough]


def _highest(high: np.ndarray, known: float, unsolved: np.ndarray) -> np.ndarray:
    """The unsolved row that can be highest, if it can exceed what is known."""
    if not unsolved.any():
        return NO_ROWS
    row = int(np.where(unsolved, high, -np.inf).argmax())
    return np.array([row]) if high[row] > known else NO_ROWS


def _violation(bound: BoundTerm, value: np.ndarray) -> np.ndarray:
    return np.maximum(bound.low - value, value - bound.high)


def _violations(bound: BoundTerm, value: Interval) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest distance (K,) of a value in an interval from the term's band, negative inside.

    The distance is convex in the value: largest at one of the ends, least in the middle of the band or nearest to it.
    """
    most = np.maximum(_violation(bound, value.low), _violation(bound, value.high))
    if np.isinf(bound.low) or np.isinf(bound.high):
        least = np.minimum(_violation(bound, value.low), _violation(bound, value.high))
    else:
        least = _violation(bound, np.clip(0.5 * (bound.low + bound.high), value.low, value.high))
    return least, most
