"""Faults of marker files."""

from pathlib import Path

import numpy as np
import pytest
from small_person import Person, edit, kinds, only


def test_clean_markers_have_no_findings(examine, person: Person, tmp_path: Path):
    assert examine(person.write_markers(tmp_path / "squat.trc")) == []


def test_wrong_counts_are_an_error_that_can_be_fixed(examine, person: Person, tmp_path: Path):
    path = person.write_markers(tmp_path / "squat.trc")
    edit(path, lambda lines: [line.replace("\t90\t6\tmm", "\t91\t7\tmm") for line in lines])
    found = only(examine(path), "header-counts")
    assert (found.severity, found.fixable) == ("error", True)
    assert "91 frames where the table has 90 and 7 markers where the table has 6" in found.sentence


def test_repeated_rows_are_an_error_and_the_rest_is_still_examined(examine, person: Person, tmp_path: Path):
    positions, _ = person.markers()
    positions[50, 2] += 0.2
    path = person.write_markers(tmp_path / "squat.trc", positions)
    edit(path, lambda lines: [*lines[:20], lines[19], *lines[20:]])
    found = examine(path)
    assert only(found, "time-order").fixable
    assert only(found, "spike").place.startswith("C7")


@pytest.mark.parametrize(("frames", "fixable"), [(4, True), (20, False)])
def test_missing_markers_are_reported_by_the_length_of_their_gaps(
    examine, person: Person, tmp_path: Path, frames: int, fixable: bool
):
    positions, _ = person.markers()
    positions[30 : 30 + frames, 3] = np.nan
    found = only(examine(person.write_markers(tmp_path / "squat.trc", positions)), "missing-markers")
    assert (found.place, found.fixable) == ("r_knee", fixable)


def test_markers_at_the_origin_are_noted(examine, person: Person, tmp_path: Path):
    positions, _ = person.markers()
    positions[30:33, 3] = 0.0
    found = examine(person.write_markers(tmp_path / "squat.trc", positions))
    assert "0, 0, 0" in only(found, "reading").sentence


def test_z_up_is_a_warning(examine, person: Person, tmp_path: Path):
    positions, _ = person.markers()
    turned = positions[..., [2, 0, 1]]
    found = only(examine(person.write_markers(tmp_path / "squat.trc", turned)), "sign-convention")
    assert "+Z" in found.sentence


def test_millimetres_called_metres_are_an_error(examine, person: Person, tmp_path: Path):
    path = person.write_markers(tmp_path / "squat.trc")
    edit(path, lambda lines: [line.replace("\tmm\t", "\tm\t") for line in lines])
    (found,) = examine(path)
    assert found.severity == "error"
    assert "unit" in found.sentence


def test_a_ghost_is_a_warning(examine, person: Person, tmp_path: Path):
    positions, _ = person.markers()
    positions[:, 2] += [0.0, 6.0, 0.0]
    assert "units" in kinds(examine(person.write_markers(tmp_path / "squat.trc", positions)), "warning")


def test_what_is_no_marker_file_is_one_finding(examine, tmp_path: Path):
    path = tmp_path / "broken.trc"
    path.write_text("hello\n")
    (found,) = examine(path)
    assert (found.severity, found.kind) == ("error", "unreadable")
