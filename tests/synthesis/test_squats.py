"""Synthetic squats keep feet, limits, balance and pace."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bige_opensim.synthesis.closed_chain import ClosedChainError
from bige_opensim.synthesis.squats import (
    HIGHEST_HEEL,
    LIMITS_DEG,
    REST_S,
    minimum_jerk,
    progress,
    squat_motion,
    sway,
)
from bige_opensim.synthesis.styles import FASTEST_KNEE, Squat, draw_squats, draw_style

SEED = 1
SQUAT = Squat(depth=1.6, lean=1.0, balance=0.0, shift=0.0, down_s=1.2, hold_s=0.3, up_s=1.0, pause_s=0.5)


@pytest.fixture(scope="module")
def performed(body):
    """Two repetitions of one person: style, repetitions, motion."""
    random = np.random.default_rng(SEED)
    style = draw_style(random)
    motion, squats = squat_motion(body, style, draw_squats(style, 2, random), random)
    return style, squats, motion


def test_minimum_jerk_starts_and_ends_at_rest():
    u = np.linspace(0.0, 1.0, 2001)
    s = minimum_jerk(u)
    velocity, h = np.gradient(s, u), u[1]
    assert (s[0], s[1000], s[-1]) == pytest.approx((0.0, 0.5, 1.0))
    assert velocity.max() == pytest.approx(1.875, abs=1e-4)
    assert abs(velocity[0]) < h
    assert abs(np.gradient(velocity, u)[1]) < 60 * 2 * h
    assert minimum_jerk(np.array([-1.0, 2.0])).tolist() == [0.0, 1.0]


def test_progress_stands_before_between_and_after():
    time, s = progress([SQUAT, SQUAT])
    total = s.sum(0)
    assert total[time < REST_S].max() < 1e-9
    assert total.max() == pytest.approx(1.0, abs=1e-12)
    held = (time > REST_S + SQUAT.down_s) & (time < REST_S + SQUAT.down_s + SQUAT.hold_s)
    assert total[held].min() == pytest.approx(1.0)
    pause = (time > REST_S + SQUAT.duration + 1e-6) & (time < REST_S + SQUAT.duration + SQUAT.pause_s)
    assert np.abs(total[pause]).max() < 1e-9
    assert time[-1] == pytest.approx(2 * REST_S + 2 * SQUAT.duration + SQUAT.pause_s, abs=1 / 60)


def test_sway_is_slow_and_of_the_size_asked_for():
    time = np.arange(0.0, 400.0, 0.05)
    wander = sway(time, 0.01, np.random.default_rng(0))
    assert wander.std() == pytest.approx(0.01, rel=0.05)
    assert np.abs(np.gradient(wander, time)).max() < 2 * np.pi * 0.6 * 0.01 * np.sqrt(2 * 5)


def test_feet_neither_slide_nor_sink(body, performed):
    points = body.contact_points(body(torch.as_tensor(performed[2].values)))
    toes = [i for i, n in enumerate(body.contact_names) if n[:2] in ("s5", "s6")]
    assert float(np.ptp(points[:, toes].numpy(), axis=0).max()) < 0.0005
    horizontal = points[..., [0, 2]].numpy()
    assert float(np.ptp(horizontal, axis=0).max()) < 0.005
    assert float(points[..., 1].min()) > -0.002


def test_the_centre_of_mass_stays_over_the_base(body, performed):
    poses = body(torch.as_tensor(performed[2].values))
    points, com = body.contact_points(poses), body.com(poses)
    heel, toe = float(points[..., 0].min()), float(points[..., 0].max())
    share = (com[:, 0].numpy() - heel) / (toe - heel)
    assert share.min() > 0.1
    assert share.max() < 0.9
    assert float(com[:, 2].abs().max()) < 0.06


def test_joints_stay_within_their_limits(body, performed):
    motion = performed[2]
    for name, (low, high) in LIMITS_DEG.items():
        for side in "rl":
            angle = np.rad2deg(motion[f"{name}_{side}"])
            assert low <= angle.min()
            assert angle.max() <= high
    limits = body.tables.range
    assert (motion.values >= limits[:, 0] - 1e-9).all()
    assert (motion.values <= limits[:, 1] + 1e-9).all()


def test_depth_and_speed_are_what_was_asked(performed):
    _, squats, motion = performed
    knee = 0.5 * (motion["knee_angle_r"] + motion["knee_angle_l"])
    assert knee.max() == pytest.approx(max(s.depth for s in squats), abs=1e-3)
    assert np.abs(np.gradient(knee, motion.time)).max() < 1.01 * FASTEST_KNEE


def test_repetitions_differ_by_a_few_per_cent():
    random = np.random.default_rng(1)
    style = draw_style(random)
    depths = np.array([s.depth for s in draw_squats(style, 200, random)[:20]])
    assert 0.01 < depths.std() / depths.mean() < 0.1
    quick = replace(style, down_s=0.1, up_s=0.1)
    fastest = max(1.875 * s.depth / min(s.down_s, s.up_s) for s in draw_squats(quick, 5, random))
    assert fastest < 1.1 * FASTEST_KNEE


def test_stiff_ankles_raise_the_heels_instead_of_bending_further(body):
    random = np.random.default_rng(SEED)
    supple = replace(draw_style(random), depth=1.6, lean=0.8, dorsiflexion=np.deg2rad(44.0), shift=0.0)
    _, (flat,) = squat_motion(body, supple, [SQUAT], np.random.default_rng(0))
    motion, _ = squat_motion(body, supple, [SQUAT], np.random.default_rng(0))
    needed = max(motion["ankle_angle_r"].max(), motion["ankle_angle_l"].max())
    assert flat.heel_lift == 0.0
    stiff = replace(supple, dorsiflexion=needed - np.deg2rad(4.0))
    motion, (raised,) = squat_motion(body, stiff, [SQUAT], np.random.default_rng(0))
    assert 0.0 < raised.heel_lift <= HIGHEST_HEEL
    assert max(motion["ankle_angle_r"].max(), motion["ankle_angle_l"].max()) < needed - np.deg2rad(2.0)
    assert motion["mtp_angle_r"].min() == pytest.approx(-raised.heel_lift, abs=1e-6)


def test_very_stiff_ankles_end_the_descent_early(body):
    style = replace(draw_style(np.random.default_rng(SEED)), lean=0.8, dorsiflexion=np.deg2rad(15.0))
    _, (squat,) = squat_motion(body, style, [SQUAT], np.random.default_rng(0))
    assert squat.depth < 0.96 * SQUAT.depth


def test_a_posture_that_no_depth_allows_is_refused(body):
    style = replace(draw_style(np.random.default_rng(SEED)), toe_out=np.deg2rad(80.0))
    with pytest.raises(ClosedChainError):
        squat_motion(body, style, [SQUAT], np.random.default_rng(0))


def test_the_same_seed_gives_the_same_motion(body, performed):
    random = np.random.default_rng(SEED)
    style = draw_style(random)
    again, _ = squat_motion(body, style, draw_squats(style, 2, random), random)
    np.testing.assert_array_equal(again.values, performed[2].values)
