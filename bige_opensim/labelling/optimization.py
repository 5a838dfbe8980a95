"""Ground forces and muscle activations of a trial, by OpenSim's StaticOptimization or the fast solver."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bige_opensim.io.storage import coordinates_text
from bige_opensim.labelling.deciding_frames import Analysed, Asked, Known, gate_criteria, share_frames
from bige_opensim.labelling.joint_loads import JointLoads, joint_loads
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_content import labelled_of
from bige_opensim.labelling.label_files import MODEL_NAME, SETUP, ground_motion, write_inputs
from bige_opensim.labelling.muscle_capacity import exact_actuators, muscle_driven, polynomial_actuators
from bige_opensim.labelling.optimization_result import OptimizedFrames
from bige_opensim.labelling.quality_gates import Labelled
from bige_opensim.labelling.request import LabelSettings, Report, TrialRequest
from bige_opensim.labelling.single_frames import FrameSolver
from bige_opensim.osim.model import OsimModel
from bige_opensim.osim.static_optimization import StaticOptimizationError, run_setup
from bige_opensim.physics.carriers import Carrier
from bige_opensim.physics.contact import GroundForces
from bige_opensim.physics.effort_cost import EffortCost
from bige_opensim.physics.effort_gap import farthest_from_least_effort
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
_NOTHING = (np.empty((0, 0)), np.empty((0, 0)))


def model_for_optimization(stripped: bytes, request: TrialRequest, folder: Path, name: str = MODEL_NAME) -> str:
    """Write the stripped model, one for all trials of a model folder; the path from the trial's final folder to it.

    Another worker may be reading the shared file: it is replaced only where its content changes.
    """
    fresh, shared = folder / name, request.model_folder / name
    if request.model_folder == request.out:
        fresh.write_bytes(stripped)
        return name
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
    decided: Decided | None = None,
    others: Sequence[Carrier] = (),
) -> OptimizedFrames:
    """Solve the frames of `window` into `OptimizedFrames`; what OpenSim needs for its share is written into `folder`.

    model_file: path from the trial's final folder to the model that `model_for_optimization` wrote; whole: all frames
    of the trial, for the files; ground: height of the ground, m; loads: measured ground forces, None to estimate them
    as the settings say; paths: polynomials, the muscles whose paths are known better, and lines of action, None for
    OpenSim's own paths; decided: what a verdict asks, where OpenSim is to solve only the frames that decide it;
    others: what is declared to carry besides the feet.

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
        joint, forces = solve_with_ground(
            skeleton, state, qd, actuators, ground, settings.contact, others=others, device=settings.device
        )
    net = net_generalized_forces(skeleton, state, forces, actuators.passive)
    if settings.solver == "opensim":
        time = window.q.time
        coordinates = coordinates_text(whole.q, model.rotational)
        ground_columns = ground_motion(time, forces)
        write_inputs(folder, whole.q.time, coordinates, time, ground_columns, model_file, cost.exponent)
    report("static optimization", 0.0)
    shared, again = None, 0
    if settings.solver == "fast":
        # with the ground forces the joint problem found, its muscles already solve static optimization
        answer = joint if joint is not None else solve_with_loads(net, actuators, device=settings.device)
        activations, reserves = answer.x[:, : len(model.muscle_names)].numpy(), answer.reserve.numpy()
        solved = answer.solved.numpy()
        seconds = clock.perf_counter() - began
    else:
        began = clock.perf_counter()
        opensim = _OpenSim(folder, model, model_file, skeleton, whole, window, actuators, net, cost)
        if decided is None:
            activations, reserves, solved = opensim.every_frame()
        else:

            def pressed(activations: np.ndarray) -> JointLoads | None:
                return joint_loads(skeleton, state, actuators, activations, forces)

            analysed = Analysed(skeleton, window.q, model.muscle_names, net.numpy(), forces, ground, pressed)
            plain = OptimizedFrames(window.q.time, *_NOTHING, net.numpy(), forces, np.ones(len(net), dtype=bool), 0.0)

            def judged(activations: np.ndarray, reserves: np.ndarray) -> Labelled:
                found = replace(plain, activations=activations, reserves=reserves)
                return labelled_of(model, skeleton, window, found, ground, plain.solved)

            criteria = [*gate_criteria(judged), *decided.asked.criteria(analysed)]
            known = _by_fast_solver(model, actuators, net)
            shared = share_frames(known, opensim.some_frames, criteria, decided.sha256, model.muscle_names)
            activations, reserves, solved = shared.activations, shared.reserves, shared.solved
        again = opensim.again
        seconds = clock.perf_counter() - began
    if joint is not None:
        solved = solved & joint.solved.numpy()
    record = None if shared is None else shared.record
    loaded = joint_loads(skeleton, state, actuators, activations, forces)
    return OptimizedFrames(
        *(window.q.time, activations, reserves, net.numpy(), forces, solved, seconds, again),
        joint_loads=loaded,
        shared=record,
    )


