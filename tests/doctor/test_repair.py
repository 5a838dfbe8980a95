"""Repairs: originals untouched, copies clean, a log of everything, and nothing half-written."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_person import Person, change_table, edit, kinds

from bige_opensim.doctor.cases import find_cases
from bige_opensim.doctor.examination import Examiner
from bige_opensim.doctor.findings import DoctorError
from bige_opensim.doctor.repair import LOG, repair_all
from bige_opensim.io.external_loads import read_external_loads
from bige_opensim.io.storage import read_coordinates, write_storage
from bige_opensim.io.trc import read_trc


def hashes(folder: Path) -> dict[Path, str]:
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def punch(column: str, first: int, count: int) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        for row in rows[first : first + count]:
            row[rows[0].index(column)] = "nan"

    return change


@pytest.fixture
def faulty(person: Person, tmp_path: Path) -> Path:
    """A folder with every fault that can be repaired."""
    folder = tmp_path / "faulty"
    folder.mkdir()
    motion, after = person.motion, np.arange(person.motion.frames) >= 45
    counts = person.write_motion(folder / "counts.mot")
    edit(counts, lambda lines: [line.replace("nColumns=13", "nColumns=15") for line in lines])
    write_storage(folder / "flag.mot", motion.time, 2 * motion.values, motion.names, in_degrees=True)
    order = person.write_motion(folder / "order.mot")
    change_table(order, lambda rows: rows.insert(30, rows[25].copy()))
    values = motion.values.copy()
    tilt, list_, rotation = (motion.index(f"pelvis_{n}") for n in ("tilt", "list", "rotation"))
    values[after, tilt] += np.pi
    values[after, list_] = np.pi - values[after, list_]
    values[after, rotation] -= np.pi
    values[60:, motion.index("hip_flexion_r")] -= 2 * np.pi
    person.write_motion(folder / "hops.mot", motion.with_values(values))
    change_table(person.write_motion(folder / "gap.mot"), punch("knee_angle_r", 40, 4))
    forces = person.write_forces(folder / "squat_forces.mot")
    person.write_loads(folder / "squat_loads.xml", forces, right="calcn_l", left="calcn_r")
    person.write_motion(folder / "squat.mot")
    positions, _ = person.markers()
    positions[30:33, 3] = np.nan
    markers = person.write_markers(folder / "markers.trc", positions)
    edit(markers, lambda lines: [line.replace("\t90\t6\tmm", "\t91\t7\tmm") for line in [*lines[:20], *lines[19:]]])
    return folder


@pytest.fixture
def repaired(faulty: Path, person: Person, examiner: Examiner, tmp_path: Path) -> Path:
    before = hashes(faulty)
    repair_all(find_cases([faulty], person.model), tmp_path / "repaired", examiner)
    assert hashes(faulty) == before, "an original was touched"
    return tmp_path / "repaired" / "faulty"


def test_every_repaired_copy_is_clean_and_every_original_was_not(examine, faulty: Path, repaired: Path, person: Person):
    copies = sorted(p.name for p in repaired.iterdir() if p.name != LOG)
    wrong = ["counts.mot", "flag.mot", "gap.mot", "hops.mot", "markers.trc", "order.mot", "squat_loads.xml"]
    assert copies == sorted([*wrong, "squat_forces.mot"])
    for name in wrong:
        assert any(f.fixable for f in examine(faulty / name)), name
    person.write_motion(repaired / "squat.mot")
    assert kinds((f for f in examine(repaired) if f.file.name != "flag.mot"), "error", "warning") == set()
    assert not any(f.fixable for f in examine(repaired))


def test_the_log_says_what_was_done_to_which_file(faulty: Path, repaired: Path):
    log = json.loads((repaired.parent / LOG).read_text())
    by_name = {Path(r["original"]).name: r for r in log["repairs"]}
    assert "corrected from 15 to 13" in by_name["counts.mot"]["actions"][0]
    assert by_name["order.mot"]["actions"] == ["1 row(s) whose time does not increase were left out"]
    assert by_name["gap.mot"]["sha256"] == hashlib.sha256((faulty / "gap.mot").read_bytes()).hexdigest()
    assert by_name["hops.mot"]["written"] == "faulty/hops.mot"
    assert "squat.mot" not in by_name


def test_repairs_give_back_the_motion_that_was_spoilt(repaired: Path, person: Person):
    rotational = person.known.osim.rotational
    for name, tolerance in (("counts", 1e-12), ("order", 1e-12), ("hops", 1e-9), ("gap", 1e-3)):
        read = read_coordinates(repaired / f"{name}.mot", rotational=rotational).motion
        np.testing.assert_allclose(read.values, person.motion.values, atol=tolerance, err_msg=name)
    radians = read_coordinates(repaired / "flag.mot", rotational=rotational).motion
    np.testing.assert_allclose(radians.values, 2 * person.motion.values, atol=1e-12)


def test_a_wrap_inside_a_gap_of_another_column_is_undone_too(person: Person, examiner: Examiner, tmp_path: Path):
    values = person.motion.values.copy()
    values[40:, person.motion.index("pelvis_rotation")] += 2 * np.pi
    path = change_table(
        person.write_motion(tmp_path / "both.mot", person.motion.with_values(values)), punch("pelvis_tx", 39, 4)
    )
    repair_all(find_cases([path], person.model), tmp_path / "out", examiner)
    read = read_coordinates(tmp_path / "out" / "both.mot", rotational=person.known.osim.rotational).motion
    np.testing.assert_allclose(read.values, person.motion.values, atol=1e-3)


def test_loads_are_moved_to_the_foot_that_stands_on_the_plate(repaired: Path):
    loads = read_external_loads(repaired / "squat_loads.xml")
    assert {f.name: f.applied_to_body for f in loads.forces} == {
        "ground_force_r": "calcn_r",
        "ground_force_l": "calcn_l",
    }
    assert loads.datafile == repaired / "squat_forces.mot"


def test_filled_markers_lie_on_their_path_and_keep_their_unit(repaired: Path, person: Person):
    markers, (clean, _) = read_trc(repaired / "markers.trc"), person.markers()
    assert not np.isnan(markers.positions).any()
    np.testing.assert_allclose(markers.positions, clean, atol=5e-4)
    assert "\tmm\t" in (repaired / "markers.trc").read_text()


def test_what_cannot_be_repaired_is_logged_and_not_written(person: Person, examiner: Examiner, tmp_path: Path):
    path = change_table(person.write_motion(tmp_path / "long.mot"), punch("knee_angle_r", 30, 30))
    edit(path, lambda lines: [line.replace("nColumns=13", "nColumns=15") for line in lines])
    (repair,) = repair_all(find_cases([path], person.model), tmp_path / "out", examiner)
    assert "knee_angle_r" in repair.problem
    assert [p.name for p in (tmp_path / "out").iterdir()] == [LOG]


def test_repairs_go_into_a_new_folder_only(faulty: Path, person: Person, examiner: Examiner):
    before = hashes(faulty)
    with pytest.raises(DoctorError, match="new or empty folder"):
        repair_all(find_cases([faulty], person.model), faulty, examiner)
    assert hashes(faulty) == before
    assert [p.name for p in faulty.parent.iterdir()] == ["faulty"]
