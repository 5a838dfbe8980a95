"""The state of an unfinished training, from which it goes on exactly: one safetensors file, its JSON in the header."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bige_opensim.learning.training_data import TrainingError


@dataclass
class Progress:
    """How far a training came: epochs done, the best one by validation, its weights, one row of metrics per epoch."""

    epoch: int
    best_epoch: int
    best_score: float
    best_weights: dict[str, Tensor]
    history: list[dict[str, int | float]]


def save_state(
    path: Path,
    run: dict[str, Any],
    progress: Progress,
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    random: torch.Generator,
) -> None:
    """Write weights, optimiser moments, random states and progress; `run` says which run this is."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in progress.best_weights.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in moments.items()}
    tensors |= {"random.data": random.get_state(), "random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    header = {
        "run": json.dumps(run, sort_keys=True),
        "epoch": str(progress.epoch),
        "best": json.dumps([progress.best_epoch, progress.best_score]),
        "history": json.dumps(progress.history),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, partial, metadata=header)
    partial.replace(path)


def remove_state(path: Path) -> None:
    """Remove a state, what killed processes left of states, and their folder when nothing else is in it."""
    for left in (path, *path.parent.glob(f".{path.name}.*")):
        left.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


def load_state(
    path: Path, run: dict[str, Any], model: torch.nn.Module, optimiser: torch.optim.Optimizer, random: torch.Generator
) -> Progress:
    """Put a saved state back into model, optimiser and random generators.

    Raises
    ------
    TrainingError
        The file is damaged, or belongs to a run with other data or another configuration.

    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found, best, history = (json.loads(header[name]) for name in ("run", "best", "history"))
        epoch = int(header["epoch"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} is not a readable training state ({error}); remove it and train anew") from error
    different = sorted(key for key, value in json.loads(json.dumps(run)).items() if found.get(key) != value)
    if different:
        raise TrainingError(
            f"{path} belongs to a training with other {' and '.join(different)}; "
            "remove it, train into another folder, or start anew with resume=False"
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    model.load_state_dict(part("model."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimiser.").items():
        index, moment = name.split(".")
        state.setdefault(int(index), {})[moment] = value
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
    random.set_state(tensors["random.data"])
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return Progress(epoch, int(best[0]), float(best[1]), part("best."), history)
