"""Coordinates of trials that have markers only: `bige ik`, `bige import ui-prmd`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from bige_opensim.commands.display import Steps, console, fail

if TYPE_CHECKING:
    from bige_opensim.workflows.inverse_kinematics import MarkerTrials


def ik(
    sessions: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    out: Path | None = None,
    into_sessions: bool = False,
    trials: str = "*",
    up: Literal["x", "y", "z"] | None = None,
    solver: Literal["fast", "opensim"] = "fast",
    jobs: int | None = None,
) -> int:
    """Find coordinates for trials that have markers only, by inverse kinematics.

    Parameters
    ----------
    sessions
        OpenCap session folders with a scaled model, or folders of them.
    out
        Folder for copies of the sessions, in which the coordinates are written.
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

    """
    from bige_opensim.io.opencap import SessionError
    from bige_opensim.settings import SettingError
    from bige_opensim.workflows.inverse_kinematics import inverse_kinematics

    try:
        found = inverse_kinematics(
            sessions, out=out, into_sessions=into_sessions, trials=trials, up=up, solver=solver, jobs=jobs, show=Steps
        )
    except (SessionError, SettingError) as error:
        return fail(str(error))
    return _shown(found)


def import_ui_prmd(raw: Path, /, *, model: Path, out: Path, movement: str = "m01", jobs: int | None = None) -> int:
    """Make sessions of the UI-PRMD squats: a scaled model per person, markers, and coordinates.

    Parameters
    ----------
    raw
        Folder with the positions that Vicon recorded (m01_s01_e01_positions.txt, also gzipped), at any depth.
    model
        Generic full-body model, such as LaiUhlrich2022.osim.
    out
        Folder for the sessions.
    movement
        Movement of the data set; m01 is the deep squat.
    jobs
        People or clips at once; by default one per processor core.

    """
    from bige_opensim.io.ui_prmd import UiPrmdError
    from bige_opensim.workflows.import_ui_prmd import import_ui_prmd as run

    try:
        return _shown(run(raw, model=model, out=out, movement=movement, jobs=jobs, show=Steps).trials)
    except UiPrmdError as error:
        return fail(str(error))


def _shown(trials: MarkerTrials) -> int:
    """Print the errors of solved trials, and return the exit status."""
    from bige_opensim.workflows.inverse_kinematics import WELL_FITTED_MM

    table = Table("session", "trial", "frames", "RMS mm", "worst frame mm", "worst markers mm")
    for o in trials.solved:
        worst = ", ".join(f"{marker} {mm:.0f}" for marker, mm in o.worst_markers[:3])
        table.add_row(o.session, o.trial, str(o.frames), f"{o.rms_mm:.1f}", f"{o.worst_frame_rms_mm:.1f}", worst)
    if trials.solved:
        console.print(table)
        text = f"{len(trials.well_fitted)} of {len(trials.solved)} trials are fitted within {WELL_FITTED_MM:g} mm RMS."
        console.print(text, highlight=False)
    return 1 if trials.failed or not trials.outcomes else 0
