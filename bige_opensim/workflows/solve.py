"""A laboratory's own AnalyzeTool setup with static optimization, solved by the fast solver."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float

from bige_opensim.io.analyze_results import (
    ACTIVATION_TEXT,
    ACTIVATION_TITLE,
    FORCE_TEXT,
    FORCE_TITLE,
    write_controls,
    write_result,
)
from bige_opensim.io.analyze_setup import AnalyzeSetup, AnalyzeSetupError, read_analyze_setup
from bige_opensim.io.external_loads import ExternalLoadsError
from bige_opensim.io.rotation_units import Units
from bige_opensim.io.storage import StorageError
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.muscle_capacity import exact_pulls, fitted_pulls, muscle_weights
from bige_opensim.labelling.person_model import fitted_muscles
from bige_opensim.motion import MotionError
from bige_opensim.osim.analyze_setup_loads import (
    Reported,
    external_loads,
    passive_forces,
    reported_load,
    reported_passive_forces,
)
from bige_opensim.osim.analyze_setup_model import SetupModel, compose
from bige_opensim.osim.analyze_setup_motion import SetupMotion, recorded_motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.model import ModelError, document_version, load, opensim_version
from bige_opensim.osim.static_optimization import StaticOptimizationError
from bige_opensim.physics.actuators import CoordinateDrive, actuator_columns
from bige_opensim.physics.body_loads import BodyLoad, generalized_loads
from bige_opensim.physics.dynamics import State, inverse_dynamics
from bige_opensim.physics.effort_cost import EffortCost, EffortCostError, Weights, weight_pairs
from bige_opensim.physics.joint_problem import CHUNK, take
from bige_opensim.physics.least_effort import SLACK
from bige_opensim.physics.least_effort import solve as least_effort
from bige_opensim.physics.muscle_pulls import Pulls
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.provenance import __version__
from bige_opensim.settings import one_of
from bige_opensim.workflows.solve_audit import OpenSimTask, SetupAudit, compare

Geometry = Literal["auto", "polynomial", "exact"]

SetupErrors = (AnalyzeSetupError, StorageError, ModelError, ExternalLoadsError, EffortCostError, MotionError)
"""What a setup, its files and the cost asked for can do wrong: each carries one sentence for the user."""

FEW_FRAMES = 1000
"""Up to so many frames OpenSim's own paths cost less than fitting polynomials to them."""

UNBALANCED = 1e-3
"""Force that no actuator supplies, relative to 1 + the largest generalized force, beyond which a frame is unsolved."""

IN_BOX = 1e-9


