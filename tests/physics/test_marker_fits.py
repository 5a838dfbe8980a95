from dataclasses import replace

import numpy as np
import pytest
import torch
from markers import full_body, moving, places
from scipy.optimize import least_squares

from bige_opensim.osim.compile_markers import compile_markers
from bige_opensim.physics.inverse_kinematics import TrialSolution, _describe_alike, _repair, solve_trials
from bige_opensim.physics.marker_fits import MarkerFitter, _bounded_minimum
from bige_opensim.physics.marker_skeleton import MarkerSkeleton, MarkerTables

MTP = ("mtp_angle_r", "mtp_angle_l")


@pytest.fixture(scope="module")
def tables() -> MarkerTables:
    return compile_markers(full_body())


def solved(tables: MarkerTables, positions: np.ndarray, rate_hz: float = 100.0) -> TrialSolution:
    time = np.arange(len(positions)) / rate_hz
    skeleton = MarkerSkeleton(tables, tables.names)
    (found,) = solve_trials(skeleton, [positions], [time], np.ones(len(tables.names)))
    return found


def told(tables: MarkerTables) -> np.ndarray:
    """Which coordinates the markers tell: all but the toes."""
    return np.array([name not in MTP for name in tables.skeleton.coordinates])


def degrees(a: np.ndarray) -> float:
    return float(np.rad2deg(np.abs(a).max()))


def test_coordinates_are_found_again_from_the_markers_they_make(tables: MarkerTables):
    q = moving(tables, frames=60)
    found = solved(tables, places(tables, q))
    assert found.converged.all()
    assert degrees((found.q - q)[:, told(tables)]) < 1e-3
    assert found.distance.max() < 1e-6


def test_coordinates_that_no_marker_tells_keep_their_default_and_are_named(tables: MarkerTables):
    found = solved(tables, places(tables, moving(tables)))
    toes = ~told(tables)
    np.testing.assert_array_equal(found.q[:, toes], np.broadcast_to(tables.skeleton.default[toes], (40, 2)))
    assert np.isinf(found.spread[toes]).all()
    assert np.isfinite(found.spread[~toes]).all()


def test_the_spread_is_that_of_fits_to_noisy_markers(tables: MarkerTables):
    q = moving(tables, frames=1).repeat(400, axis=0)
    noise = 1e-3 * np.random.default_rng(5).standard_normal((400, len(tables.names), 3))
    found = solved(replace(tables, low=-10 + tables.low, high=10 + tables.high), places(tables, q) + noise)
    seen = found.q[:, told(tables)].std(axis=0) / found.spread[told(tables)]
    assert seen.min() > 0.8
    assert seen.max() < 1.25


def test_a_person_who_faces_anywhere_is_found(tables: MarkerTables):
    q = moving(tables, frames=10)
    for heading in (1.7, 3.1, -2.4):
        q[:, tables.skeleton.coordinates.index("pelvis_rotation")] = heading
        assert degrees((solved(tables, places(tables, q)).q - q)[:, told(tables)]) < 1e-3


def test_mirrored_markers_give_mirrored_coordinates(tables: MarkerTables):
    names = tables.skeleton.coordinates
    q = moving(tables, frames=20)
    noise = 0.01 * np.random.default_rng(2).standard_normal((20, len(tables.names), 3))
    positions = places(tables, q) + noise
    other = [("L" + n[1:] if n[0] == "R" else "R" + n[1:]) if n[0] in "LR" else n for n in tables.names]
    lone = tables.names.index("RBAK")  # the right shoulder blade has no counterpart
    keep = [k for k in range(len(other)) if k != lone]
    less = replace(
        tables,
        names=tuple(tables.names[k] for k in keep),
        body=tables.body[keep],
        place=tables.place[keep],
    )
    image = [tables.names.index(other[k]) for k in keep]
    mine = solved(less, positions[:, keep]).q
    theirs = solved(less, positions[:, image] * np.array([1.0, 1.0, -1.0])).q
    swapped = [n[:-1] + {"r": "l", "l": "r"}[n[-1]] if n[-2:] in ("_r", "_l") else n for n in names]
    back = theirs[:, [names.index(n) for n in swapped]]
    back[:, [names.index(n) for n in ("pelvis_list", "pelvis_rotation", "pelvis_tz")]] *= -1.0
    back[:, [names.index(n) for n in ("lumbar_bending", "lumbar_rotation")]] *= -1.0
    assert degrees((mine - back)[:, told(tables)]) < 0.01


