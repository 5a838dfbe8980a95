"""Activations by physics inside the search agree with the labels' solver, and their gradient with differences."""

from pathlib import Path

import numpy as np
import opensim
import pytest
import torch
from odd_models import changed
from scipy.interpolate import make_interp_spline
from small_arm import MUSCLES, arm, reach
from small_models import biped, squat

from bige_opensim.guidance.planting import plant_feet
from bige_opensim.io.storage import read_storage, write_coordinates
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.muscle_capacity import exact_actuators, movement_ranges, ranges_of
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.model import load
from bige_opensim.physics.contact import ContactSettings
from bige_opensim.physics.effort_cost import EffortCost
from bige_opensim.physics.joint_problem import solve_with_ground
from bige_opensim.physics.motion_states import derivative_matrix
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.predictor import PhysicsPredictor
from bige_opensim.physics.skeleton import Skeleton
from tests.recordings import recorded

SAMPLES = 41


@pytest.fixture(scope="module")
def planted(shared_data: Path):
    """Model, skeleton, a planted real squat (1, SAMPLES, C) and its duration, and its muscles as polynomials."""
    model, skeleton, prepared = recorded(shared_data, "subject6", "squats1", start=2.5, end=4.9)
    whole = prepared.q.resampled(np.linspace(prepared.q.time[0], prepared.q.time[-1], SAMPLES))
    q = plant_feet(skeleton, skeleton.coordinates, prepared.tensor(skeleton, whole).unsqueeze(0))
    muscles = Muscles(compile_muscles(model.path, ranges_of(skeleton, q[0].numpy()), poses=600, cache=False))
    return model, skeleton, muscles, q, torch.tensor([whole.duration], dtype=torch.float64)


def test_the_derivative_matrix_is_the_natural_splines(planted) -> None:
    x = np.random.default_rng(0).normal(size=SAMPLES)
    t = np.linspace(0.0, 1.0, SAMPLES)
    spline = make_interp_spline(t, x, k=5, bc_type=([(3, 0.0), (4, 0.0)], [(3, 0.0), (4, 0.0)]))
    assert np.allclose(derivative_matrix(SAMPLES) @ x, spline(t, 1), atol=1e-8)


def test_agrees_with_exact_geometry_and_spline_derivatives(planted) -> None:
    model, skeleton, muscles, q, duration = planted
    with torch.no_grad():
        activations = PhysicsPredictor(skeleton, muscles, skeleton.coordinates, samples=SAMPLES)(q, duration)[0]
    time = np.linspace(0.0, float(duration), SAMPLES)
    motion = complete(model, Motion(time, q[0].numpy(), skeleton.coordinates))
    prepared = Prepared.of(motion, (0.0, ""), ())
    state = prepared.state(skeleton)
    actuators = exact_actuators(model, skeleton, prepared, state)
    qd = prepared.tensor(skeleton, prepared.qd)
    solution, _ = solve_with_ground(skeleton, state, qd, actuators, 0.0, ContactSettings())
    error = (solution.x[:, : len(model.muscle_names)] - activations).abs()
    assert error.square().mean().sqrt() < 0.01
    assert error.max() < 0.06


