"""Load an OpenSim model, describe it, and make the variant that static optimization needs."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from xml.parsers import expat

import numpy as np
import opensim
from jaxtyping import Float, Int

from bige_opensim.io import file_hash
from bige_opensim.io.cache import kept
from bige_opensim.osim import functions
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.topology import Root, find_root, path_bodies
from bige_opensim.physics.carried_loads import is_load
from bige_opensim.physics.joint_problem import LEG_RESERVE_NM, UPPER_BODY_RESERVE_NM

_CONTACT_FORCES = ("HuntCrossleyForce", "ElasticFoundationForce", "SmoothSphereHalfSpaceForce")
_KINDS = {1: "rotational", 2: "translational", 3: "coupled"}

RESIDUAL_OPTIMAL_FORCE = 1000.0
STRIPPED_FORMAT = 3
DEEPEST_XML = 200
REPAIRABLE = "`bige doctor MODEL --fix FOLDER` writes a repaired copy."

REACH = {"rotational": np.pi, "translational": 1.0, "coupled": np.pi}
"""How far from its default a coordinate is looked at where its range says nothing of use, rad or m."""
SAMPLED_POSES = 8
SPAN_STEP, SMALLEST_SPAN = 1e-2, 1e-4


class ModelError(ValueError):
    """A model file that cannot be used, with what is wrong and what to do."""


@dataclass(frozen=True)
class Coordinate:
    """One generalized coordinate: range in rad or m; `kind` is rotational, translational or coupled.

    A range is what the file says and may be infinite, absurdly wide, reversed or NaN; see `pose_range`.
    """

    name: str
    joint: str
    kind: str
    range_min: float
    range_max: float
    default: float
    locked: bool
    dependent: bool
    prescribed: bool
    clamped: bool = True

    @property
    def held(self) -> bool:
        """Whether the model itself says where the coordinate is: its motion takes no muscle and no reserve."""
        return self.locked or self.prescribed

    @property
    def pose_range(self) -> tuple[float, float]:
        """Poses that exist: the range, as far as it lies within REACH of the default, the default included."""
        reach = REACH[self.kind]
        low, high = self.default - reach, self.default + reach
        if self.range_min <= self.range_max:
            low, high = max(low, min(self.range_min, self.default)), min(high, max(self.range_max, self.default))
        return low, high


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
                    prescribed=bool(c.isPrescribed(self.state)),
                    clamped=bool(c.getDefaultClamped()),
                )
            )
        self._refuse_impossible(found)
        return tuple(found)

    def _refuse_impossible(self, coordinates: list[Coordinate]) -> None:
        for c in coordinates:
            if c.held and c.dependent:
                raise ModelError(
                    f"{self.path}: coordinate {c.name} is {'locked' if c.locked else 'prescribed'}, and a coupler "
                    "determines it as well; one of them can say where it is. Unlock it, or remove the coupler."
                )

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
        dependents = [c.dependent for c in found]
        for c in found:
            if c.independent in dependents or dependents.count(c.dependent) > 1:
                raise ModelError(
                    f"{self.path}: coupler {c.constraint} makes {c.dependent} follow {c.independent}, and another "
                    "coupler determines one of the two; a coordinate can follow one that is independent. Couple both "
                    "to the same one."
                )
        return tuple(found)

    @cached_property
    def independent_coordinates(self) -> tuple[str, ...]:
        """Coordinates that no coupler determines, held ones included, in model order."""
        return tuple(c.name for c in self.coordinates if not c.dependent)

    @cached_property
    def free_coordinates(self) -> tuple[str, ...]:
        """Independent coordinates, neither locked nor prescribed, in model order: one equation of static optimization
        each (`Coordinate::isConstrained` is false)."""
        return tuple(c.name for c in self.coordinates if not (c.dependent or c.held))

    @cached_property
    def held_coordinates(self) -> tuple[str, ...]:
        """Locked and prescribed coordinates in model order."""
        return tuple(c.name for c in self.coordinates if c.held)

    def held_values(self, name: str, time: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
        """Where a held coordinate is (rad or m): its default where it is locked, else its prescribed function of time.

        OpenSim takes these values whatever a motion's file says.
        """
        c = next(c for c in self.coordinates if c.name == name)
        if c.locked:
            return np.full(len(time), c.default)
        function = self.model.getCoordinateSet().get(name).getPrescribedFunction()
        return functions.values(function, time)

    @cached_property
    def rotational(self) -> frozenset[str]:
        """Coordinates whose values are angles and are written in degrees in files."""
        return frozenset(c.name for c in self.coordinates if c.kind == "rotational")

    @cached_property
    def root_coordinates(self) -> tuple[str, ...]:
        """Coordinates of the joint by which the model floats in ground (the six of a pelvis); none where nothing does.

        Raises
        ------
        ModelError
            Several bodies float, or one floats on a body that moves.

        """
        root: Root = find_root(self.model, self.held_coordinates, [c.name for c in self.coordinates if c.dependent])
        if root.fault:
            raise ModelError(f"{self.path}: {root.fault}.")
        return root.coordinates

    @cached_property
    def muscle_names(self) -> tuple[str, ...]:
        """Names of the muscles in force-set order."""
        muscles = self.model.getMuscles()
        return tuple(muscles.get(i).getName() for i in range(muscles.getSize()))

    @cached_property
    def muscles_off(self) -> frozenset[str]:
        """Muscles that do nothing in this model (`appliesForce` is false)."""
        muscles = self.model.getMuscles()
        return frozenset(n for i, n in enumerate(self.muscle_names) if not muscles.get(i).get_appliesForce())

    @cached_property
    def controls(self) -> Float[np.ndarray, "muscle 2"]:
        """Smallest and largest control of every muscle as the model has them."""
        muscles = self.model.getMuscles()
        n = range(muscles.getSize())
        return np.array([(muscles.get(i).getMinControl(), muscles.get(i).getMaxControl()) for i in n]).reshape(-1, 2)

    @cached_property
    def activation_bounds(self) -> Float[np.ndarray, "muscle 2"]:
        """Box of every muscle in static optimization: its controls, within 0 and 1; 0 for a muscle that is off.

        OpenSim's StaticOptimization takes min_control and max_control as they are, and multiplies the isometric force
        with what it finds between them; the activation dynamics of its muscles keep activations at most at 1. So do
        we, in both solvers (see `save_for_static_optimization`).
        """
        off = np.array([n in self.muscles_off for n in self.muscle_names])
        return np.where(off[:, None], 0.0, self.controls.clip(0.0, 1.0))

    @cached_property
    def other_actuators(self) -> tuple[str, ...]:
        """Actuators that are neither muscles nor CoordinateActuators: static optimization works without them."""
        return tuple(f.getName() for f in _forces(self.model) if _is_actuator(f) and not _is_replaced(f))

    @cached_property
    def passive_forces(self) -> tuple[str, ...]:
        """Springs, ligaments, bushings, limits: forces that act beside the muscles whatever the muscles do."""
        others = [f for f in _forces(self.model) if f.get_appliesForce() and not (_is_actuator(f) or _is_replaced(f))]
        return tuple(f.getName() for f in others if opensim.Muscle.safeDownCast(f) is None)

    @cached_property
    def max_isometric_force(self) -> Float[np.ndarray, " muscle"]:
        """Maximum isometric force of every muscle, N."""
        muscles = self.model.getMuscles()
        return np.array([muscles.get(i).getMaxIsometricForce() for i in range(muscles.getSize())])

    @cached_property
    def muscle_driven(self) -> frozenset[str]:
        """Free coordinates on which at least one muscle has a moment arm above 0.1 mm in a pose that exists."""
        return frozenset(_muscle_driven(self))

    @cached_property
    def bodies_with_muscles(self) -> frozenset[str]:
        """Bodies that at least one muscle path touches."""
        muscles = self.model.getMuscles()
        paths = (path_bodies(muscles.get(i)) for i in range(muscles.getSize()))
        return frozenset(set[str]().union(*paths) - {"ground"})

    @cached_property
    def mass_kg(self) -> float:
        """Mass of all bodies in kg, without loads that are carried."""
        bodies = (self.model.getBodySet().get(i) for i in range(self.model.getBodySet().getSize()))
        return float(self.model.getTotalMass(self.state)) - sum(b.getMass() for b in bodies if is_load(b.getName()))

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
        return functions.values(constraint.getFunction(), independent)

    def set_pose(self, state: opensim.State, values: Mapping[str, float]) -> None:
        """Set coordinates by name (rad, m) without projecting on constraints; give dependent ones too.

        Locked and prescribed coordinates are freed in `state` first: OpenSim leaves them where they are otherwise.
        """
        coordinate_set = self.model.getCoordinateSet()
        for name, value in values.items():
            coordinate = coordinate_set.get(name)
            if coordinate.getLocked(state):
                coordinate.setLocked(state, False)
            if coordinate.isPrescribed(state):
                coordinate.setIsPrescribed(state, False)
            coordinate.setValue(state, float(value), False)


def _forces(model: opensim.Model) -> Iterator[opensim.Force]:
    forces = model.getForceSet()
    return (forces.get(i) for i in range(forces.getSize()))


def _is_actuator(force: opensim.Force) -> bool:
    return opensim.Actuator.safeDownCast(force) is not None and opensim.Muscle.safeDownCast(force) is None


def _is_replaced(force: opensim.Force) -> bool:
    """Contact, for which ground forces stand, and coordinate actuators, for which reserves do."""
    return force.getConcreteClassName() in (*_CONTACT_FORCES, "CoordinateActuator")


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
    depth = _depth(path, file_sha256(path))
    if depth > DEEPEST_XML:
        raise ModelError(
            f"{path}: its XML is nested {depth} levels deep, and models have about 15: this is no model, or it is "
            "damaged. Restore it from where it came from."
        )
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


@lru_cache(maxsize=8)
def _depth(path: Path, sha256: str) -> int:
    """How deep the XML of a file is nested: OpenSim's recursive reader would end the process at some depth."""
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
    with suppress(expat.ExpatError):  # what is no XML, OpenSim says itself
        parser.Parse(file_hash.read_bytes(path), True)
    return deepest


