"""The verdict on a simulated motion in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bige_opensim.guidance.objective import BoundObjective, BoundTerm
from bige_opensim.reporting.wording import gate_text, listed, target_text, value_text
from bige_opensim.validation.certificate import Certificate, TermFound
from bige_opensim.validation.roundtrip import CONFIRMED, NOT_CONFIRMED

OLD = (
    "Its certificate is of an earlier version, which does not say from which files it was made: what it says cannot be "
    "checked. Validate the motions again."
)


def contradicted(contradictions: tuple[str, ...]) -> str:
    """Why a certificate is not believed."""
    return (
        f"The certificate and the files do not belong together: {' '.join(contradictions)} Validate the motions again."
    )


def verdict(certificate: Certificate, bound: BoundObjective) -> tuple[str, str]:
    """Status and reason, in one sentence, of a motion that OpenSim simulated."""
    terms = certificate.terms
    missed = [t for t in bound.terms if terms[t.name].satisfied is False]
    required = [t for t in missed if terms[t.name].decides]
    wishes = [t for t in missed if not terms[t.name].decides]
    also = f" Missed, but not required: {_found(wishes, terms)}." if wishes else ""
    if certificate.confirmed:
        everything = "every goal" if not wishes else "every required goal"
        return CONFIRMED, f"OpenSim found {everything} met, and all quality checks passed.{also}"
    if certificate.labels["status"] != "passed":
        failed = {n: g for n, g in certificate.gates.items() if not g["passed"]}
        why = _failed(failed) if failed else certificate.labels["reason"]
        return NOT_CONFIRMED, (
            f"The simulation failed its quality checks ({why}), so its muscle values cannot be relied on."
        )
    if not certificate.plausible:
        broken = {n: g.as_dict() for n, g in certificate.motion_gates.items() if not g.satisfied}
        where = [f" {text}" for text in (certificate.motion_gates[n].where for n in broken) if text]
        return NOT_CONFIRMED, f"No person moves like this: {_failed(broken)};{listed(where)}."
    return NOT_CONFIRMED, f"OpenSim found {_found(required, terms)}.{also}"


def _found(missed: list[BoundTerm], terms: Mapping[str, TermFound]) -> str:
    parts = [f"{t.name} {value_text(t, terms[t.name].simulated)}, asked for {target_text(t)}" for t in missed]
    return "; ".join(parts)


def _failed(gates: Mapping[str, Mapping[str, Any]]) -> str:
    """The gate that failed by most, and how many more."""
    name, worst = max(gates.items(), key=lambda item: item[1]["value"] / item[1]["limit"])
    text = gate_text(name, worst)
    others = f", and {len(gates) - 1} more" if len(gates) > 1 else ""
    return f"{text['title'].lower()} {text['value']}, limit {text['limit']}{others}"
