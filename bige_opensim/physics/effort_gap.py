"""How far an answer can be from the least effort, whoever found it: a bound by weak duality.

For the problem of `least_effort`, any activations x inside their box are feasible with the reserves r = b - A x that
are left, and any multipliers lam bound the least cost from below. With the pull v = A' lam, and since lam . b =
v . x + lam . r, the difference between the cost of x and that bound is a sum of terms none of which is negative:

    gap(x, lam) = sum_i [phi_i(x_i) - v_i x_i - min over l <= y <= u of (phi_i(y) - v_i y)]
                + sum_j [psi_j(r_j) - lam_j r_j - min over s of (psi_j(s) - lam_j s)],

phi(y) = w |y|^p, psi(s) = |s / opt|^p. The cost is convex, and so curved that x cannot be far from the least effort x*
where the gap is small (Boyd and Vandenberghe, Convex Optimization, 5.5.1 and 9.1.2):

    p = 2         w (x_i - x*_i)^2                        <= gap
    1 < p < 2     w p (p - 1) / 2 (x_i - x*_i)^2          <= gap, as activations are at most 1
    p > 2         w |x_i - x*_i|^p / (2^(p-1) - 1)        <= gap (Lindqvist 1990, doi:10.1090/S0002-9939-1990-1007505-7)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.joint_problem import MusclesAndReserves
from bige_opensim.physics.least_effort import LeastEffort


def farthest_from_least_effort(
    tau: Float[Tensor, "time coordinate"], actuators: MusclesAndReserves, answer: LeastEffort
) -> Float[Tensor, " time"]:
    """Largest possible difference between the activations of an answer and those of least effort, in every frame.

    `tau` are the net generalized forces that `joint_problem.solve_with_loads` was asked for. Infinite where the answer
    leaves its box or is not finite.
    """
    free = torch.tensor(actuators.free, device=tau.device)
    A, b = actuators.muscle_columns[:, free], actuators.left_to_do(tau)[:, free]
    x, multiplier, p = answer.x, answer.multiplier[:, free], actuators.exponent
    optimal, weight = actuators.reserve_optimal[free], actuators.weights
    reserve = b - (A @ x.unsqueeze(-1)).squeeze(-1)
    pull = (multiplier.unsqueeze(1) @ A).squeeze(1)
    best = _at_marginal_cost(pull / weight, p).maximum(actuators.lower).minimum(actuators.upper)
    of_muscles = weight * (x.abs() ** p - best.abs() ** p) - pull * (x - best)
    ratio, wanted = reserve / optimal, _at_marginal_cost(multiplier * optimal, p)
    of_reserves = ratio.abs() ** p - wanted.abs() ** p - multiplier * optimal * (ratio - wanted)
    gap = (of_muscles.sum(-1) + of_reserves.sum(-1)).clamp(min=0.0) / weight.min()
    outside = ((x < actuators.lower) | (x > actuators.upper)).any(-1)
    if p <= 2.0:
        bound = (gap / (0.5 * p * (p - 1.0))).sqrt()
    else:
        bound = (gap * (2.0 ** (p - 1.0) - 1.0)) ** (1.0 / p)
    return torch.where(outside | ~torch.isfinite(bound), torch.inf, bound)


def _at_marginal_cost(value: Tensor, p: float) -> Tensor:
    """Where the derivative of |y|^p is `value`."""
    return value.sign() * (value.abs() / p) ** (1.0 / (p - 1.0))
