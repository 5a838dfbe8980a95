"""Feet are found on plates by the centre of pressure, whatever the plates are called, and wrenches stay as measured."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from recordings import forces_path, recorded

from bige_opensim.io.external_loads import ExternalForce, ExternalLoadsError, write_external_loads
from bige_opensim.io.force_plates import ForceFile, ForcePlateError, Plate, point_on_plane, read_force_plates
from bige_opensim.io.storage import read_coordinates, read_storage, write_storage
from bige_opensim.labelling.measured_forces import applied_forces, plate_forces
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.model import load
from bige_opensim.physics.contact import centre_of_pressure
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.sessions.plates_to_feet import LEFT, RIGHT, Feet, assign, at_centre_of_pressure, feet_forces, outside

TIME = np.arange(101) / 100.0
RATE = np.arange(1001) / 1000.0
SOLE = np.array([[0.0, 0.0, -0.04], [0.25, 0.0, -0.04], [0.25, 0.0, 0.04], [0.0, 0.0, 0.04]])
PLACE = {RIGHT: np.array([0.0, 0.0, 0.15]), LEFT: np.array([0.0, 0.0, -0.15])}
STEPS = [("subject5", "DJ1", {"R": "r", "L": "l"}), ("subject5", "DJ2", {"R": "r", "L": "l"})]
STEPS += [("subject6", "walking1", {"R": "r", "L": "l"})]


def feet(right: np.ndarray | float = 0.0, left: np.ndarray | float = 0.0) -> Feet:
    """Two soles 0.3 m apart, lifted by the given heights over time."""
    points = np.concatenate([np.tile(SOLE + PLACE[f], (len(TIME), 1, 1)) for f in (RIGHT, LEFT)], axis=1)
    points[:, :4, 1] += np.broadcast_to(right, TIME.shape)[:, None]
    points[:, 4:, 1] += np.broadcast_to(left, TIME.shape)[:, None]
    return Feet(TIME, points, np.repeat([RIGHT, LEFT], 4))


def plate(name: str, vertical: np.ndarray | float, x: np.ndarray | float, z: np.ndarray | float) -> Plate:
    force, point, torque = (np.zeros((len(RATE), 3)) for _ in range(3))
    force[:, 0], force[:, 1], force[:, 2] = 15.0, vertical, -8.0
    force[np.asarray(force[:, 1] == 0.0)] = 0.0
    point[:, 0], point[:, 2] = x, z
    torque[:, 1] = 2.0
    return Plate(name, force, point, torque)


def file(*plates: Plate) -> ForceFile:
    return ForceFile(Path("trial_forces.mot"), RATE, plates, ())


def between(start: float, end: float, vertical: float = 500.0) -> np.ndarray:
    return np.where((start <= RATE) & (end > RATE), vertical, 0.0)


def test_distance_from_a_square_is_that_of_geometry():
    square = np.tile([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], (4, 1, 1))
    distance, direction = outside(np.array([[0.5, 0.5], [1.3, 0.5], [1.3, 1.4], [0.2, -2.0]]), square)
    assert_allclose(distance, [0.0, 0.3, 0.5, 2.0], rtol=2e-3)
    assert_allclose(direction[1:], [[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]], atol=0.06)


def test_each_foot_is_found_on_its_plate_whatever_the_plates_are_called():
    found = assign(file(plate("L", 400.0, 0.1, 0.15), plate("R", 300.0, 0.1, -0.15)), feet())
    assert_array_equal(found.owner, [[RIGHT] * 1001, [LEFT] * 1001])
    assert [(s.plate, s.foot) for s in found.steps] == [("L", "r"), ("R", "l")]
    assert "plate 'L' is named for the other side" in found.notes[0]
    assert "the left foot stands on it" in found.notes[1]


def test_a_plate_that_both_feet_step_on_in_turn_is_split_in_time():
    lifted = np.where((TIME < 0.05) | (TIME > 0.45), 0.1, 0.0), np.where(TIME < 0.55, 0.1, 0.0)
    turns = plate("1", between(0.1, 0.4) + between(0.6, 0.9), 0.1, np.where(RATE < 0.5, 0.15, -0.15))
    found = assign(file(turns), feet(*lifted))
    assert [(s.foot, s.start_s, s.end_s) for s in found.steps] == [("r", 0.1, 0.39), ("l", 0.6, 0.89)]
    assert_array_equal(found.owner[0][(RATE >= 0.1) & (RATE < 0.4)], RIGHT)
    assert_array_equal(found.owner[0][(RATE >= 0.6) & (RATE < 0.9)], LEFT)
    assert_array_equal(found.owner[0][(RATE >= 0.41) & (RATE < 0.59)], -1)


def test_a_plate_handed_over_without_a_pause_is_split_where_the_pressure_changes_foot():
    hop = plate("1", 500.0, 0.1, np.where(RATE < 0.5, 0.15, -0.15))
    found = assign(file(hop), feet(np.where(TIME > 0.5, 0.1, 0.0), np.where(TIME < 0.5, 0.1, 0.0)))
    assert [s.foot for s in found.steps] == ["r", "l"]
    changed = RATE[np.flatnonzero(np.diff(found.owner[0]))]
    assert_allclose(changed, [0.495], atol=0.006)


def test_both_feet_on_one_plate_at_once_are_refused_with_the_time():
    together = plate("2", between(0.2, 0.8), 0.1, 0.02)
    with pytest.raises(ForcePlateError, match=r"both feet stand on plate '2' at once \(0\.20 to 0\.79 s\)"):
        assign(file(together), feet())


def test_the_centre_of_pressure_between_two_loaded_plates_is_not_taken_for_both_feet_on_one():
    """Plates and markers that disagree by a few centimetres put the pressure beside the foot."""
    found = assign(file(plate("1", 400.0, 0.1, 0.06), plate("2", 400.0, 0.1, -0.06)), feet())
    assert_array_equal(found.owner, [[RIGHT] * 1001, [LEFT] * 1001])


def test_a_force_far_from_both_feet_is_refused_with_the_distance():
    with pytest.raises(ForcePlateError, match=r"acts 0\.75 m away from either foot \(0\.00 to 1\.00 s\)"):
        assign(file(plate("1", 500.0, 1.0, 0.15)), feet())


def test_a_foot_in_the_air_above_the_pressure_is_not_the_one_that_stands():
    """Feet one above the other: the lower one carries."""
    crossed = feet(0.0, np.where(TIME < 0.1, 0.0, 0.2))
    crossed.points[:, 4:, 2] += 0.3
    found = assign(file(plate("1", 500.0, 0.1, 0.15)), crossed)
    assert_array_equal(found.owner[0][RATE > 0.15], RIGHT)


def test_an_idle_plate_is_noted():
    found = assign(file(plate("1", 500.0, 0.1, 0.15), plate("3", 0.0, 0.0, 0.0)), feet())
    assert found.notes == ("trial_forces.mot: nobody stands on plate '3' during the motion.",)


def test_unfiltered_forces_on_the_feet_are_the_wrench_that_was_measured():
    rng = np.random.default_rng(0)
    one = plate("1", 400.0 + 30.0 * rng.normal(size=1001), 0.1 + 0.01 * rng.normal(size=1001), 0.15)
    two = plate("2", between(0.3, 0.7), 0.12, -0.15)
    found = assign(file(one, two), feet())
    ground, height = feet_forces(file(one, two), found.owner, TIME, 0.0)
    at = np.arange(101) * 10
    assert height == 0.0
    for f, source in ((RIGHT, one), (LEFT, two)):
        force = ground.force[:, f].numpy()
        moment = ground.torque[:, f].numpy() + np.cross(ground.point[:, f].numpy(), force)
        assert_allclose(force, source.force[at], atol=1e-9)
        assert_allclose(moment, source.moment[at] * (source.force[at, 1] > 0)[:, None], atol=1e-9)


def test_the_centre_of_pressure_of_filtered_forces_stays_under_the_foot_while_it_lifts_and_lands():
    """Filtering smears a step of 500 N and rings; the quotient of moment and force must not run away."""
    x = 0.05 + 0.15 * (RATE - 0.3) / 0.4
    step = plate("1", between(0.3, 0.7), x, 0.15)
    ground, _ = feet_forces(file(step), assign(file(step), feet()).owner, TIME, 6.0)
    point = ground.point[:, RIGHT].numpy()
    assert point[:, 0].min() > 0.0
    assert point[:, 0].max() < 0.25
    assert_allclose(point[:, 2], 0.15, atol=1e-9)
    loaded = ground.force[:, RIGHT, 1].numpy() > 100.0
    assert np.abs(ground.torque[loaded, RIGHT].numpy()[:, [0, 2]]).max() < 1e-9


def test_wrenches_of_no_force_keep_the_point_between_their_neighbours():
    force, moment = np.zeros((5, 2, 3)), np.zeros((5, 2, 3))
    force[[0, 4], 0, 1] = 100.0
    moment[[0, 4], 0, 2] = [10.0, 50.0]
    moment[2, 0, 2] = 1.0
    ground = at_centre_of_pressure(force, moment, 0.0, np.arange(5.0))
    assert_allclose(ground.point[:, 0, 0], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert_allclose(ground.torque[2, 0], [0.0, 0.0, 1.0])
    assert_allclose(ground.point[:, 1], 0.0)


@pytest.mark.parametrize(("who", "trial", "expected"), STEPS)
def test_real_plates_are_given_to_the_feet_that_stand_on_them(shared_data, who, trial, expected):
    _, skeleton, p = recorded(shared_data, who, trial)
    found = assign(read_force_plates(forces_path(shared_data, who, trial)), Feet.of(skeleton, p.q))
    assert {step.plate: step.foot for step in found.steps} == expected
    assert max(step.distance_m for step in found.steps) < 0.01
    assert not any("other side" in note for note in found.notes)


def test_noise_and_meaningless_points_of_unloaded_plates_do_not_decide(shared_data):
    """Unprocessed plates: noise of 3 N and 1 N·m about the plate's middle, from which points and feet are formed."""
    _, skeleton, p = recorded(shared_data, "subject5", "DJ2")
    clean = read_force_plates(forces_path(shared_data, "subject5", "DJ2"))
    rng, middle = np.random.default_rng(0), np.array([-0.2, 0.0, -0.6])
    noisy = []
    for plate in clean.plates:
        force = plate.force + rng.normal(0.0, 3.0, plate.force.shape)
        torque = plate.moment - np.cross(middle, plate.force) + rng.normal(0.0, 1.0, plate.force.shape)
        noisy.append(Plate(plate.name, force, np.tile(middle, (len(force), 1)), torque))
    recorded_noise = ForceFile(clean.path, clean.time, tuple(noisy), ())
    where = Feet.of(skeleton, p.q)
    found = assign(recorded_noise, where)
    assert {step.plate: step.foot for step in found.steps} == {"R": "r", "L": "l"}
    expected, _ = feet_forces(clean, assign(clean, where).owner, p.q.time, 6.0)
    got, _ = feet_forces(recorded_noise, found.owner, p.q.time, 6.0)
    assert_allclose(got.force, expected.force, atol=5.0)
    loaded = expected.force[..., 1].numpy() > 100.0
    assert_allclose(got.point.numpy()[loaded][:, [0, 2]], expected.point.numpy()[loaded][:, [0, 2]], atol=0.01)


