"""Peers of the guided search from repetitions: trained, and their motions drawn as a dataset for `evaluate`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from bige_opensim.built_in import BUILT_IN
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.learning import baseline_training, checkpoint
from bige_opensim.learning.baseline_training import DiffusionTraining, PriorTraining
from bige_opensim.learning.baselines import CodePrior, Drawn, MotionDiffusion, draw_codes, draw_prior
from bige_opensim.learning.dataset import save_dataset
from bige_opensim.learning.training_data import TrainingError
from bige_opensim.learning.vqvae import Generator
from bige_opensim.provenance import __version__
from bige_opensim.workflows.dataset import dataset_of
from bige_opensim.workflows.progress import Show, Silent
from bige_opensim.workflows.train import folder_of, run_training, training_settings

PathLike = str | os.PathLike[str]
TOGETHER = 64
"""Motions that are drawn together."""


def train_prior(
    repetitions: xr.Dataset | PathLike,
    *,
    out: PathLike,
    generator: PathLike = BUILT_IN,
    seed: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    settings: PriorTraining | Mapping[str, Any] | PathLike | None = None,
    show: Show = Silent,
) -> CodePrior:
    """Train the code prior of a generator; other arguments and errors as of `train_surrogate`."""
    folder = folder_of(generator, "generator")
    chosen = training_settings(PriorTraining, settings, seed, epochs, device)
    chosen = replace(chosen, generator_sha256=_weights_of(folder))
    run = partial(baseline_training.train_prior, generator=checkpoint.load_generator(folder))
    run_training(run, repetitions, Path(out), chosen, "training the code prior", show)
    return checkpoint.load_prior(Path(out))


def train_diffusion(
    repetitions: xr.Dataset | PathLike,
    *,
    out: PathLike,
    seed: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    settings: DiffusionTraining | Mapping[str, Any] | PathLike | None = None,
    show: Show = Silent,
) -> MotionDiffusion:
    """Train diffusion on repetitions; arguments and errors as of `train_surrogate`."""
    chosen = training_settings(DiffusionTraining, settings, seed, epochs, device)
    run_training(baseline_training.train_diffusion, repetitions, Path(out), chosen, "training diffusion", show)
    return checkpoint.load_diffusion(Path(out))


def draw(
    network: PathLike,
    repetitions: xr.Dataset | PathLike,
    *,
    count: int,
    out: PathLike | None = None,
    generator: PathLike = BUILT_IN,
    temperature: float = 1.0,
    seed: int = 0,
) -> xr.Dataset:
    """Motions drawn without a search, for the training people of a dataset in turn.

    Parameters
    ----------
    network
        Checkpoint of a code prior, of diffusion, or of a generator, whose codes are drawn each by itself, as often as
        the training repetitions have it at its place.
    repetitions
        The dataset whose training people are drawn for.
    count
        How many motions.
    out
        File to write (netCDF), which `evaluate` takes as a set.
    generator
        The generator that a code prior is of.
    temperature
        Of a code prior: below 1, likelier codes.
    seed
        Of what is drawn.

    Returns
    -------
    xr.Dataset
        Like the repetitions, without activations.

    Raises
    ------
    TrainingError
        A network that draws nothing, a generator that is not the prior's, or a dataset of other coordinates.
    CheckpointError, DatasetError
        A folder or file that cannot be used.

    """
    if count < 1 or not temperature > 0:
        raise TrainingError(f"count = {count}, temperature = {temperature:g}: both must be above 0")
    data, folder = dataset_of(repetitions), Path(network)
    train = np.flatnonzero(data["split"].values == "train")
    people = list(dict.fromkeys(data["subject"].values[train].tolist()))
    first = [train[data["subject"].values[train] == person][0] for person in people]
    rows = np.array([first[i % len(first)] for i in range(count)])
    config = checkpoint.read_config(folder)
    kind = config.get("kind")
    random = torch.Generator().manual_seed(seed)
    made: Callable[[xr.Dataset, np.ndarray], Drawn]
    if kind == "prior":
        made = partial(_by_prior, folder, config, folder_of(generator, "generator"), random, temperature)
    elif kind == "diffusion":
        made = partial(_by_diffusion, folder, random)
    elif kind == "generator":
        made = partial(_by_codes, folder, random)
    else:
        raise TrainingError(f"{folder} holds a {kind}; motions are drawn from a prior, diffusion or a generator")
    q, duration = made(data, rows)
    drawn = data.isel(repetition=rows).copy()
    seconds = duration.double().numpy()
    known = {"q": q.double().numpy(), "duration": seconds, "start": np.zeros(count), "end": seconds}
    for name in ("q", "duration", "start", "end", "depth_deg", "activations"):
        drawn[name] = drawn[name].copy(data=known.get(name, np.full(drawn[name].shape, np.nan)))
    drawn.attrs |= {"drawn_from": kind, "drawn_by_sha256": _weights_of(folder), "drawn_seed": seed}
    drawn.attrs["bige_opensim"] = __version__
    if out is not None:
        save_dataset(drawn, Path(out))
    return drawn


def _by_prior(
    folder: Path,
    config: dict[str, Any],
    generator: Path,
    random: torch.Generator,
    temperature: float,
    data: xr.Dataset,
    rows: np.ndarray,
) -> Drawn:
    prior, decoder = checkpoint.load_prior(folder), checkpoint.load_generator(generator)
    require_prior_of(folder, config, generator)
    parts = []
    for body in _bodies(folder, prior, data, rows).split(TOGETHER):
        parts.append(draw_prior(prior, decoder, body, random, temperature))
    return _joined(parts)


def require_prior_of(folder: Path, config: dict[str, Any], generator: Path) -> None:
    """Raise TrainingError where a code prior is another generator's."""
    if config["training"].get("generator_sha256") not in ("", _weights_of(generator)):
        raise TrainingError(f"{folder} is the prior of another generator than {generator}: name its own")


def _by_codes(folder: Path, random: torch.Generator, data: xr.Dataset, rows: np.ndarray) -> Drawn:
    network = checkpoint.load_generator(folder)
    train = np.flatnonzero(data["split"].values == "train")
    q, duration = (torch.as_tensor(data[name].values[train], dtype=torch.float32) for name in ("q", "duration"))
    with torch.no_grad():
        known = network.codes(network.encode(q, duration, _bodies(folder, network, data, train)))
    return draw_codes(network, known, _bodies(folder, network, data, rows), random)


def _by_diffusion(folder: Path, random: torch.Generator, data: xr.Dataset, rows: np.ndarray) -> Drawn:
    model = checkpoint.load_diffusion(folder)
    return _joined([model.sample(body, random) for body in _bodies(folder, model, data, rows).split(TOGETHER)])


def _joined(parts: list[Drawn]) -> Drawn:
    q, duration = zip(*parts, strict=True)
    return torch.cat(q), torch.cat(duration)


def _bodies(
    folder: Path, network: CodePrior | MotionDiffusion | Generator, data: xr.Dataset, rows: np.ndarray
) -> torch.Tensor:
    """Features of the people that are drawn for, in the network's order."""
    if tuple(map(str, data["coordinate"].values)) != network.channels.coordinates:
        raise TrainingError(f"{folder} knows other coordinates than the dataset has")
    features = data["features"].sel(feature=list(network.channels.features)).values[rows]
    return torch.as_tensor(features, dtype=torch.float32)


def _weights_of(folder: Path) -> str:
    return file_sha256(folder / "weights.safetensors")
