"""The pose nearest to a given one that satisfies equations between its coordinates, such as feet that stand still.

For every frame of a batch, with the given pose x0, equations c(x) = 0 and a positive weight w per coordinate,

    min 1/2 sum_i w_i (x_i - x0_i)^2    subject to    c(x) = 0,    low <= x <= high,

is solved by Gauss-Newton steps on the linearised equations (the projection of Nakamura & Hanafusa 1986,
doi:10.1115/1.3143764, from x0 and not from the last iterate, so that the steps end at the nearest pose and not just at
one that fits):

    x <- x0 - A' lambda,    (J A' + e I) lambda = c(x) + J (x0 - x),    A = J W^-1.

e is far below what matters and keeps equations solvable that depend on one another. A coordinate beyond its limit is
held there, and released where its multiplier draws it back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

STEPS = 12
SETTLED = 1e-4
"""Step, rad or m, below which a pose that satisfies its equations is the nearest one."""
LARGEST_STEP = 0.5
"""Longest step of a coordinate, rad or m: equations are linearised about far away poses at first."""
DAMPING = 1e-9
"""e, in units of the diagonal of J A'."""

Equations = Callable[
    [Float[Tensor, "frame unknown"]], tuple[Float[Tensor, "frame e"], Float[Tensor, "frame e unknown"]]
]
"""c(x) and its derivative J."""


class Closest(NamedTuple):
    """The nearest poses, without gradients: see `differentiable`.

    x (frame, unknown); gap (frame,): how far their equations were from zero before the last step; held (frame,
    unknown): coordinates at a limit; jacobian (frame, e, unknown) and inverse (frame, e, unknown): J and (J A')^-1 A.
    """

    x: Tensor
    gap: Tensor
    held: Tensor
    jacobian: Tensor
    inverse: Tensor


@torch.no_grad()
def closest_pose(
    equations: Equations,
    start: Float[Tensor, "frame unknown"],
    weight: Float[Tensor, " unknown"],
    low: Float[Tensor, " unknown"],
    high: Float[Tensor, " unknown"],
    *,
    tolerance: float,
    steps: int = STEPS,
    near: Closest | None = None,
) -> Closest:
    """Nearest poses to `start` that satisfy equations to `tolerance`, or come as near as `steps` bring them.

    Parameters
    ----------
    equations
        c and J at poses; at most as many independent ones as unknowns. They may depend on one another.
    start
        The given poses x0, rad and m.
    weight
        w, positive: what moving a coordinate costs.
    low, high
        Limits of the coordinates, infinite where there are none.
    tolerance
        Largest |c| of a solved frame.
    steps
        Most steps.
    near
        A solution for nearly the same, to begin with; it changes no answer.

    """
    target = start.clamp(low, high)
    x, held = (target, torch.zeros_like(target, dtype=torch.bool)) if near is None else (near.x, near.held)
    for _ in range(steps):
        r, J = equations(x)
        A, factor = _projection(J, weight, held)
        goal = torch.where(held, x, target)  # a held coordinate is at its limit
        b = r + (J @ (goal - x).unsqueeze(-1)).squeeze(-1)
        multiplier = torch.cholesky_solve(b.unsqueeze(-1), factor)
        step = goal - x - (A.mT @ multiplier).squeeze(-1)
        outward = weight * (target - x) - (J.mT @ multiplier).squeeze(-1)
        far = step.abs().amax(1, keepdim=True)
        new = x + step * (LARGEST_STEP / far.clamp(min=LARGEST_STEP))
        stays = held & torch.where(new <= low, outward < 0.0, outward > 0.0)
        changes = (new < low) | (new > high) | stays
        settled = float(far.max()) < SETTLED and torch.equal(changes, held)
        x, held, gap = new.clamp(low, high), changes, r.abs().amax(1)
        if settled and float(gap.max()) < tolerance:
            break
    return Closest(x, gap, held, J, torch.cholesky_solve(A, factor))


def differentiable(
    found: Closest, start: Float[Tensor, "frame unknown"], residual: Float[Tensor, "frame e"]
) -> Float[Tensor, "frame unknown"]:
    """The nearest poses as functions of the given ones and of what the equations depend on.

    The value is `found.x`. With P = I - A' (J A')^-1 J its derivative is dx = P dx0 - A' (J A')^-1 dc, by the implicit
    function theorem: it keeps the equations to first order, and leaves out how the curvature of the equations turns the
    multipliers, sum lambda_e d2c_e/dx2, beside W.

    Parameters
    ----------
    found
        What `closest_pose` returned for `start`.
    residual
        Anything with the gradient that c at `found.x` has by what it depends on besides x.

    """
    moved = torch.where(found.held, 0.0, start - start.detach())
    r = residual - residual.detach() + (found.jacobian @ moved.unsqueeze(-1)).squeeze(-1)
    return found.x + moved - (found.inverse.mT @ r.unsqueeze(-1)).squeeze(-1)


def _projection(J: Tensor, weight: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """A = J W^-1 without the columns of held coordinates, and the Cholesky factor of J A' + e I."""
    A = torch.where(held.unsqueeze(1), 0.0, J / weight)
    M = A @ J.mT
    diagonal = M.diagonal(dim1=1, dim2=2)
    diagonal.mul_(1.0 + DAMPING).add_(torch.finfo(M.dtype).tiny)
    return A, torch.linalg.cholesky(M)
