"""What is exported: a motion with its model and, where there is one, its label; and a name for its files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from bige_opensim.labelling.label import Label
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Poses, Skeleton
from bige_opensim.viewer.sources import MotionSource
from bige_opensim.viewer.take import Recorded, in_skeleton_order


@dataclass(frozen=True, eq=False)
class Person:
    """A model file and its skeleton."""

    model: Path
    skeleton: Skeleton

    @classmethod
    def of(cls, model: Path) -> Person:
        """The person of a model file; ModelError where it cannot be read."""
        return cls(model, Skeleton(compile_skeleton(model)))


@dataclass(frozen=True, eq=False)
class Selected:
    """A motion to export: `name` is a relative path without suffix, unlike that of any other motion."""

    name: str
    person: Person
    recorded: Recorded
    label: Label | None
    folder: Path | None

    @property
    def time(self) -> Float[np.ndarray, " time"]:
        """Of the coordinates, s."""
        return self.recorded.coordinates.time

    @cached_property
    def q(self) -> Float[np.ndarray, "time coordinate"]:
        """Coordinates in the skeleton's order, rad and m; those that the motion lacks keep the model's default."""
        return in_skeleton_order(self.recorded.coordinates, self.person.skeleton)


def select(sources: Iterable[MotionSource]) -> list[Selected]:
    """Give every motion a name of its own, and every model one skeleton."""
    persons: dict[Path, Person] = {}
    taken: set[str] = set()
    found = []
    for source in sources:
        if source.model not in persons:
            persons[source.model] = Person.of(source.model)
        name = _unlike(_file_name(source.recorded.title), taken)
        taken.add(name.lower())
        found.append(Selected(name, persons[source.model], source.recorded, source.label, source.folder))
    return found


def at_even_rate(motion: Motion) -> tuple[Motion, int]:
    """The motion at whole multiples of one over its rate, as formats with a frame rate need; the first multiple."""
    rate = frame_rate(motion)
    first = int(np.ceil(motion.time[0] * rate - 1e-3))
    last = max(int(np.floor(motion.time[-1] * rate + 1e-3)), first + 1)
    time = np.clip(np.arange(first, last + 1) / rate, motion.time[0], motion.time[-1])
    return motion.resampled(time), first


def frame_rate(motion: Motion) -> float:
    """Frames per second, free of the rounding of times in files."""
    return round(motion.rate_hz, 2)


def poses_of(skeleton: Skeleton, q: Float[np.ndarray, "time coordinate"]) -> Poses:
    """Body frames in ground."""
    with torch.no_grad():
        return skeleton(torch.as_tensor(q))


def _file_name(title: str) -> str:
    """A relative path in which a title's folders are kept, and which leaves no folder: titles come from files."""
    parts = [re.sub(r"[^\w.+-]+", "_", part).strip("._") for part in title.split("/")]
    return "/".join(part for part in parts if part) or "motion"


def _unlike(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken; case does not tell files apart everywhere."""
    number, found = 1, name
    while found.lower() in taken:
        number += 1
        found = f"{name}_{number}"
    return found
