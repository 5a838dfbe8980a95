"""Curves on uniform grids: cubics are met exactly, and continue in a straight line."""

import torch
from numpy.testing import assert_allclose

from bige_opensim.physics.hermite import hermite

LOW, STEP = torch.tensor([-1.0, 0.5], dtype=torch.float64), torch.tensor([0.25, 0.1], dtype=torch.float64)
CUBIC = torch.tensor([[0.3, -1.2, 0.7, 2.0], [1.0, 0.5, -0.4, -3.0]], dtype=torch.float64)
"""Coefficients of 1, x, x^2, x^3 of two curves."""


def cubic(x: torch.Tensor, derivative: int = 0) -> torch.Tensor:
    a, b, c, d = CUBIC.T
    return (a + b * x + c * x**2 + d * x**3, b + 2 * c * x + 3 * d * x**2, 2 * c + 6 * d * x)[derivative]


def sampled(nodes: int = 7) -> torch.Tensor:
    grid = LOW + STEP * torch.arange(nodes, dtype=torch.float64)[:, None]
    return torch.stack([cubic(grid), cubic(grid, 1)], -1).transpose(0, 1)


def test_a_cubic_its_slope_and_its_curvature_are_met_between_the_nodes():
    x = LOW + STEP * torch.linspace(0.0, 6.0, 61, dtype=torch.float64)[:, None]
    found = hermite(x, LOW, STEP, sampled(), torch.arange(2))
    assert_allclose(found.value(), cubic(x), atol=1e-13)
    assert_allclose(found.slope(), cubic(x, 1), atol=1e-12)
    inner = slice(1, -1)
    assert_allclose(found.curvature()[inner], cubic(x, 2)[inner], atol=1e-10)


def test_beyond_the_grid_the_curve_goes_on_straight_with_the_slope_of_its_end():
    ends = LOW + STEP * torch.tensor([[0.0], [6.0]], dtype=torch.float64)
    away = torch.tensor([[-0.7], [1.3]], dtype=torch.float64)
    found = hermite(ends + away, LOW, STEP, sampled(), torch.arange(2))
    assert_allclose(found.value(), cubic(ends) + away * cubic(ends, 1), atol=1e-12)
    assert_allclose(found.slope(), cubic(ends, 1), atol=1e-12)
    assert_allclose(found.curvature(), torch.zeros(2, 2))


def test_curves_that_share_a_row_of_nodes_are_the_same():
    x = torch.tensor([[-0.4, -0.4, 0.81]], dtype=torch.float64)
    row = torch.tensor([0, 0, 1])
    found = hermite(x, LOW[row], STEP[row], sampled(), row).value()
    assert found[0, 0] == found[0, 1]
    assert_allclose(found[0], cubic(torch.tensor([-0.4, 0.81], dtype=torch.float64))[[0, 0, 1]], atol=1e-13)


def test_the_value_has_the_slope_as_its_derivative_inside_and_beyond():
    x = (LOW + STEP * torch.tensor([[-1.4], [0.3], [2.5], [5.9], [8.2]], dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: hermite(x, LOW, STEP, sampled(), torch.arange(2)).value(), x)
    found = hermite(x, LOW, STEP, sampled(), torch.arange(2))
    (slope,) = torch.autograd.grad(found.value().sum(), x)
    assert_allclose(slope, found.slope().detach(), atol=1e-12)
