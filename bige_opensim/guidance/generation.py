"""From trained networks and an objective to motions, ready for the round trip through OpenSim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bige_opensim.guidance.by_physics import ByPhysics, refuse_dynamics, without_dynamics
from bige_opensim.guidance.generated import Generated, generation_record, name_of, smooth
from bige_opensim.guidance.language import SearchSettings, refuse_endless
from bige_opensim.guidance.networks import GenerationError, Networks, load_networks, load_references
from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.guidance.planting import FootPlanting, plant_feet
from bige_opensim.guidance.search import Generator, SearchResult, search
from bige_opensim.learning.checkpoint import REFERENCES
from bige_opensim.motion import Motion
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.muscle_lines import FittedLines, LineTables
from bige_opensim.physics.muscle_tables import MuscleTables
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.predictor import PhysicsPredictor
from bige_opensim.physics.rotations import rotation_triples, within_ranges
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables

PREDICTORS = ("surrogate", "physics")
MOST_MOTIONS = 1000
LEAVING_THE_GROUND = ("gait", "jump")


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate: checkpoints, objective, the subject's model with its compiled skeleton, how many, which seed.

    With compiled `muscles`, the surrogate's search is followed by one through the physics, of `physics_share` times as
    many iterations, which starts where the first ended. Terms on moments, ground forces and joint loads (these need
    `lines` of action) are followed in the second search alone: no surrogate predicts them.
    """

    generator: Path
    surrogate: Path
    objective: Path
    model: Path
    tables: SkeletonTables
    count: int
    seed: int
    iterations: int | None = None
    muscles: MuscleTables | None = None
    physics_share: float = 0.25
    lines: LineTables | None = None

    @property
    def iterations_in_all(self) -> int:
        """Iterations of the whole search, those through the physics included."""
        first = self.settings(Objective.load(self.objective)).iterations
        return first + (self.physics_iterations(first) if self.muscles is not None else 0)

    def settings(self, objective: Objective) -> SearchSettings:
        """The objective's settings of the search, shortened or lengthened where this request says so.

        Raises
        ------
        ObjectiveError, GenerationError
            A search that would run for days, or of more motions than memory holds.

        """
        if not 1 <= self.count <= MOST_MOTIONS:
            raise GenerationError(f"{self.count} motions: from 1 to {MOST_MOTIONS} are searched at once.")
        if self.iterations is None:
            return objective.settings
        refuse_endless(self.iterations, "--iterations")
        return shortened(objective.settings, self.iterations)

    def physics_iterations(self, first: int) -> int:
        """Iterations through the physics that follow `first` ones by the surrogate."""
        return max(1, round(self.physics_share * first))


