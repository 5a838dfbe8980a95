"""What acts on the model of a setup besides its actuators: external loads, springs, limits and contact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import opensim
import torch
from jaxtyping import Float

from bige_opensim.io.analyze_setup import AnalyzeSetupError
from bige_opensim.io.external_loads import ExternalLoadsError, read_external_loads
from bige_opensim.io.storage import read_storage
from bige_opensim.motion import Motion
from bige_opensim.osim.analyze_setup_model import SetupModel
from bige_opensim.osim.inverse_dynamics import inverse_dynamics, reduce_couplers
from bige_opensim.osim.model import OsimModel
from bige_opensim.physics.body_loads import GROUND, BodyLoad


class Reported(NamedTuple):
    """Columns of OpenSim's report of forces and their values (T, columns), in OpenSim's units."""

    names: tuple[str, ...]
    values: Float[np.ndarray, "time column"]


def external_loads(path: Path, model: OsimModel, time: Float[np.ndarray, " time"]) -> list[BodyLoad]:
    """External loads at the given times (s), interpolated by OpenSim itself.

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
    for force in document.forces:
        named = (force.applied_to_body, force.force_expressed_in_body, force.point_expressed_in_body)
        unknown = [body for body in named if body not in bodies]
        missing = [column for column in force.columns() if column not in table.names]
        if unknown:
            raise ExternalLoadsError(f"{path}: {force.name} names '{unknown[0]}', which is no body of the model.")
        if missing:
            raise ExternalLoadsError(
                f"{path}: {document.datafile.name} has no columns {', '.join(missing)}, which {force.name} names."
            )
    copy, loads = _with_loads(model.path, path)
    assert loads is not None
    copy.initSystem()
    found = []
    for force in document.forces:
        source = opensim.ExternalForce.safeDownCast(loads.get(force.name))
        zero = np.zeros((len(time), 3))
        pull = _sampled(source.getForceAtTime, time) if force.force_identifier else zero
        torque = _sampled(source.getTorqueAtTime, time) if force.torque_identifier else zero
        point = _sampled(source.getPointAtTime, time) if force.point_identifier else None
        found.append(
            BodyLoad(
                force.applied_to_body,
                torch.as_tensor(pull),
                torch.as_tensor(torque),
                None if point is None else torch.as_tensor(point),
                force.force_expressed_in_body,
                force.point_expressed_in_body,
            )
        )
    return found


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


def reported_forces(
    setup_model: SetupModel, loads: Path | None, q: Motion, qd: Motion
) -> tuple[dict[str, Reported], list[Reported]]:
    """What OpenSim's report says of springs, limits and contact, by name, and of every external load."""
    model = setup_model.model
    if not setup_model.passive and loads is None:
        return {}, []
    order = model.mobility_order
    copy, document = _with_loads(model.path, loads)
    chosen = [copy.getForceSet().get(name) for name in setup_model.passive]
    if document is not None:
        chosen += [force for force in (document.get(i) for i in range(document.getSize())) if force.get_appliesForce()]
    state = copy.initSystem()
    described = OsimModel(copy, model.path)
    speeds = opensim.Vector(len(order), 0.0)
    rows = []
    for t in range(q.frames):
        state.setTime(float(q.time[t]))
        described.set_pose(state, dict(zip(q.names, q.values[t], strict=True)))
        for c, k in enumerate(order):
            speeds.set(int(k), float(qd.values[t, c]))
        state.setU(speeds)
        copy.realizeVelocity(state)
        rows.append([_values(force, state) for force in chosen])
    found = []
    for k, force in enumerate(chosen):
        labels = force.getRecordLabels()
        names = tuple(labels.get(i) for i in range(labels.getSize()))
        found.append(Reported(names, np.array([row[k] for row in rows])))
    passive = len(setup_model.passive)
    return dict(zip(setup_model.passive, found[:passive], strict=True)), found[passive:]


def _values(force: opensim.Force, state: opensim.State) -> list[float]:
    values = force.getRecordValues(state)
    return [values.get(i) for i in range(values.getSize())]


def _sampled(
    function: Callable[[float], opensim.Vec3], time: Float[np.ndarray, " time"]
) -> Float[np.ndarray, "time 3"]:
    return np.array([function(float(t)).to_numpy() for t in time])


def _with_loads(model: Path, loads: Path | None) -> tuple[opensim.Model, opensim.ExternalLoads | None]:
    copy = opensim.Model(str(model))
    if loads is None:
        return copy, None
    try:
        document = opensim.ExternalLoads(str(loads), True)
        copy.addModelComponent(document)
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0]
        raise AnalyzeSetupError(f"{loads}: OpenSim cannot use these external loads ({reason}).") from error
    return copy, document
