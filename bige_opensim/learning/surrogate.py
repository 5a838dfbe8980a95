"""The surrogate: a transformer over time that predicts muscle activations from kinematics.

Architecture: the encoder of Vaswani et al. 2017, "Attention is all you need" (arXiv:1706.03762), with the normalisation
before each layer (Xiong et al. 2020, arXiv:2002.04745). Attention runs over the frames of one motion, never over the
batch. Static optimization knows a frame by its coordinates, speeds and accelerations, so these are the inputs; what the
person's own skeleton makes of them, the loads of `physics.stance_loads`, is most of what the network would have to
learn of other people's bodies, and is told besides where it is known.

Postures change slowly, accelerations and loads fast. So a few frames can be tokens of the transformer, and a perceptron
that costs a fraction of it looks at every frame: what the frame has beyond the straight line between its neighbouring
tokens goes through hidden units whose gains and thresholds the tokens set.

The output has the form of the least-effort solution (`physics.least_effort`): with squared activations muscle i does
a_i = clip(F_i r_i . lam / 2, 0, 1), where F_i is its strength, r_i are its moment arms and lam the multipliers of the
moments. Were all F_i k times as large, lam would be 1 / k^2 of what it was; were F_i alone, lam would nearly stay. So
the network gives u_i for r_i . lam at the strength that is usual, and a_i = clip(u_i f_i / f^2), where f_i and f are
the strength of the muscle and of all muscles against those that are usual, both over body weight. The corners of the
clip are rounded: gradients of motions reach muscles that are at rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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


SHARPNESS = 20.0
"""1 / (width of an activation over which the output bends from rest to rising, and from rising to full activation)."""

STILL = 0.1
"""Of the usual first weights of the output: a muscle that the first weights put far below rest learns nothing."""

WEAKEST, STRONGEST = 0.2, 5.0
"""Bounds of the factor that strengths put on a pull."""

LEAST_BEND = 0.3
"""rad; least scale whose square divides 1 - cos: a coordinate that hardly moved in training must not blow up."""


@dataclass(frozen=True)
class SurrogateConfig:
    """Size of the surrogate, and what of it is dropped at random in training.

    frames: every so many frames one is a token of the transformer, and the last; the time that it takes goes with the
    tokens. Frames between have what lies between on straight lines, and what a perceptron of `detail` hidden units, 0
    for none, makes of how they differ from that.
    """

    width: int = 64
    heads: int = 4
    layers: int = 3
    frames: int = 2
    detail: int = 0
    dropout: float = 0.1
    subject_dropout: float = 0.2
    loads_dropout: float = 0.1

    def __post_init__(self) -> None:
        require_within(
            self, {"width": (1, 8192), "heads": (1, 256), "layers": (1, 100), "frames": (1, 16), "detail": (0, 8192)}
        )
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


class Detail(nn.Module):
    """What frames have beyond their neighbouring tokens: a perceptron whose first layer the tokens set."""

    def __init__(self, inputs: int, outputs: int, config: SurrogateConfig) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, config.detail, bias=False)
        self.setting = nn.Linear(config.width, 2 * config.detail)
        self.second = nn.Linear(config.detail, config.detail)
        self.out = nn.Linear(config.detail, outputs)
        nn.init.ones_(self.setting.bias[: config.detail])
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, beyond: Tensor, tokens: Tensor, between: Tensor) -> Tensor:
        """(batch, frame, output) from (batch, frame, input), (batch, token, width) and (rows, frame, token)."""
        gain, threshold = (between @ self.setting(tokens)).chunk(2, dim=-1)
        x = functional.gelu(torch.addcmul(threshold, self.first(beyond), gain))
        return self.out(x + functional.gelu(self.second(x)))


class Surrogate(nn.Module):
    """Kinematics and subject to muscle activations; names, units and scaling in `channels`.

    The weights of the subject start at zero: a feature that all training subjects share must not move a new one.
    """

    interval: Tensor
    angle: Tensor
    bending: Tensor
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
        self.register_buffer("angle", torch.tensor(channels.rotational), persistent=False)
        self.register_buffer("bending", torch.nonzero(self.angle).flatten(), persistent=False)
        self.strengths = _columns(channels.features, [f"strength_{name}" for name in channels.muscles])
        inputs = 3 * len(channels.coordinates) + sum(channels.rotational)
        if channels.loads:
            self.loads = Normaliser(channels.scaling["loads"])
            self.from_loads = nn.Linear(len(channels.loads) + 1, config.width)
        self.from_kinematics = nn.Linear(inputs, config.width)
        self.from_subject = nn.Linear(len(channels.features) + 1, config.width)
        nn.init.zeros_(self.from_subject.weight)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, len(channels.muscles))
        if config.detail:
            told = len(channels.loads) + 1 if channels.loads else 0
            self.detail = Detail(inputs + told, len(channels.muscles), config)
        self.register_buffer("interval", torch.zeros(PHASES, len(channels.muscles)))
        self._register_familiar("motions", 2 * len(channels.coordinates) + sum(channels.rotational))
        self._register_familiar("bodies", len(channels.features))

    def forward(
        self,
        q: Float[Tensor, "batch time coordinate"],
        duration: Float[Tensor, " batch"],
        features: Float[Tensor, "batch feature"],
        padding: Bool[Tensor, "batch time"] | None = None,
        at: Int[Tensor, " frame"] | None = None,
        loads: Float[Tensor, "batch loaded load"] | None = None,
        loads_every: int = 1,
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
        at
            Frames whose activations are asked for, instead of all. A network without `detail` sees nothing else.
        loads
            What joints carry, as `StanceLoads` has it, at every `loads_every` frame, those asked for and the tokens
            among them; not a number, or None, where that is not known: activations are less accurate then. Ignored by
            a network that was not told of any.

        Raises
        ------
        ValueError
            Shapes that do not fit the channels.

        """
        self._check(q, duration, features)
        self._check_loads(q, loads, loads_every)
        dtype = self.head.weight.dtype
        q, duration, features = q.to(dtype), duration.to(dtype), features.to(dtype)
        lengths = None if padding is None else (~padding).sum(1)
        if padding is not None:
            q = q.masked_fill(padding[..., None], 0.0)
        motion = (q, *time_derivatives(q, duration, lengths))
        at = None if at is None else at.to(q.device)
        tokens = self._token_frames(q.shape[1], lengths, q.device)  # (1 or batch, token)
        last = tokens[:, -1:]
        if at is not None and not self.config.detail:
            tokens = at[None]
        seen = self._kinematics(motion, tokens)
        x = self.from_kinematics(seen) + self._subject(duration, features)[:, None] + self._positions(tokens, last)
        if self.channels.loads:
            carried = self._carried(loads, q)
            told = _at(carried, tokens // loads_every)
            x, seen = x + self.from_loads(told), torch.cat([seen, told], -1)
        x = self.drop(x)  # (batch, token, width)
        visible = None if padding is None else self._visible(tokens)[:, None, None]
        for block in self.blocks:
            x = block(x, visible)
        x = self.norm(x)
        pull, stronger = self.head(x), self._stronger(features)[:, None]
        frame = torch.arange(q.shape[1], device=q.device) if at is None else at
        if self.config.detail:
            own = self._kinematics(motion, frame[None])
            if self.channels.loads:
                own = torch.cat([own, _at(carried, frame[None] // loads_every)], -1)
            between = self._between(frame, tokens).to(dtype)
            return rounded_clip((between @ pull + self.detail(own - between @ seen, x, between)) * stronger)
        found = rounded_clip(pull * stronger)  # (batch, token, muscle)
        if at is not None or self.config.frames == 1:
            return found
        return self._between(frame, tokens).to(dtype) @ found

    def tokens(self, time: int) -> int:
        """How many tokens so many frames are."""
        return -(-(time - 1) // self.config.frames) + 1

    def _register_familiar(self, what: str, size: int) -> None:
        self.register_buffer(f"{what}_mean", torch.zeros(size))
        self.register_buffer(f"{what}_whiten", torch.zeros(size, size))
        self.register_buffer(f"{what}_limit", torch.zeros(()))

    @property
    def calibrated(self) -> bool:
        """Whether the network knows how wide its intervals are, and what is outside."""
        return bool(self.interval.any())

    def with_detail(self, frames: int, detail: int) -> "Surrogate":
        """A network with tokens at every so many frames, and these weights, of which only detail and head learn on."""
        config = replace(self.config, frames=frames, detail=detail)
        wider = Surrogate(config, self.channels).to(self.head.weight.device)
        wider.load_state_dict(self.state_dict(), strict=False)
        for name, parameter in wider.named_parameters():
            parameter.requires_grad_(name.startswith(("detail.", "head.")))
        return wider

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
            self.head.weight.mul_(STILL)
            self.head.bias.copy_(rounded_clip_inverse(mean_activation.clamp(0.005, 0.995)))

    def _check(self, q: Tensor, duration: Tensor, features: Tensor) -> None:
        coordinates, names = len(self.channels.coordinates), len(self.channels.features)
        if q.ndim != 3 or q.shape[-1] != coordinates or q.shape[1] < 3:
            raise ValueError(f"expected q (batch, time >= 3, {coordinates}), got {tuple(q.shape)}")
        if duration.shape != q.shape[:1] or features.shape != (len(q), names):
            raise ValueError(
                f"expected durations ({len(q)},) and features ({len(q)}, {names}) {self.channels.features}, "
                f"got {tuple(duration.shape)} and {tuple(features.shape)}"
            )

    def _check_loads(self, q: Tensor, loads: Tensor | None, every: int) -> None:
        if loads is None or not self.channels.loads:
            return
        expected = (len(q), -(-q.shape[1] // every), len(self.channels.loads))
        if loads.shape != expected:
            raise ValueError(f"expected loads {expected} at every {every}. frame, got {tuple(loads.shape)}")

    def _token_frames(self, time: int, lengths: Tensor | None, device: torch.device) -> Int[Tensor, "rows token"]:
        """Frames of the tokens: every so many and the last, which comes again where other motions are longer."""
        every = self.config.frames * torch.arange(self.tokens(time), device=device)
        return every.clamp(max=time - 1)[None] if lengths is None else every.minimum((lengths - 1)[:, None])

    def _visible(self, at: Int[Tensor, "batch token"]) -> Bool[Tensor, "batch token"]:
        """Tokens that are not the last one again."""
        again = torch.zeros_like(at, dtype=torch.bool)
        again[:, 1:] = at[:, 1:] == at[:, :-1]
        return ~again

    def _between(
        self, frame: Int[Tensor, " frame"], tokens: Int[Tensor, "rows token"]
    ) -> Float[Tensor, "rows frame token"]:
        """Weights of tokens in what lies at frames on the straight lines between them."""
        low = (frame // self.config.frames).clamp(max=tokens.shape[1] - 2)
        begin, end = tokens[:, low], tokens[:, low + 1]
        share = ((frame - begin) / (end - begin).clamp(min=1)).clamp(max=1.0)[..., None]
        here = functional.one_hot(low, tokens.shape[1]).to(share)
        return (1.0 - share) * here + share * here.roll(1, -1)

    def _kinematics(self, motion: tuple[Tensor, Tensor, Tensor], frame: Int[Tensor, "rows frame"]) -> Tensor:
        """(batch, frame, input) from q, q' and q'' at frames."""
        q, velocity, acceleration = (_at(x, frame) for x in motion)
        return torch.cat([self._postures(q), self.velocity(velocity), self.acceleration(acceleration)], -1)

    def _stronger(self, features: Tensor) -> Float[Tensor, "batch muscle"]:
        """f_i / f^2 of every muscle, 1 where no strengths are told."""
        relative = subject_inputs(features, self.channels.features) - self.features.offset
        factor = relative.new_zeros(len(features), len(self.channels.muscles))
        muscles, columns = self.strengths
        if muscles:
            own = relative[:, columns]
            factor[:, muscles] = own - 2.0 * own.mean(1, keepdim=True)
        return factor.exp().clamp(WEAKEST, STRONGEST)

    def _postures(self, q: Tensor) -> Tensor:
        """(batch, time, coordinate + angle): sines of angles about their mean, translations, and cosines.

        Whole turns change nothing. Scales are those of the positions, so that small angles go in as they would unbent;
        1 - cos goes in with the square of its scale, which is not small.
        """
        turn, scale = q - self.position.offset, self.position.scale.clamp(max=1.0)
        position = torch.where(self.angle, torch.sin(turn) / scale, turn / self.position.scale)
        bent = (1.0 - torch.cos(turn[..., self.bending])) / scale[self.bending].clamp(min=LEAST_BEND) ** 2
        return torch.cat([position, bent], dim=-1)

    def _carried(self, loads: Tensor | None, q: Tensor) -> Float[Tensor, "batch loaded input"]:
        """Scaled loads and whether they are known; in training they are forgotten now and then."""
        if loads is None:
            loads = q.new_full((*q.shape[:2], len(self.channels.loads)), torch.nan)
        known = torch.isfinite(loads).all(-1, keepdim=True)
        if self.training and self.config.loads_dropout > 0:
            known = known & (torch.rand(len(q), 1, 1, device=q.device) >= self.config.loads_dropout)
        scaled = torch.where(known, self.loads(loads.to(q.dtype)), 0.0)
        return torch.cat([scaled, known.to(q.dtype)], dim=-1)

    def _subject(self, duration: Tensor, features: Tensor) -> Tensor:
        """(batch, width) from the duration and the subject; in training the subject is forgotten now and then."""
        inputs = subject_inputs(features, self.channels.features)
        scaled = FEATURE_LIMIT * torch.tanh(self.features(inputs) / FEATURE_LIMIT)
        if self.training and self.config.subject_dropout > 0:
            kept = torch.rand(len(scaled), 1, device=scaled.device) >= self.config.subject_dropout
            scaled = scaled * kept
        log_duration = self.log_duration(duration.log()[:, None])
        return self.from_subject(torch.cat([scaled, log_duration], dim=-1))

    def _positions(self, at: Int[Tensor, "rows token"], last: Int[Tensor, "rows 1"]) -> Tensor:
        """Sines and cosines of the percentage of the cycle, (1 or batch, token, width)."""
        percent = 100.0 * at[..., None] / last[..., None]
        half = self.config.width // 2
        rate = 1000 ** -(torch.arange(half, device=at.device) / half)
        return torch.cat([torch.sin(percent * rate), torch.cos(percent * rate)], dim=-1).to(self.head.weight.dtype)


def _at(
    x: Float[Tensor, "batch time channel"], frame: Int[Tensor, "rows frame"]
) -> Float[Tensor, "batch frame channel"]:
    """Values at frames, the same of all motions or each its own."""
    return x.index_select(1, frame[0]) if len(frame) == 1 else torch.take_along_dim(x, frame[..., None], 1)


def _columns(names: Sequence[str], wanted: Sequence[str]) -> tuple[list[int], list[int]]:
    """Which of those wanted are among the names, and where there."""
    places = {name: place for place, name in enumerate(names)}
    found = [k for k, name in enumerate(wanted) if name in places]
    return found, [places[wanted[k]] for k in found]


def rounded_clip(pull: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """clip(x, 0, 1) with round corners, log((1 + e^(s x)) / (1 + e^(s (x - 1)))) / s."""
    x = SHARPNESS * pull.clamp(-2.0, 3.0)
    return ((functional.softplus(x) - functional.softplus(x - SHARPNESS)) / SHARPNESS).clamp(0.0, 1.0)


def rounded_clip_inverse(activation: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The pull of an activation between 0 and 1: e^(s x) = (e^(s a) - 1) / (1 - e^(s (a - 1)))."""
    a = SHARPNESS * activation.double()
    return ((a.expm1() / -(a - SHARPNESS).expm1()).log() / SHARPNESS).to(activation)


def surrogate_loss(
    predicted: Float[Tensor, "batch time muscle"],
    target: Float[Tensor, "batch time muscle"],
    peak_weight: float,
    muscle_weight: Float[Tensor, " muscle"] | float = 1.0,
) -> Float[Tensor, ""]:
    """Mean absolute error; frames of high activation count more: weight (1 + peak_weight * target) * muscle_weight."""
    weight = (1 + peak_weight * target) * muscle_weight
    return (weight * (predicted - target).abs()).mean()
