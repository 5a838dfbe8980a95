"""What is drawn lies where OpenSim has it, on the ground, facing forward, at even times."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import opensim
import pytest
from small_models import squat

from bige_opensim.labelling.label import Label
from bige_opensim.motion import Motion
from bige_opensim.osim.model import load
from bige_opensim.osim.muscle_paths import muscle_paths
from bige_opensim.viewer.page import as_html
from bige_opensim.viewer.sources import MotionSources
from bige_opensim.viewer.take import M_PER_BODY_WEIGHT, DrawnPerson, Recorded, display_times, take

FULL_BODY = Path(__file__).resolve().parents[2] / "osim_models" / "fullbody80.osim"


def opensims_points(model, values: dict[str, float]) -> list[np.ndarray]:
    """The points of every muscle's path that OpenSim has in use in a pose, in ground, without what wraps."""
    state = model.model.initSystem()
    model.set_pose(state, values)
    model.model.assemble(state)
    model.model.realizePosition(state)
    found = []
    for i in range(model.model.getMuscles().getSize()):
        path = opensim.GeometryPath.safeDownCast(model.model.getMuscles().get(i).getPath())
        points = [path.getPathPointSet().get(k) for k in range(path.getPathPointSet().getSize())]
        found.append(np.array([p.getLocationInGround(state).to_numpy() for p in points if p.isActive(state)]))
    return found


def one_pose(model, values: dict[str, float]) -> Recorded:
    names = model.independent_coordinates
    row = np.array([[values.get(n, 0.0) for n in names]])
    return Recorded(
        "pose", "", Motion(np.array([0.0, 0.1]), np.repeat(row, 2, 0), names), model.rotational, ground_m=0.0
    )


def test_muscle_points_are_where_opensim_has_them():
    model = load(FULL_BODY)
    values = {n: 0.0 for n in model.independent_coordinates}
    values |= {"hip_flexion_r": 1.1, "knee_angle_r": 1.4, "ankle_angle_r": 0.3, "hip_flexion_l": -0.2}
    found = take(one_pose(model, values), DrawnPerson.of(FULL_BODY), 30.0).muscle_points[0]
    expected = np.concatenate(opensims_points(model, values))
    assert len(expected) == 288
    np.testing.assert_allclose(found, expected - found_shift(model), atol=2e-5)


def found_shift(model) -> np.ndarray:
    """A motion stands at the origin: where the pelvis was."""
    state = model.model.initSystem()
    for name in model.independent_coordinates:
        model.set_pose(state, {name: 0.0})
    model.model.realizePosition(state)
    place = model.model.getBodySet().get("pelvis").getPositionInGround(state).to_numpy()
    return place * (1.0, 0.0, 1.0)


def point_model(path: Path) -> Path:
    """A hinge with a muscle through a point that moves with it, and one that is used beyond half a radian only."""
    model = opensim.Model()
    model.setName("hinge")
    lower = opensim.Body("lower", 1.0, opensim.Vec3(0, -0.2, 0), opensim.Inertia(0.1, 0.1, 0.1))
    model.addBody(lower)
    pin = opensim.PinJoint("pin", model.getGround(), lower)
    pin.updCoordinate().setName("swing")
    pin.updCoordinate().setRangeMin(-1.5)
    pin.updCoordinate().setRangeMax(1.5)
    model.addJoint(pin)
    muscle = opensim.Millard2012EquilibriumMuscle("pull", 100.0, 0.1, 0.2, 0.0)
    muscle.addNewPathPoint("origin", model.getGround(), opensim.Vec3(0.1, 0.0, 0.0))
    conditional = opensim.ConditionalPathPoint()
    conditional.setName("wrap")
    conditional.set_location(opensim.Vec3(0.08, -0.05, 0.0))
    conditional.updSocket("parent_frame").setConnecteePath("/bodyset/lower")
    conditional.updSocket("coordinate").setConnecteePath("/jointset/pin/swing")
    conditional.setRangeMin(0.5)
    conditional.setRangeMax(1.6)
    moving = opensim.MovingPathPoint()
    moving.setName("slides")
    moving.updSocket("parent_frame").setConnecteePath("/bodyset/lower")
    for axis, slope in zip("xyz", (0.02, 0.01, 0.0), strict=True):
        getattr(moving, f"set_{axis}_location")(opensim.LinearFunction(slope, -0.1))
        moving.updSocket(f"{axis}_coordinate").setConnecteePath("/jointset/pin/swing")
    path_of = opensim.GeometryPath.safeDownCast(muscle.updPath())
    path_of.updPathPointSet().cloneAndAppend(conditional)
    path_of.updPathPointSet().cloneAndAppend(moving)
    muscle.addNewPathPoint("insertion", lower, opensim.Vec3(0.0, -0.3, 0.0))
    model.addForce(muscle)
    model.finalizeConnections()
    model.printToXML(str(path))
    return path


@pytest.mark.parametrize("swing", [-0.7, 0.2, 0.9])
def test_points_that_move_or_are_used_at_times_are_where_opensim_has_them(tmp_path: Path, swing: float):
    path = point_model(tmp_path / "hinge.osim")
    model = load(path)
    found = take(one_pose(model, {"swing": swing}), DrawnPerson.of(path), 30.0).muscle_points[0]
    expected = opensims_points(model, {"swing": swing})[0]
    assert len(expected) == (4 if swing > 0.5 else 3)
    distinct = found[np.append(True, np.linalg.norm(np.diff(found, axis=0), axis=1) > 1e-6)]
    np.testing.assert_allclose(distinct, expected, atol=1e-4)
    assert muscle_paths(path).muscles == ("pull",)


