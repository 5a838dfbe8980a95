"""Variations of motions change what they say they change, and nothing else."""

import math

import pytest
import torch

from bige_opensim.learning.augmentation import (
    TREMBLE_HZ,
    knees_forward,
    lopsided,
    trembling,
    warped,
    with_arms_of_others,
)
from bige_opensim.learning.channels import Mirror

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


def test_what_differs_between_the_sides_grows_as_a_whole_and_the_rest_stays() -> None:
    mirror = Mirror.of(["knee_angle_r", "knee_angle_l", "pelvis_tilt", "pelvis_list", "hip_flexion_r", "hip_flexion_l"])
    q = motions()
    found = lopsided(q, mirror, 0.5, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found + mirror(found), q + mirror(q))
    factor = (found - mirror(found)) / (q - mirror(q))
    for motion in factor[:, 1:].flatten(2).unbind():
        known = motion[torch.isfinite(motion)]
        assert float(known.amax() - known.amin()) < 1e-2 * float(known.amax())
    assert float(factor[:, -1, 0].log().std()) == pytest.approx(0.5, rel=0.4)
    torch.testing.assert_close(lopsided(q, mirror, 0.0, torch.Generator().manual_seed(1)), q)


def test_motions_tremble_by_so_much_acceleration_in_the_band_and_no_faster() -> None:
    still, size = torch.zeros(400, 101, 3, dtype=torch.float64), torch.tensor([4.0, 0.5, 0.0])
    duration = torch.full((400,), 2.0, dtype=torch.float64)
    found = trembling(still, duration, size, torch.Generator().manual_seed(0))
    h = 2.0 / 100
    acceleration = (found[:, 2:] - 2.0 * found[:, 1:-1] + found[:, :-2]) / h**2
    drawn = math.exp(0.5**2)  # root mean square of the factor of a channel, exp(n / 2)
    for channel, expected in enumerate(size.tolist()):
        rms = float(acceleration[..., channel].square().mean().sqrt())
        assert rms == pytest.approx(expected * drawn, rel=0.15), channel
    per_motion = acceleration[..., 0].square().mean(1).sqrt()
    assert float(per_motion.quantile(0.9) / per_motion.quantile(0.1)) > 5.0
    power = torch.fft.rfft(torch.cat([found, found.flip(1)[:, 1:-1]], 1)[..., 0], dim=1).abs().square().mean(0)
    frequency = torch.arange(len(power)) / 4.0
    outside = (frequency < TREMBLE_HZ[0] - 1e-9) | (frequency > TREMBLE_HZ[1] + 1e-9)
    assert float(power[outside].sum()) < 1e-9 * float(power.sum())


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


def test_knees_go_forward_as_they_bend_and_foot_and_trunk_keep_their_slope() -> None:
    legs = [f"{name}_{side}" for side in "rl" for name in ("hip_flexion", "knee_angle", "ankle_angle")]
    names, random = ["pelvis_tilt", *legs, "arm_flex_r"], torch.Generator().manual_seed(0)
    q = 0.2 * torch.randn(200, 1, len(names), generator=random, dtype=torch.float64)
    bend = torch.sin(torch.linspace(0.0, torch.pi, 21)).double()
    q = q + bend[:, None] * torch.tensor([float("knee" in n) for n in names])
    more = knees_forward(q, names, 6.0, random) - q
    hip, knee, ankle = (
        more[..., [names.index(f"{n}_{s}") for s in "rl"]] for n in ("hip_flexion", "knee_angle", "ankle_angle")
    )
    torch.testing.assert_close(hip - knee + ankle, torch.zeros_like(hip), atol=1e-12, rtol=0)
    torch.testing.assert_close(knee, 2.0 * ankle)
    assert not more[..., [0, -1]].any()
    assert float(more[:, [0, -1]].abs().amax()) < 1e-6
    assert (ankle >= -1e-12).all()
    lean = torch.rad2deg(ankle[:, 10, 0])
    assert 5.0 < float(lean.square().mean().sqrt()) < 7.0
    torch.testing.assert_close(knees_forward(q[..., :-2], names[:-2], 6.0, random), q[..., :-2])
