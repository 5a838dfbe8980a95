"""Ways to come by motions that meet an objective, each given the same processor time.

A way makes motions in batches as long as its seconds last, and proposes the best of them, by its own judgement: those
that meet the objective as predicted before the others, then those of the least loss. Its first batch is made whatever
it takes; a further one begins only where the longest so far would still fit. Where iterations are dear, there are so
many as fit. All processes of a way count (`workers.processor_time`); training, compiling the model and reading networks
do not.

- `codes`, `prior`, `diffusion`: motions are drawn, and nobody looks at the objective. What they meet, they meet by
  chance, and more time does not help them.
- `rejection`: motions of the prior, of which the best are proposed; `rejection, diffusion`: the same of diffusion.
  What is drawn is judged by the physics where it is compiled, else by the surrogate.
- `guided diffusion`: every step down the gradient of the objective, at strengths that take turns.
- `paper`: the losses, weights and schedule of Maheshwari et al. 2025 with the objective's deciding terms in the place
  of their band (in its scale, where it is a band of activation), shortened to the time; `paper, whole`: with all of
  their iterations, whatever they take. Networks and plausibility are this package's.
- `surrogate`, `physics`: the search with what predicts activations: the surrogate, or the physics of the person's model
  from the first step; nothing is simulated before OpenSim is asked.
- `guided`: what `generate` does: by the physics where it can, then rehearsed; `guided, surrogate`: by the surrogate,
  what misses a term going on by the physics; `refined`: with the surrogate refined on what rehearsals simulate. These
  go on until they are done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bige_opensim.built_in import built_in_objectives
from bige_opensim.guidance.generated import Generated
from bige_opensim.guidance.generation import GenerationRequest, MotionSearch, shortened
from bige_opensim.guidance.judging import Judge
from bige_opensim.guidance.language import SearchSettings
from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.search import STARTS, SearchResult
from bige_opensim.labelling.label_trials import NEED_BYTES
from bige_opensim.learning import checkpoint
from bige_opensim.learning.baselines import Drawn, Loss, draw_codes, draw_prior
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.settings import SettingError
from bige_opensim.workers.cluster import local_count
from bige_opensim.workers.processor_time import processor_seconds
from bige_opensim.workers.worker_process import PROCESSES
from bige_opensim.workflows.generate import muscles_of, shares, through_physics
from bige_opensim.workflows.peers import require_prior_of
from bige_opensim.workflows.progress import Show, Silent
from bige_opensim.workflows.rehearsal import rehearsed

STRENGTHS = (3.0, 10.0, 1.0)
"""Of the guidance of diffusion, in turn."""
PROBE = 3
"""Iterations by which it is told what one takes."""
ROUNDS = 4
PAPER, PAPER_BAND = "bige_squat", "vastus medialis"
TOGETHER = 32
"""Motions that are drawn together for a rejection."""


@dataclass(frozen=True)
class Case:
    """Who moves, what is asked, with which networks, how many motions, which seed; `iterations` as of a request.

    `prior` and `diffusion` are needed by the ways that draw from them.
    """

    objective: Path
    model: Path
    generator: Path
    surrogate: Path
    count: int
    seed: int = 0
    prior: Path | None = None
    diffusion: Path | None = None
    iterations: int | None = None

    @cached_property
    def search(self) -> MotionSearch:
        """By the surrogate."""
        return MotionSearch(self._request)

    @cached_property
    def physics(self) -> MotionSearch:
        """By the surrogate or by the physics."""
        return through_physics(self.search)

    @cached_property
    def paper(self) -> MotionSearch:
        """By the surrogate, for the paper's losses and the objective's deciding terms."""
        search = MotionSearch(self._request)
        deciding = {t.name for t in search.objective.verdict_terms}
        asked, preset = search.objective.objective, Objective.load(built_in_objectives()[PAPER])
        (band,) = (t for t in preset.terms if t.name == PAPER_BAND)
        own = tuple(t for t in preset.terms if t is not band)
        hard = tuple(
            replace(t, hard=True, weight=band.weight, scale=band.scale if t.quantity == band.quantity else t.scale)
            for t in asked.terms
            if t.name in deciding
        )
        losses = replace(preset, name=asked.name, terms=(*own, *hard))
        search.first = search.objective = losses.bind(
            search.channels, search.first.frame.muscles, search.skeleton, seated=search.seated
        )
        search.settings = preset.settings if self.iterations is None else shortened(preset.settings, self.iterations)
        return search

    @cached_property
    def best(self) -> MotionSearch:
        """By the physics, where the objective measures muscles and the physics is compiled, else by the surrogate."""
        exact = self.search.objective.needs_activations and self.physics.throughout
        return self.physics if exact else self.search

    @cached_property
    def judge(self) -> Judge:
        """Of motions that no search made."""
        return Judge(self.best)

    @property
    def _request(self) -> GenerationRequest:
        tables = compile_skeleton(self.model)
        shared = shares(self.surrogate, Skeleton(tables))
        return GenerationRequest(
            generator=self.generator,
            surrogate=self.surrogate,
            objective=self.objective,
            model=self.model,
            tables=tables,
            count=self.count,
            seed=self.seed,
            iterations=self.iterations,
            muscles=muscles_of(self.model, self.generator, tables) if shared else None,
        )


class Found(NamedTuple):
    """What a way proposes, how many motions it looked at for that, and the processor seconds that it took."""

    motions: Generated
    searched: int
    seconds: float


class _Clock:
    """Processor time since it was made, of so many seconds; inf for as many as it takes."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._began = seconds, processor_seconds()

    @property
    def used(self) -> float:
        return processor_seconds() - self._began

    @property
    def left(self) -> float:
        return self.seconds - self.used


