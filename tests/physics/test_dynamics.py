from dataclasses import replace
from pathlib import Path

import numpy as np
import opensim
import pytest
import torch
from numpy.testing import assert_allclose
from recordings import MODELS, forces_path, recorded, tables_of
from scipy.interpolate import make_interp_spline
from small_models import COORDINATES, biped, every_joint, knee_with_patella

from bige_opensim.io.external_loads import ExternalForce, write_external_loads
from bige_opensim.io.storage import read_storage, write_coordinates, write_storage
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.measured_forces import applied_forces
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.inverse_dynamics import complete, inverse_dynamics, reduce_couplers
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.physics import dynamics
from bige_opensim.physics.dynamics import (
    kinematics,
    mechanical_energy,
    point_jacobian,
    with_mass_centres,
    wrench_to_generalized,
)
from bige_opensim.physics.joint_problem import net_generalized_forces
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables

SPEED_IS_NOT_THE_RATE = ("Ball", "Free")


def swinging(tables: SkeletonTables, frames: int = 30, seed: int = 0) -> Motion:
    """Every coordinate moves through its range by two sines of its own."""
    low, high = np.clip(tables.range, -1.5, 1.5).T
    rng = np.random.default_rng(seed)
    time = np.linspace(0.0, 1.0, frames)
    n = len(tables.coordinates)
    phases, rates = rng.uniform(0, 2 * np.pi, (2, n)), rng.uniform(0.5, 1.2, (2, n))
    waves = np.sin(2 * np.pi * rates[0] * time[:, None] + phases[0])
    waves += 0.5 * np.sin(4 * np.pi * rates[1] * time[:, None] + phases[1])
    return Motion(time, 0.5 * (low + high) + 0.3 * (high - low) * waves, tables.coordinates)


def with_derivatives(q: Motion) -> Prepared:
    return Prepared(q, *q.derivatives(), (0.0, ""), ())


def prepared(model: OsimModel, motion: Motion) -> Prepared:
    return with_derivatives(complete(model, motion))


def moments(skeleton: Skeleton, p: Prepared) -> np.ndarray:
    return dynamics.inverse_dynamics(skeleton, p.state(skeleton)).numpy()


def check_against_opensim(model: OsimModel, skeleton: Skeleton, p: Prepared) -> None:
    expected = reduce_couplers(model, p.q, inverse_dynamics(model, p.q, p.qd, p.qdd))
    got = moments(skeleton, p)
    assert np.abs(expected).max() > 1.0
    assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", [k for k in COORDINATES if k not in SPEED_IS_NOT_THE_RATE])
def test_moments_are_opensims_for_every_kind_of_joint(tmp_path, kind):
    path = every_joint(tmp_path / "model.osim", kind)
    tables = compile_skeleton(path, cache=False)
    model = load(path)
    check_against_opensim(model, Skeleton(tables), prepared(model, swinging(tables)))


def test_moments_of_a_splined_knee_carry_those_of_the_coupled_patella(tmp_path):
    path = knee_with_patella(tmp_path / "knee.osim")
    tables = compile_skeleton(path, cache=False)
    model, skeleton = load(path), Skeleton(tables)
    p = prepared(model, swinging(tables))
    check_against_opensim(model, skeleton, p)
    full = inverse_dynamics(model, p.q, p.qd, p.qdd)
    uncoupled = full[:, [c.name == "knee_angle" for c in model.coordinates]][:, 0]
    assert np.abs(uncoupled - moments(skeleton, p)[:, skeleton.index("knee_angle")]).max() > 0.01


@pytest.mark.parametrize("name", MODELS)
def test_moments_of_real_models_are_opensims(shared_data, name):
    tables = tables_of(shared_data / MODELS[name])
    model = load(shared_data / MODELS[name])
    check_against_opensim(model, Skeleton(tables), prepared(model, swinging(tables)))


