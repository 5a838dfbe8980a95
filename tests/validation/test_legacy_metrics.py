"""The paper's metrics as their scripts define them, and what is wrong with them."""

import math

import numpy as np
import pytest

from bige_opensim.validation import legacy_metrics

RANDOM = np.random.default_rng(0)
CURVE = np.linspace(0.0, 1.0, 101)


def test_fidelity_is_that_of_two_pooled_moments():
    x = RANDOM.standard_normal((20, 101, 33))
    assert legacy_metrics.fidelity(x, x) == 0.0
    assert legacy_metrics.fidelity(x + 3.0, x) == pytest.approx(9.0)
    expected = (1.0 * x.mean()) ** 2 + (3 * x.std() - 2 * x.std()) ** 2
    assert legacy_metrics.fidelity(3 * x, 2 * x) == pytest.approx(expected)


def test_fidelity_does_not_see_any_order_at_all_so_that_noise_of_the_same_moments_is_perfect():
    x = 40 * np.sin(np.pi * CURVE)[None, :, None] + RANDOM.standard_normal((20, 101, 33))
    mixed = RANDOM.permutation(x.ravel()).reshape(x.shape)
    assert legacy_metrics.fidelity(mixed, x) == pytest.approx(0.0, abs=1e-18)
    noise = x.mean() + x.std() * RANDOM.standard_normal(x.shape)
    assert legacy_metrics.fidelity(noise, x) < 0.1


def test_diversity_is_the_entropy_of_ten_bins():
    even = np.tile(np.arange(10.0), 10)
    halves = np.tile([0.0, 1.0], 50)
    still = np.zeros(100)
    found = legacy_metrics.diversity(np.stack([even, halves, still]))
    assert found == pytest.approx([math.log(10), math.log(2), 0.0])


def test_diversity_is_one_motions_own_and_scale_free():
    x = RANDOM.standard_normal((5, 101, 3))
    assert legacy_metrics.diversity(7 * x + 2) == pytest.approx(legacy_metrics.diversity(x))
    copies = legacy_metrics.diversity(np.repeat(x[:1], 20, axis=0))
    assert copies == pytest.approx(legacy_metrics.diversity(x[:1])[0])


def joints(height: np.ndarray, speed: float = 0.0) -> np.ndarray:
    """A toe at `height` (n, 101) that moves along x at `speed` for 2 s, under a hip."""
    n = len(height)
    points = np.zeros((n, 101, 2, 3))
    points[..., 0, 1], points[..., 1, 1] = height, 0.9
    points[..., 0, 0] = speed * 2.0 * CURVE
    return points


def test_the_ground_is_the_median_of_the_lowest_joints_so_that_a_set_in_the_air_stands():
    found = legacy_metrics.lowest_joints(joints(np.full((3, 101), 5.0)))
    assert found == pytest.approx(np.zeros((3, 101)))


def test_penetration_and_floating_count_from_a_centimetre_on():
    height = np.zeros((1, 101))
    height[0, :10], height[0, 90:] = -0.05, 0.008
    assert legacy_metrics.penetration(height) == pytest.approx([0.05 * 10 / 101])
    assert legacy_metrics.penetration(-height) == pytest.approx([0.0])
    assert legacy_metrics.floating(height) == pytest.approx([0.0])
    assert legacy_metrics.floating(-height) == pytest.approx([0.05 * 10 / 101])


def test_sliding_is_the_speed_of_the_lowest_joint_whatever_the_rate():
    still, moving = joints(np.zeros((2, 101))), joints(np.zeros((2, 101)), speed=0.4)
    duration = np.array([2.0, 2.0])
    assert legacy_metrics.sliding(still, duration) == pytest.approx([0.0, 0.0])
    assert legacy_metrics.sliding(moving, duration) == pytest.approx([0.4, 0.4])
    assert legacy_metrics.sliding(moving[:, ::2], duration) == pytest.approx([0.4, 0.4])
    assert legacy_metrics.sliding(moving, 2 * duration) == pytest.approx([0.2, 0.2])


def test_a_motion_that_never_touches_has_no_sliding():
    height = np.zeros((3, 101))
    height[2] = 0.5
    found = legacy_metrics.sliding(joints(height, 0.4), np.full(3, 2.0))
    assert found[:2] == pytest.approx(0.4)
    assert np.isnan(found[2])


def test_the_quantities_of_table_3():
    assert legacy_metrics.root_mean_square(np.array([[[3.0, 4.0]], [[0.0, 0.0]]])) == pytest.approx([12.5**0.5, 0.0])
    assert legacy_metrics.forward_tilt(np.array([[0.0, -30.0, 10.0]])) == pytest.approx([30.0])
    two = np.stack([0.4 * np.sin(np.pi * CURVE), 0.2 * CURVE], axis=-1)[None]
    assert legacy_metrics.peak_activation(two) == pytest.approx([0.3])
