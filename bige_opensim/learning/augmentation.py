"""More motions out of few: mirrored, mixed, bent and retimed repetitions, drawn on the CPU from one generator."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.learning.channels import Mirror
from bige_opensim.learning.setting_limits import require_within


@dataclass(frozen=True)
class Augmentation:
    """How far the generator's training motions are varied.

    `mixed`: share of repetitions moved along the line to another one of the batch, by a factor in `mix_range`.
    `angle_deg`, `translation_m`: standard deviation of the smooth curves added to a channel.
    `tempo`: standard deviation of the logarithm of the factor on the duration.
    """

    mixed: float = 0.5
    mix_low: float = -0.1
    mix_high: float = 0.6
    angle_deg: float = 0.75
    translation_m: float = 0.002
    curves: int = 4
    tempo: float = 0.1

    def __post_init__(self) -> None:
        mix = {"mixed": (0.0, 1.0), "mix_low": (-1.0, 2.0), "mix_high": (-1.0, 2.0)}
        size = {"angle_deg": (0.0, 45.0), "translation_m": (0.0, 0.5), "curves": (1, 100), "tempo": (0.0, 1.0)}
        require_within(self, mix | size)


def mirrored_rows(values: Float[Tensor, "batch *rest"], mirror: Mirror, flip: Tensor) -> Float[Tensor, "batch *rest"]:
    """Rows marked in `flip` (batch,) reflected, the others as they are."""
    chosen = flip.to(values.device).view(-1, *[1] * (values.ndim - 1))
    return torch.where(chosen, mirror(values), values)


def varied(
    q: Float[Tensor, "batch time coordinate"],
    duration: Float[Tensor, " batch"],
    rotational: tuple[bool, ...],
    settings: Augmentation,
    random: torch.Generator,
) -> tuple[Float[Tensor, "batch time coordinate"], Float[Tensor, " batch"]]:
    """Mixed with others of the batch, bent by low-frequency curves, and retimed; rad, m and s."""
    batch = len(q)
    partner = torch.randperm(batch, generator=random)
    span = settings.mix_high - settings.mix_low
    share = settings.mix_low + span * torch.rand(batch, generator=random)
    share = (share * (torch.rand(batch, generator=random) < settings.mixed)).to(q)
    q = torch.lerp(q, q[partner], share[:, None, None])
    log_duration = torch.lerp(duration.log(), duration[partner].log(), share)
    log_duration = log_duration + settings.tempo * torch.randn(batch, generator=random).to(q)
    angle = torch.deg2rad(torch.tensor(settings.angle_deg))
    size = torch.tensor([angle if r else settings.translation_m for r in rotational]).to(q)
    return q + size * smooth_curves(q.shape, settings.curves, random).to(q), log_duration.exp()


def smooth_curves(shape: tuple[int, ...], curves: int, random: torch.Generator) -> Float[Tensor, "batch time channel"]:
    """Random cosine series of the cycle, cos(pi k t) for k < curves with weights 1 / (1 + k), of unit mean variance."""
    batch, time, channels = shape
    order = torch.arange(curves)
    basis = torch.cos(torch.pi * order * torch.linspace(0, 1, time)[:, None]) / (1 + order)  # (time, curves)
    basis = basis / basis.square().sum(1).mean().sqrt()
    return basis @ torch.randn(batch, curves, channels, generator=random)


def shuffled_batches(rows: Int[Tensor, " row"], size: int, random: torch.Generator) -> list[Int[Tensor, " batch"]]:
    """All rows in random order, in batches of nearly equal size."""
    order = rows[torch.randperm(len(rows), generator=random)]
    return list(order.tensor_split(max(1, -(-len(rows) // size))))
