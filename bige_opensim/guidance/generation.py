"""From trained networks and an objective to motions, ready for the round trip through OpenSim."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from bige_opensim.guidance.by_physics import ByPhysics, refuse_dynamics, without_dynamics
from bige_opensim.guidance.generated import Generated, generation_record, name_of, smooth
from bige_opensim.guidance.language import SearchSettings, refuse_endless
from bige_opensim.guidance.networks import GenerationError, Networks, load_networks, load_references
from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.guidance.planting import FootPlanting, plant_feet
from bige_opensim.guidance.search import Generator as GeneratorOfSearch
from bige_opensim.guidance.search import SearchResult, search
from bige_opensim.learning.checkpoint import REFERENCES
from bige_opensim.learning.surrogate import Surrogate
from bige_opensim.motion import Motion
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.effort_cost import EffortCost
from bige_opensim.physics.mechanics import PersonMechanics
from bige_opensim.physics.muscle_lines import FittedLines, LineTables
from bige_opensim.physics.muscle_tables import MuscleTables
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.predictor import PhysicsPredictor
from bige_opensim.physics.rotations import rotation_triples, within_ranges
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables
from bige_opensim.physics.stance_loads import stands

DRAFT = 2
"""On its way a search plants and measures motions at every so many samples."""
MARGIN_RAD = math.radians(1.0)
"""How far inside the joints' ranges a search plants feet: what it finds is filtered and planted again, up to these."""
AUTO, SURROGATE, PHYSICS = PREDICTORS = ("auto", "surrogate", "physics")
MOST_MOTIONS = 1000
LEAVING_THE_GROUND = ("gait", "jump")
SEATED = "sit-to-stand"
"""The movement whose motions start on a seat."""


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate: checkpoints, objective, the subject's model with its compiled skeleton, how many, which seed.

    `muscles` are compiled paths, which a surrogate with loads needs, and so does the physics. `by_physics` lets
    activations come from the physics: throughout, where it is compiled (`PhysicsPredictor.compiled`), else in a
    search of `physics_share` times as many iterations which starts where the surrogate's ended. Terms on moments,
    ground forces and joint loads (these need `lines` of action) are followed by the physics alone: no surrogate
    predicts them. `seat_m` is the height of the seat, above the ground, that sit-to-stands start on; None for where
    they begin.
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
    lines: LineTables | None = None
    seat_m: float | None = None

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
Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(q, duration) -> activations."""


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
        movement = str(self.networks.references.attrs.get("movement", "squat"))
        _require_grounded(request.generator, movement)
        self.seated = movement == SEATED
        asked = Objective.load(request.objective)
        _require_movement(request.generator, movement, asked)
        _require_seat(request, movement)
        if not request.by_physics:
            refuse_dynamics(asked)
        self.settings = request.settings(asked)
        channels, muscles = self.channels, self.networks.surrogate.channels.muscles
        self.first = without_dynamics(asked).bind(
            channels, muscles, self.skeleton, seated=self.seated, seat_m=request.seat_m
        )
        self.objective, self.solved = self.first, None
        references = self.networks.references
        if request.by_physics:
            self.solved = _by_physics(request, channels, muscles, references.sizes["sample"], asked.cost, self.seated)
            self.objective = asked.bind(
                channels,
                muscles,
                self.skeleton,
                dynamics=self.solved.dynamics,
                seated=self.seated,
                seat_m=request.seat_m,
            )
        person = subject_features(self.skeleton)
        self.build, self.features = (
            torch.tensor([person[n] for n in network.channels.features], dtype=torch.float32)
            for network in (self.networks.generator, self.networks.surrogate)
        )
        self.mechanics = _mechanics(request, self.skeleton, self.networks.surrogate, references.sizes["sample"])
        self.planted = FootPlanting(self.skeleton, channels, margin_rad=MARGIN_RAD)
        self.between = torch.as_tensor(between_samples(references.sizes["sample"], DRAFT), dtype=torch.float32)
        recorded = torch.as_tensor(references["q"].values, dtype=torch.float32)
        self.references = plant_feet(self.skeleton, channels, recorded)
        self.durations = torch.as_tensor(references["duration"].values, dtype=torch.float32)

    @property
    def channels(self) -> tuple[str, ...]:
        """Coordinates of the motions."""
        return self.networks.generator.channels.coordinates

    @property
    def throughout(self) -> bool:
        """Whether the search goes by the physics from its first step."""
        return self.solved is not None and self.solved.predictor.compiled

    @property
    def by_physics(self) -> bool:
        """Whether the search ends with the physics of the model, which some terms can do without where it is slow."""
        followed = len(self.first.terms) == len(self.objective.terms)
        return self.solved is not None and (self.throughout or self.objective.needs_activations or not followed)

    @property
    def last(self) -> tuple[BoundObjective, Predict]:
        """The objective, and what predicts activations, that the search ends with."""
        if self.by_physics and self.solved is not None:
            return self.objective, self.solved.activations
        return self.first, self.by_surrogate

    @property
    def iterations(self) -> int:
        """Iterations of the whole search, those through the physics included."""
        first = self.settings.iterations
        more = self.by_physics and not self.throughout
        return first + (self.request.physics_iterations(first) if more else 0)

    def run(self, progress: Tell | None = None, *, count: int | None = None, seed: int | None = None) -> SearchResult:
        """The whole search: by the surrogate, then, where asked for, by the physics from where that ended.

        By the physics alone where it takes no longer than the surrogate.

        `count` and `seed` are the request's own unless given.
        """
        request, first = self.request, self.settings
        count, seed = count or request.count, request.seed if seed is None else seed
        if self.throughout:
            return self.find(first, count=count, seed=seed, physics=True, progress=progress)
        after = shortened(first, request.physics_iterations(first.iterations))
        whole = self.iterations
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
        deciding: Collection[str] | None = None,
        progress: Tell | None = None,
    ) -> SearchResult:
        """One search, by the surrogate or by the physics; `start`, `errors` as `search` takes them.

        `deciding` are the terms that decide, instead of the objective's own.
        """
        objective = self.objective if physics else self.first
        if deciding is not None:
            objective = objective.decided_by(deciding)
        known = {term.name for term in objective.terms}
        return search(
            objective,
            GeneratorOfSearch(self._decode, self._encode, self.networks.generator.quantise, self._draft),
            self.references,
            self.durations,
            count=count,
            activations=self.solved.activations if physics and self.solved is not None else self.by_surrogate,
            seed=seed,
            settings=settings,
            start=None if start is None else torch.as_tensor(start, dtype=torch.float32),
            people=[str(s) for s in self.networks.references["subject"].values],
            errors=None if errors is None else {k: torch.as_tensor(v) for k, v in errors.items() if k in known},
            progress=progress,
        )

    def generated(self, result: SearchResult) -> Generated:
        """Motions as OpenSim will judge them, and the record of how they were found."""
        outside = None
        if self.by_physics and self.solved is not None:
            with torch.no_grad():
                self.solved.predictor(torch.as_tensor(result.motions), torch.as_tensor(result.durations))
            outside = self.solved.predictor.outside
        by, notes = "physics", self.networks.notes
        if not self.throughout:
            by = "surrogate, then physics" if self.by_physics else "surrogate"
            notes += self.networks.surrogate.channels.untold(self.request.tables.muscle_driven)
        return _generated(self.request, self.objective, self.networks, result, outside, by, notes)

    def _decode(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q, duration = self.networks.generator.decode(z, body=self.build.expand(len(z), -1))
        return self.planted(q), duration

    def _draft(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """At every other sample: planted feet and the balance of all bodies take most of a step's time."""
        q, duration = self.networks.generator.decode(z, body=self.build.expand(len(z), -1))
        return self.planted(q[:, ::DRAFT]), duration

    def _encode(self, q: torch.Tensor, duration: torch.Tensor) -> torch.Tensor:
        return self.networks.generator.encode(q, duration, self.build.expand(len(q), -1))

    def values(self, result: SearchResult) -> dict[str, np.ndarray]:
        """By term, what the surrogate as it is now, or the physics, says of motions, in the units of the objective."""
        q, duration = torch.as_tensor(result.motions), torch.as_tensor(result.durations)
        objective, predict = self.last
        with torch.no_grad():
            found = objective.evaluate(q, duration, predict(q, duration))
        return {name: x.numpy() for name, x in found.values.items()}

    def by_surrogate(self, q: torch.Tensor, duration: torch.Tensor) -> torch.Tensor:
        """Activations of motions, at all samples or at those of a draft."""
        full, every = (q, 1) if q.shape[1] == self.references.shape[1] else (self.between @ q, DRAFT)
        surrogate = self.networks.surrogate
        features, at = self.features.expand(len(q), -1), torch.arange(0, full.shape[1], every)
        mechanics = None if self.mechanics is None else self.mechanics(full, duration, every)
        return surrogate(full, duration, features, at=at, mechanics=mechanics)


