"""More motions out of few: mirrored, mixed, bent and retimed repetitions, drawn on the CPU from one generator."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.learning.channels import Mirror
from bige_opensim.learning.setting_limits import require_within

ARMS = ("arm_", "elbow_", "pro_sup_", "wrist_")
"""How names of the arms' coordinates begin."""

TREMBLE_HZ = (1.5, 8.0)
"""What trembling is: faster than people move on purpose, slower than what filters take away."""

UNEVEN = 0.5
"""Standard deviation of the logarithm by which channels of one motion tremble more or less than others."""


@dataclass(frozen=True)
class Augmentation:
    """How far training motions are varied.

    `mixed`: share of repetitions moved along the line to another one of the batch, by a factor in `mix_range`.
    `angle_deg`, `translation_m`: standard deviation of the smooth curves added to a channel.
    `tempo`, `pace`: standard deviation and mean of the logarithm of the factor on the duration; a pace below 0 hurries.
    """

    mixed: float = 0.5
    mix_low: float = -0.1
    mix_high: float = 0.6
    angle_deg: float = 0.75
    translation_m: float = 0.002
    curves: int = 4
    tempo: float = 0.1
    pace: float = 0.0

    def __post_init__(self) -> None:
        mix = {"mixed": (0.0, 1.0), "mix_low": (-1.0, 2.0), "mix_high": (-1.0, 2.0)}
        size = {
            "angle_deg": (0.0, 45.0),
            "translation_m": (0.0, 0.5),
            "curves": (1, 100),
            "tempo": (0.0, 1.0),
            "pace": (-1.0, 1.0),
        }
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
    log_duration = log_duration + settings.pace + settings.tempo * torch.randn(batch, generator=random).to(q)
    angle = torch.deg2rad(torch.tensor(settings.angle_deg))
    size = torch.tensor([angle if r else settings.translation_m for r in rotational]).to(q)
    return q + size * smooth_curves(q.shape, settings.curves, random).to(q), log_duration.exp()


def with_arms_of_others(
    q: Float[Tensor, "batch time coordinate"], arms: list[int], share: float, bend_deg: float, random: torch.Generator
) -> Float[Tensor, "batch time coordinate"]:
    """Arms replaced, in a share of the motions, by those between two other motions of the batch, and bent.

    People carry their arms in more ways than a few recordings show, whatever their legs do.
    """
    first, second = q[torch.randperm(len(q), generator=random)], q[torch.randperm(len(q), generator=random)]
    between = (1.2 * torch.rand(len(q), 1, 1, generator=random) - 0.1).to(q)
    chosen = (torch.rand(len(q), 1, 1, generator=random) < share).to(q.device)
    moved = torch.where(chosen, torch.lerp(first, second, between), q)[..., arms]
    curves = smooth_curves(tuple(moved.shape), 3, random).to(q)
    places = torch.tensor(arms, dtype=torch.long, device=q.device)
    return q.index_copy(-1, places, moved + math.radians(bend_deg) * curves)


def lopsided(
    q: Float[Tensor, "batch time coordinate"], mirror: Mirror, size: float, random: torch.Generator
) -> Float[Tensor, "batch time coordinate"]:
    """Motions whose difference from their own mirror image is multiplied by exp(size n), n normal.

    With the reflection M a motion is (q + Mq) / 2 + (q - Mq) / 2, its even and its odd part. What a person does with
    one side more than with the other, and leans for, grows or shrinks as a whole, so that legs stay over the feet.
    """
    even = 0.5 * (q + mirror(q))
    factor = torch.exp(size * torch.randn(len(q), generator=random)).to(q)
    return even + factor[:, None, None] * (q - even)


FORWARD = {"ankle_angle": 1.0, "knee_angle": 2.0, "hip_flexion": 1.0}
"""What the joints of a leg bend more, where its shank leans by 1 more and the trunk as before."""


def knees_forward(
    q: Float[Tensor, "batch time coordinate"], coordinates: Sequence[str], size_deg: float, random: torch.Generator
) -> Float[Tensor, "batch time coordinate"]:
    """Motions whose knees go further forward as they bend, the shanks leaning by size |n| more at most, n normal.

    The ankle gives d, the knee 2 d and the hip d, so that foot and trunk keep their slope and the body stays over the
    feet. d grows with the flexion of both knees. Joints by the names that models of the Rajagopal family give them.
    """
    bends = {f"{name}_{side}": bend for name, bend in FORWARD.items() for side in "rl"}
    if not bends.keys() <= set(coordinates):
        return q
    bent = q[..., [coordinates.index(f"knee_angle_{side}") for side in "rl"]].mean(-1)
    least, most = bent.amin(1, keepdim=True), bent.amax(1, keepdim=True)
    lean = math.radians(size_deg) * torch.randn(len(q), 1, generator=random).abs().to(q)
    more = lean * (bent - least) / (most - least).clamp(min=1e-3)
    legs = torch.tensor([coordinates.index(name) for name in bends])
    return q.index_add(-1, legs, more[..., None] * torch.tensor(list(bends.values())).to(q))


def trembling(
    q: Float[Tensor, "batch time coordinate"],
    duration: Float[Tensor, " batch"],
    size: Float[Tensor, " coordinate"],
    random: torch.Generator,
) -> Float[Tensor, "batch time coordinate"]:
    """Motions that tremble as recorded ones do, with accelerations of `size`, rad/s^2 and m/s^2.

    Cosines cos(pi k t / T) of the frequencies k / (2 T) in `TREMBLE_HZ`, all of the same acceleration: amplitudes go
    with 1 / k^2. How much a motion trembles, and each of its channels, is drawn: from next to none to several times as
    much.
    """
    batch, time, channels = q.shape
    k = torch.arange(1, time // 2)
    frequency = k / (2.0 * duration.cpu()[:, None])  # (batch, k)
    heard = ((frequency >= TREMBLE_HZ[0]) & (frequency <= TREMBLE_HZ[1])).double()
    unit = (0.5 * heard.sum(1, keepdim=True).clamp(min=1.0)).sqrt()
    weight = heard / unit / (2.0 * torch.pi * frequency) ** 2
    basis = torch.cos(torch.pi * k * torch.linspace(0.0, 1.0, time)[:, None]).double()  # (time, k)
    curves = basis @ (weight[:, :, None] * torch.randn(batch, len(k), channels, generator=random))
    uneven = torch.exp(UNEVEN * torch.randn(batch, 1, channels, generator=random))
    much = torch.randn(batch, 1, 1, generator=random).abs()
    return q + (much * uneven * size.cpu() * curves).to(q)


def warped(
    q: Float[Tensor, "batch time coordinate"], size: float, random: torch.Generator
) -> Float[Tensor, "batch time coordinate"]:
    """Motions run through unevenly: at t + a sin(pi t) / pi + b sin(2 pi t) / (2 pi), |a| + |b| < 1, a and b random."""
    t = torch.linspace(0.0, 1.0, q.shape[1])
    a, b = (size * torch.randn(2, len(q), 1, generator=random)).clamp(-0.45, 0.45)
    at = t + a * torch.sin(math.pi * t) / math.pi + b * torch.sin(2 * math.pi * t) / (2 * math.pi)
    place = (at.clamp(0.0, 1.0) * (q.shape[1] - 1)).to(q.device)
    before = place.floor().long().clamp(max=q.shape[1] - 2)
    rows = torch.arange(len(q), device=q.device)[:, None]
    return torch.lerp(q[rows, before], q[rows, before + 1], (place - before).to(q)[..., None])


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
