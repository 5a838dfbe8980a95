import math

import pytest
import torch

from bige_opensim.guidance import terms

T = torch.linspace(0, 1, 101, dtype=torch.float64)


def test_peak_is_the_maximum_and_its_gradient_is_a_weighting_around_the_peak_frame() -> None:
    x = torch.sin(math.pi * T)[None].clone().requires_grad_(True)
    value = terms.peak(x)
    assert value.item() == pytest.approx(1.0, abs=1e-12)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert gradient.sum().item() == pytest.approx(1.0)
    assert (gradient >= 0).all()
    assert gradient[0].argmax() == 50
    assert (gradient[0, 45:56] > 1e-3).all()
    assert gradient[0, :30].sum() < 1e-3


def test_statistics_of_a_sine_are_its_closed_forms() -> None:
    x = torch.sin(2 * math.pi * torch.linspace(0, 1, 4001, dtype=torch.float64))[None]
    assert terms.peak(x).item() == pytest.approx(1, abs=1e-6)
    assert terms.trough(x).item() == pytest.approx(-1, abs=1e-6)
    assert terms.span(x).item() == pytest.approx(2, abs=1e-6)
    assert terms.mean(x).item() == pytest.approx(0, abs=1e-9)
    assert terms.rms(x[:, :-1]).item() == pytest.approx(math.sqrt(0.5), abs=1e-9)
    assert terms.value_at(x, 0.25).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0.0), (0.505, 50.5), (1.0, 100.0)])
def test_value_at_interpolates_between_frames(fraction: float, expected: float) -> None:
    assert terms.value_at(100 * T[None], fraction).item() == pytest.approx(expected)


def test_derivatives_of_a_parabola_are_exact_for_any_duration() -> None:
    duration = torch.tensor([2.0, 5.0], dtype=torch.float64)
    seconds = duration[:, None] * T
    x = (3 * seconds**2)[..., None]
    assert torch.allclose(terms.time_derivative(x, duration)[..., 0], 6 * seconds)
    assert torch.allclose(terms.second_time_derivative(x, duration)[..., 0], torch.full_like(seconds, 6.0), atol=1e-7)


