"""Which curves a report shows: muscles of the objective, main joints, goals over all motions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from markupsafe import Markup

from bige_opensim.guidance.objective import BoundTerm
from bige_opensim.guidance.quantities import TRUNK_BODY
from bige_opensim.guidance.terms import trunk_inclination
from bige_opensim.motion import Motion
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.reporting.evidence import Evidence, MotionEvidence, full_coordinates
from bige_opensim.reporting.figures import GoalChart, Line, Panel, curves, goal_chart, value_range
from bige_opensim.reporting.wording import display, number, plain_name, split_side, with_side
from bige_opensim.validation.roundtrip import CONFIRMED

SAMPLES = 101
MOST_MUSCLES = 6
USUAL_MUSCLES = ("vasmed", "vaslat", "recfem", "glmax2", "bflh", "gasmed")
JOINTS = ("hip_flexion", "knee_angle", "ankle_angle", "lumbar_extension", "pelvis_tilt")
TRUNK = "trunk lean from the vertical"
BAND = (10.0, 90.0)

Curves = dict[str, Float[np.ndarray, " sample"]]
Band = tuple[Float[np.ndarray, " sample"], Float[np.ndarray, " sample"]]


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption, and what it is drawn from."""

    caption: str
    svg: Markup
    source: Panel | GoalChart


@dataclass(frozen=True)
class Quantity:
    """One panel's content: a caption with its unit, channels by line style, and the objective's bounds."""

    caption: str
    channels: tuple[tuple[str, str], ...]
    target: tuple[float, float] | None = None
    span: tuple[float, float] = (0.0, 100.0)


def curves_of(skeleton: Skeleton, motion: Motion) -> Curves:
    """Coordinates in degrees (lengths in cm) and the trunk's lean, over 0-100 % of a motion."""
    q = full_coordinates(skeleton, motion)
    phase = (motion.time - motion.time[0]) / motion.duration
    grid = np.linspace(0.0, 1.0, SAMPLES)
    values = np.column_stack([np.interp(grid, phase, column) for column in q.T])
    return _named(skeleton, values[None], {})


def cohort_bands(evidence: Evidence) -> dict[str, Band]:
    """10th to 90th percentile of the training repetitions: coordinates in degrees and cm, trunk, activations in %."""
    ds, skeleton = evidence.cohort, evidence.skeleton
    if ds is None:
        return {}
    q = np.tile(skeleton.tables.default, (ds.sizes["repetition"], ds.sizes["sample"], 1)).astype(float)
    known = [str(n) for n in ds["coordinate"].values]
    for i, name in enumerate(skeleton.coordinates):
        if name in known:
            q[:, :, i] = ds["q"].values[:, :, known.index(name)]
    muscles = {str(m): 100.0 * ds["activations"].values[:, :, i] for i, m in enumerate(ds["muscle"].values)}
    bands: dict[str, Band] = {}
    for name, values in _all_named(skeleton, q, muscles).items():
        if name in known or name in muscles or name == TRUNK:
            low, high = np.percentile(values, BAND, axis=0)
            bands[name] = (low, high)
    return bands


def muscle_curves(motion: Motion | None) -> Curves:
    """Activations in % over 0-100 % of a motion; none where there is no motion."""
    return sampled(motion, 100.0)


def sampled(motion: Motion | None, factor: float = 1.0) -> Curves:
    """Channels, times a factor, over 0-100 % of a motion; none where there is no motion."""
    if motion is None:
        return {}
    phase = (motion.time - motion.time[0]) / motion.duration
    grid = np.linspace(0.0, 1.0, SAMPLES)
    return {n: factor * np.interp(grid, phase, motion[n]) for n in motion.names}


def muscle_quantities(evidence: Evidence) -> list[Quantity]:
    """One panel per target muscle and side; the main leg muscles, where the objective names none."""
    terms: dict[str, BoundTerm | None] = {}
    for bound in evidence.objective.terms:
        if bound.term.quantity == "activation":
            terms |= {m: bound for m in bound.measured.labels if terms.get(m) is None}
        elif bound.term.quantity == "asymmetry" and bound.measured.unit == "1":
            terms |= {f"{m}_{s}": None for m in bound.measured.labels for s in "rl" if f"{m}_{s}" not in terms}
    known = evidence.skeleton.tables.muscles
    if not terms:
        terms = {f"{m}_{s}": None for m in USUAL_MUSCLES for s in "rl"}
    bases = list(dict.fromkeys(split_side(m)[0] for m in terms if m in known))[:MOST_MUSCLES]
    return [_muscle(m, terms[m]) for m in terms if m in known and split_side(m)[0] in bases]


def joint_quantities(skeleton: Skeleton) -> list[Quantity]:
    """Hip, knee, ankle (right and left in one panel), lumbar extension, pelvis tilt and the trunk's lean."""
    found = []
    for base in JOINTS:
        sides = tuple((f"{base}_{s}", s) for s in "rl" if f"{base}_{s}" in skeleton.coordinates)
        if sides or base in skeleton.coordinates:
            found.append(Quantity(f"{_capital(plain_name(base))}, °", sides or ((base, "t"),)))
    if TRUNK_BODY in skeleton.bodies:
        found.append(Quantity(f"{_capital(TRUNK)}, °", ((TRUNK, "t"),)))
    return found