def variant(shared_data: Path, folder: Path, rename: dict[str, str], sign: float = 1.0) -> Path:
    """DJ2 of subject 5 with other names and signs."""
    table = read_storage(forces_path(shared_data, "subject5", "DJ2"))
    names = [rename.get(name[0], name[0]) + name[1:] for name in table.names]
    turned = np.array([sign if name[0] == "L" and "_p" not in name else 1.0 for name in table.names])
    write_storage(folder / "DJ2_forces.mot", table.time, table.values * turned, names, in_degrees=False)
    return folder / "DJ2_forces.mot"


@pytest.mark.parametrize(
    ("rename", "sign", "noted"),
    [
        ({"R": "L", "L": "R"}, 1.0, "named for the other side"),
        ({"R": "2", "L": "1"}, 1.0, "nobody stands on plate '3'"),
        ({}, -1.0, "plate 'L' reports the force on the plate"),
    ],
    ids=["swapped", "numbered", "negated"],
)
def test_swapped_numbered_and_negated_plates_give_the_same_forces_on_the_feet(
    shared_data, tmp_path, rename, sign, noted
):
    _, skeleton, p = recorded(shared_data, "subject5", "DJ2")
    where = Feet.of(skeleton, p.q)
    right = plate_forces(forces_path(shared_data, "subject5", "DJ2"), where, p.q.time, 6.0)
    other = plate_forces(variant(shared_data, tmp_path, rename, sign), where, p.q.time, 6.0)
    for expected, got in zip(right.forces[:3], other.forces[:3], strict=True):
        assert_allclose(got, expected, atol=1e-9)
    assert any(noted in note for note in other.notes)


