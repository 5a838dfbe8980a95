"""The surrogate: two perceptrons that predict the muscle activations of a frame from kinematics, body and loads.

Static optimization knows a frame by its coordinates, speeds and accelerations, and the labels are solved frame by
frame: nothing passes from one to the next. So the network sees frames, and time through derivatives alone; a
transformer over the frames of a motion, which it replaces, took three times as long and knew people whom it had not
seen no better. What the person's own skeleton makes of the kinematics, the loads of `physics.stance_loads`, is most of
what a network would have to learn of other people's bodies, and is told besides where it is known.

Muscles act on one leg each. Were it known what its joints carry, a leg would be a small problem of its own: a
perceptron that is told the true moments learns it within a minute. What is hard is how the ground shares the load
between the feet, which all muscles decide together. Hence

    z = ground(kinematics, loads, body),    carried = loads + shift(z),    u = limb(posture, speeds, carried, z, body),

where `carried`, the net generalized forces with the ground force shared as the labels share it, is learned from the
labels' own, too. A body is nearly the mirror image of itself: one network predicts the right side's muscles, of the
motion for the right and of its mirror image for the left side. Models without two sides have one limb, the whole body.

The output has the form of the least-effort solution (`physics.least_effort`): with squared activations muscle i does
a_i = clip(F_i r_i . lam / 2, 0, 1), where F_i is its strength, r_i are its moment arms and lam the multipliers of the
moments. Were all F_i k times as large, lam would be 1 / k^2 of what it was; were F_i alone, lam would nearly stay. So
the network gives u_i for r_i . lam at the strength that is usual, and a_i = clip(u_i f_i / f^2), where f_i and f are
the strength of the muscle and of all muscles against those that are usual, both over body weight. The corners of the
clip are rounded: gradients of motions reach muscles that are at rest.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from bige_opensim.learning.channels import Channels, ChannelsError, Mirror, Normaliser, mirror_name
from bige_opensim.learning.derivatives import time_derivatives
from bige_opensim.learning.familiarity import Familiar
from bige_opensim.learning.intervals import LEAST_ACTIVATION, PHASES, phase_of
from bige_opensim.learning.setting_limits import require_within
from bige_opensim.learning.subject_inputs import subject_inputs
from bige_opensim.physics.stance_loads import LOADS

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

    width, layers: units and hidden layers of the perceptron of a limb; ground_width, ground_layers: of the one that
    sees the whole body; told: how many numbers this one tells the other.
    """

    width: int = 80
    layers: int = 2
    ground_width: int = 128
    ground_layers: int = 3
    told: int = 40
    dropout: float = 0.1
    subject_dropout: float = 0.2
    loads_dropout: float = 0.1

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = dict.fromkeys(("width", "ground_width", "told"), (1, 8192))
        require_within(self, limits | dict.fromkeys(("layers", "ground_layers"), (0, 100)))
        rates = (self.dropout, self.subject_dropout, self.loads_dropout)
        if not all(0 <= rate < 1 for rate in rates):
            raise ValueError(f"dropout rates lie in [0, 1), got {', '.join(map(str, rates))}")


