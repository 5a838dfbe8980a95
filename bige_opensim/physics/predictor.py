"""Activations that a motion takes, by physics and not by a learned surrogate, differentiable in the motion.

Coordinates are differentiated by natural quintic splines, inverse dynamics gives the net forces, and the least-effort
problem shares them among muscles and ground, as in labelling; gradients pass through the solution by the implicit
function theorem, so that a search can descend through muscle redundancy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import make_interp_spline
from torch import Tensor

from bige_opensim.physics.contact import ContactSettings, GroundForces
from bige_opensim.physics.dynamics import State, inverse_dynamics, kinematics
from bige_opensim.physics.effort_cost import EffortCost
from bige_opensim.physics.joint_problem import (
    LEG_RESERVE_NM,
    UPPER_BODY_RESERVE_NM,
    MusclesAndReserves,
    net_generalized_forces,
    solve_with_ground,
    solve_with_loads,
)
from bige_opensim.physics.muscle_pulls import polynomial_pulls
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.skeleton import Skeleton


class _Solved(NamedTuple):
    """A motion, its state with all frames in one row, activations (batch, time, muscle), and ground forces."""

    q: Tensor
    state: State
    activations: Tensor
    ground: GroundForces | None


class PhysicsPredictor(torch.nn.Module):
    """(q (N, T, C), duration (N,)) -> activations (N, T, M) of motions with feet on the ground at height 0.

    A model in which nothing floats takes its loads from ground through its joints, without feet. Double precision
    inside. `channels` names the motions' coordinates; others stay at the model's default, and so do those that the
    model locks, whose equations are left out. `cost` is what effort costs, its weights by names of muscles or patterns;
    None for OpenSim's usual cost. Each call
    starts from the multipliers of the last one of the same size, which saves most iterations in a search and changes no
    answer. `outside` (N, T) flags the frames of the last call that left the range the muscle paths were fitted on.
    """

    rate: Tensor

    def __init__(
        self,
        skeleton: Skeleton,
        muscles: Muscles,
        channels: Sequence[str],
        settings: ContactSettings | None = None,
        samples: int = 101,
        cost: EffortCost | None = None,
    ) -> None:
        super().__init__()
        self.skeleton, self.muscles = skeleton, muscles
        self.settings, self.cost = settings or ContactSettings(), cost or EffortCost()
        held = skeleton.tables.locked
        self.free = [i for i, locked in enumerate(held) if not locked]
        self.channels = [k for k, n in enumerate(channels) if not held[skeleton.coordinates.index(n)]]
        self.columns = [skeleton.coordinates.index(channels[k]) for k in self.channels]
        self.all_columns = [skeleton.coordinates.index(n) for n in channels]
        parameters = muscles.tables.parameters
        bounds = [torch.as_tensor(parameters[k], dtype=torch.float64) for k in ("min_control", "max_control")]
        self.lower, self.upper = bounds
        driven = skeleton.tables.muscle_driven
        reserve = [LEG_RESERVE_NM if n in driven else UPPER_BODY_RESERVE_NM for n in skeleton.coordinates]
        self.reserve = torch.tensor(reserve, dtype=torch.float64)
        root = skeleton.tables.root
        places = [[skeleton.coordinates.index(n) for n in root[k]] for k in ("rotations", "translations")]
        self.root = ([i for i in places[0] if i in self.free], [i for i in places[1] if i in self.free])
        self.weight: Tensor | None = None
        if self.cost.weighted:
            volume = parameters["max_isometric_force"] * parameters["optimal_fiber_length"]
            self.weight = torch.as_tensor(self.cost.muscle_weights(muscles.names, {}, volume))
        self._multiplier: Tensor | None = None
        self._last: _Solved | None = None
        self.outside: Tensor | None = None
        self.register_buffer("rate", torch.as_tensor(derivative_matrix(samples)), persistent=False)

    def forward(
        self, q: Float[Tensor, "batch time channel"], duration: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch time muscle"]:
        """Activations in the motions' own precision."""
        return self._solved(q, duration).activations.to(q)

    def moments_and_forces(
        self, q: Float[Tensor, "batch time channel"], duration: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch time channel"], Float[Tensor, "batch time 6"]]:
        """Moments (N·m, N) that muscles and reserves supply at the channels, and forces (N) on right and left foot.

        Those of the motion whose activations were asked for last come from the same solution.
        """
        solved = self._last if self._last is not None and self._last.q is q else self._solved(q, duration)
        moments = net_generalized_forces(self.skeleton, solved.state, solved.ground)[:, self.all_columns]
        forces = moments.new_zeros(len(moments), 2, 3) if solved.ground is None else solved.ground.force
        return moments.reshape(*q.shape[:2], -1).to(q), forces.reshape(*q.shape[:2], 6).to(q)

    def _solved(self, q: Tensor, duration: Tensor) -> _Solved:
        N, T, _ = q.shape
        full = self.skeleton.get_buffer("default").double().expand(N, T, -1).clone()
        full[..., self.columns] = q[..., self.channels].double()
        self.outside = ~self.muscles.in_range(full.detach())
        rate = self.rate / duration.double()[:, None, None]
        qd = rate @ full
        qdd = rate @ qd
        flat = [x.reshape(N * T, -1) for x in (full, qd, qdd)]
        state = kinematics(self.skeleton, *flat)
        pulls = polynomial_pulls(self.muscles, flat[0], flat[1], passive=self.cost.passive)
        actuators = MusclesAndReserves(
            pulls.columns,
            self.lower,
            self.upper,
            self.reserve,
            self.root,
            self.free,
            weight=self.weight,
            exponent=self.cost.exponent,
            fibres=pulls.passive_forces if self.cost.passive else None,
        )
        start = self._multiplier if self._multiplier is not None and len(self._multiplier) == N * T else None
        ground = None
        if any(self.root):
            solution, ground = solve_with_ground(self.skeleton, state, flat[1], actuators, 0.0, self.settings, start)
        else:
            solution = solve_with_loads(inverse_dynamics(self.skeleton, state), actuators, start)
        self._multiplier = solution.multiplier.detach()
        activations = solution.x[:, : len(self.lower)].reshape(N, T, -1)
        self._last = _Solved(q, state, activations, ground)
        return self._last


def derivative_matrix(samples: int) -> Float[np.ndarray, "sample sample"]:
    """D with (D x)_i = x'(t_i) of the natural quintic spline through x on `samples` even times from 0 to 1."""
    t = np.linspace(0.0, 1.0, samples)
    zero = np.zeros(samples)
    ends = [(3, zero), (4, zero)]
    return make_interp_spline(t, np.eye(samples), k=5, bc_type=(ends, ends))(t, 1)