def loads_of(shared_data: Path, folder: Path, bodies: dict[str, str]) -> Path:
    variant(shared_data, folder, {})
    plates = [
        ExternalForce(f"plate_{s}", body, f"{s}_ground_force_v", f"{s}_ground_force_p", f"{s}_ground_torque_")
        for s, body in bodies.items()
    ]
    write_external_loads(folder / "loads.xml", "DJ2_forces.mot", plates)
    return folder / "loads.xml"


def test_external_loads_on_the_right_feet_give_the_forces_of_the_plates(shared_data, tmp_path):
    _, skeleton, p = recorded(shared_data, "subject5", "DJ2")
    where = Feet.of(skeleton, p.q)
    loads = loads_of(shared_data, tmp_path, {"R": "calcn_r", "L": "calcn_l"})
    by_document = applied_forces(loads, where, p.q.time, 6.0)
    by_pressure = plate_forces(forces_path(shared_data, "subject5", "DJ2"), where, p.q.time, 6.0)
    assert_allclose(by_document.forces.force, by_pressure.forces.force, atol=1.0)
    assert by_document.notes == ()


@pytest.mark.parametrize("bodies", [{"R": "calcn_r", "L": "calcn_r"}, {"R": "calcn_l", "L": "calcn_r"}])
def test_external_loads_on_the_wrong_foot_are_refused_with_the_command_that_repairs_them(shared_data, tmp_path, bodies):
    _, skeleton, p = recorded(shared_data, "subject5", "DJ2")
    loads = loads_of(shared_data, tmp_path, bodies)
    with pytest.raises(ExternalLoadsError, match=r"acts on calcn_\w, but in 100 % .* `bige doctor loads\.xml .*--fix"):
        applied_forces(loads, Feet.of(skeleton, p.q), p.q.time, 6.0)


