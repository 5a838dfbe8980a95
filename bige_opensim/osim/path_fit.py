"""Least-squares polynomials of muscle path lengths, fitted to lengths and moment arms together.

In coordinates x scaled to [-1, 1] a length is written in products of Legendre polynomials of total degree <= d, whose
normal equations stay well conditioned. Each pose gives one row for the length and one per spanned coordinate for its
derivative dL/dx. The degree is chosen per muscle by cross-validation over the poses, and the errors reported are those
on poses left out of the fit, wrapping jumps included. Muscles with jumps are refitted with Cauchy weights per pose
(Holland & Welsch 1977, doi:10.1080/03610927708827533), so that a jump does not bend the rest of the range.
The result is handed over in plain monomials.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.polynomial import legendre
from scipy.linalg import cholesky, solve_triangular

from bige_opensim.physics.muscles import monomial_exponents

FOLDS = 5
LOWEST_DEGREE = 2
HIGHEST_DEGREE = 9
MOST_TERMS = 260
ROWS_PER_TERM = 4
SLOPE_WEIGHT = 0.5
FAINT_WEIGHT = 1e-3
GOOD_LENGTH = 5e-6
WORTHWHILE_GAIN = 0.95
OUTLIER_DEVIATIONS = 6.0
OUTLIER_LENGTH = 1e-3
ROBUST_ROUNDS = 4
CAUCHY_DEVIATIONS = 2.385
SMALLEST_SPREAD = 1e-4
RIDGE = 1e-12


class PathFit(NamedTuple):
    """One muscle's polynomials in scaled coordinates, and their errors on poses left out (m, m/rad or m/m).

    `arm_coefficients` are those of the polynomial whose derivatives are the moment arms: `coefficients` themselves,
    unless the model's moment arms are not the derivatives of its lengths. `moment_arm_errors` are the largest over the
    spans of every pose.
    """

    exponents: Int[np.ndarray, "term span"]
    coefficients: Float[np.ndarray, " term"]
    arm_coefficients: Float[np.ndarray, " term"]
    length_rms: float
    length_max: float
    outlier_fraction: float
    moment_arm_rms: Float[np.ndarray, " span"]
    moment_arm_max: Float[np.ndarray, " span"]
    moment_arm_errors: Float[np.ndarray, " pose"]


def fit_paths(
    x: Float[np.ndarray, "pose coordinate"],
    lengths: Float[np.ndarray, "pose muscle"],
    moment_arms: Float[np.ndarray, "pose muscle coordinate"],
    spans: list[tuple[int, ...]],
    scale: Float[np.ndarray, " coordinate"],
    apart: Bool[np.ndarray, " muscle"],
    *,
    seed: int = 0,
) -> list[PathFit]:
    """Fit every muscle; muscles that span the same coordinates share one design matrix.

    Parameters
    ----------
    x
        Poses in coordinates scaled to [-1, 1].
    lengths, moment_arms
        L in m and R = -dL/dq in m/rad or m/m.
    spans, scale
        Coordinates each muscle spans; q = centre + scale x.
    apart
        Muscles whose moment arms are not the derivatives of their lengths: each gets a polynomial of its own.

    """
    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS
    groups: dict[tuple[int, ...], list[int]] = {}
    for m, span in enumerate(spans):
        groups.setdefault(span, []).append(m)
    fits: dict[int, PathFit] = {}
    for span, muscles in groups.items():
        c = list(span)
        dx = -np.swapaxes(moment_arms[:, muscles][:, :, c] * scale[c], 1, 2)
        targets = np.concatenate([lengths[:, None, muscles], dx], axis=1)
        for m, fit in zip(muscles, _fit_group(x[:, c], targets, scale[c], apart[muscles], fold), strict=True):
            fits[m] = fit
    return [fits[m] for m in range(len(spans))]


def highest_degree(variables: int, poses: int) -> int:
    """Largest total degree whose terms are few enough for the poses, and for speed."""
    most = min(MOST_TERMS, poses * (1 + variables) // ROWS_PER_TERM)
    degrees = [d for d in range(1, HIGHEST_DEGREE + 1) if len(monomial_exponents(variables, d)) <= most]
    return max([1, *degrees])


class _Candidate(NamedTuple):
    """A fitted degree: coefficients of the first terms, and errors (pose, row) on poses left out."""

    coefficients: Float[np.ndarray, " term"]
    errors: Float[np.ndarray, "pose row"]


def _fit_group(
    x: Float[np.ndarray, "pose span"],
    targets: Float[np.ndarray, "pose row muscle"],
    scale: Float[np.ndarray, " span"],
    apart: Bool[np.ndarray, " muscle"],
    fold: Int[np.ndarray, " pose"],
) -> list[PathFit]:
    poses, variables = x.shape
    top = highest_degree(variables, poses)
    exponents = monomial_exponents(variables, top)
    rows = _design(x, exponents)
    counts = sorted({len(monomial_exponents(variables, d)) for d in range(min(LOWEST_DEGREE, top), top + 1)})
    both = np.array([1.0, *[SLOPE_WEIGHT] * variables])
    fits: list[PathFit | None] = [None] * targets.shape[2]
    together, separate = np.flatnonzero(~apart), np.flatnonzero(apart)
    for m, fit in zip(together, _fit(rows, targets[:, :, together], both, fold, counts), strict=True):
        fits[m] = _path_fit(exponents, fit, fit, scale)
    only_length, only_arms = np.array([1.0, *[0.0] * variables]), np.array([FAINT_WEIGHT, *[SLOPE_WEIGHT] * variables])
    for m, length, arms in zip(
        separate,
        _fit(rows, targets[:, :, separate], only_length, fold, counts),
        _fit(rows, targets[:, :, separate], only_arms, fold, counts),
        strict=True,
    ):
        fits[m] = _path_fit(exponents, length, arms, scale)
    return [f for f in fits if f is not None]


def _fit(
    rows: np.ndarray, targets: np.ndarray, weight: np.ndarray, fold: np.ndarray, counts: list[int]
) -> list[_Candidate]:
    """The chosen degree of every muscle, refitted robustly where some poses are far off."""
    if targets.shape[2] == 0:
        return []
    everywhere = np.ones(len(rows))
    candidates = _candidates(rows, targets, weight, everywhere, fold, counts)
    chosen = []
    for m in range(targets.shape[2]):
        best = _choose([c[m] for c in candidates], weight)
        for _ in range(ROBUST_ROUNDS if _outliers(best.errors[:, 0]).any() else 0):
            trust = _cauchy(np.sqrt(np.mean((best.errors * weight) ** 2, axis=1)))
            again = _candidates(rows, targets[:, :, [m]], weight, trust, fold, counts)
            best = _choose([c[0] for c in again], weight, trust)
        chosen.append(best)
    return chosen


def _candidates(
    rows: np.ndarray, targets: np.ndarray, weight: np.ndarray, trust: np.ndarray, fold: np.ndarray, counts: list[int]
) -> list[list[_Candidate]]:
    """For every number of terms, every muscle's fit to all poses, with errors of fits that left the pose's fold out."""
    scaled = np.sqrt(trust)[:, None] * weight
    parts = [_normal_equations(rows[fold == f], targets[fold == f], scaled[fold == f]) for f in range(FOLDS)]
    whole = _Normal(np.sum([p.gram for p in parts], axis=0), np.sum([p.moment for p in parts], axis=0))
    errors = {t: np.empty_like(targets) for t in counts}
    for f, part in enumerate(parts):
        seen = _solve(_Normal(whole.gram - part.gram, whole.moment - part.moment), counts)
        out = fold == f
        left_out = rows[out]
        for t, coefficients in seen.items():
            errors[t][out] = left_out[:, :, :t] @ coefficients - targets[out]
    found = []
    for t, coefficients in _solve(whole, counts).items():
        found.append([_Candidate(coefficients[:, m], errors[t][:, :, m]) for m in range(targets.shape[2])])
    return found


def _choose(candidates: list[_Candidate], weight: np.ndarray, trust: np.ndarray | None = None) -> _Candidate:
    """Fewest terms that no more terms beat by a worthwhile gain, or that are already good enough."""
    poses = [np.mean((c.errors * weight) ** 2, axis=1) for c in candidates]
    scores = [float(np.sqrt(np.average(p, weights=trust))) for p in poses]
    return next(
        c for c, s in zip(candidates, scores, strict=True) if s * WORTHWHILE_GAIN <= min(scores) or s <= GOOD_LENGTH
    )


def _spread(error: Float[np.ndarray, " pose"]) -> float:
    return 1.4826 * float(np.median(np.abs(error - np.median(error))))


def _outliers(length_error: Float[np.ndarray, " pose"]) -> Bool[np.ndarray, " pose"]:
    return np.abs(length_error) > max(OUTLIER_DEVIATIONS * _spread(length_error), OUTLIER_LENGTH)


def _cauchy(size: Float[np.ndarray, " pose"]) -> Float[np.ndarray, " pose"]:
    """Weights 1 / (1 + (e / c)^2) for error sizes e >= 0."""
    scale = CAUCHY_DEVIATIONS * max(1.4826 * float(np.median(size)), SMALLEST_SPREAD)
    return 1.0 / (1.0 + (size / scale) ** 2)


def _design(
    x: Float[np.ndarray, "pose span"], exponents: Int[np.ndarray, "term span"]
) -> Float[np.ndarray, "pose row term"]:
    """Values and derivatives of the Legendre products: row 0 the value, row 1 + j the derivative in x_j."""
    top = int(exponents.max())
    table = np.stack([legendre.legval(x, np.eye(top + 1)[k]) for k in range(top + 1)], axis=-1)
    slope = np.stack([legendre.legval(x, legendre.legder(np.eye(top + 1)[k])) for k in range(top + 1)], axis=-1)
    poses, variables = x.shape
    rows = np.ones((poses, 1 + variables, len(exponents)))
    for j in range(variables):
        for r in range(1 + variables):
            rows[:, r] *= (slope if r == 1 + j else table)[:, j][:, exponents[:, j]]
    return rows


class _Normal(NamedTuple):
    gram: Float[np.ndarray, "term term"]
    moment: Float[np.ndarray, "term muscle"]


def _normal_equations(rows: np.ndarray, targets: np.ndarray, weight: Float[np.ndarray, "pose row"]) -> _Normal:
    used = weight.any(axis=0)
    a = (rows * weight[:, :, None])[:, used].reshape(-1, rows.shape[-1])
    b = (targets * weight[:, :, None])[:, used].reshape(-1, targets.shape[-1])
    return _Normal(a.T @ a, a.T @ b)


def _solve(normal: _Normal, counts: list[int]) -> dict[int, Float[np.ndarray, "term muscle"]]:
    """Coefficients of the fits in the first terms, for every number of terms.

    The Cholesky factor of the first t equations is the corner of the whole factor, and so is the solution of its
    forward half: one factorisation serves all of them.
    """
    terms = max(counts)
    gram = normal.gram[:terms, :terms]
    factor = cholesky(gram + RIDGE * np.trace(gram) / terms * np.eye(terms), lower=True)
    forward = solve_triangular(factor, normal.moment[:terms], lower=True)
    return {t: solve_triangular(factor[:t, :t], forward[:t], lower=True, trans="T") for t in counts}


def _path_fit(exponents: np.ndarray, length: _Candidate, arms: _Candidate, scale: np.ndarray) -> PathFit:
    terms = max(len(length.coefficients), len(arms.coefficients))
    own = exponents[:terms]
    plain = [_to_monomials(own, np.pad(c.coefficients, (0, terms - len(c.coefficients)))) for c in (length, arms)]
    error, arm_error = length.errors[:, 0], arms.errors[:, 1:] / scale
    return PathFit(
        own,
        plain[0],
        plain[1],
        float(np.sqrt(np.mean(error**2))),
        float(np.abs(error).max()),
        float(_outliers(error).mean()),
        np.sqrt(np.mean(arm_error**2, axis=0)),
        np.abs(arm_error).max(axis=0, initial=0.0),
        np.abs(arm_error).max(axis=1, initial=0.0),
    )


@lru_cache
def _legendre(degree: int) -> Float[np.ndarray, " power"]:
    """Coefficients of a Legendre polynomial in powers of x."""
    return legendre.leg2poly(np.eye(degree + 1)[degree])


def _to_monomials(
    exponents: Int[np.ndarray, "term span"], coefficients: Float[np.ndarray, " term"]
) -> Float[np.ndarray, " term"]:
    """Coefficients of the same polynomial in the monomials of the same exponents."""
    variables, top = exponents.shape[1], int(exponents.max(initial=0))
    matrix = np.zeros((top + 1, top + 1))
    for k in range(top + 1):
        matrix[: k + 1, k] = _legendre(k)
    full = np.zeros((top + 1,) * variables)
    full[tuple(exponents.T)] = coefficients
    for j in range(variables):
        full = np.moveaxis(np.tensordot(matrix, full, axes=(1, j)), 0, j)
    return full[tuple(exponents.T)]
