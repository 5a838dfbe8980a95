"""Load an OpenSim model, describe it, and make the variant that static optimization needs."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.parsers import expat

import numpy as np
import opensim
from jaxtyping import Float, Int

from bige_opensim.io import file_hash
from bige_opensim.io.cache import kept
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.physics.joint_problem import LEG_RESERVE_NM, UPPER_BODY_RESERVE_NM

_CONTACT_FORCES = ("HuntCrossleyForce", "ElasticFoundationForce", "SmoothSphereHalfSpaceForce")
_KINDS = {1: "rotational", 2: "translational", 3: "coupled"}

RESIDUAL_OPTIMAL_FORCE = 1000.0
STRIPPED_FORMAT = 1
DEEPEST_XML = 200
REPAIRABLE = "`bige doctor MODEL --fix FOLDER` writes a repaired copy."


class ModelError(ValueError):
    """A model file that cannot be used, with what is wrong and what to do."""


@dataclass(frozen=True)
class Coordinate:
    """One generalized coordinate: range in rad or m; `kind` is rotational, translational or coupled."""

    name: str
    joint: str
    kind: str
    range_min: float
    range_max: float
    default: float
    locked: bool
    dependent: bool


@dataclass(frozen=True)
class Coupler:
    """`dependent = function(independent)`, from a CoordinateCouplerConstraint."""

    dependent: str
    independent: str
    constraint: str


class OsimModel:
    """An OpenSim model that is initialised and described, with its default state.

    The `opensim.Model` lives as long as this object: states, storages and components taken from it
    must not outlive it, or the process ends without a message.
    """

    def __init__(self, model: opensim.Model, path: Path) -> None:
        self.model = model
        self.path = path
        self.state = model.initSystem()

    @cached_property
    def coordinates(self) -> tuple[Coordinate, ...]:
        """All coordinates in the order of the model's coordinate set, dependent ones included."""
        coordinate_set = self.model.getCoordinateSet()
        dependents = {c.dependent for c in self.couplers}
        found = []
        for i in range(coordinate_set.getSize()):
            c = coordinate_set.get(i)
            found.append(
                Coordinate(
                    name=c.getName(),
                    joint=c.getJoint().getName(),
                    kind=_KINDS.get(c.getMotionType(), "coupled"),
                    range_min=c.getRangeMin(),
                    range_max=c.getRangeMax(),
                    default=c.getDefaultValue(),
                    locked=bool(c.getLocked(self.state)),
                    dependent=c.getName() in dependents,
                )
            )
        return tuple(found)

    @cached_property
    def couplers(self) -> tuple[Coupler, ...]:
        """The model's coordinate couplers; other enforced constraints are refused."""
        found = []
        constraints = self.model.getConstraintSet()
        for i in range(constraints.getSize()):
            c = constraints.get(i)
            if not c.isEnforced(self.state):
                continue
            coupler = opensim.CoordinateCouplerConstraint.safeDownCast(c)
            names = coupler.getIndependentCoordinateNames() if coupler is not None else None
            if coupler is None or names is None or names.getSize() != 1:
                raise ModelError(
                    f"{self.path}: constraint {c.getAbsolutePathString()} is a {c.getConcreteClassName()}; only "
                    "CoordinateCouplerConstraint of one independent coordinate is supported. Remove it or disable it."
                )
            found.append(Coupler(coupler.getDependentCoordinateName(), names.get(0), c.getName()))
        return tuple(found)

    @cached_property
    def independent_coordinates(self) -> tuple[str, ...]:
        """Coordinates that no coupler determines, locked ones included, in model order."""
        return tuple(c.name for c in self.coordinates if not c.dependent)

    @cached_property
    def free_coordinates(self) -> tuple[str, ...]:
        """Independent, unlocked coordinates in model order: each gets one equation in static optimization."""
        return tuple(c.name for c in self.coordinates if not (c.dependent or c.locked))

    @cached_property
    def rotational(self) -> frozenset[str]:
        """Coordinates whose values are angles and are written in degrees in files."""
        return frozenset(c.name for c in self.coordinates if c.kind == "rotational")

    @cached_property
    def root_coordinates(self) -> tuple[str, ...]:
        """Coordinates of the joint that connects the model to ground (the six of the pelvis)."""
        joints = self.model.getJointSet()
        for i in range(joints.getSize()):
            joint = joints.get(i)
            if joint.getParentFrame().findBaseFrame().getName() == "ground":
                return tuple(joint.get_coordinates(k).getName() for k in range(joint.numCoordinates()))
        raise ModelError(f"{self.path}: no joint connects a body to ground.")

    @cached_property
    def muscle_names(self) -> tuple[str, ...]:
        """Names of the muscles in force-set order."""
        muscles = self.model.getMuscles()
        return tuple(muscles.get(i).getName() for i in range(muscles.getSize()))

    @cached_property
    def activation_bounds(self) -> Float[np.ndarray, "muscle 2"]:
        """Smallest and largest control of every muscle, the box of static optimization."""
        muscles = self.model.getMuscles()
        n = range(muscles.getSize())
        return np.array([(muscles.get(i).getMinControl(), muscles.get(i).getMaxControl()) for i in n])

    @cached_property
    def max_isometric_force(self) -> Float[np.ndarray, " muscle"]:
        """Maximum isometric force of every muscle, N."""
        muscles = self.model.getMuscles()
        return np.array([muscles.get(i).getMaxIsometricForce() for i in range(muscles.getSize())])

    @cached_property
    def muscle_driven(self) -> frozenset[str]:
        """Coordinates on which at least one muscle has a moment arm above 0.1 mm in a bent pose."""
        return frozenset(_muscle_driven(self))

    @cached_property
    def mass_kg(self) -> float:
        """Total mass in kg."""
        return float(self.model.getTotalMass(self.state))

    @cached_property
    def sha256(self) -> str:
        """Hash of the file the model was read from."""
        return file_sha256(self.path)

    @cached_property
    def mobility_order(self) -> Int[np.ndarray, " coordinate"]:
        """Index of every coordinate (model order) in Simbody's u vector.

        Simbody numbers mobilities along its own tree, which interleaves legs and patellae; the order of the
        coordinate set is another. The map is read by setting one speed at a time and looking where it lands.
        """
        state = self.model.initSystem()
        order = []
        coordinate_set = self.model.getCoordinateSet()
        for i in range(coordinate_set.getSize()):
            state.updU().setToZero()
            coordinate_set.get(i).setSpeedValue(state, 1.0)
            u = state.getU().to_numpy()
            order.append(int(np.argmax(np.abs(u))))
        return np.asarray(order)

    def coupled_values(self, name: str, independent: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
        """Values of the dependent coordinate `name` for values of the coordinate that drives it."""
        coupler = next(c for c in self.couplers if c.dependent == name)
        constraint = opensim.CoordinateCouplerConstraint.safeDownCast(
            self.model.getConstraintSet().get(coupler.constraint)
        )
        function = constraint.getFunction()
        return np.array([function.calcValue(opensim.Vector(1, float(x))) for x in independent])

    def set_pose(self, state: opensim.State, values: Mapping[str, float]) -> None:
        """Set coordinates by name (rad, m) without projecting on constraints; give dependent ones too.

        Locked coordinates are unlocked in `state` first: OpenSim leaves them where they are otherwise.
        """
        coordinate_set = self.model.getCoordinateSet()
        for name, value in values.items():
            coordinate = coordinate_set.get(name)
            if coordinate.getLocked(state):
                coordinate.setLocked(state, False)
            coordinate.setValue(state, float(value), False)


def file_sha256(path: Path | str) -> str:
    """Hash of a model file, read once while the file does not change; ModelError where there is none."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file. Name an .osim file.")
    return file_hash.file_sha256(path)


def load(path: Path | str) -> OsimModel:
    """Read and initialise an .osim file.

    Raises
    ------
    ModelError
        The file is missing, unreadable, or the model cannot be initialised.

    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file. Name an .osim file.")
    _refuse_bottomless(path)
    try:
        with quiet_opensim():
            return OsimModel(opensim.Model(str(path)), path)
    except RuntimeError as error:
        reason = opensim_reason(error)
        remedy = REPAIRABLE if "Minimum activation" in reason else "Open it in the OpenSim GUI to see what is wrong."
        raise ModelError(f"{path}: OpenSim cannot read this model: {reason} {remedy}") from error


def opensim_reason(error: RuntimeError) -> str:
    """What an exception of OpenSim says, in one line: all of its sentences, without places in OpenSim's source."""
    text = re.sub(
        r"^std::exception in '.*?': |\s*Thrown at \S+ in .*?\(\)\.", "", str(error).strip(), flags=re.MULTILINE
    )
    line = " ".join(text.split())
    return line if line.endswith(".") else f"{line}."


def _refuse_bottomless(path: Path) -> None:
    """Refuse XML nested so deep that OpenSim's recursive reader would end the process."""
    depth = deepest = 0

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)

    def closed(name: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    with path.open("rb") as file, suppress(expat.ExpatError):  # what is no XML, OpenSim says itself
        parser.ParseFile(file)
    if deepest > DEEPEST_XML:
        raise ModelError(
            f"{path}: its XML is nested {deepest} levels deep, and models have about 15: this is no model, or it is "
            "damaged. Restore it from where it came from."
        )


def opensim_version() -> str:
    """Version of the OpenSim library, with its build."""
    return str(opensim.GetVersion())


def require_muscles(model: OsimModel) -> None:
    """Raise ModelError when the model has no muscles to optimise."""
    if not model.muscle_names:
        raise ModelError(f"{model.path}: the model has no muscles, so there is nothing to label. Use a muscle model.")


def reserve_optimal_forces(model: OsimModel, driven: Collection[str] | None = None) -> dict[str, float]:
    """Optimal force (N or N·m) of the reserve of every free coordinate.

    1 N·m where muscles act (legs), 250 N·m at coordinates without muscles (lumbar, arms), 1000 N or N·m for the
    residuals of the root, as the scripts of the field have them (Rajagopal et al. 2016, doi:10.1109/TBME.2016.2586891;
    OpenCap, doi:10.1371/journal.pcbi.1011462). `driven` are the coordinates with muscles, where they are known.
    """
    driven = model.muscle_driven if driven is None else driven
    forces = {}
    for name in model.free_coordinates:
        if name in model.root_coordinates:
            forces[name] = RESIDUAL_OPTIMAL_FORCE
        else:
            forces[name] = LEG_RESERVE_NM if name in driven else UPPER_BODY_RESERVE_NM
    return forces


def _muscle_driven(model: OsimModel) -> set[str]:
    """Coordinates on which at least one muscle has a moment arm above 0.1 mm in a bent pose."""
    if not model.muscle_names:
        return set()
    state = model.model.initSystem()
    bent = {c.name: 0.5 * c.range_min + 0.5 * c.range_max for c in model.coordinates if c.kind == "rotational"}
    model.set_pose(state, {n: float(np.clip(v, -0.5, 0.5)) for n, v in bent.items() if n not in model.root_coordinates})
    model.model.realizePosition(state)
    muscles = model.model.getMuscles()
    before = np.array([muscles.get(i).getLength(state) for i in range(muscles.getSize())])
    step, driven = 1e-2, set()
    for name in model.free_coordinates:
        coordinate = model.model.getCoordinateSet().get(name)
        value = coordinate.getValue(state)
        coordinate.setValue(state, value + step, False)
        model.model.realizePosition(state)
        after = np.array([muscles.get(i).getLength(state) for i in range(muscles.getSize())])
        coordinate.setValue(state, value, False)
        if np.abs(after - before).max() > 1e-4 * step:
            driven.add(name)
    return driven


def write_static_optimization_model(model: OsimModel, path: Path) -> Path:
    """Write what `save_for_static_optimization` writes, from the cache where it was written before."""
    version = hashlib.sha256(opensim_version().encode()).hexdigest()[:8]
    name = f"static-optimization-{STRIPPED_FORMAT}-{version}-{model.sha256[:32]}"

    def make() -> bytes:
        return save_for_static_optimization(model, path).read_bytes()

    path.write_bytes(kept(name, make, pack=bytes, unpack=bytes))
    return path


def save_for_static_optimization(model: OsimModel, path: Path) -> Path:
    """Write the model without contact and coordinate actuators, with one reserve per free coordinate.

    Reserves are CoordinateActuators named `reserve_<coordinate>` with unbounded controls.
    """
    copy = opensim.Model(str(model.path))
    copy.initSystem()
    forces = copy.updForceSet()
    for i in reversed(range(forces.getSize())):
        force = forces.get(i)
        kind = force.getConcreteClassName()
        if kind in _CONTACT_FORCES or kind == "CoordinateActuator":
            forces.remove(i)
    contact_geometry = copy.updContactGeometrySet()
    for i in reversed(range(contact_geometry.getSize())):
        contact_geometry.remove(i)
    for name, optimal_force in reserve_optimal_forces(model).items():
        actuator = opensim.CoordinateActuator(name)
        actuator.setName(f"reserve_{name}")
        actuator.setOptimalForce(optimal_force)
        actuator.setMinControl(-np.inf)
        actuator.setMaxControl(np.inf)
        copy.addForce(actuator)
    copy.finalizeConnections()
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    copy.printToXML(str(partial))
    partial.replace(path)
    return path
