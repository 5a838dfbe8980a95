"""Faults of force-plate files and of ExternalLoads documents."""

from pathlib import Path

import pytest
from small_person import Person, change_table, edit, kinds, only


@pytest.fixture
def trial(person: Person, tmp_path: Path) -> Path:
    """A trial's folder: squat.mot, squat_forces.mot and squat_loads.xml."""
    person.write_motion(tmp_path / "squat.mot")
    forces = person.write_forces(tmp_path / "squat_forces.mot")
    person.write_loads(tmp_path / "squat_loads.xml", forces)
    return tmp_path


def scale(path: Path, suffix: str, factor: float) -> Path:
    def change(rows: list[list[str]]) -> None:
        for c in (c for c, label in enumerate(rows[0]) if label.endswith(suffix)):
            for row in rows[1:]:
                row[c] = repr(factor * float(row[c]))

    return change_table(path, change)


def test_a_clean_trial_has_neither_errors_nor_warnings(examine, trial: Path):
    assert kinds(examine(trial), "error", "warning") == set()


def test_force_on_the_plate_instead_of_the_foot_is_an_error(examine, trial: Path):
    path = scale(trial / "squat_forces.mot", "_vy", -1.0)
    found = [f for f in examine(path) if f.kind == "sign-convention"]
    assert {f.place for f in found} == {"ground_force_r_vy", "ground_force_l_vy"}
    assert {f.severity for f in found} == {"error"}


def test_weight_along_z_is_an_error(examine, trial: Path):
    path = edit(
        trial / "squat_forces.mot",
        lambda lines: [line.replace("_vy", "_v?").replace("_vz", "_vy").replace("_v?", "_vz") for line in lines],
    )
    assert "along Z" in next(f for f in examine(path) if f.kind == "sign-convention").sentence


def test_points_in_millimetres_are_an_error(examine, trial: Path):
    assert "units" in kinds(examine(scale(trial / "squat_forces.mot", "_pz", 1e6)), "error")


def test_forces_beyond_any_person_are_an_error(examine, trial: Path):
    assert "units" in kinds(examine(scale(trial / "squat_forces.mot", "_vy", 1000.0)), "error")


def test_weight_at_rest_is_compared_with_the_mass(examine, trial: Path, person: Person):
    found = only(examine(person.write_forces(trial / "squat_forces.mot", mass_kg=60.0)), "mass")
    assert found.severity == "warning"
    assert "60.0 kg" in found.sentence


def test_columns_named_for_the_wrong_foot_are_an_error(examine, trial: Path):
    path = edit(
        trial / "squat_forces.mot",
        lambda lines: [line.replace("_r_", "_?_").replace("_l_", "_r_").replace("_?_", "_l_") for line in lines],
    )
    assert len([f for f in examine(path) if f.kind == "wrong-foot" and f.severity == "error"]) == 2


def test_loads_on_the_other_foot_are_an_error_that_can_be_fixed(examine, trial: Path, person: Person):
    path = person.write_loads(trial / "squat_loads.xml", trial / "squat_forces.mot", right="calcn_l", left="calcn_r")
    found = [f for f in examine(path) if f.kind == "wrong-foot"]
    assert [(f.severity, f.fixable) for f in found] == [("error", True)] * 2
    assert "100 %" in found[0].sentence


def test_both_loads_on_one_foot_are_found(examine, trial: Path, person: Person):
    path = person.write_loads(trial / "squat_loads.xml", trial / "squat_forces.mot", left="calcn_r")
    found = examine(path)
    assert only(found, "one-foot").place == "calcn_r"
    assert only(found, "wrong-foot").place.startswith("ground_force_l")


def test_loads_without_their_motion_say_what_cannot_be_checked(examine, trial: Path):
    (trial / "squat.mot").unlink()
    assert only(examine(trial / "squat_loads.xml"), "wrong-foot").severity == "note"


def test_plates_far_from_the_feet_are_a_warning(examine, trial: Path):
    def shift(rows: list[list[str]]) -> None:
        for c in (c for c, label in enumerate(rows[0]) if label.endswith("_px")):
            for row in rows[1:]:
                row[c] = repr(float(row[c]) + 2.0)

    path = change_table(trial / "squat_forces.mot", shift)
    assert "plate-position" in kinds(examine(path), "warning")


def test_identifiers_and_bodies_that_do_not_exist_are_errors(examine, trial: Path):
    path = trial / "squat_loads.xml"
    edit(path, lambda lines: [line.replace("ground_force_r_p", "R_p").replace("calcn_l", "foot_l") for line in lines])
    assert [f.place for f in examine(path) if f.kind == "columns"] == ["R_px", "foot_l"]


@pytest.mark.parametrize("content", ["<ExternalLoads", "<OpenSimDocument><ExternalLoads/></OpenSimDocument>"])
def test_broken_documents_are_one_finding(examine, tmp_path: Path, content: str):
    path = tmp_path / "loads.xml"
    path.write_text(content)
    (found,) = examine(path)
    assert (found.severity, found.kind) == ("error", "unreadable")


def test_documents_of_other_kinds_are_passed_over_in_folders(examine, trial: Path):
    (trial / "setup.xml").write_text("<OpenSimDocument><AnalyzeTool/></OpenSimDocument>")
    assert not [f for f in examine(trial) if f.file.name == "setup.xml"]


def test_feet_above_the_plates_are_found(examine, person: Person, tmp_path: Path):
    values = person.motion.values.copy()
    values[:, person.motion.index("pelvis_ty")] += 0.3
    person.write_motion(tmp_path / "squat.mot", person.motion.with_values(values))
    found = only(examine(person.write_forces(tmp_path / "squat_forces.mot")), "ground-height")
    assert (found.severity, found.value) == ("warning", pytest.approx(0.3, abs=0.03))
    assert "above the force plates" in found.sentence
