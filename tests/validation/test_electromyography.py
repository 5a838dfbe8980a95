"""Electromyograms beside activations: names, envelopes, the lag, and what a lab's files can do wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from bige_opensim.io.emg import Emg, EmgError, read_emg
from bige_opensim.io.storage import write_storage
from bige_opensim.motion import Motion
from bige_opensim.validation.electromyography import compare, envelope, match_channels, named
from bige_opensim.validation.electromyography_files import read_map
from bige_opensim.workflows.compare import compare as compare_files

MUSCLES = ("vasmed_r", "vasmed_l", "gasmed_r", "gasmed_l", "glmax1_r", "glmax2_r")
DELAY_S = 0.12


def bursts(time: np.ndarray) -> np.ndarray:
    """Activations of the six muscles: bumps of different phase, smooth and above 0.01."""
    phase = np.array([0.0, 0.5, 0.25, 0.75, 0.1, 0.15])
    return 0.01 + 0.5 * np.exp(6 * (np.cos(2 * np.pi * (time[:, None] - phase)) - 1))


def activations(end: float = 6.0) -> Motion:
    time = np.arange(0.0, end, 0.01)
    return Motion(time, bursts(time), MUSCLES)


def recording(names: tuple[str, ...], columns: list[int], *, rate_hz: float = 200.0, raw: bool = False) -> Emg:
    """What electrodes would have seen: the same curves 0.12 s earlier, each in its own unit."""
    time = np.arange(-0.5, 6.5, 1.0 / rate_hz)
    values = bursts(time + DELAY_S)[:, columns] * np.array([3e-4, 2.0, 150.0, 0.7, 1.0, 1.0])[: len(columns)]
    if raw:
        values = values * np.random.default_rng(0).standard_normal(values.shape)
    return Emg(time, values, names, raw, (), Path("emg.sto"))


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        ("vas_med_r", ("vastus medialis", "r")),
        ("RVM", ("vastus medialis", "r")),
        ("L_TA", ("tibialis anterior", "l")),
        ("Right Vastus Lateralis", ("vastus lateralis", "r")),
        ("EMG_VL_l", ("vastus lateralis", "l")),
        ("glut_med2_l", ("gluteus medius", "l")),
        ("VMO", ("vastus medialis", "")),
        ("Force plate 1", None),
        ("rl", None),
    ],
)
def test_names_of_the_field_are_understood(label: str, meant: tuple[str, str] | None):
    assert named(label) == meant


def test_compartments_of_a_muscle_go_together_and_a_map_comes_first():
    assert match_channels(("R_GMAX", "x"), MUSCLES) == {"R_GMAX": ("glmax1_r", "glmax2_r")}
    assert match_channels(("R_GMAX",), MUSCLES, {"R_GMAX": ["vasmed_l"]}) == {"R_GMAX": ("vasmed_l",)}
    with pytest.raises(EmgError, match=r"neither channels .* nor muscles"):
        match_channels(("R_GMAX",), MUSCLES, {"R_GMAX": ["vasmedial_l"]})


def test_the_lag_is_found_and_the_agreement_is_complete():
    found = compare(activations(), recording(("VM_r", "VM_l", "GM_r"), [0, 1, 2]))
    assert found.lag_s == pytest.approx(DELAY_S, abs=0.005)
    assert [row.muscles for row in found.rows] == [("vasmed_r",), ("vasmed_l",), ("gasmed_r",)]
    for row in found.rows:
        assert row.r > 0.999
        assert row.rmse < 0.02
        assert row.same_state > 0.97


def test_one_channel_with_its_own_clock_does_not_move_the_others():
    emg = recording(("VM_r", "VM_l", "GM_r"), [0, 1, 2])
    late = emg.values.copy()
    late[:, 2] = np.roll(late[:, 2], round(0.08 * emg.rate_hz))
    found = compare(activations(), Emg(emg.time, late, emg.names, False, (), emg.path))
    assert found.lag_s == pytest.approx(DELAY_S, abs=0.05)
    assert found.rows[2].own_lag_s == pytest.approx(DELAY_S - 0.08, abs=0.006)
    assert found.rows[2].own_r > found.rows[2].r


def test_raw_signals_become_envelopes_that_agree():
    emg = recording(("VM_r", "VM_l", "GM_r"), [0, 1, 2], rate_hz=2000.0, raw=True)
    assert (envelope(emg).values >= 0).all()
    found = compare(activations(), emg)
    assert found.lag_s == pytest.approx(DELAY_S, abs=0.02)
    assert min(row.r for row in found.rows) > 0.9


def test_asymmetry_has_the_sign_of_the_stronger_side():
    both = activations()
    values = both.values.copy()
    values[:, 1] *= 0.5 + 0.5 * (both.time > 3)  # normalised by peaks, the left one is weaker half of the time
    found = compare(both.with_values(values), recording(("VM_r", "VM_l"), [0, 1]))
    emg, model = found.asymmetry()["vastus medialis"]
    assert emg == pytest.approx(0.0, abs=0.02)
    assert model > 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: Emg(e.time + 100.0, e.values, e.names, False, (), e.path), "Put both on one clock"),
        (lambda e: Emg(e.time[:90], e.values[:90], e.names, False, (), e.path), "must share 0.5 s"),
        (lambda e: Emg(e.time, e.values, ("a", "b", "c"), False, (), e.path), "say with a map which is which"),
        (lambda e: Emg(e.time[::4], -e.values[::4], e.names, True, (), e.path), "at least 80 Hz"),
    ],
)
def test_recordings_that_cannot_be_compared_are_refused(change, message: str):
    with pytest.raises(EmgError, match=message):
        compare(activations(), change(recording(("VM_r", "VM_l", "GM_r"), [0, 1, 2])))


def write_csv(path: Path, **columns: np.ndarray) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_files_with_dead_clipped_or_broken_channels_say_so(tmp_path):
    time = np.arange(0.0, 2.0, 0.001)
    wave = np.sin(300 * time)
    path = write_csv(
        tmp_path / "emg.csv",
        time=time,
        VL_r=np.clip(wave, -0.8, 0.8),
        VM_r=wave,
        RF_r=0 * time,
        TA_r=np.full_like(wave, np.nan),
    )
    emg = read_emg(path)
    assert emg.names == ("VL_r", "VM_r")
    assert emg.raw
    assert "TA_r" in emg.notes[0]
    assert "RF_r" in emg.notes[1]
    assert "overdriven" in emg.notes[2]
    assert "VL_r" in emg.notes[2]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"time": np.arange(20.0), "a": np.zeros(20)}, "no channel has a signal"),
        ({"t2": np.arange(20.0), "a": np.ones(20)}, "one column named time"),
        ({"time": np.arange(20.0) ** 2, "a": np.arange(20.0)}, "even steps"),
        ({"time": np.arange(5.0), "a": np.arange(5.0)}, "at least ten"),
        ({"time": np.arange(20.0), "a": np.array(["x"] * 20)}, "table of numbers"),
    ],
)
def test_tables_that_are_no_electromyogram_are_refused(tmp_path, columns, message: str):
    with pytest.raises(EmgError, match=message):
        read_emg(write_csv(tmp_path / "emg.csv", **columns))


def label_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    found = activations()
    write_storage(folder / "activations.sto", found.time, found.values, MUSCLES, in_degrees=False, title="Activations")
    return folder


def test_the_comparison_is_written_whole(tmp_path):
    emg = recording(("channel one", "VM_l"), [0, 1])
    path = write_csv(tmp_path / "emg.csv", time=emg.time, **dict(zip(emg.names, emg.values.T, strict=True)))
    mapping = tmp_path / "map.toml"
    mapping.write_text('"channel one" = "vasmed_r"\n', encoding="utf-8")
    label_folder(tmp_path / "labels/s/squat")
    found = compare_files(tmp_path / "labels", path, map=mapping, out=tmp_path / "out")
    assert [row.muscles for row in found.rows] == [("vasmed_r",), ("vasmed_l",)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "comparison.csv", "comparison.json", "comparison.png",
    ]  # fmt: skip
    without_a_file = compare_files(tmp_path / "labels", path, map={"channel one": "vasmed_r"})
    assert_frame_equal(without_a_file.to_frame(), found.to_frame())
    label_folder(tmp_path / "labels/s/other")
    with pytest.raises(EmgError, match="found 2: s/other, s/squat"):
        compare_files(tmp_path / "labels", path, map=mapping, out=tmp_path / "out2")


def test_a_map_that_is_none_is_refused(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text("VM = 3\n", encoding="utf-8")
    with pytest.raises(EmgError, match="a list of muscles, got 3"):
        read_map(path)
