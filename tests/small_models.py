"""OpenSim models small enough to build in a test, one for every kind of joint, and a biped that can be labelled."""

from pathlib import Path

import numpy as np
import opensim

from bige_opensim.io.storage import write_coordinates
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import load
from bige_opensim.physics.skeleton import Skeleton

COORDINATES = {"Pin": 1, "Slider": 1, "Universal": 2, "Gimbal": 3, "Ball": 3, "Planar": 3, "Free": 6, "Custom": 6}
KNEE_X = np.linspace(-0.5, 2.5, 9)
BIPED_MASS_KG = 70.0


def body(model: opensim.Model, name: str, mass: float = 1.0, com: tuple[float, float, float] = (0.02, -0.15, 0.01)):
    r = 0.1 * np.sqrt(mass)
    inertia = opensim.Inertia(r * r, 0.6 * r * r, 0.9 * r * r, 0.02 * r * r, -0.01 * r * r, 0.015 * r * r)
    new = opensim.Body(name, mass, opensim.Vec3(*com), inertia)
    model.addBody(new)
    return new


def write(model: opensim.Model, path: Path) -> Path:
    model.finalizeConnections()
    model.printToXML(str(path))
    return path


def name_coordinates(joint: opensim.Joint, names: list[str], low: float = -1.2, high: float = 1.2) -> None:
    joint.finalizeFromProperties()  # a custom joint makes its coordinates here
    for k, name in enumerate(names):
        c = joint.upd_coordinates(k)
        c.setName(name)
        c.setRangeMin(low)
        c.setRangeMax(high)


def every_joint(path: Path, kind: str) -> Path:
    """Ground, a joint of `kind` with tilted frames, a body, a weld, a body, and a pin to a last body."""
    model = opensim.Model()
    model.setName(kind.lower())
    first, second, third = (body(model, n, m) for n, m in (("first", 3.0), ("second", 1.0), ("third", 2.0)))
    frames = (opensim.Vec3(0.1, 0.2, -0.1), opensim.Vec3(0.3, -0.2, 0.4))
    inner = (opensim.Vec3(-0.05, 0.1, 0.02), opensim.Vec3(-0.1, 0.2, 0.1))
    if kind == "Custom":
        joint = opensim.CustomJoint("root", model.getGround(), *frames, first, *inner, six_axes())
    else:
        joint = getattr(opensim, f"{kind}Joint")("root", model.getGround(), *frames, first, *inner)
    name_coordinates(joint, [f"q{k}" for k in range(COORDINATES[kind])])
    model.addJoint(joint)
    model.addJoint(opensim.WeldJoint("weld", first, frames[0], frames[1], second, inner[0], inner[1]))
    pin = opensim.PinJoint("pin", second, opensim.Vec3(0, -0.3, 0), frames[1], third, opensim.Vec3(0), inner[1])
    name_coordinates(pin, ["swing"])
    model.addJoint(pin)
    return write(model, path)


