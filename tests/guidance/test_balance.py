"""The zero-moment point by closed forms: a mass at rest, one that is accelerated, one that turns, one in flight."""

import math

import pytest
import torch
from torch import Tensor

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.guidance.balance import beyond_support
from bige_opensim.guidance.quantities import Frame, Observation, demand_on_ground
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.capsules import capsules_of
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.motion_gates import Anatomy, MotionOnGround

WEIGHT_N = 700.0
SQUARE = torch.tensor([[x, 0.0, z] for x in (-0.1, 0.2) for z in (-0.15, 0.15)], dtype=torch.float64)


def through(point: tuple[float, float, float], force: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    f = torch.tensor(force, dtype=torch.float64)
    return f, torch.linalg.cross(torch.tensor(point, dtype=torch.float64), f)


def beyond(point: tuple[float, float, float], force: tuple[float, float, float], **options: float) -> float:
    return float(beyond_support(*through(point, force), SQUARE, WEIGHT_N, **options))


@pytest.mark.parametrize("x", [0.05, 0.2, 0.31])
def test_a_mass_at_rest_is_as_far_out_as_it_stands(x: float):
    assert beyond((x, 1.0, 0.0), (0.0, WEIGHT_N, 0.0)) == pytest.approx(max(x - 0.2, -0.1 - x, -0.15), abs=1e-12)


def test_an_accelerated_mass_presses_behind_itself():
    """A mass at height 1 that is pushed forward by a tenth of its weight has its point 0.1 m further back."""
    assert beyond((0.25, 1.0, 0.0), (0.1 * WEIGHT_N, WEIGHT_N, 0.0)) == pytest.approx(0.15 - 0.2, abs=1e-12)


def test_a_corner_is_left_along_the_nearest_of_the_directions():
    """Beyond a corner the distance is that to the hull of the directions looked at, at least cos(pi / 16) of it."""
    away = 0.1 / math.sqrt(2.0)
    found = beyond((0.2 + away, 1.0, 0.15 + away), (0.0, WEIGHT_N, 0.0))
    assert found == pytest.approx(0.1, abs=1e-12)


def test_the_ground_may_be_elsewhere():
    higher = SQUARE + torch.tensor([0.0, 0.3, 0.0])
    force, moment = through((0.25, 1.3, 0.0), (0.1 * WEIGHT_N, WEIGHT_N, 0.0))
    assert float(beyond_support(force, moment, higher, WEIGHT_N, 0.3)) == pytest.approx(-0.05, abs=1e-12)


def test_nothing_is_asked_of_feet_in_the_air_and_of_a_body_in_flight():
    force, moment = through((0.9, 1.0, 0.0), (0.0, WEIGHT_N, 0.0))
    assert float(beyond_support(force, moment, SQUARE + torch.tensor([0.0, 0.1, 0.0]), WEIGHT_N)) == 0.0
    assert beyond((0.9, 1.0, 0.0), (0.0, 0.1 * WEIGHT_N, 0.0)) == 0.0


def test_a_gradient_leads_back_over_the_feet():
    place = torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    force = torch.tensor([0.0, WEIGHT_N, 0.0], dtype=torch.float64)
    beyond_support(force, torch.linalg.cross(place, force), SQUARE, WEIGHT_N).backward()
    assert place.grad is not None
    assert place.grad[0] == pytest.approx(1.0)


def test_what_a_motion_takes_is_what_the_verdict_finds_it_to_take():
    """The same force and moment as `validation.motion_gates`, whose derivatives are those of splines."""
    skeleton = Skeleton(compile_skeleton(built_in(MODEL)))
    names, time = skeleton.coordinates, torch.linspace(0.0, 2.0, 401, dtype=torch.float64)
    bend = 0.5 - 0.5 * torch.cos(math.pi * time)
    q = torch.zeros(len(time), len(names), dtype=torch.float64)
    for name, size in (("hip_flexion_r", 1.2), ("knee_angle_r", 1.5), ("pelvis_tilt", -0.4), ("arm_flex_l", 1.0)):
        q[:, names.index(name)] = size * bend
    q[:, names.index("pelvis_ty")] = 0.95 - 0.2 * bend
    o = Observation(Frame(names, (), skeleton), q[None], torch.tensor([2.0], dtype=torch.float64), None)
    force, moment = demand_on_ground(o)
    motion = Motion(time.numpy(), q.numpy(), names)
    anatomy = Anatomy(skeleton, {}, [], capsules_of(skeleton))
    theirs = MotionOnGround(anatomy, motion, torch.zeros(len(time), 2).numpy(), 0.0).demand
    inside = slice(5, -5)
    torch.testing.assert_close(force[0, inside], torch.as_tensor(theirs[0][inside]), atol=0.5, rtol=1e-3)
    torch.testing.assert_close(moment[0, inside], torch.as_tensor(theirs[1][inside]), atol=0.5, rtol=1e-3)