@pytest.mark.parametrize(("who", "trial"), [("subject2", "squats1"), ("phone01", "squats-with-arm-raise")])
def test_moments_of_recordings_are_opensims(shared_data, who, trial):
    model, skeleton, p = recorded(shared_data, who, trial)
    at = np.linspace(0, p.q.frames - 1, 25).astype(int)
    few = Prepared(*(Motion(m.time[at], m.values[at], m.names) for m in (p.q, p.qd, p.qdd)), (0.0, ""), ())
    check_against_opensim(model, skeleton, few)


def by_the_tool(model: Path, coordinates: Path, folder: Path, loads: Path | None) -> Motion:
    """OpenSim's InverseDynamicsTool, its filter off, without muscles and actuators."""
    tool = opensim.InverseDynamicsTool()
    tool.setModelFileName(str(model))
    tool.setCoordinatesFileName(str(coordinates))
    tool.setLowpassCutoffFrequency(-1.0)
    tool.setResultsDir(str(folder))
    tool.setOutputGenForceFileName("moments.sto")
    if loads is not None:
        tool.setExternalLoadsFileName(str(loads))
    excluded = opensim.ArrayStr()
    for group in ("Muscles", "Actuators"):
        excluded.append(group)
    tool.setExcludedForces(excluded)
    table_of = read_storage(coordinates)
    tool.setStartTime(float(table_of.time[0]))
    tool.setEndTime(float(table_of.time[-1]))
    assert tool.run()
    table = read_storage(folder / "moments.sto")
    names = tuple(n.removesuffix("_moment").removesuffix("_force") for n in table.names)
    return Motion(table.time, table.values, names)


@pytest.mark.parametrize("loaded", [False, True])
def test_moments_of_walking_are_those_of_opensims_tool(shared_data, tmp_path, loaded):
    model, skeleton, p = recorded(shared_data, "subject6", "walking1")
    write_coordinates(tmp_path / "walking.mot", p.q, rotational=model.rotational)
    loads, ground = None, None
    if loaded:
        forces = read_storage(forces_path(shared_data, "subject6", "walking1"))
        smooth = Motion(forces.time, forces.values, forces.names).between(p.q.time[0] - 0.5, p.q.time[-1] + 0.5)
        write_storage(tmp_path / "forces.mot", smooth.time, smooth.values, smooth.names, in_degrees=False)
        plates = [
            ExternalForce(s, f"calcn_{s.lower()}", f"{s}_ground_force_v", f"{s}_ground_force_p", f"{s}_ground_torque_")
            for s in "RL"
        ]
        loads = tmp_path / "loads.xml"
        write_external_loads(loads, "forces.mot", plates)
        ground = applied_forces(loads, None, p.q.time, 0.0).forces
    tool = by_the_tool(model.path, tmp_path / "walking.mot", tmp_path, loads)
    at = np.searchsorted(tool.time, p.q.time - 1e-6)
    full = np.column_stack([tool[n][at] for n in p.q.names])
    expected = reduce_couplers(model, p.q, full)
    got = net_generalized_forces(skeleton, p.state(skeleton), ground).numpy()
    inner = slice(12, -12)  # at the ends OpenSim's smoothing splines differ
    weight = 9.80665 * model.mass_kg
    assert_allclose(got[inner], expected[inner], atol=1e-4 * weight)
    legs = [skeleton.index(f"{j}_{s}") for s in "rl" for j in ("hip_flexion", "knee_angle", "ankle_angle")]
    assert (np.abs(expected[:, legs]).max() > 50) or not loaded


def test_the_order_of_mobilities_is_a_permutation_and_not_the_models_order(shared_data):
    model = load(shared_data / MODELS["subject2"])
    order = model.mobility_order
    assert sorted(order) == list(range(len(model.coordinates)))
    assert (order != np.arange(len(order))).sum() > 10


def test_moments_in_the_models_order_would_be_wrong(shared_data):
    """The identity in place of Simbody's order must not pass the comparison that holds with it."""
    model, skeleton, p = recorded(shared_data, "subject2", "squats1", start=2.0, end=2.1)
    check_against_opensim(model, skeleton, p)
    model.__dict__["mobility_order"] = np.arange(len(model.coordinates))
    with pytest.raises(AssertionError):
        check_against_opensim(model, skeleton, p)


