"""What floats in ground: which coordinates take residuals, and which models cannot be understood."""

import opensim
import pytest
from odd_models import AXES, PLANAR, changed, with_belt, with_root, with_stacked_root
from small_arm import ELBOW, SHOULDER, arm
from small_models import biped, every_joint

from bige_opensim.osim.model import ModelError, load, reserve_optimal_forces


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    return biped(tmp_path_factory.mktemp("biped") / "biped.osim")


def residuals(path):
    """Coordinates whose reserve is a residual."""
    return {n for n, force in reserve_optimal_forces(load(path)).items() if force == 1000.0}


def test_a_free_pelvis_is_the_root(person):
    assert load(person).root_coordinates == tuple(AXES)
    assert residuals(person) == set(AXES)


def test_a_pelvis_that_moves_in_a_plane_is_the_root(person, tmp_path):
    assert residuals(with_root(person, tmp_path / "planar.osim", PLANAR)) == set(PLANAR)


def test_a_stack_of_sliders_and_pins_is_one_root(person, tmp_path):
    path = with_stacked_root(person, tmp_path / "stack.osim")
    assert set(load(path).root_coordinates) == residuals(path) == set(AXES)


def test_a_shoulder_that_starts_from_ground_is_an_ordinary_joint(tmp_path):
    path = arm(tmp_path / "arm.osim")
    assert load(path).root_coordinates == ()
    assert reserve_optimal_forces(load(path)) == {SHOULDER: 1.0, ELBOW: 1.0}


@pytest.mark.parametrize("kind", ["Free", "Planar"])
def test_a_joint_that_muscles_cross_does_not_float_however_free(tmp_path, kind):
    path = every_joint(tmp_path / "model.osim", kind)
    assert residuals(path) == set(load(path).root_coordinates) != set()

    def muscle_from_ground(model: opensim.Model) -> None:
        muscle = opensim.Millard2012EquilibriumMuscle("m", 100.0, 0.1, 0.2, 0.0)
        muscle.addNewPathPoint("a", model.getGround(), opensim.Vec3(0.1, 0.3, 0))
        muscle.addNewPathPoint("b", model.getBodySet().get("first"), opensim.Vec3(0.1, 0, 0))
        model.addForce(muscle)

    assert residuals(changed(path, tmp_path / "held.osim", muscle_from_ground)) == set()


@pytest.mark.parametrize("kind", ["Pin", "Slider", "Universal", "Gimbal", "Ball"])
def test_joints_of_rotations_or_one_translation_do_not_float(tmp_path, kind):
    assert residuals(every_joint(tmp_path / "model.osim", kind)) == set()


def test_a_welded_pelvis_leaves_nothing_that_floats(person, tmp_path):
    assert residuals(with_root(person, tmp_path / "weld.osim", ())) == set()


def test_a_pelvis_with_every_coordinate_locked_is_part_of_the_ground(person, tmp_path):
    def lock(model: opensim.Model) -> None:
        for name in AXES:
            model.updCoordinateSet().get(name).setDefaultLocked(True)

    path = changed(person, tmp_path / "locked.osim", lock)
    assert load(path).root_coordinates == ()
    assert not set(AXES) & set(reserve_optimal_forces(load(path)))


def test_a_pelvis_with_some_coordinates_locked_keeps_residuals_on_the_others(person, tmp_path):
    def lock(model: opensim.Model) -> None:
        for name in ("pelvis_list", "pelvis_rotation", "pelvis_tz"):
            model.updCoordinateSet().get(name).setDefaultLocked(True)

    assert residuals(changed(person, tmp_path / "locked.osim", lock)) == set(PLANAR)


@pytest.mark.parametrize("kind", ["Weld", "Slider"])
def test_a_belt_before_the_pelvis_in_the_list_is_not_the_root(person, tmp_path, kind):
    path = with_belt(person, tmp_path / "belt.osim", kind)
    assert residuals(path) == set(AXES)


def test_two_floating_bodies_are_refused_by_name(person, tmp_path):
    path = with_belt(person, tmp_path / "two.osim", "Free")
    with pytest.raises(ModelError, match=r"two\.osim: 2 bodies float free of each other: belt .*pelvis .*Weld, lock"):
        _ = load(path).root_coordinates


def test_a_pelvis_that_floats_on_a_moving_belt_is_refused_by_name(person, tmp_path):
    path = with_belt(person, tmp_path / "on.osim", "Slider", carries=True)
    with pytest.raises(ModelError, match=r"on\.osim: pelvis .*floats on a body that moves itself.*Lock"):
        _ = load(path).root_coordinates
    locked = changed(path, tmp_path / "lock.osim", lambda m: m.updCoordinateSet().get("belt_0").setDefaultLocked(True))
    assert residuals(locked) == set(AXES)


def test_a_joint_with_ground_as_its_child_is_refused_by_name(person, tmp_path):
    def turn(model: opensim.Model) -> None:
        joints = model.updJointSet()
        joints.remove(joints.getIndex("ground_pelvis"))
        model.addJoint(opensim.WeldJoint("upside_down", model.getBodySet().get("pelvis"), model.getGround()))

    path = changed(person, tmp_path / "turned.osim", turn)
    with pytest.raises(ModelError, match=r"turned\.osim: joint upside_down has ground as its child; turn it round"):
        _ = load(path).root_coordinates
