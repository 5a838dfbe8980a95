"""Label many trials on workers of this machine or of a cluster; what goes wrong costs one try of one trial."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bige_opensim.doctor.person_checks import Stated
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.io.opencap import Session
from bige_opensim.io.partial_folders import remove_abandoned, remove_partial
from bige_opensim.labelling.chair import Declared
from bige_opensim.labelling.label_task import audit_labels, label_and_place, label_that_is_there
from bige_opensim.labelling.outcome import FAILED, SKIPPED, Outcome
from bige_opensim.labelling.person_model import MOST_TRIALS
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.physics.effort_cost import EffortCost
from bige_opensim.workers.cluster import Lost, TaskContext, each, local_count, workers
from bige_opensim.workers.worker_process import PROCESSES, Limits, ProcessLostError, TaskStoppedError, TooLargeError

TRIES, TRY = 2, "try"
LEFT_ON_DISK = ("coordinates", "muscles", "rotational", "muscle_paths", "subject_features", "provenance")
"""What `label.json` says at length; outcomes of thousands of trials stay in memory."""
NEED_BYTES = {"opensim": 1.5e9, "fast": 1.0e9}


Kind = TypeVar("Kind")
Group = tuple[str, str]
"""Name of a session, and hash of a model."""

Progress = Callable[[str, str, float], None]
"""Called with the trial's name, the step it is at, and the share that is done."""


def requests_of(
    sessions: Iterable[Session], out: Path, *, into_sessions: bool = False
) -> tuple[list[TrialRequest], list[Outcome]]:
    """Trials to label below `out`, and the trials that cannot be labelled with the reason.

    Activations go below `out/<session>` in the layout of an OpenCap session, too, and on request into the sessions.
    """
    requests, rejected = [], []
    for session in sessions:
        if session.model_path is None:
            why = " ".join(session.problems) or f"{session.path}: the session has no model in OpenSimData/Model."
            names = [t.name for t in session.trials] or ["-"]
            rejected += [Outcome(session.name, n, FAILED, why) for n in names]
            continue
        folder = out / session.name
        motions = [trial.motion_path for trial in session.trials if trial.motion_path is not None]
        plates = [trial.forces_path for trial in session.trials if trial.motion_path is not None]
        for trial in session.trials:
            if trial.motion_path is None:
                why = (
                    f"{session.path.name}/{trial.name}: no coordinates (OpenSimData/Kinematics); run inverse "
                    "kinematics first."
                )
                rejected.append(Outcome(session.name, trial.name, SKIPPED, why))
                continue
            requests.append(
                TrialRequest(
                    model=session.model_path,
                    motion=trial.motion_path,
                    out=folder / trial.name,
                    model_folder=folder,
                    session=session.name,
                    subject=session.subject or session.name,
                    trial=trial.name,
                    sessions=(folder, session.path) if into_sessions else (folder,),
                    forces=trial.forces_path,
                    synthetic=session.synthetic,
                    stated=Stated(session.mass_kg, session.height_m),
                    carried=Declared(session.chair, session.hands, session.calves),
                    load=session.load or "",
                    person_trials=tuple(_evenly(motions, MOST_TRIALS)) if motions else (),
                    person_forces=tuple(_evenly(plates, MOST_TRIALS)) if motions else (),
                )
            )
    return requests, rejected


