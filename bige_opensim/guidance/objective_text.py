"""An objective as the TOML text that reads as it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from bige_opensim.guidance.language import SearchSettings, Term
from bige_opensim.guidance.objective import Objective


def objective_text(objective: Objective) -> str:
    """TOML of an objective; reading it gives the same terms, settings, cost and loads."""
    about: dict[str, object] = {"name": objective.name, "description": objective.description}
    if objective.movement is not None:
        about["movement"] = objective.movement
    parts = [_pairs(about)]
    if objective.loads:
        parts.append(f"[person]\n{_pairs({'load': [str(load) for load in objective.loads]})}")
    parts += [f"[[term]]\n{_pairs(_term(t))}" for t in objective.terms]
    if not objective.cost.usual:
        parts.append(f"[effort]\n{_pairs({'exponent': objective.cost.exponent})}")
    usual = asdict(SearchSettings())
    changed = {k: v for k, v in asdict(objective.settings).items() if v != usual[k]}
    if changed:
        parts.append(f"[search]\n{_pairs(changed)}")
    return "\n".join(parts)


def _term(t: Term) -> dict[str, object]:
    found: dict[str, object] = {"name": t.name, "quantity": t.quantity}
    if t.of:
        found["of"] = list(t.of)
    if t.at is not None:
        found["at"] = t.at
    elif t.quantity != "duration":
        found["stat"] = t.stat
    if t.goal != "band":
        found[t.goal] = True
    elif t.low == t.high:
        found["equals"] = t.low
    elif math.isfinite(t.low) and math.isfinite(t.high):
        found["between"] = [t.low, t.high]
    else:
        found["at_least" if math.isfinite(t.low) else "at_most"] = t.low if math.isfinite(t.low) else t.high
    optional = {"tolerance": t.tolerance, "scale": t.scale, "unit": t.unit}
    return found | {k: v for k, v in optional.items() if v is not None} | {"weight": t.weight, "hard": t.hard}


def _pairs(table: dict[str, object]) -> str:
    """Lines of key = value; JSON's strings, numbers, lists and truth values are TOML's."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items())
