"""The surrogate: a transformer over time that predicts muscle activations from kinematics.

Architecture: the encoder of Vaswani et al. 2017, "Attention is all you need" (arXiv:1706.03762), with the normalisation
before each layer (Xiong et al. 2020, arXiv:2002.04745). Attention runs over the frames of one motion, never over the
batch. Static optimization knows a frame by its coordinates, speeds and accelerations, so these are the inputs.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from bige_opensim.learning.channels import Channels, Normaliser
from bige_opensim.learning.derivatives import time_derivatives
from bige_opensim.learning.setting_limits import require_within

FEATURE_LIMIT = 3.0
"""Scaled subject features bend towards this bound: few subjects are seen, and a new one must not lead far outside."""


@dataclass(frozen=True)
class SurrogateConfig:
    """Size of the surrogate, and what of it is dropped at random in training."""

    width: int = 64
    heads: int = 4
    layers: int = 3
    dropout: float = 0.1
    subject_dropout: float = 0.2

    def __post_init__(self) -> None:
        require_within(self, {"width": (1, 8192), "heads": (1, 256), "layers": (1, 100)})
        if min(self.width, self.heads, self.layers) < 1 or self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of 2 * heads, got width {self.width}, heads {self.heads}")
        if not (0 <= self.dropout < 1 and 0 <= self.subject_dropout < 1):
            raise ValueError(f"dropout rates lie in [0, 1), got {self.dropout} and {self.subject_dropout}")


class TimeAttention(nn.Module):
    """Multi-head self-attention over the frames of each motion."""

    def __init__(self, config: SurrogateConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """x (batch, time, width); visible (batch, 1, 1, time), False where a frame is padding."""
        batch, time, width = x.shape
        packed = self.query_key_value(x).view(batch, time, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4)  # 3 x (batch, head, time, width / heads)
        dropout = self.dropout if self.training else 0.0
        y = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout)
        return self.out(y.transpose(1, 2).reshape(batch, time, width))


class Block(nn.Module):
    """Attention and a two-layer perceptron, each normalised before and added to its input."""

    def __init__(self, config: SurrogateConfig) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(config.width)
        self.attention = TimeAttention(config)
        self.before_perceptron = nn.LayerNorm(config.width)
        hidden = 4 * config.width
        self.perceptron = nn.Sequential(nn.Linear(config.width, hidden), nn.GELU(), nn.Linear(hidden, config.width))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """(batch, time, width) to the same."""
        x = x + self.drop(self.attention(self.before_attention(x), visible))
        return x + self.drop(self.perceptron(self.before_perceptron(x)))


class Surrogate(nn.Module):
    """Kinematics and subject to muscle activations; names, units and scaling in `channels`.

    The weights of the subject start at zero: a feature that all training subjects share must not move a new one.
    """

    folder: Path | None = None
    """The checkpoint that the network was loaded from."""

    def __init__(self, config: SurrogateConfig, channels: Channels) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        self.position = Normaliser(channels.scaling["position"])
        self.velocity = Normaliser(channels.scaling["velocity"])
        self.acceleration = Normaliser(channels.scaling["acceleration"])
        self.log_duration = Normaliser(channels.scaling["log_duration"])
        self.features = Normaliser(channels.scaling["features"])
        self.from_kinematics = nn.Linear(3 * len(channels.coordinates), config.width)
        self.from_subject = nn.Linear(len(channels.features) + 1, config.width)
        nn.init.zeros_(self.from_subject.weight)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, len(channels.muscles))

    def forward(
        self,
        q: Float[Tensor, "batch time coordinate"],
        duration: Float[Tensor, " batch"],
        features: Float[Tensor, "batch feature"],
        padding: Bool[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time muscle"]:
        """Activations in [0, 1].

        Parameters
        ----------
        q
            Coordinates in the order of `channels.coordinates`, rad and m; at least 3 frames, uniform in time.
        duration
            Time from the first to the last valid frame, s.
        features
            Subject features in the order of `channels.features`, SI.
        padding
            True for frames at the end that are no part of the motion; nothing in them changes the other frames.

        Raises
        ------
        ValueError
            Shapes that do not fit the channels.

        """
        self._check(q, duration, features)
        dtype = self.head.weight.dtype
        q, duration, features = q.to(dtype), duration.to(dtype), features.to(dtype)
        lengths = None if padding is None else (~padding).sum(1)
        if padding is not None:
            q = q.masked_fill(padding[..., None], 0.0)
        velocity, acceleration = time_derivatives(q, duration, lengths)
        kinematics = torch.cat(
            [
                self.position(q),
                self.velocity(velocity),
                self.acceleration(acceleration),
            ],
            dim=-1,
        )  # (batch, time, 3 * coordinate)
        subject = self._subject(duration, features)  # (batch, width)
        x = self.from_kinematics(kinematics) + subject[:, None] + self._positions(q, lengths)
        x = self.drop(x)
        visible = None if padding is None else ~padding[:, None, None, :]
        for block in self.blocks:
            x = block(x, visible)
        return torch.sigmoid(self.head(self.norm(x)))

    def start_from(self, mean_activation: Float[Tensor, " muscle"]) -> None:
        """Set the output bias so that an untrained surrogate predicts each muscle's mean."""
        with torch.no_grad():
            self.head.bias.copy_(torch.logit(mean_activation.clamp(0.005, 0.995)))

    def _check(self, q: Tensor, duration: Tensor, features: Tensor) -> None:
        coordinates, names = len(self.channels.coordinates), len(self.channels.features)
        if q.ndim != 3 or q.shape[-1] != coordinates or q.shape[1] < 3:
            raise ValueError(f"expected q (batch, time >= 3, {coordinates}), got {tuple(q.shape)}")
        if duration.shape != q.shape[:1] or features.shape != (len(q), names):
            raise ValueError(
                f"expected durations ({len(q)},) and features ({len(q)}, {names}) {self.channels.features}, "
                f"got {tuple(duration.shape)} and {tuple(features.shape)}"
            )

    def _subject(self, duration: Tensor, features: Tensor) -> Tensor:
        """(batch, width) from the duration and the subject; in training the subject is forgotten now and then."""
        scaled = FEATURE_LIMIT * torch.tanh(self.features(features) / FEATURE_LIMIT)
        if self.training and self.config.subject_dropout > 0:
            kept = torch.rand(len(scaled), 1, device=scaled.device) >= self.config.subject_dropout
            scaled = scaled * kept
        log_duration = self.log_duration(duration.log()[:, None])
        return self.from_subject(torch.cat([scaled, log_duration], dim=-1))

    def _positions(self, q: Tensor, lengths: Tensor | None) -> Tensor:
        """Sines and cosines of the percentage of the cycle, (1 or batch, time, width)."""
        frame = torch.arange(q.shape[1], device=q.device, dtype=q.dtype)
        last = q.new_tensor([q.shape[1] - 1]) if lengths is None else (lengths - 1).to(q.dtype)
        percent = 100 * frame[None, :, None] / last[:, None, None]
        half = self.config.width // 2
        rate = 1000 ** -(torch.arange(half, device=q.device, dtype=q.dtype) / half)
        return torch.cat([torch.sin(percent * rate), torch.cos(percent * rate)], dim=-1)


def surrogate_loss(
    predicted: Float[Tensor, "batch time muscle"], target: Float[Tensor, "batch time muscle"], peak_weight: float
) -> Float[Tensor, ""]:
    """Mean absolute error; frames of high activation count more: weight 1 + peak_weight * target."""
    weight = 1 + peak_weight * target
    return (weight * (predicted - target).abs()).mean()
