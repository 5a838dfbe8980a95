"""What is installed, and what is wrong with files: `bige info`, `bige doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from bige_opensim.commands.display import Steps, console, fail
from bige_opensim.commands.json_output import STANDARD_OUTPUT, JsonTarget, json_output


def info(*, clear_cache: Annotated[bool, Parameter(negative=())] = False, json: JsonTarget = None) -> int:
    """Print versions, devices, and what the cache of compiled models takes.

    Parameters
    ----------
    clear_cache
        Empty the cache first. Nothing is lost but time: models are compiled again when they are needed.
    json
        Also write all of it to this file; - for standard output.

    """
    from bige_opensim.io import cache
    from bige_opensim.io.storage import StorageError
    from bige_opensim.workflows.info import installation

    removed = cache.clear_cache() if clear_cache else None
    content = installation()
    try:
        with json_output(json) as write:
            write(content)
            console.print(_as_table(content))
            if removed is not None:
                console.print(
                    f"{removed.entries} entries of the cache removed, {_megabytes(removed.size)}", highlight=False
                )
    except StorageError as error:
        return fail(str(error))
    return 0


def _as_table(content: dict[str, Any]) -> Table:
    table, use = Table(show_header=False), content["cache"]
    without = "not installed: labelling and validation are not available, training and search are"
    for name, value in content.items():
        if isinstance(value, str) and name != "format":
            table.add_row(name, value)
        elif value is None:
            table.add_row(name, without)
    table.add_row("devices", ", ".join(content["devices"]))
    size, limit = _megabytes(use["bytes"]), _megabytes(use["limit_bytes"])
    table.add_row("cache", f"{use['entries']} entries, {size} of at most {limit}")
    table.add_row("", use["folder"])
    return table


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def doctor(
    paths: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    model: Path | None = None,
    json: JsonTarget = None,
    fix: Path | None = None,
) -> int:
    """Find faults in models, motions, markers, forces and sessions.

    Parameters
    ----------
    paths
        Files (.osim, .mot, .sto, .trc, ExternalLoads .xml), session folders, or folders of them.
    model
        Model that the motions belong to; by default the session's, or the only one in the folder.
    json
        Also write the findings to this file; - for standard output.
    fix
        New folder for repaired copies and a log of what was changed; the originals stay as they are.

    """
    from bige_opensim.doctor.findings import DoctorError, findings_content
    from bige_opensim.workflows.doctor import doctor as run

    to_file = json if json != STANDARD_OUTPUT else None
    with json_output(json if to_file is None else None) as write:
        try:
            found = run(paths, model=model, findings_file=to_file, fix=fix, show=Steps)
        except DoctorError as error:
            return fail(str(error))
        if fix is not None:
            console.print(f"{found.copies} repaired copies in {fix}; see {found.repaired}", highlight=False)
        console.print(found.summary, highlight=False)
        write(findings_content(found.findings, len(found.cases)))
    return 0 if found.healthy else 1
