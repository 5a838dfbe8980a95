"""Every movement is found by its own rule and by no other, at any rate, heading and start, and cut at its events."""

from collections.abc import Callable
from pathlib import Path

import closed_form_movements as made
import numpy as np
import pytest
from recordings import MODELS, motion_path, tables_of

from bige_opensim.io.storage import read_coordinates, read_storage
from bige_opensim.motion import Motion
from bige_opensim.movements.body import body_of
from bige_opensim.movements.events import MOVEMENTS
from bige_opensim.movements.jump import flights
from bige_opensim.movements.repetitions import (
    EVENT_RULES,
    Recording,
    RepetitionError,
    find_movement,
    find_repetitions,
)
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.skeleton import Skeleton

MADE: dict[str, tuple[Callable[..., Motion], int]] = {
    "squat": (made.squats, 3),
    "sit-to-stand": (made.sit_to_stands, 3),
    "lunge": (made.lunges, 2),
    "jump": (made.jumps, 1),
    "gait": (made.walking, 6),
}
RECORDED = {
    ("subject2", "squats1"): ("squat", 5),
    ("subject6", "squats1"): ("squat", 5),
    ("subject6", "squatsAsym1"): ("squat", 5),
    ("phone01", "squats-with-arm-raise"): ("squat", 6),
    ("subject6", "STS1"): ("sit-to-stand", 5),
    ("subject6", "STSAsym1"): ("sit-to-stand", 5),
    ("subject5", "DJ1"): ("jump", 1),
    ("subject5", "DJ2"): ("jump", 1),
    ("subject6", "DJ1"): ("jump", 1),
    ("subject6", "walking1"): ("gait", 1),
}


def recorded(shared: Path, who: str, trial: str) -> Recording:
    path = motion_path(shared, who, trial)
    names = read_storage(path).names
    turning = {name for name in names if not name.startswith("pelvis_t") or name == "pelvis_tilt"}
    motion = read_coordinates(path, rotational=turning, known=names).motion.lowpass(6.0)
    return Recording(motion, lengths=subject_features(Skeleton(tables_of(shared / MODELS[who]))))


def shifted(motion: Motion, begin: float) -> Motion:
    return Motion(motion.time + begin, motion.values, motion.names)


def noisy(motion: Motion, seed: int = 0) -> Motion:
    """White noise of 0.3 degrees and 2 mm, and the low-pass that labels have."""
    size = [0.002 if name.startswith("pelvis_t") and name != "pelvis_tilt" else 0.005 for name in motion.names]
    noise = np.random.default_rng(seed).standard_normal(motion.values.shape) * size
    return motion.with_values(motion.values + noise).lowpass(6.0)


@pytest.mark.parametrize("movement", MADE)
@pytest.mark.parametrize("heading", [0.0, 2.0])
def test_a_movement_is_found_by_its_own_rule_and_by_no_other(movement: str, heading: float):
    make, count = MADE[movement]
    motion = make(heading=heading)
    assert {rule: len(find_repetitions(motion, movement=rule)) for rule in EVENT_RULES} == {
        rule: count if rule == movement else 0 for rule in EVENT_RULES
    }
    assert find_movement(motion).movement == movement


@pytest.mark.parametrize("movement", MADE)
@pytest.mark.parametrize("rate_hz", [50.0, 60.0, 200.0])
def test_neither_the_rate_nor_the_start_time_moves_the_repetitions(movement: str, rate_hz: float):
    make, _ = MADE[movement]
    expected = find_repetitions(make(), movement=movement)
    found = find_repetitions(shifted(make(rate_hz=rate_hz), 12.5), movement=movement)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a.start - 12.5, a.end - 12.5, a.bottom - 12.5) == pytest.approx((b.start, b.end, b.bottom), abs=0.06)
        assert a.side == b.side
        assert [name for name, _ in a.events] == [name for name, _ in b.events]


@pytest.mark.parametrize("movement", MADE)
@pytest.mark.parametrize("seed", range(3))
def test_noise_of_a_recording_changes_neither_movement_nor_count(movement: str, seed: int):
    make, count = MADE[movement]
    expected = find_repetitions(make(), movement=movement)
    found = find_movement(noisy(make(), seed))
    assert (found.movement, len(found.repetitions)) == (movement, count)
    for a, b in zip(found.repetitions, expected, strict=True):
        assert a.bottom == pytest.approx(b.bottom, abs=0.08)
        assert (a.start, a.end) == pytest.approx((b.start, b.end), abs=0.25)


