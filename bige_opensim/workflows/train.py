"""Networks from repetitions, and back from their folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr

from bige_opensim.built_in import BUILT_IN, built_in_network
from bige_opensim.learning import checkpoint, training
from bige_opensim.learning.bodies import Body
from bige_opensim.learning.motion_stream import MotionStream, StreamError
from bige_opensim.learning.surrogate import Surrogate
from bige_opensim.learning.training import GeneratorTraining, Refining, SurrogateTraining, TrainingConfig
from bige_opensim.learning.training_data import Repetitions
from bige_opensim.learning.vqvae import Generator
from bige_opensim.workflows.dataset import dataset_of
from bige_opensim.workflows.progress import Show, Silent

PathLike = str | os.PathLike[str]
AUTO = "auto"
SettingsT = TypeVar("SettingsT", bound=TrainingConfig)
RefiningT = TypeVar("RefiningT", bound=Refining)


def train_surrogate(
    repetitions: xr.Dataset | PathLike,
    *,
    out: PathLike,
    seed: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    settings: SurrogateTraining | Mapping[str, Any] | PathLike | None = None,
    start: PathLike | None = None,
    stream: int | None = None,
    models: PathLike | Sequence[PathLike] = (),
    show: Show = Silent,
) -> Surrogate:
    """Train the network that predicts activations from kinematics.

    A few people's repetitions do not carry it to people it has not seen. With a `stream`, it learns besides from so
    many motions that are recorded ones varied, planted on many bodies and labelled by the physics: thousands take
    minutes to make. They are kept beside `out`, in the folder `<out>.stream`.

    Parameters
    ----------
    repetitions
        What `repetitions` returned, or its file.
    out
        Checkpoint folder; an interrupted training there goes on, a finished one of the same data and settings is kept.
    seed, epochs, device
        Replace those of the settings; the device is "cpu", or "cuda" where there is a graphics card.
    settings
        All settings: a `SurrogateTraining`, a dictionary of its fields, or a TOML or JSON file.
    start
        Checkpoint of a surrogate to go on from, such as "built-in", the one that comes with the package, which a few
        people's repetitions refine in minutes; instead of the settings'.
    stream
        How many motions to stream, instead of the settings'.
    models
        Models (.osim) of the people, or folders with them, such as the sessions that were labelled. With them the
        network learns how the feet share the load, and the people's own muscles say the rest; repetitions of other
        models are left out. Needed with a stream, on the bodies of the training people, and to go on from a network
        that was trained with models, such as "built-in".
    show
        How progress is shown; by default not at all.

    Returns
    -------
    Surrogate
        In evaluation mode; its `folder` is `out`, with `card.md` on what it was trained on and how well it does.

    Raises
    ------
    TrainingError
        Data, models or settings that cannot be trained with, or `out` holds another training.
    LockedError
        Another process trains into `out`.
    DatasetError, CheckpointError
        The file is no dataset; the folder is taken.

    """
    chosen = _going_on(training_settings(SurrogateTraining, settings, seed, epochs, device), start, "surrogate")
    if stream is not None:
        chosen = replace(chosen, stream=replace(chosen.stream, motions=stream))
    data = dataset_of(repetitions)
    run = training.train_surrogate
    places = [models] if isinstance(models, str | os.PathLike) else models
    if places:
        from bige_opensim.workflows.stream import mechanics_of, models_in

        found = models_in(places)
        with show(len(found), "muscle paths") as steps:
            mechanics = mechanics_of(data, found, lambda done, name: steps.advance(done, name, every=5))
        run = partial(run, mechanics=mechanics)
    if chosen.stream.motions:
        run = partial(run, stream=_stream(data, places, chosen, Path(f"{os.fspath(out)}.stream"), show))
    run_training(run, data, Path(out), chosen, "training surrogate", show)
    return load_surrogate(out)


def _stream(
    data: xr.Dataset, places: Sequence[PathLike], settings: SurrogateTraining, folder: Path, show: Show
) -> MotionStream:
    """The motions that are trained on besides the recorded ones, in shards of a folder."""
    from bige_opensim.workflows.stream import models_in, stream_bodies

    if not places:
        raise StreamError("a stream of motions needs models (.osim) of the people that were labelled: give `models`")
    models = models_in(places)
    read = Repetitions.read(data, labelled=True, seed=settings.seed, device="cpu")
    bodies: list[Body] = []
    with show(len(models) + settings.stream.wide_bodies, "bodies") as steps:
        for body in stream_bodies(read, models, settings.stream, settings.seed):
            bodies.append(body)
            steps.advance(len(bodies), body.name, every=10)
    stream = MotionStream(read, bodies, settings.stream, folder, settings.seed)
    with show(stream.shards, "streaming motions") as steps:
        stream.make(lambda done, text: steps.advance(done, text, every=5))
    return stream


def train_generator(
    repetitions: xr.Dataset | PathLike,
    *,
    out: PathLike,
    seed: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    settings: GeneratorTraining | Mapping[str, Any] | PathLike | None = None,
    start: PathLike | None = None,
    show: Show = Silent,
) -> Generator:
    """Train the network that makes motions; arguments and errors as of `train_surrogate`.

    One that goes on from another (`start`), such as "built-in", is trained on that one's own `references.nc` besides,
    lest it forget other people while it learns these. "auto" goes on from the built-in one where the repetitions are
    of its movement and have its coordinates, and begins with random weights elsewhere.

    Returns
    -------
    Generator
        In evaluation mode; its `folder` is `out`, which also holds the training repetitions.

    """
    chosen, data = training_settings(GeneratorTraining, settings, seed, epochs, device), dataset_of(repetitions)
    if (chosen.start if start is None else start) == AUTO:
        start = _built_in_where_it_fits(data)
    chosen = _going_on(chosen, start, "generator")
    run_training(training.train_generator, data, Path(out), chosen, "training generator", show)
    return load_generator(out)


def load_surrogate(folder: PathLike) -> Surrogate:
    """The surrogate that a training left in a folder; "built-in" for the one that comes with the package.

    Raises
    ------
    CheckpointError
        The folder holds no surrogate, or not all of it.

    """
    return checkpoint.load_surrogate(_network(folder, "surrogate"))


def _going_on(settings: RefiningT, start: PathLike | None, kind: str) -> RefiningT:
    """Settings with the folder of the network that is gone on from: `start`, or theirs."""
    chosen = settings.start if start is None else start
    return replace(settings, start=str(_network(chosen, kind)) if chosen else "")


def _built_in_where_it_fits(data: xr.Dataset) -> PathLike:
    """The generator that comes with the package, for repetitions of its movement, with its coordinates; else none."""
    known = checkpoint.read_references(built_in_network("generator"))
    same = known["coordinate"].values.tolist() == data["coordinate"].values.tolist()
    return BUILT_IN if same and known.attrs.get("movement") == data.attrs.get("movement") else ""


def _network(folder: PathLike, kind: str) -> Path:
    """The folder of a network, that of the package's own by the name "built-in"."""
    return built_in_network(kind) if folder == BUILT_IN else Path(folder)


