"""The least step of a linearised program. Oracles: a closed form, and scipy's general solver."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from bige_opensim.guidance.deformation import Size
from bige_opensim.guidance.least_change import PLAIN, Row, least_change


def size_of(residuals: np.ndarray, slopes: np.ndarray) -> Size:
    return Size(torch.as_tensor(residuals), torch.as_tensor(slopes))


def test_one_bound_is_reached_along_its_gradient_and_no_farther() -> None:
    a = np.array([3.0, 0.0, 4.0])
    step, multipliers = least_change(size_of(np.zeros(3), np.eye(3)), np.zeros(3), [Row("x", 2.0, a, 1e9)])
    assert step == pytest.approx(-2.0 * a / 25.0, rel=1e-4)
    assert multipliers == pytest.approx([2.0 * 2.0 / 25.0], rel=1e-4)  # d|d|^2/d(bound)


def test_a_bound_that_holds_costs_nothing() -> None:
    step, multipliers = least_change(size_of(np.zeros(3), np.eye(3)), np.zeros(3), [Row("x", -0.1, np.ones(3), 1e9)])
    assert step == pytest.approx(np.zeros(3), abs=1e-12)
    assert multipliers == pytest.approx([0.0])


def test_bounds_that_exclude_each_other_share_what_is_missed_by_their_costs() -> None:
    """x <= -1 at cost 1 and x >= 1 at cost 3, x itself free of cost: the least of (x + 1)^2 + 3 (1 - x)^2 is 1/2."""
    rows = [Row("low", 1.0, np.array([1.0]), 1.0), Row("high", 1.0, np.array([-1.0]), 3.0)]
    step, _ = least_change(size_of(np.zeros(1), 1e-4 * np.eye(1)), np.zeros(1), rows)
    assert step == pytest.approx([0.5], rel=1e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("damping", [0.0, 3.0])
def test_the_step_is_that_of_a_general_solver(seed: int, damping: float) -> None:
    draw = np.random.default_rng(seed)
    n, m = 6, 9
    R, J, g = draw.normal(size=8), draw.normal(size=(8, n)), draw.normal(size=n)
    rows = [Row(f"r{i}", draw.normal(), draw.normal(size=n), 10.0 ** draw.uniform(-1, 2)) for i in range(m)]

    def cost(d: np.ndarray) -> float:
        missed = np.array([max(r.excess + r.slope @ d, 0.0) for r in rows])
        moved = J @ d
        return float(
            np.sum((R + moved) ** 2)
            + g @ d
            + damping * (moved @ moved + PLAIN * d @ d)
            + sum(r.cost * x**2 for r, x in zip(rows, missed, strict=True))
        )

    step, multipliers = least_change(size_of(R, J), g, rows, damping=damping)
    best = minimize(cost, np.zeros(n), method="BFGS", options={"gtol": 1e-8})
    assert cost(step) == pytest.approx(best.fun, rel=1e-5)
    assert (multipliers >= 0).all()
    missed = np.array([r.excess + r.slope @ step for r in rows])
    assert multipliers == pytest.approx([2 * r.cost * max(x, 0.0) for r, x in zip(rows, missed, strict=True)], abs=1e-3)
