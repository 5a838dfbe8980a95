"""Coordinates of trials that have markers only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from bige_opensim.io.c3d import Up
from bige_opensim.io.opencap import find_sessions
from bige_opensim.osim.inverse_kinematics import Solver
from bige_opensim.sessions.marker_trials import (
    FAILED,
    SUMMARY,
    MarkerOutcome,
    MarkerRequest,
    marker_requests,
    session_copy,
    solve_marker_trials,
    write_summary,
)
from bige_opensim.settings import SettingError, one_of
from bige_opensim.workflows.label_sessions import paths_of
from bige_opensim.workflows.progress import Show, Silent

if TYPE_CHECKING:
    import pandas as pd

WELL_FITTED_MM = 25.0
"""Root mean square distance of markers up to which a trial counts as well fitted."""


@dataclass(frozen=True)
class MarkerTrials:
    """What became of trials with markers; their coordinates are in their sessions.

    Attributes
    ----------
    outcomes
        Of every trial, in the order in which they were done.

    """

    outcomes: tuple[MarkerOutcome, ...]

    @property
    def solved(self) -> tuple[MarkerOutcome, ...]:
        """Trials with coordinates from their markers, made now or before."""
        return tuple(o for o in self.outcomes if o.solved)

    @property
    def failed(self) -> tuple[MarkerOutcome, ...]:
        """Trials that could not be solved; `reason` says why."""
        return tuple(o for o in self.outcomes if o.status == FAILED)

    @property
    def well_fitted(self) -> tuple[MarkerOutcome, ...]:
        """Solved trials whose markers are met within `WELL_FITTED_MM`."""
        return tuple(o for o in self.solved if o.rms_mm <= WELL_FITTED_MM)

    def to_frame(self) -> pd.DataFrame:
        """A row per trial: status, reason, frames, and errors in mm where it was solved."""
        import pandas as pd

        columns = ["session", "trial", "status", "reason", "frames", "rms_mm", "worst_frame_rms_mm"]
        rows = [
            (o.session, o.trial, o.status, o.reason, *((o.frames, o.rms_mm, o.worst_frame_rms_mm) if o.solved else ()))
            for o in self.outcomes
        ]
        padded = [(*row, *[None] * (len(columns) - len(row))) for row in rows]
        return pd.DataFrame(padded, columns=columns).set_index(["session", "trial"])


def inverse_kinematics(
    sessions: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    into_sessions: bool = False,
    trials: str = "*",
    up: Up | None = None,
    solver: Solver = "fast",
    jobs: int | None = None,
    show: Show = Silent,
) -> MarkerTrials:
    """Find coordinates for the trials of sessions that have markers only, and write them as OpenCap would.

    Parameters
    ----------
    sessions
        OpenCap session folders with a scaled model, or folders of them.
    out
        Folder for copies of the sessions, in which the coordinates are written, and for a table of errors.
    into_sessions
        Write the coordinates into the sessions themselves instead.
    trials
        Pattern of trial names to take, such as "squat*".
    up
        Axis of the markers that points up; by default what a .c3d file says, and y of a .trc file.
    solver
        "fast" solves all trials of a model at once, to convergence; "opensim" is OpenSim's own solver, frame by frame.
    jobs
        Processes at once; by default one per processor core.
    show
        How progress is shown; by default not at all.

    Returns
    -------
    MarkerTrials
        What became of every trial. One that cannot be solved costs only itself.

    Raises
    ------
    SettingError
        Neither or both of `out` and `into_sessions`, or a setting that is none of its values.
    SessionError
        There are no sessions in the folders, or a copy would be the session itself.

    """
    if (out is None) == (not into_sessions):
        raise SettingError(
            "Name out (--out) for copies of the sessions, or into_sessions (--into-sessions): one of them."
        )
    one_of("solver", solver, get_args(Solver))
    if up is not None:
        one_of("up", up, get_args(Up))
    requests: list[MarkerRequest] = []
    others: list[MarkerOutcome] = []
    for session in find_sessions(paths_of(sessions)):
        folder = session.path if out is None else session_copy(session, Path(out))
        mine, left = marker_requests(session, folder, trials=trials, up=up, solver=solver)
        requests, others = requests + mine, others + left
    return solved_trials(requests, others, None if out is None else Path(out) / SUMMARY, jobs=jobs, show=show)


def solved_trials(
    requests: Sequence[MarkerRequest],
    others: Iterable[MarkerOutcome],
    table: Path | None,
    *,
    jobs: int | None = None,
    show: Show = Silent,
) -> MarkerTrials:
    """Solve trials with progress, beside `others` that need it not, and write the table of their errors."""
    outcomes = list(others)
    with show(len(requests) + len(outcomes), "inverse kinematics") as steps:
        for outcome in outcomes:
            steps.finish(f"{outcome.session}/{outcome.trial}: {outcome.status}, {outcome.reason}")
        for outcome in solve_marker_trials(requests, jobs=jobs):
            outcomes.append(outcome)
            rms = f" RMS {outcome.rms_mm:.1f} mm." if outcome.solved else ""
            steps.finish(f"{outcome.session}/{outcome.trial}: {outcome.status}.{rms} {outcome.reason}")
    if table is not None:
        write_summary(table, outcomes)
    return MarkerTrials(tuple(outcomes))
