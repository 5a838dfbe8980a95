"""Ground forces and muscle activations of a trial, by OpenSim's StaticOptimization or the fast solver."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from bige_opensim.io.storage import coordinates_text
from bige_opensim.labelling.joint_loads import joint_loads
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_files import MODEL_NAME, SETUP, ground_motion, write_inputs
from bige_opensim.labelling.muscle_capacity import exact_actuators, muscle_driven, polynomial_actuators
from bige_opensim.labelling.optimization_result import OptimizedFrames
from bige_opensim.labelling.request import LabelSettings, Report, TrialRequest
from bige_opensim.labelling.single_frames import solve_single_frames
from bige_opensim.osim.model import OsimModel
from bige_opensim.osim.static_optimization import StaticOptimizationError, run_setup
from bige_opensim.physics.contact import GroundForces
from bige_opensim.physics.joint_problem import (
    MusclesAndReserves,
    net_generalized_forces,
    solve_with_ground,
    solve_with_loads,
)
from bige_opensim.physics.muscle_lines import FittedLines
from bige_opensim.physics.muscle_pulls import KnownPaths
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.skeleton import Skeleton

BALANCED_NM, BALANCED_SHARE = 0.5, 0.01


def model_for_optimization(stripped: bytes, request: TrialRequest, folder: Path) -> str:
    """Write the stripped model, one for all trials of a model folder; the path from the trial's final folder to it.

    Another worker may be reading the shared file: it is replaced only where its content changes.
    """
    fresh, shared = folder / MODEL_NAME, request.model_folder / MODEL_NAME
    if request.model_folder == request.out:
        fresh.write_bytes(stripped)
        return MODEL_NAME
    if not (shared.is_file() and shared.read_bytes() == stripped):
        fresh.write_bytes(stripped)
        fresh.replace(shared)
    return str(Path(os.path.relpath(shared, request.out)).as_posix())


def solve(
    folder: Path,
    model: OsimModel,
    model_file: str,
    skeleton: Skeleton,
    whole: Prepared,
    window: Prepared,
    ground: float,
    loads: GroundForces | None,
    settings: LabelSettings,
    paths: tuple[Muscles, KnownPaths | None, FittedLines] | None,
    report: Report,
) -> OptimizedFrames:
    """Solve the frames of `window` into `OptimizedFrames`; what OpenSim needs for its share is written into `folder`.

    model_file: path from the trial's final folder to the model that `model_for_optimization` wrote; whole: all frames
    of the trial, for the files; ground: height of the ground, m; loads: measured ground forces, None to estimate them
    as the settings say; paths: polynomials, the muscles whose paths are known better, and lines of action, None for
    OpenSim's own paths.

    Frames in which AnalyzeTool's activations do not produce the net moments are solved a second time, one by one, by
    the same analysis: where the wrapping of gastrocnemius flips near knee extension, the tool, which goes through the
    frames one after the other, was seen to miss ankle moments by 1 N·m that a fresh solution of the frame meets.

    Raises
    ------
    StaticOptimizationError
        OpenSim's solver did not return the frames that it was asked for.

    """
    report("muscle paths", 0.0)
    began = clock.perf_counter()
    state, qd = window.state(skeleton), window.tensor(skeleton, window.qd)
    cost = settings.cost
    if paths is not None:
        actuators = polynomial_actuators(model, skeleton, window, *paths, cost=cost)
    else:
        actuators = exact_actuators(model, skeleton, window, state, cost)
    forces, joint = loads, None
    if loads is None and settings.grf != "none":
        report("ground forces", 0.0)
        joint, forces = solve_with_ground(skeleton, state, qd, actuators, ground, settings.contact)
    net = net_generalized_forces(skeleton, state, forces, actuators.passive)
    if settings.solver == "opensim":
        time = window.q.time
        coordinates = coordinates_text(whole.q, model.rotational)
        ground_columns = ground_motion(time, forces)
        write_inputs(folder, whole.q.time, coordinates, time, ground_columns, model_file, cost.exponent)
    report("static optimization", 0.0)
    again = np.array([], dtype=int)
    if settings.solver == "fast":
        # with the ground forces the joint problem found, its muscles already solve static optimization
        answer = joint if joint is not None else solve_with_loads(net, actuators)
        activations, reserves = answer.x[:, : len(model.muscle_names)].numpy(), answer.reserve.numpy()
        solved = answer.solved.numpy()
        seconds = clock.perf_counter() - began
    else:
        began = clock.perf_counter()
        activations, reserves = _by_opensim(folder, model, skeleton, window)
        driven = muscle_driven(model, skeleton)
        solved = _balanced(actuators, driven, net, activations, reserves)
        if not solved.all():
            again = np.flatnonzero(~solved)
            time = window.q.time[again]
            activations[again], single = solve_single_frames(folder, model, model_file, whole, time, cost)
            reserves[again] = _by_coordinate(skeleton, single, len(again))
            solved = _balanced(actuators, driven, net, activations, reserves)
        seconds = clock.perf_counter() - began
    if joint is not None:
        solved = solved & joint.solved.numpy()
    pressed = joint_loads(skeleton, state, actuators, activations, forces)
    return OptimizedFrames(
        window.q.time, activations, reserves, net.numpy(), forces, solved, seconds, len(again), pressed
    )


def _by_opensim(folder: Path, model: OsimModel, skeleton: Skeleton, window: Prepared) -> tuple[np.ndarray, np.ndarray]:
    result = run_setup(folder / SETUP, model)
    at = np.searchsorted(result.activations.time, window.q.time - 1e-6)
    if at.max() >= result.activations.frames or np.abs(result.activations.time[at] - window.q.time).max() > 1e-5:
        raise StaticOptimizationError(
            f"{folder.name}: OpenSim's StaticOptimization returned {result.activations.frames} frames that do not "
            f"match the {window.q.frames} asked for; see its messages with the setup file."
        )
    reserves = {name: result.reserves[name][at] for name in result.reserves.names}
    return result.activations.select(model.muscle_names).values[at], _by_coordinate(skeleton, reserves, len(at))


def _by_coordinate(skeleton: Skeleton, reserves: Mapping[str, np.ndarray], frames: int) -> np.ndarray:
    """Forces of reserves as (T, C) in the skeleton's order, 0 where a coordinate has none."""
    nothing = np.zeros(frames)
    return np.column_stack([reserves.get(name, nothing) for name in skeleton.coordinates])


def _balanced(
    actuators: MusclesAndReserves, driven: list[int], net: torch.Tensor, activations: np.ndarray, reserves: np.ndarray
) -> np.ndarray:
    """Frames in which OpenSim's muscles and reserves produce the net moments of the coordinates that muscles drive.

    OpenSim stops at a tolerance in accelerations; a gap below BALANCED_NM, or BALANCED_SHARE of the coordinate's peak
    moment, is taken as solved.
    """
    produced = torch.einsum("tcm,tm->tc", actuators.muscle_columns, torch.as_tensor(activations)) + torch.as_tensor(
        reserves
    )
    gap = (produced - net)[:, driven].abs()
    allowed = (BALANCED_SHARE * net[:, driven].abs().amax(0)).clamp(min=BALANCED_NM)
    return (gap < allowed).all(1).numpy() & np.isfinite(activations).all(1)
