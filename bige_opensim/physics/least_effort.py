"""The least-effort problem: share generalized forces among box-bounded actuators, frame by frame, on its dual.

    minimise    sum_i w_i |x_i|^p_i + sum_j |r_j / opt_j|^p
    subject to  A x + r = b,   l <= x <= u

x holds muscle activations and, where ground forces are sought, friction-cone coefficients; r are reserve forces, one
per coordinate and unbounded; b are the generalized forces of the motion. Exponents are above 1, so that every cost is
strictly convex and smooth. With multipliers lam of the equality and the pull v = A' lam, every unknown is an explicit
function of them: it goes where its marginal cost p w |x|^(p-1) equals the pull, or as far towards it as its box lets,

    x_i(v_i) = clip(sign(v_i) (|v_i| / (p_i w_i))^(1 / (p_i - 1)), l_i, u_i),      dx_i/dv_i = x_i / ((p_i - 1) v_i),

which for p = 2 is clip(v / (2 w)) and, for reserves, r = opt^2 lam / 2. lam maximises a concave function whose gradient
is b - A x(lam) - r(lam) and whose generalized Hessian is -(A D A' + diag(opt^2)/2), D = dx/dv on the unknowns strictly
inside their box and 0 elsewhere. A damped semismooth Newton method ends after a few steps, for p = 2 most often at the
exact active set (Qi and Sun 1993, doi:10.1007/BF01581275; the cost is the one of OpenSim's StaticOptimization, whose
activation_exponent p counts for all actuators, reserves too; Anderson and Pandy 2001,
doi:10.1016/S0021-9290(00)00155-X; a cubed cost is that of Crowninshield and Brand 1981,
doi:10.1016/0021-9290(81)90035-X).

Two things keep Newton's method well behaved for other exponents. Above 2 the response is infinitely steep at 0, where
the marginal cost is flat: below `STRAIGHT_BELOW` (an activation of 0.001, or the larger one whose marginal cost double
precision cannot tell from 0, 0.04 at p = 10) it is taken as a straight line. And the exponents are reached in stages,
each begun where the solution of the one before puts the unknowns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.autograd.function import once_differentiable

from bige_opensim.physics import native

SOLVED, ITERATION_LIMIT, NOT_FINITE = 0, 1, 2

STRAIGHT_BELOW, FAINTEST = 1e-3, 1e-12
"""Size of an unknown, and of its marginal cost, below which an exponent above 2 counts as 2 in slope."""

SLACK = 1e-3
"""Optimal force, N or N·m, of what keeps the equations solvable where reserves are unknowns among others."""

LARGEST_BEND, ROUGHLY, STEEPEST = 1.5, 1e-3, 1e6
TINY = 1e-300
STATUS_TEXT = {
    SOLVED: "solved",
    ITERATION_LIMIT: "the solver reached its iteration limit before forces balanced; inspect the frame's kinematics",
    NOT_FINITE: "the frame's moments or moment arms are not finite; inspect its coordinates for spikes",
}


@dataclass(frozen=True)
class LeastEffort:
    """Solution of a batch of frames.

    x (N, n) unknowns inside their box; reserve (N, C) in N or N·m; multiplier (N, C); status (N,) index into
    `STATUS_TEXT`; iterations (N,); imbalance (N,) largest |A x + r - b|, N or N·m.
    """

    x: Float[Tensor, "frame unknown"]
    reserve: Float[Tensor, "frame coordinate"]
    multiplier: Float[Tensor, "frame coordinate"]
    status: Int[Tensor, " frame"]
    iterations: Int[Tensor, " frame"]
    imbalance: Float[Tensor, " frame"]

    @property
    def solved(self) -> Bool[Tensor, " frame"]:
        """Frames whose forces balance."""
        return self.status == SOLVED

    def to(self, device: torch.device) -> LeastEffort:
        """The same on a device."""
        return LeastEffort(**{name: value.to(device) for name, value in vars(self).items()})


def solve(
    A: Float[Tensor, "frame coordinate unknown"],
    b: Float[Tensor, "frame coordinate"],
    *,
    weight: Float[Tensor, " unknown"],
    lower: Float[Tensor, " unknown"],
    upper: Float[Tensor, " unknown"],
    reserve_optimal: Float[Tensor, " coordinate"],
    exponent: Float[Tensor, " unknown"] | None = None,
    reserve_exponent: Float[Tensor, " coordinate"] | None = None,
    start: Float[Tensor, "frame coordinate"] | None = None,
    max_iterations: int = 60,
    tolerance: float | None = None,
) -> LeastEffort:
    """Solve every frame of a batch; differentiable in A and b.

    Parameters
    ----------
    A, b
        Generalized force per unit of each unknown, and to be produced, N or N·m. Column i of A may be zero.
    weight, lower, upper
        Cost and box of the unknowns, weights positive; the box may be infinite.
    reserve_optimal
        Optimal force of every coordinate's reserve, N or N·m, positive.
    exponent, reserve_exponent
        Exponents of the costs of unknowns and reserves, above 1; None for 2, which is fastest.
    start
        Multipliers to start from, e.g. those of a neighbouring frame.
    tolerance
        Largest imbalance accepted, relative to 1 + max |b|; by default 1e-4 in single precision, in double 1e-9, or
        1e-6 with exponents. Frames that do not reach it are marked, as a few do above exponent 8.

    Notes
    -----
    Coordinates that no unknown couples are problems of their own and are solved apart: an arm without muscles is
    carried by its reserves, and the two legs do not know of each other once the ground forces are given.

    Gradients come from one more Newton step taken on the graph: at the solution the step is zero, and its derivative is
    the implicit function theorem on the active set.

    """
    if tolerance is None:
        tolerance = (1e-9 if exponent is None else 1e-6) if A.dtype == torch.float64 else 1e-4
    finite = torch.isfinite(A.detach().sum((-1, -2)) + b.detach().sum(-1))
    scale = tolerance * (1.0 + b.abs().amax(-1))
    x, lam, status = _alone(finite, b, lower, upper, reserve_optimal, reserve_exponent)
    reserve = b
    iterations, imbalance = torch.zeros_like(status), torch.zeros_like(b[:, 0])
    blocks = _blocks(A.detach())
    squares = exponent is None and reserve_exponent is None
    if squares and A.dtype == torch.float64 and A.device.type == "cpu" and native.library() is not None:
        fixed = native.Fixed(*(_array(v) for v in (weight, lower, upper, 0.5 * reserve_optimal**2)))
        places = [native.Block(rows.numpy(), columns.numpy()) for rows, columns in blocks]
        how = native.COLD if start is None else native.GIVEN
        return LeastEffort(*_InC.apply(A, b, (x, lam, status), places, fixed, scale, how, start, max_iterations))
    for rows, columns in blocks:
        problem = _Problem(
            A[:, rows][:, :, columns],
            b[:, rows],
            weight[columns],
            lower[columns],
            upper[columns],
            0.5 * reserve_optimal[rows] ** 2,
            None if exponent is None else exponent[columns],
        )
        if reserve_exponent is not None:
            problem = problem.with_reserves(reserve_optimal[rows], reserve_exponent[rows])
        first = None if start is None else start[:, rows]
        block = _solve_block(problem, finite, scale, first, max_iterations)
        x, lam = x.index_copy(1, columns, block.x[:, : len(columns)]), lam.index_copy(1, rows, block.multiplier)
        delivered = (problem.A[:, :, : len(columns)] @ block.x[:, : len(columns)].unsqueeze(-1)).squeeze(-1)
        reserve = reserve.index_copy(1, rows, block.reserve if reserve_exponent is None else problem.b - delivered)
        status = torch.where(status == SOLVED, block.status, status)
        iterations, imbalance = torch.maximum(iterations, block.iterations), torch.maximum(imbalance, block.imbalance)
    return LeastEffort(x, reserve, lam, status, iterations, imbalance)


@dataclass(frozen=True, eq=False)
class Entries:
    """Where the entries of A are that can differ from zero, of so many coordinates and unknowns.

    unknown, coordinate (E,): numbers of each.
    """

    unknown: Int[Tensor, " entry"]
    coordinate: Int[Tensor, " entry"]
    unknowns: int
    coordinates: int

    @cached_property
    def blocks(self) -> list[native.Block]:
        """Coordinates and unknowns that hang together, such as those of a leg, and where their entries are."""
        unknown, coordinate = self.unknown.numpy(), self.coordinate.numpy()
        size = self.coordinates + self.unknowns
        graph = csr_array((np.ones(len(unknown)), (coordinate, self.coordinates + unknown)), shape=(size, size))
        _, group = connected_components(graph, directed=False)
        blocks = []
        for g in np.unique(group[coordinate]):
            rows = np.flatnonzero(group[: self.coordinates] == g)
            columns = np.flatnonzero(group[self.coordinates :] == g)
            place = np.flatnonzero(group[coordinate] == g)
            place = place[np.lexsort((coordinate[place], unknown[place]))]
            counts = np.bincount(np.searchsorted(columns, unknown[place]), minlength=len(columns))
            first = np.concatenate([[0], counts.cumsum()])
            blocks.append(native.Block(rows, columns, first, np.searchsorted(rows, coordinate[place]), place))
        return blocks

    def matrix(self, A: Float[Tensor, "frame entry"]) -> Float[Tensor, "frame coordinate unknown"]:
        """A as `solve` takes it."""
        place = (self.coordinate * self.unknowns + self.unknown).to(A.device)
        full = A.new_zeros(len(A), self.coordinates * self.unknowns).index_copy(1, place, A)
        return full.unflatten(1, (self.coordinates, self.unknowns))


def solve_entries(
    A: Float[Tensor, "frame entry"],
    b: Float[Tensor, "frame coordinate"],
    entries: Entries,
    *,
    weight: Float[Tensor, " unknown"],
    lower: Float[Tensor, " unknown"],
    upper: Float[Tensor, " unknown"],
    reserve_optimal: Float[Tensor, " coordinate"],
    start: Float[Tensor, "frame coordinate"] | None = None,
    follow: bool = False,
    max_iterations: int = 60,
    tolerance: float = 1e-9,
) -> LeastEffort:
    """As `solve` with squared costs and double precision, where A is told by its entries alone.

    With `follow`, frames begin where the one before them ended: for motions, one after the other.
    """
    if native.library() is None or b.device.type != "cpu":
        there = b.device
        return solve(
            entries.matrix(A),
            b,
            weight=weight.to(there),
            lower=lower.to(there),
            upper=upper.to(there),
            reserve_optimal=reserve_optimal.to(there),
            start=start,
            max_iterations=max_iterations,
            tolerance=tolerance,
        )
    finite = torch.isfinite(A.detach().sum(-1) + b.detach().sum(-1))
    alone = _alone(finite, b, lower, upper, reserve_optimal)
    fixed = native.Fixed(*(_array(v) for v in (weight, lower, upper, 0.5 * reserve_optimal**2)))
    how = native.NEXT if follow else native.COLD if start is None else native.GIVEN
    scale = tolerance * (1.0 + b.abs().amax(-1))
    return LeastEffort(*_InC.apply(A, b, alone, entries.blocks, fixed, scale, how, start, max_iterations))


def _alone(
    finite: Tensor, b: Tensor, lower: Tensor, upper: Tensor, optimal: Tensor, power: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Unknowns, multipliers and status of frames in which nothing is coupled; `power` of reserves, None for 2."""
    x = torch.minimum(torch.maximum(torch.zeros_like(lower), lower), upper).expand(len(b), -1)
    if power is None:
        lam = 2.0 * b / optimal.square()
    else:
        lam = power * (b / optimal).abs() ** (power - 1.0) * b.sign() / optimal
    return x, lam, torch.where(finite, SOLVED, NOT_FINITE)