def test_a_labelled_squat_stands_on_the_ground_with_its_forces_under_its_feet(label: Label):
    sources = MotionSources()
    source = sources.of_label(label)
    found = take(source.recorded, DrawnPerson.of(source.model), 30.0)
    sources.close()
    tails, tips = found.arrows[..., 0, :], found.arrows[..., 1, :]
    np.testing.assert_allclose(tails[found.pushing][:, 1], 0.0, atol=1e-6)
    lengths = (tips - tails)[..., 1].sum(1)
    assert np.median(lengths) == pytest.approx(1.0, abs=0.05)  # both feet together carry the body's weight
    assert (tails[:, 0, 2] > tails[:, 1, 2]).all()  # right is +Z
    assert found.support is not None
    assert found.support.balanced.mean() > 0.9
    assert found.verdict in ("passed", "gates failed")


def test_a_chair_stands_under_the_pelvis_and_pushes_on_it(label: Label):
    channels, pelvis = label.channels, np.array([0.3, 0.44, -0.2])
    ground = float(label.record["ground_height_m"])
    forces = channels.ground_forces
    force, point = (
        np.tile([0.0, 300.0, 0.0], (forces.frames, 1)),
        np.tile(pelvis + np.array([0.0, ground, 0.0]), (forces.frames, 1)),
    )
    names = [f"support_force_pelvis_{kind}{axis}" for kind in "vp" for axis in "xyz"]
    both = Motion(forces.time, np.hstack([forces.values, force, point]), (*forces.names, *names))
    chair = {"height_m": 0.44, "place_m": [0.3, -0.2], "declared": "auto", "pelvis_rests_m": 0.44}
    seated = replace(label, channels=replace(channels, ground_forces=both), record=label.record | {"chair": chair})
    sources = MotionSources()
    source = sources.of_label(seated)
    found = take(source.recorded, DrawnPerson.of(source.model), 30.0)
    sources.close()
    seat = found.furniture[:4, 0]
    np.testing.assert_allclose(seat[:, 1], 0.44, atol=1e-6)
    np.testing.assert_allclose(found.arrows[:, 2, 0], np.tile(seat.mean(0), (found.frames, 1)), atol=1e-6)
    assert found.pushing[:, 2].all()
    assert found.support.balanced.all()
    np.testing.assert_allclose(found.furniture[..., 1].min(), 0.0, atol=1e-6)
    page = as_html([found])
    assert '"carried": 3' in page
    assert '"edges": 8' in page


def test_joint_loads_press_on_the_origins_of_distal_bones_and_are_as_long_as_they_are_large(label: Label):
    sources = MotionSources()
    source = sources.of_label(label)
    person = DrawnPerson.of(source.model)
    found = take(source.recorded, person, 30.0)
    sources.close()
    loads = label.channels.joint_loads
    assert loads is not None
    assert loads.names[0] == "hip_r_fx"
    tails, tips = found.loads[:, 0, 0], found.loads[:, 0, 1]
    np.testing.assert_allclose(tips, found.position[:, person.skeleton.bodies.index("femur_r")], atol=1e-6)
    length = np.linalg.norm(tips - tails, axis=1)
    np.testing.assert_allclose(length, M_PER_BODY_WEIGHT * found.curves["hip_r_load"].values, rtol=0.05, atol=2e-3)
    assert np.median((tails - tips)[:, 1]) > 0.02  # the trunk presses the thigh down


def test_the_same_motion_anywhere_else_on_the_ground_is_drawn_the_same(small_model: Path):
    motion, person = squat(small_model), DrawnPerson.of(small_model)
    at = [motion.index(n) for n in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]
    moved = motion.values.copy()
    moved[:, at] += (3.0, 0.2, -2.0)
    here, there = (take(Recorded("q", "", m, frozenset()), person, 30.0) for m in (motion, motion.with_values(moved)))
    np.testing.assert_allclose(there.position, here.position, atol=1e-5)
    np.testing.assert_allclose(there.muscle_points, here.muscle_points, atol=1e-5)
    assert here.position[0, person.skeleton.bodies.index("pelvis"), [0, 2]] == pytest.approx([0.0, 0.0])


def test_display_times_are_even_and_end_within_the_motion():
    times = display_times(np.linspace(1.0, 2.0, 101), 30.0)
    assert len(times) == 31
    np.testing.assert_allclose(np.diff(times), 1 / 30, atol=1e-8)
    assert times[-1] <= 2.0
    assert len(display_times(np.array([0.0, 0.001]), 30.0)) == 2


def test_interpolation_between_samples_is_that_of_a_spline(small_model: Path):
    motion = squat(small_model)
    found = take(Recorded("q", "", motion, frozenset({"knee_angle_r"})), DrawnPerson.of(small_model), 47.0)
    time = display_times(motion.time, 47.0)
    np.testing.assert_allclose(
        found.curves["knee_angle_r"].values, np.rad2deg(motion.resampled(time)["knee_angle_r"]), atol=0.2
    )
