"""How sure a label is: 5 to 95 % bands over draws of what is not known well of the body and of its motion.

Each draw is another body that could be this person, and another motion that could have been recorded so, solved as the
trial itself: inverse dynamics, ground forces where they are estimated, muscles, joint loads. Drawn are

- the masses of segments, left and right alike, moments of inertia with them, and the mass of all;
- the mass centre of each segment, along its own axes;
- every coordinate: what markers and skin get wrong throughout a trial, and a slow wave of the same size. Myers et al.
  (2015, doi:10.1007/s10439-014-1181-7) found 5 to 95 % bounds of 2.7 to 6.4 degrees in all for the angles of gait with
  marker placement and moving skin; `angle_rad` makes 3.3. Feet and pelvis are seen better than the angles between them:
  errors d ~ N(0, S) are drawn given where the feet are, J d = e ~ N(0, s^2), by Matheron's rule

      d' = d - S J^T (J S J^T + s^2 I)^-1 (J d + e),

  with J the Jacobian of both feet's middles in all coordinates;
- the strength of all muscles and of each, and the length of each tendon, in optimal fibre lengths.

The other spreads are our choice. Draws are independent, so that the share of bands that hold the truth is their nominal
0.9 where people differ from models by as much as is drawn, and no less is claimed than that. What is drawn does not
know of errors in a model's muscle paths, of another way to share the load among muscles, or of the ground's height.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.muscle_capacity import polynomial_actuators
from bige_opensim.labelling.request import LabelSettings
from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel
from bige_opensim.physics.carriers import Carrier
from bige_opensim.physics.contact import FEET, FeetOnGround, GroundForces, feet_of, feet_on_ground
from bige_opensim.physics.dynamics import State, kinematics, point_jacobian
from bige_opensim.physics.joint_loads import contact_forces, loaded_joints
from bige_opensim.physics.joint_problem import (
    MusclesAndReserves,
    net_generalized_forces,
    solve_with_ground,
    solve_with_loads,
)
from bige_opensim.physics.muscle_lines import FittedLines
from bige_opensim.physics.muscle_pulls import KnownPaths, polynomial_pulls
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables

LEVELS = (0.05, 0.5, 0.95)
SUFFIXES = ("p05", "p50", "p95")
RATE_HZ = 25.0
"""Bands are found at no more frames per second: they change slowly."""
WAVES, FASTEST_WAVE_HZ = 4, 1.0
SEED = 0


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of what is drawn.

    mass: of the body, share; part_mass: of each segment, share; mass_centre_m: of each segment, along each axis;
    angle_rad, place_m: of every angle, and of the places of pelvis and feet, half of the variance throughout and half
    as a slow wave; strength, muscle_strength: of all muscles and of each, logarithm; slack: of each tendon, in optimal
    fibre lengths.
    """

    mass: float = 0.02
    part_mass: float = 0.08
    mass_centre_m: float = 0.01
    angle_rad: float = float(np.deg2rad(1.0))
    strength: float = 0.15
    muscle_strength: float = 0.10
    slack: float = 0.05
    place_m: float = 0.005


USUAL = Spreads()


@dataclass(frozen=True, eq=False)
class Draw:
    """One body and what its motion differs by: tables, (T, C) rad and m, and (T, 6) m of the feet's middles; factors of
    strength (M,), tendons (M,) m longer.
    """

    tables: SkeletonTables
    coordinates: Float[np.ndarray, "time coordinate"]
    feet_m: Float[np.ndarray, "time 6"]
    strength: Float[np.ndarray, " muscle"]
    slack_m: Float[np.ndarray, " muscle"]


@dataclass(frozen=True, eq=False)
class Bands:
    """5, 50 and 95 % of activations, net moments, ground forces and joint loads, each column three times; how many.

    Columns end in `_p05`, `_p50` and `_p95`. ground_forces are None where the ground does nothing, joint_loads
    (body weights) where the model has no such joint. peaks: the same of every muscle's and joint's largest value.
    """

    activations: Motion
    moments: Motion
    ground_forces: Motion | None
    joint_loads: Motion | None
    peaks: dict[str, list[float]]
    draws: int
    spreads: Spreads

    @property
    def by_name(self) -> dict[str, Motion]:
        """Those that there are."""
        found = {
            "activations": self.activations,
            "moments": self.moments,
            "ground_forces": self.ground_forces,
            "joint_loads": self.joint_loads,
        }
        return {name: motion for name, motion in found.items() if motion is not None}

    def entry(self) -> dict[str, Any]:
        """For label.json."""
        return {"draws": self.draws, "levels": list(LEVELS), "spreads": asdict(self.spreads), "peaks": self.peaks}


