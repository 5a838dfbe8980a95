"""A model that files are checked against, with what is derived from it once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import Coordinate, ModelError, OsimModel, load
from bige_opensim.physics.rotations import rotation_triples
from bige_opensim.physics.skeleton import Poses, Skeleton


class KnownModel:
    """One model file; `fault` says why it cannot be read, `skeleton_fault` why it has no skeleton here."""

    def __init__(self, path: Path, osim: OsimModel | None = None, skeleton: Skeleton | None = None) -> None:
        """Read the model, unless `osim` and `skeleton` are what was read from it."""
        self.path = path
        self.fault, self.skeleton_fault = "", ""
        self.osim = osim
        if skeleton is not None:
            self.skeleton = skeleton
        try:
            self.osim = osim or load(path)
        except ModelError as error:
            self.fault = str(error)

    @cached_property
    def coordinates(self) -> dict[str, Coordinate]:
        """All coordinates by name; none where the model cannot be read."""
        try:
            return {c.name: c for c in self.osim.coordinates} if self.osim else {}
        except ModelError as error:
            self.skeleton_fault = str(error)
            return {}

    @cached_property
    def root(self) -> frozenset[str]:
        """Coordinates that place the model in ground; none where nothing floats, or where that cannot be said."""
        if self.osim is None or not self.coordinates:
            return frozenset()
        try:
            return frozenset(self.osim.root_coordinates)
        except ModelError as error:
            self.skeleton_fault = str(error)
            return frozenset()

    @cached_property
    def skeleton(self) -> Skeleton | None:
        """The compiled skeleton, or None with `skeleton_fault`."""
        if self.osim is None:
            return None
        try:
            return Skeleton(compile_skeleton(self.path))
        except ModelError as error:
            self.skeleton_fault = str(error)
            return None

    @cached_property
    def triples(self) -> list[tuple[str, str, str]]:
        """Coordinates of the joints that turn about three axes in sequence."""
        return rotation_triples(self.skeleton.tables) if self.skeleton is not None else []

    def independent(self, motion: Motion) -> Float[np.ndarray, "time coordinate"]:
        """The skeleton's coordinates, defaults where the motion has none."""
        assert self.skeleton is not None
        pairs = zip(self.skeleton.coordinates, self.skeleton.tables.default, strict=True)
        return np.column_stack([motion[n] if n in motion else np.full(motion.frames, d) for n, d in pairs])

    def poses(self, motion: Motion) -> Poses:
        """Poses of all bodies."""
        assert self.skeleton is not None
        return self.skeleton(torch.as_tensor(self.independent(motion)))

    @cached_property
    def mass_kg(self) -> float:
        """Mass of what floats in ground, of all bodies where nothing does: a belt in the model is nobody's weight.

        Loads that are carried do not count.
        """
        assert self.osim is not None
        return self.osim.mass_kg if self.skeleton is None else float(self.skeleton.own_mass.sum())

    def has_feet(self) -> bool:
        """Whether there is a skeleton with both calcanei."""
        return self.skeleton is not None and {"calcn_r", "calcn_l"} <= set(self.skeleton.bodies)

    def foot_centres(self, motion: Motion) -> Float[np.ndarray, "time 2 3"]:
        """Middle of each foot (right, left), m."""
        return self.feet(self.poses(motion))

    def feet(self, poses: Poses) -> Float[np.ndarray, "time 2 3"]:
        """Middle of each foot (right, left), m: the mean of its contact points, or the calcaneus' origin."""
        assert self.skeleton is not None
        sides = []
        points = self.skeleton.contact_points(poses).numpy() if len(self.skeleton.tables.contact_names) else None
        for side in "rl":
            mine = [k for k, name in enumerate(self.skeleton.tables.contact_names) if name.endswith(f"_{side}")]
            if points is not None and mine:
                sides.append(points[:, mine].mean(axis=1))
            else:
                sides.append(poses.position[:, self.skeleton.bodies.index(f"calcn_{side}")].numpy())
        return np.stack(sides, axis=1)
