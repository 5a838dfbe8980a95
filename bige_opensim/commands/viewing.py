"""Motions to look at: `bige view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bige_opensim.commands.display import console, fail


def view(
    paths: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    html: Path | None = None,
    model: Path | None = None,
    geometry: Path | None = None,
    overlaid: Annotated[bool, Parameter(negative=())] = False,
    port: int = 8080,
    open_browser: Annotated[bool, Parameter(name="--open")] = True,
) -> int:
    """Show motions in a browser: bodies, muscles by activation, ground forces, balance, and curves.

    Parameters
    ----------
    paths
        Labelled trials, folders of them, folders of generated motions, or plain motions (.mot, .sto).
    html
        Write one offline HTML file to mail, and open nothing.
    model
        Model of plain motions, and of labels that came without theirs.
    geometry
        Folder with the meshes that the model names, such as OpenSim's Geometry.
    overlaid
        All motions in one place, instead of side by side.
    port
        Port on this machine, which others cannot reach; where it is taken, one that is free.
    open_browser
        Open a browser; --no-open only says where the view is.

    """
    from bige_opensim.guidance.language import ObjectiveError
    from bige_opensim.io.storage import StorageError
    from bige_opensim.labelling.label import LabelError
    from bige_opensim.motion import MotionError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.validation.roundtrip import ValidationError
    from bige_opensim.viewer.live import LiveView
    from bige_opensim.viewer.sources import ViewError
    from bige_opensim.workflows.view import view as run

    try:
        shown = run(
            paths, html, model=model, geometry=geometry, overlaid=overlaid, port=port, open_browser=open_browser
        )
    except (ViewError, LabelError, StorageError, ModelError, MotionError, ObjectiveError, ValidationError) as error:
        return fail(str(error))
    if not isinstance(shown, LiveView):
        console.print(f"{shown}: open it in a browser", markup=False, highlight=False, soft_wrap=True)
        return 0
    console.print(f"{shown.url}: the view, for this machine alone; Ctrl+C ends it", highlight=False)
    shown.wait()
    return 0
