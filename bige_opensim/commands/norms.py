"""What is usual among labelled people: `bige norms`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from bige_opensim.commands.display import console, fail


def norms(
    labels: Path,
    /,
    *,
    out: Path,
    sessions: Annotated[tuple[Path, ...], Parameter(negative=())] = (),
    movement: Literal["auto", "squat", "sit-to-stand", "lunge", "jump", "gait"] = "auto",
    trials: str = "*",
    include_failed: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Make norms of labelled people by movement: reference intervals, symmetry, minimal detectable change.

    Parameters
    ----------
    labels
        Folder with labelled trials at any depth.
    out
        File to write: norms.json for `bige report --norms`, or a table (.csv).
    sessions
        Session folders, or folders of them, whose metadata says sex and age. May be repeated.
    movement
        Movement to take; by default that of each trial.
    trials
        Pattern of trial names to take, such as "squat*".
    include_failed
        Use trials that failed quality gates too.

    """
    from bige_opensim.io.opencap import SessionError
    from bige_opensim.io.storage import StorageError
    from bige_opensim.validation.norms_files import NormsError
    from bige_opensim.workflows.norms import norms as run

    try:
        made = run(labels, sessions=sessions, movement=movement, trials=trials, include_failed=include_failed)
        made.save(out)
    except (NormsError, SessionError, StorageError) as error:
        return fail(str(error))
    for reason in made.left_out:
        console.print(f"left out: {reason}", markup=False, highlight=False, soft_wrap=True)
    for name, content in made.movements.items():
        for group in content["groups"]:
            who = " ".join(str(x) for x in (group["sex"], group["age"]) if x) or "all"
            console.print(
                f"{name}, {who}: {group['people']} people, {group['repetitions']} repetitions", highlight=False
            )
    console.print(f"See {out}.", markup=False, highlight=False, soft_wrap=True)
    return 0
