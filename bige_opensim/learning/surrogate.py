"""The surrogate: predicts the muscle activations of a frame from kinematics, body and loads.

Static optimization knows a frame by its coordinates, speeds and accelerations, and the labels are solved frame by
frame: nothing passes from one to the next. So the network sees frames, and time through derivatives alone; a
transformer over the frames of a motion, which it replaces, took three times as long and knew people whom it had not
seen no better. What the person's own skeleton makes of the kinematics, the loads of `physics.stance_loads`, is most of
what a network would have to learn of other people's bodies, and is told besides where it is known.

Muscles act on one leg each, and once it is known what the joints of a leg carry, how its muscles share that is a small
problem of its own, solved in microseconds for anyone's own muscles (`physics.muscle_share`). What takes long is how the
ground shares the load between the feet, which all muscles decide together. Hence the network learns that alone,

    z = ground(posture, loads, body),         guess = loads + shift(z),
    y = descent(posture, loads, body, guess, asinh(lam / 30)),
    carried = guess + step(y),                a = share(carried, capacities of muscles),

by the labels' activations, through the share, and by the labels' own net forces. The feet share the load so that all
muscles together take the least effort E, and the share of a guess says how E changes about it: its multipliers are
lam = dE / d carried. Where moving load from foot to foot costs one leg what the other saves, nothing is to be gained.
So the second network goes down a slope that it is told, as gradient descent whose steps are learned (Gregor and LeCun
2010, ICML; Adler and Öktem 2017, doi:10.1088/1361-6420/aa9581), and need not know what a body's muscles would take.
It is told no speeds, accelerations or arms: loads and capacities have what they do to the legs.

A body is nearly the mirror image of itself: one network predicts what the right leg carries, of the motion for the
right and of its mirror image for the left. (A perceptron in place of the share, told what a leg carries, cannot know
the muscle paths of another body.)

Models that stand on no two feet, and data whose models are not at hand, have no loads: a second perceptron gives the
pull u of every muscle of a side from what the first one tells, or of the whole body, where it has no two sides,

    u = limb(posture, speeds, z, body).

Its output has the form of the least-effort solution (`physics.least_effort`): with squared activations muscle i does
a_i = clip(F_i r_i . lam / 2, 0, 1), where F_i is its strength, r_i are its moment arms and lam the multipliers of the
moments. Were all F_i k times as large, lam would be 1 / k^2 of what it was; were F_i alone, lam would nearly stay. So
the network gives u_i for r_i . lam at the strength that is usual, and a_i = clip(u_i f_i / f^2), where f_i and f are
the strength of the muscle and of all muscles against those that are usual, both over body weight. The corners of the
clip are rounded: gradients of motions reach muscles that are at rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from bige_opensim.learning.channels import Channels, ChannelsError, Mirror, Normaliser, is_right, mirror_name
from bige_opensim.learning.derivatives import time_derivatives
from bige_opensim.learning.familiarity import Familiar
from bige_opensim.learning.intervals import LEAST_ACTIVATION, PHASES, phase_of
from bige_opensim.learning.legs import Carried, Legs, scaled_postures, some_of
from bige_opensim.learning.perceptron import Perceptron
from bige_opensim.learning.setting_limits import require_within
from bige_opensim.learning.subject_inputs import subject_inputs
from bige_opensim.physics.mechanics import Mechanics
from bige_opensim.physics.stance_loads import LOADS

FEATURE_LIMIT = 3.0
"""Scaled subject features bend towards this bound: few subjects are seen, and a new one must not lead far outside."""


SHARPNESS = 20.0
"""1 / (width of an activation over which the output bends from rest to rising, and from rising to full activation)."""

STILL = 0.1
"""Of the usual first weights of the output: a muscle that the first weights put far below rest learns nothing."""

WEAKEST, STRONGEST = 0.2, 5.0
"""Bounds of the factor that strengths put on a pull."""

POSES = 400
"""Poses that a network with loads keeps of the motions that it was trained on."""

TOGETHER = 10
"""Motions that pass through the network at once where no gradients are asked for: more memory at a time is slower."""

STEEP = 30.0
"""Multiplier of a moment, 1/m, up to which it is told in proportion: where reserves move joints, it has no bound."""


@dataclass(frozen=True)
class SurrogateConfig:
    """Size of the surrogate, and what of it is dropped at random in training.

    ground_width, ground_layers: units and hidden layers of the perceptron that sees the whole body; width, layers: of
    the second one, with loads that of the descent, without them that of a limb; told: how many numbers a limb's is told
    by the first.
    """

    ground_width: int = 128
    ground_layers: int = 3
    width: int = 80
    layers: int = 2
    told: int = 40
    dropout: float = 0.1
    subject_dropout: float = 0.2

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = dict.fromkeys(("width", "ground_width", "told"), (1, 8192))
        require_within(self, limits | dict.fromkeys(("layers", "ground_layers"), (0, 100)))
        rates = (self.dropout, self.subject_dropout)
        if not all(0 <= rate < 1 for rate in rates):
            raise ValueError(f"dropout rates lie in [0, 1), got {', '.join(map(str, rates))}")


class Sides(nn.Module):
    """The views of a motion that one network predicts a limb from, and which muscles and coordinates are a limb's.

    Two where all channels have partners, the motion and its mirror image; else one limb is the whole body. `muscles`
    are those of the first view's limb, `coordinates` those that belong to it.
    """

    order: Tensor
    place: Tensor

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        self.mirrors = _mirrors(channels)
        self.muscles = [m for m, name in enumerate(channels.muscles) if self.mirrors is None or is_right(name)]
        own = [k for k, name in enumerate(channels.coordinates) if self.mirrors is not None and is_right(name)]
        self.coordinates = own or list(range(len(channels.coordinates)))
        across = () if self.mirrors is None else self.muscles
        partner = [channels.muscles.index(mirror_name(channels.muscles[m])) for m in across]
        self.register_buffer("order", torch.tensor([*self.muscles, *partner]), persistent=False)
        self.register_buffer("place", self.order.argsort(), persistent=False)

    @property
    def count(self) -> int:
        """How many views there are."""
        return 1 if self.mirrors is None else 2

    def views(self, what: str, x: Float[Tensor, "batch *rest"]) -> Float[Tensor, "views *rest"]:
        """Both views of q, its derivatives or the features, one batch after the other."""
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
    poses: Tensor
    """Of motions that were trained on: around them, and those of a motion, a person's muscle paths are to be known."""
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
        subject = len(channels.features) + 1
        if channels.loads:
            self.legs = Legs(channels, self.sides.mirrors)
            inputs, more = self.legs.inputs
            self.ground = Perceptron(inputs, subject, config.ground_width, config.ground_layers, config.dropout)
            self.descent = Perceptron(inputs + more, subject, config.width, config.layers, config.dropout)
            self.shift, self.step = (nn.Linear(n, len(self.legs.own)) for n in (config.ground_width, config.width))
            for layer in (self.shift, self.step):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
            self.register_buffer("poses", torch.zeros(POSES, C))
        else:
            postures = C + len(bent)
            own_kinematics = [*own, *(C + bent.index(k) for k in own if k in bent), *(postures + k for k in own)]
            self.register_buffer("own_kinematics", torch.tensor(own_kinematics), persistent=False)
            inputs = postures + 2 * C
            self.ground = Perceptron(inputs, subject, config.ground_width, config.ground_layers, config.dropout)
            self.tell = nn.Linear(config.ground_width, config.told)
            of_limb = len(own_kinematics) + config.told
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
        mechanics: Mechanics | None = None,
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
        mechanics
            Of the motions on the person's own model, by `PersonMechanics`, at the frames that are asked for. Needed by
            a network that was trained with loads, and by no other.

        Raises
        ------
        ValueError
            Shapes that do not fit the channels, or mechanics that are missing.

        """
        if self.channels.loads:
            carried = self.carried(q, duration, features, padding, at, mechanics)
            assert mechanics is not None, "`carried` asked for them"
            return self.shared(carried, mechanics)
        self._check(q, duration, features)
        x, subject = self._kinematics(q, duration, features, padding, at)
        limb = torch.cat([x.index_select(-1, self.own_kinematics), self.tell(self.ground(x, subject))], -1)
        pull = self.head(self.limb(limb, subject))
        return rounded_clip(self.sides.joined(pull) * self._stronger(features.to(pull))[:, None])

    def carried(
        self,
        q: Float[Tensor, "batch time coordinate"],
        duration: Float[Tensor, " batch"],
        features: Float[Tensor, "batch feature"],
        padding: Bool[Tensor, "batch time"] | None = None,
        at: Int[Tensor, " frame"] | None = None,
        mechanics: Mechanics | None = None,
    ) -> Carried:
        """Net moments, of a network with loads. Parameters and errors as `forward`."""
        self._check(q, duration, features)
        known = self._known(mechanics, len(q), q.shape[1] if at is None else len(at))
        if len(q) > TOGETHER and not torch.is_grad_enabled():
            parts = []
            for k in range(0, len(q), TOGETHER):
                part = slice(k, k + TOGETHER)
                valid = None if padding is None else padding[part]
                parts.append(self.carried(q[part], duration[part], features[part], valid, at, known.of(part)))
            return Carried(*map(torch.cat, zip(*parts, strict=True)))
        dtype, legs = self.position.scale.dtype, self.legs
        q, duration, features = q.to(dtype), duration.to(dtype), features.to(dtype)
        if padding is not None:
            q = q.masked_fill(padding[..., None], 0.0)
        q = q if at is None else q.index_select(1, at.to(q.device))
        both = self.sides.views("features", features)
        subject = self._subject(duration.repeat(self.sides.count), both).unflatten(0, (self.sides.count, -1))
        frame = legs.numbers(q, known)
        plain = some_of(known.loads, legs.moved).to(dtype)
        guess = plain + legs.joined(self.shift(legs.units(self.ground, frame, subject)))
        multipliers = legs.share(guess, known).multipliers
        beside = torch.cat([guess, (multipliers / STEEP).asinh()], -1)
        step = legs.joined(self.step(legs.units(self.descent, frame, subject, beside)))
        return Carried(guess, guess + step, multipliers)

    def shared(self, carried: Carried, mechanics: Mechanics) -> Float[Tensor, "batch frame muscle"]:
        """Activations of the person's own muscles that make net moments."""
        found = self.legs.share(carried.net, mechanics, carried.multipliers).activations
        names = mechanics.spans.muscles
        return found if names == self.channels.muscles else found[..., [names.index(m) for m in self.channels.muscles]]

    def _kinematics(
        self, q: Tensor, duration: Tensor, features: Tensor, padding: Tensor | None, at: Tensor | None
    ) -> tuple[Float[Tensor, "views frame input"], Float[Tensor, "views feature"]]:
        """Scaled kinematics at the frames that are asked for, and scaled subjects, of both views."""
        dtype = self.position.scale.dtype
        q, duration, features = q.to(dtype), duration.to(dtype), features.to(dtype)
        lengths = None if padding is None else (~padding).sum(1)
        if padding is not None:
            q = q.masked_fill(padding[..., None], 0.0)
        frame = torch.arange(q.shape[1], device=q.device) if at is None else at.to(q.device)
        motion = (x.index_select(1, frame) for x in (q, *time_derivatives(q, duration, lengths)))
        q_at, velocity, acceleration = (self.sides.views("q", x) for x in motion)
        x = torch.cat([self._postures(q_at), self.velocity(velocity), self.acceleration(acceleration)], -1)
        return x, self._subject(duration.repeat(self.sides.count), self.sides.views("features", features))

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
        dtype = self.position.scale.dtype
        q, duration = q.to(dtype), duration.to(dtype)
        velocity, _ = time_derivatives(q, duration)
        return torch.cat([self._postures(q), self.velocity(velocity)], -1)

    def scaled_body(self, features: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch feature"]:
        """What is compared of a body."""
        return self.features(subject_inputs(features.to(self.position.scale.dtype), self.channels.features))

    @property
    def outputs(self) -> list[nn.Parameter]:
        """Weights of the last layers."""
        last = (self.shift, self.step) if self.channels.loads else (self.head,)
        return [p for layer in last for p in layer.parameters()]

    def start_from(self, mean_activation: Float[Tensor, " muscle"]) -> None:
        """Let an untrained surrogate predict each muscle's mean, of both sides together; not one that is told loads."""
        if self.channels.loads:
            return
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

    def _known(self, mechanics: Mechanics | None, motions: int, frames: int) -> Mechanics:
        """The mechanics, where they are those that are needed for these motions and frames."""
        expected = (motions, frames, len(self.channels.coordinates) + len(LOADS))
        if mechanics is None or mechanics.loads.shape != expected or mechanics.capacity.shape[:2] != expected[:2]:
            found = "none" if mechanics is None else f"{tuple(mechanics.loads.shape)}"
            raise ValueError(
                "this surrogate shares what joints carry among the person's own muscles: expected mechanics with "
                f"loads {expected}, by `PersonMechanics` of the person's model at the frames asked for, got {found}"
            )
        return mechanics

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
        """(batch, time, coordinate + angle): see `scaled_postures`."""
        turn = q - self.position.offset
        return scaled_postures(turn.sin(), turn.cos(), turn, self.position.scale, self.angle, self.bending)

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
        found = {"q": Mirror.of(names), "features": Mirror.of(channels.features)}
        return found | ({"moved": Mirror.of(channels.moved), "loads": Mirror.of_told(channels.moved)})
    except ChannelsError:
        return None


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
