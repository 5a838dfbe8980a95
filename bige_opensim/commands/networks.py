"""Repetitions and the networks that learn from them: `bige dataset`, `bige train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cyclopts import Parameter
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


@Parameter(name="*")
@dataclass(frozen=True)
class TrainingOptions:
    """How any network is trained; what is not given is as configured."""

    seed: int | None = None
    """Seed of weights, order and all that is drawn; replaces the configured one, which is 0 unless it is said."""
    config: Path | None = None
    """TOML or JSON file with training settings."""
    epochs: int | None = None
    """Replaces the configured number of epochs."""
    device: str | None = None
    """Where to train: cpu, or cuda where there is a graphics card; replaces the configured one."""


def train_surrogate(
    *,
    data: Path,
    out: Path,
    start: str | None = None,
    stream: int | None = None,
    models: tuple[Path, ...] = (),
    how: TrainingOptions = TrainingOptions(),
) -> int:
    """Train the network that predicts activations from kinematics.

    Parameters
    ----------
    data
        Dataset of repetitions that `bige dataset` wrote.
    out
        Checkpoint folder; an interrupted training there goes on.
    start
        Checkpoint to go on from; built-in is the surrogate that comes with the package.
    stream
        How many motions to learn from besides the recorded ones: recorded ones varied, planted on many bodies and
        labelled by the physics. They are kept in the folder OUT.stream.
    models
        Models (.osim) of the people, or folders such as the labelled sessions. With them the network learns how the
        feet share the load, and the people's own muscles say the rest; motions are streamed on their bodies.

    """
    return _train("surrogate", data, out, how, start=start, stream=stream, models=models)


def train_generator(
    *,
    data: Path,
    out: Path,
    start: str | None = None,
    how: TrainingOptions = TrainingOptions(),
) -> int:
    """Train the network that generates motions.

    Parameters
    ----------
    data
        Dataset of repetitions that `bige dataset` wrote.
    out
        Checkpoint folder; an interrupted training there goes on.
    start
        Checkpoint to go on from; built-in is the generator that comes with the package, auto is that one where it
        knows the data's movement and coordinates. What taught it is rehearsed, so that it learns your people and does
        not forget others.

    """
    return _train("generator", data, out, how, start=start)


def train_prior(
    *,
    data: Path,
    out: Path,
    generator: str = "built-in",
    how: TrainingOptions = TrainingOptions(),
) -> int:
    """Train a peer of the search: which codes of a generator follow which.

    Parameters
    ----------
    data
        Dataset of repetitions that `bige dataset` wrote.
    out
        Checkpoint folder; an interrupted training there goes on.
    generator
        Checkpoint of the generator; the one that comes with the package when none is named.

    """
    return _train("prior", data, out, how, generator=generator)


def train_diffusion(
    *,
    data: Path,
    out: Path,
    how: TrainingOptions = TrainingOptions(),
) -> int:
    """Train a peer of the search: diffusion, which makes motions out of noise.

    Parameters
    ----------
    data
        Dataset of repetitions that `bige dataset` wrote.
    out
        Checkpoint folder; an interrupted training there goes on.

    """
    return _train("diffusion", data, out, how)


def draw(
    network: Path,
    /,
    *,
    data: Path,
    out: Path,
    count: int = 40,
    generator: str = "built-in",
    temperature: float = 1.0,
    seed: int = 0,
) -> int:
    """Draw motions without a search, as a dataset that `bige evaluate` takes.

    Parameters
    ----------
    network
        Checkpoint of a code prior, of diffusion, or of a generator, whose codes are then drawn each by itself.
    data
        Dataset of repetitions whose training people motions are drawn for, in turn.
    out
        The netCDF file to write.
    count
        How many motions.
    generator
        The generator that a code prior is of.
    temperature
        Of a code prior: below 1, likelier codes.
    seed
        Seed of what is drawn.

    """
    from bige_opensim.learning.checkpoint import CheckpointError
    from bige_opensim.learning.dataset import DatasetError
    from bige_opensim.learning.training import TrainingError
    from bige_opensim.workflows.peers import draw as run

    try:
        run(network, data, count=count, out=out, generator=generator, temperature=temperature, seed=seed)
    except (CheckpointError, DatasetError, FileNotFoundError, TrainingError) as error:
        return fail(str(error))
    console.print(f"{out}: {count} motions", markup=False, highlight=False, soft_wrap=True)
    return 0


def predict(
    *,
    model: Path,
    motion: Path,
    out: Path,
    surrogate: str = "built-in",
    start: float | None = None,
    end: float | None = None,
    cutoff: float = 6.0,
) -> int:
    """Predict the activations of one repetition, with 90 % intervals; nothing is simulated.

    Parameters
    ----------
    model
        The person's model (.osim).
    motion
        Coordinates of one repetition (.mot), or of more with `--start` and `--end`.
    out
        Folder for activations.sto, the ends of its intervals and prediction.json.
    surrogate
        Checkpoint folder; the network that comes with the package when none is named.
    start, end
        Part of the motion, s.
    cutoff
        Low-pass cut-off in Hz; 0 for none.

    """
    from bige_opensim.io.storage import StorageError
    from bige_opensim.learning.checkpoint import CheckpointError
    from bige_opensim.motion import MotionError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.workflows.label import read_motion
    from bige_opensim.workflows.predict import predict as run

    try:
        q = read_motion(motion, model=model)
        q = q.between(q.time[0] if start is None else start, q.time[-1] if end is None else end)
        found = run(q, model=model, surrogate=surrogate, cutoff_hz=cutoff)
        found.save(out)
    except (CheckpointError, ModelError, MotionError, StorageError, FileNotFoundError) as error:
        return fail(str(error))
    peak = found.activations.max().nlargest(8)
    table = Table("muscle", "peak", "90 % interval", "at s", title=f"{motion.name}: predicted, not simulated")
    for muscle in peak.index:
        at = found.activations[muscle].idxmax()
        low, high = found.lower[muscle][at], found.upper[muscle][at]
        table.add_row(str(muscle), f"{peak[muscle]:.2f}", f"{low:.2f} to {high:.2f}", f"{at:.2f}")
    console.print(table)
    for sentence in found.outside:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    return 0


def _train(kind: str, data: Path, out: Path, how: TrainingOptions, **more: Any) -> int:
    from bige_opensim.io.file_lock import LockedError
    from bige_opensim.learning.checkpoint import CheckpointError
    from bige_opensim.learning.dataset import DatasetError
    from bige_opensim.learning.training import TrainingError
    from bige_opensim.workflows import peers, train

    kinds: dict[str, Callable[..., Any]] = {
        "surrogate": train.train_surrogate,
        "generator": train.train_generator,
        "prior": peers.train_prior,
        "diffusion": peers.train_diffusion,
    }
    try:
        given = {"seed": how.seed, "epochs": how.epochs, "device": how.device, "settings": how.config}
        kinds[kind](data, out=out, show=Steps, **given, **more)
    except (FileNotFoundError, DatasetError, CheckpointError, LockedError, TrainingError) as error:
        return fail(str(error))
    console.print((out / "card.md").read_text(encoding="utf-8"), markup=False, highlight=False)
    return 0
