"""How the wrench that a motion takes depends on the body's inertial parameters: the regressor of identification.

Newton-Euler is linear in the mass m of a body, its first moment m c and its inertia about a point of the body (Atkeson,
An and Hollerbach 1986, Int J Robot Res 5(3):101-119). With a body's inertia growing as its mass, a share s of more mass
adds s times the body's own wrench, exactly. A mass centre that moves by d in the body adds, with R the body's rotation
and w, w' its angular velocity and acceleration,

    dF = m (w' x R d + w x (w x R d)),        dM = c x dF + m R d x (a - g)

about the ground origin, c and a place and acceleration of the mass centre before. The inertia about the mass centre is
kept, as where OpenSim's RRATool moves a mass centre; left out is the product R d x dF, which is of second order in d.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.dynamics import State, body_wrenches
from bige_opensim.physics.skeleton import Skeleton


def mass_columns(
    skeleton: Skeleton, state: State, groups: list[list[int]]
) -> tuple[Float[Tensor, "*batch 3 group"], Float[Tensor, "*batch 3 group"]]:
    """Force (N) and moment about the ground origin (N·m) per share of more mass in each group of bodies."""
    force, moment = body_wrenches(skeleton, state)
    return tuple(torch.stack([part[..., g, :].sum(-2) for g in groups], -1) for part in (force, moment))  # type: ignore[return-value]


def mass_centre_columns(
    skeleton: Skeleton, state: State, body: int
) -> tuple[Float[Tensor, "*batch 3 axis"], Float[Tensor, "*batch 3 axis"]]:
    """Force (N) and moment about the ground origin (N·m) per metre that a body's mass centre moves along its axes."""
    motions, mass = state.motions, skeleton.mass[body]
    axes = state.poses.rotation[..., body, :, :].transpose(-1, -2)  # row k: R e_k
    omega, alpha = (m[..., body, :].unsqueeze(-2).expand_as(axes) for m in (motions.omega, motions.alpha))
    cross = torch.linalg.cross
    force = mass * (cross(alpha, axes) + cross(omega, cross(omega, axes)))
    pull = motions.com_acceleration[..., body, :] - skeleton.gravity
    place = skeleton.body_coms(state.poses)[..., body, :]
    moment = cross(place.unsqueeze(-2).expand_as(axes), force)
    moment = moment + mass * cross(axes, pull.unsqueeze(-2).expand_as(axes))
    return force.transpose(-1, -2), moment.transpose(-1, -2)