@dataclass(frozen=True, eq=False)
class SolvedSetup:
    """Static optimization of a setup.

    Attributes
    ----------
    setup, cost
        What was asked for, and the cost that was minimised.
    activations, forces
        Controls of all actuators, muscles first or last as OpenSim has them, and what OpenSim's report of forces
        holds (N, N·m, and points in m); index time in s.
    solved
        Frames in which the actuators produce the motion.
    audit
        Difference to OpenSim; None where no frame was asked for or none can be compared.
    notes
        What was noticed on the way.
    seconds
        Time of the solution without reading and audit.

    """

    setup: AnalyzeSetup
    cost: EffortCost
    activations: pd.DataFrame
    forces: pd.DataFrame
    solved: Bool[np.ndarray, " frame"]
    audit: SetupAudit | None
    notes: tuple[str, ...]
    seconds: float

    @property
    def summary(self) -> str:
        """One line: how many frames, how fast, how many unsolved, how far from OpenSim."""
        frames, unsolved = len(self.solved), int((~self.solved).sum())
        rate = frames / max(self.seconds, 1e-9)
        parts = [f"{self.setup.path.name}: {frames} frame(s), {self.seconds:.2f} s ({rate:.0f} frames/s)"]
        if unsolved:
            parts.append(f"in {unsolved} the actuators cannot produce the motion")
        parts.append(str(self.audit) if self.audit is not None else "not compared with OpenSim")
        return "; ".join(parts) + "."

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Write OpenSim's three result files and what they were made from into a folder, each whole or not at all.

        Raises
        ------
        AnalyzeSetupError
            The folder cannot be made or written to.

        """
        out = Path(folder)
        try:
            out.mkdir(parents=True, exist_ok=True)
            partial = tempfile.mkdtemp(dir=out, prefix=".partial-")
        except OSError as problem:
            raise AnalyzeSetupError(f"{out}: cannot be written to ({problem.strerror}); name another folder.") from None
        time, precision = self.activations.index.to_numpy(), self.setup.precision
        paths = [out / f"{self.setup.result_name(w)}{end}" for w, end in _RESULTS]
        names = list(self.activations.columns)
        values = self.activations.to_numpy()
        try:
            fresh = [Path(partial) / path.name for path in paths]
            write_result(fresh[0], ACTIVATION_TITLE, ACTIVATION_TEXT, time, names, values, precision)
            columns = list(self.forces.columns)
            write_result(fresh[1], FORCE_TITLE, FORCE_TEXT, time, columns, self.forces.to_numpy(), precision)
            write_controls(fresh[2], time, names, values, document_version())
            fresh[3].write_text(json.dumps(self._provenance(), indent=1), encoding="utf-8")
            for source, target in zip(fresh, paths, strict=True):
                source.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return tuple(paths)

    def _provenance(self) -> dict[str, Any]:
        setup = {k: str(v) if isinstance(v, Path) else v for k, v in vars(self.setup).items()}
        setup["force_sets"] = [str(p) for p in self.setup.force_sets]
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in setup.items()}
        return {
            "setup": finite,
            "cost": self.cost.as_dict(),
            "frames": len(self.solved),
            "unsolved_s": [float(t) for t in self.activations.index[~self.solved]],
            "audit": None if self.audit is None else vars(self.audit),
            "notes": list(self.notes),
            "seconds": self.seconds,
            "bige_opensim": __version__,
            "opensim": opensim_version(),
        }


_RESULTS = (("activation", ".sto"), ("force", ".sto"), ("controls", ".xml"), ("solved", ".json"))


@quiet_opensim()
def solve(
    setup: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    geometry: Geometry = "auto",
    audit: int = 10,
    units: Units | None = None,
    exponent: float | None = None,
    weights: Weights = (),
    volume_weighted: bool = False,
    passive: bool = False,
) -> SolvedSetup:
    """Solve the static optimization of an AnalyzeTool setup.

    Parameters
    ----------
    setup
        The setup file; its paths are relative to its folder.
    out
        Folder for OpenSim's result files, under OpenSim's names; None writes nothing.
    geometry
        Muscle paths: OpenSim's own (exact), polynomials fitted to them, or (auto) what is sooner done.
    audit
        Number of frames that OpenSim solves again for comparison; 0 for none.
    units
        Unit of rotations in the coordinates file, whatever its header says.
    exponent
        Exponent of the cost in place of the setup's.
    weights, volume_weighted, passive
        Cost beyond OpenSim's, see `EffortCost`.

    Raises
    ------
    SettingError
        A setting that is none of its values.
    AnalyzeSetupError
        The setup asks for what is not done here, or names files that do not exist.
    StorageError, ModelError, ExternalLoadsError, EffortCostError, MotionError
        Its files, or the cost, cannot be used.

    """
    one_of("geometry", geometry, get_args(Geometry))
    wanted = read_analyze_setup(Path(setup))
    chosen = wanted.exponent if exponent is None else exponent
    cost = EffortCost(chosen, weight_pairs(weights), volume_weighted, passive)
    with tempfile.TemporaryDirectory(prefix="bige-solve-") as folder:
        task = _Task(wanted, cost, geometry, Path(folder), units)
        result = task.solved(audit)
    if out is not None:
        result.save(out)
    return result


class _Task:
    """One setup on its way: model, motion, and the frames that are solved."""

    def __init__(
        self, setup: AnalyzeSetup, cost: EffortCost, geometry: Geometry, folder: Path, units: Units | None
    ) -> None:
        self.setup, self.cost, self.geometry, self.folder = setup, cost, geometry, folder
        self.composed: SetupModel = compose(setup, folder)
        self.model = self.composed.model
        self.motion: SetupMotion = recorded_motion(setup, self.model, folder, units)
        self.skeleton = Skeleton(compile_skeleton(self.model.path))
        rows = self.motion.rows
        # a motion has two samples at least; of a single frame's two the right one is kept in the end
        self.rows = rows if len(rows) > 1 else np.array([max(rows[0] - 1, 0), max(rows[0] - 1, 0) + 1])
        self.kept = np.isin(self.rows, rows)
        q, qd, qdd = self.motion.at(self.rows)
        self.window = Prepared(q, qd, qdd, (0.0, ""), ())

    def solved(self, audit: int) -> SolvedSetup:
        """The solution, with the comparison over so many frames."""
        began = clock.perf_counter()
        state = self.window.state(self.skeleton)
        pulls = self._pulls(state)
        loads = self._loads(state)
        tau = inverse_dynamics(self.skeleton, state) - generalized_loads(self.skeleton, state, loads)
        tau = tau - torch.as_tensor(passive_forces(self.composed, self.window.q, self.window.qd))
        if self.cost.passive:
            tau = tau - pulls.passive_forces
        answer, solved = self._share(state, pulls, tau)
        controls = self._ordered(answer)
        reports = [reported_load(load, self.skeleton, state) for load in loads]
        forces = self._forces(answer, pulls, reports)
        seconds = clock.perf_counter() - began
        notes = (*self.setup.notes, *self.motion.notes)
        compared = None
        if audit > 0 and not self.cost.passive:
            again = OpenSimTask(self.setup, self.composed, self.motion, self.cost, self._weight().numpy(), self.folder)
            try:
                compared = compare(again, self.rows[solved & self.kept], controls[solved & self.kept], audit)
            except StaticOptimizationError as error:
                reason = str(error).split("stopped: ")[-1].split("\n")[0].split("': ")[-1]
                notes = (*notes, f"No comparison with OpenSim, which could not solve the frames: {reason}")
        keep = self.kept
        return SolvedSetup(self.setup, self.cost, controls[keep], forces[keep], solved[keep], compared, notes, seconds)

    def _loads(self, state: State) -> list[BodyLoad]:
        if self.setup.external_loads is None:
            return []
        given = external_loads(self.setup.external_loads, self.model, self.window.q.time)
        return [load.in_ground(self.skeleton, state) for load in given]

    def _pulls(self, state: State) -> Pulls:
        """Pulls of the working muscles in the order of `composed.muscles`."""
        exact = self.geometry == "exact" or (self.geometry == "auto" and len(self.rows) <= FEW_FRAMES)
        model = load(self.setup.model) if self.composed.own_muscles and not exact else self.model
        if not self.composed.muscles:
            T, C = len(self.rows), len(self.skeleton.coordinates)
            return Pulls(torch.zeros(T, C, 0).double(), torch.zeros(T, 0).double(), torch.zeros(T, 0).double())
        if exact:
            pulls = exact_pulls(model, self.skeleton, self.window, state, passive=self.cost.passive)
        else:
            muscles = fitted_muscles(model.path, self.skeleton, self.window.q.select(self.skeleton.coordinates).values)
            pulls = fitted_pulls(self.skeleton, self.window, muscles, passive=self.cost.passive)
        working = [model.muscle_names.index(m) for m in self.composed.muscles]
        pulls = Pulls(pulls.arms[:, :, working], pulls.active[:, working], pulls.passive[:, working])
        if not self.setup.muscle_physiology:
            strongest = torch.as_tensor(model.max_isometric_force[working])
            pulls = pulls._replace(active=strongest.expand_as(pulls.active))
        return pulls

    def _share(
        self, state: State, pulls: Pulls, tau: Float[torch.Tensor, "frame coordinate"]
    ) -> tuple[Float[np.ndarray, "frame actuator"], Bool[np.ndarray, " frame"]]:
        """Controls of muscles and actuators, and the frames in which they produce the generalized forces."""
        actuators = self.composed.actuators
        bounds = [*self.composed.muscle_controls, *((a.min_control, a.max_control) for a in actuators)]
        box = torch.tensor(np.array(bounds).reshape(-1, 2), dtype=torch.float64)
        weight = torch.ones(len(bounds), dtype=torch.float64)
        weight[: len(self.composed.muscles)] = self._weight()
        free = [self.skeleton.coordinates.index(n) for n in self.model.free_coordinates]
        parts = []
        for rows in torch.arange(len(tau)).split(CHUNK):
            columns = actuator_columns(self.skeleton, take(state, rows), actuators)
            A, b = torch.cat([pulls.columns[rows], columns], -1)[:, free], tau[rows][:, free]
            parts.append(share(A, b, weight, box, self._reserves(), self.cost.exponent))
        controls, solved = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return controls, solved

    def _reserves(self) -> dict[int, tuple[int, float]]:
        """By free coordinate: the unknown that is its reserve, and its optimal force."""
        found: dict[int, tuple[int, float]] = {}
        for k, actuator in enumerate(self.composed.actuators, start=len(self.composed.muscles)):
            name = actuator.drive.coordinate if isinstance(actuator.drive, CoordinateDrive) else None
            if name in self.model.free_coordinates and actuator.optimal_force != 0.0:
                found.setdefault(self.model.free_coordinates.index(name), (k, actuator.optimal_force))
        return found

    def _weight(self) -> torch.Tensor:
        weight = muscle_weights(self.model, self.cost)
        if weight is None:
            return torch.ones(len(self.composed.muscles), dtype=torch.float64)
        return weight[[self.model.muscle_names.index(m) for m in self.composed.muscles]]

    def _names(self) -> list[str]:
        return [*self.composed.muscles, *(a.name for a in self.composed.actuators)]

    def _table(self, values: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
        return pd.DataFrame(values, index=pd.Index(self.window.q.time, name="time"), columns=list(names))

    def _ordered(self, controls: Float[np.ndarray, "frame actuator"]) -> pd.DataFrame:
        return self._table(controls, self._names())[list(self.composed.columns)]

    def _forces(
        self, controls: Float[np.ndarray, "frame actuator"], pulls: Pulls, loads: Sequence[Reported]
    ) -> pd.DataFrame:
        """The columns of OpenSim's report of forces: forces in the order of the model's force set, then loads."""
        m = len(self.composed.muscles)
        optimal = np.array([a.optimal_force for a in self.composed.actuators])
        tensions = controls[:, :m] * pulls.active.numpy() + pulls.passive.numpy()
        by_name = dict(zip(self._names(), np.hstack([tensions, controls[:, m:] * optimal]).T, strict=True))
        passive = reported_passive_forces(self.composed, self.window.q, self.window.qd)
        reports: list[Reported] = []
        for name in self.composed.reported:
            reports.append(passive[name] if name in passive else Reported((name,), by_name[name][:, None]))
        reports += loads
        names = [label for report in reports for label in report.names]
        return self._table(np.hstack([report.values for report in reports]), names)


def share(
    A: Float[torch.Tensor, "frame coordinate unknown"],
    b: Float[torch.Tensor, "frame coordinate"],
    weight: Float[torch.Tensor, " unknown"],
    box: Float[torch.Tensor, "unknown 2"],
    reserves: Mapping[int, tuple[int, float]],
    exponent: float,
) -> tuple[Float[torch.Tensor, "frame unknown"], Bool[torch.Tensor, " frame"]]:
    """Controls of least effort, and the frames in which they balance, where every equation need not have a reserve.

    Something of `SLACK` N or N·m carries next to nothing in every equation, so that there is an answer to be looked at.
    With exponent 2, reserves (by coordinate: unknown and optimal force) are first taken for unbounded, which is solved
    sooner; frames in which one leaves its box are solved again with all boxes.
    """
    carried = torch.full((b.shape[1],), SLACK, dtype=b.dtype)
    folded = reserves if exponent == 2.0 else {}
    rows, unknowns = list(folded), [k for k, _ in folded.values()]
    optimal = b.new_tensor([force for _, force in folded.values()])
    carried[rows] = optimal.abs()
    kept = [k for k in range(len(weight)) if k not in unknowns]
    found = least_effort(
        A[:, :, kept],
        b,
        weight=weight[kept],
        lower=box[kept, 0],
        upper=box[kept, 1],
        reserve_optimal=carried,
        exponent=None if exponent == 2.0 else torch.full_like(weight[kept], exponent),
    )
    controls = b.new_zeros(len(b), len(weight))
    controls[:, kept], controls[:, unknowns] = found.x, found.reserve[:, rows] / optimal
    lacking = found.reserve.clone()
    lacking[:, rows] = 0.0
    solved = found.solved & (lacking.abs().amax(-1) <= UNBALANCED * (1.0 + b.abs().amax(-1)))
    beyond = ((controls < box[:, 0] - IN_BOX) | (controls > box[:, 1] + IN_BOX)).any(-1)
    if folded and bool(beyond.any()):
        controls[beyond], solved[beyond] = share(A[beyond], b[beyond], weight, box, {}, exponent)
    return controls, solved
