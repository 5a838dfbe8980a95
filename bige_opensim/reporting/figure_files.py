"""The figures of a report as files: a drawing (svg) that needs nothing beside it, and its numbers (csv)."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from bige_opensim.io.partial_folders import whole_folder
from bige_opensim.io.storage import write_whole
from bige_opensim.reporting.figures import GoalChart, Panel
from bige_opensim.reporting.norm_bars import NormBar

INDEX = "figures.csv"
SIDES = {"r": "right", "l": "left", "t": "value"}
DRAWN = ("grid", "curve", "cohort", "target", "bound", "estimate", "link", "met", "missed", "tick")
"""Classes of the style sheet that drawings use."""
BACKGROUND = "svg { background: #fff; }"


class FigureFile(NamedTuple):
    """One figure: the name of its files, its caption, the drawing and the numbers."""

    name: str
    caption: str
    svg: Markup
    numbers: pd.DataFrame


def write_figures(content: Mapping[str, Any], folder: Path) -> Path:
    """Write all figures of what a report shows, and an index of them, whole or not at all.

    Raises
    ------
    OutFolderError
        The folder holds something else than figures of a report.

    """
    style = _style()
    with whole_folder(folder, INDEX) as place:
        index = []
        for figure in _figures(content):
            write_whole(place / f"{figure.name}.svg", _alone(figure.svg, style))
            write_whole(place / f"{figure.name}.csv", figure.numbers.to_csv(index=False, float_format="%.6g"))
            index.append({"file": figure.name, "caption": figure.caption})
        write_whole(place / INDEX, pd.DataFrame(index, columns=["file", "caption"]).to_csv(index=False))
    return folder


def _figures(content: Mapping[str, Any]) -> Iterator[FigureFile]:
    """Goals, all motions together, norms, then motion by motion; a number tells names apart."""
    sections = [("goal", content["goals"])]
    sections += [(f"all_{kind}", content["overview"][kind]) for kind in ("muscles", "joints", "dynamics")]
    sections += [("norm", content["norms"].bars if content["norms"] is not None else ())]
    for card in content["cards"]:
        sections += [(f"motion_{card['place']}_{kind}", card[kind]) for kind in ("muscles", "joints", "dynamics")]
    for section, figures in sections:
        for number, figure in enumerate(figures, start=1):
            name = f"{section}_{number:02d}_{re.sub(r'[^a-z0-9]+', '_', figure.caption.lower()).strip('_')}"
            yield FigureFile(name, figure.caption, figure.svg, _numbers(figure))


def _numbers(figure: Any) -> pd.DataFrame:
    if isinstance(figure, NormBar):
        return _of_bar(figure)
    source = figure.source
    return _of_goal(source) if isinstance(source, GoalChart) else _of_panel(source)


def _of_panel(panel: Panel) -> pd.DataFrame:
    """Over 0 to 100 %: a column per line, the band and the target."""
    columns: dict[str, np.ndarray] = {}
    for line in panel.lines:
        style = line.style.split()
        name = SIDES[style[0]] + ("_estimate" if "dashed" in style else "")
        again = sum(bool(re.fullmatch(rf"{name}(_\d+)?", known)) for known in columns)
        columns[name if not again else f"{name}_{again + 1}"] = line.values
    if panel.band is not None:
        columns |= {"usual_low": panel.band[0], "usual_high": panel.band[1]}
    samples = len(next(iter(columns.values()), ()))
    table = pd.DataFrame({"percent": np.linspace(0.0, 100.0, samples), **columns})
    if panel.target is not None:
        low, high = panel.target
        inside = table["percent"].between(*panel.target_span)
        table["target_low"], table["target_high"] = np.where(inside, low, np.nan), np.where(inside, high, np.nan)
    return table


def _of_goal(chart: GoalChart) -> pd.DataFrame:
    low, high = chart.target
    return pd.DataFrame(
        {
            "motion": chart.labels,
            "estimate": chart.predicted,
            "opensim": chart.simulated,
            "met": chart.met,
            "target_low": low,
            "target_high": high,
        }
    )


def _of_bar(bar: NormBar) -> pd.DataFrame:
    usual = bar.usual
    return pd.DataFrame(
        [
            {
                "motion": name,
                "value": value,
                "unit": usual.unit,
                "usual_low": usual.low,
                "usual_high": usual.high,
                "mean": usual.mean,
                "mdc95": usual.mdc95,
            }
            for name, value in bar.values
        ]
    )


def _style() -> str:
    """The rules of the report's style sheet that drawings need, with the colours in them."""
    sheet = importlib.resources.files("bige_opensim.reporting") / "templates" / "report.css"
    text = sheet.read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]+)", text))
    rules = re.findall(rf"^\s*((?:svg text|\.(?:{'|'.join(DRAWN)})\b)[^@]*?\}})\s*$", text, re.MULTILINE)
    return "\n".join([BACKGROUND, *(re.sub(r"var\(--(\w+)\)", lambda m: colours[m[1]], rule) for rule in rules)])


def _alone(svg: Markup, style: str) -> str:
    """A drawing of the page as a document of its own."""
    opened = str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, rest = opened.split(">", 1)
    return f"{head}><style>{style}</style>{rest}\n"
