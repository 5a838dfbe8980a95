"""What a pipeline is told: one table of a TOML file per stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bige_opensim.io.documents import DocumentError, read_toml
from bige_opensim.labelling.request import LabelSettings
from bige_opensim.learning.setting_limits import require_within
from bige_opensim.learning.training import GeneratorTraining, SurrogateTraining, TrainingError, configured
from bige_opensim.movements.repetitions import AUTO, EVENT_RULES
from bige_opensim.settings import one_of
from bige_opensim.synthesis.movements import MOVEMENTS
from bige_opensim.workflows.generate import SearchSettings


class PipelineError(ValueError):
    """A pipeline that cannot be run as it is described, or a stage that came to nothing."""


SEEDS = (0, 2**63 - 1)


@dataclass(frozen=True)
class Cohort:
    """Synthetic people, where no recordings are named: how many, repetitions of each, seed, movement."""

    subjects: int = 24
    reps: int = 4
    seed: int = 0
    movement: str = "squat"

    def __post_init__(self) -> None:
        one_of("movement", self.movement, tuple(MOVEMENTS))
        require_within(self, {"subjects": (1, 100_000), "reps": (1, 1000), "seed": SEEDS})


@dataclass(frozen=True)
class Label:
    """How trials are labelled: solver, share of frames audited by OpenSim, cut-off in Hz, pattern of trial names."""

    solver: str = "fast"
    audit: float = 0.002
    cutoff_hz: float = 6.0

    def __post_init__(self) -> None:
        self.settings()

    def settings(self) -> LabelSettings:
        """For the labelling room, which checks them."""
        return LabelSettings(solver=self.solver, audit=self.audit, cutoff_hz=self.cutoff_hz)


@dataclass(frozen=True)
class Dataset:
    """How repetitions are cut: movement, pattern of trial names, failed trials kept or not, seed of the split."""

    movement: str = "squat"
    trials: str = "*"
    include_failed: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("movement", self.movement, (*EVENT_RULES, AUTO))


@dataclass(frozen=True)
class Search:
    """What is asked and for whom: objective file, subject (or the first test subject); the others: `SearchSettings`."""

    objective: Path = Path("objective.toml")
    subject: str | None = None
    count: int = 20
    seed: int = 0
    predictor: str = "physics"
    iterations: int | None = None
    physics_share: float = 0.25
    rehearsals: int = 4
    refine: int = 0
    chair: str | None = None

    def __post_init__(self) -> None:
        self.settings()

    def settings(self) -> SearchSettings:
        """For the search, which checks them."""
        chosen = {f.name: getattr(self, f.name) for f in fields(SearchSettings)}
        return SearchSettings(**chosen)


@dataclass(frozen=True)
class PipelineSettings:
    """All stages of a pipeline; `path` is the file they were read from."""

    path: Path
    name: str
    cohort: Cohort = field(default_factory=Cohort)
    label: Label = field(default_factory=Label)
    dataset: Dataset = field(default_factory=Dataset)
    surrogate: SurrogateTraining = field(default_factory=SurrogateTraining)
    generator: GeneratorTraining = field(default_factory=GeneratorTraining)
    search: Search = field(default_factory=Search)


TABLES: dict[str, type] = {
    "cohort": Cohort,
    "label": Label,
    "dataset": Dataset,
    "surrogate": SurrogateTraining,
    "generator": GeneratorTraining,
    "search": Search,
}


def read_pipeline(path: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> PipelineSettings:
    """Read a pipeline's TOML file; paths in it are relative to it. `changes` replace values of its tables.

    Raises
    ------
    PipelineError
        The file cannot be read, or a table, key or value is not known.

    """
    try:
        content = read_toml(path)
    except DocumentError as error:
        raise PipelineError(str(error)) from error
    unknown = sorted(set(content) - {"name", *TABLES})
    if unknown:
        raise PipelineError(f"{path}: {', '.join(unknown)} is not known. Known: name, {', '.join(TABLES)}.")
    for table, values in (changes or {}).items():
        content[table] = {**content.get(table, {}), **values}
    found = {}
    for table, kind in TABLES.items():
        try:
            found[table] = configured(kind, content.get(table, {}))
        except (TrainingError, TypeError, ValueError) as error:
            known = ", ".join(f.name for f in fields(kind))
            raise PipelineError(f"{path}: [{table}]: {error}. Known: {known}.") from error
    search = found["search"]
    objective = path.parent / search.objective
    if not objective.is_file():
        raise PipelineError(f"{path}: [search] objective: there is no file {objective}.")
    found["search"] = type(search)(**{**vars(search), "objective": objective})
    return PipelineSettings(path=path, name=str(content.get("name", path.stem)), **found)