def six_axes() -> opensim.SpatialTransform:
    """Six coordinates, rotations in z, x, y sequence, one of them scaled by a linear function."""
    transform = opensim.SpatialTransform()
    axes = ((0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    for k, axis in enumerate(axes):
        slope = -1.0 if k == 2 else 1.0
        part = transform.updTransformAxis(k)
        part.setCoordinateNames(opensim.ArrayStr(f"q{k}", 1))
        part.setAxis(opensim.Vec3(*axis))
        part.set_function(opensim.LinearFunction(slope, 0.0))
    return transform


def spline(y: np.ndarray) -> opensim.SimmSpline:
    function = opensim.SimmSpline()
    for x, v in zip(KNEE_X, y, strict=True):
        function.addPoint(float(x), float(v))
    return function


def knee_with_patella(path: Path) -> Path:
    """A planar root, a knee whose three rotations and two translations follow one angle, and a coupled patella."""
    model = opensim.Model()
    model.setName("knee")
    femur, tibia, patella = body(model, "femur", 8.0), body(model, "tibia", 4.0), body(model, "patella", 0.3)
    origin = opensim.Vec3(0)
    root = opensim.PlanarJoint("root", model.getGround(), femur)
    name_coordinates(root, ["tilt", "tx", "ty"])
    model.addJoint(root)
    transform = opensim.SpatialTransform()
    curves = {0: None, 1: 0.1 * np.sin(KNEE_X), 2: 0.2 * np.sin(0.7 * KNEE_X)}
    curves |= {3: 0.01 * np.cos(2 * KNEE_X), 4: 0.02 * np.sin(KNEE_X)}
    axes = ((0, 0, -1), (1, 0, 0), (0, 1, 0), (1, 0, 0), (0, 1, 0))
    for k, curve in curves.items():
        part = transform.updTransformAxis(k)
        part.setCoordinateNames(opensim.ArrayStr("knee_angle", 1))
        part.setAxis(opensim.Vec3(*axes[k]))
        part.set_function(opensim.LinearFunction(1.0, 0.0) if curve is None else spline(curve))
    down = opensim.Vec3(0, -0.4, 0)
    knee = opensim.CustomJoint("knee", femur, down, origin, tibia, origin, origin, transform)
    name_coordinates(knee, ["knee_angle"], 0.0, 2.0)
    model.addJoint(knee)
    slide = opensim.SpatialTransform()
    part = slide.updTransformAxis(2)
    part.setCoordinateNames(opensim.ArrayStr("knee_angle_beta", 1))
    part.setAxis(opensim.Vec3(0, 0, 1))
    part.set_function(spline(0.8 * np.sin(0.5 * KNEE_X)))
    front = opensim.Vec3(0.04, -0.38, 0)
    groove = opensim.CustomJoint("groove", femur, front, origin, patella, origin, origin, slide)
    name_coordinates(groove, ["knee_angle_beta"], -9.0, 9.0)
    model.addJoint(groove)
    coupler = opensim.CoordinateCouplerConstraint()
    coupler.setName("patellofemoral")
    coupler.setIndependentCoordinateNames(opensim.ArrayStr("knee_angle", 1))
    coupler.setDependentCoordinateName("knee_angle_beta")
    coupler.setFunction(spline(-0.7 * KNEE_X + 0.05 * np.sin(KNEE_X)))
    model.addConstraint(coupler)
    return write(model, path)


def biped(path: Path, *, muscles: bool = True, strength: float = 1.0) -> Path:
    """A pelvis on two legs of pins with seven muscles each, feet as OpenCap's models have them, symmetric."""
    model = opensim.Model()
    model.setName("biped")
    pelvis = body(model, "pelvis", 40.0, (0.0, 0.25, 0.0))
    transform = opensim.SpatialTransform()
    names = ["pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx", "pelvis_ty", "pelvis_tz"]
    axes = ((0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    for k, (name, axis) in enumerate(zip(names, axes, strict=True)):
        part = transform.updTransformAxis(k)
        part.setCoordinateNames(opensim.ArrayStr(name, 1))
        part.setAxis(opensim.Vec3(*axis))
        part.set_function(opensim.LinearFunction(1.0, 0.0))
    root = opensim.CustomJoint("ground_pelvis", model.getGround(), pelvis, transform)
    name_coordinates(root, names, -3.0, 3.0)
    model.addJoint(root)
    for side, sign in (("r", 1.0), ("l", -1.0)):
        leg(model, pelvis, side, sign, strength if muscles else 0.0)
    fit_fibres(model)
    return write(model, path)


def fit_fibres(model: opensim.Model) -> None:
    """Give every muscle its optimal length in a half squat."""
    state = model.initSystem()
    for side in "rl":
        for name, value in (("hip_flexion", 0.35), ("knee_angle", 0.7), ("ankle_angle", 0.35)):
            model.getCoordinateSet().get(f"{name}_{side}").setValue(state, value, False)
    model.realizePosition(state)
    for i in range(model.getMuscles().getSize()):
        muscle = model.updMuscles().get(i)
        length = muscle.getLength(state)
        muscle.set_optimal_fiber_length(0.45 * length)
        muscle.set_tendon_slack_length(0.55 * length)


def leg(model: opensim.Model, pelvis: opensim.Body, side: str, sign: float, strength: float) -> None:
    femur, tibia = (body(model, f"{n}_{side}", m, (0, -0.2, 0)) for n, m in (("femur", 9.0), ("tibia", 4.0)))
    calcn, toes = (body(model, f"{n}_{side}", m, (0.05, 0.0, 0)) for n, m in (("calcn", 1.5), ("toes", 0.5)))
    zero, back = opensim.Vec3(0), opensim.Vec3(np.pi, 0, 0)
    joints = (
        ("hip_flexion", pelvis, (0, 0, 0.09 * sign), femur, zero, (-0.5, 2.0)),
        ("knee_angle", femur, (0, -0.4, 0), tibia, back, (-0.1, 2.4)),
        ("ankle_angle", tibia, (0, -0.4, 0), calcn, zero, (-0.8, 1.2)),
    )
    for name, parent, at, child, turned, (low, high) in joints:
        joint = opensim.PinJoint(f"{name}_{side}", parent, opensim.Vec3(*at), turned, child, child_origin(name), turned)
        name_coordinates(joint, [f"{name}_{side}"], low, high)
        model.addJoint(joint)
    model.addJoint(opensim.WeldJoint(f"mtp_{side}", calcn, opensim.Vec3(0.16, 0.0, 0), zero, toes, zero, zero))
    if strength == 0.0:
        return
    paths = (
        ("glmax", 3000.0, [(pelvis, -0.08, 0.05), (femur, -0.03, -0.08)]),
        ("psoas", 2000.0, [(pelvis, 0.07, 0.08), (femur, 0.02, -0.06)]),
        ("bflh", 2000.0, [(pelvis, -0.05, -0.03), (tibia, -0.04, -0.04)]),
        ("vasmed", 6000.0, [(femur, 0.05, -0.15), (femur, 0.06, -0.39), (tibia, 0.05, -0.05)]),
        ("gasmed", 2500.0, [(femur, -0.03, -0.36), (calcn, -0.05, 0.06)]),
        ("soleus", 5000.0, [(tibia, -0.03, -0.1), (calcn, -0.05, 0.06)]),
        ("tibant", 1500.0, [(tibia, 0.03, -0.1), (calcn, 0.06, 0.06)]),
    )
    for name, force, points in paths:
        muscle = opensim.Millard2012EquilibriumMuscle(f"{name}_{side}", strength * force, 0.1, 0.1, 0.0)
        for i, (frame, x, y) in enumerate(points):
            z = 0.09 * sign if frame is pelvis else 0.0
            muscle.addNewPathPoint(f"{name}_{side}_{i}", frame, opensim.Vec3(x, y, z))
        model.addForce(muscle)
    model.finalizeConnections()


def child_origin(joint: str) -> opensim.Vec3:
    """The ankle sits above and in front of the heel's origin."""
    return opensim.Vec3(0.045, 0.06, 0) if joint == "ankle_angle" else opensim.Vec3(0)


def squat(model_path: Path, *, frames: int = 60, rate_hz: float = 60.0, depth: float = 1.0) -> Motion:
    """A squat of the biped with flat, unmoving feet at height 0: knee `depth` rad at the bottom."""
    skeleton = Skeleton(compile_skeleton(model_path, cache=False))
    time = np.arange(frames) / rate_hz
    knee = 0.2 + 0.5 * (depth - 0.2) * (1 - np.cos(2 * np.pi * time / (frames / rate_hz)))
    values = np.zeros((frames, len(skeleton.coordinates)))
    for side in "rl":
        values[:, skeleton.index(f"knee_angle_{side}")] = knee
        values[:, skeleton.index(f"hip_flexion_{side}")] = 0.5 * knee
        values[:, skeleton.index(f"ankle_angle_{side}")] = 0.5 * knee
    q = skeleton.mass.new_tensor(values)
    heel = skeleton(q).position[:, skeleton.bodies.index("calcn_r")].numpy()
    values[:, skeleton.index("pelvis_tx")] = -heel[:, 0]
    values[:, skeleton.index("pelvis_ty")] = 0.042 - heel[:, 1]
    return Motion(time, values, skeleton.coordinates)


def write_squat(model_path: Path, path: Path, **options: float) -> Path:
    write_coordinates(path, squat(model_path, **options), rotational=load(model_path).rotational)
    return path
