"""Coordinates of trials that have markers only: `bige ik`, `bige import ui-prmd`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.table import Table

from bige_opensim.commands.display import Steps, console, fail


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
    from bige_opensim.io.opencap import SessionError, find_sessions
    from bige_opensim.sessions import marker_trials as run

    if (out is None) == (not into_sessions):
        return fail("Name --out for copies of the sessions, or --into-sessions to write into them.")
    requests: list[run.MarkerRequest] = []
    outcomes: list[run.MarkerOutcome] = []
    try:
        for session in find_sessions(sessions):
            folder = session.path if out is None else run.session_copy(session, out)
            mine, others = run.marker_requests(session, folder, trials=trials, up=up, solver=solver)
            requests, outcomes = requests + mine, outcomes + others
    except SessionError as error:
        return fail(str(error))
    return _solve_markers(requests, outcomes, out, jobs)


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
    from bige_opensim.io.opencap import find_sessions
    from bige_opensim.io.ui_prmd import UiPrmdError, find_clips
    from bige_opensim.sessions import marker_trials as run
    from bige_opensim.sessions.ui_prmd_sessions import make_sessions, people

    try:
        people_found = people(find_clips(raw, movement), model, out)
    except UiPrmdError as error:
        return fail(str(error))
    made = []
    with Steps(len(people_found), "people") as steps:
        for person in make_sessions(people_found, jobs=jobs):
            about = (
                f" {person.record['height_m']:.2f} m, {person.record['mass_kg']:.0f} kg (estimated)."
                if person.record
                else ""
            )
            steps.finish(f"{person.subject}: {person.status}.{about} {person.reason}")
            made += [p.folder for p in people_found if p.subject == person.subject and person.record]
    if not made:
        return 1
    requests: list[run.MarkerRequest] = []
    for session in find_sessions(sorted(made)):
        requests += run.marker_requests(session, session.path, again=True)[0]
    return _solve_markers(requests, [], out, jobs)


def _solve_markers(requests: list[Any], others: list[Any], out: Path | None, jobs: int | None) -> int:
    """Solve trials with progress, write and print the table of their errors, and return the exit status."""
    from bige_opensim.sessions import marker_trials as run

    outcomes = list(others)
    with Steps(len(requests) + len(others), "inverse kinematics") as steps:
        for outcome in others:
            steps.finish(f"{outcome.session}/{outcome.trial}: {outcome.status}, {outcome.reason}")
        for outcome in run.solve_marker_trials(requests, jobs=jobs):
            outcomes.append(outcome)
            errors_mm = f" RMS {outcome.record['rms_mm']:.1f} mm." if outcome.record else ""
            steps.finish(f"{outcome.session}/{outcome.trial}: {outcome.status}.{errors_mm} {outcome.reason}")
    if out is not None:
        run.write_summary(out / run.SUMMARY, outcomes)
    _print_marker_errors([o for o in outcomes if o.record])
    return 1 if any(o.status == run.FAILED for o in outcomes) or not outcomes else 0


def _print_marker_errors(outcomes: list[Any]) -> None:
    table = Table("session", "trial", "frames", "RMS mm", "worst frame mm", "worst markers mm")
    for o in outcomes:
        worst = ", ".join(f"{m} {o.record['marker_rms_mm'][m]:.0f}" for m in o.record["worst_markers"][:3])
        numbers = (f"{o.record[key]:.1f}" for key in ("rms_mm", "worst_frame_rms_mm"))
        table.add_row(o.session, o.trial, str(o.record["frames"]), *numbers, worst)
    if outcomes:
        console.print(table)
        within = sum(o.record["rms_mm"] <= 25.0 for o in outcomes)
        console.print(f"{within} of {len(outcomes)} trials are fitted within 25 mm RMS.", highlight=False)
