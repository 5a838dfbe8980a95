import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bige_opensim.io.storage import read_storage
from bige_opensim.motion import Motion, MotionError


def motion_of(time, *columns):
    return Motion(time, np.stack(columns, axis=1), tuple("abcdefgh"[: len(columns)]))


def gain_and_phase(signal, time, frequency_hz):
    inside = slice(len(time) // 4, -len(time) // 4)
    basis = np.stack([np.sin(2 * np.pi * frequency_hz * time), np.cos(2 * np.pi * frequency_hz * time)], axis=1)
    (sine, cosine), *_ = np.linalg.lstsq(basis[inside], signal[inside], rcond=None)
    return np.hypot(sine, cosine), np.arctan2(cosine, sine)


@pytest.mark.parametrize("rate_hz", [50.0, 60.0, 100.0, 200.0])
@pytest.mark.parametrize("cutoff_hz", [3.0, 6.0, 12.0])
def test_sine_at_the_cutoff_keeps_one_over_root_two_of_its_size_and_no_lag(rate_hz, cutoff_hz):
    time = 0.7 + np.arange(int(20 * rate_hz)) / rate_hz
    motion = motion_of(time, np.sin(2 * np.pi * cutoff_hz * time))
    gain, phase = gain_and_phase(motion.lowpass(cutoff_hz)["a"], time, cutoff_hz)
    assert gain == pytest.approx(1 / np.sqrt(2), abs=1e-6)
    assert phase == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.5, 2.0, 3.0])
def test_lowpass_gain_is_that_of_a_fourth_order_zero_lag_butterworth(ratio):
    rate_hz, cutoff_hz = 100.0, 6.0
    time = np.arange(0, 20, 1 / rate_hz)
    motion = motion_of(time, np.sin(2 * np.pi * ratio * cutoff_hz * time))
    gain, phase = gain_and_phase(motion.lowpass(cutoff_hz)["a"], time, ratio * cutoff_hz)
    warped = np.tan(np.pi * ratio * cutoff_hz / rate_hz) / np.tan(np.pi * cutoff_hz / rate_hz)
    assert gain == pytest.approx(1 / (1 + (np.sqrt(2) - 1) * warped**4), rel=1e-6)
    assert phase == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("frames", [3, 10, 40, 400])
def test_constants_and_straight_lines_pass_the_filter_unchanged(frames):
    time = 2.0 + np.arange(frames) / 60
    motion = motion_of(time, np.full(frames, 3.7), 4 * time - 1)
    np.testing.assert_allclose(motion.lowpass(6.0).values, motion.values, atol=1e-10)


def test_reversing_time_reverses_the_filtered_motion():
    time = np.arange(300) / 100
    values = np.cumsum(np.random.default_rng(0).standard_normal((300, 2)), axis=0)
    forward = Motion(time, values, ("a", "b")).lowpass(6.0).values
    backward = Motion(time, values[::-1], ("a", "b")).lowpass(6.0).values[::-1]
    assert np.abs(forward - backward).max() < 1e-6 * np.ptp(values)


def test_uneven_sampling_filters_to_the_same_motion_as_even_sampling():
    even = np.arange(0, 4, 0.01)
    uneven = even + 0.003 * np.sin(40 * even)
    uneven[[0, -1]] = even[[0, -1]]
    signal = [np.sin(2 * np.pi * 2 * t) + 0.2 * np.sin(2 * np.pi * 12 * t) for t in (even, uneven)]
    expected = motion_of(even, signal[0]).lowpass(6.0)
    filtered = motion_of(uneven, signal[1]).lowpass(6.0)
    np.testing.assert_array_equal(filtered.time, uneven)
    np.testing.assert_allclose(filtered.values, expected.resampled(uneven).values, atol=2e-3)


def test_zero_cutoff_filters_nothing():
    motion = motion_of(np.arange(5) / 60, np.array([0.0, 9.0, -4.0, 2.0, 1.0]))
    np.testing.assert_array_equal(motion.lowpass(0.0).values, motion.values)


@pytest.mark.parametrize("cutoff_hz", [-1.0, 30.0, 31.0, float("nan")])
def test_cutoff_outside_the_band_is_refused_with_the_nyquist_frequency(cutoff_hz):
    motion = motion_of(np.arange(100) / 60, np.zeros(100))
    with pytest.raises(MotionError, match="half the sampling rate"):
        motion.lowpass(cutoff_hz)


@pytest.mark.parametrize("frames", [3, 5, 6, 7, 50])
def test_derivatives_of_quadratics_are_exact(frames):
    time = np.sort(np.random.default_rng(frames).uniform(10, 12, frames))
    first, second = motion_of(time, time**2, 3 * time).derivatives()
    scale = 1 / np.diff(time).min()
    np.testing.assert_allclose(first.values, np.stack([2 * time, 3 + 0 * time], 1), atol=1e-11 * scale)
    np.testing.assert_allclose(second.values, [[2, 0]] * frames, atol=1e-10 * scale**2)


def test_two_samples_have_the_slope_of_their_line_and_no_acceleration():
    first, second = motion_of(np.array([0.0, 0.5]), np.array([1.0, 2.0])).derivatives()
    np.testing.assert_allclose(first.values, 2.0)
    np.testing.assert_allclose(second.values, 0.0)