@quiet_opensim()
def propose(way: str, case: Case, seconds: float = np.inf, show: Show = Silent) -> Found:
    """The motions that one of `WAYS` proposes after so many seconds of processor time.

    Raises
    ------
    SettingError
        No such way, or a network that it needs is not named.
    GenerationError, ObjectiveError, CheckpointError, TrainingError
        Networks, objective and model do not belong together.

    """
    if way not in WAYS:
        raise SettingError(f"no way is called {way!r}; there are {', '.join(WAYS)}")
    begin = WAYS[way](case, show)
    clock = _Clock(seconds)
    motions, searched = begin(clock)
    found = Found(motions, searched, clock.used)
    judge = case.judge
    even = np.stack([_even(m.values, judge.prepared.references.shape[1]) for m in motions.motions.values()])
    names = next(iter(motions.motions.values())).names
    q = even[..., [names.index(c) for c in judge.prepared.channels]]
    motions.record["way"] = {
        "name": way,
        "searched": searched,
        "processor_s": found.seconds,
        "diversity": judge.diversity(q),
    }
    return found


Begun = Callable[[_Clock], tuple[Generated, int]]
Way = Callable[[Case, Show], Begun]
"""Makes everything ready, then, by the clock, the motions."""
Batch = Callable[[int, _Clock], SearchResult]


def _even(values: np.ndarray, samples: int) -> np.ndarray:
    at, phase = np.linspace(0.0, 1.0, samples), np.linspace(0.0, 1.0, len(values))
    return np.column_stack([np.interp(at, phase, column) for column in values.T])


def kept_best(best: SearchResult, more: SearchResult) -> SearchResult:
    """As many motions as the first has, the best of both: those that meet the objective, then those of least loss."""
    n = len(best)
    met = np.concatenate([best.satisfied, more.satisfied])
    order = np.lexsort((np.concatenate([best.loss, more.loss]), ~met))
    chosen = set(order[:n].tolist())
    out, into = [i for i in range(n) if i not in chosen], [i - n for i in order[:n].tolist() if i >= n]
    return best.with_motions(out, more.take(into)) if out else best


def _as_long_as_time_lasts(case: Case, batch: Batch, clock: _Clock) -> tuple[SearchResult, int]:
    """The best of all batches, and how many motions they had."""
    best, searched, longest, k = None, 0, 0.0, 0
    while best is None or longest <= clock.left < np.inf:
        before = clock.used
        more = batch(case.seed + 1_000_003 * k, clock)
        searched, k = searched + len(more), k + 1
        best = _first(more, case.count) if best is None else kept_best(best, more)
        longest = max(longest, clock.used - before)
    return best, searched


