"""Joint contact forces are those of OpenSim's JointReaction, and of a free-body diagram where one can be drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from joint_reaction import by_opensim, of_joint
from numpy.testing import assert_allclose
from recordings import recorded, tables_of
from small_models import biped, squat

from bige_opensim.labelling.kinematics import Prepared, prepare
from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.osim.muscles import MuscleFrames, muscle_frames
from bige_opensim.physics.contact import GroundForces
from bige_opensim.physics.joint_loads import (
    LoadedJoint,
    contact_forces,
    in_child_axes,
    loaded_joints,
    pull_of_paths,
)
from bige_opensim.physics.skeleton import Skeleton

OPENSIM_JOINTS = {"hip": "hip_flexion", "knee": "knee_angle", "ankle": "ankle_angle"}
"""Names of the biped's joints in its file."""


def under_the_feet(skeleton: Skeleton, p: Prepared, share: float = 0.6) -> GroundForces:
    """A push of body weight and some shear, `share` of it under the right foot, with a vertical couple."""
    frames = p.q.frames
    weight = float(skeleton.mass.sum() * skeleton.gravity.norm())
    force = torch.zeros(frames, 2, 3, dtype=torch.float64)
    force[:, 0] = share * weight * torch.tensor([0.05, 1.0, -0.03])
    force[:, 1] = (1 - share) * weight * torch.tensor([0.02, 1.0, 0.06])
    poses = skeleton(p.tensor(skeleton, p.q))
    point = torch.stack([poses.position[:, skeleton.bodies.index(f"calcn_{s}")] for s in "rl"], 1)
    point[..., 0] += 0.07
    point[..., 1] = 0.0
    torque = torch.zeros_like(force)
    torque[:, :, 1] = 3.0
    return GroundForces(force, point, torque)


def loads(
    skeleton: Skeleton, p: Prepared, frames: MuscleFrames, tension: np.ndarray, ground: GroundForces | None
) -> tuple[tuple[LoadedJoint, ...], torch.Tensor]:
    joints = loaded_joints(skeleton)
    pull = pull_of_paths(joints, torch.as_tensor(frames.force), torch.as_tensor(tension))
    return joints, contact_forces(skeleton, p.state(skeleton), joints, pull, ground)


def test_they_are_those_of_opensims_joint_reaction(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    p = prepare(model, skeleton, squat(path, frames=16, rate_hz=30), 0.0)
    frames = muscle_frames(model, p.q, p.qd, skeleton.bodies)
    tension = np.random.default_rng(3).uniform(0.0, 0.6, frames.strength.shape) * frames.strength
    ground = under_the_feet(skeleton, p)
    joints, found = loads(skeleton, p, frames, tension, ground)
    names, values = by_opensim(tmp_path, model, skeleton, p, frames, tension, ground)
    assert {j.name for j in joints} == {f"{n}_{s}" for n in ("hip", "knee", "ankle") for s in "rl"}
    for k, joint in enumerate(joints):
        name, side = joint.name.split("_")
        theirs = of_joint(names, values, f"{OPENSIM_JOINTS[name]}_{side}_on_")
        assert np.linalg.norm(theirs, axis=1).max() > 1500
        assert_allclose(found[:, k].numpy(), theirs, atol=0.01)  # N, 1e-5 body weights


def standing(skeleton: Skeleton, path: Path, model: OsimModel) -> Prepared:
    still = squat(path, frames=12, rate_hz=30, depth=0.0)
    return prepare(model, skeleton, Motion(still.time, np.repeat(still.values[:1], still.frames, 0), still.names), 0.0)


def test_a_standing_leg_without_muscles_carries_what_is_above_it(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    p = standing(skeleton, path, model)
    frames = muscle_frames(model, p.q, p.qd, skeleton.bodies)
    weight = float(skeleton.mass.sum() * skeleton.gravity.norm())
    half = torch.zeros(p.q.frames, 2, 3, dtype=torch.float64)
    half[:, :, 1] = 0.5 * weight
    ground = GroundForces(half, torch.zeros_like(half), torch.zeros_like(half))
    joints, found = loads(skeleton, p, frames, np.zeros_like(frames.strength), ground)
    g = float(skeleton.gravity.norm())
    for joint, force in zip(joints, found[5], strict=True):
        below = float((joint.distal * skeleton.mass).sum()) * g
        assert_allclose(force.numpy(), [0.0, -(0.5 * weight - below), 0.0], atol=1e-6)


def test_a_muscle_presses_the_bones_that_it_crosses_and_no_others(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    p = standing(skeleton, path, model)
    frames = muscle_frames(model, p.q, p.qd, skeleton.bodies)
    rest, pulled = np.zeros_like(frames.strength), np.zeros_like(frames.strength)
    pulled[:, model.muscle_names.index("gasmed_r")] = 1000.0
    joints, without = loads(skeleton, p, frames, rest, None)
    _, with_pull = loads(skeleton, p, frames, pulled, None)
    change = dict(zip((j.name for j in joints), (with_pull - without)[0].norm(dim=-1).tolist(), strict=True))
    assert change.pop("knee_r") == pytest.approx(1000.0)
    assert change.pop("ankle_r") == pytest.approx(1000.0)
    assert list(change.values()) == pytest.approx([0.0] * len(change), abs=1e-9)


def test_in_the_childs_axes_the_force_keeps_its_length_and_a_hanging_leg_pulls_along_the_bone(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    p = standing(skeleton, path, model)
    frames = muscle_frames(model, p.q, p.qd, skeleton.bodies)
    joints, found = loads(skeleton, p, frames, np.zeros_like(frames.strength), None)
    local = in_child_axes(p.state(skeleton), joints, found)
    assert_allclose(local.norm(dim=-1).numpy(), found.norm(dim=-1).numpy(), rtol=1e-12)
    knee = next(k for k, j in enumerate(joints) if j.name == "knee_r")
    assert local[0, knee, 1] > 0.9 * local[0, knee].norm()  # the femur holds the shank up: traction


@pytest.mark.parametrize(
    ("who", "trial", "start"),
    [
        ("subject2", "squats1", 2.0),
        ("subject6", "walking1", 1.0),
        pytest.param("phone01", "squats-with-arm-raise", 3.0, marks=pytest.mark.slow),
    ],
)
def test_of_recorded_movements_they_are_opensims(tmp_path, shared_data, who, trial, start):
    model, skeleton, whole = recorded(shared_data, who, trial)
    p = whole.between(start, start + 0.05)
    frames = muscle_frames(model, p.q, p.qd, skeleton.bodies)
    tension = np.random.default_rng(0).uniform(0.0, 0.5, frames.strength.shape) * frames.strength
    ground = under_the_feet(skeleton, p)
    joints, found = loads(skeleton, p, frames, tension, ground)
    names, values = by_opensim(tmp_path, model, skeleton, p, frames, tension, ground, whole)
    starts = {"hip": "hip", "knee": "walker_knee", "patellofemoral": "patellofemoral", "ankle": "ankle"}
    assert len(joints) == 8
    weight = float(skeleton.mass.sum() * skeleton.gravity.norm())
    for k, joint in enumerate(joints):
        kind, side = joint.name.rsplit("_", 1)
        theirs = of_joint(names, values, f"{starts[kind]}_{side}_on_")
        assert_allclose(found[:, k].numpy() / weight, theirs / weight, atol=1e-3)
