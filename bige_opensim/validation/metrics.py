"""How near generated motions are to people's, how varied, how new, and whether a body could make them.

Every metric is a function of arrays: motions q (motion, sample, coordinate) in rad and m over 0 to 100 % of their
duration, durations in s, contact points in m. Distances between motions are root mean squares over samples,
coordinates and their velocities, each in units of its spread in the reference (`FeatureSpace`): of positions alone,
noise of the right spread is as near to people as they are to each other. `legacy_metrics` has the metrics of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial.distance import cdist

from bige_opensim.guidance import terms
from bige_opensim.guidance.proximity import Neighbourhood
from bige_opensim.learning.channels import LOG_DURATION_FLOOR, SCALE_FLOOR
from bige_opensim.motion import Motion
from bige_opensim.validation.joint_limits import beyond_limits
from bige_opensim.validation.motion_gates import LOWEST_M, STEPPING_M

NEIGHBOURS = 5
"""Neighbours that make a reference motion's neighbourhood (Naeem et al. 2020 use 5)."""
AXES = 10
"""Principal axes of the reference in which motions are described for the Fréchet distance."""
REPLICATES = 200
NORMAL_95 = 1.96


def wasserstein(x: Float[np.ndarray, n * channel], y: Float[np.ndarray, m * channel]) -> Float[np.ndarray, "*channel"]:
    """Wasserstein-1 distance between two samples, for every channel by itself, in the channel's unit.

    In one dimension W = ∫₀¹ |F⁻¹(u) - G⁻¹(u)| du (Vallender 1974, doi:10.1137/1118101). The quantile functions of
    samples of n and m values are steps at i/n and j/m; between two steps the integrand is a constant.
    """
    n, m = len(x), len(y)
    steps = np.unique(np.concatenate([np.arange(n + 1) * m, np.arange(m + 1) * n]))
    share = np.diff(steps) / (n * m)
    difference = np.abs(np.sort(x, axis=0)[steps[:-1] // m] - np.sort(y, axis=0)[steps[:-1] // n])
    found: np.ndarray = np.tensordot(share, difference, axes=1)
    return found


def coordinate_distances(
    q: Float[np.ndarray, "n sample coordinate"], reference: Float[np.ndarray, "m sample coordinate"]
) -> Float[np.ndarray, " coordinate"]:
    """Wasserstein distance of each coordinate at the same part of the repetition, in the mean over the samples.

    Values are compared at the same phase: over all samples together, motions whose samples are shuffled in time would
    be at distance 0.
    """
    return wasserstein(q, reference).mean(axis=0)


def velocities(
    q: Float[np.ndarray, "motion sample coordinate"], duration: Float[np.ndarray, " motion"]
) -> Float[np.ndarray, "motion sample coordinate"]:
    """Time derivatives by central differences, rad/s and m/s."""
    return terms.time_derivative(torch.as_tensor(q), torch.as_tensor(duration)).numpy()


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Motions as points: places on the reference's principal axes, and how far off those axes they are.

    A motion is the vector y of its coordinates, their velocities and its log duration at all samples, each in units of
    its spread in the reference, divided by the root of its length: |y - y'| is a root mean square difference. With ȳ
    the reference's mean and P its first principal axes, its features are (Pᵀ(y - ȳ), |(I - PPᵀ)(y - ȳ)|): what the
    axes cannot describe, such as noise, is seen by its size. Everything is in spreads.
    """

    scale: Float[np.ndarray, " coordinate"]
    velocity_scale: Float[np.ndarray, " coordinate"]
    log_duration: tuple[float, float]
    mean: Float[np.ndarray, " length"]
    axes: Float[np.ndarray, "axis length"]

    @classmethod
    def of(
        cls,
        q: Float[np.ndarray, "motion sample coordinate"],
        duration: Float[np.ndarray, " motion"],
        rotational: Sequence[bool],
        scale: Float[np.ndarray, " coordinate"],
    ) -> FeatureSpace:
        """Of the reference motions and the spread of their coordinates (`Neighbourhood.scale`)."""
        log, speed = np.log(duration), velocities(q, duration)
        angle, length = SCALE_FLOOR["velocity"]
        fastest = np.maximum(speed.std(axis=(0, 1)), np.where(rotational, angle, length))
        pace = (float(log.mean()), max(float(log.std()), LOG_DURATION_FLOOR))
        space = cls(scale, fastest, pace, np.zeros(0), np.zeros((0, 0)))
        y = space.vectors(q, duration)
        mean = y.mean(axis=0)
        axes = np.linalg.svd(y - mean, full_matrices=False)[2][: min(AXES, len(y) - 1)]
        return cls(scale, fastest, pace, mean, axes)

    def __call__(
        self, q: Float[np.ndarray, "motion sample coordinate"], duration: Float[np.ndarray, " motion"]
    ) -> Float[np.ndarray, "motion feature"]:
        """Features of motions; the last is the distance off the axes."""
        y = self.vectors(q, duration) - self.mean
        along = y @ self.axes.T
        off = np.linalg.norm(y - along @ self.axes, axis=1)
        return np.column_stack([along, off])

    def vectors(
        self, q: Float[np.ndarray, "motion sample coordinate"], duration: Float[np.ndarray, " motion"]
    ) -> Float[np.ndarray, "motion length"]:
        """The vectors y of motions."""
        middle, spread = self.log_duration
        pace = np.broadcast_to(((np.log(duration) - middle) / spread)[:, None, None], (*q.shape[:2], 1))
        speed = velocities(q, duration) / self.velocity_scale
        y = np.concatenate([q / self.scale, speed, pace], axis=2).reshape(len(q), -1)
        return y / np.sqrt(y.shape[1])

    def distances(self, x: Float[np.ndarray, "n length"], y: Float[np.ndarray, "m length"]) -> Float[np.ndarray, "n m"]:
        """Between motions, given their vectors."""
        found: np.ndarray = cdist(x, y)
        return found


def shrunk_covariance(x: Float[np.ndarray, "n feature"]) -> Float[np.ndarray, "feature feature"]:
    """Covariance whose correlations are shrunk towards 0, as much as few samples ask for.

    With S the unbiased sample covariance, r its correlations, and λ the share that minimises the expected squared
    error of λ diag(S) + (1 - λ) S,

        λ = Σ_{i≠j} Var(r_ij) / Σ_{i≠j} r_ij²,  clipped to [0, 1],

    where Var(r_ij) = n / (n - 1)³ Σ_k (w_kij - w̄_ij)² with w_kij = z_ki z_kj of standardised samples (Schäfer and
    Strimmer 2005, doi:10.2202/1544-6115.1175). Variances stay. Two samples or more are needed.
    """
    n = len(x)
    centred = x - x.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=0) / (n - 1))
    z = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    w = z[:, :, None] * z[:, None, :]
    r = w.sum(axis=0) / (n - 1)
    variance = n / (n - 1) ** 3 * ((w - w.mean(axis=0)) ** 2).sum(axis=0)
    off = ~np.eye(x.shape[1], dtype=bool)
    total = float((r[off] ** 2).sum())
    keep = 1.0 - min(float(variance[off].sum()) / total, 1.0) if total > 0 else 0.0
    return np.where(off, keep * r, 1.0) * np.outer(spread, spread)


def frechet_distance(x: Float[np.ndarray, "n feature"], y: Float[np.ndarray, "m feature"]) -> float:
    """Fréchet (Wasserstein-2) distance between the normal distributions with the moments of two samples.

        d² = |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁^½ Σ₂ Σ₁^½)^½)

    (Dowson and Landau 1982, doi:10.1016/0047-259X(82)90077-X; Heusel et al. 2017, arXiv:1706.08500, print d²), with
    `shrunk_covariance`. Of finite samples it is biased upwards, the more the fewer they are; the table's controls have
    as many motions as the held-out recordings.
    """
    first, second = shrunk_covariance(x), shrunk_covariance(y)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(values.clip(min=0.0)) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0.0)).sum()
    mean = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    return float(np.sqrt(max(mean + np.trace(first) + np.trace(second) - 2.0 * common, 0.0)))


def neighbourhood_radii(
    between: Float[np.ndarray, "n n"], people: Sequence[str] | None = None, k: int = NEIGHBOURS
) -> Float[np.ndarray, " n"]:
    """Distance of each motion to its k-th nearest fellow (the farthest, where there are fewer).

    Fellows are all other motions or, where `people` names several, those of other people: a person's repetitions are
    alike, and the neighbourhoods of a sample with copies are too small for anybody else.
    """
    fellow = ~np.eye(len(between), dtype=bool)
    if people is not None and len(set(people)) > 1:
        fellow = np.not_equal.outer(np.asarray(people), np.asarray(people))
    ordered = np.sort(np.where(fellow, between, np.inf), axis=1)
    last = np.minimum(k, fellow.sum(axis=1)) - 1
    radii: np.ndarray = ordered[np.arange(len(between)), last]
    return radii


def density(inside: Bool[np.ndarray, "n m"], k: int = NEIGHBOURS) -> float:
    """Reference neighbourhoods that a motion lies in, over k, in the mean over motions: 1 where motions are alike.

    `inside` says which motion lies in which reference neighbourhood (Naeem et al. 2020, arXiv:2002.09797, eq. 3).
    """
    return float(inside.sum(axis=1).mean() / k)


def coverage(inside: Bool[np.ndarray, "n m"]) -> float:
    """Share of the reference neighbourhoods in which a motion lies (Naeem et al. 2020, eq. 4)."""
    return float(inside.any(axis=0).mean())


def precision(inside: Bool[np.ndarray, "n m"]) -> float:
    """Share of motions that lie in a reference neighbourhood (Kynkäänniemi et al. 2019, arXiv:1904.06991).

    Recall is the same with the parts exchanged: the share of reference motions in the motions' neighbourhoods.
    """
    return float(inside.any(axis=1).mean())


def mean_pairwise(between: Float[np.ndarray, "n n"]) -> float:
    """Mean distance between two different motions."""
    return float(between.sum() / (len(between) * (len(between) - 1)))


def novelty(q: Float[np.ndarray, "n sample coordinate"], neighbourhood: Neighbourhood) -> Float[np.ndarray, " n"]:
    """Distance to the nearest reference motion over the usual one between them, as the search has it: 0 is a copy."""
    return neighbourhood.novelty(torch.as_tensor(q)).ratio.numpy()


def log_dimensionless_jerk(
    angles: Float[np.ndarray, "motion sample angle"], duration: Float[np.ndarray, " motion"]
) -> Float[np.ndarray, " motion"]:
    """Smoothness: -ln( D³ / v² ∫ |jerk|² dt ) of all angles together, with v the peak speed; higher is smoother.

    Hogan and Sternad 2009, doi:10.3200/35-09-004-RC; Balasubramanian et al. 2012, doi:10.1109/TBME.2011.2179545. A
    minimum-jerk movement has -ln 204.8 = -5.32. Third differences over the sampling step D / (T - 1) stand for the
    jerk, in the middle of four samples, first ones for the speed. A still motion has none (nan).
    """
    step = (duration / (angles.shape[1] - 1))[:, None]
    jerk = np.linalg.norm(np.diff(angles, 3, axis=1), axis=2) / step**3
    speed = np.linalg.norm(np.diff(angles, axis=1), axis=2) / step
    peak = speed.max(axis=1)
    integral = (jerk**2).mean(axis=1) * duration
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(peak > 0, -np.log(duration**3 / peak**2 * integral), np.nan)


def slide_speed(
    points: Float[np.ndarray, "motion sample point 3"],
    duration: Float[np.ndarray, " motion"],
    foot: Int[np.ndarray, " point"],
) -> Float[np.ndarray, " motion"]:
    """Mean horizontal speed, m/s, of the contact points that touch the ground at height 0; 0 where none ever does.

    As in the gates, a point touches while it is among the lowest of its foot (within 20 mm) and its foot is within
    40 mm of the ground.
    """
    velocity = np.gradient(points[..., [0, 2]], axis=1, edge_order=2)
    speed = np.linalg.norm(velocity, axis=-1) * ((points.shape[1] - 1) / duration)[:, None, None]
    touches = np.zeros(speed.shape, dtype=bool)
    for f in np.unique(foot):
        height = points[..., foot == f, 1]
        lowest = height.min(axis=-1, keepdims=True)
        touches[..., foot == f] = (height - lowest < LOWEST_M) & (np.abs(lowest) < STEPPING_M)
    count = touches.sum(axis=(1, 2))
    return np.where(touches, speed, 0.0).sum(axis=(1, 2)) / np.maximum(count, 1)


def penetration(points: Float[np.ndarray, "motion sample point 3"]) -> Float[np.ndarray, " motion"]:
    """Depth, m, of the deepest contact point below the ground at height 0, in the mean over time."""
    return terms.penetration(torch.as_tensor(points)).mean(-1).numpy()


def floating(points: Float[np.ndarray, "motion sample point 3"]) -> Float[np.ndarray, " motion"]:
    """Height, m, of the lowest contact point above the ground at height 0, in the mean over time."""
    return terms.floating(torch.as_tensor(points)).mean(-1).numpy()


def limit_excess(
    q: Float[np.ndarray, "sample coordinate"],
    coordinates: Sequence[str],
    limits: Mapping[str, tuple[float, float]],
    triples: Sequence[tuple[str, str, str]],
) -> float:
    """Largest angle, rad, by which a coordinate of one motion is beyond its limits (`joint_limits.beyond_limits`)."""
    excess = beyond_limits(Motion(np.arange(len(q), dtype=np.float64), q, tuple(coordinates)), limits, list(triples))
    return max((float(x.max()) for x in excess.values()), default=0.0)


def bootstrap_spread(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray | float],
    people: Sequence[str],
    reference_people: Sequence[str],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Float[np.ndarray, "*value"]:
    """Half the width of a 95 % interval of a statistic, over people drawn anew: 1.96 SD of its replicates.

    `statistic` takes the places of the motions and of the reference motions that are drawn. People are drawn with
    replacement, each with all of their motions (cluster bootstrap: Davison and Hinkley 1997, section 3.8), in both
    sets. The interval is laid about the statistic itself: a distance between resamples is larger than that between the
    samples, so that their percentiles would miss it. With one person it is nan.
    """
    draw = np.random.default_rng(seed)
    groups, others = _by_person(people), _by_person(reference_people)
    if len(groups) < 2:
        return np.full(np.shape(statistic(np.arange(len(people)), np.arange(len(reference_people)))), np.nan)
    found = [statistic(_drawn(groups, draw), _drawn(others, draw)) for _ in range(replicates)]
    return np.asarray(NORMAL_95 * np.std(np.array(found), axis=0, ddof=1))


def _by_person(people: Sequence[str]) -> list[np.ndarray]:
    names = np.asarray(people)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(people)]


def _drawn(groups: list[np.ndarray], draw: np.random.Generator) -> np.ndarray:
    return np.concatenate([groups[i] for i in draw.integers(len(groups), size=len(groups))])
