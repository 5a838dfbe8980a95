"""Muscles, reserves, residuals and ground contact as unknowns of one least-effort problem per frame.

Without force plates the load of each foot is indeterminate while both are down. Here the muscles decide: contact forces
enter the muscle problem as non-negative friction-cone coefficients with a small cost, and the residuals of the root
with a large one, so that the feet carry the body in the way that costs the muscles least (Fluit et al. 2014,
doi:10.1016/j.jbiomech.2014.04.030; Skals et al. 2017, Multibody System Dynamics 39:175-195).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.carriers import Carrier, together
from bige_opensim.physics.contact import (
    ContactSettings,
    FeetOnGround,
    GroundForces,
    Supports,
    columns_at,
    contact_columns,
    feet_of,
    sum_feet,
)
from bige_opensim.physics.dynamics import Motions, State, inverse_dynamics, wrench_to_generalized
from bige_opensim.physics.least_effort import LeastEffort, solve
from bige_opensim.physics.muscle_lines import Tendons
from bige_opensim.physics.muscle_pulls import KnownPaths, polynomial_pulls, tension_arms
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.skeleton import Chain, Displacement, Poses, Skeleton

CHUNK = 1024

LEG_RESERVE_NM, UPPER_BODY_RESERVE_NM = 1.0, 250.0
"""Optimal force of a reserve, N·m: where muscles act, and where none do."""


@dataclass(frozen=True)
class MusclesAndReserves:
    """What every unknown contributes in N or N·m, and what it may do.

    muscle_columns (T, C, M): generalized force of each muscle at full activation; lower, upper (M,): bounds of the
    activations; reserve_optimal (C,): optimal force of each coordinate's reserve; root: indices of the root's free
    coordinates, rotations then translations, empty where nothing floats; free: indices of the coordinates that have an
    equation. A coordinate that is locked or prescribed has none: its constraint supplies whatever force it takes.
    passive (T, C): generalized force of the model's springs, ligaments and limits, None where it has none; weight (M,):
    of the muscles in the cost, None for 1; exponent: of activations and reserves in the cost (contact, and residuals of
    the root where ground forces are sought, have 2); fibres (T, C): generalized force of passive muscle fibres, None
    where they are left out; tendons: what presses the joints, None where nobody asked.
    """

    muscle_columns: Float[Tensor, "time coordinate muscle"]
    lower: Float[Tensor, " muscle"]
    upper: Float[Tensor, " muscle"]
    reserve_optimal: Float[Tensor, " coordinate"]
    root: tuple[list[int], list[int]]
    free: list[int]
    passive: Float[Tensor, "time coordinate"] | None = None
    weight: Float[Tensor, " muscle"] | None = None
    exponent: float = 2.0
    fibres: Float[Tensor, "time coordinate"] | None = None
    tendons: Tendons | None = None

    @property
    def weights(self) -> Float[Tensor, " muscle"]:
        """Weights of the muscles."""
        return torch.ones_like(self.lower) if self.weight is None else self.weight

    def left_to_do(self, net: Float[Tensor, "time coordinate"]) -> Float[Tensor, "time coordinate"]:
        """Net generalized forces less what passive fibres supply."""
        return net if self.fibres is None else net - self.fibres

    def exponents(self, contact: int, residuals: list[int]) -> tuple[Tensor | None, Tensor | None]:
        """Exponents of the muscles and of so many contact unknowns, and of the reserves; None for 2."""
        if self.exponent == 2.0:
            return None, None
        reserves = torch.full_like(self.reserve_optimal, self.exponent)
        reserves[residuals] = 2.0
        unknowns = torch.full_like(self.lower, self.exponent)
        return torch.cat([unknowns, unknowns.new_full((contact,), 2.0)]), reserves


def solve_with_ground(
    skeleton: Skeleton,
    state: State,
    qd: Float[Tensor, "time coordinate"],
    actuators: MusclesAndReserves,
    ground: float,
    settings: ContactSettings,
    start: Float[Tensor, "time coordinate"] | None = None,
    others: Sequence[Carrier] = (),
    device: str | None = None,
    feet: FeetOnGround | None = None,
) -> tuple[LeastEffort, GroundForces]:
    """Activations and ground forces together; the first M unknowns of the solution are the activations.

    `others`, such as a seat, carry as the feet do. `feet` say where foot points push and how ready they are, where that
    is known better than from the state.

    Frames are solved in chunks, so memory does not grow with their number, on `device` where one is named, and the
    answer comes back to where the motion is. `start` are multipliers to start from.
    """
    rotations, translations = actuators.root
    optimal = actuators.reserve_optimal.clone()
    optimal[rotations], optimal[translations] = settings.residual_moment_nm, settings.residual_force_n
    tau = actuators.left_to_do(net_generalized_forces(skeleton, state, None, actuators.passive))
    solutions, forces, supports = [], [], []
    for rows in torch.arange(len(qd), device=qd.device).split(CHUNK):
        part = take(state, rows)
        if feet is None:
            contact = contact_columns(skeleton, part, qd[rows], ground, settings)
        else:
            bodies = feet_of(skeleton)[1]
            contact = columns_at(skeleton, part, feet.points[rows], bodies, feet.ready[rows], settings)
        here = [other.at(rows) for other in others]
        beside = [other.columns(skeleton, part, settings) for other in here]
        pushing = [c.columns for c in (contact, *beside)]
        muscles = actuators.muscle_columns[rows]
        counts = [columns.shape[-1] for columns in pushing]
        n = sum(counts)
        exponents = actuators.exponents(n, [*rotations, *translations])
        solution = _solve_free(
            actuators.free,
            torch.cat([muscles, *pushing], -1),
            tau[rows],
            weight=torch.cat([actuators.weights, qd.new_full((n,), settings.weight)]),
            lower=torch.cat([actuators.lower, qd.new_zeros(n)]),
            upper=torch.cat([actuators.upper, qd.new_full((n,), torch.inf)]),
            reserve_optimal=optimal,
            exponents=exponents,
            start=None if start is None else start[rows],
            device=device,
        )
        solutions.append(solution)
        _, of_feet, *of_others = solution.x.split([muscles.shape[-1], *counts], dim=-1)
        forces.append(sum_feet(skeleton, contact, of_feet, ground))
        found = zip(here, beside, of_others, strict=True)
        supports.append(together([other.supports(skeleton, c, x) for other, c, x in found]))
    force, point, torque = (torch.cat([getattr(f, name) for f in forces]) for name in ("force", "point", "torque"))
    return join(solutions), GroundForces(force, point, torque, _joined(supports))


def _joined(chunks: list[Supports | None]) -> Supports | None:
    parts = [part for part in chunks if part is not None]
    if not parts:
        return None
    force, point, torque = (torch.cat([getattr(part, name) for part in parts]) for name in ("force", "point", "torque"))
    return Supports(parts[0].bodies, force, point, torque)


def solve_with_loads(
    tau: Float[Tensor, "time coordinate"],
    actuators: MusclesAndReserves,
    start: Float[Tensor, "time coordinate"] | None = None,
    device: str | None = None,
) -> LeastEffort:
    """Activations for net generalized forces, the problem of OpenSim's StaticOptimization; solved on `device`."""
    tau = actuators.left_to_do(tau)
    exponents = actuators.exponents(0, [])
    solutions = [
        _solve_free(
            actuators.free,
            actuators.muscle_columns[rows],
            tau[rows],
            weight=actuators.weights,
            lower=actuators.lower,
            upper=actuators.upper,
            reserve_optimal=actuators.reserve_optimal,
            exponents=exponents,
            start=None if start is None else start[rows],
            device=device,
        )
        for rows in torch.arange(len(tau), device=tau.device).split(CHUNK)
    ]
    return join(solutions)