@pytest.mark.parametrize("movement", MADE)
def test_a_repetition_alone_in_its_file_is_found(movement: str):
    make, _ = MADE[movement]
    motion = make()
    for r in find_repetitions(motion, movement=movement)[:2]:
        alone = find_movement(motion.between(r.start, r.end))
        assert alone.movement == movement
        assert alone.repetitions[0].bottom == pytest.approx(r.bottom, abs=0.05)
        assert alone.repetitions[0].side == r.side


@pytest.mark.parametrize("movement", MADE)
def test_every_event_lies_inside_its_repetition_in_order(movement: str):
    for r in find_repetitions(MADE[movement][0](), movement=movement):
        times = [time for _, time in r.events]
        assert times == sorted(times)
        assert all(r.start <= time <= r.end for time in [*times, r.bottom])


def test_somebody_who_only_stands_does_no_movement():
    time = made.grid(6.0)
    hip = np.stack([0.04 + 0.01 * np.sin(time), made.STAND_M - 0.01 + 0.005 * np.cos(time)], axis=1)
    found = find_movement(noisy(made.moving(time, hip, made.feet(time))))
    assert found.movement is None
    assert found.repetitions == ()


def test_somebody_who_only_sits_does_no_movement():
    motion = made.sit_to_stands()
    assert find_movement(motion.between(0.0, 1.4)).movement is None


@pytest.mark.parametrize("frames", [2, 3, 5, 8])
def test_a_few_frames_hold_no_movement_and_no_error(frames: int):
    motion = made.squats()
    assert find_movement(Motion(motion.time[:frames], motion.values[:frames], motion.names)).movement is None


def test_feet_are_where_the_closed_form_put_them():
    motion = made.lunges(heading=0.7)
    body = body_of(Recording(motion))
    step = made.along(body.time, {1.0: 0, 1.5: 1, 2.5: 1, 3: 0})
    forward = np.array([np.cos(0.7), 0.0, -np.sin(0.7)])
    assert body.forward == pytest.approx(np.tile(forward, (len(body.time), 1)))
    assert (body.heels[:, 0] - body.heels[:1, 0]) @ forward == pytest.approx(0.7 * step, abs=2e-3)
    assert body.hips.mean(axis=1) @ forward == pytest.approx(motion["pelvis_tx"] / np.cos(0.7) - 0.0563, abs=0.03)


def test_sitting_down_and_rising_is_no_squat_although_the_knees_do_the_same():
    motion = made.sit_to_stands()
    knees = motion.select(["knee_angle_r", "knee_angle_l"])
    assert len(find_repetitions(knees.between(2.6, 12.9))) == 2
    assert find_repetitions(motion.between(2.6, 12.9)) == []


def test_a_rise_starts_with_the_lean_leaves_the_seat_as_the_hips_rise_and_ends_in_standing():
    for k, r in enumerate(find_repetitions(made.sit_to_stands(), movement="sit-to-stand")):
        assert r.start == pytest.approx(4 * k + 1.0, abs=0.15)
        assert dict(r.events)["seat_off"] == pytest.approx(4 * k + 1.6, abs=0.1)
        assert r.end == pytest.approx(4 * k + 2.5, abs=0.12)


def test_a_rise_that_the_file_cuts_off_is_left_out():
    motion = made.sit_to_stands()
    assert len(find_repetitions(motion.between(0.0, 5.9), movement="sit-to-stand")) == 1
    assert len(find_repetitions(motion.between(1.9, 13.0), movement="sit-to-stand")) == 2


def test_missing_support_says_when_the_seat_was_left():
    recording = Recording(made.sit_to_stands(times=1), missing_support=((0.0, 1.7),))
    (rise,) = find_repetitions(recording, movement="sit-to-stand")
    assert rise.bottom == pytest.approx(1.7, abs=0.02)


def test_missing_support_over_the_feet_makes_no_seat_of_a_squat():
    recording = Recording(made.squats(), missing_support=((1.0, 2.0),))
    assert len(find_repetitions(recording)) == 3


def test_lunges_take_in_the_step_and_say_which_leg_is_in_front():
    first, second = find_repetitions(made.lunges(), movement="lunge")
    assert (first.side, second.side) == ("right", "left")
    assert (first.bottom, second.bottom) == pytest.approx((2.0, 6.0), abs=0.05)
    assert (first.start, first.end) == pytest.approx((1.0, 3.0), abs=0.15)


def test_a_split_squat_on_the_spot_is_a_lunge_from_standing_to_standing():
    time = made.grid(5.0)
    down = made.along(time, {1: 0, 2: 1, 3: 0})
    hip = np.stack([0.35 + 0 * time, made.STAND_M - 0.1 - 0.28 * down], axis=1)
    found = find_movement(made.moving(time, hip, made.feet(time, right=0.7)))
    assert found.movement == "lunge"
    (lunge,) = found.repetitions
    assert (lunge.start, lunge.bottom, lunge.end) == pytest.approx((1.0, 2.0, 3.0), abs=0.15)


