"""People to work with: synthetic ones where there are no recordings, and a model scaled to a person."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.osim.anthropometric_scaling import Scaling, read_segment_scales, scale_model
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.synthesis.movements import MOVEMENTS
from bige_opensim.synthesis.sessions import CohortSettings, PersonMade, make_cohort
from bige_opensim.workflows.progress import Show, Silent


def make_people(
    out: Path, settings: CohortSettings, *, model: Path | None = None, jobs: int | None = None, show: Show = Silent
) -> list[PersonMade]:
    """Make sessions of synthetic people, on the package's model by default; errors as `make_cohort`."""
    made = []
    with show(settings.subjects, "people") as steps:
        for person in make_cohort(out, model or built_in(MODEL), settings, jobs=jobs):
            made.append(person)
            steps.finish(person_line(person))
    return made


def person_line(made: PersonMade) -> str:
    """Who was made, in one line."""
    person, movement = made.record["person"], made.record.get("movement", "squat")
    repetitions = made.record[MOVEMENTS[movement].repetitions]
    about = f"{person['sex']}, {person['height_m']:.2f} m, {person['mass_kg']:.0f} kg"
    done = f"{len(repetitions)} {MOVEMENTS[movement].plural}"
    if movement == "squat":
        deepest = math.degrees(max(s["depth"] for s in repetitions))
        done = f"{len(repetitions)} squats to {deepest:.0f} degrees of the knees"
    return f"{made.name}: {made.status}. {about}, {done}"


@quiet_opensim()
def scale(
    model: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    mass_kg: float,
    height_m: float | None = None,
    segments: Mapping[str, float | Sequence[float]] | Sequence[str] = (),
) -> Scaling:
    """Write a copy of a model that has a person's height, mass and proportions, muscle strength with them.

    Parameters
    ----------
    model
        The model to scale (.osim).
    out
        The model file to write.
    mass_kg
        Mass of the person, kg.
    height_m
        Standing height, m; without it all lengths stay as they are, as for a model that was scaled to markers.
    segments
        Proportions of bodies as a dictionary, such as {"femur": 1.05, "pelvis": (1, 1, 1.1)} (along x, y, z), or in
        words, such as "femur=1.05"; the height is kept.

    Returns
    -------
    Scaling
        The file, and what was done.

    Raises
    ------
    ScalingError
        A number is not positive, a body is unknown, or `out` cannot be written.
    ModelError
        The model is missing or cannot be read.

    """
    proportions = segments if isinstance(segments, Mapping) else read_segment_scales(segments)
    return scale_model(Path(model), Path(out), height_m=height_m, mass_kg=mass_kg, segment_scales=proportions)


def scaling_line(done: Scaling) -> str:
    """What was done to a model, in one line."""
    return (
        f"{done.path}: {done.source_height_m:.3f} m, {done.source_mass_kg:.1f} kg -> {done.height_m:.3f} m, "
        f"{done.mass_kg:.1f} kg; muscle volume x {done.muscle_volume:.3f}"
    )
