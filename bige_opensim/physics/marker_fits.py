"""Least squares fits of markers, frame by frame but many frames at once.

Every frame is a least squares problem of its own, min phi(q) over low <= q <= high (`marker_skeleton`), solved by
Newton's steps, and by Gauss and Newton's where phi is not convex. A step d minimises the quadratic model

    1/2 d'(H + e I) d + d'(g + e (q - q0)),        low - q <= d <= high - q,

whose small e keeps a direction that the markers do not determine where it was, at the start q0 of the frame; bounds
are found by a primal-dual active set (Hintermueller, Ito and Kunisch 2002, doi:10.1137/S1052623401383558). The model
falls along d, hence phi does for short steps, and a step that does not lower phi is shortened. Frames that have
converged leave the batch, and frames that wait take their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.physics.marker_skeleton import MarkerSkeleton, NormalEquations
from bige_opensim.physics.rotations import rotation_triples

STIFFNESS_M2 = 1e-7
"""e: a direction holds that moves the markers by less than 0.3 mm (in the weighted mean) per radian."""
HELD_M2 = 1e9
LONGEST_STEP, ENOUGH = 0.7, 3e-5
MOST_STEPS, MOST_SHORTENINGS, SHORTENED = 60, 12, 0.3
MOST_ACTIVE_SETS, MOST_PIVOTS = 8, 60
BATCH = 256


class FittedFrames(NamedTuple):
    """q (C, J) of J problems, phi (J,) in m2, steps taken, and convergence."""

    q: Tensor
    cost: Tensor
    steps: Tensor
    converged: Tensor


class MarkerFitter:
    """Least squares fits of a skeleton to recorded markers.

    Parameters
    ----------
    skeleton
        The skeleton with the markers in use.
    observed
        (T, M, 3) places in m of all frames of all trials, NaN where not seen.
    weight
        (M,) weights of the markers.

    """

    def __init__(
        self,
        skeleton: MarkerSkeleton,
        observed: Float[np.ndarray, "time marker 3"],
        weight: Float[np.ndarray, " marker"],
    ) -> None:
        self.skeleton = skeleton
        seen = ~np.isnan(observed).any(axis=2)
        self.observed = torch.as_tensor(np.where(seen[..., None], observed, 0.0)).permute(1, 2, 0).contiguous()
        self.weight = torch.as_tensor(np.where(seen, weight, 0.0).T).contiguous()
        t = skeleton.tables
        self.low, self.high = torch.as_tensor(t.low)[:, None], torch.as_tensor(t.high)[:, None]
        self.default = torch.as_tensor(t.skeleton.default)
        triples = [[t.skeleton.coordinates.index(name) for name in triple] for triple in rotation_triples(t.skeleton)]
        self.triples = [at for at in triples if not any(t.skeleton.locked[c] for c in at)]

    def solve(
        self,
        frame: Int[Tensor, " problem"],
        start: Float[Tensor, "coordinate problem"],
        *,
        only: Sequence[int] | None = None,
        enough: float = ENOUGH,
    ) -> FittedFrames:
        """Fit frames from given starts; a frame may be there more than once.

        Parameters
        ----------
        frame
            Index of the frame of each problem.
        start
            Coordinates to start from; brought within the limits.
        only
            Index of the coordinates that may change; all free ones by default.
        enough
            A problem is solved once a step moves no coordinate by more, rad or m.

        """
        columns = self.skeleton.columns
        free = torch.tensor([only is None or c in only for c in columns.tolist()])[:, None]
        q0 = torch.minimum(torch.maximum(start, self.low), self.high)
        count = len(frame)
        result = FittedFrames(
            q0.clone(),
            torch.full((count,), torch.nan, dtype=q0.dtype),
            torch.zeros(count, dtype=torch.int64),
            torch.zeros(count, dtype=torch.bool),
        )
        batch = _Batch(self, frame, q0, free, enough)
        while batch.fill():
            batch.step(result)
        return result

    def distances(self, frame: Int[Tensor, " problem"], q: Float[Tensor, "coordinate problem"]) -> Tensor:
        """Distances (M, J), m, of the skeleton's markers from the recorded ones; without meaning where not seen."""
        parts = [
            (self.skeleton.positions(q[:, k]) - self.observed[:, :, frame[k]]).square().sum(1).sqrt()
            for k in torch.arange(len(frame)).split(BATCH)
        ]
        return torch.cat(parts, 1)

    def spread(self, frame: Int[Tensor, " problem"], q: Float[Tensor, "coordinate problem"]) -> Tensor:
        """Standard deviation of every coordinate (C, J), rad or m, for markers that err by 1 mm on average.

        For errors of the variance s2 w / w_m the estimate has the covariance s2 (w / sum w) (J'WJ / sum w)^-1 with the
        mean weight w of the markers seen. Infinite for coordinates that move no marker, 0 for locked ones.
        """
        weight = self.weight[:, frame]
        H = self.skeleton.normal_equations(q, self.observed[:, :, frame], weight).matrix
        eye = torch.eye(H.shape[1], dtype=H.dtype)
        L, _ = torch.linalg.cholesky_ex(H.tril() + 1e-14 * eye)
        variance = torch.cholesky_inverse(L).diagonal(dim1=1, dim2=2).T / (weight > 0.0).sum(0).clamp(min=1)
        found = torch.zeros_like(q)
        found[self.skeleton.columns] = 1e-3 * variance.sqrt()
        found[self.skeleton.idle] = torch.inf
        return found


