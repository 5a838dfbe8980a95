"""Points of the muscle paths as plain arrays, for drawing: where each is fixed, or along what it moves.

OpenSim has three kinds: fixed in a body (`PathPoint`), fixed but used only while a coordinate lies in a range
(`ConditionalPathPoint`), and moved by functions of coordinates (`MovingPathPoint`). Where a path wraps around a
surface, its course in between depends on the whole pose; OpenSim needs about 10 ms a pose for that, and it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import opensim
from jaxtyping import Float, Int

from bige_opensim.io.cache import kept
from bige_opensim.osim import functions
from bige_opensim.osim.model import OsimModel, file_sha256, load
from bige_opensim.physics.packed_tables import pack, unpack

FORMAT = 1
NODES = 181
"""Samples of the function of a moving point over what its coordinate can reach."""


@dataclass(frozen=True, eq=False)
class MusclePaths:
    """P path points of M muscles, in path order, in the bodies that carry them.

    Attributes
    ----------
    muscles, bodies, coordinates
        Names that the indices below mean; `coordinates` are the model's independent ones.
    muscle, body
        (P,) index of the muscle, and of the body, -1 for ground.
    location
        (P, 3) in the body, m; where a point moves, at the default pose.
    used_by, used_range
        (P,) coordinate on which it depends whether the point is used, -1 where it always is; (P, 2) rad or m.
    moving, moving_coordinate, moving_range, moving_table
        (X,) points that move, by axis: (X, 3) coordinate or -1; (X, 3, 2) its sampled range; (X, 3, N) m.

    """

    muscles: tuple[str, ...]
    bodies: tuple[str, ...]
    coordinates: tuple[str, ...]
    muscle: Int[np.ndarray, " point"]
    body: Int[np.ndarray, " point"]
    location: Float[np.ndarray, "point 3"]
    used_by: Int[np.ndarray, " point"]
    used_range: Float[np.ndarray, "point 2"]
    moving: Int[np.ndarray, " moving"]
    moving_coordinate: Int[np.ndarray, "moving 3"]
    moving_range: Float[np.ndarray, "moving 3 2"]
    moving_table: Float[np.ndarray, "moving 3 node"]

    def to_bytes(self) -> bytes:
        """All of it as one block."""
        return pack({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def from_bytes(cls, block: bytes) -> MusclePaths:
        """Inverse of `to_bytes`."""
        return cls(**unpack(block))

    def locations(self, q: Float[np.ndarray, "time coordinate"]) -> Float[np.ndarray, "time point 3"]:
        """Where every point is in its body, m."""
        found = np.repeat(self.location[None], len(q), axis=0)
        for k, point in enumerate(self.moving):
            for axis in range(3):
                at = self.moving_coordinate[k, axis]
                if at >= 0:
                    low, high = self.moving_range[k, axis]
                    grid = np.linspace(low, high, self.moving_table.shape[-1])
                    found[:, point, axis] = np.interp(q[:, at], grid, self.moving_table[k, axis])
        return found

    def in_use(self, q: Float[np.ndarray, "time coordinate"]) -> np.ndarray:
        """(T, P) whether the path goes through a point."""
        value = q[:, self.used_by]
        inside = (value >= self.used_range[:, 0]) & (value <= self.used_range[:, 1])
        return inside | (self.used_by < 0)


def muscle_paths(path: Path | str) -> MusclePaths:
    """The path points of a model file, kept in the cache by its sha256.

    Raises
    ------
    ModelError
        The model cannot be read.

    """
    name = f"paths-{FORMAT}-{file_sha256(path)[:32]}"
    return kept(name, lambda: _sampled(load(path)), pack=MusclePaths.to_bytes, unpack=MusclePaths.from_bytes)


def _sampled(model: OsimModel) -> MusclePaths:
    bodies = tuple(b.getName() for b in (model.model.getBodySet().get(i) for i in range(model.model.getNumBodies())))
    gathered = _Points(model, bodies)
    for at in range(len(model.muscle_names)):
        path = opensim.GeometryPath.safeDownCast(model.model.getMuscles().get(at).getPath())
        if path is not None:
            points = path.getPathPointSet()
            for i in range(points.getSize()):
                gathered.add(at, points.get(i))
    return gathered.arrays()


class _Points:
    def __init__(self, model: OsimModel, bodies: tuple[str, ...]) -> None:
        self.model, self.bodies = model, bodies
        self.drivers = {c.dependent: c.independent for c in model.couplers}
        self.described = {c.name: c for c in model.coordinates}
        self.rows: list[tuple[int, int, np.ndarray, int, tuple[float, float]]] = []
        self.moving: list[tuple[int, list[int], list[tuple[float, float]], list[np.ndarray]]] = []

    def add(self, muscle: int, point: opensim.AbstractPathPoint) -> None:
        frame = point.getParentFrame()
        base = frame.findBaseFrame().getName()
        transform = frame.findTransformInBaseFrame()
        body = self.bodies.index(base) if base in self.bodies else -1
        location = transform.shiftFrameStationToBase(point.getLocation(self.model.state)).to_numpy()
        used_by, used = -1, (-np.inf, np.inf)
        conditional = opensim.ConditionalPathPoint.safeDownCast(point)
        if conditional is not None:
            name = conditional.getCoordinate().getName()
            used_by, used = self._independent(name), self._independent_range(name, conditional)
        moving = opensim.MovingPathPoint.safeDownCast(point)
        if moving is not None:
            self._moving(len(self.rows), moving, transform.p().to_numpy())
        self.rows.append((muscle, body, location, used_by, used))

    def _independent(self, name: str) -> int:
        return self.model.independent_coordinates.index(self.drivers.get(name, name))

    def _independent_range(self, name: str, point: opensim.ConditionalPathPoint) -> tuple[float, float]:
        low, high = float(point.get_range(0)), float(point.get_range(1))
        if name not in self.drivers:
            return low, high
        x = np.linspace(*self.described[self.drivers[name]].pose_range, NODES)
        inside = x[(self.model.coupled_values(name, x) >= low) & (self.model.coupled_values(name, x) <= high)]
        return (float(inside[0]), float(inside[-1])) if len(inside) else (np.inf, -np.inf)

    def _moving(self, row: int, point: opensim.MovingPathPoint, shift: np.ndarray) -> None:
        coordinates, ranges, tables = [], [], []
        for k, axis in enumerate("xyz"):
            if not getattr(point, f"has{axis.upper()}Coordinate")():
                coordinates.append(-1)
                ranges.append((0.0, 1.0))
                tables.append(np.zeros(NODES))
                continue
            name = getattr(point, f"get{axis.upper()}Coordinate")().getName()
            low, high = self.described[self.drivers.get(name, name)].pose_range
            x = np.linspace(low, high, NODES)
            value = self.model.coupled_values(name, x) if name in self.drivers else x
            function = getattr(point, f"get_{axis}_location")()
            tables.append(functions.values(function, value) + shift[k])
            coordinates.append(self._independent(name))
            ranges.append((low, high))
        self.moving.append((row, coordinates, ranges, tables))

    def arrays(self) -> MusclePaths:
        muscle, body, location, used_by, used = zip(*self.rows, strict=True) if self.rows else ([], [], [], [], [])
        return MusclePaths(
            muscles=self.model.muscle_names,
            bodies=self.bodies,
            coordinates=self.model.independent_coordinates,
            muscle=np.array(muscle, dtype=np.int64),
            body=np.array(body, dtype=np.int64),
            location=np.array(location, dtype=float).reshape(-1, 3),
            used_by=np.array(used_by, dtype=np.int64),
            used_range=np.array(used, dtype=float).reshape(-1, 2),
            moving=np.array([m[0] for m in self.moving], dtype=np.int64),
            moving_coordinate=np.array([m[1] for m in self.moving], dtype=np.int64).reshape(-1, 3),
            moving_range=np.array([m[2] for m in self.moving], dtype=float).reshape(-1, 3, 2),
            moving_table=np.array([m[3] for m in self.moving], dtype=float).reshape(-1, 3, NODES),
        )
