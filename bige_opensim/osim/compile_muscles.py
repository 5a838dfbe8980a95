"""Sample the muscles of an .osim into the arrays from which `physics.muscles` runs without opensim."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import opensim
from jaxtyping import Bool, Float, Int
from scipy.stats import qmc

from bige_opensim.io.cache import kept
from bige_opensim.osim.mirror import find_mirror
from bige_opensim.osim.model import ModelError, file_sha256, load, require_muscles
from bige_opensim.osim.muscle_parameters import muscle_curves, muscle_parameters
from bige_opensim.osim.path_fit import PathFit, fit_paths
from bige_opensim.osim.path_sampler import PathSampler
from bige_opensim.physics.muscle_tables import MUSCLE_CLASSES, MuscleTables

FORMAT = 11
PROBE_POSES = 24
FIRST_POSES = 2
PROBE_STEP = 1e-4
LARGEST_DIFFERENCE = 3e-3
WIDEST = 1e3
SEEN_POSES = 2
SMALLEST_MOMENT_ARM, SMALLEST_ACTION = 1e-5, 1e-9
SMALLEST_HALF_RANGE = {"rotational": 0.05, "translational": 0.005}
ROUGH_NM = 3.0
"""Error of a muscle's moment at full force, N·m, from which on a pose belongs to where its polynomial is rough."""
SPREAD = {"rotational": 0.05, "translational": 0.005}
"""How far around the poses of a movement paths are sampled, standard deviation in rad or m."""


def compile_muscles(
    path: Path | str,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    *,
    movement: Float[np.ndarray, "frame coordinate"] | None = None,
    poses: int = 800,
    seed: int = 0,
    cache: bool = True,
    sampler: Callable[[], PathSampler] | None = None,
) -> MuscleTables:
    """Path polynomials, parameters and curves of all muscles of a model.

    Path lengths and moment arms are sampled from OpenSim, and polynomials are fitted to both; couplers are composed in,
    so that lengths depend on independent coordinates only. Poses are those of a Sobol sequence over the ranges, in
    which coordinates that no muscle spans together share a dimension (both legs are sampled at once), or poses of a
    `movement` with some noise: a box over the ranges of several coordinates is mostly poses that nobody takes, such as
    a hip bent by 120 degrees over a straight knee, and the same number of terms follows the paths better where people
    are.

    Parameters
    ----------
    path
        The .osim file.
    ranges
        Range of the movement per independent coordinate in rad or m; coordinates without one take the model's.
    movement
        Poses of recorded motions in the order of the model's independent coordinates, rad and m. As many of them as
        are asked for are taken, each as far as can be from those taken before (Gonzalez 1985,
        doi:10.1016/0304-3975(85)90224-5), so that a short jump counts beside long sitting.
    poses, seed
        Number of sampled poses, and seed of the Sobol sequence or the noise.
    cache
        Keep and reuse the result, addressed by the model's sha256, the ranges, the movement, `poses` and `seed`.
    sampler
        Gives a sampler of the model, where there is one.

    Raises
    ------
    ModelError
        A muscle class or constraint is not supported (named with the component's path), the model has no muscles, a
        range names an unknown coordinate, or a spanned coordinate has no finite range.

    """
    name = f"muscles-{FORMAT}-{_cache_key(file_sha256(path), ranges or {}, movement, poses, seed)}"

    def make() -> MuscleTables:
        if sampler is None:
            model = load(path)
            require_muscles(model)
            return _Compiler(PathSampler(model)).tables(ranges or {}, movement, poses, seed)
        return _Compiler(sampler()).tables(ranges or {}, movement, poses, seed)

    return kept(name, make, pack=MuscleTables.to_bytes, unpack=MuscleTables.from_bytes) if cache else make()


