"""Every metric on every set of motions, beside controls that tell which of the metrics mean something."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from bige_opensim.guidance.proximity import Neighbourhood
from bige_opensim.physics.contact import FEET
from bige_opensim.validation import controls, legacy_metrics, metrics
from bige_opensim.validation.motion_set import MotionSet, MotionSetError

HELD_OUT, METHOD, CONTROL = "held out", "method", "control"
RECORDINGS = "recordings, held out"
FEWEST = 3
"""Fewest training motions that a distribution can be compared with."""
CONTROL_SIZE = 50
"""Size of the controls where nobody is held out; otherwise they are as many as the held-out motions."""
EVERY = 5
"""The bootstrap of the coordinates' distances looks at every fifth sample."""
NONSENSE = (controls.NOISE, controls.SHUFFLED)
ROUNDING = 1e-6
LOWER, HIGHER, NEAR = "lower", "higher", "near training"
HONEST, LEGACY = "honest", "legacy"


class Metric(NamedTuple):
    """One column: what it is called, its unit, which value is better (None: neither), and what group it is of."""

    key: str
    title: str
    unit: str
    better: str | None
    group: str = HONEST


METRICS = (
    Metric("wasserstein", "Wasserstein, angles", "deg", LOWER),
    Metric("wasserstein_velocity", "Wasserstein, angular velocities", "deg/s", LOWER),
    Metric("frechet", "Fréchet distance", "spreads", LOWER),
    Metric("coverage", "coverage", "share", HIGHER),
    Metric("density", "density", "1", HIGHER),
    Metric("precision", "precision", "share", HIGHER),
    Metric("recall", "recall", "share", HIGHER),
    Metric("diversity", "pairwise diversity", "of training", NEAR),
    Metric("novelty", "novelty, median", "usual distances", None),
    Metric("smoothness", "log dimensionless jerk", "1", NEAR),
    Metric("slide", "foot slide", "mm/s", LOWER),
    Metric("penetration", "penetration", "mm", LOWER),
    Metric("floating", "floating", "mm", LOWER),
    Metric("limits", "beyond joint limits", "deg", LOWER),
    Metric("confirmed", "confirmed by OpenSim", "share", HIGHER),
    Metric("legacy_fidelity", "fidelity", "deg², m²", LOWER, LEGACY),
    Metric("legacy_diversity", "diversity (entropy)", "nat", HIGHER, LEGACY),
    Metric("legacy_penetration", "penetration", "cm", LOWER, LEGACY),
    Metric("legacy_floating", "floating", "cm", LOWER, LEGACY),
    Metric("legacy_sliding", "sliding", "m/s", LOWER, LEGACY),
    Metric("legacy_tilt", "pelvis tilt, most forward", "deg", HIGHER, LEGACY),
    Metric("legacy_asymmetry", "asymmetry", "deg", LOWER, LEGACY),
    Metric("legacy_angular_velocity", "angular velocity", "deg/s", LOWER, LEGACY),
    Metric("legacy_com_velocity", "velocity of the centre of mass", "m/s", LOWER, LEGACY),
    Metric("legacy_com_acceleration", "acceleration of the centre of mass", "m/s²", LOWER, LEGACY),
    Metric("legacy_vastus_medialis", "vastus medialis, peak", "1", None, LEGACY),
)


class Value(NamedTuple):
    """A number, nan where it is not known, and half the width of its interval, nan where there is none."""

    value: float
    spread: float = float("nan")


def interval(metric: Metric, value: Value) -> tuple[float, float]:
    """Both ends of a value's interval, within what the metric can be; nan where there is none."""
    low, high = value.value - value.spread, value.value + value.spread
    if metric.unit == "share":
        return float(np.clip(low, 0.0, 1.0)), float(np.clip(high, 0.0, 1.0))
    return (max(low, 0.0) if np.isfinite(low) and metric.better == LOWER else low), high


UNKNOWN = Value(float("nan"))


@dataclass(frozen=True)
class Row:
    """One set of motions: what it is (`held out`, `method` or `control`), how many, of how many people, its values.

    Where there are several runs (seeds), values are their means and intervals 1.96 SD over them, and the numbers of
    motions and people are those of one; else intervals are 95 % over people drawn anew. `coordinates` has the
    Wasserstein distance of every coordinate, deg or mm.
    """

    name: str
    kind: str
    motions: int
    people: int
    values: dict[str, Value]
    coordinates: dict[str, Value]
    runs: int = 1