def _first(found: SearchResult, count: int) -> SearchResult:
    """The best so many of one batch."""
    order = np.lexsort((found.loss, ~found.satisfied))[:count]
    return found.take(np.sort(order).tolist())


def _drawing(case: Case, draw: Callable[[torch.Generator, int], Drawn]) -> Begun:
    """Motions as they are drawn, as many as are wanted."""
    judge = case.judge

    def begun(clock: _Clock) -> tuple[Generated, int]:
        q, duration = draw(torch.Generator().manual_seed(case.seed), case.count)
        return judge.prepared.generated(judge.result(q, duration, case.seed)), case.count

    return begun


def _codes(case: Case, show: Show) -> Begun:
    search = case.search
    network, data = search.networks.generator, search.networks.references
    q, duration = (torch.as_tensor(data[name].values, dtype=torch.float32) for name in ("q", "duration"))
    features = data["features"].sel(feature=list(network.channels.features)).values
    with torch.no_grad():
        known = network.codes(network.encode(q, duration, torch.as_tensor(features, dtype=torch.float32)))
    return _drawing(case, lambda random, n: draw_codes(network, known, search.build.expand(n, -1), random))


def _prior(case: Case) -> Callable[[torch.Generator, int], Drawn]:
    folder = _named(case.prior, "a code prior")
    require_prior_of(folder, checkpoint.read_config(folder), case.generator)
    prior, search = checkpoint.load_prior(folder), case.search
    return lambda random, n: draw_prior(prior, search.networks.generator, search.build.expand(n, -1), random)


def _diffusion(case: Case) -> Callable[..., Drawn]:
    folder = _named(case.diffusion, "diffusion")
    model = checkpoint.load_diffusion(folder)
    if model.channels.coordinates != case.search.channels:
        raise SettingError(f"{folder}: knows other coordinates than the generator; train both on the same data")
    person = subject_features(case.search.skeleton)
    body = torch.tensor([person[n] for n in model.channels.features], dtype=torch.float32)

    def draw(random: torch.Generator, n: int, objective: Loss | None = None, strength: float = 1.0) -> Drawn:
        return model.sample(body.expand(n, -1), random, objective, strength)

    return draw


def _rejection(case: Case, draw: Callable[[torch.Generator, int], Drawn]) -> Begun:
    def batch(seed: int, clock: _Clock) -> SearchResult:
        q, duration = draw(torch.Generator().manual_seed(seed), max(TOGETHER, case.count))
        return case.judge.result(q, duration, seed)

    return _best(case, batch)


def _guided_diffusion(case: Case, show: Show) -> Begun:
    judge, draw = case.judge, _diffusion(case)
    strengths = cycle(STRENGTHS)

    def batch(seed: int, clock: _Clock) -> SearchResult:
        random = torch.Generator().manual_seed(seed)
        q, duration = draw(random, case.count, objective=judge.asked, strength=next(strengths))
        return judge.result(q, duration, seed)

    return _best(case, batch)


def _best(case: Case, batch: Batch, search: MotionSearch | None = None) -> Begun:
    """The best of as many batches as time lasts for, as a search has them written: that by the surrogate by default."""
    written = search or case.best

    def begun(clock: _Clock) -> tuple[Generated, int]:
        best, searched = _as_long_as_time_lasts(case, batch, clock)
        return written.generated(best), searched

    return begun