def motion_figures(
    quantities: Sequence[Quantity], curves_by: Mapping[str, Curves], bands: Mapping[str, Band], limits: Sequence[Panel]
) -> list[Figure]:
    """Panels of one motion: `curves_by` holds "solid" and "dashed" curves; axes as wide as those of `limits`."""
    found = []
    for quantity, shared in zip(quantities, limits, strict=True):
        panel = _panel(quantity, curves_by, bands)
        if panel.lines:
            shown = replace(panel, limits=value_range([shared, panel]))
            found.append(Figure(quantity.caption, curves(shown, _spoken(quantity, curves_by)), shown))
    return found


def together(
    quantities: Sequence[Quantity], motions: Sequence[Curves], bands: Mapping[str, Band], style: str = "many"
) -> list[Panel]:
    """One panel per quantity with the curves of all motions."""
    panels = []
    for quantity in quantities:
        parts = [_panel(quantity, {"solid": one}, bands) for one in motions]
        lines = tuple(replace(x, style=f"{x.style} {style}") for part in parts for x in part.lines)
        panels.append(replace(_panel(quantity, {}, bands), lines=lines))
    return panels


def drawn(panels: Sequence[Panel], who: str) -> list[Figure]:
    """Panels with curves, as figures."""
    return [Figure(p.title, curves(p, f"{p.title}, over the repetition: {who}"), p) for p in panels if p.lines]


def goal_figures(evidence: Evidence, numbers: Mapping[str, str]) -> list[Figure]:
    """One chart per bounded term, required ones first: estimate, OpenSim's value and target for every motion."""
    required = {t.name for t in evidence.objective.verdict_terms}
    terms = sorted((t for t in evidence.objective.terms if t.bounded), key=lambda t: t.name not in required)
    return [_goal_figure(t, evidence.motions, numbers) for t in terms]


def _goal_figure(bound: BoundTerm, motions: Sequence[MotionEvidence], numbers: Mapping[str, str]) -> Figure:
    factor, unit = display(bound)
    scaled = {
        which: tuple(None if (x := m.value(bound.name, which)) is None else factor * x for m in motions)
        for which in ("predicted", "simulated")
    }
    met = tuple(m.met(bound.name) for m in motions)
    labels = tuple(numbers[m.name] for m in motions)
    target = (factor * bound.low, factor * bound.high)
    caption = f"{_capital(bound.name)}, {unit.strip()}"
    chart = GoalChart(caption, labels, scaled["predicted"], scaled["simulated"], met, target)
    alt = f"{bound.name}: OpenSim found the target met in {sum(x is True for x in met)} of {len(met)} motions"
    return Figure(caption, goal_chart(chart, alt), chart)


def _muscle(name: str, bound: BoundTerm | None) -> Quantity:
    caption = f"{_capital(with_side(name))}, %"
    _, side = split_side(name)
    style = {"right": "r", "left": "l"}.get(side, "t")
    if bound is None or not bound.bounded or bound.term.stat not in ("peak", "min", "at"):
        return Quantity(caption, ((name, style),))
    at = 100.0 * (bound.term.at or 0.0)
    span = (max(at - 3.0, 0.0), min(at + 3.0, 100.0)) if bound.term.stat == "at" else (0.0, 100.0)
    return Quantity(caption, ((name, style),), (100.0 * bound.low, 100.0 * bound.high), span)


def _panel(quantity: Quantity, curves_by: Mapping[str, Curves], bands: Mapping[str, Band]) -> Panel:
    lines = [
        Line(found[name], style if kind == "solid" else f"{style} {kind}")
        for kind, found in curves_by.items()
        for name, style in quantity.channels
        if name in found
    ]
    known = [bands[name] for name, _ in quantity.channels if name in bands]
    band = (np.min([b[0] for b in known], axis=0), np.max([b[1] for b in known], axis=0)) if known else None
    return Panel(quantity.caption, tuple(lines), band, quantity.target, quantity.span)


def _spoken(quantity: Quantity, curves_by: Mapping[str, Curves]) -> str:
    parts = []
    for kind, found in curves_by.items():
        for name, _ in quantity.channels:
            if name in found:
                side = split_side(name)[1]
                which = {"dashed": "estimated", "dashed recorded": "as recorded"}.get(kind, "")
                who = " ".join(x for x in (side, which) if x)
                x = found[name]
                parts.append(f"{who + ' ' if who else ''}from {number(x.min(), 2)} to {number(x.max(), 2)}")
    return f"{quantity.caption}, over the repetition: {'; '.join(parts)}"


def _named(skeleton: Skeleton, q: Float[np.ndarray, "1 sample coordinate"], muscles: Curves) -> Curves:
    return {n: x[0] for n, x in _all_named(skeleton, q, muscles).items()}


def _all_named(
    skeleton: Skeleton, q: Float[np.ndarray, "n sample coordinate"], muscles: Mapping[str, np.ndarray]
) -> dict[str, Float[np.ndarray, "n sample"]]:
    kinds = zip(skeleton.coordinates, skeleton.tables.rotational, strict=True)
    found = {n: np.rad2deg(q[..., i]) if angle else 100.0 * q[..., i] for i, (n, angle) in enumerate(kinds)}
    if TRUNK_BODY in skeleton.bodies:
        torso = skeleton.bodies.index(TRUNK_BODY)
        with torch.no_grad():
            lean = [
                trunk_inclination(skeleton(part).rotation[..., torso, :, :]) for part in torch.as_tensor(q).split(32)
            ]
        found[TRUNK] = np.rad2deg(torch.cat(lean).numpy())
    return found | dict(muscles)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def best_first(evidence: Evidence) -> list[MotionEvidence]:
    """Confirmed motions in their rank, then the others by name."""
    return [*evidence.ranked, *(m for m in evidence.motions if m.status != CONFIRMED)]
