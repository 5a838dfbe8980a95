"""Who moves the joints: how muscles share net moments that are known, by least effort.

Once the ground force of each foot is known, so are the net moments of its leg, and what is left of static optimization
is a small problem of each leg for itself,

    minimise  sum a_m^2 + sum (r_c / opt)^2    subject to    sum_m k_cm a_m + r_c = b_c,    l <= a <= u,

where k_cm, the capacity, is the moment of muscle m about coordinate c at full activation and b_c the net moment. All
moments are over body weight, so that people of any size have the same numbers. Muscles span few coordinates: capacities
are kept as a list of those that are not zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.physics.least_effort import NOT_FINITE, Entries, solve_entries
from bige_opensim.physics.motion_states import MotionStates, States
from bige_opensim.physics.muscle_tables import MuscleTables
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables

RESERVE_M = 0.0015
"""Optimal force of a reserve over body weight: 1 N·m, as labels have it, of 670 N."""

BALANCED_M = 1e-6
"""Imbalance of moments over body weight that is accepted."""


@dataclass(frozen=True, eq=False)
class Spans:
    """Which muscles act on which coordinates, and what they may do.

    muscles: names; muscle, coordinate (S,): number of each, of every capacity; lower, upper (M,): bounds of
    activations. Net moments are those of the coordinates that muscles move, `moved`, in their order.
    """

    muscles: tuple[str, ...]
    muscle: Int[Tensor, " span"]
    coordinate: Int[Tensor, " span"]
    lower: Float[Tensor, " muscle"]
    upper: Float[Tensor, " muscle"]

    @classmethod
    def of(cls, skeleton: SkeletonTables, muscles: MuscleTables, channels: Sequence[str]) -> Spans:
        """Those of a model's muscles and of the coordinates of motions that it does not lock."""
        place, used = _places(skeleton, channels), _used(skeleton, muscles, channels)
        muscle = np.repeat(np.arange(len(muscles.names)), np.diff(muscles.span_offsets))
        limits = (torch.as_tensor(muscles.parameters[name]) for name in ("min_control", "max_control"))
        coordinate = [place[column] for column in muscles.span_coordinates[used].tolist()]
        return cls(muscles.names, torch.as_tensor(muscle[used]), torch.tensor(coordinate, dtype=torch.long), *limits)

    def same(self, other: Spans) -> bool:
        """Whether capacities by one can be read by the other."""
        numbers = ("muscle", "coordinate", "lower", "upper")
        alike = (torch.equal(getattr(self, name), getattr(other, name)) for name in numbers)
        return self.muscles == other.muscles and all(alike)

    @cached_property
    def moved(self) -> list[int]:
        """Numbers of the coordinates that muscles move."""
        found: list[int] = self.coordinate.unique().tolist()
        return found

    @cached_property
    def place(self) -> Int[Tensor, " span"]:
        """Which of the moved coordinates every capacity is about."""
        return torch.searchsorted(torch.tensor(self.moved), self.coordinate.contiguous())

    @cached_property
    def entries(self) -> Entries:
        """Where capacities are in the least-effort problem of the moved coordinates."""
        return Entries(self.muscle, self.place, len(self.lower), len(self.moved))


class MuscleCapacity(torch.nn.Module):
    """Capacities of a person's muscles over motions, differentiable, in the precision of `muscles`.

    `channels` names the motions' coordinates; those that the model locks or the motion lacks count for nothing.
    """

    used: Tensor

    def __init__(self, skeleton: Skeleton, muscles: Muscles, channels: Sequence[str], samples: int = 101) -> None:
        super().__init__()
        self.states = MotionStates(skeleton, channels, samples)
        self.muscles, self.weight_n = muscles, float(skeleton.weight_n)
        self.spans = Spans.of(skeleton.tables, muscles.tables, channels)
        used = _used(skeleton.tables, muscles.tables, channels)
        self.register_buffer("used", torch.tensor(used, dtype=torch.long), persistent=False)

    def forward(
        self, q: Float[Tensor, "batch time channel"], duration: Float[Tensor, " batch"], every: int = 1
    ) -> Float[Tensor, "batch frame span"]:
        """Capacities over body weight, m, at every so many frames."""
        return self.of(self.states(q, duration, every))

    def of(self, states: States) -> Float[Tensor, "batch frame span"]:
        """Capacities of states."""
        posture, speed = (x.to(self.muscles.centre) for x in states[:2])
        found = self.muscles.pulls(posture, speed) / self.weight_n
        if len(self.used) < found.shape[1]:
            found = found.index_select(1, self.used)
        return found.unflatten(0, (states.motions, -1))


def _places(skeleton: SkeletonTables, channels: Sequence[str]) -> dict[int, int]:
    """Place among the channels of every column of the skeleton that they name and that is not locked."""
    columns = [skeleton.coordinates.index(name) for name in channels]
    return {column: k for k, column in enumerate(columns) if not skeleton.locked[column]}


def _used(skeleton: SkeletonTables, muscles: MuscleTables, channels: Sequence[str]) -> list[int]:
    """Of all spans of the muscles, those that move the channels."""
    place = _places(skeleton, channels)
    return [s for s, column in enumerate(muscles.span_coordinates.tolist()) if column in place]


class Shared(NamedTuple):
    """Activations that make net moments with least effort, and the multipliers of the moments, 1/m.

    A multiplier is what its moment costs: the derivative of the least effort in it.
    """

    activations: Float[Tensor, "*batch muscle"]
    multipliers: Float[Tensor, "*batch moved"]


def share(
    capacity: Float[Tensor, "*batch span"],
    net: Float[Tensor, "*batch moved"],
    spans: Spans,
    start: Float[Tensor, "*batch moved"] | None = None,
) -> Shared:
    """How muscles share net moments over body weight, m; differentiable, as precise as `net`.

    `start` are multipliers to begin from, such as those of moments nearby; without them a frame begins where the one
    before it ended.
    """
    b = net.flatten(0, -2).double()
    found = solve_entries(
        capacity.flatten(0, -2).double(),
        b,
        spans.entries,
        weight=torch.ones_like(spans.lower, dtype=torch.float64),
        lower=spans.lower.double(),
        upper=spans.upper.double(),
        reserve_optimal=torch.full(b.shape[-1:], RESERVE_M, dtype=torch.float64),
        start=None if start is None else start.detach().flatten(0, -2).double(),
        follow=start is None,
        tolerance=BALANCED_M,
    )
    unknown = (found.status == NOT_FINITE)[:, None]
    known = (torch.where(unknown, torch.nan, x) for x in (found.x, found.multiplier))
    return Shared(*(x.to(net).unflatten(0, net.shape[:-1]) for x in known))


def able(
    capacity: Float[Tensor, "*batch span"], spans: Spans, coordinates: Sequence[int]
) -> Float[Tensor, "*batch way"]:
    """Moment over body weight, m, with which all muscles together can move every coordinate up, and then down."""
    ways = (spans.coordinate[:, None] == torch.tensor(list(coordinates))).to(capacity)
    up = capacity.clamp(min=0.0) @ ways
    return torch.cat([up, up - capacity @ ways], -1)
