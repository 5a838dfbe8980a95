"""From trained networks and an objective to motions, ready for the round trip through OpenSim."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bige_opensim.guidance.generated import Generated, generation_record, name_of, smooth
from bige_opensim.guidance.language import SearchSettings, refuse_endless
from bige_opensim.guidance.networks import GenerationError, Networks, load_networks, load_references
from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.guidance.planting import FootPlanting, plant_feet
from bige_opensim.guidance.quantities import Dynamics, DynamicsModel
from bige_opensim.guidance.search import Generator as GeneratorOfSearch
from bige_opensim.guidance.search import SearchResult, search
from bige_opensim.learning.checkpoint import REFERENCES
from bige_opensim.motion import Motion
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.muscle_tables import MuscleTables
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.predictor import PhysicsPredictor
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables

PREDICTORS = ("surrogate", "physics")
MOST_MOTIONS = 1000


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate: checkpoints, objective, the subject's model with its compiled skeleton, how many, which seed.

    `by_physics`, which needs compiled `muscles`, lets the surrogate's search be followed by one through the physics, of
    `physics_share` times as many iterations, which starts where the first ended. Terms on moments and ground forces
    need the muscles too.
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
    by_physics: bool = False
    physics_share: float = 0.25

    @property
    def iterations_in_all(self) -> int:
        """Iterations of the whole search, those through the physics included."""
        first = self.settings(Objective.load(self.objective)).iterations
        return first + (self.physics_iterations(first) if self.by_physics else 0)

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


Tell = Callable[[int, int, float], None]


def generate(request: GenerationRequest, progress: Tell | None = None) -> Generated:
    """Search for motions; see `MotionSearch`.

    Raises
    ------
    GenerationError, ObjectiveError, CheckpointError
        With what does not fit and what to do.

    """
    prepared = MotionSearch(request)
    return prepared.generated(prepared.run(progress))


class MotionSearch:
    """A search with everything that it needs at hand: run, gone on with, and made into motions.

    Motions are resampled to 50 Hz, eight times their highest frequency, and low-passed at 6 Hz as the recordings that
    the networks learned from were, so that the motion in memory, its file and what OpenSim will judge are the same;
    feet that the filter moved are planted again.

    Raises
    ------
    GenerationError, ObjectiveError, CheckpointError
        With what does not fit and what to do.

    """

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.skeleton = Skeleton(request.tables, dtype=torch.float32)
        self.networks = load_networks(request.generator, request.surrogate, request.model, request.tables)
        _require_free_pelvis(request)
        objective = Objective.load(request.objective)
        self.settings = request.settings(objective)
        channels, muscles = self.channels, self.networks.surrogate.channels.muscles
        self.physics: PhysicsPredictor | None = None
        if request.muscles is not None:
            body, samples = (
                (Skeleton(request.tables), Muscles(request.muscles)),
                self.networks.references.sizes["phase"],
            )
            self.physics = PhysicsPredictor(*body, channels, samples=samples, cost=objective.cost)
            self.order = [request.muscles.names.index(m) for m in muscles]
        self.objective = objective.bind(channels, muscles, self.skeleton, dynamics=self._dynamics())
        features = [subject_features(self.skeleton)[n] for n in self.networks.surrogate.channels.features]
        self.features = torch.tensor(features, dtype=torch.float32)
        references = self.networks.references
        self.planted = FootPlanting(self.skeleton, channels)
        recorded = torch.as_tensor(references["q"].values, dtype=torch.float32)
        self.references = plant_feet(self.skeleton, channels, recorded)
        self.durations = torch.as_tensor(references["duration"].values, dtype=torch.float32)

    @property
    def channels(self) -> tuple[str, ...]:
        """Coordinates of the motions."""
        return self.networks.generator.channels.coordinates

    @property
    def by_physics(self) -> bool:
        """Whether the search ends with the physics of the model."""
        return self.request.by_physics and self.objective.needs_activations

    def run(self, progress: Tell | None = None, *, count: int | None = None, seed: int | None = None) -> SearchResult:
        """The whole search: by the surrogate, then, where asked for, by the physics from where that ended.

        `count` and `seed` are the request's own unless given.
        """
        request, first = self.request, self.settings
        count, seed = count or request.count, request.seed if seed is None else seed
        after = shortened(first, request.physics_iterations(first.iterations))
        whole = first.iterations + (after.iterations if self.by_physics else 0)
        tell = progress or (lambda done, of, loss: None)
        result = self.find(first, count=count, seed=seed, progress=lambda i, _, loss: tell(i, whole, loss))
        if not self.by_physics:
            return result
        return self.find(
            after,
            count=count,
            seed=seed,
            physics=True,
            start=result.latents,
            progress=lambda i, _, loss: tell(first.iterations + i, whole, loss),
        )

    def find(
        self,
        settings: SearchSettings,
        *,
        count: int,
        seed: int,
        physics: bool = False,
        start: np.ndarray | None = None,
        errors: Mapping[str, np.ndarray] | None = None,
        progress: Tell | None = None,
    ) -> SearchResult:
        """One search, by the surrogate or by the physics; `start`, `errors` as `search` takes them."""
        return search(
            self.objective,
            GeneratorOfSearch(self._decode, self.networks.generator.encode, self.networks.generator.quantise),
            self.references,
            self.durations,
            count=count,
            activations=self._by_physics if physics else self._by_surrogate,
            seed=seed,
            settings=settings,
            start=None if start is None else torch.as_tensor(start, dtype=torch.float32),
            people=[str(s) for s in self.networks.references["subject"].values],
            errors=None if errors is None else {k: torch.as_tensor(v) for k, v in errors.items()},
            progress=progress,
        )

    def generated(self, result: SearchResult) -> Generated:
        """Motions as OpenSim will judge them, and the record of how they were found."""
        outside = None
        if self.by_physics and self.physics is not None:
            with torch.no_grad():
                self.physics(torch.as_tensor(result.motions), torch.as_tensor(result.durations))
            outside = self.physics.outside
        return _generated(self.request, self.objective, self.networks, result, outside)

    def _decode(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q, duration = self.networks.generator.decode(z)
        return self.planted(q), duration

    def _by_surrogate(self, q: torch.Tensor, duration: torch.Tensor) -> torch.Tensor:
        return self.networks.surrogate(q, duration, self.features.expand(len(q), -1))

    def _by_physics(self, q: torch.Tensor, duration: torch.Tensor) -> torch.Tensor:
        assert self.physics is not None
        return self.physics(q, duration)[..., self.order]

    def _dynamics(self) -> DynamicsModel | None:
        """Moments and ground forces by the physics, for terms on them."""
        physics = self.physics
        if physics is None:
            return None

        def dynamics(q: torch.Tensor, duration: torch.Tensor, activations: torch.Tensor | None) -> Dynamics:
            moments, forces = physics.moments_and_forces(q, duration)
            return Dynamics(moments, forces)

        return dynamics


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
    motions, predicted = {}, {}
    for i in range(len(result.motions)):
        duration = float(result.durations[i])
        motion = smooth(result.motions[i], duration, result.channels)
        motions[name_of(i)] = motion.with_values(planted(torch.as_tensor(motion.values)[None])[0].numpy())
        if result.activations is not None:
            time = np.linspace(0.0, duration, result.activations.shape[1])
            predicted[name_of(i)] = Motion(time, result.activations[i], muscles)
    made_by = {
        "model_sha256": request.tables.source["sha256"],
        "generator": request.generator.name,
        "surrogate": request.surrogate.name,
    }
    predictor = "surrogate, then physics" if request.by_physics else "surrogate"
    record = generation_record(objective, result, references, outside, predictor, networks.notes, made_by)
    model, asked = request.model.read_bytes(), request.objective.read_bytes()
    turns = zip(request.tables.coordinates, request.tables.rotational, strict=True)
    rotational = frozenset(name for name, angle in turns if angle)
    return Generated(
        motions, predicted, record, result, model, asked, rotational, references=request.generator / REFERENCES
    )
