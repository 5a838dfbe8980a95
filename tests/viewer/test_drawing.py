"""What a scene is drawn from, in closed form."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bige_opensim.viewer.drawing import (
    SMALLEST_FORCE,
    base_of_support,
    convex_hull,
    facing_forward,
    force_arrows,
    is_inside,
    path_segments,
    quaternions,
    side_by_side,
)


def test_an_arrow_begins_at_the_centre_of_pressure_and_is_a_metre_long_for_the_bodys_weight():
    force, point = np.array([[0.0, 700.0, 0.0], [70.0, 0.0, 0.0]]), np.array([[0.1, 0.0, 0.2], [0.3, 0.0, -0.2]])
    arrows, drawn = force_arrows(force, point, 700.0)
    np.testing.assert_allclose(arrows, [[[0.1, 0, 0.2], [0.1, 1, 0.2]], [[0.3, 0, -0.2], [0.4, 0, -0.2]]])
    assert drawn.all()


def test_a_force_too_small_to_have_a_centre_of_pressure_has_no_arrow():
    force = np.array([[0.0, 0.99, 0.0], [0.0, 1.01, 0.0]]) * SMALLEST_FORCE * 700.0
    _, drawn = force_arrows(force, np.zeros((2, 3)), 700.0)
    assert drawn.tolist() == [False, True]


def test_the_hull_of_a_square_with_points_inside_and_on_its_edges_is_its_corners_counter_clockwise():
    points = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5], [0.5, 0.0], [1, 0.5], [0, 0]], dtype=float)
    np.testing.assert_array_equal(convex_hull(points), [[0, 0], [1, 0], [1, 1], [0, 1]])


def test_the_hull_contains_every_point_and_turns_one_way():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((40, 2))
    hull = convex_hull(points)
    edge, following = np.roll(hull, -1, 0) - hull, np.roll(hull, -2, 0) - np.roll(hull, -1, 0)
    assert (edge[:, 0] * following[:, 1] - edge[:, 1] * following[:, 0] > 0.0).all()
    assert all(is_inside(p - 1e-9 * (p - points.mean(0)), hull) for p in points)


@pytest.mark.parametrize("points", [[], [[1.0, 2.0]], [[0.0, 0.0], [1.0, 1.0]], [[0, 0], [1, 1], [2, 2]]])
def test_what_has_no_area_contains_nothing(points: list):
    hull = convex_hull(np.array(points, dtype=float).reshape(-1, 2))
    assert len(hull) <= 2
    assert not is_inside(np.array([1.0, 1.0]), hull)


def test_the_base_of_support_is_made_of_the_points_on_the_ground_alone():
    square = [[0, 0.0, 0], [0.2, 0.0, 0], [0.2, 0.0, 0.3], [0, 0.0, 0.3]]
    contacts = np.array([[*square, [0.9, 0.2, 0.9]], [[x, y + 0.5, z] for x, y, z in [*square, [0.9, 0.2, 0.9]]]])
    support = base_of_support(contacts, np.array([[0.1, 0.9, 0.1], [0.1, 0.9, 0.1]]))
    assert support.balanced.tolist() == [True, False]
    assert {tuple(c) for c in support.corners[0]} == {tuple(map(float, c)) for c in square}
    assert not support.corners[1].any()


def test_a_mass_centre_beyond_the_toes_is_not_over_the_base():
    square = np.array([[[0, 0.0, 0], [0.2, 0.0, 0], [0.2, 0.0, 0.3], [0, 0.0, 0.3]]])
    assert not base_of_support(square, np.array([[0.21, 0.9, 0.1]])).balanced[0]


@pytest.mark.parametrize("degrees", [-170.0, -90.0, 0.0, 33.0, 180.0])
def test_a_person_is_turned_to_face_forward_and_stays_upright(degrees: float):
    heading = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    turn = facing_forward(heading @ np.array([1.0, -0.3, 0.0]))
    np.testing.assert_allclose(turn @ heading, np.eye(3), atol=1e-12)


def test_quaternions_are_scipys_and_their_real_part_comes_first():
    turns = Rotation.random(20, random_state=0)
    found = quaternions(turns.as_matrix().reshape(4, 5, 3, 3))
    assert found.shape == (4, 5, 4)
    assert (found[..., 0] >= 0.0).all()
    again = Rotation.from_quat(np.roll(found.reshape(-1, 4), -1, axis=1))
    assert (again * turns.inv()).magnitude().max() < 1e-7


def test_motions_side_by_side_do_not_touch_and_go_from_left_to_right():
    places = side_by_side(12)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9.0 * np.eye(12)
    assert apart.min() >= 1.0
    assert (np.diff(places[:5, 2]) < 0).all()  # towards the viewer's right, who stands in front
    assert not side_by_side(1).any()


def test_segments_join_points_of_one_muscle_only():
    np.testing.assert_array_equal(path_segments(np.array([0, 0, 0, 1, 1, 2])), [[0, 1], [1, 2], [3, 4]])
