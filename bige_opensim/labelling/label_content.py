"""What `label.json` says of a labelled trial: the verdict, its gates, and where everything came from."""

from __future__ import annotations

import time as clock
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bige_opensim.doctor.findings import Finding
from bige_opensim.doctor.preflight import as_entry, of_severity, sentences
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.labelling.cutoff import ChosenCutoff
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_files import FORMAT
from bige_opensim.labelling.measured_forces import Measured
from bige_opensim.labelling.missing_support import SupportCheck
from bige_opensim.labelling.missing_support_report import explained, support_entry, weight_notes
from bige_opensim.labelling.muscle_capacity import muscle_driven, root_of
from bige_opensim.labelling.optimization_result import OptimizedFrames
from bige_opensim.labelling.quality_gates import Gate, Labelled, gates, infeasible_frames, verdict
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.labelling.whole_body_shift import Shift
from bige_opensim.osim.model import OsimModel, opensim_version
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.effort_cost import EffortCost
from bige_opensim.physics.rotations import rotation_triples
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.provenance import provenance

PASSED, GATES_FAILED = "passed", "gates_failed"


@dataclass(frozen=True)
class TrialFindings:
    """What labelling found: the frames of the label and their solution, the ground's height (m), and what was noted.

    `support` is that of the frames of the label, None where no ground forces were asked for. `preflight` is what the
    doctor's checks found.
    """

    model: OsimModel
    skeleton: Skeleton
    window: Prepared
    solution: OptimizedFrames
    ground: float
    measured: Measured | None
    support: SupportCheck | None
    shift: Shift | None
    notes: tuple[str, ...]
    cutoff: ChosenCutoff
    preflight: tuple[Finding, ...] = ()


def label_content(
    request: TrialRequest, settings: LabelSettings, found: TrialFindings, started: float
) -> dict[str, Any]:
    """What `label.json` holds; `started` is when the work on this trial began (`time.perf_counter`)."""
    model, solution, support = found.model, found.solution, found.support
    judged, weighed_kg = _gates(found), float(found.skeleton.person_mass.sum())
    status, reason = verdict(judged)
    lacking: dict[str, Any] = {"missing_support": []}
    if support is not None:
        kept = ~support.missing
        elsewhere = _gates(found, kept) if kept.any() else {}
        reason = explained(status, reason, support, elsewhere)
        lacking = support_entry(support, elsewhere)
    status, reason = _with_preflight(status, reason, found.preflight)
    return {
        "format": FORMAT,
        "status": status,
        "reason": reason,
        **_identity(request, settings, model, found.skeleton),
        "cutoff_hz": found.cutoff.hz,
        "cutoff": found.cutoff.as_dict(),
        "grf": _source(found),
        "cost": settings.cost.as_dict(),
        "frames": found.window.q.frames,
        "frames_solved": int(solution.solved.sum()),
        **({} if solution.shared is None else {"shared_frames": solution.shared}),
        "ground_height_m": found.ground,
        "preflight": [as_entry(finding) for finding in found.preflight],
        "gates": {k: g.as_dict() for k, g in judged.items()},
        "joint_loads": solution.joint_loads.entry(solution.time) if solution.joint_loads is not None else None,
        **lacking,
        "force_plates": found.measured.as_dict(support, weighed_kg) if found.measured is not None else None,
        "infeasible_frames": _infeasible(model, found.skeleton, solution),
        "peaks": {m: float(v) for m, v in zip(model.muscle_names, solution.activations.max(0), strict=True)},
        "whole_body_shift": _shift_entry(found.shift),
        "notes": [*found.notes, *weight_notes(support, weighed_kg), *_again_note(found.solution)],
        "timings": _timings(solution, started),
        "provenance": _provenance(request, settings),
    }


def _with_preflight(status: str, reason: str, findings: tuple[Finding, ...]) -> tuple[str, str]:
    """A trial with a warning does not pass; the reason begins with warnings and ends with what is good to know."""
    warnings, notes = (of_severity(findings, severity) for severity in ("warning", "note"))
    if warnings:
        besides = f"Besides, {reason}" if status == PASSED else reason
        status, reason = GATES_FAILED, f"{sentences(warnings)} {besides}"
    return status, " ".join(
        [reason if reason.endswith(".") or not notes else f"{reason}.", *(f.sentence for f in notes)]
    )


def _identity(request: TrialRequest, settings: LabelSettings, model: OsimModel, skeleton: Skeleton) -> dict[str, Any]:
    return {
        "session": request.session,
        "subject": request.subject,
        "trial": request.trial,
        "synthetic": request.synthetic,
        "mass_kg": model.mass_kg,
        "model": {"file": request.model.name, "sha256": file_sha256(request.model)},
        "solver": settings.solver,
        "coordinates": list(skeleton.coordinates),
        "rotational": sorted(model.rotational),
        "muscles": list(model.muscle_names),
        "root": skeleton.tables.root,
        "rotation_triples": [list(triple) for triple in rotation_triples(skeleton.tables)],
        "subject_features": subject_features(skeleton),
    }


def cost_notes(cost: EffortCost) -> tuple[str, ...]:
    """What the files of the label, which OpenSim reads, do not say of its cost."""
    notes = []
    if cost.beyond_opensim:
        notes.append("The setup file beside has the exponent of the cost, not its weights and passive fibre forces.")
    if cost.passive:
        notes.append("Not audited: OpenSim's static optimization has no passive fibre forces.")
    return tuple(notes)


def _timings(solution: OptimizedFrames, started: float) -> dict[str, float]:
    total_s = clock.perf_counter() - started
    return {"frames": len(solution.time), "solve_s": solution.solve_s, "total_s": total_s}


def _source(found: TrialFindings) -> str:
    if found.measured is not None:
        return "measured"
    return "none" if found.solution.ground is None else "estimated"


def _gates(found: TrialFindings, rows: np.ndarray | None = None) -> dict[str, Gate]:
    """Gates over all frames, or over `rows` (a mask)."""
    s, shift = found.solution, found.shift
    rows = np.ones(len(s.time), dtype=bool) if rows is None else rows
    return gates(labelled_of(found.model, found.skeleton, found.window, s, found.ground, rows, shift))


def labelled_of(
    model: OsimModel,
    skeleton: Skeleton,
    window: Prepared,
    s: OptimizedFrames,
    ground: float,
    rows: np.ndarray,
    shift: Shift | None = None,
) -> Labelled:
    """What the gates look at in some frames (a mask) of a solution."""
    rotations, translations = root_of(model, skeleton)
    driven = muscle_driven(model, skeleton)
    weight = float(skeleton.weight_n)
    external = s.ground.total.norm(dim=-1).numpy()[rows] if s.ground is not None else np.array([weight])
    com = skeleton.com(window.state(skeleton).poses)[:, 1]
    return Labelled(
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


def _infeasible(model: OsimModel, skeleton: Skeleton, s: OptimizedFrames) -> list[dict[str, Any]]:
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


def _provenance(request: TrialRequest, settings: LabelSettings) -> dict[str, Any]:
    fingerprint = request.fingerprint(settings)
    return provenance(
        opensim=opensim_version(),
        torch=torch.__version__,
        model_sha256=fingerprint["files"]["model"],
        motion_sha256=fingerprint["files"]["motion"],
        configuration=fingerprint["settings"],
        fingerprint=fingerprint,
    )


def _again_note(solution: OptimizedFrames) -> list[str]:
    count = solution.solved_again
    return [f"{count} frame(s) were solved by OpenSim a second time, one by one."] if count else []
