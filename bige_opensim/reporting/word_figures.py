"""Curves and goal charts of a report as pictures for Word, which shows no drawings of the page."""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from bige_opensim.reporting.figures import GoalChart, Panel
from bige_opensim.reporting.panels import Figure

HEIGHT_MM, DPI = 46.0, 200
COLOURS = {"r": "#0060a8", "l": "#d55e00", "t": "#333c48"}
GOOD, BAD, BAND, TARGET = "#00664a", "#a63c00", "#c9d0d8", "#7fc9ad"
MM_PER_INCH = 25.4


def drawn_png(figure: Figure, width_mm: float) -> bytes:
    """A figure of the report as PNG, so wide on paper."""
    canvas = Canvas(figsize=(width_mm / MM_PER_INCH, HEIGHT_MM / MM_PER_INCH), dpi=DPI, layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    if isinstance(figure.source, GoalChart):
        _goals(axes, figure.source)
    else:
        _curves(axes, figure.source)
        axes.set_title(figure.caption, fontsize=7)
    axes.tick_params(labelsize=6, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    png = BytesIO()
    canvas.savefig(png, format="png")
    return png.getvalue()


def _curves(axes: Axes, panel: Panel) -> None:
    axes.set_xlim(0.0, 100.0)
    axes.set_xticks([0, 50, 100], ["0", "50 %", "100 %"])
    if panel.band is not None:
        low, high = panel.band
        axes.fill_between(np.linspace(0.0, 100.0, len(low)), low, high, color=BAND, linewidth=0)
    for line in panel.lines:
        side, *style = line.style.split()
        axes.plot(
            np.linspace(0.0, 100.0, len(line.values)),
            line.values,
            color=COLOURS[side],
            linestyle="--" if "dashed" in style else "-",
            alpha=0.4 if "faint" in style else 1.0,
            linewidth=1.0,
        )
    if panel.limits is not None and panel.limits[0] < panel.limits[1]:
        axes.set_ylim(*panel.limits)
    if panel.target is not None:
        _target(axes, panel.target, panel.target_span)


def _goals(axes: Axes, chart: GoalChart) -> None:
    places = range(len(chart.labels))
    for place, estimate, value, met in zip(places, chart.predicted, chart.simulated, chart.met, strict=True):
        if estimate is not None:
            axes.plot(place, estimate, "o", markersize=5, fillstyle="none", color=COLOURS["t"])
        if value is not None:
            axes.plot(place, value, "D" if met is False else "o", markersize=4, color=BAD if met is False else GOOD)
    axes.set_xlim(-0.5, len(chart.labels) - 0.5)
    axes.set_xticks(list(places), chart.labels)
    axes.margins(y=0.1)
    _target(axes, chart.target, axes.get_xlim())


def _target(axes: Axes, target: tuple[float, float], span: tuple[float, float]) -> None:
    """The target's band, with a line at each bound; an open end reaches to the edge."""
    known = [bound for bound in target if math.isfinite(bound)]
    bottom, top = axes.get_ylim()
    bottom, top = min(bottom, *known), max(top, *known)
    low, high = max(target[0], bottom), min(target[1], top)
    axes.fill_between(span, low, high, color=TARGET, alpha=0.35, linewidth=0, zorder=0)
    axes.hlines(known, *span, color=GOOD, linewidth=0.8, linestyle=":")
    axes.set_ylim(bottom, top)
