import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from recordings import MODELS, forces_path, recorded, tables_of
from small_models import biped, squat

from bige_opensim.io.storage import read_storage
from bige_opensim.labelling.kinematics import Prepared, prepare
from bige_opensim.labelling.muscle_capacity import exact_actuators, root_of
from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.physics.contact import (
    ContactSettings,
    GroundForces,
    centre_of_pressure,
    contact_columns,
    feet_of,
    ground_height,
    readiness,
    sum_feet,
)
from bige_opensim.physics.joint_problem import net_generalized_forces, solve_with_ground
from bige_opensim.physics.least_effort import LeastEffort
from bige_opensim.physics.skeleton import Skeleton

TURNED = ("pelvis_list", "pelvis_rotation", "pelvis_tz", "lumbar_bending", "lumbar_rotation")


def mirror_image(name: str) -> str:
    return f"{name[:-2]}_{'l' if name.endswith('_r') else 'r'}" if name[-2:] in ("_r", "_l") else name


def mirrored(motion: Motion) -> Motion:
    """The same motion seen in a mirror in the sagittal plane."""
    columns = [(-1.0 if n in TURNED else 1.0) * motion[mirror_image(n)] for n in motion.names]
    return Motion(motion.time, np.column_stack(columns), motion.names)


def with_ground(
    model: OsimModel, skeleton: Skeleton, p: Prepared, ground: float | None = None
) -> tuple[LeastEffort, GroundForces, float]:
    state = p.state(skeleton)
    height = ground_height(skeleton.contact_points(state.poses)) if ground is None else ground
    actuators = exact_actuators(model, skeleton, p, state)
    qd = p.tensor(skeleton, p.qd)
    return *solve_with_ground(skeleton, state, qd, actuators, height, ContactSettings()), height


def test_the_centre_of_pressure_carries_the_same_wrench():
    rng = torch.Generator().manual_seed(0)
    force, about, moment = (torch.randn(50, 2, 3, dtype=torch.float64, generator=rng) for _ in range(3))
    force[..., 1] = force[..., 1].abs() * 400 + 2
    about[..., 1] = 0.03
    g = centre_of_pressure(force, about, moment * 30)
    before = moment * 30 + torch.linalg.cross(about, force)
    after = g.torque + torch.linalg.cross(g.point, g.force)
    assert_allclose(after, before, atol=1e-9)
    assert_allclose(g.force, force)
    assert_allclose(g.point[..., 1], 0.03)
    assert_allclose(g.torque[..., [0, 2]], 0.0, atol=1e-9)


