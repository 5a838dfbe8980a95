"""One offline HTML file for a reader who never saw the tool: what was asked, and what OpenSim found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from bige_opensim.io.storage import write_whole
from bige_opensim.physics.carried_loads import carried_by
from bige_opensim.provenance import __version__
from bige_opensim.reporting.cards import NAMED, cards, gates_of, limits_text, link
from bige_opensim.reporting.evidence import Evidence, ReportError, read_evidence
from bige_opensim.reporting.figure_files import write_figures
from bige_opensim.reporting.norm_bars import beside_norms
from bige_opensim.reporting.panels import goal_figures
from bige_opensim.reporting.stick_figure import PHASES
from bige_opensim.reporting.word import write_word
from bige_opensim.reporting.wording import SPACE, describe, gate_text, number, plain, target_text, value_text
from bige_opensim.validation.norms import Performance
from bige_opensim.validation.norms_files import Norms
from bige_opensim.validation.roundtrip import (
    CONFIRMED,
    CONTRADICTED,
    NOT_CHECKABLE,
    NOT_CONFIRMED,
    NOT_SIMULATED,
    SUMMARY,
    write_summary,
)

REPORT = "report.html"
STATUSES = (CONFIRMED, NOT_CONFIRMED, NOT_SIMULATED, CONTRADICTED, NOT_CHECKABLE)
NEW_ENOUGH = 0.5
"""A motion counts as new when it is at least half the usual distance between training motions away from all of them."""


class Scene(NamedTuple):
    """The motions in three dimensions: a whole page, and what a content security policy calls its script.

    Without a page, `missing` says why there is none.
    """

    page: str
    script_source: str
    missing: str = ""


class WrittenReport(NamedTuple):
    """Where a report is, what contradicts its certificates, a sentence each that begins with the motion's name, and
    where the Word document is that was asked for.
    """

    path: Path
    contradictions: tuple[str, ...]
    word: Path | None = None


def write_report(
    motions: Path,
    *,
    out: Path | None = None,
    cohort: Path | None = None,
    stages: Mapping[str, float] | None = None,
    synthetic: bool | None = None,
) -> Path:
    """Write the report of a folder that `bige generate` and `bige validate` wrote; see `report`."""
    return report(motions, out=out, cohort=cohort, stages=stages, synthetic=synthetic).path


def report(
    motions: Path,
    *,
    out: Path | None = None,
    cohort: Path | None = None,
    stages: Mapping[str, float] | None = None,
    synthetic: bool | None = None,
    norms: Norms | None = None,
    figures: Path | None = None,
    scene: Scene | None = None,
    sessions: Mapping[str, Sequence[Performance]] | None = None,
    word: Path | None = None,
) -> WrittenReport:
    """Write the report of a folder that `bige generate` and `bige validate` wrote; motions without certificate say so.

    Every certificate is held against the files that it was made from. Where something contradicts one, the report says
    so, and `summary.csv` is written anew to say it too.

    Parameters
    ----------
    motions
        Folder with motions, model, objective and certificates.
    out
        File to write, whole or not at all; by default `report.html` in that folder.
    cohort
        Dataset of repetitions (netCDF) for the bands; by default the `references.nc` of the generator that made the
        motions, where its folder lies beside theirs.
    stages
        Seconds that each stage took, in the order to be shown.
    synthetic
        Whether the training data are synthetic; by default what the files say.
    norms
        What is usual, to be shown beside the motions.
    figures
        Folder for all figures as drawings and tables.
    scene
        The motions in three dimensions, to be shown in a frame of its own.
    sessions
        Recorded repetitions of the person by session, to be shown in the bars of the norms.
    word
        Template of a Word document (.docx), or "plain", to be filled with the same.

    Raises
    ------
    ReportError
        The folder is no folder of generated motions, its files contradict each other, `out` has no folder, or the
        template cannot be filled.
    OutFolderError
        The folder for figures holds something else.
    DatasetError, ModelError, StorageError
        The cohort, the model or activations cannot be read.

    """
    out = motions / REPORT if out is None else out
    if not out.parent.is_dir():
        raise ReportError(f"{out}: the folder {out.parent} does not exist; create it first.")
    evidence = read_evidence(motions, cohort=cohort, synthetic=synthetic)
    environment = Environment(
        loader=PackageLoader("bige_opensim.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = number
    if evidence.contradictions:
        write_summary(motions, evidence.verdicts)
    content = _content(evidence, out.parent, stages or {}, norms, sessions) | {"scene": scene}
    if figures is not None:
        write_figures(content, figures)
    document = None if word is None else write_word(content, word, out.with_suffix(".docx"))
    write_whole(out, environment.get_template("report.html.j2").render(**content))
    return WrittenReport(out, evidence.contradictions, document)


def _content(
    evidence: Evidence,
    beside: Path,
    stages: Mapping[str, float],
    norms: Norms | None,
    sessions: Mapping[str, Sequence[Performance]] | None,
) -> dict[str, Any]:
    """What the template shows, in words and drawings."""
    objective = evidence.objective.objective
    numbers = _numbers([m.name for m in evidence.motions])
    required = {t.name for t in evidence.objective.verdict_terms}
    motions, overview = cards(evidence, numbers, beside)
    summary = evidence.folder / SUMMARY
    return {
        "title": objective.name,
        "description": objective.description,
        "synthetic": evidence.synthetic,
        "counts": {s: len(evidence.with_status(s)) for s in STATUSES},
        "contradictions": evidence.contradictions,
        "total": len(evidence.motions),
        "novel": _novel(evidence),
        "best": [numbers[m.name] for m in evidence.ranked[:NAMED]],
        "plain_names": all(m.name == f"motion_{int(numbers[m.name]):02d}" for m in evidence.motions),
        "person": _person(evidence),
        "terms": [
            {"name": t.name, "what": describe(t), "target": target_text(t), "required": t.name in required}
            for t in evidence.objective.terms
        ],
        "goals": goal_figures(evidence, numbers),
        "cards": motions,
        "overview": overview,
        "norms": None if norms is None else beside_norms(evidence, numbers, norms, sessions),
        "cohort": _cohort_text(evidence),
        "conflicts": evidence.record.get("conflicts", []),
        "edit": _edit(evidence),
        "table": _table(evidence, numbers),
        "summary": link(summary, beside) if summary.is_file() else None,
        "provenance": _provenance(evidence),
        "stages": [(name, number(seconds)) for name, seconds in stages.items()],
        "stages_total": number(sum(stages.values())),
        "phases": [f"{100 * p:.0f} %" for p in PHASES],
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "version": __version__,
    }


def _numbers(names: Sequence[str]) -> dict[str, str]:
    """The number at the end of every name (motion_07 is 7) where each has its own; their order, otherwise."""
    found = [re.search(r"(\d+)$", n) for n in names]
    given = [str(int(x[1])) for x in found if x is not None]
    own = given if len(set(given)) == len(names) else [str(i + 1) for i in range(len(names))]
    return dict(zip(names, own, strict=True))


def _novel(evidence: Evidence) -> tuple[int, int]:
    """How many motions are new, of how many for which that is known."""
    known = [m.novelty for m in evidence.motions if m.novelty is not None]
    return sum(x >= NEW_ENOUGH for x in known), len(known)


def _person(evidence: Evidence) -> list[tuple[str, str]]:
    carried = carried_by(evidence.skeleton.bodies, evidence.skeleton.tables.mass)
    rows = [("Body mass", f"{number(float(evidence.skeleton.own_mass.sum()))} kg")]
    if evidence.height_m is not None:
        rows.append(("Height", f"about {evidence.height_m:.2f} m, measured on the model"))
    person = evidence.record.get("person") or {}
    rows += [("Carries", f"{number(kg)} kg on {body}") for body, kg in carried.items()]
    strength, limits = person.get("strength", {}), person.get("limits", {})
    rows += [(f"Strength of {name}", f"{plain(100 * x)}{SPACE}% of the model's") for name, x in strength.items()]
    rows += [(f"Range of {name}", f"{plain(a)} to {plain(b)}") for name, (a, b) in limits.items()]
    return [*rows, ("Model", f"{evidence.model_name or 'unnamed'}, {len(evidence.skeleton.tables.muscles)} muscles")]


def _cohort_text(evidence: Evidence) -> str:
    if evidence.cohort is None:
        return ""
    people = len(set(evidence.cohort["subject"].values.tolist()))
    count = evidence.cohort.sizes["repetition"]
    who = f"{people} {'synthetic ' if evidence.synthetic else ''}{'person' if people == 1 else 'people'}"
    return f"{count} training repetitions of {who}"


def _table(evidence: Evidence, numbers: Mapping[str, str]) -> dict[str, Any]:
    """All motions by terms, gates, contact and limits."""
    gates = {n: g for m in evidence.motions for n, g in gates_of(m.certificate).items()}
    heads = {n: gate_text(n, g) for n, g in gates.items()}
    rows = []
    for m in evidence.motions:
        c = m.certificate
        found = {n: gate_text(n, g) for n, g in gates_of(c).items()}
        rows.append(
            {
                "place": numbers[m.name],
                "name": m.name,
                "status": m.status,
                "terms": [
                    (*(value_text(t, m.value(t.name, which)) for which in ("predicted", "simulated")), m.met(t.name))
                    for t in evidence.objective.terms
                ],
                "gates": [(found[n]["value"], found[n]["passed"]) if n in found else ("–", None) for n in heads],
                "contact": [number(c.contact[k], 2) if c else "–" for k in ("foot_slide_mm", "penetration_mm")],
                "limits": limits_text(m) if c else "–",
                "novelty": number(m.novelty, 2),
            }
        )
    return {"gates": list(heads.values()), "rows": rows}


def _edit(evidence: Evidence) -> dict[str, Any] | None:
    """What was changed of which recording: terms before, as predicted and as OpenSim finds them, and sentences."""
    edit = evidence.record.get("edit")
    if not edit or not evidence.motions:
        return None
    after = evidence.motions[0]
    rows = [
        (
            t.name,
            value_text(t, edit["recorded"].get(t.name)),
            value_text(t, after.value(t.name, "predicted")),
            value_text(t, after.value(t.name, "simulated")),
            target_text(t),
        )
        for t in evidence.objective.terms
    ]
    part = f"{edit['start_s']:.2f} to {edit['end_s']:.2f} s"
    return {"motion": edit["motion"], "part": part, "rows": rows, "changes": edit["changes"]}


def _provenance(evidence: Evidence) -> list[tuple[str, str]]:
    made = evidence.record.get("provenance", {})
    judged = [m.certificate.provenance for m in evidence.motions if m.certificate is not None]
    rows = [("Folder", evidence.folder.absolute().name)]
    rows += [("Searched on", made["date"])] if "date" in made else []
    rows += [("Simulated on", _several(judged, "date"))] if judged else []
    rows += [(f"{n} version", _several(judged, n)) for n in ("opensim", "bige_opensim", "torch") if judged]
    rows += [(n.capitalize(), str(made[n])) for n in ("generator", "surrogate", "seed") if n in made]
    if "settings" in made:
        rows.append(("Search iterations", str(made["settings"].get("iterations", "–"))))
    rows.append(("Model file, sha256", evidence.skeleton.tables.source["sha256"]))
    return rows


def _several(records: list[dict[str, Any]], key: str) -> str:
    """One value, or the first and the last of several."""
    values = sorted({str(r.get(key, "–")) for r in records})
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"