def label_trials(
    requests: Iterable[TrialRequest],
    settings: LabelSettings,
    *,
    jobs: int | None = None,
    timeout_s: float | None = None,
    memory_bytes: int | None = None,
    scheduler: str | None = None,
    progress: Progress = lambda trial, step, share: None,
) -> Iterator[Outcome]:
    """Label trials on workers, yielding each outcome as it comes; finished labels are not made again.

    A trial whose process or worker dies is tried again by a fresh one, and marked as failed when that dies too. A trial
    that cannot be labelled, or takes more than it may, is marked at once.

    Trials of one session and model go to one process as far as there are enough of them for all: model and muscle paths
    are made once. When all of them are labelled, OpenSim audits the fast solver on frames drawn over them, and what it
    finds is put into their labels and outcomes.

    Parameters
    ----------
    jobs
        Trials in flight on this machine; by default one per processor core, as far as memory goes.
    timeout_s
        Time after which a trial is stopped and marked.
    memory_bytes
        Resident memory at which a trial is stopped and marked.
    scheduler
        Address of a running dask scheduler, whose workers see the same files under the same absolute paths.

    Raises
    ------
    ClusterError
        No scheduler answers at the address.

    """
    requests = list(requests)
    folders = {request.out.parent for request in requests}
    _clear(folders)
    people = _People(requests, settings, Limits(timeout_s, memory_bytes))
    for request in requests:
        label = label_that_is_there(request, settings)
        if label is None:
            people.wait(request)
        else:
            outcome = _outcome(request, label)
            people.there(request, outcome)
            yield outcome
    waiting = people.jobs()
    if not waiting:
        return
    count = local_count(len(waiting), jobs, memory_bytes or NEED_BYTES[settings.solver])
    tries: Counter[Path] = Counter()

    def hear(job: _Job | _Audit, message: Any) -> None:
        if message != TRY:
            progress(job.name, *message)
        elif isinstance(job, _Job):
            tries[job.request.out] += 1

    def more(job: _Job | _Audit, found: Any) -> list[_Audit]:
        if isinstance(job, _Audit):
            return []
        outcome = _failed(job.request, found.reason) if isinstance(found, Lost) else found
        return people.done(job, replace(outcome, tries=max(outcome.tries, tries[job.request.out])))

    with workers(count, scheduler) as client:
        for job, found in each(client, _work, waiting, hear=hear, group=lambda job: job.group, more=more):
            if isinstance(job, _Audit):
                people.audited(job, found)
            else:
                yield people.outcomes[job.request.out]
    _clear(folders)


class _People:
    """Trials by session and model, what became of them, and which of their labels OpenSim has still to audit."""

    def __init__(self, requests: Sequence[TrialRequest], settings: LabelSettings, limits: Limits) -> None:
        self.settings, self.limits = settings, limits
        self.groups: dict[Group, list[TrialRequest]] = {}
        for request in requests:
            self.groups.setdefault(_group(request), []).append(request.absolute())
        self.outcomes: dict[Path, Outcome] = {}
        self.waiting: dict[Group, list[_Job]] = {}
        self.open: Counter[Group] = Counter()

    def wait(self, request: TrialRequest) -> None:
        """Have a trial wait to be labelled."""
        group = _group(request)
        beside = self.groups[group]
        job = _Job(request.absolute(), self.settings, self.limits, group, tuple(_evenly(beside, MOST_TRIALS)))
        self.waiting.setdefault(group, []).append(job)
        self.open[group] += 1

    def jobs(self) -> list[_Job | _Audit]:
        """What is to be done: people and their trials with the most to read first; audits that a killed run left."""
        groups = sorted(self.waiting.values(), key=lambda jobs: -sum(job.size for job in jobs))
        labels = [job for jobs in groups for job in sorted(jobs, key=lambda job: -job.size)]
        return [*labels, *(a for group in self.groups if not self.open[group] for a in self._audits(group))]

    def there(self, request: TrialRequest, outcome: Outcome) -> None:
        """Take the outcome of a trial that was labelled before."""
        self.outcomes[request.absolute().out] = outcome

    def done(self, job: _Job, outcome: Outcome) -> list[_Audit]:
        """Take the outcome of a trial that was waited for; the audit of its group when it was the last of it."""
        self.outcomes[job.request.out] = outcome
        self.open[job.group] -= 1
        return [] if self.open[job.group] else self._audits(job.group)

    def _audits(self, group: Group) -> list[_Audit]:
        if not self.settings.audited:
            return []
        outcomes = [(r, self.outcomes[r.out]) for r in self.groups[group]]
        labels = tuple(r for r, o in outcomes if o.labelled and "audit" not in o.label)
        return [_Audit(labels, self.settings.audit, self.settings.cost, self.limits, group)] if labels else []

    def audited(self, job: _Audit, found: dict[str, Any] | str | Lost) -> None:
        """Take what an audit found into the outcomes of its trials."""
        reason = found.reason if isinstance(found, Lost) else found
        for request in job.requests:
            self.outcomes[request.out].label["audit"] = {"failed": reason} if isinstance(reason, str) else reason