class Perceptron(nn.Module):
    """Hidden units of frames; every layer adds to what was before it.

    The weights of the subject start at zero: a feature that all training subjects share must not move a new one.
    """

    def __init__(self, inputs: int, subject: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.from_frame = nn.Linear(inputs, width, bias=False)
        self.from_subject = nn.Linear(subject, width)
        nn.init.zeros_(self.from_subject.weight)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.drop = nn.Dropout(dropout)

    def forward(
        self, frame: Float[Tensor, "batch time input"], subject: Float[Tensor, "batch feature"]
    ) -> Float[Tensor, "batch time unit"]:
        """h = silu(A x + B s), then h + silu(W h) for every hidden layer."""
        x = functional.silu(self.from_frame(frame) + self.from_subject(subject)[:, None])
        for layer in self.hidden:
            x = x + self.drop(functional.silu(layer(x)))
        return x


class Sides(nn.Module):
    """The views of a motion that one network predicts a limb from, and which muscles and coordinates are a limb's.

    Two where all channels have partners, the motion and its mirror image; else one limb is the whole body. `muscles`
    are those of the first view's limb, `coordinates` those that belong to it.
    """

    order: Tensor
    place: Tensor

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        names = channels.coordinates
        self.mirrors = _mirrors(channels)
        self.muscles = [m for m, name in enumerate(channels.muscles) if self.mirrors is None or _is_right(name)]
        own = [k for k, name in enumerate(names) if self.mirrors is not None and _is_right(name)]
        self.coordinates = own or list(range(len(names)))
        across = () if self.mirrors is None else self.muscles
        partner = [channels.muscles.index(mirror_name(channels.muscles[m])) for m in across]
        self.register_buffer("order", torch.tensor([*self.muscles, *partner]), persistent=False)
        self.register_buffer("place", self.order.argsort(), persistent=False)

    @property
    def count(self) -> int:
        """How many views there are."""
        return 1 if self.mirrors is None else 2

    def views(self, what: str, x: Float[Tensor, "batch *rest"]) -> Float[Tensor, "views *rest"]:
        """Both views of q, its derivatives, the features or the loads, one batch after the other."""
        return x if self.mirrors is None else torch.cat([x, self.mirrors[what](x)])

    def joined(self, x: Float[Tensor, "views time muscle"]) -> Float[Tensor, "batch time all"]:
        """All muscles from those of the limb of every view."""
        return torch.cat(x.chunk(self.count), -1).index_select(-1, self.place)


class Surrogate(nn.Module):
    """Kinematics and subject to muscle activations; names, units and scaling in `channels`."""

    interval: Tensor
    angle: Tensor
    bending: Tensor
    own_kinematics: Tensor
    own_loads: Tensor
    folder: Path | None = None
    """The checkpoint that the network was loaded from."""

    def __init__(self, config: SurrogateConfig, channels: Channels) -> None:
        super().__init__()
        self.config, self.channels, self.sides = config, channels, Sides(channels)
        self.position = Normaliser(channels.scaling["position"])
        self.velocity = Normaliser(channels.scaling["velocity"])
        self.acceleration = Normaliser(channels.scaling["acceleration"])
        self.log_duration = Normaliser(channels.scaling["log_duration"])
        self.features = Normaliser(channels.scaling["features"])
        self.register_buffer("angle", torch.tensor(channels.rotational), persistent=False)
        self.register_buffer("bending", torch.nonzero(self.angle).flatten(), persistent=False)
        self.strengths = _columns(channels.features, [f"strength_{name}" for name in channels.muscles])
        C, own = len(channels.coordinates), self.sides.coordinates
        bent = [k for k, turns in enumerate(channels.rotational) if turns]
        postures = C + len(bent)
        own_kinematics = [*own, *(C + bent.index(k) for k in own if k in bent), *(postures + k for k in own)]
        inputs, subject = postures + 2 * C, len(channels.features) + 1
        own_loads: list[int] = []
        told = 0
        if channels.loads:
            self.loads = Normaliser(channels.scaling["loads"])
            own_loads = [*own, *range(C, len(channels.loads))]
            told = len(channels.loads) + 1
            self.shift = nn.Linear(config.ground_width, len(own))
            nn.init.zeros_(self.shift.weight)
            nn.init.zeros_(self.shift.bias)
        of_limb = len(own_kinematics) + len(own_loads) + config.told
        self.register_buffer("own_kinematics", torch.tensor(own_kinematics), persistent=False)
        self.register_buffer("own_loads", torch.tensor(own_loads, dtype=torch.long), persistent=False)
        self.ground = Perceptron(inputs + told, subject, config.ground_width, config.ground_layers, config.dropout)
        self.tell = nn.Linear(config.ground_width, config.told)
        self.limb = Perceptron(of_limb, subject, config.width, config.layers, config.dropout)
        self.head = nn.Linear(config.width, len(self.sides.muscles))
        self.register_buffer("interval", torch.zeros(PHASES, len(channels.muscles)))
        self._register_familiar("motions", 2 * C + sum(channels.rotational))
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
            Frames whose activations are asked for, instead of all.
        loads
            What joints carry, as `StanceLoads` has it, at every `loads_every` frame, those asked for among them; not a
            number, or None, where that is not known: activations are less accurate then. Ignored by a network that was
            not told of any.

        Raises
        ------
        ValueError
            Shapes that do not fit the channels.

        """
        return self.with_carried(q, duration, features, padding, at, loads, loads_every)[0]

    def with_carried(
        self,
        q: Float[Tensor, "batch time coordinate"],
        duration: Float[Tensor, " batch"],
        features: Float[Tensor, "batch feature"],
        padding: Bool[Tensor, "batch time"] | None = None,
        at: Int[Tensor, " frame"] | None = None,
        loads: Float[Tensor, "batch loaded load"] | None = None,
        loads_every: int = 1,
    ) -> tuple[Float[Tensor, "batch frame muscle"], Float[Tensor, "views frame own"] | None]:
        """Activations, and what the limb of every view carries, scaled; None for a network not told of loads."""
        self._check(q, duration, features)
        self._check_loads(q, loads, loads_every)
        dtype = self.head.weight.dtype
        q, duration, features = q.to(dtype), duration.to(dtype), features.to(dtype)
        lengths = None if padding is None else (~padding).sum(1)
        if padding is not None:
            q = q.masked_fill(padding[..., None], 0.0)
        frame = torch.arange(q.shape[1], device=q.device) if at is None else at.to(q.device)
        motion = (x.index_select(1, frame) for x in (q, *time_derivatives(q, duration, lengths)))
        q_at, velocity, acceleration = (self.sides.views("q", x) for x in motion)
        x = torch.cat([self._postures(q_at), self.velocity(velocity), self.acceleration(acceleration)], -1)
        own = [x.index_select(-1, self.own_kinematics)]
        bodies = self.sides.views("features", features)
        subject = self._subject(duration.repeat(self.sides.count), bodies)
        if self.channels.loads:
            told = self._carried(loads, q, frame // loads_every)
            x = torch.cat([x, told], -1)
        whole = self.ground(x, subject)
        carried = None
        if self.channels.loads:
            limb = told.index_select(-1, self.own_loads)
            joints = len(self.sides.coordinates)
            carried = limb[..., :joints] + self.shift(whole)
            own += [carried, limb[..., joints:]]
        pull = self.head(self.limb(torch.cat([*own, self.tell(whole)], -1), subject))
        return rounded_clip(self.sides.joined(pull) * self._stronger(features)[:, None]), carried

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
        """Set the output bias so that an untrained surrogate predicts each muscle's mean, of both sides together."""
        usual = mean_activation[self.sides.order].view(self.sides.count, -1).mean(0)
        with torch.no_grad():
            self.head.weight.mul_(STILL)
            self.head.bias.copy_(rounded_clip_inverse(usual.clamp(0.005, 0.995)))

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
        bent = (1.0 - torch.cos(turn.index_select(-1, self.bending))) / scale[self.bending].clamp(min=LEAST_BEND) ** 2
        return torch.cat([position, bent], dim=-1)

    def _carried(
        self, loads: Tensor | None, q: Tensor, frame: Int[Tensor, " frame"]
    ) -> Float[Tensor, "views frame input"]:
        """Scaled loads of both views and whether they are known; in training they are forgotten now and then."""
        if loads is None:
            loads = q.new_full((len(q), len(frame), len(self.channels.loads)), torch.nan)
        else:
            loads = loads.index_select(1, frame).to(q.dtype)
        known = torch.isfinite(loads).all(-1, keepdim=True)
        if self.training and self.config.loads_dropout > 0:
            known = known & (torch.rand(len(q), 1, 1, device=q.device) >= self.config.loads_dropout)
        known = known.repeat(self.sides.count, 1, 1)
        scaled = torch.where(known, self.loads(self.sides.views("loads", loads)), 0.0)
        return torch.cat([scaled, known.to(q.dtype)], dim=-1)

    def scaled_carried(self, carried: Float[Tensor, "batch frame coordinate"]) -> Float[Tensor, "views frame own"]:
        """What the limbs of both views carry, as `with_carried` gives it, from net forces over body weight."""
        missing = carried.new_zeros(*carried.shape[:-1], len(LOADS))
        scaled = self.loads(self.sides.views("loads", torch.cat([carried, missing], -1)))
        return scaled[..., self.sides.coordinates]

    def _subject(self, duration: Tensor, features: Tensor) -> Tensor:
        """The scaled subject and duration; in training the subject is forgotten now and then."""
        inputs = subject_inputs(features, self.channels.features)
        scaled = FEATURE_LIMIT * torch.tanh(self.features(inputs) / FEATURE_LIMIT)
        if self.training and self.config.subject_dropout > 0:
            kept = torch.rand(len(scaled), 1, device=scaled.device) >= self.config.subject_dropout
            scaled = scaled * kept
        log_duration = self.log_duration(duration.log()[:, None])
        return torch.cat([scaled, log_duration], dim=-1)


def _mirrors(channels: Channels) -> dict[str, Mirror] | None:
    """Reflections of coordinates, features and loads; None where a channel lacks its partner, or a muscle a side."""
    names = channels.coordinates
    if any(mirror_name(muscle) == muscle for muscle in channels.muscles):
        return None
    try:
        Mirror.of(channels.muscles)
        return {"q": Mirror.of(names), "features": Mirror.of(channels.features), "loads": Mirror.of_loads(names)}
    except ChannelsError:
        return None


def _is_right(name: str) -> bool:
    """Whether a channel is the right one of a pair."""
    return re.search(r"_r(?=_|$)", name) is not None


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
