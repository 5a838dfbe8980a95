"""Takes as one page that needs nothing beside it: numbers packed, and a renderer of some hundred lines (WebGL 2).

viser (1.1) was tried first, with the same scene. Twenty motions of 101 frames made a file of 4.7 MB there, of which the
muscles' corners were most, and a browser without a graphics processor drew one frame in some seconds. Here poses are
sent and the graphics processor moves what is fixed in bodies: 1.0 MB, 50 ms of processor time a frame.
"""

from __future__ import annotations

import base64
import html
import json
import zlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from bige_opensim.viewer.bodies import Shape, ball
from bige_opensim.viewer.drawing import COLOURS, STOPS, UNKNOWN, quaternions, side_by_side
from bige_opensim.viewer.script import script
from bige_opensim.viewer.take import DrawnPerson, Take

SHAPE_STEP_M, SCENE_STEP_M, TURN_STEP = 1e-4, 5e-4, 1.0 / 16384.0
"""What is fixed in bodies is given in tenths of a millimetre, what moves in halves, quaternions in 2^-14."""
CURVE_LEVELS = 65535
SCENE_COLOURS = {
    "force": (30, 150, 70),
    "balanced": (40, 140, 90),
    "falling": (210, 60, 40),
    "centre": (250, 190, 30),
    "load": (130, 60, 170),
    "furniture": (120, 100, 85),
}
SKINS = ((224, 186, 160), (120, 160, 214), (150, 196, 140), (205, 150, 200), (214, 200, 120))
"""The first for motions side by side; where they are overlaid, each has its own."""
KINDS = {
    "muscle": "Muscles",
    "joint": "Joints",
    "moment": "Joint moments",
    "force": "Ground forces",
    "load": "Joint loads",
}
FIRST = ("vaslat_r", "vasmed_r", "knee_angle_r")
"""The curve that is seen first, where there is one of these."""


MASS_CENTRE_M = 0.03
"""Radius of the ball that shows the mass centre."""


class Packed:
    """Arrays one after the other, each at a multiple of four bytes, and where they are."""

    def __init__(self) -> None:
        self.about: dict[str, dict[str, Any]] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, name: str, values: np.ndarray, *, over_time: bool = False) -> None:
        """Add an array; one over time (axis 0) as differences from frame to frame, modulo 2^16, which pack better."""
        steps = int(np.prod(values.shape[1:])) if over_time else 0
        kept = np.concatenate([values[:1], np.diff(values, axis=0)]) if over_time else values
        raw = np.ascontiguousarray(kept).tobytes()
        self.about[name] = {"kind": values.dtype.name, "start": self._size, "count": int(values.size), "steps": steps}
        self._parts.append(raw + b"\0" * (-len(raw) % 4))
        self._size += len(self._parts[-1])

    def blob(self) -> str:
        """All of it, packed (zlib, base64)."""
        return base64.b64encode(zlib.compress(b"".join(self._parts), 9)).decode("ascii")


def as_html(takes: Sequence[Take], *, overlaid: bool = False, title: str = "bige view") -> str:
    """The page of some takes: play, pause, slider, speed, layers, and curves of the muscle or joint that is picked."""
    page = (resources.files("bige_opensim.viewer") / "page.html").read_text(encoding="utf-8")
    parts = {
        "title": html.escape(title),
        "gradient": _gradient(),
        "data": json.dumps(page_data(takes, overlaid=overlaid)).replace("<", "\\u003c"),
        "script": script(),
    }
    pieces = page.split("{{ ")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (p.partition(" }}") for p in pieces[1:]))


def page_data(takes: Sequence[Take], *, overlaid: bool) -> dict[str, Any]:
    """What the page's script reads: names and places of arrays, and the arrays."""
    packed = Packed()
    persons = list({take.person.sha256: take.person for take in takes}.values())
    places = [[p.sha256 for p in persons].index(take.person.sha256) for take in takes]
    loose = [_loose_points(person) for person in persons]
    vertices, faces = ball(MASS_CENTRE_M)
    packed.add("ball", in_steps(vertices, SHAPE_STEP_M))
    packed.add("ball_faces", faces.astype(np.uint16))
    for i, person in enumerate(persons):
        _pack_person(packed, f"person{i}", person)
    entries = [
        _pack_take(packed, f"take{i}", take, loose[place], place) | {"offset": offset.tolist()}
        for i, (take, place, offset) in enumerate(zip(takes, places, side_by_side(len(takes)), strict=True))
    ]
    channels = _pack_curves(packed, takes)
    names = [c["name"] for c in channels]
    return {
        "rate": takes[0].rate_hz,
        "overlaid": overlaid,
        "bodies": max(len(person.skeleton.bodies) for person in persons),
        "persons": [{"loose": points.tolist()} for points in loose],
        "takes": entries,
        "channels": channels,
        "first": next((names.index(n) for n in FIRST if n in names), 0),
        "kinds": KINDS,
        "colours": SCENE_COLOURS,
        "skins": SKINS,
        "activation": {"stops": STOPS, "colours": COLOURS},
        "arrays": packed.about,
        "blob": packed.blob(),
    }


