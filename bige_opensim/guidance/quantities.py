"""From a motion to the series a term measures: channels resolved by name, kinematics computed once per evaluation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.guidance import terms
from bige_opensim.guidance.balance import beyond_support
from bige_opensim.guidance.language import ObjectiveError, Term, closest
from bige_opensim.learning.channels import MIDLINE_ODD
from bige_opensim.physics.capsules import Capsules, capsules_of
from bige_opensim.physics.dynamics import State, body_wrenches, kinematics
from bige_opensim.physics.joint_loads import loaded_joints
from bige_opensim.physics.native_skeleton import NativeDemand, able
from bige_opensim.physics.rotations import rotation_triples
from bige_opensim.physics.seat import Seat
from bige_opensim.physics.skeleton import Poses, Skeleton

GRF_COLUMNS = tuple(f"ground_force_{side}_v{axis}" for side in "rl" for axis in "xyz")
COM_COMPONENTS = ("norm", "x", "y", "z")
TRUNK_BODY = "torso"
SLIDES_M = 0.03
"""How far a pelvis moves on its seat before it leaves it: synthetic rises have up to 3 cm (our choice)."""
SITS_M = 0.1
"""How far behind the feet the mass centre of who sits is at least: in synthetic rises 16 to 30 cm (our choice)."""


class Dynamics(NamedTuple):
    """What a dynamics callable returns: generalized forces (N*m, N) in channel order, ground forces (N), joint loads.

    Ground forces are the columns of `GRF_COLUMNS`: x, y, z on the right foot, then on the left. Joint loads are the
    resultant contact forces of the skeleton's `loaded_joints`, in body weights; None where they are not known.
    """

    moments: Float[Tensor, "batch time channel"]
    grf: Float[Tensor, "batch time 6"]
    joint_loads: Float[Tensor, "batch time joint"] | None = None


DynamicsModel = Callable[[Tensor, Tensor, Tensor | None], Dynamics]
"""(q, duration, activations) -> Dynamics."""


@dataclass(frozen=True)
class Frame:
    """What a motion is measured with: its channels, the muscles, the skeleton, and dynamics where there are any.

    `seated` motions start on a seat that carries besides the feet: `seat_m` above the ground, or where they begin.
    """

    channels: tuple[str, ...]
    muscles: tuple[str, ...]
    skeleton: Skeleton
    dynamics: DynamicsModel | None = None
    ground_height: float = 0.0
    seated: bool = False
    seat_m: float | None = None

    def __post_init__(self) -> None:
        for name in self.channels:
            if name not in self.skeleton.coordinates:
                known = closest(name, self.skeleton.coordinates)
                raise ObjectiveError(f"channel '{name}' of the motions is no coordinate of the skeleton{known}")

    @cached_property
    def rotational(self) -> tuple[bool, ...]:
        """Whether each channel is an angle."""
        kind = dict(zip(self.skeleton.coordinates, self.skeleton.tables.rotational, strict=True))
        return tuple(kind[name] for name in self.channels)

    @cached_property
    def body_weight_n(self) -> float:
        """Body weight, N, without what is carried."""
        return float(self.skeleton.body_weight_n)

    @cached_property
    def triples(self) -> list[list[int]]:
        """Places of the channels of every joint that turns about three axes."""
        found = [t for t in rotation_triples(self.skeleton.tables) if set(t) <= set(self.channels)]
        return [[self.channels.index(name) for name in triple] for triple in found]

    @cached_property
    def capsules(self) -> Capsules:
        """The segments that may not pass through each other."""
        return capsules_of(self.skeleton)

    @cached_property
    def upright_overlap(self) -> Float[Tensor, " pair"]:
        """By how much they overlap in a person who stands upright, at least 0."""
        zero = self.skeleton.range.new_zeros(len(self.skeleton.coordinates))
        return self.capsules.overlap(self.skeleton(zero)).clamp(min=0.0)

    @cached_property
    def demand(self) -> NativeDemand | None:
        """What motions take, in C; None where it is not compiled."""
        return NativeDemand(self.skeleton) if able(self.skeleton.tables) else None

    @cached_property
    def columns(self) -> list[int]:
        """Place of each channel among the skeleton's coordinates."""
        return [self.skeleton.coordinates.index(name) for name in self.channels]


