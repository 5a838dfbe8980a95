"""Sample an .osim into the plain arrays from which `physics` runs without opensim."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import opensim

from bige_opensim.io.cache import kept
from bige_opensim.osim.functions import values_and_slopes
from bige_opensim.osim.model import Coordinate, ModelError, OsimModel, file_sha256, load
from bige_opensim.physics.skeleton import ROTATION, TRANSLATION, SkeletonTables

FORMAT = 9
SPLINE_NODES = 2049
RANGE_MARGIN = 0.6
SMALLEST_RANGE = 0.5 * np.pi
LARGEST_ANGLE = 2.0 * np.pi

# OpenCap's foot-ground spheres (Falisse et al. 2019, doi:10.1098/rsif.2019.0402; Uhlrich et al. 2023,
# doi:10.1371/journal.pcbi.1011462): centre in m for a foot whose toe joint lies REFERENCE_TOE_JOINT_X in front of the
# calcaneus origin, right side; z changes sign on the left.
REFERENCE_TOE_JOINT_X = 0.16341
SPHERE_RADIUS = 0.032
SPHERES = (
    ("s1", "calcn", (0.0019, -0.01, -0.0038)),
    ("s2", "calcn", (0.1484, -0.01, -0.0287)),
    ("s3", "calcn", (0.1330, -0.01, 0.0516)),
    ("s4", "calcn", (0.0662, -0.01, 0.0264)),
    ("s5", "toes", (0.0600, -0.01, -0.0188)),
    ("s6", "toes", (0.0450, -0.01, 0.0619)),
)


def compile_skeleton(path: Path | str, *, cache: bool = True, model: OsimModel | None = None) -> SkeletonTables:
    """Joints, inertias, couplers and contact spheres of a model as arrays, cached by the file's sha256.

    `model` is the file's, where it has been read already.

    Raises
    ------
    ModelError
        A joint or constraint is not supported; the message names the component's path.

    """
    name = f"skeleton-{FORMAT}-{file_sha256(path)[:32]}"

    def make() -> SkeletonTables:
        return _Compiler(load(path) if model is None else model).tables()

    return kept(name, make, pack=SkeletonTables.to_bytes, unpack=SkeletonTables.from_bytes) if cache else make()


@dataclass
class _Frame:
    """A frame fixed to primitive `primitive`: constant transform from that primitive's moved frame."""

    primitive: int
    rotation: np.ndarray
    translation: np.ndarray

    def then(self, rotation: np.ndarray, translation: np.ndarray) -> _Frame:
        return _Frame(
            self.primitive, self.rotation @ rotation, self.translation + self.rotation @ np.asarray(translation)
        )


