"""Metrics against closed forms, scipy and symmetries."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from bige_opensim.guidance.proximity import Neighbourhood
from bige_opensim.validation import metrics

RANDOM = np.random.default_rng(0)
CURVE = np.linspace(0.0, 1.0, 101)


def motions(n: int, seed: int = 0, people: int = 5) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Smooth motions (n, 101, 4) of a few people, their durations, and who moves."""
    draw = np.random.default_rng(seed)
    bumps = np.stack([np.sin(np.pi * k * CURVE) for k in (1, 2, 3, 4)])
    weight = 0.3 * draw.standard_normal((n, 4, 4)) / (1 + np.arange(4))
    q = np.einsum("nck,kt->ntc", weight + np.array([1.0, 0, 0, 0]), bumps)
    return q, draw.uniform(2.0, 3.0, n), [f"p{i % people}" for i in range(n)]


# ---- Wasserstein


def test_wasserstein_of_a_shifted_sample_is_the_shift():
    x = RANDOM.standard_normal((40, 3))
    assert metrics.wasserstein(x + np.array([0.5, -2.0, 0.0]), x) == pytest.approx([0.5, 2.0, 0.0], abs=1e-12)


def test_wasserstein_of_samples_of_any_sizes_agrees_with_scipy():
    for n, m in ((1, 1), (7, 7), (5, 12), (31, 17)):
        x, y = RANDOM.standard_normal((n, 2)), 2 * RANDOM.standard_normal((m, 2)) + 1
        expected = [wasserstein_distance(x[:, k], y[:, k]) for k in range(2)]
        assert metrics.wasserstein(x, y) == pytest.approx(expected, abs=1e-12)


def test_wasserstein_of_two_normal_distributions_of_the_same_mean_is_the_difference_of_spreads_by_root_half_pi():
    x = RANDOM.standard_normal((200_000, 1))
    y = RANDOM.standard_normal((200_000, 1))
    assert metrics.wasserstein(3 * x, y)[0] == pytest.approx(2 * math.sqrt(2 / math.pi), rel=0.01)


def test_wasserstein_is_symmetric_scales_with_its_unit_and_does_not_see_order():
    x, y = RANDOM.standard_normal((9, 4)), RANDOM.standard_normal((6, 4))
    there = metrics.wasserstein(x, y)
    assert metrics.wasserstein(y, x) == pytest.approx(there)
    assert metrics.wasserstein(RANDOM.permutation(x), y) == pytest.approx(there)
    assert metrics.wasserstein(10 * x, 10 * y) == pytest.approx(10 * there)


def test_coordinate_distances_compare_the_same_phase_so_that_shuffling_time_is_seen():
    q, _, _ = motions(20)
    shuffled = q[:, RANDOM.permutation(101)]
    assert metrics.coordinate_distances(q, q) == pytest.approx(0.0, abs=1e-12)
    assert (metrics.coordinate_distances(shuffled, q) > 0.1).all()
    pooled = metrics.wasserstein(shuffled.reshape(-1, 4), q.reshape(-1, 4))
    assert pooled == pytest.approx(0.0, abs=1e-12)


# ---- Fréchet


def test_frechet_distance_of_normal_samples_is_the_known_one():
    mean, spread = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 1.0])
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    x = np.random.default_rng(2).standard_normal((100_000, 3)) @ turn.T
    y = (np.random.default_rng(3).standard_normal((100_000, 3)) * spread + mean) @ turn.T
    expected = math.sqrt((mean**2).sum() + ((spread - 1) ** 2).sum())
    assert metrics.frechet_distance(x, y) == pytest.approx(expected, rel=0.01)


def test_frechet_distance_of_a_shifted_sample_is_the_length_of_the_shift_however_few_they_are():
    x = RANDOM.standard_normal((4, 11))
    shift = RANDOM.standard_normal(11)
    assert metrics.frechet_distance(x + shift, x) == pytest.approx(np.linalg.norm(shift), rel=1e-6)


def test_frechet_distance_is_symmetric_scales_and_does_not_see_order():
    x, y = RANDOM.standard_normal((12, 5)), 2 * RANDOM.standard_normal((9, 5)) + 1
    there = metrics.frechet_distance(x, y)
    assert metrics.frechet_distance(y, x) == pytest.approx(there, rel=1e-8)
    assert metrics.frechet_distance(RANDOM.permutation(x), y) == pytest.approx(there, rel=1e-8)
    assert metrics.frechet_distance(3 * x, 3 * y) == pytest.approx(3 * there, rel=1e-8)


def test_covariance_keeps_variances_shrinks_correlations_of_few_samples_and_hardly_those_of_many():
    factor = np.array([[1.0, 0.0, 0.0], [0.9, 0.4, 0.0], [0.0, 0.5, 2.0]])
    true = factor @ factor.T
    few, many = (np.random.default_rng(5).standard_normal((n, 3)) @ factor.T for n in (5, 50_000))
    assert metrics.shrunk_covariance(many) == pytest.approx(true, abs=0.05)
    shrunk, plain = metrics.shrunk_covariance(few), np.cov(few.T)
    assert np.diag(shrunk) == pytest.approx(np.diag(plain))
    assert abs(shrunk[0, 1]) < abs(plain[0, 1])
    assert np.linalg.eigvalsh(metrics.shrunk_covariance(RANDOM.standard_normal((4, 11)))).min() > 0


