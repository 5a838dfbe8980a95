"""For this person: how strong the muscles are, how far the joints go without pain, and what is carried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bige_opensim.guidance.language import closest
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.osim.loaded_model import write_loaded_model
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.osim.muscle_parameters import muscle_groups
from bige_opensim.osim.personal_model import write_personal_model
from bige_opensim.physics.carried_loads import CarriedLoad, parse_loads

STRONGEST = 10.0
STRENGTH_FORM, LIMIT_FORM = "vas*_r=0.7", "knee_angle_r=0..90"

Strength = Mapping[str, float]
Limits = Mapping[str, tuple[float, float]]


class PersonError(ValueError):
    """A strength or a range that a model cannot have."""


@dataclass(frozen=True)
class Person:
    """What of a model is one person's own.

    Attributes
    ----------
    strength
        Factor of the isometric force, by muscle, pattern (`vas*_r`) or group of the model; where several fit a muscle,
        they multiply.
    limits
        Lowest and highest value by coordinate, degrees or metres: the range without pain.
    loads
        What the person carries.

    Raises
    ------
    PersonError
        A strength that is not above 0 and at most 10, or a range whose ends are not in order.

    """

    strength: Strength = field(default_factory=dict)
    limits: Limits = field(default_factory=dict)
    loads: tuple[CarriedLoad, ...] = ()

    def __post_init__(self) -> None:
        for name, factor in self.strength.items():
            if not 0.0 < factor <= STRONGEST:
                remedy = " A muscle that does not work at all is switched off in the model (appliesForce)."
                raise PersonError(
                    f"The strength of {name} must be above 0 and at most {STRONGEST:g}, 1 being the model's; got "
                    f"{factor:g}.{remedy if factor == 0 else ''}"
                )
        for name, (low, high) in self.limits.items():
            if not low < high:
                raise PersonError(f"The range of {name} must go from its lowest to its highest; got {low:g}..{high:g}.")

    @property
    def usual(self) -> bool:
        """Whether the model is taken as it is."""
        return not (self.strength or self.limits or self.loads)

    @contextmanager
    def model(self, path: Path) -> Iterator[Path]:
        """A model file of this person, for as long as it is needed; the file itself where it is taken as it is.

        Raises
        ------
        PersonError
            A name that the model lacks, or a range outside that of the model.
        CarriedLoadError
            A load on a body that the model lacks.
        ModelError
            The model cannot be read.

        """
        if self.usual:
            yield path
            return
        known = load(path)
        strength, limits = _strengths(known, self.strength), _limits(known, self.limits)
        with TemporaryDirectory(prefix="bige-person-") as folder:
            own = write_personal_model(path, Path(folder) / path.name, strength=strength, limits=limits)
            yield write_loaded_model(load(own), own, self.loads) if self.loads else own

    def record(self, path: Path) -> dict[str, Any]:
        """For generation.json: strengths, ranges in degrees and metres, loads, and the model they were given to."""
        return {
            "strength": dict(self.strength),
            "limits": {name: list(ends) for name, ends in self.limits.items()},
            "load": [str(load) for load in self.loads],
            "model": path.name,
            "model_sha256": file_sha256(path),
        }


def parse_person(strength: Sequence[str], limits: Sequence[str], loads: Sequence[str]) -> Person:
    """A person from texts such as `vas*_r=0.7`, `knee_angle_r=0..90` and `60kg@torso`.

    Raises
    ------
    PersonError, CarriedLoadError
        A text of another form, or a value that cannot be.

    """
    return Person(dict(_named(x) for x in strength), dict(_range(x) for x in limits), parse_loads(loads))


def _named(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return _name(name), float(value)
    except ValueError:
        raise PersonError(f"A strength is written as MUSCLE=FACTOR, such as {STRENGTH_FORM}; got '{text}'.") from None


def _range(text: str) -> tuple[str, tuple[float, float]]:
    name, _, value = text.rpartition("=")
    low, _, high = value.partition("..")
    try:
        return _name(name), (float(low), float(high))
    except ValueError:
        raise PersonError(
            f"A range is written as COORDINATE=LOW..HIGH in degrees or metres, such as {LIMIT_FORM}; got '{text}'."
        ) from None


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text.strip()


def _strengths(model: OsimModel, wanted: Strength) -> dict[str, float]:
    """Factor of every muscle that is not as strong as in the model."""
    groups = muscle_groups(model)
    found: dict[str, float] = {}
    for name, factor in wanted.items():
        chosen = [m for m in model.muscle_names if fnmatchcase(m, name)] or list(groups.get(name, ()))
        if not chosen:
            known = closest(name, [*model.muscle_names, *groups])
            raise PersonError(f"{model.path}: no muscle or group of muscles fits '{name}'{known}")
        for muscle in chosen:
            found[muscle] = found.get(muscle, 1.0) * factor
    return found


def _limits(model: OsimModel, wanted: Limits) -> dict[str, tuple[float, float]]:
    """Ranges within those of the model, rad and m."""
    own = {c.name: c for c in model.coordinates}
    found = {}
    for name, ends in wanted.items():
        coordinate = own.get(name)
        if coordinate is None:
            raise PersonError(f"{model.path}: no coordinate is called '{name}'{closest(name, own)}")
        if coordinate.dependent or coordinate.held:
            raise PersonError(f"{model.path}: {name} follows others or is held by the model; it has no range to limit.")
        turns = name in model.rotational
        low, high = (math.radians(x) if turns else x for x in ends)
        if coordinate.clamped:
            low, high = max(low, coordinate.range_min), min(high, coordinate.range_max)
        if not low < high:
            unit, size = ("degrees", math.degrees(1.0)) if turns else ("m", 1.0)
            lowest, highest = coordinate.range_min * size, coordinate.range_max * size
            raise PersonError(
                f"{model.path}: {name} goes from {lowest:.4g} to {highest:.4g} {unit} in this model, which has nothing "
                f"in common with {ends[0]:g}..{ends[1]:g}."
            )
        found[name] = (low, high)
    return found
