"""Faults of .mot and .sto files as tables."""

from pathlib import Path

import numpy as np
import pytest
from small_person import Person, change_table, edit, kinds, only

from bige_opensim.motion import Motion


@pytest.fixture
def clean(person: Person, tmp_path: Path) -> Path:
    return person.write_motion(tmp_path / "squat.mot")


def test_a_clean_squat_has_neither_errors_nor_warnings(examine, clean: Path):
    assert kinds(examine(clean), "error", "warning") == set()


def test_wrong_header_counts_are_an_error_that_can_be_fixed(examine, clean: Path):
    edit(clean, lambda lines: [line.replace("nColumns=13", "nColumns=15") for line in lines])
    found = only(examine(clean), "header-counts")
    assert (found.severity, found.fixable, found.place) == ("error", True, "header")
    assert "15 columns where the table has 13" in found.sentence


def test_repeated_and_backward_times_are_an_error_that_can_be_fixed(examine, clean: Path):
    def disorder(rows: list[list[str]]) -> None:
        rows.insert(21, rows[20].copy())
        rows.insert(41, rows[30].copy())

    found = only(examine(change_table(clean, disorder)), "time-order")
    assert (found.severity, found.fixable) == ("error", True)
    assert "2 row(s) repeat a time and 0 go back" in found.sentence


def test_a_hole_in_the_time_base_is_found_where_it_is(examine, clean: Path):
    def cut(rows: list[list[str]]) -> None:
        del rows[31:41]

    found = only(examine(change_table(clean, cut)), "time-gap")
    assert found.severity == "warning"
    assert float(found.place.split()[0]) == pytest.approx(29 / 60, abs=1e-3)


def test_uneven_steps_are_noted(examine, person: Person, tmp_path: Path):
    time = person.motion.time.copy()
    time[1::2] += 0.002
    path = person.write_motion(tmp_path / "uneven.mot", person.motion.resampled(time[:-1]))
    assert only(examine(path), "time-step").severity == "note"


def test_a_rate_too_low_for_accelerations_is_a_warning(examine, person: Person, tmp_path: Path):
    slow = Motion(person.motion.time * 5, person.motion.values, person.motion.names)
    assert only(examine(person.write_motion(tmp_path / "slow.mot", slow)), "time-step").severity == "warning"


@pytest.mark.parametrize(("cells", "fixable"), [(3, True), (12, False)])
def test_missing_numbers_are_an_error_fixable_where_the_gap_is_short(examine, clean: Path, cells: int, fixable: bool):
    def punch(rows: list[list[str]]) -> None:
        column = rows[0].index("knee_angle_r")
        for row in rows[40 : 40 + cells]:
            row[column] = "NaN" if cells == 3 else ""

    found = only(examine(change_table(clean, punch)), "missing-values")
    assert (found.severity, found.fixable) == ("error", fixable)
    assert found.place.startswith("knee_angle_r, 0.65")


def test_a_line_with_too_few_cells_is_an_error_with_its_number(examine, clean: Path):
    edit(clean, lambda lines: [*lines[:30], lines[30].rsplit("\t", 4)[0], *lines[31:]])
    found = only(examine(clean), "damaged-rows")
    assert (found.severity, found.place) == ("error", "line 31")


def test_a_column_labelled_twice_is_an_error(examine, clean: Path):
    edit(clean, lambda lines: [line.replace("ankle_angle_l", "ankle_angle_r") for line in lines])
    assert only(examine(clean), "labels").place == "ankle_angle_r"


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"no header\n1 2 3\n", b"x\nendheader\ntime\ta\n"])
def test_what_cannot_be_read_is_one_finding(examine, tmp_path: Path, content: bytes):
    path = tmp_path / "broken.mot"
    path.write_bytes(content)
    (found,) = examine(path)
    assert (found.severity, found.kind) == ("error", "unreadable")


def test_a_single_bad_sample_is_a_spike_and_the_bottom_of_a_squat_is_none(examine, person: Person, tmp_path: Path):
    values = person.motion.values.copy()
    values[30, person.motion.index("hip_flexion_l")] += np.deg2rad(8)
    path = person.write_motion(tmp_path / "spike.mot", person.motion.with_values(values))
    found = only(examine(path), "spike")
    assert found.place == "hip_flexion_l, 0.5 s"
    assert "8.0°" in found.sentence
