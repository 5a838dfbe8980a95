"""Inverse kinematics of a body that stands on two planted feet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.closest_pose import closest_pose
from bige_opensim.physics.dynamics import State, point_jacobian
from bige_opensim.physics.skeleton import Chain, Displacement, Skeleton

LEG = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle")
SIDES = ("r", "l")
HEEL, TOE = "s1", "s5"
KNEE_M_PER_RAD = 0.3
"""Weight of the knees' equation against those in metres: about the length of half a shank."""
STEPS = 40
SOLVED_M = 1e-5


class ClosedChainError(RuntimeError):
    """A posture that the body cannot take with its feet where they are."""


@dataclass(frozen=True)
class Stance:
    """Where the feet stand: toe-out of the right and left foot in rad, and (2,) places of the heels on the ground, m.

    heel_x and heel_z are ground coordinates (x forward, z to the right) of the heel's contact point.
    """

    toe_out: tuple[float, float]
    heel_x: tuple[float, float]
    heel_z: tuple[float, float]


class PlantedFeet(NamedTuple):
    """Contact points of planted feet over time, and the base of support.

    points (T, P, 3) m; heel and toe: mean of both feet's heel and toe along x, m; middle: between the heels along z, m.
    """

    points: Float[Tensor, "time point 3"]
    heel: float
    toe: float
    middle: float


def plant(skeleton: Skeleton, stance: Stance, heel_lift: Float[Tensor, "*time"]) -> PlantedFeet:
    """Contact points of feet that stand at `stance` while the heels rise by `heel_lift` rad about the toe joint.

    `heel_lift` is that of both heels (T,), or of the right and the left one (T, 2).

    The toes stay flat: with T the transform of a body in ground, the heel's side of the foot is at
    T_calcn = T_toes_flat (T_calcn(mtp)^-1 T_toes(mtp))^-1 for mtp angle = -lift, which bends the toes up. The lowest
    point of the flat foot is at height 0.
    """
    lifts = heel_lift if heel_lift.ndim == 2 else torch.stack([heel_lift, heel_lift], 1)
    still = skeleton.default.expand(len(lifts), -1).clone()
    for foot, side in enumerate(SIDES):
        still[:, skeleton.index(f"mtp_angle_{side}")] = -lifts[:, foot]
    flat = still.clone()
    for side in SIDES:
        flat[:, skeleton.index(f"mtp_angle_{side}")] = 0.0
    lifted, level = _in_toes(skeleton, still), skeleton(flat)
    points = torch.empty(len(lifts), len(skeleton.contact_names), 3, dtype=still.dtype)
    ground = skeleton.contact_points(level)[0]
    for foot, side in enumerate(SIDES):
        mine = [i for i, n in enumerate(skeleton.contact_names) if n.endswith(f"_{side}")]
        heel = next(i for i in mine if skeleton.contact_names[i].startswith(HEEL))
        toes = skeleton.bodies.index(f"toes_{side}")
        centres = level.position[:, toes, None] + lifted[:, mine] @ level.rotation[:, toes].transpose(-1, -2)
        centres[..., 1] -= skeleton.contact_radius[mine]
        centres[..., 1] -= ground[mine, 1].min()
        outward = stance.toe_out[foot] if side == "r" else -stance.toe_out[foot]
        turn = torch.tensor(
            [[np.cos(outward), 0.0, -np.sin(outward)], [0.0, 1.0, 0.0], [np.sin(outward), 0.0, np.cos(outward)]],
            dtype=still.dtype,
        )
        turned = (centres - ground[heel] * torch.tensor([1.0, 0.0, 1.0])) @ turn.T
        points[:, mine] = turned + torch.tensor([stance.heel_x[foot], 0.0, stance.heel_z[foot]], dtype=still.dtype)
    at = {n: float(points[0, i, 0]) for i, n in enumerate(skeleton.contact_names)}
    return PlantedFeet(
        points,
        heel=0.5 * (at[f"{HEEL}_r"] + at[f"{HEEL}_l"]),
        toe=0.5 * (at[f"{TOE}_r"] + at[f"{TOE}_l"]),
        middle=0.5 * sum(stance.heel_z),
    )


def _in_toes(skeleton: Skeleton, q: Float[Tensor, "time coordinate"]) -> Float[Tensor, "time point 3"]:
    """Centres of the contact spheres in the frame of their foot's toes."""
    poses = skeleton(q)
    centres = skeleton.contact_points(poses)
    centres[..., 1] += skeleton.contact_radius
    local = torch.empty_like(centres)
    for i, name in enumerate(skeleton.contact_names):
        toes = skeleton.bodies.index(f"toes_{name[-1]}")
        apart = centres[:, i] - poses.position[:, toes]
        local[:, i] = (apart.unsqueeze(-2) @ poses.rotation[:, toes]).squeeze(-2)
    return local


