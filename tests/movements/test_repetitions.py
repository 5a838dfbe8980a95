"""Repetitions are cut from standing to standing, whatever the rate, the start time and the rests between."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bige_opensim.io.storage import read_coordinates
from bige_opensim.motion import Motion
from bige_opensim.movements.repetitions import Repetition, RepetitionError, find_repetitions

KINEMATICS = "OpenSimData/Kinematics"
SQUATS = {
    f"data/opencap_lab/OpenCapData_subject2/{KINEMATICS}/squats1.mot": 5,
    f"data/opencap_lab/OpenCapData_subject6/{KINEMATICS}/squats1.mot": 5,
    f"data/opencap_lab/OpenCapData_subject6/{KINEMATICS}/squatsAsym1.mot": 5,
    f"data/opencap_lab/OpenCapData_phone01/{KINEMATICS}/squats-with-arm-raise.mot": 6,
    "data/rajagopal_dls/DLS01_ik.mot": 5,
}
OTHERS = [
    f"data/opencap_lab/OpenCapData_subject5/{KINEMATICS}/DJ1.mot",
    f"data/opencap_lab/OpenCapData_subject5/{KINEMATICS}/DJ2.mot",
    f"data/opencap_lab/OpenCapData_subject6/{KINEMATICS}/DJ1.mot",
    f"data/opencap_lab/OpenCapData_subject6/{KINEMATICS}/walking1.mot",
]


def recording(path: Path) -> Motion:
    rotational = {"knee_angle_r", "knee_angle_l", "pelvis_tilt", "hip_flexion_r", "hip_flexion_l"}
    channels = {*rotational, "pelvis_tx", "pelvis_ty", "pelvis_tz"}
    return read_coordinates(path, rotational=rotational, known=channels).motion


def knees_deg(knots: dict[float, float], rate_hz: float = 100.0, other_leg: float = 0.95) -> Motion:
    """Both knees along half cosines between knots {time s: flexion deg}; the left reaches `other_leg` of it."""
    at, level = np.array(list(knots)), np.array(list(knots.values()))
    time = np.linspace(at[0], at[-1], round((at[-1] - at[0]) * rate_hz) + 1)
    piece = np.clip(np.searchsorted(at, time, side="right") - 1, 0, len(at) - 2)
    share = (time - at[piece]) / (at[piece + 1] - at[piece])
    angle = np.deg2rad(level[piece] + (level[piece + 1] - level[piece]) * (0.5 - 0.5 * np.cos(np.pi * share)))
    return Motion(time, np.stack([angle, other_leg * angle], axis=1), ("knee_angle_r", "knee_angle_l"))


def touching(repetitions: list[Repetition]) -> bool:
    return any(b.start < a.end for a, b in pairwise(repetitions))


@pytest.mark.parametrize(("file", "count"), SQUATS.items(), ids=lambda v: Path(v).stem if isinstance(v, str) else v)
def test_real_squats_are_counted_and_start_and_end_in_standing(shared_data: Path, file: str, count: int):
    motion = recording(shared_data / file)
    found = find_repetitions(motion)
    assert len(found) == count
    assert not touching(found)
    knee = np.rad2deg(np.maximum(motion["knee_angle_r"], motion["knee_angle_l"]))
    for r in found:
        ends = np.interp([r.start, r.end], motion.time, knee)
        inside = knee[(motion.time >= r.start) & (motion.time <= r.end)]
        assert ends.max() < 20
        assert r.start < r.bottom < r.end
        assert 0.9 < r.duration < 3.0
        assert r.depth_deg == pytest.approx(inside.max(), abs=1.5)


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: "_".join(Path(file).parts[2::3]))
def test_walking_and_drop_jumps_are_no_squats(shared_data: Path, file: str):
    assert find_repetitions(recording(shared_data / file)) == []


@pytest.mark.parametrize("rate_hz", [50.0, 60.0, 200.0])
def test_the_rate_of_a_real_recording_does_not_move_its_repetitions(shared_data: Path, rate_hz: float):
    motion = recording(shared_data / list(SQUATS)[1])
    other = motion.resampled(np.arange(motion.time[0], motion.time[-1], 1.0 / rate_hz))
    for a, b in zip(find_repetitions(motion), find_repetitions(other), strict=True):
        assert (a.start, a.end, a.bottom) == pytest.approx((b.start, b.end, b.bottom), abs=0.06)
        assert a.depth_deg == pytest.approx(b.depth_deg, abs=0.5)


@pytest.mark.parametrize("file", list(SQUATS), ids=lambda file: Path(file).stem)
def test_a_real_repetition_alone_in_its_file_is_found_whole(shared_data: Path, file: str):
    motion = recording(shared_data / file)
    for r in find_repetitions(motion):
        (alone,) = find_repetitions(motion.between(r.start, r.end))
        assert (alone.start, alone.end) == pytest.approx((r.start, r.end), abs=0.15)
        assert alone.bottom == pytest.approx(r.bottom, abs=0.05)


@pytest.mark.parametrize("rate_hz", [50.0, 60.0, 100.0, 200.0])
@pytest.mark.parametrize("begin", [0.0, 12.5])
def test_cosine_squats_are_found_at_their_bottoms(rate_hz: float, begin: float):
    bottoms = begin + np.array([1.0, 3.0, 5.0])
    knots = {begin: 5.0} | {float(b + d): level for b in bottoms for d, level in ((0.0, 100.0), (1.0, 5.0))}
    found = find_repetitions(knees_deg(knots, rate_hz))
    assert [r.bottom for r in found] == pytest.approx(bottoms, abs=1.0 / rate_hz)
    assert [r.depth_deg for r in found] == pytest.approx([100.0] * 3, abs=1.0)
    assert not touching(found)


def test_unevenly_sampled_recordings_give_the_same_repetitions():
    even = knees_deg({0: 5, 1: 100, 2: 5, 3: 100, 4: 5}, 200.0)
    keep = np.append(np.arange(400), np.arange(400, even.frames, 5))
    uneven = Motion(even.time[keep], even.values[keep], even.names)
    for a, b in zip(find_repetitions(uneven), find_repetitions(even), strict=True):
        assert (a.start, a.end, a.bottom) == pytest.approx((b.start, b.end, b.bottom), abs=0.02)
        assert a.depth_deg == pytest.approx(b.depth_deg, abs=0.5)


def test_long_standing_between_repetitions_is_left_out():
    first, second = find_repetitions(knees_deg({0: 4, 3: 4, 4: 90, 5: 4, 15: 4, 16: 90, 17: 4, 20: 4}))
    assert 2.8 < first.start < 3.3
    assert 4.7 < first.end < 5.2
    assert 14.8 < second.start < 15.3
    assert 16.7 < second.end < 17.2


def test_a_bounce_at_the_bottom_does_not_make_two_repetitions():
    (whole,) = find_repetitions(knees_deg({0: 5, 1: 105, 1.5: 55, 2: 100, 3: 5}))
    assert whole.bottom == pytest.approx(1.0, abs=0.02)
    assert whole.end > 2.7


def test_a_halt_on_the_way_down_does_not_start_the_repetition_late():
    (whole,) = find_repetitions(knees_deg({0: 2, 1: 2, 1.4: 36, 1.8: 34, 2.6: 100, 3.6: 2, 4: 2}))
    assert whole.start < 1.2


def test_shallow_bends_between_squats_are_dropped():
    found = find_repetitions(knees_deg({0: 5, 1: 100, 2: 5, 3: 38, 4: 5, 5: 100, 6: 5}))
    assert [r.bottom for r in found] == pytest.approx([1.0, 5.0], abs=0.02)
    assert found[1].start > 3.8


def test_standing_still_has_no_repetitions():
    assert find_repetitions(knees_deg({0: 5, 2: 8, 4: 5})) == []


@pytest.mark.parametrize(
    ("knots", "bottom"),
    [({0: 60, 0.5: 100, 1.5: 5, 2.5: 100, 3.5: 5}, 2.5), ({0: 5, 1: 100, 2: 5, 3: 100, 3.4: 70}, 1.0)],
    ids=["starts mid-motion", "ends mid-motion"],
)
def test_a_repetition_cut_off_by_the_file_is_left_out(knots: dict[float, float], bottom: float):
    assert [r.bottom for r in find_repetitions(knees_deg(knots))] == pytest.approx([bottom], abs=0.02)


def test_a_file_that_starts_slightly_bent_keeps_its_first_repetition():
    assert len(find_repetitions(knees_deg({0: 16, 1: 110, 2: 6, 3: 110, 4: 10}))) == 2


def test_models_that_count_flexion_negative_give_the_same_repetitions():
    motion = knees_deg({0: 5, 1: 100, 2: 5, 3: 95, 4: 5})
    assert find_repetitions(motion.with_values(-motion.values)) == find_repetitions(motion)


def test_sides_can_be_exchanged():
    motion = knees_deg({0: 5, 1: 100, 2: 5}, other_leg=0.8)
    assert find_repetitions(motion.with_values(motion.values[:, ::-1])) == find_repetitions(motion)


def test_bending_one_knee_is_no_squat():
    knots = {0: 5, 1: 100, 2: 5}
    assert find_repetitions(knees_deg(knots, other_leg=0.3)) == []
    assert len(find_repetitions(knees_deg(knots, other_leg=0.7))) == 1


@pytest.mark.parametrize(("axis", "way_m"), [("pelvis_tx", 0.6), ("pelvis_tz", -0.6), ("pelvis_ty", -0.3)])
def test_a_pelvis_that_does_not_come_back_is_no_squat(axis: str, way_m: float):
    knees = knees_deg({0: 5, 1: 100, 2: 5})
    pelvis = np.zeros((knees.frames, 3))
    names = ("pelvis_tx", "pelvis_ty", "pelvis_tz")
    still = Motion(knees.time, np.hstack([knees.values, pelvis]), (*knees.names, *names))
    assert len(find_repetitions(still)) == 1
    pelvis[:, names.index(axis)] = np.linspace(0.0, way_m, knees.frames)
    assert find_repetitions(Motion(knees.time, np.hstack([knees.values, pelvis]), still.names)) == []


@pytest.mark.parametrize("frames", [2, 3, 5, 8])
def test_a_few_frames_have_no_repetitions_and_no_error(frames: int):
    motion = knees_deg({0: 5, 1: 100, 2: 5})
    assert find_repetitions(Motion(motion.time[:frames], motion.values[:frames], motion.names)) == []


def test_a_movement_without_a_rule_names_those_that_have_one():
    with pytest.raises(RepetitionError, match=r"no event rule for 'deadlift'.*squat.*gait"):
        find_repetitions(knees_deg({0: 5, 1: 100, 2: 5}), movement="deadlift")


def test_a_motion_without_knees_is_refused_by_name():
    with pytest.raises(RepetitionError, match="lacks knee_angle_l"):
        find_repetitions(knees_deg({0: 5, 1: 100, 2: 5}).select(["knee_angle_r"]))
