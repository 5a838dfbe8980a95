import string
import time as clock
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose

from bige_opensim.io.rotation_units import unit_by_range
from bige_opensim.io.storage import (
    StorageError,
    columns_text,
    read_coordinates,
    read_storage,
    write_columns,
    write_coordinates,
    write_storage,
)
from bige_opensim.motion import Motion

SQUATS = [
    "opencap_lab/OpenCapData_subject2/OpenSimData/Kinematics/squats1.mot",
    "opencap_lab/OpenCapData_subject6/OpenSimData/Kinematics/squats1.mot",
    "opencap_lab/OpenCapData_phone01/OpenSimData/Kinematics/squats-with-arm-raise.mot",
]
HEADER = "Coordinates\nversion=1\nnRows=3\nnColumns=3\ninDegrees=yes\nendheader\n"
TABLE = "time\tknee\tpelvis_tx\n0.0\t90\t0.5\n0.1\t45\t0.6\n0.2\t10\t0.7\n"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("storage")


def written(folder: Path, content: str | bytes, name: str = "trial.mot") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def by_opensim_storage(osim, path):
    storage = osim.Storage(str(path))
    labels = storage.getColumnLabels()
    names = tuple(labels.get(i) for i in range(1, labels.getSize()))
    column = osim.ArrayDouble()
    storage.getTimeColumn(column)
    time = np.array([column.get(i) for i in range(column.getSize())])
    rows = [storage.getStateVector(i).getData() for i in range(storage.getSize())]
    values = np.array([[row.get(j) for j in range(row.getSize())] for row in rows])
    return time, values, names, storage.isInDegrees()


def by_opensim_table(osim, path):
    table = osim.TimeSeriesTable(str(path))
    in_degrees = table.getTableMetaDataString("inDegrees") == "yes"
    time = np.array(table.getIndependentColumn())
    return time, table.getMatrix().to_numpy(), tuple(table.getColumnLabels()), in_degrees


labels = st.text(string.ascii_letters + string.digits + "_/|.-+#()[]:", min_size=1, max_size=12).filter(
    lambda label: label.lower() != "time"
)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def tables(draw):
    names = draw(st.lists(labels, min_size=1, max_size=6, unique=True))
    time = np.array(sorted(draw(st.lists(numbers.map(lambda x: x + 0.0), min_size=2, max_size=8, unique=True))))
    time[np.abs(time) < np.finfo(float).tiny] = 0.0
    time = np.unique(time)
    if len(time) < 2:
        time = np.array([0.0, 1.0])
    values = draw(hnp.arrays(np.float64, (len(time), len(names)), elements=numbers))
    return time, values, tuple(names)


@given(tables(), st.booleans(), st.sampled_from([1, 2, 3]), st.sampled_from([".mot", ".sto"]))
@example(
    (np.array([0.0, 0.01]), np.array([[5e-324], [-1.7e308]]), ("/jointset/hip_r/hip_flexion_r/value",)),
    False,
    1,
    ".sto",
)
@settings(max_examples=150, deadline=None)
def test_whatever_is_written_is_read_back_the_same_by_us_and_by_opensim(osim, scratch, table, degrees, version, suffix):
    time, values, names = table
    path = scratch / f"any{suffix}"
    write_storage(path, time, values, names, in_degrees=degrees, version=version)
    ours = read_storage(path)
    assert (ours.version, ours.title, ours.notes) == (version, "Coordinates", ())
    readings = [(ours.time, ours.values, ours.names, ours.in_degrees)]
    readings += [by_opensim_storage(osim, path), by_opensim_table(osim, path)]
    expected = np.where(np.abs(values) < np.finfo(float).tiny, 0.0, values)
    for their_time, their_values, their_names, their_degrees in readings:
        np.testing.assert_array_equal(their_time, time)
        np.testing.assert_array_equal(their_values, expected)
        assert their_names == names
        assert their_degrees == degrees


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_that_opensim_wrote_are_read_as_opensim_reads_them(osim, tmp_path, version):
    rng = np.random.default_rng(version)
    path = tmp_path / "theirs.sto"
    if version == 1:
        storage = osim.Storage()
        storage.setName("theirs")
        names = osim.ArrayStr()
        for name in ("time", "a", "b"):
            names.append(name)
        storage.setColumnLabels(names)
        for row in range(4):
            storage.append(0.1 * row, osim.Vector.createFromMat(rng.standard_normal(2)))
        storage.printResult(storage, "theirs", str(tmp_path), -1, ".sto")
    else:
        table = osim.TimeSeriesTable()
        table.setColumnLabels(["a", "b"])
        for row in range(4):
            table.appendRow(0.1 * row, osim.RowVector(rng.standard_normal(2).tolist()))
        table.addTableMetaDataString("inDegrees", "no")
        osim.STOFileAdapter.write(table, str(path))
        if version == 2:
            path.write_text(path.read_text().replace("version=3", "version=2"))
    ours = read_storage(path)
    time, values, names, in_degrees = by_opensim_storage(osim, path)
    np.testing.assert_array_equal(ours.time, time)
    np.testing.assert_array_equal(ours.values, values)
    assert (ours.names, ours.in_degrees, ours.version) == (names, in_degrees, version)


