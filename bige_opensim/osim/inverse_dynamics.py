"""Inverse dynamics by OpenSim, the reference for `physics.dynamics`."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import opensim
from jaxtyping import Float

from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel


def complete(model: OsimModel, motion: Motion) -> Motion:
    """The motion with one column for every coordinate of the model, in model order.

    Dependent coordinates are computed from their couplers (files may lack them or hold unassembled values); other
    missing coordinates are where the model holds them, or keep its default value.
    """
    columns = {}
    for c in model.coordinates:
        if c.name in motion.names and not c.dependent:
            columns[c.name] = motion[c.name]
        elif not c.dependent:
            columns[c.name] = model.held_values(c.name, motion.time) if c.held else np.full(motion.frames, c.default)
    for coupler in model.couplers:
        columns[coupler.dependent] = model.coupled_values(coupler.dependent, columns[coupler.independent])
    names = tuple(c.name for c in model.coordinates)
    return Motion(motion.time, np.column_stack([columns[n] for n in names]), names)


def inverse_dynamics(
    model: OsimModel, q: Motion, qd: Motion, qdd: Motion, *, acting: Collection[str] = ()
) -> Float[np.ndarray, "time coordinate"]:
    """Generalized forces (N, N·m) per coordinate in model order, without muscles, actuators and external loads.

    Of the model's forces only those named in `acting` act.

    `opensim.InverseDynamicsSolver` works in Simbody's order of mobilities; the map of `OsimModel.mobility_order` brings
    its result to the model's order. Other forces of the model are switched off, as the solver would include them.
    Motions must be complete (see `complete`). Not for ball and free joints: their speeds in Simbody are
    an angular velocity and not the rates of their coordinates, for which they are taken, as OpenSim's tools do;
    `physics.dynamics` has the generalized forces that belong to the coordinates.
    """
    copy = opensim.Model(model.model)
    for i in range(copy.getForceSet().getSize()):
        force = copy.updForceSet().get(i)
        force.set_appliesForce(force.getName() in acting)
    state = copy.initSystem()
    for coordinate in copy.getCoordinateSet():
        coordinate.setLocked(state, False)
        coordinate.setIsPrescribed(state, False)
    solver = opensim.InverseDynamicsSolver(copy)
    order, n = model.mobility_order, len(model.coordinates)
    u, acceleration = opensim.Vector(n, 0.0), opensim.Vector(n, 0.0)
    result = np.empty((q.frames, n))
    for t in range(q.frames):
        state.setTime(float(q.time[t]))
        for c, k in enumerate(order):
            u.set(int(k), float(qd.values[t, c]))
            acceleration.set(int(k), float(qdd.values[t, c]))
        for c, name in enumerate(q.names):
            copy.getCoordinateSet().get(name).setValue(state, float(q.values[t, c]), False)
        state.setU(u)
        copy.realizeVelocity(state)
        result[t] = solver.solve(state, acceleration).to_numpy()[order]
    return result


def passive_forces(model: OsimModel, q: Motion, qd: Motion) -> Float[np.ndarray, "time independent"]:
    """Generalized forces (N, N·m) by which springs, ligaments, bushings and limits act on the independent coordinates.

    OpenSim's StaticOptimization has them in its equations. They are what inverse dynamics asks less with them than
    without; motions must be complete.
    """
    rest = q.with_values(np.zeros_like(q.values))
    without, with_them = (inverse_dynamics(model, q, qd, rest, acting=acting) for acting in ((), model.passive_forces))
    return reduce_couplers(model, q, without - with_them)


def reduce_couplers(
    model: OsimModel, q: Motion, generalized: Float[np.ndarray, "time coordinate"]
) -> Float[np.ndarray, "time independent"]:
    """Generalized forces of the independent coordinates: tau_i + g'(q_i) tau_dependent for each coupler."""
    names = [c.name for c in model.coordinates]
    total = generalized.copy()
    step = 1e-5
    for coupler in model.couplers:
        i, d = names.index(coupler.independent), names.index(coupler.dependent)
        x = q[coupler.independent]
        up, down = (model.coupled_values(coupler.dependent, x + h) for h in (step, -step))
        total[:, i] += (up - down) / (2 * step) * generalized[:, d]
    return total[:, [names.index(n) for n in model.independent_coordinates]]
