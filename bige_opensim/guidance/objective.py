"""An objective: loaded from TOML, bound to a model's channels, evaluated on a batch of motions."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bige_opensim.guidance import terms
from bige_opensim.guidance.language import (
    UNITS,
    Document,
    ObjectiveError,
    SearchSettings,
    Term,
    check_document,
    read_document,
)
from bige_opensim.guidance.quantities import (
    DynamicsModel,
    Frame,
    Measured,
    Observation,
    channel_range,
    measured,
    needs_dynamics,
    statistic,
)
from bige_opensim.physics.carried_loads import CarriedLoad
from bige_opensim.physics.effort_cost import USUAL, EffortCost
from bige_opensim.physics.skeleton import Skeleton

LIMIT_SCALE = {True: UNITS["deg"].size * 2.0, False: 0.02}
"""A joint 2 degrees (or 2 cm) outside its range costs one unit."""

CONTACT_TOLERANCE_M = 0.01
CONTACT_SCALE_M = 0.01

SUPPORT_MARGIN_M, SUPPORT_SCALE_M = 0.02, 0.02
"""How far inside the feet a search keeps the zero-moment point: nearer to the edge a label shifts the body by
millimetres, and the feet with it."""

GIVEN_UP = 0.2
OVERLAP, OVERLAP_SCALE = 0.2, 0.1
"""Share of their thickness by which limbs may overlap beyond that of standing upright: a verdict allows 0.3."""


@dataclass(frozen=True)
class Objective:
    """Terms, search settings, the cost of effort and what is carried, in units of the file; `bind` ties to channels.

    `movement` is the one that it is about, one of `movements.events.MOVEMENTS`; None where it is for any.
    """

    name: str
    terms: tuple[Term, ...]
    settings: SearchSettings
    description: str = ""
    source: str = "objective"
    cost: EffortCost = USUAL
    loads: tuple[CarriedLoad, ...] = ()
    movement: str | None = None

    @classmethod
    def load(cls, path: Path) -> "Objective":
        """Read an objective file; raises `ObjectiveError` naming the file, the term and the remedy."""
        return cls._of(read_document(Path(path)), str(path))

    @classmethod
    def from_dict(cls, content: dict[str, Any], *, source: str = "objective") -> "Objective":
        """The same from a dictionary with the keys of the file."""
        return cls._of(check_document(content, source=source), source)

    @classmethod
    def _of(cls, d: Document, source: str) -> "Objective":
        return cls(d.name, d.terms, d.settings, d.description, source, d.cost, d.loads, d.movement)

    def bind(
        self,
        channels: Sequence[str],
        muscles: Sequence[str],
        skeleton: Skeleton,
        *,
        dynamics: DynamicsModel | None = None,
        ground_height: float = 0.0,
        seated: bool = False,
        seat_m: float | None = None,
    ) -> "BoundObjective":
        """Resolve names, units and bounds against a model.

        Parameters
        ----------
        channels
            Coordinates of the motions, in the order of their last axis.
        muscles
            Muscles of the activations, in the order of their last axis; empty where there are none.
        skeleton
            The subject's skeleton; evaluation runs in its precision and on its device.
        dynamics
            `(q, duration, activations) -> Dynamics`; required by terms on moment and grf.
        ground_height
            Height of the ground, m.
        seated
            Motions start on a seat, which carries besides the feet.
        seat_m
            Its height above the ground, m; by default where they begin.

        """
        frame = Frame(tuple(channels), tuple(muscles), skeleton, dynamics, ground_height, seated, seat_m)
        return BoundObjective(self, frame, tuple(_bind_term(term, frame) for term in self.terms))


class BoundTerm(NamedTuple):
    """A term with its channels, and its bounds and scale in the unit of the file."""

    term: Term
    measured: Measured
    low: float
    high: float
    scale: float

    @property
    def name(self) -> str:
        """The term's name."""
        return self.term.name

    @property
    def bounded(self) -> bool:
        """Whether the term has a band to meet, not a direction to go."""
        return self.term.goal == "band"

    def channel_values(self, observation: Observation) -> Float[Tensor, "batch channel"]:
        """The term's statistic per channel, in the unit of the file."""
        return statistic(self.term, self.measured.series(observation)) / UNITS[self.measured.unit].size

    def value(self, channels: Float[Tensor, "batch channel"]) -> Float[Tensor, " batch"]:
        """One number for all channels: the one farthest out of (or least inside) the band; their mean where no band is.

        The mean of root mean squares is quadratic: the root mean square over time and channels.
        """
        if self.bounded:
            worst = terms.signed_violation(channels, self.low, self.high).argmax(-1, keepdim=True)
            return channels.gather(-1, worst).squeeze(-1)
        return terms.rms(channels) if self.term.stat == "rms" else channels.mean(-1)

    def penalty(self, channels: Float[Tensor, "batch channel"]) -> Float[Tensor, " batch"]:
        """Mean over channels of `terms.band_penalty`; for minimise and maximise, plus or minus the value in scales.

        A root mean square enters squared, as a mean square: the paper's form of its kinematic losses.
        """
        if self.bounded:
            return terms.band_penalty(channels, self.low, self.high, self.scale).mean(-1)
        size = channels / self.scale
        amount = size.square().mean(-1) if self.term.stat == "rms" else size.mean(-1)
        return amount if self.term.goal == "minimise" else -amount