def test_a_trial_is_the_same_alone_and_among_others(tables: MarkerTables):
    noise = 0.01 * np.random.default_rng(2).standard_normal((50, len(tables.names), 3))
    trials = [places(tables, moving(tables, frames=50, seed=s)) + noise for s in (1, 2, 3)]
    trials[1] = trials[1][:17]
    skeleton = MarkerSkeleton(tables, tables.names)
    times = [np.arange(len(p)) / 100.0 for p in trials]
    together = solve_trials(skeleton, trials, times, np.ones(len(tables.names)))
    for trial, found in zip(trials, together, strict=True):
        assert degrees((solved(tables, trial).q - found.q)[:, told(tables)]) < 1e-4


def test_frames_that_tracking_led_astray_are_mended(tables: MarkerTables):
    names = list(tables.skeleton.coordinates)
    q = moving(tables, frames=30)
    noise = 0.005 * np.random.default_rng(2).standard_normal((30, len(tables.names), 3))
    fitter = MarkerFitter(MarkerSkeleton(tables, tables.names), places(tables, q) + noise, np.ones(len(tables.names)))
    right = fitter.solve(torch.arange(30), torch.as_tensor(q.T))
    astray = right._replace(q=right.q.clone(), cost=right.cost.clone())
    astray.q[names.index("arm_add_r"), 9:16] += 1.5
    astray.cost[9:16] *= 30.0
    _repair(fitter, astray, [np.arange(30)], np.array([0]))
    assert degrees((astray.q - right.q).T.numpy()[:, told(tables)]) < 0.5


def test_equal_orientations_are_described_as_in_the_frame_before(tables: MarkerTables):
    names = list(tables.skeleton.coordinates)
    arm = [names.index(n) for n in ("arm_flex_r", "arm_add_r", "arm_rot_r")]
    q = torch.as_tensor(moving(tables, frames=20).T)
    fitter = MarkerFitter(MarkerSkeleton(tables, tables.names), places(tables, q.T.numpy()), np.ones(len(tables.names)))
    hopping = q.clone()
    hopping[arm, 7:] = torch.stack([q[arm[0], 7:] + np.pi, np.pi - q[arm[1], 7:], q[arm[2], 7:] - np.pi])
    _describe_alike(fitter, hopping, np.arange(20), 0)
    torch.testing.assert_close(hopping, q)


def test_limits_hold_and_the_rest_is_the_constrained_minimum(tables: MarkerTables):
    names = list(tables.skeleton.coordinates)
    q = moving(tables, frames=12)
    q[:, names.index("knee_angle_r")] = 1.2
    high = tables.high.copy()
    high[names.index("knee_angle_r")] = 0.8
    tight = replace(tables, high=high)
    positions = places(tables, q)
    found = solved(tight, positions)
    assert found.converged.all()
    np.testing.assert_allclose(found.q[:, names.index("knee_angle_r")], 0.8, atol=1e-12)

    free = [names.index(n) for n in ("hip_flexion_r", "hip_adduction_r", "hip_rotation_r", "knee_angle_r")]
    free += [names.index(n) for n in ("ankle_angle_r", "subtalar_angle_r")]

    def residual(x: np.ndarray) -> np.ndarray:
        pose = found.q[4].copy()
        pose[free] = x
        return (places(tables, pose[None]) - positions[4]).ravel()

    bounds = (tight.low[free] - 1e-9, tight.high[free] + 1e-9)
    start = np.clip(found.q[4, free] + 1e-3 * np.array([1, -1, 1, -1, 1, -1]), *bounds)
    oracle = least_squares(residual, start, bounds=bounds, xtol=1e-12, ftol=1e-12)
    assert degrees(oracle.x - found.q[4, free]) < 0.02


