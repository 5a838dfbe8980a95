"""Muscle paths and strengths frame by frame from OpenSim itself, without polynomials."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import opensim
from jaxtyping import Float

from bige_opensim.motion import Motion
from bige_opensim.osim.inverse_dynamics import reduce_couplers
from bige_opensim.osim.model import OsimModel
from bige_opensim.osim.topology import path_bodies


class MuscleFrames(NamedTuple):
    """What the muscles are and do in every frame.

    force (T, M, B, 3) and moment (T, M, B, 3): wrench of a unit tension (1 N) on the bodies of `bodies`, in ground
    axes, moment about the ground origin, in N and N·m; generalized (T, M, C): what it does besides to the independent
    coordinates, where path points move with a coordinate (OpenSim MovingPathPoint), m for a rotation; strength (T, M):
    active fibre force along the tendon at full activation for a rigid tendon, N; length (T, M) of the musculotendon
    path, m.
    """

    force: Float[np.ndarray, "time muscle body 3"]
    moment: Float[np.ndarray, "time muscle body 3"]
    generalized: Float[np.ndarray, "time muscle coordinate"]
    strength: Float[np.ndarray, "time muscle"]
    length: Float[np.ndarray, "time muscle"]


def muscle_frames(model: OsimModel, q: Motion, qd: Motion, bodies: tuple[str, ...]) -> MuscleFrames:
    """Wrenches and strengths of all muscles over a complete motion (every coordinate of the model, rad, m).

    Strength is `Muscle::calcInextensibleTendonActiveFiberForce(state, 1)`, the number OpenSim's StaticOptimization
    multiplies with the activation; wrenches come from `GeometryPath::addInEquivalentForces`. With the Jacobian of the
    skeleton they give moment arms that include couplers, as Simbody's constraint forces do, at a hundredth of the
    cost of `Muscle::computeMomentArm`.
    """
    muscles = [model.model.getMuscles().get(i) for i in range(len(model.muscle_names))]
    index = [int(model.model.getBodySet().get(b).getMobilizedBodyIndex()) for b in bodies]
    touched = [[(k, index[k]) for k, b in enumerate(bodies) if b in on_path] for on_path in map(path_bodies, muscles)]
    T, M, B = q.frames, len(muscles), len(bodies)
    force, moment = np.zeros((T, M, B, 3)), np.zeros((T, M, B, 3))
    strength, length, origin = np.empty((T, M)), np.empty((T, M)), np.empty((T, B, 3))
    generalized = np.zeros((T, M, len(model.coordinates)))
    order = model.mobility_order  # initialises the model again, so it comes before the state
    state = model.model.initSystem()
    n_bodies, n_u = model.model.getBodySet().getSize() + 1, state.getNU()
    speeds = opensim.Vector(n_u, 0.0)
    body_of = {b: model.model.getBodySet().get(b) for b in bodies}
    for t in range(T):
        model.set_pose(state, dict(zip(q.names, q.values[t], strict=True)))
        for c, k in enumerate(order):
            speeds.set(int(k), float(qd.values[t, c]))
        state.setU(speeds)
        model.model.realizeVelocity(state)
        origin[t] = [body_of[b].getPositionInGround(state).to_numpy() for b in bodies]
        for m, muscle in enumerate(muscles):
            length[t, m] = muscle.getLength(state)
            strength[t, m] = muscle.calcInextensibleTendonActiveFiberForce(state, 1.0)
            wrench = opensim.VectorOfSpatialVec(n_bodies, opensim.SpatialVec(opensim.Vec3(0)))
            mobility = opensim.Vector(n_u, 0.0)
            muscle.getGeometryPath().addInEquivalentForces(state, 1.0, wrench, mobility)
            generalized[t, m] = mobility.to_numpy()[order]
            for k, mobilized in touched[m]:
                spatial = wrench.get(mobilized)
                force[t, m, k] = spatial.get(1).to_numpy()
                moment[t, m, k] = spatial.get(0).to_numpy()
    moment += np.cross(origin[:, None], force)
    independent = np.zeros((T, M, len(model.independent_coordinates)))
    for m in np.flatnonzero(generalized.any(axis=(0, 2))).tolist():
        independent[:, m] = reduce_couplers(model, q, generalized[:, m])
    return MuscleFrames(force, moment, independent, strength, length)
