"""The smallest change of a recorded motion that meets an objective: `bige edit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bige_opensim.commands.display import Steps, console, fail

if TYPE_CHECKING:
    from bige_opensim.guidance.edited import Edited

DOSES = "doses.csv"


def edit(
    motion: Path,
    /,
    *,
    model: Path,
    objective: str,
    out: Path,
    start: float | None = None,
    end: float | None = None,
    repetition: int | None = None,
    strength: Annotated[list[str] | None, Parameter(negative=())] = None,
    limit: Annotated[list[str] | None, Parameter(negative=())] = None,
    load: Annotated[list[str] | None, Parameter(negative=())] = None,
    sweep: tuple[str, float, float, int] | None = None,
    steps: int = 120,
) -> int:
    """Change a person's own recorded repetition as little as it takes to meet an objective.

    Parameters
    ----------
    motion
        Recorded coordinates (.mot, .sto) of squats, or of another movement on two planted feet.
    model
        The person's model.
    objective
        Objective file (TOML), or the name of one that comes with the package (`bige objective list`).
    out
        Folder for the edited motion, as `bige generate` writes it, with the recorded one beside.
    start, end
        The part of the recording, in seconds; by default the first squat that passes its own gates.
    repetition
        Number of the squat, from 1, instead.
    strength
        How strong the person's muscles are, as MUSCLE=FACTOR of the model's: vas*_r=0.7. Names, patterns or groups.
    limit
        How far a joint goes without pain, as COORDINATE=LOW..HIGH in degrees or metres: knee_angle_r=0..90.
    load
        What the person carried, as MASSkg@BODY: 60kg@torso is a bar on the back, 20kg@hands, 10kg@hand_r.
    sweep
        A dose-response series: a term of the objective, its first and last value, and how many: TERM 0.2 0.6 5.
    steps
        Most simulations per edit, of a second or two each.

    """
    from bige_opensim.guidance.generated import GenerationError, require_free
    from bige_opensim.guidance.language import ObjectiveError
    from bige_opensim.io.storage import StorageError
    from bige_opensim.motion import MotionError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.physics.carried_loads import CarriedLoadError
    from bige_opensim.settings import SettingError
    from bige_opensim.workflows.edit import EditError, edit_series
    from bige_opensim.workflows.edit import edit as run
    from bige_opensim.workflows.personal import PersonError, parse_person
    from bige_opensim.workflows.simulated_motions import SimulationError

    try:
        person = parse_person(strength or [], limit or [], load or [])
        about: dict[str, Any] = {
            "model": model, "objective": objective, "start": start, "end": end, "repetition": repetition,
            "strength": person.strength, "limits": person.limits, "load": load, "steps": steps, "show": Steps,
        }  # fmt: skip
        if sweep is None:
            require_free(out)
            found = run(motion, **about)
            found.save(out)
            return _told(found, out)
        term, first, last, count = sweep
        folders = [out / f"dose_{i + 1:02d}" for i in range(count)]
        for folder in folders:
            require_free(folder)
        doses = edit_series(motion, term=term, values=_between(first, last, count), **about)
        for each, folder in zip(doses, folders, strict=True):
            each.save(folder)
    except (GenerationError, ObjectiveError, StorageError, MotionError) as error:
        return fail(str(error))
    except (CarriedLoadError, ModelError, SettingError, EditError, PersonError, SimulationError) as error:
        return fail(str(error))
    return _series(doses, folders, out)


def _between(first: float, last: float, count: int) -> list[float]:
    from bige_opensim.workflows.edit import EditError

    if count < 2:
        raise EditError(f"a series of {count} values; at least two are needed.")
    return [first + (last - first) * i / (count - 1) for i in range(count)]


def _told(found: Edited, out: Path) -> int:
    record = found.record
    entry, before = record["motions"][0], record["edit"]["recorded"]
    lines = [
        f"{name}: {before[name]:.3g} as recorded, {entry['predicted'][name]:.3g} now ({target})"
        for name, target in record["terms"].items()
    ]
    verdict = "meets" if found.satisfied else "does not meet"
    lines += [*found.changes, *found.conflicts, *record["notes"]]
    lines.append(f"The edited motion {verdict} the objective as predicted; `bige validate {out}` asks OpenSim.")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def _series(doses: list[Edited], folders: list[Path], out: Path) -> int:
    """One table of all doses: every term, the size of the change, and whether it is met."""
    import pandas as pd

    rows = [
        {
            "folder": folder.name,
            "met": bool(dose.satisfied),
            "change": dose.record["edit"]["size"],
            "duration_s": dose.record["motions"][0]["duration_s"],
            **dose.record["motions"][0]["predicted"],
        }
        for dose, folder in zip(doses, folders, strict=True)
    ]
    table = pd.DataFrame(rows).set_index("folder")
    table.to_csv(out / DOSES)
    console.print(table.round(3).to_string(), markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{out / DOSES}; `bige validate` of each folder asks OpenSim.", markup=False, highlight=False, soft_wrap=True
    )
    return 0
