import numpy as np
import pytest
import torch
from lab_setups import arm, with_moving_point
from numpy.testing import assert_allclose
from recordings import recorded, tables_of
from small_models import biped, squat

from bige_opensim.labelling.kinematics import Prepared, prepare
from bige_opensim.labelling.muscle_capacity import exact_pulls
from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.osim.muscles import muscle_frames
from bige_opensim.physics.joint_problem import muscle_columns
from bige_opensim.physics.skeleton import Skeleton


def by_opensim(model: OsimModel, skeleton: Skeleton, p: Prepared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moment arms (T, M, C) in m, strengths (T, M) in N, lengths (T, M) in m, muscle by muscle."""
    muscles = [model.model.getMuscles().get(i) for i in range(len(model.muscle_names))]
    coordinates = [model.model.getCoordinateSet().get(c) for c in skeleton.coordinates]
    arms = np.zeros((p.q.frames, len(muscles), len(coordinates)))
    strength, length = np.empty(arms.shape[:2]), np.empty(arms.shape[:2])
    state = model.model.initSystem()
    for t in range(p.q.frames):
        for c, name in enumerate(p.q.names):
            coordinate = model.model.getCoordinateSet().get(name)
            coordinate.setValue(state, float(p.q.values[t, c]), False)
            coordinate.setSpeedValue(state, float(p.qd.values[t, c]))
        model.model.realizeVelocity(state)
        for m, muscle in enumerate(muscles):
            strength[t, m] = muscle.calcInextensibleTendonActiveFiberForce(state, 1.0)
            length[t, m] = muscle.getLength(state)
            for c, coordinate in enumerate(coordinates):
                if skeleton.coordinates[c] not in model.root_coordinates:
                    arms[t, m, c] = muscle.computeMomentArm(state, coordinate)
    return arms, strength, length


def check_against_opensim(model: OsimModel, skeleton: Skeleton, p: Prepared) -> None:
    arms, strength, length = by_opensim(model, skeleton, p)
    frames = muscle_frames(model, p.q, p.qd, skeleton.bodies)
    one = torch.ones(strength.shape, dtype=torch.float64)
    wrenches = (torch.as_tensor(frames.force), torch.as_tensor(frames.moment))
    got = muscle_columns(skeleton, p.state(skeleton), *wrenches, one).transpose(1, 2)
    assert np.abs(arms).max() > 0.02
    joints = [c not in model.root_coordinates for c in skeleton.coordinates]
    assert_allclose(got[..., joints], arms[..., joints], atol=1e-9)
    assert_allclose(frames.strength, strength, rtol=1e-12)
    assert_allclose(frames.length, length, atol=1e-12)
    assert (frames.strength >= 0).all()
    assert (frames.strength > 1).mean() > 0.98  # a fibre that shortens too fast has none
    full = muscle_columns(skeleton, p.state(skeleton), *wrenches, torch.as_tensor(frames.strength))
    expected = (arms * strength[..., None]).transpose(0, 2, 1)
    assert_allclose(full[:, joints], expected[:, joints], atol=1e-5)


def test_moment_arms_and_strengths_of_a_small_biped_are_opensims(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    check_against_opensim(model, skeleton, prepare(model, skeleton, squat(path, frames=12, rate_hz=20), 0.0))


@pytest.mark.parametrize(("who", "trial"), [("subject6", "squats1"), ("phone01", "squats-with-arm-raise")])
def test_moment_arms_and_strengths_of_recordings_are_opensims_couplers_included(shared_data, who, trial):
    model, skeleton, p = recorded(shared_data, who, trial)
    at = [p.q.frames // 8, p.q.frames // 6]
    few = Prepared(*(type(m)(m.time[at], m.values[at], m.names) for m in (p.q, p.qd, p.qdd)), (0.0, ""), ())
    check_against_opensim(model, skeleton, few)


def test_a_body_outside_the_list_is_left_out_without_disturbing_the_others(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    p = prepare(model, skeleton, squat(path, frames=4, rate_hz=10), 0.0)
    everything = muscle_frames(model, p.q, p.qd, skeleton.bodies)
    some = muscle_frames(model, p.q, p.qd, ("tibia_l", "pelvis"))
    at = [skeleton.bodies.index(b) for b in ("tibia_l", "pelvis")]
    assert_allclose(some.force, everything.force[:, :, at])
    assert_allclose(some.moment, everything.moment[:, :, at])


def test_a_path_pulls_its_bodies_together_without_net_force_or_moment(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    p = prepare(model, skeleton, squat(path, frames=4, rate_hz=10), 0.0)
    frames = muscle_frames(model, p.q, p.qd, skeleton.bodies)
    assert_allclose(frames.force.sum(2), 0.0, atol=1e-12)
    assert_allclose(frames.moment.sum(2), 0.0, atol=1e-12)
    assert np.linalg.norm(frames.force, axis=-1).max() > 0.9


def test_bodies_with_muscles_are_those_on_paths(tmp_path):
    model = load(biped(tmp_path / "biped.osim"))
    legs = {f"{b}_{s}" for b in ("femur", "tibia", "calcn") for s in "rl"}
    assert model.bodies_with_muscles == {"pelvis"} | legs


def test_path_points_that_move_with_a_coordinate_pull_on_it(tmp_path):
    path = with_moving_point(arm(tmp_path / "arm.osim"))
    model, skeleton = load(path), Skeleton(tables_of(path))
    time = np.linspace(0.0, 1.0, 9)
    motion = Motion(time, np.column_stack([0.5 * time, 0.4 + 1.2 * time]), skeleton.coordinates)
    p = prepare(model, skeleton, motion, 0.0)
    arms, _, _ = by_opensim(model, skeleton, p)
    pulls = exact_pulls(model, skeleton, p, p.state(skeleton))
    assert_allclose(pulls.arms.transpose(1, 2), arms, atol=1e-9)
    frames = muscle_frames(model, p.q, p.qd, skeleton.bodies)
    bra = model.muscle_names.index("BRA")
    assert np.abs(frames.generalized[:, bra]).max() > 0.1 * np.abs(arms[:, bra]).max()
    assert not np.delete(frames.generalized, bra, axis=1).any()
