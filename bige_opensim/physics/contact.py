"""Foot-ground contact: where the ground is, which points can push, and what a foot's forces sum up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.dynamics import State, body_point_velocity, point_jacobian
from bige_opensim.physics.skeleton import Skeleton

FEET = ("r", "l")


@dataclass(frozen=True)
class ContactSettings:
    """How points of the feet become able to push, and what pushing costs.

    friction: Coulomb coefficient of the cone; rays: edges of the cone's pyramid; weight: cost of a ray's coefficient in
    body weights squared, against 1 for an activation squared; height_m, height_scale_m and speed_ms, speed_scale_ms:
    middle and width of the fade with height above ground and with speed; residual_force_n, residual_moment_nm: optimal
    force of the root's residuals inside the joint problem, small so that ground forces carry the body.
    """

    friction: float = 0.8
    rays: int = 4
    weight: float = 0.05
    height_m: float = 0.04
    height_scale_m: float = 0.008
    speed_ms: float = 0.8
    speed_scale_ms: float = 0.15
    residual_force_n: float = 20.0
    residual_moment_nm: float = 5.0


class Supports(NamedTuple):
    """What supports S bodies beside the feet, by name: forces (N) at points (m) with couples (N·m), in ground axes."""

    bodies: tuple[str, ...]
    force: Float[Tensor, "time body 3"]
    point: Float[Tensor, "time body 3"]
    torque: Float[Tensor, "time body 3"]

    def at(self, rows: Any) -> Supports:
        """Some frames."""
        return Supports(self.bodies, self.force[rows], self.point[rows], self.torque[rows])


class GroundForces(NamedTuple):
    """What the ground does to the right and the left foot (axis -2: r, l): N, m, N·m, in ground axes.

    The force acts at `point`, on the ground plane, together with the couple `torque`, which is vertical wherever the
    foot carries load. `supports` is what carries besides, such as a seat; None where nothing does.
    """

    force: Float[Tensor, "time 2 3"]
    point: Float[Tensor, "time 2 3"]
    torque: Float[Tensor, "time 2 3"]
    supports: Supports | None = None

    def at(self, rows: Any) -> GroundForces:
        """Some frames."""
        supports = None if self.supports is None else self.supports.at(rows)
        return GroundForces(self.force[rows], self.point[rows], self.torque[rows], supports)

    @property
    def total(self) -> Float[Tensor, "time 3"]:
        """All that carries the body together, N."""
        feet = self.force.sum(1)
        return feet if self.supports is None else feet + self.supports.force.sum(1)


class FeetOnGround(NamedTuple):
    """Foot points on the ground plane, m, and how far each can push, 0 to 1."""

    points: Float[Tensor, "time point 3"]
    ready: Float[Tensor, "time point"]

    def at(self, rows: Any) -> FeetOnGround:
        """Some frames."""
        return FeetOnGround(self.points[rows], self.ready[rows])


class ContactColumns(NamedTuple):
    """Unknowns of the contact: generalized force per unit (..., C, n), and force (n, 3) per unit in N."""

    columns: Tensor
    force: Tensor
    points: Tensor


def feet_of(skeleton: Skeleton) -> tuple[list[int], list[int]]:
    """Foot (0 right, 1 left) of every contact point, and the calcaneus that carries it.

    A foot's ground force acts on its calcaneus as one load, as in OpenSim's ExternalLoads.
    """
    foot = [FEET.index(name[-1]) for name in skeleton.contact_names]
    return foot, [skeleton.bodies.index(f"calcn_{FEET[f]}") for f in foot]


def ground_height(points: Float[Tensor, "time point 3"], *, percentile: float = 5.0) -> float:
    """Height of the ground, m: a low percentile over time of the lowest foot point.

    A percentile and not the minimum, because single frames of inverse kinematics dip; a low one, because jumps leave
    the ground for part of the trial.
    """
    lowest = points[..., 1].amin(-1)
    return float(torch.quantile(lowest, percentile / 100.0))


def readiness(
    points: Float[Tensor, "time point 3"], velocity: Float[Tensor, "time point 3"], ground: float, s: ContactSettings
) -> Float[Tensor, "time point"]:
    """How far a point can push, 0 to 1: product of two logistic fades, in height and in speed."""
    low = torch.sigmoid((s.height_m - (points[..., 1] - ground)) / s.height_scale_m)
    slow = torch.sigmoid((s.speed_ms - velocity.norm(dim=-1)) / s.speed_scale_ms)
    return low * slow


def contact_columns(
    skeleton: Skeleton,
    state: State,
    qd: Float[Tensor, "time coordinate"],
    ground: float,
    settings: ContactSettings,
) -> ContactColumns:
    """Friction-cone rays at the foot points as non-negative unknowns, in body weights.

    Ray k of a point pushes along (mu cos t_k, 1, mu sin t_k), scaled by body weight and by the point's readiness: a
    fading point pays more and more for its force, and vanishes smoothly.
    """
    down = feet_on_ground(skeleton, state, ground, settings)
    return columns_at(skeleton, state, down.points, feet_of(skeleton)[1], down.ready, settings)


def feet_on_ground(skeleton: Skeleton, state: State, ground: float, settings: ContactSettings) -> FeetOnGround:
    """Where the foot points are above the ground, and how ready their height and speed make them."""
    points = skeleton.contact_points(state.poses)
    velocity = body_point_velocity(skeleton, state, points, skeleton.contact_body_index)
    ready = readiness(points, velocity, ground, settings)
    on_plane = points.clone()
    on_plane[..., 1] = ground
    return FeetOnGround(on_plane, ready)


def columns_at(
    skeleton: Skeleton,
    state: State,
    points: Float[Tensor, "time point 3"],
    bodies: list[int],
    ready: Float[Tensor, "time point"],
    settings: ContactSettings,
) -> ContactColumns:
    """The same at any points of bodies, each with its readiness."""
    jacobian = point_jacobian(skeleton, state, points, bodies)
    angle = torch.arange(settings.rays, dtype=points.dtype, device=points.device) * (2.0 * torch.pi / settings.rays)
    ray = torch.stack([settings.friction * angle.cos(), torch.ones_like(angle), settings.friction * angle.sin()], -1)
    force = skeleton.weight_n * ready[..., None, None] * ray
    columns = torch.einsum("tpkx,tpxc->tcpk", force, jacobian).flatten(-2)
    return ContactColumns(columns, force, points)


def sum_feet(
    skeleton: Skeleton, contact: ContactColumns, coefficients: Float[Tensor, "time unknown"], ground: float
) -> GroundForces:
    """Total force of each foot, its centre of pressure on the ground plane, and the free vertical couple.

    With resultant F and moment M about a reference point c on the plane, the centre of pressure is
    p = c + (M_z / F_y, 0, -M_x / F_y), and the remaining couple is vertical: M_y - (p - c)_z F_x + (p - c)_x F_z.
    """
    return GroundForces(*resultants(contact, coefficients, feet_of(skeleton)[0], len(FEET), ground))


def resultants(
    contact: ContactColumns,
    coefficients: Float[Tensor, "time unknown"],
    group: list[int],
    groups: int,
    plane: float | Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Force, centre of pressure on a plane and free couple (T, G, 3) of each group of points.

    The plane's height is one, or that of every frame, (T, 1), m.
    """
    rays = contact.force.shape[-2]
    per_point = torch.einsum("tpkx,tpk->tpx", contact.force, coefficients.unflatten(-1, (-1, rays)))
    side = torch.nn.functional.one_hot(torch.tensor(group, device=per_point.device), groups).to(per_point.dtype)
    force = torch.einsum("tpx,ps->tsx", per_point, side)
    centre = torch.einsum("tpx,ps->tsx", contact.points, side) / side.sum(0)[:, None]
    centre[..., 1] = plane
    arm = contact.points[:, :, None, :] - centre[:, None]
    moments = torch.linalg.cross(arm, per_point[:, :, None, :].expand_as(arm))
    pressed = centre_of_pressure(force, centre, torch.einsum("tpsx,ps->tsx", moments, side))
    return pressed.force, pressed.point, pressed.torque


def centre_of_pressure(
    force: Float[Tensor, "time foot 3"], about: Float[Tensor, "time foot 3"], moment: Float[Tensor, "time foot 3"]
) -> GroundForces:
    """Move a wrench to its centre of pressure; a foot that carries less than 1 N keeps its reference point."""
    vertical = force[..., 1]
    loaded = vertical > 1.0
    safe = torch.where(loaded, vertical, torch.ones_like(vertical))
    shift = torch.stack([moment[..., 2] / safe, torch.zeros_like(safe), -moment[..., 0] / safe], -1)
    shift = torch.where(loaded[..., None], shift, 0.0)
    return GroundForces(force, about + shift, moment - torch.linalg.cross(shift, force))
