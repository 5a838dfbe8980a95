"""The least step of a linearised program whose bounds give way at a cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from bige_opensim.guidance.deformation import Size

PLAIN = 0.02
"""Weight p of plain steps in the damping: a change that the legs cannot follow has no size."""


class Row(NamedTuple):
    """A bound on one number: name, value and bound in scales, its derivative, and the cost of missing it by a scale."""

    name: str
    excess: float
    slope: Float[np.ndarray, " variable"]
    cost: float


def least_change(
    size: Size, gradient: Float[np.ndarray, " variable"], rows: Sequence[Row], *, damping: float = 0.0
) -> tuple[Float[np.ndarray, " variable"], Float[np.ndarray, " row"]]:
    """The step d, and the multipliers of the rows, of

        min |R + R'd|^2 + g'd + m (|R'd|^2 + p |d|^2) + sum_i k_i s_i^2    subject to    e_i + a_i d <= s_i,

    m is the `damping`, p is `PLAIN`. The dual is min over l >= 0 of 1/2 l'(A P^-1 A' + K^-1) l - l'(e - A P^-1 r), with
    P = 2 (1 + m) R''R' + 2 m p I, r = 2 R''R + g and K = 2 diag(k): non-negative least squares in the Cholesky factor
    of its matrix. Returns d and l.
    """
    slopes, residuals = size.slopes.numpy(), size.residuals.numpy()
    P = 2.0 * (1.0 + damping) * slopes.T @ slopes + 2.0 * damping * PLAIN * np.eye(slopes.shape[1])
    P += 1e-6 * np.trace(P) / len(P) * np.eye(len(P))
    r = 2.0 * slopes.T @ residuals + gradient
    free = -np.linalg.solve(P, r)
    if not rows:
        return free, np.zeros(0)
    A, e = np.stack([row.slope for row in rows]), np.array([row.excess for row in rows])
    by_rows = np.linalg.solve(P, A.T)
    M = A @ by_rows + np.diag([0.5 / row.cost for row in rows])
    factor = np.linalg.cholesky(0.5 * (M + M.T) + 1e-12 * np.trace(M) * np.eye(len(M)))
    multipliers, _ = nnls(factor.T, np.linalg.solve(factor, e + A @ free), maxiter=100 * len(rows))
    return free - by_rows @ multipliers, multipliers
