"""Activations with the moments and ground forces that go with them, differentiable in the motion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.dynamics import kinematics
from bige_opensim.physics.joint_problem import MusclesAndReserves, net_generalized_forces, solve_with_ground
from bige_opensim.physics.muscle_pulls import polynomial_pulls
from bige_opensim.physics.predictor import PhysicsPredictor


class MotionForces(NamedTuple):
    """activations (T, M); moments (T, C): net generalized forces, N·m and N; grf (T, 6): x, y, z right, left, N."""

    activations: Tensor
    moments: Tensor
    grf: Tensor


def motion_forces(
    predictor: PhysicsPredictor, q: Float[Tensor, "time coordinate"], duration: Float[Tensor, ""]
) -> MotionForces:
    """What one motion of a body that floats takes; q over all coordinates of the skeleton, rad and m, ground at 0."""
    skeleton, cost = predictor.skeleton, predictor.cost
    rate = predictor.rate / duration
    qd = rate @ q
    state = kinematics(skeleton, q, qd, rate @ qd)
    pulls = polynomial_pulls(predictor.muscles, q, qd, passive=cost.passive)
    effort = MusclesAndReserves(
        pulls.columns, predictor.lower, predictor.upper, predictor.reserve, predictor.root, predictor.free,
        weight=predictor.weight, exponent=cost.exponent, fibres=pulls.passive_forces if cost.passive else None,
    )  # fmt: skip
    solution, ground = solve_with_ground(skeleton, state, qd, effort, 0.0, predictor.settings)
    moments = net_generalized_forces(skeleton, state, ground)
    return MotionForces(solution.x[:, : len(predictor.lower)], moments, torch.flatten(ground.force, 1))