class Observation:
    """One batch of motions, in the skeleton's precision; each derived array is computed when first asked for.

    q (batch, time, channel) in rad and m, duration (batch,) in s, activations (batch, time, muscle) or None.
    """

    def __init__(self, frame: Frame, q: Tensor, duration: Tensor, activations: Tensor | None) -> None:
        if q.ndim != 3 or q.shape[-1] != len(frame.channels) or q.shape[1] < 3 or duration.shape != q.shape[:1]:
            raise ObjectiveError(
                f"expected motions (batch, time >= 3, {len(frame.channels)}) and durations (batch,), "
                f"got {tuple(q.shape)} and {tuple(duration.shape)}"
            )
        if activations is not None and activations.shape != (*q.shape[:2], len(frame.muscles)):
            expected = (*q.shape[:2], len(frame.muscles))
            raise ObjectiveError(f"expected activations {expected}, got {tuple(activations.shape)}")
        dtype = frame.skeleton.range.dtype
        self.frame, self.q, self.duration = frame, q.to(dtype), duration.to(dtype)
        self.activations = None if activations is None else activations.to(dtype)

    @cached_property
    def velocity(self) -> Tensor:
        """Time derivative of the channels, rad/s and m/s."""
        return terms.time_derivative(self.q, self.duration)

    @cached_property
    def poses(self) -> Poses:
        """Body poses; coordinates that the motion does not carry stay at their default."""
        if "state" in self.__dict__:
            return self.state.poses
        return self.frame.skeleton(self.full(self.q, self.frame.skeleton.get_buffer("default")))

    @cached_property
    def coordinates(self) -> tuple[Tensor, Tensor, Tensor]:
        """All coordinates of the skeleton, their speeds and accelerations."""
        default = self.frame.skeleton.get_buffer("default")
        acceleration = terms.second_time_derivative(self.q, self.duration)
        still = torch.zeros_like(default)
        return self.full(self.q, default), self.full(self.velocity, still), self.full(acceleration, still)

    @cached_property
    def state(self) -> State:
        """Poses, velocities and accelerations of all bodies."""
        return kinematics(self.frame.skeleton, *self.coordinates)

    def full(self, channels: Tensor, others: Tensor) -> Tensor:
        """Values of all coordinates of the skeleton, from those of the channels and the others' own."""
        values = others.expand(*channels.shape[:2], -1).clone()
        values[..., self.frame.columns] = channels
        return values

    @cached_property
    def beyond_support(self) -> Float[Tensor, "batch time"]:
        """How far the zero-moment point is outside the feet on the ground, m, negative inside: see `balance`."""
        force, moment = demand_on_ground(self)
        frame = self.frame
        return beyond_support(
            force, moment, self.contact_points, float(frame.skeleton.weight_n), frame.ground_height, self._resting
        )

    @cached_property
    def seat(self) -> Seat | None:
        """The seats that the motions start on; None where there are none."""
        plain = Seat.under(self.frame.skeleton, 0.0, (0.0, 0.0)) if self.frame.seated else None
        return None if plain is None else plain.of_motions(self.poses, self.frame.seat_m)

    @cached_property
    def _resting(self) -> tuple[Tensor, Tensor] | None:
        """Points on the seat, and how far each can push; None where there is no seat."""
        if self.seat is None:
            return None
        points = self.seat.on_bodies(self.poses)
        return points, self.seat.reached(points)

    @cached_property
    def off_seat(self) -> Float[Tensor, "batch time"]:
        """How far the pelvis has sunk again, and has slid on its seat while it rests there, together, m; 0 without one.

        Who rises from a seat does not go back below where they were already; up to SLIDES_M belong to leaving it. What
        the pelvis begins above or below the seat of a given height is added throughout, and so is what the mass centre
        begins less than SITS_M beyond the feet: who could stand there does not sit, whatever is under them.
        """
        if self.seat is None or self._resting is None:
            return self.q.new_zeros(self.q.shape[:2])
        on_bodies, reached = self._resting
        points = on_bodies[..., self.seat.of_pelvis, :]
        rests = reached[..., self.seat.of_pelvis].amax(-1)
        way = (points.mean(-2)[..., [0, 2]] - torch.as_tensor(self.seat.place)).norm(dim=-1)
        height = points[..., 1].amin(-1)
        beside = (height[:, :1] - torch.as_tensor(self.seat.height_m)[..., 0]).abs()
        beside = beside + (SITS_M - self._behind_feet[:, None]).clamp(min=0.0)
        return beside + height.cummax(1).values - height + rests.detach() * (way - SLIDES_M).clamp(min=0.0)

    @cached_property
    def _behind_feet(self) -> Float[Tensor, " batch"]:
        """How far the mass centre is outside the feet in the first frame, m: a body at rest presses under it."""
        first, weight = self.com[:, 0], float(self.frame.skeleton.weight_n)
        force = torch.zeros_like(first)
        force[..., 1] = weight
        moment = torch.linalg.cross(first, force)
        return beyond_support(force, moment, self.contact_points[:, 0], weight, self.frame.ground_height)

    @cached_property
    def overlap(self) -> Float[Tensor, "batch time pair"]:
        """Share of their thickness by which segments overlap, beyond that of standing upright; negative apart."""
        return self.frame.capsules.overlap(self.poses) - self.frame.upright_overlap

    @cached_property
    def com(self) -> Tensor:
        """Centre of mass, (batch, time, 3) in m."""
        return self.frame.skeleton.com(self.poses)

    @cached_property
    def contact_points(self) -> Tensor:
        """Lowest points of the foot spheres, (batch, time, point, 3) in m."""
        return self.frame.skeleton.contact_points(self.poses)

    @cached_property
    def dynamics(self) -> Dynamics:
        """Moments and ground forces from the caller's dynamics."""
        if self.frame.dynamics is None:
            raise ObjectiveError("no dynamics were given")
        return self.frame.dynamics(self.q, self.duration, self.activations)


