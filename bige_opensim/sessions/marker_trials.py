"""Coordinates for the trials of OpenCap sessions that have markers only."""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import io
import json
import os
import shutil
import time as clock
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bige_opensim.io.c3d import C3dError, Up, read_c3d
from bige_opensim.io.documents import read_json
from bige_opensim.io.opencap import Session, SessionError
from bige_opensim.io.storage import StorageError, write_whole
from bige_opensim.io.trc import Markers, TrcError, read_trc
from bige_opensim.io.ui_prmd import UiPrmdError
from bige_opensim.motion import MotionError
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.inverse_kinematics import (
    MarkerError,
    MarkerFit,
    Solver,
    inverse_kinematics,
    inverse_kinematics_of_trials,
    write_marker_fit,
)
from bige_opensim.osim.messages import only_errors
from bige_opensim.osim.model import ModelError, OsimModel, load, opensim_version
from bige_opensim.provenance import provenance
from bige_opensim.workers.alone import alone, as_they_come
from bige_opensim.workers.worker_process import ProcessLostError

FORMAT = "bige-ik/1"
SOLVED, KEPT, SKIPPED, FAILED, LOST = "solved", "kept", "skipped", "failed", "lost"
SUMMARY = "inverse_kinematics.csv"
COLUMNS = (
    *("session", "trial", "status", "frames", "rms_mm", "worst_frame_rms_mm", "worst_marker", "worst_marker_rms_mm"),
    "reason",
)
TOGETHER = 32
"""Trials of one model that are solved in one batch, at most."""
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

Done = TypeVar("Done")


@dataclass(frozen=True)
class MarkerRequest:
    """One trial: its model and markers, where its files go, which axis of the markers points up, and the solver.

    `up` None is what a .c3d file says, and y of a .trc file, which cannot say.
    """

    session: str
    trial: str
    model: Path
    markers: Path
    folder: Path
    up: Up | None = None
    solver: Solver = "fast"

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
        solver = {} if self.solver == "opensim" else {"solver": self.solver}
        return {k: hashlib.sha256(p.read_bytes()).hexdigest() for k, p in files.items()} | {"up": up} | solver

    def read_markers(self) -> Markers:
        """The recording in OpenSim's axes.

        Raises
        ------
        TrcError, C3dError
            As `read_trc` and `read_c3d`.

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

    @property
    def solved(self) -> bool:
        """Whether there are coordinates from its markers, made now or before."""
        return bool(self.record)

    @property
    def frames(self) -> int:
        """Frames of the solved trial."""
        return int(self.record["frames"])

    @property
    def rms_mm(self) -> float:
        """Root mean square distance of the model's markers from the recorded ones, mm."""
        return float(self.record["rms_mm"])

    @property
    def worst_frame_rms_mm(self) -> float:
        """The same of the frame that is fitted worst."""
        return float(self.record["worst_frame_rms_mm"])

    @property
    def worst_markers(self) -> list[tuple[str, float]]:
        """Markers that are fitted worst, and their distance, mm."""
        return [(name, self.record["marker_rms_mm"][name]) for name in self.record["worst_markers"]]


