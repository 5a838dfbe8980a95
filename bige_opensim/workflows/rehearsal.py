"""Rehearsal of the verdict: motions are labelled as `validate` will label them, and searched on where that differs.

What a search predicts is never quite what a simulation finds: the surrogate errs, files have 50 frames per second and a
filter, a label shifts the body by millimetres and fits muscle paths over the motion at hand, and quality gates judge
what no term of the objective speaks of. Rather than bring all of that into every step, the error e = simulated -
predicted of each term, of each motion, is added to what the next, short search predicts (output space mapping, Bandler
et al. 2004, doi:10.1109/TMTT.2003.820904): where the two functions are nearly parallel, a step or two make them agree.
What the surrogate is off by changes from motion to motion, most of all on a body that it knows badly; what the physics
of the person's own model is off by hardly does: motions that miss a term go on by it. Motions that fail a gate are
given up and others are searched in their place, unless others fail as well.

The labels are those of the fast solver, with OpenSim's own muscle paths; OpenSim itself decides later, in `validate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bige_opensim.guidance.compromise import explained
from bige_opensim.guidance.generated import Generated, Rehearsal, name_of
from bige_opensim.guidance.generation import MotionSearch, shortened
from bige_opensim.guidance.refinement import Refinement
from bige_opensim.guidance.search import SearchResult
from bige_opensim.io.storage import read_storage
from bige_opensim.motion import Motion
from bige_opensim.validation.certificate import Certificate
from bige_opensim.validation.roundtrip import SETTINGS, validate
from bige_opensim.workers.worker_process import PROCESSES
from bige_opensim.workflows.progress import Show

MOST_REHEARSALS = 20
ON, CLOSER = 0.15, 0.4
"""Length of a search that goes on after a rehearsal, and its learning rate, in shares of the first: a motion that stays
near keeps the error that is known of it."""
HOPELESS = 2
"""Rounds in a row in which every motion fails a gate, after which no others are searched."""
LABELS = replace(SETTINGS, solver="fast", geometry="exact", audit=0.0)


def rehearse(found: Generated) -> list[Rehearsal]:
    """Label motions as `validate` will, and judge them, in a folder that is gone afterwards."""
    with TemporaryDirectory(prefix="bige-rehearsal-") as scratch:
        folder = Path(scratch) / "motions"
        found.write(folder)
        verdicts = {v.name: v for v in validate(folder, settings=LABELS)}
        return [_rehearsal(verdicts[name].certificate, verdicts[name].reason, folder / name) for name in found.motions]


def _rehearsal(certificate: Certificate | None, reason: str, trial: Path) -> Rehearsal:
    if certificate is None:
        return Rehearsal({}, {}, None, (), (reason,))
    gates = [f"{name}: {g.where}" for name, g in certificate.motion_gates.items() if not g.satisfied]
    failed = gates if certificate.labels["status"] == "passed" else [certificate.labels["reason"], *gates]
    unmet = tuple(name for name, t in certificate.terms.items() if t.decides and t.satisfied is False)
    table = read_storage(trial / "activations.sto")
    active = Motion(table.time - table.time[0], table.values, table.names)
    values = {name: t.simulated for name, t in certificate.terms.items()}
    met = {name: t.satisfied for name, t in certificate.terms.items() if t.satisfied is not None}
    return Rehearsal(values, met, active, unmet, tuple(failed))


def rehearsed(
    prepared: MotionSearch,
    result: SearchResult,
    rounds: int,
    show: Show,
    *,
    refine: int = 0,
    physics: Callable[[], MotionSearch] | None = None,
) -> Generated:
    """Rehearse motions, and search on, until all hold or so many rounds are over; what holds is kept.

    After the first `refine` rounds in which some do not hold, the surrogate is refined on what was simulated. `physics`
    prepares the same search through the physics, for motions that miss a term; rounds of refinement come first.
    """
    refinement = Refinement(prepared, refine) if refine else None
    course = _Course(prepared, result, physics)
    with show(rounds, "rehearsing the verdict") as steps, PROCESSES.kept():
        for k in range(rounds):
            course.rehearse()
            steps.finish(f"round {k + 1}: {course.holding} of {len(result)} hold")
            if not course.left or k == rounds - 1 or course.hopeless >= HOPELESS:
                break
            if refinement is not None and refinement.learn(course.trial, [course.found[i] for i in course.tried]):
                steps.finish(refinement.rounds[-1].in_words())
                course.surrogate_changed()
            elif turned := course.turn_to_physics():
                steps.finish(f"{turned} go on by the physics")
            course.search_on(k + 1)
    found = prepared.generated(course.result)
    if refinement is not None:
        found.record["refinement"] = refinement.record()
    if course.exact:
        found.record["by_physics"] = [name_of(i) for i in course.exact]
    found = found.with_rehearsals(course.found)
    return found if course.holding else explained(found, prepared, course.result, course.found)


class _Course:
    """Motions between rehearsals.

    Attributes
    ----------
    result
        All motions as they are now.
    trial, tried
        The last ones searched, and their places.
    found
        What the last rehearsal of each motion found.
    errors
        By name of a term, what the prediction of each motion is known to be too small by.
    exact
        Places of the motions that go on by the physics instead of the surrogate.
    hopeless
        How little rehearsals promise: see `_hopeless`.

    """

    def __init__(
        self, prepared: MotionSearch, result: SearchResult, physics: Callable[[], MotionSearch] | None
    ) -> None:
        self.prepared, self.result, self._physics = prepared, result, physics
        self.trial, self.tried = result, list(range(len(result)))
        self.found: list[Rehearsal | None] = [None] * len(result)
        self.errors = {t.name: np.zeros(len(result)) for t in prepared.objective.terms if t.bounded}
        self.exact: list[int] = []
        self.hopeless = 0
        self._through: MotionSearch | None = None

    def rehearse(self) -> None:
        """Rehearse the motions that were searched last."""
        for place, now in zip(self.tried, rehearse(self.prepared.generated(self.trial)), strict=True):
            self.found[place] = now
        self.hopeless = 0 if self.holding else self.hopeless + _hopeless(self.trial, self.found)

    @property
    def holding(self) -> int:
        """How many motions hold."""
        return sum(r is not None and r.holds for r in self.found)

    @property
    def left(self) -> list[int]:
        """Places of those that do not."""
        return [i for i in self.tried if (r := self.found[i]) is not None and not r.holds]

    def surrogate_changed(self) -> None:
        """Take what the surrogate says now for what it said."""
        if not self.prepared.by_physics:
            self._take_values(self.prepared, [i for i in range(len(self.result)) if i not in self.exact])

    def turn_to_physics(self) -> int:
        """Let motions that only miss a term go on by the physics, where they did not; how many these are."""
        turning = [i for i in self.left if not _of(self.found, i).failed and i not in self.exact]
        moot = self.prepared.by_physics or not self.prepared.objective.needs_activations
        if self._physics is None or moot or not turning:
            return 0
        self._through = self._through or self._physics()
        self.exact = sorted(self.exact + turning)
        self._take_values(self._through, turning)
        return len(turning)

    def search_on(self, k: int) -> None:
        """Motions that missed a term go on from where they are; in the places of those that failed a gate others begin.

        What a prediction was off by is added to what is known of it; what a replaced motion was off by is forgotten.
        """
        places = self.left
        for i in places:
            for name, error in self.errors.items():
                found = _of(self.found, i)
                error[i] = 0.0 if found.failed else error[i] + found.values[name] - self.result.values[name][i]
        anew = [i for i in places if _of(self.found, i).failed]
        on = [i for i in places if i not in anew]
        self.exact = [i for i in self.exact if i not in anew]
        self.trial, self.tried = self.result.take(places), places
        for part, search in (
            ([i for i in on if i not in self.exact], self.prepared),
            ([i for i in on if i in self.exact], self._through),
        ):
            if part and search is not None:
                self._put(part, self._nearby(search, part))
        if anew:
            self._put(anew, self.prepared.run(count=len(anew), seed=self.prepared.request.seed + 1_000_003 * k))
        self.result = self.result.with_motions(places, self.trial)

    def _nearby(self, search: MotionSearch, places: list[int]) -> SearchResult:
        settings = search.settings
        near = replace(settings, learning_rate=CLOSER * settings.learning_rate)
        return search.find(
            shortened(near, max(1, round(ON * settings.iterations))),
            count=len(places),
            seed=search.request.seed,
            physics=search.by_physics,
            start=self.result.latents[places],
            errors={name: error[places] for name, error in self.errors.items()},
        )

    def _put(self, places: list[int], motions: SearchResult) -> None:
        self.trial = self.trial.with_motions([self.tried.index(i) for i in places], motions)

    def _take_values(self, search: MotionSearch, places: list[int]) -> None:
        """What a search says of motions, without what it is known to be off by, instead of what was said of them."""
        if not places:
            return
        values = {name: known.copy() for name, known in self.result.values.items()}
        for name, now in search.values(self.result.take(places)).items():
            if name in values:
                values[name][places] = now
        for error in self.errors.values():
            error[places] = 0.0
        self.result = replace(self.result, values=values)


def _of(found: list[Rehearsal | None], place: int) -> Rehearsal:
    rehearsal = found[place]
    assert rehearsal is not None
    return rehearsal


def _hopeless(trial: SearchResult, rehearsals: list[Rehearsal | None]) -> int:
    """How little a round in which nothing holds promises: 2 where the search met its objective in no motion either, or
    nothing could be simulated, 1 where every motion fails a gate, 0 where some only miss a term.
    """
    tried = [r for r in rehearsals if r is not None]
    if all(r.failed for r in tried):
        return HOPELESS if not trial.satisfied.any() or not any(r.values for r in tried) else 1
    return 0
