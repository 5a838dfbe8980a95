"""What is usual: reference intervals of repetitions by movement, symmetry, and the change that is more than chance.

A person counts once, by the mean of his or her repetitions. For n people with mean m and standard deviation s, the
interval that holds the next person of the same kind with 95 % is m ± t(0.975, n - 1) s √(1 + 1/n) (Horn et al. 1998,
doi:10.1093/clinchem/44.3.622); of curves it is taken sample by sample.

The standard error of measurement is what repetitions of one person differ by: SEM = √MSW, the mean square within
people of a one-way analysis of variance; the minimal detectable change between two repetitions is MDC95 = 1.96 √2 SEM,
and ICC(1,1) = (MSB - MSW) / (MSB + (k - 1) MSW) says what share of the variance lies between people (Weir 2005,
doi:10.1519/15184.1). Repetitions of one sitting vary less than sittings do: where people come once, changes from one
sitting to another need more than this MDC.

The symmetry index is 200 (R - L) / (R + L) %: positive where the right side has more (Robinson et al. 1987, J
Manipulative Physiol Ther 10:172-176).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from bige_opensim.labelling.label import Label
from bige_opensim.motion import Motion
from bige_opensim.physics.anthropometry import STANDARD_GRAVITY

SAMPLES = 101
CONFIDENCE = 0.95
FEWEST = 3
"""People below whom no interval is given."""
DURATION = "duration"
_RIGHT = re.compile(r"_r(?=_|$)")


@dataclass(frozen=True, eq=False)
class Channel:
    """One curve of a repetition: its unit, values over 0 to 100 %, and what is measured of it."""

    unit: str
    values: Float[np.ndarray, " sample"]
    signed: bool

    @property
    def measures(self) -> dict[str, float]:
        """Of an angle the largest, the smallest and the range; the peak magnitude of all others."""
        if not self.signed:
            return {"peak": float(np.abs(self.values).max())}
        return {"max": float(self.values.max()), "min": float(self.values.min()), "range": float(np.ptp(self.values))}


@dataclass(frozen=True, eq=False)
class Performance:
    """One repetition of a movement by a person; `sex` ("f", "m") and `age_years` where they are known."""

    subject: str
    movement: str
    duration_s: float
    channels: Mapping[str, Channel]
    sex: str | None = None
    age_years: float | None = None

    @property
    def measures(self) -> dict[str, tuple[float, str]]:
        """Value and unit by name, such as `knee_angle_r max`."""
        found = {DURATION: (self.duration_s, "s")}
        for name, channel in self.channels.items():
            found |= {f"{name} {kind}": (value, channel.unit) for kind, value in channel.measures.items()}
        return found

    @property
    def symmetry(self) -> dict[str, tuple[float, str]]:
        """Symmetry index by the right side's channel; of angles that of their ranges."""
        found = {}
        for name, channel in self.channels.items():
            other = self.channels.get(_RIGHT.sub("_l", name, count=1))
            if not _RIGHT.search(name) or other is None:
                continue
            kind = "range" if channel.signed else "peak"
            right, left = channel.measures[kind], other.measures[kind]
            if right + left > 0.0:
                found[f"{_RIGHT.sub('', name, count=1)} symmetry"] = (200.0 * (right - left) / (right + left), "%")
        return found


@dataclass(frozen=True, eq=False)
class MeasuredTrial:
    """What is known of a trial: rad, N, N·m and body weights (`joint_loads`), the angles to measure, the mass in kg.

    `angles` are rotations of joints: those of the whole body in space are left out, as are residuals.
    """

    coordinates: Motion
    angles: tuple[str, ...]
    mass_kg: float
    activations: Motion | None = None
    moments: Motion | None = None
    ground_forces: Motion | None = None
    joint_loads: Motion | None = None

    @classmethod
    def of(cls, label: Label) -> MeasuredTrial:
        """What a label knows."""
        found, root = label.channels, label.record.get("root", {})
        space = {*root.get("rotations", ()), *root.get("translations", ())}
        return cls(
            coordinates=found.coordinates,
            angles=tuple(n for n in found.coordinates.names if n in label.rotational and n not in space),
            mass_kg=float(label.record["mass_kg"]),
            activations=found.activations,
            moments=found.moments,
            ground_forces=found.ground_forces,
            joint_loads=found.joint_loads,
        )

    def channels(self, start: float, end: float) -> dict[str, Channel]:
        """Curves between two times (s): degrees, N m/kg, body weights, activations."""
        weight = STANDARD_GRAVITY * self.mass_kg
        moments = [f"{name}_moment" for name in self.angles]
        vertical = [f"ground_force_{side}_vy" for side in "rl"]
        loads = [n for n in (self.joint_loads.names if self.joint_loads else ()) if n.endswith("_resultant_bw")]
        muscles = self.activations.names if self.activations else ()
        grid = np.linspace(start, end, SAMPLES)
        return {
            name: Channel(unit, factor * np.interp(grid, motion.time, motion[name]), unit == "degrees")
            for motion, names, unit, factor in (
                (self.coordinates, self.angles, "degrees", float(np.rad2deg(1.0))),
                (self.moments, moments, "N m/kg", 1.0 / self.mass_kg),
                (self.ground_forces, vertical, "body weights", 1.0 / weight),
                (self.joint_loads, loads, "body weights", 1.0),
                (self.activations, muscles, "1", 1.0),
            )
            if motion is not None
            for name in names
            if name in motion
        }


