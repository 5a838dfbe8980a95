"""Motions for other programs: `bige export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from bige_opensim.commands.display import Steps, console, fail


def export(
    paths: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    format: Literal["opensim", "csv", "c3d", "bvh", "mjcf"],
    out: Path | None = None,
    model: Path | None = None,
) -> int:
    """Write motions for other programs: the OpenSim GUI, tables, C3D, animation (BVH), MuJoCo (MJCF).

    Parameters
    ----------
    paths
        Labelled trials, folders of them, folders of generated motions, or plain motions (.mot, .sto).
    format
        opensim: a folder per motion for the GUI, with model, activations, forces and setups to run again. csv: tables
        with units. c3d: markers and force plates. bvh: an animation. mjcf: a model for MuJoCo and qpos.
    out
        Folder to write; by default NAME_FORMAT in the current folder, after the first path.
    model
        Model of plain motions, and of labels that came without theirs.

    """
    from bige_opensim.guidance.language import ObjectiveError
    from bige_opensim.io.c3d import C3dError
    from bige_opensim.io.partial_folders import OutFolderError
    from bige_opensim.io.storage import StorageError
    from bige_opensim.labelling.label import LabelError
    from bige_opensim.motion import MotionError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.validation.roundtrip import ValidationError
    from bige_opensim.viewer.sources import ViewError
    from bige_opensim.workflows.export import export as run

    unreadable = (LabelError, StorageError, ModelError, MotionError, ObjectiveError, ValidationError)
    target = out if out is not None else Path(f"{paths[0].absolute().stem}_{format}")
    try:
        done = run(paths, format, target, model=model, show=Steps)
    except (*unreadable, ViewError, C3dError, OutFolderError) as error:
        return fail(str(error))
    for note in done.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    count = len(done.motions)
    console.print(
        f"{count} motion{'s' * (count != 1)} as {format} in {done.folder}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0
