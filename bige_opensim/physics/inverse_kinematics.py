"""Inverse kinematics of many frames at once: the coordinates whose markers lie closest to the recorded ones.

Every frame is a least squares problem of its own, min phi(q) over low <= q <= high (`marker_skeleton`), solved by
Newton's steps, and by Gauss and Newton's where phi is not convex. A step d minimises the quadratic model

    1/2 d'(H + e I) d + d'(g + e (q - q0)),        low - q <= d <= high - q,

whose small e keeps a direction that the markers do not determine where it was, at the start q0 of the frame; bounds
are found by a primal-dual active set (Hintermueller, Ito and Kunisch 2002, doi:10.1137/S1052623401383558). The model
falls along d, hence phi does for short steps, and a step that does not lower phi is shortened. Frames that have
converged leave the batch, and frames that wait take their places.

Where a frame starts decides which of several minima it finds: three angles of a shoulder reach one pose in several
ways. The first frame of a trial is solved from many starts; every so many frames the solution is tracked from there to
both ends, as OpenSim's solver does frame by frame; the frames between start from the interpolation of solved ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.interpolate import CubicSpline
from torch import Tensor

from bige_opensim.physics.marker_skeleton import MarkerSkeleton, NormalEquations
from bige_opensim.physics.rotations import HOP_RAD, rotation_triples

STIFFNESS_M2 = 1e-7
"""e: a direction holds that moves the markers by less than 0.3 mm (in the weighted mean) per radian."""
HELD_M2 = 1e9
LONGEST_STEP, ENOUGH, ROUGHLY = 0.7, 3e-5, 3e-3
MOST_STEPS, MOST_SHORTENINGS, SHORTENED = 60, 12, 0.3
MOST_ACTIVE_SETS, MOST_PIVOTS = 8, 60
BATCH = 256
TRACKED_S = 0.16
ATTEMPTS = 10
ASTRAY, ASTRAY_M, BETTER, MOST_SWEEPS = 1.5, 0.015, 0.9, 20
"""Marker distances, times the median and m, from which a frame may be at a wrong minimum; share of its cost that a
better one must have."""
FRAMES_OF_SPREAD = 20
ALIKE, ALIKE_M2 = 1.05, 1e-12


class Solution(NamedTuple):
    """q (C, J) of J problems, phi (J,) in m2, steps taken, and convergence."""

    q: Tensor
    cost: Tensor
    steps: Tensor
    converged: Tensor


@dataclass(frozen=True, eq=False)
class TrialSolution:
    """Coordinates of a trial.

    Attributes:
        q: (T, C) rad and m; between frames with markers where a frame shows none.
        distance: (T, M) of the model's markers from the recorded ones, m; without meaning where not seen.
        converged: (T,) whether the last step was below `ENOUGH`.
        spread: (C,) median of `MarkerFitter.spread` over some frames.
        start: The frame that was solved first.
    """

    q: Float[np.ndarray, "time coordinate"]
    distance: Float[np.ndarray, "time marker"]
    converged: Bool[np.ndarray, " time"]
    spread: Float[np.ndarray, " coordinate"]
    start: int


class MarkerFitter:
    """Least squares fits of a skeleton to recorded markers.

    Args:
        skeleton: The skeleton with the markers in use.
        observed: (T, M, 3) places in m of all frames of all trials, NaN where not seen.
        weight: (M,) weights of the markers.
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
    ) -> Solution:
        """Fit frames from given starts; a frame may be there more than once.

        Args:
            frame: Index of the frame of each problem.
            start: Coordinates to start from; brought within the limits.
            only: Index of the coordinates that may change; all free ones by default.
            enough: A problem is solved once a step moves no coordinate by more, rad or m.
        """
        columns = self.skeleton.columns
        free = torch.tensor([only is None or c in only for c in columns.tolist()])[:, None]
        q0 = torch.minimum(torch.maximum(start, self.low), self.high)
        count = len(frame)
        result = Solution(
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

    def step(self, result: Solution) -> None:
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

    def _leave(self, done: Tensor, converged: Tensor, result: Solution) -> None:
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


def solve_trials(
    skeleton: MarkerSkeleton,
    observed: Sequence[Float[np.ndarray, "time marker 3"]],
    times: Sequence[Float[np.ndarray, " time"]],
    weight: Float[np.ndarray, " marker"],
) -> list[TrialSolution]:
    """Solve all frames of trials of one model, each from its frame with most markers to both ends.

    Args:
        skeleton: The skeleton with the markers in use.
        observed: (T, M, 3) of every trial, m, Y up; NaN where a marker was not seen.
        times: Seconds of every trial.
        weight: (M,) weights, positive.
    """
    if not len(observed):
        return []
    fitter = MarkerFitter(skeleton, np.concatenate(list(observed)), weight)
    first = np.cumsum([0, *(len(t) for t in times)])[:-1]
    seeds = np.array([int(np.argmax((~np.isnan(o)).all(axis=2).sum(axis=1))) for o in observed])
    total = sum(len(t) for t in times)
    q = torch.empty(len(fitter.default), total, dtype=torch.float64)
    solved = Solution(
        q,
        torch.full((total,), torch.nan, dtype=q.dtype),
        torch.zeros(total, dtype=torch.int64),
        torch.zeros(total, dtype=torch.bool),
    )
    _keep(solved, torch.as_tensor(first + seeds), first_frames(fitter, torch.as_tensor(first + seeds)))
    grids = [_grid(len(t), s, t) for t, s in zip(times, seeds, strict=True)]
    _track(fitter, solved, [f + g for f, g in zip(first, grids, strict=True)], first + seeds)
    tracked = torch.as_tensor(np.concatenate([f + g for f, g in zip(first, grids, strict=True)]))
    _keep(solved, tracked, fitter.solve(tracked, solved.q[:, tracked]))
    _repair(fitter, solved, [f + g for f, g in zip(first, grids, strict=True)], first + seeds)
    known = [np.isin(np.arange(len(t)), g) for t, g in zip(times, grids, strict=True)]
    while not all(k.all() for k in known):
        frames, starts = [], []
        for f, k in zip(first, known, strict=True):
            at = _between(k)
            frames.append(f + at)
            nodes = np.flatnonzero(k)
            starts.append(_interpolated(nodes, solved.q[:, f + nodes].numpy(), at))
            k[at] = True
        chosen = torch.as_tensor(np.concatenate(frames))
        _keep(solved, chosen, fitter.solve(chosen, torch.as_tensor(np.concatenate(starts, axis=1))))
    return [
        _trial(fitter, solved, slice(int(f), int(f) + len(t)), int(s))
        for f, t, s in zip(first, times, seeds, strict=True)
    ]


def _trial(fitter: MarkerFitter, solved: Solution, at: slice, seed: int) -> TrialSolution:
    _describe_alike(fitter, solved.q, np.arange(at.start, at.stop), seed)
    q = solved.q[:, at].numpy().copy()
    seen = fitter.weight[:, at].sum(0).numpy() > 0.0
    q[:, ~seen] = _linear(np.flatnonzero(seen), q[:, seen], np.flatnonzero(~seen))
    some = np.flatnonzero(seen)[:: max(1, int(seen.sum()) // FRAMES_OF_SPREAD)]
    spread = fitter.spread(torch.as_tensor(at.start + some), torch.as_tensor(q[:, some])).median(1).values
    distance = fitter.distances(torch.arange(at.start, at.stop), torch.as_tensor(q))
    return TrialSolution(q.T, distance.T.numpy(), solved.converged[at].numpy(), spread.numpy(), seed)


def first_frames(fitter: MarkerFitter, frame: Int[Tensor, " trial"]) -> Solution:
    """Solve frames from nothing: the root laid on the markers from several headings, and joints turned at random.

    Of solutions that fit alike the one with the smallest joint angles is taken, and of equal orientations of a
    ball-like joint the one with the smallest angles.
    """
    t = fitter.skeleton.tables.skeleton
    count, C = len(frame), len(t.coordinates)
    root = [t.coordinates.index(n) for n in (*t.root["rotations"], *t.root["translations"])]
    turns = [t.coordinates.index(n) for n in t.root["rotations"]]
    laid = [torch.zeros(C)] + [by * torch.eye(C)[c] for c in turns for by in (np.pi / 2, -np.pi / 2, np.pi)]
    starts = torch.stack([fitter.default + x for x in laid], 1)
    guess = _best(fitter, frame, starts.repeat(1, count), root, root)
    generator = np.random.default_rng(0)
    low, high = np.clip(t.range, -np.pi, np.pi).T
    moving = set(fitter.skeleton.columns.tolist()) - set(root)
    joints = np.array([bool(r) and c in moving for c, r in enumerate(t.rotational)])
    varied = generator.uniform(low[:, None], high[:, None], (C, ATTEMPTS))
    start = guess.q.repeat_interleave(ATTEMPTS, 1).reshape(C, count, ATTEMPTS)
    start[joints, :, 1:] = torch.as_tensor(varied[joints, 1:])[:, None]
    found = _best(fitter, frame, start.flatten(1), None, root)
    return found._replace(q=_described(fitter, found.q, torch.zeros_like(found.q), fitter.triples))


def _described(fitter: MarkerFitter, q: Tensor, near: Tensor, triples: Sequence[list[int]]) -> Tensor:
    """Angles (a, b, c) of ball-like joints, or (a + pi, pi - b, c + pi), less full turns: what lies nearest to `near`.

    Only descriptions within the limits are taken.
    """
    q = q.clone()
    for at in triples:
        a, b, c = q[at]
        two = torch.stack([torch.stack([a, b, c]), torch.stack([a + np.pi, np.pi - b, c + np.pi])])
        two = two - 2.0 * np.pi * torch.round((two - near[at]) / (2.0 * np.pi))
        inside = ((two >= fitter.low[at]) & (two <= fitter.high[at])).all(1)
        away = torch.where(inside, (two - near[at]).square().sum(1), torch.inf)
        nearest = two.gather(0, away.argmin(0).expand(1, 3, -1))[0]
        q[at] = torch.where(inside.any(0), nearest, q[at])
    return q


def _best(
    fitter: MarkerFitter, frame: Tensor, starts: Tensor, only: Sequence[int] | None, root: Sequence[int]
) -> Solution:
    """The solution with the least cost of every frame, whose starts follow each other; of alike ones the least bent."""
    each = starts.shape[1] // len(frame)
    found = fitter.solve(frame.repeat_interleave(each), starts, only=only, enough=ROUGHLY)
    joints = [c for c in range(len(fitter.default)) if c not in root]
    bend = found.q[joints].square().sum(0) + (0.0 if only is None else found.q[list(root)].square().sum(0))
    cost = found.cost.reshape(-1, each)
    alike = cost <= ALIKE * cost.amin(1, keepdim=True) + ALIKE_M2
    chosen = torch.where(alike, bend.reshape(-1, each), torch.inf).argmin(1) + each * torch.arange(len(frame))
    return Solution(*(x[..., chosen] for x in found))


def _track(fitter: MarkerFitter, solved: Solution, grids: Sequence[np.ndarray], seeds: np.ndarray) -> None:
    """Solve the frames of every grid from its seed outwards, each from the one before; all trials in step."""
    chains = [c for g, s in zip(grids, seeds, strict=True) for c in (g[g >= s], g[g <= s][::-1])]
    for k in range(1, max(map(len, chains))):
        at = torch.tensor([int(c[k]) for c in chains if len(c) > k])
        before = torch.tensor([int(c[k - 1]) for c in chains if len(c) > k])
        _keep(solved, at, fitter.solve(at, solved.q[:, before], enough=ROUGHLY))


def _repair(fitter: MarkerFitter, solved: Solution, grids: Sequence[np.ndarray], seeds: np.ndarray) -> None:
    """Solve anew the frames of a grid whose tracking was led astray: those that fit much worse than its others.

    The worst frame of each such stretch is solved from nothing, and what fits better is kept and handed on to the
    neighbours while it does there. Angles of ball-like joints are then described as in the frame before.
    """
    cost = solved.cost.numpy()
    bad = [_worst_of_runs(cost, g, max(ASTRAY**2 * float(np.median(cost[g])), ASTRAY_M**2 / 2.0)) for g in grids]
    if not sum(map(len, bad)):
        return
    at = torch.as_tensor(np.concatenate(bad))
    kept = _keep_better(solved, at, first_frames(fitter, at))
    mended = [g for g, b in zip(grids, bad, strict=True) if np.isin(b, at[kept].numpy()).any()]
    pairs = [(g[1:], g[:-1]) for g in mended] + [(g[:-1], g[1:]) for g in mended]
    for _ in range(MOST_SWEEPS if mended else 0):
        to, of = (torch.as_tensor(np.concatenate([p[k] for p in pairs])) for k in (0, 1))
        if not _keep_better(solved, to, fitter.solve(to, solved.q[:, of])).any():
            break
    for g, seed in zip(grids, seeds, strict=True):
        _describe_alike(fitter, solved.q, g, int(np.searchsorted(g, seed)))


def _describe_alike(fitter: MarkerFitter, q: Tensor, frames: np.ndarray, start: int) -> None:
    """Describe ball-like joints in every frame as in the frame before, from frames[start] to both ends."""
    if len(frames) < 2:
        return
    longest = q[:, frames].diff(dim=1).abs().amax(1)
    hopping = [at for at in fitter.triples if longest[at].max() > HOP_RAD]
    for run in (frames[start:], frames[: start + 1][::-1]) if hopping else ():
        for before, here in itertools.pairwise(run.tolist()):
            q[:, [here]] = _described(fitter, q[:, [here]], q[:, [before]], hopping)


def _worst_of_runs(cost: np.ndarray, grid: np.ndarray, limit: float) -> Int[np.ndarray, " frame"]:
    """The frame that costs most in every stretch of the grid that costs more than `limit`."""
    over = np.flatnonzero(cost[grid] > limit)
    runs = np.split(over, np.flatnonzero(np.diff(over) > 1) + 1)
    return np.array([grid[run[np.argmax(cost[grid[run]])]] for run in runs if len(run)], dtype=int)


def _keep_better(solved: Solution, at: Tensor, found: Solution) -> Tensor:
    """Keep solutions that cost notably less than those there are; which."""
    better = found.cost < BETTER * solved.cost[at]
    _keep(solved, at[better], Solution(*(x[..., better] for x in found)))
    return better


def _keep(solved: Solution, at: Tensor, found: Solution) -> None:
    for all_of_them, these in zip(solved, found, strict=True):
        all_of_them[..., at] = these


def _grid(count: int, seed: int, time: np.ndarray) -> Int[np.ndarray, " node"]:
    """Frames TRACKED_S apart through `seed`, with the first and the last."""
    step = max(1, round(TRACKED_S / float(np.median(np.diff(time))))) if count > 1 else 1
    return np.unique([0, *range(seed, -1, -step), *range(seed, count, step), count - 1])


def _between(known: Bool[np.ndarray, " time"]) -> Int[np.ndarray, " frame"]:
    """The frame in the middle of every gap."""
    nodes = np.flatnonzero(known)
    gaps = np.flatnonzero(np.diff(nodes) > 1)
    return (nodes[gaps] + nodes[gaps + 1]) // 2


def _interpolated(nodes: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    if not len(at):
        return values[:, :0]
    return CubicSpline(nodes, values, axis=1)(at) if len(nodes) > 3 else _linear(nodes, values, at)


def _linear(nodes: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(at, nodes, v) for v in values])
