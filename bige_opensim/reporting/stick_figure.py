"""Stick figures of a motion, side and front, as small SVG drawings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from markupsafe import Markup, escape

from bige_opensim.physics.skeleton import Skeleton, SkeletonTables

PHASES = (0.0, 0.25, 0.5, 0.75, 1.0)
VIEWS = {"side": (0, 1.0), "front": (2, -1.0)}
"""Horizontal axis of each view and its sign: from the person's right, and from in front of the person."""

LEFT_OUT = ("patella",)
HEAD_CENTRE, HEAD_RADIUS = 0.49, 0.26
"""Over the height of the shoulders above the torso's origin, after Drillis and Contini (1966), in Winter (2009)."""

MARGIN_M = 0.06


@dataclass(frozen=True)
class Figures:
    """Poses as strokes: each a side ('r', 'l' or 't' for the trunk) and (phase, point, 3) m; heads (phase, 3) m."""

    strokes: tuple[tuple[str, Float[np.ndarray, "phase _ 3"]], ...]
    head: Float[np.ndarray, "phase 3"] | None
    head_radius: float
    ground_m: float


def figures(skeleton: Skeleton, q: Float[np.ndarray, "time coordinate"], ground_m: float = 0.0) -> Figures:
    """Poses at 0, 25, 50, 75 and 100 % of a motion, given in rad and m in the skeleton's order of coordinates."""
    rows = np.rint(np.array(PHASES) * (len(q) - 1)).astype(int)
    with torch.no_grad():
        poses = skeleton(torch.as_tensor(q[rows], dtype=skeleton.mass.dtype))
        contacts = skeleton.contact_points(poses).numpy() if skeleton.contact_names else np.zeros((len(rows), 0, 3))
    where = {b: poses.position[:, i].numpy() for i, b in enumerate(skeleton.bodies)}
    soles = {n: contacts[:, i] for i, n in enumerate(skeleton.contact_names)}
    strokes = [(_side(body), _line(where[parent], where[body])) for parent, body in _links(skeleton.tables)]
    for side in "rl":
        ankle = where.get(f"talus_{side}", where.get(f"calcn_{side}"))
        if ankle is not None and f"s1_{side}" in soles and f"s5_{side}" in soles:
            heel, toe = soles[f"s1_{side}"], 0.5 * (soles[f"s5_{side}"] + soles[f"s6_{side}"])
            strokes.append((side, _line(ankle, heel, toe, ankle)))
    head, radius = None, 0.0
    if {"torso", "humerus_r", "humerus_l"} <= set(where):
        middle = 0.5 * (where["humerus_r"] + where["humerus_l"])
        strokes += [("t", _line(where["torso"], middle)), ("t", _line(where["humerus_r"], where["humerus_l"]))]
        up = poses.rotation[:, skeleton.bodies.index("torso"), :, 1].numpy()
        tall = ((middle - where["torso"]) * up).sum(-1, keepdims=True)
        head, radius = middle + HEAD_CENTRE * tall * up, HEAD_RADIUS * float(tall.mean())
    order = {"l": 0, "t": 1, "r": 2}
    return Figures(tuple(sorted(strokes, key=lambda s: order[s[0]])), head, radius, ground_m)


def strip(found: Figures, view: str, alt: str) -> Markup:
    """The poses of one view in a row, feet where they stand, with the ground line; 1 unit is 1 mm."""
    axis, sign = VIEWS[view]
    half, top = _extent(found)
    width, height = 2 * half, top + 2 * MARGIN_M
    parts = []
    for phase in range(len(PHASES)):
        x0 = (phase + 0.5) * width - sign * _centre(found)[axis]
        for side, points in found.strokes:
            x, y = x0 + sign * points[phase, :, axis], top + MARGIN_M - (points[phase, :, 1] - found.ground_m)
            route = " ".join(f"{_mm(a)} {_mm(b)}" for a, b in zip(x, y, strict=True))
            parts.append(f'<path class="{side}" d="M{route}"/>')
        if found.head is not None:
            x, y = x0 + sign * found.head[phase, axis], top + MARGIN_M - (found.head[phase, 1] - found.ground_m)
            parts.append(f'<circle class="t" cx="{_mm(x)}" cy="{_mm(y)}" r="{_mm(found.head_radius)}"/>')
    floor = _mm(top + MARGIN_M)
    box = f"0 0 {_mm(len(PHASES) * width)} {_mm(height)}"
    return Markup(
        f'<svg class="strip" viewBox="{box}" role="img" aria-label="{escape(alt)}">'
        f'<path class="ground" d="M0 {floor}H{_mm(len(PHASES) * width)}"/>{"".join(parts)}</svg>'
    )


def _links(tables: SkeletonTables) -> list[tuple[str, str]]:
    """Parent and child of the bodies whose origins are joined by a line; feet and shoulders are drawn otherwise."""
    first: dict[int, str] = {}
    for body, primitive in zip(tables.bodies, tables.body_primitive.tolist(), strict=True):
        first.setdefault(primitive, body)
    soles = {n[-1] for n in tables.contact_names if n.startswith("s1_")}
    found = []
    for body, primitive in zip(tables.bodies, tables.body_primitive.tolist(), strict=True):
        k = primitive if first[primitive] != body else int(tables.parent[primitive]) if primitive >= 0 else -1
        while k >= 0 and k not in first:
            k = int(tables.parent[k])
        foot = body.startswith(("toes", "calcn")) and body[-1] in soles
        shoulder = body.startswith("humerus") and {"humerus_r", "humerus_l"} <= set(tables.bodies)
        leg_ends_at_heel = body.startswith("calcn") and f"talus_{body[-1]}" not in tables.bodies
        if k >= 0 and (leg_ends_at_heel or not (foot or shoulder or body.startswith(LEFT_OUT))):
            found.append((first[k], body))
    return found


def _line(*points: Float[np.ndarray, "phase 3"]) -> Float[np.ndarray, "phase _ 3"]:
    return np.stack(points, axis=1)


def _side(body: str) -> str:
    return body[-1] if body.endswith(("_r", "_l")) else "t"


def _centre(found: Figures) -> Float[np.ndarray, " 3"]:
    """Where the person stands at the start: the mean of the first pose's points."""
    return np.concatenate([p[0] for _, p in found.strokes]).mean(0)


def _extent(found: Figures) -> tuple[float, float]:
    """Half the width that a pose needs in either view, and the height above the ground, m."""
    points = np.concatenate([p.reshape(-1, 3) for _, p in found.strokes])
    half = float(np.abs(points - _centre(found))[:, [0, 2]].max()) + MARGIN_M
    top = float(points[:, 1].max()) - found.ground_m
    if found.head is not None:
        top = max(top, float(found.head[:, 1].max()) + found.head_radius - found.ground_m)
    return max(half, 0.25 * top), top + MARGIN_M


def _mm(metres: float) -> int:
    return round(1000 * float(metres))
