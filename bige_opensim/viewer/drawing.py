"""What a scene is drawn from, in numpy alone: colours, arrows, the base of support, and where everything stands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

STOPS = (0.0, 0.25, 0.5, 1.0)
COLOURS = ((45, 85, 200), (135, 65, 175), (215, 55, 85), (255, 25, 15))
"""Activation from rest (blue) to full (red), as in the OpenSim GUI; steeper where most activations lie."""
UNKNOWN = (150, 110, 105)
"""A muscle of which no activation is known."""

ARROW_M_PER_BODY_WEIGHT = 1.0
SMALLEST_FORCE = 0.02
"""In body weights: below it no arrow is drawn, since the centre of pressure means nothing."""
TOUCHING_M = 0.03
"""A contact point lower than this above the ground belongs to the base of support."""
SEAT_M = 0.4
"""Width of a drawn seat, m."""
APART_M, BEHIND_M, PER_ROW = 1.3, 1.9, 5


def force_arrows(
    force: Float[np.ndarray, "*batch 3"], point: Float[np.ndarray, "*batch 3"], weight_n: float
) -> tuple[Float[np.ndarray, "*batch 2 3"], Bool[np.ndarray, "*batch"]]:
    """Arrows from the centre of pressure along the force, 1 m long for the body's weight; which are to be drawn."""
    tip = point + force * (ARROW_M_PER_BODY_WEIGHT / weight_n)
    return np.stack([point, tip], axis=-2), np.linalg.norm(force, axis=-1) >= SMALLEST_FORCE * weight_n


def stool(x: float, z: float, height: float, ground: float) -> Float[np.ndarray, "edge 2 3"]:
    """Edges of a seat SEAT_M wide around its place, and of its legs, m; both in the axes of the motion."""
    half = 0.5 * SEAT_M
    around = np.array([[x + i * half, ground + height, z + j * half] for i, j in ((1, 1), (1, -1), (-1, -1), (-1, 1))])
    feet = around * [1.0, 0.0, 1.0] + [0.0, ground, 0.0]
    return np.concatenate([np.stack([around, np.roll(around, -1, axis=0)], 1), np.stack([around, feet], 1)])


def convex_hull(points: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, "corner 2"]:
    """Corners of the convex hull, counter-clockwise (Andrew's monotone chain); two or one where it has no area."""
    order = sorted(set(map(tuple, points.tolist())))
    if len(order) < 3:
        return np.array(order, dtype=float).reshape(-1, 2)

    def chain(ordered: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        kept: list[tuple[float, ...]] = []
        for p in ordered:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], p) <= 0.0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    return np.array(chain(order) + chain(order[::-1]))


def _turn(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def is_inside(point: Float[np.ndarray, " 2"], hull: Float[np.ndarray, "corner 2"]) -> bool:
    """Whether a point lies in a convex polygon, its edge included; never in one without area."""
    if len(hull) < 3:
        return False
    edge, to_point = np.roll(hull, -1, axis=0) - hull, point - hull
    return bool((edge[:, 0] * to_point[:, 1] - edge[:, 1] * to_point[:, 0] >= 0.0).all())


class BaseOfSupport(NamedTuple):
    """The base of support over time: corners (T, V, 3), the last one repeated, and whether the body is balanced."""

    corners: Float[np.ndarray, "time corner 3"]
    balanced: Bool[np.ndarray, " time"]


def base_of_support(contacts: Float[np.ndarray, "time point 3"], com: Float[np.ndarray, "time 3"]) -> BaseOfSupport:
    """Hull of the contact points on the ground (y = 0), and whether the mass centre projects into it."""
    corners = np.zeros((len(com), max(contacts.shape[1], 1), 3))
    balanced = np.zeros(len(com), dtype=bool)
    for t, points in enumerate(contacts):
        hull = convex_hull(points[points[:, 1] < TOUCHING_M][:, [0, 2]])
        if len(hull):
            filled = hull[np.minimum(np.arange(corners.shape[1]), len(hull) - 1)]
            corners[t, :, 0], corners[t, :, 2] = filled[:, 0], filled[:, 1]
            balanced[t] = is_inside(com[t, [0, 2]], hull)
    return BaseOfSupport(corners, balanced)


def facing_forward(forward: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation about the vertical (Y) that brings a horizontal direction to +X; none for a vertical one."""
    x, z = float(forward[0]), float(forward[2])
    size = float(np.hypot(x, z))
    if size < 1e-9:
        return np.eye(3)
    c, s = x / size, z / size
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def side_by_side(count: int) -> Float[np.ndarray, "motion 3"]:
    """Where motions stand, m: in rows of five from left to right, seen from in front of people who face +X."""
    columns = min(count, PER_ROW)
    at = np.arange(count)
    row, column = at // columns, at % columns
    z = (columns - 1) / 2.0 - column
    return np.stack([-BEHIND_M * row, np.zeros(count), APART_M * z], axis=1)


def quaternions(rotation: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 4"]:
    """Unit quaternions (w, x, y, z), w not negative."""
    flat = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_quat(canonical=True)
    return np.roll(flat, 1, axis=-1).reshape(*rotation.shape[:-2], 4)


def path_segments(muscle: Int[np.ndarray, " point"]) -> Int[np.ndarray, "segment 2"]:
    """Pairs of points that follow each other on the path of the same muscle."""
    at = np.flatnonzero(muscle[1:] == muscle[:-1])
    return np.stack([at, at + 1], axis=1)