def test_only_frames_that_the_forces_cover_are_labelled(shared_data, tmp_path):
    _, skeleton, p = recorded(shared_data, "subject5", "DJ2")
    table = read_storage(forces_path(shared_data, "subject5", "DJ2"))
    early = table.time < 1.8
    write_storage(tmp_path / "short.mot", table.time[early], table.values[early], table.names, in_degrees=False)
    found = plate_forces(tmp_path / "short.mot", Feet.of(skeleton, p.q), p.q.time, 6.0)
    assert found.time[-1] == pytest.approx(1.80, abs=0.011)
    assert len(found.forces.force) == len(found.time)
    assert any("only the frames that both cover" in note for note in found.notes)
    write_storage(tmp_path / "late.mot", table.time + 9.0, table.values, table.names, in_degrees=False)
    with pytest.raises(ForcePlateError, match="hardly overlap"):
        plate_forces(tmp_path / "late.mot", Feet.of(skeleton, p.q), p.q.time, 6.0)


def test_measured_and_estimated_forces_have_one_centre_of_pressure():
    """Plates are read without torch, estimates are differentiated through: two formulas, one point."""
    random = np.random.default_rng(3)
    force = random.normal(size=(20, 1, 3)) + np.array([0.0, 300.0, 0.0])
    moment, height, about = random.normal(size=(20, 1, 3)) * 50.0, 0.07, np.array([0.2, 0.07, -0.1])
    crossing = point_on_plane(force, moment, height)
    held = at_centre_of_pressure(force, moment, height, np.arange(20.0))
    around = moment - np.cross(np.broadcast_to(about, force.shape), force)
    tensors = (torch.as_tensor(x) for x in (force, np.broadcast_to(about, force.shape).copy(), around))
    estimated = centre_of_pressure(*tensors)
    assert_allclose(held.point.numpy(), crossing, atol=1e-12)
    assert_allclose(estimated.point.numpy(), crossing, atol=1e-12)
    assert_allclose(estimated.torque[..., [0, 2]].numpy(), 0.0, atol=1e-9)


