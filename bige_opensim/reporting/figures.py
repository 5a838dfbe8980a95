"""Curves and goal charts as inline SVG: text stays text, the page's style sheet gives the colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape

WIDTH, HEIGHT = 300, 176
LEFT, RIGHT, TOP, BOTTOM = 36, 10, 8, 22
POINT_STEP = 20
TICKS = 4


@dataclass(frozen=True)
class Line:
    """One curve over 0-100 % of the repetition; `style` is a class of the style sheet: r, l, dashed, faint."""

    values: Float[np.ndarray, " sample"]
    style: str


@dataclass(frozen=True)
class Panel:
    """Curves of one quantity in one unit, with the cohort's band (low, high) and the target where there are any.

    `target` is (low, high), infinite where open, and `target_span` the part of the repetition, in %, that it is about.
    """

    title: str
    lines: tuple[Line, ...]
    band: tuple[Float[np.ndarray, " sample"], Float[np.ndarray, " sample"]] | None = None
    target: tuple[float, float] | None = None
    target_span: tuple[float, float] = (0.0, 100.0)
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class GoalChart:
    """One term over all motions: what the search estimated, what OpenSim found, and the target."""

    title: str
    labels: tuple[str, ...]
    predicted: tuple[float | None, ...]
    simulated: tuple[float | None, ...]
    met: tuple[bool | None, ...]
    target: tuple[float, float]


def value_range(panels: Sequence[Panel]) -> tuple[float, float]:
    """Lowest and highest value over panels that share an axis, cohort's band and bounded targets with them."""
    values = [line.values for panel in panels for line in panel.lines]
    values += [edge for panel in panels for edge in panel.band or ()]
    values += [np.array([x for x in panel.target or () if math.isfinite(x)]) for panel in panels]
    found = np.concatenate(values)
    return (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)


def curves(panel: Panel, alt: str) -> Markup:
    """A panel as SVG."""
    low, high, ticks = _axis(*(panel.limits or value_range([panel])))
    across, up = _Scale(0.0, 100.0, LEFT, WIDTH - RIGHT), _vertical(low, high)
    parts = [_grid(ticks, up, WIDTH)]
    if panel.band is not None:
        edges = [*_points(panel.band[0], across, up, step=2), *_points(panel.band[1], across, up, step=2)[::-1]]
        parts.append(f'<path class="cohort" d="M{"L".join(edges)}Z"/>')
    if panel.target is not None:
        parts.append(_target(panel.target, up, across(panel.target_span[0]), across(panel.target_span[1])))
    parts += [
        f'<path class="curve {line.style}" d="M{"L".join(_points(line.values, across, up))}"/>' for line in panel.lines
    ]
    for percent, anchor in ((0, "start"), (50, "middle"), (100, "end")):
        parts.append(_text(across(percent), HEIGHT - 6, f"{percent} %" if percent else "0", anchor))
    return _svg(WIDTH, alt, parts)


def goal_chart(chart: GoalChart, alt: str) -> Markup:
    """Motions side by side: hollow circles are estimates, filled ones OpenSim's value, diamonds those off target."""
    wide = max(WIDTH, LEFT + RIGHT + POINT_STEP * len(chart.labels))
    known = [x for x in (*chart.predicted, *chart.simulated, *chart.target) if x is not None and math.isfinite(x)]
    spread = (max(known) - min(known)) or abs(known[0]) or 1.0
    low, high, ticks = _axis(min(known) - 0.08 * spread, max(known) + 0.08 * spread)
    up = _vertical(low, high)
    parts = [_grid(ticks, up, wide), _target(chart.target, up, LEFT, wide - RIGHT)]
    step = (wide - LEFT - RIGHT) / len(chart.labels)
    for i, label in enumerate(chart.labels):
        x = LEFT + (i + 0.5) * step
        parts.append(_text(x, HEIGHT - 6, label, "middle"))
        estimate, value = chart.predicted[i], chart.simulated[i]
        if estimate is not None and value is not None:
            parts.append(f'<path class="link" d="M{x:.1f} {up(estimate):.1f}V{up(value):.1f}"/>')
        if estimate is not None:
            parts.append(f'<circle class="estimate" cx="{x:.1f}" cy="{up(estimate):.1f}" r="4"/>')
        if value is not None:
            parts.append(_mark(x, up(value), chart.met[i]))
    return _svg(wide, alt, parts)


def _mark(x: float, y: float, met: bool | None) -> str:
    if met is False:
        return f'<path class="missed" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6Z"/>'
    return f'<circle class="met" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'


def _svg(width: float, alt: str, parts: Sequence[str]) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width:g} {HEIGHT}" role="img" aria-label="{escape(alt)}">'
        f"{''.join(parts)}</svg>"
    )


def _axis(low: float, high: float) -> tuple[float, float, list[float]]:
    """Ends a little beyond the values, and ticks between them at 1, 2, 2.5 or 5 times a power of ten."""
    span = max(high - low, 1e-6 * max(abs(high), abs(low)), 1e-9)
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    step = next(m * power for m in (1, 2, 2.5, 5, 10, 20) if m * power * TICKS >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    low, high = max(low - 0.06 * span, step * first), min(high + 0.06 * span, step * max(last, first + 1))
    return low, high, [step * k for k in range(first, last + 1) if low - 1e-9 <= step * k <= high + 1e-9]


@dataclass(frozen=True)
class _Scale:
    """Linear map from values to a place on the page."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _vertical(low: float, high: float) -> _Scale:
    return _Scale(low, high, HEIGHT - BOTTOM, TOP)


def _grid(ticks: Sequence[float], up: _Scale, width: float) -> str:
    digits = max((len(f"{t:.6g}".partition(".")[2]) for t in ticks), default=0)
    lines = "".join(f"M{LEFT} {up(t):.1f}H{width - RIGHT:g}" for t in ticks)
    numbers = (_text(LEFT - 5, up(t) + 4, f"{t:.{digits}f}".replace("-", "\N{MINUS SIGN}"), "end") for t in ticks)
    return f'<path class="grid" d="{lines}"/>{"".join(numbers)}'


def _target(target: tuple[float, float], up: _Scale, start: float, end: float) -> str:
    """The target's band, with a line at each bound; open ends reach to the edge of the panel."""
    low, high = max(target[0], up.low), min(target[1], up.high)
    bounds = "".join(f"M{start:.1f} {up(x):.1f}H{end:.1f}" for x in target if up.low <= x <= up.high)
    if high <= low:
        return f'<path class="bound" d="{bounds}"/>' if bounds else ""
    box = f'x="{start:.1f}" y="{up(high):.1f}" width="{end - start:.1f}" height="{up(low) - up(high):.1f}"'
    return f'<rect class="target" {box}/><path class="bound" d="{bounds}"/>'


def _points(values: Float[np.ndarray, " sample"], across: _Scale, up: _Scale, step: int = 1) -> list[str]:
    percent = np.linspace(0.0, 100.0, len(values))[::step]
    return [f"{across(p):.1f} {up(v):.1f}" for p, v in zip(percent, values[::step], strict=True)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
