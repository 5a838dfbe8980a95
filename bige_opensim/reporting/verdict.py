"""The verdict on a simulated motion in words."""

from __future__ import annotations

from typing import Any

from bige_opensim.guidance.objective import BoundObjective, BoundTerm
from bige_opensim.reporting.wording import GATES, SPACE, number, plain, target_text, value_text

CONFIRMED, NOT_CONFIRMED, NOT_SIMULATED = "confirmed", "not confirmed", "not simulated"


def verdict(certificate: dict[str, Any], bound: BoundObjective) -> tuple[str, str]:
    """Status and reason, in one sentence, of a motion that OpenSim simulated."""
    terms = certificate["terms"]
    missed = [t for t in bound.terms if terms[t.name]["satisfied"] is False]
    required = [t for t in missed if terms[t.name]["decides"]]
    wishes = [t for t in missed if not terms[t.name]["decides"]]
    also = f" Missed, but not required: {_found(wishes, terms)}." if wishes else ""
    if certificate["confirmed"]:
        everything = "every goal" if not wishes else "every required goal"
        return CONFIRMED, f"OpenSim found {everything} met, and all quality checks passed.{also}"
    if certificate["labels"]["status"] != "passed":
        return NOT_CONFIRMED, (
            f"The simulation failed its quality checks ({_failed_gates(certificate['gates'])}), "
            "so its muscle values cannot be relied on."
        )
    return NOT_CONFIRMED, f"OpenSim found {_found(required, terms)}.{also}"


def _found(missed: list[BoundTerm], terms: dict[str, Any]) -> str:
    parts = [f"{t.name} {value_text(t, terms[t.name]['simulated'])}, asked for {target_text(t)}" for t in missed]
    return "; ".join(parts)


def _failed_gates(gates: dict[str, Any]) -> str:
    failed = sorted(
        ((name, g) for name, g in gates.items() if not g["passed"]), key=lambda x: -x[1]["value"] / x[1]["limit"]
    )
    name, worst = failed[0]
    title = GATES.get(name, (name, ""))[0].lower()
    unit = SPACE + ("%" if worst["unit"].startswith("%") else worst["unit"])
    others = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"{title} {number(worst['value'], 2)}{unit}, limit {plain(worst['limit'])}{unit}{others}"