def solve(
    skeleton: Skeleton,
    posture: Float[Tensor, "time coordinate"],
    support: PlantedFeet,
    knee: Float[Tensor, " time"],
    com_x: Float[Tensor, " time"],
    com_z: Float[Tensor, " time"],
) -> Float[Tensor, "time coordinate"]:
    """Coordinates with planted feet, a given mean knee flexion and a given centre of mass over the base.

    Per frame, `closest_pose` in the fifteen unknowns x = (pelvis translation, and hip, knee, ankle, subtalar of both
    legs), with everything else as in `posture`:

        0 = p_i(x) - p_i*                    contact points of both feet, twelve independent equations
        0 = (k_r + k_l) / 2 - knee           depth
        0 = c_x(x) - com_x,  c_z(x) - com_z  the centre of mass, over the base of support

    As many equations as unknowns: with the pelvis's orientation given, the body has no freedom left. All frames are
    solved at once.

    Raises
    ------
    ClosedChainError
        The feet cannot be reached to 0.01 mm in some frame.

    """
    sought = [*skeleton.tables.root["translations"], *(f"{n}_{s}" for s in SIDES for n in LEG)]
    unknown = [skeleton.index(n) for n in sought]
    knees = [sought.index(f"knee_angle_{s}") for s in SIDES]
    q = _start(skeleton, posture, knee)
    depth_row = torch.zeros(len(q), 1, len(unknown), dtype=q.dtype)
    depth_row[..., knees] = 0.5 * KNEE_M_PER_RAD

    def equations(x: Tensor) -> tuple[Tensor, Tensor]:
        q[:, unknown] = x
        displacement = skeleton.displacements(q)
        chain = skeleton.chain(displacement.value)
        feet, com, J_feet, J_com = _points(skeleton, chain, displacement, unknown)
        depth = KNEE_M_PER_RAD * (0.5 * x[:, knees].sum(1) - knee)
        over = torch.stack([com[:, 0] - com_x, com[:, 2] - com_z], 1)
        r = torch.cat([(feet - support.points).flatten(1), depth[:, None], over], 1)
        return r, torch.cat([J_feet.flatten(1, 2), depth_row, J_com[:, [0, 2]]], 1)

    free = torch.full((len(unknown),), torch.inf, dtype=q.dtype)
    start, even = q[:, unknown], torch.ones_like(free)
    found = closest_pose(equations, start, even, -free, free, tolerance=0.1 * SOLVED_M, steps=STEPS)
    worst = int(found.gap.argmax())
    if not float(found.gap[worst]) < SOLVED_M:
        raise ClosedChainError(
            f"frame {worst}: the feet stay {1e3 * float(found.gap[worst]):.1f} mm from where they are planted at a "
            f"knee flexion of {np.rad2deg(float(knee[worst])):.0f} degrees."
        )
    q[:, unknown] = found.x
    return q


def close_legs(
    skeleton: Skeleton, posture: Float[Tensor, "time coordinate"], support: PlantedFeet
) -> Float[Tensor, "time coordinate"]:
    """Coordinates with planted feet and everything above the hips as in `posture`, whose legs are a first guess.

    Twelve unknowns, hip, knee, ankle and subtalar of both legs, and the twelve independent equations of `solve` for the
    contact points of the feet.

    Raises
    ------
    ClosedChainError
        The feet cannot be reached to 0.01 mm in some frame.

    """
    unknown = [skeleton.index(f"{n}_{s}") for s in SIDES for n in LEG]
    q = posture.clone()

    def equations(x: Tensor) -> tuple[Tensor, Tensor]:
        q[:, unknown] = x
        displacement = skeleton.displacements(q)
        feet, _, J_feet, _ = _points(skeleton, skeleton.chain(displacement.value), displacement, unknown)
        return (feet - support.points).flatten(1), J_feet.flatten(1, 2)

    free = torch.full((len(unknown),), torch.inf, dtype=q.dtype)
    even = torch.ones_like(free)
    found = closest_pose(equations, q[:, unknown], even, -free, free, tolerance=0.1 * SOLVED_M, steps=STEPS)
    worst = int(found.gap.argmax())
    if not float(found.gap[worst]) < SOLVED_M:
        raise ClosedChainError(
            f"frame {worst}: the feet stay {1e3 * float(found.gap[worst]):.1f} mm from where they are planted."
        )
    q[:, unknown] = found.x
    return q


def _start(
    skeleton: Skeleton, posture: Float[Tensor, "time coordinate"], knee: Float[Tensor, " time"]
) -> Float[Tensor, "time coordinate"]:
    q = posture.clone()
    for side in SIDES:
        for name, share in (("hip_flexion", 0.9), ("knee_angle", 1.0), ("ankle_angle", 0.35)):
            q[:, skeleton.index(f"{name}_{side}")] = share * knee
    return q


def _points(
    skeleton: Skeleton, chain: Chain, displacement: Displacement, unknown: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Contact points (T, P, 3), centre of mass (T, 3), and their derivatives (T, P, 3, U) and (T, 3, U)."""
    poses = skeleton.body_frames(chain)
    state = State(chain, displacement, poses, None)  # type: ignore[arg-type]  # point_jacobian asks for no motion
    feet, bodies = skeleton.contact_points(poses), skeleton.body_coms(poses)
    J_feet = point_jacobian(skeleton, state, _rolling(skeleton, feet), skeleton.contact_body_index.tolist())
    J_bodies = point_jacobian(skeleton, state, bodies, list(range(len(skeleton.bodies))))
    share = skeleton.mass / skeleton.mass.sum()
    return feet, skeleton.com(poses), J_feet[..., unknown], torch.einsum("b,tbxu->txu", share, J_bodies[..., unknown])


def _rolling(skeleton: Skeleton, points: Float[Tensor, "time point 3"]) -> Float[Tensor, "time point 3"]:
    """Centres of the spheres: a lowest point, always straight below its centre, moves as the centre does."""
    up = torch.zeros_like(skeleton.contact_centre)
    up[:, 1] = skeleton.contact_radius
    return points + up