def test_gradient_of_a_peak_agrees_with_differences(planted) -> None:
    _, skeleton, muscles, q, duration = planted
    predictor = PhysicsPredictor(skeleton, muscles, skeleton.coordinates, samples=SAMPLES)
    direction = torch.zeros_like(q)
    bump = torch.hann_window(SAMPLES, periodic=False, dtype=q.dtype)
    for name in ("knee_angle_r", "knee_angle_l"):
        direction[0, :, skeleton.index(name)] = bump
    vasmed = muscles.names.index("vasmed_r")

    def activation(step: float) -> torch.Tensor:
        return predictor(q + step * direction, duration)[0, SAMPLES // 2, vasmed]

    moved = q.clone().requires_grad_(True)
    value = predictor(moved, duration)[0, SAMPLES // 2, vasmed]
    (gradient,) = torch.autograd.grad(value, moved)
    h = 1e-5
    with torch.no_grad():
        difference = (activation(h) - activation(-h)) / (2 * h)
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-3)


def test_a_batch_gives_what_its_motions_give_alone(planted) -> None:
    _, skeleton, muscles, q, duration = planted
    slower = torch.cat([duration, 1.5 * duration])
    both = torch.cat([q, q])
    with torch.no_grad():
        together = PhysicsPredictor(skeleton, muscles, skeleton.coordinates, samples=SAMPLES)(both, slower)
        alone = [
            PhysicsPredictor(skeleton, muscles, skeleton.coordinates, samples=SAMPLES)(q, d[None])[0] for d in slower
        ]
    assert torch.allclose(together, torch.stack(alone), atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def predicted(path: Path, motion: Motion, channels: tuple[str, ...]) -> np.ndarray:
    """Activations (T, M) of a motion by the physics, channels in the given order."""
    skeleton = Skeleton(compile_skeleton(path, cache=False))
    ranges = {n: (float(motion[n].min()) - 0.1, float(motion[n].max()) + 0.1) for n in motion.names}
    muscles = Muscles(compile_muscles(path, {n: ranges[n] for n in skeleton.coordinates}, poses=200, cache=False))
    q = torch.as_tensor(motion.select(channels).values)[None]
    predictor = PhysicsPredictor(skeleton, muscles, channels, samples=motion.frames)
    with torch.no_grad():
        return predictor(q, torch.tensor([motion.duration], dtype=torch.float64))[0].numpy()


def by_label(path: Path, motion: Motion, folder: Path) -> np.ndarray:
    """Activations (T, M) that the label of the same motion holds, frames as they are."""
    write_coordinates(folder / "motion.mot", motion, rotational=load(path).rotational)
    request = TrialRequest(path, folder / "motion.mot", folder / "label", folder / "label", "s", "s", "trial")
    label_trial(request, LabelSettings("fast", "exact", audit=0.0, cutoff_hz=0.0, consistency=None))
    return read_storage(folder / "label" / "activations.sto").values


def test_a_locked_coordinate_is_out_of_the_problem_whatever_the_motion_says(tmp_path) -> None:
    def lock(model: opensim.Model) -> None:
        for name in ("ankle_angle_r", "ankle_angle_l"):
            model.updCoordinateSet().get(name).setDefaultValue(0.3)
            model.updCoordinateSet().get(name).setDefaultLocked(True)

    free = biped(tmp_path / "biped.osim")
    locked = changed(free, tmp_path / "locked.osim", lock)
    motion = squat(free, frames=41)
    still = motion.values.copy()
    still[:, [motion.index("ankle_angle_r"), motion.index("ankle_angle_l")]] = 0.3
    held = motion.with_values(still)
    inner = slice(4, -4)  # the search differentiates periodic cycles by another spline than a recording
    expected = by_label(locked, held, tmp_path)[inner]
    assert expected.max() > 0.1
    for asked in (held, motion):
        assert np.abs(predicted(locked, asked, motion.names)[inner] - expected).max() < 0.03
    assert np.abs(predicted(free, held, motion.names)[inner] - expected).max() > 0.1


def test_a_muscle_that_is_off_is_off_and_an_arm_needs_no_ground(tmp_path) -> None:
    motion = reach(frames=41)
    plain = arm(tmp_path / "arm.osim")
    off = arm(tmp_path / "off.osim", change=lambda m: m.updMuscles().get("TRIlat").set_appliesForce(False))
    inner = slice(4, -4)
    for path in (plain, off):
        expected = by_label(path, motion, tmp_path)[inner]
        assert np.abs(predicted(path, motion, motion.names)[inner] - expected).max() < 0.03
    assert (predicted(off, motion, motion.names)[:, MUSCLES.index("TRIlat")] == 0.0).all()
    assert expected.max() > 0.3


@pytest.mark.parametrize(
    "cost",
    [
        EffortCost(exponent=3.0),
        EffortCost(weights=(("soleus_*", 5.0),), volume_weighted=True),
        EffortCost(passive=True),
    ],
    ids=["exponent", "weights", "passive"],
)
def test_other_costs_are_those_of_labels_and_keep_their_gradients(tmp_path: Path, cost: EffortCost) -> None:
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(compile_skeleton(path, cache=False))
    motion = squat(path, frames=SAMPLES, rate_hz=40.0)
    q, duration = torch.as_tensor(motion.values).unsqueeze(0), torch.tensor([motion.duration], dtype=torch.float64)
    prepared = Prepared.of(complete(model, motion), (0.0, ""), ())
    ranges = movement_ranges(skeleton, prepared)
    muscles = Muscles(compile_muscles(path, ranges, poses=300, cache=False))
    predictor = PhysicsPredictor(skeleton, muscles, skeleton.coordinates, samples=SAMPLES, cost=cost)
    q.requires_grad_()
    found = predictor(q, duration)
    state, qd = prepared.state(skeleton), prepared.tensor(skeleton, prepared.qd)
    actuators = exact_actuators(model, skeleton, prepared, state, cost)
    expected, _ = solve_with_ground(skeleton, state, qd, actuators, 0.0, ContactSettings())
    M = len(model.muscle_names)
    assert np.abs(found[0].detach().numpy() - expected.x[:, :M].numpy())[4:-4].max() < 0.01
    shift = torch.zeros_like(q)
    bump = 1e-5 * torch.hann_window(SAMPLES, periodic=False, dtype=q.dtype)
    for name in ("knee_angle_r", "knee_angle_l"):
        shift[0, :, skeleton.index(name)] = bump
    soleus = muscles.names.index("soleus_r")
    (gradient,) = torch.autograd.grad(found[0, SAMPLES // 2, soleus], q)
    with torch.no_grad():
        up, down = (predictor(q + s * shift, duration)[0, SAMPLES // 2, soleus] for s in (1, -1))
    assert float((gradient * shift).sum()) == pytest.approx(float(up - down) / 2, rel=5e-3)
