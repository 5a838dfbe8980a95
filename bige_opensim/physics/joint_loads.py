"""Joint contact forces: what presses the bones of a joint together, as OpenSim's JointReaction analysis has it.

The bodies D distal to a joint obey Newton's law. With masses m_b, mass centres c_b and gravity g, ground forces F_k on
the feet among D, and muscles that pull with tension T_m along the lines u_mJ by which their paths cross the joint,

    f_J = sum_{b in D} m_b (c_b'' - g)  -  sum_{k in D} F_k  -  sum_m T_m u_mJ

is the force that the proximal bone exerts on the distal one (OpenSim `JointReaction`, "on child"; Steele et al. 2012,
doi:10.1016/j.gaitpost.2011.11.023). u_mJ is the force of a unit tension on all bodies of D; its length is 1 where the
path crosses the joint once. Mobility forces (reserves, couplers) act along the joint's own motion and are part of f_J;
passive fibre forces are in it where T has them. Ligaments and the passive structures that models lack are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.contact import GroundForces, feet_of
from bige_opensim.physics.dynamics import State, body_wrenches
from bige_opensim.physics.skeleton import Skeleton

CHILD_BODIES = {"hip": ("femur",), "knee": ("tibia",), "patellofemoral": ("patella",), "ankle": ("talus", "calcn")}
"""Joints that are looked at, and the body distal to each, the first that a model has; without any it has no such joint.
"""


@dataclass(frozen=True)
class LoadedJoint:
    """A joint by name and side ("knee_r"), its distal bone's index, and which bodies hang on it, (B,) of 0 and 1."""

    name: str
    child: int
    distal: Float[Tensor, " body"]


def loaded_joints(skeleton: Skeleton) -> tuple[LoadedJoint, ...]:
    """Hips, knees, patellofemoral joints and ankles that the model has, right before left."""
    found = []
    for name, bones in CHILD_BODIES.items():
        for side in ("r", "l"):
            child = next((skeleton.bodies.index(f"{b}_{side}") for b in bones if f"{b}_{side}" in skeleton.bodies), -1)
            primitive = int(skeleton.tables.body_primitive[child]) if child >= 0 else -1
            if primitive >= 0:
                found.append(LoadedJoint(f"{name}_{side}", child, skeleton.subtree[primitive]))
    return tuple(found)


def contact_forces(
    skeleton: Skeleton,
    state: State,
    joints: tuple[LoadedJoint, ...],
    pull: Float[Tensor, "time joint 3"],
    ground: GroundForces | None,
) -> Float[Tensor, "time joint 3"]:
    """Force of the proximal on the distal bone, N, in ground axes.

    Parameters
    ----------
    pull
        What the muscles that cross each joint exert on the bodies distal to it, N, in ground axes (`pull_of_paths`,
        or lines of action times tensions).
    ground
        Forces under the feet; None where nothing pushes.

    """
    required, _ = body_wrenches(skeleton, state)
    if ground is not None:
        _, carriers = feet_of(skeleton)
        pushed = torch.zeros_like(required)
        pushed[:, carriers[0]], pushed[:, carriers[-1]] = ground.force[:, 0], ground.force[:, 1]
        if ground.supports is not None:
            carried = [skeleton.bodies.index(name) for name in ground.supports.bodies]
            pushed[:, carried] += ground.supports.force
        required = required - pushed
    distal = torch.stack([joint.distal for joint in joints])
    return torch.einsum("jb,tbx->tjx", distal, required) - pull


def pull_of_paths(
    joints: tuple[LoadedJoint, ...],
    unit_force: Float[Tensor, "time muscle body 3"],
    tension: Float[Tensor, "time muscle"],
) -> Float[Tensor, "time joint 3"]:
    """Muscle forces on the bodies distal to each joint, N, from the paths' unit-tension forces on every body."""
    on_bodies = torch.einsum("tmbx,tm->tbx", unit_force, tension)
    return torch.einsum("jb,tbx->tjx", torch.stack([joint.distal for joint in joints]), on_bodies)


def in_child_axes(
    state: State, joints: tuple[LoadedJoint, ...], force: Float[Tensor, "time joint 3"]
) -> Float[Tensor, "time joint 3"]:
    """Forces in the axes of the distal bones: y along the bone, so that compression is its negative y."""
    rotation = state.poses.rotation[:, [joint.child for joint in joints]]
    return (rotation.transpose(-1, -2) @ force.unsqueeze(-1)).squeeze(-1)
