"""Repetitions and the networks that learn from them: `bige dataset`, `bige train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from bige_opensim.commands.display import Steps, console, fail


def dataset(
    labels: Path,
    /,
    *,
    out: Path,
    include_failed: bool = False,
    movement: Literal["squat", "sit-to-stand", "lunge", "jump", "gait", "auto"] = "squat",
    trials: str = "*",
    seed: int = 0,
) -> int:
    """Cut labelled trials into repetitions of 101 samples, split by subject.

    Parameters
    ----------
    labels
        Folder that `bige label` wrote.
    out
        The netCDF file to write.
    include_failed
        Keep trials that failed the quality gates, marked.
    movement
        Which repetitions to cut. auto finds the movement of each trial; a dataset holds one, so it must be the same
        in all.
    trials
        Pattern of trial names to take, such as "squat*".
    seed
        Seed of the split.

    """
    from bige_opensim.learning.dataset import DatasetError
    from bige_opensim.workflows.dataset import repetitions

    try:
        ds = repetitions(labels, include_failed=include_failed, movement=movement, trials=trials, seed=seed, out=out)
    except DatasetError as error:
        return fail(str(error))
    _print_dataset(ds, out)
    return 0


def _print_dataset(ds: Any, out: Path) -> None:
    import json

    table = Table("subject", "split", "repetitions", "duration s", "depth deg", title=f"{out}: {ds.attrs['movement']}")
    for subject in dict.fromkeys(ds["subject"].values.tolist()):
        mine = ds.isel(repetition=ds["subject"].values == subject)
        duration, depth = mine["duration"].values, mine["depth_deg"].values
        table.add_row(
            subject,
            str(mine["split"].values[0]),
            str(mine.sizes["repetition"]),
            f"{duration.min():.2f}-{duration.max():.2f}",
            f"{depth.min():.0f}-{depth.max():.0f}",
        )
    console.print(table)
    for item in json.loads(ds.attrs.get("excluded", "[]")):
        console.print(f"left out {item['trial']}: {item['reason']}", markup=False, highlight=False, soft_wrap=True)


def train_surrogate(
    *, data: Path, out: Path, seed: int = 0, config: Path | None = None, epochs: int | None = None
) -> int:
    """Train the network that predicts activations from kinematics.

    Parameters
    ----------
    data
        Dataset of repetitions that `bige dataset` wrote.
    out
        Checkpoint folder; an interrupted training there goes on.
    seed
        Seed of weights, order and augmentation.
    config
        TOML or JSON file with training settings.
    epochs
        Replaces the configured number of epochs.

    """
    return _train("surrogate", data, out, seed, config, epochs)


def train_generator(
    *, data: Path, out: Path, seed: int = 0, config: Path | None = None, epochs: int | None = None
) -> int:
    """Train the network that generates motions.

    Parameters
    ----------
    data
        Dataset of repetitions that `bige dataset` wrote.
    out
        Checkpoint folder; an interrupted training there goes on.
    seed
        Seed of weights, order and augmentation.
    config
        TOML or JSON file with training settings.
    epochs
        Replaces the configured number of epochs.

    """
    return _train("generator", data, out, seed, config, epochs)


def _train(kind: str, data: Path, out: Path, seed: int, config: Path | None, epochs: int | None) -> int:
    from bige_opensim.io.file_lock import LockedError
    from bige_opensim.learning.checkpoint import CheckpointError
    from bige_opensim.learning.dataset import DatasetError
    from bige_opensim.learning.training import TrainingError
    from bige_opensim.workflows import train

    run: Callable[..., Any] = train.train_surrogate if kind == "surrogate" else train.train_generator
    try:
        run(data, out=out, seed=seed, epochs=epochs or None, settings=config, show=Steps)
    except (DatasetError, CheckpointError, LockedError, TrainingError) as error:
        return fail(str(error))
    console.print((out / "card.md").read_text(encoding="utf-8"), markup=False, highlight=False)
    return 0