def load_generator(folder: PathLike) -> Generator:
    """The generator that a training left in a folder; "built-in" for the one that comes with the package.

    Raises
    ------
    CheckpointError
        The folder holds no generator, or not all of it.

    """
    return checkpoint.load_generator(_network(folder, "generator"))


def folder_of(network: Surrogate | Generator | PathLike, kind: str = "") -> Path:
    """The checkpoint folder of a network; of this kind that comes with the package, for "built-in".

    Raises
    ------
    CheckpointError
        The network was never saved.

    """
    if isinstance(network, str | os.PathLike):
        return _network(network, kind) if kind else Path(network)
    if network.folder is None:
        raise checkpoint.CheckpointError(
            "this network came from no folder: train it with an `out`, or load it with `load_surrogate` or "
            "`load_generator`."
        )
    return network.folder


def training_settings(
    kind: type[SettingsT],
    given: SettingsT | Mapping[str, Any] | PathLike | None,
    seed: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
) -> SettingsT:
    """Settings of a training from what was given; errors as `train_surrogate`."""
    if given is None:
        found = kind()
    elif isinstance(given, Mapping):
        found = training.configured(kind, dict(given))
    elif isinstance(given, str | os.PathLike):
        found = training.read_training_config(Path(given), kind)
    else:
        found = given
    given_besides: dict[str, Any] = {"seed": seed, "epochs": epochs, "device": device}
    return replace(found, **{name: value for name, value in given_besides.items() if value is not None})


def run_training(
    run: Callable[..., Path],
    repetitions: xr.Dataset | PathLike,
    out: Path,
    settings: TrainingConfig,
    what: str,
    show: Show,
) -> None:
    """Call `run(dataset, out, settings, report=...)` and show how far it is."""
    data = dataset_of(repetitions)
    out.parent.mkdir(parents=True, exist_ok=True)
    with show(settings.epochs, what) as steps:
        run(data, out, settings, report=lambda e, n, m: steps.advance(e, _metrics(m), every=20))


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in metrics.items())
