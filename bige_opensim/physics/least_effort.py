"""The least-effort problem: share generalized forces among box-bounded actuators, frame by frame, on its dual.

    minimise    sum_i w_i x_i^2 + sum_j (r_j / opt_j)^2
    subject to  A x + r = b,   l <= x <= u

x holds muscle activations and, where ground forces are sought, friction-cone coefficients; r are reserve forces, one
per coordinate and unbounded; b are the generalized forces of the motion. With multipliers lam of the equality, every
unknown is an explicit function of them,

    x_i(lam) = clip((A' lam)_i / (2 w_i), l_i, u_i),     r_j(lam) = opt_j^2 lam_j / 2,

and lam maximises a concave, piecewise quadratic function whose gradient is b - A x(lam) - r(lam) and whose generalized
Hessian is -(A D A' + diag(opt^2)/2), D = diag(1/(2 w_i)) on the unknowns strictly inside their box. A damped
semismooth Newton method ends after a few steps, most often at the exact active set (Qi and Sun 1993,
doi:10.1007/BF01581275; the QP is the one of OpenSim's StaticOptimization with exponent 2, Anderson and Pandy 2001,
doi:10.1016/S0021-9290(00)00155-X).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

SOLVED, ITERATION_LIMIT, NOT_FINITE = 0, 1, 2
STRIDE = 16
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


def solve(
    A: Float[Tensor, "frame coordinate unknown"],
    b: Float[Tensor, "frame coordinate"],
    *,
    weight: Float[Tensor, " unknown"],
    lower: Float[Tensor, " unknown"],
    upper: Float[Tensor, " unknown"],
    reserve_optimal: Float[Tensor, " coordinate"],
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
        Cost and box of the unknowns; `upper` may be infinite.
    reserve_optimal
        Optimal force of every coordinate's reserve, N or N·m, positive.
    start
        Multipliers to start from, e.g. those of a neighbouring frame.
    tolerance
        Largest imbalance accepted, relative to 1 + max |b|; 1e-9 in double and 1e-4 in single precision by default.

    Notes
    -----
    Coordinates that no unknown couples are problems of their own and are solved apart: an arm without muscles is
    carried by its reserves, and the two legs do not know of each other once the ground forces are given.

    Gradients come from one more Newton step taken on the graph: at the solution the step is zero, and its derivative is
    the implicit function theorem on the active set.

    """
    tol = tolerance if tolerance is not None else (1e-9 if A.dtype == torch.float64 else 1e-4)
    finite = torch.isfinite(A.detach().sum((-1, -2)) + b.detach().sum(-1))
    scale = tol * (1.0 + b.abs().amax(-1))
    x = torch.minimum(torch.maximum(torch.zeros_like(lower), lower), upper).expand(len(b), -1)
    lam = 2.0 * b / reserve_optimal**2
    status = torch.where(finite, SOLVED, NOT_FINITE)
    iterations, imbalance = torch.zeros_like(status), torch.zeros_like(b[:, 0])
    for rows, columns in _blocks(A.detach()):
        block = _solve_block(
            _Problem(
                A[:, rows][:, :, columns],
                b[:, rows],
                weight[columns],
                lower[columns],
                upper[columns],
                0.5 * reserve_optimal[rows] ** 2,
            ),
            finite,
            scale,
            None if start is None else start[:, rows],
            max_iterations,
        )
        x, lam = x.index_copy(1, columns, block.x), lam.index_copy(1, rows, block.multiplier)
        status = torch.where(status == SOLVED, block.status, status)
        iterations, imbalance = torch.maximum(iterations, block.iterations), torch.maximum(imbalance, block.imbalance)
    return LeastEffort(x, 0.5 * reserve_optimal**2 * lam, lam, status, iterations, imbalance)


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
    lam, status, iterations = _newton(still, finite, scale, start, max_iterations)
    if torch.is_grad_enabled() and (problem.A.requires_grad or problem.b.requires_grad):
        with torch.no_grad():
            H = still.hessian(lam)
        lam = lam + torch.linalg.solve(H, problem.gradient(lam).unsqueeze(-1)).squeeze(-1)
        still = problem
    x = still.unknowns(lam)
    return LeastEffort(x, problem.c * lam, lam, status, iterations, still.gradient(lam).abs().amax(-1))


