import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bige_opensim.io.marker_names import match_markers
from bige_opensim.io.trc import Markers, TrcError, read_trc, write_trc

TIME = np.arange(5) / 100.0
NAMES = ("r.ASIS", "L.ASIS", "r_knee")


def positions(frames: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.6, 1.6, (frames, 3, 3))


def text(rows: str, *, units: str = "mm", frames: str = "2", markers: str = "2", names: str = "A\t\t\tB\t\t") -> str:
    return (
        "PathFileType\t4\t(X/Y/Z)\tx.trc\n"
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
        f"100\t100\t{frames}\t{markers}\t{units}\t100\t1\t2\n"
        f"Frame#\tTime\t{names}\n\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n\n{rows}"
    )


ROWS = "1\t0.00\t100\t200\t300\t400\t500\t600\n2\t0.01\t101\t201\t301\t401\t501\t601\n"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "trial.trc"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def by_opensim(osim, path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    table = osim.TimeSeriesTableVec3(str(path))
    scale = 0.001 if table.getTableMetaDataString("Units") == "mm" else 1.0
    labels = tuple(table.getColumnLabels())
    flat = table.flatten()
    values = flat.getMatrix().to_numpy().copy().reshape(-1, len(labels), 3)
    return np.array(table.getIndependentColumn()), values * scale, labels


@pytest.mark.parametrize("units", ["m", "cm", "mm"])
def test_what_is_written_is_read_back_with_its_gaps(tmp_path: Path, units):
    p = positions()
    p[1:3, 0] = np.nan
    p[:, 2] = np.nan
    p[4, 2] = 0.5
    write_trc(tmp_path / "a.trc", TIME, p, NAMES, units=units)
    back = read_trc(tmp_path / "a.trc")
    assert back.names == NAMES
    assert back.notes == ()
    assert back.rate_hz == pytest.approx(100.0)
    np.testing.assert_array_equal(back.time, TIME)
    np.testing.assert_allclose(back.positions, p, rtol=1e-14)
    np.testing.assert_allclose(back.missing, [0.4, 0.0, 0.8])


@pytest.mark.parametrize("units", ["m", "mm"])
def test_opensim_reads_what_is_written(tmp_path: Path, osim, units):
    p = positions()
    p[2, 1] = np.nan
    write_trc(tmp_path / "a.trc", TIME, p, NAMES, units=units)
    time, values, labels = by_opensim(osim, tmp_path / "a.trc")
    assert labels == NAMES
    np.testing.assert_allclose(time, TIME)
    np.testing.assert_allclose(values, p, rtol=1e-12)


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_real_files_are_read_as_opensim_reads_them(shared_data: Path, osim, every: int):
    files = sorted((shared_data / "data").rglob("*.trc"))[::every]
    assert files
    for path in files:
        ours = read_trc(path)
        time, values, labels = by_opensim(osim, path)
        seen = ~np.isnan(ours.positions)
        assert labels == ours.names
        np.testing.assert_allclose(ours.time, time)
        np.testing.assert_allclose(ours.positions[seen], values[seen], rtol=1e-12)
        height = np.nanmax(ours.positions[:, :, 1]) - np.nanmin(ours.positions[:, :, 1])
        assert 1.0 < height < 2.5


@pytest.mark.parametrize(
    "rows",
    [
        "1\t0.00\t\t\t\t400\t500\t600\n2\t0.01\t101\t201\t301\t401\t501\t601\n",
        "1\t0.00\t0\t0\t0\t400\t500\t600\n2\t0.01\t101\t201\t301\t401\t501\t601\n",
        "1\t0.00\tNaN\tnan\tNAN\t400\t500\t600\n2\t0.01\t101\t201\t301\t401\t501\t601\n",
        "1\t0.00\t100\t\t300\t400\t500\t600\n2\t0.01\t101\t201\t301\t401\t501\t601\n",
    ],
)
def test_every_way_of_leaving_a_marker_out_becomes_nan(tmp_path: Path, rows: str):
    back = read_trc(written(tmp_path, text(rows)))
    assert np.isnan(back.positions[0, 0]).all()
    np.testing.assert_allclose(back.positions[0, 1], [0.4, 0.5, 0.6])
    np.testing.assert_allclose(back.positions[1], [[0.101, 0.201, 0.301], [0.401, 0.501, 0.601]])


def test_trailing_markers_may_be_cut_from_a_row(tmp_path: Path):
    rows = "1\t0.00\t100\t200\t300\n2\t0.01\t101\t201\t301\t401\t501\t601\n"
    back = read_trc(written(tmp_path, text(rows)))
    assert np.isnan(back.positions[0, 1]).all()


@pytest.mark.parametrize(
    "content",
    [
        text(ROWS).replace("\n", "\r\n"),
        text(ROWS).replace("\n", "\r"),
        "\ufeff" + text(ROWS),
        text(ROWS).replace("\n\n", "\n"),
        text(ROWS.replace("\n", "\t\n")),
        text(ROWS.rstrip("\n")),
        text(ROWS, names="A\tB"),
        text(ROWS, names="A\t\t\tB"),
        text(ROWS).replace("\t", "   "),
    ],
)
def test_line_ends_blanks_and_tabs_do_not_matter(tmp_path: Path, content: str):
    back = read_trc(written(tmp_path, content))
    assert back.names == ("A", "B")
    assert back.notes == ()
    np.testing.assert_allclose(back.positions[1], [[0.101, 0.201, 0.301], [0.401, 0.501, 0.601]])


def test_wrong_header_counts_become_notes(tmp_path: Path):
    back = read_trc(written(tmp_path, text(ROWS, frames="7", markers="9").replace("100\t100\t7", "60\t100\t7")))
    assert back.positions.shape == (2, 2, 3)
    assert len(back.notes) == 3
    assert back.rate_hz == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        (b"PathFileType\0\0", "not a text file"),
        (bytes(range(1, 256)) * 20, "no .trc file"),
        ("Coordinates\nversion=1\nendheader\ntime\ta\n0\t1\n", "no .trc file"),
        (text(""), "0 frame"),
        (text(ROWS.splitlines()[0] + "\n"), "1 frame"),
        (text(ROWS[:-12], frames="2"), "cells where|cut off"),
        (text(ROWS[:-2], frames="3"), "cut off"),
        (text(ROWS.replace("301", "3o1")), "'3o1', not a number"),
        (text(ROWS.replace("301", "3,01")), "decimal points"),
        (text(ROWS.replace("301", "inf")), "infinite"),
        (text(ROWS.replace("0.01", "0.00")), "time must increase"),
        (text(ROWS.replace("0.01", "nan")), "no time"),
        (text(ROWS, names="A\t\t\tA\t\t"), "repeated marker names: A"),
        (text(ROWS, names="A\t\tB\t\t\t"), "three columns apart"),
        (text(ROWS, units="furlong"), "unit of length is 'furlong'"),
        (text(ROWS, units="m"), "which no person does"),
        (
            text("1\t0.00\t0.1\t0.2\t0.3\t0.4\t0.5\t0.6\n2\t0.01\t0.1\t0.2\t0.3\t0.4\t0.5\t0.6\n"),
            "which no person does",
        ),
        (text("1\t0\t\t\t\t\t\t\n2\t0.01\t0\t0\t0\t\t\t\n"), "no marker was seen"),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_a_sentence(tmp_path: Path, content, message: str):
    with pytest.raises(TrcError, match=message) as refusal:
        read_trc(written(tmp_path, content))
    assert "trial.trc" in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(TrcError, match="cannot be read"):
        read_trc(tmp_path / "none.trc")


def test_the_unit_can_be_given_against_the_header(tmp_path: Path):
    back = read_trc(written(tmp_path, text(ROWS, units="m")), units="mm")
    np.testing.assert_allclose(back.positions[0, 0], [0.1, 0.2, 0.3])


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_a_damaged_file_is_refused_or_read_but_never_crashes(tmp_path_factory, seed: int):
    rng = random.Random(seed)
    content = bytearray(text(ROWS).encode())
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(content))
        match rng.randrange(3):
            case 0:
                content[at] = rng.randrange(256)
            case 1:
                del content[at : at + rng.randint(1, 30)]
            case 2:
                content[at:at] = rng.choice([b"\t", b"\n", b"9", b"-", b"nan", b"\xff", b"1e400"])
        if not content:
            break
    path = tmp_path_factory.getbasetemp() / "damaged.trc"
    path.write_bytes(bytes(content))
    try:
        back = read_trc(path)
    except TrcError:
        return
    assert back.positions.shape == (len(back.time), len(back.names), 3)
    assert not np.isinf(back.positions).any()
    assert (np.diff(back.time) > 0).all()