def test_derivatives_of_a_sine_converge_with_the_step():
    errors = []
    for rate_hz in (50.0, 100.0):
        time = np.arange(0, 2, 1 / rate_hz)
        first, second = motion_of(time, np.sin(6 * time)).derivatives()
        inside = slice(len(time) // 4, -len(time) // 4)
        errors.append(
            (
                np.abs(first["a"] - 6 * np.cos(6 * time))[inside].max(),
                np.abs(second["a"] + 36 * np.sin(6 * time))[inside].max(),
            )
        )
    assert errors[1][0] < errors[0][0] / 12
    assert errors[1][1] < errors[0][1] / 12


def test_derivatives_agree_with_the_splines_of_opensim_on_a_real_squat(shared_data):
    osim = pytest.importorskip("opensim")
    osim.Logger.removeFileSink()
    osim.Logger.setLevelString("Error")
    path = shared_data / "data/opencap_lab/OpenCapData_subject2/OpenSimData/Kinematics/squats1.mot"
    table = read_storage(path)
    motion = Motion(table.time, table.values, table.names)
    first, second = motion.derivatives()
    storage = osim.Storage(str(path))
    splines = osim.GCVSplineSet(5, storage, 0.0)
    for name in ("knee_angle_r", "pelvis_ty", "hip_flexion_l", "arm_flex_r"):
        spline = splines.getGCVSpline(splines.getIndex(name))
        for order, ours in ((0, motion), (1, first), (2, second)):
            variables = [osim.Vector(1, float(t)) for t in motion.time]
            orders = osim.StdVectorInt([0] * order)
            theirs = np.array(
                [spline.calcDerivative(orders, at) if order else spline.calcValue(at) for at in variables]
            )
            assert np.abs(ours[name] - theirs).max() <= 1e-6 * max(1.0, np.abs(theirs).max()), (name, order)


@given(
    st.integers(2, 30),
    st.floats(-1e3, 1e3),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None)
def test_resampling_at_its_own_times_changes_nothing(frames, start, seed):
    rng = np.random.default_rng(seed)
    time = start + np.cumsum(rng.uniform(0.01, 0.02, frames))
    motion = Motion(time, rng.standard_normal((frames, 2)), ("a", "b"))
    np.testing.assert_allclose(motion.resampled(time).values, motion.values, atol=1e-8)


def test_resampling_a_cubic_is_exact():
    time = np.arange(20) / 10
    motion = motion_of(time, time**3 - time)
    other = np.linspace(0.03, 1.87, 77)
    np.testing.assert_allclose(motion.resampled(other)["a"], other**3 - other, atol=1e-12)


@pytest.mark.parametrize("times", [(-0.1, 0.5), (0.5, 1.2)])
def test_resampling_outside_the_recording_is_refused(times):
    motion = motion_of(np.arange(11) / 10, np.arange(11.0))
    with pytest.raises(MotionError, match="runs from 0 s to 1 s"):
        motion.resampled(np.array(times))


def test_between_keeps_both_ends_and_open_sides():
    motion = motion_of(0.5 + np.arange(11) / 10, np.arange(11.0))
    np.testing.assert_array_equal(motion.between(0.7, 0.9)["a"], [2, 3, 4])
    np.testing.assert_array_equal(motion.between(end=0.7)["a"], [0, 1, 2])
    np.testing.assert_array_equal(motion.between(start=1.4)["a"], [9, 10])
    with pytest.raises(MotionError, match="Fewer than two samples"):
        motion.between(3.0, 4.0)


def test_select_orders_channels_and_names_the_missing():
    motion = motion_of(np.arange(3.0), np.zeros(3), np.ones(3), np.full(3, 2.0))
    assert motion.select(["c", "a"]).names == ("c", "a")
    np.testing.assert_array_equal(motion.select(["c", "a"]).values[0], [2, 0])
    with pytest.raises(MotionError, match=r"lacks knee_angle_r, x; it has a, b, c"):
        motion.select(["a", "knee_angle_r", "x"])
    with pytest.raises(MotionError, match="no channel 'z'"):
        motion["z"]


def test_rate_duration_and_frames_are_those_of_the_samples():
    motion = motion_of(0.135 + np.arange(201) / 200, np.zeros(201))
    assert motion.rate_hz == pytest.approx(200)
    assert motion.duration == pytest.approx(1.0)
    assert motion.frames == 201


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("time", "values", "names", "message"),
    [
        ([0.0], [[1.0]], ("a",), "at least two samples"),
        ([0.0, 0.0], [[1.0], [2.0]], ("a",), "Time must increase"),
        ([0.0, 2.0, 1.0], [[1.0], [2.0], [3.0]], ("a",), "from 2 s to 1 s at sample 2"),
        ([0.0, np.nan], [[1.0], [2.0]], ("a",), "Time must be finite; sample 1"),
        ([0.0, 1.0], [[1.0], [np.inf]], ("a",), "'a' is inf at 1 s"),
        ([0.0, 1.0], [[1.0, 1.0], [2.0, 2.0]], ("a", "a"), "must be unique"),
        ([0.0, 1.0], [[1.0, 1.0], [2.0, 2.0]], ("a",), r"of shape \(2, 1\)"),
        ([0.0, 1.0], [[1.0], [2.0], [3.0]], ("a",), r"of shape \(2, 1\)"),
    ],
)
def test_impossible_motions_are_refused(time, values, names, message):
    with pytest.raises(MotionError, match=message):
        Motion(np.array(time), np.array(values), names)


def test_odd_reflection_keeps_the_first_and_the_last_sample_in_place():
    time = np.arange(240) / 60
    motion = motion_of(time, time**2 + np.sin(5 * time), np.cos(9 * time))
    filtered = motion.lowpass(6.0)
    np.testing.assert_allclose(filtered.values[[0, -1]], motion.values[[0, -1]], atol=1e-6)