def demand_on_ground(o: Observation) -> tuple[Float[Tensor, "batch time 3"], Float[Tensor, "batch time 3"]]:
    """Force (N) and moment about the ground's origin (N·m) that motions take from their surroundings."""
    in_c = o.frame.demand
    if in_c is not None and o.q.device.type == "cpu":
        found = in_c(*(x.flatten(0, 1) for x in o.coordinates))
        force, moment = (x.to(o.q).unflatten(0, o.q.shape[:2]) for x in found)
        return force, moment
    forces, moments = body_wrenches(o.frame.skeleton, o.state)
    return forces.sum(-2), moments.sum(-2)


Measure = Callable[[Observation], Float[Tensor, "batch time channel"]]


class Measured(NamedTuple):
    """A quantity tied to channels: its series in SI units, the channels' labels, and its unit in objective files."""

    series: Measure
    labels: tuple[str, ...]
    unit: str


def measured(term: Term, frame: Frame) -> Measured:
    """Resolve a term's quantity and channels; raises `ObjectiveError` naming the term and the nearest known name."""
    match term.quantity:
        case "activation":
            index = _find(term, term.of, frame.muscles, "muscle")
            return Measured(lambda o: _activations(o, term)[..., index], _names(frame.muscles, index), "1")
        case "coordinate" | "velocity":
            return _coordinates(term, frame)
        case "asymmetry":
            return _asymmetry(term, frame)
        case "moment":
            index = _find(term, term.of, frame.channels, "coordinate")
            _one_unit(term, frame, index, ("N*m/kg", "N/kg"), only="N*m/kg")
            mass = float(frame.skeleton.own_mass.sum())
            return Measured(lambda o: o.dynamics.moments[..., index] / mass, _names(frame.channels, index), "N*m/kg")
        case "grf":
            wanted = term.of or ("ground_force_r_vy", "ground_force_l_vy")
            index = _find(term, wanted, GRF_COLUMNS, "ground force column")
            weight = frame.body_weight_n
            return Measured(lambda o: o.dynamics.grf[..., index] / weight, _names(GRF_COLUMNS, index), "BW")
        case "joint_load":
            joints = [joint.name for joint in loaded_joints(frame.skeleton)]
            index = _find(term, term.of, joints, "loaded joint")
            return Measured(lambda o: _joint_loads(o, term)[..., index], _names(joints, index), "BW")
        case "com_velocity" | "com_acceleration":
            return _com_motion(term)
        case "foot_slide":
            points = frame.skeleton.contact_names
            index = _find(term, term.of or points, points, "contact point")
            return Measured(lambda o: _slide(o)[..., index], _names(points, index), "m/s")
        case "trunk_angle":
            if TRUNK_BODY not in frame.skeleton.bodies:
                raise ObjectiveError(f"term '{term.name}': trunk_angle needs a body called '{TRUNK_BODY}' in the model")
            trunk = frame.skeleton.bodies.index(TRUNK_BODY)
            return Measured(
                lambda o: terms.trunk_inclination(o.poses.rotation[..., trunk, :, :])[..., None], ("trunk",), "deg"
            )
        case "depth":
            if "pelvis" not in frame.skeleton.bodies:
                raise ObjectiveError(f"term '{term.name}': depth needs a body called 'pelvis' in the model")
            pelvis = frame.skeleton.bodies.index("pelvis")
            return Measured(
                lambda o: terms.drop_from_highest(o.poses.position[..., pelvis, 1])[..., None], ("pelvis",), "m"
            )
        case "duration":
            return Measured(lambda o: o.duration[:, None, None], ("duration",), "s")
    raise ObjectiveError(f"term '{term.name}': unknown quantity '{term.quantity}'")


