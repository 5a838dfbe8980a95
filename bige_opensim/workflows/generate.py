"""Motions that meet an objective, by the networks and, where asked, the physics of the person's own model."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bige_opensim.built_in import BUILT_IN
from bige_opensim.guidance.compromise import explained
from bige_opensim.guidance.generated import Generated
from bige_opensim.guidance.generation import (
    AUTO,
    MOST_MOTIONS,
    PHYSICS,
    PREDICTORS,
    SURROGATE,
    GenerationRequest,
    MotionSearch,
    reference_ranges,
)
from bige_opensim.guidance.language import MOST_ITERATIONS
from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.quantities import needs_dynamics
from bige_opensim.labelling.chair import AUTO as CHAIR_FOUND
from bige_opensim.labelling.chair import check_chair
from bige_opensim.labelling.label_trials import NEED_BYTES
from bige_opensim.learning.surrogate import Surrogate
from bige_opensim.learning.vqvae import Generator
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_lines import compile_lines
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.model import load
from bige_opensim.physics.anthropometry import STRENGTH
from bige_opensim.physics.carried_loads import Loads, loads_of
from bige_opensim.physics.muscle_tables import MuscleTables
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables
from bige_opensim.physics.stance_loads import stands
from bige_opensim.settings import in_range, one_of
from bige_opensim.workers.cluster import local_count
from bige_opensim.workers.worker_process import PROCESSES
from bige_opensim.workflows.objectives import bind_to_model, objective_file
from bige_opensim.workflows.personal import Limits, Person, Strength
from bige_opensim.workflows.progress import Show, Silent
from bige_opensim.workflows.rehearsal import MOST_REHEARSALS, rehearsed
from bige_opensim.workflows.train import folder_of, load_surrogate

LARGEST_SEED = 2**63 - 1
WEAKNESS = (
    "The surrogate knows the sum of this person's strengths, not which muscle is weak: what it says of single muscles "
    "is for one who is weaker all over. Search with the physics."
)

UNLOADED = (
    "The surrogate knows nothing of what this person carries: what it says of muscles is for one who carries nothing. "
    "Search with the physics."
)


@dataclass(frozen=True)
class SearchSettings:
    """How motions are searched.

    count: how many motions; seed: of the starting points; iterations: instead of the objective's; predictor: what says
    how active muscles are, the surrogate, the physics of the model, or ("auto") the physics where it is as fast and
    nobody named a surrogate, or where a term measures forces; physics_share: where the physics takes longer, it follows
    the surrogate's search, for so many of its iterations; rehearsals: how often, at most, motions are labelled as
    the verdict will label them, and searched on where that differs from what was predicted; refine: after how many of
    these rounds the surrogate is refined on the motions that were simulated; chair: what sit-to-stands start on, "auto"
    or the height of a seat above the ground, m.

    Raises
    ------
    SettingError
        A value that is none of its choices.

    """

    count: int = 8
    seed: int = 0
    iterations: int | None = None
    predictor: str = AUTO
    physics_share: float = 0.25
    rehearsals: int = 4
    refine: int = 0
    chair: str | None = None

    def __post_init__(self) -> None:
        one_of("predictor", self.predictor, PREDICTORS)
        in_range("count", self.count, "motions", 1, MOST_MOTIONS)
        in_range("seed", self.seed, "", 0, LARGEST_SEED)
        if self.iterations is not None:
            in_range("iterations", self.iterations, "", 1, MOST_ITERATIONS)
        in_range("physics_share", self.physics_share, "of the first search", 0.0, 10.0)
        in_range("rehearsals", self.rehearsals, "", 0, MOST_REHEARSALS)
        in_range("refine", self.refine, "rounds", 0, MOST_REHEARSALS)
        check_chair(self.chair)

    @property
    def seat_m(self) -> float | None:
        """The height of the seat; None for where a motion begins."""
        return None if self.chair in (None, CHAIR_FOUND) else float(self.chair)


def generate(
    objective: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str],
    generator: Generator | str | os.PathLike[str] = BUILT_IN,
    surrogate: Surrogate | str | os.PathLike[str] = BUILT_IN,
    count: int = 8,
    seed: int = 0,
    iterations: int | None = None,
    predictor: str = AUTO,
    physics_share: float = 0.25,
    rehearsals: int = 4,
    refine: int = 0,
    strength: Strength | None = None,
    limits: Limits | None = None,
    load: Loads = None,
    chair: str | float | None = None,
    show: Show = Silent,
) -> Generated:
    """Search for motions of one person that meet an objective.

    Parameters
    ----------
    objective
        Objective file (TOML), or the name of one that comes with the package.
    model
        The person's model.
    generator, surrogate
        The networks, or their folders; those that come with the package when none are named.
    count
        How many motions.
    seed
        Seed of the starting points: the same seed gives the same motions.
    iterations
        Iterations of the search, instead of the objective's.
    predictor
        What says how active muscles are: the "surrogate"; the "physics" of the person's model, which is exact, and as
        fast for somebody who stands where the package was built with a C compiler; "auto": the physics where it is as
        fast and no surrogate is named, where terms measure moments, ground forces or joint loads, which no surrogate
        predicts, and where the person carries a load, of which none knows, else the surrogate, from which motions go
        on by the physics whose activations were found to be others when they were rehearsed.
    physics_share
        Where the physics takes longer (joint loads, chairs, other costs, no compiler) it follows the surrogate's
        search, for so many iterations in shares of those before.
    rehearsals
        How often, at most, the motions are labelled as `validate` will, by the fast solver, and searched on where the
        labels differ from what was predicted; 0 leaves it at the prediction.
    refine
        After how many of these rounds the surrogate is refined, for this search alone, on the motions that were
        simulated; `record["refinement"]` has by how much it was off in each round, and afterwards.
    strength
        How strong the person's muscles are, in shares of the model's, by muscle, pattern or group: {"vas*_r": 0.7}.
    limits
        How far the person's joints go without pain, in degrees or metres: {"knee_angle_r": (0, 90)}.
    load
        What the person carries, in the search, the verdict and the report: "60kg@torso" is a bar on the back,
        "20kg@hands", "10kg@hand_r"; one or several.
    chair
        The height above the ground, m, of the seat that sit-to-stands start on; by default ("auto") it is under the
        pelvis where a motion begins.
    show
        How progress is shown; by default not at all.

    Returns
    -------
    Generated
        In memory; `save` writes the folder. What was predicted is no verdict: ask `validate`.

    Raises
    ------
    SettingError
        A setting that is none of its values.
    PersonError, CarriedLoadError
        A strength, a range or a load that the model cannot have.
    ObjectiveError, GenerationError, CheckpointError, ModelError
        The objective, the networks or the model cannot be used, or do not belong together.

    """
    sits = None if chair is None else str(chair)
    settings = SearchSettings(count, seed, iterations, predictor, physics_share, rehearsals, refine, sits)
    file, own = objective_file(objective), Path(model)
    person = Person(strength or {}, limits or {}, loads_of(load) or Objective.load(file).loads)
    if person.loads and predictor == AUTO:  # no surrogate knows of loads
        settings = replace(settings, predictor=PHYSICS)
    networks = folder_of(generator, "generator"), folder_of(surrogate, "surrogate")
    with person.model(own) as path:
        found = search_motions(file, path, *networks, settings, show)
    if not person.usual:
        found.record["person"] = person.record(own)
    if person.loads and predictor == SURROGATE:
        found.record["notes"].append(UNLOADED)
    if person.strength and predictor != PHYSICS and not _knows_single_muscles(networks[1]):
        found.record["notes"].append(WEAKNESS)
    return found


def _knows_single_muscles(surrogate: Path) -> bool:
    """Whether the strength of every muscle is among what the surrogate is told of a body."""
    known = load_surrogate(surrogate).channels
    return set(known.features) >= {f"{STRENGTH}{muscle}" for muscle in known.muscles}


@quiet_opensim()
def search_motions(
    objective: Path, model: Path, generator: Path, surrogate: Path, settings: SearchSettings, show: Show = Silent
) -> Generated:
    """`generate` from files and settings."""
    tables, asked = compile_skeleton(model), Objective.load(objective)
    skeleton = Skeleton(tables)
    bind_to_model(asked, load(model), skeleton)
    forces = any(needs_dynamics(term) for term in asked.terms)
    physics = settings.predictor == PHYSICS or (settings.predictor == AUTO and forces)
    shared = shares(surrogate, skeleton)
    free = settings.predictor == AUTO and not settings.refine and surrogate == folder_of(BUILT_IN, "surrogate")
    exact = free and shared and not tables.passive_forces  # nobody asked for a surrogate, nor for the physics
    muscles = muscles_of(model, generator, tables) if physics or shared else None
    pressed = any(term.quantity == "joint_load" for term in asked.terms)
    request = GenerationRequest(
        generator=generator,
        surrogate=surrogate,
        objective=objective,
        model=model,
        tables=tables,
        count=settings.count,
        seed=settings.seed,
        iterations=settings.iterations,
        muscles=muscles,
        by_physics=physics or exact,
        physics_share=settings.physics_share,
        lines=compile_lines(model, skeleton, muscles) if pressed and muscles is not None else None,
        seat_m=settings.seat_m,
    )
    prepared = MotionSearch(request)
    if not (physics or prepared.throughout) and request.by_physics:  # it would take longer than the surrogate
        prepared = MotionSearch(replace(request, by_physics=False))
    total = prepared.iterations
    with PROCESSES.kept():
        if settings.rehearsals:  # they import OpenSim while the search runs
            PROCESSES.start(local_count(settings.count, None, NEED_BYTES["fast"]), "bige_opensim.labelling.label_task")
        with show(total, "searching") as steps:
            every = max(1, total // 10)
            result = prepared.run(lambda i, n, loss: steps.advance(i, f"loss {loss:.4g}", every=every))
        if not settings.rehearsals:
            found = prepared.generated(result)
            return found if result.satisfied.any() else explained(found, prepared, result)
        known = settings.predictor == AUTO and not tables.passive_forces
        through = partial(through_physics, prepared) if known else None
        return rehearsed(prepared, result, settings.rehearsals, show, refine=settings.refine, physics=through)


def through_physics(prepared: MotionSearch) -> MotionSearch:
    """The same search, through the physics of the person's model."""
    request = prepared.request
    muscles = muscles_of(request.model, request.generator, request.tables)
    return MotionSearch(replace(request, muscles=muscles, by_physics=True))


def shares(surrogate: Path, skeleton: Skeleton) -> bool:
    """Whether a surrogate shares what joints carry among the muscles of a person, whose paths it then needs."""
    return bool(load_surrogate(surrogate).channels.loads) and stands(skeleton)


def muscles_of(model: Path, generator: Path, tables: SkeletonTables) -> MuscleTables:
    """Muscle paths of a model, over the ranges of a generator's motions."""
    return compile_muscles(model, reference_ranges(generator, tables))