def test_markers_that_vanish_leave_the_coordinates_they_told_where_they_were(tables: MarkerTables):
    names = tables.skeleton.coordinates
    q = moving(tables, frames=60)
    positions = places(tables, q)
    arm = [k for k, name in enumerate(tables.names) if name in ("LFRM", "LWRA", "LWRB", "LFIN")]
    positions[20:35, arm] = np.nan
    found = solved(tables, positions)
    lost = np.array([n in ("pro_sup_l", "elbow_flex_l", "arm_rot_l") for n in names])
    assert degrees((found.q - q)[:, told(tables) & ~lost]) < 0.01
    assert degrees((found.q - q)[:20][:, told(tables)]) < 0.01
    elbow = found.q[20:35, names.index("elbow_flex_l")]
    reached = q[[0, *range(15, 40), 59], names.index("elbow_flex_l")]
    assert reached.min() - 0.3 < elbow.min()
    assert elbow.max() < reached.max() + 0.3


def test_frames_without_any_marker_lie_between_their_neighbours(tables: MarkerTables):
    q = moving(tables, frames=50)
    positions = places(tables, q)
    positions[[0, 1, *range(20, 29), 49]] = np.nan
    found = solved(tables, positions)
    share = (np.arange(20, 29) - 19)[:, None] / 10.0
    expected = (1.0 - share) * found.q[19] + share * found.q[29]
    np.testing.assert_allclose(found.q[20:29], expected, atol=1e-9)
    np.testing.assert_array_equal(found.q[0], found.q[2])
    np.testing.assert_array_equal(found.q[49], found.q[48])


def test_locked_coordinates_keep_their_default(tables: MarkerTables):
    names = tables.skeleton.coordinates
    at = names.index("lumbar_bending")
    skeleton = replace(
        tables.skeleton,
        locked=tuple(n == "lumbar_bending" for n in names),
        default=np.where(np.arange(len(names)) == at, 0.2, tables.skeleton.default),
    )
    q = moving(tables, frames=10)
    q[:, at] = 0.2
    found = solved(replace(tables, skeleton=skeleton), places(tables, q))
    assert (found.q[:, at] == 0.2).all()
    assert degrees((found.q - q)[:, told(tables)]) < 1e-3


def test_starts_that_are_far_away_reach_the_same_minimum(tables: MarkerTables):
    q = torch.as_tensor(moving(tables, frames=8).T)
    skeleton = MarkerSkeleton(tables, tables.names)
    fitter = MarkerFitter(skeleton, places(tables, q.T.numpy()), np.ones(len(tables.names)))
    start = q + 0.3 * torch.as_tensor(np.random.default_rng(4).uniform(-1, 1, q.shape))
    found = fitter.solve(torch.arange(8), start)
    assert found.converged.all()
    assert degrees((found.q - q).T.numpy()[:, told(tables)]) < 0.05


@pytest.mark.parametrize("count", [3, 9, 20])
def test_a_step_under_bounds_minimises_the_quadratic_model(count: int):
    random = np.random.default_rng(0)
    A = random.standard_normal((200, count + 3, count))
    H = torch.as_tensor(np.einsum("nri,nrj->nij", A, A)) + 1e-3 * torch.eye(count)
    g = torch.as_tensor(3.0 * random.standard_normal((200, count)))
    low, high = (torch.as_tensor(sign * random.uniform(0.01, 1, (200, count))) for sign in (-1, 1))
    d = _bounded_minimum(H.tril(), H.tril(), g, low, high)
    slope = (H @ d[..., None])[..., 0] + g
    assert ((d >= low) & (d <= high)).all()
    assert ((slope > -1e-6) | (d >= high - 1e-9)).all()
    assert ((slope < 1e-6) | (d <= low + 1e-9)).all()
    assert 0.05 < ((d >= high) | (d <= low)).double().mean() < 0.95


def test_a_step_from_the_bounds_goes_down():
    random = np.random.default_rng(1)
    A = random.standard_normal((200, 12, 9))
    H, g = torch.as_tensor(np.einsum("nri,nrj->nij", A, A)), torch.as_tensor(random.standard_normal((200, 9)))
    low, high = (torch.as_tensor(sign * random.integers(0, 2, (200, 9))) for sign in (-1.0, 1.0))
    d = _bounded_minimum(H.tril(), H.tril(), g, low, high)
    assert ((d >= low) & (d <= high)).all()
    assert ((g * d).sum(1) <= 0.0).all()
    assert ((g * d).sum(1) < 0.0).double().mean() > 0.9