class _InC(torch.autograd.Function):
    """The answer in C, in the order of the fields of `LeastEffort`, and its gradients in A and b.

    alone: unknowns, multipliers and status of frames in which nothing is coupled; how: `native.COLD` and so on.
    """

    @staticmethod
    def forward(
        ctx: Any,
        A: Tensor,
        b: Tensor,
        alone: tuple[Tensor, Tensor, Tensor],
        blocks: list[native.Block],
        fixed: native.Fixed,
        enough: Tensor,
        how: int,
        start: Tensor | None,
        most: int,
    ) -> tuple[Tensor, ...]:
        x, lam, status = (np.array(v.detach().numpy(), order="C") for v in alone)
        if start is not None:
            for rows in (block.coordinates for block in blocks):
                lam[:, rows] = start.detach().numpy()[:, rows]
        reserve, state = np.array(b.detach().numpy(), order="C"), status.astype(np.int32)
        answer = lam, x, reserve, np.zeros(len(b)), state, np.zeros_like(state)
        frames = native.Frames(_array(A), _array(b), _array(enough), *answer)
        native.solve(frames, blocks, fixed, start=how, most=most)
        ctx.frames, ctx.blocks, ctx.fixed = frames, blocks, fixed
        found = {f.name: torch.from_numpy(getattr(frames, f.name)) for f in fields(LeastEffort)}
        found |= {name: found[name].long() for name in ("status", "iterations")}
        ctx.mark_non_differentiable(*(found[name] for name in ("status", "iterations", "imbalance")))
        return tuple(found.values())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *asked: Tensor) -> tuple[Tensor | None, ...]:
        of = dict(zip((f.name for f in fields(LeastEffort)), asked, strict=True))
        frames, compliance = ctx.frames, torch.from_numpy(ctx.fixed.compliance)
        of_multiplier = of["multiplier"] + compliance * of["reserve"]
        to_b = (of_multiplier / compliance).numpy()
        to_b[frames.status == NOT_FINITE] = 0.0
        to_A, asked_of = np.zeros_like(frames.A), (_array(of["x"]), _array(of_multiplier))
        pulled = native.Pullback(frames.A, frames.multiplier, *asked_of, frames.status, to_A, to_b)
        native.pull_back(pulled, ctx.blocks, ctx.fixed)
        return torch.from_numpy(to_A), torch.from_numpy(to_b), *[None] * 7


