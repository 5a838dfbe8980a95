"""Writes an evaluation: evaluation.csv, coordinates.csv, evaluation.tex, evaluation.png, evaluation.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bige_opensim.io.latex import table
from bige_opensim.io.partial_folders import whole_folder
from bige_opensim.validation import controls
from bige_opensim.validation.evaluation import (
    CONTROL,
    HELD_OUT,
    HIGHER,
    HONEST,
    LEGACY,
    LOWER,
    METHOD,
    METRICS,
    NEAR,
    Evaluation,
    Metric,
    Row,
    Value,
    interval,
)

FORMAT = "bige-evaluation/1"
RECORD = "evaluation.json"
COLOURS = {HELD_OUT: "C0", METHOD: "C1", CONTROL: "0.45"}
SHORT = {controls.NOISE: "noise", controls.SHUFFLED: "shuffled"}
CAPTIONS = {
    HONEST: "How near motions are to recordings of the training people, how varied, how new, how plausible.",
    LEGACY: "Metrics of Maheshwari et al. (2025).",
}
EXPLANATION = (
    "† does not discriminate: noise or shuffled motions, as named, are at least as good as held-out recordings. ± is a "
    "95 % interval over people, or 1.96 SD over runs where there are several."
)
PANEL_COLUMNS = 5
ARROWS = {LOWER: "←", HIGHER: "→", NEAR: "(near dotted)", None: ""}
FAR = 8.0


def write_evaluation(found: Evaluation, out: Path) -> None:
    """All files in a new folder, whole or not at all.

    Raises
    ------
    OutFolderError
        `out` holds something else.

    """
    with whole_folder(out, RECORD) as folder:
        content = {"format": FORMAT, **found.as_dict()}
        (folder / RECORD).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        frame(found).to_csv(folder / "evaluation.csv", index=False)
        coordinates_frame(found).to_csv(folder / "coordinates.csv", index=False)
        (folder / "evaluation.tex").write_text(latex(found), encoding="utf-8")
        figure(found).savefig(folder / "evaluation.png", dpi=110)


def frame(found: Evaluation) -> pd.DataFrame:
    """A line per set and metric; `won_by` names controls that are as good as people, `discriminates` sums that up."""
    return pd.DataFrame(
        [
            {
                "set": row.name, "kind": row.kind, "motions": row.motions, "people": row.people, "runs": row.runs,
                "group": m.group, "metric": m.key, "title": m.title, "unit": m.unit, "better": m.better or "",
                "value": row.values[m.key].value,
                **dict(zip(("low", "high"), interval(m, row.values[m.key]), strict=True)),
                "discriminates": {True: "yes", False: "no", None: ""}[found.discriminates(m)],
                "won_by": "; ".join(found.won_by[m.key] or ()),
            }
            for row in found.rows
            for m in METRICS
        ]
    )  # fmt: skip


def coordinates_frame(found: Evaluation) -> pd.DataFrame:
    """Wasserstein distance of every coordinate of every set, deg or mm."""
    rotational = dict(found.provenance.get("rotational", {}))
    return pd.DataFrame(
        [
            {
                "set": row.name, "kind": row.kind, "coordinate": name,
                "unit": "deg" if rotational.get(name, True) else "mm",
                "wasserstein": value.value,
                "low": max(value.value - value.spread, 0.0), "high": value.value + value.spread,
            }
            for row in found.rows
            for name, value in row.coordinates.items()
        ]
    )  # fmt: skip


def shown(value: Value) -> str:
    """A number with three digits and its interval, or a dash."""
    if not np.isfinite(value.value):
        return "-"
    if not np.isfinite(value.spread):
        return _short(value.value)
    return f"{_short(value.value)} ± {_short(value.spread)}"


def _short(number: float) -> str:
    """Three digits, without an exponent where a reader would not want one."""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def heading(found: Evaluation, metric: Metric) -> str:
    """Title of a metric with its unit, and marked where it does not discriminate."""
    unit = "" if metric.unit == "1" else f", {metric.unit}"
    won = ", ".join(SHORT[name] for name in found.won_by[metric.key] or ())
    return f"{metric.title}{unit}{f' † {won}' if won else ''}"


def latex(found: Evaluation) -> str:
    """Two tables for `booktabs`: a line per metric, a column per set."""
    return "\n".join(_table(found, group) for group in (HONEST, LEGACY))


def _table(found: Evaluation, group: str) -> str:
    headings = [
        ["", *(row.name for row in found.rows)],
        ["motions (people)", *(f"{size(row)} ({row.people})" for row in found.rows)],
    ]
    return table(f"{CAPTIONS[group]} {EXPLANATION}", headings, table_lines(found, group)[1])


def figure(found: Evaluation) -> Figure:
    """A panel per metric, a point per set with its interval; panels of metrics that do not discriminate are grey."""
    groups = [[m for m in METRICS if m.group == group] for group in (HONEST, LEGACY)]
    lines = [-(-len(group) // PANEL_COLUMNS) for group in groups]
    height = 0.24 * len(found.rows) + 0.75
    picture = Figure(figsize=(15.5, sum(lines) * height + 1.4), layout="constrained")
    parts = picture.subfigures(2, 1, squeeze=False, height_ratios=lines)
    for part, group, count in zip(parts.ravel(), groups, lines, strict=True):
        axes = part.subplots(count, PANEL_COLUMNS, squeeze=False, sharey=True).ravel()
        part.suptitle(CAPTIONS[group[0].group], fontsize=11, fontweight="bold")
        for axis, metric in zip(axes, group, strict=False):
            _panel(axis, found, metric)
        for axis in axes[len(group) :]:
            axis.set_axis_off()
    picture.supxlabel(EXPLANATION, fontsize=9)
    return picture


def _panel(axis: Axes, found: Evaluation, metric: Metric) -> None:
    for place, row in enumerate(found.rows):
        value = row.values[metric.key]
        if not np.isfinite(value.value):
            across = axis.get_yaxis_transform()
            axis.text(0.5, place, "-", transform=across, ha="center", va="center", fontsize=8, color="0.5")
            continue
        low, high = interval(metric, value)
        axis.plot(value.value, place, "o", ms=4.5, color=COLOURS[row.kind])
        if np.isfinite(low):
            axis.plot([low, high], [place, place], "|-", ms=5, lw=1.3, color=COLOURS[row.kind])
    _scale(axis, found, metric)
    if metric.better == NEAR:
        axis.axvline(found.training.values[metric.key].value, color="C0", lw=0.8, ls=":")
    axis.set_title(f"{heading(found, metric)} {ARROWS[metric.better]}", fontsize=9)
    axis.set_yticks(range(len(found.rows)), [row.name for row in found.rows], fontsize=8)
    axis.set_ylim(len(found.rows) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(axis="y", lw=0.4, color="0.9")
    if found.discriminates(metric) is False:
        axis.set_facecolor("0.88")


def _scale(axis: Axes, found: Evaluation, metric: Metric) -> None:
    """Linear as far as recordings and methods go; where controls are far beyond them, logarithmic from there."""
    sizes = {kind: [abs(r.values[metric.key].value) for r in found.rows if r.kind == kind] for kind in COLOURS}
    ours, controls_size = (
        max((x for kind in kinds for x in sizes[kind] if np.isfinite(x)), default=0.0)
        for kinds in ((HELD_OUT, METHOD), (CONTROL,))
    )
    axis.margins(x=0.12)
    if max(ours, controls_size) == 0.0:
        axis.set_xticks([0.0] if np.isfinite([x for part in sizes.values() for x in part]).any() else [])
    elif controls_size > FAR * ours:
        axis.set_xscale("symlog", linthresh=max(2.0 * ours, controls_size / 100.0), linscale=2.0)
        ticks = sorted({0.0, *(float(f"{x:.1g}") for x in (ours, controls_size))})
        axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
        axis.minorticks_off()


def table_lines(found: Evaluation, group: str) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of one group, for a terminal."""
    header = ["", *(_named(row) for row in found.rows)]
    lines = [
        [heading(found, m), *(shown(row.values[m.key]) for row in found.rows)] for m in METRICS if m.group == group
    ]
    return header, lines


def _named(row: Row) -> str:
    return f"{row.name} ({size(row)})"


def size(row: Row) -> str:
    """How many motions: '20', or '20 × 3' of three runs."""
    return f"{row.motions}" + (f" × {row.runs}" if row.runs > 1 else "")