def opensim_version() -> str:
    """Version of the OpenSim library, with its build."""
    return str(opensim.GetVersion())


def document_version() -> str:
    """Version that OpenSim gives the documents it writes, such as 40600."""
    text = str(opensim.GetVersion()).split("-")[0]
    major, minor, patch = (int(part) for part in f"{text}.0.0".split(".")[:3])
    return f"{major}{minor:02d}{patch:02d}"


def require_muscles(model: OsimModel) -> None:
    """Raise ModelError when the model has no muscles to optimise, impossible ones, or nothing that they could move."""
    if not model.muscle_names:
        raise ModelError(f"{model.path}: the model has no muscles, so there is nothing to label. Use a muscle model.")
    for name, wrong in _impossible(model):
        raise ModelError(f"{model.path}: {wrong} of muscle {name}. Correct it in the model.")
    if not model.free_coordinates:
        raise ModelError(
            f"{model.path}: every coordinate is locked or prescribed, so muscles have nothing to do. Unlock the joints "
            "that move."
        )


def _impossible(model: OsimModel) -> Iterator[tuple[str, str]]:
    """Muscles with a property that no muscle can have, and what it is."""
    muscles = model.model.getMuscles()
    for i, name in enumerate(model.muscle_names):
        muscle, (low, high) = muscles.get(i), model.controls[i]
        for what in ("MaxIsometricForce", "OptimalFiberLength", "TendonSlackLength"):
            value = float(getattr(muscle, f"get{what}")())
            if not (np.isfinite(value) and (value > 0 or (value == 0 and what == "MaxIsometricForce"))):
                yield name, f"expected a finite, positive {what}, got {value:g}"
        if not low <= high or not low <= 1 or not high >= 0:
            yield name, f"expected min_control <= max_control that reach into 0..1, got {low:g} and {high:g}"


