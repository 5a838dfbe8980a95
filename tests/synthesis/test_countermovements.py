"""Synthetic countermovement squats: quick, and with no rest at the bottom."""

import numpy as np
import pytest
import torch

from bige_opensim.guidance.quantities import Frame, Observation
from bige_opensim.motion import Motion
from bige_opensim.movements.repetitions import find_movement
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.synthesis.countermovements import (
    STEEPEST,
    draw_countermovements,
    draw_quick_style,
    turned_course,
)
from bige_opensim.synthesis.squats import squat_motion

FINE_S = 1e-3


def course(down_s: float, up_s: float) -> np.ndarray:
    return turned_course(np.arange(0.0, down_s + up_s + FINE_S / 2, FINE_S), down_s, up_s)


def derivatives(s: np.ndarray) -> list[np.ndarray]:
    found = [s]
    for _ in range(3):
        found.append(np.gradient(found[-1], FINE_S, edge_order=2))
    return found[1:]


def test_equal_halves_are_the_closed_form_whose_third_derivative_is_zero_at_the_bottom() -> None:
    tau = np.linspace(0.0, 1.0, 11)
    expected = (20 * tau**3 - 25 * tau**4 + 8 * tau**5) / 3
    np.testing.assert_allclose(turned_course(0.7 * tau, 0.7, 0.7), expected, atol=1e-12)
    np.testing.assert_allclose(turned_course(0.7 * (2.0 - tau), 0.7, 0.7), expected, atol=1e-12)
    assert np.gradient(course(1.0, 1.0)[:1001], FINE_S).max() == pytest.approx(STEEPEST, abs=0.01)


@pytest.mark.parametrize(("down_s", "up_s"), [(0.7, 0.6), (0.9, 0.5)])
def test_the_course_stands_at_both_ends_and_turns_with_the_least_jerk(down_s: float, up_s: float) -> None:
    """Halves with another acceleration at the bottom, the same from both sides, have more."""
    s = course(down_s, up_s)
    velocity, acceleration, jerk = derivatives(s)
    bottom = round(down_s / FINE_S)
    assert s[[0, bottom, -1]].tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-12)
    assert np.abs(velocity[[0, bottom, -1]]).max() < 0.02
    assert acceleration[bottom] < -5.0
    assert np.abs(acceleration[[0, -1]]).max() < 0.5
    inner = slice(5, -5)

    def cost(share: float) -> float:
        t = np.arange(len(s)) * FINE_S
        T = np.where(t <= down_s, down_s, up_s)
        u = np.where(t <= down_s, t, down_s + up_s - t) / T
        other = derivatives(s + share * T**2 * u**3 * (1 - u) ** 2)[2]
        return float((other[inner] ** 2).sum() * FINE_S)

    assert cost(0.0) == pytest.approx(float((jerk[inner] ** 2).sum() * FINE_S))
    assert cost(0.0) < min(cost(1.0), cost(-1.0))


@pytest.fixture(scope="module")
def performed(body: Skeleton) -> Motion:
    """Two repetitions of one person."""
    random = np.random.default_rng(2)
    style = draw_quick_style(random)
    return squat_motion(body, style, draw_countermovements(style, 2, random), random)[0]


def test_they_are_found_as_squats_as_quick_as_the_objective_asks(body: Skeleton, performed: Motion) -> None:
    found = find_movement(performed)
    assert (found.movement, len(found.repetitions)) == ("squat", 2)
    q, duration = torch.as_tensor(performed.values)[None], torch.tensor([performed.duration], dtype=torch.float64)
    observation = Observation(Frame(body.coordinates, (), body), q, duration, None)
    height = observation.com[0, :, 1].numpy()
    velocity = np.gradient(height, performed.time)
    assert velocity.min() < -0.5
    assert velocity.max() > 0.5
    assert np.gradient(velocity, performed.time).min() > -7.0
    lowest = int(height.argmin())
    assert np.gradient(velocity, performed.time)[lowest] > 2.0
    assert float(observation.beyond_support[0, 3:-3].max()) < 0.02