@dataclass(frozen=True)
class Evaluation:
    """The table: rows, what of each metric is known of its worth, and notes.

    `won_by` names the controls, noise and shuffled motions, that are at least as good as the held-out recordings: a
    metric that one of them wins does not discriminate. None where the metric ranks nothing, nobody is held out, or a
    value is not known.
    """

    rows: tuple[Row, ...]
    training: Row
    won_by: dict[str, tuple[str, ...] | None]
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def discriminates(self, metric: Metric) -> bool | None:
        """Whether the held-out recordings are better than nonsense; None where that is not known."""
        won = self.won_by[metric.key]
        return None if won is None else not won

    def as_dict(self) -> dict[str, Any]:
        """For evaluation.json; numbers that are not known are null."""
        content = {
            "rows": [_row_content(row) for row in self.rows],
            "training": _row_content(self.training),
            "metrics": {
                m.key: m._asdict() | {"discriminates": self.discriminates(m), "won_by": self.won_by[m.key]}
                for m in METRICS
            },
            "notes": list(self.notes),
            "provenance": self.provenance,
        }
        checked: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
        return checked


def _row_content(row: Row) -> dict[str, Any]:
    content = asdict(row)
    for part in ("values", "coordinates"):
        content[part] = {
            key: {"value": _known(v.value), "spread": _known(v.spread)} for key, v in getattr(row, part).items()
        }
    return content


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def evaluate_sets(
    training: MotionSet,
    held_out: MotionSet | None,
    methods: Sequence[MotionSet],
    *,
    replicates: int = metrics.REPLICATES,
    report: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """The table of every metric on the held-out recordings, the methods, and the controls.

    Parameters
    ----------
    training
        The reference: recordings of those who were trained on.
    held_out
        Recordings of other people: what real motions score.
    methods
        Sets of generated motions, or of other recordings; those of one name are runs of one method.
    replicates
        Of the bootstrap.
    report
        Told the name of every set when its turn comes.

    Raises
    ------
    MotionSetError
        Too few motions.

    """
    _check_sizes(training, methods)
    notes = [f"{s.name}: {note}" for s in methods for note in s.notes]
    if held_out is not None and len(held_out) < 2:
        notes.append("One recording alone is held out, too few for a distribution; it is left out.")
        held_out = None
    if held_out is None:
        notes.append("Nobody is held out in the reference, so that no metric can be told to discriminate.")
    measure = _Measure(Reference(training), replicates)
    count = len(held_out) if held_out is not None else min(len(training), CONTROL_SIZE)
    rows = []
    for motions in (held_out,) if held_out is not None else ():
        report(motions.name)
        rows.append(measure.row(motions, HELD_OUT))
    for name in dict.fromkeys(m.name for m in methods):
        report(name)
        runs = [m for m in methods if m.name == name]
        rows.append(_over_runs([measure.row(m, METHOD, spread=len(runs) == 1) for m in runs]))
    report("controls")
    for make in (controls.noise, controls.shuffled):
        drawn = [measure.row(make(training, count, seed), CONTROL, spread=False) for seed in controls.SEEDS]
        rows.append(_over_runs(drawn))
    rows.append(measure.row(controls.copy(training), CONTROL, spread=False))
    own = measure.row(training, CONTROL, spread=False)
    won_by = {m.key: _winners(m, rows, own) for m in METRICS}
    if all(np.isnan(row.values["slide"].value) for row in rows if row.kind != METHOD):
        notes.append(
            "The bodies of the recordings are not known, so that their contact and limits are not either; name the "
            "folder of their models."
        )
    return Evaluation(tuple(rows), own, won_by, tuple(notes))


def _check_sizes(training: MotionSet, methods: Sequence[MotionSet]) -> None:
    if len(training) < FEWEST:
        raise MotionSetError(
            f"The reference has {len(training)} training repetition(s); a distribution needs {FEWEST} at least. Label "
            "more recordings, or let more people train."
        )
    for motions in methods:
        if len(motions) < 2:
            raise MotionSetError(
                f"{motions.name}: one motion is no distribution; two at least are needed. Generate more motions."
            )


def _winners(metric: Metric, rows: Sequence[Row], training: Row) -> tuple[str, ...] | None:
    """The kinds of nonsense that are at least as good by this metric as the held-out recordings, to rounding."""
    held = [row for row in rows if row.kind == HELD_OUT]
    if metric.better is None or not held:
        return None
    ours = _badness(metric, held[0], training)
    others = {row.name: _badness(metric, row, training) for row in rows if row.name in NONSENSE}
    if not np.isfinite([ours, *others.values()]).all():
        return None
    return tuple(name for name, other in others.items() if other <= ours + ROUNDING * max(1.0, abs(ours)))


def _badness(metric: Metric, row: Row, training: Row) -> float:
    value = row.values[metric.key].value
    if metric.better == NEAR:
        return abs(value - training.values[metric.key].value)
    return value if metric.better == LOWER else -value


def _over_runs(rows: Sequence[Row]) -> Row:
    first = rows[0]
    if len(rows) == 1:
        return first

    def together(part: str) -> dict[str, Value]:
        found = {key: np.array([getattr(row, part)[key].value for row in rows]) for key in getattr(first, part)}
        return {k: Value(float(v.mean()), metrics.NORMAL_95 * float(v.std(ddof=1))) for k, v in found.items()}

    return replace(first, values=together("values"), coordinates=together("coordinates"), runs=len(rows))


class Reference:
    """The training motions and what is measured against them, computed once."""

    def __init__(self, training: MotionSet) -> None:
        self.motions = training
        rotational = training.frame.rotational
        self.neighbourhood = Neighbourhood(torch.as_tensor(training.q), rotational, training.people)
        scale = self.neighbourhood.scale.numpy()
        self.space = metrics.FeatureSpace.of(training.q, training.duration, rotational, scale)
        self.features = self.space(training.q, training.duration)
        self.vectors = self.space.vectors(training.q, training.duration)
        self.velocity = metrics.velocities(training.q, training.duration)

    @cached_property
    def between(self) -> np.ndarray:
        """Distances between the training motions."""
        return self.space.distances(self.vectors, self.vectors)

    @cached_property
    def neighbours(self) -> int:
        """How many make a neighbourhood: fewer where a motion has fewer fellows."""
        people = np.asarray(self.motions.people)
        others = np.not_equal.outer(people, people).sum(axis=1) if len(set(people)) > 1 else np.array(len(people) - 1)
        return min(metrics.NEIGHBOURS, int(others.min()))

    @cached_property
    def radii(self) -> np.ndarray:
        """Of the training motions' neighbourhoods."""
        return metrics.neighbourhood_radii(self.between, self.motions.people, self.neighbours)

    @cached_property
    def usual(self) -> float:
        """Mean distance between two training motions."""
        return metrics.mean_pairwise(self.between)


@dataclass(frozen=True)
class _Measure:
    """Measures sets against the reference."""

    reference: Reference
    replicates: int

    def row(self, motions: MotionSet, kind: str, *, spread: bool = True) -> Row:
        values = {m.key: UNKNOWN for m in METRICS}
        values |= self._distributions(motions, spread) | self._per_motion(motions, spread)
        coordinates = self._coordinates(motions, spread)
        return Row(motions.name, kind, len(motions), len(set(motions.people)), values, coordinates)

    def _spread(self, statistic: Callable[..., Any], motions: MotionSet, wanted: bool) -> Any:
        if not wanted:
            return np.full(np.shape(statistic(*self._all(motions))), np.nan)
        people = self.reference.motions.people
        return metrics.bootstrap_spread(statistic, motions.people, people, replicates=self.replicates)

    def _all(self, motions: MotionSet) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(len(motions)), np.arange(len(self.reference.motions))

    def _coordinates(self, motions: MotionSet, spread: bool) -> dict[str, Value]:
        """Wasserstein distance of every coordinate, deg or mm."""
        ours, theirs = self._file_units(motions.q), self._file_units(self.reference.motions.q)
        found = metrics.coordinate_distances(ours, theirs)
        x, y = ours[:, ::EVERY], theirs[:, ::EVERY]
        half = self._spread(lambda i, j: metrics.coordinate_distances(x[i], y[j]), motions, spread)
        names = motions.frame.coordinates
        return {n: Value(float(v), float(h)) for n, v, h in zip(names, found, half, strict=True)}

    def _file_units(self, q: np.ndarray) -> np.ndarray:
        return q * np.where(self.reference.motions.frame.rotational, np.rad2deg(1.0), 1e3)

    def _distributions(self, motions: MotionSet, spread: bool) -> dict[str, Value]:
        ref, angles = self.reference, motions.frame.angles
        positions = [np.rad2deg(s[..., angles]) for s in (motions.q, ref.motions.q)]
        speeds = [np.rad2deg(s[..., angles]) for s in (metrics.velocities(motions.q, motions.duration), ref.velocity)]
        features = ref.space(motions.q, motions.duration)
        vectors = ref.space.vectors(motions.q, motions.duration)
        far, own = ref.space.distances(vectors, ref.vectors), ref.space.distances(vectors, vectors)
        inside = far <= ref.radii
        reached = metrics.neighbourhood_radii(own, motions.people, ref.neighbours) >= far.T
        new = metrics.novelty(motions.q, ref.neighbourhood)
        pooled, pooled_reference = motions.degrees, ref.motions.degrees
        samples = slice(None, None, EVERY)

        def mean_distance(pair: list[np.ndarray]) -> Callable[..., float]:
            return lambda i, j: metrics.coordinate_distances(pair[0][i], pair[1][j]).mean()

        def sparse(pair: list[np.ndarray]) -> list[np.ndarray]:
            return [part[:, samples] for part in pair]

        whole: dict[str, Callable[..., float]] = {
            "wasserstein": mean_distance(positions),
            "wasserstein_velocity": mean_distance(speeds),
            "frechet": lambda i, j: metrics.frechet_distance(features[i], ref.features[j]),
            "coverage": lambda i, j: metrics.coverage(inside[np.ix_(i, j)]),
            "density": lambda i, j: metrics.density(inside[i], ref.neighbours),
            "precision": lambda i, j: metrics.precision(inside[i]),
            "recall": lambda i, j: metrics.precision(reached[j]),
            "diversity": lambda i, j: metrics.mean_pairwise(own[np.ix_(i, i)]) / ref.usual,
            "novelty": lambda i, j: float(np.median(new[i])),
            "legacy_fidelity": lambda i, j: legacy_metrics.fidelity(pooled[i], pooled_reference[j]),
        }
        drawn = whole | {
            "wasserstein": mean_distance(sparse(positions)),
            "wasserstein_velocity": mean_distance(sparse(speeds)),
        }
        everything = self._all(motions)
        return {
            key: Value(float(statistic(*everything)), float(self._spread(drawn[key], motions, spread)))
            for key, statistic in whole.items()
        }

    def _per_motion(self, motions: MotionSet, spread: bool) -> dict[str, Value]:
        found = {}
        for key, each in per_motion_values(motions).items():
            known = np.flatnonzero(np.isfinite(each))
            if not len(known):
                continue
            some = motions.chosen(known)
            half = self._spread(lambda i, j, x=each[known]: x[i].mean(), some, spread)
            found[key] = Value(float(each[known].mean()), float(half))
        return found


def per_motion_values(motions: MotionSet) -> dict[str, np.ndarray]:
    """Metrics that are a number of every motion, whose mean is in the table."""
    frame, q, duration = motions.frame, motions.q, motions.duration
    speed = metrics.velocities(q, duration)[..., frame.angles]
    found = {
        "smoothness": metrics.log_dimensionless_jerk(q[..., frame.angles], duration),
        "confirmed": np.array([np.nan if c is None else float(c) for c in motions.confirmed]),
        "limits": np.array([_beyond(motions, i) for i in range(len(q))]),
        "legacy_diversity": legacy_metrics.diversity(motions.degrees),
        "legacy_angular_velocity": legacy_metrics.root_mean_square(np.rad2deg(speed)),
        "legacy_vastus_medialis": legacy_metrics.peak_activation(motions.vastus_medialis),
        **_leg_values(motions),
    }
    return found | _contact_values(motions)


def _beyond(motions: MotionSet, i: int) -> float:
    body = motions.bodies[i]
    if body is None:
        return float("nan")
    excess = metrics.limit_excess(motions.q[i], motions.frame.coordinates, body.limits, body.triples)
    return float(np.rad2deg(excess))


def _leg_values(motions: MotionSet) -> dict[str, np.ndarray]:
    names, degrees = motions.frame.coordinates, motions.degrees
    found = {}
    if "pelvis_tilt" in names:
        found["legacy_tilt"] = legacy_metrics.forward_tilt(degrees[..., names.index("pelvis_tilt")])
    joints = ("hip_flexion", "knee_angle", "ankle_angle")
    sides = [[f"{joint}_{side}" for joint in joints] for side in FEET]
    if all(name in names for side in sides for name in side):
        right, left = (degrees[..., [names.index(n) for n in side]] for side in sides)
        found["legacy_asymmetry"] = legacy_metrics.root_mean_square(right - left)
    return found


def _contact_values(motions: MotionSet) -> dict[str, np.ndarray]:
    places, duration = motions.places, motions.duration
    if places is None:
        return {}
    height = legacy_metrics.lowest_joints(places.joints)
    velocity = metrics.velocities(places.com, duration)
    acceleration = metrics.velocities(velocity, duration)
    found = {
        "legacy_penetration": 100.0 * legacy_metrics.penetration(height),
        "legacy_floating": 100.0 * legacy_metrics.floating(height),
        "legacy_sliding": legacy_metrics.sliding(places.joints, duration),
        "legacy_com_velocity": legacy_metrics.root_mean_square(np.linalg.norm(velocity, axis=-1)),
        "legacy_com_acceleration": legacy_metrics.root_mean_square(np.linalg.norm(acceleration, axis=-1)),
    }
    if places.contact.shape[2]:
        found["slide"] = 1e3 * metrics.slide_speed(places.contact, duration, places.foot)
        found["penetration"] = 1e3 * metrics.penetration(places.contact)
        found["floating"] = 1e3 * metrics.floating(places.contact)
    return found
