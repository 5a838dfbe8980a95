"""Synthetic people, where there are no recordings."""

from __future__ import annotations

import math
from pathlib import Path

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.synthesis.sessions import CohortSettings, PersonMade, make_cohort
from bige_opensim.workflows.progress import Show, Silent


def make_people(
    out: Path, settings: CohortSettings, *, model: Path | None = None, jobs: int | None = None, show: Show = Silent
) -> list[PersonMade]:
    """Make sessions of synthetic people who squat, on the package's model by default; errors as `make_cohort`."""
    made = []
    with show(settings.subjects, "people") as steps:
        for person in make_cohort(out, model or built_in(MODEL), settings, jobs=jobs):
            made.append(person)
            steps.finish(person_line(person))
    return made


def person_line(made: PersonMade) -> str:
    """Who was made, in one line."""
    person, squats = made.record["person"], made.record["squats"]
    deepest = math.degrees(max(s["depth"] for s in squats))
    about = f"{person['sex']}, {person['height_m']:.2f} m, {person['mass_kg']:.0f} kg"
    return f"{made.name}: {made.status}. {about}, {len(squats)} squats to {deepest:.0f} degrees of the knees"
