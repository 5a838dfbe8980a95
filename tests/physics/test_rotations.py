"""Equal orientations are equal numbers: whatever the turns and the descriptions that a file has chosen."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bige_opensim.physics.rotations import one_branch, within_ranges

NAMES, TURNS = ("a", "b", "c", "knee", "tx"), (True, True, True, True, False)
SHOULDER = ("arm_flex_r", "arm_add_r", "arm_rot_r")


def raised(top_deg: float) -> np.ndarray:
    """An arm from hanging to overhead, as recorded squats have it, (101, 3) rad."""
    s = np.linspace(0.0, 1.0, 101)[:, None]
    return np.deg2rad((1.0 - s) * [5.0, -10.0, 0.0] + s * [top_deg, -45.0, 100.0])


def test_equal_orientations_are_equal_numbers_however_they_are_described():
    draw = np.random.default_rng(0)
    time = np.linspace(0, 1, 101)[:, None]
    q = draw.uniform(-1.2, 1.2, (12, 1, 5)) + 0.3 * draw.uniform(-1, 1, (12, 1, 5)) * np.sin(np.pi * time)
    other = q.copy()
    other[::2, :, :3] = [np.pi, np.pi, np.pi] + q[::2, :, :3] * [1, -1, 1]
    other[..., 3] -= 4 * np.pi
    other[1::3, :, 0] += 2 * np.pi
    other[..., 4] += 7.0
    found = one_branch(other, NAMES, TURNS, [("a", "b", "c")])
    assert found[..., :4] == pytest.approx(q[..., :4])
    assert found[..., 4] == pytest.approx(q[..., 4] + 7.0)
    turns = [Rotation.from_euler("ZXY", x[..., :3].reshape(-1, 3)).as_matrix() for x in (found, q)]
    assert turns[0] == pytest.approx(turns[1])


def test_a_motion_keeps_one_branch_so_that_it_does_not_hop():
    q = np.zeros((1, 101, 5))
    q[0, :, 3] = np.linspace(2.0, 4.5, 101)
    found = one_branch(q, NAMES, TURNS, [])
    assert np.abs(np.diff(found[0, :, 3])).max() < 0.05


@pytest.mark.parametrize("top", [150.0, 178.0, 182.0, 225.0])
def test_arms_overhead_are_on_one_branch_on_either_side_of_half_a_turn(top: float):
    q = np.stack([raised(top), np.repeat(raised(top)[-1:], 101, 0)])
    other = q.copy()
    other[1] = [np.pi, np.pi, np.pi] + other[1] * [1, -1, 1] - [2 * np.pi, 2 * np.pi, 0.0]
    other[0, :, 0] -= 2 * np.pi
    found = one_branch(other, SHOULDER, (True,) * 3, [SHOULDER])
    assert found == pytest.approx(q)


def test_a_description_that_hops_on_the_way_is_made_continuous():
    q = raised(200.0)[None]
    hopping = q.copy()
    hopping[0, 50:] = [np.pi, np.pi, np.pi] + q[0, 50:] * [1, -1, 1] - [2 * np.pi, 0.0, 2 * np.pi]
    assert one_branch(hopping, SHOULDER, (True,) * 3, [SHOULDER]) == pytest.approx(q)


def test_a_motion_is_described_within_the_ranges_of_its_model():
    overhead = np.repeat(raised(175.0)[-1:], 101, 0)
    ranges = {n: (-2.0, 1.6) for n in SHOULDER} | {"arm_add_r": (-2.6, 1.6)}
    found = within_ranges(overhead, SHOULDER, [SHOULDER], ranges)
    assert found[-1] == pytest.approx(np.deg2rad([-5.0, -135.0, -80.0]))
    hanging = raised(80.0)
    assert within_ranges(hanging, SHOULDER, [SHOULDER], {n: (-4.0, 4.0) for n in SHOULDER}) == pytest.approx(hanging)
