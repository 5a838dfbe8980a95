"""OpenSim's inverse kinematics solver, started anywhere and kept from losing its way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import opensim
from jaxtyping import Float
from scipy.optimize import least_squares

from bige_opensim.io.trc import Markers
from bige_opensim.osim.model import OsimModel

ACCURACY = 1e-5
ATTEMPTS = 10
ALIKE = 1.05


class MarkerError(ValueError):
    """Markers that do not belong to the model, or too few of them."""


class MarkerSolver:
    """OpenSim's solver on a copy of the model without forces, with every object it needs kept alive."""

    def __init__(
        self,
        model: OsimModel,
        observed: Markers,
        names: Sequence[str],
        weights: Mapping[str, float],
        accuracy: float = ACCURACY,
    ) -> None:
        self.observed, self.names = observed, list(names)
        self.copy = opensim.Model(model.model)
        forces = self.copy.updForceSet()
        for i in reversed(range(forces.getSize())):
            forces.remove(i)
        self.copy.finalizeConnections()
        self.state = self.copy.initSystem()
        self.table = _table(observed, self.names)
        self.weights = opensim.SetMarkerWeights()
        for name in self.names:
            self.weights.cloneAndAppend(opensim.MarkerWeight(name, float(weights.get(name, 1.0))))
        self.weight_values = np.array([weights.get(name, 1.0) for name in self.names])
        self.reference = opensim.MarkersReference(self.table, self.weights)
        self.free = opensim.SimTKArrayCoordinateReference()
        self.solver = opensim.InverseKinematicsSolver(self.copy, self.reference, self.free)
        self.solver.setAccuracy(accuracy)
        self.columns: list[int] = []
        self.coordinates = [self.copy.getCoordinateSet().get(c.name) for c in model.coordinates]
        self.root = [self.copy.getCoordinateSet().get(name) for name in model.root_coordinates]
        self.values = np.full((len(observed.time), len(self.coordinates)), np.nan)
        self.errors = np.full((len(observed.time), len(self.names)), np.nan)
        self.failed = np.zeros(len(observed.time), dtype=bool)
        self.buffer = opensim.SimTKArrayDouble()

    def start(self, t: int) -> None:
        """Solve frame `t` from nothing: the root laid on the markers, other poses tried too.

        Of solutions that fit alike the one with the smallest joint angles is taken: three angles of a shoulder reach
        one pose in several ways.
        """
        self._free_root_rotations()
        self._place_root(t)
        generator = np.random.default_rng(0)
        first = [c.getValue(self.state) for c in self.coordinates]
        found: list[tuple[float, float, Float[np.ndarray, " coordinate"]]] = []
        for attempt in range(ATTEMPTS):
            self._set(first if attempt == 0 else self._varied(first, generator))
            if self._assemble(t):
                cost = float(np.nansum(self.weight_values * self.errors[t] ** 2))
                found.append((cost, self._bend(self.values[t]), self.values[t].copy()))
        if not found:
            raise MarkerError(
                f"{self.observed.path}: OpenSim cannot assemble {self.copy.getName()} on the markers at "
                f"{self.observed.time[t]:g} s; check names, units and the vertical axis of the markers."
            )
        least = min(cost for cost, _, _ in found)
        alike = [(bend, k) for k, (cost, bend, _) in enumerate(found) if cost <= ALIKE * least + 1e-12]
        self.values[t] = found[min(alike)[1]][2]

    def restart(self, t: int) -> None:
        """Go back to the solution of frame `t` and track from there."""
        self._set(self.values[t])
        self._assemble(t)

    def solve(self, t: int) -> None:
        """Solve frame `t` from the frame solved before it."""
        before = [c.getValue(self.state) for c in self.coordinates]
        self.state.setTime(float(self.observed.time[t]))
        try:
            self.solver.track(self.state)
            self._keep(t)
        except RuntimeError:
            self._set(before)
            if not self._assemble(t):
                self._set(before)
                self.values[t], self.failed[t] = before, True

    def _assemble(self, t: int) -> bool:
        self.state.setTime(float(self.observed.time[t]))
        try:
            self.solver.assemble(self.state)
        except RuntimeError:
            return False
        self._keep(t)
        return True

    def _keep(self, t: int) -> None:
        if not self.columns:  # the solver knows its order of markers from the first assembly on
            order = (self.solver.getMarkerNameForIndex(k) for k in range(len(self.names)))
            self.columns = [self.names.index(name) for name in order]
        self.solver.computeCurrentMarkerErrors(self.buffer)
        self.errors[t, self.columns] = [self.buffer.getElt(k) for k in range(len(self.columns))]
        self.values[t] = [c.getValue(self.state) for c in self.coordinates]

    def _set(self, values: Iterable[float]) -> None:
        for coordinate, value in zip(self.coordinates, values, strict=True):
            if not coordinate.getLocked(self.state):
                coordinate.setValue(self.state, float(value), False)

    def _varied(self, values: Iterable[float], generator: np.random.Generator) -> list[float]:
        """The pose with its joints turned at random within their ranges (the root as it is)."""
        names = {c.getName() for c in self.root}
        varied = []
        for c, value in zip(self.coordinates, values, strict=True):
            low, high = (np.clip(x, -np.pi, np.pi) for x in (c.getRangeMin(), c.getRangeMax()))
            turns = c.getMotionType() == opensim.Coordinate.Rotational and c.getName() not in names
            varied.append(float(generator.uniform(low, high)) if turns else value)
        return varied

    def _bend(self, values: Iterable[float]) -> float:
        """Sum of squared joint angles, to choose between angles that describe one pose."""
        root = {c.getName() for c in self.root}
        return float(sum(v * v for c, v in zip(self.coordinates, values, strict=True) if c.getName() not in root))

    def _free_root_rotations(self) -> None:
        """A person may face anywhere: let the root turn beyond the range that the model gives it."""
        for c in self.root:
            c.setDefaultClamped(False)
            c.setClamped(self.state, False)

    def _place_root(self, t: int) -> None:
        """Move the root so that the model in its default pose lies on the markers of frame `t` in the least squares
        sense (Kabsch 1976, doi:10.1107/S0567739476001873); nothing where the model does not float."""
        if not self.root:
            return
        self.copy.realizePosition(self.state)
        here = self._locations()
        there = self.observed.positions[t]
        seen = ~np.isnan(there).any(axis=1)
        R, shift = rigid_fit(here[seen], there[seen])
        body = self.root[0].getJoint().getChildFrame()
        corners = [opensim.Vec3(0, 0, 0), opensim.Vec3(1, 0, 0), opensim.Vec3(0, 1, 0), opensim.Vec3(0, 0, 1)]

        def frame(q: Float[np.ndarray, " root"]) -> Float[np.ndarray, "4 3"]:
            for coordinate, value in zip(self.root, q, strict=True):
                coordinate.setValue(self.state, float(value), False)
            self.copy.realizePosition(self.state)
            return np.array([body.findStationLocationInGround(self.state, c).to_numpy() for c in corners])

        q0 = np.array([c.getValue(self.state) for c in self.root])
        goal = frame(q0) @ R.T + shift
        turning = [k for k, c in enumerate(self.root) if c.getMotionType() == opensim.Coordinate.Rotational]
        starts = [q0] + [q0 + turn * np.eye(len(q0))[k] for k in turning for turn in (np.pi / 2, -np.pi / 2, np.pi)]
        fits = [least_squares(lambda q: (frame(q) - goal).ravel(), start) for start in starts]
        frame(min(fits, key=lambda fit: (round(fit.cost, 8), float(np.abs(fit.x).max()))).x)

    def _locations(self) -> Float[np.ndarray, "marker 3"]:
        markers = self.copy.getMarkerSet()
        return np.array([markers.get(name).getLocationInGround(self.state).to_numpy() for name in self.names])


def rigid_fit(
    a: Float[np.ndarray, "point 3"], b: Float[np.ndarray, "point 3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Rotation R and shift s that minimise sum |R a + s - b|^2 (Kabsch 1976, doi:10.1107/S0567739476001873)."""
    centre_a, centre_b = a.mean(axis=0), b.mean(axis=0)
    U, _, Vt = np.linalg.svd((b - centre_b).T @ (a - centre_a))
    R = U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
    return R, centre_b - R @ centre_a


def _table(markers: Markers, names: Sequence[str]) -> opensim.TimeSeriesTableVec3:
    table = opensim.TimeSeriesTableVec3()
    table.setColumnLabels(list(names))
    for time, frame in zip(markers.time, markers.positions, strict=True):
        row = opensim.RowVectorVec3(len(names))
        for k, xyz in enumerate(frame):
            row[k] = opensim.Vec3(*map(float, xyz))
        table.appendRow(float(time), row)
    table.addTableMetaDataString("Units", "m")
    return table
