"""Loads on bodies from outside: forces, the points where they act, and free torques (OpenSim ExternalForce)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.dynamics import State, wrench_to_generalized
from bige_opensim.physics.skeleton import Skeleton

GROUND = "ground"


@dataclass(frozen=True)
class BodyLoad:
    """A load on `body` over time, force and torque in the axes of `expressed_in`, the point in the frame `point_in`.

    Forces (T, 3) in N, torques (T, 3) in N·m, points (T, 3) in m; without a point the force acts at the body's origin.
    """

    body: str
    force: Float[Tensor, "time 3"]
    torque: Float[Tensor, "time 3"]
    point: Float[Tensor, "time 3"] | None
    expressed_in: str
    point_in: str


def generalized_loads(skeleton: Skeleton, state: State, loads: Sequence[BodyLoad]) -> Float[Tensor, "time coordinate"]:
    """Generalized forces of all loads together."""
    rotation, position = state.poses.rotation, state.poses.position
    T, B = position.shape[:2]
    force, moment = position.new_zeros(T, B, 3), position.new_zeros(T, B, 3)

    def turned(frame: str, vector: Tensor) -> Tensor:
        if frame == GROUND:
            return vector
        return (rotation[:, skeleton.bodies.index(frame)] @ vector.unsqueeze(-1)).squeeze(-1)

    for load in (item for item in loads if item.body != GROUND):
        b = skeleton.bodies.index(load.body)
        pull = turned(load.expressed_in, load.force)
        if load.point is None:
            point = position[:, b]
        else:
            point = turned(load.point_in, load.point)
            if load.point_in != GROUND:
                point = point + position[:, skeleton.bodies.index(load.point_in)]
        force[:, b] += pull
        moment[:, b] += turned(load.expressed_in, load.torque) + torch.linalg.cross(point, pull)
    return wrench_to_generalized(skeleton, state, force, moment)