WALK = np.arange(1201) / 100.0
WALK_FORCES = np.arange(2401) / 200.0


def walking_on_belts(steps: int = 10) -> tuple[Feet, Plate, Plate]:
    """Feet that step in turn on a belt each: 0.7 s on, 0.5 s off, the left foot half a stride later."""
    lifted, loads = [], []
    for late in (0.0, 0.6):
        lifted.append(np.where((WALK - late) % 1.2 < 0.7, 0.0, 0.1))
        loads.append(
            np.where((WALK_FORCES - late) % 1.2 < 0.7, 550.0 * np.sin(np.pi * ((WALK_FORCES - late) % 1.2) / 0.7), 0.0)
        )
    points = np.concatenate([np.tile(SOLE + PLACE[f], (len(WALK), 1, 1)) for f in (RIGHT, LEFT)], axis=1)
    points[:, :4, 1] += lifted[0][:, None]
    points[:, 4:, 1] += lifted[1][:, None]
    plates = []
    for name, f, vertical in (("right", RIGHT, loads[0]), ("left", LEFT, loads[1])):
        force, point = np.zeros((len(WALK_FORCES), 3)), np.zeros((len(WALK_FORCES), 3))
        force[:, 1] = np.maximum(vertical, 0.0)
        point[:] = PLACE[f] + np.array([0.1, 0.0, 0.0])
        plates.append(Plate(name, force, point, np.zeros_like(force)))
    return Feet(WALK, points, np.repeat([RIGHT, LEFT], 4)), plates[0], plates[1]


def on_belts(*plates: Plate) -> ForceFile:
    return ForceFile(Path("walk_forces.mot"), WALK_FORCES, plates, ())


def swing(start: float = 3.1) -> np.ndarray:
    """A swing of the right foot."""
    return (start + 0.3 < WALK_FORCES) & (start + 0.45 - 0.01 > WALK_FORCES)


def heard(plate: Plate, where: np.ndarray, load_n: float, at: int) -> Plate:
    """The plate with some more load where a foot stands."""
    force, point = plate.force.copy(), plate.point.copy()
    force[where, 1] += load_n
    point[where] = PLACE[at] + np.array([0.1, 0.0, 0.0])
    return Plate(plate.name, force, point, plate.torque)


def test_a_belt_is_its_foots_by_all_of_its_steps_and_drift_between_them_is_nobodys():
    where, right, left = walking_on_belts()
    drifting = heard(right, swing(), 85.0, LEFT)
    alone = assign(on_belts(right, left), where)
    found = assign(on_belts(drifting, left), where)
    assert {(s.plate, s.foot) for s in found.steps} == {("right", "r"), ("left", "l")}
    assert_array_equal(found.owner, alone.owner)
    assert (
        "'right' is the right foot's by 10 steps; 85 N or less in 1 stretch between them: taken for drift"
        in found.notes[0]
    )


