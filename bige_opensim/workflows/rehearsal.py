"""Rehearsal of the verdict: motions are labelled as `validate` will label them, and searched on where that differs.

What a search predicts is never quite what a simulation finds: the surrogate errs, files have 50 frames per second and a
filter, a label shifts the body by millimetres and fits muscle paths over the motion at hand, and quality gates judge
what no term of the objective speaks of. Rather than bring all of that into every step, the error e = simulated -
predicted of each term, of each motion, is added to what the next, short search predicts (output space mapping, Bandler
et al. 2004, doi:10.1109/TMTT.2003.820904): where the two functions are nearly parallel, a step or two make them agree.
Motions that fail a gate are given up and others are searched in their place, unless others fail as well.

The labels are those of the fast solver, with OpenSim's own muscle paths; OpenSim itself decides later, in `validate`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bige_opensim.guidance.compromise import explained
from bige_opensim.guidance.generated import Generated, Rehearsal
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


def rehearsed(prepared: MotionSearch, result: SearchResult, rounds: int, show: Show, *, refine: int = 0) -> Generated:
    """Rehearse motions, and search on, until all hold or so many rounds are over; what holds is kept.

    After the first `refine` rounds in which some do not hold, the surrogate is refined on what was simulated.
    """
    refinement = Refinement(prepared, refine) if refine else None
    errors = {t.name: np.zeros(len(result)) for t in prepared.objective.terms if t.bounded}
    rehearsals: list[Rehearsal | None] = [None] * len(result)
    waiting, trial = list(range(len(result))), result
    hopeless = 0
    with show(rounds, "rehearsing the verdict") as steps, PROCESSES.kept():
        for k in range(rounds):
            for place, now in zip(waiting, rehearse(prepared.generated(trial)), strict=True):
                rehearsals[place] = now
            held = [r for r in rehearsals if r is not None and r.holds]
            steps.finish(f"round {k + 1}: {len(held)} of {len(result)} hold")
            hopeless = 0 if held else hopeless + _hopeless(trial, rehearsals)
            left = [i for i in waiting if (r := rehearsals[i]) is not None and not r.holds]
            if not left or k == rounds - 1 or hopeless >= HOPELESS:
                break
            known: dict[str, np.ndarray] | None = None
            if refinement is not None and refinement.learn(trial, [rehearsals[i] for i in waiting]):
                steps.finish(refinement.rounds[-1].in_words())
                known = None if prepared.by_physics else prepared.values(result)
            waiting = left
            _learn(errors, result, rehearsals, waiting, known)
            trial = _searched_on(prepared, result, rehearsals, waiting, errors, k + 1)
            result = result.with_motions(waiting, trial)
    found = prepared.generated(result).with_rehearsals(rehearsals)
    if refinement is not None:
        found.record["refinement"] = refinement.record()
    if any(r is not None and r.holds for r in rehearsals):
        return found
    return explained(found, prepared, result, rehearsals)


def _hopeless(trial: SearchResult, rehearsals: list[Rehearsal | None]) -> int:
    """How little a round in which nothing holds promises: 2 where the search met its objective in no motion either, or
    nothing could be simulated, 1 where every motion fails a gate, 0 where some only miss a term.
    """
    tried = [r for r in rehearsals if r is not None]
    if all(r.failed for r in tried):
        return HOPELESS if not trial.satisfied.any() or not any(r.values for r in tried) else 1
    return 0


def _learn(
    errors: dict[str, np.ndarray],
    result: SearchResult,
    rehearsals: list[Rehearsal | None],
    waiting: list[int],
    known: dict[str, np.ndarray] | None = None,
) -> None:
    """Add what each prediction was off by to what is known of it; what a replaced motion was off by is forgotten.

    `known` are what another surrogate than the one of the search says: errors are then those of that one.
    """
    for i in waiting:
        found = rehearsals[i]
        assert found is not None
        for name, error in errors.items():
            if found.failed:
                error[i] = 0.0
            elif known is not None and name in known:
                error[i] = found.values[name] - known[name][i]
            else:
                error[i] += found.values[name] - result.values[name][i]


def _searched_on(
    prepared: MotionSearch,
    result: SearchResult,
    rehearsals: list[Rehearsal | None],
    waiting: list[int],
    errors: dict[str, np.ndarray],
    k: int,
) -> SearchResult:
    """Motions that missed a term go on from where they are; in the places of those that failed a gate others begin."""
    anew = [i for i in waiting if (r := rehearsals[i]) is not None and r.failed]
    on = [i for i in waiting if i not in anew]
    settings, seed = prepared.settings, prepared.request.seed
    trial = result.take(waiting)
    if on:
        near = replace(settings, learning_rate=CLOSER * settings.learning_rate)
        part = prepared.find(
            shortened(near, max(1, round(ON * settings.iterations))),
            count=len(on),
            seed=seed,
            physics=prepared.by_physics,
            start=result.latents[on],
            errors={name: error[on] for name, error in errors.items()},
        )
        trial = trial.with_motions([waiting.index(i) for i in on], part)
    if anew:
        part = prepared.run(count=len(anew), seed=seed + 1_000_003 * k)
        trial = trial.with_motions([waiting.index(i) for i in anew], part)
    return trial
