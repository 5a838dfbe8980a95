"""Motions to look at, live in a browser or as one file to mail."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bige_opensim.guidance.generated import Generated
from bige_opensim.io.storage import write_whole
from bige_opensim.labelling.label import Label
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.viewer.live import LiveView
from bige_opensim.viewer.page import as_html
from bige_opensim.viewer.sources import MotionSource, MotionSources, ViewError
from bige_opensim.viewer.take import DrawnPerson, Take, take

Seen = Label | Generated | str | os.PathLike[str]

LIVE_HZ, FILE_HZ = 60.0, 30.0
"""Frames a second of the live view and of files, which are to stay small."""


def view(
    found: Seen | Iterable[Seen],
    html: str | os.PathLike[str] | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
    geometry: str | os.PathLike[str] | None = None,
    overlaid: bool = False,
    port: int = 8080,
    open_browser: bool = True,
) -> LiveView | Path:
    """Show motions: bodies, muscles coloured by activation, ground forces, the mass centre over its base of support.

    Parameters
    ----------
    found
        A label, what `generate` returned, the folder of either, a folder of labels, a motion (.mot, .sto), or several
        of these.
    html
        A file to write instead of opening a browser: one page that needs nothing beside it, to be mailed.
    model
        The model of plain motions, and of labels that came without theirs; a motion in an OpenCap session has that of
        its session.
    geometry
        Folder with the meshes that the model names (OpenSim's `Geometry`); without it, bones are drawn from the
        model's joints and lengths.
    overlaid
        All motions in one place, to be compared, instead of side by side.
    port
        Port of the live view on this machine; where it is taken, one that is free.
    open_browser
        Whether to open the live view in a browser.

    Returns
    -------
    LiveView or Path
        The live view, until its `stop()`; a script that would end then waits with `wait()`. With `html`, the file.

    Raises
    ------
    ViewError
        There is nothing to be seen, the model of a motion is not known, or a folder does not exist.
    LabelError, StorageError, ModelError, MotionError, ObjectiveError
        Files cannot be read.

    Notes
    -----
    Muscles are drawn through their path points. Where a path wraps around a bone, the line is straight, and may pass
    through it; lengths and moment arms are computed with the wraps all the same.

    """
    if html is not None and not Path(html).absolute().parent.is_dir():
        raise ViewError(f"{html}: the folder {Path(html).absolute().parent} does not exist; create it first.")
    takes = takes_of(found, FILE_HZ if html is not None else LIVE_HZ, model=model, geometry=geometry)
    if html is not None:
        write_whole(Path(html), as_html(takes, overlaid=overlaid, title=title_of(takes)))
        return Path(html)
    live = LiveView(as_html(takes, overlaid=overlaid, title=title_of(takes)), port)
    if open_browser:
        webbrowser.open(live.url)
    return live


@quiet_opensim()
def takes_of(
    found: Seen | Iterable[Seen],
    rate_hz: float,
    *,
    model: str | os.PathLike[str] | None = None,
    geometry: str | os.PathLike[str] | None = None,
) -> list[Take]:
    """Everything that is to be shown, at the display's rate; errors as `view`."""
    folders = _geometry(geometry)
    sources = MotionSources(None if model is None else Path(model))
    persons: dict[Path, DrawnPerson] = {}
    takes = []
    try:
        for item in _listed(found):
            for source in _sources(sources, item):
                if source.model not in persons:
                    beside = source.model.absolute().parent / "Geometry"
                    persons[source.model] = DrawnPerson.of(
                        source.model, [*folders, *([beside] if beside.is_dir() else [])]
                    )
                takes.append(take(source.recorded, persons[source.model], rate_hz))
    finally:
        sources.close()
    return told_apart(takes)


def told_apart(takes: Sequence[Take]) -> list[Take]:
    """With a number behind titles that several takes have."""
    titles = [take.title for take in takes]
    again = [titles[: i + 1].count(title) for i, title in enumerate(titles)]
    return [
        replace(take, title=f"{take.title} ({n})") if titles.count(take.title) > 1 else take
        for take, n in zip(takes, again, strict=True)
    ]


def title_of(takes: Sequence[Take]) -> str:
    """What stands above a view."""
    return takes[0].title if len(takes) == 1 else f"{len(takes)} motions"


def _listed(found: Seen | Iterable[Seen]) -> list[Seen]:
    several = [found] if isinstance(found, Label | Generated | str | os.PathLike) else list(found)
    if not several:
        raise ViewError("There is nothing to be seen: name a label, generated motions, or their files.")
    return several


def _sources(sources: MotionSources, item: Seen) -> Iterable[MotionSource]:
    if isinstance(item, Label):
        return [sources.of_label(item)]
    return sources.of_path(item.folder if isinstance(item, Generated) else Path(item))


def _geometry(given: str | os.PathLike[str] | None) -> list[Path]:
    """The folder that was given, and that of an OpenSim that is installed beside ($OPENSIM_HOME/Geometry)."""
    if given is not None and not Path(given).is_dir():
        raise ViewError(f"{given}: no such folder of geometry; name OpenSim's Geometry folder, or leave it out.")
    home = os.environ.get("OPENSIM_HOME")
    places = [Path(given)] if given is not None else []
    return [*places, *(p for p in [Path(home or "", "Geometry")] if home and p.is_dir())]
