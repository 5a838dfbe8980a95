"""Capsules on the segments of a skeleton, and how far segments that are no neighbours overlap.

A capsule is all points within a radius of the line between two joint centres. Its radius is that of a cylinder with
the segment's own mass m and length L, at the density of the body (Winter 2009, ISBN 978-0-470-39818-0, chapter 4):

    r = sqrt(m / (pi rho L)),      rho = 1050 kg/m3.

For a person of 75 kg this gives thighs of 52 cm and shanks of 33 cm around, arms of 29 cm and a trunk of 79 cm, as the
means over a segment's length of measured circumferences are (Gordon et al. 1989, Natick/TR-89/044). The head, which
models do not carry as a body, is a ball of its mean circumference, 32.3 % of the standing height, centred 11.7 % of
the height above the shoulders (ibid.; Drillis and Contini 1966).

Two segments overlap by the share e = 1 - d / (r1 + r2) of their thickness, where d is the distance between their axes.
Soft parts give way: thighs that press on each other, a forearm on a thigh. Bones do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.skeleton import Poses, Skeleton

DENSITY = 1050.0
HEAD_AND_NECK = 0.081
"""Share of the body's mass that the head and neck have, which models count among the torso (Winter 2009)."""
SHOULDER_OF_HEIGHT, HEAD_ABOVE_SHOULDER, HEAD_RADIUS = 0.818, 0.117, 0.323 / (2.0 * np.pi)
HAND_OF_HEIGHT = 0.108
SIDES = ("r", "l")


@dataclass(frozen=True)
class _Limb:
    """A segment of each side: the body that carries it, the first body there is at its far end, and whose mass it has.

    `start` is the share of its length at which it begins, where what is nearer belongs to a neighbour's joint.
    """

    name: str
    body: str
    ends: tuple[str, ...]
    masses: tuple[str, ...]
    start: float = 0.0


_LIMBS = (
    _Limb("thigh", "femur", ("tibia",), ("femur",)),
    _Limb("shank", "tibia", ("talus", "calcn"), ("tibia",)),
    _Limb("foot", "calcn", ("toes",), ("calcn", "toes")),
    _Limb("upper arm", "humerus", ("ulna",), ("humerus",), start=0.5),
    _Limb("forearm", "ulna", ("hand",), ("ulna", "radius")),
)
_LEG, _ARM = ("thigh", "shank", "foot"), ("upper arm", "forearm", "hand")
_PARTNERS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("thigh",): ("thigh", "shank", "foot"),
    ("shank",): ("shank", "foot"),
    ("foot",): ("foot",),
    ("forearm",): ("forearm", "upper arm"),
}
"""Segments of one side that may not pass through those of the other; hands may clasp, and hold the other arm."""


@dataclass(frozen=True)
class Capsules:
    """N capsules fixed in bodies, and the P pairs that may not pass through each other.

    Attributes
    ----------
    names
        What each is: "thigh_r", "trunk", "head".
    body
        (N,) index of the body that carries it.
    ends
        (N, 2, 3) ends of the axis in the body, m.
    radius
        (N,) m.
    pairs
        (P, 2) indices of capsules.

    """

    names: tuple[str, ...]
    body: Tensor
    ends: Float[Tensor, "capsule 2 3"]
    radius: Float[Tensor, " capsule"]
    pairs: Tensor

    def axes(self, poses: Poses) -> Float[Tensor, "*batch capsule 2 3"]:
        """Ends of the axes in ground, m."""
        rotation, position = poses.rotation[..., self.body, :, :], poses.position[..., self.body, :]
        return (rotation.unsqueeze(-3) @ self.ends.unsqueeze(-1)).squeeze(-1) + position.unsqueeze(-2)

    def overlap(self, poses: Poses) -> Float[Tensor, "*batch pair"]:
        """Share of their thickness by which the capsules of each pair overlap; 0 where they touch, negative apart."""
        axes = self.axes(poses)
        one, other = self.pairs.unbind(1)
        distance = segment_distance(axes[..., one, :, :], axes[..., other, :, :])
        return 1.0 - distance / (self.radius[one] + self.radius[other])

    def pair_names(self, pair: int) -> tuple[str, str]:
        """The two capsules of a pair."""
        one, other = self.pairs[pair].tolist()
        return self.names[one], self.names[other]


def segment_distance(a: Float[Tensor, "*batch 2 3"], b: Float[Tensor, "*batch 2 3"]) -> Float[Tensor, "*batch"]:
    """Distance between two line segments, m; a segment may be a point.

    With u = a1 - a0, v = b1 - b0 and w = a0 - b0, the squared distance |w + s u - t v|^2 is convex in s and t. For a
    given s the best t is (u.v s + v.w) / v.v, clipped to [0, 1]; for a given t the best s is (u.v t - u.w) / u.u,
    clipped. From the s of the infinite lines, one step of each ends at the minimum over the square (Ericson 2005,
    Real-Time Collision Detection, section 5.1.9).
    """
    u, v, w = a[..., 1, :] - a[..., 0, :], b[..., 1, :] - b[..., 0, :], a[..., 0, :] - b[..., 0, :]
    uu, vv, uv = (u * u).sum(-1), (v * v).sum(-1), (u * v).sum(-1)
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    tiny = torch.finfo(a.dtype).eps
    across = uu * vv - uv * uv
    lines = (uv * vw - uw * vv) / across.clamp(min=tiny)
    s = torch.where(across > tiny * uu * vv, lines, torch.zeros_like(lines)).clamp(0.0, 1.0)
    t = ((uv * s + vw) / vv.clamp(min=tiny)).clamp(0.0, 1.0)
    s = ((uv * t - uw) / uu.clamp(min=tiny)).clamp(0.0, 1.0)
    return torch.linalg.norm(w + s[..., None] * u - t[..., None] * v, dim=-1)


