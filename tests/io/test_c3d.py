import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c3d_writer import write_c3d

from bige_opensim.io import c3d_process
from bige_opensim.io.c3d import C3dError, read_c3d
from bige_opensim.io.opencap import find_sessions
from bige_opensim.io.trc import Markers, read_trc

pytestmark = pytest.mark.skipif(find_spec("ezc3d") is None, reason="C3D files need the extra c3d")

NAMES = ("r.ASIS", "L.ASIS", "r_knee")
FRAMES = 6


def positions(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.6, 1.6, (FRAMES, len(NAMES), 3)).astype(np.float32).astype(np.float64)


def write(path: Path, p: np.ndarray, names: Sequence[str] = NAMES, **about: Any) -> Path:
    return write_c3d(path, p, names, **about)


@pytest.mark.parametrize("units", ["m", "cm", "mm"])
def test_positions_come_in_metres_with_names_rate_and_the_time_of_the_first_frame(tmp_path: Path, units):
    p = positions()
    back = read_c3d(write(tmp_path / "a.c3d", p, units=units, rate=200.0, first=40, point={"Y_SCREEN": ["+Y"]}))
    assert back.names == NAMES
    assert back.rate_hz == 200.0
    assert back.notes == ()
    np.testing.assert_allclose(back.time, (40 + np.arange(FRAMES)) / 200.0)
    np.testing.assert_allclose(back.positions, p, atol=1e-6)


def test_a_marker_is_missing_where_its_residual_is_negative_or_its_position_nan_or_zero(tmp_path: Path):
    p, residuals = positions(), np.zeros((FRAMES, len(NAMES)))
    p[1, 0], p[2, 1], p[3, 0, 1] = 0.0, np.nan, 0.0
    residuals[4, 2] = -1.0
    back = read_c3d(write(tmp_path / "a.c3d", p, residuals=residuals), up="y")
    gone = np.isnan(back.positions)
    assert {(t, m) for t, m, _ in np.argwhere(gone)} == {(1, 0), (2, 1), (4, 2)}
    assert (gone.all(axis=2) == gone.any(axis=2)).all()


@pytest.mark.parametrize(
    ("right", "up", "expected"),
    [
        ("+X", "+Y", lambda x, y, z: (x, y, z)),
        ("+X", "+Z", lambda x, y, z: (x, z, -y)),
        ("+Y", "+Z", lambda x, y, z: (y, z, x)),
        ("-X", "+Z", lambda x, y, z: (-x, z, y)),
        ("Y", "X", lambda x, y, z: (y, x, -z)),
        ("+X", "-Y", lambda x, y, z: (x, -y, -z)),
        ("", "+Z", lambda x, y, z: (x, z, -y)),
    ],
)
def test_the_axes_the_file_shows_to_the_right_and_upward_become_x_and_y(tmp_path: Path, right, up, expected):
    p = positions()
    back = read_c3d(write(tmp_path / "a.c3d", p, point={"X_SCREEN": [right], "Y_SCREEN": [up]}))
    np.testing.assert_allclose(back.positions, np.stack(expected(*np.moveaxis(p, 2, 0)), axis=2), atol=1e-6)
    assert back.notes == ()


def test_the_axis_given_by_the_user_counts_more_than_the_files(tmp_path: Path):
    p = positions()
    back = read_c3d(write(tmp_path / "a.c3d", p, point={"X_SCREEN": ["+X"], "Y_SCREEN": ["+Y"]}), up="z")
    expected = Markers(back.time, p, NAMES, 100.0).turned("z").positions
    np.testing.assert_allclose(back.positions, expected, atol=1e-6)


def test_a_file_that_does_not_say_which_axis_points_up_is_taken_as_it_is_with_a_note(tmp_path: Path):
    p = positions()
    back = read_c3d(write(tmp_path / "a.c3d", p))
    np.testing.assert_allclose(back.positions, p, atol=1e-6)
    assert "does not say which axis points up" in back.notes[0]


def test_model_outputs_and_unlabelled_trajectories_are_left_out_with_a_note(tmp_path: Path):
    p = np.concatenate([positions(), 40.0 * positions(1)], axis=1)
    names = (*NAMES, "Anna:RKneeAngles", "*12", "Anna:*7")
    back = read_c3d(write(tmp_path / "a.c3d", p, names, point={"ANGLES": ["Anna:RKneeAngles"]}), up="y")
    assert back.names == NAMES
    assert "2 trajectories without a label" in back.notes[0]
    assert "1 outputs of a model" in back.notes[1]