def _array(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().numpy())


def _blocks(A: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Coordinates and unknowns that hang together through nonzero entries of A in any frame; lone ones are left out."""
    linked = (A != 0).any(0).cpu().numpy()
    rows, columns = linked.shape
    graph = np.zeros((rows + columns, rows + columns), dtype=bool)
    graph[:rows, rows:] = linked
    _, group = connected_components(csr_array(graph), directed=False)
    used = np.unique(group[:rows][linked.any(1)])

    def members(part: np.ndarray, g: int) -> Tensor:
        return torch.as_tensor(np.flatnonzero(part == g), device=A.device)

    return [(members(group[:rows], g), members(group[rows:], g)) for g in map(int, used)]


def _solve_block(
    problem: _Problem, finite: Tensor, scale: Tensor, start: Tensor | None, max_iterations: int
) -> LeastEffort:
    still = problem.detached()
    lam, status, iterations = _solution(still, finite, scale, start, max_iterations)
    if torch.is_grad_enabled() and (problem.A.requires_grad or problem.b.requires_grad):
        with torch.no_grad():
            H = still.hessian(lam)
        lam = lam + torch.linalg.solve(H, problem.gradient(lam).unsqueeze(-1)).squeeze(-1)
        still = problem
    x = still.unknowns(lam)
    return LeastEffort(x, problem.c * lam, lam, status, iterations, still.gradient(lam).abs().amax(-1))


@dataclass(frozen=True)
class _Problem:
    """One block: `exponent` is None where every unknown has 2, `c` the compliance of the reserves of exponent 2."""

    A: Tensor
    b: Tensor
    weight: Tensor
    lower: Tensor
    upper: Tensor
    c: Tensor
    exponent: Tensor | None

    def with_reserves(self, optimal: Tensor, exponent: Tensor) -> _Problem:
        """The same with the reserves among the unknowns; a compliance is left that carries next to nothing."""
        n, C = self.A.shape[-1], len(optimal)
        power = self.weight.new_full((n,), 2.0) if self.exponent is None else self.exponent
        far = optimal.new_full((C,), torch.inf)
        return _Problem(
            torch.cat([self.A, torch.diag(optimal).expand(len(self.A), C, C)], -1),
            self.b,
            torch.cat([self.weight, torch.ones_like(optimal)]),
            torch.cat([self.lower, -far]),
            torch.cat([self.upper, far]),
            torch.full_like(optimal, 0.5 * SLACK**2),
            torch.cat([power, exponent]),
        )

    def detached(self) -> _Problem:
        return replace(self, A=self.A.detach(), b=self.b.detach())

    def take(self, rows: Tensor) -> _Problem:
        return replace(self, A=self.A[rows], b=self.b[rows])

    def pull(self, lam: Tensor) -> Tensor:
        """A' lam, what an increase of each unknown is worth."""
        return (lam.unsqueeze(1) @ self.A).squeeze(1)

    def free(self, pull: Tensor) -> Tensor:
        """Where the cost of an unknown rises as steeply as it is pulled, whatever its box."""
        if self.exponent is None:
            return pull / (2.0 * self.weight)
        near, bend = self._bend()
        size = pull.abs()
        curved = (size.maximum(bend) / (self.exponent * self.weight)) ** (1.0 / (self.exponent - 1.0))
        return pull.sign() * torch.where(size < bend, near * size / bend.clamp(min=TINY), curved)

    def slope(self, pull: Tensor) -> Tensor:
        """Derivative of `free`."""
        if self.exponent is None:
            return (0.5 / self.weight).expand_as(pull)
        near, bend = self._bend()
        size = pull.abs()
        steep = self.free(size.maximum(bend)) / ((self.exponent - 1.0) * size.maximum(bend).clamp(min=TINY))
        return torch.where(size < bend, near / bend.clamp(min=TINY), steep)

    def _bend(self) -> tuple[Tensor, Tensor]:
        """Size, and pull there, below which the response of an unknown of exponent > 2 is a straight line through 0."""
        assert self.exponent is not None
        power = self.exponent - 1.0
        near = (FAINTEST / self.exponent) ** (1.0 / power)
        near = near.clamp(min=STRAIGHT_BELOW)
        at = self.exponent * self.weight * near**power
        return near, torch.where(self.exponent > 2.0, at, torch.zeros_like(at))

    def boxed(self, pull: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(self.free(pull), self.lower), self.upper)

    def unknowns(self, lam: Tensor) -> Tensor:
        return self.boxed(self.pull(lam))

    def gradient(self, lam: Tensor) -> Tensor:
        return self.gradient_at(lam, self.pull(lam))

    def gradient_at(self, lam: Tensor, pull: Tensor) -> Tensor:
        return self.b - (self.A @ self.boxed(pull).unsqueeze(-1)).squeeze(-1) - self.c * lam

    def unbounded_multipliers(self, rows: Tensor) -> Tensor:
        """Multipliers of the problem without boxes: a start whose moments have the right size."""
        lam = torch.zeros_like(self.b)
        p = self if bool(rows.all()) else self.take(torch.nonzero(rows).flatten())
        H = (p.A / (2.0 * p.weight)) @ p.A.transpose(-1, -2) + torch.diag(p.c)
        lam[rows] = torch.linalg.solve(H, p.b.unsqueeze(-1)).squeeze(-1)
        return lam

    def carried_over(self, other: _Problem, lam: Tensor) -> Tensor:
        """Multipliers under which the unknowns inside their box stay, in least squares, where `other` has them."""
        v = other.free(other.pull(lam))
        x = v.minimum(self.upper).maximum(self.lower)
        power = torch.full_like(self.weight, 2.0) if self.exponent is None else self.exponent
        wanted = power * self.weight * x.sign() * x.abs() ** (power - 1.0)
        scale = self._slope_inside(v, wanted).clamp(max=STEEPEST)
        rhs = (self.A @ (scale * wanted).unsqueeze(-1)).squeeze(-1) + self.c * lam
        return torch.linalg.solve(self._normal(scale), rhs.unsqueeze(-1)).squeeze(-1)

    def hessian(self, lam: Tensor) -> Tensor:
        return self.hessian_at(self.pull(lam))

    def hessian_at(self, pull: Tensor) -> Tensor:
        return self._normal(self._slope_inside(self.free(pull), pull))

    def _slope_inside(self, v: Tensor, pull: Tensor) -> Tensor:
        return torch.where((v > self.lower) & (v < self.upper), self.slope(pull), 0.0)

    def _normal(self, scale: Tensor) -> Tensor:
        """A diag(scale) A' + diag(c)."""
        return (self.A * scale.unsqueeze(-2)) @ self.A.transpose(-1, -2) + torch.diag(self.c)


def _solution(
    problem: _Problem, finite: Tensor, scale: Tensor, start: Tensor | None, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Newton at the exponents asked for, after some between 2 and those, each from the solution before it.

    With exponent 1 + (p - 1)^(k / n) at stage k of n, no stage bends the response by more than `LARGEST_BEND`.
    """
    if problem.exponent is None or start is not None:
        return _newton(problem, finite, scale, start, max_iterations)
    bend = float((problem.exponent - 1.0).log().abs().max())
    stages = max(1, math.ceil(bend / math.log(LARGEST_BEND)))
    stage = replace(problem, exponent=None)
    lam, status, iterations = _newton(stage, finite, scale, None, max_iterations)
    for k in range(1, stages + 1):
        before, stage = stage, replace(problem, exponent=1.0 + (problem.exponent - 1.0) ** (k / stages))
        lam = torch.where(finite.unsqueeze(-1), stage.carried_over(before, lam), lam)
        enough = scale if k == stages else scale.maximum(ROUGHLY * (1.0 + problem.b.abs().amax(-1)))
        lam, status, spent = _newton(stage, finite, enough, lam, max_iterations)
        iterations = iterations + spent
    return lam, status, iterations


def _newton(
    problem: _Problem, finite: Tensor, scale: Tensor, start: Tensor | None, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Damped semismooth Newton ascent; frames that have converged leave the batch.

    Without a start it begins at the multipliers of the problem without boxes: between solutions of every 16th frame, it
    was seen to take longer (10 iterations instead of 8).
    """
    lam = problem.unbounded_multipliers(finite) if start is None else start.detach().clone()
    status = torch.full(lam.shape[:1], ITERATION_LIMIT, device=lam.device)
    status[~finite] = NOT_FINITE
    iterations = torch.zeros_like(status)
    active = torch.nonzero(finite).flatten()
    p = problem.take(active) if len(active) < len(lam) else problem
    for iteration in range(max_iterations + 1):
        here = lam[active]
        pull = p.pull(here)
        gradient = p.gradient_at(here, pull)
        done = gradient.abs().amax(-1) <= scale[active]
        status[active[done]] = SOLVED
        iterations[active] = iteration
        if done.any():
            active, p = active[~done], p.take(~done)
            here, pull, gradient = here[~done], pull[~done], gradient[~done]
        if not len(active) or iteration == max_iterations:
            break
        factor = torch.linalg.cholesky(p.hessian_at(pull))
        step = torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
        lam[active] = here + _line_search(p, here, pull, gradient, step).unsqueeze(-1) * step
    return lam, status, iterations


def _line_search(p: _Problem, lam: Tensor, pull: Tensor, gradient: Tensor, step: Tensor) -> Tensor:
    """Where the dual stops rising along the step: the full step, unless the dual falls there again.

    The slope phi'(alpha) = step . (b - A x - r) falls monotonically, and one product A' step serves all of it; `pull`
    and `gradient` are those of lam. Slopes are compared, not values of the dual, whose rise drowns in rounding near the
    solution.
    """
    along = p.pull(step)
    rising = ((p.b - p.c * lam) * step).sum(-1)
    falling = (p.c * step**2).sum(-1)
    start = (gradient * step).sum(-1)
    full = rising - falling - (along * p.boxed(pull + along)).sum(-1)
    length = torch.ones_like(start)
    rows = torch.nonzero(full < -0.1 * start).flatten()
    if len(rows):
        length[rows] = _enclosed_zero(p, pull[rows], along[rows], rising[rows], falling[rows], start[rows], full[rows])
    return length


def _enclosed_zero(
    p: _Problem, pull: Tensor, along: Tensor, rising: Tensor, falling: Tensor, start: Tensor, full: Tensor
) -> Tensor:
    """Zero of the slope between 0 and 1, to a tenth of its initial size, by secants and bisection in turn."""

    def slope(rows: Tensor, alpha: Tensor) -> Tensor:
        x = p.boxed(pull[rows] + alpha.unsqueeze(-1) * along[rows])
        return rising[rows] - alpha * falling[rows] - (along[rows] * x).sum(-1)

    length, rows = torch.ones_like(start), torch.arange(len(start), device=start.device)
    low, high, at_low, at_high = torch.zeros_like(start), torch.ones_like(start), start, full
    for trial in range(40):
        if not len(rows):
            break
        secant = low + (high - low) * at_low / (at_low - at_high)
        middle = secant if trial % 2 == 0 else 0.5 * (low + high)
        there = slope(rows, middle)
        up = there > 0
        low, at_low = torch.where(up, middle, low), torch.where(up, there, at_low)
        high, at_high = torch.where(up, high, middle), torch.where(up, at_high, there)
        good = there.abs() <= 0.1 * start[rows]
        length[rows] = torch.where(good, middle, low)
        rows, low, high, at_low, at_high = (v[~good] for v in (rows, low, high, at_low, at_high))
    return length