def in_steps(values: np.ndarray, step: float) -> np.ndarray:
    """Rounded to whole steps, as 16-bit integers; what lies beyond their range is held at it."""
    return np.rint(np.asarray(values) / step).clip(-32768, 32767).astype(np.int16)


def _pack_person(packed: Packed, name: str, person: DrawnPerson) -> None:
    bodies = person.skeleton.bodies
    for part, shapes in (("skin", person.flesh), ("bones", person.bones)):
        vertices, faces, body = _joined([s for s in shapes if s.body in bodies], bodies)
        packed.add(f"{name}.{part}", in_steps(vertices, SHAPE_STEP_M))
        packed.add(f"{name}.{part}_faces", faces.astype(np.uint16 if len(vertices) < 65536 else np.uint32))
        packed.add(f"{name}.{part}_bodies", body.astype(np.uint8))
    packed.add(f"{name}.points", in_steps(person.paths.location, SHAPE_STEP_M))
    packed.add(f"{name}.point_bodies", person.path_bodies.astype(np.int16))
    packed.add(f"{name}.point_muscles", person.paths.muscle.astype(np.uint16))
    packed.add(f"{name}.segments", person.segments.astype(np.uint16))


def _joined(shapes: Sequence[Shape], bodies: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, triangles and the body of every vertex of several surfaces."""
    if not shapes:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)
    first = np.cumsum([0, *(len(s.vertices) for s in shapes[:-1])])
    body = np.concatenate([np.full(len(s.vertices), bodies.index(s.body)) for s in shapes])
    faces = np.concatenate([s.faces + n for s, n in zip(shapes, first, strict=True)])
    return np.concatenate([s.vertices for s in shapes]), faces, body


def _loose_points(person: DrawnPerson) -> np.ndarray:
    """Path points that are not always at one place in a body, or are fixed in the ground."""
    paths = person.paths
    loose = (paths.used_by >= 0) | (person.path_bodies < 0)
    loose[paths.moving] = True
    return np.flatnonzero(loose)


def _pack_take(packed: Packed, name: str, take: Take, loose: np.ndarray, person: int) -> dict[str, Any]:
    def moving(part: str, values: np.ndarray, step: float) -> None:
        packed.add(f"{name}.{part}", in_steps(values, step), over_time=True)

    muscles = len(take.person.paths.muscles)
    active = np.full((1, muscles), np.nan) if take.activations is None else take.activations
    known = np.isfinite(active).all(0)
    levels = np.rint(255.0 * np.where(known, active, 0.0).clip(0.0, 1.0)).astype(np.uint8)
    moving("places", take.position, SCENE_STEP_M)
    moving("turns", quaternions(take.rotation), TURN_STEP)
    moving("loose", take.muscle_points[:, loose], SCENE_STEP_M)
    moving("arrows", take.arrows, SCENE_STEP_M)
    moving("loads", take.loads, SCENE_STEP_M)
    packed.add(f"{name}.furniture", in_steps(take.furniture, SCENE_STEP_M))
    moving("com", take.com, SCENE_STEP_M)
    corners = np.zeros((take.frames, 0, 3)) if take.support is None else take.support.corners
    moving("support", corners[..., [0, 2]], SCENE_STEP_M)
    packed.add(f"{name}.activations", levels if take.activations is not None else levels[:0])
    packed.add(f"{name}.known", known.astype(np.uint8))
    packed.add(f"{name}.pushing", take.pushing.astype(np.uint8))
    balanced = np.zeros(take.frames, dtype=bool) if take.support is None else take.support.balanced
    packed.add(f"{name}.balanced", balanced.astype(np.uint8))
    return {
        "title": take.title, "verdict": take.verdict, "person": person, "frames": take.frames, "top": take.top,
        "bodies": len(take.person.skeleton.bodies), "muscles": muscles, "corners": corners.shape[1],
        "loaded": take.loads.shape[1], "carried": take.arrows.shape[1], "edges": len(take.furniture),
        "unknown": UNKNOWN,
    }  # fmt: skip


def _pack_curves(packed: Packed, takes: Sequence[Take]) -> list[dict[str, Any]]:
    """Every channel of every take, over the channel's range; a take without a channel is in its `lacking`."""
    names = list(dict.fromkeys(name for take in takes for name in take.curves))
    channels, rows = [], []
    for name in names:
        found = [take.curves.get(name) for take in takes]
        present = [c for c in found if c is not None]
        low, high = min(float(c.values.min()) for c in present), max(float(c.values.max()) for c in present)
        scale = CURVE_LEVELS / (high - low) if high > low else 0.0
        for take, curve in zip(takes, found, strict=True):
            levels = np.zeros(take.frames) if curve is None else (curve.values - low) * scale
            rows.append(np.rint(levels).astype(np.uint16))
        channels.append({
            "name": name, "kind": present[0].kind, "unit": present[0].unit, "low": low, "high": high,
            "lacking": [i for i, c in enumerate(found) if c is None],
        })  # fmt: skip
    packed.add("curves", np.concatenate(rows), over_time=True)
    return channels


def _gradient() -> str:
    stops = ", ".join(f"rgb{colour} {100 * stop:g}%" for stop, colour in zip(STOPS, COLOURS, strict=True))
    return f"linear-gradient(to right, {stops})"
