"""What a person looks like who is known by joints and masses alone: limbs with the shapes of limbs, bones inside.

A limb is a row of elliptic rings along the line between two joint centres. Its girth is that of `physics.capsules`: a
cylinder of the segment's own mass and length at the body's density; along the limb it swells and tapers as thighs,
calves and forearms do. The trunk is as broad as the shoulders are apart, the pelvis as the hips and thighs; the head
stands above the shoulders by the proportions of Drillis and Contini (1966).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from bige_opensim.physics.capsules import (
    HAND_OF_HEIGHT,
    HEAD_ABOVE_SHOULDER,
    HEAD_RADIUS,
    SHOULDER_OF_HEIGHT,
    cylinder_radius,
)
from bige_opensim.physics.carried_loads import (
    BAR_KG,
    BAR_M,
    BAR_RADIUS_M,
    DISC_AT_M,
    DISC_RADIUS_M,
    TRUNK,
    ball_radius,
    body_of,
    is_load,
)
from bige_opensim.physics.skeleton import Skeleton

SIDES = ("r", "l")
AROUND, AROUND_BONE, AROUND_DISC = 12, 8, 24
"""Corners of a ring."""

Ring = tuple[float, float]
"""Place along the limb, 0 to 1, and girth over that of the cylinder."""

FLESH: dict[str, tuple[Ring, ...]] = {
    "thigh": ((-0.05, 0.55), (0.0, 1.05), (0.12, 1.2), (0.4, 1.12), (0.75, 0.82), (0.97, 0.68), (1.04, 0.5)),
    "shank": ((-0.04, 0.62), (0.03, 0.95), (0.12, 1.0), (0.3, 1.22), (0.55, 1.0), (0.82, 0.66), (1.0, 0.62)),
    "upper arm": ((-0.1, 0.5), (-0.02, 1.05), (0.12, 1.18), (0.5, 1.0), (0.9, 0.84), (1.03, 0.6)),
    "forearm": ((-0.05, 0.6), (0.03, 0.98), (0.22, 1.15), (0.6, 0.9), (0.92, 0.62), (1.02, 0.5)),
}
BONE: tuple[Ring, ...] = ((-0.02, 0.7), (0.03, 1.6), (0.12, 1.1), (0.5, 0.85), (0.88, 1.1), (0.97, 1.6), (1.02, 0.7))
BONE_RADIUS = {"thigh": 0.014, "shank": 0.013, "upper arm": 0.011, "forearm": 0.009}
SEGMENTS = {
    "thigh": ("femur", ("tibia",), ("femur",)),
    "shank": ("tibia", ("talus", "calcn"), ("tibia",)),
    "upper arm": ("humerus", ("ulna",), ("humerus",)),
    "forearm": ("ulna", ("hand",), ("ulna", "radius")),
}
"""By limb: the body that carries it, the first body there is at its far end, and the bodies whose mass it has."""

HEEL_TO_TOE_JOINT = (  # place along it, half height and half width, over its length: heel, arch, ball
    (-0.19, 0.03, 0.06), (-0.16, 0.12, 0.15), (0.0, 0.2, 0.19), (0.25, 0.24, 0.2), (0.5, 0.2, 0.21),
    (0.8, 0.14, 0.25), (1.05, 0.1, 0.27),
)  # fmt: skip
TOES = ((-0.1, 0.1, 0.26), (0.1, 0.095, 0.26), (0.28, 0.07, 0.22), (0.37, 0.025, 0.12))
DISC_M = 0.08
"""Thickness of the discs of a bar."""
SOLE_BELOW = 0.03
"""Where a foot without contact points has its sole below its origin, m."""


class Shape(NamedTuple):
    """A surface fixed in a body: vertices (V, 3) in m, triangles (F, 3) that face outwards."""

    body: str
    vertices: Float[np.ndarray, "vertex 3"]
    faces: Int[np.ndarray, "face 3"]


def loft(
    centres: Float[np.ndarray, "ring 3"],
    half_widths: Float[np.ndarray, "ring 2"],
    across: Float[np.ndarray, " 3"],
    around: int = AROUND,
) -> tuple[Float[np.ndarray, "vertex 3"], Int[np.ndarray, "face 3"]]:
    """A closed surface through elliptic rings along a line.

    Every ring stands at right angles to the line from the first to the last centre. Its first half width lies along
    `across`, as far as that is at right angles to the line, the second along (line x across).
    """
    line = centres[-1] - centres[0]
    line = line / np.linalg.norm(line)
    first = across - (across @ line) * line
    first = first / np.linalg.norm(first)
    second = np.cross(line, first)
    angle = np.linspace(0.0, 2.0 * np.pi, around, endpoint=False)
    ring = half_widths[:, :1, None] * np.cos(angle)[None, :, None] * first
    ring = ring + half_widths[:, 1:, None] * np.sin(angle)[None, :, None] * second
    vertices = np.concatenate([(centres[:, None] + ring).reshape(-1, 3), centres[:1], centres[-1:]])
    count, i, j = len(centres), np.arange(around), (np.arange(around) + 1) % around
    faces = []
    for k in range(count - 1):
        low, high = k * around, (k + 1) * around
        faces += [np.stack([low + i, low + j, high + j], 1), np.stack([low + i, high + j, high + i], 1)]
    start, end, last = count * around, count * around + 1, (count - 1) * around
    faces += [np.stack([np.full(around, start), j, i], 1), np.stack([np.full(around, end), last + i, last + j], 1)]
    return vertices, np.concatenate(faces)


def ball(radius: float) -> tuple[Float[np.ndarray, "vertex 3"], Int[np.ndarray, "face 3"]]:
    """A ball about the origin, m."""
    turn = np.linspace(-0.49, 0.49, 7) * np.pi
    centres = radius * np.sin(turn)[:, None] * np.array([0.0, 1.0, 0.0])
    return loft(centres, radius * np.cos(turn)[:, None] * np.ones(2), np.array([1.0, 0.0, 0.0]))


def flesh(skeleton: Skeleton) -> list[Shape]:
    """Skin of every segment that the model has, by the body that carries it; none for a model without known names."""
    seen = _Joints(skeleton)
    return _by_body([*_limbs(seen, bones=False), *_feet(seen), *_hands(seen), *_pelvis(seen), *_trunk(seen)])


def bones(skeleton: Skeleton) -> list[Shape]:
    """Bones as rods between joints, and what is carried; other bodies are rods between the origins of neighbours."""
    seen = _Joints(skeleton)
    known = [*_limbs(seen, bones=True), *_axial(seen), *_feet(seen), *_carried(seen)]
    covered = {shape.body for shape in known}
    return _by_body([*known, *_rods(seen, covered)])


def _carried(seen: _Joints) -> list[Shape]:
    """Loads as `physics.carried_loads` has them: a bar on the back with its discs, balls elsewhere."""
    found = []
    for body in filter(is_load, seen.skeleton.bodies):
        mass = seen.mass(body)
        centre = seen.skeleton.com_local[seen.at(body)].numpy()
        if body_of(body) == TRUNK:
            along = np.array(RIGHT)
            solids = [(-0.5 * BAR_M, 0.5 * BAR_M, BAR_RADIUS_M)]
            if mass > BAR_KG:
                solids += [(s * DISC_AT_M - DISC_M / 2, s * DISC_AT_M + DISC_M / 2, DISC_RADIUS_M) for s in (-1, 1)]
            for low, high, radius in solids:
                ends = centre + np.array([[low], [high]]) * along
                found.append(Shape(body, *loft(ends, np.full((2, 2), radius), np.array(FORWARD), AROUND_DISC)))
        else:
            vertices, faces = ball(ball_radius(mass))
            found.append(Shape(body, vertices + centre, faces))
    return found


class _Joints:
    """Where the bodies of a skeleton are while all its coordinates are zero: X forward, Y up, Z to the right."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        with torch.no_grad():
            poses = skeleton(torch.zeros(len(skeleton.coordinates), dtype=skeleton.mass.dtype))
        self.rotation, self.position = poses.rotation.numpy(), poses.position.numpy()

    def has(self, *bodies: str) -> bool:
        return set(bodies) <= set(self.skeleton.bodies)

    def at(self, body: str) -> int:
        return self.skeleton.bodies.index(body)

    def mass(self, *bodies: str) -> float:
        return sum(float(self.skeleton.mass[self.at(b)]) for b in bodies if self.has(b))

    def offset(self, body: str, other: str) -> np.ndarray:
        """Origin of another body in this one, m."""
        a, b = self.at(body), self.at(other)
        return self.rotation[a].T @ (self.position[b] - self.position[a])

    def direction(self, body: str, ground: tuple[float, float, float]) -> np.ndarray:
        """A direction of the ground in a body."""
        return self.rotation[self.at(body)].T @ np.array(ground)

    def height(self) -> float:
        """Standing height, m."""
        shoulder, heel = (self.position[self.at(b), 1] for b in ("humerus_r", "calcn_r"))
        return float(shoulder - heel) / SHOULDER_OF_HEIGHT