def test_every_real_file_is_read_as_opensim_reads_it(osim, shared_data):
    paths = sorted((shared_data / "data").rglob("*.mot"))
    assert len(paths) > 10
    for path in paths:
        ours = read_storage(path)
        time, values, names, _ = by_opensim_storage(osim, path)
        np.testing.assert_array_equal(ours.time, time, err_msg=str(path))
        np.testing.assert_array_equal(ours.values, values, err_msg=str(path))
        assert ours.names == names


def test_simm_header_of_force_plates_is_understood(shared_data):
    table = read_storage(shared_data / "data/opencap_lab/OpenCapData_subject5/ForceData/DJ1_forces.mot")
    assert (table.version, table.in_degrees, table.notes) == (0, None, ())
    assert table.values.shape == (5779, 27)
    assert table.names[1] == "R_ground_force_vy"


@pytest.mark.parametrize(
    "content",
    [
        HEADER + TABLE,
        (HEADER + TABLE).replace("\n", "\r\n"),
        (HEADER + TABLE).replace("\n", "\r"),
        (HEADER + TABLE).rstrip("\n"),
        "\ufeff" + HEADER + TABLE,
        HEADER + TABLE.replace("\t", "    "),
        HEADER + TABLE.replace("\n", "\t\t\n"),
        HEADER + TABLE.replace("\n", " \t\n\n"),
        HEADER + "\n" + TABLE + "\n\n  \n",
        (HEADER + TABLE).replace("endheader", "EndHeader  ").replace("inDegrees=yes", "indegrees = YES"),
        (HEADER + TABLE).replace("\n0.1", "\n   0.1"),
        "inDegrees=yes\nDataType=double\nversion=3\nOpenSimVersion=4.6\nendheader\n" + TABLE,
        "name trial\ndatacolumns 3\ndatarows 3\nrange 0 0.2\nAngles are in degrees.\nendheader\n" + TABLE,
    ],
)
def test_line_ends_blanks_and_headers_do_not_change_the_table(tmp_path, content):
    table = read_storage(written(tmp_path, content))
    np.testing.assert_array_equal(table.time, [0, 0.1, 0.2])
    np.testing.assert_array_equal(table.values, [[90, 0.5], [45, 0.6], [10, 0.7]])
    assert table.names == ("knee", "pelvis_tx")
    assert table.in_degrees is True
    assert table.notes == ()


def test_labels_with_blanks_are_kept_whole_between_tabs(tmp_path):
    content = HEADER + TABLE.replace("pelvis_tx", "pelvis tx")
    assert read_storage(written(tmp_path, content)).names == ("knee", "pelvis tx")


