"""What carries besides feet and seat: hands on a rail or on the person's own thighs, and calves under thighs.

Both are unknowns of the joint problem beside the feet (`joint_problem`), in body weights, and fade as those do. A rail
is part of the surroundings: while a hand is still, it may take a force in any direction, as the non-negative
coefficients of six rays along the axes of ground. A hand on the thigh is a force between two bodies of the person,
along the line n from the thigh's axis to the hand: f n on the hand and -f n on the thigh, at the hand. It carries no
weight to the ground, but unloads back and hip. So do calves on which thighs rest at the bottom of a deep squat, and
unload the knee, which no muscle can hold there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.contact import FEET, ContactColumns, ContactSettings, Supports
from bige_opensim.physics.dynamics import State, body_point_velocity, point_jacobian
from bige_opensim.physics.skeleton import Skeleton

HANDS = {"r": ("hand_r", "radius_r"), "l": ("hand_l", "radius_l")}
STILL_MS, STILL_SCALE_MS = 0.15, 0.03
TOUCH_M, TOUCH_SCALE_M = 0.14, 0.02
REST, APART, APART_SCALE = 0.3, 0.8, 0.08
"""Middle and width of the fades: with a hand's speed on a rail, with its distance from the thigh's axis (our choice;
half a thigh and half a hand are 11 cm); of calves, see `OnCalves` (our choice)."""


class Carrier(Protocol):
    """What carries besides the feet: unknowns of the joint problem, and what they do to the bodies."""

    def at(self, rows: Any) -> Carrier:
        """What carries in some frames."""

    def columns(self, skeleton: Skeleton, state: State, settings: ContactSettings) -> ContactColumns:
        """Non-negative unknowns in body weights."""

    def supports(
        self, skeleton: Skeleton, contact: ContactColumns, coefficients: Float[Tensor, "time unknown"]
    ) -> Supports:
        """Forces on bodies for the coefficients of these unknowns."""

    def footprint(self, skeleton: Skeleton, state: State) -> tuple[Tensor, Tensor]:
        """Points (T, P, 3) that reach the surroundings, m, and how far they can push (T, P)."""


@dataclass(frozen=True)
class Rail:
    """Hands on a rail or a table: bodies of the hands."""

    bodies: list[int]

    @classmethod
    def of(cls, skeleton: Skeleton) -> Rail | None:
        """The model's hands; None where it has none."""
        found = [body for _, body, _ in _hands(skeleton)]
        return cls(found) if found else None

    def at(self, rows: Any) -> Rail:
        """The same in all frames."""
        return self

    def columns(self, skeleton: Skeleton, state: State, settings: ContactSettings) -> ContactColumns:
        """Six rays at every hand."""
        points, ready = self.footprint(skeleton, state)
        axes = torch.cat([torch.eye(3, dtype=points.dtype), -torch.eye(3, dtype=points.dtype)])
        force = skeleton.weight_n * ready[..., None, None] * axes
        jacobian = point_jacobian(skeleton, state, points, self.bodies)
        return ContactColumns(torch.einsum("tpkx,tpxc->tcpk", force, jacobian).flatten(-2), force, points)

    def supports(
        self, skeleton: Skeleton, contact: ContactColumns, coefficients: Float[Tensor, "time unknown"]
    ) -> Supports:
        """What the rail does to the hands."""
        force = torch.einsum("tpkx,tpk->tpx", contact.force, coefficients.unflatten(-1, (-1, 6)))
        names = tuple(skeleton.bodies[b] for b in self.bodies)
        return Supports(names, force, contact.points, torch.zeros_like(force))

    def footprint(self, skeleton: Skeleton, state: State) -> tuple[Tensor, Tensor]:
        """The hands, which hold on while they are still."""
        points = skeleton.body_coms(state.poses)[:, self.bodies]
        speed = body_point_velocity(skeleton, state, points, torch.tensor(self.bodies)).norm(dim=-1)
        return points, torch.sigmoid((STILL_MS - speed) / STILL_SCALE_MS)


@dataclass(frozen=True)
class _BetweenBodies:
    """What two bodies of a side do to each other: the first and the second of `sides`, and a third that tells where."""

    sides: list[tuple[int, int, int]]

    def at(self, rows: Any) -> Self:
        """The same in all frames."""
        return self

    def supports(
        self, skeleton: Skeleton, contact: ContactColumns, coefficients: Float[Tensor, "time unknown"]
    ) -> Supports:
        """What the second does to the first, and the first to the second, at one point."""
        on_first = contact.force[..., 0, :] * coefficients[..., None]
        names = tuple(skeleton.bodies[side[k]] for k in (0, 1) for side in self.sides)
        force, point = torch.cat([on_first, -on_first], 1), torch.cat([contact.points, contact.points], 1)
        return Supports(names, force, point, torch.zeros_like(force))

    def footprint(self, skeleton: Skeleton, state: State) -> tuple[Tensor, Tensor]:
        """Nothing: the surroundings do not push."""
        frames = len(state.poses.position)
        return state.poses.position.new_zeros(frames, 0, 3), state.poses.position.new_zeros(frames, 0)

    def _columns(self, skeleton: Skeleton, state: State, force: Tensor, points: Tensor) -> ContactColumns:
        """One unknown a side, with these forces on the first body and their opposites on the second."""
        first, second = ([side[k] for side in self.sides] for k in (0, 1))
        jacobian = point_jacobian(skeleton, state, points, first) - point_jacobian(skeleton, state, points, second)
        return ContactColumns(torch.einsum("tpx,tpxc->tcp", force, jacobian), force.unsqueeze(-2), points)