RIGHT, FORWARD = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)


def _tube(
    body: str,
    start: np.ndarray,
    end: np.ndarray,
    rings: Sequence[Ring],
    radius: float,
    across: np.ndarray,
    around: int = AROUND_BONE,
) -> Shape:
    place, girth = np.array(rings).T
    centres = start + place[:, None] * (end - start)
    return Shape(body, *loft(centres, radius * np.stack([girth, girth], 1), across, around))


def _limbs(seen: _Joints, *, bones: bool) -> list[Shape]:
    found = []
    for limb, (name, ends, masses) in SEGMENTS.items():
        for side in SIDES:
            body = f"{name}_{side}"
            end = next((f"{e}_{side}" for e in ends if seen.has(f"{e}_{side}")), "")
            if not seen.has(body, end):
                continue
            axis, mass = seen.offset(body, end), seen.mass(*(f"{m}_{side}" for m in masses))
            length = float(np.linalg.norm(axis))
            if length == 0.0 or mass == 0.0:
                continue
            radius = BONE_RADIUS[limb] if bones else cylinder_radius(mass, length)
            across, around = seen.direction(body, FORWARD), AROUND_BONE if bones else AROUND
            found.append(_tube(body, 0.0 * axis, axis, BONE if bones else FLESH[limb], radius, across, around))
    return found