def test_shrinking_brings_the_covariance_of_few_samples_nearer_to_the_true_one():
    draws = [RANDOM.standard_normal((8, 10)) for _ in range(50)]
    shrunk, plain = (
        np.mean([((f(x) - np.eye(10)) ** 2).sum() for x in draws])
        for f in (metrics.shrunk_covariance, lambda x: np.cov(x.T))
    )
    assert shrunk < 0.5 * plain


ANGLES = (True,) * 4


def space_of(q: np.ndarray, duration: np.ndarray) -> metrics.FeatureSpace:
    return metrics.FeatureSpace.of(q, duration, ANGLES, np.array([0.5, 0.5, 0.5, 0.25]))


def test_distances_are_root_mean_squares_over_samples_of_coordinates_velocities_and_duration():
    q, duration, _ = motions(30)
    space = space_of(q, duration)
    here = space.vectors(q, duration)
    moved = space.vectors(q + np.array([0.0, 0.0, 0.0, 0.5]), duration)
    assert np.diag(space.distances(moved, here)) == pytest.approx(math.sqrt(2.0**2 / 9))
    later = space.distances(space.vectors(q[:1] * 0, duration[:1]), space.vectors(q[:1] * 0, 2 * duration[:1]))
    assert later[0, 0] == pytest.approx(math.log(2) / space.log_duration[1] / 3)
    ramp = np.zeros((1, 101, 4))
    ramp[0, :, 0] = CURVE - 0.5
    found = np.linalg.norm(space.vectors(ramp, np.array([2.0])) - space.vectors(0 * ramp, np.array([2.0])))
    expected = ((ramp[0, :, 0] ** 2).mean() / 0.5**2 + (0.5 / space.velocity_scale[0]) ** 2) / 9
    assert found == pytest.approx(math.sqrt(expected))


def test_features_keep_distances_and_tell_what_the_axes_cannot_describe():
    q, duration, _ = motions(30)
    space = space_of(q, duration)
    features, vectors = space(q, duration), space.vectors(q, duration)
    assert features.shape == (30, metrics.AXES + 1)
    assert features[:, :-1].mean(axis=0) == pytest.approx(0.0, abs=1e-12)
    from_mean = np.linalg.norm(vectors - vectors.mean(axis=0), axis=1)
    assert np.linalg.norm(features, axis=1) == pytest.approx(from_mean)
    noisy = q + 0.05 * RANDOM.standard_normal(q.shape)
    assert (space(noisy, duration)[:, -1] > 3 * features[:, -1].max()).all()


# ---- neighbourhoods


def inside_of(x: np.ndarray, reference: np.ndarray, k: int = 5) -> np.ndarray:
    """Which of points x lie in the neighbourhoods of reference points."""
    return cdist(x, reference) <= metrics.neighbourhood_radii(cdist(reference, reference), None, k)


def flat(q: np.ndarray) -> np.ndarray:
    return q.reshape(len(q), -1)


def test_a_copy_covers_everything_and_motions_far_away_nothing():
    q, _, _ = motions(30)
    assert metrics.coverage(inside_of(flat(q), flat(q))) == 1.0
    assert metrics.precision(inside_of(flat(q), flat(q))) == 1.0
    far = inside_of(flat(q) + 100.0, flat(q))
    assert (metrics.coverage(far), metrics.density(far), metrics.precision(far)) == (0.0, 0.0, 0.0)


def test_density_and_coverage_of_another_draw_are_those_that_naeem_derives():
    x, y = (np.random.default_rng(s).standard_normal((1000, 8)) for s in (0, 1))
    inside = inside_of(y, x)
    assert metrics.density(inside) == pytest.approx(1.0, abs=0.1)
    expected = 1.0 - math.prod((1000 - i) / (2000 - i) for i in range(1, 6))
    assert metrics.coverage(inside) == pytest.approx(expected, abs=0.04)


def test_one_mode_repeated_is_precise_and_covers_little():
    q, _, _ = motions(40)
    inside = inside_of(np.repeat(flat(q[:1]), 40, axis=0), flat(q))
    assert metrics.precision(inside) == 1.0
    assert metrics.coverage(inside) < 0.5


def test_neighbours_are_other_people_where_there_are_several():
    places = np.array([0.0, 0.1, 1.0, 1.1, 3.0])
    between = np.abs(places[:, None] - places)
    people = ["a", "a", "b", "b", "c"]
    assert metrics.neighbourhood_radii(between, None, 1) == pytest.approx([0.1, 0.1, 0.1, 0.1, 1.9])
    assert metrics.neighbourhood_radii(between, people, 1) == pytest.approx([1.0, 0.9, 0.9, 1.0, 1.9])
    assert metrics.neighbourhood_radii(between, people, 99) == pytest.approx([3.0, 2.9, 2.0, 1.9, 3.0])


