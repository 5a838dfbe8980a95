"""What carries besides the feet does the same to the coordinates as an unknown and as a load on bodies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.carriers import Carrier, OnCalves, OnThighs, Rail, together
from bige_opensim.physics.contact import ContactSettings, Supports
from bige_opensim.physics.dynamics import State, kinematics, wrench_to_generalized
from bige_opensim.physics.seat import Seat
from bige_opensim.physics.skeleton import Poses, Skeleton

MODEL = Path(__file__).resolve().parents[2] / "osim_models/fullbody80.osim"
CONTACT = ContactSettings()


@pytest.fixture(scope="module")
def skeleton(own_cache: None) -> Skeleton:
    return Skeleton(compile_skeleton(MODEL))


@pytest.fixture(scope="module")
def sitting(skeleton) -> State:
    """Bent at hips, knees and shoulders, with hands near the thighs, at slow speeds."""
    q = skeleton.default.repeat(3, 1)
    for side in "rl":
        for name, value in (("hip_flexion", 1.2), ("knee_angle", 1.3), ("arm_flex", 0.3), ("elbow_flex", 0.8)):
            q[:, skeleton.index(f"{name}_{side}")] = value
    speed = torch.as_tensor(np.random.default_rng(0).normal(size=q.shape))
    return kinematics(skeleton, q + 0.02 * speed, 0.02 * speed, speed)


def all_carriers(skeleton: Skeleton, state: State) -> list[Carrier]:
    at = state.poses.position[0, skeleton.bodies.index("pelvis")].tolist()
    found = [Seat.under(skeleton, at[1] - 0.1, (at[0], at[2])), Rail.of(skeleton), OnThighs.of(skeleton)]
    found.append(OnCalves.of(skeleton))
    assert None not in found
    return found  # type: ignore[return-value]


def generalized(skeleton: Skeleton, state: State, s: Supports) -> np.ndarray:
    force = state.poses.position.new_zeros(len(state.poses.position), len(skeleton.bodies), 3)
    moment = torch.zeros_like(force)
    for i, name in enumerate(s.bodies):
        force[:, skeleton.bodies.index(name)] += s.force[:, i]
        moment[:, skeleton.bodies.index(name)] += s.torque[:, i] + torch.linalg.cross(s.point[:, i], s.force[:, i])
    return wrench_to_generalized(skeleton, state, force, moment).numpy()


@pytest.mark.parametrize("which", [0, 1, 2, 3], ids=["seat", "rail", "knees", "calves"])
def test_unknowns_and_the_loads_they_stand_for_have_the_same_generalized_forces(skeleton, sitting, which):
    carrier = all_carriers(skeleton, sitting)[which]
    contact = carrier.columns(skeleton, sitting, CONTACT)
    x = torch.as_tensor(np.random.default_rng(1).uniform(size=(3, contact.columns.shape[-1])))
    expected = torch.einsum("tcn,tn->tc", contact.columns, x).numpy()
    found = generalized(skeleton, sitting, carrier.supports(skeleton, contact, x))
    assert np.abs(expected).max() > 1e-3
    assert_allclose(found, expected, rtol=1e-9, atol=1e-7 * np.abs(expected).max())


def test_hands_on_thighs_carry_nothing_to_the_ground_and_push_them_apart(skeleton, sitting):
    carrier = all_carriers(skeleton, sitting)[2]
    contact = carrier.columns(skeleton, sitting, CONTACT)
    root = [skeleton.index(n) for n in (*skeleton.tables.root["rotations"], *skeleton.tables.root["translations"])]
    assert contact.columns[:, root].abs().max() < 1e-9 * contact.columns.abs().max()
    on = carrier.supports(skeleton, contact, torch.ones(3, contact.columns.shape[-1], dtype=torch.float64))
    assert_allclose(on.force.sum(1).numpy(), 0.0, atol=1e-12)
    assert (on.force[:, 0, 1] > 0).all()  # up on the hand, down on the thigh


def test_a_hand_that_moves_holds_no_rail_and_one_away_from_the_thigh_does_not_push_it(skeleton, sitting):
    _, rail, thighs, _ = all_carriers(skeleton, sitting)
    _, still = rail.footprint(skeleton, sitting)
    assert still.min() > 0.8
    q = skeleton.default.repeat(1, 1)
    fast = kinematics(skeleton, q, torch.ones_like(q), torch.zeros_like(q))
    assert rail.footprint(skeleton, fast)[1].max() < 0.01
    raised = q.clone()
    for side in "rl":
        raised[:, skeleton.index(f"arm_flex_{side}")] = 1.5
    away = kinematics(skeleton, raised, torch.zeros_like(q), torch.zeros_like(q))
    near, far = (float(thighs.columns(skeleton, s, CONTACT).force.norm(dim=-1).max()) for s in (sitting, away))
    assert far < 0.01 * near


def test_calves_extend_the_knee_and_nothing_else_and_only_when_it_is_bent_far(skeleton):
    calves = OnCalves.of(skeleton)
    assert calves is not None
    knees = [skeleton.index(f"knee_angle_{side}") for side in "rl"]
    moment = []
    for flexion in (1.6, 2.0, 2.4):
        q = skeleton.default.repeat(1, 1)
        q[:, knees] = flexion
        state = kinematics(skeleton, q, torch.zeros_like(q), torch.zeros_like(q))
        columns = calves.columns(skeleton, state, CONTACT).columns.sum(-1)[0].numpy()
        assert np.abs(np.delete(columns, knees)).max() < 0.05 * np.abs(columns[knees]).max()
        moment.append(columns[knees])
    assert (np.array(moment) < 0).all()  # knee flexion is positive
    weight_arm = 0.3 * 0.4 * float(skeleton.weight_n)
    assert np.abs(moment[0]).max() < 0.01 * weight_arm
    assert 0.6 * weight_arm < np.abs(moment[2]).min() < 1.2 * weight_arm


def test_loads_of_one_body_are_joined_without_changing_what_they_do(skeleton, sitting):
    parts = []
    for carrier in all_carriers(skeleton, sitting):
        contact = carrier.columns(skeleton, sitting, CONTACT)
        x = torch.as_tensor(np.random.default_rng(2).uniform(size=(3, contact.columns.shape[-1])))
        parts.append(carrier.supports(skeleton, contact, x))
    joined = together(parts)
    assert joined is not None
    assert len(set(joined.bodies)) == len(joined.bodies) < sum(len(p.bodies) for p in parts)
    expected = sum(generalized(skeleton, sitting, part) for part in parts)
    assert_allclose(generalized(skeleton, sitting, joined), expected, atol=1e-8 * np.abs(expected).max())
    assert together([]) is None


def test_seats_of_several_motions_are_those_of_each_under_its_first_frame(skeleton: Skeleton, sitting: State) -> None:
    """Two motions of three frames, one 5 cm higher and 10 cm farther ahead, in one batch and alone."""
    plain = Seat.under(skeleton, 0.0, (0.0, 0.0))
    assert plain is not None
    shift = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.05, 0.0]], dtype=torch.float64)
    poses = Poses(
        sitting.poses.rotation.expand(2, *sitting.poses.rotation.shape),
        sitting.poses.position + shift[:, None, None],
    )
    seats = plain.of_motions(poses)
    pelvis = plain.on_bodies(poses)[:, 0, plain.of_pelvis]
    for motion in range(2):
        alone = Seat.under(skeleton, float(pelvis[motion, :, 1].min()), (*pelvis[motion, :, [0, 2]].mean(0).tolist(),))
        assert alone is not None
        own = Poses(*(x[motion] for x in poses))
        together_ = plain.on_bodies(poses)
        assert_allclose(
            seats.reached(together_)[motion].numpy(), alone.reached(alone.on_bodies(own)).numpy(), rtol=1e-12
        )
        state = sitting._replace(poses=own)
        rows = replace(
            plain,
            height_m=torch.as_tensor(seats.height_m).expand(-1, 3, -1).flatten(0, 1),
            place=torch.as_tensor(seats.place).expand(-1, 3, -1).flatten(0, 1),
        ).at(torch.arange(3 * motion, 3 * motion + 3))
        found, expected = (s.columns(skeleton, state, CONTACT) for s in (rows, alone))
        assert float(expected.columns.abs().max()) > 1.0
        assert_allclose(found.columns.numpy(), expected.columns.numpy(), rtol=1e-9, atol=1e-9)