class Evaluation(NamedTuple):
    """An objective on a batch of motions, by term name; values in the units of the file.

    `violations` (bounded terms only) is the distance of the worst channel to its band in scales, negative inside;
    `satisfied` is the verdict over the hard terms, or over all bounded terms where none is hard; an objective that
    bounds nothing is satisfied by any motion.
    """

    values: dict[str, Float[Tensor, " batch"]]
    channel_values: dict[str, Float[Tensor, "batch channel"]]
    penalties: dict[str, Float[Tensor, " batch"]]
    violations: dict[str, Float[Tensor, " batch"]]
    met: dict[str, Bool[Tensor, " batch"]]
    satisfied: Bool[Tensor, " batch"]
    loss: Float[Tensor, " batch"]


@dataclass(frozen=True)
class BoundObjective:
    """An objective tied to a model: call `evaluate`; in a search, `observe` once and use its parts."""

    objective: Objective
    frame: Frame
    terms: tuple[BoundTerm, ...]

    @property
    def verdict_terms(self) -> tuple[BoundTerm, ...]:
        """The hard terms; all bounded terms where none is hard."""
        return tuple(t for t in self.terms if t.term.hard) or tuple(t for t in self.terms if t.bounded)

    def decided_by(self, names: Collection[str]) -> "BoundObjective":
        """The same, decided by these terms; what decided before and does not now is a wish of a fifth of its weight."""
        deciding = {t.name for t in self.verdict_terms}
        terms = []
        for t in self.terms:
            share = GIVEN_UP if t.name in deciding and t.name not in names else 1.0
            term = dataclasses.replace(t.term, hard=t.name in names, weight=share * t.term.weight)
            terms.append(t._replace(term=term))
        return dataclasses.replace(self, terms=tuple(terms))

    @property
    def needs_activations(self) -> bool:
        """Whether any term measures muscles."""
        return any(t.term.quantity == "activation" or t.measured.unit == "1" for t in self.terms)

    def observe(self, q: Tensor, duration: Tensor, activations: Tensor | None = None) -> Observation:
        """A batch to be measured, (batch, time, channel), (batch,), (batch, time, muscle)."""
        return Observation(self.frame, q, duration, activations)

    def evaluate(
        self,
        q: Float[Tensor, "batch time channel"],
        duration: Float[Tensor, " batch"],
        activations: Float[Tensor, "batch time muscle"] | None = None,
    ) -> Evaluation:
        """Values, verdict and loss of each motion; q in rad and m, duration in s, activations in [0, 1]."""
        return self.judge(self.observe(q, duration, activations))

    def judge(self, observation: Observation, errors: Mapping[str, Tensor] | None = None) -> Evaluation:
        """`evaluate` on an observation: loss = sum over terms of weight * penalty.

        `errors` are, by name of a term and per motion (batch,), what its values are known to be too small by, in the
        unit of the file; they are added to the values of all channels.
        """
        channels = {t.name: t.channel_values(observation) for t in self.terms}
        for name, error in (errors or {}).items():
            channels[name] = channels[name] + error.to(channels[name]).unsqueeze(-1)
        values = {t.name: t.value(channels[t.name]) for t in self.terms}
        penalties = {t.name: t.penalty(channels[t.name]) for t in self.terms}
        bounded = [t for t in self.terms if t.bounded]
        violations = {t.name: terms.signed_violation(values[t.name], t.low, t.high) / t.scale for t in bounded}
        met = {t.name: terms.inside(channels[t.name], t.low, t.high).all(-1) for t in bounded}
        satisfied = torch.ones_like(observation.duration, dtype=torch.bool)
        for t in self.verdict_terms:
            satisfied = satisfied & met[t.name]
        loss = torch.zeros_like(observation.duration)
        for t in self.terms:
            loss = loss + t.term.weight * penalties[t.name]
        return Evaluation(values, channels, penalties, violations, met, satisfied, loss)

    def plausibility(self, observation: Observation) -> dict[str, Float[Tensor, " batch"]]:
        """Penalties that hold for every motion, whatever the objective; zero for a plausible one.

        joint_limits: sum over channels of the cycle's mean of (excess / s)^2, s = 2 degrees or 2 cm outside the model's
        range. penetration and floating: cycle's mean of (h / 1 cm)^2, h the depth of the deepest contact point, or the
        height of the lowest, beyond 1 cm; recorded squats show that much (estimated ground, fixed-radius spheres).
        Of motions that start on a seat, how far the pelvis begins off it, the mass centre too near the feet, and
        how far it has sunk again or slid, count as penetration does.
        balance: cycle's mean of (d / 2 cm)^2, d how much less than 2 cm the zero-moment point is inside the feet.
        self_intersection: sum over pairs of segments of the cycle's mean of ((e - 0.2) / 0.1)^2, e the share of their
        thickness by which they overlap, beyond that of standing upright.
        """
        outside = (observation.beyond_support + SUPPORT_MARGIN_M).clamp(min=0) / SUPPORT_SCALE_M
        low, high = channel_range(self.frame)
        scale = observation.q.new_tensor([LIMIT_SCALE[angle] for angle in self.frame.rotational])
        excess = terms.joint_excess(observation.q, low, high, self.frame.triples) / scale
        found = {"joint_limits": excess.square().mean(1).sum(-1)}
        measures: dict[str, Callable[..., Tensor]] = {"penetration": terms.penetration, "floating": terms.floating}
        for name, measure in measures.items():
            height = measure(observation.contact_points, ground_height=self.frame.ground_height)
            found[name] = ((height - CONTACT_TOLERANCE_M).clamp(min=0) / CONTACT_SCALE_M).square().mean(-1)
        if self.frame.seated:
            slid = (observation.off_seat - CONTACT_TOLERANCE_M).clamp(min=0) / CONTACT_SCALE_M
            found["penetration"] = found["penetration"] + slid.square().mean(-1)
        found["balance"] = outside.square().mean(-1)
        through = (observation.overlap - OVERLAP).clamp(min=0) / OVERLAP_SCALE
        found["self_intersection"] = through.square().mean(1).sum(-1)
        return found

    def limit_violations(self, q: Float[Tensor, "batch time channel"]) -> list[dict[str, float]]:
        """Per motion, the coordinates that leave the model's range and by how much at most (degrees or metres)."""
        low, high = channel_range(self.frame)
        excess = terms.joint_excess(q.detach().to(low), low, high, self.frame.triples).amax(1)
        unit = [UNITS["deg"].size if angle else 1.0 for angle in self.frame.rotational]
        names = self.frame.channels
        return [{n: float(x) / u for n, x, u in zip(names, row, unit, strict=True) if x > 1e-6} for row in excess]


def _bind_term(term: Term, frame: Frame) -> BoundTerm:
    try:
        return _bound(term, frame)
    except ObjectiveError as error:
        where = term.place.inside("", *term.place.table).at(*[key for key in (error.key,) if key])
        raise ObjectiveError(f"{where}: {error}") from error


def _bound(term: Term, frame: Frame) -> BoundTerm:
    if needs_dynamics(term) and frame.dynamics is None:
        raise ObjectiveError(
            f"term '{term.name}' measures {term.quantity}, which needs dynamics; pass `dynamics` or remove the term",
            "quantity",
        )
    found = measured(term, frame)
    if term.unit is not None and term.unit != found.unit:
        labels = ", ".join(found.labels)
        raise ObjectiveError(f"term '{term.name}': {labels} is measured in {found.unit}, not {term.unit}", "unit")
    natural = UNITS[found.unit].scale
    scale = natural if term.scale is None else term.scale
    low, high = term.low, term.high
    if low == high:
        tolerance = natural / 5 if term.tolerance is None else term.tolerance
        low, high = low - tolerance, high + tolerance
    return BoundTerm(term, found, low, high, scale)