def test_pairwise_diversity_and_novelty_have_their_closed_forms():
    places = np.array([0.0, 1.0, 3.0])
    assert metrics.mean_pairwise(np.abs(places[:, None] - places)) == pytest.approx(2.0)
    q, _, people = motions(12)
    neighbourhood = Neighbourhood(torch.as_tensor(q), (True,) * 4, people)
    assert metrics.novelty(q, neighbourhood) == pytest.approx(0.0, abs=1e-6)
    moved = metrics.novelty(q + neighbourhood.usual * neighbourhood.scale.numpy(), neighbourhood)
    assert (moved <= 1.0 + 1e-9).all()
    assert moved.max() > 0.3


# ---- smoothness


def test_a_minimum_jerk_movement_has_its_known_smoothness_at_any_speed_and_size():
    move = 10 * CURVE**3 - 15 * CURVE**4 + 6 * CURVE**5
    angles = np.stack([np.stack([move, 0 * move], axis=-1), np.stack([3 * move, 4 * move], axis=-1)])
    found = metrics.log_dimensionless_jerk(angles, np.array([1.0, 2.7]))
    assert found == pytest.approx([-math.log(720 / 1.875**2)] * 2, abs=0.08)


def test_a_sine_has_its_known_smoothness_and_a_still_motion_none():
    angles = np.stack([np.sin(2 * np.pi * CURVE), np.zeros(101)])[..., None]
    found = metrics.log_dimensionless_jerk(angles, np.array([2.0, 2.0]))
    assert found[0] == pytest.approx(-math.log((2 * np.pi) ** 4 / 2), abs=0.03)
    assert np.isnan(found[1])


def test_noise_is_less_smooth():
    q, duration, _ = motions(5)
    rough = metrics.log_dimensionless_jerk(q + 0.01 * RANDOM.standard_normal(q.shape), duration)
    assert (rough < metrics.log_dimensionless_jerk(q, duration) - 2).all()


# ---- contact and limits


def flat_feet(speed: float = 0.0, height: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One motion of 2 s in which four points move along x."""
    points = np.zeros((1, 101, 4, 3))
    points[..., 0] = speed * 2.0 * CURVE[None, :, None]
    points[..., 1] = height
    return points, np.array([2.0]), np.array([0, 0, 1, 1])


def test_points_on_the_ground_slide_at_their_speed_and_points_in_the_air_do_not():
    assert metrics.slide_speed(*flat_feet(0.3)) == pytest.approx(0.3)
    assert metrics.slide_speed(*flat_feet(0.3, height=0.2)) == 0.0
    points, duration, foot = flat_feet(0.3)
    points[:, :, 2:, 0] = 0.0
    assert metrics.slide_speed(points, duration, foot) == pytest.approx(0.15)


def test_a_heel_that_rises_over_planted_toes_does_not_slide():
    points, duration, foot = flat_feet()
    points[0, :, 0] = np.stack([CURVE, 0.021 + CURVE, 0 * CURVE], axis=-1)
    assert metrics.slide_speed(points, duration, foot) == pytest.approx(0.0, abs=1e-12)


def test_penetration_and_floating_are_means_over_time():
    points, _, _ = flat_feet(height=0.03)
    assert (metrics.floating(points)[0], metrics.penetration(points)[0]) == pytest.approx((0.03, 0.0))
    points[0, :, :, 1] = np.where(CURVE < 0.5, -0.04, 0.0)[:, None]
    assert metrics.penetration(points)[0] == pytest.approx(0.04 * 50 / 101)
    assert metrics.floating(points)[0] == 0.0


def test_the_excess_over_joint_limits_is_the_largest_of_all():
    q = np.zeros((101, 2))
    q[30, 1], q[60, 0] = -0.7, 0.55
    limits = {"a": (-0.5, 0.5), "b": (-0.5, 0.5)}
    assert metrics.limit_excess(q, ("a", "b"), limits, []) == pytest.approx(0.2)
    assert metrics.limit_excess(q, ("a", "b"), {}, []) == 0.0


# ---- bootstrap


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    x = np.random.default_rng(7).standard_normal(60)
    people = [f"p{i}" for i in range(60)]
    half = metrics.bootstrap_spread(lambda i, j: x[i].mean(), people, ["r"], replicates=2000)
    assert half == pytest.approx(1.96 * x.std() / math.sqrt(60), rel=0.1)


def test_people_are_drawn_and_not_their_repetitions():
    x = np.repeat(np.random.default_rng(7).standard_normal(10), 20)
    people = [f"p{i // 20}" for i in range(200)]
    half = metrics.bootstrap_spread(lambda i, j: x[i].mean(), people, ["r"], replicates=2000)
    assert half == pytest.approx(1.96 * x.std() / math.sqrt(10), rel=0.1)
    assert np.isnan(metrics.bootstrap_spread(lambda i, j: x[i].mean(), ["one"] * 200, ["r"]))


def test_the_same_seed_gives_the_same_interval():
    x = RANDOM.standard_normal(12)
    args = (lambda i, j: x[i].mean(), [str(i) for i in range(12)], ["r", "s"])
    assert metrics.bootstrap_spread(*args, seed=3) == metrics.bootstrap_spread(*args, seed=3)