def model_notes(model: OsimModel) -> tuple[str, ...]:
    """What a label should say of how its model was understood; nothing for a model as most are."""
    notes = []
    if model.muscles_off:
        notes.append(
            f"Muscles that the model switches off (appliesForce) stay at 0: {', '.join(sorted(model.muscles_off))}."
        )
    beyond = [n for n, c in zip(model.muscle_names, model.controls, strict=True) if c[0] < 0 or c[1] > 1]
    if beyond:
        notes.append(f"Activations lie within 0 and 1, although the controls of {', '.join(beyond)} reach beyond.")
    if model.other_actuators:
        notes.append(f"Muscles work without the model's other actuators: {', '.join(model.other_actuators)}.")
    if model.passive_forces:
        notes.append(f"These forces of the model act beside the muscles: {', '.join(model.passive_forces)}.")
    if not model.root_coordinates:
        notes.append("Nothing floats in this model: there are no residuals, and no ground forces are estimated.")
    return tuple(notes)


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
    """Free coordinates that change a muscle's length by more than 0.1 mm per radian in one of some poses that exist."""
    state, driven = model.model.initSystem(), set[str]()
    muscles = [model.model.getMuscles().get(i) for i in range(len(model.muscle_names))]
    root = set(model.root_coordinates)

    def lengths(pose: Mapping[str, float]) -> Float[np.ndarray, " muscle"]:
        driven = {
            c.dependent: float(model.coupled_values(c.dependent, np.array([pose[c.independent]]))[0])
            for c in model.couplers
        }
        model.set_pose(state, {**pose, **driven})
        model.model.realizePosition(state)
        return np.array([m.getLength(state) for m in muscles])

    for pose in _poses(model) if muscles else ():
        before = lengths(pose)
        asked = sorted(set(model.free_coordinates) - driven - root)
        steps = SPAN_STEP * np.linspace(1.0, 0.5, len(asked))  # none the negative of another, so that two do not cancel
        together = lengths({**pose, **{n: pose[n] + float(h) for n, h in zip(asked, steps, strict=True)}})
        if np.abs(together - before).max() <= 0.5 * SMALLEST_SPAN * SPAN_STEP:
            continue
        for name in asked:
            if np.abs(lengths({**pose, name: pose[name] + SPAN_STEP}) - before).max() > SMALLEST_SPAN * SPAN_STEP:
                driven.add(name)
    return driven


