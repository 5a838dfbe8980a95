"""Exponents of the least-effort problem other than 2: a cone solver, optimality conditions, closed forms."""

from itertools import pairwise

import clarabel
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from test_least_effort import Problem, random_problem

from bige_opensim.physics.least_effort import SLACK, SOLVED, solve

EXPONENTS = (1.1, 1.5, 2.5, 3.0, 5.0, 6.0)


def with_exponents(p: Problem, exponent: float) -> Problem:
    of_unknowns, of_reserves = (torch.full_like(p[k], exponent) for k in ("weight", "reserve_optimal"))
    return p | {"exponent": of_unknowns, "reserve_exponent": of_reserves}


def muscle_like(seed: int = 0) -> Problem:
    """Nine coordinates, thirty muscles that can carry most of the load, and reserves of 1 to 100 N·m."""
    p = random_problem(frames=6, seed=seed)
    optimal = 10.0 ** torch.linspace(0, 2, 9, dtype=torch.float64)
    return p | {"upper": torch.ones(30).double(), "reserve_optimal": optimal, "weight": p["weight"].clamp(min=0.3)}


def by_power_cones(p: Problem, frame: int, exponent: float) -> tuple[np.ndarray, np.ndarray]:
    """minimise sum w t + sum s with (t, 1, x) and (s, 1, r) in power cones: t^(1/p) >= |x|, s^(1/p) >= |r|."""
    a, b = p["A"][frame].numpy(), p["b"][frame].numpy()
    weight, lower, upper, optimal = (p[k].numpy() for k in ("weight", "lower", "upper", "reserve_optimal"))
    C, n = a.shape
    N, scale = n + C, 1.0 / np.abs(b).max()
    equality = np.hstack([scale * a, scale * np.diag(optimal), np.zeros((C, N))])
    box = sparse.hstack([sparse.eye(n, N), sparse.csr_matrix((n, N))])
    cones = sparse.lil_matrix((3 * N, 2 * N))
    right = np.zeros(3 * N)
    for i in range(N):
        cones[3 * i, N + i], right[3 * i + 1], cones[3 * i + 2, i] = -1.0, 1.0, -1.0
    rows = sparse.vstack([sparse.csr_matrix(equality), box, -box, cones]).tocsc()
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    cost = np.concatenate([np.zeros(N), weight, np.ones(C)])
    kinds = [clarabel.ZeroConeT(C), clarabel.NonnegativeConeT(2 * n)] + [clarabel.PowerConeT(1 / exponent)] * N
    values = np.concatenate([scale * b, upper, -lower, right])
    solver = clarabel.DefaultSolver(sparse.csc_matrix((2 * N, 2 * N)), cost, rows, values, kinds, settings)
    answer = solver.solve()
    assert str(answer.status) in ("Solved", "AlmostSolved")
    x = np.array(answer.x)
    return x[:n], x[n:N] * optimal


