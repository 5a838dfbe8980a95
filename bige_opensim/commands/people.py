"""People to work with: synthetic ones by `bige synth`, a model scaled to a person by `bige scale`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bige_opensim.commands.display import Steps, console, fail


def synth(
    *,
    subjects: int,
    out: Path,
    reps: int = 4,
    seed: int = 0,
    noise: float = 0.0,
    movement: str = "squat",
    model: Path | None = None,
    jobs: int | None = None,
) -> int:
    """Make sessions of synthetic people who move: a scaled model and a motion with planted feet each.

    Parameters
    ----------
    subjects
        How many people.
    out
        Folder for the sessions.
    reps
        Repetitions of each person.
    seed
        The same seed makes the same people.
    noise
        Standard deviation of noise on every coordinate, degrees (and 2 mm per degree), as of a sensor.
    movement
        squat, countermovement (a squat that turns at the bottom), sit-to-stand, or lunge (split squats, right leg in
        front).
    model
        Generic full-body model to scale; by default the one that comes with the package.
    jobs
        People at once; by default one per processor core.

    """
    from bige_opensim.osim.anthropometric_scaling import ScalingError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.settings import SettingError
    from bige_opensim.synthesis.sessions import CohortSettings, SynthesisError
    from bige_opensim.workflows.people import make_people

    try:
        make_people(out, CohortSettings(subjects, reps, seed, noise, movement), model=model, jobs=jobs, show=Steps)
    except (SynthesisError, ScalingError, ModelError, SettingError) as error:
        return fail(str(error))
    console.print(f"{subjects} synthetic people in {out}", highlight=False)
    return 0


def scale(
    model: Path,
    /,
    *,
    out: Path,
    mass: float,
    height: float | None = None,
    segment: Annotated[list[str] | None, Parameter(negative=())] = None,
) -> int:
    """Scale a model to a person's height and mass, muscle strength with them.

    Parameters
    ----------
    model
        The model to scale (.osim), such as osim_models/fullbody80.osim.
    out
        The model file to write.
    mass
        Mass, kg.
    height
        Standing height, m; without it all lengths stay as they are, as for a model that was scaled to markers.
    segment
        Proportion of a body, such as femur=1.05 or pelvis=1,1,1.1 (along x, y, z); the height is kept. May be repeated.

    """
    from bige_opensim.osim.anthropometric_scaling import ScalingError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.workflows.people import scale as run
    from bige_opensim.workflows.people import scaling_line

    try:
        done = run(model, out=out, height_m=height, mass_kg=mass, segments=segment or ())
    except (ScalingError, ModelError) as error:
        return fail(str(error))
    console.print(scaling_line(done), markup=False, highlight=False, soft_wrap=True)
    return 0