class OnThighs(_BetweenBodies):
    """Hands on the thighs or knees: bodies of hand, thigh and shank of every side."""

    @classmethod
    def of(cls, skeleton: Skeleton) -> OnThighs | None:
        """The model's hands and thighs; None where it has none."""
        needed = [
            (body, skeleton.bodies.index(f"femur_{side}"), skeleton.bodies.index(f"tibia_{side}"))
            for side, body, _ in _hands(skeleton)
            if {f"femur_{side}", f"tibia_{side}"} <= set(skeleton.bodies)
        ]
        return cls(needed) if needed else None

    def columns(self, skeleton: Skeleton, state: State, settings: ContactSettings) -> ContactColumns:
        """One unknown for every hand."""
        hand, femur, tibia = (list(bodies) for bodies in zip(*self.sides, strict=True))
        points = skeleton.body_coms(state.poses)[:, hand]
        hip, knee = state.poses.position[:, femur], state.poses.position[:, tibia]
        axis = knee - hip
        along = (((points - hip) * axis).sum(-1) / (axis**2).sum(-1)).clamp(0.0, 1.0)
        away = points - hip - along[..., None] * axis
        distance = away.norm(dim=-1)
        ready = torch.sigmoid((TOUCH_M - distance) / TOUCH_SCALE_M)
        force = skeleton.weight_n * (ready / distance.clamp(min=1e-6))[..., None] * away
        return self._columns(skeleton, state, force, points)


class OnCalves(_BetweenBodies):
    """Thighs on calves at the bottom of a deep squat: thigh, shank and talus of every side.

    At a distance of REST of the shank's length from the knee, the lines of thigh and shank are 2 sin(phi / 2) of this
    distance apart, phi the angle between them. What lies between is tissue: they touch where that falls below APART,
    near 130 degrees of knee flexion, and push each other along the line between these two points.
    """

    @classmethod
    def of(cls, skeleton: Skeleton) -> OnCalves | None:
        """The model's legs; None where it has none."""
        names = [tuple(f"{n}_{side}" for n in ("femur", "tibia", "talus")) for side in FEET]
        found = [[skeleton.bodies.index(n) for n in leg] for leg in names if set(leg) <= set(skeleton.bodies)]
        return cls([(femur, tibia, talus) for femur, tibia, talus in found]) if found else None

    def columns(self, skeleton: Skeleton, state: State, settings: ContactSettings) -> ContactColumns:
        """One unknown for every leg."""
        femur, tibia, talus = (list(bodies) for bodies in zip(*self.sides, strict=True))
        hip, knee, ankle = (state.poses.position[:, bodies] for bodies in (femur, tibia, talus))
        away = REST * (ankle - knee).norm(dim=-1, keepdim=True)
        thigh, calf = (knee + away * torch.nn.functional.normalize(end - knee, dim=-1) for end in (hip, ankle))
        between = thigh - calf
        distance = between.norm(dim=-1, keepdim=True)
        ready = torch.sigmoid((APART - distance / away) / APART_SCALE)
        force = skeleton.weight_n * ready * between / distance.clamp(min=1e-6)
        points = 0.5 * (thigh + calf)
        return self._columns(skeleton, state, force, points)


def together(supports: Sequence[Supports]) -> Supports | None:
    """Supports of several carriers, one load for every body; None where there are none.

    Loads of the same body are joined at the first one's point p: F = sum F_i, T = sum T_i + (p_i - p) x F_i.
    """
    loads: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    for s in supports:
        for i, name in enumerate(s.bodies):
            force, point, torque = s.force[:, i], s.point[:, i], s.torque[:, i]
            if name in loads:
                f, p, t = loads[name]
                force, point, torque = f + force, p, t + torque + torch.linalg.cross(point - p, force)
            loads[name] = force, point, torque
    if not loads:
        return None
    force, point, torque = (torch.stack([load[k] for load in loads.values()], 1) for k in range(3))
    return Supports(tuple(loads), force, point, torque)


def _hands(skeleton: Skeleton) -> list[tuple[str, int, str]]:
    """Side, body and its name of every hand."""
    found = []
    for side in FEET:
        name = next((n for n in HANDS[side] if n in skeleton.bodies), None)
        if name is not None:
            found.append((side, skeleton.bodies.index(name), name))
    return found