def test_an_unloaded_foot_keeps_its_reference_point_and_its_wrench():
    force = torch.tensor([[[0.2, 0.9, 0.1], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    about, moment = torch.ones(1, 2, 3, dtype=torch.float64), torch.full((1, 2, 3), 0.5, dtype=torch.float64)
    g = centre_of_pressure(force, about, moment)
    assert_allclose(g.point, about)
    assert_allclose(g.torque, moment)


def test_ground_is_where_the_lowest_points_are_most_of_the_time():
    height = torch.full((200, 4), 0.5, dtype=torch.float64)
    height[:, 2] = 0.02  # a point that stays on the ground
    height[:6, 0] = -0.05  # a dip of inverse kinematics, 3 % of the frames
    height[120:] += 0.3  # a jump
    points = torch.stack([torch.zeros_like(height), height, torch.zeros_like(height)], -1)
    assert ground_height(points) == pytest.approx(0.02)


def test_a_point_is_ready_on_the_ground_at_rest_and_not_in_the_air_or_in_flight():
    s = ContactSettings()
    heights = torch.tensor([0.0, 0.0, 0.3, s.height_m, 0.0], dtype=torch.float64)
    speeds = torch.tensor([0.0, 5.0, 0.0, 0.0, s.speed_ms], dtype=torch.float64)
    points, velocity = torch.zeros(2, 1, 5, 3, dtype=torch.float64)
    points[..., 1], velocity[..., 0] = heights + 0.7, speeds
    ready = readiness(points, velocity, 0.7, s)[0]
    assert ready[0] > 0.98
    assert ready[1] < 1e-10
    assert ready[2] < 1e-10
    assert_allclose(ready[3:], 0.5 * ready[0] / ready[0], atol=0.005)
    rising = torch.zeros(1, 40, 3, dtype=torch.float64)
    rising[..., 1] = torch.linspace(-0.02, 0.2, 40)
    assert (readiness(rising, torch.zeros_like(rising), 0.0, s).diff() < 0).all()


def test_rays_push_up_within_the_cone_and_a_full_coefficient_is_body_weight(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    p, s = prepare(model, skeleton, squat(path, frames=6, rate_hz=6), 0.0), ContactSettings()
    contact = contact_columns(skeleton, p.state(skeleton), p.tensor(skeleton, p.qd), 0.0, s)
    assert contact.columns.shape == (6, 12, 12 * s.rays)
    up = contact.force[..., 1]
    assert (up > 0).all()
    assert_allclose(up.max(), model.mass_kg * 9.80665, rtol=0.02)
    assert_allclose(contact.force[..., [0, 2]].norm(dim=-1), s.friction * up, rtol=1e-12)
    total = contact.force.flatten(1, 2).transpose(1, 2)
    for axis, name in enumerate(("pelvis_tx", "pelvis_ty", "pelvis_tz")):
        assert_allclose(contact.columns[:, skeleton.index(name)], total[:, axis], atol=1e-9)


def test_summed_feet_do_to_the_skeleton_what_their_points_do(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    p = prepare(model, skeleton, squat(path, frames=6, rate_hz=6), 0.0)
    state = p.state(skeleton)
    contact = contact_columns(skeleton, state, p.tensor(skeleton, p.qd), 0.0, ContactSettings())
    x = torch.rand(contact.columns.shape[0], contact.columns.shape[-1], dtype=torch.float64) * 0.02
    ground = sum_feet(skeleton, contact, x, 0.0)
    pushed = torch.einsum("tcu,tu->tc", contact.columns, x)
    taken = net_generalized_forces(skeleton, state, None) - net_generalized_forces(skeleton, state, ground)
    assert_allclose(taken, pushed, atol=1e-9)
    assert_allclose(ground.force.sum(1), torch.einsum("tpkx,tpk->tx", contact.force, x.unflatten(-1, (12, 4))))


def test_feet_are_right_first_and_carried_by_the_calcanei(tmp_path):
    skeleton = Skeleton(tables_of(biped(tmp_path / "biped.osim")))
    foot, carriers = feet_of(skeleton)
    assert foot == [0] * 6 + [1] * 6
    assert [skeleton.bodies[c] for c in carriers] == ["calcn_r"] * 6 + ["calcn_l"] * 6


def test_a_symmetric_squat_loads_both_feet_with_half_the_weight_and_inertia(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    p = prepare(model, skeleton, squat(path), 0.0)
    solution, ground, _ = with_ground(model, skeleton, p)
    assert solution.solved.all()
    needed = net_generalized_forces(skeleton, p.state(skeleton), None)[:, skeleton.index("pelvis_ty")]
    assert needed.max() > 1.1 * model.mass_kg * 9.80665
    assert_allclose(ground.force[..., 1].sum(1), needed, rtol=0.01)
    assert_allclose(ground.force[:, 0, 1], ground.force[:, 1, 1], rtol=1e-3)
    assert_allclose(ground.force[:, 0, 2], -ground.force[:, 1, 2], atol=0.5)
    heel = p.state(skeleton).poses.position[0, skeleton.bodies.index("calcn_r"), 0]
    assert (ground.point[:, 0, 0] > heel - 0.01).all()
    assert (ground.point[:, 0, 0] < heel + 0.25).all()


def test_ground_forces_of_standing_add_up_to_body_weight(shared_data):
    model, skeleton, p = recorded(shared_data, "subject6", "squats1", start=0.0, end=0.5)
    _, whole_skeleton, whole = recorded(shared_data, "subject6", "squats1")
    height = ground_height(whole_skeleton.contact_points(whole_skeleton(whole.tensor(skeleton, whole.q))))
    solution, ground, _ = with_ground(model, skeleton, p, height)
    assert solution.solved.all()
    weight = model.mass_kg * 9.80665
    share = ground.force.sum(1).mean(0) / weight
    assert share[1] == pytest.approx(1.0, abs=0.05)
    assert share[[0, 2]].abs().max() < 0.05
    assert (ground.force[..., 1] > 0.2 * weight).all()


def plates(path, time: np.ndarray, cutoff_hz: float) -> np.ndarray:
    """Measured forces (T, 2, 3), right plate first, filtered like the motion."""
    table = read_storage(path)
    names = [f"{s}_ground_force_v{a}" for s in "RL" for a in "xyz"]
    forces = Motion(table.time, table.values, table.names).select(names).lowpass(cutoff_hz)
    return forces.resampled(np.clip(time, forces.time[0], forces.time[-1] - 1e-9)).values.reshape(-1, 2, 3)


def landing_error(shared, trial: str) -> tuple[np.ndarray, int]:
    """Mean absolute error per foot and axis, % of body weight, over frames with both plates loaded."""
    model, skeleton, whole = recorded(shared, "subject5", trial)
    height = ground_height(skeleton.contact_points(skeleton(whole.tensor(skeleton, whole.q))))
    measured = plates(forces_path(shared, "subject5", trial), whole.q.time, 6.0)
    weight = model.mass_kg * 9.80665
    both = np.flatnonzero((measured[..., 1] > 0.05 * weight).all(1))
    p = whole.between(whole.q.time[both[0]], whole.q.time[both[-1]])
    _, ground, _ = with_ground(model, skeleton, p, height)
    inside = both - both[0]
    error = np.abs(ground.force.numpy()[inside] - measured[both])
    return 100 * error.mean(0) / weight, len(both)


@pytest.mark.parametrize(("trial", "vertical"), [("DJ1", 25), ("DJ2", 20)])
def test_ground_forces_of_landings_are_near_the_plates(shared_data, trial, vertical):
    error, frames = landing_error(shared_data, trial)
    assert frames > 30
    assert error[:, 1].max() <= vertical
    assert error[:, [0, 2]].max() <= 12


def test_a_mirrored_motion_has_mirrored_forces_and_activations(shared_data):
    path = shared_data / MODELS["LaiUhlrich2022"]
    model, skeleton = load(path), Skeleton(tables_of(path))
    _, _, subject = recorded(shared_data, "phone01", "squats-with-arm-raise", start=3.0, end=4.0)
    here = prepare(model, skeleton, subject.q.select(skeleton.coordinates), 0.0)
    there = prepare(model, skeleton, mirrored(here.q.select(skeleton.coordinates)), 0.0)
    height = ground_height(skeleton.contact_points(skeleton(here.tensor(skeleton, here.q))))
    (a, ga, _), (b, gb, _) = (with_ground(model, skeleton, p, height) for p in (here, there))
    assert a.solved.all()
    assert b.solved.all()
    weight = model.mass_kg * 9.80665
    image = ga.force.flip(1) * torch.tensor([1.0, 1.0, -1.0])
    assert (ga.force - image).abs().max() > 0.02 * weight
    assert_allclose(gb.force, image, atol=0.01 * weight)
    muscles = list(model.muscle_names)
    swap = [muscles.index(mirror_image(m)) for m in muscles]
    assert_allclose(b.x[:, : len(muscles)], a.x[:, swap], atol=0.02)
    assert root_of(model, skeleton) == ([0, 1, 2], [3, 4, 5])
