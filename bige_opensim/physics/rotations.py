"""Angles of ball-like joints: descriptions without hops, and how fast bodies turn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float

from bige_opensim.motion import Motion
from bige_opensim.physics.skeleton import ROTATION, Skeleton, SkeletonTables

HOP_RAD = 1.0
"""Step between two samples below which an angle has not hopped: two descriptions of one orientation lie farther apart,
unless the middle angle is at its singularity, where they meet."""

SHOULDER_MIDDLE = {"arm_flex": np.pi / 2, "arm_rot": np.pi / 3}
"""Middle of the shoulders' branch, rad: between an arm that hangs, (0, 0, 0) about z, x and y, and one overhead, near
(190, -45, 100) degrees. With a middle of zero, arms overhead lie on both sides of where the branch ends."""


@lru_cache(maxsize=8)
def rotation_triples(tables: SkeletonTables) -> list[tuple[str, str, str]]:
    """Coordinates of every joint that turns about three orthogonal axes in sequence, one coordinate each."""
    triples = []
    for k in range(len(tables.kind) - 2):
        run = [k, k + 1, k + 2]
        joined = all(tables.parent[j] == j - 1 and not tables.fixed_translation[j].any() for j in run[1:])
        plain = all(tables.kind[j] == ROTATION and np.allclose(np.abs(tables.affine[j]), (1, 0)) for j in run)
        aligned = all(np.allclose(tables.fixed_rotation[j], np.eye(3)) for j in run[1:])
        orthogonal = np.allclose(tables.axis[run] @ tables.axis[run].T, np.eye(3), atol=1e-9)
        if joined and plain and aligned and orthogonal and len({int(tables.coordinate[j]) for j in run}) == 3:
            triples.append(tuple(tables.coordinates[tables.coordinate[j]] for j in run))
    return triples


def continuous_rotations(motion: Motion, triples: list[tuple[str, str, str]]) -> tuple[Motion, tuple[str, ...]]:
    """Choose, frame by frame, the description of each ball-like joint that is nearest to the frame before.

    Angles (a, b, c) about three orthogonal axes in sequence and (a + pi, pi - b, c + pi) are the same orientation, as
    are all that differ by full turns; inverse kinematics hops between them when an arm passes overhead, and a filter
    would turn the hop into a swing.
    """
    values, changed = motion.values.copy(), []
    for triple in triples:
        if not all(n in motion for n in triple):
            continue
        columns = [motion.index(n) for n in triple]
        smooth = _nearest_descriptions(values[:, columns])
        if np.abs(smooth - values[:, columns]).max() > 1e-9:
            values[:, columns] = smooth
            changed.append(triple[0])
    if not changed:
        return motion, ()
    note = f"angles hopped between equal orientations at the joints of {', '.join(changed)}; made continuous"
    return motion.with_values(values), (note,)


def one_branch(
    q: Float[np.ndarray, "motion time channel"],
    names: Sequence[str],
    rotational: Sequence[bool] | np.ndarray,
    triples: Sequence[tuple[str, str, str]],
) -> Float[np.ndarray, "motion time channel"]:
    """Every motion's angles on the branch that is the same for all, so that equal postures are equal numbers.

    Of the two descriptions of a joint that turns about three axes (`rotation_triples`), (a, b, c) and (a + pi, pi - b,
    c + pi), the one counts whose b is within a right angle of zero, by the mean of its cosine over time. Then whole
    turns are taken out, until the mean over time is nearest to the branch's middle: zero, but for shoulders
    (`SHOULDER_MIDDLE`). A description that hops inside a motion is made continuous first.
    """
    out = q.copy()
    angles = np.flatnonzero(rotational)
    middle = np.array([SHOULDER_MIDDLE.get(name[:-2], 0.0) for name in names])
    out[..., angles] = _about(out[..., angles], middle[angles])
    for triple in triples:
        if not all(name in names for name in triple):
            continue
        columns = [list(names).index(name) for name in triple]
        first = np.stack([_nearest_descriptions(x) for x in out[..., columns]])
        first, second = (_about(x, middle[columns]) for x in (first, first * [1.0, -1.0, 1.0] + np.pi))
        sideways = np.cos(first[..., 1]).mean(axis=1) < 0.0
        out[..., columns] = np.where(sideways[:, None, None], second, first)
    return out


def within_ranges(
    q: Float[np.ndarray, "time channel"],
    names: Sequence[str],
    triples: Sequence[tuple[str, str, str]],
    ranges: Mapping[str, tuple[float, float]],
) -> Float[np.ndarray, "time channel"]:
    """The same motion with joints about three axes described as exceeds a model's ranges least.

    `ranges` are rad, by coordinate. A joint whose ranges hold the motion as it is stays so.
    """
    out = q.copy()
    for triple in triples:
        if not all(name in names for name in triple):
            continue
        columns = [list(names).index(name) for name in triple]
        low, high = np.array([ranges[name] for name in triple]).T
        first = out[:, columns]
        others = [_about(x[None], 0.5 * (low + high))[0] for x in (first, first * [1.0, -1.0, 1.0] + np.pi)]
        found = [first, *others]
        excess = [np.maximum(np.maximum(low - x, x - high), 0.0).max(axis=0).sum() for x in found]
        out[:, columns] = found[int(np.argmin(excess))]
    return out


def _about(angles: Float[np.ndarray, "motion time angle"], middle: Float[np.ndarray, " angle"]) -> np.ndarray:
    """Without the whole turns by which the mean over time is away from the middle."""
    turn = 2.0 * np.pi
    return angles - turn * np.round((angles.mean(axis=1, keepdims=True) - middle) / turn)


def _nearest_descriptions(angles: Float[np.ndarray, "time 3"]) -> Float[np.ndarray, "time 3"]:
    if np.abs(np.diff(angles, axis=0)).max(initial=0.0) < HOP_RAD:
        return angles
    out = angles.copy()
    turn = 2.0 * np.pi
    for t in range(1, len(out)):
        a, b, c = out[t]
        candidates = np.array([[a, b, c], [a + np.pi, np.pi - b, c + np.pi]])
        candidates += turn * np.round((out[t - 1] - candidates) / turn)
        out[t] = candidates[np.argmin(np.abs(candidates - out[t - 1]).sum(1))]
    return out


def fastest_rotation(skeleton: Skeleton, motion: Motion, bodies: Collection[str]) -> tuple[float, str]:
    """Largest angular speed of a body between two samples, rad/s, and the body.

    Orientations are compared, not coordinates: near a singular pose angles run fast while the body hardly turns.
    Only `bodies` are looked at: an arm that flips hardly disturbs the legs.
    """
    columns = [motion[n] if n in motion else np.full(motion.frames, d) for n, d in _with_defaults(skeleton)]
    rotation = skeleton(torch.as_tensor(np.column_stack(columns))).rotation
    turn = rotation[:-1].transpose(-1, -2) @ rotation[1:]
    cosine = (turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0) / 2.0
    speed = torch.arccos(cosine.clamp(-1.0, 1.0)).numpy() / np.diff(motion.time)[:, None]
    speed[:, [b not in bodies for b in skeleton.bodies]] = 0.0
    worst = np.unravel_index(int(speed.argmax()), speed.shape)
    return float(speed[worst]), skeleton.bodies[worst[1]]


def _with_defaults(skeleton: Skeleton) -> zip[tuple[str, float]]:
    return zip(skeleton.coordinates, skeleton.tables.default, strict=True)
