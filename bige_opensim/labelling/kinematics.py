"""Prepare a recorded motion once, so that every solver sees the same coordinates and derivatives."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from bige_opensim.motion import Motion
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.model import OsimModel
from bige_opensim.osim.muscles import bodies_with_muscles
from bige_opensim.physics.dynamics import State, kinematics
from bige_opensim.physics.skeleton import ROTATION, Skeleton, SkeletonTables

HOP_RAD = 1.0
"""Step between two samples below which an angle has not hopped: two descriptions of one orientation lie farther apart,
unless the middle angle is at its singularity, where they meet."""


@dataclass(frozen=True)
class Prepared:
    """A filtered motion over all coordinates of the model, its derivatives, and the fastest rotation of the recording.

    fastest_rotation: rad/s between two raw samples, and the body that does it: beyond some 40 rad/s inverse
    kinematics has jumped.
    """

    q: Motion
    qd: Motion
    qdd: Motion
    fastest_rotation: tuple[float, str]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, q: Motion, fastest_rotation: tuple[float, str], notes: tuple[str, ...]) -> Prepared:
        """Differentiate complete coordinates as OpenSim's analyses do: a spline through q gives q', one through q' q''.

        (AnalyzeTool turns coordinates into speeds by a quintic GCVSpline, StaticOptimization differentiates a spline of
        the speeds.) The second derivative of the first spline is as good, but another at rough spots and at the ends.
        """
        qd = q.derivatives()[0]
        return cls(q, qd, qd.derivatives()[0], fastest_rotation, notes)

    def moved(self, q: Motion) -> Prepared:
        """The same recording with other coordinates."""
        return Prepared.of(q, self.fastest_rotation, self.notes)

    def between(self, start: float | None, end: float | None) -> Prepared:
        """Frames from start to end, s; derivatives stay those of the whole recording."""
        q, qd, qdd = (m.between(start, end) for m in (self.q, self.qd, self.qdd))
        return Prepared(q, qd, qdd, self.fastest_rotation, self.notes)

    def state(self, skeleton: Skeleton) -> State:
        """Poses, velocities and accelerations of all bodies."""
        return kinematics(skeleton, *(self.tensor(skeleton, m) for m in (self.q, self.qd, self.qdd)))

    @staticmethod
    def tensor(skeleton: Skeleton, motion: Motion) -> torch.Tensor:
        """Independent coordinates in the skeleton's order."""
        return torch.as_tensor(motion.select(skeleton.coordinates).values)


def prepare(model: OsimModel, skeleton: Skeleton, motion: Motion, cutoff_hz: float) -> Prepared:
    """Make rotations continuous, low-pass, complete with dependent coordinates, differentiate."""
    motion, notes = continuous_rotations(motion, rotation_triples(skeleton.tables))
    fastest = fastest_rotation(skeleton, motion, {*bodies_with_muscles(model), "torso"})
    q = complete(model, motion.lowpass(cutoff_hz))
    missing = [c for c in model.free_coordinates if c not in motion]
    if missing:
        notes = (*notes, f"coordinates not in the file keep the model's default: {', '.join(missing)}")
    return Prepared.of(q, fastest, notes)


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