@dataclass(frozen=True)
class Statistics:
    """Of one measure over people. `low` and `high` are the reference interval, None for fewer than FEWEST people.

    `sem`, `mdc95` and `icc` are None where nobody has several repetitions.
    """

    unit: str
    people: int
    repetitions: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    sem: float | None
    mdc95: float | None
    icc: float | None


def statistics(
    values: Mapping[str, Sequence[float]], unit: str, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Statistics:
    """Of the values of every person's repetitions, by person; `bounds` are what the measure can be."""
    groups = [np.asarray(v, dtype=np.float64) for v in values.values()]
    means, counts = np.array([g.mean() for g in groups]), np.array([len(g) for g in groups])
    n, total = len(groups), int(counts.sum())
    spread = float(means.std(ddof=1)) if n > 1 else None
    low, high = interval(means[:, None])
    inside = None
    if total > n:
        inside = float(sum(((g - g.mean()) ** 2).sum() for g in groups)) / (total - n)
    sem = None if inside is None else float(np.sqrt(inside))
    return Statistics(
        unit=unit,
        people=n,
        repetitions=total,
        mean=float(means.mean()),
        sd=spread,
        low=None if low is None else max(float(low[0]), bounds[0]),
        high=None if high is None else min(float(high[0]), bounds[1]),
        sem=sem,
        mdc95=None if sem is None else float(stats.norm.ppf(0.5 + CONFIDENCE / 2) * np.sqrt(2.0) * sem),
        icc=None if inside is None or n < 2 else _icc(means, counts, inside),
    )


def interval(
    means: Float[np.ndarray, "person sample"],
) -> tuple[Float[np.ndarray, " sample"], Float[np.ndarray, " sample"]] | tuple[None, None]:
    """The reference interval of people's means, None for fewer than FEWEST people."""
    n = len(means)
    if n < FEWEST:
        return None, None
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * means.std(axis=0, ddof=1) * np.sqrt(1.0 + 1.0 / n)
    return means.mean(0) - half, means.mean(0) + half


def _icc(means: np.ndarray, counts: np.ndarray, inside: float) -> float | None:
    """ICC(1,1), with the mean number of repetitions of an unbalanced analysis of variance."""
    n, total = len(means), counts.sum()
    grand = (counts * means).sum() / total
    between = float((counts * (means - grand) ** 2).sum()) / (n - 1)
    k = (total - (counts**2).sum() / total) / (n - 1)
    variance = between + (k - 1.0) * inside
    return float((between - inside) / variance) if variance > 0.0 else None


def norms_of(performances: Sequence[Performance]) -> dict[str, Any]:
    """By movement: statistics of all measures for all people and for every group of sex and age, and curves for all."""
    movements = dict.fromkeys(p.movement for p in performances)
    return {name: _of_movement([p for p in performances if p.movement == name]) for name in movements}


def _of_movement(performances: Sequence[Performance]) -> dict[str, Any]:
    groups = [{"sex": None, "age": None, **_of_group(performances)}]
    for sex, age in sorted({(p.sex, decade(p.age_years)) for p in performances}, key=str):
        for wanted in dict.fromkeys([(sex, None), (None, age), (sex, age)]):
            mine = [p for p in performances if _belongs(p, *wanted)]
            known = {"sex": wanted[0], "age": wanted[1]}
            if (
                any(wanted)
                and len({p.subject for p in mine}) > 1
                and not any(known.items() <= g.items() for g in groups)
            ):
                groups.append({**known, **_of_group(mine)})
    return {"groups": groups, "curves": _curves(performances)}


def decade(age_years: float | None) -> str | None:
    """Such as "20-29"."""
    return None if age_years is None else f"{10 * int(age_years // 10)}-{10 * int(age_years // 10) + 9}"


def _belongs(p: Performance, sex: str | None, age: str | None) -> bool:
    return (sex is None or p.sex == sex) and (age is None or decade(p.age_years) == age)


def _of_group(performances: Sequence[Performance]) -> dict[str, Any]:
    return {
        "people": len({p.subject for p in performances}),
        "repetitions": len(performances),
        "measures": _statistics((p.subject, p.measures) for p in performances),
        "symmetry": _statistics((p.subject, p.symmetry) for p in performances),
    }


def _statistics(found: Iterable[tuple[str, Mapping[str, tuple[float, str]]]]) -> dict[str, Statistics]:
    values: dict[str, dict[str, list[float]]] = {}
    units: dict[str, str] = {}
    for subject, measures in found:
        for name, (value, unit) in measures.items():
            values.setdefault(name, {}).setdefault(subject, []).append(value)
            units[name] = unit
    return {
        name: statistics(by_person, units[name], bounds_of(name, units[name])) for name, by_person in values.items()
    }


def bounds_of(measure: str, unit: str) -> tuple[float, float]:
    """What a measure can be: magnitudes and ranges from 0, activations up to 1."""
    magnitude = measure == DURATION or measure.endswith((" peak", " range"))
    return 0.0 if magnitude else -np.inf, 1.0 if unit == "1" else np.inf


def _curves(performances: Sequence[Performance]) -> dict[str, Any]:
    """Mean and reference interval of every channel, over people."""
    by_person: dict[str, dict[str, list[np.ndarray]]] = {}
    units: dict[str, str] = {}
    for p in performances:
        for name, channel in p.channels.items():
            by_person.setdefault(name, {}).setdefault(p.subject, []).append(channel.values)
            units[name] = channel.unit
    found = {}
    for name, people in by_person.items():
        means = np.array([np.mean(curves, axis=0) for curves in people.values()])
        low, high = interval(means)
        found[name] = {"unit": units[name], "people": len(means), "mean": means.mean(0), "low": low, "high": high}
    return found