@dataclass(frozen=True)
class _Problem:
    A: Tensor
    b: Tensor
    weight: Tensor
    lower: Tensor
    upper: Tensor
    c: Tensor

    def detached(self) -> _Problem:
        return _Problem(self.A.detach(), self.b.detach(), self.weight, self.lower, self.upper, self.c)

    def take(self, rows: Tensor) -> _Problem:
        return _Problem(self.A[rows], self.b[rows], self.weight, self.lower, self.upper, self.c)

    def free(self, lam: Tensor) -> Tensor:
        return (lam.unsqueeze(1) @ self.A).squeeze(1) / (2.0 * self.weight)

    def unknowns(self, lam: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(self.free(lam), self.lower), self.upper)

    def gradient(self, lam: Tensor) -> Tensor:
        return self.b - (self.A @ self.unknowns(lam).unsqueeze(-1)).squeeze(-1) - self.c * lam

    def unbounded_multipliers(self, rows: Tensor) -> Tensor:
        """Multipliers of the problem without boxes: a start whose moments have the right size."""
        lam = torch.zeros_like(self.b)
        p = self if bool(rows.all()) else self.take(torch.nonzero(rows).flatten())
        H = (p.A / (2.0 * p.weight)) @ p.A.transpose(-1, -2) + torch.diag(p.c)
        lam[rows] = torch.linalg.solve(H, p.b.unsqueeze(-1)).squeeze(-1)
        return lam

    def hessian(self, lam: Tensor) -> Tensor:
        v = self.free(lam)
        inside = (v > self.lower) & (v < self.upper)
        scaled = self.A * (inside / (2.0 * self.weight)).unsqueeze(-2)
        return scaled @ self.A.transpose(-1, -2) + torch.diag_embed(self.c.expand_as(lam))


def _newton(
    problem: _Problem, finite: Tensor, scale: Tensor, start: Tensor | None, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Damped semismooth Newton ascent; frames that have converged leave the batch.

    Without a start, every STRIDE-th frame is solved first, and multipliers interpolated between them start the others.
    """
    if start is None and len(problem.b) >= 2 * STRIDE and bool(finite.all()):
        coarse = torch.arange(STRIDE // 2, len(problem.b), STRIDE, device=problem.b.device)
        part, _, _ = _newton(problem.take(coarse), finite[coarse], scale[coarse], None, max_iterations)
        place = ((torch.arange(len(problem.b), device=coarse.device) - STRIDE // 2) / STRIDE).clamp(0, len(coarse) - 1)
        before = place.floor().long().clamp(max=len(coarse) - 2)
        start = torch.lerp(part[before], part[before + 1], (place - before).to(part).unsqueeze(-1))
    lam = problem.unbounded_multipliers(finite) if start is None else start.detach().clone()
    status = torch.full(lam.shape[:1], ITERATION_LIMIT, device=lam.device)
    status[~finite] = NOT_FINITE
    iterations = torch.zeros_like(status)
    active = torch.nonzero(finite).flatten()
    p = problem.take(active) if len(active) < len(lam) else problem
    for iteration in range(max_iterations + 1):
        gradient = p.gradient(lam[active])
        done = gradient.abs().amax(-1) <= scale[active]
        status[active[done]] = SOLVED
        iterations[active] = iteration
        if done.any():
            active, p, gradient = active[~done], p.take(~done), gradient[~done]
        if not len(active) or iteration == max_iterations:
            break
        factor = torch.linalg.cholesky(p.hessian(lam[active]))
        step = torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
        lam[active] += _line_search(p, lam[active], step).unsqueeze(-1) * step
    return lam, status, iterations


def _line_search(p: _Problem, lam: Tensor, step: Tensor) -> Tensor:
    """Where the dual stops rising along the step, to a tenth of its initial slope, but no further than the full step.

    The slope phi'(alpha) = step . (b - A x - r) falls monotonically, and one product A' step serves all trials. Slopes
    are compared, not values of the dual, whose rise drowns in rounding near the solution.
    """
    pull, along = (torch.stack([lam, step], 1) @ p.A).unbind(1)
    constant = ((p.b - p.c * lam) * step).sum(-1)
    falling = (p.c * step**2).sum(-1)

    def slope(rows: Tensor, alpha: Tensor) -> Tensor:
        v = (pull[rows] + alpha.unsqueeze(-1) * along[rows]) / (2.0 * p.weight)
        x = torch.minimum(torch.maximum(v, p.lower), p.upper)
        return constant[rows] - alpha * falling[rows] - (along[rows] * x).sum(-1)

    rows = torch.arange(len(lam), device=lam.device)
    length = torch.ones_like(constant)
    start, full = slope(rows, torch.zeros_like(constant)), slope(rows, length)
    rows = torch.nonzero(full < -0.1 * start).flatten()
    low, high, at_low, at_high = torch.zeros_like(start[rows]), length[rows], start[rows], full[rows]
    for trial in range(40):
        if not len(rows):
            break
        secant = low + (high - low) * at_low / (at_low - at_high)
        middle = secant if trial % 2 == 0 else 0.5 * (low + high)
        there = slope(rows, middle)
        rising = there > 0
        low, at_low = torch.where(rising, middle, low), torch.where(rising, there, at_low)
        high, at_high = torch.where(rising, high, middle), torch.where(rising, at_high, there)
        good = there.abs() <= 0.1 * start[rows]
        length[rows] = torch.where(good, middle, low)
        rows, low, high, at_low, at_high = (v[~good] for v in (rows, low, high, at_low, at_high))
    return length