def _feet(seen: _Joints) -> list[Shape]:
    found = []
    for side in SIDES:
        foot, toes = f"calcn_{side}", f"toes_{side}"
        if not seen.has(foot, toes):
            continue
        length = float(np.linalg.norm(seen.offset(foot, toes)))
        for body, rings in ((foot, HEEL_TO_TOE_JOINT), (toes, TOES)):
            place, tall, wide = length * np.array(rings).T
            forward, right = seen.direction(body, FORWARD), seen.direction(body, RIGHT)
            up = np.cross(right, forward)
            centres = place[:, None] * forward + (tall - _sole_below(seen, body))[:, None] * up
            found.append(Shape(body, *loft(centres, np.stack([wide, tall], 1), right)))
    return found


def _sole_below(seen: _Joints, body: str) -> float:
    """How far the lowest contact point of a body lies below its origin, m."""
    t = seen.skeleton.tables
    on_it = np.array([seen.skeleton.bodies[b] == body for b in t.contact_body], dtype=bool)
    if not on_it.any():
        return SOLE_BELOW
    heights = t.contact_centre[on_it] @ np.cross(seen.direction(body, RIGHT), seen.direction(body, FORWARD))
    return float(-(heights - t.contact_radius[on_it]).min())


def _hands(seen: _Joints) -> list[Shape]:
    found = []
    for side in SIDES:
        hand, forearm = f"hand_{side}", f"ulna_{side}"
        if not seen.has(hand, forearm, "calcn_r", "humerus_r"):
            continue
        axis = -seen.offset(hand, forearm)
        length = HAND_OF_HEIGHT * seen.height()
        reach = length * axis / np.linalg.norm(axis)
        place = np.array([-0.05, 0.1, 0.35, 0.6, 0.85, 1.0])
        wide = length * np.array([0.12, 0.17, 0.24, 0.22, 0.15, 0.06])
        centres = place[:, None] * reach
        found.append(Shape(hand, *loft(centres, np.stack([wide, 0.45 * wide], 1), seen.direction(hand, RIGHT))))
    return found


def _pelvis(seen: _Joints) -> list[Shape]:
    if not seen.has("pelvis", "femur_r", "femur_l", "torso", "tibia_r"):
        return []
    hips = 0.5 * (seen.offset("pelvis", "femur_r") + seen.offset("pelvis", "femur_l"))
    apart = 0.5 * float(np.linalg.norm(seen.offset("pelvis", "femur_r") - seen.offset("pelvis", "femur_l")))
    thigh = cylinder_radius(seen.mass("femur_r"), float(np.linalg.norm(seen.offset("femur_r", "tibia_r"))))
    up = seen.offset("pelvis", "torso") - hips
    broad = apart + thigh
    rings = np.array(
        [(-0.45, 0.45, 0.4), (-0.25, 0.85, 0.66), (0.05, 1.0, 0.74), (0.5, 0.94, 0.68), (0.9, 0.84, 0.6),
         (1.15, 0.7, 0.5)]
    )  # fmt: skip
    return [Shape("pelvis", *loft(hips + rings[:, :1] * up, broad * rings[:, 1:], seen.direction("pelvis", RIGHT)))]