def test_a_foot_astride_both_belts_has_the_force_of_both_and_takes_no_step_on_the_other():
    where, right, left = walking_on_belts()
    lighter = left.force.copy()
    lighter[swing(), 1] -= 85.0
    shared = heard(right, swing(), 85.0, LEFT), Plate("left", lighter, left.point, left.torque)
    found = assign(on_belts(*shared), where)
    assert {(s.plate, s.foot) for s in found.steps} == {("right", "r"), ("left", "l")}
    assert "the left foot stands astride both belts there" in found.notes[0]
    inner = swing() & (np.roll(swing(), 2) & np.roll(swing(), -2))
    assert_array_equal(found.owner[0][inner], LEFT)
    forces, _ = feet_forces(on_belts(*shared), found.owner, WALK, 0.0)
    alone, _ = feet_forces(on_belts(right, left), assign(on_belts(right, left), where).owner, WALK, 0.0)
    middle = np.flatnonzero(np.interp(WALK, WALK_FORCES, inner.astype(float)) > 0.99)
    assert len(middle) > 5
    assert_allclose(forces.force[middle, LEFT, 1], alone.force[middle, LEFT, 1], atol=1.0)


def test_a_step_across_onto_the_other_belt_is_believed():
    where, right, left = walking_on_belts()
    stepped = heard(right, swing(), 400.0, LEFT)
    found = assign(on_belts(stepped, left), where)
    assert ("right", "l") in {(s.plate, s.foot) for s in found.steps}


def test_a_plate_with_few_steps_is_no_belt():
    lifted = np.where((TIME < 0.05) | (TIME > 0.45), 0.1, 0.0), np.where(TIME < 0.55, 0.1, 0.0)
    weak = plate("1", between(0.1, 0.4) + between(0.6, 0.9, 60.0), 0.1, np.where(RATE < 0.5, 0.15, -0.15))
    assert [s.foot for s in assign(file(weak), feet(*lifted)).steps] == ["r", "l"]


def test_what_lies_outside_the_asked_window_is_not_judged():
    both = plate("1", np.where(RATE < 0.5, 400.0, 800.0), 0.1, np.where(RATE < 0.5, 0.15, 0.0))
    with pytest.raises(ForcePlateError, match="both feet stand on plate '1' at once"):
        assign(file(both), feet(left=np.where(TIME < 0.5, 0.1, 0.0)))
    found = assign(file(both), feet(left=np.where(TIME < 0.5, 0.1, 0.0)), (0.0, 0.4))
    assert [(s.foot, s.end_s) for s in found.steps] == [("r", 0.4)]
    assert_array_equal(found.owner[0][RATE < 0.45], RIGHT)
    assert_array_equal(found.owner[0][RATE > 0.55], -1)
    with pytest.raises(ForcePlateError, match="both feet stand on plate '1' at once"):
        assign(file(both), feet(left=np.where(TIME < 0.5, 0.1, 0.0)), (0.6, 0.9))


def test_a_plate_whose_zero_is_off_carries_nobody_between_steps():
    where, right, left = walking_on_belts()
    offset = Plate("right", right.force + np.array([0.0, 45.0, 0.0]), right.point, right.torque)
    assert offset.loaded.all()
    corrected = offset.with_baseline(WALK_FORCES)
    assert_array_equal(corrected.loaded[swing()], False)
    assert_allclose(corrected.unloaded, 45.0, atol=1e-9)
    found = assign(on_belts(corrected, left), where)
    assert {(s.plate, s.foot) for s in found.steps} == {("right", "r"), ("left", "l")}


def test_somebody_who_stands_is_no_baseline():
    standing = Plate("1", np.tile([0.0, 300.0, 0.0], (2401, 1)), np.zeros((2401, 3)), np.zeros((2401, 3)))
    assert standing.with_baseline(WALK_FORCES).loaded.all()


def test_on_a_recorded_treadmill_no_foot_steps_on_the_others_belt(shared_data):
    folder = shared_data / "data/ceinms_gait"
    model = load(folder / "gait2392.osim")
    known = [c.name for c in model.coordinates]
    motion = read_coordinates(folder / "walk36/ik.sto", rotational=model.rotational, known=known).motion
    where = Feet.of(Skeleton(compile_skeleton(model.path)), complete(model, motion))
    found = assign(read_force_plates(folder / "walk36/XLD.mot"), where)
    steps = [(s.plate, s.foot) for s in found.steps]
    assert set(steps) == {("ground_force", "r"), ("l", "l")}
    assert steps.count(("ground_force", "r")) == 54
