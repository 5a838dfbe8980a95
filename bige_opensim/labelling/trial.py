"""Label one trial: from coordinates to ground forces, joint moments and activations, written as one folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time as clock
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bige_opensim
from bige_opensim.io.external_loads import ExternalLoadsError, read_external_loads
from bige_opensim.io.force_plates import ForcePlateError
from bige_opensim.io.storage import CoordinateFile, StorageError, read_coordinates
from bige_opensim.labelling.audit import audit
from bige_opensim.labelling.consistency import ConsistencySettings, Shift, make_consistent
from bige_opensim.labelling.effort import exact_effort, muscle_driven, polynomial_effort, root_of
from bige_opensim.labelling.files import write_files, write_inputs
from bige_opensim.labelling.ground import Measured, applied_forces, plate_forces
from bige_opensim.labelling.kinematics import Prepared, prepare
from bige_opensim.labelling.partial_folders import partial_folder, remove_abandoned
from bige_opensim.labelling.plates import Feet
from bige_opensim.labelling.quality import Gate, Labelled, gates, infeasible_frames, verdict
from bige_opensim.labelling.solution import Solution
from bige_opensim.labelling.support import Support, find_missing_support
from bige_opensim.labelling.support_report import explained, support_entry, weight_notes
from bige_opensim.motion import Motion, MotionError
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import (
    ModelError,
    OsimModel,
    load,
    opensim_version,
    require_muscles,
    static_optimization_model,
)
from bige_opensim.osim.static_optimization import StaticOptimizationError, run_setup
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.contact import ContactSettings, GroundForces, ground_height
from bige_opensim.physics.joint_problem import (
    Effort,
    net_generalized_forces,
    solve_with_ground,
    solve_with_loads,
)
from bige_opensim.physics.skeleton import Skeleton

FORMAT = "bige-label/1"
SETUP = "setup_static_optimization.xml"
MODEL_NAME = "model_static_optimization.osim"
BALANCED_NM, BALANCED_SHARE = 0.5, 0.01
SHORTEST_FRAMES = 10
COM_STRIDE = 10

TrialError = (StorageError, MotionError, ModelError, ExternalLoadsError, ForcePlateError, StaticOptimizationError)
"""What a trial's own files can do wrong: each carries one sentence for the user."""

FROM_PLATES = ("measured", "auto")
"""Values of `grf` for which the force file of a trial is read."""

Report = Callable[[str, float], None]
"""Called with a step's name and the share of it that is done."""


@dataclass(frozen=True)
class LabelSettings:
    """How to label.

    solver: opensim or fast; geometry: muscle paths of the fast solver, polynomial or exact (OpenSim's own); audit:
    share of frames that OpenSim solves again to check the fast solver, at least 10, 0 for none; grf: estimated,
    measured (from the trial's force file), auto (measured where that can be used, else estimated) or none. External
    loads of a trial are applied whatever `grf` says.
    """

    solver: str = "opensim"
    geometry: str = "polynomial"
    audit: float = 0.02
    grf: str = "estimated"
    cutoff_hz: float = 6.0
    start: float | None = None
    end: float | None = None
    units: str | None = None
    contact: ContactSettings = field(default_factory=ContactSettings)
    consistency: ConsistencySettings | None = field(default_factory=ConsistencySettings)


@dataclass(frozen=True)
class TrialRequest:
    """One trial to label into the folder `out`; the model for static optimization goes to `model_folder`.

    `sessions` are folders laid out like OpenCap sessions that receive the activations, too. `synthetic` says that the
    motion is no recording of a person, which the label passes on.
    """

    model: Path
    motion: Path
    out: Path
    model_folder: Path
    session: str
    subject: str
    trial: str
    external_loads: Path | None = None
    sessions: tuple[Path, ...] = ()
    forces: Path | None = None
    synthetic: bool = False

    def absolute(self) -> TrialRequest:
        """The same with absolute paths, which hold in other processes."""
        paths: dict[str, Any] = {n: value.absolute() for n, value in vars(self).items() if isinstance(value, Path)}
        return replace(self, **paths, sessions=tuple(s.absolute() for s in self.sessions))

    def fingerprint(self, settings: LabelSettings) -> dict[str, Any]:
        """What a finished label was made from; the same fingerprint need not be labelled again."""
        files = {"model": self.model, "motion": self.motion, "external_loads": self.external_loads}
        if self.external_loads is not None:
            files["forces"] = read_external_loads(self.external_loads).datafile
        elif settings.grf in FROM_PLATES:
            files["forces"] = self.forces
        return {
            "files": {k: hashlib.sha256(p.read_bytes()).hexdigest() for k, p in files.items() if p is not None},
            "settings": json.loads(json.dumps(asdict(settings))),
            "bige_opensim": bige_opensim.__version__,
        }