def test_speeds_and_accelerations_of_mass_centres_are_time_derivatives(tmp_path):
    tables = compile_skeleton(knee_with_patella(tmp_path / "knee.osim"), cache=False)
    skeleton = Skeleton(tables)
    p = with_derivatives(swinging(tables, 401))
    state = kinematics(skeleton, *(p.tensor(skeleton, m) for m in (p.q, p.qd, p.qdd)), like_simbody=False)
    com = skeleton.body_coms(state.poses).numpy()
    spline = make_interp_spline(p.q.time, com, k=5)
    inner = slice(20, -20)
    assert_allclose(state.motions.com_velocity[inner], spline(p.q.time, 1)[inner], atol=1e-5)
    assert_allclose(state.motions.com_acceleration[inner], spline(p.q.time, 2)[inner], atol=2e-3)
    turned = make_interp_spline(p.q.time, state.motions.omega.numpy(), k=5)
    assert_allclose(state.motions.alpha[inner], turned(p.q.time, 1)[inner], atol=0.05)


def check_power(skeleton: Skeleton, p: Prepared) -> None:
    """tau . q' = dE/dt, here integrated: the work of the generalized forces is the change of energy."""
    state = kinematics(skeleton, *(p.tensor(skeleton, m) for m in (p.q, p.qd, p.qdd)), like_simbody=False)
    tau = dynamics.inverse_dynamics(skeleton, state)
    power = (tau * p.tensor(skeleton, p.qd)).sum(-1).numpy()
    energy = mechanical_energy(skeleton, state).numpy()
    rate = make_interp_spline(p.q.time, energy, k=5)(p.q.time, 1)
    inner = slice(20, -20)
    assert np.ptp(energy) > 1.0
    assert_allclose(power[inner], rate[inner], atol=1e-4 * np.abs(power).max())


@pytest.mark.parametrize("kind", COORDINATES)
def test_power_of_the_moments_is_the_rate_of_mechanical_energy(tmp_path, kind):
    tables = compile_skeleton(every_joint(tmp_path / "model.osim", kind), cache=False)
    check_power(Skeleton(tables), with_derivatives(swinging(tables, 401)))


def test_power_of_a_splined_knee_is_the_rate_of_mechanical_energy(tmp_path):
    tables = compile_skeleton(knee_with_patella(tmp_path / "knee.osim"), cache=False)
    check_power(Skeleton(tables), with_derivatives(swinging(tables, 401)))


def test_power_of_a_whole_body_is_the_rate_of_mechanical_energy(shared_data):
    tables = tables_of(shared_data / MODELS["LaiUhlrich2022"])
    check_power(Skeleton(tables), with_derivatives(swinging(tables, 401)))


def test_standing_still_takes_body_weight_at_the_root(tmp_path):
    tables = compile_skeleton(biped(tmp_path / "biped.osim"), cache=False)
    skeleton, zero = Skeleton(tables), torch.zeros(len(tables.coordinates), dtype=torch.float64)
    tau = dynamics.inverse_dynamics(skeleton, kinematics(skeleton, zero, zero, zero))
    assert tau[skeleton.index("pelvis_ty")] == pytest.approx(70.0 * 9.80665, rel=1e-6)
    assert_allclose(tau[[skeleton.index("pelvis_tx"), skeleton.index("pelvis_tz")]], 0.0, atol=1e-9)