def _solve_free(
    free: list[int],
    A: Float[Tensor, "frame coordinate unknown"],
    b: Float[Tensor, "frame coordinate"],
    *,
    weight: Float[Tensor, " unknown"],
    lower: Float[Tensor, " unknown"],
    upper: Float[Tensor, " unknown"],
    reserve_optimal: Float[Tensor, " coordinate"],
    exponents: tuple[Tensor | None, Tensor | None],
    start: Float[Tensor, "frame coordinate"] | None,
    device: str | None,
) -> LeastEffort:
    """The problem in the equations of the free coordinates; reserves and multipliers of the others are 0."""
    home, there = b.device, torch.device(device) if device is not None else b.device
    A, b, weight, lower, upper, reserve_optimal = (x.to(there) for x in (A, b, weight, lower, upper, reserve_optimal))
    of_unknowns, of_reserves = (None if x is None else x.to(there) for x in exponents)
    start = None if start is None else start.to(there)
    pose = partial(solve, weight=weight, lower=lower, upper=upper, exponent=of_unknowns)
    if len(free) == b.shape[-1]:
        return pose(A, b, reserve_optimal=reserve_optimal, reserve_exponent=of_reserves, start=start).to(home)
    rows = torch.tensor(free, device=b.device)
    part = pose(
        A[:, rows],
        b[:, rows],
        reserve_optimal=reserve_optimal[rows],
        reserve_exponent=None if of_reserves is None else of_reserves[rows],
        start=None if start is None else start[:, rows],
    )
    reserve, multiplier = (torch.zeros_like(b).index_copy(1, rows, v) for v in (part.reserve, part.multiplier))
    return replace(part, reserve=reserve, multiplier=multiplier).to(home)