def drawn(
    skeleton: Skeleton, optimal_m: Float[np.ndarray, " muscle"], time: Float[np.ndarray, " time"], spreads: Spreads,
    random: np.random.Generator,
) -> Draw:  # fmt: skip
    """One draw. `optimal_m` are the muscles' optimal fibre lengths, `time` (s) that of the motion."""
    t = skeleton.tables
    sideless = [name[:-2] if name[-2:] in ("_r", "_l") else name for name in t.bodies]
    parts = {name: spreads.part_mass * random.standard_normal() for name in dict.fromkeys(sideless)}
    own = skeleton.own_mass.numpy() > 0
    factor = np.where(own, np.exp([parts[name] for name in sideless]), 1.0)
    weighs = float((t.mass * factor)[own].sum() / t.mass[own].sum())
    factor[own] *= np.exp(spreads.mass * random.standard_normal()) / weighs
    moved = spreads.mass_centre_m * random.standard_normal(t.com.shape) * own[:, None]
    tables = replace(t, mass=t.mass * factor, inertia=t.inertia * factor[:, None, None], com=t.com + moved)
    moved_by = _waves(time, len(t.coordinates), random) * spread_of(skeleton, spreads)
    feet_m = _waves(time, 3 * len(FEET), random) * spreads.place_m
    logarithm = spreads.strength * random.standard_normal() + spreads.muscle_strength * random.standard_normal(
        len(optimal_m)
    )
    slack = spreads.slack * optimal_m * random.standard_normal(len(optimal_m))
    return Draw(tables, moved_by, feet_m, np.exp(logarithm), slack)


def spread_of(skeleton: Skeleton, spreads: Spreads) -> Float[np.ndarray, " coordinate"]:
    """Standard deviation of every coordinate; 0 where the model holds it, and of places that are no root's."""
    t = skeleton.tables
    places = [spreads.place_m if name in t.root["translations"] else 0.0 for name in t.coordinates]
    return np.where(t.locked, 0.0, np.where(t.rotational, spreads.angle_rad, places))


def _waves(
    time: Float[np.ndarray, " time"], channels: int, random: np.random.Generator
) -> Float[np.ndarray, "time channel"]:
    """Of variance 1: an offset, and a sum of WAVES cosines of random phases below FASTEST_WAVE_HZ, in equal parts."""
    hz = FASTEST_WAVE_HZ * random.uniform(size=(WAVES, channels))
    phase = 2.0 * np.pi * random.uniform(size=(WAVES, channels))
    cosines = np.cos(2.0 * np.pi * hz * time[:, None, None] + phase).sum(axis=1)
    return np.sqrt(0.5) * (random.standard_normal(channels) + np.sqrt(2.0 / WAVES) * cosines)


@dataclass(frozen=True, eq=False)
class Case:
    """A trial as it was labelled, at the frames of its bands.

    paths: polynomials, the muscles whose paths are known better, and lines of action; ground: its height, m; loads:
    measured ground forces, None where they are estimated, or where there are none; others: what carries besides.
    """

    model: OsimModel
    skeleton: Skeleton
    window: Prepared
    paths: tuple[Muscles, KnownPaths | None, FittedLines]
    ground: float
    loads: GroundForces | None
    settings: LabelSettings
    others: tuple[Carrier, ...] = ()

    def bands(self, draws: int, spreads: Spreads = USUAL, seed: int = SEED) -> Bands:
        """Solve so many draws; the same seed gives the same bands."""
        solver, random = Solver(self, spreads), np.random.default_rng(seed)
        time = self.window.q.time
        found = [solver.solve(drawn(self.skeleton, solver.optimal_m, time, spreads, random)) for _ in range(draws)]
        muscles, names = self.model.muscle_names, self.skeleton.coordinates
        moments = tuple(f"{n}_{'moment' if n in self.model.rotational else 'force'}" for n in names)
        activations, nets, forces, loads = zip(*found, strict=True)
        joints = tuple(f"{joint.name}_resultant_bw" for joint in solver.joints)
        peaks = _peaks(muscles, activations) | ({} if loads[0] is None else _peaks(joints, loads))
        return Bands(
            _band(time, muscles, activations),
            _band(time, moments, nets),
            None if forces[0] is None else _band(time, GROUND_COLUMNS, forces),
            None if loads[0] is None else _band(time, joints, loads),
            peaks,
            draws,
            spreads,
        )


GROUND_COLUMNS = tuple(f"ground_force_{side}_v{axis}" for side in FEET for axis in "xyz")
_Solved = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]