def test_labels_beyond_255_are_read_too(tmp_path: Path):
    names = tuple(f"m{i}" for i in range(300))
    p = np.random.default_rng(2).uniform(-1.0, 1.0, (3, 300, 3))
    back = read_c3d(write(tmp_path / "a.c3d", p, names), up="y")
    assert back.names == names
    np.testing.assert_allclose(back.positions, p, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": "furlong"}, "POINT:UNITS is 'furlong'"),
        ({"names": ("a", "b", "a")}, "repeated labels: a"),
        ({"names": ("*1", "*2", "*3")}, "no labelled markers"),
        ({"residuals": -np.ones((FRAMES, 3))}, "no labelled marker was seen"),
        ({"p": positions()[:1]}, r"has 1 frame\(s\)"),
        ({"p": 1000.0 * positions()}, "which no person does"),
        ({"point": {"X_SCREEN": ["+Z"], "Y_SCREEN": ["+Z"]}}, "two different axes"),
        ({"point": {"Y_SCREEN": ["up"]}}, "two different axes"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_name_and_the_reason(tmp_path: Path, changes, message):
    path = write(tmp_path / "broken.c3d", **({"p": positions()} | changes))
    with pytest.raises(C3dError, match=message) as refusal:
        read_c3d(path)
    assert "broken.c3d" in str(refusal.value)


@pytest.mark.parametrize("rate", [0.0, -60.0, np.nan])
def test_a_rate_that_is_no_positive_number_is_refused(tmp_path: Path, rate):
    path = write(tmp_path / "a.c3d", positions(), rate=123.0)
    path.write_bytes(path.read_bytes().replace(struct.pack("<f", 123.0), struct.pack("<f", rate)))
    with pytest.raises(C3dError, match=r"POINT:RATE must be a positive number|damaged"):
        read_c3d(path)


@pytest.mark.parametrize("content", [b"", b"abc", bytes(2000), b"\x02\x50" + bytes(3000), bytes(range(256)) * 20])
def test_what_is_no_c3d_file_is_refused(tmp_path: Path, content):
    (tmp_path / "a.c3d").write_bytes(content)
    with pytest.raises(C3dError, match="no C3D file"):
        read_c3d(tmp_path / "a.c3d")
    with pytest.raises(C3dError, match="cannot be read"):
        read_c3d(tmp_path / "none.c3d")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_off_is_refused_though_ezc3d_reads_it(tmp_path: Path, share):
    p = np.random.default_rng(0).uniform(-1.0, 1.0, (400, 3, 3))
    whole = write(tmp_path / "a.c3d", p).read_bytes()
    start = 512 * (int.from_bytes(whole[16:18], "little") - 1)
    (tmp_path / "b.c3d").write_bytes(whole[: start + int(share * 400 * 3 * 16)])
    command = [sys.executable, c3d_process.__file__, str(tmp_path / "b.c3d"), str(tmp_path / "b.npz")]
    assert subprocess.run(command, capture_output=True).returncode == 0
    with pytest.raises(C3dError, match=f"cut off after {int(share * 400)} of 400 frames"):
        read_c3d(tmp_path / "b.c3d")


def test_a_damaged_file_that_kills_or_holds_the_reader_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "a.c3d", positions())
    monkeypatch.setattr("bige_opensim.io.c3d._LIMIT_S", 1e-3)
    with pytest.raises(C3dError, match="did not finish"):
        read_c3d(path)
    monkeypatch.undo()
    raw = bytearray(path.read_bytes())
    raw[512 + 4 : 512 + 40] = b"\x7f" * 36
    path.write_bytes(raw)
    with pytest.raises(C3dError, match="damaged"):
        read_c3d(path)


def test_damaged_bytes_are_an_error_or_markers_but_never_the_end_of_the_process(tmp_path: Path):
    whole = write(tmp_path / "a.c3d", positions(), point={"Y_SCREEN": ["+Y"]}).read_bytes()
    random, refused = np.random.default_rng(5), 0
    for _ in range(40):
        damaged = bytearray(whole)
        for at in random.integers(0, 1024, 3):
            damaged[at] = random.integers(0, 256)
        (tmp_path / "b.c3d").write_bytes(damaged)
        try:
            assert read_c3d(tmp_path / "b.c3d").positions.shape[2] == 3
        except C3dError:
            refused += 1
    assert refused > 10


def test_without_ezc3d_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "a.c3d", positions())
    monkeypatch.setattr("bige_opensim.io.c3d.find_spec", lambda name: None)
    with pytest.raises(C3dError, match=r"pip install 'bige_opensim\[c3d\]'"):
        read_c3d(path)


