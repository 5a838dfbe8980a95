"""What an edited repetition does differently: per joint and phase, in degrees and centimetres, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bige_opensim.motion import Motion
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.reporting.wording import SPACE, number, with_side

SAMPLES = 101
AROUND_LOWEST = 0.1
"""The lowest phase lasts from so much of the cycle before the pelvis is lowest until so much after."""
PHASES = ("on the way down", "at the lowest point", "on the way up")
TOLD_DEG, TOLD_CM = 2.0, 1.0
MOST = 10
PLACES = {"pelvis_tx": ("farther forward", "farther back"), "pelvis_ty": ("higher", "lower"),
          "pelvis_tz": ("farther right", "farther left")}  # fmt: skip


class Change(NamedTuple):
    """Mean change of a coordinate in a phase, degrees or cm, and the largest one in it."""

    coordinate: str
    phase: str
    mean: float
    largest: float
    unit: str


def changes(skeleton: Skeleton, before: Motion, after: Motion) -> list[Change]:
    """Of every coordinate in every phase, compared at the same share of the cycle."""
    names = [n for n in skeleton.coordinates if n in before and n in after]
    turns = dict(zip(skeleton.coordinates, skeleton.tables.rotational, strict=True))
    old, new = (_cycle(m.select(names)) for m in (before, after))
    height = old[:, names.index("pelvis_ty")] if "pelvis_ty" in names else -np.arange(SAMPLES, dtype=float)
    found = []
    for phase, part in zip(PHASES, _phases(height), strict=True):
        for k, name in enumerate(names):
            difference = (new - old)[part, k] * (np.rad2deg(1.0) if turns[name] else 100.0)
            largest = float(difference[np.abs(difference).argmax()])
            found.append(Change(name, phase, float(difference.mean()), largest, "°" if turns[name] else f"{SPACE}cm"))
    return found


def _cycle(motion: Motion) -> Float[np.ndarray, "sample channel"]:
    return motion.resampled(np.linspace(motion.time[0], motion.time[-1], SAMPLES)).values


def _phases(height: Float[np.ndarray, " sample"]) -> list[slice]:
    lowest, around = int(height.argmin()), round(AROUND_LOWEST * SAMPLES)
    start, end = max(lowest - around, 1), min(lowest + around, SAMPLES - 1)
    return [slice(0, start), slice(start, end), slice(end, SAMPLES)]


def sentences(found: Sequence[Change], before: Motion, after: Motion) -> list[str]:
    """What changed most, one sentence per phase, and the duration."""
    said = []
    for phase in PHASES:
        told = [c for c in found if c.phase == phase and abs(c.mean) >= (TOLD_DEG if c.unit == "°" else TOLD_CM)]
        told.sort(key=lambda c: -abs(c.mean) / (5.0 if c.unit == "°" else 2.0))
        if told:
            words = "; ".join(_words(c) for c in told[:MOST])
            said.append(f"{phase[0].upper()}{phase[1:]}: {words}.")
    slower = after.duration / before.duration - 1.0
    if abs(slower) > 0.01:
        way = "slower" if slower > 0 else "faster"
        said.append(
            f"{number(100 * abs(slower), 2)}{SPACE}% {way}: {after.duration:.2f} instead of {before.duration:.2f} s."
        )
    return said or ["No joint changes by 2 degrees, and no place by a centimetre."]


def _words(c: Change) -> str:
    amount = f"{number(abs(c.mean), 2)}{c.unit}"
    if c.coordinate in PLACES:
        return f"the pelvis {amount} {PLACES[c.coordinate][c.mean < 0]}"
    if c.coordinate == "pelvis_tilt":
        return f"the pelvis tilted {amount} {'back' if c.mean > 0 else 'forward'}"
    if c.coordinate == "lumbar_extension":
        return f"the trunk bent {amount} {'back' if c.mean > 0 else 'forward'} over the pelvis"
    return f"{with_side(c.coordinate)} {amount} {'more' if c.mean > 0 else 'less'}"
