"""What is installed, and what is wrong with files: `bige info`, `bige doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

import bige_opensim
from bige_opensim.commands.display import Steps, console, fail


def info(*, clear_cache: bool = False) -> None:
    """Print versions, devices, and what the cache of compiled models takes.

    Parameters
    ----------
    clear_cache
        Empty the cache first. Nothing is lost but time: models are compiled again when they are needed.

    """
    import importlib.metadata
    import platform

    import torch

    from bige_opensim.io import cache

    removed = cache.clear_cache() if clear_cache else None
    table = Table(show_header=False)
    table.add_row("bige_opensim", bige_opensim.__version__)
    table.add_row("python", platform.python_version())
    try:
        from bige_opensim.osim.model import opensim_version

        table.add_row("opensim", opensim_version())
    except ImportError:
        table.add_row("opensim", "not installed: labelling and validation are not available, training and search are")
    for name in ("torch", "numpy", "scipy", "xarray", "cyclopts"):
        table.add_row(name, importlib.metadata.version(name))
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["cpu"]
    table.add_row("devices", ", ".join(devices))
    use = cache.cache_use()
    table.add_row(
        "cache", f"{use.entries} entries, {_megabytes(use.size)} of at most {_megabytes(cache.cache_limit())}"
    )
    table.add_row("", str(cache.cache_folder()))
    console.print(table)
    if removed is not None:
        console.print(f"{removed.entries} entries of the cache removed, {_megabytes(removed.size)}", highlight=False)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def doctor(
    paths: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    model: Path | None = None,
    json: Path | None = None,
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
        Also write the findings to this file.
    fix
        New folder for repaired copies and a log of what was changed; the originals stay as they are.

    """
    from bige_opensim.doctor.findings import DoctorError
    from bige_opensim.workflows.doctor import doctor as run

    try:
        found = run(paths, model=model, findings_file=json, fix=fix, show=Steps)
    except DoctorError as error:
        return fail(str(error))
    if fix is not None:
        console.print(f"{found.copies} repaired copies in {fix}; see {found.repaired}", highlight=False)
    console.print(found.summary, highlight=False)
    return 0 if found.healthy else 1
