"""The cut-off that fits a movement: low for slow ones, high for fast ones, and told in the label."""

from dataclasses import replace

import numpy as np
import pytest
from closed_form_movements import running, squats
from numpy.testing import assert_allclose
from recordings import recorded

from bige_opensim.cli import app
from bige_opensim.labelling.cutoff import (
    AUTO,
    HIGHEST_HZ,
    LOWEST_HZ,
    QUANTILE,
    _of_white_noise,
    chosen_cutoff,
    residual_analysis,
)
from bige_opensim.labelling.label_trial import label_in_memory
from bige_opensim.labelling.request import LabelSettings
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.settings import SettingError

NOISE_RAD = np.deg2rad(0.1)


def trembling(motion: Motion, noise: float = NOISE_RAD) -> Motion:
    draws = np.random.default_rng(4).standard_normal(motion.values.shape)
    scale = np.array([0.001 if name.startswith("pelvis_t") and name[-1] in "xyz" else noise for name in motion.names])
    return motion.with_values(motion.values + scale * draws)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    from small_models import biped

    return compile_skeleton(biped(tmp_path_factory.mktemp("model") / "biped.osim"), cache=False)


def rotational(motion: Motion) -> frozenset[str]:
    return frozenset(n for n in motion.names if n not in ("pelvis_tx", "pelvis_ty", "pelvis_tz"))


def test_noise_let_through_is_as_large_as_movement_taken_out():
    """White noise on quick bends, one a second: at the chosen cut-off the residual is the noise's own size."""
    time = np.arange(4000) / 200.0
    noise = 0.01 * np.random.default_rng(1).standard_normal((4000, 1))
    clean = 0.5 * np.exp(-(((time % 1.0 - 0.5) / 0.05) ** 2))[:, None]
    motion = Motion(time, clean + noise, ("knee_angle_r",))
    white = motion.with_values(noise)
    for band in (40.0, 80.0):
        share = ((noise - white.lowpass(band).values) ** 2).mean() / (noise**2).mean()
        assert _of_white_noise(np.array([band]), 200.0)[0] == pytest.approx(share, rel=0.05)
    hz = residual_analysis(motion, np.array([0.0]))[0]
    assert LOWEST_HZ < hz < HIGHEST_HZ
    left = motion.values - motion.lowpass(hz).values
    assert np.sqrt((left**2).mean()) == pytest.approx(0.01, rel=0.05)


def test_fast_movements_keep_more_than_slow_ones_and_what_they_need(tables):
    found = {}
    for name, clean in (("squat", squats()), ("run", running())):
        noisy = trembling(clean)
        found[name] = chosen_cutoff(noisy, tables, rotational(clean), AUTO)
        assert found[name].by_coordinate is not None
        assert found[name].hz == pytest.approx(np.quantile([*found[name].by_coordinate.values()], QUANTILE), abs=0.13)
    assert found["squat"].hz < 8.5
    assert found["run"].hz > found["squat"].hz + 2.0
    ankle = running().select(["ankle_angle_r"])
    noisy = trembling(running()).select(["ankle_angle_r"])

    def error(hz: float) -> float:
        return float(np.sqrt(((noisy.lowpass(hz).values - ankle.values)[20:-20] ** 2).mean()))

    assert error(found["run"].hz) < 0.5 * error(6.0)


def test_what_stands_still_gets_the_usual_cutoff_and_slow_recordings_one_below_half_their_rate(tables):
    time = np.arange(100) / 100.0
    still = Motion(time, np.zeros((100, 1)), ("knee_angle_r",))
    assert chosen_cutoff(still, tables, frozenset(still.names), AUTO).hz == 6.0
    slow = Motion(np.arange(60) / 10.0, np.sin(np.arange(60) / 3.0)[:, None], ("knee_angle_r",))
    assert chosen_cutoff(slow, tables, frozenset(slow.names), AUTO).hz == 2.0


def test_the_label_tells_what_was_chosen_and_a_number_is_taken_as_it_is(request_of, fast):
    request = request_of()
    auto = label_in_memory(request, replace(fast, cutoff_hz=AUTO)).record
    assert auto["cutoff"]["by"] == "residual analysis"
    assert auto["cutoff"]["hz"] == auto["cutoff_hz"]
    assert set(auto["cutoff"]["by_coordinate"]) >= {"knee_angle_r", "hip_flexion_l", "pelvis_ty"}
    same = label_in_memory(request, replace(fast, cutoff_hz=auto["cutoff_hz"])).record
    assert same["cutoff"] == {"by": "given", "hz": auto["cutoff_hz"]}
    assert_allclose([*same["peaks"].values()], [*auto["peaks"].values()])
    assert auto["provenance"]["fingerprint"]["settings"]["cutoff_hz"] == AUTO


@pytest.mark.parametrize("wrong", ["automatic", -1.0, 2000.0])
def test_another_word_or_number_is_no_cutoff(wrong):
    with pytest.raises(SettingError, match="cutoff_hz"):
        LabelSettings(cutoff_hz=wrong)


def test_the_command_takes_auto_and_refuses_other_words(capsys):
    words = "label --model none.osim --motion none.mot --out x --cutoff"
    assert app([*words.split(), "-3"], result_action="return_value") == 1
    assert "or auto" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("person", "trial", "low", "high"), [("subject6", "squats1", 4.0, 7.5), ("subject5", "DJ1", 10.0, 20.0)]
)
def test_recorded_squats_get_less_than_recorded_jumps(shared_data, person, trial, low, high):
    model, skeleton, w = recorded(shared_data, person, trial, cutoff_hz=0.0)
    found = chosen_cutoff(w.q.select(skeleton.coordinates), skeleton.tables, model.rotational, AUTO)
    assert low <= found.hz <= high
