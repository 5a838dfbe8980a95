"""Movements that synthetic people make: how one is drawn and performed, and what its session says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bige_opensim.motion import Motion
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.synthesis.countermovements import draw_countermovements, draw_quick_style
from bige_opensim.synthesis.sit_to_stands import draw_rises, draw_rising_style, sit_to_stand_motion
from bige_opensim.synthesis.split_squats import draw_split_squats, draw_split_style, split_squat_motion
from bige_opensim.synthesis.squats import squat_motion
from bige_opensim.synthesis.styles import draw_squats, draw_style

Performed = tuple[Any, tuple[Any, ...], Motion]
"""Style, repetitions as they came out, motion."""


@dataclass(frozen=True)
class SyntheticMovement:
    """A movement: how a body performs some repetitions, what these are called, the name of the trial, and the chair."""

    perform: Callable[[Skeleton, int, np.random.Generator], Performed]
    repetitions: str
    trial: str
    chair: str | None = None

    @property
    def plural(self) -> str:
        """The repetitions in words."""
        return self.repetitions.replace("_", " ")


def _squats(skeleton: Skeleton, count: int, random: np.random.Generator) -> Performed:
    style = draw_style(random)
    motion, squats = squat_motion(skeleton, style, draw_squats(style, count, random), random)
    return style, squats, motion


def _countermovements(skeleton: Skeleton, count: int, random: np.random.Generator) -> Performed:
    style = draw_quick_style(random)
    motion, squats = squat_motion(skeleton, style, draw_countermovements(style, count, random), random)
    return style, squats, motion


def _sit_to_stands(skeleton: Skeleton, count: int, random: np.random.Generator) -> Performed:
    style = draw_rising_style(random)
    motion, rises = sit_to_stand_motion(skeleton, style, draw_rises(style, count, random), random)
    return style, rises, motion


def _split_squats(skeleton: Skeleton, count: int, random: np.random.Generator) -> Performed:
    style = draw_split_style(random)
    motion, squats = split_squat_motion(skeleton, style, draw_split_squats(style, count, random), random)
    return style, squats, motion


MOVEMENTS = {
    "squat": SyntheticMovement(_squats, "squats", "squats1"),
    "countermovement": SyntheticMovement(_countermovements, "countermovement_squats", "countermovement1"),
    "sit-to-stand": SyntheticMovement(_sit_to_stands, "rises", "sit_to_stand1", "auto"),
    "lunge": SyntheticMovement(_split_squats, "split_squats", "split_squat1"),
}
"""By the name of their event rule (`movements.EVENT_RULES`); countermovement squats are found as squats."""
