"""Coordinates for the trials of OpenCap sessions that have markers only."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import multiprocessing
import os
import shutil
import time as clock
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import bige_opensim
from bige_opensim.io.c3d import C3dError, Up, read_c3d
from bige_opensim.io.documents import read_json
from bige_opensim.io.opencap import Session, SessionError
from bige_opensim.io.storage import StorageError, write_whole
from bige_opensim.io.trc import Markers, TrcError, read_trc
from bige_opensim.io.ui_prmd import UiPrmdError
from bige_opensim.motion import MotionError
from bige_opensim.osim.inverse_kinematics import MarkerError, inverse_kinematics, write_marker_fit
from bige_opensim.osim.messages import only_errors
from bige_opensim.osim.model import ModelError, load, opensim_version

FORMAT = "bige-ik/1"
SOLVED, KEPT, SKIPPED, FAILED = "solved", "kept", "skipped", "failed"
SUMMARY = "inverse_kinematics.csv"
KINEMATICS = Path("OpenSimData/Kinematics")
_COPIED = (
    "sessionMetadata.yaml",
    "OpenSimData/Model/*.osim",
    "OpenSimData/Kinematics/*.mot",
    "MarkerData/*.trc",
    "MarkerData/*.[cC]3[dD]",
    "ForceData/*.mot",
)

FILE_ERRORS = (TrcError, C3dError, MarkerError, ModelError, StorageError, MotionError, UiPrmdError)
"""What a trial's own files can do wrong: each carries one sentence for the user."""

Asked = TypeVar("Asked")
Done = TypeVar("Done")


@dataclass(frozen=True)
class MarkerRequest:
    """One trial: its model and markers, where its files go, and which axis of the markers points up.

    `up` None is what a .c3d file says, and y of a .trc file, which cannot say.
    """

    session: str
    trial: str
    model: Path
    markers: Path
    folder: Path
    up: Up | None = None

    @property
    def motion_path(self) -> Path:
        """Where the coordinates go."""
        return self.folder / f"{self.trial}.mot"

    @property
    def record_path(self) -> Path:
        """Where errors in short and provenance go."""
        return self.folder / f"{self.trial}_ik.json"

    def fingerprint(self) -> dict[str, str]:
        """What the result depends on."""
        files = {"model": self.model, "markers": self.markers}
        up = self.up or ("as the file says" if self._is_c3d else "y")
        return {k: hashlib.sha256(p.read_bytes()).hexdigest() for k, p in files.items()} | {"up": up}

    def read_markers(self) -> Markers:
        """The recording in OpenSim's axes.

        Raises:
            TrcError, C3dError: As `read_trc` and `read_c3d`.
        """
        if self._is_c3d:
            return read_c3d(self.markers, up=self.up)
        return read_trc(self.markers).turned(self.up or "y")

    @property
    def _is_c3d(self) -> bool:
        return self.markers.suffix.lower() == ".c3d"


@dataclass(frozen=True)
class MarkerOutcome:
    """What became of a trial: solved, kept (from before), skipped or failed; why; and its record where there is one."""

    session: str
    trial: str
    status: str
    reason: str
    record: dict[str, Any]


def session_copy(session: Session, out: Path) -> Path:
    """Copy what labelling needs of a session below `out` and return the copy's folder.

    Raises:
        SessionError: If that would be the session itself.
    """
    target = out / session.name
    if target.resolve() == session.path.resolve():
        raise SessionError(
            f"{target}: is the session itself; name another folder, or write into the sessions on purpose."
        )
    for pattern in _COPIED:
        for source in sorted(session.path.glob(pattern)):
            copy = target / source.relative_to(session.path)
            if copy.is_file() and copy.read_bytes() == source.read_bytes():
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}.part")
            shutil.copyfile(source, part)
            part.replace(copy)
    return target


def marker_requests(
    session: Session, folder: Path, *, trials: str = "*", up: Up | None = None, again: bool = False
) -> tuple[list[MarkerRequest], list[MarkerOutcome]]:
    """Trials of a session to solve into `folder`, and those that cannot or need not be, with the reason.

    A trial that has coordinates is skipped, unless `again`.
    """
    requests, others = [], []
    for trial in session.trials:
        if not fnmatch.fnmatchcase(trial.name, trials):
            continue
        why = ""
        if trial.motion_path is not None and not again:
            why = "has coordinates already."
        elif trial.markers_path is None:
            why = "has no markers."
        if why:
            others.append(MarkerOutcome(session.name, trial.name, SKIPPED, why, {}))
        elif session.model_path is None:
            others.append(MarkerOutcome(session.name, trial.name, FAILED, " ".join(session.problems), {}))
        elif trial.markers_path is not None:
            to = folder / KINEMATICS
            requests.append(MarkerRequest(session.name, trial.name, session.model_path, trial.markers_path, to, up))
    return requests, others


