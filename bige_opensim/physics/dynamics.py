"""Inverse dynamics of a compiled skeleton: Newton-Euler in ground axes, one pass down the tree.

For primitive k with axis a_k, origin o_k and displacement s_k(q), Newton and Euler give for every body the force
F_b = m (c'' - g) and the moment N_b = I alpha + omega x I omega about its mass centre. With the wrench of all bodies
moved by k taken about the ground origin, M_k = sum (N_b + c_b x F_b), F_k = sum F_b, the primitive carries

    t_k = a_k . (M_k - o_k x F_k)   for a rotation,      t_k = a_k . F_k   for a translation,

and coordinate q_c carries tau_c = sum_k (ds_k/dq_c) t_k, couplers included (virtual work; Featherstone 2008,
doi:10.1007/978-1-4899-7560-7).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.physics.skeleton import Chain, Displacement, Poses, Skeleton


class Motions(NamedTuple):
    """Angular velocity and acceleration (..., B, 3), and velocity and acceleration of the mass centres (..., B, 3)."""

    omega: Tensor
    alpha: Tensor
    com_velocity: Tensor
    com_acceleration: Tensor


class State(NamedTuple):
    """Everything of a frame that depends on kinematics only."""

    chain: Chain
    displacement: Displacement
    poses: Poses
    motions: Motions


def kinematics(
    skeleton: Skeleton,
    q: Float[Tensor, "*batch coordinate"],
    qd: Float[Tensor, "*batch coordinate"],
    qdd: Float[Tensor, "*batch coordinate"],
    *,
    like_simbody: bool = True,
) -> State:
    """Poses, velocities and accelerations of all bodies, in ground, from q, q' and q'' (rad, m, s).

    Simbody's angular acceleration of a joint whose rotations share a coordinate (the knee of Lai et al. 2017) is not
    the derivative of its angular velocity: it adds r_i' r_j' W_i x W_j for some pairs of axes, some 0.3 N at the pelvis
    of a squat. `like_simbody` adds the same terms, so that moments and labels agree with OpenSim's; without them the
    kinematics is exact and conserves energy.
    """
    d = skeleton.displacements(q)
    chain = skeleton.chain(d.value)
    v, a = qd[..., skeleton.coordinate_index], qdd[..., skeleton.coordinate_index]
    rate, second = d.slope * v, d.slope * a + d.curvature * v * v
    rotating = skeleton.is_rotation
    spin = torch.where(rotating, rate, 0.0)[..., None] * chain.axis
    slide = torch.where(rotating, 0.0, rate)[..., None] * chain.axis
    spin_rate = torch.where(rotating, second, 0.0)[..., None] * chain.axis
    slide_rate = torch.where(rotating, 0.0, second)[..., None] * chain.axis
    if like_simbody and len(skeleton.simbody_spin):
        carrier, i, j, sign = skeleton.simbody_spin.unbind(1)
        extra = sign[:, None] * _cross(spin[..., i, :], spin[..., j, :])
        spin_rate = spin_rate.index_add(-2, carrier, extra)
    omega, alpha, velocity, acceleration = _rates(skeleton, chain, spin, slide, spin_rate, slide_rate)
    poses = skeleton.body_frames(chain)
    carrier = skeleton.body_primitive_index
    w, dw = omega[..., carrier, :], alpha[..., carrier, :]
    arm = skeleton.body_coms(poses) - chain.position[..., carrier, :]
    com_velocity = velocity[..., carrier, :] + _cross(w, arm)
    com_acceleration = acceleration[..., carrier, :] + _cross(dw, arm) + _cross(w, _cross(w, arm))
    return State(chain, d, poses, Motions(w, dw, com_velocity, com_acceleration))


def with_mass_centres(state: State, before: Skeleton, after: Skeleton) -> State:
    """The state of a skeleton that moves like `before`, whose bodies have their mass centres elsewhere.

    A mass centre that lies d further in a body that turns by w and w' has w x d more velocity and w' x d + w x (w x d)
    more acceleration; a tenth of the time of `kinematics`.
    """
    m = state.motions
    d = (state.poses.rotation @ (after.com_local - before.com_local).unsqueeze(-1)).squeeze(-1)
    carried = _cross(m.omega, d)
    acceleration = m.com_acceleration + _cross(m.alpha, d) + _cross(m.omega, carried)
    return state._replace(motions=m._replace(com_velocity=m.com_velocity + carried, com_acceleration=acceleration))


def _rates(
    skeleton: Skeleton, chain: Chain, spin: Tensor, slide: Tensor, spin_rate: Tensor, slide_rate: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Angular velocity and acceleration of the moved frames, velocity and acceleration of their origins.

    Primitive j adds its share to all that it moves. With w and dw of the frame above it and r from that frame's origin
    to its own, the sums over k and its ancestors j are

        w_k = sum spin_j,                          v_k = sum w x r + slide_j,
        dw_k = sum spin_rate_j + w x spin_j,       a_k = sum dw x r + w x (w x r + 2 slide_j) + slide_rate_j,

    four products with one matrix instead of a walk down the tree.
    """
    w = _summed(skeleton.ancestors, spin)
    w_above = _above(skeleton, w)
    dw = _summed(skeleton.ancestors, spin_rate + _cross(w_above, spin))
    arm = chain.position - _above(skeleton, chain.position)
    carried = _cross(w_above, arm)
    velocity = _summed(skeleton.ancestors, carried + slide)
    bent = _cross(_above(skeleton, dw), arm) + _cross(w_above, carried + 2.0 * slide)
    return w, dw, velocity, _summed(skeleton.ancestors, bent + slide_rate)


