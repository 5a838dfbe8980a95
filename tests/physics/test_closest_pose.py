"""The nearest pose is the one of closed forms: on planes, on circles, at limits; its derivative is theirs too."""

import torch
from torch import Tensor

from bige_opensim.physics.closest_pose import closest_pose, differentiable

FREE = torch.full((3,), torch.inf, dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 4.0, 0.5], dtype=torch.float64)
NORMAL = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)


def plane(x: Tensor) -> tuple[Tensor, Tensor]:
    """n . x = 1."""
    return (x @ NORMAL - 1.0)[:, None], NORMAL.expand(len(x), 1, 3)


def sphere(x: Tensor) -> tuple[Tensor, Tensor]:
    """|x| = 1."""
    size = x.norm(dim=1)
    return (size - 1.0)[:, None], (x / size[:, None])[:, None]


def points() -> Tensor:
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_nearest_point_of_a_plane_is_the_weighted_projection() -> None:
    x0 = points()
    found = closest_pose(plane, x0, WEIGHT, -FREE, FREE, tolerance=1e-12)
    along = NORMAL / WEIGHT
    expected = x0 - ((x0 @ NORMAL - 1.0) / (NORMAL @ along))[:, None] * along
    torch.testing.assert_close(found.x, expected, atol=1e-6, rtol=0.0)


def test_the_nearest_point_of_a_sphere_is_straight_inwards() -> None:
    x0 = points()
    x0 *= (torch.linspace(0.75, 1.5, 6, dtype=x0.dtype) / x0.norm(dim=1))[:, None]
    found = closest_pose(sphere, x0, torch.ones_like(WEIGHT), -FREE, FREE, tolerance=1e-8, steps=60)
    torch.testing.assert_close(found.x, x0 / x0.norm(dim=1, keepdim=True), atol=1e-4, rtol=0.0)
    assert found.gap.max() < 1e-8


def test_a_coordinate_stays_at_its_limit_and_the_others_make_up_for_it() -> None:
    x0 = torch.tensor([[2.0, 2.0, 0.0]], dtype=torch.float64)
    low = torch.tensor([1.5, -torch.inf, -torch.inf], dtype=torch.float64)
    found = closest_pose(plane, x0, torch.ones_like(WEIGHT), low, FREE, tolerance=1e-10)
    # without the limit x = x0 - 5 / 6 n = (1.17, 0.33, 0.83); at x1 = 1.5 what is left is 4.5 - x over (2, -1)
    expected = torch.tensor([[1.5, 2.0 - 4.5 / 5 * 2, 4.5 / 5]], dtype=torch.float64)
    torch.testing.assert_close(found.x, expected, atol=1e-6, rtol=0.0)
    assert found.held.tolist() == [[True, False, False]]


def test_a_limit_that_was_met_on_the_way_is_let_go() -> None:
    high = torch.full((3,), 3.0, dtype=torch.float64)
    far, x0 = torch.tensor([[9.0, -9.0, 0.0]], dtype=torch.float64), 0.1 * points()[:1]
    near = closest_pose(plane, far, WEIGHT, -FREE, high, tolerance=1e-9)
    assert near.held.any()
    again = closest_pose(plane, x0, WEIGHT, -FREE, high, tolerance=1e-9, steps=60, near=near)
    cold = closest_pose(plane, x0, WEIGHT, -FREE, high, tolerance=1e-9)
    torch.testing.assert_close(again.x, cold.x, atol=1e-6, rtol=0.0)
    assert not again.held.any()


def test_equations_may_repeat_one_another() -> None:
    def twice(x: Tensor) -> tuple[Tensor, Tensor]:
        r, J = plane(x)
        return torch.cat([r, 2.0 * r], 1), torch.cat([J, 2.0 * J], 1)

    one, two = (closest_pose(e, points(), WEIGHT, -FREE, FREE, tolerance=1e-9).x for e in (plane, twice))
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0.0)


def test_derivatives_by_the_given_pose_and_by_the_plane_are_those_of_the_projection() -> None:
    x0 = points().requires_grad_()
    place = torch.zeros(6, 1, dtype=torch.float64, requires_grad=True)
    found = closest_pose(plane, x0.detach(), WEIGHT, -FREE, FREE, tolerance=1e-12)
    x = differentiable(found, x0, -place)
    seed = points().flip(0)
    by_start, by_place = torch.autograd.grad((x * seed).sum(), (x0, place))
    along = NORMAL / WEIGHT / (NORMAL @ (NORMAL / WEIGHT))
    torch.testing.assert_close(by_start, seed - (seed @ along)[:, None] * NORMAL, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(by_place[:, 0], seed @ along, atol=1e-6, rtol=0.0)
