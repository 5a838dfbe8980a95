"""The surrogate: a transformer over time that predicts muscle activations from kinematics.

Architecture: the encoder of Vaswani et al. 2017, "Attention is all you need" (arXiv:1706.03762), with the normalisation
before each layer (Xiong et al. 2020, arXiv:2002.04745). Attention runs over the frames of one motion, never over the
batch. Static optimization knows a frame by its coordinates, speeds and accelerations, so these are the inputs; what the
person's own skeleton makes of them, the loads of `physics.stance_loads`, is most of what the network would have to
learn of other people's bodies, and is told besides where it is known.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from bige_opensim.learning.channels import Channels, Normaliser
from bige_opensim.learning.derivatives import time_derivatives
from bige_opensim.learning.familiarity import Familiar
from bige_opensim.learning.intervals import LEAST_ACTIVATION, PHASES, phase_of
from bige_opensim.learning.setting_limits import require_within
from bige_opensim.learning.subject_inputs import subject_inputs

FEATURE_LIMIT = 3.0
"""Scaled subject features bend towards this bound: few subjects are seen, and a new one must not lead far outside."""


LEAST_BEND = 0.3
"""rad; least scale whose square divides 1 - cos: a coordinate that hardly moved in training must not blow up."""


@dataclass(frozen=True)
class SurrogateConfig:
    """Size of the surrogate, and what of it is dropped at random in training.

    frames: how many neighbouring frames are one token of the transformer; motions are smooth, and the time that it
    takes goes with the tokens.
    """

    width: int = 64
    heads: int = 4
    layers: int = 3
    frames: int = 2
    dropout: float = 0.1
    subject_dropout: float = 0.2
    loads_dropout: float = 0.1

    def __post_init__(self) -> None:
        require_within(self, {"width": (1, 8192), "heads": (1, 256), "layers": (1, 100), "frames": (1, 16)})
        if min(self.width, self.heads, self.layers) < 1 or self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of 2 * heads, got width {self.width}, heads {self.heads}")
        rates = (self.dropout, self.subject_dropout, self.loads_dropout)
        if not all(0 <= rate < 1 for rate in rates):
            raise ValueError(f"dropout rates lie in [0, 1), got {', '.join(map(str, rates))}")


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

    interval: Tensor
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
        self.angle = torch.tensor(channels.rotational)
        inputs = 3 * len(channels.coordinates) + sum(channels.rotational)
        if channels.loads:
            self.loads = Normaliser(channels.scaling["loads"])
            self.from_loads = nn.Linear(len(channels.loads) + 1, config.width)
        self.from_kinematics = nn.Linear(config.frames * inputs, config.width)
        self.from_subject = nn.Linear(len(channels.features) + 1, config.width)
        nn.init.zeros_(self.from_subject.weight)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.frames * len(channels.muscles))
        self.register_buffer("interval", torch.zeros(PHASES, len(channels.muscles)))
        self._register_familiar("motions", 2 * len(channels.coordinates) + sum(channels.rotational))
        self._register_familiar("bodies", len(channels.features))

    def forward(
        self,
        q: Float[Tensor, "batch time coordinate"],
        duration: Float[Tensor, " batch"],
        features: Float[Tensor, "batch feature"],
        padding: Bool[Tensor, "batch time"] | None = None,
        chosen: Int[Tensor, " token"] | None = None,
        loads: Float[Tensor, "batch token load"] | None = None,
    ) -> Float[Tensor, "batch frame muscle"]:
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
        chosen
            Tokens that are predicted, and that see each other, instead of all; see `frames_of`.
        loads
            What joints carry at the first frame of every token, as `StanceLoads` has it; not a number, or None, where
            that is not known: activations are less accurate then. Ignored by a network that was not told of any.

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
                self._postures(q),
                self.velocity(velocity),
                self.acceleration(acceleration),
            ],
            dim=-1,
        )  # (batch, time, 3 * coordinate + angle)
        tokens = self._tokens(kinematics, lengths)  # (batch, token, frames * feature)
        subject = self._subject(duration, features)  # (batch, width)
        x = self.from_kinematics(tokens) + subject[:, None] + self._positions(q, lengths)
        if self.channels.loads:
            x = x + self._carried(loads, x)
        if chosen is not None:
            x = x[:, chosen]
        x = self.drop(x)
        visible = None if padding is None else ~padding[:, None, None, :: self.config.frames]
        for block in self.blocks:
            x = block(x, visible)
        found = torch.sigmoid(self.head(self.norm(x)))  # (batch, token, frames * muscle)
        return found.reshape(len(q), -1, len(self.channels.muscles))[:, : q.shape[1]]

    def frames_of(self, chosen: Int[Tensor, " token"]) -> Int[Tensor, " time"]:
        """Frames of tokens, in order."""
        size = self.config.frames
        return (size * chosen[:, None] + torch.arange(size)).flatten()

    def _register_familiar(self, what: str, size: int) -> None:
        self.register_buffer(f"{what}_mean", torch.zeros(size))
        self.register_buffer(f"{what}_whiten", torch.zeros(size, size))
        self.register_buffer(f"{what}_limit", torch.zeros(()))

    @property
    def calibrated(self) -> bool:
        """Whether the network knows how wide its intervals are, and what is outside."""
        return bool(self.interval.any())

    def bounds(
        self, predicted: Float[Tensor, "batch time muscle"]
    ) -> tuple[Float[Tensor, "batch time muscle"], Float[Tensor, "batch time muscle"]]:
        """Ends of the 90 % intervals around predicted activations; see `intervals`."""
        width = (predicted + LEAST_ACTIVATION) * self.interval[phase_of(predicted.shape[1])]
        return (predicted - width).clamp(min=0.0), (predicted + width).clamp(max=1.0)

    def strangeness(
        self,
        q: Float[Tensor, "batch time coordinate"],
        duration: Float[Tensor, " batch"],
        features: Float[Tensor, "batch feature"],
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Distances of motions and of bodies from those trained on, over what is still familiar: outside above 1."""
        found = []
        for what, x in (("motions", self.postures_and_speeds(q, duration)), ("bodies", self.scaled_body(features))):
            mean, whiten, limit = (getattr(self, f"{what}_{part}") for part in ("mean", "whiten", "limit"))
            distance = Familiar(mean, whiten).distance(x)
            found.append((distance.mean(1) if what == "motions" else distance) / limit)
        return found[0], found[1]

    def postures_and_speeds(
        self, q: Float[Tensor, "batch time coordinate"], duration: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch time channel"]:
        """What is compared of a motion."""
        q, duration = q.to(self.head.weight.dtype), duration.to(self.head.weight.dtype)
        velocity, _ = time_derivatives(q, duration)
        return torch.cat([self._postures(q), self.velocity(velocity)], -1)

    def scaled_body(self, features: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch feature"]:
        """What is compared of a body."""
        return self.features(subject_inputs(features.to(self.head.weight.dtype), self.channels.features))

    def start_from(self, mean_activation: Float[Tensor, " muscle"]) -> None:
        """Set the output bias so that an untrained surrogate predicts each muscle's mean."""
        with torch.no_grad():
            bias = torch.logit(mean_activation.clamp(0.005, 0.995))
            self.head.bias.copy_(bias.repeat(self.config.frames))

    def _check(self, q: Tensor, duration: Tensor, features: Tensor) -> None:
        coordinates, names = len(self.channels.coordinates), len(self.channels.features)
        if q.ndim != 3 or q.shape[-1] != coordinates or q.shape[1] < 3:
            raise ValueError(f"expected q (batch, time >= 3, {coordinates}), got {tuple(q.shape)}")
        if duration.shape != q.shape[:1] or features.shape != (len(q), names):
            raise ValueError(
                f"expected durations ({len(q)},) and features ({len(q)}, {names}) {self.channels.features}, "
                f"got {tuple(duration.shape)} and {tuple(features.shape)}"
            )

    def _tokens(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, token, frames * feature): neighbouring frames together; the last is repeated where frames lack."""
        size, time = self.config.frames, frames.shape[1]
        at = torch.arange(-(-time // size) * size, device=frames.device)[None, :, None]
        last = at.new_tensor([time]) if lengths is None else lengths
        filled = torch.take_along_dim(frames, at.minimum((last - 1)[:, None, None]), dim=1)
        return filled.reshape(len(frames), -1, size * frames.shape[-1])

    def _postures(self, q: Tensor) -> Tensor:
        """(batch, time, coordinate + angle): sines of angles about their mean, translations, and cosines.

        Whole turns change nothing. Scales are those of the positions, so that small angles go in as they would unbent;
        1 - cos goes in with the square of its scale, which is not small.
        """
        angle = self.angle.to(q.device)
        turn, scale = q - self.position.offset, self.position.scale.clamp(max=1.0)
        position = torch.where(angle, torch.sin(turn) / scale, turn / self.position.scale)
        return torch.cat([position, ((1.0 - torch.cos(turn)) / scale.clamp(min=LEAST_BEND) ** 2)[..., angle]], dim=-1)

    def _carried(self, loads: Tensor | None, x: Tensor) -> Tensor:
        """(batch, token, width) from the loads; in training they are forgotten now and then."""
        if loads is None:
            loads = x.new_full((*x.shape[:2], len(self.channels.loads)), torch.nan)
        known = torch.isfinite(loads).all(-1, keepdim=True)
        if self.training and self.config.loads_dropout > 0:
            known = known & (torch.rand(len(x), 1, 1, device=x.device) >= self.config.loads_dropout)
        scaled = torch.where(known, self.loads(loads.to(x.dtype)), 0.0)
        return self.from_loads(torch.cat([scaled, known.to(x.dtype)], dim=-1))

    def _subject(self, duration: Tensor, features: Tensor) -> Tensor:
        """(batch, width) from the duration and the subject; in training the subject is forgotten now and then."""
        inputs = subject_inputs(features, self.channels.features)
        scaled = FEATURE_LIMIT * torch.tanh(self.features(inputs) / FEATURE_LIMIT)
        if self.training and self.config.subject_dropout > 0:
            kept = torch.rand(len(scaled), 1, device=scaled.device) >= self.config.subject_dropout
            scaled = scaled * kept
        log_duration = self.log_duration(duration.log()[:, None])
        return self.from_subject(torch.cat([scaled, log_duration], dim=-1))

    def _positions(self, q: Tensor, lengths: Tensor | None) -> Tensor:
        """Sines and cosines of the percentage of the cycle, (1 or batch, token, width)."""
        frame = torch.arange(0, q.shape[1], self.config.frames, device=q.device, dtype=q.dtype)
        last = q.new_tensor([q.shape[1] - 1]) if lengths is None else (lengths - 1).to(q.dtype)
        percent = 100 * frame[None, :, None] / last[:, None, None]
        half = self.config.width // 2
        rate = 1000 ** -(torch.arange(half, device=q.device, dtype=q.dtype) / half)
        return torch.cat([torch.sin(percent * rate), torch.cos(percent * rate)], dim=-1)


def surrogate_loss(
    predicted: Float[Tensor, "batch time muscle"],
    target: Float[Tensor, "batch time muscle"],
    peak_weight: float,
    muscle_weight: Float[Tensor, " muscle"] | float = 1.0,
) -> Float[Tensor, ""]:
    """Mean absolute error; frames of high activation count more: weight (1 + peak_weight * target) * muscle_weight."""
    weight = (1 + peak_weight * target) * muscle_weight
    return (weight * (predicted - target).abs()).mean()