def test_only_the_process_of_its_own_imports_ezc3d():
    source = Path(c3d_process.__file__).with_name("c3d.py").read_text(encoding="utf-8")
    assert "import ezc3d" not in source
    code = "import sys, bige_opensim.io.c3d; sys.exit('ezc3d' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_session_takes_c3d_markers_where_there_is_no_trc(tmp_path: Path):
    folder = tmp_path / "s1" / "MarkerData"
    folder.mkdir(parents=True)
    (tmp_path / "s1" / "sessionMetadata.yaml").write_text("subjectID: s1\nmass_kg: 70\n")
    write(folder / "squat.c3d", positions()).rename(folder / "squat.C3D")
    write(folder / "both.c3d", positions())
    (folder / "both.trc").write_text("PathFileType 4\n")
    (session,) = find_sessions([tmp_path])
    assert {trial.name: trial.markers_path.name for trial in session.trials} == {
        "both": "both.trc",
        "squat": "squat.C3D",
    }
    assert any("both.trc too, which is used" in problem for problem in session.problems)


def test_a_real_recording_gives_the_same_markers_as_its_trc(tmp_path: Path, shared_data: Path):
    markers = read_trc(shared_data / "data/opencap_lab/OpenCapData_subject5/MarkerData/squats1.trc")
    z_up = replace(markers, positions=markers.positions[:, :, [0, 2, 1]] * np.array([1.0, -1.0, 1.0]))
    path = write(
        tmp_path / "squats1.c3d", z_up.positions, markers.names, units="mm", rate=markers.rate_hz,
        first=round(markers.time[0] * markers.rate_hz), point={"X_SCREEN": ["+X"], "Y_SCREEN": ["+Z"]},
    )  # fmt: skip
    back = read_c3d(path)
    assert back.names == markers.names
    np.testing.assert_allclose(back.time, markers.time, atol=1e-6)
    np.testing.assert_allclose(back.positions, markers.positions, atol=2e-7)


def test_inverse_kinematics_of_a_c3d_session_equals_that_of_the_trc(tmp_path: Path, shared_data: Path):
    pytest.importorskip("opensim")
    from bige_opensim.io.storage import read_storage
    from bige_opensim.io.trc import write_trc
    from bige_opensim.sessions.marker_trials import SOLVED, marker_requests, session_copy, solve_marker_trials

    source = shared_data / "data/opencap_lab/OpenCapData_subject5"
    markers = read_trc(source / "MarkerData/squats1.trc").between(3.0, 3.05)
    as_stored = (1e3 * markers.positions).astype(np.float32).astype(np.float64) * 1e-3
    markers = replace(markers, positions=as_stored)
    folder = tmp_path / "s5"
    for part in ("MarkerData", "OpenSimData/Model"):
        (folder / part).mkdir(parents=True)
    model = next((source / "OpenSimData/Model").glob("*.osim"))
    (folder / "OpenSimData/Model" / model.name).write_bytes(model.read_bytes())
    (folder / "sessionMetadata.yaml").write_bytes((source / "sessionMetadata.yaml").read_bytes())
    write_trc(folder / "MarkerData/text.trc", markers.time, markers.positions, markers.names, units="mm")
    write(
        folder / "MarkerData/binary.c3d", markers.positions[:, :, [2, 0, 1]], markers.names, units="mm",
        rate=markers.rate_hz, first=300, point={"X_SCREEN": ["+Y"], "Y_SCREEN": ["+Z"]},
    )  # fmt: skip
    (session,) = find_sessions([folder])
    requests, _ = marker_requests(session, session_copy(session, tmp_path / "out"))
    outcomes = {outcome.trial: outcome for outcome in solve_marker_trials(requests, jobs=1)}
    assert {outcome.status for outcome in outcomes.values()} == {SOLVED}, [o.reason for o in outcomes.values()]
    text, binary = (read_storage(request.motion_path) for request in sorted(requests, key=lambda r: r.trial)[::-1])
    assert text.names == binary.names
    np.testing.assert_allclose(binary.time, text.time, atol=1e-9)
    np.testing.assert_allclose(binary.values, text.values, atol=1e-6)
    assert outcomes["binary"].record["rms_mm"] == pytest.approx(outcomes["text"].record["rms_mm"], abs=1e-3)
    assert outcomes["binary"].record["rms_mm"] < 15.0