def generate(request: GenerationRequest, progress: Callable[[int, int, float], None] | None = None) -> Generated:
    """Search for motions.

    They are resampled to 50 Hz, eight times their highest frequency, and low-passed at 6 Hz as the recordings that the
    networks learned from were, so that the motion in memory, its file and what OpenSim will judge are the same; feet
    that the filter moved are planted again.

    Raises
    ------
    GenerationError, ObjectiveError, CheckpointError
        With what does not fit and what to do.

    """
    skeleton = Skeleton(request.tables, dtype=torch.float32)
    networks = load_networks(request.generator, request.surrogate, request.model, request.tables)
    vqvae, references, surrogate, _ = networks
    channels, muscles = vqvae.channels.coordinates, surrogate.channels.muscles
    _require_free_pelvis(request)
    _require_grounded(request.generator, str(references.attrs.get("movement", "squat")))
    asked = Objective.load(request.objective)
    if request.muscles is None:
        refuse_dynamics(asked)
    objective = without_dynamics(asked).bind(channels, muscles, skeleton)
    planted = FootPlanting(skeleton, channels)
    person = subject_features(skeleton)
    build = torch.tensor([person[n] for n in vqvae.channels.features], dtype=torch.float32)
    features = torch.tensor([person[n] for n in surrogate.channels.features], dtype=torch.float32)

    def decode(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q, duration = vqvae.decode(z, body=build.expand(len(z), -1))
        return planted(q), duration

    def encode(q: torch.Tensor, duration: torch.Tensor) -> torch.Tensor:
        return vqvae.encode(q, duration, build.expand(len(q), -1))

    def predict(q: torch.Tensor, duration: torch.Tensor) -> torch.Tensor:
        return surrogate(q, duration, features.expand(len(q), -1))

    q = plant_feet(skeleton, channels, torch.as_tensor(references["q"].values, dtype=torch.float32))
    durations = torch.as_tensor(references["duration"].values, dtype=torch.float32)
    settings = request.settings(objective.objective)
    followed = len(objective.terms) == len(asked.terms)
    by_physics = request.muscles is not None and (objective.needs_activations or not followed)
    after = shortened(settings, request.physics_iterations(settings.iterations))
    whole = settings.iterations + (after.iterations if by_physics else 0)
    people = [str(s) for s in references["subject"].values]
    generator = Generator(decode, encode, vqvae.quantise)
    find = partial(search, generator=generator, references=q, reference_durations=durations)
    find = partial(find, count=request.count, seed=request.seed, people=people)
    tell = progress or (lambda done, of, loss: None)
    result = find(objective, activations=predict, settings=settings, progress=lambda i, _, loss: tell(i, whole, loss))
    outside: torch.Tensor | None = None
    if by_physics and request.muscles is not None:
        body, cost = (Skeleton(request.tables), Muscles(request.muscles)), objective.objective.cost
        lines = None if request.lines is None else FittedLines(body[0], request.lines)
        physics = PhysicsPredictor(*body, channels, samples=q.shape[1], cost=cost, lines=lines)
        solved = ByPhysics(physics, [request.muscles.names.index(m) for m in muscles])
        objective = asked.bind(channels, muscles, skeleton, dynamics=solved.dynamics)
        result = find(
            objective,
            activations=solved.activations,
            settings=after,
            start=torch.as_tensor(result.latents, dtype=torch.float32),
            progress=lambda i, _, loss: tell(settings.iterations + i, whole, loss),
        )
        with torch.no_grad():
            physics(torch.as_tensor(result.motions), torch.as_tensor(result.durations))
        outside = physics.outside
    return _generated(request, objective, networks, result, outside)


def _require_grounded(generator: Path, movement: str) -> None:
    """Both feet of a generated motion stay where they are."""
    if movement in LEAVING_THE_GROUND:
        raise GenerationError(
            f"{generator}: was trained on {movement}, in which feet leave the ground; motions are generated that stand "
            "on both feet. Train on squats, sit-to-stands or lunges."
        )


def _require_free_pelvis(request: GenerationRequest) -> None:
    """Motions are planted on the feet by the pelvis, and the physics knows of muscles and the ground alone."""
    if len(request.tables.root["translations"]) != 3:
        raise GenerationError(
            f"{request.model}: motions are generated for models whose pelvis floats, with three translations; this one "
            f"has {', '.join(request.tables.root['translations']) or 'none'}. Use a model with a free pelvis."
        )
    if not request.tables.contact_names:
        raise GenerationError(
            f"{request.model}: has no feet, calcn_r and calcn_l, to stand on. Use a model of the whole body."
        )
    if request.muscles is not None and request.tables.passive_forces:
        raise GenerationError(
            f"{request.model}: the physics does not know the forces {', '.join(request.tables.passive_forces)} of this "
            "model. Search with the surrogate alone, or remove them."
        )


def shortened(settings: SearchSettings, iterations: int) -> SearchSettings:
    """The same schedule over another number of iterations."""
    share = iterations / settings.iterations
    warmup, final = round(settings.warmup * share), round(settings.final * share)
    return replace(settings, iterations=iterations, warmup=warmup, final=final)


def reference_ranges(checkpoint: Path, tables: SkeletonTables) -> dict[str, tuple[float, float]]:
    """Range of every coordinate over a generator's training motions, recorded and as planted on this body.

    Padded by a fifth and at least 10 degrees.
    """
    references = load_references(checkpoint)
    names = [str(n) for n in references["coordinate"].values]
    known = [n for n in names if n in tables.coordinates]
    recorded = torch.as_tensor(references["q"].sel(coordinate=known).values)
    planted = plant_feet(Skeleton(tables), known, recorded)
    ranges = {}
    for name, x in zip(known, torch.cat([recorded, planted]).flatten(0, 1).T.numpy(), strict=True):
        pad = max(0.2 * float(np.ptp(x)), np.deg2rad(10.0))
        ranges[name] = (float(x.min() - pad), float(x.max() + pad))
    return ranges


def _generated(
    request: GenerationRequest,
    objective: BoundObjective,
    networks: Networks,
    result: SearchResult,
    outside: torch.Tensor | None,
) -> Generated:
    references, muscles = networks.references, networks.surrogate.channels.muscles
    planted = FootPlanting(Skeleton(request.tables), result.channels)
    triples = rotation_triples(request.tables)
    ranges = {
        n: (float(low), float(high))
        for n, (low, high) in zip(request.tables.coordinates, request.tables.range, strict=True)
    }
    motions, predicted = {}, {}
    for i in range(len(result.motions)):
        duration = float(result.durations[i])
        motion = smooth(result.motions[i], duration, result.channels)
        values = planted(torch.as_tensor(motion.values)[None])[0].numpy()
        motions[name_of(i)] = motion.with_values(within_ranges(values, motion.names, triples, ranges))
        if result.activations is not None:
            time = np.linspace(0.0, duration, result.activations.shape[1])
            predicted[name_of(i)] = Motion(time, result.activations[i], muscles)
    made_by = {
        "model_sha256": request.tables.source["sha256"],
        "generator": request.generator.name,
        "surrogate": request.surrogate.name,
    }
    predictor = "surrogate" if request.muscles is None else "surrogate, then physics"
    record = generation_record(objective, result, references, outside, predictor, networks.notes, made_by)
    model, asked = request.model.read_bytes(), request.objective.read_bytes()
    turns = zip(request.tables.coordinates, request.tables.rotational, strict=True)
    rotational = frozenset(name for name, angle in turns if angle)
    return Generated(
        motions, predicted, record, result, model, asked, rotational, references=request.generator / REFERENCES
    )
