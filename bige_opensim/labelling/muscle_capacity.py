"""What the muscles of a model can do in every frame of a trial, from OpenSim's own paths or from fitted polynomials."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.osim.inverse_dynamics import passive_forces
from bige_opensim.osim.model import OsimModel, reserve_optimal_forces
from bige_opensim.osim.muscle_parameters import fibre_tables, fibre_volumes, muscle_groups
from bige_opensim.osim.muscles import muscle_frames
from bige_opensim.physics.dynamics import State
from bige_opensim.physics.effort_cost import USUAL, EffortCost
from bige_opensim.physics.joint_loads import loaded_joints
from bige_opensim.physics.joint_problem import CHUNK, LEG_RESERVE_NM, MusclesAndReserves
from bige_opensim.physics.muscle_lines import FittedLines, lines_of_paths
from bige_opensim.physics.muscle_pulls import KnownPaths, Pulls, polynomial_pulls, tension_arms
from bige_opensim.physics.muscle_strength import Strength
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.skeleton import Skeleton

RANGE_PAD = 0.1
RANGE_STEP = {True: np.deg2rad(5.0), False: 0.05}


def root_of(model: OsimModel, skeleton: Skeleton) -> tuple[list[int], list[int]]:
    """Indices of the root's free rotations and translations among the skeleton's coordinates."""
    root = [n for n in model.root_coordinates if n in model.free_coordinates]
    rotations = [skeleton.coordinates.index(n) for n in root if n in model.rotational]
    return rotations, [skeleton.coordinates.index(n) for n in root if n not in model.rotational]


def muscle_driven(model: OsimModel, skeleton: Skeleton) -> list[int]:
    """Indices of the coordinates on which muscles act."""
    optimal = reserve_optimal_forces(model, skeleton.tables.muscle_driven)
    return [i for i, n in enumerate(skeleton.coordinates) if optimal.get(n) == LEG_RESERVE_NM]


def exact_actuators(
    model: OsimModel, skeleton: Skeleton, window: Prepared, state: State, cost: EffortCost = USUAL
) -> MusclesAndReserves:
    """Moment arms and strengths from OpenSim, frame by frame."""
    return _actuators(model, skeleton, window, exact_pulls(model, skeleton, window, state, passive=cost.passive), cost)


def polynomial_actuators(
    model: OsimModel,
    skeleton: Skeleton,
    window: Prepared,
    muscles: Muscles,
    known: KnownPaths | None = None,
    lines: FittedLines | None = None,
    cost: EffortCost = USUAL,
) -> MusclesAndReserves:
    """Moment arms and strengths from path polynomials, and from OpenSim's own paths where those are known."""
    pulls = fitted_pulls(skeleton, window, muscles, known, passive=cost.passive)
    if lines is not None:
        pulls = pulls._replace(lines=lines(window.tensor(skeleton, window.q), window.state(skeleton).poses))
    return _actuators(model, skeleton, window, pulls, cost)


def exact_pulls(
    model: OsimModel, skeleton: Skeleton, window: Prepared, state: State, *, passive: bool = False
) -> Pulls:
    """Pulls of all muscles from OpenSim's own paths; passive tensions are 0 unless asked for."""
    frames = muscle_frames(model, window.q, window.qd, skeleton.bodies)
    force, moment, strength = (torch.as_tensor(v) for v in (frames.force, frames.moment, frames.strength))
    elastic = torch.zeros_like(strength)
    if passive:
        elastic = Strength(fibre_tables(model)).passive(torch.as_tensor(frames.length))
    moving = torch.as_tensor(frames.generalized).transpose(1, 2)
    lines = lines_of_paths(loaded_joints(skeleton), force)
    return Pulls(tension_arms(skeleton, state, force, moment) + moving, strength, elastic, lines)


def fitted_pulls(
    skeleton: Skeleton, window: Prepared, muscles: Muscles, known: KnownPaths | None = None, *, passive: bool = False
) -> Pulls:
    """Pulls of all muscles from path polynomials and known paths; passive tensions 0 unless asked for."""
    q, qd = (window.tensor(skeleton, m) for m in (window.q, window.qd))
    parts = []
    for rows in torch.arange(len(q)).split(CHUNK):
        own = None if known is None else known._replace(length=known.length[rows], arms=known.arms[rows])
        parts.append(polynomial_pulls(muscles, q[rows], qd[rows], own, passive=passive))
    arms, active, elastic = (torch.cat(of) for of in zip(*((p.arms, p.active, p.passive) for p in parts), strict=True))
    return Pulls(arms, active, elastic)


def moment_errors(muscles: Muscles) -> tuple[Float[np.ndarray, " muscle"], Float[np.ndarray, " muscle"]]:
    """Root mean square and largest error of a muscle's moment at full force, N·m (N), on poses left out of its fit.

    Of several coordinates that it spans, that with the largest error.
    """
    tables = muscles.tables
    force = tables.parameters["max_isometric_force"]
    rms, largest = np.zeros(len(force)), np.zeros(len(force))
    for m in range(len(force)):
        rows = slice(tables.span_offsets[m], tables.span_offsets[m + 1])
        rms[m] = force[m] * tables.moment_arm_rms[rows].max(initial=0.0)
        largest[m] = force[m] * tables.moment_arm_max[rows].max(initial=0.0)
    return rms, largest


def movement_ranges(skeleton: Skeleton, window: Prepared) -> dict[str, tuple[float, float]]:
    """Range of every coordinate in a motion, as `ranges_of` has it."""
    return ranges_of(skeleton, window.q.select(skeleton.coordinates).values)


def ranges_of(skeleton: Skeleton, poses: Float[np.ndarray, "pose coordinate"]) -> dict[str, tuple[float, float]]:
    """Range of every coordinate over poses, padded by a tenth and rounded outwards to 5 degrees or 5 cm."""
    step = np.where(skeleton.tables.rotational, RANGE_STEP[True], RANGE_STEP[False])
    low, high = poses.min(axis=0), poses.max(axis=0)
    pad = RANGE_PAD * (high - low)
    low, high = np.floor((low - pad) / step) * step, np.ceil((high + pad) / step) * step
    return {n: (float(a), float(b)) for n, a, b in zip(skeleton.coordinates, low, high, strict=True)}


def muscle_weights(model: OsimModel, cost: EffortCost) -> torch.Tensor | None:
    """Weight of every muscle in the cost, None where all have 1.

    Raises
    ------
    EffortCostError
        A weight fits no muscle.

    """
    if not cost.weighted:
        return None
    return torch.as_tensor(cost.muscle_weights(model.muscle_names, muscle_groups(model), fibre_volumes(model)))


def _actuators(
    model: OsimModel, skeleton: Skeleton, window: Prepared, pulls: Pulls, cost: EffortCost
) -> MusclesAndReserves:
    optimal = reserve_optimal_forces(model, skeleton.tables.muscle_driven)
    bounds = torch.as_tensor(model.activation_bounds)
    free = [i for i, n in enumerate(skeleton.coordinates) if n in optimal]
    reserves = torch.tensor([optimal.get(n, 0.0) for n in skeleton.coordinates], dtype=pulls.active.dtype)
    return MusclesAndReserves(
        pulls.columns,
        bounds[:, 0],
        bounds[:, 1],
        reserves,
        root_of(model, skeleton),
        free,
        torch.as_tensor(passive_forces(model, window.q, window.qd)) if model.passive_forces else None,
        muscle_weights(model, cost),
        cost.exponent,
        pulls.passive_forces if cost.passive else None,
        pulls.tendons,
    )
