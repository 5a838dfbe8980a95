"""Models whose muscle paths are alike on both sides: what is sampled of one side is known of the other.

OpenSim's models name left and right by a part of the name (`hip_flexion_r`, `soleus_l`), and coordinates of the limbs
have the same sign on both sides. Whether lengths and moment arms are the same in mirrored poses is not taken from names
but looked at in poses: subjects may be scaled differently left and right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bige_opensim.osim.path_fit import PathFit
from bige_opensim.osim.path_sampler import PathSampler

OTHER_SIDE = {"r": "l", "l": "r", "R": "L", "L": "R", "right": "left", "left": "right"}
COMPARED_POSES = 6
SAME_LENGTH, SAME_MOMENT_ARM = 1e-6, 1e-5
"""Difference of mirrored lengths, m, and moment arms, m/rad or m/m, up to which they are the same."""


@dataclass(frozen=True, eq=False)
class Mirror:
    """The counterpart of every muscle (M,), and of every coordinate (C,), itself where it has none."""

    muscle: Int[np.ndarray, " muscle"]
    coordinate: Int[np.ndarray, " coordinate"]

    @property
    def one_side(self) -> list[int]:
        """Of every pair of muscles the first."""
        return [int(m) for m in np.flatnonzero(self.muscle > np.arange(len(self.muscle)))]

    def widest(
        self,
        lower: Float[np.ndarray, " coordinate"],
        upper: Float[np.ndarray, " coordinate"],
        differences: Float[np.ndarray, "muscle coordinate"],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ranges of coordinates, and what is found of muscles, each the larger of both sides."""
        c = self.coordinate
        return (
            np.minimum(lower, lower[c]),
            np.maximum(upper, upper[c]),
            np.maximum(differences, differences[self.muscle][:, c]),
        )

    def both_sides(
        self,
        poses: Float[np.ndarray, "pose coordinate"],
        lengths: Float[np.ndarray, "pose muscle"],
        moment_arms: Float[np.ndarray, "pose muscle coordinate"],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Samples, and behind them the same samples as those of the mirrored poses."""
        m, c = self.muscle, self.coordinate
        return (
            np.concatenate([poses, poses[:, c]]),
            np.concatenate([lengths, lengths[:, m]]),
            np.concatenate([moment_arms, moment_arms[:, m][:, :, c]]),
        )

    def onto_both(self, fits: Sequence[PathFit]) -> list[PathFit]:
        """Fits of `one_side` for every muscle; errors in a pose are those of the counterpart in the mirrored pose."""
        found: dict[int, PathFit] = {}
        for m, fit in zip(self.one_side, fits, strict=True):
            found[m] = fit
            half = len(fit.moment_arm_errors) // 2
            found[int(self.muscle[m])] = fit._replace(moment_arm_errors=np.roll(fit.moment_arm_errors, half))
        return [found[m] for m in range(len(self.muscle))]


def find_mirror(
    sampler: PathSampler,
    spans: Sequence[tuple[int, ...]],
    together: Sequence[Sequence[int]],
    poses: Float[np.ndarray, "pose coordinate"],
) -> Mirror | None:
    """How muscles map onto those of the other side; None unless all have a counterpart that is alike.

    `spans` are the coordinates that each muscle spans, `together` as of `PathSampler.lengths_and_moment_arms`. Muscles
    alike have the same lengths and moment arms in mirrored poses.
    """
    mirror = mirror_by_name([m.getName() for m in sampler.muscles], sampler.names, spans)
    if mirror is None:
        return None
    muscle, coordinate = mirror.muscle, mirror.coordinate
    for q in poses[:COMPARED_POSES]:
        lengths, arms = sampler.lengths_and_moment_arms(q, together)
        mirrored, mirrored_arms = sampler.lengths_and_moment_arms(q[coordinate], together)
        if np.abs(mirrored[muscle] - lengths).max() > SAME_LENGTH:
            return None
        difference = np.abs(mirrored_arms[muscle][:, coordinate] - arms)
        if any(difference[m, list(span)].max(initial=0.0) > SAME_MOMENT_ARM for m, span in enumerate(spans)):
            return None
    return mirror


def mirror_by_name(
    muscles: Sequence[str], coordinates: Sequence[str], spans: Sequence[tuple[int, ...]]
) -> Mirror | None:
    """How muscles map onto those of the other side by their names; None unless all span what their counterparts do.

    They must span coordinates of one side only: those in the middle of the body may turn the other way.
    """
    muscle, coordinate = counterparts(muscles), counterparts(coordinates)
    if (muscle == np.arange(len(muscle))).any():
        return None
    for m, span in enumerate(spans):
        there = tuple(int(coordinate[c]) for c in span)
        if there != spans[muscle[m]] or set(there) & set(span):
            return None
    return Mirror(muscle, coordinate)


def counterparts(names: Sequence[str]) -> Int[np.ndarray, " name"]:
    """Index of the name with the other side in it, or its own."""
    at = {name: k for k, name in enumerate(names)}
    other = ["_".join(OTHER_SIDE.get(part, part) for part in name.split("_")) for name in names]
    return np.array([at.get(o, k) for k, o in enumerate(other)], dtype=np.int64)
