"""Faults of coordinate files against a model and against conventions."""

from pathlib import Path

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose
from small_person import Person, change_table, edit, kinds, only

from bige_opensim.doctor.coordinate_checks import _beyond
from bige_opensim.io.storage import read_coordinates, write_storage
from bige_opensim.motion import Motion


def changed(person: Person, path: Path, **columns: object) -> Path:
    values = person.motion.values.copy()
    for name, change in columns.items():
        values[:, person.motion.index(name)] = change(person.motion[name])
    return person.write_motion(path, person.motion.with_values(values))


def test_radians_called_degrees_are_an_error_that_can_be_fixed(examine, person: Person, tmp_path: Path):
    path = tmp_path / "radians.mot"
    deep = person.motion.values * 2.0
    write_storage(path, person.motion.time, deep, person.motion.names, in_degrees=True)
    found = only(examine(path), "degree-flag")
    assert (found.severity, found.fixable) == ("error", True)
    assert "are radians" in found.sentence


def test_a_header_without_a_unit_is_a_warning_that_can_be_fixed(examine, person: Person, tmp_path: Path):
    path = person.write_motion(tmp_path / "silent.mot")
    edit(path, lambda lines: [line for line in lines if not line.startswith("inDegrees")])
    found = only(examine(path), "degree-flag")
    assert (found.severity, found.fixable) == ("warning", True)


def test_columns_that_the_model_does_not_have_are_named(examine, person: Person, tmp_path: Path):
    def add(rows: list[list[str]]) -> None:
        for at, row in enumerate(rows):
            row.append("elbow_flex_r" if at == 0 else "10.0")

    path = change_table(person.write_motion(tmp_path / "more.mot"), add)
    assert "elbow_flex_r" in only(examine(path), "columns").sentence


def test_free_coordinates_that_the_file_lacks_are_named(examine, person: Person, tmp_path: Path):
    names = [n for n in person.motion.names if n != "ankle_angle_l"]
    path = person.write_motion(tmp_path / "less.mot", person.motion.select(names))
    found = only(examine(path), "missing-coordinates")
    assert (found.severity, found.place) == ("error", "ankle_angle_l")


def test_a_locked_coordinate_that_moves_is_a_warning(examine, person: Person, tmp_path: Path):
    model = opensim.Model(str(person.model))
    model.getCoordinateSet().get("ankle_angle_r").set_locked(True)
    model.finalizeConnections()
    model.printToXML(str(tmp_path / "locked.osim"))
    path = person.write_motion(tmp_path / "squat.mot")
    found = only(examine(path, model=tmp_path / "locked.osim"), "locked-coordinates")
    assert found.place == "ankle_angle_r"


@pytest.mark.parametrize("tilt", ["wrap", "hop"])
def test_angles_that_jump_between_equal_orientations_are_found(examine, person: Person, tmp_path: Path, tilt: str):
    after = np.arange(person.motion.frames) >= 45
    if tilt == "wrap":
        path = changed(person, tmp_path / "wrap.mot", pelvis_rotation=lambda x: x + 2 * np.pi * after)
    else:
        path = changed(
            person,
            tmp_path / "hop.mot",
            pelvis_tilt=lambda x: np.where(after, x + np.pi, x),
            pelvis_list=lambda x: np.where(after, np.pi - x, x),
            pelvis_rotation=lambda x: np.where(after, x + np.pi, x),
        )
    found = only(examine(path), "wrapping")
    assert found.fixable
    assert found.place.endswith("0.75 s")
    assert kinds(examine(path)) & {"spike", "joint-limits"} == set()


def test_a_body_that_turns_faster_than_any_limb_is_a_warning(examine, person: Person, tmp_path: Path):
    after = np.arange(person.motion.frames) >= 45
    path = changed(person, tmp_path / "jump.mot", hip_flexion_r=lambda x: x + 1.0 * after)
    found = only(examine(path), "rotation-speed")
    assert found.place.endswith("_r")
    assert "60 rad/s" in found.sentence


def test_a_joint_beyond_its_range_is_measured(examine, person: Person, tmp_path: Path):
    path = changed(person, tmp_path / "deep.mot", ankle_angle_l=lambda x: 3.0 * x)
    found = only(examine(path), "joint-limits")
    excess = np.rad2deg(3.0 * person.motion["ankle_angle_l"].max() - 1.2)
    assert (found.severity, found.place.split(",")[0]) == ("warning", "ankle_angle_l")
    assert f"by {excess:.0f}°" in found.sentence


@pytest.mark.parametrize(
    ("low", "high", "beyond"),
    [(-np.inf, 1.0, [0.0, 0.5]), (-1.0, np.inf, [1.0, 0.0]), (np.nan, 1.0, [0.0, 0.5]), (-np.inf, np.inf, [0.0, 0.0])],
)
@pytest.mark.filterwarnings("error")
def test_a_range_with_one_end_has_one_limit(low, high, beyond):
    assert_allclose(_beyond(np.array([-2.0, 1.5]), low, high), beyond)


def test_a_full_turn_is_no_joint_limit(examine, person: Person, tmp_path: Path):
    path = changed(person, tmp_path / "turned.mot", hip_flexion_r=lambda x: x + 2 * np.pi)
    assert "joint-limits" not in kinds(examine(path))