def _mechanics(
    request: GenerationRequest, skeleton: Skeleton, surrogate: Surrogate, samples: int
) -> PersonMechanics | None:
    """What the person's model says of motions, for a surrogate that needs it.

    Raises
    ------
    GenerationError
        The model cannot say it.

    """
    if not surrogate.channels.loads:
        return None
    if request.muscles is None or not stands(skeleton):
        raise GenerationError(
            f"{request.model}: the surrogate {request.surrogate.name} predicts people who stand on two feet, by their "
            "own muscle paths, and this model has no contact points under both, or its paths were not compiled. Name a "
            "surrogate that was trained without --models."
        )
    return PersonMechanics(request.tables, request.muscles, surrogate.channels.coordinates, samples)


def _by_physics(
    request: GenerationRequest,
    channels: Sequence[str],
    muscles: Sequence[str],
    samples: int,
    cost: EffortCost,
    seated: bool,
) -> ByPhysics:
    """The physics of the person's model, for activations in the surrogate's order of muscles."""
    assert request.muscles is not None
    skeleton = Skeleton(request.tables)
    lines = None if request.lines is None else FittedLines(skeleton, request.lines)
    predictor = PhysicsPredictor(
        skeleton,
        Muscles(request.muscles),
        channels,
        samples=samples,
        cost=cost,
        lines=lines,
        seated=seated,
        seat_m=request.seat_m,
    )
    return ByPhysics(predictor, [request.muscles.names.index(m) for m in muscles])


