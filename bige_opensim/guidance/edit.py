"""The smallest change of a recorded motion that meets an objective.

Of all changes x of a recorded repetition (`deformation`) the one is sought that

    minimises |R(x)|^2 + sum_s k_s v_s^2     where every bounded term c holds with a margin,  low <= value_c(x) <= high,
                                             and every gate g of a verdict does,              value_g(x) <= limit_g,

R being the size of the change and v_s what wishes (terms that are not part of the verdict) and, where there is no other
way, deciding terms are missed by, in their scales. Every step linearises both (sequential quadratic programming in
Gauss and Newton's form; Nocedal and Wright 2006, Numerical Optimization, chapters 10.3 and 18). The values are those of
a simulation that runs what a label runs; their derivatives come from the differentiable physics, whose small errors
cost steps and no accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import dct
from torch import Tensor

from bige_opensim.guidance.deformation import ANGLE_UNIT, Deformation, Shape, Size
from bige_opensim.guidance.language import UNITS
from bige_opensim.guidance.least_change import Row, least_change
from bige_opensim.guidance.objective import BoundObjective, BoundTerm
from bige_opensim.guidance.quantities import Dynamics, Observation, statistic


class Forces(NamedTuple):
    """What a motion takes: activations (1, T, M), dynamics, and what gates judge, (T, K) in shares of their limits."""

    activations: Tensor
    dynamics: Dynamics
    gates: dict[str, Float[Tensor, "time k"]]


Physics = Callable[[Tensor, Tensor], Forces]
"""(q (T, C), duration ()) -> forces, differentiable in both."""
Limits = Mapping[str, tuple[float, float]]

STEPS = 120
STARTS, SLOWER = 6, 1.5
"""How often a search that ended short of the objective goes on from its best change, slower by so many tenths: slower
motions take less force, and what time they need not take is given back."""
FIRST_RADIUS_RAD, LARGEST_RADIUS_RAD, SMALLEST_RADIUS_RAD = 0.12, 0.3, 0.002
"""Largest change of a joint angle in one step: at first, after good steps, and where the search ends."""
BALANCE_LIMIT_M, OVERLAP_LIMIT = 0.04, 0.3
"""Limits of two gates of a verdict (`validation.motion_gates`)."""
PROPOSED = 0.5
"""What a joint counts as the change asks for it, before the legs are closed over the feet and held at their limits."""
STRETCH_RAD = 0.1
"""What a tenth of the duration counts in the length of a step: forces change by a fifth with it."""
SHRINK, GROW, DAMPINGS = 0.5, 1.6, 40
WAVES, CUTS, CUT_FROM = 10, 8, 0.02
"""Cosines by which curves are told whose root mean square is bounded, and how often and from what excess, in scales,
linear bounds are added for one."""
PEAKS, PEAK_STRIDE = 5, 4
"""Of a curve whose peak is bounded, so many frames are looked at, so far apart: peaks hop from one to another."""
HARD, WISH = 1e4, 4.0
"""Cost of missing a deciding term, or a wish of weight 1, by one scale; a change of 5 degrees in one joint costs 1."""
DYNAMIC_MARGIN, KINEMATIC_MARGIN = 0.25, 0.06
"""Margin inside a bound, in scales: what OpenSim may find differently (a hundredth of activation), or files round."""
NEAR = 3.0
"""Bounds that are farther than so many scales from a value are not looked at in a step."""
LIMIT_SCALE_RAD, NEAR_LIMIT_RAD = 0.035, 0.09
SETTLED = 0.05
GATE_SCALE, GATE_ROOM, FARTHEST = 0.1, 0.05, 100.0
"""What counts as a scale of a gate, and the margin to its limit, in shares of the limit; beyond so many scales its
tangent tells nothing of what is near."""


class Simulation(NamedTuple):
    """What a label finds of a motion: values of every term per channel, in the units of the file, and its gates.

    `gates` are the values of the gates in shares of their limits.
    """

    values: dict[str, Float[np.ndarray, " channel"]]
    passed: bool
    reason: str
    gates: Mapping[str, float] = {}


@dataclass(frozen=True)
class Try:
    """One step: the change, its motion, what a simulation finds, and what it all costs."""

    x: Tensor
    shape: Shape
    size: Size
    simulation: Simulation
    missed: dict[str, float]
    """By deciding term, how far it is missed by, in scales, margin left out; empty where all hold."""
    cost: float

    @property
    def holds(self) -> bool:
        """Whether all deciding terms and all gates hold."""
        return not self.missed and self.simulation.passed


@dataclass(frozen=True)
class Edit:
    """The best change that was found.

    Attributes
    ----------
    best
        The smallest change that holds; where none does, that with the least cost.
    tries
        How many simulations were made.
    pull
        By term, how much of the change it is answerable for: the cost that one scale less of it would save.

    """

    best: Try
    tries: int
    pull: dict[str, float] = field(default_factory=dict)


def edit(
    objective: BoundObjective,
    deformation: Deformation,
    forces: Physics,
    simulate: Callable[[Shape], Simulation],
    limits: Limits,
    *,
    start: Tensor | None = None,
    steps: int = STEPS,
    progress: Callable[[int, int, str], None] = lambda step, of, text: None,
) -> Edit:
    """Find the smallest change that meets an objective.

    Parameters
    ----------
    objective
        Bound to all coordinates of the skeleton.
    deformation
        The recorded repetition and its changes.
    forces
        Differentiable physics.
    simulate
        What a label finds of a changed motion.
    limits
        Lowest and highest value of joints, rad; where the recording is beyond, its own.
    start
        A change to start from; none by default.
    steps
        Most simulations.
    progress
        Called after each with (step, steps, what is still missed).

    """
    x = torch.zeros(deformation.variables, dtype=torch.float64) if start is None else start
    program = _Program(objective, deformation, forces, limits)
    current = program.attempt(x, simulate)
    best, radius, made = current, FIRST_RADIUS_RAD, 1
    linear = _Linear(program, current)
    again = 0
    while made < steps:
        if radius < SMALLEST_RADIUS_RAD:
            if best.holds or again == STARTS:
                break
            again += 1
            slower = best.x.clone()
            slower[-1] += SLOWER
            current, radius, made = program.attempt(slower, simulate), FIRST_RADIUS_RAD, made + 1
            best = current if _better(current, best) else best
            linear = _Linear(program, current)
            continue
        progress(made, steps, _state(current))
        step, turn = linear.step(radius)
        new = program.attempt(current.x + torch.as_tensor(step), simulate)
        made += 1
        if _better(new, best):
            best = new
        if new.cost >= current.cost:
            radius = SHRINK * min(radius, turn)
            linear.look(program.curves_of(new))
            linear.cut(new)
            continue
        settled = best.holds and current.cost - new.cost < SETTLED * max(new.cost, 0.05)
        current, radius = new, min(GROW * max(radius, turn), LARGEST_RADIUS_RAD)
        if settled:
            break
        linear = _Linear(program, current)
    progress(steps, steps, _state(best))
    return Edit(best, made, linear.pull)


def _state(current: Try) -> str:
    missed = ", ".join(f"{name} {x:.2g}" for name, x in current.missed.items())
    size = f"change {current.size.total:.3g}"
    return f"{size}; missed by (scales): {missed}" if missed else size


def _better(a: Try, b: Try) -> bool:
    if a.holds != b.holds:
        return a.holds
    return a.cost < b.cost


class Norm(NamedTuple):
    """A bound on the root mean square of a linearised curve, in scales.

    The curve c is told by its products g with K slow cosines of unit size over its T frames, and by the size r of the
    rest, which is held: |c + J d|^2 = |g + G d|^2 + r^2. For any u of unit size, u . (g + G d, r) / sqrt(T) is a lower
    bound of the root mean square, and that of u = (g + G d, r) / |...| is tight.
    """

    name: str
    excess: float
    products: Float[np.ndarray, " k"]
    slopes: Float[np.ndarray, "k variable"]
    rest: float
    frames: int
    cost: float

    def excess_at(self, step: Float[np.ndarray, " variable"]) -> float:
        """How far the bound is exceeded after a step of the linearised curve."""
        return self.excess + float(np.linalg.norm(self._at(step)) - np.linalg.norm(self._at(0.0 * step))) / self.root

    def row(self, step: Float[np.ndarray, " variable"]) -> Row:
        """The linear bound that is tight after a step."""
        u = self._at(step)
        u = u / max(float(np.linalg.norm(u)), 1e-12)
        here = self._at(0.0 * step)
        excess = self.excess + (float(u @ here) - float(np.linalg.norm(here))) / self.root
        return Row(self.name, excess, u[:-1] @ self.slopes / self.root, self.cost)

    @property
    def root(self) -> float:
        """sqrt(T)."""
        return float(np.sqrt(self.frames))

    def seen(self, step: Float[np.ndarray, " variable"], rows: Sequence[Row]) -> float:
        """What the rows of this bound say is exceeded after a step, at least 0."""
        return max([0.0, *(row.excess + float(row.slope @ step) for row in rows if row.name == self.name)])

    def _at(self, step: Float[np.ndarray, " variable"]) -> Float[np.ndarray, " k1"]:
        return np.append(self.products + self.slopes @ step, self.rest)


class Curves(NamedTuple):
    """Of one motion, (time, channel) of every term and of every gate, in their scales."""

    terms: list[Tensor]
    gates: dict[str, Tensor]


@dataclass(frozen=True)
class _Program:
    objective: BoundObjective
    deformation: Deformation
    forces: Physics
    limits: Limits

    def attempt(self, x: Tensor, simulate: Callable[[Shape], Simulation]) -> Try:
        """Simulate a change."""
        shape = self.deformation.shape(x)
        size, simulation = self.deformation.size(x, shape), simulate(shape)
        cost, missed = size.total, {}
        deciding = {t.name for t in self.objective.verdict_terms}
        for term in self.objective.terms:
            values = simulation.values[term.name] / term.scale
            if not term.bounded:
                amount = float(np.square(values).mean() if term.term.stat == "rms" else values.mean())
                cost += _direction(term) * amount
                continue
            low, high = _band(term)
            over = np.maximum(np.maximum(low - values, values - high), 0.0)
            cost += _cost(term, deciding) * float(np.square(over).sum())
            beyond = float(np.maximum(term.low / term.scale - values, values - term.high / term.scale).max())
            if term.name in deciding and beyond > 0:
                missed[term.name] = beyond
        cost += sum(HARD * max(_excess(value), 0.0) ** 2 for value in simulation.gates.values())
        return Try(x, shape, size, simulation, missed, cost)

    def curves(self, q: Tensor, duration: Tensor) -> Curves:
        """What the terms measure, over time and in their scales, and what the gates judge; differentiable."""
        forces = self.forces(q, duration)
        frame = replace(self.objective.frame, dynamics=lambda q, duration, activations: forces.dynamics)
        observation = Observation(frame, q[None], duration[None], forces.activations)
        terms = [
            t.measured.series(observation)[0] / UNITS[t.measured.unit].size / t.scale for t in self.objective.terms
        ]
        gates = forces.gates | {
            "balance": observation.beyond_support[0, :, None] / BALANCE_LIMIT_M,
            "self_intersection": observation.overlap[0] / OVERLAP_LIMIT,
        }
        return Curves(terms, {name: curve / GATE_SCALE for name, curve in gates.items() if curve.shape[1]})

    def curves_of(self, tried: Try) -> Curves:
        """Those of a try, without gradients."""
        with torch.no_grad():
            return self.curves(tried.shape.q, torch.tensor(tried.shape.duration, dtype=torch.float64))

    def limit_rows(self, current: Try) -> list[Row]:
        """Joints at the frame where they are nearest to, or farthest beyond, a limit."""
        rows, names = [], self.deformation.skeleton.coordinates
        q, base, slopes = (x.numpy() for x in (current.shape.q, self.deformation.base, current.shape.slopes))
        for name, (low, high) in self.limits.items():
            c = names.index(name)
            if c not in self.deformation.moved:
                continue
            ends = ((1.0, max(high, base[:, c].max())), (-1.0, -min(low, base[:, c].min())))
            for sign, end in ends:
                excess = sign * q[:, c] - end
                t = int(excess.argmax())
                if excess[t] > -NEAR_LIMIT_RAD:
                    rows.append(Row(name, excess[t] / LIMIT_SCALE_RAD, sign * slopes[t, c] / LIMIT_SCALE_RAD, HARD))
        return rows


class _Point:
    """What a change makes of the curves, and how they move with it."""

    def __init__(self, program: _Program, tried: Try) -> None:
        self.program, self.shape = program, tried.shape
        self.q = tried.shape.q.clone().requires_grad_(True)
        self.duration = torch.tensor(tried.shape.duration, dtype=self.q.dtype, requires_grad=True)
        self.curves = program.curves(self.q, self.duration)

    def slope(self, value: Tensor) -> Float[np.ndarray, " variable"]:
        """Derivative of a number that was made of the curves."""
        by_q, by_duration = torch.autograd.grad(value, [self.q, self.duration], retain_graph=True, allow_unused=True)
        slope = np.zeros(self.program.deformation.variables)
        if by_q is not None:
            slope += torch.einsum("tc,tcn->n", by_q, self.shape.slopes).numpy()
        if by_duration is not None:
            slope[-1] += float(by_duration) * self.program.deformation.duration_slope(self.shape.duration)
        return slope

    def norm(self, name: str, curve: Tensor, excess: float, cost: float) -> Norm:
        """A bound on the root mean square of a curve."""
        T, value = len(curve), curve.detach().numpy()
        waves = dct(np.eye(T), type=2, norm="ortho", axis=0)[:WAVES]
        products = waves @ value
        rest = float(np.sqrt(max(value @ value - products @ products, 0.0)))
        slopes = np.stack([self.slope(torch.as_tensor(wave) @ curve) for wave in waves])
        return Norm(name, float(excess), products, slopes, rest, T, cost)

    def gate_rows(self, name: str, excess: float, seen: Float[np.ndarray, "time channel"]) -> list[Row]:
        """Rows of a gate, which judges the largest of all channels: in frames where the largest was seen large."""
        curve = self.curves.gates[name]
        most, largest, rows = float(curve.detach().max()), seen.argmax(1), []
        for weights in _tight("peak", 1.0, seen.max(1)) or []:
            t = int(weights.argmax())
            value = curve[t, largest[t]]
            rows.append(Row(f"gate {name}", excess - most + float(value.detach()), self.slope(value), HARD))
        return rows


class _Linear:
    """The program linearised at a change: a row for every bound that is near, and the gradient of all else.

    A peak, a negated minimum and a root mean square are the largest of many linear functions of a curve: its values at
    single frames, or its products with curves of unit size. A bound on them is as many linear bounds (Kelley 1960,
    doi:10.1137/0108053). Of a peak those are looked at that are tight here, and later those that were tight where a
    step went wrong; of a root mean square those that are tight where a step would go in the linearised curve (`Norm`).
    """

    def __init__(self, program: _Program, current: Try) -> None:
        self.program, self.current = program, current
        self.point = _Point(program, current)
        self.curves = self.point.curves
        self.gradient = np.zeros(program.deformation.variables)
        self.rows = program.limit_rows(current)
        self.norms: dict[tuple[str, int], Norm] = {}
        for term, curve in zip(program.objective.terms, self.curves.terms, strict=True):
            if not term.bounded:
                channels = statistic(term.term, curve[None])[0]
                wanted = channels.square().mean() if term.term.stat == "rms" else channels.mean()
                self.gradient += _direction(term) * self.point.slope(wanted)
        self.look(self.curves)

    @property
    def pull(self) -> dict[str, float]:
        """How much of the whole step each bound is answerable for: its multipliers."""
        found: dict[str, float] = {}
        _, multipliers = least_change(self.current.size, self.gradient, self.rows)
        for row, multiplier in zip(self.rows, multipliers, strict=True):
            found[row.name] = found.get(row.name, 0.0) + float(multiplier)
        return found

    def look(self, seen: Curves) -> None:
        """Add rows for the bounds that are tight on these curves, of terms and of gates."""
        for name, value in self.current.simulation.gates.items():
            if name in self.curves.gates and _excess(value) > -NEAR:
                self.rows += self.point.gate_rows(name, _excess(value), seen.gates[name].detach().numpy())
        deciding = {t.name for t in self.program.objective.verdict_terms}
        for term, curve, seen_curve in zip(self.program.objective.terms, self.curves.terms, seen.terms, strict=True):
            other = seen_curve.detach().numpy()
            if not term.bounded:
                continue
            low, high = _band(term)
            values = self.current.simulation.values[term.name] / term.scale
            for k, value in enumerate(values):
                for sign, excess in ((1.0, value - high), (-1.0, low - value)):
                    if np.isfinite(excess) and excess > -NEAR:
                        cost = _cost(term, deciding)
                        if term.term.stat == "rms" and sign > 0:
                            if (term.name, k) not in self.norms:
                                self.norms[term.name, k] = self.point.norm(term.name, curve[:, k], excess, cost)
                                self.rows.append(self.norms[term.name, k].row(np.zeros(len(self.gradient))))
                        else:
                            self.rows += self._rows(term, curve[:, k], other[:, k], sign, float(excess), cost)

    def _rows(
        self, term: BoundTerm, curve: Tensor, other: Float[np.ndarray, " time"], sign: float, excess: float, cost: float
    ) -> list[Row]:
        """Rows of one bound on one channel."""
        weights = _tight(term.term.stat, sign, other)
        if weights is None:
            value = statistic(term.term, curve[None, :, None])[0, 0]
            return [Row(term.name, excess, sign * self.point.slope(value), cost)]
        here = curve.detach().numpy()
        own = _tight(term.term.stat, sign, here)
        assert own is not None
        most = max(float(w @ here) for w in own)
        return [
            Row(term.name, excess - most + float(w @ here), self.point.slope(torch.as_tensor(w) @ curve), cost)
            for w in weights
        ]

    def cut(self, failed: Try) -> None:
        """Add rows for the gates that a step failed, linearised where it went: there forces run out, here they do not.

        Up to the frame in which muscles are at their limit a residual hardly grows; beyond it does steeply. The tangent
        beyond bounds a convex gate everywhere (Kelley 1960).
        """
        wrong = {n: _excess(v) for n, v in failed.simulation.gates.items() if 0.0 < _excess(v) < FARTHEST}
        if not wrong:
            return
        there, way = _Point(self.program, failed), (failed.x - self.current.x).numpy()
        for name in wrong.keys() & there.curves.gates.keys():
            rows = there.gate_rows(name, wrong[name], there.curves.gates[name].detach().numpy())
            self.rows += [row._replace(excess=row.excess - float(row.slope @ way)) for row in rows]

    def step(self, radius: float) -> tuple[Float[np.ndarray, " variable"], float]:
        """The step that does most within `radius`, and by how much it turns a joint, rad.

        With more and more weight on its own size (Levenberg 1944, Marquardt 1963), until no joint turns farther.
        """
        weights = [0.0, *np.geomspace(0.1, 1e7, DAMPINGS)]
        low, high = 0, len(weights) - 1
        while low < high:
            middle = (low + high) // 2
            if self._turn(self._damped(weights[middle])) > radius:
                low = middle + 1
            else:
                high = middle
        step = self._damped(weights[low])
        turn = self._turn(step)
        share = min(1.0, radius / max(turn, 1e-12))
        return share * step, share * turn

    def _damped(self, weight: float) -> Float[np.ndarray, " variable"]:
        """The damped step, with all bounds on root mean squares that it would break."""
        for _ in range(CUTS):
            step = least_change(self.current.size, self.gradient, self.rows, damping=weight)[0]
            beyond = [n for n in self.norms.values() if n.excess_at(step) > n.seen(step, self.rows) + CUT_FROM]
            if not beyond:
                break
            self.rows += [norm.row(step) for norm in beyond]
        return step

    def _turn(self, step: Float[np.ndarray, " variable"]) -> float:
        """How far a step goes, rad: the largest change of a joint, before and after the legs are closed over the feet.

        A place counts as an angle of as many units, a duration that changes by a tenth as STRETCH_RAD.
        """
        proposed = torch.as_tensor(step)
        joints = float((self.current.shape.slopes @ proposed).abs().max())
        before = ANGLE_UNIT * float(self.program.deformation.proposed(proposed).abs().max())
        return max(joints, PROPOSED * before, STRETCH_RAD * abs(float(step[-1])))


def _tight(stat: str, sign: float, curve: Float[np.ndarray, " time"]) -> list[Float[np.ndarray, " time"]] | None:
    """Weights w, of which a bounded statistic is the largest w'curve: those of the largest; None where it is no such.

    With a sign of -1 the statistic is bounded from below, and its negative is meant.
    """
    frames = len(curve)
    if stat == "rms" and sign > 0:
        size = float(np.sqrt(np.mean(np.square(curve))))
        return [curve / (frames * max(size, 1e-12))]
    if (stat, sign) not in (("peak", 1.0), ("min", -1.0)):
        return None
    height = sign * curve
    chosen: list[int] = []
    for t in np.argsort(-height).tolist():
        if height.max() - height[t] > NEAR or len(chosen) == PEAKS:
            break
        if all(abs(t - other) >= PEAK_STRIDE for other in chosen):
            chosen.append(t)
    return [sign * np.eye(1, frames, t)[0] for t in chosen]


def _band(term: BoundTerm) -> tuple[float, float]:
    """The term's band in scales, narrowed by its margin, which is at most a quarter of it."""
    dynamic = term.term.quantity in ("activation", "moment", "grf", "joint_load") or (
        term.term.quantity == "asymmetry" and term.measured.unit == "1"
    )
    margin = DYNAMIC_MARGIN if dynamic else KINEMATIC_MARGIN
    low, high = term.low / term.scale, term.high / term.scale
    margin = min(margin, 0.25 * (high - low)) if np.isfinite(high - low) else margin
    return low + margin, high - margin


def _excess(share: float) -> float:
    """How far a gate's value, in shares of its limit, is above the limit less a margin, in scales."""
    return (share - 1.0 + GATE_ROOM) / GATE_SCALE


def _cost(term: BoundTerm, deciding: set[str]) -> float:
    return HARD if term.name in deciding else max(WISH * term.term.weight, 1e-9)


def _direction(term: BoundTerm) -> float:
    return (1.0 if term.term.goal == "minimise" else -1.0) * term.term.weight