class _Batch:
    """The problems that are being solved; frames are the last axis."""

    def __init__(self, fitter: MarkerFitter, frame: Tensor, start: Tensor, free: Tensor, enough: float) -> None:
        self.fitter, self.frame, self.start, self.enough = fitter, frame, start, enough
        self.columns, self.free = fitter.skeleton.columns, free
        self.low, self.high = fitter.low[self.columns], fitter.high[self.columns]
        self.next = 0
        self.job = torch.zeros(0, dtype=torch.int64)
        self.fields: dict[str, Tensor] = {}

    def fill(self) -> bool:
        """Take in problems that wait; False when none is left."""
        room = BATCH - len(self.job)
        if self.next < len(self.frame) and room >= BATCH // 4:
            job = torch.arange(self.next, min(self.next + room, len(self.frame)))
            self.next = int(job[-1]) + 1
            f, start = self.frame[job], self.start[:, job]
            count = torch.zeros(len(job), dtype=torch.int64)
            new = {
                "q": start, "anchor": start, "best": start, "observed": self.fitter.observed[:, :, f],
                "weight": self.fitter.weight[:, f], "cost": torch.full((len(job),), torch.inf, dtype=start.dtype),
                "steps": count, "shortened": count,
            }  # fmt: skip
            self.fields = {k: torch.cat([self.fields[k], v], -1) if self.fields else v for k, v in new.items()}
            self.job = torch.cat([self.job, job])
        return len(self.job) > 0

    def step(self, result: FittedFrames) -> None:
        """One step of every problem, or a shorter one where the last did not lower the cost."""
        s, c = self.fields, self.columns
        eq = self.fitter.skeleton.normal_equations(s["q"], s["observed"], s["weight"])
        away = s["q"][c] - s["anchor"][c]
        cost = eq.cost + 0.5 * STIFFNESS_M2 * (away * away).sum(0)
        better = cost <= s["cost"] * (1.0 + 1e-12)
        d = self._step(eq, eq.gradient + STIFFNESS_M2 * away, s["q"][c])
        s["cost"] = torch.where(better, cost, s["cost"])
        s["best"] = torch.where(better, s["q"], s["best"])
        s["shortened"] = torch.where(better, 0, s["shortened"] + 1)
        s["steps"] = s["steps"] + 1
        following = s["best"] + SHORTENED * (s["q"] - s["best"])
        moved = s["q"].clone()
        moved[c] = torch.minimum(torch.maximum(s["q"][c] + d, self.low), self.high)
        s["q"] = torch.where(better, moved, following)
        small = better & (d.abs().amax(0) < self.enough)
        stuck = (s["shortened"] > MOST_SHORTENINGS) | (s["steps"] >= MOST_STEPS)
        done = small | stuck
        if done.any():
            self._leave(done, small, result)

    def _leave(self, done: Tensor, converged: Tensor, result: FittedFrames) -> None:
        s, job = self.fields, self.job[done]
        result.q[:, job] = torch.where(converged, s["q"], s["best"])[:, done]
        result.cost[job], result.steps[job] = s["cost"][done], s["steps"][done]
        result.converged[job] = converged[done]
        stay = torch.nonzero(~done).flatten()
        self.fields = {k: v.index_select(-1, stay) for k, v in s.items()} if len(stay) else {}
        self.job = self.job[stay]

    def _step(self, eq: NormalEquations, g: Tensor, q: Tensor) -> Tensor:
        """d (C', N) of the module's docstring, at most LONGEST_STEP long in any coordinate."""
        low, high = (torch.where(self.free, limit - q, 0.0).T for limit in (self.low, self.high))
        d = _bounded_minimum(eq.newton, eq.matrix, g.T, low, high)
        d = d * (LONGEST_STEP / d.abs().amax(1, keepdim=True).clamp(min=LONGEST_STEP))
        return d.T


