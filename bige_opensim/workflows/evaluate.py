"""Generated motions measured against recordings, beside controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch

from bige_opensim.io.partial_folders import refuse_other_content
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.provenance import __version__
from bige_opensim.validation import controls
from bige_opensim.validation.evaluation import RECORDINGS, Evaluation, evaluate_sets
from bige_opensim.validation.evaluation_files import RECORD, write_evaluation
from bige_opensim.validation.metrics import AXES, NEIGHBOURS, REPLICATES
from bige_opensim.validation.motion_gates import Anatomy
from bige_opensim.validation.motion_set import (
    TRAIN,
    Frame,
    MotionSet,
    MotionSetError,
    anatomy,
    dataset_like,
    generated,
    recordings,
    sha256,
)

TAKEN = (RECORDINGS, controls.NOISE, controls.SHUFFLED, controls.COPY)


@quiet_opensim()
def evaluate(
    reference: Path | str,
    motions: Mapping[str, Path | str | Sequence[Path | str]],
    out: Path | str,
    *,
    models: Iterable[Path | str] = (),
    replicates: int = REPLICATES,
    report: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """Measure sets of motions against recordings, beside controls, and write the tables.

    Parameters
    ----------
    reference
        Dataset of repetitions (netCDF). Its training people are the reference; all others are a row of their own.
    motions
        Sets by name: folders that `bige generate` wrote, or datasets (all of their repetitions). Several of one name
        are runs of one method, by other seeds.
    out
        Folder for evaluation.json, evaluation.csv, coordinates.csv, evaluation.tex and evaluation.png.
    models
        Folders in or below which the recorded people's models lie (.osim); they are told by their content. Contact and
        joint limits of recordings, and of the controls made of them, need these.
    replicates
        Of the bootstrap over people.
    report
        Told the name of every set when its turn comes.

    Returns
    -------
    Evaluation
        The table as it was written.

    Raises
    ------
    MotionSetError
        Sets that cannot be compared: another skeleton, empty, one motion, a name that is taken.
    DatasetError, OutFolderError
        A file that is no dataset; a folder that holds something else.

    """
    reference, out = Path(reference), Path(out)
    _check_names(motions)
    refuse_other_content(out, RECORD)
    bodies = _bodies([Path(folder) for folder in models])
    training, held_out, frame = _reference(reference, bodies)
    runs = [(name, path) for name, given in motions.items() for path in _paths(given)]
    methods = [_method(name, path, frame, bodies) for name, path in runs]
    found = evaluate_sets(training, held_out, methods, replicates=replicates, report=report)
    found.provenance.update(_provenance(training, held_out, methods, frame, replicates))
    write_evaluation(found, out)
    return found


def _paths(given: Path | str | Sequence[Path | str]) -> list[Path]:
    return [Path(given)] if isinstance(given, Path | str) else [Path(path) for path in given]


def _check_names(motions: Mapping[str, Any]) -> None:
    wrong = [name for name in motions if not name.strip() or name in TAKEN]
    if wrong or not motions:
        raise MotionSetError(
            f"expected sets of motions by name (NAME=FOLDER), got {', '.join(map(repr, wrong)) or 'none'}; the rows "
            f"{', '.join(TAKEN)} are made by the evaluation itself."
        )


def _reference(path: Path, bodies: Callable[[str], Anatomy | None]) -> tuple[MotionSet, MotionSet | None, Frame]:
    ds = load_dataset(path)
    splits = {str(s) for s in ds["split"].values}
    if TRAIN not in splits:
        raise MotionSetError(f"{path}: nobody trains in this dataset; a reference needs training people.")
    training = recordings(ds, "training", lambda split: split == TRAIN, bodies, path)
    held_out = recordings(ds, RECORDINGS, lambda split: split != TRAIN, bodies, path) if splits - {TRAIN} else None
    return training, held_out, training.frame


def _method(name: str, path: Path, frame: Frame, bodies: Callable[[str], Anatomy | None]) -> MotionSet:
    if path.is_dir():
        return generated(path, name, frame)
    ds, notes = dataset_like(load_dataset(path), frame, path)
    return recordings(ds, name, lambda split: True, bodies, path).with_(notes=notes)


def _bodies(folders: list[Path]) -> Callable[[str], Anatomy | None]:
    """The body of a model that is known by its sha256, compiled when it is first asked for."""
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        raise MotionSetError(f"{', '.join(missing)}: no such folder of models.")
    files = {sha256(path): path for folder in folders for path in sorted(folder.rglob("*.osim"))}
    return cache(lambda digest: anatomy(files[digest]) if digest in files else None)


def _provenance(
    training: MotionSet, held_out: MotionSet | None, methods: list[MotionSet], frame: Frame, replicates: int
) -> dict[str, Any]:
    everything = [training, *([held_out] if held_out is not None else []), *methods]
    return {
        "bige_opensim": __version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "torch": torch.__version__,
        "reference": dict(training.source),
        "people": {
            "training": list(dict.fromkeys(training.people)),
            "held_out": list(dict.fromkeys(held_out.people)) if held_out is not None else [],
        },
        "sets": [{"name": m.name, **m.source} for m in methods],
        "models_sha256": sorted({b.skeleton.tables.source["sha256"] for s in everything for b in s.bodies if b}),
        "rotational": dict(zip(frame.coordinates, frame.rotational, strict=True)),
        "settings": {
            "control_seeds": list(controls.SEEDS),
            "bootstrap": {"replicates": replicates, "seed": 0},
            "neighbours": NEIGHBOURS,
            "principal_axes": AXES,
        },
    }