def solve_marker_trials(requests: Iterable[MarkerRequest], *, jobs: int | None = None) -> Iterator[MarkerOutcome]:
    """Solve trials, each in a process of its own, and yield outcomes as they come; finished trials are kept."""
    return as_they_come(_in_a_process, requests, jobs)


def as_they_come(work: Callable[[Asked], Done], requests: Iterable[Asked], jobs: int | None) -> Iterator[Done]:
    """Results of `work` on every request, `jobs` at once (one per processor core by default), first come first."""
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        waiting = [pool.submit(work, request) for request in requests]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()


def solve_marker_trial(request: MarkerRequest) -> dict[str, Any]:
    """Solve a trial and write <trial>.mot, <trial>_marker_errors.csv and, last, <trial>_ik.json; return the latter.

    Raises:
        TrcError, C3dError, MarkerError, ModelError, StorageError, MotionError: Its files cannot be used; nothing is
            written.
    """
    started = clock.perf_counter()
    model, markers = load(request.model), request.read_markers()
    fit = inverse_kinematics(model, markers)
    record = {
        "format": FORMAT,
        "session": request.session,
        "trial": request.trial,
        "frames": fit.motion.frames,
        "frames_failed": int(fit.failed.sum()),
        "markers": {mine: theirs for mine, theirs in fit.match.pairs if mine in fit.markers},
        "rms_mm": 1e3 * fit.rms_m,
        "worst_frame_rms_mm": 1e3 * float(np.nanmax(fit.frame_rms_m)),
        "marker_rms_mm": {name: 1e3 * rms for name, rms in fit.marker_rms_m.items() if np.isfinite(rms)},
        "worst_markers": list(fit.marker_rms_m)[:5],
        "notes": list(fit.notes),
        "provenance": {
            "bige_opensim": bige_opensim.__version__,
            "opensim": opensim_version(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(clock.perf_counter() - started, 1),
            "fingerprint": request.fingerprint(),
        },
    }
    request.folder.mkdir(parents=True, exist_ok=True)
    write_marker_fit(fit, model, request.motion_path, request.folder / f"{request.trial}_marker_errors.csv")
    write_whole(request.record_path, json.dumps(record, indent=1) + "\n")
    return record


def write_summary(path: Path, outcomes: Iterable[MarkerOutcome]) -> None:
    """Write a table of outcomes: one row per trial with its errors in mm."""
    rows = ["session,trial,status,frames,rms_mm,worst_frame_rms_mm,worst_marker,worst_marker_rms_mm,reason"]
    for o in sorted(outcomes, key=lambda o: (o.session, o.trial)):
        cells = [o.session, o.trial, o.status, "", "", "", "", "", o.reason]
        if o.record:
            worst = o.record["worst_markers"][0]
            numbers = (o.record["rms_mm"], o.record["worst_frame_rms_mm"], o.record["marker_rms_mm"][worst])
            cells[3:8] = [str(o.record["frames"]), *(f"{x:.2f}" for x in numbers[:2]), worst, f"{numbers[2]:.2f}"]
        rows.append(",".join('"' + c.replace('"', '""') + '"' if any(x in c for x in ',"\n') else c for c in cells))
    write_whole(path, "\n".join([*rows, ""]))


def alone(task: Callable[[Any], dict[str, Any]], argument: Any) -> tuple[str, Any]:
    """Run a function of this package in a process of its own, where OpenSim may leak or crash.

    Returns:
        SOLVED with what it returned, or FAILED with one sentence.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, task, argument), daemon=True)
    process.start()
    theirs.close()
    try:
        answer: tuple[str, Any] = ours.recv()
    except (EOFError, OSError):
        process.join()
        answer = FAILED, f"{argument}: the worker ended without a word (exit code {process.exitcode})."
    process.join()
    return answer


def _in_a_process(request: MarkerRequest) -> MarkerOutcome:
    record = _finished(request)
    if record is not None:
        return MarkerOutcome(request.session, request.trial, KEPT, "solved before from the same files.", record)
    status, content = alone(solve_marker_trial, request)
    if status == FAILED:
        return MarkerOutcome(request.session, request.trial, FAILED, str(content), {})
    return MarkerOutcome(request.session, request.trial, SOLVED, " ".join(content["notes"]), content)


def _work(connection: Connection, task: Callable[[Any], dict[str, Any]], argument: Any) -> None:
    only_errors()
    try:
        connection.send((SOLVED, task(argument)))
    except FILE_ERRORS as error:
        connection.send((FAILED, str(error)))
    finally:
        connection.close()


def _finished(request: MarkerRequest) -> dict[str, Any] | None:
    try:
        record = read_json(request.record_path)
        same = record["format"] == FORMAT and record["provenance"]["fingerprint"] == request.fingerprint()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if same and request.motion_path.is_file() else None