def test_knees_that_bend_backwards_are_an_error(examine, person: Person, tmp_path: Path):
    path = changed(person, tmp_path / "knees.mot", knee_angle_r=np.negative, knee_angle_l=np.negative)
    found = only(examine(path), "sign-convention")
    assert (found.severity, found.place) == ("error", "knee_angle_r")


def test_a_person_lying_along_z_is_a_warning(examine, person: Person, tmp_path: Path):
    path = changed(person, tmp_path / "lying.mot", pelvis_list=lambda x: x + np.pi / 2)
    found = only(examine(path), "sign-convention")
    assert found.severity == "warning"
    assert "+Z" in found.sentence


def test_a_height_along_z_is_a_warning_without_a_model_too(examine, person: Person, tmp_path: Path):
    heights = person.motion["pelvis_ty"]
    path = changed(person, tmp_path / "z_up.mot", pelvis_ty=lambda x: 0.0 * x, pelvis_tz=lambda x: heights)
    assert only(examine(path, model=None), "sign-convention").place == "pelvis_ty"


def test_translations_in_millimetres_are_an_error(examine, person: Person, tmp_path: Path):
    path = changed(person, tmp_path / "mm.mot", pelvis_ty=lambda x: 1000 * x)
    found = only(examine(path), "units")
    assert (found.severity, found.place) == ("error", "pelvis_ty")


def test_feet_far_from_height_zero_are_noted(examine, person: Person, tmp_path: Path):
    path = changed(person, tmp_path / "raised.mot", pelvis_ty=lambda x: x + 0.3)
    assert only(examine(path), "ground-height").severity == "note"


def test_muscles_that_cannot_reach_the_motion_are_named(examine, person: Person, tmp_path: Path):
    model = opensim.Model(str(person.model))
    for name, longer in (("soleus_r", 2.0), ("vasmed_l", 0.2)):
        muscle = model.updMuscles().get(name)
        muscle.set_tendon_slack_length(longer * muscle.get_tendon_slack_length())
    model.finalizeConnections()
    model.printToXML(str(tmp_path / "reach.osim"))
    path = person.write_motion(tmp_path / "squat.mot")
    found = [f for f in examine(path, model=tmp_path / "reach.osim") if f.kind == "muscle-reach"]
    slack, stretched = found
    assert slack.place.startswith("soleus_r")
    assert "slack" in slack.sentence
    assert stretched.place.startswith("vasmed_l")
    assert "1.6 optimal" in stretched.sentence


def test_fibre_lengths_are_those_of_opensim(person: Person, tmp_path: Path):
    from bige_opensim.doctor.muscle_checks import FibreLengths

    q = person.known.independent(person.motion)[:1]
    fibres = FibreLengths(person.known)(q)
    model = person.known.osim
    state = model.model.initSystem()
    model.set_pose(state, dict(zip(person.known.skeleton.coordinates, q[0], strict=True)))
    model.model.realizePosition(state)
    for name, length in zip(fibres.names, fibres.length[0], strict=True):
        muscle = model.model.getMuscles().get(name)
        expected = (muscle.getLength(state) - muscle.getTendonSlackLength()) / muscle.getOptimalFiberLength()
        assert length == pytest.approx(expected, rel=1e-9)


def test_a_states_file_is_examined_like_a_motion(examine, person: Person, tmp_path: Path):
    names = [f"/jointset/joint/{n}/value" for n in person.motion.names]
    values = person.motion.values.copy()
    for side in "rl":
        values[:, person.motion.index(f"knee_angle_{side}")] *= -1
    path = tmp_path / "states.sto"
    write_storage(path, person.motion.time, values, names, in_degrees=False)
    assert only(examine(path), "sign-convention").place == "knee_angle_r"


def test_speeds_are_not_taken_for_coordinates(examine, person: Person, tmp_path: Path):
    path = tmp_path / "u.sto"
    values = 100 * person.motion.values
    write_storage(path, person.motion.time, values, person.motion.names, in_degrees=True, title="Speeds")
    assert examine(path) == []


def test_what_was_found_continuous_is_the_motion_that_labelling_reads(person: Person, tmp_path: Path):
    path = person.write_motion(tmp_path / "squat.mot")
    read = read_coordinates(path, rotational=person.known.osim.rotational).motion
    assert isinstance(read, Motion)
    np.testing.assert_allclose(read.values, person.motion.values, atol=1e-12)


def test_a_motion_without_a_model_says_what_was_not_checked(examine, person: Person, tmp_path: Path):
    path = person.write_motion(tmp_path / "squat.mot")
    assert only(examine(path, model=None), "no-model").severity == "note"
    (tmp_path / "broken.osim").write_text("<Model")
    found = only(examine(path, model=None), "no-model")
    assert found.severity == "warning"
    assert "broken.osim" in found.sentence


def test_a_motion_of_a_few_frames_says_what_was_not_checked(examine, person: Person, tmp_path: Path):
    path = person.write_motion(tmp_path / "short.mot", person.motion.between(0.0, 0.05))
    assert only(examine(path), "too-short").severity == "warning"
