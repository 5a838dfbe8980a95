"""Label many trials on workers of this machine or of a cluster; what goes wrong costs one try of one trial."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bige_opensim.doctor.person_checks import Stated
from bige_opensim.io.opencap import Session
from bige_opensim.io.partial_folders import remove_abandoned, remove_partial
from bige_opensim.labelling.label_task import label_and_place, label_that_is_there
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.workers.cluster import Desk, Lost, each, local_count, workers
from bige_opensim.workers.worker_process import PROCESSES, Limits, ProcessLostError, TaskStoppedError, TooLargeError

PASSED, GATES_FAILED, FAILED, SKIPPED = "passed", "gates_failed", "failed", "skipped"
TRIES, TRY = 2, "try"
NEED_BYTES = {"opensim": 1.5e9, "fast": 1.0e9}


@dataclass(frozen=True)
class Outcome:
    """What became of one trial: status, one sentence, and the label where there is one.

    `tries` counts how often this run began it, on which `worker` last; 0 where the label was there before. `motion` is
    the file of its coordinates.
    """

    session: str
    trial: str
    status: str
    reason: str
    seconds: float = 0.0
    label: dict[str, Any] = field(default_factory=dict)
    tries: int = 0
    worker: str = ""
    motion: str = ""

    @property
    def labelled(self) -> bool:
        """Whether a label folder exists."""
        return self.status in (PASSED, GATES_FAILED)

    @property
    def this_run(self) -> str:
        """What this run did: done, skipped (labelled before, or nothing to label) or failed."""
        if self.labelled:
            return "done" if self.tries else SKIPPED
        return self.status


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
    waiting = []
    for request in requests:
        label = label_that_is_there(request, settings)
        if label is None:
            waiting.append(_Job(request.absolute(), settings, Limits(timeout_s, memory_bytes)))
        else:
            yield _outcome(request, label)
    if not waiting:
        return
    waiting.sort(key=lambda job: -job.size)
    count = local_count(len(waiting), jobs, memory_bytes or NEED_BYTES[settings.solver])
    tries: Counter[Path] = Counter()

    def hear(job: _Job, message: Any) -> None:
        if message == TRY:
            tries[job.request.out] += 1
        else:
            step, share = message
            progress(job.request.trial, step, share)

    with workers(count, scheduler) as client:
        for job, found in each(client, _label, waiting, hear=hear):
            if isinstance(found, Lost):
                found = _failed(job.request, found.reason)
            yield replace(found, tries=max(found.tries, tries[job.request.out]))
    _clear(folders)


def _clear(folders: Iterable[Path]) -> None:
    for folder in folders:
        remove_abandoned(folder)


def _outcome(request: TrialRequest, label: dict[str, Any]) -> Outcome:
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
    request: TrialRequest
    settings: LabelSettings
    limits: Limits

    @property
    def size(self) -> int:
        """Bytes of the motion: the longest trials are begun first."""
        return self.request.motion.stat().st_size if self.request.motion.is_file() else 0


def _label(job: _Job, desk: Desk) -> Outcome:
    """Label one trial in a process beside the worker: what a worker does."""
    started = time.monotonic()
    tries = 0
    while True:
        tries += 1
        desk.tell(TRY)
        outcome, again = _try(job, desk)
        if not again or tries == TRIES:
            return replace(outcome, seconds=time.monotonic() - started, tries=tries, worker=desk.name)


def _try(job: _Job, desk: Desk) -> tuple[Outcome, bool]:
    """One try: what came of it, and whether a fresh process may do better."""
    request, process = job.request, PROCESSES.take()
    fresh = process.tasks == 0
    try:
        found = process.run(
            label_and_place,
            request,
            job.settings,
            limits=job.limits,
            report=lambda step, share: desk.tell((step, share)),
            wanted=desk.wanted,
        )
    except (ProcessLostError, TaskStoppedError) as error:
        remove_partial(request.out, process.pid)
        again = isinstance(error, ProcessLostError) or (isinstance(error, TooLargeError) and not fresh)
        reason = f"{error}, probably inside OpenSim. Run this trial alone to see its messages"
        return _failed(request, reason), again and desk.wanted()
    finally:
        PROCESSES.give_back(process)
    if isinstance(found, str):
        return Outcome(request.session, request.trial, FAILED, found, motion=str(request.motion)), False
    return _outcome(request, found), False