def _fitting(
    search: MotionSearch, settings: SearchSettings, clock: _Clock, *, count: int, physics: bool = False, begun: bool
) -> SearchSettings:
    """Settings of as many iterations as fit into the time that is left, by what a few of them take.

    A search that is not `begun` goes through `STARTS` times as many motions first, of which each costs less than a
    first iteration does.
    """
    if not np.isfinite(clock.seconds):
        return settings
    rows = torch.arange(count) % len(search.references)
    q, duration = search.references[rows], search.durations[rows]
    with torch.no_grad():
        start = search.networks.generator.encode(q, duration, search.build.expand(count, -1)).numpy()
    few, ticks = replace(shortened(settings, PROBE), patience=0), [clock.used]
    search.find(few, count=count, seed=0, physics=physics, start=start, progress=lambda *_: ticks.append(clock.used))
    first, each = ticks[1] - ticks[0], (ticks[-1] - ticks[1]) / max(len(ticks) - 2, 1)
    left = clock.left - (0.0 if begun else STARTS * first)
    return shortened(settings, int(np.clip(left / max(each, 1e-3), 1, settings.iterations)))


def _searching(case: Case, search: MotionSearch, *, physics: bool) -> Begun:
    """A search from the first step to the last by one predictor, and more of them where there is time."""
    chosen: list[SearchSettings] = []

    def batch(seed: int, clock: _Clock) -> SearchResult:
        if not chosen:
            chosen.append(_fitting(search, search.settings, clock, count=case.count, physics=physics, begun=False))
        return search.find(chosen[0], count=case.count, seed=seed, physics=physics)

    return _best(case, batch, search)


def _paper(case: Case, show: Show, *, whole: bool) -> Begun:
    search, judge = case.paper, Judge(case.search)

    def batch(seed: int, clock: _Clock) -> SearchResult:
        settings = search.settings if whole else _fitting(search, search.settings, clock, count=case.count, begun=False)
        return search.find(settings, count=case.count, seed=seed)

    def begun(clock: _Clock) -> tuple[Generated, int]:
        best, searched = _as_long_as_time_lasts(case, batch, _Clock(np.inf) if whole else clock)
        q, duration = (torch.as_tensor(x, dtype=torch.float32) for x in (best.motions, best.durations))
        return case.search.generated(judge.result(q, duration, case.seed)), searched

    return begun


def _guided(case: Case, show: Show, *, physics: bool = False, refine: int = 0) -> Begun:
    if refine:  # which changes the surrogate
        case = replace(case)
    search = case.best if physics else case.search
    if not physics and not refine:
        _with_muscles(case)  # otherwise it is what `guided` does

    def begun(clock: _Clock) -> tuple[Generated, int]:
        with PROCESSES.kept():
            PROCESSES.start(local_count(case.count, None, NEED_BYTES["fast"]), "bige_opensim.labelling.label_task")
            through = partial(_with_muscles, case)
            return rehearsed(search, search.run(), ROUNDS, show, refine=refine, physics=through), case.count

    return begun


def _with_muscles(case: Case) -> MotionSearch:
    """A search that can follow the physics, where the objective asks for what it says."""
    if not case.search.objective.needs_activations:
        raise SettingError("the objective measures no muscles: there is nothing that physics and surrogate differ in")
    return case.physics


def _named(network: Path | None, what: str) -> Path:
    if network is None:
        raise SettingError(f"this way draws from {what}: name its checkpoint")
    return network


WAYS: dict[str, Way] = {
    "codes": _codes,
    "prior": lambda case, show: _drawing(case, _prior(case)),
    "diffusion": lambda case, show: _drawing(case, _diffusion(case)),
    "rejection": lambda case, show: _rejection(case, _prior(case)),
    "rejection, diffusion": lambda case, show: _rejection(case, _diffusion(case)),
    "guided diffusion": _guided_diffusion,
    "paper": partial(_paper, whole=False),
    "paper, whole": partial(_paper, whole=True),
    "surrogate": lambda case, show: _searching(case, case.search, physics=False),
    "physics": lambda case, show: _searching(case, _with_muscles(case), physics=True),
    "guided": partial(_guided, physics=True),
    "guided, surrogate": _guided,
    "refined": partial(_guided, refine=ROUNDS - 1),
}
OF_PRIOR, OF_DIFFUSION = ("prior", "rejection"), ("diffusion", "rejection, diffusion", "guided diffusion")
"""Ways that draw from these networks."""
MUSCLES_ONLY = ("physics", "guided, surrogate")
"""Ways that differ from others only where the objective measures muscles."""