class Decided(NamedTuple):
    """What a verdict asks of a label, and the hash of its motion, by which frames to audit are drawn."""

    asked: Asked
    sha256: str


def _by_fast_solver(model: OsimModel, actuators: MusclesAndReserves, net: torch.Tensor) -> Known:
    answer = solve_with_loads(net, actuators)
    error = farthest_from_least_effort(net, actuators, answer).numpy()
    return Known.of_fast(answer.x.numpy(), answer.reserve.numpy(), error, np.asarray(model.activation_bounds))


@dataclass
class _OpenSim:
    """OpenSim's static optimization of one trial, `again` the number of frames that it had to solve a second time."""

    folder: Path
    model: OsimModel
    model_file: str
    skeleton: Skeleton
    whole: Prepared
    window: Prepared
    actuators: MusclesAndReserves
    net: torch.Tensor
    cost: EffortCost
    again: int = 0

    def every_frame(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Activations (T, M), reserves (T, C), and whether they balance the net moments (T,), by AnalyzeTool."""
        activations, reserves = _by_opensim(self.folder, self.model, self.skeleton, self.window)
        return self._unbalanced_again(np.arange(len(self.net)), activations, reserves)

    def some_frames(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same for some rows, by the analysis alone."""
        activations, single = self._frames.solve(self.window.q.time[rows])
        return self._unbalanced_again(rows, activations, _by_coordinate(self.skeleton, single, len(rows)))

    @cached_property
    def _frames(self) -> FrameSolver:
        return FrameSolver(self.folder, self.model, self.model_file, self.whole, self.cost)

    def _unbalanced_again(
        self, rows: np.ndarray, activations: np.ndarray, reserves: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        solved = _balanced(self.actuators, self._driven, self.net, rows, activations, reserves)
        if not solved.all():
            wrong = np.flatnonzero(~solved)
            self.again += len(wrong)
            fresh = FrameSolver(self.folder, self.model, self.model_file, self.whole, self.cost)
            activations[wrong], single = fresh.solve(self.window.q.time[rows[wrong]])
            reserves[wrong] = _by_coordinate(self.skeleton, single, len(wrong))
            solved = _balanced(self.actuators, self._driven, self.net, rows, activations, reserves)
        return activations, reserves, solved

    @cached_property
    def _driven(self) -> list[int]:
        return muscle_driven(self.model, self.skeleton)


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
    actuators: MusclesAndReserves,
    driven: list[int],
    net: torch.Tensor,
    rows: np.ndarray,
    activations: np.ndarray,
    reserves: np.ndarray,
) -> np.ndarray:
    """Rows in which OpenSim's muscles and reserves produce the net moments of the coordinates that muscles drive.

    OpenSim stops at a tolerance in accelerations; a gap below BALANCED_NM, or BALANCED_SHARE of the coordinate's peak
    moment, is taken as solved.
    """
    columns = actuators.muscle_columns[rows]
    produced = torch.einsum("tcm,tm->tc", columns, torch.as_tensor(activations)) + torch.as_tensor(reserves)
    gap = (produced - net[rows])[:, driven].abs()
    allowed = (BALANCED_SHARE * net[:, driven].abs().amax(0)).clamp(min=BALANCED_NM)
    return (gap < allowed).all(1).numpy() & np.isfinite(activations).all(1)