def _group(request: TrialRequest) -> Group:
    """Session and model of a trial: whoever they are of, muscle paths and the audit are for all of these trials."""
    try:
        return request.session, file_sha256(request.model)
    except OSError:  # said when the trial is labelled
        return request.session, str(request.model)


def _evenly(trials: Sequence[Kind], most: int) -> Sequence[Kind]:
    return trials[:: -(-len(trials) // most)]


def _clear(folders: Iterable[Path]) -> None:
    for folder in folders:
        remove_abandoned(folder)


def _outcome(request: TrialRequest, label: dict[str, Any]) -> Outcome:
    label = {name: entry for name, entry in label.items() if name not in LEFT_ON_DISK}
    return Outcome(
        request.session, request.trial, label["status"], label["reason"], label=label, motion=str(request.motion)
    )


def _failed(request: TrialRequest, reason: str) -> Outcome:
    return Outcome(
        request.session,
        request.trial,
        FAILED,
        f"{request.motion} with {request.model}: {reason}.",
        motion=str(request.motion),
    )


@dataclass(frozen=True)
class _Job:
    """A trial to label; `beside` are trials of its group, for which muscle paths are fitted at once."""

    request: TrialRequest
    settings: LabelSettings
    limits: Limits
    group: Group
    beside: tuple[TrialRequest, ...]

    @property
    def name(self) -> str:
        """For who watches."""
        return self.request.trial

    @property
    def size(self) -> int:
        """Bytes of the motion: the longest trials are begun first."""
        return self.request.motion.stat().st_size if self.request.motion.is_file() else 0


@dataclass(frozen=True)
class _Audit:
    """Labels of a group for OpenSim to audit."""

    requests: tuple[TrialRequest, ...]
    share: float
    cost: EffortCost
    limits: Limits
    group: Group

    @property
    def name(self) -> str:
        """For who watches."""
        return self.group[0]


def _work(job: _Job | _Audit, context: TaskContext) -> Any:
    """What a worker does: label one trial, or audit labels, in a process beside it."""
    return _label(job, context) if isinstance(job, _Job) else _audit(job, context)


def _label(job: _Job, context: TaskContext) -> Outcome:
    started = time.monotonic()
    tries = 0
    while True:
        tries += 1
        context.tell(TRY)
        outcome, again = _try(job, context)
        if not again or tries == TRIES:
            return replace(outcome, seconds=time.monotonic() - started, tries=tries, worker=context.name)


def _try(job: _Job, context: TaskContext) -> tuple[Outcome, bool]:
    """One try: what came of it, and whether a fresh process may do better."""
    request, process = job.request, PROCESSES.take(job.group)
    fresh = process.tasks == 0
    try:
        found = process.run(
            label_and_place,
            request,
            job.settings,
            job.beside,
            limits=job.limits,
            report=lambda step, share: context.tell((step, share)),
            wanted=context.wanted,
        )
    except (ProcessLostError, TaskStoppedError) as error:
        remove_partial(request.out, process.pid)
        again = isinstance(error, ProcessLostError) or (isinstance(error, TooLargeError) and not fresh)
        reason = f"{error}, probably inside OpenSim. Run this trial alone to see its messages"
        return _failed(request, reason), again and context.wanted()
    finally:
        PROCESSES.give_back(process)
    if isinstance(found, str):
        return Outcome(request.session, request.trial, FAILED, found, motion=str(request.motion)), False
    return _outcome(request, found), False


def _audit(job: _Audit, context: TaskContext) -> dict[str, Any] | str:
    """Audit in the process that has labelled these trials, if it waits; once more in a fresh one where that is lost."""
    for last in (False, True):
        process = PROCESSES.take(job.group)
        try:
            return process.run(
                audit_labels,
                job.requests,
                job.share,
                job.cost,
                limits=job.limits,
                report=lambda step, share: context.tell((step, share)),
                wanted=context.wanted,
            )
        except (ProcessLostError, TaskStoppedError) as error:
            if last or isinstance(error, TaskStoppedError) or not context.wanted():
                return str(error)
        finally:
            PROCESSES.give_back(process)
    raise AssertionError("the second try returns")
