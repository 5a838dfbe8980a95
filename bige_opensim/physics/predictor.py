"""Activations that a motion takes, by physics and not by a learned surrogate, differentiable in the motion.

Coordinates are differentiated by natural quintic splines, inverse dynamics gives the net forces, and the least-effort
problem shares them among muscles and ground, as in labelling; gradients pass through the solution by the implicit
function theorem, so that a search can descend through muscle redundancy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bige_opensim.physics import native_skeleton
from bige_opensim.physics.contact import ContactSettings, GroundForces
from bige_opensim.physics.dynamics import inverse_dynamics, kinematics
from bige_opensim.physics.effort_cost import EffortCost
from bige_opensim.physics.joint_loads import contact_forces, loaded_joints
from bige_opensim.physics.joint_problem import (
    LEG_RESERVE_NM,
    UPPER_BODY_RESERVE_NM,
    MusclesAndReserves,
    net_generalized_forces,
    solve_with_ground,
    solve_with_loads,
)
from bige_opensim.physics.least_effort import Entries, LeastEffort, solve_entries
from bige_opensim.physics.motion_states import MotionStates
from bige_opensim.physics.muscle_lines import FittedLines
from bige_opensim.physics.muscle_pulls import polynomial_pulls
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.native_ground import NativeGround
from bige_opensim.physics.seat import Seat
from bige_opensim.physics.skeleton import Poses, Skeleton, SkeletonTables


class Predicted(NamedTuple):
    """What motions take.

    activations (N, T, M); moments (N, T, K): net generalized forces of the channels, N·m and N; grf (N, T, 6): x, y, z
    on the right foot, then on the left, N; joint_loads (N, T, J): resultant contact forces of `loaded_joints`, in body
    weights, None where the predictor has no lines of action; residual_force, residual_moment (N, T): size of what the
    root lacks, N and N·m, 0 where nothing floats; reserves (N, T, C): of the skeleton's coordinates, N and N·m; solved
    (N, T): whether the solver ended with forces in balance.
    """

    activations: Tensor
    moments: Tensor
    grf: Tensor
    joint_loads: Tensor | None
    residual_force: Tensor
    residual_moment: Tensor
    reserves: Tensor
    solved: Tensor

    def carried(self, limit: float) -> Bool[Tensor, " batch"]:
        """Motions that the ground carries with no residual above so many N, or N·m, in every frame."""
        worst = torch.maximum(self.residual_force, self.residual_moment).amax(1)
        return (worst <= limit) & self.solved.all(1)


class PhysicsPredictor(torch.nn.Module):
    """(q (N, T, C), duration (N,)) -> activations (N, T, M) of motions with feet on the ground at height 0.

    A model in which nothing floats takes its loads from ground through its joints, without feet. Double precision
    inside. `channels` names the motions' coordinates; others stay at the model's default, and so do those that the
    model locks, whose equations are left out. `seated` motions start on a seat under the pelvis, of `seat_m` above
    the ground where that is given, which carries, too. `cost` is what effort costs, its weights by names of muscles
    or patterns; None for OpenSim's usual cost. With `lines` of action, joint contact forces are predicted, too.
    Each call starts from the multipliers of the last one of the same size, which saves most iterations in a search
    and changes no answer. Where C knows the problem (`compiled`), it is solved there. `outside` (N, T) flags the
    frames of the last call that left the range the muscle paths were fitted on.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        muscles: Muscles,
        channels: Sequence[str],
        settings: ContactSettings | None = None,
        samples: int = 101,
        cost: EffortCost | None = None,
        lines: FittedLines | None = None,
        *,
        seated: bool = False,
        seat_m: float | None = None,
    ) -> None:
        super().__init__()
        self.seat = Seat.under(skeleton, 0.0, (0.0, 0.0)) if seated else None
        self.seat_m = seat_m
        self.skeleton, self.muscles, self.lines = skeleton, muscles, lines
        self.joints = loaded_joints(skeleton)
        self.moved = [skeleton.coordinates.index(n) for n in channels]
        self.settings, self.cost = settings or ContactSettings(), cost or EffortCost()
        held = skeleton.tables.locked
        self.free = [i for i, locked in enumerate(held) if not locked]
        self.channels = [k for k, n in enumerate(channels) if not held[skeleton.coordinates.index(n)]]
        self.states = MotionStates(skeleton, [channels[k] for k in self.channels], samples)
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
        stands = any(self.root) and not seated and lines is None
        self._in_c = _InC(self) if stands and _compilable(skeleton.tables, self.cost) else None
        self._multiplier: Tensor | None = None
        self.outside: Tensor | None = None

    @property
    def compiled(self) -> bool:
        """Whether the problem is solved in C, which takes no longer than a surrogate does."""
        return self._in_c is not None

    def forward(
        self, q: Float[Tensor, "batch time channel"], duration: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch time muscle"]:
        """Activations in the motions' own precision."""
        return self.solve(q, duration).activations

    def solve(
        self,
        q: Float[Tensor, "batch time channel"],
        duration: Float[Tensor, " batch"],
        every: int = 1,
        strength: Float[Tensor, "batch muscle"] | None = None,
    ) -> Predicted:
        """Activations and the forces that go with them, at every so many frames, in the motions' own precision.

        `strength` are factors on the muscles' maximum isometric forces, for every motion its own.
        """
        N = len(q)
        full, qd, qdd, _ = self.states(q[..., self.channels], duration, every)
        T = len(full) // N
        self.outside = ~self.muscles.in_range(full.detach()).reshape(N, T)
        factors = None if strength is None else strength.double().repeat_interleave(T, dim=0)
        start = self._multiplier if self._multiplier is not None and len(self._multiplier) == N * T else None
        loads: Tensor | None = None
        if self._in_c is not None and q.device.type == "cpu":
            solution, moments, grf = self._in_c.solve(full, qd, qdd, factors, start)
        else:
            solution, moments, grf, loads = self._solve(full, qd, qdd, factors, start, N)
        self._multiplier = solution.multiplier.detach()
        rotations, translations = self.root
        activations = solution.x[:, : len(self.lower)]
        found = [x.reshape(N, T, -1).to(q) for x in (activations, moments[:, self.moved], grf)]
        return Predicted(
            activations=found[0],
            moments=found[1],
            grf=found[2],
            joint_loads=None if loads is None else loads.reshape(N, T, -1).to(q),
            residual_force=solution.reserve[:, translations].norm(dim=-1).reshape(N, T),
            residual_moment=solution.reserve[:, rotations].norm(dim=-1).reshape(N, T),
            reserves=solution.reserve.reshape(N, T, -1),
            solved=solution.solved.reshape(N, T),
        )

    def _solve(
        self, q: Tensor, qd: Tensor, qdd: Tensor, factors: Tensor | None, start: Tensor | None, motions: int
    ) -> tuple[LeastEffort, Tensor, Tensor, Tensor | None]:
        """The solution, net generalized forces, ground forces and joint loads of frames, whatever the problem is."""
        state = kinematics(self.skeleton, q, qd, qdd)
        pulls = polynomial_pulls(self.muscles, q, qd, passive=self.cost.passive)
        if factors is not None:
            pulls = pulls._replace(active=pulls.active * factors)
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
        ground: GroundForces | None = None
        if any(self.root):
            seats = self._seats(state.poses, motions, len(q) // motions)
            solution, ground = solve_with_ground(self.skeleton, state, qd, actuators, 0.0, self.settings, start, seats)
        else:
            solution = solve_with_loads(inverse_dynamics(self.skeleton, state), actuators, start)
        loads: Tensor | None = None
        if self.lines is not None:
            tendons = pulls._replace(lines=self.lines(q, state.poses)).tendons
            assert tendons is not None
            pull = tendons.pull(solution.x[:, : len(self.lower)], len(self.joints))
            force = contact_forces(self.skeleton, state, self.joints, pull, ground)
            loads = force.norm(dim=-1) / float(self.skeleton.body_weight_n)
        grf = q.new_zeros(len(q), 6) if ground is None else ground.force.flatten(1)
        return solution, net_generalized_forces(self.skeleton, state, ground), grf, loads

    def _seats(self, poses: Poses, motions: int, frames: int) -> list[Seat]:
        """The seat of every frame of the motions, which are one after another."""
        if self.seat is None:
            return []
        seats = self.seat.of_motions(Poses(*(x.unflatten(0, (motions, frames)) for x in poses)), self.seat_m)
        height, place = torch.as_tensor(seats.height_m), torch.as_tensor(seats.place)
        return [
            replace(
                self.seat,
                height_m=height.expand(-1, frames, -1).flatten(0, 1),
                place=place.expand(-1, frames, -1).flatten(0, 1),
            )
        ]


def _compilable(skeleton: SkeletonTables, cost: EffortCost) -> bool:
    """Whether C knows the problem of somebody who stands: squared costs, no passive fibres, feet on the ground."""
    stands = bool(skeleton.contact_names) and any(skeleton.root[name] for name in ("rotations", "translations"))
    return stands and cost.exponent == 2.0 and not cost.passive and native_skeleton.able(skeleton)


class _InC:
    """The problem on two feet with squared costs, by entries of its matrix, in C."""

    def __init__(self, of: PhysicsPredictor) -> None:
        self.of, self.ground = of, NativeGround(of.skeleton, of.settings)
        settings, muscles = of.settings, len(of.lower)
        free = torch.zeros(len(of.skeleton.coordinates), dtype=torch.bool)
        free[of.free] = True
        muscle, coordinate = of.muscles.spans
        ray, pushed = (torch.as_tensor(x, dtype=torch.long) for x in (self.ground.ray, self.ground.coordinate))
        self.spans, self.pushes = (torch.nonzero(free[x]).flatten() for x in (coordinate, pushed))
        self.muscle, self.free = muscle[self.spans], free
        rays = len(of.skeleton.contact_names) * settings.rays
        self.entries = Entries(
            torch.cat([self.muscle, muscles + ray[self.pushes]]),
            torch.cat([coordinate[self.spans], pushed[self.pushes]]),
            muscles + rays,
            len(free),
        )
        into = torch.zeros(len(self.spans), len(free), dtype=torch.float64)
        into[torch.arange(len(into)), coordinate[self.spans]] = 1.0
        self.into = into
        weight = of.weight if of.weight is not None else torch.ones_like(of.lower)
        self.fixed: dict[str, Any] = {
            "weight": torch.cat([weight, weight.new_full((rays,), settings.weight)]),
            "lower": torch.cat([of.lower, weight.new_zeros(rays)]),
            "upper": torch.cat([of.upper, weight.new_full((rays,), torch.inf)]),
        }
        optimal = of.reserve.clone()
        rotations, translations = of.root
        optimal[rotations], optimal[translations] = settings.residual_moment_nm, settings.residual_force_n
        self.fixed["reserve_optimal"] = optimal

    def solve(
        self, q: Tensor, qd: Tensor, qdd: Tensor, factors: Tensor | None, start: Tensor | None
    ) -> tuple[LeastEffort, Tensor, Tensor]:
        """The solution, net generalized forces of the joints, ground forces of both feet.

        Forces balance, so what is left to muscles and reserves is what they supply.
        """
        tau, ready, pushes = self.ground(q, qd, qdd)
        pulls, pushes = (
            x if len(used) == x.shape[1] else x.index_select(1, used)
            for x, used in ((self.of.muscles.pulls(q, qd), self.spans), (pushes, self.pushes))
        )
        if factors is not None:
            pulls = pulls * factors.index_select(1, self.muscle)
        A = torch.cat([pulls, pushes], 1)
        found = solve_entries(A, tau * self.free, self.entries, start=start, **self.fixed)
        activations, coefficients = found.x.split([len(self.of.lower), ready.shape[1] * len(self.ground.rays)], 1)
        moments = (pulls * activations.index_select(1, self.muscle)) @ self.into + found.reserve
        moments = torch.where(self.free, moments, tau)
        return found, moments, self.ground.forces(ready, coefficients)
