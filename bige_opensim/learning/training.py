"""Training: one loop for the surrogate and the generator.

The checkpoint is the epoch with the best score on the validation repetitions; test repetitions are measured once, with
that checkpoint. A stopped training goes on exactly where it was: the same weights come out as without the stop.
"""

import dataclasses
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim import __version__
from bige_opensim.io.documents import DocumentError, read_json, read_toml
from bige_opensim.io.file_lock import locked
from bige_opensim.learning import intervals
from bige_opensim.learning.augmentation import (
    ARMS,
    Augmentation,
    mirrored_rows,
    shuffled_batches,
    varied,
    warped,
    with_arms_of_others,
)
from bige_opensim.learning.card import generator_card, surrogate_card
from bige_opensim.learning.channels import Channels, ChannelsError, Mirror, Scaling
from bige_opensim.learning.checkpoint import (
    CheckpointError,
    Network,
    is_checkpoint,
    load_generator,
    load_surrogate,
    read_config,
    read_references,
    require_free,
    save_checkpoint,
)
from bige_opensim.learning.dataset import joined
from bige_opensim.learning.familiarity import FAMILIAR, Familiar
from bige_opensim.learning.intervals import LEAST_ACTIVATION
from bige_opensim.learning.legs import Carried, told
from bige_opensim.learning.motion_stream import MotionStream, StreamSettings
from bige_opensim.learning.muon import Muon
from bige_opensim.learning.setting_limits import require_within
from bige_opensim.learning.subject_inputs import subject_inputs
from bige_opensim.learning.surrogate import Surrogate, SurrogateConfig, surrogate_loss
from bige_opensim.learning.training_data import Repetitions, TrainingError, spread_over
from bige_opensim.learning.training_state import Progress, load_state, remove_state, save_state
from bige_opensim.learning.vqvae import Generator, GeneratorConfig
from bige_opensim.physics.mechanics import Mechanics
from bige_opensim.settings import SettingError, usable_device

Report = Callable[[int, int, dict[str, int | float]], None]
"""(epoch, epochs, metrics of the epoch)."""


MEASURED = 2000
"""Repetitions, evenly among those trained on, that scalings are measured of."""

REFINING, REFINING_SLOWLY = 0.1, 0.02
"""Share of the learning rate with which a trained network goes on, which must not forget what it knows; and those that
few people's repetitions hardly know better: surrogates that know how feet share the load, and generators."""

GUESS = 0.5
"""What the error of what limbs carry by the network's guess counts beside that of what they carry in the end."""

TOGETHER = 256
"""Repetitions that are predicted together."""

LIMITS = {
    "seed": (0, 2**63 - 1),
    "epochs": (1, 100_000),
    "batch_size": (1, 100_000),
    "learning_rate": (1e-9, 1.0),
    "weight_decay": (0.0, 10.0),
    "warmup_epochs": (0, 100_000),
    "clip_norm": (1e-6, 1e6),
    "patience": (1, 1_000_000),
    "state_every": (1, 100_000),
}


@dataclass(frozen=True)
class TrainingConfig:
    """How any network is trained. `epochs` is the length of the learning rate's schedule, stopped early or not."""

    seed: int = 0
    epochs: int = 200
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup_epochs: int = 10
    clip_norm: float = 1.0
    patience: int = 80
    mirror: bool = True
    state_every: int = 10
    device: str = "cpu"

    def __post_init__(self) -> None:
        require_within(self, LIMITS, TrainingError)
        try:
            usable_device(self.device)
        except SettingError as error:
            raise TrainingError(str(error)) from error


@dataclass(frozen=True)
class Refining(TrainingConfig):
    """How a network is trained that may go on from another: `start`, a checkpoint whose weights and scaling training
    starts from, at a part of the learning rate; none for random weights.
    """

    start: str = ""