def net_generalized_forces(
    skeleton: Skeleton,
    state: State,
    ground: GroundForces | None,
    passive: Float[Tensor, "time coordinate"] | None = None,
) -> Float[Tensor, "time coordinate"]:
    """Inverse dynamics minus what ground and springs do: the joint moments that muscles and reserves must supply."""
    tau = inverse_dynamics(skeleton, state)
    if passive is not None:
        tau = tau - passive
    if ground is None:
        return tau
    T, B = tau.shape[0], len(skeleton.bodies)
    force, moment = tau.new_zeros(T, B, 3), tau.new_zeros(T, B, 3)
    _, carriers = feet_of(skeleton)
    right, left = carriers[0], carriers[-1]
    for foot, body in enumerate((right, left)):
        force[:, body] = ground.force[:, foot]
        moment[:, body] = ground.torque[:, foot] + torch.linalg.cross(ground.point[:, foot], ground.force[:, foot])
    if ground.supports is not None:
        s = ground.supports
        bodies = [skeleton.bodies.index(name) for name in s.bodies]
        force[:, bodies] += s.force
        moment[:, bodies] += s.torque + torch.linalg.cross(s.point, s.force)
    return tau - wrench_to_generalized(skeleton, state, force, moment)


def muscle_columns(
    skeleton: Skeleton,
    state: State,
    force: Float[Tensor, "time muscle body 3"],
    moment: Float[Tensor, "time muscle body 3"],
    strength: Float[Tensor, "time muscle"],
) -> Float[Tensor, "time coordinate muscle"]:
    """Generalized force of every muscle at full activation, from the wrenches of a unit tension."""
    return tension_arms(skeleton, state, force, moment) * strength.unsqueeze(1)


def polynomial_columns(
    muscles: Muscles,
    q: Float[Tensor, "time coordinate"],
    qd: Float[Tensor, "time coordinate"],
    known: KnownPaths | None = None,
) -> Float[Tensor, "time coordinate muscle"]:
    """Generalized force of every muscle at full activation; see `polynomial_pulls`."""
    return polynomial_pulls(muscles, q, qd, known).columns


def take(state: State, rows: Tensor) -> State:
    """Some frames of a state."""
    return State(
        Chain(*(x[rows] for x in state.chain)),
        Displacement(*(x[rows] for x in state.displacement)),
        Poses(*(x[rows] for x in state.poses)),
        Motions(*(x[rows] for x in state.motions)),
    )


def join(solutions: list[LeastEffort]) -> LeastEffort:
    """One solution from the solutions of consecutive chunks."""
    fields = ("x", "reserve", "multiplier", "status", "iterations", "imbalance")
    return LeastEffort(**{f: torch.cat([getattr(s, f) for s in solutions]) for f in fields})