def _poses(model: OsimModel) -> Iterator[dict[str, float]]:
    """The default pose, the middle of the ranges (at most 0.5 rad away from 0) and random ones; the root stays."""
    independent = [c for c in model.coordinates if not c.dependent]
    moving = {c.name: c for c in independent if not c.held and c.name not in model.root_coordinates}
    default = {c.name: c.default for c in independent}
    yield default
    yield default | {
        n: float(np.clip(np.mean(c.pose_range), -0.5, 0.5)) for n, c in moving.items() if c.kind == "rotational"
    }
    rng = np.random.default_rng(0)
    for _ in range(SAMPLED_POSES):
        yield default | {n: float(rng.uniform(*c.pose_range)) for n, c in moving.items()}


def write_static_optimization_model(model: OsimModel, path: Path, driven: Collection[str] | None = None) -> Path:
    """Write what `save_for_static_optimization` writes, from the cache where it was written before."""
    version = hashlib.sha256(opensim_version().encode()).hexdigest()[:8]
    name = f"static-optimization-{STRIPPED_FORMAT}-{version}-{model.sha256[:32]}"

    def make() -> bytes:
        return save_for_static_optimization(model, path, driven).read_bytes()

    path.write_bytes(kept(name, make, pack=bytes, unpack=bytes))
    return path


def save_for_static_optimization(model: OsimModel, path: Path, driven: Collection[str] | None = None) -> Path:
    """Write the model without contact and without actuators but its muscles, with one reserve per free coordinate.

    Reserves are CoordinateActuators named `reserve_<coordinate>` with unbounded controls. Controls of muscles that
    reach below 0 or above 1 are bounded, as `OsimModel.activation_bounds` says. `driven` are the coordinates with
    muscles, where they are known.
    """
    copy = opensim.Model(str(model.path))
    copy.initSystem()
    forces = copy.updForceSet()
    for i in reversed(range(forces.getSize())):
        if _is_replaced(forces.get(i)) or _is_actuator(forces.get(i)):
            forces.remove(i)
    for i, (low, high) in enumerate(model.controls):
        if low < 0 or high > 1:
            copy.updMuscles().get(i).setMinControl(max(low, 0.0))
            copy.updMuscles().get(i).setMaxControl(min(high, 1.0))
    contact_geometry = copy.updContactGeometrySet()
    for i in reversed(range(contact_geometry.getSize())):
        contact_geometry.remove(i)
    for name, optimal_force in reserve_optimal_forces(model, driven).items():
        actuator = opensim.CoordinateActuator(name)
        actuator.setName(f"reserve_{name}")
        actuator.setOptimalForce(optimal_force)
        actuator.setMinControl(-np.inf)
        actuator.setMaxControl(np.inf)
        forces.cloneAndAppend(actuator)
    copy.finalizeFromProperties()
    copy.finalizeConnections()
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    copy.printToXML(str(partial))
    partial.replace(path)
    return path
