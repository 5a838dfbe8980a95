"""Guided search: optimise the latents of a generator so that the decoded motions meet an objective.

Method of Maheshwari et al. 2025, "BIGE: Biomechanics-informed GenAI for Exercise Science" (L4DC, PMLR 283:1243-1256),
with proximity and schedule changed: see `proximity` and `SearchSettings`. Each motion of the batch minimises

    sum_k w_k penalty_k  +  sum_p w_p plausibility_p  +  beta (tube + manifold)

by Adam on its own latent, through the decoder, with a learning rate that falls to a tenth along a cosine. The motions
do not see one another. Kept is, for each motion, the best iterate: one that meets the verdict before one that does not,
then the lowest loss; quantised latents jump, and the last iterate is not special.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bige_opensim.guidance import conflicts
from bige_opensim.guidance.language import ObjectiveError, SearchSettings
from bige_opensim.guidance.objective import BoundObjective, Evaluation
from bige_opensim.guidance.proximity import Manifold, Neighbourhood

START_NOISE = 0.1
"""Perturbation of the initial latents, in standard deviations of the reference latents."""

PER_MOTION = (
    "motions", "durations", "activations", "latents", "values", "channel_values", "met", "satisfied", "loss", "nearest",
    "nearest_reference", "plausibility", "limit_violations",
)  # fmt: skip

Decoder = Callable[[Tensor], tuple[Tensor, Tensor]]
Encoder = Callable[[Tensor, Tensor], Tensor]
Predictor = Callable[[Tensor, Tensor], Tensor]
Progress = Callable[[int, int, float], None]


class SearchError(RuntimeError):
    """The search broke down: a loss that is not a number."""


@dataclass(frozen=True)
class Generator:
    """The generator as the search sees it.

    decode: latents (n, ...) -> motions (n, time, channel) in rad and m, durations (n,) in s; quantiser inside, its
    gradients let through. encode: (motions, durations) -> latents, before quantisation. quantise, where there is one:
    latents -> quantised latents of the same shape.
    """

    decode: Decoder
    encode: Encoder
    quantise: Callable[[Tensor], Tensor] | None = None

    def anchor(self, latents: Tensor) -> Tensor:
        """Where the generator stands for these latents: their codes, or the latents of the motions they decode to."""
        return self.quantise(latents) if self.quantise is not None else self.encode(*self.decode(latents))


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Motions found, and how they were found; arrays in SI, term values in the units of the objective file.

    `nearest`, `nearest_reference`, `usual_distance`, `usual_nearest_distance`: see `proximity.Novelty`.
    `limit_violations`: per motion, coordinates out of range by degrees or metres. `history`: per iteration, the mean
    over motions of "total", "proximity", each plausibility penalty and each term's penalty ("term: <name>").
    `conflicts`: sentences, empty when at least one motion meets every bounded term, hard or not.
    """

    motions: Float[np.ndarray, "n time channel"]
    durations: Float[np.ndarray, " n"]
    activations: Float[np.ndarray, "n time muscle"] | None
    latents: np.ndarray
    channels: tuple[str, ...]
    values: dict[str, Float[np.ndarray, " n"]]
    channel_values: dict[str, Float[np.ndarray, "n k"]]
    met: dict[str, Bool[np.ndarray, " n"]]
    satisfied: Bool[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]
    nearest: Float[np.ndarray, " n"]
    nearest_reference: Int[np.ndarray, " n"]
    usual_distance: float
    usual_nearest_distance: float
    plausibility: dict[str, Float[np.ndarray, " n"]]
    limit_violations: list[dict[str, float]]
    history: dict[str, Float[np.ndarray, " iterations"]]
    conflicts: tuple[str, ...]
    seed: int
    settings: SearchSettings

    @property
    def novelty(self) -> Float[np.ndarray, " n"]:
        """Distance to the nearest reference over the usual distance between references."""
        return self.nearest / self.usual_distance

    def __len__(self) -> int:
        return len(self.motions)

    def take(self, places: Sequence[int]) -> "SearchResult":
        """Some of the motions, with the whole history."""
        at = np.asarray(places, dtype=int)

        def some(mine: Any) -> Any:
            if isinstance(mine, dict):
                return {k: some(v) for k, v in mine.items()}
            return [mine[i] for i in at] if isinstance(mine, list) else None if mine is None else mine[at]

        return replace(self, **{name: some(getattr(self, name)) for name in PER_MOTION})

    def with_motions(self, places: Sequence[int], others: "SearchResult") -> "SearchResult":
        """The same with the motions of a later search in the places of some; its iterations follow in the history."""
        at = np.asarray(places, dtype=int)

        def put(mine: Any, theirs: Any) -> Any:
            if isinstance(mine, dict):
                return {k: put(mine[k], theirs[k]) for k in mine}
            if isinstance(mine, list):
                return [theirs[int(np.flatnonzero(at == i)[0])] if i in at else x for i, x in enumerate(mine)]
            if isinstance(mine, np.ndarray):
                mine = mine.copy()
                mine[at] = theirs
            return mine

        moved = {name: put(getattr(self, name), getattr(others, name)) for name in PER_MOTION}
        history = {k: np.concatenate([v, others.history[k]]) for k, v in self.history.items()}
        found = () if moved["satisfied"].any() else others.conflicts or self.conflicts
        return replace(self, **moved, history=history, conflicts=found)


