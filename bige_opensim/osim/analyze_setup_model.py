"""The model that an AnalyzeTool setup describes, with its own forces and those of force set files sorted."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import opensim
from jaxtyping import Float

from bige_opensim.io.analyze_setup import AnalyzeSetup, AnalyzeSetupError
from bige_opensim.io.xml_document import read_xml
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.physics.actuators import Actuator, BodyTorque, CoordinateDrive, PointForce

MODEL_NAME = "model_of_setup.osim"


@dataclass(frozen=True)
class SetupModel:
    """The composed model and its forces.

    Attributes
    ----------
    model
        The model with all forces of the setup, read from a file of its own.
    reported
        Names of all working forces in OpenSim's order, in which its report of forces has them.
    columns
        Those that are scalar actuators: the columns of its activation file.
    muscles
        Those of them that are muscles.
    muscle_controls
        (M, 2) smallest and largest control of the muscles.
    actuators
        Those that are none.
    passive
        Names of other working forces: springs, limits, contact.
    own_muscles
        Whether the muscles are those of the setup's model file, no force set file brought any or replaced them.

    """

    model: OsimModel
    reported: tuple[str, ...]
    columns: tuple[str, ...]
    muscles: tuple[str, ...]
    muscle_controls: Float[np.ndarray, "muscle 2"]
    actuators: tuple[Actuator, ...]
    passive: tuple[str, ...]
    own_muscles: bool


def compose(setup: AnalyzeSetup, folder: Path) -> SetupModel:
    """Put the model of a setup together, as AnalyzeTool does, and write it into `folder`.

    Raises
    ------
    ModelError
        The model cannot be read.
    AnalyzeSetupError
        A force set file is none, holds forces that OpenSim does not know, two forces have one name, an actuator is not
        supported, or there are fewer actuators than free coordinates.

    """
    model = load(setup.model).model
    forces = model.updForceSet()
    own = [forces.get(i).getName() for i in range(forces.getSize())]
    if setup.replace_force_set:
        for i in reversed(range(forces.getSize())):
            forces.remove(i)
    for file in setup.force_sets:
        _append(model, file)
    names = [forces.get(i).getName() for i in range(forces.getSize())]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise AnalyzeSetupError(
            f"{setup.path}: the forces {', '.join(repeated)} are there more than once in the model and its force sets; "
            "rename or remove the copies."
        )
    path = folder / MODEL_NAME
    try:
        model.finalizeConnections()
        model.printToXML(str(path))
    except RuntimeError as error:
        raise AnalyzeSetupError(
            f"{setup.path}: OpenSim cannot put the model and its force sets together ({_said(error)}); correct them."
        ) from error
    return _sorted(setup, load(path), None if setup.replace_force_set else set(own))


def _said(error: Exception) -> str:
    """The first line of OpenSim's message, without the name of the function that raised it."""
    return re.sub(r"^std::exception in '.*?': ", "", str(error).strip().split("\n")[0])


def _append(model: opensim.Model, file: Path) -> None:
    root = read_xml(file, AnalyzeSetupError, "a ForceSet document")
    group = root if root.tag == "ForceSet" else next(iter(root), root)
    if group.tag not in ("ForceSet", "ActuatorSet"):
        raise AnalyzeSetupError(f"{file}: holds a <{group.tag}>; expected a <ForceSet> of extra actuators.")
    unknown = [item.tag for item in group.findall("objects/*") if not hasattr(opensim, item.tag)]
    if unknown:
        raise AnalyzeSetupError(f"{file}: OpenSim knows no {unknown[0]}; correct or remove this force.")
    try:
        found = opensim.ForceSet(str(file), True)
    except (RuntimeError, SystemError) as error:  # its wrapper raises what is no exception to Python
        raise AnalyzeSetupError(f"{file}: OpenSim cannot read this force set ({_said(error)}).") from error
    for i in range(found.getSize()):
        model.updForceSet().cloneAndAppend(found.get(i))


