"""Objectives that come with the package, and what an objective asks for, in words, before any search."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from bige_opensim.built_in import MODEL, built_in, built_in_objectives
from bige_opensim.guidance.feasibility import Reach, require_feasible
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.reporting.wording import describe, target_text
from bige_opensim.validation.certificate import no_dynamics
from bige_opensim.validation.joint_limits import joint_limits

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TermInWords:
    """A term as a person reads it: 'Peak activation of vastus medialis', 'between 35 and 45 %'."""

    name: str
    measures: str
    asks: str
    required: bool
    weight: float


@dataclass(frozen=True)
class ObjectiveInWords:
    """What an objective asks for.

    Attributes
    ----------
    name, description
        As the file has them.
    path
        The file.
    model
        The model that its names and bounds were held against.
    terms
        Its terms, in their order.

    """

    name: str
    description: str
    path: Path
    model: Path
    terms: tuple[TermInWords, ...]

    def to_frame(self) -> pd.DataFrame:
        """A row per term: measures, asks, required, weight."""
        import pandas as pd

        frame = pd.DataFrame([vars(t) for t in self.terms]).set_index("name")
        return frame.rename_axis("term")


def objectives() -> dict[str, Path]:
    """The objectives that come with the package: their files by the names that `objective` takes."""
    return built_in_objectives()


def objective_file(objective: str | os.PathLike[str]) -> Path:
    """The file of an objective: a path, or the name of one that comes with the package.

    Raises
    ------
    ObjectiveError
        Neither; the message has the nearest name.

    """
    path = Path(objective)
    if path.is_file() or len(path.parts) > 1 or path.suffix:
        return path
    known = objectives()
    if path.name in known:
        return known[path.name]
    near = get_close_matches(path.name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."
    raise ObjectiveError(f"{path}: no file, and no objective that comes with the package; {hint}")


@quiet_opensim()
def check_objective(
    objective: str | os.PathLike[str], *, model: str | os.PathLike[str] | None = None
) -> ObjectiveInWords:
    """Read an objective, hold it against a model, and put it into words; takes seconds.

    Parameters
    ----------
    objective
        Objective file (TOML), or the name of one that comes with the package.
    model
        The person's model; by default the package's own.

    Raises
    ------
    ObjectiveError
        The file cannot be read, a key, a quantity, a muscle or a coordinate is not known, a bound is out of a muscle's
        or a joint's reach, or terms that decide contradict each other: with file, line, key and the nearest valid name.
    ModelError
        The model cannot be read.

    """
    path, person = objective_file(objective), built_in(MODEL) if model is None else Path(model)
    read = Objective.load(path)
    bound = bind_to_model(read, load(person), Skeleton(compile_skeleton(person)))
    required = {t.name for t in bound.verdict_terms}
    terms = (TermInWords(t.name, describe(t), target_text(t), t.name in required, t.term.weight) for t in bound.terms)
    return ObjectiveInWords(read.name, read.description, path, person, tuple(terms))


def bind_to_model(objective: Objective, model: OsimModel, skeleton: Skeleton) -> BoundObjective:
    """Tie an objective to a person's model, without dynamics, where a motion can meet it.

    Raises
    ------
    ObjectiveError
        As `check_objective`.

    """
    muscles = skeleton.tables.muscles
    bound = objective.bind(skeleton.coordinates, muscles, skeleton, dynamics=no_dynamics)
    require_feasible(bound, reach_of(model))
    return bound


def reach_of(model: OsimModel) -> Reach:
    """How far joints (rad, m) and activations of a model go; what has no limit is left out."""
    active = {m: (float(a), float(b)) for m, (a, b) in zip(model.muscle_names, model.activation_bounds, strict=True)}
    joints = {n: limits for n, limits in joint_limits(model).items() if limits[1] - limits[0] < 2 * math.pi}
    return active | joints