@dataclass
class _Step:
    """One forward pass: everything that is asked of a batch of latents."""

    q: Tensor
    duration: Tensor
    activations: Tensor | None
    evaluation: Evaluation
    plausibility: dict[str, Tensor]
    proximity: Tensor
    hold: Tensor
    total: Tensor


@dataclass
class _Search:
    objective: BoundObjective
    generator: Generator
    predict: Predictor | None
    settings: SearchSettings
    neighbourhood: Neighbourhood
    manifold: Manifold
    unit: float
    errors: Mapping[str, Tensor] | None = None
    history: dict[str, list[float]] = field(default_factory=dict)

    def step(self, scaled: Tensor) -> _Step:
        """Decode and measure; `scaled` are latents in units of the references' standard deviation."""
        latents = scaled * self.unit
        q, duration = self.generator.decode(latents)
        predicted = self.predict(q, duration) if self.predict is not None else None
        observation = self.objective.observe(q, duration, predicted)
        evaluation = self.objective.judge(observation, self.errors)
        plausibility = self.objective.plausibility(observation)
        off_codes = self.settings.manifold * self.manifold.penalty(latents).to(observation.q)
        proximity = self.neighbourhood.penalty(observation.q) + off_codes
        hold = self.settings.beta * proximity
        for name, penalty in plausibility.items():
            hold = hold + getattr(self.settings, name) * penalty
        return _Step(q, duration, predicted, evaluation, plausibility, proximity, hold, hold + evaluation.loss)

    def note(self, step: _Step) -> None:
        """Append one iteration to the history."""
        row = {"total": step.total, "proximity": step.proximity} | step.plausibility
        row |= {f"term: {name}": penalty for name, penalty in step.evaluation.penalties.items()}
        for name, values in row.items():
            self.history.setdefault(name, []).append(float(values.detach().mean()))