def test_a_countermovement_jump_goes_from_standing_to_standing_and_knows_its_flight():
    (jump,) = find_repetitions(made.jumps(), movement="jump")
    events = dict(jump.events)
    assert jump.start == pytest.approx(1.0, abs=0.12)
    assert events["take_off"] == pytest.approx(made.take_off(), abs=0.04)
    assert events["landing"] == pytest.approx(made.take_off() + made.FLIGHT_S, abs=0.04)
    assert jump.end == pytest.approx(made.take_off() + made.FLIGHT_S + 0.9, abs=0.15)


def test_a_drop_jump_has_two_flights_in_one_repetition_and_standing_on_the_box_is_none():
    motion = made.jumps(box_m=0.3)
    (jump,) = find_repetitions(motion, movement="jump")
    assert [name for name, _ in jump.events] == ["take_off", "landing", "take_off", "landing"]
    assert jump.start == pytest.approx(1.0, abs=0.15)
    assert jump.bottom == pytest.approx(made.take_off(0.3), abs=0.04)
    assert find_movement(motion.between(0.0, 0.9)).movement is None


def test_the_landing_of_a_low_hop_is_no_squat():
    hop = made.jumps(speed_ms=1.1)
    assert (
        len(find_repetitions(hop.select(["knee_angle_r", "knee_angle_l", "pelvis_tx", "pelvis_ty", "pelvis_tz"]))) > 0
    )
    assert find_repetitions(hop) == []
    assert find_movement(hop).movement == "jump"


def test_flights_that_the_file_cuts_leave_the_time_on_the_ground():
    motion = made.jumps(box_m=0.3).between(1.1, made.take_off(0.3) + 0.06)
    (contact,) = find_repetitions(motion, movement="jump")
    assert contact.start == pytest.approx(1.0 + np.sqrt(0.6 / made.GRAVITY), abs=0.04)
    assert contact.end == pytest.approx(made.take_off(0.3), abs=0.04)
    assert find_repetitions(made.jumps(box_m=0.3).between(1.1, 1.6), movement="jump") == []


def test_measured_force_moves_take_off_and_landing():
    motion = made.jumps()
    begin, end = made.take_off() + 0.03, made.take_off() + made.FLIGHT_S - 0.03
    force = np.where((motion.time > begin) & (motion.time < end), 0.0, 400.0)
    recording = Recording(motion, vertical_force=Motion(motion.time, np.stack([force, force], axis=1), ("r", "l")))
    (jump,) = find_repetitions(recording, movement="jump")
    assert dict(jump.events) == pytest.approx({"take_off": begin, "landing": end}, abs=0.011)


@pytest.mark.parametrize("treadmill", [False, True], ids=["overground", "treadmill"])
def test_strides_go_from_heel_strike_to_heel_strike_of_both_feet(treadmill: bool):
    strides = find_repetitions(made.walking(treadmill=treadmill), movement="gait")
    assert [s.side for s in strides] == ["right", "left"] * 3
    for s in strides:
        first = made.FIRST_STRIKE_S + {"right": 0.0, "left": made.STRIDE_S / 2}[s.side]
        assert (s.start - first + 0.1) % made.STRIDE_S - 0.1 == pytest.approx(0.0, abs=0.08)
        assert s.duration == pytest.approx(made.STRIDE_S, abs=0.02)
        assert (dict(s.events)["toe_off"] - first) % made.STRIDE_S == pytest.approx(0.6 * made.STRIDE_S, abs=0.08)
        assert dict(s.events)["opposite_strike"] - s.start == pytest.approx(made.STRIDE_S / 2, abs=0.02)


def test_heel_strikes_move_to_where_the_measured_force_begins():
    motion = made.walking()
    phase = [((motion.time - made.FIRST_STRIKE_S) / made.STRIDE_S - shift) % 1.0 for shift in (0.0, 0.5)]
    force = np.stack([np.where(p < made.STANCE, 500.0, 0.0) for p in phase], axis=1)
    recording = Recording(motion, vertical_force=Motion(motion.time, force, ("r", "l")))
    for s in find_repetitions(recording, movement="gait"):
        first = made.FIRST_STRIKE_S + {"right": 0.0, "left": made.STRIDE_S / 2}[s.side]
        assert (s.start - first + 0.1) % made.STRIDE_S - 0.1 == pytest.approx(0.0, abs=0.011)


