"""Ideal actuators beside the muscles: on a coordinate, at a point of a body, and torques between bodies.

Each exerts its optimal force times its control. Residual and reserve actuators of laboratories are of these kinds
(OpenSim CoordinateActuator, PointActuator, TorqueActuator).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.body_loads import GROUND, turned
from bige_opensim.physics.dynamics import State
from bige_opensim.physics.muscle_pulls import tension_arms
from bige_opensim.physics.skeleton import Skeleton


@dataclass(frozen=True)
class CoordinateDrive:
    """A generalized force on one coordinate."""

    coordinate: str


@dataclass(frozen=True)
class PointForce:
    """A force on `body` along `direction` (unit vector) at `point` (m), each in ground or in the body's own axes."""

    body: str
    point: tuple[float, float, float]
    direction: tuple[float, float, float]
    point_in_ground: bool
    direction_in_ground: bool


@dataclass(frozen=True)
class BodyTorque:
    """A torque about `axis` (unit vector) on `body`, and its opposite on `other`; axis in ground or in body's axes."""

    body: str
    other: str
    axis: tuple[float, float, float]
    axis_in_ground: bool


@dataclass(frozen=True)
class Actuator:
    """A scalar actuator: where it acts, its optimal force (N or N·m) and the smallest and largest control."""

    name: str
    drive: CoordinateDrive | PointForce | BodyTorque
    optimal_force: float
    min_control: float
    max_control: float


def actuator_columns(
    skeleton: Skeleton, state: State, actuators: Sequence[Actuator]
) -> Float[Tensor, "time coordinate actuator"]:
    """Generalized force of every actuator at control 1."""
    rotation, position = state.poses.rotation, state.poses.position
    T, C, K, B = len(rotation), len(skeleton.coordinates), len(actuators), len(skeleton.bodies)
    columns = rotation.new_zeros(T, C, K)
    if not K:
        return columns
    force, moment = rotation.new_zeros(T, K, B, 3), rotation.new_zeros(T, K, B, 3)

    def in_ground(body: str, vector: tuple[float, float, float], given_in_ground: bool) -> Tensor:
        frame = GROUND if given_in_ground else body
        return turned(skeleton, state, frame, rotation.new_tensor(vector).expand(T, 3))

    for k, actuator in enumerate(actuators):
        drive = actuator.drive
        if isinstance(drive, CoordinateDrive):
            columns[:, skeleton.coordinates.index(drive.coordinate), k] = 1.0
        elif isinstance(drive, PointForce) and drive.body != GROUND:
            b = skeleton.bodies.index(drive.body)
            point = in_ground(drive.body, drive.point, drive.point_in_ground)
            if not drive.point_in_ground:
                point = point + position[:, b]
            force[:, k, b] = in_ground(drive.body, drive.direction, drive.direction_in_ground)
            moment[:, k, b] = torch.linalg.cross(point, force[:, k, b])
        elif isinstance(drive, BodyTorque):
            torque = in_ground(drive.body, drive.axis, drive.axis_in_ground)
            for body, sign in ((drive.body, 1.0), (drive.other, -1.0)):
                if body != GROUND:
                    moment[:, k, skeleton.bodies.index(body)] += sign * torque
    columns = columns + tension_arms(skeleton, state, force, moment)
    return columns * rotation.new_tensor(np.array([a.optimal_force for a in actuators]))
