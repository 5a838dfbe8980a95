"""Training of the peers: the code prior of a generator, and diffusion; see `baselines`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.learning.augmentation import Augmentation, mirrored_rows, varied
from bige_opensim.learning.baselines import CodePrior, DiffusionConfig, MotionDiffusion, PriorConfig, prior_loss
from bige_opensim.learning.card import peer_card
from bige_opensim.learning.channels import Mirror
from bige_opensim.learning.training import (
    Report,
    TrainingConfig,
    adam,
    body_of,
    generator_channels,
    train_network,
)
from bige_opensim.learning.training_data import Repetitions, TrainingError
from bige_opensim.learning.vqvae import Generator

MIXED = Augmentation(mixed=0.7, mix_low=-0.3, mix_high=1.3, angle_deg=2.0, translation_m=0.005, tempo=0.1)
"""How motions are varied for both: as for the generator, less bent."""


@dataclass(frozen=True)
class PriorTraining(TrainingConfig):
    """How the code prior is trained; what of `model` is the generator's is taken from it, and which it was is kept."""

    generator_sha256: str = ""
    epochs: int = 200
    patience: int = 60
    augmentation: Augmentation = MIXED
    model: PriorConfig = field(default_factory=PriorConfig)


@dataclass(frozen=True)
class DiffusionTraining(TrainingConfig):
    """How diffusion is trained."""

    epochs: int = 600
    learning_rate: float = 2e-3
    patience: int = 200
    augmentation: Augmentation = MIXED
    model: DiffusionConfig = field(default_factory=DiffusionConfig)


def train_prior(
    dataset: xr.Dataset,
    out: Path,
    config: PriorTraining | None = None,
    report: Report | None = None,
    resume: bool = True,
    *,
    generator: Generator,
) -> Path:
    """Train the code prior of a generator on the repetitions; errors as `training.train_surrogate`."""
    config = PriorTraining() if config is None else config
    size = generator.config
    model = dataclasses.replace(config.model, tokens=size.tokens, depth=size.groups * size.stages, codes=size.codes)
    config = dataclasses.replace(config, model=model)
    data = Repetitions.read(dataset, labelled=False, seed=config.seed, device=config.device)
    if data.coordinates != generator.channels.coordinates or data.q.shape[1] != size.samples:
        raise TrainingError("the dataset has other coordinates or samples than the generator: train both on the same")
    card = partial(peer_card, "Code prior: which codes of a generator follow which")
    return train_network(lambda: PriorTask(data, config, generator), card, data, config, out, report, resume)


def train_diffusion(
    dataset: xr.Dataset,
    out: Path,
    config: DiffusionTraining | None = None,
    report: Report | None = None,
    resume: bool = True,
) -> Path:
    """Train diffusion on the repetitions; errors as `training.train_surrogate`."""
    config = DiffusionTraining() if config is None else config
    data = Repetitions.read(dataset, labelled=False, seed=config.seed, device=config.device)
    if data.q.shape[1] != config.model.samples:
        raise TrainingError(f"repetitions have {data.q.shape[1]} samples, the model {config.model.samples}")
    card = partial(peer_card, "Diffusion: motions out of noise")
    return train_network(lambda: DiffusionTask(data, config), card, data, config, out, report, resume)


class _Varied:
    """Training repetitions, mirrored, mixed, bent and retimed at random."""

    def __init__(self, data: Repetitions, augmentation: Augmentation, mirrored: bool) -> None:
        self.data, self.augmentation = data, augmentation
        self.mirror = Mirror.of(data.coordinates) if mirrored else None

    def draw(self, rows: Int[Tensor, " batch"], random: torch.Generator) -> tuple[Tensor, Tensor]:
        q = self.data.q[rows]
        if self.mirror is not None:
            q = mirrored_rows(q, self.mirror, torch.rand(len(rows), generator=random) < 0.5)
        return varied(q, self.data.duration[rows], self.data.rotational, self.augmentation, random)


class PriorTask:
    """Codes of varied motions."""

    def __init__(self, data: Repetitions, config: PriorTraining, generator: Generator) -> None:
        self.data, self.generator = data, generator.to(config.device).eval()
        names = generator.channels.features
        self.body = data.features[:, [data.feature_names.index(name) for name in names]]
        self.motions = _Varied(data, config.augmentation, config.mirror)
        self.model = CodePrior(config.model, generator.channels).to(config.device)

    def optimiser(self, config: TrainingConfig) -> torch.optim.Optimizer:
        """AdamW."""
        return adam(self.model, config)

    def loss(self, rows: Int[Tensor, " batch"], random: torch.Generator) -> Float[Tensor, ""]:
        """Nats a code."""
        return self._loss(*self.motions.draw(rows, random), self.body[rows])

    def measure(self, rows: Int[Tensor, " row"]) -> dict[str, float]:
        """Nats a code, the score."""
        return {"score": float(self._loss(self.data.q[rows], self.data.duration[rows], self.body[rows]))}

    def _loss(self, q: Tensor, duration: Tensor, body: Tensor) -> Tensor:
        with torch.no_grad():
            codes = self.generator.codes(self.generator.encode(q, duration, body))
        return prior_loss(self.model(codes, body), codes)


class DiffusionTask:
    """Varied motions out of noise."""

    def __init__(self, data: Repetitions, config: DiffusionTraining) -> None:
        self.data = data
        known, self.body = body_of(data)
        self.motions = _Varied(data, config.augmentation, config.mirror)
        channels = generator_channels(data, known, self.body)
        self.model = MotionDiffusion(config.model, channels).to(config.device)

    def optimiser(self, config: TrainingConfig) -> torch.optim.Optimizer:
        """AdamW."""
        return adam(self.model, config)

    def loss(self, rows: Int[Tensor, " batch"], random: torch.Generator) -> Float[Tensor, ""]:
        """Mean square error of the scaled control points of the motion."""
        return self._loss(*self.motions.draw(rows, random), self.body[rows], random)

    def measure(self, rows: Int[Tensor, " row"]) -> dict[str, float]:
        """The loss, the score, with the same noise at every call."""
        random = torch.Generator().manual_seed(0)
        return {"score": float(self._loss(self.data.q[rows], self.data.duration[rows], self.body[rows], random))}

    def _loss(self, q: Tensor, duration: Tensor, body: Tensor, random: torch.Generator) -> Tensor:
        clean = self.model.control_points(q, duration)
        step = torch.randint(self.model.config.steps, (len(q),), generator=random).to(q.device)
        noise = torch.randn(clean.shape, generator=random).to(clean)
        return (self.model(self.model.noised(clean, step, noise), step, body) - clean).square().mean()
