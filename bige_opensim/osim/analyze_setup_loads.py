"""What acts on the model of a setup besides its actuators: external loads, springs, limits and contact."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import opensim
import torch
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from bige_opensim.io.external_loads import ExternalLoadsError, read_external_loads
from bige_opensim.io.storage import read_storage
from bige_opensim.motion import Motion
from bige_opensim.osim.analyze_setup_model import SetupModel
from bige_opensim.osim.inverse_dynamics import inverse_dynamics, reduce_couplers
from bige_opensim.osim.model import OsimModel
from bige_opensim.physics.body_loads import GROUND, BodyLoad
from bige_opensim.physics.dynamics import State
from bige_opensim.physics.skeleton import Skeleton


class Reported(NamedTuple):
    """Columns of OpenSim's report of forces and their values (T, columns), in OpenSim's units."""

    names: tuple[str, ...]
    values: Float[np.ndarray, "time column"]


def external_loads(path: Path, model: OsimModel, time: Float[np.ndarray, " time"]) -> list[BodyLoad]:
    """External loads at the given times (s), between samples by natural cubic splines, as OpenSim's `ExternalForce`.

    Raises
    ------
    ExternalLoadsError, StorageError
        The document or its data file cannot be used, acts on a body that the model lacks, or does not cover the times.

    """
    document = read_external_loads(path)
    table = read_storage(document.datafile)
    if table.time[0] > time[0] + 1e-6 or table.time[-1] < time[-1] - 1e-6:
        raise ExternalLoadsError(
            f"{document.datafile}: forces cover {table.time[0]:g} to {table.time[-1]:g} s, the frames to be solved "
            f"{time[0]:g} to {time[-1]:g} s; change the times of the setup."
        )
    bodies = {GROUND, *(b.getName() for b in model.model.getBodySet())}
    column = {name: k for k, name in enumerate(table.names)}

    def sampled(identifier: str) -> torch.Tensor | None:
        if not identifier:
            return None
        chosen = table.values[:, [column[f"{identifier}{axis}"] for axis in "xyz"]]
        return torch.as_tensor(CubicSpline(table.time, chosen, bc_type="natural")(time))

    found = []
    for force in document.forces:
        named = (force.applied_to_body, force.force_expressed_in_body, force.point_expressed_in_body)
        unknown = [body for body in named if body not in bodies]
        missing = [name for name in force.columns() if name not in column]
        if unknown:
            raise ExternalLoadsError(f"{path}: {force.name} names '{unknown[0]}', which is no body of the model.")
        if missing:
            raise ExternalLoadsError(
                f"{path}: {document.datafile.name} has no columns {', '.join(missing)}, which {force.name} names."
            )
        pull, torque, point = map(sampled, (force.force_identifier, force.torque_identifier, force.point_identifier))
        found.append(
            BodyLoad(
                force.name,
                force.applied_to_body,
                pull,
                torque,
                point,
                force.force_expressed_in_body,
                force.point_expressed_in_body,
            )
        )
    return found


def reported_load(load: BodyLoad, skeleton: Skeleton, state: State) -> Reported:
    """What OpenSim's report says of an external load in ground: force and torque, and the point in its body's frame."""
    parts = [("F", load.force), ("p", load.point_in_body(skeleton, state)), ("T", load.torque)]
    there = [(letter, part.numpy()) for letter, part in parts if part is not None]
    names = tuple(f"{load.body}_{load.name}_{letter}{axis}" for letter, _ in there for axis in "xyz")
    return Reported(names, np.hstack([part for _, part in there]))


def passive_forces(setup_model: SetupModel, q: Motion, qd: Motion) -> Float[np.ndarray, "time coordinate"]:
    """Generalized forces (N, N·m) of springs, limits and contact on the independent coordinates, frame by frame.

    They are what inverse dynamics needs less of when they work (`InverseDynamicsSolver` includes forces that apply).
    """
    model = setup_model.model
    if not setup_model.passive:
        return np.zeros((q.frames, len(model.independent_coordinates)))
    still = qd.with_values(np.zeros_like(qd.values))
    without, within = (inverse_dynamics(model, q, qd, still, acting=on) for on in ((), setup_model.passive))
    return reduce_couplers(model, q, without - within)


def reported_passive_forces(setup_model: SetupModel, q: Motion, qd: Motion) -> dict[str, Reported]:
    """What OpenSim's report says of springs, limits and contact, by name."""
    if not setup_model.passive:
        return {}
    model = setup_model.model
    order = model.mobility_order  # initialises the model again, so it comes before the state
    chosen = [model.model.getForceSet().get(name) for name in setup_model.passive]
    state = model.model.initSystem()
    speeds = opensim.Vector(len(order), 0.0)
    rows = []
    for t in range(q.frames):
        state.setTime(float(q.time[t]))
        model.set_pose(state, dict(zip(q.names, q.values[t], strict=True)))
        for c, k in enumerate(order):
            speeds.set(int(k), float(qd.values[t, c]))
        state.setU(speeds)
        model.model.realizeVelocity(state)
        rows.append([_values(force, state) for force in chosen])
    found = {}
    for k, force in enumerate(chosen):
        labels = force.getRecordLabels()
        names = tuple(labels.get(i) for i in range(labels.getSize()))
        found[setup_model.passive[k]] = Reported(names, np.array([row[k] for row in rows]))
    return found


def _values(force: opensim.Force, state: opensim.State) -> list[float]:
    values = force.getRecordValues(state)
    return [values.get(i) for i in range(values.getSize())]