class Solver:
    """What all draws of a case share."""

    def __init__(self, case: Case, spreads: Spreads) -> None:
        self.case = case
        w, s = case.window, case.skeleton
        self.q, self.qd, self.qdd = (w.tensor(s, m) for m in (w.q, w.qd, w.qdd))
        self.state = w.state(s)
        muscles, known, lines = case.paths
        self.base = polynomial_actuators(case.model, s, w, muscles, known, lines, case.settings.cost)
        self.optimal_m = np.asarray(muscles.tables.parameters["optimal_fiber_length"])
        self.joints = loaded_joints(s)
        self.feet: FeetOnGround | None = None
        self.start: Tensor | None = None
        self.seeks_ground = case.loads is None and case.settings.grf != "none"
        if self.seeks_ground:
            self.feet = feet_on_ground(s, self.state, case.ground, case.settings.contact)
            solution, _ = self._with_ground(s, self.state, self.qd, self.base)
            self.start = solution.multiplier
        self.known, self.gain = _feet_are_known(s, self.state, spreads)

    def solve(self, draw: Draw) -> _Solved:
        """Activations (T, M), net moments (T, C), ground forces (T, 6), and joint loads (T, J) in body weights."""
        case = self.case
        body = Skeleton(draw.tables)
        q, qd, qdd = self.moved(draw)
        state = kinematics(body, q, qd, qdd)
        actuators = self._actuators(draw, q, qd, state)
        if self.seeks_ground:
            solution, forces = self._with_ground(body, state, qd, actuators)
            net = net_generalized_forces(body, state, forces, actuators.passive)
        else:
            forces = case.loads
            net = net_generalized_forces(body, state, forces, actuators.passive)
            solution = solve_with_loads(net, actuators)
        activations = solution.x[:, : len(draw.strength)]
        loads = None
        if self.joints and actuators.tendons is not None:
            pull = actuators.tendons.pull(activations, len(self.joints))
            pressed = contact_forces(body, state, self.joints, pull, forces).norm(dim=-1)
            loads = (pressed / body.body_weight_n).numpy()
        ground = None if forces is None else forces.force.flatten(1).numpy()
        return activations.numpy(), net.numpy(), ground, loads

    def moved(self, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates of a draw, given where the feet are, and their derivatives."""
        d, e = torch.as_tensor(draw.coordinates), torch.as_tensor(draw.feet_m)
        away = (self.known @ d[..., None])[..., 0] + e[:, : self.known.shape[1]]
        d = d - (self.gain @ away[..., None])[..., 0]
        motion = Motion(self.case.window.q.time, d.numpy(), self.case.skeleton.coordinates)
        first, second = (torch.as_tensor(rate.values) for rate in motion.derivatives())
        return self.q + d, self.qd + first, self.qdd + second

    def _actuators(self, draw: Draw, q: Tensor, qd: Tensor, state: State) -> MusclesAndReserves:
        muscles, known, lines = self.case.paths
        slack, factor = torch.as_tensor(draw.slack_m), torch.as_tensor(draw.strength)
        if known is not None:  # to first order: dL = -R dq
            change = (known.arms @ (q - self.q).unsqueeze(-1)).squeeze(-1)
            known = known._replace(length=known.length - change)
        passive = self.case.settings.cost.passive
        pulls = polynomial_pulls(muscles, q, qd, known, passive=passive, slack=slack)
        pulls = pulls._replace(active=pulls.active * factor, passive=pulls.passive * factor)
        pulls = pulls._replace(lines=lines(q, state.poses))
        return replace(
            self.base,
            muscle_columns=pulls.columns,
            fibres=pulls.passive_forces if passive else None,
            tendons=pulls.tendons,
        )

    def _with_ground(self, body: Skeleton, state: State, qd: Tensor, actuators: MusclesAndReserves) -> Any:
        case = self.case
        trial = (body, state, qd, actuators, case.ground, case.settings.contact)
        return solve_with_ground(*trial, self.start, case.others, feet=self.feet)


def _feet_are_known(skeleton: Skeleton, state: State, spreads: Spreads) -> tuple[Tensor, Tensor]:
    """J (T, 6, C) of the feet's middles, and what of a draw is taken back, S J^T (J S J^T + s^2 I)^-1 (T, C, 6)."""
    if {name[-1] for name in skeleton.contact_names} != {*FEET}:
        nothing = state.poses.position.new_zeros(len(state.poses.position), 0, len(skeleton.coordinates))
        return nothing, nothing.mT
    foot, carriers = feet_of(skeleton)
    points, sides = skeleton.contact_points(state.poses), torch.tensor(foot)
    middles = torch.stack([points[:, sides == side].mean(1) for side in range(len(FEET))], 1)
    J = point_jacobian(skeleton, state, middles, [carriers[0], carriers[-1]]).flatten(1, 2)
    S = torch.as_tensor(spread_of(skeleton, spreads) ** 2)
    known = J @ (S[:, None] * J.mT) + max(spreads.place_m, 1e-6) ** 2 * torch.eye(J.shape[1], dtype=J.dtype)
    return J, torch.linalg.solve(known, J * S).mT


def thinned(window: Prepared) -> np.ndarray:
    """Rows of the frames whose bands are found: no more than RATE_HZ, the last one included."""
    frames = window.q.frames
    step = max(1, round(window.q.rate_hz / RATE_HZ))
    return np.unique([*range(0, frames, step), frames - 1])


def _band(time: np.ndarray, names: tuple[str, ...], values: tuple[np.ndarray, ...]) -> Motion:
    levels = np.quantile(np.stack(values), LEVELS, axis=0)
    columns = np.moveaxis(levels, 0, -1).reshape(len(time), -1)
    return Motion(time, columns, tuple(f"{name}_{suffix}" for name in names for suffix in SUFFIXES))


def _peaks(names: tuple[str, ...], values: tuple[np.ndarray, ...]) -> dict[str, list[float]]:
    levels = np.quantile(np.stack(values).max(axis=1), LEVELS, axis=0)
    return {name: [round(float(v), 4) for v in levels[:, k]] for k, name in enumerate(names)}
