"""Motions beside a laboratory's norms: a bar for what is usual, with a tick for every motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from markupsafe import Markup, escape

from bige_opensim.io.storage import read_storage
from bige_opensim.motion import Motion
from bige_opensim.movements.repetitions import RepetitionError, find_movement
from bige_opensim.reporting.evidence import Evidence, MotionEvidence
from bige_opensim.reporting.panels import USUAL_MUSCLES
from bige_opensim.reporting.wording import number, with_side
from bige_opensim.validation.norms import MeasuredTrial, Performance, Statistics
from bige_opensim.validation.norms_files import Norms

JOINTS = ("hip_flexion", "knee_angle", "ankle_angle")
LOADS = ("hip", "knee", "patellofemoral", "ankle")
UNITS = {"degrees": "°", "1": "%", "N m/kg": " N·m/kg", "body weights": " body weights", "s": " s", "%": " %"}
WIDTH, HEIGHT, EDGE = 300, 40, 8


@dataclass(frozen=True)
class NormBar:
    """One measure: a caption, what is usual, the value of every motion by its number, and of sessions by their name."""

    caption: str
    unit: str
    usual: Statistics
    values: tuple[tuple[str, float], ...]
    factor: float
    sessions: tuple[tuple[str, float], ...] = ()

    @property
    def outside(self) -> tuple[str, ...]:
        """Numbers of the motions that are not usual."""
        low, high = self.usual.low, self.usual.high
        return tuple(n for n, x in self.values if low is not None and high is not None and not low <= x <= high)

    @property
    def note(self) -> str:
        """In words."""
        low, high, change = self.usual.low, self.usual.high, self.usual.mdc95
        said = f"usual {self._text(low)} to {self._text(high)}{self.unit}"
        if change is not None:
            said += f"; a change counts from {self._text(change)}{self.unit} on"
        said += f"; outside: motion {', '.join(self.outside)}" if self.outside else "; all inside"
        recorded = ", ".join(f"{name} {self._text(x)}{self.unit}" for name, x in self.sessions)
        return f"{said}; recorded: {recorded}" if recorded else said

    def _text(self, value: float | None) -> str:
        return number(None if value is None else self.factor * value)

    @property
    def svg(self) -> Markup:
        """The bar."""
        low, high = self.usual.low or 0.0, self.usual.high or 0.0
        shown = [low, high, *(x for _, x in (*self.values, *self.sessions))]
        span = (max(shown) - min(shown)) or 1.0

        def across(value: float) -> float:
            return EDGE + (value - min(shown)) / span * (WIDTH - 2 * EDGE)

        ticks = "".join(
            f'<path class="tick{" missed-tick" if name in self.outside else ""}" d="M{across(x):.1f} 4V24">'
            f"<title>motion {escape(name)}: {self._text(x)}{escape(self.unit)}</title></path>"
            for name, x in self.values
        )
        ticks += "".join(
            f'<path class="session" d="M{across(x):.1f} 26l-4 -7h8Z"><title>{escape(name)}: {self._text(x)}'
            f"{escape(self.unit)}</title></path>"
            for name, x in self.sessions
        )
        band = (
            f'<rect class="target" x="{across(low):.1f}" y="8" width="{across(high) - across(low):.1f}" height="12"/>'
        )
        mean = f'<path class="bound" d="M{across(self.usual.mean):.1f} 8V20"/>'
        ends = "".join(
            f'<text x="{across(x):.1f}" y="36" text-anchor="{anchor}">{self._text(x)}</text>'
            for x, anchor in ((min(shown), "start"), (max(shown), "end"))
        )
        alt = escape(f"{self.caption}: {self.note}")
        return Markup(
            f'<svg class="bar" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{alt}">'
            f"{band}{mean}{ticks}{ends}</svg>"
        )


@dataclass(frozen=True)
class BesideNorms:
    """All bars of a report, and whom the norms are of."""

    who: str
    bars: tuple[NormBar, ...]
    sessions: tuple[str, ...] = ()


def beside_norms(
    evidence: Evidence,
    numbers: Mapping[str, str],
    norms: Norms,
    sessions: Mapping[str, Sequence[Performance]] | None = None,
) -> BesideNorms:
    """Bars of joints, moments, forces, loads, muscles of the objective and symmetry, where both sides know them.

    Of the repetitions of recorded sessions, those of the same movement give the mean of each session.
    """
    motions = {m.name: _measures(evidence, m) for m in evidence.motions}
    movement = _movement(evidence, norms)
    usual = norms.measures(movement)
    recorded = {name: _means([p for p in mine if p.movement == movement]) for name, mine in (sessions or {}).items()}
    bars = []
    for name, caption in _shown(evidence):
        found = tuple((numbers[m], measures[name][0]) for m, measures in motions.items() if name in measures)
        if name in usual and found and usual[name].low is not None and usual[name].unit in UNITS:
            unit = usual[name].unit
            factor = 100.0 if unit == "1" else 1.0
            before = tuple((session, means[name]) for session, means in recorded.items() if name in means)
            bars.append(NormBar(caption, UNITS.get(unit, f" {unit}"), usual[name], found, factor, before))
    everybody = norms.movements[movement]["groups"][0]
    who = f"{everybody['repetitions']} repetitions of {everybody['people']} people ({movement})"
    return BesideNorms(who, tuple(bars), tuple(name for name, means in recorded.items() if means))


def _means(performances: Sequence[Performance]) -> dict[str, float]:
    """Mean of every measure over repetitions."""
    values: dict[str, list[float]] = {}
    for performance in performances:
        for name, (value, _) in (performance.measures | performance.symmetry).items():
            values.setdefault(name, []).append(value)
    return {name: fmean(found) for name, found in values.items()}


def _shown(evidence: Evidence) -> list[tuple[str, str]]:
    """Measures in the order of the page, with captions."""
    asked = [m for t in evidence.objective.terms if t.term.quantity == "activation" for m in t.measured.labels]
    muscles = list(dict.fromkeys([*asked, *(f"{m}_{s}" for m in USUAL_MUSCLES for s in "rl")]))
    both = [f"{joint}_{side}" for joint in JOINTS for side in "rl"]
    found = [("duration", "Duration")]
    found += [(f"{name} range", f"Range of {with_side(name)}") for name in both]
    found += [(f"{name}_moment peak", f"Largest moment, {with_side(name)}") for name in both]
    found += [(f"ground_force_{s}_vy peak", f"Vertical force, {w} foot") for s, w in (("r", "right"), ("l", "left"))]
    loads = [(j, s, w) for j in LOADS for s, w in (("r", "right"), ("l", "left"))]
    found += [(f"{j}_{s}_resultant_bw peak", f"Load of the {w} {j} joint") for j, s, w in loads]
    found += [(f"{name} peak", f"Largest activation, {with_side(name)}") for name in muscles]
    pairs = [*JOINTS, "ground_force_vy", *(f"{j}_resultant_bw" for j in LOADS), *USUAL_MUSCLES[:2]]
    return found + [(f"{name} symmetry", f"Right over left, {_plain(name)}") for name in pairs]


def _plain(name: str) -> str:
    """A channel without its side."""
    known = {"ground_force_vy": "vertical force"} | {f"{j}_resultant_bw": f"load of the {j} joint" for j in LOADS}
    return known.get(name) or with_side(name)


def _measures(evidence: Evidence, m: MotionEvidence) -> dict[str, tuple[float, str]]:
    """Of a whole motion, which is one repetition."""
    if m.q is None:
        return {}
    tables, folder = evidence.skeleton.tables, evidence.folder / m.name
    space = {*tables.root["rotations"], *tables.root["translations"]}
    angles = [n for n, turns in zip(tables.coordinates, tables.rotational, strict=True) if turns and n not in space]
    recorded = MeasuredTrial(
        coordinates=m.q,
        angles=tuple(angles),
        mass_kg=float(evidence.skeleton.own_mass.sum()),
        activations=m.simulated,
        moments=_motion(folder / "inverse_dynamics.sto"),
        ground_forces=_motion(folder / "grf.mot"),
        joint_loads=_motion(folder / "joint_loads.sto"),
    )
    start, end = float(m.q.time[0]), float(m.q.time[-1])
    one = Performance(m.name, "", end - start, recorded.channels(start, end))
    return one.measures | one.symmetry


def _motion(path: Path) -> Motion | None:
    if not path.is_file():
        return None
    table = read_storage(path)
    return Motion(table.time, table.values, table.names)


def _movement(evidence: Evidence, norms: Norms) -> str:
    """The movement of the motions, where the norms have several."""
    known = list(norms.movements)
    for m in evidence.motions if len(known) > 1 else ():
        try:
            found = find_movement(m.q).movement if m.q is not None else None
        except RepetitionError:
            continue
        if found in known:
            return found
    return known[0]