def needs_dynamics(term: Term) -> bool:
    """Whether a term needs moments, ground forces or joint loads."""
    return term.quantity in ("moment", "grf", "joint_load")


def needs_activations(term: Term, frame: Frame) -> bool:
    """Whether a term needs muscle activations."""
    return term.quantity == "activation" or (term.quantity == "asymmetry" and measured(term, frame).unit == "1")


def _names(names: Sequence[str], index: Sequence[int]) -> tuple[str, ...]:
    return tuple(names[i] for i in index)


def _find(term: Term, wanted: Sequence[str], known: Sequence[str], what: str) -> list[int]:
    """Places of the wanted names or patterns among the known ones, each once, in the order they were asked for."""
    found: list[int] = []
    for pattern in wanted:
        here = [i for i, name in enumerate(known) if fnmatchcase(name, pattern)]
        if not here:
            raise ObjectiveError(f"term '{term.name}': unknown {what} '{pattern}'{closest(pattern, known)}", "of")
        found += [i for i in here if i not in found]
    return found


def _one_unit(term: Term, frame: Frame, index: Sequence[int], units: tuple[str, str], only: str | None = None) -> str:
    """The angular or the linear unit, whichever all channels share."""
    kinds = {units[0] if frame.rotational[i] else units[1] for i in index}
    if len(kinds) > 1 or (only is not None and kinds != {only}):
        names = ", ".join(frame.channels[i] for i in index)
        wanted = f"must be in {only}" if only else "mix angles and lengths; write one term for each"
        raise ObjectiveError(f"term '{term.name}': {names} {wanted}", "of")
    return kinds.pop()


def _activations(o: Observation, term: Term) -> Tensor:
    if o.activations is None:
        raise ObjectiveError(f"term '{term.name}' measures muscles, and no activations were given")
    return o.activations


def _joint_loads(o: Observation, term: Term) -> Tensor:
    if o.dynamics.joint_loads is None:
        raise ObjectiveError(
            f"term '{term.name}' measures joint contact forces, which are not known here; simulate the motion again "
            "with this version, or remove the term"
        )
    return o.dynamics.joint_loads


def _coordinates(term: Term, frame: Frame) -> Measured:
    rotations = tuple(n for n, angle in zip(frame.channels, frame.rotational, strict=True) if angle)
    index = _find(term, term.of or rotations, frame.channels, "coordinate")
    names = _names(frame.channels, index)
    if term.quantity == "coordinate":
        return Measured(lambda o: o.q[..., index], names, _one_unit(term, frame, index, ("deg", "m")))
    return Measured(lambda o: o.velocity[..., index], names, _one_unit(term, frame, index, ("deg/s", "m/s")))


