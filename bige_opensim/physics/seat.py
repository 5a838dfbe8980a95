"""A seat under pelvis and thighs: contact points that push as those of the feet do, on a plane of their own.

Sitting people rest on the tuberosities of the ischium and on the back of their thighs. The points are told by what
every model of a body has, hips and thighs: they carry through friction-cone rays with non-negative coefficients in the
same least-effort problem as the feet (`contact`, `joint_problem`), and fade in with height above the seat, with speed,
and with distance from the place of the seat.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.contact import ContactColumns, ContactSettings, Supports, columns_at, resultants
from bige_opensim.physics.dynamics import State, body_point_velocity
from bige_opensim.physics.skeleton import Poses, Skeleton

ISCHIUM = (-0.12, -0.17)
"""Where the skin under an ischial tuberosity lies from the hip's centre, forward and up in the pelvis, over the length
of the thigh; UNDER_THIGH: how far the skin of the thigh lies behind its axis. Our choice, after the models' ischial
origins of the hamstrings with two to three centimetres of tissue."""
UNDER_THIGH, ALONG_THIGH = 0.15, (0.15, 0.4)
HEIGHT_M, HEIGHT_SCALE_M = 0.02, 0.008
SPEED_MS, SPEED_SCALE_MS = 0.4, 0.1
REACH_M, REACH_SCALE_M = 0.25, 0.03
"""Middle and width of the fades: with height above the seat, speed, and distance from where the pelvis rests (our
choice; tissue gives way by centimetres, and chairs are half a metre wide)."""


@dataclass(frozen=True, eq=False)
class Seat:
    """A seat's height (m, in the axes of ground) and its place (x, z); P points on the bodies that rest on it.

    Height and place may be those of every frame, (T, 1) and (T, 2): motions of several seats are solved at once.
    bodies: indices of pelvis and thighs; body (P,): which of them carries a point; centre (P, 3): m, in that body.
    """

    height_m: float | Tensor
    place: tuple[float, float] | Tensor
    bodies: list[int]
    body: list[int]
    centre: Float[Tensor, "point 3"]

    @classmethod
    def under(cls, skeleton: Skeleton, height_m: float, place: tuple[float, float]) -> Seat | None:
        """The seat of a model; None where it has no pelvis or thighs."""
        names = ("pelvis", "femur_r", "femur_l")
        if not set(names) <= set(skeleton.bodies):
            return None
        bodies = [skeleton.bodies.index(name) for name in names]
        poses = skeleton(skeleton.default)
        pelvis, body, centre = bodies[0], [], []
        for k, side in ((1, "r"), (2, "l")):
            femur, tibia = bodies[k], skeleton.bodies.index(f"tibia_{side}")
            to_pelvis, to_femur = poses.rotation[pelvis].T, poses.rotation[femur].T
            hip = to_pelvis @ (poses.position[femur] - poses.position[pelvis])
            axis = to_femur @ (poses.position[tibia] - poses.position[femur])
            length = float(axis.norm())
            body.append(0)
            centre.append(hip + length * hip.new_tensor([ISCHIUM[0], ISCHIUM[1], 0.0]))
            for share in ALONG_THIGH:
                body.append(k)
                centre.append(share * axis - length * axis.new_tensor([UNDER_THIGH, 0.0, 0.0]))
        return cls(height_m, place, bodies, body, torch.stack(centre))

    def of_motions(self, poses: Poses, height_m: float | None = None) -> Seat:
        """The seats that motions (batch, time) start on: under the pelvis, where it is in the first frame.

        Of a height, m, where one is given, wherever the pelvis is.
        """
        pelvis = self.on_bodies(poses)[:, :1, self.of_pelvis]
        rests = pelvis[..., 1].amin(-1, keepdim=True)
        height = rests if height_m is None else torch.full_like(rests, height_m)
        return replace(self, height_m=height, place=pelvis[..., [0, 2]].mean(-2))

    def at(self, rows: Any) -> Seat:
        """The seat of some frames."""
        if isinstance(self.height_m, float) or isinstance(self.place, tuple):
            return self
        return replace(self, height_m=self.height_m[rows], place=self.place[rows])

    @property
    def of_pelvis(self) -> list[int]:
        """The points that are on the pelvis."""
        return [k for k, b in enumerate(self.body) if b == 0]

    def on_bodies(self, poses: Poses) -> Float[Tensor, "*batch point 3"]:
        """The points in ground, m."""
        at = [self.bodies[b] for b in self.body]
        R, p = poses.rotation[..., at, :, :], poses.position[..., at, :]
        return p + (R @ self.centre.to(p).unsqueeze(-1)).squeeze(-1)

    def points(self, skeleton: Skeleton, state: State) -> Float[Tensor, "time point 3"]:
        """The points in ground, m."""
        return self.on_bodies(state.poses)

    def reached(self, points: Float[Tensor, "*batch point 3"]) -> Float[Tensor, "*batch point"]:
        """How far a point that is still can push, 0 to 1: by its height above the seat and the pelvis's place."""
        pelvis = points[..., self.of_pelvis, :][..., [0, 2]].mean(-2)
        away = (pelvis - torch.as_tensor(self.place, dtype=pelvis.dtype, device=pelvis.device)).norm(
            dim=-1, keepdim=True
        )
        low = torch.sigmoid((HEIGHT_M - (points[..., 1] - self.height_m)) / HEIGHT_SCALE_M)
        return low * torch.sigmoid((REACH_M - away) / REACH_SCALE_M)

    def readiness(self, skeleton: Skeleton, state: State) -> Float[Tensor, "time point"]:
        """How far a point can push, 0 to 1."""
        points = self.points(skeleton, state)
        at = torch.tensor([self.bodies[b] for b in self.body])
        speed = body_point_velocity(skeleton, state, points, at).norm(dim=-1)
        return self.reached(points) * torch.sigmoid((SPEED_MS - speed) / SPEED_SCALE_MS)

    def on_plane(self, skeleton: Skeleton, state: State) -> Float[Tensor, "time point 3"]:
        """The points at the height of the seat."""
        points = self.points(skeleton, state).clone()
        points[..., 1] = self.height_m
        return points

    def columns(self, skeleton: Skeleton, state: State, settings: ContactSettings) -> ContactColumns:
        """Friction-cone rays as unknowns of the joint problem, as `contact.contact_columns`."""
        bodies = [self.bodies[b] for b in self.body]
        ready = self.readiness(skeleton, state)
        return columns_at(skeleton, state, self.on_plane(skeleton, state), bodies, ready, settings)

    def footprint(self, skeleton: Skeleton, state: State) -> tuple[Tensor, Tensor]:
        """Points that reach the seat, m, and how far they can push."""
        return self.points(skeleton, state), self.readiness(skeleton, state)

    def supports(
        self, skeleton: Skeleton, contact: ContactColumns, coefficients: Float[Tensor, "time unknown"]
    ) -> Supports:
        """What the seat does to pelvis and thighs."""
        force, point, torque = resultants(contact, coefficients, self.body, len(self.bodies), self.height_m)
        return Supports(tuple(skeleton.bodies[b] for b in self.bodies), force, point, torque)
