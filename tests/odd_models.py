"""Variants of small models that hang on ground in unusual ways."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import opensim
from small_models import name_coordinates, write

AXES = {
    "pelvis_tilt": (0, (0, 0, 1)),
    "pelvis_list": (1, (1, 0, 0)),
    "pelvis_rotation": (2, (0, 1, 0)),
    "pelvis_tx": (3, (1, 0, 0)),
    "pelvis_ty": (4, (0, 1, 0)),
    "pelvis_tz": (5, (0, 0, 1)),
}
PLANAR = ("pelvis_tilt", "pelvis_tx", "pelvis_ty")


def changed(source: Path, path: Path, change: Callable[[opensim.Model], object]) -> Path:
    """A copy of a model after `change`."""
    model = opensim.Model(str(source))
    model.initSystem()
    change(model)
    return write(model, path)


def with_ranges(source: Path, path: Path, low: float, high: float, names: tuple[str, ...] = ()) -> Path:
    """Every coordinate, or those named, with one range."""

    def change(model: opensim.Model) -> None:
        for coordinate in model.getCoordinateSet():
            if not names or coordinate.getName() in names:
                coordinate.setRangeMin(low)
                coordinate.setRangeMax(high)

    return changed(source, path, change)


def with_root(source: Path, path: Path, names: tuple[str, ...]) -> Path:
    """The biped on a custom joint of these coordinates, in this order; welded to ground without any."""

    def change(model: opensim.Model) -> None:
        joints, pelvis = model.updJointSet(), model.getBodySet().get("pelvis")
        joints.remove(joints.getIndex("ground_pelvis"))
        if not names:
            model.addJoint(opensim.WeldJoint("ground_pelvis", model.getGround(), pelvis))
            return
        transform = opensim.SpatialTransform()
        for name, (k, axis) in AXES.items():
            part = transform.updTransformAxis(k)
            part.setAxis(opensim.Vec3(*axis))
            if name in names:
                part.setCoordinateNames(opensim.ArrayStr(name, 1))
                part.set_function(opensim.LinearFunction(1.0, 0.0))
        joint = opensim.CustomJoint("ground_pelvis", model.getGround(), pelvis, transform)
        name_coordinates(joint, list(names), -3.0, 3.0)
        model.addJoint(joint)

    return changed(source, path, change)


def with_stacked_root(source: Path, path: Path) -> Path:
    """The biped on three sliders and three pins, one after the other, through bodies of next to no mass."""
    turns = {(1, 0, 0): (0, 0, 0), (0, 1, 0): (0, 0, np.pi / 2), (0, 0, 1): (0, -np.pi / 2, 0)}
    pins = {(0, 0, 1): (0, 0, 0), (1, 0, 0): (0, np.pi / 2, 0), (0, 1, 0): (-np.pi / 2, 0, 0)}

    def change(model: opensim.Model) -> None:
        joints, pelvis, parent = model.updJointSet(), model.getBodySet().get("pelvis"), model.getGround()
        joints.remove(joints.getIndex("ground_pelvis"))
        order = ("pelvis_tx", "pelvis_ty", "pelvis_tz", "pelvis_tilt", "pelvis_list", "pelvis_rotation")
        for name in order:
            k, axis = AXES[name]
            child = (
                pelvis
                if name == order[-1]
                else opensim.Body(f"to_{name}", 1e-6, opensim.Vec3(0), opensim.Inertia(1e-9))
            )
            if child is not pelvis:
                model.addBody(child)
            turned = opensim.Vec3(*(pins if k < 3 else turns)[axis])
            kind = opensim.PinJoint if k < 3 else opensim.SliderJoint
            joint = kind(f"by_{name}", parent, opensim.Vec3(0), turned, child, opensim.Vec3(0), turned)
            name_coordinates(joint, [name], -3.0, 3.0)
            model.addJoint(joint)
            parent = child

    return changed(source, path, change)


def with_belt(source: Path, path: Path, kind: str, *, carries: bool = False) -> Path:
    """The biped and a heavy belt, listed before the pelvis, on a Weld, Slider or Free joint; or on the belt."""

    def change(model: opensim.Model) -> None:
        joints = model.updJointSet()
        belt = opensim.Body("belt", 200.0, opensim.Vec3(0), opensim.Inertia(1.0))
        model.addBody(belt)
        joint = getattr(opensim, f"{kind}Joint")("belt_joint", model.getGround(), belt)
        if joint.numCoordinates():
            name_coordinates(joint, [f"belt_{k}" for k in range(joint.numCoordinates())])
        model.addJoint(joint)
        if carries:
            joints.remove(joints.getIndex("ground_pelvis"))
            free = opensim.FreeJoint("ground_pelvis", belt, model.getBodySet().get("pelvis"))
            name_coordinates(free, list(AXES), -3.0, 3.0)
            model.addJoint(free)

    return _first(changed(source, path, change), "belt_joint")


def _first(path: Path, joint: str) -> Path:
    """Put a joint before all others in the file."""
    tree = ElementTree.parse(path)
    (objects,) = tree.iterfind(".//JointSet/objects")
    (element,) = (e for e in objects if e.get("name") == joint)
    objects.remove(element)
    objects.insert(0, element)
    tree.write(path)
    return path
