"""How far an answer can be from the least effort is told of right answers, wrong ones, and wrong multipliers alike."""

from dataclasses import replace

import pytest
import torch

from bige_opensim.physics.effort_gap import farthest_from_least_effort
from bige_opensim.physics.joint_problem import MusclesAndReserves, solve_with_loads
from bige_opensim.physics.least_effort import LeastEffort

FRAMES, COORDINATES, MUSCLES = 9, 5, 14
EXPONENTS = [1.5, 2.0, 3.0]


def posed(exponent: float, seed: int = 0) -> tuple[torch.Tensor, MusclesAndReserves]:
    """Net moments and muscles; one coordinate is locked, some moments are too large for the muscles."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    columns = 60.0 * normal(FRAMES, COORDINATES, MUSCLES)
    lower, upper = torch.full((MUSCLES,), 0.01).double(), torch.ones(MUSCLES).double()
    optimal = torch.tensor([1.0, 1.0, 250.0, 0.0, 1000.0], dtype=torch.float64)
    effort = MusclesAndReserves(columns, lower, upper, optimal, ([], []), [0, 1, 2, 4], exponent=exponent)
    return 90.0 * normal(FRAMES, COORDINATES), effort


def solved(exponent: float) -> tuple[torch.Tensor, MusclesAndReserves, LeastEffort]:
    tau, effort = posed(exponent)
    answer = solve_with_loads(tau, effort)
    assert bool(answer.solved.all())
    return tau, effort, answer


@pytest.mark.parametrize(("exponent", "close"), [(1.5, 1e-5), (2.0, 1e-6), (3.0, 2e-3)])
def test_the_least_effort_is_known_to_be_near(exponent, close):
    tau, effort, answer = solved(exponent)
    assert ((answer.x > 0.011) & (answer.x < 0.99)).any(), "some muscles are inside their box"
    assert float(farthest_from_least_effort(tau, effort, answer).max()) < close


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("size", [1e-3, 0.02, 0.3])
def test_no_answer_is_farther_from_the_least_effort_than_the_bound(exponent, size):
    tau, effort, answer = solved(exponent)
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        off = size * torch.randn(answer.x.shape, generator=draw, dtype=torch.float64)
        wrong = replace(answer, x=(answer.x + off).clamp(0.01, 1.0))
        distance = (wrong.x - answer.x).abs().amax(-1)
        assert (farthest_from_least_effort(tau, effort, wrong) >= distance).all()


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_multipliers_need_no_trust(exponent):
    tau, effort, answer = solved(exponent)
    moved = (answer.x + 0.05).clamp(max=1.0)
    told = answer.multiplier * torch.linspace(0.0, 3.0, FRAMES, dtype=torch.float64)[:, None]
    bound = farthest_from_least_effort(tau, effort, replace(answer, x=moved, multiplier=told))
    assert (bound >= (moved - answer.x).abs().amax(-1)).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_a_graphics_card_finds_the_same_and_gives_it_back(exponent):
    tau, effort, answer = solved(exponent)
    there = solve_with_loads(tau, effort, device="cuda")
    assert there.x.device == tau.device
    for name in ("x", "reserve", "multiplier"):
        torch.testing.assert_close(getattr(there, name), getattr(answer, name), rtol=1e-6, atol=1e-6)


def test_one_wrong_muscle_in_one_frame_is_seen_there_alone():
    tau, effort, answer = solved(2.0)
    x = answer.x.clone()
    x[4, 3] = (x[4, 3] + 0.02).clamp(max=1.0)
    bound = farthest_from_least_effort(tau, effort, replace(answer, x=x))
    assert bound[4] > 0.019
    assert bound[torch.arange(FRAMES) != 4].max() < 1e-6


@pytest.mark.parametrize("value", [-0.1, 1.1, torch.nan])
def test_what_no_muscle_can_do_proves_nothing(value):
    tau, effort, answer = solved(2.0)
    x = answer.x.clone()
    x[2, 0] = value
    bound = farthest_from_least_effort(tau, effort, replace(answer, x=x))
    assert torch.isinf(bound[2])
    assert torch.isfinite(bound[:2]).all()
