"""Repetitions of labelled trials, from their folders or from memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import xarray as xr

from bige_opensim.labelling.label import Label
from bige_opensim.learning.dataset import build_dataset, load_dataset, save_dataset
from bige_opensim.learning.labelled_trials import TrialSource, by_coordinate
from bige_opensim.motion import Motion


def repetitions(
    labels: Iterable[Label] | Label | str | os.PathLike[str],
    *,
    movement: str = "squat",
    trials: str = "*",
    include_failed: bool = False,
    split: Mapping[str, str] | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """Cut labelled trials into repetitions of 101 samples, split by subject.

    Parameters
    ----------
    labels
        Labels, or the folder that holds them at any depth.
    movement
        squat, sit-to-stand, lunge, jump, gait, or auto, which finds the movement of each trial.
    trials
        Pattern of trial names to take, such as "squat*".
    include_failed
        Keep trials that failed quality gates; `status` says so.
    split
        train, validation or test for every subject, instead of a split that is drawn.
    seed
        Draws the split.
    out
        Also write this netCDF file.

    Returns
    -------
    xarray.Dataset
        `q` (repetition, sample, coordinate) in rad and m, `activations` (repetition, sample, muscle), `duration` (s),
        features of the subject, where each repetition comes from, and what was left out, as attributes.

    Raises
    ------
    DatasetError
        No trial can be used, movements or models differ between trials, or there is no such movement.

    """
    if isinstance(labels, str | os.PathLike):
        source: Path | list[TrialSource] = Path(labels)
    else:
        source = [trial_source(label) for label in ([labels] if isinstance(labels, Label) else labels)]
    found = build_dataset(
        source, include_failed=include_failed, split=split, seed=seed, movement=movement, trials=trials
    )
    if out is not None:
        save_dataset(found, Path(out))
    return found


def trial_source(label: Label) -> TrialSource:
    """What a dataset takes of a label in memory."""
    from bige_opensim.labelling.label_files import record_text  # opensim: where there are labels in memory, it is there

    record, channels = label.record, label.channels
    time = channels.activations.time
    return TrialSource(
        name=f"{label.session}/{label.trial}",
        label=record,
        sha256=hashlib.sha256(record_text(record).encode()).hexdigest(),
        q=channels.coordinates.between(float(time[0]), float(time[-1])).select(record["coordinates"]),
        activations=channels.activations.select(record["muscles"]),
        moments=by_coordinate(channels.moments, record["coordinates"]),
        rotational=label.rotational,
        vertical_force=_vertical_force(channels.ground_forces) if record.get("grf") == "measured" else None,
    )


def _vertical_force(ground: Motion | None) -> Motion | None:
    return None if ground is None else ground.select([f"ground_force_{side}_vy" for side in "rl"])


def dataset_of(repetitions: xr.Dataset | str | os.PathLike[str]) -> xr.Dataset:
    """A dataset, or what its file holds; errors as `load_dataset`."""
    return repetitions if isinstance(repetitions, xr.Dataset) else load_dataset(Path(repetitions))