def test_jacobian_of_points_is_their_finite_difference(tmp_path):
    tables = compile_skeleton(knee_with_patella(tmp_path / "knee.osim"), cache=False)
    skeleton = Skeleton(tables)
    q = torch.as_tensor(swinging(tables, 5).values)
    offset = torch.tensor([0.1, -0.2, 0.05], dtype=torch.float64)
    bodies = [skeleton.bodies.index(b) for b in ("tibia", "patella", "femur")]

    def points(x: torch.Tensor) -> torch.Tensor:
        poses = skeleton(x)
        return torch.stack([skeleton.station(poses, b, offset) for b in bodies], dim=-2)

    zero = torch.zeros_like(q)
    jacobian = point_jacobian(skeleton, kinematics(skeleton, q, zero, zero), points(q), bodies)
    assert jacobian.shape == (5, 3, 3, 4)
    step = 1e-6
    for c in range(q.shape[1]):
        up, down = q.clone(), q.clone()
        up[:, c] += step
        down[:, c] -= step
        assert_allclose(jacobian[..., c], (points(up) - points(down)) / (2 * step), atol=1e-8)


def test_generalized_force_of_a_force_at_a_point_is_jacobian_transposed_times_force(tmp_path):
    tables = compile_skeleton(knee_with_patella(tmp_path / "knee.osim"), cache=False)
    skeleton = Skeleton(tables)
    q = torch.as_tensor(swinging(tables, 5).values)
    state = kinematics(skeleton, q, torch.zeros_like(q), torch.zeros_like(q))
    b = skeleton.bodies.index("patella")
    force, point = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    forces, turning = torch.zeros(2, 5, 3, 3, dtype=torch.float64)
    forces[:, b], turning[:, b] = force, torch.linalg.cross(point, force)
    expected = torch.einsum("txc,tx->tc", point_jacobian(skeleton, state, point[:, None], [b])[:, 0], force)
    assert_allclose(wrench_to_generalized(skeleton, state, forces, turning), expected, atol=1e-10)


def mirrored(motion: Motion) -> Motion:
    """The same motion seen in a mirror in the sagittal plane."""
    columns = {}
    for name in motion.names:
        other = f"{name[:-2]}_{'l' if name.endswith('_r') else 'r'}" if name[-2:] in ("_r", "_l") else name
        turns = name in ("pelvis_list", "pelvis_rotation", "pelvis_tz", "lumbar_bending", "lumbar_rotation")
        columns[name] = (-1.0 if turns else 1.0) * motion[other]
    return Motion(motion.time, np.column_stack(list(columns.values())), motion.names)


def test_a_mirrored_motion_has_mirrored_moments(shared_data):
    path = shared_data / MODELS["LaiUhlrich2022"]
    tables, model = tables_of(path), load(path)
    skeleton = Skeleton(tables)
    motion = swinging(tables)
    here, there = (moments(skeleton, prepared(model, m)) for m in (motion, mirrored(motion)))
    expected = mirrored(Motion(motion.time, here, tables.coordinates)).values
    assert np.abs(here - expected).max() > 10
    assert_allclose(there, expected, atol=2e-3 * np.abs(here).max())


def test_a_state_with_other_mass_centres_is_that_of_a_skeleton_that_has_them(tmp_path):
    tables = tables_of(biped(tmp_path / "biped.osim"))
    com = tables.com + np.random.default_rng(3).normal(0.0, 0.05, tables.com.shape)
    before, after = Skeleton(tables), Skeleton(replace(tables, com=com, mass=1.1 * tables.mass))
    whole = with_derivatives(swinging(tables))
    motions = [whole.tensor(before, m) for m in (whole.q, whole.qd, whole.qdd)]
    found, wanted = with_mass_centres(kinematics(before, *motions), before, after), kinematics(after, *motions)
    assert np.abs(wanted.motions.com_acceleration - kinematics(before, *motions).motions.com_acceleration).max() > 0.1
    for name in wanted.motions._fields:
        assert_allclose(getattr(found.motions, name), getattr(wanted.motions, name), rtol=1e-9, atol=1e-9)
    assert before.moves_like(after)
    assert not before.moves_like(Skeleton(replace(tables, fixed_translation=1.1 * tables.fixed_translation)))
    whole.state(before)
    assert_allclose(whole.state(after).motions.com_velocity, wanted.motions.com_velocity, rtol=1e-9, atol=1e-9)
    assert whole.state(after) is whole.state(after)