def _cache_key(
    sha256: str, ranges: Mapping[str, tuple[float, float]], movement: np.ndarray | None, poses: int, seed: int
) -> str:
    plain = {name: [float(v) for v in limits] for name, limits in sorted(ranges.items())}
    where = None if movement is None else hashlib.sha256(np.ascontiguousarray(movement)).hexdigest()
    what = json.dumps([opensim.GetVersion(), sha256, plain, where, poses, seed])
    return hashlib.sha256(what.encode()).hexdigest()[:32]


class _Probed(NamedTuple):
    """What a few poses tell of the muscles.

    spans: coordinates that each muscle's length depends on; differences (M, C): by how much R and -dL/dq differ, m/rad
    or m/m; together: groups of muscles whose moment arms can be told apart when all are pulled on at once.
    """

    spans: list[tuple[int, ...]]
    differences: Float[np.ndarray, "muscle coordinate"]
    together: list[list[int]]


class _Compiler:
    def __init__(self, sampler: PathSampler) -> None:
        self.model, self.sampler = sampler.model, sampler
        self.kinds = {c.name: c.kind for c in self.model.coordinates}
        self.classes = tuple(self._class(m) for m in self.sampler.muscles)

    def _class(self, muscle: opensim.Muscle) -> str:
        kind = str(muscle.getConcreteClassName())
        if kind not in MUSCLE_CLASSES:
            raise ModelError(
                f"{self.model.path}: muscle {muscle.getAbsolutePathString()} is a {kind}, which is not supported. "
                f"Supported: {', '.join(MUSCLE_CLASSES)}. Replace it in the model, or label with the opensim solver."
            )
        return kind

    def tables(
        self, ranges: Mapping[str, tuple[float, float]], movement: np.ndarray | None, poses: int, seed: int
    ) -> MuscleTables:
        lower, upper = self._ranges(ranges)
        probes = self._probe_poses(lower, upper, movement)
        probed = self._probe(probes)
        spans, differences = probed.spans, probed.differences
        used = sorted({c for span in spans for c in span})
        self._require_finite(used, lower, upper)
        mirror = find_mirror(self.sampler, spans, probed.together, probes)
        if mirror is not None:
            lower, upper, differences = mirror.widest(lower, upper, differences)
            poses = -(-poses // 2)
        centre, scale = np.zeros(len(lower)), np.ones(len(lower))
        centre[used], scale[used] = 0.5 * (lower + upper)[used], 0.5 * (upper - lower)[used]
        if movement is None:
            x = _box(spans, used, len(centre), poses, seed)
        else:
            taken = self._around(movement, used, poses, seed)
            x = np.zeros((poses, len(centre)))
            x[:, used] = ((taken.clip(lower, upper) - centre) / scale)[:, used]
        lengths, arms = self._sampled(centre + scale * x, probed)
        apart = np.array([differences[m, list(s)].max(initial=0.0) > LARGEST_DIFFERENCE for m, s in enumerate(spans)])
        if mirror is None:
            fits = fit_paths(x, lengths, arms, spans, scale, apart, seed=seed)
        else:
            x, lengths, arms = mirror.both_sides(x, lengths, arms)
            own = mirror.one_side
            fits = fit_paths(x, lengths[:, own], arms[:, own], [spans[m] for m in own], scale, apart[own], seed=seed)
            fits = mirror.onto_both(fits)
        unused = np.setdiff1d(np.arange(len(lower)), used)
        lower[unused], upper[unused] = -np.inf, np.inf
        curves, rows = muscle_curves(self.sampler.muscles)
        return MuscleTables(
            names=self.model.muscle_names,
            classes=self.classes,
            coordinates=self.sampler.names,
            **_packed(fits, spans),
            **self._rough(fits, centre + scale * x),
            moment_arm_difference=np.array([differences[m, c] for m, span in enumerate(spans) for c in span]),
            apart=apart,
            centre=centre,
            scale=scale,
            lower=lower,
            upper=upper,
            parameters=muscle_parameters(self.sampler.muscles) | self._bounds(),
            curve_low=curves.low,
            curve_step=curves.step,
            curve_nodes=curves.nodes,
            active_curve=rows[:, 0],
            velocity_curve=rows[:, 1],
            passive_curve=rows[:, 2],
            source={
                "file": self.model.path.name,
                "sha256": self.model.sha256,
                "opensim": opensim.GetVersion(),
                "poses": len(x),
                "around": "ranges" if movement is None else "movement",
                "seed": seed,
            },
        )

    def _rough(self, fits: list[PathFit], poses: Float[np.ndarray, "pose coordinate"]) -> dict[str, np.ndarray]:
        """The sampled poses, and those in which a muscle's moment at full force is off by more than ROUGH_NM."""
        error = np.stack([fit.moment_arm_errors for fit in fits], axis=1) * self.model.max_isometric_force
        return {"sampled": poses, "rough": error > ROUGH_NM}

    def _bounds(self) -> dict[str, np.ndarray]:
        """Controls as static optimization has them; both 0 for a muscle that is off."""
        return dict(zip(("min_control", "max_control"), self.model.activation_bounds.T.copy(), strict=True))

    def _ranges(self, ranges: Mapping[str, tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
        """Ranges of the independent coordinates: given, else the model's, never wider than a turn, never empty."""
        unknown = sorted(set(ranges) - set(self.sampler.names))
        if unknown:
            raise ModelError(
                f"{self.model.path}: ranges were given for {', '.join(unknown)}, which are no independent coordinates "
                f"of this model. Expected among: {', '.join(self.sampler.names)}."
            )
        for name, (low, high) in ranges.items():
            if not (np.isfinite([low, high]).all() and low <= high):
                raise ModelError(
                    f"{self.model.path}: expected finite low <= high for the range of {name}, got {low}, {high}."
                )
        own = {c.name: (c.range_min, c.range_max) for c in self.model.coordinates}
        limits = np.array([ranges.get(n, own[n]) for n in self.sampler.names], dtype=float)
        limits = np.where(np.isnan(limits), [-np.inf, np.inf], limits)
        for k, name in enumerate(self.sampler.names):
            if self.kinds[name] == "rotational" and name not in ranges:
                limits[k] = limits[k].clip(-np.pi, np.pi)
            least = SMALLEST_HALF_RANGE.get(self.kinds[name], SMALLEST_HALF_RANGE["rotational"])
            middle, half = limits[k].mean(), 0.5 * np.ptp(limits[k])
            if not half >= least:
                limits[k] = middle - least, middle + least
        return limits[:, 0], limits[:, 1]

    def _require_finite(self, used: list[int], lower: np.ndarray, upper: np.ndarray) -> None:
        for c in used:
            if not np.isfinite([lower[c], upper[c]]).all() or upper[c] - lower[c] > WIDEST:
                raise ModelError(
                    f"{self.model.path}: coordinate {self.sampler.names[c]} moves muscles and its range is "
                    f"{lower[c]:g} to {upper[c]:g}; polynomials need a finite one. Give a range for it."
                )

    def _probe_poses(
        self, lower: np.ndarray, upper: np.ndarray, movement: np.ndarray | None
    ) -> Float[np.ndarray, "pose coordinate"]:
        """Poses of the movement, or random ones of the range."""
        if movement is not None:
            return self._around(movement, list(range(len(lower))), PROBE_POSES, 0)
        middle = 0.5 * (lower.clip(-WIDEST, WIDEST) + upper.clip(-WIDEST, WIDEST))
        low, high = np.maximum(lower, middle - np.pi), np.minimum(upper, middle + np.pi)
        return np.random.default_rng(0).uniform(low, high, (PROBE_POSES, len(low)))

    def _probe(self, poses: Float[np.ndarray, "pose coordinate"]) -> _Probed:
        """Coordinates that each muscle's length depends on, and by how much R and -dL/dq differ (M, C).

        Lengths are differenced forwards at every pose; the difference reported is its 90th percentile. In the first
        poses one coordinate is moved at a time, afterwards those together that no muscle spans together.
        """
        count = poses.shape[1]
        slopes = np.zeros((len(poses), len(self.sampler.muscles), count))
        arms = np.zeros_like(slopes)
        moved = [[c] for c in range(count)]
        for n, q in enumerate(poses):
            if n == FIRST_POSES:
                moved = _apart_from_each_other(slopes[:n])
            lengths, arms[n] = self.sampler.lengths_and_moment_arms(q)
            for group in moved:
                slopes[n] += self._differenced(q, lengths, group, slopes[:n])
        depends = (np.abs(slopes) > SMALLEST_MOMENT_ARM).sum(axis=0) >= SEEN_POSES
        spans = [tuple(int(c) for c in np.flatnonzero(row)) for row in depends]
        return _Probed(spans, np.quantile(np.abs(slopes + arms), 0.9, axis=0), _pulled_together(depends, arms))

    def _differenced(
        self, q: np.ndarray, lengths: np.ndarray, group: list[int], before: np.ndarray
    ) -> Float[np.ndarray, "muscle coordinate"]:
        """dL/dq of some coordinates, moved at once; one by one where a muscle moves that was not known to."""
        found = np.zeros(before.shape[1:])
        step = np.zeros(len(q))
        step[group] = PROBE_STEP
        change = (self.sampler.lengths(q + step) - lengths) / PROBE_STEP
        if len(group) == 1:
            found[:, group[0]] = change
            return found
        known = (np.abs(before[:, :, group]) > SMALLEST_MOMENT_ARM).any(axis=0)
        if (np.abs(change[~known.any(axis=1)]) > SMALLEST_MOMENT_ARM).any():
            return sum((self._differenced(q, lengths, [c], before) for c in group), found)
        for k, c in enumerate(group):
            found[known[:, k], c] = change[known[:, k]]
        return found

    def _around(
        self, movement: Float[np.ndarray, "frame coordinate"], used: list[int], poses: int, seed: int
    ) -> Float[np.ndarray, "pose coordinate"]:
        """Poses of the movement that are far from each other in the coordinates `used`, with noise."""
        rng = np.random.default_rng(seed)
        spread = np.array([SPREAD.get(self.kinds[n], SPREAD["rotational"]) for n in self.sampler.names])
        taken = movement[_far_apart(movement[:, used] / spread[used], poses)]
        taken = np.resize(taken, (poses, taken.shape[1]))
        return taken + spread * rng.standard_normal(taken.shape)

    def _sampled(
        self, poses: Float[np.ndarray, "pose coordinate"], probed: _Probed
    ) -> tuple[Float[np.ndarray, "pose muscle"], Float[np.ndarray, "pose muscle coordinate"]]:
        """Lengths, and moment arms at the coordinates that each muscle spans."""
        lengths = np.empty((len(poses), len(probed.spans)))
        arms = np.empty((*lengths.shape, poses.shape[1]))
        for n, q in enumerate(poses):
            lengths[n], arms[n] = self.sampler.lengths_and_moment_arms(q, probed.together)
        for m, span in enumerate(probed.spans):
            arms[:, m, np.setdiff1d(np.arange(poses.shape[1]), span)] = 0.0
        return lengths, arms


def _apart_from_each_other(slopes: Float[np.ndarray, "pose muscle coordinate"]) -> list[list[int]]:
    """Groups of coordinates of which no muscle is known to span two; those that move no muscle are left out."""
    depends = (np.abs(slopes) > SMALLEST_MOMENT_ARM).any(axis=0)
    spans = [tuple(np.flatnonzero(row).tolist()) for row in depends]
    colours = _colours(spans, np.flatnonzero(depends.any(axis=0)).tolist())
    return [[c for c, own in colours.items() if own == colour] for colour in sorted(set(colours.values()))]


def _pulled_together(
    spans: Bool[np.ndarray, "muscle coordinate"], arms: Float[np.ndarray, "pose muscle coordinate"]
) -> list[list[int]]:
    """Groups of muscles of which none acts on a coordinate that another spans.

    A path over a wrapping surface may act on more than it spans: OpenSim's forces of the gastrocnemii do not quite
    balance, and so turn the pelvis.
    """
    acts = (np.abs(arms) > SMALLEST_ACTION).any(axis=0)
    groups: list[list[int]] = []
    for m in range(len(spans)):
        for group in groups:
            if not ((acts[group] & spans[m]).any() or (acts[m] & spans[group]).any()):
                group.append(m)
                break
        else:
            groups.append([m])
    return groups


def _far_apart(points: Float[np.ndarray, "point dimension"], count: int) -> Int[np.ndarray, " taken"]:
    """Indices of `count` points (all, where there are fewer), each the farthest from those before it."""
    count = min(count, len(points))
    taken = np.zeros(count, dtype=np.int64)
    taken[0] = np.argmax(((points - points.mean(axis=0)) ** 2).sum(axis=1))
    nearest = np.full(len(points), np.inf)
    for k in range(1, count):
        nearest = np.minimum(nearest, ((points - points[taken[k - 1]]) ** 2).sum(axis=1))
        taken[k] = np.argmax(nearest)
    return taken


def _box(
    spans: list[tuple[int, ...]], used: list[int], coordinates: int, poses: int, seed: int
) -> Float[np.ndarray, "pose coordinate"]:
    """Poses of a Sobol sequence over the box of the used coordinates, scaled to [-1, 1]."""
    colours = _colours(spans, used)
    cube = _sobol(1 + max(colours.values(), default=0), poses, seed)
    x = np.zeros((poses, coordinates))
    for c, colour in colours.items():
        x[:, c] = cube[:, colour]
    return x


def _colours(spans: list[tuple[int, ...]], used: list[int]) -> dict[int, int]:
    """Number per coordinate such that no muscle spans two coordinates of the same number (greedy colouring)."""
    rivals: dict[int, set[int]] = {c: set() for c in used}
    for span in spans:
        for c in span:
            rivals[c] |= set(span) - {c}
    colours: dict[int, int] = {}
    for c in sorted(used, key=lambda c: -len(rivals[c])):
        taken = {colours[r] for r in rivals[c] if r in colours}
        colours[c] = next(k for k in range(len(used)) if k not in taken)
    return colours


def _sobol(dimensions: int, count: int, seed: int) -> Float[np.ndarray, "pose dimension"]:
    """Sobol points in [-1, 1], shifted by a random vector modulo the cube (Cranley & Patterson 1976)."""
    power = int(np.ceil(np.log2(max(count, 2))))
    points = qmc.Sobol(dimensions, scramble=False).random_base2(power)[:count]
    return 2.0 * ((points + np.random.default_rng(seed).random(dimensions)) % 1.0) - 1.0


def _packed(fits: list[PathFit], spans: list[tuple[int, ...]]) -> dict[str, np.ndarray]:
    widest = max([1, *(len(s) for s in spans)])
    padded = [np.pad(f.exponents, ((0, 0), (0, widest - f.exponents.shape[1]))) for f in fits]
    return {
        "span_offsets": _offsets(len(s) for s in spans),
        "span_coordinates": np.array([c for s in spans for c in s], dtype=np.int64),
        "term_offsets": _offsets(len(f.coefficients) for f in fits),
        "exponents": np.concatenate(padded),
        "coefficients": np.concatenate([f.coefficients for f in fits]),
        "arm_coefficients": np.concatenate([f.arm_coefficients for f in fits]),
        "length_rms": np.array([f.length_rms for f in fits]),
        "length_max": np.array([f.length_max for f in fits]),
        "outlier_fraction": np.array([f.outlier_fraction for f in fits]),
        "moment_arm_rms": np.concatenate([f.moment_arm_rms for f in fits]),
        "moment_arm_max": np.concatenate([f.moment_arm_max for f in fits]),
    }


def _offsets(sizes: Iterator[int]) -> np.ndarray:
    return np.cumsum([0, *sizes])
