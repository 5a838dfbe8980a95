"""Faults of models and of sessions."""

from collections.abc import Callable
from pathlib import Path

import opensim
import pytest
from odd_models import with_belt
from small_models import biped
from small_person import Person, kinds, only

from bige_opensim.doctor.known_model import KnownModel


def altered(person: Person, path: Path, change: Callable[[opensim.Model], object]) -> Path:
    model = opensim.Model(str(person.model))
    change(model)
    model.finalizeConnections()
    model.printToXML(str(path))
    return path


def negative_knee(model: opensim.Model) -> None:
    for side in "rl":
        knee = model.getCoordinateSet().get(f"knee_angle_{side}")
        knee.setRangeMin(-2.4)
        knee.setRangeMax(0.1)


CHANGES = {
    "sign-convention": negative_knee,
    "locked-coordinates": lambda m: m.getCoordinateSet().get("ankle_angle_l").set_locked(True),
    "ranges": lambda m: m.getCoordinateSet().get("ankle_angle_l").setRangeMax(-0.8),
    "units": lambda m: m.getCoordinateSet().get("ankle_angle_l").setRangeMax(90.0),
    "missing-coordinates": lambda m: m.updCoordinateSet().get("knee_angle_r").setName("knee_r"),
    "mass": lambda m: m.getBodySet().get("pelvis").setMass(4000.0),
}


def test_a_clean_model_has_no_findings(examine, person: Person):
    assert examine(person.model) == []


@pytest.mark.parametrize("kind", CHANGES)
def test_faults_of_a_model_are_found(examine, person: Person, tmp_path: Path, kind: str):
    found = examine(altered(person, tmp_path / "model.osim", CHANGES[kind]))
    assert kinds(found) == {kind}


def test_gravity_along_z_is_an_error(examine, person: Person, tmp_path: Path):
    path = altered(person, tmp_path / "model.osim", lambda m: m.setGravity(opensim.Vec3(0, 0, -9.81)))
    assert only(examine(path), "gravity").severity == "error"


def test_a_model_without_muscles_is_a_warning(examine, tmp_path: Path):
    assert only(examine(biped(tmp_path / "bones.osim", muscles=False)), "muscles").severity == "warning"


def test_an_unreadable_model_is_one_finding(examine, tmp_path: Path):
    path = tmp_path / "broken.osim"
    path.write_text("<OpenSimDocument><Model")
    (found,) = examine(path)
    assert (found.severity, found.kind) == ("error", "unreadable")


def session(person: Person, folder: Path, mass_kg: float) -> Path:
    for name in ("OpenSimData/Model", "OpenSimData/Kinematics", "ForceData", "MarkerData"):
        (folder / name).mkdir(parents=True)
    (folder / "sessionMetadata.yaml").write_text(f"subjectID: s1\nmass_kg: {mass_kg}\nopenSimModel: biped\n")
    (folder / "OpenSimData/Model/biped_scaled.osim").write_bytes(person.model.read_bytes())
    person.write_motion(folder / "OpenSimData/Kinematics/squat.mot")
    person.write_forces(folder / "ForceData/squat_forces.mot")
    person.write_markers(folder / "MarkerData/jump.trc")
    return folder


def test_a_session_uses_its_own_model_and_says_which_trials_lack_coordinates(examine, person: Person, tmp_path: Path):
    found = examine(session(person, tmp_path / "s1", person.known.osim.mass_kg), model=None)
    assert [(f.kind, f.severity) for f in found] == [("session", "note")]
    assert "jump" in found[0].sentence


def test_a_mass_that_differs_from_the_metadata_is_found_in_model_and_weight(examine, person: Person, tmp_path: Path):
    found = [f for f in examine(session(person, tmp_path / "s1", 50.0), model=None) if f.kind == "mass"]
    assert [f.file.suffix for f in found] == [".osim", ".mot"]
    assert all("50.0 kg" in f.sentence for f in found)


def test_a_session_without_a_model_is_an_error(examine, person: Person, tmp_path: Path):
    folder = session(person, tmp_path / "s1", 70.0)
    (folder / "OpenSimData/Model/biped_scaled.osim").unlink()
    assert "session" in kinds(examine(folder, model=None), "error")
    assert "session" not in kinds(examine(folder, model=person.model), "error")


def test_forces_that_end_before_the_motion_are_a_warning(examine, person: Person, tmp_path: Path):
    folder = session(person, tmp_path / "s1", person.known.osim.mass_kg)
    path = folder / "OpenSimData/Kinematics/squat.mot"
    later = person.motion.__class__(person.motion.time + 0.5, person.motion.values, person.motion.names)
    person.write_motion(path, later)
    assert only(examine(folder, model=None), "time-overlap").file.name == "squat_forces.mot"


def test_one_file_of_a_session_is_examined_against_the_sessions_model(examine, person: Person, tmp_path: Path):
    folder = session(person, tmp_path / "s1", person.known.osim.mass_kg)
    path = folder / "OpenSimData/Kinematics/squat.mot"
    person.write_motion(path, person.motion.select([n for n in person.motion.names if n != "ankle_angle_l"]))
    assert only(examine(path, model=None), "missing-coordinates").place == "ankle_angle_l"


def test_a_model_of_two_floating_bodies_has_no_root_and_a_fault(tmp_path):
    model = KnownModel(with_belt(biped(tmp_path / "biped.osim"), tmp_path / "two.osim", "Free"))
    assert model.root == frozenset()
    assert "2 bodies float free of each other" in model.skeleton_fault
    assert model.skeleton is None
