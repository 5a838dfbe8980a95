"""The round trip: every motion of a folder through ground-force estimation and OpenSim's static optimization."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bige_opensim.io.storage import write_whole
from bige_opensim.labelling.label_trials import label_trials
from bige_opensim.labelling.outcome import FAILED, Outcome
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.validation.certificate import Certificate
from bige_opensim.validation.deciding_terms import ObjectiveAsks
from bige_opensim.validation.generated_folder import (
    CERTIFICATE,
    MODEL,
    OBJECTIVE,
    RECORD,
    GeneratedFolder,
    ValidationError,
    generated_motions,
)

__all__ = [
    "CERTIFICATE",
    "MODEL",
    "OBJECTIVE",
    "RECORD",
    "SUMMARY",
    "ValidationError",
    "Verdict",
    "generated_motions",
    "summary_row",
    "validate",
    "write_summary",
]

SUMMARY = "summary.csv"
SETTINGS = LabelSettings(solver="opensim", grf="estimated", cutoff_hz=0.0)
"""Motions are judged as they were written: no filter."""

CONFIRMED, NOT_CONFIRMED, NOT_SIMULATED = "confirmed", "not confirmed", "not simulated"
CONTRADICTED, NOT_CHECKABLE = "contradicted", "not checkable"


@dataclass(frozen=True)
class Verdict:
    """What became of one motion: its certificate, or the reason why there is none, and what contradicts it.

    `again` says what was wrong with an earlier simulation, where there was one that could not be kept.
    """

    name: str
    certificate: Certificate | None
    reason: str
    contradictions: tuple[str, ...] = ()
    again: str = ""

    @property
    def confirmed(self) -> bool:
        """Whether OpenSim bears the motion out, by files that nothing contradicts."""
        return self.status == CONFIRMED

    @property
    def status(self) -> str:
        """One of the five words for a verdict: confirmed, not confirmed, not simulated, contradicted, not checkable."""
        if self.contradictions:
            return CONTRADICTED
        if self.certificate is None:
            return NOT_SIMULATED
        if not self.certificate.checkable:
            return NOT_CHECKABLE
        return CONFIRMED if self.certificate.confirmed else NOT_CONFIRMED


def validate(
    folder: Path,
    *,
    jobs: int | None = None,
    settings: LabelSettings = SETTINGS,
    every_frame: bool = False,
    uncertainty: int = 0,
    progress: Callable[[str, str, float], None] = lambda motion, step, share: None,
) -> Iterator[Verdict]:
    """Label every `<name>.mot` of the folder into `<name>/` and write its certificate; then `summary.csv`.

    OpenSim solves the frames that can decide something (`deciding_terms`), or with `every_frame` all of them. With
    `uncertainty`, certificates have the bands of so many draws.

    Motions that are already validated with the same settings are not simulated again, unless their files were changed
    since, or do not belong together: why such a one is simulated again is said in the verdict.

    Raises
    ------
    ValidationError
        The folder lacks motions, the model or the objective.

    """
    generated = GeneratedFolder(folder)
    again = {path.stem: _forget_what_was_tampered_with(generated, path.stem) for path in generated.motions}
    asked = None if every_frame else ObjectiveAsks(generated.objective)
    requests = [
        TrialRequest(folder / MODEL, path, folder / path.stem, folder, folder.name, "generated", path.stem, asked=asked)
        for path in generated.motions
    ]
    verdicts = []
    settings = replace(settings, cost=generated.objective.cost, chair=generated.chair, uncertainty=uncertainty)
    for outcome in label_trials(requests, settings, jobs=jobs, progress=progress):
        verdict = _certify(generated, outcome, again[outcome.trial])
        verdicts.append(verdict)
        yield verdict
    write_summary(folder, verdicts)


def _forget_what_was_tampered_with(generated: GeneratedFolder, name: str) -> tuple[str, ...]:
    """Remove a label whose files were changed since OpenSim wrote them, so that it is made anew; say what was wrong."""
    trial = generated.folder / name
    if not (trial / "label.json").is_file():
        return ()
    wrong = (*generated.changed_in_trial(name), *generated.inconsistencies(name))
    if wrong:
        shutil.rmtree(trial)
    return wrong


def _certify(generated: GeneratedFolder, outcome: Outcome, wrong: Sequence[str]) -> Verdict:
    """Write the certificate of a motion that was simulated; remove one that is about another simulation."""
    name = outcome.trial
    path = generated.folder / name / CERTIFICATE
    if outcome.status == FAILED:
        path.unlink(missing_ok=True)
        return Verdict(name, None, outcome.reason)
    content = generated.certify(name)
    write_whole(path, json.dumps(content.as_dict(), indent=1))
    return Verdict(name, content, outcome.reason, generated.other_search(), " ".join(wrong))


def write_summary(folder: Path, verdicts: Sequence[Verdict]) -> Path:
    """One row per motion: the verdict, per term target, predicted and simulated value, and all gates."""
    rows = [summary_row(v) for v in sorted(verdicts, key=lambda v: v.name)]
    names = list(dict.fromkeys(k for row in rows for k in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    path = folder / SUMMARY
    write_whole(path, text.getvalue())
    return path


def summary_row(v: Verdict) -> dict[str, Any]:
    """The row of a motion in `summary.csv`, by column."""
    row: dict[str, Any] = {"name": v.name, "confirmed": v.confirmed, "verdict": v.status}
    contradictions = {"contradictions": " ".join(v.contradictions)}
    c = v.certificate
    if c is None:
        return row | {"reason": v.reason} | contradictions
    row |= {"satisfied": c.satisfied, "labels": c.labels["status"], "reason": v.reason} | contradictions
    row |= {"notes": " ".join(c.notes), "simulated again": v.again}
    shared = c.shared_frames
    row["frames by OpenSim"] = "all" if shared is None else f"{shared['frames']} of {shared['of_frames']}"
    for name, t in c.terms.items():
        row |= {
            f"{name} target": t.target,
            f"{name} predicted": _rounded(t.predicted),
            f"{name} simulated": _rounded(t.simulated),
            f"{name} satisfied": t.satisfied,
        }
    row |= {f"gate {k}": _rounded(g["value"]) for k, g in c.gates.items()}
    row |= {f"motion {k}": _rounded(g.value) for k, g in c.motion_gates.items()}
    row["surrogate rmse"] = _rounded(c.surrogate_gap["rmse"]) if c.surrogate_gap else ""
    if c.nearest_training_motion:
        row["novelty"] = _rounded(c.nearest_training_motion["novelty"])
    return row | {k: _rounded(x) for k, x in c.contact.items()}


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
