"""Limbs that pass through each other cost a search what they cost a verdict."""

import numpy as np
import torch

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.guidance.objective import OVERLAP, OVERLAP_SCALE, Objective
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import load
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.motion_gates import Anatomy, MotionOnGround, motion_gates

DEPTH = {"name": "depth", "quantity": "depth", "stat": "peak", "at_least": 0.1}


def test_crossed_thighs_are_the_gates_and_opening_them_is_downhill() -> None:
    model = built_in(MODEL)
    skeleton = Skeleton(compile_skeleton(model), dtype=torch.float32)
    exact = Skeleton(compile_skeleton(model))
    bound = Objective.from_dict({"term": [DEPTH]}).bind(skeleton.coordinates, (), skeleton)
    angle = torch.tensor([0.0, 0.35], requires_grad=True)
    q = torch.zeros(2, 5, len(skeleton.coordinates))
    sides = [skeleton.index(f"hip_adduction_{s}") for s in "rl"]
    q = q.index_add(-1, torch.tensor(sides), angle[:, None, None].expand(2, 5, 2))
    observed = bound.observe(q, torch.ones(2))
    penalty = bound.plausibility(observed)["self_intersection"]
    assert penalty[0] == 0.0
    (slope,) = torch.autograd.grad(penalty.sum(), angle)
    assert slope[1] > 0.0

    crossed = Motion(np.linspace(0.0, 1.0, 5), q[1].detach().double().numpy(), skeleton.coordinates)
    ground = MotionOnGround(Anatomy.of(load(model), exact), crossed, np.zeros((5, 2)), 0.0)
    overlap = motion_gates(ground)["self_intersection"].value / 100.0
    assert overlap > OVERLAP
    assert np.isclose(float(observed.overlap[1].detach().max()), overlap, atol=1e-4)
    assert float(penalty[1].detach()) >= ((overlap - OVERLAP) / OVERLAP_SCALE) ** 2 - 1e-3