@dataclass(frozen=True)
class SurrogateTraining(Refining):
    """How the surrogate is trained.

    `peak_weight`: see `surrogate_loss`; `evenness`: errors of a muscle count with the power -evenness of the standard
    deviation of its activation (plus 0.02), so that muscles which do little are learned, too; `activation_weight`: of
    that error; `carried_weight`: of the mean absolute error, in standard deviations, of what limbs carry, where the
    labels tell it; `thinning`: every so
    many of a motion's labelled frames are trained on at once; `stream`: motions besides the recorded.
    """

    learning_rate: float = 5e-3

    peak_weight: float = 2.0
    evenness: float = 0.0
    activation_weight: float = 1.0
    carried_weight: float = 1.0
    thinning: int = 4
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: SurrogateConfig = field(default_factory=SurrogateConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = {
            "peak_weight": (0.0, 1e6),
            "evenness": (0.0, 1.0),
            "activation_weight": (0.0, 1e3),
            "carried_weight": (0.0, 1e3),
            "thinning": (1, 20),
        }
        require_within(self, limits, TrainingError)


@dataclass(frozen=True)
class GeneratorTraining(Refining):
    """How the generator is trained.

    Beside `augmentation`: `other_arms`, share of repetitions that get other people's arms; `arm_deg`, size of the
    smooth curves that bend arms; `phase`, of the unevenness in time; `body_size`, standard deviation of the factor on
    the person's lengths and on the body's way alike.
    """

    epochs: int = 600
    learning_rate: float = 4e-3
    patience: int = 200
    other_arms: float = 0.5
    arm_deg: float = 15.0
    phase: float = 0.15
    body_size: float = 0.08
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(
            mixed=0.7, mix_low=-0.3, mix_high=1.3, angle_deg=4.0, translation_m=0.01, curves=6
        )
    )
    model: GeneratorConfig = field(default_factory=GeneratorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = {"other_arms": (0.0, 1.0), "arm_deg": (0.0, 90.0), "phase": (0.0, 0.5), "body_size": (0.0, 0.5)}
        require_within(self, limits, TrainingError)


BODY = ("mass_kg", "femur_length_m", "tibia_length_m", "trunk_length_m")
"""Features of a person that shape how the body moves."""

ConfigT = TypeVar("ConfigT", bound=TrainingConfig)
Part = TypeVar("Part")


@runtime_checkable
class Task(Protocol):
    """A network and what it is to learn."""

    @property
    def model(self) -> Network:
        """The network."""

    def loss(self, rows: Int[Tensor, " batch"], random: torch.Generator) -> Float[Tensor, ""]:
        """Training loss of repetitions, augmented by draws from `random`."""

    def optimiser(self, config: TrainingConfig) -> torch.optim.Optimizer:
        """What moves the weights."""

    def measure(self, rows: Int[Tensor, " row"]) -> dict[str, float]:
        """Metrics of repetitions as they are; "score" is the one that chooses the checkpoint, lower is better."""


def read_training_config(path: Path, kind: type[ConfigT]) -> ConfigT:
    """A training configuration from TOML or JSON; keys are the fields, tables the nested dataclasses.

    Raises
    ------
    TrainingError
        An unreadable file, or a key or value that the configuration does not know.

    """
    try:
        return configured(kind, read_json(path) if path.suffix == ".json" else read_toml(path))
    except DocumentError as error:
        raise TrainingError(str(error)) from error
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{path}: {error}") from error


def train_surrogate(
    dataset: xr.Dataset,
    out: Path,
    config: SurrogateTraining | None = None,
    report: Report | None = None,
    resume: bool = True,
    stream: MotionStream | None = None,
    mechanics: Mechanics | None = None,
) -> Path:
    """Train kinematics to activations and write the checkpoint folder `out`; see `fit` for the loop.

    Motions of a `stream`, whose shards have been made, are trained on besides. `mechanics` are what the people's models
    say of the repetitions, not a number where that is not known; a stream needs them.

    Raises
    ------
    TrainingError
        Data that cannot be trained with, or `out` belongs to another run and `resume` is set.
    LockedError
        Another process trains into `out`.

    """
    config = SurrogateTraining() if config is None else config
    data = Repetitions.read(dataset, labelled=True, seed=config.seed, device=config.device)
    if config.stream.motions and stream is None:
        raise TrainingError(
            f"stream.motions = {config.stream.motions}: a stream needs the bodies that motions are put on"
        )
    if mechanics is not None:
        data = data.with_mechanics(mechanics)
    if stream is not None:
        data = data.with_stream(stream.read(), stream.spans, stream.fingerprint)
    return train_network(lambda: SurrogateTask(data, config), surrogate_card, data, config, out, report, resume)


def train_generator(
    dataset: xr.Dataset,
    out: Path,
    config: GeneratorTraining | None = None,
    report: Report | None = None,
    resume: bool = True,
    references: xr.Dataset | None = None,
) -> Path:
    """Train the VQ-VAE of repetitions and write the checkpoint folder `out`; errors as `train_surrogate`.

    `references` go along as `references.nc`: where searches start and what they call new; the training repetitions,
    where none are given. A network that is gone on from (`start`) rehearses its own references besides, and keeps those
    of the same movement among the new ones: few people's repetitions tell of themselves alone, and searches that start
    from nobody else's find no squat that is deeper than theirs.
    """
    config = GeneratorTraining() if config is None else config
    data = Repetitions.read(dataset, labelled=False, seed=config.seed, device=config.device)
    if references is None:
        references = dataset.isel(repetition=dataset["split"].values == "train")
    if config.start:
        generator_from(Path(config.start), data)
        before = _read(read_references, Path(config.start), ": a generator that is gone on from rehearses them")
        data = data.rehearsing(before)
        if before.attrs.get("movement") == references.attrs.get("movement"):
            references = joined(references, before)
    return train_network(
        lambda: GeneratorTask(data, config), generator_card, data, config, out, report, resume, references
    )


class SurrogateTask:
    """Activations from kinematics, mirrored at random."""

    def __init__(self, data: Repetitions, config: SurrogateTraining) -> None:
        self.data, self.config = data, config
        names = (data.coordinates, data.muscles, data.feature_names)
        self.mirrors = tuple(Mirror.of(n) for n in names) if config.mirror else None
        fit = spread_over(data.rows["fit"], MEASURED)
        spread = data.activations[fit].flatten(0, 1).std(0, correction=0)
        weight = (spread + LEAST_ACTIVATION) ** -config.evenness
        self.muscle_weight = weight / weight.mean()
        if config.start:
            self.model = surrogate_from(Path(config.start), data).to(config.device)
            return
        mechanics = data.mechanics(fit)
        channels = Channels.measure(
            data.q[fit].cpu(),
            data.duration[fit].cpu(),
            subject_inputs(data.features[fit].cpu(), data.feature_names),
            coordinates=data.coordinates,
            rotational=data.rotational,
            muscles=data.muscles,
            feature_names=data.feature_names,
            loads=None if mechanics is None else told(mechanics, len(data.coordinates), mechanics.spans.moved).cpu(),
            moved=() if mechanics is None else [data.coordinates[k] for k in mechanics.spans.moved],
        )
        self.model = Surrogate(config.model, channels).to(config.device)
        self.model.start_from(data.activations[fit].mean((0, 1)))

    def loss(self, rows: Int[Tensor, " batch"], random: torch.Generator) -> Float[Tensor, ""]:
        """Weighted absolute error of the activations, and that of what limbs carry."""
        q, target, features = (getattr(self.data, name)[rows] for name in ("q", "activations", "features"))
        at = self._thinned(q.shape[1], random)
        target, mechanics = target[:, at], self.data.mechanics(rows, at)
        if mechanics is not None and self.model.channels.loads:
            found = self.model.carried(q, self.data.duration[rows], features, at=at, mechanics=mechanics)
            return self._loss_of(found, target, mechanics, self.data.carried[rows][:, at])
        if self.mirrors is not None and self.model.sides.count == 1:
            flip = torch.rand(len(rows), generator=random) < 0.5
            both = zip((q, target, features), self.mirrors, strict=True)
            q, target, features = (mirrored_rows(x, m, flip) for x, m in both)
        return self._off(self.model(q, self.data.duration[rows], features, at=at), target)

    def _loss_of(self, found: Carried, target: Tensor, mechanics: Mechanics, carried: Tensor) -> Float[Tensor, ""]:
        """Of what limbs carry. Where labels do not tell it, activations alone teach, whatever they weigh elsewhere."""
        config, legs = self.config, self.model.legs
        true = carried[..., legs.moved]
        known = torch.isfinite(true).flatten(1).all(1)
        of_known = known[:, None, None]
        errors = [torch.where(of_known, legs.error(net, true), 0.0).abs().mean() for net in (found.net, found.guess)]
        loss = config.carried_weight * (errors[0] + GUESS * errors[1])
        for chosen, weight in ((known, config.activation_weight), (~known, 1.0)):
            if weight and chosen.any():
                some = torch.nonzero(chosen).flatten()
                shared = self.model.shared(Carried(*(x[some] for x in found)), mechanics.of(some))
                loss = loss + weight * chosen.float().mean() * self._off(shared, target[some])
        return loss

    def _off(self, found: Tensor, target: Tensor) -> Float[Tensor, ""]:
        return surrogate_loss(found, target, self.config.peak_weight, self.muscle_weight)

    def _thinned(self, samples: int, random: torch.Generator) -> Int[Tensor, " frame"]:
        """Every so many of the frames that streams label, from a random one on.

        Neighbours teach nearly the same, other motions more; what lies between labelled frames on straight lines
        teaches wrongly.
        """
        every, labelled = self.config.thinning, self.config.stream.every
        first = int(torch.randint(every, (1,), generator=random))
        return torch.arange(first * labelled, samples, every * labelled)

    def optimiser(self, config: TrainingConfig) -> torch.optim.Optimizer:
        """Muon; the output learns by Adam."""
        slower = REFINING_SLOWLY if self.model.channels.loads else REFINING
        share = slower if self.config.start else 1.0
        return Muon(self.model, self.model.outputs, config.learning_rate, config.weight_decay, share)

    def predict(self, rows: Int[Tensor, " row"], every: int = 1) -> Float[Tensor, "row time muscle"]:
        """Activations of repetitions as they are, at every so many frames."""
        data, at = self.data, torch.arange(0, self.data.q.shape[1], every)
        parts = [
            self.model(
                data.q[some], data.duration[some], data.features[some], at=at, mechanics=data.mechanics(some, at)
            )
            for some in rows.split(TOGETHER)
        ]
        return torch.cat(parts)

    def _found_and_true(self, rows: Int[Tensor, " row"], every: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Activations predicted and labelled at every so many frames, and whose they are, on the processor."""
        found, true = self.predict(rows, every), self.data.activations[rows][:, ::every]
        return found.cpu(), true.cpu(), self.data.groups(rows)

    @torch.no_grad()
    def calibrate(self) -> None:
        """Tell the trained network how wide its intervals are, and what is outside; see `intervals`, `familiarity`.

        Those of a network that was trained on are never narrower than they were: few people would size them anew.
        """
        model, data, rows = self.model.eval(), self.data, self.data.rows
        people = held_out = rows["validation"]
        every = 1
        if len(rows.get("calibration", ())):
            held_out, every = rows["calibration"], self.config.stream.every
        width = intervals.widths(*self._found_and_true(held_out, every))
        size = max(1.0, intervals.factor(*self._found_and_true(people), width))
        wide = size * width.to(model.interval)
        model.interval.copy_(torch.maximum(wide, model.interval) if self.config.start else wide)
        fit = spread_over(rows["fit"], MEASURED)
        if model.channels.loads:
            frames = data.q[fit].flatten(0, 1)
            model.poses.copy_(frames[torch.linspace(0, len(frames) - 1, len(model.poses)).long()])
        known = {
            "motions": Familiar.of(model.postures_and_speeds(data.q[fit], data.duration[fit])),
            "bodies": Familiar.of(model.scaled_body(data.features[fit])),
        }
        for what, familiar in known.items():
            getattr(model, f"{what}_mean").copy_(familiar.mean)
            getattr(model, f"{what}_whiten").copy_(familiar.whiten)
            getattr(model, f"{what}_limit").fill_(1.0)
        judged = torch.cat([spread_over(held_out, MEASURED), fit, people])
        distances = model.strangeness(data.q[judged], data.duration[judged], data.features[judged])
        for what, distance in zip(known, distances, strict=True):
            getattr(model, f"{what}_limit").fill_(float(torch.quantile(distance, FAMILIAR)))

    def measure(self, rows: Int[Tensor, " row"]) -> dict[str, float]:
        """Loss (the score), root mean square and mean absolute error over frames and muscles, error of the peaks."""
        predicted, target = self.predict(rows), self.data.activations[rows]
        return {
            "score": float(surrogate_loss(predicted, target, self.config.peak_weight, self.muscle_weight)),
            "rmse": float((predicted - target).square().mean().sqrt()),
            "mae": float((predicted - target).abs().mean()),
            "peak_mae": float((predicted.amax(1) - target.amax(1)).abs().mean()),
        }


class GeneratorTask:
    """Motions through the codes and back, mirrored, mixed, bent and retimed at random."""

    def __init__(self, data: Repetitions, config: GeneratorTraining) -> None:
        self.data, self.config = data, config
        if not config.start and data.q.shape[1] != config.model.samples:
            raise TrainingError(f"repetitions have {data.q.shape[1]} samples, the generator {config.model.samples}")
        known, self.body = body_of(data)
        power = {"m": 1.0, "kg": 3.0}
        self.power = self.body.new_tensor([power[name.rpartition("_")[2]] for name in known])
        if config.start:
            network = generator_from(Path(config.start), data)
        else:
            channels = generator_channels(data, known, self.body)
            of_bodies = channels.scaling["features"]
            spread = config.body_size * self.power.cpu().numpy() * of_bodies.offset
            wider = Scaling(of_bodies.offset, tuple(float(x) for x in np.hypot(of_bodies.scale, spread)))
            channels = dataclasses.replace(channels, scaling=channels.scaling | {"features": wider})
            network = Generator(config.model, channels)
        self.model = network.to(config.device)
        self.mirror = Mirror.of(data.coordinates) if config.mirror else None
        self.arms = [k for k, name in enumerate(data.coordinates) if name.startswith(ARMS)]

    def loss(self, rows: Int[Tensor, " batch"], random: torch.Generator) -> Float[Tensor, ""]:
        """Weighted sum of the generator's loss terms."""
        q, duration, settings = self.data.q[rows], self.data.duration[rows], self.config
        if self.mirror is not None:
            q = mirrored_rows(q, self.mirror, torch.rand(len(rows), generator=random) < 0.5)
        q, duration = varied(q, duration, self.data.rotational, settings.augmentation, random)
        q = warped(q, settings.phase, random)
        if self.arms:
            q = with_arms_of_others(q, self.arms, settings.other_arms, settings.arm_deg, random)
        size = (settings.body_size * torch.randn(len(rows), 1, generator=random)).exp().to(q)
        body = self.body[rows] * size**self.power
        angle = torch.tensor(self.data.rotational, device=q.device)
        q = torch.where(angle, q, size[..., None] * q)
        return self.model.loss(q, duration, self.model(q, duration, body))["total"]

    def optimiser(self, config: TrainingConfig) -> torch.optim.Optimizer:
        """AdamW."""
        return adam(self.model, config, REFINING_SLOWLY if self.config.start else 1.0)

    def measure(self, rows: Int[Tensor, " row"]) -> dict[str, float]:
        """Loss less commitment (the score), reconstruction errors in degrees, mm and s, and share of codes in use."""
        q, duration = self.data.q[rows], self.data.duration[rows]
        through = self.model(q, duration, self.body[rows])
        terms = self.model.loss(q, duration, through)
        angle = torch.tensor(self.data.rotational, device=q.device)
        arm = torch.tensor([k in self.arms for k in range(q.shape[-1])], device=q.device)
        square = (through.q - q).square()
        return {
            "score": float(terms["total"] - self.model.config.commitment_weight * terms["commitment"]),
            "rmse_deg": math.degrees(float(square[..., angle].mean().sqrt())),
            "rmse_legs_deg": math.degrees(float(square[..., angle & ~arm].mean().sqrt())),
            "rmse_mm": 1000 * float(square[..., ~angle].mean().sqrt()),
            "duration_mae_s": float((through.duration - duration).abs().mean()),
            "codes_used": float(through.quantised.indices[..., 0].unique().numel() / self.model.config.codes),
        }


def body_of(data: Repetitions) -> tuple[tuple[str, ...], Float[Tensor, "repetition feature"]]:
    """Names and values of the features that shape how the body moves."""
    known = [k for k, name in enumerate(data.feature_names) if name in BODY]
    return tuple(data.feature_names[k] for k in known), data.features[:, known]


def generator_channels(
    data: Repetitions, known: tuple[str, ...], body: Float[Tensor, "repetition feature"]
) -> Channels:
    """Channels of networks that make motions, scaled by the repetitions that are trained on."""
    fit = data.rows["fit"]
    return Channels.measure(
        data.q[fit],
        data.duration[fit],
        body[fit],
        coordinates=data.coordinates,
        rotational=data.rotational,
        feature_names=known,
    )


def surrogate_from(folder: Path, data: Repetitions) -> Surrogate:
    """A trained surrogate, to be trained on; TrainingError where the data have other channels."""
    model = _read(load_surrogate, folder)
    known = model.channels
    if known.loads and data.loads is None:
        raise TrainingError(
            f"start: {folder.name} shares what joints carry among people's own muscles: give the models that the "
            "repetitions were labelled on, or folders with them (--models)"
        )
    _require_same(
        folder,
        ("coordinates", data.coordinates, known.coordinates),
        ("muscles", data.muscles, known.muscles),
        ("features", data.feature_names, known.features),
    )
    return model


def generator_from(folder: Path, data: Repetitions) -> Generator:
    """A trained generator, to be trained on; TrainingError where the data have other coordinates or features."""
    model = _read(load_generator, folder)
    known = model.channels
    _require_same(
        folder, ("coordinates", data.coordinates, known.coordinates), ("features", body_of(data)[0], known.features)
    )
    if data.q.shape[1] != model.config.samples:
        raise TrainingError(
            f"start: repetitions have {data.q.shape[1]} samples, {folder.name} knows {model.config.samples}"
        )
    return model


def _read(read: Callable[[Path], Part], folder: Path, why: str = "") -> Part:
    """Of the checkpoint that training starts from; TrainingError where it cannot be read."""
    try:
        return read(folder)
    except CheckpointError as error:
        raise TrainingError(f"start: {error}{why}") from error


def _require_same(folder: Path, *channels: tuple[str, tuple[str, ...], tuple[str, ...]]) -> None:
    for what, mine, theirs in channels:
        if mine != theirs:
            alone = sorted(set(mine) ^ set(theirs))
            difference = f"in one of them only: {', '.join(alone[:5])}" if alone else "in another order"
            raise TrainingError(
                f"start: the {what} of {folder.name} are not those of the data, {difference}. Label the recordings "
                "with models of the family that it was trained on, or train from nothing"
            )


def adam(model: torch.nn.Module, config: TrainingConfig, share: float = 1.0) -> torch.optim.Optimizer:
    """AdamW with the decay of a configuration, and a share of its rate."""
    return torch.optim.AdamW(
        [{"params": list(model.parameters()), "share": share}],
        lr=share * config.learning_rate,
        weight_decay=config.weight_decay,
        fused=config.device.startswith("cuda"),
    )


def fit(
    task: Task, data: Repetitions, config: TrainingConfig, run: dict[str, Any], state: Path, report: Report | None
) -> Progress:
    """The training loop: the task's optimiser, warm-up and cosine, clipped gradients, early stopping on validation.

    `run` identifies the run; a state file of the same run is gone on from. The task's model ends with the weights of
    the best epoch.
    """
    random = torch.Generator().manual_seed(config.seed)
    optimiser = task.optimiser(config)
    progress = Progress(0, 0, math.inf, {}, [])
    if state.is_file():
        progress = load_state(state, run, task.model, optimiser, random)
    elif isinstance(config, Refining) and config.start:  # what is gone on from is a candidate, too
        progress.best_score = measured_as(task, data.rows["validation"])["score"]
        progress.best_weights = {k: v.detach().clone() for k, v in task.model.state_dict().items()}
    while progress.epoch < config.epochs and progress.epoch - progress.best_epoch < config.patience:
        rate = config.learning_rate * schedule(progress.epoch, config)
        for group in optimiser.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        losses = _epoch(task, data.rows["fit"], config, optimiser, random)
        progress.epoch += 1
        measured = measured_as(task, data.rows["validation"])
        row: dict[str, int | float] = {
            "epoch": progress.epoch,
            "learning_rate": rate,
            "train_loss": sum(losses) / len(losses),
        }
        progress.history.append(row | {f"validation_{name}": value for name, value in measured.items()})
        if measured["score"] < progress.best_score:
            progress.best_epoch, progress.best_score = progress.epoch, measured["score"]
            progress.best_weights = {k: v.detach().clone() for k, v in task.model.state_dict().items()}
        if progress.epoch % config.state_every == 0:
            save_state(state, run, progress, task.model, optimiser, random)
        if report is not None:
            report(progress.epoch, config.epochs, progress.history[-1])
    if not progress.best_weights:
        raise TrainingError("the validation score was never a number; lower learning_rate or look at the data")
    task.model.load_state_dict(progress.best_weights)
    return progress


def schedule(epoch: int, config: TrainingConfig) -> float:
    """Factor on the learning rate: linear warm-up, then a cosine down to a hundredth."""
    if epoch < config.warmup_epochs:
        return (epoch + 1) / (config.warmup_epochs + 1)
    done = (epoch - config.warmup_epochs) / max(1, config.epochs - config.warmup_epochs)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def measured_as(task: Task, rows: Int[Tensor, " row"]) -> dict[str, float]:
    """Metrics of repetitions with the model in evaluation mode."""
    task.model.eval()
    return task.measure(rows)


def _epoch(
    task: Task, rows: Tensor, config: TrainingConfig, optimiser: torch.optim.Optimizer, random: torch.Generator
) -> list[float]:
    task.model.train()
    losses = []
    for batch in shuffled_batches(rows, config.batch_size, random):
        loss = task.loss(batch, random)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), config.clip_norm)
        optimiser.step()
        losses.append(loss.detach())  # asked for at the end: every question would stop the device
    told = torch.stack(losses).tolist()
    if not all(map(math.isfinite, told)):
        raise TrainingError("the training loss is not finite; lower learning_rate or look at the data")
    return told


