"""Labels and motions in the formats of other programs: the OpenSim GUI, tables, C3D, BVH, MuJoCo."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from bige_opensim.exporting.animation import write_animation
from bige_opensim.exporting.markers_and_forces import markers_of, write_markers_and_forces
from bige_opensim.exporting.mjcf import MjcfModel
from bige_opensim.exporting.opensim_bundle import write_bundle
from bige_opensim.exporting.selection import Person, Selected, select
from bige_opensim.exporting.tables import write_tables
from bige_opensim.guidance.generated import Generated
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.io.partial_folders import whole_folder
from bige_opensim.io.storage import write_whole
from bige_opensim.labelling.label import Label
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.provenance import __version__
from bige_opensim.settings import one_of
from bige_opensim.viewer.sources import MotionSource, MotionSources, ViewError
from bige_opensim.workflows.progress import Show, Silent, Steps

Format = Literal["opensim", "csv", "c3d", "bvh", "mjcf"]
Exportable = Label | Generated | str | os.PathLike[str]

RECORD = "export.json"
QPOS_DIGITS = "%.9g"


@dataclass(frozen=True)
class Export:
    """A folder of exported motions: its files, and sentences on what the format does not hold."""

    folder: Path
    files: tuple[Path, ...]
    motions: tuple[str, ...]
    notes: tuple[str, ...]

    def __fspath__(self) -> str:
        return str(self.folder)


@quiet_opensim()
def export(
    found: Exportable | Iterable[Exportable],
    format: Format,
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    show: Show = Silent,
) -> Export:
    """Write labels, generated or plain motions for another program.

    Parameters
    ----------
    found
        A label, what `generate` returned, the folder of either, a folder of labels, a motion (.mot, .sto), or several
        of these.
    format
        `opensim`: a folder per motion that opens in the OpenSim GUI, with the model, states with activations, forces as
        ExternalLoads, and setups by which OpenSim's tools repeat the results.
        `csv`: tidy tables, a row per trial and time, with the units of all columns.
        `c3d`: the model's markers and a force plate under each foot, in mm, Z up (needs ezc3d).
        `bvh`: bodies as the joints of an animation, in cm, Y up.
        `mjcf`: a model for MuJoCo, and the joint positions (qpos) of every motion as a table.
    out
        Folder to write, whole or not at all; that of an earlier export is replaced.
    model
        The model of plain motions, and of labels that came without theirs; a motion in an OpenCap session has that of
        its session.
    show
        How progress is shown; by default not at all.

    Returns
    -------
    Export
        Its folder, files, names of motions, and notes.

    Raises
    ------
    SettingError
        The format is none of these.
    ViewError
        There is nothing to export, or the model of a motion is not known.
    OutFolderError
        The folder holds something else.
    LabelError, StorageError, ModelError, MotionError, ObjectiveError, C3dError
        Files cannot be read or written.

    """
    one_of("format", format, get_args(Format))
    sources = MotionSources(None if model is None else Path(model))
    try:
        selected = select(source for item in _listed(found) for source in _sources(sources, item))
        if not selected:
            raise ViewError("There is nothing to export: name a label, generated motions, or their files.")
        with whole_folder(Path(out), RECORD) as folder:
            with show(len(selected), "exporting") as steps:
                notes = WRITERS[format](selected, folder, steps)
            _write_record(folder / RECORD, format, selected, notes)
    finally:
        sources.close()
    written = sorted(path for path in Path(out).rglob("*") if path.is_file())
    return Export(Path(out), tuple(written), tuple(one.name for one in selected), tuple(notes))


def _write_opensim(selected: Sequence[Selected], folder: Path, steps: Steps) -> list[str]:
    notes = []
    for one in selected:
        steps.now(one.name)
        place = folder / one.name
        place.mkdir(parents=True)
        notes += [f"{one.name}: {note}" for note in write_bundle(one, place)]
        steps.finish(one.name)
    return notes


def _write_csv(selected: Sequence[Selected], folder: Path, steps: Steps) -> list[str]:
    write_tables(selected, folder)
    for one in selected:
        steps.finish(one.name)
    return []


def _write_c3d(selected: Sequence[Selected], folder: Path, steps: Steps) -> list[str]:
    notes = []
    for person, mine in _by_person(selected):
        markers, about_markers = markers_of(person)
        notes += [f"{person.model.name}: {note}" for note in about_markers]
        for one in mine:
            path = _file(folder, one, ".c3d")
            notes += [f"{one.name}: {note}" for note in write_markers_and_forces(one, path, markers)]
            steps.finish(one.name)
    return notes


def _write_bvh(selected: Sequence[Selected], folder: Path, steps: Steps) -> list[str]:
    notes = []
    for one in selected:
        notes += [f"{one.name}: {note}" for note in write_animation(one, _file(folder, one, ".bvh"))]
        steps.finish(one.name)
    return notes


def _write_mjcf(selected: Sequence[Selected], folder: Path, steps: Steps) -> list[str]:
    """A model per person, `model.xml` for the first, and `<motion>_qpos.csv` with time and a column per joint."""
    notes = []
    for number, (person, mine) in enumerate(_by_person(selected), start=1):
        name = "model.xml" if number == 1 else f"model_{number}.xml"
        model = MjcfModel(person.skeleton, person.model.stem)
        model.start_at(model.qpos(mine[0].q[:1])[0])
        write_whole(folder / name, model.xml)
        for one in mine:
            table = pd.DataFrame(model.qpos(one.q), columns=[j.name for j in model.joints])
            table.insert(0, "time", one.time)
            path = _file(folder, one, "_qpos.csv")
            write_whole(path, table.to_csv(index=False, float_format=QPOS_DIGITS, lineterminator="\n"))
            steps.finish(one.name)
        notes.append(f"{name}: {', '.join(one.name for one in mine)}; muscles are left out")
        if model.misfit_m > 0.0 or model.misfit_rad > 0.0:
            notes.append(
                f"{name}: qpos is exact; in simulations, polynomials tie joints to coordinates to within "
                f"{1000 * model.misfit_m:.1f} mm and {np.rad2deg(model.misfit_rad):.1f} degrees"
            )
    return notes


WRITERS: dict[str, Callable[[Sequence[Selected], Path, Steps], list[str]]] = {
    "opensim": _write_opensim,
    "csv": _write_csv,
    "c3d": _write_c3d,
    "bvh": _write_bvh,
    "mjcf": _write_mjcf,
}


def _by_person(selected: Sequence[Selected]) -> list[tuple[Person, list[Selected]]]:
    """Motions by model, in the order in which the models come first."""
    persons: dict[Path, list[Selected]] = {}
    for one in selected:
        persons.setdefault(one.person.model, []).append(one)
    return [(mine[0].person, mine) for mine in persons.values()]


def _file(folder: Path, one: Selected, suffix: str) -> Path:
    path = folder / f"{one.name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_record(path: Path, format: str, selected: Sequence[Selected], notes: Sequence[str]) -> None:
    """What was exported, by what: name, verdict and the hash of the model of every motion."""
    record: dict[str, Any] = {
        "format": f"bige-export-{format}/1",
        "bige_opensim": __version__,
        "motions": [
            {"name": one.name, "verdict": one.recorded.verdict, "model_sha256": file_sha256(one.person.model)}
            for one in selected
        ],
        "notes": list(notes),
    }
    write_whole(path, json.dumps(record, indent=1))


def _listed(found: Exportable | Iterable[Exportable]) -> list[Exportable]:
    return [found] if isinstance(found, Label | Generated | str | os.PathLike) else list(found)


def _sources(sources: MotionSources, item: Exportable) -> Iterable[MotionSource]:
    if isinstance(item, Label):
        return [sources.of_label(item)]
    return sources.of_path(item.folder if isinstance(item, Generated) else Path(item))
