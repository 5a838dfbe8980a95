"""How far joints may turn: the model's own ranges, and what people can do where a model sets no limit.

A model's range is a limit if its coordinate is clamped and the range finite; a range wider than people's is none. The
ranges of people are the widest of active and passive motion that healthy adults are reported to reach (American
Academy of Orthopaedic Surgeons 1965; Norkin and White 2016, Measurement of Joint Motion, ISBN 978-0-8036-4566-0;
Hemmerich et al. 2006, doi:10.1002/jor.20114, for hips and knees in deep squats and kneeling; Nawoczenski et al. 1999,
J Bone Joint Surg 81-A:370-376, for the toes), in the signs of Rajagopal et al. (2016) and rounded outwards.

Shoulders turn about three axes in sequence, whose angles have no limits of their own: an arm overhead has flexion of
-20 or 160 degrees, by the description that was chosen. The description that exceeds the model's ranges least counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel

PEOPLE_DEG = {
    "hip_flexion": (-30.0, 140.0), "hip_adduction": (-60.0, 40.0), "hip_rotation": (-60.0, 60.0),
    "knee_angle": (-15.0, 160.0), "knee_adduction": (-30.0, 30.0), "knee_rotation": (-45.0, 45.0),
    "ankle_angle": (-60.0, 50.0), "subtalar_angle": (-40.0, 40.0), "mtp_angle": (-50.0, 75.0),
    "lumbar_extension": (-110.0, 60.0), "lumbar_bending": (-60.0, 60.0), "lumbar_rotation": (-75.0, 75.0),
    "elbow_flex": (-15.0, 160.0), "pro_sup": (-95.0, 180.0), "wrist_flex": (-90.0, 90.0), "wrist_dev": (-35.0, 50.0),
}  # fmt: skip
"""Flexion, adduction, internal rotation, dorsiflexion, inversion and toe extension are positive."""
HALF_TURN_DEG = (-180.0, 180.0)
"""For a rotation that no table knows."""

Limits = dict[str, tuple[float, float]]


def joint_limits(model: OsimModel) -> Limits:
    """Lowest and highest value, rad, of every independent rotation that is not the root's."""
    limits: Limits = {}
    for c in model.coordinates:
        if c.dependent or c.kind != "rotational" or c.name in model.root_coordinates:
            continue
        low, high = np.deg2rad(PEOPLE_DEG.get(_without_side(c.name), HALF_TURN_DEG))
        if c.clamped and np.isfinite([c.range_min, c.range_max]).all() and c.range_min < c.range_max:
            low, high = max(low, c.range_min), min(high, c.range_max)
        limits[c.name] = (float(low), float(high))
    return limits


def beyond_limits(
    q: Motion, limits: Mapping[str, tuple[float, float]], triples: list[tuple[str, str, str]]
) -> dict[str, Float[np.ndarray, " time"]]:
    """How far each coordinate is beyond its limits, rad, in every frame.

    `triples` are the coordinates of joints that turn about three axes (`rotations.rotation_triples`). Of two such
    descriptions of the same orientation, (a, b, c) and (a + pi, pi - b, c + pi), each by whole turns nearest to the
    middle of its range, the one that exceeds less is taken.
    """
    found = {name: _excess(q[name], *limits[name]) for name in limits if name in q}
    for triple in triples:
        if not all(name in found for name in triple):
            continue
        a, b, c = (q[name] for name in triple)
        descriptions = ((a, b, c), (a + np.pi, np.pi - b, c + np.pi))
        excess = np.array([[_turned(x, *limits[n]) for n, x in zip(triple, d, strict=True)] for d in descriptions])
        best = excess.max(axis=1).argmin(axis=0)
        for k, name in enumerate(triple):
            found[name] = excess[best, k, np.arange(q.frames)]
    return found


def _excess(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.maximum(np.maximum(low - x, x - high), 0.0)


def _turned(x: np.ndarray, low: float, high: float) -> np.ndarray:
    turn, middle = 2.0 * np.pi, 0.5 * (low + high)
    return _excess(x - turn * np.round((x - middle) / turn), low, high)


def _without_side(name: str) -> str:
    return name[:-2] if name.endswith(("_r", "_l")) else name