def train_network(
    make: Callable[[], Task],
    card: Callable[..., str],
    data: Repetitions,
    config: TrainingConfig,
    out: Path,
    report: Report | None,
    resume: bool,
    references: xr.Dataset | None = None,
) -> Path:
    """Train what `make` makes, on from where a stopped run was, and write its checkpoint; errors as `train_surrogate`.

    `card(model, data, settings, provenance, measure)` writes card.md; `references` go along with a generator.
    """
    out = Path(os.path.realpath(out))
    require_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out, wait=False):
        return _train_alone(make, card, data, config, out, report, resume, references)


def _train_alone(
    make: Callable[[], Task],
    card: Callable[..., str],
    data: Repetitions,
    config: TrainingConfig,
    out: Path,
    report: Report | None,
    resume: bool,
    references: xr.Dataset | None,
) -> Path:
    settings = dataclasses.asdict(config)
    run = {"configuration": settings, "data": data.fingerprint}
    state = out.with_name(f"{out.name}.training") / "state.safetensors"
    if not resume:
        state.unlink(missing_ok=True)
    elif is_checkpoint(out):
        return _finished(out, run)
    began = time.perf_counter()
    devices = [torch.device(config.device)] if config.device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(config.seed)
        try:
            task = make()
        except ChannelsError as error:
            raise TrainingError(f"{error}; train with mirror = false, or on data with both sides") from error
        progress = fit(task, data, config, run, state, report)
        if isinstance(task, SurrogateTask):
            task.calibrate()
    provenance = {
        "bige_opensim": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seed": config.seed,
        "data_sha256": data.fingerprint,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "seconds": round(time.perf_counter() - began, 1),
    }
    with torch.no_grad():
        text = card(task.model.eval(), data, settings, provenance, lambda rows: measured_as(task, rows))
    save_checkpoint(
        out,
        task.model,
        training=settings,
        provenance=provenance,
        metrics=progress.history,
        card=text,
        references=references,
    )
    remove_state(state)
    return out