def _sorted(setup: AnalyzeSetup, model: OsimModel, own: set[str] | None) -> SetupModel:
    forces = model.model.getForceSet()
    reported, columns, muscles, controls, actuators, passive = [], [], [], [], [], []
    for force in (forces.get(i) for i in range(forces.getSize())):
        name = force.getName()
        if not force.get_appliesForce():
            continue
        reported.append(name)
        muscle = opensim.Muscle.safeDownCast(force)
        if muscle is not None:
            muscles.append(name)
            controls.append((muscle.getMinControl(), muscle.getMaxControl()))
        elif opensim.Actuator.safeDownCast(force) is not None:
            actuators.append(_actuator(setup, model, force))
        else:
            passive.append(name)
            continue
        columns.append(name)
    for name, (low, high) in [*zip(muscles, controls, strict=True), *((a.name, _bounds(a)) for a in actuators)]:
        if not low <= high:
            raise AnalyzeSetupError(f"{setup.path}: the controls of {name} run from {low:g} to {high:g}; correct them.")
    free = len(model.free_coordinates)
    if len(columns) < free:
        raise AnalyzeSetupError(
            f"{setup.path}: {len(columns)} actuators for {free} free coordinates; OpenSim's static optimization needs "
            "as many at least. Add reserve and residual actuators in <force_set_files>."
        )
    return SetupModel(
        model,
        tuple(reported),
        tuple(columns),
        tuple(muscles),
        np.array(controls, dtype=float).reshape(-1, 2),
        tuple(actuators),
        tuple(passive),
        own is not None and set(model.muscle_names) <= own,
    )


def _bounds(actuator: Actuator) -> tuple[float, float]:
    return actuator.min_control, actuator.max_control


def _actuator(setup: AnalyzeSetup, model: OsimModel, force: opensim.Force) -> Actuator:
    drive = _drive(setup, model, force)
    scalar = opensim.ScalarActuator.safeDownCast(force)
    return Actuator(force.getName(), drive, scalar.getOptimalForce(), scalar.getMinControl(), scalar.getMaxControl())


def _drive(setup: AnalyzeSetup, model: OsimModel, force: opensim.Force) -> CoordinateDrive | PointForce | BodyTorque:
    name, kind = force.getName(), force.getConcreteClassName()
    on_coordinate = opensim.CoordinateActuator.safeDownCast(force)
    at_point = opensim.PointActuator.safeDownCast(force)
    torque = opensim.TorqueActuator.safeDownCast(force)
    if kind == "CoordinateActuator":
        coordinate = on_coordinate.get_coordinate()
        if coordinate not in model.independent_coordinates:
            raise AnalyzeSetupError(
                f"{setup.path}: {name} acts on '{coordinate}', which is no independent coordinate of "
                f"{setup.model.name}; expected one of {', '.join(model.independent_coordinates)}."
            )
        return CoordinateDrive(coordinate)
    if kind == "PointActuator":
        return PointForce(
            _body(setup, model, name, at_point.get_body()),
            _triple(at_point.get_point()),
            _unit(setup, name, at_point.get_direction()),
            at_point.get_point_is_global(),
            at_point.get_force_is_global(),
        )
    if kind == "TorqueActuator":
        return BodyTorque(
            _body(setup, model, name, torque.get_bodyA()),
            _body(setup, model, name, torque.get_bodyB()),
            _unit(setup, name, torque.get_axis()),
            torque.get_torque_is_global(),
        )
    raise AnalyzeSetupError(
        f"{setup.path}: {name} is a {kind}, which is not supported; expected muscles and CoordinateActuators, "
        "PointActuators and TorqueActuators. Replace or disable it (<appliesForce>false</appliesForce>)."
    )


def _body(setup: AnalyzeSetup, model: OsimModel, name: str, body: str) -> str:
    body = body.split("/")[-1]
    if body != "ground" and not model.model.getBodySet().contains(body):
        raise AnalyzeSetupError(f"{setup.path}: {name} acts on '{body}', which is no body of {setup.model.name}.")
    return body


def _triple(vector: opensim.Vec3) -> tuple[float, float, float]:
    return float(vector.get(0)), float(vector.get(1)), float(vector.get(2))


def _unit(setup: AnalyzeSetup, name: str, vector: opensim.Vec3) -> tuple[float, float, float]:
    x, y, z = _triple(vector)
    length = float(np.sqrt(x * x + y * y + z * z))
    if not length > 0:
        raise AnalyzeSetupError(f"{setup.path}: {name} has no direction; give it one.")
    return x / length, y / length, z / length
