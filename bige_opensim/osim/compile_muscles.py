"""Sample the muscles of an .osim into the arrays from which `physics.muscles` runs without opensim."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import opensim
from jaxtyping import Float
from scipy.stats import qmc

from bige_opensim.io.cache import kept
from bige_opensim.osim.model import ModelError, OsimModel, file_sha256, load, require_muscles
from bige_opensim.osim.muscle_parameters import muscle_curves, muscle_parameters
from bige_opensim.osim.path_fit import PathFit, fit_paths
from bige_opensim.osim.path_sampler import PathSampler
from bige_opensim.physics.muscle_tables import MUSCLE_CLASSES, MuscleTables

FORMAT = 3
PROBE_POSES = 40
FIRST_POSES = 8
PROBE_STEP = 1e-4
LARGEST_DIFFERENCE = 3e-3
WIDEST = 1e3
SEEN_POSES = 2
SMALLEST_MOMENT_ARM = 1e-5
SMALLEST_HALF_RANGE = {"rotational": 0.05, "translational": 0.005}


def compile_muscles(
    path: Path | str,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    *,
    poses: int = 800,
    seed: int = 0,
    cache: bool = True,
) -> MuscleTables:
    """Path polynomials, parameters and curves of all muscles of a model.

    Path lengths and moment arms are sampled from OpenSim on Sobol poses, and polynomials are fitted to both; couplers
    are composed in, so that lengths depend on independent coordinates only. Coordinates that no muscle spans together
    share a Sobol dimension: both legs are sampled at once.

    Parameters
    ----------
    path
        The .osim file.
    ranges
        Range of the movement per independent coordinate in rad or m; coordinates without one take the model's.
    poses, seed
        Number of sampled poses and seed of the Sobol sequence.
    cache
        Keep and reuse the result, addressed by the model's sha256, the ranges, `poses` and `seed`.

    Raises
    ------
    ModelError
        A muscle class or constraint is not supported (named with the component's path), the model has no muscles, a
        range names an unknown coordinate, or a spanned coordinate has no finite range.

    """
    name = f"muscles-{FORMAT}-{_cache_key(file_sha256(path), ranges or {}, poses, seed)}"

    def make() -> MuscleTables:
        model = load(path)
        require_muscles(model)
        return _Compiler(model).tables(ranges or {}, poses, seed)

    return kept(name, make, pack=MuscleTables.to_bytes, unpack=MuscleTables.from_bytes) if cache else make()


def _cache_key(sha256: str, ranges: Mapping[str, tuple[float, float]], poses: int, seed: int) -> str:
    plain = {name: [float(v) for v in limits] for name, limits in sorted(ranges.items())}
    what = json.dumps([opensim.GetVersion(), sha256, plain, poses, seed])
    return hashlib.sha256(what.encode()).hexdigest()[:32]


class _Compiler:
    def __init__(self, model: OsimModel) -> None:
        self.model = model
        self.sampler = PathSampler(model)
        self.kinds = {c.name: c.kind for c in model.coordinates}
        self.classes = tuple(self._class(m) for m in self.sampler.muscles)

    def _class(self, muscle: opensim.Muscle) -> str:
        kind = str(muscle.getConcreteClassName())
        if kind not in MUSCLE_CLASSES:
            raise ModelError(
                f"{self.model.path}: muscle {muscle.getAbsolutePathString()} is a {kind}, which is not supported. "
                f"Supported: {', '.join(MUSCLE_CLASSES)}. Replace it in the model, or label with the opensim solver."
            )
        return kind

    def tables(self, ranges: Mapping[str, tuple[float, float]], poses: int, seed: int) -> MuscleTables:
        lower, upper = self._ranges(ranges)
        spans, differences = self._probe(lower, upper)
        used = sorted({c for span in spans for c in span})
        self._require_finite(used, lower, upper)
        centre, scale = np.zeros(len(lower)), np.ones(len(lower))
        centre[used], scale[used] = 0.5 * (lower + upper)[used], 0.5 * (upper - lower)[used]
        x, lengths, arms = self._samples(spans, used, centre, scale, poses, seed)
        apart = np.array([differences[m, list(s)].max(initial=0.0) > LARGEST_DIFFERENCE for m, s in enumerate(spans)])
        fits = fit_paths(x, lengths, arms, spans, scale, apart, seed=seed)
        unused = np.setdiff1d(np.arange(len(lower)), used)
        lower[unused], upper[unused] = -np.inf, np.inf
        curves, rows = muscle_curves(self.sampler.muscles)
        return MuscleTables(
            names=self.model.muscle_names,
            classes=self.classes,
            coordinates=self.sampler.names,
            **_packed(fits, spans),
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
                "poses": poses,
                "seed": seed,
            },
        )

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

    def _probe(self, lower: np.ndarray, upper: np.ndarray) -> tuple[list[tuple[int, ...]], np.ndarray]:
        """Coordinates that each muscle's length depends on, and by how much R and -dL/dq differ (M, C).

        Lengths are differenced at random poses of the range; the difference reported is its 90th percentile.
        Coordinates that move no muscle in the first poses are not looked at again.
        """
        middle = 0.5 * (lower.clip(-WIDEST, WIDEST) + upper.clip(-WIDEST, WIDEST))
        low, high = np.maximum(lower, middle - np.pi), np.minimum(upper, middle + np.pi)
        rng = np.random.default_rng(0)
        slopes: list[np.ndarray] = []
        differences: list[np.ndarray] = []
        moving = np.arange(len(low))
        for pose in range(PROBE_POSES):
            q = rng.uniform(low, high)
            change = np.zeros((len(self.sampler.muscles), len(q)))
            for c in moving:
                step = PROBE_STEP * (np.arange(len(q)) == c)
                change[:, c] = self.sampler.lengths(q + step) - self.sampler.lengths(q - step)
            if pose == FIRST_POSES:
                moving = np.flatnonzero((np.array(slopes) > SMALLEST_MOMENT_ARM).any(axis=(0, 1)))
            slopes.append(np.abs(change) / (2 * PROBE_STEP))
            differences.append(np.abs(change / (2 * PROBE_STEP) + self.sampler.moment_arms(q)))
        depends = (np.array(slopes) > SMALLEST_MOMENT_ARM).sum(axis=0) >= SEEN_POSES
        return [tuple(int(c) for c in np.flatnonzero(row)) for row in depends], np.quantile(differences, 0.9, axis=0)

    def _samples(
        self,
        spans: list[tuple[int, ...]],
        used: list[int],
        centre: np.ndarray,
        scale: np.ndarray,
        poses: int,
        seed: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scaled poses (N, C), lengths (N, M) and moment arms (N, M, C)."""
        colours = _colours(spans, used)
        cube = _sobol(1 + max(colours.values(), default=0), poses, seed)
        x = np.zeros((poses, len(centre)))
        for c, colour in colours.items():
            x[:, c] = cube[:, colour]
        lengths = np.empty((poses, len(spans)))
        arms = np.empty((poses, len(spans), len(centre)))
        for n, q in enumerate(centre + scale * x):
            lengths[n] = self.sampler.lengths(q)
            arms[n] = self.sampler.moment_arms(q)
        return x, lengths, arms


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