def _require_grounded(generator: Path, movement: str) -> None:
    """Both feet of a generated motion stay where they are."""
    if movement in LEAVING_THE_GROUND:
        raise GenerationError(
            f"{generator}: was trained on {movement}, in which feet leave the ground; motions are generated that stand "
            "on both feet. Train on squats, sit-to-stands or lunges."
        )


def _require_movement(generator: Path, movement: str, objective: Objective) -> None:
    """A generator makes the movement that it was trained on."""
    if objective.movement not in (None, movement):
        raise GenerationError(
            f"{objective.source}: is about the movement {objective.movement}, and {generator} was trained on "
            f"{movement}. Name a generator and a surrogate of {objective.movement} (--generator, --surrogate), as "
            "`bige run` trains them from pipelines/sit_to_stand.toml and pipelines/split_squat.toml."
        )


def _require_seat(request: GenerationRequest, movement: str) -> None:
    """Who does not sit needs no seat."""
    if request.seat_m is not None and movement != SEATED:
        raise GenerationError(
            f"a seat {request.seat_m:g} m high was asked for, and {request.generator} was trained on {movement}, which "
            f"starts on none. Name a generator and a surrogate of {SEATED} (--generator, --surrogate), or no chair."
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
    if request.by_physics and request.tables.passive_forces:
        raise GenerationError(
            f"{request.model}: the physics does not know the forces {', '.join(request.tables.passive_forces)} of this "
            "model. Search with the surrogate alone, or remove them."
        )


def between_samples(samples: int, every: int) -> Float[np.ndarray, "sample draft"]:
    """B with B x all samples of the natural cubic spline through every so many, x, the last one among them or not."""
    kept = np.arange(0, samples, every)
    return np.asarray(CubicSpline(kept, np.eye(len(kept)), bc_type="natural")(np.arange(samples)))


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


def _complete(motion: Motion, tables: SkeletonTables) -> Motion:
    """The motion with the model's other coordinates at their default: a generator may know fewer than a model has."""
    others = [i for i, name in enumerate(tables.coordinates) if name not in motion.names]
    still = np.broadcast_to(tables.default[others], (motion.frames, len(others)))
    names = (*motion.names, *(tables.coordinates[i] for i in others))
    return Motion(motion.time, np.concatenate([motion.values, still], axis=1), names)


def _generated(
    request: GenerationRequest,
    objective: BoundObjective,
    networks: Networks,
    result: SearchResult,
    outside: torch.Tensor | None,
    predictor: str,
    notes: tuple[str, ...],
) -> Generated:
    references, muscles = networks.references, networks.surrogate.channels.muscles
    planted = FootPlanting(Skeleton(request.tables), result.channels, again=True)
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
        motion = motion.with_values(within_ranges(values, motion.names, triples, ranges))
        motions[name_of(i)] = _complete(motion, request.tables)
        if result.activations is not None:
            time = np.linspace(0.0, duration, result.activations.shape[1])
            predicted[name_of(i)] = Motion(time, result.activations[i], muscles)
    made_by = {
        "model_sha256": request.tables.source["sha256"],
        "generator": request.generator.name,
        "surrogate": request.surrogate.name,
    }
    record = generation_record(objective, result, references, outside, predictor, notes, made_by)
    if objective.frame.seated:
        record["chair"] = "auto" if request.seat_m is None else f"{request.seat_m:g}"
    model, asked = request.model.read_bytes(), request.objective.read_bytes()
    turns = zip(request.tables.coordinates, request.tables.rotational, strict=True)
    rotational = frozenset(name for name, angle in turns if angle)
    return Generated(
        motions, predicted, record, result, model, asked, rotational, references=request.generator / REFERENCES
    )