def person_of(model: Path) -> str:
    """Name for whoever a model belongs to, where no session says it: one model, one person."""
    digest = hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else "missing"
    return f"{model.stem}-{digest[:8]}"


def finished_label(request: TrialRequest, settings: LabelSettings) -> dict[str, Any] | None:
    """The label that is already there, if it was made from the same files and settings."""
    path = request.out / "label.json"
    if not path.is_file():
        return None
    label = json.loads(path.read_text(encoding="utf-8"))
    same = label.get("provenance", {}).get("fingerprint") == request.fingerprint(settings)
    return label if same else None


def label_trial(
    request: TrialRequest, settings: LabelSettings, report: Report = lambda step, share: None
) -> dict[str, Any]:
    """Label a trial and write its folder, whole or not at all; return what `label.json` holds.

    Raises
    ------
    StorageError, MotionError, ModelError, ExternalLoadsError, StaticOptimizationError
        The trial's files cannot be labelled; nothing is left behind.

    """
    started = clock.perf_counter()
    partial = partial_folder(request.out)
    remove_abandoned(request.out.parent)
    _refuse_other_files(request.out)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        label = _label_into(partial, request, settings, report, started)
        _replace(partial, request.out)
    except MotionError as error:
        named = str(error).startswith(str(request.motion))
        raise error if named else MotionError(f"{request.motion}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return label


def _refuse_other_files(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out}: this is a file; name an empty or a new folder for the label.")
    if out.exists() and any(out.iterdir()) and not (out / "label.json").is_file():
        raise StorageError(f"{out}: the folder holds other files than a label; name an empty or a new folder.")


def _replace(partial: Path, out: Path) -> None:
    _refuse_other_files(out)
    old = partial_folder(out.with_name(f"{out.name}.replaced"))
    if out.exists():
        out.replace(old)
    partial.replace(out)
    shutil.rmtree(old, ignore_errors=True)


def _label_into(
    folder: Path, request: TrialRequest, settings: LabelSettings, report: Report, started: float
) -> dict[str, Any]:
    report("reading", 0.0)
    model = load(request.model)
    require_muscles(model)
    skeleton = Skeleton(compile_skeleton(request.model))
    recorded = _read_motion(request, settings, model)
    _require_frames(recorded.motion, "frames in the file")
    whole = prepare(model, skeleton, recorded.motion, settings.cutoff_hz)
    ground, measured, noted = _ground(skeleton, whole, request, settings)
    loads = measured.forces if measured is not None else None
    window = whole.between(settings.start, settings.end) if measured is None else _at(whole, measured.time)
    _require_frames(window.q, "frames between --start and --end")
    support = _support(skeleton, whole if measured is None else window, ground, measured, settings)
    shift = None
    if settings.grf != "none" and loads is None and settings.consistency is not None:
        report("making the motion consistent with the ground", 0.0)
        whole, shift = make_consistent(
            skeleton,
            whole,
            root_of(model, skeleton),
            ground,
            settings.contact,
            settings.consistency,
            support.missing if support is not None else None,
        )
        window = _at(whole, window.q.time)
    model_file = _model_for_optimization(model, request, folder)
    solution = _solve(folder, model, model_file, skeleton, whole, window, ground, loads, settings, report)
    report("writing", 0.0)
    found = _gates(model, skeleton, window, solution, ground, shift)
    status, reason = verdict(found)
    lacking: dict[str, Any] = {"missing_support": []}
    if support is not None:
        support = support.at(window.q.time)
        kept = ~support.missing
        elsewhere = _gates(model, skeleton, window, solution, ground, shift, kept) if kept.any() else {}
        reason = explained(status, reason, support, elsewhere)
        lacking = support_entry(support, elsewhere)
    label = {
        "format": FORMAT,
        "status": status,
        "reason": reason,
        **_identity(request, settings, model, skeleton),
        "grf": _source(settings, measured),
        "frames": window.q.frames,
        "frames_solved": int(solution.solved.sum()),
        "ground_height_m": ground,
        "gates": {k: g.as_dict() for k, g in found.items()},
        **lacking,
        "force_plates": measured.as_dict(support, model.mass_kg) if measured is not None else None,
        "infeasible_frames": _infeasible(model, skeleton, solution),
        "peaks": {m: float(v) for m, v in zip(model.muscle_names, solution.activations.max(0), strict=True)},
        "whole_body_shift": _shift_entry(shift),
        "notes": [*recorded.notes, *window.notes, *noted, *weight_notes(support, model.mass_kg)],
        "timings": _timings(solution, started),
        "provenance": _provenance(request, settings, model),
    }
    if settings.solver == "fast":
        label["geometry"] = settings.geometry
        if settings.audit > 0:
            report("audit by OpenSim", 0.0)
            label["audit"] = audit(folder, model, model_file, whole, solution, settings.audit)
    write_files(folder, model, window, solution, label)
    return label


def _identity(request: TrialRequest, settings: LabelSettings, model: OsimModel, skeleton: Skeleton) -> dict[str, Any]:
    return {
        "session": request.session,
        "subject": request.subject,
        "trial": request.trial,
        "synthetic": request.synthetic,
        "mass_kg": model.mass_kg,
        "model": {"file": request.model.name, "sha256": model.sha256},
        "solver": settings.solver,
        "cutoff_hz": settings.cutoff_hz,
        "coordinates": list(skeleton.coordinates),
        "muscles": list(model.muscle_names),
        "root": skeleton.tables.root,
        "subject_features": subject_features(skeleton),
    }


def _timings(solution: Solution, started: float) -> dict[str, float]:
    total_s = clock.perf_counter() - started
    return {"frames": len(solution.time), "solve_s": solution.solve_s, "total_s": total_s}


def _require_frames(motion: Motion, where: str) -> None:
    if motion.frames < SHORTEST_FRAMES:
        raise MotionError(f"{motion.frames} {where}; at least {SHORTEST_FRAMES} are needed.")


def _read_motion(request: TrialRequest, settings: LabelSettings, model: OsimModel) -> CoordinateFile:
    known = [c.name for c in model.coordinates]
    recorded = read_coordinates(
        request.motion,
        rotational=model.rotational,
        known=known,
        units=settings.units,  # type: ignore[arg-type]
    )
    missing_root = [n for n in model.root_coordinates if n not in recorded.motion]
    missing = [n for n in model.free_coordinates if n not in recorded.motion]
    count = len(model.free_coordinates)
    if missing_root or len(missing) > 0.5 * count:
        raise StorageError(
            f"{request.motion}: {count - len(missing)} of the {count} coordinates of {request.model.name} are in the "
            f"file (missing: {', '.join(missing[:6])}{', ...' if len(missing) > 6 else ''}). "
            "This motion was made with another model: name the one it belongs to."
        )
    return recorded


def _ground(
    skeleton: Skeleton, whole: Prepared, request: TrialRequest, settings: LabelSettings
) -> tuple[float, Measured | None, tuple[str, ...]]:
    """Height of the ground, measured forces where there are any, and what was noticed about them."""
    carried = settings.grf != "none" or request.external_loads is not None
    if carried and not skeleton.contact_names:
        raise ModelError(
            f"{request.model}: the model has no feet (calcn_r, toes_r, calcn_l, toes_l), so ground forces can neither "
            "be estimated nor applied. Use a model with feet, or --grf none for a motion that nothing supports."
        )
    if not skeleton.contact_names:
        return 0.0, None, ()
    measured, notes = _measured(skeleton, whole, request, settings)
    if measured is not None:
        return measured.height, measured, notes
    points = skeleton.contact_points(skeleton(whole.tensor(skeleton, whole.q)))
    return ground_height(points), None, notes


def _measured(
    skeleton: Skeleton, whole: Prepared, request: TrialRequest, settings: LabelSettings
) -> tuple[Measured | None, tuple[str, ...]]:
    """Measured forces of the frames to be labelled, None where they are not asked for or, by `auto`, not usable."""
    time, feet = whole.between(settings.start, settings.end).q.time, Feet.of(skeleton, whole.q)
    if request.external_loads is not None:
        found = applied_forces(request.external_loads, feet, time, settings.cutoff_hz)
        return found, found.notes
    if settings.grf not in FROM_PLATES:
        return None, ()
    if request.forces is None:
        if settings.grf == "auto":
            return None, ()
        raise ForcePlateError(
            f"{request.motion}: this trial has no force file; expected ForceData/{request.trial}_forces.mot in its "
            "session, or --forces for a single motion. With --grf auto forces are estimated where none were measured."
        )
    try:
        found = plate_forces(request.forces, feet, time, settings.cutoff_hz)
    except (ForcePlateError, StorageError) as error:
        if settings.grf != "auto":
            raise
        return None, (f"Forces were estimated, because the measured ones cannot be used: {error}",)
    return found, found.notes


def _at(whole: Prepared, time: np.ndarray) -> Prepared:
    return whole.between(float(time[0]), float(time[-1]))


def _source(settings: LabelSettings, measured: Measured | None) -> str:
    if measured is not None:
        return "measured"
    return "none" if settings.grf == "none" else "estimated"


def _support(
    skeleton: Skeleton, frames: Prepared, ground: float, measured: Measured | None, settings: LabelSettings
) -> Support | None:
    """Where something besides the feet or the plates carries; None where no ground forces were asked for."""
    if measured is None and settings.grf == "none":
        return None
    return find_missing_support(
        skeleton,
        frames.state(skeleton),
        frames.tensor(skeleton, frames.qd),
        frames.q.time,
        ground,
        settings.contact,
        measured.forces if measured is not None else None,
    )


def _model_for_optimization(model: OsimModel, request: TrialRequest, folder: Path) -> str:
    """Write the stripped model, one for all trials of a model folder; the path from the trial's final folder to it.

    Another worker may be reading the shared file: it is replaced only where its content changes.
    """
    fresh = folder / MODEL_NAME
    shutil.copyfile(static_optimization_model(model), fresh)
    if request.model_folder == request.out:
        return MODEL_NAME
    shared = request.model_folder / MODEL_NAME
    if shared.is_file() and shared.read_bytes() == fresh.read_bytes():
        fresh.unlink()
    else:
        fresh.replace(shared)
    return str(Path(os.path.relpath(shared, request.out)).as_posix())


def _solve(
    folder: Path,
    model: OsimModel,
    model_file: str,
    skeleton: Skeleton,
    whole: Prepared,
    window: Prepared,
    ground: float,
    loads: GroundForces | None,
    settings: LabelSettings,
    report: Report,
) -> Solution:
    report("muscle paths", 0.0)
    began = clock.perf_counter()
    state, qd = window.state(skeleton), window.tensor(skeleton, window.qd)
    polynomial = settings.solver == "fast" and settings.geometry == "polynomial"
    effort = polynomial_effort(model, skeleton, window) if polynomial else exact_effort(model, skeleton, window, state)
    forces, joint = loads, None
    if loads is None and settings.grf != "none":
        report("ground forces", 0.0)
        joint, forces = solve_with_ground(skeleton, state, qd, effort, ground, settings.contact)
    net = net_generalized_forces(skeleton, state, forces)
    write_inputs(folder, model, whole, window, forces, model_file)
    report("static optimization", 0.0)
    if settings.solver == "fast":
        # with the ground forces the joint problem found, its muscles already solve static optimization
        answer = joint if joint is not None else solve_with_loads(net, effort)
        activations, reserves = answer.x[:, : len(model.muscle_names)].numpy(), answer.reserve.numpy()
        solved = answer.solved.numpy()
        seconds = clock.perf_counter() - began
    else:
        began = clock.perf_counter()
        activations, reserves = _by_opensim(folder, model, skeleton, window)
        seconds = clock.perf_counter() - began
        solved = _balanced(effort, muscle_driven(model, skeleton), net, activations, reserves)
    if joint is not None:
        solved = solved & joint.solved.numpy()
    return Solution(window.q.time, activations, reserves, net.numpy(), forces, solved, seconds)


def _by_opensim(folder: Path, model: OsimModel, skeleton: Skeleton, window: Prepared) -> tuple[np.ndarray, np.ndarray]:
    result = run_setup(folder / SETUP)
    at = np.searchsorted(result.activations.time, window.q.time - 1e-6)
    if at.max() >= result.activations.frames or np.abs(result.activations.time[at] - window.q.time).max() > 1e-5:
        raise StaticOptimizationError(
            f"{folder.name}: OpenSim's StaticOptimization returned {result.activations.frames} frames that do not "
            f"match the {window.q.frames} asked for; see its messages with the setup file."
        )
    reserves = np.zeros((window.q.frames, len(skeleton.coordinates)))
    for c, name in enumerate(skeleton.coordinates):
        if name in result.reserves:
            reserves[:, c] = result.reserves[name][at]
    return result.activations.select(model.muscle_names).values[at], reserves


def _balanced(
    effort: Effort, driven: list[int], net: torch.Tensor, activations: np.ndarray, reserves: np.ndarray
) -> np.ndarray:
    """Frames in which OpenSim's muscles and reserves produce the net moments of the coordinates that muscles drive.

    OpenSim stops at a tolerance in accelerations; a gap below BALANCED_NM, or BALANCED_SHARE of the coordinate's peak
    moment, is taken as solved.
    """
    produced = torch.einsum("tcm,tm->tc", effort.muscle_columns, torch.as_tensor(activations)) + torch.as_tensor(
        reserves
    )
    gap = (produced - net)[:, driven].abs()
    allowed = (BALANCED_SHARE * net[:, driven].abs().amax(0)).clamp(min=BALANCED_NM)
    return (gap < allowed).all(1).numpy() & np.isfinite(activations).all(1)


def _gates(
    model: OsimModel,
    skeleton: Skeleton,
    window: Prepared,
    s: Solution,
    ground: float,
    shift: Shift | None,
    rows: np.ndarray | None = None,
) -> dict[str, Gate]:
    """Gates over all frames, or over `rows` (a mask)."""
    rows = np.ones(len(s.time), dtype=bool) if rows is None else rows
    rotations, translations = root_of(model, skeleton)
    driven = muscle_driven(model, skeleton)
    weight = float(skeleton.mass.sum() * skeleton.gravity.norm())
    external = s.ground.force.sum(1).norm(dim=-1).numpy()[rows] if s.ground is not None else np.array([weight])
    com = skeleton.com(skeleton(window.tensor(skeleton, window.q)[::COM_STRIDE]))[:, 1]
    return gates(
        Labelled(
            residual_force=s.reserves[rows][:, translations],
            residual_moment=s.reserves[rows][:, rotations],
            external_force=external,
            com_height_m=float(com.mean()) - ground,
            reserves=s.reserves[rows][:, driven],
            net_moments=s.net_moments[rows][:, driven],
            activations=s.activations[rows],
            solved=s.solved[rows],
            fastest_rotation=window.fastest_rotation,
            shift_peak_mm=shift.peak_mm if shift is not None else 0.0,
        )
    )


def _infeasible(model: OsimModel, skeleton: Skeleton, s: Solution) -> list[dict[str, Any]]:
    driven = muscle_driven(model, skeleton)
    names = [skeleton.coordinates[i] for i in driven]
    return infeasible_frames(s.time, names, s.reserves[:, driven], s.net_moments[:, driven])


def _shift_entry(shift: Shift | None) -> dict[str, float] | None:
    if shift is None:
        return None
    return {
        "rms_mm": shift.rms_mm,
        "peak_mm": shift.peak_mm,
        "residual_before_n": shift.residual_before_n,
        "residual_after_n": shift.residual_after_n,
    }


def _provenance(request: TrialRequest, settings: LabelSettings, model: OsimModel) -> dict[str, Any]:
    fingerprint = request.fingerprint(settings)
    return {
        "bige_opensim": bige_opensim.__version__,
        "opensim": opensim_version(),
        "torch": torch.__version__,
        "model_sha256": model.sha256,
        "motion_sha256": fingerprint["files"]["motion"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "configuration": fingerprint["settings"],
        "fingerprint": fingerprint,
    }
