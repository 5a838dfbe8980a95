"""How far predicted activations are from those that the physics gives, muscle by muscle.

With true values a and predictions p of one muscle over all frames and repetitions of a person,

    R^2 = 1 - sum (p - a)^2 / sum (a - mean a)^2,

1 for a perfect prediction, 0 for the mean, below 0 for worse. Muscles that hardly act have next to nothing to explain;
the median over those that do is what is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

VARIES = 0.01
"""Standard deviation of the activation above which a muscle counts as one that acts."""

EIGHT = ("recfem", "vaslat", "vasmed", "vasint", "bflh", "gasmed", "soleus", "glmax1")
"""The eight muscles of the paper's supplement, Table 1."""


@dataclass(frozen=True)
class PredictionErrors:
    """Errors of one person's repetitions.

    median_r2 over the `acting` muscles; of the eight muscles, both sides pooled: mean and worst R², which it is, and
    the root mean square error; covered: share of activations inside their intervals, not a number without any.
    """

    repetitions: int
    acting: int
    median_r2: float
    eight_r2: float
    worst_r2: float
    worst: str
    eight_rmse: float
    rmse: float
    covered: float


def r_squared(
    predicted: Float[np.ndarray, "*frames muscle"], true: Float[np.ndarray, "*frames muscle"]
) -> Float[np.ndarray, " muscle"]:
    """R² of every muscle over all leading axes; not a number where a muscle never changes."""
    p, a = (x.reshape(-1, x.shape[-1]) for x in (predicted, true))
    spread = ((a - a.mean(0)) ** 2).sum(0)
    return 1.0 - ((p - a) ** 2).sum(0) / np.where(spread > 0.0, spread, np.nan)


def eight_muscles(
    predicted: Float[np.ndarray, "*frames muscle"], true: Float[np.ndarray, "*frames muscle"], muscles: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """R² and root mean square error of each of the paper's eight muscles that there are, both sides pooled."""
    found = {}
    for name in EIGHT:
        sides = [list(muscles).index(m) for m in _sides(name, muscles)]
        if sides:
            p, a = (x[..., sides].reshape(-1, 1) for x in (predicted, true))
            found[name] = float(r_squared(p, a)[0]), float(np.sqrt(((p - a) ** 2).mean()))
    return found


def _sides(name: str, muscles: Sequence[str]) -> list[str]:
    return [m for m in (f"{name}_r", f"{name}_l") if m in muscles]


def prediction_errors(
    predicted: Float[np.ndarray, "repetition time muscle"],
    true: Float[np.ndarray, "repetition time muscle"],
    muscles: Sequence[str],
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
) -> PredictionErrors:
    """Errors of a person's repetitions; `bounds` are the ends of intervals.

    Raises
    ------
    ValueError
        None of the muscles acts.

    """
    acting = true.reshape(-1, true.shape[-1]).std(0) > VARIES
    if not acting.any():
        raise ValueError(f"no activation varies by more than {VARIES:g}: there is nothing to predict")
    eight = eight_muscles(predicted, true, muscles)
    pooled = {name: r2 for name, (r2, _) in eight.items()}
    columns = [list(muscles).index(m) for name in eight for m in _sides(name, muscles)]
    worst = min(pooled, key=lambda name: pooled[name], default="")
    error = predicted - true
    covered = np.nan if bounds is None else float(((true >= bounds[0]) & (true <= bounds[1])).mean())
    return PredictionErrors(
        repetitions=len(true),
        acting=int(acting.sum()),
        median_r2=float(np.median(r_squared(predicted, true)[acting])),
        eight_r2=float(np.mean([*pooled.values()])) if pooled else np.nan,
        worst_r2=pooled.get(worst, np.nan),
        worst=worst,
        eight_rmse=float(np.sqrt((error[..., columns] ** 2).mean())) if columns else np.nan,
        rmse=float(np.sqrt((error**2).mean())),
        covered=covered,
    )
