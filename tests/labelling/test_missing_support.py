"""Support that is not under the feet is marked where it is, and only there."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from recordings import forces_path, recorded
from small_models import biped, squat

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.measured_forces import plate_forces
from bige_opensim.labelling.missing_support import MissingSupport, SupportCheck, find_missing_support
from bige_opensim.labelling.missing_support_report import explained, support_entry, weight_notes
from bige_opensim.labelling.quality_gates import Gate
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.contact import ContactSettings, GroundForces, ground_height
from bige_opensim.physics.dynamics import body_wrenches
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.sessions.plates_to_feet import Feet, at_centre_of_pressure

SEAT = "behind the feet, near the pelvis: a seat?"
STANDS = [("subject6", t) for t in ("squats1", "squatsAsym1", "DJ1", "walking1")]
STANDS += [("subject5", "DJ1"), ("subject5", "DJ2"), ("subject2", "squats1"), ("phone01", "squats-with-arm-raise")]


def support_of(skeleton: Skeleton, p: Prepared, measured: GroundForces | None = None, ground: float | None = None):
    state = p.state(skeleton)
    height = ground_height(skeleton.contact_points(state.poses)) if ground is None else ground
    qd = p.tensor(skeleton, p.qd)
    return find_missing_support(skeleton, state, qd, p.q.time, height, ContactSettings(), measured)


@pytest.mark.parametrize(
    ("trial", "seat_off", "sits_down"),
    [
        ("STS1", [0.81, 3.79, 6.44, 9.08, 11.68], [2.64, 5.53, 8.23, 10.77, 13.22]),
        ("STSAsym1", [0.74, 3.56, 6.24, 9.00, 11.65], [2.75, 5.33, 8.14, 10.72, 13.38]),
    ],
)
def test_sitting_is_marked_until_the_seat_is_left_and_from_when_it_is_met(shared_data, trial, seat_off, sits_down):
    """Six stretches around five rises; the pelvis is low in all of them, and rises right after each."""
    _, skeleton, p = recorded(shared_data, "subject6", trial)
    support = support_of(skeleton, p)
    assert [i.where for i in support.intervals] == [SEAT] * 6
    assert all(0.5 < i.peak_missing_bw <= 1.0 for i in support.intervals)
    assert_allclose([i.end_s for i in support.intervals[:-1]], seat_off, atol=0.05)
    assert_allclose([i.start_s for i in support.intervals[1:]], sits_down, atol=0.05)
    height = p.q["pelvis_ty"]
    lowest, highest = height.min(), height.max()
    assert height[support.missing].max() < lowest + 0.2 * (highest - lowest)
    for i in support.intervals[:-1]:
        assert np.interp(i.end_s + 0.3, p.q.time, height) > lowest + 0.25 * (highest - lowest)


@pytest.mark.parametrize(("who", "trial"), STANDS)
def test_squats_jumps_with_their_flight_and_walking_lack_no_support(shared_data, who, trial):
    _, skeleton, p = recorded(shared_data, who, trial)
    assert support_of(skeleton, p).intervals == ()


@pytest.mark.parametrize("trial", ["DJ1", "DJ2"])
def test_plates_carry_a_drop_jump_with_the_models_mass(shared_data, trial):
    _, skeleton, p = recorded(shared_data, "subject5", trial)
    measured = plate_forces(forces_path(shared_data, "subject5", trial), Feet.of(skeleton, p.q), p.q.time, 6.0)
    support = support_of(skeleton, p, measured.forces)
    assert support.intervals == ()
    assert support.carried == pytest.approx(1.0, abs=0.03)
    assert weight_notes(support, 79.4) == ()


def test_the_foot_that_leaves_the_floor_beside_the_plates_is_named(shared_data):
    """The first plate of this walk is under the right foot; the left one pushes off before it."""
    _, skeleton, p = recorded(shared_data, "subject6", "walking1")
    measured = plate_forces(forces_path(shared_data, "subject6", "walking1"), Feet.of(skeleton, p.q), p.q.time, 6.0)
    (interval,) = support_of(skeleton, p, measured.forces).intervals
    assert interval.where == "under the left foot: off the plates?"
    assert interval.start_s == 0.0
    assert 0.05 < interval.end_s < 0.2


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory) -> Skeleton:
    return Skeleton(compile_skeleton(biped(tmp_path_factory.mktemp("model") / "biped.osim"), cache=False))


def still(skeleton: Skeleton, **pose: float) -> Prepared:
    """The biped at rest with the given coordinates of both legs, feet flat at height 0, for a second."""
    values = np.zeros(len(skeleton.coordinates))
    for name, value in pose.items():
        for side in "rl":
            values[skeleton.index(f"{name}_{side}")] = value
    heel = skeleton(torch.as_tensor(values)).position[skeleton.bodies.index("calcn_r")].numpy()
    values[skeleton.index("pelvis_tx")] -= heel[0]
    values[skeleton.index("pelvis_ty")] += 0.042 - heel[1]
    q = Motion(np.arange(101) / 100.0, np.tile(values, (101, 1)), skeleton.coordinates)
    return Prepared.of(q, (0.0, ""), ())


def test_a_sitter_at_rest_lacks_what_moments_about_the_heels_demand(skeleton):
    p = still(skeleton, hip_flexion=1.4, knee_angle=1.4)
    (interval,) = support_of(skeleton, p).intervals
    assert (interval.start_s, interval.end_s, interval.where) == (0.0, 1.0, SEAT)
    state = p.state(skeleton)
    heels = float(skeleton.contact_points(state.poses)[0, :, 0].min())
    com = float(skeleton.com(state.poses)[0, 0])
    seat = float(state.poses.position[0, skeleton.bodies.index("pelvis"), 0]) - 0.15
    assert com < heels - 0.1
    assert interval.peak_missing_bw == pytest.approx((heels - com) / (heels - seat), abs=2e-3)


def test_the_squat_of_the_biped_lacks_nothing(skeleton, tmp_path):
    q = squat(biped(tmp_path / "biped.osim"))
    assert support_of(skeleton, Prepared.of(q, (0.0, ""), ())).intervals == ()


def test_free_fall_lacks_nothing_and_hanging_lacks_all(skeleton):
    p = still(skeleton)
    raised = p.q.values.copy()
    raised[:, p.q.index("pelvis_ty")] += 0.5
    (interval,) = support_of(skeleton, Prepared.of(p.q.with_values(raised), (0.0, ""), ()), ground=0.0).intervals
    assert interval.peak_missing_bw == pytest.approx(1.0, abs=1e-6)
    assert interval.where == "the feet are 0.50 m above the ground: a box or a step?"
    falling = raised.copy()
    falling[:, p.q.index("pelvis_ty")] -= 0.5 * 9.80665 * (p.q.time - 0.9) ** 2
    fallen = Motion(p.q.time + 1.0, falling, p.q.names)
    assert support_of(skeleton, Prepared.of(fallen, (0.0, ""), ()), ground=-5.0).intervals == ()


def part_of_the_weight(skeleton: Skeleton, p: Prepared, share: np.ndarray) -> GroundForces:
    """Plates that measure a share of the demanded wrench, all of it on the right foot."""
    wrench = [part.sum(-2).numpy() * share[:, None] for part in body_wrenches(skeleton, p.state(skeleton))]
    force, moment = (np.stack([part, np.zeros_like(part)], axis=1) for part in wrench)
    return at_centre_of_pressure(force, moment, 0.0, p.q.time)


def test_what_plates_do_not_measure_is_missing_for_as_long_as_it_lasts(skeleton):
    p = still(skeleton)
    share = np.where((p.q.time > 0.3) & (p.q.time < 0.7), 0.6, 1.0)
    support = support_of(skeleton, p, part_of_the_weight(skeleton, p, share))
    (interval,) = support.intervals
    assert interval.peak_missing_bw == pytest.approx(0.4, abs=2e-3)
    assert (interval.start_s, interval.end_s) == (pytest.approx(0.31), pytest.approx(0.69))
    assert support.carried == pytest.approx(1.0)


@pytest.mark.parametrize("share", [0.93, 1.07, 0.77])
def test_a_wrong_mass_is_noted_and_is_no_missing_support(skeleton, share):
    p = still(skeleton)
    support = support_of(skeleton, p, part_of_the_weight(skeleton, p, np.full(p.q.frames, share)))
    assert support.intervals == ()
    assert support.carried == pytest.approx(share)
    (note,) = weight_notes(support, 70.0)
    assert f"{70.0 * share:.1f} kg where the model has 70.0 kg" in note


def test_a_rail_is_found_beside_a_wrong_mass(skeleton):
    p = still(skeleton)
    share = np.where((p.q.time > 0.4) & (p.q.time < 0.6), 0.5, 0.8)
    support = support_of(skeleton, p, part_of_the_weight(skeleton, p, share))
    (interval,) = support.intervals
    assert interval.peak_missing_bw == pytest.approx(0.3, abs=2e-3)
    assert support.carried == pytest.approx(0.8, abs=2e-3)


def test_a_cut_trial_keeps_the_parts_of_the_intervals_within_it():
    time = np.arange(11) / 10.0
    intervals = (MissingSupport(0.0, 0.2, 0.5, SEAT), MissingSupport(0.5, 0.9, 0.7, SEAT))
    missing = (time < 0.25) | ((time > 0.45) & (time < 0.95))
    cut = SupportCheck(time, intervals, missing).at(time[4:8])
    assert cut.intervals == (MissingSupport(0.5, pytest.approx(0.7), 0.7, SEAT),)
    assert cut.missing.tolist() == [False, True, True, True]


def test_the_reason_names_the_stretches_and_the_verdict_on_the_rest():
    missing = SupportCheck(np.arange(3.0), (MissingSupport(0.0, 0.8, 0.71, SEAT),), np.array([True, True, False]))
    good, bad = Gate(1.0, 5.0, "%", "Look."), Gate(9.0, 5.0, "%", "Look.")
    reason = explained("gates_failed", "residual_force", missing, {"residual_force": good})
    assert reason.startswith(
        f"Something besides the feet carries up to 0.71 body weights ({SEAT}) in 1 stretch of 0.8 s"
    )
    assert reason.endswith(" Without these frames: all quality gates pass.")
    assert "residual_force 9 > 5 %" in explained("gates_failed", "", missing, {"residual_force": bad})
    assert explained("passed", "fine", SupportCheck(np.arange(3.0), (), np.zeros(3, dtype=bool)), {}) == "fine"
    entry = support_entry(missing, {"residual_force": good})
    assert entry["missing_support"] == [{"start_s": 0.0, "end_s": 0.8, "peak_missing_bw": 0.71, "where": SEAT}]
    assert entry["gates_without_missing_support"]["residual_force"]["passed"]
