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

    Force (T, 3) in N, torque (T, 3) in N·m, point (T, 3) in m; None where the load has none. Without a point the force
    acts at the body's origin.
    """

    name: str
    body: str
    force: Float[Tensor, "time 3"] | None
    torque: Float[Tensor, "time 3"] | None
    point: Float[Tensor, "time 3"] | None
    expressed_in: str
    point_in: str

    def in_ground(self, skeleton: Skeleton, state: State) -> BodyLoad:
        """The same load in ground axes, its point in ground."""
        point = None if self.point is None else turned(skeleton, state, self.point_in, self.point)
        if point is not None and self.point_in != GROUND:
            point = point + state.poses.position[:, skeleton.bodies.index(self.point_in)]
        force, torque = (
            None if v is None else turned(skeleton, state, self.expressed_in, v) for v in (self.force, self.torque)
        )
        return BodyLoad(self.name, self.body, force, torque, point, GROUND, GROUND)

    def point_in_body(self, skeleton: Skeleton, state: State) -> Float[Tensor, "time 3"] | None:
        """The point of a load that is in ground, in the axes and from the origin of its body."""
        if self.point is None or self.body == GROUND:
            return self.point
        b = skeleton.bodies.index(self.body)
        away = self.point - state.poses.position[:, b]
        return (state.poses.rotation[:, b].transpose(-1, -2) @ away.unsqueeze(-1)).squeeze(-1)


def turned(skeleton: Skeleton, state: State, frame: str, vector: Float[Tensor, "time 3"]) -> Float[Tensor, "time 3"]:
    """A vector in ground axes that is given in the axes of a body, or of ground."""
    if frame == GROUND:
        return vector
    return (state.poses.rotation[:, skeleton.bodies.index(frame)] @ vector.unsqueeze(-1)).squeeze(-1)


def generalized_loads(skeleton: Skeleton, state: State, loads: Sequence[BodyLoad]) -> Float[Tensor, "time coordinate"]:
    """Generalized forces of all loads together; they are in ground (see `BodyLoad.in_ground`)."""
    position = state.poses.position
    T, B = position.shape[:2]
    force, moment = position.new_zeros(T, B, 3), position.new_zeros(T, B, 3)
    for load in (item for item in loads if item.body != GROUND):
        b = skeleton.bodies.index(load.body)
        if load.force is not None:
            force[:, b] += load.force
            point = position[:, b] if load.point is None else load.point
            moment[:, b] += torch.linalg.cross(point, load.force)
        if load.torque is not None:
            moment[:, b] += load.torque
    return wrench_to_generalized(skeleton, state, force, moment)