def test_counts_that_contradict_the_table_are_noted_and_the_table_is_believed(tmp_path):
    content = (HEADER + TABLE).replace("nRows=3", "nRows=2").replace("nColumns=3", "nColumns=36")
    table = read_storage(written(tmp_path, content))
    assert table.values.shape == (3, 2)
    assert table.notes == (
        "trial.mot: the header says 2 rows, the table has 3; the table was believed.",
        "trial.mot: the header says 36 columns, the table has 3; the table was believed.",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file is empty"),
        (" \n\n", "file is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text file"),
        ((HEADER + TABLE).encode("utf-16"), "not a text file"),
        ("Coordinates\nversion=1\nnRows=3\n", "no 'endheader' line"),
        (HEADER, "nothing follows 'endheader'"),
        (HEADER + "time\tknee\tpelvis_tx\n", r"0 row\(s\) of data; at least two"),
        (HEADER + "time\tknee\tpelvis_tx\n0\t1\t2\n", r"1 row\(s\) of data; at least two"),
        (HEADER + TABLE + "0.3\t8", "line 11 has 2 cells where 3 columns are labelled. The last row is cut off"),
        (HEADER + TABLE.replace("45\t", "\t"), "line 9 has 2 cells where 3 columns"),
        (HEADER + TABLE.replace("45", "45\t46"), "line 9 has 4 cells where 3 columns"),
        (HEADER + TABLE.replace("45", "nan"), "line 9, column 'knee' is nan"),
        (HEADER + TABLE.replace("45", "-inf"), "line 9, column 'knee' is -inf"),
        (HEADER + TABLE.replace("0.6", "0,6"), "line 9, column 'pelvis_tx' holds '0,6', not a number"),
        (HEADER + TABLE.replace("0.1\t", "0.3\t"), "time must increase, but goes from 0.3 s to 0.2 s at line 10"),
        (HEADER + TABLE.replace("0.1\t", "0.0\t"), "time must increase, but goes from 0 s to 0 s at line 9"),
        (HEADER + TABLE.replace("time\t", "frame\t"), "first column must be 'time', it is 'frame'"),
        (HEADER + "0.0\t90\t0.5\n0.1\t45\t0.6\n", "first column must be 'time', it is '0.0'"),
        (HEADER + TABLE.replace("pelvis_tx", "knee"), "repeated column labels: knee"),
        (HEADER + "time\n0\n1\n", "time column only"),
        ("DataType=Vec3\nversion=3\nendheader\ntime\tm\n0\t1,2,3\n1\t1,2,3\n", "holds Vec3 columns"),
    ],
)
def test_bad_files_end_with_one_sentence_naming_file_problem_and_remedy(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(StorageError, match=message) as caught:
        read_storage(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_and_a_folder_are_storage_errors(tmp_path):
    with pytest.raises(StorageError, match=r"absent.mot: cannot be read \(No such file"):
        read_storage(tmp_path / "absent.mot")
    with pytest.raises(StorageError, match="cannot be read"):
        read_storage(tmp_path)


@given(st.binary(max_size=300), st.integers(0, len(HEADER + TABLE)))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_table_or_a_storage_error(scratch, noise, at):
    good = (HEADER + TABLE).encode()
    path = written(scratch, good[:at] + noise + good[at + len(noise) :], "noise.mot")
    try:
        table = read_storage(path)
    except StorageError:
        return
    assert np.isfinite(table.values).all()
    assert table.values.shape == (len(table.time), len(table.names))


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("time", "values", "names", "message"),
    [
        ([0.0, 1.0], [[1.0], [np.nan]], ["a"], "'a' is nan in row 1"),
        ([0.0, np.inf], [[1.0], [2.0]], ["a"], "'time' is inf in row 1"),
        ([0.0, 0.0], [[1.0], [2.0]], ["a"], "time does not increase after row 0"),
        ([0.0, 1e-320], [[1.0], [2.0]], ["a"], "time does not increase after row 0"),
        ([1.0, 0.0], [[1.0], [2.0]], ["a"], "time does not increase after row 0"),
        ([0.0], [[1.0]], ["a"], "do not make a table"),
        ([0.0, 1.0], [[1.0, 2.0], [1.0, 2.0]], ["a"], "do not make a table"),
        ([0.0, 1.0], [[1.0, 2.0], [1.0, 2.0]], ["a", "a"], "wrong: 'a'"),
        ([0.0, 1.0], [[1.0], [2.0]], ["time"], "wrong: 'time'"),
        ([0.0, 1.0], [[1.0], [2.0]], ["a b"], "wrong: 'a b'"),
        ([0.0, 1.0], [[1.0], [2.0]], [""], "wrong: ''"),
    ],
)
def test_unusable_tables_are_not_written_and_the_old_file_stays(tmp_path, time, values, names, message):
    path = written(tmp_path, "as it was")
    with pytest.raises(StorageError, match=message):
        write_storage(path, np.array(time), np.array(values), names, in_degrees=False)
    assert path.read_text() == "as it was"
    assert [child.name for child in tmp_path.iterdir()] == ["trial.mot"]


@pytest.mark.parametrize("title", ["", "a=b", "two\nlines", "endheader", "name of it", "Angles are in radians"])
def test_titles_that_would_be_read_as_header_entries_are_refused(tmp_path, title):
    with pytest.raises(StorageError, match="title"):
        write_storage(tmp_path / "t.mot", np.arange(2.0), np.zeros((2, 1)), ["a"], in_degrees=True, title=title)
    assert not list(tmp_path.iterdir())


def test_writing_into_a_missing_folder_says_so(tmp_path):
    with pytest.raises(StorageError, match="does not exist; create it first"):
        write_storage(tmp_path / "no" / "t.mot", np.arange(2.0), np.zeros((2, 1)), ["a"], in_degrees=True)


def test_large_force_files_are_read_within_a_second(tmp_path):
    path = tmp_path / "forces.mot"
    values = np.random.default_rng(0).standard_normal((6000, 27))
    write_storage(path, np.arange(6000) / 2000, values, [f"c{i}" for i in range(27)], in_degrees=False)
    start = clock.perf_counter()
    read_storage(path)
    assert clock.perf_counter() - start < 1.0


# Coordinates: degrees, radians and files that say the wrong one


def rotations_of(names):
    return {name for name in names if not name.endswith(("_tx", "_ty", "_tz", "_beta"))}


def relabelled(source: Path, folder: Path, *, rotations_in: str, header: str | None) -> Path:
    """The real motion `source` with rotations stored as `rotations_in` under a header that says `header`."""
    table = read_storage(source)
    turns = np.array([name in rotations_of(table.names) for name in table.names])
    stored = "degrees" if table.in_degrees else "radians"
    factor = {("degrees", "radians"): np.pi / 180, ("radians", "degrees"): 180 / np.pi}.get((stored, rotations_in), 1.0)
    values = np.where(turns, table.values * factor, table.values)
    path = folder / f"{rotations_in}_called_{header}.mot"
    write_storage(path, table.time, values, table.names, in_degrees=header == "degrees")
    if header is None:
        path.write_text("".join(line for line in path.open() if not line.startswith("inDegrees")))
    return path


REAL = [*SQUATS, "rajagopal_dls/DLS01_ik.mot", "opencap_lab/OpenCapData_subject6/OpenSimData/Kinematics/walking1.mot"]


@pytest.mark.parametrize("name", REAL)
def test_degrees_and_radians_of_one_motion_are_read_alike_and_couplers_stay_radians(shared_data, tmp_path, name):
    source = shared_data / "data" / name
    turns = rotations_of(read_storage(source).names)
    original = read_coordinates(source, rotational=turns)
    assert original.notes == ()
    assert max(np.abs(original.motion[joint]).max() for joint in turns) < 4
    for unit in ("degrees", "radians"):
        for header in (unit, None):
            path = relabelled(source, tmp_path, rotations_in=unit, header=header)
            again = read_coordinates(path, rotational=turns)
            np.testing.assert_allclose(again.motion.values, original.motion.values, rtol=1e-12, atol=1e-15)
            assert len(again.notes) == (header is None)
    if "knee_angle_r_beta" in original.motion:
        np.testing.assert_allclose(original.motion["knee_angle_r_beta"], original.motion["knee_angle_r"], atol=1e-5)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize(("inside", "header"), [("radians", "degrees"), ("degrees", "radians")])
def test_a_header_that_contradicts_real_numbers_is_refused_unless_overridden(
    shared_data, tmp_path, name, inside, header
):
    source = shared_data / "data" / name
    turns = rotations_of(read_storage(source).names)
    path = relabelled(source, tmp_path, rotations_in=inside, header=header)
    with pytest.raises(StorageError, match=f"header says {header}.*are {inside}.*--units {inside}"):
        read_coordinates(path, rotational=turns)
    overridden = read_coordinates(path, rotational=turns, units=inside)
    original = read_coordinates(source, rotational=turns)
    np.testing.assert_allclose(overridden.motion.values, original.motion.values, rtol=1e-12, atol=1e-15)
    assert overridden.notes == (f"{path.name}: read as {inside} as asked; its header says {header}.",)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("unit", ["degrees", "radians"])
def test_short_pieces_of_real_motions_are_never_given_the_wrong_unit(shared_data, name, unit):
    source = shared_data / "data" / name
    turns = rotations_of(read_storage(source).names)
    motion = read_coordinates(source, rotational=turns).motion
    rotations = motion.select([n for n in motion.names if n in turns]).values
    translations = motion.select([n for n in motion.names if n.endswith(("_tx", "_ty", "_tz"))]).values
    if unit == "degrees":
        rotations = np.rad2deg(rotations)
    other = {"degrees": "radians", "radians": "degrees"}[unit]
    for start in range(0, motion.frames - 20, 20):
        piece = slice(start, start + 20)
        assert unit_by_range(rotations[piece], translations[piece]) != other


def standing(rng, sway_deg=0.4, posture_deg=1.5, sway_m=0.004):
    """Quiet stance near the zero pose for 10 s, in degrees and metres: sway and jitter about a fixed posture."""
    time = np.arange(600) / 60
    waves = np.sin(2 * np.pi * rng.uniform(0.1, 0.6, 30) * time[:, None] + rng.uniform(0, 6, 30))
    scale = np.array([sway_m] * 3 + [sway_deg] * 27)
    offset = np.concatenate([[0.0, 0.95, 0.0], rng.uniform(-posture_deg, posture_deg, 27)])
    names = ("pelvis_tx", "pelvis_ty", "pelvis_tz", *(f"joint{i}" for i in range(27)))
    return time, offset + scale * waves, names


def test_a_nearly_still_trial_in_degrees_is_believed_with_a_note(tmp_path):
    time, values, names = standing(np.random.default_rng(0))
    path = tmp_path / "stance.mot"
    write_storage(path, time, values, names, in_degrees=True)
    read = read_coordinates(path, rotational=rotations_of(names))
    np.testing.assert_allclose(read.motion["joint3"], np.deg2rad(values[:, 6]))
    assert "nearly still" in read.notes[0]
    assert "--units radians" in read.notes[0]


def test_a_still_trial_with_arms_bent_is_believed_without_a_note(tmp_path):
    time, values, names = standing(np.random.default_rng(1))
    values[:, 20:24] += 30.0
    path = tmp_path / "stance.mot"
    write_storage(path, time, values, names, in_degrees=True)
    assert read_coordinates(path, rotational=rotations_of(names)).notes == ()


def test_an_arm_raise_in_place_in_radians_called_degrees_is_refused(tmp_path):
    time, values, names = standing(np.random.default_rng(2))
    values[:, 3:] = np.deg2rad(values[:, 3:])
    values[:, 10] += np.deg2rad(80) * np.sin(time) ** 2
    path = tmp_path / "raise.mot"
    write_storage(path, time, values, names, in_degrees=True)
    with pytest.raises(StorageError, match="are radians"):
        read_coordinates(path, rotational=rotations_of(names))


def test_a_person_who_turns_round_twice_in_radians_is_not_taken_for_degrees(tmp_path):
    time, values, names = standing(np.random.default_rng(3))
    values[:, 3:] = np.deg2rad(values[:, 3:])
    values[:, 3] = np.linspace(0, 4 * np.pi, len(time))
    path = tmp_path / "turn.mot"
    write_storage(path, time, values, names, in_degrees=False)
    np.testing.assert_array_equal(read_coordinates(path, rotational=rotations_of(names)).motion.values, values)


def test_a_still_trial_without_a_unit_asks_for_it(tmp_path):
    time, values, names = standing(np.random.default_rng(4))
    path = tmp_path / "stance.mot"
    write_storage(path, time, values, names, in_degrees=True)
    path.write_text("".join(line for line in path.open() if not line.startswith("inDegrees")))
    with pytest.raises(StorageError, match="--units degrees or --units radians"):
        read_coordinates(path, rotational=rotations_of(names))
    assert read_coordinates(path, rotational=rotations_of(names), units="radians").motion["joint0"][0] == values[0, 3]


def test_coordinates_written_in_degrees_come_back_in_radians(tmp_path):
    rng = np.random.default_rng(0)
    names = ("pelvis_tilt", "pelvis_ty", "knee_angle_r", "knee_angle_r_beta")
    motion = Motion(0.5 + np.arange(50) / 60, rng.uniform(-1.5, 1.5, (50, 4)), names)
    path = tmp_path / "q.mot"
    write_coordinates(path, motion, rotational={"pelvis_tilt", "knee_angle_r"})
    table = read_storage(path)
    assert (table.in_degrees, table.version, table.title) == (True, 1, "Coordinates")
    np.testing.assert_allclose(table.values[:, 2], np.rad2deg(motion["knee_angle_r"]))
    np.testing.assert_array_equal(table.values[:, 3], motion["knee_angle_r_beta"])
    again = read_coordinates(path, rotational={"pelvis_tilt", "knee_angle_r"})
    np.testing.assert_allclose(again.motion.values, motion.values, rtol=1e-14)
    assert again.notes == ()


def test_columns_that_are_no_coordinates_are_left_out_with_a_note(tmp_path):
    path = written(tmp_path, HEADER + TABLE)
    read = read_coordinates(path, rotational={"knee"}, known={"knee", "hip"})
    assert read.motion.names == ("knee",)
    assert read.notes == ("trial.mot: 1 column(s) left out that are no coordinates: pelvis_tx.",)
    with pytest.raises(StorageError, match=r"none of its columns .*choose the motion that belongs to this model"):
        read_coordinates(path, rotational={"elbow"}, known={"elbow"})


def test_a_states_file_gives_its_coordinate_values_under_short_names(tmp_path):
    names = [
        "/jointset/knee_r/knee_angle_r/value",
        "/jointset/knee_r/knee_angle_r/speed",
        "/forceset/soleus_r/activation",
    ]
    values = np.column_stack([np.linspace(0, 1.5, 9), np.linspace(0, 9, 9), np.linspace(0, 1, 9)])
    path = tmp_path / "states.sto"
    write_storage(path, np.arange(9) / 10, values, names, in_degrees=False)
    read = read_coordinates(path, rotational={"knee_angle_r"}, known={"knee_angle_r"})
    assert read.motion.names == ("knee_angle_r",)
    np.testing.assert_array_equal(read.motion["knee_angle_r"], values[:, 0])


def test_a_coordinate_given_twice_by_name_and_by_path_is_refused(tmp_path):
    path = tmp_path / "twice.sto"
    names = ["knee_angle_r", "/jointset/knee_r/knee_angle_r/value"]
    write_storage(path, np.arange(3.0), np.ones((3, 2)), names, in_degrees=False)
    with pytest.raises(StorageError, match="'knee_angle_r' is there twice"):
        read_coordinates(path, rotational={"knee_angle_r"})


def test_columns_formatted_once_make_the_same_file_as_the_table_at_once(tmp_path):
    rng = np.random.default_rng(0)
    time, left, right = np.arange(5) / 60.0, rng.standard_normal((5, 3)), rng.standard_normal((5, 2)) * 1e-9
    write_storage(tmp_path / "whole.sto", time, np.hstack([left, right]), list("abcde"), in_degrees=False, title="Both")
    one, other = columns_text(left, list("abc")), columns_text(right, ["x", "y"])
    parts = [one, other.named(["d", "e"])]
    write_columns(tmp_path / "parts.sto", time, parts, in_degrees=False, title="Both")
    assert (tmp_path / "parts.sto").read_bytes() == (tmp_path / "whole.sto").read_bytes()
    write_columns(tmp_path / "some.sto", time[1:4], [one.at([1, 2, 3])], in_degrees=False, title="Some")
    assert_allclose(read_storage(tmp_path / "some.sto").values, left[1:4], rtol=0)
    with pytest.raises(StorageError, match="wrong: 'a'"):
        write_columns(tmp_path / "parts.sto", time, [one, one], in_degrees=False)
    assert (tmp_path / "parts.sto").read_bytes() == (tmp_path / "whole.sto").read_bytes()


SPELLINGS = [
    "1",
    "+1",
    "-0",
    ".5",
    "5.",
    "01",
    "1e5",
    "1E-3",
    "18446744073709551616",
    "1e400",
    "null",
    "-",
    "1e",
    "2.5",
]


@given(st.lists(st.tuples(*[st.sampled_from(SPELLINGS)] * 2), min_size=2, max_size=5))
@example([("1", "5e-324"), ("2", "1.7976931348623157e308")])
@settings(max_examples=200, deadline=None)
def test_tables_as_we_write_them_and_any_other_are_read_alike(scratch, cells):
    rows = [(f"{0.1 * k:.1f}", *row) for k, row in enumerate(cells)]
    found = []
    for gap in ("\t", " \t"):
        path = written(scratch, HEADER.replace("nRows=3", f"nRows={len(rows)}") + "time\ta\tb\n", "spelt.sto")
        path.write_text(path.read_text() + "".join(gap.join(row) + "\n" for row in rows))
        try:
            found.append(read_storage(path).values)
        except StorageError as error:
            found.append(str(error))
    one, other = found
    every = {cell for row in cells for cell in row}
    if every & {"null", "-", "1e", "1e400"}:
        assert isinstance(one, str)
        assert one == other
    else:
        assert one.tolist() == other.tolist() == [[float(cell) for cell in row] for row in cells]