@pytest.mark.parametrize("exponent", [1.5, 2.5, 3.0])
def test_a_cone_solver_finds_the_same_activations_and_reserves(exponent: float):
    p = muscle_like()
    found = solve(**with_exponents(p, exponent))
    assert found.solved.all()
    for frame in range(len(p["b"])):
        x, reserve = by_power_cones(p, frame, exponent)
        assert_allclose(found.x[frame], x, atol=2e-3)
        assert_allclose(found.reserve[frame], reserve, atol=2e-3 * np.abs(p["b"][frame]).max())


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_marginal_costs_equal_pulls_inside_the_box_and_bounds_hold_the_rest(exponent: float):
    p = muscle_like(seed=1)
    found = solve(**with_exponents(p, exponent))
    assert (found.status == SOLVED).all()
    scale = 1 + p["b"].abs().amax(-1, keepdim=True)
    produced = (p["A"] @ found.x.unsqueeze(-1)).squeeze(-1) + found.reserve
    assert float(((produced - p["b"]) / scale).abs().max()) < 1e-12
    pull = (found.multiplier.unsqueeze(1) @ p["A"]).squeeze(1)
    marginal = exponent * p["weight"] * found.x.sign() * found.x.abs() ** (exponent - 1)
    inside = (found.x > p["lower"] + 1e-9) & (found.x < p["upper"] - 1e-9) & (found.x > 0.03)
    assert inside.sum() > 20
    assert_allclose(pull[inside], marginal[inside], rtol=1e-8)
    at_top, at_bottom = found.x >= p["upper"] - 1e-9, found.x <= p["lower"] + 1e-9
    assert (pull[at_top] >= marginal[at_top] * (1 - 1e-9)).all()
    assert (pull[at_bottom] <= marginal[at_bottom] + 1e-12).all()
    control = found.reserve / p["reserve_optimal"]
    price = exponent * control.sign() * control.abs() ** (exponent - 1) / p["reserve_optimal"]
    large = control.abs() > 0.05
    assert large.any()
    assert_allclose(found.multiplier[large], price[large], rtol=2e-3, atol=1e-6)  # SLACK carries the difference


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_equal_muscles_share_by_their_weights_as_the_closed_form_says(exponent: float):
    """Two muscles of 10 N·m that give 8: w1 x1^(p-1) = w2 x2^(p-1), so x1 / x2 = (w2 / w1)^(1 / (p - 1))."""
    weight = torch.tensor([1.0, 1.2], dtype=torch.float64)
    one = torch.ones(2, dtype=torch.float64)
    found = solve(
        torch.full((1, 1, 2), 10.0, dtype=torch.float64),
        torch.full((1, 1), 8.0, dtype=torch.float64),
        weight=weight, lower=0.01 * one, upper=one, reserve_optimal=1e-3 * one[:1], exponent=exponent * one,
    )  # fmt: skip
    ratio = 1.2 ** (1 / (exponent - 1))
    second = 0.8 / (1 + ratio)
    assert_allclose(found.x[0], [ratio * second, second], rtol=1e-5)


def test_exponents_of_two_are_the_problem_without_exponents():
    p = muscle_like(seed=2)
    plain, same = solve(**p), solve(**with_exponents(p, 2.0), tolerance=1e-9)
    assert_allclose(same.x, plain.x, atol=1e-5)
    assert_allclose(same.reserve, plain.reserve, atol=1e-3)
    muscles_alone = solve(**p, exponent=torch.full_like(p["weight"], 2.0), tolerance=1e-9)
    assert_allclose(muscles_alone.x, plain.x, atol=1e-10)


def test_high_exponents_level_the_activations():
    """The larger the exponent, the smaller the largest activation that carries the same load (min-max in the limit)."""
    p = muscle_like(seed=3)
    p = p | {"b": 0.3 * p["b"], "reserve_optimal": torch.full((9,), 1e-2).double()}
    peaks = [solve(**with_exponents(p, e)).x.amax(-1) for e in (1.5, 2.0, 3.0, 5.0, 8.0)]
    for lower, higher in pairwise(peaks):
        assert (higher <= lower + 1e-9).all()
    assert (peaks[-1] < 0.9 * peaks[0]).any()


@pytest.mark.parametrize("exponent", [1.5, 3.0])
def test_gradients_agree_with_differences(exponent: float):
    p = with_exponents(muscle_like(seed=4), exponent)
    p = {k: v[:2] if k in ("A", "b") else v for k, v in p.items()}
    A, b = p["A"].clone().requires_grad_(), p["b"].clone().requires_grad_()
    direction = torch.as_tensor(np.random.default_rng(5).normal(size=(2, 30)))

    def value(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        found = solve(**(p | {"A": A, "b": b}), tolerance=1e-11)
        return (direction * found.x).sum() + found.reserve.sum() / 100

    gradient_A, gradient_b = torch.autograd.grad(value(A, b), (A, b))
    step = 1e-5
    da = torch.as_tensor(np.random.default_rng(6).normal(size=A.shape)) * (p["A"] != 0)
    db = torch.as_tensor(np.random.default_rng(7).normal(size=b.shape))
    with torch.no_grad():
        up, down = (value(p["A"] + s * step * da, p["b"] + s * step * db) for s in (1, -1))
    assert_allclose(
        float((gradient_A * da).sum() + (gradient_b * db).sum()), float((up - down) / (2 * step)), rtol=1e-4
    )


def test_multipliers_of_a_neighbour_start_the_next_solution():
    p = with_exponents(muscle_like(seed=6), 3.0)
    first = solve(**p)
    again = solve(**(p | {"b": p["b"] * 1.001}), start=first.multiplier)
    fresh = solve(**(p | {"b": p["b"] * 1.001}))
    assert int(again.iterations.max()) < int(fresh.iterations.max())
    assert_allclose(again.x, fresh.x, atol=1e-4)
    assert SLACK < 0.01