@dataclass
class _Compiler:
    model: OsimModel
    kind: list[int] = field(default_factory=list)
    axis: list[np.ndarray] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    fixed_rotation: list[np.ndarray] = field(default_factory=list)
    fixed_translation: list[np.ndarray] = field(default_factory=list)
    coordinate: list[int] = field(default_factory=list)
    affine: list[tuple[float, float]] = field(default_factory=list)
    spline: list[int] = field(default_factory=list)
    grids: list[tuple[float, float, np.ndarray]] = field(default_factory=list)
    simbody_spin: list[tuple[int, int, int, int]] = field(default_factory=list)
    frames: dict[str, _Frame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.independent = self.model.independent_coordinates
        self.drivers = {c.dependent: c for c in self.model.couplers}
        self.described = {c.name: c for c in self.model.coordinates}

    def tables(self) -> SkeletonTables:
        self._walk()
        coordinates = [self.described[n] for n in self.independent]
        bodies = [b for b in self.frames if b != "ground"]
        bodyset = self.model.model.getBodySet()
        contacts = self._contacts(bodies)
        nodes = np.array([g[2] for g in self.grids]).reshape(-1, SPLINE_NODES, 2)
        return SkeletonTables(
            coordinates=self.independent,
            rotational=tuple(c.kind == "rotational" for c in coordinates),
            locked=tuple(c.held for c in coordinates),
            range=np.array([(c.range_min, c.range_max) for c in coordinates]),
            default=np.array([self._default(c) for c in coordinates]),
            kind=np.array(self.kind),
            axis=np.array(self.axis).reshape(-1, 3),
            parent=np.array(self.parent),
            fixed_rotation=np.array(self.fixed_rotation).reshape(-1, 3, 3),
            fixed_translation=np.array(self.fixed_translation).reshape(-1, 3),
            coordinate=np.array(self.coordinate),
            affine=np.array(self.affine).reshape(-1, 2),
            spline=np.array(self.spline),
            spline_low=np.array([g[0] for g in self.grids]),
            spline_step=np.array([g[1] for g in self.grids]),
            spline_nodes=nodes,
            simbody_spin=np.array(self.simbody_spin, dtype=np.int64).reshape(-1, 4),
            bodies=tuple(bodies),
            body_primitive=np.array([self.frames[b].primitive for b in bodies]),
            body_rotation=np.array([self.frames[b].rotation for b in bodies]),
            body_translation=np.array([self.frames[b].translation for b in bodies]),
            mass=np.array([bodyset.get(b).getMass() for b in bodies]),
            com=np.array([bodyset.get(b).getMassCenter().to_numpy() for b in bodies]),
            inertia=np.array([_inertia(bodyset.get(b)) for b in bodies]),
            gravity=self.model.model.getGravity().to_numpy(),
            contact_names=tuple(c[0] for c in contacts),
            contact_body=np.array([bodies.index(c[1]) for c in contacts], dtype=int),
            contact_centre=np.array([c[2] for c in contacts]).reshape(-1, 3),
            contact_radius=np.array([c[3] for c in contacts]),
            muscles=self.model.muscle_names,
            max_isometric_force=self.model.max_isometric_force,
            muscle_driven=tuple(n for n in self.independent if n in self.model.muscle_driven),
            root=self._root(),
            passive_forces=self.model.passive_forces,
            source={"file": self.model.path.name, "sha256": self.model.sha256},
        )

    def _default(self, coordinate: Coordinate) -> float:
        """The default, or where a prescribed coordinate starts."""
        return float(self.model.held_values(coordinate.name, np.zeros(1))[0]) if coordinate.held else coordinate.default

    def _walk(self) -> None:
        """Visit joints from ground outwards."""
        self.frames["ground"] = _Frame(-1, np.eye(3), np.zeros(3))
        joints = self.model.model.getJointSet()
        waiting = [joints.get(i) for i in range(joints.getSize())]
        while waiting:
            ready = [j for j in waiting if j.getParentFrame().findBaseFrame().getName() in self.frames]
            if not ready:
                names = ", ".join(j.getName() for j in waiting)
                raise ModelError(f"{self.model.path}: joints {names} hang on no body that reaches ground.")
            for joint in ready:
                self._joint(joint)
            done = {j.getName() for j in ready}
            waiting = [j for j in waiting if j.getName() not in done]

    def _joint(self, joint: opensim.Joint) -> None:
        parent, child = joint.getParentFrame(), joint.getChildFrame()
        frame = self.frames[parent.findBaseFrame().getName()].then(*_transform(parent.findTransformInBaseFrame()))
        frame = self._motion(joint, frame)
        rotation, translation = _transform(child.findTransformInBaseFrame())
        self.frames[child.findBaseFrame().getName()] = frame.then(rotation.T, -rotation.T @ translation)

    def _motion(self, joint: opensim.Joint, frame: _Frame) -> _Frame:
        names = [joint.get_coordinates(k).getName() for k in range(joint.numCoordinates())]
        x, y, z = np.eye(3)
        simple = {
            "WeldJoint": [],
            "PinJoint": [(ROTATION, z)],
            "SliderJoint": [(TRANSLATION, x)],
            "UniversalJoint": [(ROTATION, x), (ROTATION, y)],
            "GimbalJoint": [(ROTATION, x), (ROTATION, y), (ROTATION, z)],
            "BallJoint": [(ROTATION, x), (ROTATION, y), (ROTATION, z)],
        }
        kind = joint.getConcreteClassName()
        if kind in simple:
            for name, (motion, axis) in zip(names, simple[kind], strict=True):
                frame = self._primitive(frame, motion, axis, name, None)
            return frame
        if kind == "PlanarJoint":
            order = [(TRANSLATION, x, names[1]), (TRANSLATION, y, names[2]), (ROTATION, z, names[0])]
        elif kind == "FreeJoint":
            order = [(TRANSLATION, a, n) for a, n in zip((x, y, z), names[3:], strict=True)]
            order += [(ROTATION, a, n) for a, n in zip((x, y, z), names[:3], strict=True)]
        elif kind == "CustomJoint":
            return self._custom(opensim.CustomJoint.safeDownCast(joint), frame)
        else:
            raise ModelError(
                f"{self.model.path}: joint {joint.getAbsolutePathString()} is a {kind}, which is not supported. "
                "Supported: Weld, Pin, Slider, Universal, Gimbal, Ball, Planar, Free and Custom joints."
            )
        for motion, axis, name in order:
            frame = self._primitive(frame, motion, axis, name, None)
        return frame

    def _custom(self, joint: opensim.CustomJoint, frame: _Frame) -> _Frame:
        transform = joint.getSpatialTransform()
        mobilities = [joint.get_coordinates(k).getName() for k in range(joint.numCoordinates())]
        turning: dict[int, tuple[int, int]] = {}
        for k in (3, 4, 5, 0, 1, 2):
            part = transform.getTransformAxis(k)
            axis = part.getAxis().to_numpy()
            axis = axis / np.linalg.norm(axis)
            motion = ROTATION if k < 3 else TRANSLATION
            count = part.getCoordinateNames().size()
            function = part.getFunction()
            if count > 1:
                raise ModelError(
                    f"{self.model.path}: {joint.getAbsolutePathString()} axis {part.getName()} depends on {count} "
                    "coordinates; one is supported."
                )
            if count == 0:
                frame = _constant_motion(frame, motion, axis, function.calcValue(opensim.Vector(1, 0.0)))
            else:
                before = len(self.kind)
                frame = self._primitive(frame, motion, axis, part.get_coordinates(0), function)
                if motion == ROTATION and len(self.kind) > before:
                    turning[k] = (before, mobilities.index(part.get_coordinates(0)))
        self.simbody_spin += _simbody_spin(turning)
        return frame

    def _primitive(
        self, frame: _Frame, motion: int, axis: np.ndarray, name: str, function: opensim.Function | None
    ) -> _Frame:
        driver = self.drivers.get(name)
        independent = driver.independent if driver else name
        low, high = self._sampled_range(independent)
        x = np.linspace(low, high, SPLINE_NODES)
        values = np.stack(self._composed(name, function, x), axis=1)
        if np.ptp(values[:, 0]) < 1e-14:
            return _constant_motion(frame, motion, axis, float(values[0, 0]))
        slope, offset = values[0, 1], values[0, 0] - values[0, 1] * low
        straight = np.abs(values[:, 0] - (slope * x + offset)).max() < 1e-12
        self.kind.append(motion)
        self.axis.append(axis)
        self.parent.append(frame.primitive)
        self.fixed_rotation.append(frame.rotation)
        self.fixed_translation.append(frame.translation)
        self.coordinate.append(self.independent.index(independent))
        self.affine.append((float(slope), float(offset)) if straight else (0.0, 0.0))
        self.spline.append(-1 if straight else len(self.grids))
        if not straight:
            self.grids.append((low, (high - low) / (SPLINE_NODES - 1), values))
        return _Frame(len(self.kind) - 1, np.eye(3), np.zeros(3))

    def _sampled_range(self, name: str) -> tuple[float, float]:
        """The range with a margin, within a turn either way; the poses around the default where that leaves too little.

        A range may be infinite or NaN, in degrees, or far narrower than the motion: beyond the sampled part functions
        go on along their last slope.
        """
        low, high = self.described[name].range_min, self.described[name].range_max
        low, high = max(low - RANGE_MARGIN, -LARGEST_ANGLE), min(high + RANGE_MARGIN, LARGEST_ANGLE)
        if high - low >= SMALLEST_RANGE:
            return low, high
        around = self.described[name].default
        return around - 0.5 * LARGEST_ANGLE, around + 0.5 * LARGEST_ANGLE

    def _composed(self, name: str, function: opensim.Function | None, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """f(q), or f(g(q)) where a coupler gives the coordinate as g(q): values and slopes in q."""
        if name not in self.drivers:
            return _values_and_slopes(function, x)
        constraints = self.model.model.getConstraintSet()
        coupler = opensim.CoordinateCouplerConstraint.safeDownCast(constraints.get(self.drivers[name].constraint))
        beta, dbeta = values_and_slopes(coupler.getFunction(), x)
        value, slope = _values_and_slopes(function, beta)
        return value, slope * dbeta

    def _root(self) -> dict[str, list[str] | list[list[float]]]:
        root = self.model.root_coordinates
        free = [k for k, c in enumerate(self.coordinate) if self.independent[c] in root]
        rotations = [k for k in free if self.kind[k] == ROTATION]
        translations = [k for k in free if self.kind[k] == TRANSLATION]
        return {
            "rotations": [self.independent[self.coordinate[k]] for k in rotations],
            "axes": [[float(v) for v in self.axis[k]] for k in rotations],
            "translations": [self.independent[self.coordinate[k]] for k in translations],
        }

    def _contacts(self, bodies: list[str]) -> list[tuple[str, str, np.ndarray, float]]:
        """The model's own contact spheres where both feet carry some, else scaled default spheres."""
        own = _own_spheres(self.model, bodies)
        if own:
            return own
        found = []
        for side, sign in (("r", 1.0), ("l", -1.0)):
            if not {f"calcn_{side}", f"toes_{side}"} <= set(bodies):
                continue
            scale = self._toe_joint_x(f"toes_{side}") / REFERENCE_TOE_JOINT_X
            for name, body, (x, y, z) in SPHERES:
                centre = np.array([x * scale, y, sign * z * scale])
                found.append((f"{name}_{side}", f"{body}_{side}", centre, SPHERE_RADIUS))
        return found

    def _toe_joint_x(self, toes: str) -> float:
        """How far the joint that carries the toes lies in front of the foot's origin, m."""
        joints = self.model.model.getJointSet()
        carried = (joints.get(i) for i in range(joints.getSize()))
        joint = next(j for j in carried if j.getChildFrame().findBaseFrame().getName() == toes)
        return float(joint.getParentFrame().findTransformInBaseFrame().p().get(0))


def _own_spheres(model: OsimModel, bodies: list[str]) -> list[tuple[str, str, np.ndarray, float]]:
    geometry = model.model.getContactGeometrySet()
    found = []
    for i in range(geometry.getSize()):
        sphere = opensim.ContactSphere.safeDownCast(geometry.get(i))
        if sphere is None:
            continue
        frame = sphere.getFrame()
        rotation, translation = _transform(frame.findTransformInBaseFrame())
        centre = translation + rotation @ sphere.get_location().to_numpy()
        body = frame.findBaseFrame().getName()
        if body in bodies and body[:-2] in ("calcn", "toes"):
            found.append((sphere.getName(), body, centre, float(sphere.getRadius())))
    sides = {f[1][-2:] for f in found}
    if sides != {"_r", "_l"}:
        return []
    return sorted(found, key=lambda f: (f[1][-1] != "r", f[0]))


def _values_and_slopes(function: opensim.Function | None, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (x, np.ones_like(x)) if function is None else values_and_slopes(function, x)


def _simbody_spin(turning: dict[int, tuple[int, int]]) -> list[tuple[int, int, int, int]]:
    """Terms (carrier, i, j, sign) by which Simbody's angular acceleration differs from the exact one.

    With axes W1, W2, W3 and rates r1', r2', r3', the exact derivative is
    W1' = 0, W2' = (W1 r1') x W2, W3' = (W1 r1' + W2 r2') x W3. Simbody's function-based mobilizer instead takes the
    angular velocity due to the first mobility for W2' and the one due to all but the third mobility for W3', which is
    the same for a hip (one mobility per axis) and another for a knee (three axes driven by one mobility).
    """
    terms = []
    carrier = max((p for p, _ in turning.values()), default=-1)
    for i, (primitive, mobility) in turning.items():
        for j, taken, exact in ((1, mobility == 0, i < 1), (2, mobility != 2, i < 2)):
            sign = int(taken) - int(exact)
            if j in turning and i != j and sign:
                terms.append((carrier, primitive, turning[j][0], sign))
    return terms


def _constant_motion(frame: _Frame, motion: int, axis: np.ndarray, amount: float) -> _Frame:
    if motion == TRANSLATION:
        return frame.then(np.eye(3), axis * amount)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return frame.then(np.eye(3) + np.sin(amount) * k + (1 - np.cos(amount)) * k @ k, np.zeros(3))


def _transform(x: opensim.Transform) -> tuple[np.ndarray, np.ndarray]:
    r = x.R()
    rotation = np.array([[r.asMat33().get(i, j) for j in range(3)] for i in range(3)])
    return rotation, x.p().to_numpy()


def _inertia(body: opensim.Body) -> np.ndarray:
    xx, yy, zz, xy, xz, yz = (body.get_inertia().get(i) for i in range(6))
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
