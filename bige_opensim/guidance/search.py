"""Guided search: optimise the latents of a generator so that the decoded motions meet an objective.

Method of Maheshwari et al. 2025, "BIGE: Biomechanics-informed GenAI for Exercise Science" (L4DC, PMLR 283:1243-1256),
with proximity and schedule changed: see `proximity` and `SearchSettings`. Each motion of the batch minimises

    sum_k w_k penalty_k  +  sum_p w_p plausibility_p  +  beta (tube + manifold)

by Adam on its own latent, through the decoder, with a learning rate that falls to a tenth along a cosine: see
`descent`. The motions do not see one another. Kept is, for each motion, the best iterate: one that meets the verdict
before one that does not, then the lowest loss; quantised latents jump, and the last iterate is not special.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bige_opensim.guidance import conflicts
from bige_opensim.guidance.descent import Descent
from bige_opensim.guidance.language import ObjectiveError, SearchSettings
from bige_opensim.guidance.objective import BoundObjective, Evaluation
from bige_opensim.guidance.proximity import Manifold, Neighbourhood

START_NOISE = 0.1
"""Perturbation of the initial latents, in standard deviations of the reference latents."""
STARTS = 6
"""So many starting points are drawn for each motion; those with the least loss are searched from."""

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
    latents -> quantised latents of the same shape. draft, where there is one: decode at every so many samples, which
    the search goes by on its way.
    """

    decode: Decoder
    encode: Encoder
    quantise: Callable[[Tensor], Tensor] | None = None
    draft: Decoder | None = None

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

    def step(self, scaled: Tensor, rows: Tensor | None = None) -> _Step:
        """Decode and measure; `scaled` are latents in units of the references' standard deviation, of motions `rows`.

        Without rows, of all motions, in full; drafts on the way have activations where a term measures them.
        """
        latents, draft = scaled * self.unit, rows is not None
        decode = self.generator.draft if draft and self.generator.draft is not None else self.generator.decode
        q, duration = decode(latents)
        asked = self.predict is not None and (not draft or self.objective.needs_activations)
        predicted = self.predict(q, duration) if asked and self.predict is not None else None
        observation = self.objective.observe(q, duration, predicted)
        plausibility = self.objective.plausibility(observation)  # first: its poses serve all terms
        errors = self.errors
        if errors is not None and rows is not None:
            errors = {name: error[rows] for name, error in errors.items()}
        evaluation = self.objective.judge(observation, errors)
        off_codes = self.settings.manifold * self.manifold.penalty(latents).to(observation.q)
        proximity = self.neighbourhood.penalty(observation.q) + off_codes
        hold = self.settings.beta * proximity
        for name, penalty in plausibility.items():
            hold = hold + getattr(self.settings, name) * penalty
        return _Step(q, duration, predicted, evaluation, plausibility, proximity, hold, hold + evaluation.loss)


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
    scaled = _promising(run, _starts(reference_latents / unit, STARTS * count, seed)) if start is None else start / unit
    best, record, history = _descend(run, scaled, progress)
    return _result(run, best, record, history, seed)


def _starts(latents: Float[Tensor, "r ..."], count: int, seed: int) -> Tensor:
    """Mixtures of two random references' latents, perturbed; drawn on the CPU so that every device starts alike.

    With the mean m of the references and a quarter turn's angle t, evenly drawn, m + cos t (x - m) + sin t (y - m):
    its spread is that of the references, where a mean of two weighted by evenly drawn shares has two thirds of it.
    """
    random = torch.Generator().manual_seed(seed)
    first = torch.randint(len(latents), (count,), generator=random)
    second = (first + torch.randint(1, len(latents), (count,), generator=random)) % len(latents)
    turn = 0.5 * math.pi * torch.rand(count, generator=random).reshape(-1, *[1] * (latents.ndim - 1)).to(latents)
    noise = torch.randn(count, *latents.shape[1:], generator=random).to(latents)
    mean = latents.mean(0)
    x, y = (latents[i.to(latents.device)] - mean for i in (first, second))
    return mean + turn.cos() * x + turn.sin() * y + START_NOISE * noise


def _promising(run: _Search, starts: Tensor) -> Tensor:
    """The starting points with the least loss, one in `STARTS`, in the order they were drawn."""
    count = len(starts) // STARTS
    with torch.no_grad():
        totals = torch.cat([run.step(some, torch.arange(0)).total for some in starts.split(count)])
    return starts[totals.nan_to_num(torch.inf).argsort(stable=True)[:count].sort().values.to(starts.device)]


def _descend(
    run: _Search, start: Tensor, progress: Progress | None
) -> tuple[Tensor, conflicts.Record, dict[str, np.ndarray]]:
    """Each motion's best latents, what was met on the way, and the mean of every penalty at every iteration."""
    s, least = run.settings, 0.0 if all(t.bounded for t in run.objective.terms) else -torch.inf
    descent, record, history = Descent(start, s, least), conflicts.Record(run.objective), _History(len(start))
    for iteration in range(s.iterations + 1):
        scaled, rows = descent.latents.requires_grad_(True), descent.rows
        step = run.step(scaled, rows)
        history.note(step, rows)
        record.add(step.evaluation)
        total = step.total.detach()
        if not torch.isfinite(total).all():
            bad = int(rows[int((~torch.isfinite(total)).nonzero()[0])])
            raise SearchError(
                f"the loss of motion {bad} is not finite at iteration {iteration}; "
                "check the generator and the surrogate on a training motion, or lower learning_rate"
            )
        descent.note(total, step.evaluation.satisfied, iteration)
        if iteration == s.iterations:
            break
        guided = s.warmup <= iteration < s.iterations - s.final
        (gradient,) = torch.autograd.grad((step.total if guided else step.hold).sum(), scaled)
        descent.move(gradient, iteration)
        if progress is not None:
            progress(s.iterations if descent.over else iteration + 1, s.iterations, float(total.mean()))
        if descent.over:
            break
    return descent.best, record, history.means()


class _History:
    """The mean over motions of every penalty, by iteration; motions that left count with what they left with."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.last: dict[str, Tensor] = {}
        self.rows: dict[str, list[float]] = {}

    def note(self, step: _Step, rows: Tensor) -> None:
        """Append one iteration."""
        found = {"total": step.total, "proximity": step.proximity} | step.plausibility
        found |= {f"term: {name}": penalty for name, penalty in step.evaluation.penalties.items()}
        for name, values in found.items():
            last = self.last.setdefault(name, values.detach().new_zeros(self.count))
            last[rows] = values.detach()
            self.rows.setdefault(name, []).append(float(last.mean()))

    def means(self) -> dict[str, np.ndarray]:
        """By name."""
        return {name: np.array(values) for name, values in self.rows.items()}


def _result(
    run: _Search, scaled: Tensor, record: conflicts.Record, history: dict[str, np.ndarray], seed: int
) -> SearchResult:
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
        history=history,
        conflicts=found,
        seed=seed,
        settings=run.settings,
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