def test_length_and_rms_have_zero_gradient_at_zero() -> None:
    x = torch.zeros(1, 4, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(terms.length(x).sum() + terms.rms(x).sum(), x)
    assert (gradient == 0).all()


def test_mirror_difference_of_pairs_and_of_midline_channels() -> None:
    q = torch.tensor([[[0.5, 0.2, -0.1]]])
    found = terms.mirror_difference(q, [0, 2], [1, 2], [1.0, -1.0])
    assert torch.allclose(found, torch.tensor([[[0.3, 0.2]]]))


def test_foot_slide_is_the_horizontal_speed_of_low_points_only() -> None:
    duration = torch.tensor([2.0], dtype=torch.float64)
    height = torch.tensor([0.0, 0.03, 0.1], dtype=torch.float64)
    points = torch.zeros(1, 101, 3, 3, dtype=torch.float64)
    points[..., 0], points[..., 2] = 3 * 0.1 * T[None, :, None], 4 * 0.1 * T[None, :, None]
    points[..., 1] = height
    speed = terms.foot_slide_speed(points, duration)
    assert torch.allclose(speed, torch.tensor([0.25, 0.125, 0.0], dtype=torch.float64).expand(1, 101, 3))


def test_foot_slide_gives_no_reward_for_lifting_the_foot() -> None:
    points = torch.rand(1, 11, 2, 3, dtype=torch.float64) * 0.03
    points.requires_grad_(True)
    (gradient,) = torch.autograd.grad(terms.foot_slide_speed(points, torch.ones(1, dtype=torch.float64)).sum(), points)
    assert (gradient[..., 1] == 0).all()
    assert (gradient[..., 0] != 0).any()


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2])
def test_trunk_inclination_is_the_angle_of_a_rotation_about_any_horizontal_axis(angle: float) -> None:
    c, s = math.cos(angle), math.sin(angle)
    forward = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    sideways = torch.tensor([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    found = terms.trunk_inclination(torch.stack([forward, sideways])[None])
    assert torch.allclose(found, torch.full((1, 2), angle), atol=1e-6)


def test_drop_is_measured_from_the_highest_place() -> None:
    assert terms.drop_from_highest(torch.tensor([[0.9, 1.0, 0.4]])).tolist() == [pytest.approx([0.1, 0.0, 0.6])]


def test_contact_and_limits_measure_only_what_is_outside() -> None:
    points = torch.tensor([[[[0, -0.02, 0], [0, 0.05, 0]], [[0, 0.03, 0], [0, 0.05, 0]]]])
    assert terms.penetration(points).tolist() == [pytest.approx([0.02, 0.0])]
    assert terms.floating(points).tolist() == [pytest.approx([0.0, 0.03])]
    assert terms.floating(points, ground_height=-0.02).tolist() == [pytest.approx([0.0, 0.05])]
    q = torch.tensor([[[-1.0, 0.5, 2.0]]])
    excess = terms.range_excess(q, torch.tensor([0.0, 0.0, -math.inf]), torch.tensor([1.0, 1.0, 1.5]))
    assert excess.tolist() == [[pytest.approx([1.0, 0.0, 0.5])]]


def test_band_penalty_is_zero_inside_linear_outside_and_aims_inside_the_band() -> None:
    value = torch.tensor([0.40, 0.451, 0.60, 0.30, 0.20], dtype=torch.float64, requires_grad=True)
    penalty = terms.band_penalty(value, 0.35, 0.45, 0.05)
    assert penalty[0].item() == pytest.approx(0.0, abs=1e-12)
    assert penalty[2].item() == pytest.approx((0.60 - 0.425) / 0.05 - 0.02, abs=1e-3)
    assert penalty[4].item() - penalty[3].item() == pytest.approx(2.0, abs=2e-3)
    (gradient,) = torch.autograd.grad(penalty.sum(), value)
    assert gradient[1] > 0.9 / 0.05
    assert gradient[3] < 0


def test_open_bounds_penalise_one_side_only() -> None:
    value = torch.tensor([-100.0, 100.0])
    assert (terms.band_penalty(value, 0.0, math.inf, 1.0) > 1).tolist() == [True, False]
    assert (terms.band_penalty(value, -math.inf, 0.0, 1.0) > 1).tolist() == [False, True]


def test_normalised_distance_weighs_channels_by_their_scale() -> None:
    a, b = torch.zeros(1, 10, 2), torch.zeros(1, 10, 2)
    b[..., 0], b[..., 1] = 0.2, 30.0
    assert terms.normalised_distance(a, b, torch.tensor([0.1, 15.0])).item() == pytest.approx(2.0)


def test_tube_neither_draws_onto_a_reference_nor_lets_go() -> None:
    distance = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0, 6.0], requires_grad=True)
    penalty = terms.tube_penalty(distance, terms.ProximityScale(near=1.0, far=3.0))
    assert penalty.tolist() == pytest.approx([terms.PUSH, 0.5 * terms.PUSH, 0.0, 0.0, 0.0, 1.0])
    (gradient,) = torch.autograd.grad(penalty.sum(), distance)
    assert (gradient[:2] < 0).all()
    assert (gradient[2:5] == 0).all()
    assert gradient[5] > 0


def test_an_arm_overhead_exceeds_no_range_that_holds_another_description_of_it() -> None:
    limits = torch.deg2rad(torch.tensor([[-90.0, 90.0], [-150.0, 90.0], [-180.0, 90.0]], dtype=torch.float64))
    overhead = torch.deg2rad(torch.tensor([175.0, -45.0, 100.0], dtype=torch.float64)).expand(1, 4, 3)
    assert terms.range_excess(overhead, *limits.T).max() > 1.0
    assert terms.joint_excess(overhead, *limits.T, [[0, 1, 2]]).max() == 0.0
    limits[1, 0] = math.radians(-100.0)
    found = terms.joint_excess(overhead, *limits.T, [[0, 1, 2]])
    torch.testing.assert_close(torch.rad2deg(found[0, 0]), torch.tensor([0.0, 35.0, 0.0], dtype=torch.float64))