def capsules_of(skeleton: Skeleton) -> Capsules:
    """Capsules of the segments that a skeleton has, measured in the pose in which all coordinates are zero.

    Bodies are known by the names of Rajagopal et al. (2016) and its kin (femur_r, tibia_r, ...); a model without some
    of them has fewer capsules, one without any has none.
    """
    found = {**_limbs(skeleton), **_trunk_and_head(skeleton), **_hands(skeleton)}
    names = tuple(found)
    pairs = [(names.index(a), names.index(b)) for a, b in _pairs() if a in found and b in found]
    bodies, ends, radii = zip(*found.values(), strict=True) if found else ((), (), ())
    number = skeleton.mass.new_tensor
    return Capsules(
        names,
        torch.tensor(bodies, dtype=torch.long),
        number(np.array(ends, dtype=float).reshape(-1, 2, 3)),
        number(radii),
        torch.tensor(pairs, dtype=torch.long).reshape(-1, 2),
    )


def cylinder_radius(mass_kg: float, length_m: float) -> float:
    """Radius of a cylinder of the body's density, m."""
    return float(np.sqrt(mass_kg / (np.pi * DENSITY * length_m)))


_Capsule = tuple[int, np.ndarray, float]


def _limbs(skeleton: Skeleton) -> dict[str, _Capsule]:
    seen = _Seen(skeleton)
    found: dict[str, _Capsule] = {}
    for limb in _LIMBS:
        for side in SIDES:
            body = f"{limb.body}_{side}"
            end = next((f"{name}_{side}" for name in limb.ends if seen.has(f"{name}_{side}")), "")
            if not seen.has(body, end):
                continue
            axis = seen.offset(body, end)
            length = float(np.linalg.norm(axis))
            mass = sum(seen.mass(f"{name}_{side}") for name in limb.masses)
            if length > 0.0 and mass > 0.0:
                ends = np.array([limb.start * axis, axis])
                found[f"{limb.name}_{side}"] = (seen.index(body), ends, cylinder_radius(mass, length))
    return found


def _trunk_and_head(skeleton: Skeleton) -> dict[str, _Capsule]:
    """The trunk from the middle of the ribs to between the shoulders, and the head above."""
    seen = _Seen(skeleton)
    if not seen.has("torso", "humerus_r", "humerus_l", "calcn_r"):
        return {}
    neck = 0.5 * (seen.offset("torso", "humerus_r") + seen.offset("torso", "humerus_l"))
    length, torso = float(np.linalg.norm(neck)), seen.index("torso")
    mass = seen.mass("torso") - HEAD_AND_NECK * float(skeleton.mass.sum())
    if length == 0.0 or mass <= 0.0:
        return {}
    height = seen.height()
    head = neck + HEAD_ABOVE_SHOULDER * height * neck / length
    return {
        "trunk": (torso, np.array([0.5 * neck, neck]), cylinder_radius(mass, length)),
        "head": (torso, np.array([head, head]), HEAD_RADIUS * height),
    }


def _hands(skeleton: Skeleton) -> dict[str, _Capsule]:
    """A hand from the wrist to half its length, where the fingers bend."""
    seen = _Seen(skeleton)
    found: dict[str, _Capsule] = {}
    for side in SIDES:
        hand, forearm = f"hand_{side}", f"ulna_{side}"
        if not seen.has(hand, forearm, "calcn_r", "humerus_r"):
            continue
        axis = -seen.offset(hand, forearm)
        length = HAND_OF_HEIGHT * seen.height()
        reach = 0.5 * length * axis / np.linalg.norm(axis)
        found[f"hand_{side}"] = (
            seen.index(hand), np.array([0.0 * reach, reach]), cylinder_radius(seen.mass(hand), length)
        )  # fmt: skip
    return found


class _Seen:
    """Where the bodies of a skeleton are while all its coordinates are zero."""

    def __init__(self, skeleton: Skeleton) -> None:
        self._bodies, self._mass = skeleton.bodies, skeleton.tables.mass
        poses = skeleton(torch.zeros(len(skeleton.coordinates), dtype=skeleton.mass.dtype))
        self._rotation, self._position = poses.rotation.numpy(), poses.position.numpy()

    def has(self, *bodies: str) -> bool:
        return set(bodies) <= set(self._bodies)

    def index(self, body: str) -> int:
        return self._bodies.index(body)

    def mass(self, body: str) -> float:
        return float(self._mass[self.index(body)]) if body in self._bodies else 0.0

    def offset(self, body: str, other: str) -> np.ndarray:
        """Origin of another body in this one, m."""
        a, b = self.index(body), self.index(other)
        return self._rotation[a].T @ (self._position[b] - self._position[a])

    def height(self) -> float:
        """Standing height, m: shoulder over heel, which is 81.8 % of it."""
        shoulder, heel = (self._position[self.index(b), 1] for b in ("humerus_r", "calcn_r"))
        return float(shoulder - heel) / SHOULDER_OF_HEIGHT


def _pairs() -> list[tuple[str, str]]:
    across = [
        (f"{a}_{s}", f"{b}_{o}")
        for (a,), partners in _PARTNERS.items()
        for b in partners
        for s, o in (("r", "l"), ("l", "r"))
        if a != b or s == "r"
    ]
    limbs = [f"{name}_{s}" for name in (*_LEG, *_ARM) for s in SIDES]
    trunk = [(limb, part) for limb, part in product(limbs, ("trunk", "head"))]
    arms_and_legs = [
        (f"{arm}_{a}", f"{leg}_{b}") for arm, leg, a, b in product(("forearm", "hand"), _LEG, SIDES, SIDES)
    ]
    return [*across, *trunk, *arms_and_legs]
