"""Label many trials: one worker process per trial, so that a crash or a leak inside OpenSim costs that trial only."""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bige_opensim.io.opencap import Session
from bige_opensim.io.storage import write_whole
from bige_opensim.labelling.trial import (
    LabelSettings,
    TrialError,
    TrialRequest,
    finished_label,
    label_trial,
    partial_folder,
)

PASSED, GATES_FAILED, FAILED, SKIPPED = "passed", "gates_failed", "failed", "skipped"
STATUS_FILE = "status.csv"


@dataclass(frozen=True)
class Outcome:
    """What became of one trial: status, one sentence, and the label where there is one."""

    session: str
    trial: str
    status: str
    reason: str
    seconds: float = 0.0
    label: dict[str, Any] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether a label folder exists."""
        return self.status in (PASSED, GATES_FAILED)


Progress = Callable[[str, str, float], None]
"""Called with the trial's name, the step it is at, and the share that is done."""


def requests_of(sessions: Iterable[Session], out: Path) -> tuple[list[TrialRequest], list[Outcome]]:
    """Trials to label below `out`, and the trials that cannot be labelled with the reason."""
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
                )
            )
    return requests, rejected


def label_trials(
    requests: list[TrialRequest],
    settings: LabelSettings,
    *,
    jobs: int | None = None,
    timeout_s: float | None = None,
    progress: Progress = lambda trial, step, share: None,
) -> Iterator[Outcome]:
    """Label trials in worker processes, yielding each outcome as it comes; finished labels are not made again.

    Parameters
    ----------
    jobs
        Trials in flight, one per processor core by default.
    timeout_s
        Time after which a trial is stopped and marked.

    """
    waiting = []
    for request in requests:
        label = _finished(request, settings)
        if label is None:
            waiting.append(request)
        else:
            yield _outcome(request, label, 0.0)
    waiting.sort(key=lambda r: -r.motion.stat().st_size if r.motion.is_file() else 0)
    context = multiprocessing.get_context("spawn")
    running: list[_Running] = []
    limit = jobs or os.cpu_count() or 1
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                running.append(_start(context, waiting.pop(0), settings, timeout_s))
            wait([r.connection for r in running], timeout=1.0)
            for r in list(running):
                outcome = r.poll(progress)
                if outcome is not None:
                    running.remove(r)
                    yield outcome
    finally:
        for r in running:
            r.stop()


def write_status(out: Path, outcomes: list[Outcome]) -> Path:
    """Write `status.csv`: one row per trial with status, reason, frames, seconds, gates and vastus medialis peaks."""
    path = out / STATUS_FILE
    rows = [_row(o) for o in sorted(outcomes, key=lambda o: (o.session, o.trial))]
    names = list(dict.fromkeys(k for row in rows for k in row))
    lines = [",".join(names)] + [",".join(_cell(row.get(n, "")) for n in names) for row in rows]
    write_whole(path, "\n".join(lines) + "\n")
    return path


def read_status(path: Path) -> list[dict[str, str]]:
    """Rows of a status table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _row(o: Outcome) -> dict[str, str]:
    row = {"session": o.session, "trial": o.trial, "status": o.status, "reason": o.reason}
    if o.label:
        row |= {
            "frames": str(o.label["frames"]),
            "frames_solved": str(o.label["frames_solved"]),
            "solve_s": f"{o.label['timings']['solve_s']:.2f}",
            "total_s": f"{o.label['timings']['total_s']:.2f}",
        }
        row |= {f"gate_{k}": f"{g['value']:.4g}" for k, g in o.label["gates"].items()}
        row |= {f"peak_{m}": f"{o.label['peaks'][m]:.3f}" for m in ("vasmed_r", "vasmed_l") if m in o.label["peaks"]}
    return row


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text


def _finished(request: TrialRequest, settings: LabelSettings) -> dict[str, Any] | None:
    try:
        return finished_label(request, settings)
    except (OSError, ValueError):
        return None


def _outcome(request: TrialRequest, label: dict[str, Any], seconds: float) -> Outcome:
    return Outcome(request.session, request.trial, label["status"], label["reason"], seconds, label)


@dataclass
class _Running:
    process: Any
    connection: Connection
    request: TrialRequest
    started: float
    timeout_s: float | None

    def poll(self, progress: Progress) -> Outcome | None:
        """The outcome once there is one; passes on progress meanwhile."""
        seconds = time.monotonic() - self.started
        while self.connection.poll():
            try:
                kind, content = self.connection.recv()
            except (EOFError, OSError):  # OSError: the worker died in the middle of a message
                self.process.join(10.0)
                self.stop()
                return self._lost(f"the worker ended without a word (exit code {self.process.exitcode})", seconds)
            if kind == "progress":
                progress(self.request.trial, *content)
                continue
            self.process.join()
            if kind == "label":
                return _outcome(self.request, content, seconds)
            return Outcome(self.request.session, self.request.trial, FAILED, content, seconds)
        if self.timeout_s is not None and seconds > self.timeout_s:
            self.stop()
            return self._lost(f"stopped after {self.timeout_s:.0f} s", seconds)
        return None

    def _lost(self, what: str, seconds: float) -> Outcome:
        why = f"{self.request.motion}: {what}, probably inside OpenSim. Run this trial alone to see its messages."
        return Outcome(self.request.session, self.request.trial, FAILED, why, seconds)

    def stop(self) -> None:
        """End the worker and remove what it had written so far."""
        self.process.terminate()
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        shutil.rmtree(partial_folder(self.request.out, self.process.pid), ignore_errors=True)


def _start(context: Any, request: TrialRequest, settings: LabelSettings, timeout_s: float | None) -> _Running:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, request, settings), daemon=True)
    process.start()
    theirs.close()
    return _Running(process, ours, request, time.monotonic(), timeout_s)


def _work(connection: Connection, request: TrialRequest, settings: LabelSettings) -> None:
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        label = label_trial(request, settings, lambda step, share: connection.send(("progress", (step, share))))
        connection.send(("label", label))
    except TrialError as error:
        connection.send(("failed", str(error)))
    finally:
        connection.close()


def _end_with_parent() -> None:
    """Do not outlive the run: a killed run would leave workers that write beside its successor's."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
