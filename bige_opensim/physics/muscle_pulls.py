"""How muscles pull: generalized force of a unit tension, and the tension of the fibres, active and passive."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.dynamics import State, wrench_to_generalized
from bige_opensim.physics.muscle_lines import Lines, Tendons
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.skeleton import Skeleton


class Pulls(NamedTuple):
    """Muscles over time.

    arms (T, C, M): generalized force per newton of tension, couplers included, m for a rotation; active (T, M): tension
    in N of rigid-tendon fibres at full activation; passive (T, M): elastic tension in N; lines: along which they press
    joints, None where nobody asked.
    """

    arms: Float[Tensor, "time coordinate muscle"]
    active: Float[Tensor, "time muscle"]
    passive: Float[Tensor, "time muscle"]
    lines: Lines | None = None

    @property
    def tendons(self) -> Tendons | None:
        """What the muscles press joints with, where their lines of action are known."""
        return None if self.lines is None else Tendons(self.active, self.passive, self.lines)

    @property
    def columns(self) -> Float[Tensor, "time coordinate muscle"]:
        """Generalized force of each muscle at full activation."""
        return self.arms * self.active.unsqueeze(1)

    @property
    def passive_forces(self) -> Float[Tensor, "time coordinate"]:
        """Generalized forces of all passive fibres together."""
        return (self.arms @ self.passive.unsqueeze(-1)).squeeze(-1)


def tension_arms(
    skeleton: Skeleton,
    state: State,
    force: Float[Tensor, "time muscle body 3"],
    moment: Float[Tensor, "time muscle body 3"],
) -> Float[Tensor, "time coordinate muscle"]:
    """Generalized force of wrenches on bodies, one set per muscle or actuator; ground axes, moment about its origin."""
    chain = type(state.chain)(*(x.unsqueeze(1) for x in state.chain))
    displacement = type(state.displacement)(*(x.unsqueeze(1) for x in state.displacement))
    widened = state._replace(chain=chain, displacement=displacement)
    return wrench_to_generalized(skeleton, widened, force, moment).transpose(1, 2)


class KnownPaths(NamedTuple):
    """Lengths (T, K), m, and moment arms (T, K, C), m/rad or m/m, of the muscles number `muscle` (K,).

    NaN where a path is not known.
    """

    muscle: Tensor
    length: Tensor
    arms: Tensor


def polynomial_pulls(
    muscles: Muscles,
    q: Float[Tensor, "time coordinate"],
    qd: Float[Tensor, "time coordinate"],
    known: KnownPaths | None = None,
    *,
    passive: bool = False,
    slack: Float[Tensor, " muscle"] | None = None,
) -> Pulls:
    """Pulls from path polynomials; differentiable in q and q'. Passive tensions are 0 unless asked for.

    Paths that are `known` take the place of their polynomials. `slack` makes tendons longer than the model has them, m:
    a rigid tendon leaves the fibres what the path is longer.
    """
    muscle, coordinate = muscles.spans
    lengths, slopes, active = muscles.paths(q, qd)
    if known is not None:
        there = known.length.isfinite()
        lengths = lengths.index_copy(1, known.muscle, torch.where(there, known.length, lengths[:, known.muscle]))
        at, which = torch.nonzero(muscle[:, None] == known.muscle, as_tuple=True)
        found = known.arms[:, which, coordinate[at]]
        slopes = slopes.index_copy(1, at, torch.where(there[:, which], -found, slopes[:, at]))
    left = lengths if slack is None else lengths - slack
    if known is not None or slack is not None:
        again = muscles.strength(left, muscles.rates(slopes, qd))
        if known is not None and slack is None:
            again = torch.where(there, again[:, known.muscle], active[:, known.muscle])
            again = active.index_copy(1, known.muscle, again)
        active = again
    flat = q.new_zeros(len(q), q.shape[-1] * len(muscles.names))
    flat = flat.index_copy(1, coordinate * len(muscles.names) + muscle, -slopes)
    arms = flat.reshape(len(q), q.shape[-1], -1)
    elastic = muscles.passive_force(left) if passive else torch.zeros_like(left)
    return Pulls(arms, active, elastic)