@pytest.mark.parametrize(
    ("time", "values", "names"),
    [
        (TIME, positions(), ("a", "a", "b")),
        (TIME, positions(), ("a", "b")),
        (TIME, positions(), ("a", "b", "x\ty")),
        (TIME[::-1], positions(), NAMES),
        (TIME[:1], positions(1), NAMES),
        (TIME, np.full((5, 3, 3), np.inf), NAMES),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, time, values, names):
    with pytest.raises(TrcError):
        write_trc(tmp_path / "a.trc", time, values, names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("up", "axis"), [("x", 0), ("y", 1), ("z", 2)])
def test_turning_brings_the_vertical_axis_to_y(up, axis: int):
    axes = Markers(TIME[:2], np.tile(np.eye(3), (2, 1, 1)), NAMES, 100.0).turned(up).positions[0]
    np.testing.assert_array_equal(axes[axis], [0.0, 1.0, 0.0])


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_turning_is_a_rotation(up):
    axes = Markers(TIME[:2], np.tile(np.eye(3), (2, 1, 1)), NAMES, 100.0).turned(up).positions[0]
    assert np.linalg.det(axes) == pytest.approx(1.0)


def test_a_window_and_a_choice_of_markers():
    m = Markers(TIME, positions(), NAMES, 100.0)
    part = m.between(0.01, 0.03).select(["r_knee"])
    np.testing.assert_allclose(part.time, [0.01, 0.02, 0.03])
    np.testing.assert_allclose(part.positions, positions()[1:4, 2:])
    with pytest.raises(TrcError, match="at least two"):
        m.between(0.5, None)


@pytest.mark.parametrize(
    ("recorded", "model", "pairs"),
    [
        (["a", "b"], ["b", "a"], {"a": "a", "b": "b"}),
        (["LASI", "Bob:RASI"], ["lasi", "rasi"], {"LASI": "lasi", "Bob:RASI": "rasi"}),
        (
            ["r_toe_study", "r_knee_study", "L.ASIS_study", "RKnee"],
            ["r_toe", "r_knee", "L.ASIS"],
            {"r_toe_study": "r_toe", "r_knee_study": "r_knee", "L.ASIS_study": "L.ASIS"},
        ),
        (["toe", "heel", "knee"], ["p1_toe", "p1_heel", "p1_knee"], {k: f"p1_{k}" for k in ("toe", "heel", "knee")}),
        (
            ["R.Shoulder", "L-Shoulder"],
            ["r_shoulder", "l_shoulder"],
            {"R.Shoulder": "r_shoulder", "L-Shoulder": "l_shoulder"},
        ),
        (["R_HJC", "R_HJC_reg"], ["R_HJC"], {"R_HJC": "R_HJC"}),
        (["r toe", "r-toe"], ["r_toe"], {}),
        (["Nose"], ["r_toe"], {}),
    ],
)
def test_markers_are_matched_by_name_surest_first(recorded, model, pairs):
    match = match_markers(recorded, model)
    assert dict(match.pairs) == pairs
    assert {*match.unmatched, *pairs} == set(recorded)
    assert {*match.unused, *pairs.values()} == set(model)


def test_ambiguous_names_are_matched_to_nothing_and_said():
    assert any("ambiguous" in note for note in match_markers(["r toe", "r-toe"], ["r_toe"]).notes)