def _summed(matrix: Float[Tensor, "into from"], x: Float[Tensor, "*batch from 3"]) -> Float[Tensor, "*batch into 3"]:
    """matrix @ x as one product for the whole batch, several times as fast as one for each frame."""
    return (x.transpose(-1, -2).contiguous() @ matrix.T).transpose(-1, -2)


def _above(skeleton: Skeleton, x: Float[Tensor, "*batch primitive 3"]) -> Float[Tensor, "*batch primitive 3"]:
    """Values of the frames above, zero for ground."""
    padded = torch.cat([x.new_zeros(*x.shape[:-2], 1, 3), x], -2)
    return padded.index_select(-2, skeleton.parent_index + 1)


def inverse_dynamics(skeleton: Skeleton, state: State) -> Float[Tensor, "*batch coordinate"]:
    """Generalized forces (N, N·m) that the motion takes, gravity included, without any external load.

    Agrees with OpenSim's `InverseDynamicsTool` without Muscles and Actuators to 1e-4 of the peak moment; a coordinate
    that drives a coupler also carries the share of its dependent coordinate.
    """
    force, moment = body_wrenches(skeleton, state)
    return wrench_to_generalized(skeleton, state, force, moment)


def body_wrenches(
    skeleton: Skeleton, state: State
) -> tuple[Float[Tensor, "*batch body 3"], Float[Tensor, "*batch body 3"]]:
    """What every body's motion takes, gravity included: force (N) and moment about the ground origin (N·m)."""
    m = state.motions
    force = skeleton.mass[:, None] * (m.com_acceleration - skeleton.gravity)
    R = state.poses.rotation
    local = R.transpose(-1, -2) @ torch.stack([m.omega, m.alpha], -1)
    spin, spin_rate = (R @ (skeleton.inertia @ local)).unbind(-1)
    moment = spin_rate + _cross(m.omega, spin)
    moment = moment + _cross(skeleton.body_coms(state.poses), force)
    return force, moment


def wrench_to_generalized(
    skeleton: Skeleton,
    state: State,
    force: Float[Tensor, "*batch body 3"],
    moment: Float[Tensor, "*batch body 3"],
) -> Float[Tensor, "*batch coordinate"]:
    """Generalized forces of wrenches on bodies: force in N, moment in N·m about the ground origin, ground axes."""
    total_force, total_moment = (_summed(skeleton.subtree, wrench) for wrench in (force, moment))
    about_axis = total_moment - _cross(state.chain.origin, total_force)
    load = torch.where(skeleton.is_rotation[:, None], about_axis, total_force)
    return ((state.chain.axis * load).sum(-1) * state.displacement.slope) @ skeleton.selector


def body_point_velocity(
    skeleton: Skeleton, state: State, points: Float[Tensor, "*batch point 3"], bodies: Int[Tensor, " point"]
) -> Float[Tensor, "*batch point 3"]:
    """Velocity in ground, m/s, of points in ground that move with the given bodies."""
    motions = state.motions
    arm = points - skeleton.body_coms(state.poses)[..., bodies, :]
    return motions.com_velocity[..., bodies, :] + _cross(motions.omega[..., bodies, :], arm)


def point_jacobian(
    skeleton: Skeleton, state: State, points: Float[Tensor, "*batch point 3"], bodies: list[int]
) -> Float[Tensor, "*batch point 3 coordinate"]:
    """d(point velocity)/d(q') of points in ground that move with the given bodies, m per unit of coordinate.

    Only primitives that move one of the bodies are looked at: column k is a_k x (p - o_k) for a rotation, a_k for a
    translation, times ds_k/dq_c.
    """
    moved = skeleton.subtree[:, bodies]
    used = torch.nonzero(moved.any(1)).flatten()
    arm = points[..., :, None, :] - state.chain.origin[..., None, used, :]
    axis = state.chain.axis[..., None, used, :].expand_as(arm)
    column = torch.where(skeleton.is_rotation[used, None], _cross(axis, arm), axis)
    scaled = column * (state.displacement.slope[..., None, used] * moved[used].T)[..., None]
    return scaled.transpose(-1, -2) @ skeleton.selector[used]


def mechanical_energy(skeleton: Skeleton, state: State) -> Float[Tensor, "*batch"]:
    """Kinetic plus potential energy, J."""
    m, R = state.motions, state.poses.rotation
    local = (R.transpose(-1, -2) @ m.omega.unsqueeze(-1)).squeeze(-1)
    turning = (local * (skeleton.inertia @ local.unsqueeze(-1)).squeeze(-1)).sum((-1, -2))
    moving = (skeleton.mass * (m.com_velocity**2).sum(-1)).sum(-1)
    height = -(skeleton.mass[:, None] * skeleton.body_coms(state.poses) * skeleton.gravity).sum((-1, -2))
    return 0.5 * (turning + moving) + height


def _cross(a: Tensor, b: Tensor) -> Tensor:
    (a1, a2, a3), (b1, b2, b3) = a.unbind(-1), b.unbind(-1)
    return torch.stack([a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1], -1)
