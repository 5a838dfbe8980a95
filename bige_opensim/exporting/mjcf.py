"""A model for MuJoCo (and MyoSuite): bodies, masses and joints as MJCF, and motions as qpos, one column per joint.

Every OpenSim joint is a chain of rotations and translations by s = f(q) of one coordinate each (`physics.skeleton`).
In MJCF each of them is a hinge or a slide of the body that it moves, and qpos holds s itself: driven by qpos, bodies
are where OpenSim has them, moving knee axes and coupled patellae included. For simulations, where only the coordinates
are free, polynomials of fourth degree (MuJoCo's `equality/joint`) tie the other joints to those of the coordinates.

MuJoCo's world has Z up: OpenSim's X, Y, Z are its X, Z, -Y, by the body `ground`, within which everything is in
OpenSim's axes. Muscles are left out: MuJoCo's wrapping differs from OpenSim's, and so would moment arms and lengths.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from bige_opensim.exporting.body_tree import GROUND, BodyJoint, TreeBody, body_tree
from bige_opensim.physics.skeleton import ROTATION, Skeleton

Z_UP_FROM_OPENSIM = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
ROD_RADIUS_M = 0.015
SMALLEST_MASS_KG, SMALLEST_INERTIA = 1e-6, 1e-9
"""MuJoCo refuses bodies without mass, which OpenSim allows."""
COMPILER = {
    "angle": "radian",
    "autolimits": "true",
    "inertiafromgeom": "false",
    "balanceinertia": "true",
    "boundmass": f"{SMALLEST_MASS_KG:g}",
    "boundinertia": f"{SMALLEST_INERTIA:g}",
}
SHOWN = {"contype": "0", "conaffinity": "0", "rgba": "0.85 0.8 0.7 1"}
"""Geometries that are only seen: nothing touches them."""
FIT_POSES = 201
WIDEST_RAD = 2.0 * np.pi
DEGREE = 4


class MjcfJoint(NamedTuple):
    """A hinge or slide: qpos = sign s - offset of its primitive; the value of the coordinate itself where `free`."""

    name: str
    primitive: int
    sign: float
    offset: float
    coordinate: int
    free: bool


class MjcfModel:
    """A model as MJCF, and qpos for its motions.

    Attributes
    ----------
    joints
        In MuJoCo's order: the columns of qpos.
    misfit_m, misfit_rad
        The largest of the polynomials that tie slides and hinges to coordinates, over the coordinates' ranges.

    """

    def __init__(self, skeleton: Skeleton, name: str) -> None:
        self.skeleton, self.name = skeleton, name
        self.tree = body_tree(skeleton.tables)
        self.joints: list[MjcfJoint] = []
        self.misfit_m = self.misfit_rad = 0.0
        self._root = self._document()

    @property
    def xml(self) -> str:
        """The MJCF document."""
        ElementTree.indent(self._root)
        return ElementTree.tostring(self._root, encoding="unicode") + "\n"

    def qpos(self, q: Float[np.ndarray, "time coordinate"]) -> Float[np.ndarray, "time joint"]:
        """Joint positions for coordinates in the skeleton's order, rad and m."""
        with torch.no_grad():
            s = self.skeleton.displacements(torch.as_tensor(q)).value.numpy()
        return np.column_stack([j.sign * s[..., j.primitive] - j.offset for j in self.joints])

    def start_at(self, qpos: Float[np.ndarray, " joint"]) -> None:
        """Add a keyframe, which viewers open in."""
        keyframe = ElementTree.SubElement(self._root, "keyframe")
        ElementTree.SubElement(keyframe, "key", name="start", qpos=_numbers(qpos))

    def _document(self) -> ElementTree.Element:
        root = ElementTree.Element("mujoco", model=self.name)
        ElementTree.SubElement(root, "compiler", COMPILER)
        gravity = self.skeleton.gravity.numpy()
        ElementTree.SubElement(root, "option", gravity=_numbers(Z_UP_FROM_OPENSIM @ gravity))
        world = ElementTree.SubElement(root, "worldbody")
        ElementTree.SubElement(world, "light", pos="0 0 4", dir="0 0 -1", directional="true")
        ElementTree.SubElement(world, "geom", name="floor", type="plane", size="3 3 0.1", rgba="0.9 0.9 0.9 1")
        turned = _numbers(_quaternion(Z_UP_FROM_OPENSIM))
        elements = {GROUND: ElementTree.SubElement(world, "body", name="ground", quat=turned)}
        children = {
            at: [b for b, body in enumerate(self.tree) if body.parent == at] for at in range(-1, len(self.tree))
        }
        waiting = children[GROUND][::-1]
        while waiting:  # depth first, as MuJoCo counts joints
            at = waiting.pop()
            elements[at] = self._body(elements[self.tree[at].parent], at, [self.tree[c] for c in children[at]])
            waiting += children[at][::-1]
        self._tie(ElementTree.SubElement(root, "equality"))
        return root

    def _body(self, above: ElementTree.Element, at: int, children: list[TreeBody]) -> ElementTree.Element:
        tables, body = self.skeleton.tables, self.tree[at]
        element = ElementTree.SubElement(
            above, "body", name=body.name, pos=_numbers(body.position), quat=_numbers(_quaternion(body.rotation))
        )
        i = tables.inertia[at]
        ElementTree.SubElement(
            element,
            "inertial",
            pos=_numbers(tables.com[at]),
            mass=_numbers([max(tables.mass[at], SMALLEST_MASS_KG)]),
            fullinertia=_numbers([*np.maximum(np.diag(i), SMALLEST_INERTIA), i[0, 1], i[0, 2], i[1, 2]]),
        )
        for number, joint in enumerate(body.joints, start=1):
            self._joint(element, body.name, number, joint)
        for child in children:
            if np.linalg.norm(child.position) > ROD_RADIUS_M:
                ends = _numbers([0.0, 0.0, 0.0, *child.position])
                rod = {"type": "capsule", "size": _numbers([ROD_RADIUS_M]), "fromto": ends}
                ElementTree.SubElement(element, "geom", SHOWN | rod)
        for c, b in enumerate(tables.contact_body):
            if b == at:
                place, radius = _numbers(tables.contact_centre[c]), _numbers([tables.contact_radius[c]])
                ElementTree.SubElement(
                    element, "geom", name=tables.contact_names[c], type="sphere", pos=place, size=radius
                )
        return element

    def _joint(self, element: ElementTree.Element, body: str, number: int, joint: BodyJoint) -> None:
        """The first primitive that is its coordinate (s = ±q + constant) has its name, value and limits."""
        tables, k = self.skeleton.tables, joint.primitive
        slope, constant = (float(x) for x in tables.affine[k])
        c = int(tables.coordinate[k])
        first = not any(known.free and known.coordinate == c for known in self.joints)
        free = first and int(tables.spline[k]) < 0 and abs(abs(slope) - 1.0) < 1e-12
        sign = float(np.sign(slope)) if free else 1.0
        found = MjcfJoint(
            tables.coordinates[c] if free else f"{body}_{'turn' if joint.turns else 'shift'}{number}",
            k,
            sign,
            sign * constant if free else 0.0,
            c,
            free,
        )
        about = {"name": found.name, "type": "hinge" if joint.turns else "slide", "axis": _numbers(sign * joint.axis)}
        if free:
            low, high = (float(x) for x in tables.range[c])
            if np.isfinite([low, high]).all() and low < high <= low + 2 * WIDEST_RAD:
                about["range"] = _numbers([low, high])
        if found.offset != 0.0:
            about["ref"] = _numbers([-found.offset])
        if joint.turns:
            about["pos"] = _numbers(joint.anchor)
        ElementTree.SubElement(element, "joint", about)
        self.joints.append(found)

    def _tie(self, element: ElementTree.Element) -> None:
        """Tie joints to those of their coordinates, and hold those of coordinates that the model holds."""
        tables = self.skeleton.tables
        free = {j.coordinate: j for j in self.joints if j.free}
        for joint in self.joints:
            c = joint.coordinate
            if joint.free and tables.locked[c]:
                held = self._line(c, np.full((1, 1), float(tables.default[c])), joint)[0]
                _equality(element, joint.name, None, [held + joint.offset, 0.0, 0.0, 0.0, 0.0])
            elif not joint.free and c in free:
                low, high = (float(x) for x in tables.range[c])
                default = float(tables.default[c])
                low = max(low, default - WIDEST_RAD) if low <= default else default - 1.0
                high = min(high, default + WIDEST_RAD) if high >= default else default + 1.0
                x = np.linspace(low, high, FIT_POSES)[:, None]
                driver, driven = self._line(c, x, free[c]), self._line(c, x, joint)
                coefficients = np.polynomial.polynomial.polyfit(driver + free[c].offset, driven, DEGREE)
                fitted = np.polynomial.polynomial.polyval(driver + free[c].offset, coefficients)
                misfit = float(np.abs(fitted - driven).max())
                if tables.kind[joint.primitive] == ROTATION:
                    self.misfit_rad = max(self.misfit_rad, misfit)
                else:
                    self.misfit_m = max(self.misfit_m, misfit)
                _equality(element, joint.name, free[c].name, coefficients)

    def _line(self, coordinate: int, x: Float[np.ndarray, "pose 1"], joint: MjcfJoint) -> Float[np.ndarray, " pose"]:
        """Values of a joint while one coordinate takes the values x."""
        q = np.repeat(self.skeleton.default.numpy()[None], len(x), axis=0)
        q[:, coordinate] = x[:, 0]
        return self.qpos(q)[:, self.joints.index(joint)]


def _equality(element: ElementTree.Element, name: str, driver: str | None, coefficients: object) -> None:
    about = {"joint1": name, "polycoef": _numbers(coefficients)} | ({} if driver is None else {"joint2": driver})
    ElementTree.SubElement(element, "joint", about)


def _quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 4"]:
    """In MuJoCo's order w, x, y, z."""
    return np.roll(Rotation.from_matrix(rotation).as_quat(), 1)


def _numbers(values: object) -> str:
    return " ".join(f"{v:.12g}" for v in np.asarray(values, dtype=np.float64).ravel())
