"""Muscle path lengths and moment arms of single poses, from OpenSim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import opensim
from jaxtyping import Bool, Float

from bige_opensim.osim.model import OsimModel


class _Driven(NamedTuple):
    """A coordinate that a coupler determines: its place in Simbody's u, its driver's among the independent."""

    coordinate: opensim.Coordinate
    mobility: int
    driver: int
    function: opensim.Function


class PathSampler:
    """Muscle path lengths and moment arms in the independent coordinates, from OpenSim, couplers composed in.

    Moment arms are the generalized forces of a unit tension in the path, which is what OpenSim's `computeMomentArm`
    solves for and what its static optimization works with, for all coordinates of a muscle at once.
    """

    def __init__(self, model: OsimModel) -> None:
        self.model = model
        order = model.mobility_order
        self.state = model.model.initSystem()
        self.names = model.independent_coordinates
        coordinate_set = model.model.getCoordinateSet()
        self.coordinates = [coordinate_set.get(n) for n in self.names]
        muscles = model.model.getMuscles()
        self.muscles = [muscles.get(i) for i in range(muscles.getSize())]
        every = [c.name for c in model.coordinates]
        self._mobility = order[[every.index(n) for n in self.names]]
        constraints = model.model.getConstraintSet()
        self.driven = []
        for c in model.couplers:
            coupler = opensim.CoordinateCouplerConstraint.safeDownCast(constraints.get(c.constraint))
            place = int(order[every.index(c.dependent)]), self.names.index(c.independent)
            self.driven.append(_Driven(coordinate_set.get(c.dependent), *place, coupler.getFunction()))
        for coordinate in [*self.coordinates, *(d.coordinate for d in self.driven)]:
            coordinate.setLocked(self.state, False)
            coordinate.setIsPrescribed(self.state, False)
        self._q = self.state.getQ().to_numpy().copy()
        self._places = np.array([self._place(c) for c in self.coordinates], dtype=np.int64)
        self._driven_places = np.array([self._place(d.coordinate) for d in self.driven], dtype=np.int64)
        self._first = opensim.StdVectorInt()
        self._first.push_back(0)
        self._matter = model.model.getMatterSubsystem()
        model.model.realizePosition(self.state)
        jacobian = opensim.Matrix()
        self._matter.calcSystemJacobian(self.state, jacobian)
        self._bodies = jacobian.nrow() // 6
        self._mobilities = self.state.getNU()
        self._nothing = opensim.SpatialVec(opensim.Vec3(0.0), opensim.Vec3(0.0))
        self._paths = [m.getPath() for m in self.muscles]
        self._alone = [[m] for m in range(len(self.muscles))]

    def _place(self, coordinate: opensim.Coordinate) -> int:
        """Place of a coordinate in Simbody's q, which is read by moving it and looking what changes."""
        before = self.state.getQ().to_numpy().copy()
        coordinate.setValue(self.state, coordinate.getValue(self.state) + 1.0, False)
        return int(np.argmax(np.abs(self.state.getQ().to_numpy() - before)))

    def set_pose(self, q: Float[np.ndarray, " coordinate"]) -> None:
        """Set the independent coordinates, and the driven ones from their couplers."""
        self._q[self._places] = q
        for d, place in zip(self.driven, self._driven_places, strict=True):
            self._q[place] = d.function.calcValue(opensim.Vector(1, float(q[d.driver])))
        self.state.setQ(opensim.Vector.createFromMat(self._q))
        self.model.model.realizePosition(self.state)

    def lengths(self, q: Float[np.ndarray, " coordinate"]) -> Float[np.ndarray, " muscle"]:
        """Muscle-tendon lengths in m."""
        self.set_pose(q)
        return self._lengths()

    def moment_arms(self, q: Float[np.ndarray, " coordinate"]) -> Float[np.ndarray, "muscle coordinate"]:
        """Moment arms (m/rad or m/m): J^T F for the body forces F of a unit tension, driven coordinates folded in."""
        self.set_pose(q)
        return self._pulled(self._alone, q)

    def lengths_and_moment_arms(
        self, q: Float[np.ndarray, " coordinate"], together: Sequence[Sequence[int]] | None = None
    ) -> tuple[Float[np.ndarray, " muscle"], Float[np.ndarray, "muscle coordinate"]]:
        """Lengths and moment arms of one pose, OpenSim's paths computed once.

        `together` are muscles that are pulled on at the same time; each of a group is given the sum of its group's
        moment arms, which is right for the coordinates that no other muscle of the group acts on. Half of the time goes
        into the forces of single muscles.
        """
        self.set_pose(q)
        lengths, groups = self._lengths(), self._alone if together is None else together
        arms = np.empty((len(self.muscles), len(self.names)))
        for muscles, of_group in zip(groups, self._pulled(groups, q), strict=True):
            arms[list(muscles)] = of_group
        return lengths, arms

    def where(
        self, wanted: Bool[np.ndarray, "pose muscle"], poses: Float[np.ndarray, "pose coordinate"]
    ) -> tuple[Float[np.ndarray, "pose muscle"], Float[np.ndarray, "pose muscle coordinate"]]:
        """Lengths and moment arms of the muscles that are wanted in each pose, NaN elsewhere."""
        lengths = np.full(wanted.shape, np.nan)
        arms = np.full((*wanted.shape, poses.shape[1]), np.nan)
        for n in np.flatnonzero(wanted.any(axis=1)):
            which = np.flatnonzero(wanted[n])
            self.set_pose(poses[n])
            lengths[n, which] = [self.muscles[int(m)].getLength(self.state) for m in which]
            arms[n, which] = self._pulled([self._alone[int(m)] for m in which], poses[n])
        return lengths, arms

    def forces_on(self, muscles: Sequence[int], bodies: Sequence[int]) -> Float[np.ndarray, "body 3"]:
        """Forces of a unit tension in some muscles on some bodies (Simbody's indices), N, ground axes; pose set."""
        on, _ = self._forces(muscles)
        return np.array([[f.get(0), f.get(1), f.get(2)] for f in (on.get(b).get(1) for b in bodies)])

    def _forces(self, muscles: Sequence[int]) -> tuple[opensim.VectorOfSpatialVec, opensim.Vector]:
        """Forces of a unit tension in some muscles together, on bodies and on mobilities."""
        on_bodies = opensim.VectorOfSpatialVec(self._bodies, self._nothing)
        on_mobilities = opensim.Vector(self._mobilities, 0.0)
        for m in muscles:
            self._paths[m].addInEquivalentForces(self.state, 1.0, on_bodies, on_mobilities)
        return on_bodies, on_mobilities

    def _lengths(self) -> Float[np.ndarray, " muscle"]:
        return np.array([m.getLength(self.state) for m in self.muscles])

    def _pulled(
        self, together: Sequence[Sequence[int]], q: Float[np.ndarray, " coordinate"]
    ) -> Float[np.ndarray, "group coordinate"]:
        """Moment arms of groups of muscles that are pulled on at the same time."""
        generalized = opensim.Vector()
        force = np.empty((len(together), self._mobilities))
        for k, muscles in enumerate(together):
            bodies, mobility = self._forces(muscles)
            self._matter.multiplyBySystemJacobianTranspose(self.state, bodies, generalized)
            np.add(generalized.to_numpy(), mobility.to_numpy(), out=force[k])
        arms = force[:, self._mobility]
        for d in self.driven:
            gain = d.function.calcDerivative(self._first, opensim.Vector(1, float(q[d.driver])))
            arms[:, d.driver] += force[:, d.mobility] * gain
        return arms
