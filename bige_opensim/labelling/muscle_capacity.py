"""What the muscles of a model can do in every frame of a trial, from OpenSim's own paths or from fitted polynomials."""

from __future__ import annotations

import numpy as np
import torch

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.osim.inverse_dynamics import passive_forces
from bige_opensim.osim.model import OsimModel, reserve_optimal_forces
from bige_opensim.osim.muscle_parameters import fibre_tables, fibre_volumes, muscle_groups
from bige_opensim.osim.muscles import muscle_frames
from bige_opensim.physics.dynamics import State
from bige_opensim.physics.effort_cost import USUAL, EffortCost
from bige_opensim.physics.joint_problem import CHUNK, LEG_RESERVE_NM, Effort
from bige_opensim.physics.muscle_pulls import Pulls, polynomial_pulls, tension_arms
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


def exact_effort(
    model: OsimModel, skeleton: Skeleton, window: Prepared, state: State, cost: EffortCost = USUAL
) -> Effort:
    """Moment arms and strengths from OpenSim, frame by frame."""
    return _effort(model, skeleton, window, exact_pulls(model, skeleton, window, state, passive=cost.passive), cost)


def polynomial_effort(model: OsimModel, skeleton: Skeleton, window: Prepared, cost: EffortCost = USUAL) -> Effort:
    """Moment arms and strengths from path polynomials fitted over the movement's range, compiled once and cached."""
    return _effort(model, skeleton, window, fitted_pulls(model, skeleton, window, passive=cost.passive), cost)


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
    return Pulls(tension_arms(skeleton, state, force, moment) + moving, strength, elastic)


def fitted_pulls(model: OsimModel, skeleton: Skeleton, window: Prepared, *, passive: bool = False) -> Pulls:
    """Pulls of all muscles from path polynomials over the movement's range; passive tensions 0 unless asked for."""
    muscles = Muscles(compile_muscles(model.path, movement_ranges(skeleton, window)))
    q, qd = (window.tensor(skeleton, m) for m in (window.q, window.qd))
    chunks = zip(q.split(CHUNK), qd.split(CHUNK), strict=True)
    parts = [polynomial_pulls(muscles, *part, passive=passive) for part in chunks]
    return Pulls(*(torch.cat(piece) for piece in zip(*parts, strict=True)))


def movement_ranges(skeleton: Skeleton, window: Prepared) -> dict[str, tuple[float, float]]:
    """Range of every coordinate in the movement, padded by a tenth and rounded outwards to 5 degrees or 5 cm.

    Rounding lets trials of one session share a compiled model.
    """
    ranges = {}
    for name, rotational in zip(skeleton.coordinates, skeleton.tables.rotational, strict=True):
        low, high = float(window.q[name].min()), float(window.q[name].max())
        pad, step = RANGE_PAD * (high - low), RANGE_STEP[rotational]
        ranges[name] = (float(np.floor((low - pad) / step) * step), float(np.ceil((high + pad) / step) * step))
    return ranges


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


def _effort(model: OsimModel, skeleton: Skeleton, window: Prepared, pulls: Pulls, cost: EffortCost) -> Effort:
    optimal = reserve_optimal_forces(model, skeleton.tables.muscle_driven)
    bounds = torch.as_tensor(model.activation_bounds)
    free = [i for i, n in enumerate(skeleton.coordinates) if n in optimal]
    reserves = torch.tensor([optimal.get(n, 0.0) for n in skeleton.coordinates], dtype=pulls.active.dtype)
    return Effort(
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
    )
