"""Inverse kinematics of whole trials: the coordinates whose markers lie closest to the recorded ones.

Where a frame starts (`marker_fits`) decides which of several minima it finds: three angles of a shoulder reach one pose
in several ways. The first frame of a trial is solved from many starts; every so many frames the solution is tracked
from there to both ends, as OpenSim's solver does frame by frame, and solved anew where that was led astray; the frames
between start from the interpolation of solved ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.interpolate import CubicSpline
from torch import Tensor

from bige_opensim.physics.marker_fits import FittedFrames, MarkerFitter
from bige_opensim.physics.marker_skeleton import MarkerSkeleton
from bige_opensim.physics.rotations import HOP_RAD

ROUGHLY = 3e-3
TRACKED_S = 0.16
ATTEMPTS = 10
ASTRAY, ASTRAY_M, BETTER, MOST_SWEEPS = 1.5, 0.015, 0.9, 20
"""Marker distances, times the median and m, from which a frame may be at a wrong minimum; share of its cost that a
better one must have."""
FRAMES_OF_SPREAD = 20
ALIKE, ALIKE_M2 = 1.05, 1e-12


@dataclass(frozen=True, eq=False)
class TrialSolution:
    """Coordinates of a trial.

    Attributes
    ----------
    q
        (T, C) rad and m; between frames with markers where a frame shows none.
    distance
        (T, M) of the model's markers from the recorded ones, m; without meaning where not seen.
    converged
        (T,) whether the last step was below `ENOUGH`.
    spread
        (C,) median of `MarkerFitter.spread` over some frames.
    start
        The frame that was solved first.

    """

    q: Float[np.ndarray, "time coordinate"]
    distance: Float[np.ndarray, "time marker"]
    converged: Bool[np.ndarray, " time"]
    spread: Float[np.ndarray, " coordinate"]
    start: int


def solve_trials(
    skeleton: MarkerSkeleton,
    observed: Sequence[Float[np.ndarray, "_ marker 3"]],
    times: Sequence[Float[np.ndarray, " _"]],
    weight: Float[np.ndarray, " marker"],
) -> list[TrialSolution]:
    """Solve all frames of trials of one model, each from its frame with most markers to both ends.

    Parameters
    ----------
    skeleton
        The skeleton with the markers in use.
    observed
        (T, M, 3) of every trial, m, Y up; NaN where a marker was not seen.
    times
        Seconds of every trial.
    weight
        (M,) weights, positive.

    """
    if not len(observed):
        return []
    fitter = MarkerFitter(skeleton, np.concatenate(list(observed)), weight)
    first = np.cumsum([0, *(len(t) for t in times)])[:-1]
    seeds = np.array([int(np.argmax((~np.isnan(o)).all(axis=2).sum(axis=1))) for o in observed])
    total = sum(len(t) for t in times)
    q = torch.empty(len(fitter.default), total, dtype=torch.float64)
    solved = FittedFrames(
        q,
        torch.full((total,), torch.nan, dtype=q.dtype),
        torch.zeros(total, dtype=torch.int64),
        torch.zeros(total, dtype=torch.bool),
    )
    _keep(solved, torch.as_tensor(first + seeds), first_frames(fitter, torch.as_tensor(first + seeds)))
    grids = [_grid(len(t), int(s), t) for t, s in zip(times, seeds, strict=True)]
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


def _trial(fitter: MarkerFitter, solved: FittedFrames, at: slice, seed: int) -> TrialSolution:
    _describe_alike(fitter, solved.q, np.arange(at.start, at.stop), seed)
    q = solved.q[:, at].numpy().copy()
    seen = fitter.weight[:, at].sum(0).numpy() > 0.0
    q[:, ~seen] = _linear(np.flatnonzero(seen), q[:, seen], np.flatnonzero(~seen))
    some = np.flatnonzero(seen)[:: max(1, int(seen.sum()) // FRAMES_OF_SPREAD)]
    spread = fitter.spread(torch.as_tensor(at.start + some), torch.as_tensor(q[:, some])).median(1).values
    distance = fitter.distances(torch.arange(at.start, at.stop), torch.as_tensor(q))
    return TrialSolution(q.T, distance.T.numpy(), solved.converged[at].numpy(), spread.numpy(), seed)


def first_frames(fitter: MarkerFitter, frame: Int[Tensor, " trial"]) -> FittedFrames:
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
) -> FittedFrames:
    """The solution with the least cost of every frame, whose starts follow each other; of alike ones the least bent."""
    each = starts.shape[1] // len(frame)
    found = fitter.solve(frame.repeat_interleave(each), starts, only=only, enough=ROUGHLY)
    joints = [c for c in range(len(fitter.default)) if c not in root]
    bend = found.q[joints].square().sum(0) + (0.0 if only is None else found.q[list(root)].square().sum(0))
    cost = found.cost.reshape(-1, each)
    alike = cost <= ALIKE * cost.amin(1, keepdim=True) + ALIKE_M2
    chosen = torch.where(alike, bend.reshape(-1, each), torch.inf).argmin(1) + each * torch.arange(len(frame))
    return FittedFrames(*(x[..., chosen] for x in found))


def _track(fitter: MarkerFitter, solved: FittedFrames, grids: Sequence[np.ndarray], seeds: np.ndarray) -> None:
    """Solve the frames of every grid from its seed outwards, each from the one before; all trials in step."""
    chains = [c for g, s in zip(grids, seeds, strict=True) for c in (g[g >= s], g[g <= s][::-1])]
    for k in range(1, max(map(len, chains))):
        at = torch.tensor([int(c[k]) for c in chains if len(c) > k])
        before = torch.tensor([int(c[k - 1]) for c in chains if len(c) > k])
        _keep(solved, at, fitter.solve(at, solved.q[:, before], enough=ROUGHLY))


def _repair(fitter: MarkerFitter, solved: FittedFrames, grids: Sequence[np.ndarray], seeds: np.ndarray) -> None:
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


def _keep_better(solved: FittedFrames, at: Tensor, found: FittedFrames) -> Tensor:
    """Keep solutions that cost notably less than those there are; which."""
    better = found.cost < BETTER * solved.cost[at]
    _keep(solved, at[better], FittedFrames(*(x[..., better] for x in found)))
    return better


def _keep(solved: FittedFrames, at: Tensor, found: FittedFrames) -> None:
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