def session_copy(session: Session, out: Path) -> Path:
    """Copy what labelling needs of a session below `out` and return the copy's folder.

    Raises
    ------
    SessionError
        If that would be the session itself.

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
    session: Session,
    folder: Path,
    *,
    trials: str = "*",
    up: Up | None = None,
    again: bool = False,
    solver: Solver = "fast",
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
            requests.append(
                MarkerRequest(session.name, trial.name, session.model_path, trial.markers_path, to, up, solver)
            )
    return requests, others


def solve_marker_trials(requests: Iterable[MarkerRequest], *, jobs: int | None = None) -> Iterator[MarkerOutcome]:
    """Solve trials in other processes, those of one model together, and yield outcomes as they come.

    Trials that were solved before from the same files are kept. Where a process fails with several trials in hand, each
    of them is tried again alone.
    """
    waiting = []
    for request in requests:
        record = _finished(request)
        if record is None:
            waiting.append(request)
        else:
            yield MarkerOutcome(request.session, request.trial, KEPT, "solved before from the same files.", record)
    for outcomes in as_they_come(_solved, _batches(waiting, jobs or os.cpu_count() or 1), jobs):
        yield from outcomes


def _batches(requests: Iterable[MarkerRequest], jobs: int) -> list[list[MarkerRequest]]:
    """Requests of one model and solver, in batches that occupy all jobs; alone where OpenSim solves."""
    groups: dict[tuple[Path, Solver], list[MarkerRequest]] = {}
    for request in requests:
        groups.setdefault((request.model, request.solver), []).append(request)
    shares = max(1, -(-jobs // max(1, len(groups))))
    batches = []
    for (_, solver), group in groups.items():
        size = 1 if solver == "opensim" else min(TOGETHER, -(-len(group) // shares))
        batches += [group[i : i + size] for i in range(0, len(group), size)]
    return batches


def solve_together(requests: Sequence[MarkerRequest]) -> list[tuple[str, Any]]:
    """Solve trials of one model and write <trial>.mot, <trial>_marker_errors.csv and, last, <trial>_ik.json of each.

    Returns
    -------
    For each trial SOLVED with what <trial>_ik.json holds, or FAILED with one sentence; nothing is written of those.

    """
    started = clock.perf_counter()
    try:
        model = load(requests[0].model)
    except ModelError as error:
        return [(FAILED, str(error))] * len(requests)
    read = [_or_error(request.read_markers) for request in requests]
    trials = [markers for markers in read if isinstance(markers, Markers)]
    try:
        if requests[0].solver == "opensim":
            fits = [_or_error(inverse_kinematics, model, markers, solver="opensim") for markers in trials]
        else:
            fits = list(inverse_kinematics_of_trials(model, trials, compiled=compile_skeleton(model.path)))
    except ModelError as error:
        return [(FAILED, str(error))] * len(requests)
    in_turn = iter(fits)
    results: list[tuple[str, Any]] = []
    for request, markers in zip(requests, read, strict=True):
        fit = next(in_turn) if isinstance(markers, Markers) else markers
        if isinstance(fit, MarkerFit):
            seconds = (clock.perf_counter() - started) / len(requests)
            record = _or_error(_write, request, model, fit, seconds)
            results.append((SOLVED, record) if isinstance(record, dict) else (FAILED, str(record)))
        else:
            results.append((FAILED, str(fit)))
    return results


def _or_error(work: Callable[..., Done], *arguments: Any, **named: Any) -> Done | Exception:
    try:
        return work(*arguments, **named)
    except FILE_ERRORS as error:
        return error


def _write(request: MarkerRequest, model: OsimModel, fit: MarkerFit, seconds: float) -> dict[str, Any]:
    record = {
        "format": FORMAT,
        "session": request.session,
        "trial": request.trial,
        "solver": request.solver,
        "frames": fit.motion.frames,
        "frames_failed": int(fit.failed.sum()),
        "markers": {mine: theirs for mine, theirs in fit.match.pairs if mine in fit.markers},
        "rms_mm": 1e3 * fit.rms_m,
        "worst_frame_rms_mm": 1e3 * float(np.nanmax(fit.frame_rms_m)),
        "marker_rms_mm": {name: 1e3 * rms for name, rms in fit.marker_rms_m.items() if np.isfinite(rms)},
        "worst_markers": list(fit.marker_rms_m)[:5],
        "undetermined": list(fit.undetermined),
        "notes": list(fit.notes),
        "provenance": provenance(
            opensim=opensim_version(),
            seconds=round(seconds, 3),
            fingerprint=request.fingerprint(),
        ),
    }
    request.folder.mkdir(parents=True, exist_ok=True)
    write_marker_fit(fit, model, request.motion_path, request.folder / f"{request.trial}_marker_errors.csv")
    write_whole(request.record_path, json.dumps(record, indent=1) + "\n")
    return record


def write_summary(path: Path, outcomes: Iterable[MarkerOutcome]) -> None:
    """Write a table of outcomes: one row per trial with its errors in mm."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for o in sorted(outcomes, key=lambda o: (o.session, o.trial)):
        errors: list[object] = [""] * 5
        if o.record:
            worst, worst_mm = o.worst_markers[0]
            errors = [o.frames, f"{o.rms_mm:.2f}", f"{o.worst_frame_rms_mm:.2f}", worst, f"{worst_mm:.2f}"]
        table.writerow([o.session, o.trial, o.status, *errors, o.reason])
    write_whole(path, text.getvalue())


def in_a_process(task: Callable[[Any], Any], argument: Any) -> tuple[str, Any]:
    """Run a function of this package in another process, where OpenSim may leak or crash.

    Returns
    -------
    SOLVED with what it returned, or FAILED or LOST with one sentence.

    """
    try:
        return SOLVED, alone(_quietly, task, argument, errors=FILE_ERRORS)
    except FILE_ERRORS as error:
        return FAILED, str(error)
    except ProcessLostError as error:
        return LOST, f"{error}."


def _quietly(task: Callable[[Any], Any], argument: Any) -> Any:
    only_errors()
    return task(argument)


def _solved(requests: list[MarkerRequest]) -> list[MarkerOutcome]:
    status, content = in_a_process(solve_together, requests)
    if status != SOLVED and len(requests) > 1:
        return [outcome for request in requests for outcome in _solved([request])]
    results = content if status == SOLVED else [(FAILED, f"{r.markers}: {content}") for r in requests]
    return [
        MarkerOutcome(r.session, r.trial, SOLVED, " ".join(content["notes"]), content)
        if status == SOLVED
        else MarkerOutcome(r.session, r.trial, FAILED, str(content), {})
        for r, (status, content) in zip(requests, results, strict=True)
    ]


def _finished(request: MarkerRequest) -> dict[str, Any] | None:
    try:
        record = read_json(request.record_path)
        same = record["format"] == FORMAT and record["provenance"]["fingerprint"] == request.fingerprint()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if same and request.motion_path.is_file() else None