def _finished(out: Path, run: dict[str, Any]) -> Path:
    """A checkpoint of the same run needs nothing more; one of another run is not overwritten silently."""
    config = read_config(out)
    found = {"configuration": config.get("training"), "data": config.get("provenance", {}).get("data_sha256")}
    different = [name for name, value in json.loads(json.dumps(run)).items() if found[name] != value]
    if different:
        raise TrainingError(
            f"{out} holds a checkpoint trained with other {' and '.join(different)}; "
            "train into another folder, or replace it with resume=False"
        )
    return out


def configured(kind: type[Any], data: dict[str, Any]) -> Any:
    """A dataclass from a table of TOML or JSON.

    Nested dataclasses come from nested tables; whole numbers are taken for floats, text for paths; a field without a
    default value takes what comes.

    Raises
    ------
    TrainingError
        A key that is no field, or a value of another kind than the field's default.

    """
    fields = {f.name: f for f in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in data.items():
        if name not in fields:
            raise TrainingError(f"unknown key {name!r}; {kind.__name__} has {', '.join(fields)}")
        default = getattr(kind(), name)
        if dataclasses.is_dataclass(default):
            values[name] = configured(type(default), value)
        elif type(value) is type(default) or (isinstance(default, float) and type(value) is int):
            values[name] = type(default)(value)
        elif default is None:
            values[name] = value
        elif isinstance(default, Path) and isinstance(value, str):
            values[name] = Path(value)
        else:
            raise TrainingError(f"{name} = {value!r}: expected {type(default).__name__}")
    return kind(**values)
