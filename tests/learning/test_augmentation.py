"""Variations of motions change what they say they change, and nothing else."""

import pytest
import torch

from bige_opensim.learning.augmentation import warped, with_arms_of_others

ARMS = [3, 5]


def motions(count: int = 40) -> torch.Tensor:
    """Each channel a ramp of its own slope per motion."""
    slope = torch.rand(count, 1, 6, generator=torch.Generator().manual_seed(0)) + 0.5
    return slope * torch.linspace(0, 1, 101)[:, None]


def test_other_peoples_arms_leave_legs_alone() -> None:
    q = motions()
    found = with_arms_of_others(q, ARMS, 0.5, 0.0, torch.Generator().manual_seed(1))
    others = [c for c in range(6) if c not in ARMS]
    assert torch.equal(found[..., others], q[..., others])
    changed = (found[..., ARMS] != q[..., ARMS]).any(-1).any(-1)
    assert 0.3 < changed.float().mean() < 0.7
    low, high = q[:, -1, ARMS].amin(0), q[:, -1, ARMS].amax(0)
    assert (found[:, -1, ARMS] > low - 0.2 * (high - low)).all()
    assert (found[:, -1, ARMS] < high + 0.2 * (high - low)).all()


def test_both_coordinates_of_an_arm_come_from_the_same_people() -> None:
    q = motions()
    q[..., 5] = 2.0 * q[..., 3]
    found = with_arms_of_others(q, ARMS, 1.0, 0.0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found[..., 5], 2.0 * found[..., 3])


def test_a_warped_motion_goes_the_same_way_at_another_pace() -> None:
    q = motions()
    found = warped(q, 0.3, torch.Generator().manual_seed(2))
    torch.testing.assert_close(found[:, [0, -1]], q[:, [0, -1]], atol=1e-5, rtol=0)
    assert (found.diff(dim=1) > 0).all()
    assert (found - q).abs().amax((1, 2)).median() > 0.02
    share = found / q[:, -1:]
    torch.testing.assert_close(share, share[..., :1].expand_as(share))


def test_no_warp_is_no_change() -> None:
    torch.testing.assert_close(warped(motions(), 0.0, torch.Generator()), motions())


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_is_that_of_the_motions(share: float) -> None:
    found = with_arms_of_others(motions(), ARMS, share, 0.0, torch.Generator().manual_seed(3))
    assert ((found != motions()).any(-1).any(-1).float().mean() - share).abs() < 0.1
