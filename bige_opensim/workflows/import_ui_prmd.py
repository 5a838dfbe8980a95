"""Public recordings of the UI-PRMD data set as OpenCap sessions with coordinates."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bige_opensim.io.opencap import find_sessions
from bige_opensim.io.ui_prmd import find_clips
from bige_opensim.sessions.marker_trials import SUMMARY, MarkerRequest, marker_requests
from bige_opensim.sessions.ui_prmd_sessions import PersonOutcome, make_sessions, people
from bige_opensim.workflows.inverse_kinematics import MarkerTrials, solved_trials
from bige_opensim.workflows.progress import Show, Silent


@dataclass(frozen=True)
class ImportedPeople:
    """What became of the people of a data set, and of their trials."""

    people: tuple[PersonOutcome, ...]
    trials: MarkerTrials


def import_ui_prmd(
    raw: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    movement: str = "m01",
    jobs: int | None = None,
    show: Show = Silent,
) -> ImportedPeople:
    """Make a session per person of UI-PRMD: a scaled model, markers, and coordinates.

    Parameters
    ----------
    raw
        Folder with the positions that Vicon recorded (m01_s01_e01_positions.txt, also gzipped), at any depth.
    model
        Generic full-body model, such as LaiUhlrich2022.osim.
    out
        Folder for the sessions, and for a table of the errors of inverse kinematics.
    movement
        Movement of the data set; m01 is the deep squat.
    jobs
        People or clips at once; by default one per processor core.
    show
        How progress is shown; by default not at all.

    Returns
    -------
    ImportedPeople
        What became of every person and trial. Who cannot be made costs only themselves.

    Raises
    ------
    UiPrmdError
        There are no recordings of the movement in the folder.

    """
    wanted = people(find_clips(Path(raw), movement), Path(model), Path(out))
    folders = {person.subject: person.folder for person in wanted}
    made: list[PersonOutcome] = []
    with show(len(wanted), "people") as steps:
        for person in make_sessions(wanted, jobs=jobs):
            made.append(person)
            steps.finish(person_line(person))
    there = sorted(folders[person.subject] for person in made if person.made)
    requests: list[MarkerRequest] = []
    for session in find_sessions(there) if there else []:
        requests += marker_requests(session, session.path, again=True)[0]
    table = Path(out) / SUMMARY if there else None
    return ImportedPeople(tuple(made), solved_trials(requests, (), table, jobs=jobs, show=show))


def person_line(person: PersonOutcome) -> str:
    """What became of a person, in one line."""
    about = f" {person.height_m:.2f} m, {person.mass_kg:.0f} kg (estimated)." if person.made else ""
    return f"{person.subject}: {person.status}.{about} {person.reason}"