def _asymmetry(term: Term, frame: Frame) -> Measured:
    """Pairs of coordinates or of muscles; either side or the bare name (knee_angle) stands for the pair."""
    pairs = {kind: _pairs(names) for kind, names in (("c", frame.channels), ("m", frame.muscles))}
    sided = [n for n, (i, _, _) in pairs["c"].items() if frame.rotational[i] and n not in MIDLINE_ODD]
    wanted = term.of or tuple(sided)
    kinds = {kind for kind in pairs for x in wanted if any(fnmatchcase(n, _base(x)) for n in pairs[kind])}
    if kinds == {"c", "m"}:
        raise ObjectiveError(f"term '{term.name}': mixes coordinates and muscles; write one term for each", "of")
    for name in wanted:
        if name in frame.channels and _base(name) not in pairs["c"]:
            raise ObjectiveError(
                f"term '{term.name}': '{name}' has no left-right partner, its asymmetry is always zero", "of"
            )
    kind = kinds.pop() if kinds else "c"
    known = list(pairs[kind]) if kinds else [*pairs["c"], *pairs["m"]]
    chosen = [known[i] for i in _find(term, [_base(x) for x in wanted], known, "left-right pair")]
    right, left, sign = zip(*(pairs[kind][n] for n in chosen), strict=True)
    if kind == "m":
        return Measured(lambda o: terms.mirror_difference(_activations(o, term), right, left, sign), tuple(chosen), "1")
    unit = _one_unit(term, frame, right, ("deg", "m"))
    return Measured(lambda o: terms.mirror_difference(o.q, right, left, sign), tuple(chosen), unit)


def _base(name: str) -> str:
    """A name without its side: knee_angle_r -> knee_angle, knee_angle_r_beta -> knee_angle_beta."""
    parts = name.split("_")
    sides = [i for i, part in enumerate(parts) if i > 0 and part in ("r", "l")]
    return "_".join(parts[: sides[-1]] + parts[sides[-1] + 1 :]) if sides else name


@lru_cache(maxsize=8)
def _pairs(names: tuple[str, ...]) -> dict[str, tuple[int, int, float]]:
    """Base name -> (right index, left index, sign) of what a left-right mirror exchanges or negates."""
    pairs: dict[str, tuple[int, int, float]] = {n: (i, i, -1.0) for i, n in enumerate(names) if n in MIDLINE_ODD}
    for i, name in enumerate(names):
        for j, other in enumerate(names):
            if _base(name) == _base(other) != name and "r" in name.split("_")[1:] and "l" in other.split("_")[1:]:
                pairs[_base(name)] = (i, j, 1.0)
    return pairs


def _com_motion(term: Term) -> Measured:
    derivative = terms.time_derivative if term.quantity == "com_velocity" else terms.second_time_derivative
    index = _find(term, term.of or ("norm",), COM_COMPONENTS, "component")

    def series(o: Observation) -> Tensor:
        vector = derivative(o.com, o.duration)
        return torch.cat([terms.length(vector)[..., None], vector], dim=-1)[..., index]

    return Measured(series, _names(COM_COMPONENTS, index), "m/s" if term.quantity == "com_velocity" else "m/s^2")


def _slide(o: Observation) -> Tensor:
    return terms.foot_slide_speed(o.contact_points, o.duration, ground_height=o.frame.ground_height)


def statistic(term: Term, series: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch channel"]:
    """The term's statistic over time, per channel."""
    values = series.transpose(1, 2)
    if term.stat == "at":
        return terms.value_at(values, 0.0 if term.at is None else term.at)
    reduce = {"peak": terms.peak, "min": terms.trough, "mean": terms.mean, "range": terms.span, "rms": terms.rms}
    return reduce[term.stat](values)


def channel_range(frame: Frame) -> tuple[Tensor, Tensor]:
    """Low and high limit of each channel, rad or m; infinite where the model gives none."""
    low, high = frame.skeleton.range[frame.columns].unbind(-1)
    return low.nan_to_num(nan=-math.inf, neginf=-math.inf), high.nan_to_num(nan=math.inf, posinf=math.inf)