def search(
    objective: BoundObjective,
    generator: Generator,
    references: Float[Tensor, "r time channel"],
    reference_durations: Float[Tensor, " r"],
    *,
    count: int,
    activations: Predictor | None = None,
    seed: int = 0,
    settings: SearchSettings | None = None,
    start: Float[Tensor, "n ..."] | None = None,
    people: Sequence[str] | None = None,
    errors: Mapping[str, Float[Tensor, " n"]] | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Find `count` motions that meet an objective; the same seed gives the same motions.

    Parameters
    ----------
    objective
        A bound objective; its channels are those of the references and of the decoder.
    generator
        Decoder and encoder; runs on the device of the references.
    references
        Training motions, rad and m: starting points (two of them mixed and perturbed), proximity and novelty.
    reference_durations
        Their durations, s.
    activations
        (motions, durations) -> (n, time, muscle) in [0, 1]; required by objectives that measure muscles.
    settings
        Replaces the objective's own.
    start
        Latents to start from, such as those of an earlier search; mixtures of references otherwise.
    people
        Who moves in each reference, for what counts as new: see `proximity`.
    errors
        By name of a term, how much too small its value is known to be for each motion of `start`.
    progress
        Called after each iteration with (iteration, iterations, mean loss).

    Raises
    ------
    ObjectiveError
        Too few references, or an objective on muscles without a predictor.
    SearchError
        A loss that is not finite.

    """
    settings = objective.objective.settings if settings is None else settings
    if objective.needs_activations and activations is None:
        raise ObjectiveError("the objective measures muscles; pass `activations`, the surrogate or the physics")
    neighbourhood = Neighbourhood(
        references.to(objective.frame.skeleton.range), objective.frame.rotational, people, settings.novelty
    )
    with torch.no_grad():
        reference_latents = generator.encode(references, reference_durations)
    unit = max(float(reference_latents.std()), 1e-12)
    manifold = Manifold(generator.anchor, reference_latents)
    run = _Search(objective, generator, activations, settings, neighbourhood, manifold, unit, errors)
    scaled = _starts(reference_latents / unit, count, seed) if start is None else start / unit
    best, record = _descend(run, scaled, progress)
    return _result(run, best, record, seed)


def _starts(latents: Float[Tensor, "r ..."], count: int, seed: int) -> Tensor:
    """Mixtures of two random references' latents, perturbed; drawn on the CPU so that every device starts alike."""
    random = torch.Generator().manual_seed(seed)
    first = torch.randint(len(latents), (count,), generator=random)
    second = (first + torch.randint(1, len(latents), (count,), generator=random)) % len(latents)
    share = torch.rand(count, generator=random).reshape(-1, *[1] * (latents.ndim - 1)).to(latents)
    noise = torch.randn(count, *latents.shape[1:], generator=random).to(latents)
    mixed = torch.lerp(latents[first.to(latents.device)], latents[second.to(latents.device)], share)
    return mixed + START_NOISE * noise


def _descend(run: _Search, start: Tensor, progress: Progress | None) -> tuple[Tensor, conflicts.Record]:
    """Adam; returns each motion's best latents and what was met on the way."""
    s = run.settings
    scaled = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([scaled], lr=s.learning_rate)
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: 0.55 + 0.45 * math.cos(math.pi * min(i, s.iterations) / s.iterations)
    )
    best, best_total = start.clone(), torch.full((len(start),), torch.inf, device=start.device)
    best_satisfied = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    record = conflicts.Record(run.objective)
    for iteration in range(s.iterations + 1):
        step = run.step(scaled)
        run.note(step)
        record.add(step.evaluation)
        total, satisfied = step.total.detach().to(best_total), step.evaluation.satisfied
        better = torch.where(satisfied == best_satisfied, total < best_total, satisfied & torch.isfinite(total))
        best[better], best_total[better] = scaled.detach()[better], total[better]
        best_satisfied = best_satisfied | (better & satisfied)
        if not torch.isfinite(total).all():
            bad = int((~torch.isfinite(total)).nonzero()[0])
            raise SearchError(
                f"the loss of motion {bad} is not finite at iteration {iteration}; "
                "check the generator and the surrogate on a training motion, or lower learning_rate"
            )
        if iteration == s.iterations:
            break
        guided = s.warmup <= iteration < s.iterations - s.final
        optimiser.zero_grad()
        (gradient,) = torch.autograd.grad((step.total if guided else step.hold).sum(), scaled)
        scaled.grad = gradient
        optimiser.step()
        decay.step()
        if progress is not None:
            progress(iteration + 1, s.iterations, float(total.mean()))
    return best, record


def _result(run: _Search, scaled: Tensor, record: conflicts.Record, seed: int) -> SearchResult:
    scaled = scaled.clone().requires_grad_(True)
    step = run.step(scaled)
    found: tuple[str, ...] = ()
    met = torch.stack([torch.ones_like(step.evaluation.satisfied), *step.evaluation.met.values()])
    if not met.all(0).any():
        targets = step.evaluation.violations | step.plausibility | {"proximity": step.proximity}
        found = conflicts.statements(record, conflicts.gradient_cosines(targets, scaled))
    novelty = run.neighbourhood.novelty(step.q.detach())
    evaluation = step.evaluation
    return SearchResult(
        motions=_array(step.q),
        durations=_array(step.duration),
        activations=None if step.activations is None else _array(step.activations),
        latents=_array(scaled * run.unit),
        channels=run.objective.frame.channels,
        values={k: _array(v) for k, v in evaluation.values.items()},
        channel_values={k: _array(v) for k, v in evaluation.channel_values.items()},
        met={k: v.cpu().numpy() for k, v in evaluation.met.items()},
        satisfied=evaluation.satisfied.cpu().numpy(),
        loss=_array(step.total),
        nearest=_array(novelty.nearest),
        nearest_reference=novelty.reference.cpu().numpy(),
        usual_distance=novelty.usual,
        usual_nearest_distance=novelty.usual_nearest,
        plausibility={k: _array(v) for k, v in step.plausibility.items()},
        limit_violations=run.objective.limit_violations(step.q),
        history={k: np.array(v) for k, v in run.history.items()},
        conflicts=found,
        seed=seed,
        settings=run.settings,
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
