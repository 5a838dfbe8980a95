"""What the muscles of a model can do in every frame of a trial, from OpenSim's own paths or from fitted polynomials."""

from __future__ import annotations

import numpy as np
import torch

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.osim.inverse_dynamics import passive_forces
from bige_opensim.osim.model import OsimModel, reserve_optimal_forces
from bige_opensim.osim.muscles import muscle_frames
from bige_opensim.physics.dynamics import State
from bige_opensim.physics.joint_problem import CHUNK, LEG_RESERVE_NM, Effort, muscle_columns, polynomial_columns
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


def exact_effort(model: OsimModel, skeleton: Skeleton, window: Prepared, state: State) -> Effort:
    """Moment arms and strengths from OpenSim, frame by frame."""
    frames = muscle_frames(model, window.q, window.qd, skeleton.bodies)
    wrenches = (torch.as_tensor(v) for v in (frames.force, frames.moment, frames.strength))
    return _effort(model, skeleton, window, muscle_columns(skeleton, state, *wrenches))


def polynomial_effort(model: OsimModel, skeleton: Skeleton, window: Prepared) -> Effort:
    """Moment arms and strengths from path polynomials fitted over the movement's range, compiled once and cached."""
    muscles = Muscles(compile_muscles(model.path, movement_ranges(skeleton, window)))
    q, qd = (window.tensor(skeleton, m) for m in (window.q, window.qd))
    parts = [polynomial_columns(muscles, *part) for part in zip(q.split(CHUNK), qd.split(CHUNK), strict=True)]
    return _effort(model, skeleton, window, torch.cat(parts))


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


def _effort(model: OsimModel, skeleton: Skeleton, window: Prepared, columns: torch.Tensor) -> Effort:
    optimal = reserve_optimal_forces(model, skeleton.tables.muscle_driven)
    bounds = torch.as_tensor(model.activation_bounds)
    free = [i for i, n in enumerate(skeleton.coordinates) if n in optimal]
    reserves = torch.tensor([optimal.get(n, 0.0) for n in skeleton.coordinates], dtype=columns.dtype)
    passive = torch.as_tensor(passive_forces(model, window.q, window.qd)) if model.passive_forces else None
    return Effort(columns, bounds[:, 0], bounds[:, 1], reserves, root_of(model, skeleton), free, passive)