def _bounded_minimum(newton: Tensor, gauss: Tensor, g: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """min 1/2 d'(H + e I)d + g'd over low <= d <= high, with 0 among them; H is Newton's where that has a minimum.

    The matrices (N, C, C) are given by their lower triangles; g, low and high are (N, C). Bounds that 0 meets and that
    -g points beyond are held first (Bertsekas 1982, doi:10.1137/0320018); where that minimum leaves the bounds, the
    primal-dual active set method goes on with the Gauss-Newton matrix, which is positive on any set.
    """
    at_low, at_high = (low >= 0.0) & (g > 0.0), (high <= 0.0) & (g <= 0.0)
    held = at_low | at_high
    d, well = _held_minimum(newton, g, held, torch.zeros_like(g))
    beyond = ((d < low) | (d > high)).any(1) | ~well
    rows = torch.nonzero(beyond).flatten()
    if len(rows):
        H, g, held = gauss[rows], g[rows], held[rows]
        start = _held_minimum(H, g, held, torch.zeros_like(g))[0]
        H = H + H.tril(-1).mT
        d[rows] = _active_set(H, g, low[rows], high[rows], start, at_low[rows], at_high[rows])
    return d


def _active_set(H: Tensor, g: Tensor, low: Tensor, high: Tensor, d: Tensor, at_low: Tensor, at_high: Tensor) -> Tensor:
    """The primal-dual active set method from the minimum d for the bounds that are held; H has both triangles.

    Where it cycles, one bound changes at a time, the first that is wrong, which ends (Murty 1974,
    doi:10.1007/BF01585501).
    """
    scale = H.diagonal(dim1=1, dim2=2)
    for k in range(MOST_ACTIVE_SETS + MOST_PIVOTS):
        multiplier = torch.where(at_low | at_high, (H * d[:, None]).sum(-1) + STIFFNESS_M2 * d + g, 0.0)
        target = d - multiplier / scale
        below = (target < low) | (at_low & (low == high))
        above = ((target > high) | (at_high & (low == high))) & ~below
        if torch.equal(below, at_low) and torch.equal(above, at_high):
            break
        if k >= MOST_ACTIVE_SETS:
            wrong = (below != at_low) | (above != at_high)
            one = wrong & (wrong.to(torch.int64).cumsum(1) == 1)
            below, above = torch.where(one, below, at_low), torch.where(one, above, at_high)
        at_low, at_high = below, above
        value = torch.where(at_low, low, torch.where(at_high, high, 0.0))
        d = _held_minimum(H, g + (H * value[:, None]).sum(-1), at_low | at_high, value)[0]
    return torch.minimum(torch.maximum(d, low), high)


def _held_minimum(H: Tensor, g: Tensor, held: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """d with (H + e I) d = -g in the free coordinates, `value` where it is held; and whether that is a minimum.

    H is given by its lower triangle. A held coordinate gets a stiffness in whose presence it does not move.
    """
    K = H.clone()
    K.diagonal(dim1=1, dim2=2).add_(held, alpha=HELD_M2).add_(STIFFNESS_M2)
    L, wrong = torch.linalg.cholesky_ex(K)
    d = torch.linalg.solve_triangular(L, -g[..., None], upper=False)
    d = torch.linalg.solve_triangular(L.mT, d, upper=True)[..., 0]
    return torch.where(held, value, d), wrong == 0
