"""Checkpoints: a trained network as a folder that anyone can read, and nothing pickled.

weights.safetensors   parameters and codebooks
config.json           what the network is, how it was trained, with which versions
channels.json         names, units and scaling of its channels
metrics.csv           one row per epoch
card.md               what it was trained on, how well it does, and where it should not be used
references.nc         of a generator: its training repetitions
"""

import csv
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bige_opensim.io.documents import DocumentError, read_json
from bige_opensim.io.partial_folders import partial_folder, remove_abandoned, replace_folder
from bige_opensim.learning.baselines import CodePrior, DiffusionConfig, MotionDiffusion, PriorConfig
from bige_opensim.learning.channels import Channels, ChannelsError
from bige_opensim.learning.dataset import DatasetError, load_dataset, save_dataset
from bige_opensim.learning.surrogate import Surrogate, SurrogateConfig
from bige_opensim.learning.vqvae import Generator, GeneratorConfig

FORMAT = "bige-checkpoint/1"
REFERENCES = "references.nc"
FILES = ("weights.safetensors", "config.json", "channels.json", "metrics.csv", "card.md")
Network = Surrogate | Generator | CodePrior | MotionDiffusion
KINDS: dict[str, tuple[type[Network], type[Any]]] = {
    "surrogate": (Surrogate, SurrogateConfig),
    "generator": (Generator, GeneratorConfig),
    "prior": (CodePrior, PriorConfig),
    "diffusion": (MotionDiffusion, DiffusionConfig),
}


class CheckpointError(ValueError):
    """A folder that is no checkpoint, is incomplete, or holds another kind of network."""


def save_checkpoint(
    folder: Path,
    model: Network,
    *,
    training: dict[str, Any],
    provenance: dict[str, Any],
    metrics: Sequence[dict[str, int | float]],
    card: str,
    references: xr.Dataset | None = None,
) -> Path:
    """Write the folder whole or not at all; a checkpoint that is there already is replaced.

    `references` are the training repetitions of a generator.

    Raises
    ------
    CheckpointError
        `folder` exists and is something else than a checkpoint.

    """
    require_free(folder)
    partial = partial_folder(folder)
    remove_abandoned(folder.parent)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, partial / "weights.safetensors")
        _write_json(partial / "channels.json", model.channels.to_json())
        if references is not None:
            save_dataset(references, partial / REFERENCES)
        config = {
            "format": FORMAT,
            "kind": next(kind for kind, (network, _) in KINDS.items() if isinstance(model, network)),
            "model": dataclasses.asdict(model.config),
            "training": training,
            "provenance": provenance,
            "sha256": {path.name: _sha256(path) for path in sorted(partial.iterdir())},
        }
        _write_json(partial / "config.json", config)
        _write_csv(partial / "metrics.csv", metrics)
        (partial / "card.md").write_text(card, encoding="utf-8")
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def read_references(folder: Path) -> xr.Dataset:
    """The training repetitions that are kept beside a generator; CheckpointError where they are not, or are damaged."""
    path = folder / REFERENCES
    if not path.is_file():
        raise CheckpointError(f"{folder}: no {REFERENCES}; train the generator again with `bige train generator`.")
    try:
        return load_dataset(path)
    except DatasetError as error:
        raise CheckpointError(
            f"{error} It belongs to the generator: put it back, or train the generator again."
        ) from error


def require_free(folder: Path) -> None:
    """Raise CheckpointError where a checkpoint would take the place of something else."""
    if folder.exists() and not is_checkpoint(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} exists and is no checkpoint; choose another name or remove it")


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder holds every file of a checkpoint."""
    return all((folder / name).is_file() for name in FILES)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint; CheckpointError when the folder is none."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; a checkpoint is the folder that `bige train` wrote")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder} is no complete checkpoint: {', '.join(missing)} missing; train it again")
    config = _read_json(folder / "config.json")
    if config.get("format") != FORMAT:
        raise CheckpointError(f"{folder / 'config.json'}: expected format {FORMAT}, found {config.get('format')}")
    return config


def load_surrogate(folder: Path, device: str | torch.device = "cpu") -> Surrogate:
    """The surrogate in a folder, in evaluation mode, with its `channels`; CheckpointError says what is wrong."""
    model = _load(folder, "surrogate", device)
    assert isinstance(model, Surrogate)
    return model


def load_generator(folder: Path, device: str | torch.device = "cpu") -> Generator:
    """The generator in a folder, in evaluation mode, with its `channels`; CheckpointError says what is wrong."""
    model = _load(folder, "generator", device)
    assert isinstance(model, Generator)
    return model


def load_prior(folder: Path, device: str | torch.device = "cpu") -> CodePrior:
    """The code prior in a folder, in evaluation mode; CheckpointError says what is wrong."""
    model = _load(folder, "prior", device)
    assert isinstance(model, CodePrior)
    return model


def load_diffusion(folder: Path, device: str | torch.device = "cpu") -> MotionDiffusion:
    """The diffusion model in a folder, in evaluation mode; CheckpointError says what is wrong."""
    model = _load(folder, "diffusion", device)
    assert isinstance(model, MotionDiffusion)
    return model


def _load(folder: Path, kind: str, device: str | torch.device) -> Network:
    config = read_config(folder)
    if config.get("kind") != kind:
        raise CheckpointError(f"{folder} holds a {config.get('kind')}, expected a {kind}")
    network, settings = KINDS[kind]
    model_settings = config.get("model", {})
    strange = set(model_settings) - {field.name for field in dataclasses.fields(settings)}
    if strange:
        raise CheckpointError(
            f"{folder} holds a {kind} of another version, with settings that this one does not know "
            f"({', '.join(sorted(strange))}): train it again"
        )
    try:
        channels = Channels.from_json(_read_json(folder / "channels.json"))
        model = network(settings(**model_settings), channels)
        model.load_state_dict(load_file(folder / "weights.safetensors"))
        model.folder = folder
    except ChannelsError as error:
        raise CheckpointError(f"{folder / 'channels.json'}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe a {kind}: {error}") from error
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder / 'weights.safetensors'} does not fit {folder / 'config.json'}: {error}"
        ) from error
    _check_weights(model, folder / "weights.safetensors")
    _check_together(folder, config)
    return model.to(device).eval()


def _check_together(folder: Path, config: dict[str, Any]) -> None:
    """Refuse files of several checkpoints in one folder; earlier versions wrote no hashes."""
    hashes = config.get("sha256", {})
    other = [name for name in hashes if (folder / name).is_file() and hashes[name] != _sha256(folder / name)]
    if other:
        raise CheckpointError(
            f"{folder / other[0]} is not the file that was written with {folder / 'config.json'}: changed since, or of "
            "another checkpoint. Put it back, or train again"
        )


def _check_weights(model: torch.nn.Module, path: Path) -> None:
    """Refuse numbers that are none, and matrices of zeros, which no training leaves."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds numbers that are not finite; train again")
    matrices = [p for p in model.parameters() if p.ndim > 1]
    if matrices and not any(p.any() for p in matrices):
        raise CheckpointError(f"{path}: all weights are zero, which no training leaves; train again")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = read_json(path)
    except DocumentError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected an object, found {type(data).__name__}")
    return data


def _write_csv(path: Path, rows: Sequence[dict[str, int | float]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
