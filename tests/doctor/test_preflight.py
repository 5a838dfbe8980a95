"""What the checks of people, columns and movements find, against closed forms, scaled people and real recordings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import opensim
import pytest
from recordings import MODELS, tables_of
from small_models import biped, every_joint
from small_person import Person, kinds, only

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.doctor.column_checks import check_columns, mass_beyond, nearest, plain
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.doctor.movement_checks import (
    check_carried,
    check_filled_in,
    check_ground,
    check_loaded_feet,
    check_posture,
    check_sliding,
    check_stillness,
    slide,
)
from bige_opensim.doctor.person_checks import Stated, check_person, check_stated, height_of
from bige_opensim.doctor.preflight import column_findings, model_findings, motion_findings
from bige_opensim.io.storage import CoordinateFile, read_coordinates
from bige_opensim.motion import Motion
from bige_opensim.osim.anthropometric_scaling import scale_model
from bige_opensim.osim.model import load
from bige_opensim.physics.skeleton import Skeleton

HERE = Path("trial.mot")
TIME = np.arange(120) / 60.0


@pytest.fixture(scope="module")
def full_body() -> KnownModel:
    return KnownModel(built_in(MODEL))


def known(path: Path) -> KnownModel:
    return KnownModel(path, load(path), Skeleton(tables_of(path)))


@pytest.mark.parametrize(
    ("height_m", "mass_kg"), [(1.10, 18.0), (1.50, 42.0), (1.70, 70.0), (1.75, 118.0), (2.0, 95.0)]
)
def test_people_of_every_size_are_people_and_as_tall_as_they_are(tmp_path: Path, height_m: float, mass_kg: float):
    scale_model(built_in(MODEL), tmp_path / "person.osim", height_m=height_m, mass_kg=mass_kg)
    model = KnownModel(tmp_path / "person.osim")
    assert check_person(model, Stated()) == []
    assert check_stated(model, Stated(mass_kg, height_m)) == []
    assert height_of(model) == pytest.approx(height_m, rel=0.02)


@pytest.mark.parametrize("name", [*MODELS, "gait2392"])
def test_real_models_are_people(shared_data: Path, name: str):
    assert (
        check_person(known(shared_data / (MODELS | {"gait2392": "data/ceinms_gait/gait2392.osim"})[name]), Stated())
        == []
    )


@pytest.mark.parametrize(("model", "severity"), [(every_joint, "note"), (lambda path, kind: biped(path), "error")])
def test_gravity_matters_to_those_who_stand(tmp_path: Path, model: Callable[[Path, str], Path], severity: str):
    path = model(tmp_path / "model.osim", "Pin")
    assert "gravity" not in kinds(check_person(KnownModel(path), Stated()))
    osim = load(path)
    osim.model.setGravity(opensim.Vec3(0, 0, 0))
    osim.model.printToXML(str(path))
    assert only(check_person(KnownModel(path), Stated()), "gravity").severity == severity


def test_a_model_is_judged_once(full_body: KnownModel):
    first = model_findings(full_body, Stated())
    assert model_findings(KnownModel(full_body.path, full_body.osim, full_body.skeleton), Stated()) is first
    assert model_findings(full_body, Stated(50.0)) != first


@pytest.mark.parametrize(
    ("who", "trial"),
    [
        ("subject2", "squats1"),
        ("subject5", "DJ1"),
        ("subject6", "STS1"),
        ("subject6", "walking1"),
        ("phone01", "squats-with-arm-raise"),
    ],
)
def test_real_recordings_have_no_findings(shared_data: Path, who: str, trial: str):
    model = known(shared_data / MODELS[who])
    path = shared_data / f"data/opencap_lab/OpenCapData_{who}/OpenSimData/Kinematics/{trial}.mot"
    names = [c.name for c in model.osim.coordinates]
    recorded = read_coordinates(path, rotational=model.osim.rotational, known=names)
    assert column_findings(path, recorded, model, allow_missing=False) == []
    assert motion_findings(path, recorded.motion, model, cutoff_hz=6.0, supported=True) == []


def test_a_clean_squat_has_no_findings(person: Person):
    recorded = CoordinateFile(person.motion, ())
    assert column_findings(HERE, recorded, person.known, allow_missing=False) == []
    assert motion_findings(HERE, person.motion, person.known, cutoff_hz=6.0, supported=True) == []


ARMS = ("arm_flex", "arm_add", "arm_rot", "elbow_flex", "pro_sup")


@pytest.mark.parametrize(
    ("without", "severities"),
    [
        ([f"{name}_{side}" for name in ARMS for side in "rl"], {"error", "note"}),
        (["lumbar_extension", "lumbar_bending", "lumbar_rotation"], {"error"}),
        (["ankle_angle_r"], {"error"}),
        (["elbow_flex_r", "elbow_flex_l"], {"error"}),
        (["subtalar_angle_r", "subtalar_angle_l", "mtp_angle_r", "mtp_angle_l", "pro_sup_r"], {"note"}),
        (["knee_angle_r_beta", "knee_angle_l_beta"], set()),
    ],
)
def test_what_carries_much_of_the_body_must_be_there(full_body: KnownModel, without: list[str], severities: set[str]):
    names = [c.name for c in full_body.osim.coordinates]
    assert set(without) <= set(names)
    kept = [n for n in names if n not in without]
    found = check_columns(HERE, kept, [], full_body)
    assert {f.severity for f in found} == severities
    assert {f.severity for f in check_columns(HERE, kept, [], full_body, allow_missing=True)} <= {"note"}


def test_the_mass_beyond_a_joint_is_that_of_the_bodies_it_moves(full_body: KnownModel):
    share, skeleton = mass_beyond(full_body.skeleton), full_body.skeleton
    mass = dict(zip(skeleton.bodies, skeleton.mass.tolist(), strict=True))
    foot = sum(mass[n] for n in ("talus_r", "calcn_r", "toes_r"))
    assert share["ankle_angle_r"] == pytest.approx(foot / sum(mass.values()))
    assert share["pelvis_tilt"] == pytest.approx(1.0)


def test_a_misspelt_column_is_met_with_the_nearest_coordinate(full_body: KnownModel):
    names = [c.name for c in full_body.osim.coordinates if c.name not in ("hip_flexion_r", "hip_rotation_l")]
    found = check_columns(HERE, names, ["hip_flexion_q", "hip_lotation_l", "emg_1"], full_body)
    sentence = only(found, "missing-coordinates").sentence
    assert "hip_flexion_r (is 'hip_flexion_q' meant?)" in sentence
    assert "hip_rotation_l (is 'hip_lotation_l' meant?)" in sentence
    unknown = only(found, "columns")
    assert (unknown.severity, unknown.place) == ("note", "emg_1")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("RightHipFlexion", "hip_flexion_r"),
        ("r_hip_flexion", "hip_flexion_r"),
        ("hip_flexion_left", "hip_flexion_l"),
        ("Hip Flexion R", "hip_flexion_r"),
        ("/jointset/hip_r/hip_flexion_R/value", "hip_flexion_r"),
    ],
)
def test_the_place_and_spelling_of_the_side_do_not_matter(label: str, name: str):
    assert plain(label) == name
    assert nearest([label], ["hip_flexion_l", "hip_flexion_r"]) == {name: label}


def test_each_column_is_meant_for_one_coordinate_and_strangers_for_none():
    assert nearest(["hip_flexion_q"], ["hip_flexion_r", "hip_flexion_l"]) == {"hip_flexion_r": "hip_flexion_q"}
    assert nearest(["ground_force_vx", "time2"], ["hip_flexion_r"]) == {}


def foot(x: np.ndarray, rise: np.ndarray | float = 0.0) -> np.ndarray:
    """A heel and a ball 20 cm apart at x (m), the heel raised."""
    points = np.zeros((len(x), 2, 3))
    points[:, :, 0] = x[:, None] + [0.0, 0.2]
    points[:, 0, 1] = rise
    return points


def test_the_slide_of_a_foot_is_the_way_it_goes_and_a_foot_that_rolls_over_its_ball_does_not_slide():
    assert slide(TIME, foot(0.4 * TIME)) == pytest.approx(0.4 * TIME[-1], rel=0.01)
    assert slide(TIME, foot(0.0 * TIME)) == 0.0
    angle = 0.8 * (TIME / TIME[-1]) ** 2
    rolling = foot(0.0 * TIME)
    rolling[:, 0, 0], rolling[:, 0, 1] = 0.2 - 0.2 * np.cos(angle), 0.2 * np.sin(angle)
    assert slide(TIME, rolling) < 1e-9


def test_only_feet_that_carry_can_slide_and_a_measured_belt_is_noted():
    points = np.concatenate([foot(0.4 * TIME), foot(0.0 * TIME)], axis=1)
    sides, standing = np.array([0, 0, 1, 1]), np.array([[0.0, 1.0]] * len(TIME))

    def check(load: np.ndarray, *, measured: bool = False):
        return check_loaded_feet(HERE, TIME, points, sides, load, measured=measured)

    assert check(standing) == []
    found = only(check(standing[:, ::-1]), "sliding-feet")
    assert (found.severity, found.value) == ("warning", pytest.approx(0.4 * TIME[-1], rel=0.01))
    assert only(check(standing[:, ::-1], measured=True), "sliding-feet").severity == "note"
    assert kinds(check_sliding(HERE, TIME, foot(0.4 * TIME))) == {"sliding-feet"}
    assert check_sliding(HERE, TIME, points) == []


@pytest.mark.parametrize(
    ("ground_m", "plates_m", "severity"),
    [
        (0.05, None, None),
        (-0.3, None, "note"),
        (5.0, None, "warning"),
        (-1.5, None, "warning"),
        (5.0, 5.02, None),
        (0.0, -0.2, "warning"),
    ],
)
def test_the_ground_is_at_zero_or_at_the_plates(ground_m: float, plates_m: float | None, severity: str | None):
    assert [f.severity for f in check_ground(HERE, ground_m, plates_m)] == ([severity] if severity else [])


@pytest.mark.parametrize(
    ("up", "severity"), [((0, 1, 0), None), ((0, -1, 0), "error"), ((0, 0.1, 0.9), "warning"), ((1, 0.2, 0), "warning")]
)
def test_a_body_stands_on_its_feet(up: tuple[float, float, float], severity: str | None):
    assert [f.severity for f in check_posture(HERE, np.tile(np.array(up, float), (9, 1)))] == (
        [severity] if severity else []
    )


@pytest.mark.parametrize(("carried", "found"), [(None, 0), (1.05, 0), (0.93, 0), (0.77, 1), (1.2, 1)])
def test_measured_forces_carry_the_model(carried: float | None, found: int):
    assert len(check_carried(HERE, carried, 75.0)) == found


def moving(time: np.ndarray, clock: np.ndarray | None = None) -> Motion:
    at = time if clock is None else clock
    values = np.column_stack([np.sin(3 * at), np.cos(2 * at) + 0.1 * at])
    return Motion(time, values, ("knee_angle_r", "pelvis_ty"))


def test_frames_that_were_held_or_filled_in_are_counted():
    slow = np.arange(0.0, 10.01, 0.1)
    fast = np.arange(601) / 60.0
    assert check_filled_in(HERE, moving(fast)) == []
    linear = np.column_stack([np.interp(fast, slow, column) for column in moving(slow).values.T])
    held = moving(slow).values[np.minimum((fast * 10 + 1e-9).astype(int), len(slow) - 1)]
    cubic = moving(slow).resampled(fast).values
    for values in (linear, held, cubic):
        found = only(check_filled_in(HERE, Motion(fast, values, ("knee_angle_r", "pelvis_ty"))), "time-step")
        assert (found.severity, found.value) == ("warning", pytest.approx(10.0, rel=0.05))
    double = moving(fast[::2]).values[np.arange(601) // 2]
    assert only(check_filled_in(HERE, Motion(fast, double, ("a", "b"))), "time-step").severity == "note"


def test_pauses_are_no_held_frames():
    time = np.arange(901) / 60.0
    stop_and_go = np.minimum(time % 2.5, 1.2) + 1.2 * (time // 2.5)
    motion = moving(time, stop_and_go)
    assert np.mean(np.diff(motion.values[:, 0]) == 0) > 0.4
    assert check_filled_in(HERE, motion) == []


@pytest.mark.parametrize(("sway", "severity"), [(0.0, "warning"), (0.01, "note"), (0.2, None)])
def test_a_pose_a_person_who_stands_and_one_who_moves_are_told_apart(sway: float, severity: str | None):
    motion = Motion(TIME, 0.3 + sway * np.sin(TIME)[:, None], ("ankle_angle_r",))
    assert [f.severity for f in check_stillness(HERE, motion, {"ankle_angle_r"})] == ([severity] if severity else [])


def test_a_joint_far_outside_its_range_is_a_warning_and_a_deep_squat_a_note(person: Person):
    deep = person.motion.with_values(
        np.where([n == "knee_angle_r" for n in person.motion.names], person.motion.values * 2.7, person.motion.values)
    )
    broken = person.motion.with_values(
        np.where([n == "knee_angle_r" for n in person.motion.names], person.motion.values * 3.4, person.motion.values)
    )
    for motion, severity in ((deep, "note"), (broken, "warning")):
        found = motion_findings(HERE, motion, person.known, cutoff_hz=6.0, supported=True)
        assert only(found, "joint-limits").severity == severity


def test_time_in_milliseconds_or_frames_is_asked_for(person: Person):
    for factor in (1000.0, 60.0):
        slow = Motion(factor * person.motion.time, person.motion.values, person.motion.names)
        found = motion_findings(HERE, slow, person.known, cutoff_hz=0.0, supported=True)
        assert "is time in milliseconds or frames?" in only(found, "time-step").remedy