def _trunk(seen: _Joints) -> list[Shape]:
    if not seen.has("torso", "humerus_r", "humerus_l", "calcn_r"):
        return []
    right, left = seen.offset("torso", "humerus_r"), seen.offset("torso", "humerus_l")
    neck, broad, height = 0.5 * (right + left), 0.5 * float(np.linalg.norm(right - left)), seen.height()
    across = seen.direction("torso", RIGHT)
    up = neck / np.linalg.norm(neck)
    rings = np.array([
        (-0.1, 0.6, 0.44), (0.0, 0.76, 0.54), (0.2, 0.76, 0.55), (0.5, 0.86, 0.6), (0.75, 0.92, 0.62),
        (0.95, 0.94, 0.48), (1.04, 0.72, 0.38), (1.1, 0.36, 0.32), (1.25, 0.31, 0.31), (1.32, 0.28, 0.28),
    ])  # fmt: skip
    chest = Shape("torso", *loft(rings[:, :1] * neck, broad * rings[:, 1:], across))
    radius = HEAD_RADIUS * height
    turn = np.linspace(-0.94, 0.94, 7) * 0.5 * np.pi
    middle = neck + (HEAD_ABOVE_SHOULDER * height) * up + 0.25 * radius * seen.direction("torso", FORWARD)
    centres = middle + (1.3 * radius * np.sin(turn))[:, None] * up
    widths = radius * np.cos(turn)[:, None] * np.array([0.9, 1.12])
    return [chest, Shape("torso", *loft(centres, widths, across))]


def _axial(seen: _Joints) -> list[Shape]:
    """Spine, shoulder girdle, pelvis and skull."""
    found: list[Shape] = []
    if seen.has("pelvis", "femur_r", "femur_l", "torso"):
        right, left, back = (seen.offset("pelvis", b) for b in ("femur_r", "femur_l", "torso"))
        across = seen.direction("pelvis", FORWARD)
        found += [_tube("pelvis", left, right, ((0.0, 1.0), (0.2, 1.5), (0.8, 1.5), (1.0, 1.0)), 0.02, across)]
        found += [
            _tube("pelvis", side, back, ((0.0, 0.8), (0.4, 1.3), (1.0, 1.0)), 0.02, across) for side in (right, left)
        ]
    if seen.has("torso", "humerus_r", "humerus_l", "calcn_r"):
        right, left = seen.offset("torso", "humerus_r"), seen.offset("torso", "humerus_l")
        neck, across = 0.5 * (right + left), seen.direction("torso", FORWARD)
        found += [_tube("torso", 0.0 * neck, 1.2 * neck, ((0.0, 1.0), (0.5, 0.9), (1.0, 0.6)), 0.022, across)]
        found += [
            _tube("torso", 0.95 * neck, side, ((0.0, 1.0), (0.6, 0.8), (1.0, 1.3)), 0.012, across)
            for side in (right, left)
        ]
        found += _trunk(seen)[1:]
    return found


def _rods(seen: _Joints, covered: set[str]) -> list[Shape]:
    """A rod from a body's origin to that of each body that hangs on it, where nothing is drawn yet."""
    t = seen.skeleton.tables
    carrier = {int(k): body for body, k in reversed(list(zip(t.bodies, t.body_primitive, strict=True)))}
    found = []
    for child, primitive in zip(t.bodies, t.body_primitive, strict=True):
        k = int(t.parent[primitive]) if primitive >= 0 else -1
        while k >= 0 and k not in carrier:
            k = int(t.parent[k])
        if k < 0 or carrier[k] in covered or child == carrier[k]:
            continue
        axis = seen.offset(carrier[k], child)
        if np.linalg.norm(axis) > 0.02:
            least = np.eye(3)[int(np.argmin(np.abs(axis)))]
            found.append(_tube(carrier[k], 0.0 * axis, axis, BONE, 0.011, least))
    return found


def _by_body(shapes: list[Shape]) -> list[Shape]:
    """One surface per body."""
    merged: dict[str, Shape] = {}
    for body, vertices, faces in shapes:
        before = merged.get(body)
        if before is not None:
            vertices, faces = (
                np.concatenate([before.vertices, vertices]),
                np.concatenate([before.faces, faces + len(before.vertices)]),
            )
        merged[body] = Shape(body, vertices, faces)
    return list(merged.values())
