"""A card for every motion of a report: verdict, facts, goals, checks, stick figures and curves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from bige_opensim.reporting.band_facts import band_facts
from bige_opensim.reporting.dynamics import dynamic_quantities, dynamics_of
from bige_opensim.reporting.evidence import Evidence, MotionEvidence, full_coordinates
from bige_opensim.reporting.joint_load_facts import load_facts
from bige_opensim.reporting.panels import (
    best_first,
    cohort_bands,
    curves_of,
    drawn,
    joint_quantities,
    motion_figures,
    muscle_curves,
    muscle_quantities,
    sampled,
    together,
)
from bige_opensim.reporting.stick_figure import figures, strip
from bige_opensim.reporting.wording import SPACE, gate_text, number, split_side, target_text, value_text, with_side
from bige_opensim.validation.certificate import Certificate
from bige_opensim.validation.roundtrip import CERTIFICATE, CONFIRMED, NOT_CONFIRMED

NAMED = 3
"""So many of the best motions are named, and shown unfolded."""


def cards(evidence: Evidence, numbers: Mapping[str, str], beside: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A card per motion, best first, and the curves of all together."""
    bands = cohort_bands(evidence)
    joints, muscles = joint_quantities(evidence.skeleton), muscle_quantities(evidence)
    order = best_first(evidence)
    moved = {m.name: curves_of(evidence.skeleton, m.q) if m.q is not None else {} for m in order}
    active = {m.name: muscle_curves(m.simulated) for m in order}
    forces = {m.name: {} if m.outcome is None else sampled(dynamics_of(evidence.skeleton, m.outcome)) for m in order}
    guessed = {m.name: muscle_curves(m.predicted) for m in order}
    before = curves_of(evidence.skeleton, evidence.recorded) if evidence.recorded is not None else {}
    joint_axes = together(joints, [*moved.values(), before], bands)
    muscle_axes = together(muscles, [*active.values(), *guessed.values()], bands)
    force_axes = together(dynamic_quantities(), list(forces.values()), {})
    unfolded = {m.name for m in (evidence.ranked or order)[:NAMED]}
    found = []
    for m in order:
        both = {"solid": active[m.name], "dashed": guessed[m.name]}
        found.append(
            _card(evidence, m, numbers[m.name], beside)
            | {
                "open": m.name in unfolded,
                "muscles": motion_figures(muscles, both, bands, muscle_axes),
                "joints": motion_figures(
                    joints, {"solid": moved[m.name], "dashed recorded": before}, bands, joint_axes
                ),
                "dynamics": motion_figures(dynamic_quantities(), {"solid": forces[m.name]}, {}, force_axes),
            }
        )
    shown = evidence.with_status(CONFIRMED) or evidence.with_status(NOT_CONFIRMED) or evidence.motions
    words = {CONFIRMED: "{} confirmed {}", NOT_CONFIRMED: "{} {} not confirmed"}
    who = words.get(shown[0].status, "{} {} without a valid certificate")
    who = who.format(len(shown), "motion" if len(shown) == 1 else "motions")
    overview = {
        "who": who,
        "muscles": drawn(together(muscles, [active[m.name] for m in shown], bands), who),
        "joints": drawn(together(joints, [moved[m.name] for m in shown], bands), who),
        "dynamics": drawn(together(dynamic_quantities(), [forces[m.name] for m in shown], {}), who),
    }
    return found, overview


def _card(evidence: Evidence, m: MotionEvidence, place: str, beside: Path) -> dict[str, Any]:
    files = [m.path, evidence.folder / m.name / CERTIFICATE if m.certificate is not None else None]
    return {
        "place": place,
        "name": m.name,
        "status": m.status,
        "reason": m.reason,
        "facts": _facts(m),
        "terms": [
            {
                "name": t.name,
                "target": target_text(t),
                "required": t in evidence.objective.verdict_terms,
                "predicted": value_text(t, m.value(t.name, "predicted")),
                "simulated": value_text(t, m.value(t.name, "simulated")),
                "met": m.met(t.name),
            }
            for t in evidence.objective.terms
        ],
        "gates": [gate_text(name, g) for name, g in gates_of(m.certificate).items()],
        "views": _views(evidence, m, place),
        "files": [(path.name, link(path, beside)) for path in files if path is not None],
    }


def _views(evidence: Evidence, m: MotionEvidence, place: str) -> list[tuple[str, Markup]]:
    if m.q is None:
        return []
    found = figures(evidence.skeleton, full_coordinates(evidence.skeleton, m.q), m.ground_m)
    words = {"side": "from the right side", "front": "from the front"}
    return [
        (text, strip(found, view, f"Motion {place} {text}, stick figures at 0, 25, 50, 75 and 100 %"))
        for view, text in words.items()
    ]


def _facts(m: MotionEvidence) -> list[tuple[str, str]]:
    duration = m.entry.get("duration_s") if m.q is None else m.q.duration
    facts = [("Duration", f"{number(duration)} s")] if duration is not None else []
    if m.novelty is not None:
        facts.append(("Novelty", f"{number(100 * m.novelty, 2)} % of the usual difference between training motions"))
    if m.certificate is None:
        return facts
    contact, gap = m.certificate.contact, m.certificate.surrogate_gap
    facts.append(("Feet slide", f"up to {number(contact['foot_slide_mm'], 2)} mm"))
    facts.append(("Feet sink into the ground", f"up to {number(contact['penetration_mm'], 2)} mm"))
    facts.append(("Joint limits", limits_text(m)))
    if m.certificate.joint_loads:
        facts += load_facts(m.certificate.joint_loads)
    facts += band_facts(m.certificate.uncertainty)
    if gap is not None:
        facts.append(
            (
                "Search estimate against OpenSim",
                f"differs by {number(100 * gap['rmse'], 2)}{SPACE}% activation (RMS)",
            )
        )
    return facts


def gates_of(certificate: Certificate | None) -> dict[str, dict[str, Any]]:
    """All gates of a motion: those of its simulation and its own."""
    if certificate is None:
        return {}
    return certificate.gates | {name: g.as_dict() for name, g in certificate.motion_gates.items()}


def limits_text(m: MotionEvidence) -> str:
    """Joint limits that a simulated motion exceeds by more than 0.1 degrees or 1 mm, and by how much."""
    exceeded = m.certificate.limit_violations if m.certificate is not None else {}
    words = []
    for name, amount in exceeded.items():
        length = split_side(name)[0] in ("pelvis_tx", "pelvis_ty", "pelvis_tz")
        if amount > (0.001 if length else 0.1):
            size = f"{number(100 * amount, 2)} cm" if length else f"{number(amount, 2)}°"
            words.append(f"{with_side(name)} by {size}")
    return f"exceeded: {'; '.join(words)}" if words else "kept"


def link(path: Path, beside: Path) -> str | None:
    """Address of a file relative to the report's folder; None where there is none, as between drives of Windows."""
    try:
        return quote(Path(os.path.relpath(path, beside)).as_posix())
    except ValueError:
        return None