def test_running_flies_and_is_gait_but_no_jump():
    motion = made.running()
    assert len(flights(body_of(Recording(motion)))) >= 6
    assert find_repetitions(motion, movement="jump") == []
    assert find_movement(motion).movement == "gait"


def test_drawing_one_foot_up_to_the_other_is_no_gait():
    time = made.grid(6.0)
    leads = sum(0.45 * made.along(time, {t: 0, t + 0.5: 1}) for t in range(6))
    follows = sum(0.45 * made.along(time, {t + 0.5: 0, t + 1.0: 1}) for t in range(6))
    hip = np.stack([(leads + follows) / 2, 0.75 + made.ANKLE_M + 0 * time], axis=1)
    assert find_repetitions(made.moving(time, hip, made.feet(time, leads, follows)), movement="gait") == []


def test_stepping_on_the_spot_is_no_gait():
    time = made.grid(6.0)
    up = [0.15 * np.clip(np.sin(2 * np.pi * time / 1.2 + shift), 0, None) for shift in (0.0, np.pi)]
    ankles = tuple(np.stack([0 * time, made.ANKLE_M + lift], axis=1) for lift in up)
    hip = np.stack([0.04 + 0 * time, made.STAND_M - 0.02 + 0 * time], axis=1)
    assert find_repetitions(made.moving(time, hip, ankles), movement="gait") == []


def test_of_two_movements_in_a_recording_the_longer_one_is_found():
    squats, rises = made.squats(), made.sit_to_stands(times=1).between(0.0, 2.8)
    both = Motion(
        np.concatenate([rises.time, squats.time + 3.0]), np.vstack([rises.values, squats.values]), squats.names
    )
    assert find_movement(both).movement == "squat"
    assert len(find_repetitions(both, movement="sit-to-stand")) == 1


@pytest.mark.parametrize("movement", [name for name in EVENT_RULES if name != "squat"])
def test_a_motion_without_ankles_is_refused_by_name(movement: str):
    motion = made.squats()
    with pytest.raises(RepetitionError, match="lacks ankle_angle_r, ankle_angle_l"):
        find_repetitions(motion.select(n for n in motion.names if "ankle" not in n), movement=movement)


@pytest.mark.parametrize(("trial", "expected"), RECORDED.items(), ids=lambda v: "-".join(str(part) for part in v))
def test_the_movement_of_a_real_recording_is_found(
    shared_data: Path, trial: tuple[str, str], expected: tuple[str, int]
):
    recording = recorded(shared_data, *trial)
    found = find_movement(recording)
    assert (found.movement, len(found.repetitions)) == expected
    others = [name for name in EVENT_RULES if name != found.movement]
    assert {name: find_repetitions(recording, movement=name) for name in others} == {name: [] for name in others}


def test_lengths_of_another_person_make_no_flight_of_a_fast_squat(shared_data: Path):
    motion = recorded(shared_data, "subject2", "squats1").q
    assert flights(body_of(Recording(motion))) == []
    assert len(find_repetitions(Recording(motion))) == 5


@pytest.mark.parametrize("trial", ["DJ1", "DJ2"])
def test_contacts_of_real_drop_jumps_agree_with_the_force_plates(shared_data: Path, trial: str):
    (jump,) = find_repetitions(recorded(shared_data, "subject5", trial), movement="jump")
    plates = read_storage(shared_data / f"data/opencap_lab/OpenCapData_subject5/ForceData/{trial}_forces.mot")
    force = sum(plates.values[:, plates.names.index(f"{foot}_ground_force_vy")] for foot in "RL")
    loaded = plates.time[np.flatnonzero(np.diff((force > 20.0).astype(int)))]
    assert (jump.start, jump.end) == pytest.approx(loaded[:2], abs=0.03)


def test_heel_strikes_and_toe_off_of_real_walking_agree_with_the_force_plates(shared_data: Path):
    (stride,) = find_repetitions(recorded(shared_data, "subject6", "walking1"), movement="gait")
    assert stride.side == "right"
    assert dict(stride.events) == pytest.approx({"opposite_strike": 0.552, "toe_off": 0.722}, abs=0.03)
    assert stride.end == pytest.approx(1.148, abs=0.03)


def test_flights_of_a_real_drop_jump_begin_and_end_the_file(shared_data: Path):
    body = body_of(recorded(shared_data, "subject5", "DJ1"))
    (drop, flight) = flights(body)
    assert drop[0] <= 3
    assert flight[1] == len(body.time) - 1


def test_every_movement_has_a_rule_and_every_rule_a_name() -> None:
    assert tuple(EVENT_RULES) == MOVEMENTS
