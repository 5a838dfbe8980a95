"""The round trip: every motion of a folder through ground-force estimation and OpenSim's static optimization."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bige_opensim.guidance.conflicts import band_text
from bige_opensim.guidance.objective import Objective
from bige_opensim.io.storage import read_storage, write_whole
from bige_opensim.labelling.label_trials import FAILED, Outcome, label_trials
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.certificate import certificate, judge, read_simulated

MODEL, OBJECTIVE, RECORD = "model.osim", "objective.toml", "generation.json"
CERTIFICATE, SUMMARY = "certificate.json", "summary.csv"
SETTINGS = LabelSettings(solver="opensim", grf="estimated", cutoff_hz=0.0)
"""Motions are judged as they were written: no filter."""


class ValidationError(ValueError):
    """A folder that is no folder of generated motions."""


@dataclass(frozen=True)
class Verdict:
    """What became of one motion: its certificate, or the reason why there is none."""

    name: str
    certificate: dict[str, Any] | None
    reason: str


def validate(
    folder: Path,
    *,
    jobs: int | None = None,
    settings: LabelSettings = SETTINGS,
    progress: Callable[[str, str, float], None] = lambda motion, step, share: None,
) -> Iterator[Verdict]:
    """Label every `<name>.mot` of the folder into `<name>/` and write its certificate; then `summary.csv`.

    Motions that are already validated with the same settings are not simulated again.

    Raises
    ------
    ValidationError
        The folder lacks motions, the model or the objective.

    """
    motions = generated_motions(folder)
    model = folder / MODEL
    skeleton = Skeleton(compile_skeleton(model))
    objective = Objective.load(folder / OBJECTIVE)
    record = _record(folder)
    requests = [
        TrialRequest(model, path, folder / path.stem, folder, folder.name, "generated", path.stem) for path in motions
    ]
    verdicts = []
    settings = replace(settings, cost=objective.cost)
    for outcome in label_trials(requests, settings, jobs=jobs, progress=progress):
        verdict = _certify(folder, outcome, skeleton, objective, record)
        verdicts.append(verdict)
        yield verdict
    write_summary(folder, verdicts)


def generated_motions(folder: Path) -> list[Path]:
    """The motions of a folder that `bige generate` wrote, by name.

    Raises
    ------
    ValidationError
        The folder lacks motions, the model or the objective.

    """
    motions = sorted(folder.glob("*.mot"))
    missing = [n for n in (MODEL, OBJECTIVE) if not (folder / n).is_file()]
    if not motions or missing:
        raise ValidationError(
            f"{folder}: expected motions (*.mot), {MODEL} and {OBJECTIVE}, found {len(motions)} motions"
            + (f" and no {', '.join(missing)}" if missing else "")
            + ". Name a folder that `bige generate` wrote."
        )
    return motions


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _certify(
    folder: Path, outcome: Outcome, skeleton: Skeleton, objective: Objective, record: dict[str, Any]
) -> Verdict:
    if outcome.status == FAILED:
        return Verdict(outcome.trial, None, outcome.reason)
    name = outcome.trial
    simulated = read_simulated(folder / name, skeleton)
    bound, verdict = judge(objective, skeleton, simulated)
    entry = next((m for m in record.get("motions", []) if m["name"] == name), None)
    predicted_file = folder / "predicted" / f"{name}_activations.sto"
    predicted = None
    if predicted_file.is_file():
        table = read_storage(predicted_file)
        predicted = Motion(table.time, table.values, table.names)
    targets = {t.name: band_text(t) if t.bounded else t.term.goal for t in bound.terms}
    content = certificate(name, bound, verdict, entry, simulated, skeleton, predicted, targets)
    write_whole(folder / name / CERTIFICATE, json.dumps(content, indent=1))
    return Verdict(name, content, outcome.reason)


def write_summary(folder: Path, verdicts: list[Verdict]) -> Path:
    """One row per motion: confirmed or not, per term target, predicted and simulated value, and the main gates."""
    rows = [_row(v) for v in sorted(verdicts, key=lambda v: v.name)]
    names = list(dict.fromkeys(k for row in rows for k in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    path = folder / SUMMARY
    write_whole(path, text.getvalue())
    return path


def _row(v: Verdict) -> dict[str, Any]:
    c = v.certificate
    if c is None:
        return {"name": v.name, "confirmed": False, "reason": v.reason}
    row: dict[str, Any] = {"name": v.name, "confirmed": c["confirmed"], "satisfied": c["satisfied"]}
    row |= {"labels": c["labels"]["status"], "reason": v.reason}
    for name, t in c["terms"].items():
        row |= {
            f"{name} target": t["target"],
            f"{name} predicted": _rounded(t["predicted"]),
            f"{name} simulated": _rounded(t["simulated"]),
            f"{name} satisfied": t["satisfied"],
        }
    row |= {f"gate {k}": _rounded(g["value"]) for k, g in c["gates"].items()}
    row["surrogate rmse"] = _rounded(c["surrogate_gap"]["rmse"]) if c["surrogate_gap"] else ""
    if c["nearest_training_motion"]:
        row["novelty"] = _rounded(c["nearest_training_motion"]["novelty"])
    row |= {k: _rounded(x) for k, x in c["contact"].items()}
    return row


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
