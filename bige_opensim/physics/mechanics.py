"""What a person's own model says of a motion before a network is asked: what joints carry, and what muscles can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.physics.muscle_share import MuscleCapacity, Spans
from bige_opensim.physics.muscle_tables import MuscleTables
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables
from bige_opensim.physics.stance_loads import StanceLoads


class Mechanics(NamedTuple):
    """Loads of `StanceLoads` and capacities of `MuscleCapacity`, over body weight, of motions at some frames."""

    loads: Float[Tensor, "batch frame load"]
    capacity: Float[Tensor, "batch frame span"]
    spans: Spans

    def of(self, motions: Int[Tensor, " motion"] | slice) -> Mechanics:
        """Of some of the motions."""
        return self._replace(loads=self.loads[motions], capacity=self.capacity[motions])

    def at(self, frames: Int[Tensor, " frame"]) -> Mechanics:
        """At some of the frames."""
        return self._replace(loads=self.loads.index_select(1, frames), capacity=self.capacity.index_select(1, frames))


class PersonMechanics(torch.nn.Module):
    """Loads and capacities of a person who stands on two feet, in double precision, differentiable in the motion.

    `channels` names the coordinates of the motions, of `samples` frames each.

    Raises
    ------
    ValueError
        The model does not stand on two feet, see `stance_loads.stands`.

    """

    def __init__(
        self, skeleton: SkeletonTables, muscles: MuscleTables, channels: Sequence[str], samples: int = 101
    ) -> None:
        super().__init__()
        body = Skeleton(skeleton)
        self.loads = StanceLoads(body, channels, samples)
        self.capacity = MuscleCapacity(body, Muscles(muscles), channels, samples)

    def forward(
        self, q: Float[Tensor, "batch time channel"], duration: Float[Tensor, " batch"], every: int = 1
    ) -> Mechanics:
        """Of motions in rad and m that take `duration` s, at every so many frames."""
        states = self.loads.states(q, duration, every)
        return Mechanics(self.loads.of(states), self.capacity.of(states), self.capacity.spans)
