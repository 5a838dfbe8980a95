"""A compiled skeleton as a tree of bodies, each moved in its parent by the primitives between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bige_opensim.physics.skeleton import ROTATION, SkeletonTables

GROUND = -1


class BodyJoint(NamedTuple):
    """One primitive, fixed in the frame of the body that it moves: axis (3,), anchor (3,) in m where it turns."""

    primitive: int
    turns: bool
    axis: Float[np.ndarray, " 3"]
    anchor: Float[np.ndarray, " 3"]


@dataclass(frozen=True, eq=False)
class TreeBody:
    """A body in its parent: its frame there where all primitives are at 0, and the primitives, in the order they act.

    With X0 = (rotation, position) and M(s) the motion about the joint's axis in the body's own frame,
    X_parent_body = X0 M1(s1) M2(s2) ...: the constants between the primitives of a joint are carried to its front,
    which turns and shifts the axes behind them (C exp([a] s) = exp([C a] s) C).
    """

    name: str
    parent: int
    rotation: Float[np.ndarray, "3 3"]
    position: Float[np.ndarray, " 3"]
    joints: tuple[BodyJoint, ...]


def body_tree(tables: SkeletonTables) -> tuple[TreeBody, ...]:
    """The bodies in the order of the tables, parents before children; a parent is an index, GROUND for none."""
    carrier = {GROUND: GROUND}
    """By primitive: the first body that it carries, in which those further out are placed."""
    found = []
    for at, name in enumerate(tables.bodies):
        chain, k = [], int(tables.body_primitive[at])
        while k not in carrier:
            chain.append(k)
            k = int(tables.parent[k])
        found.append(_placed(tables, at, name, carrier[k], chain[::-1]))
        carrier.setdefault(int(tables.body_primitive[at]), at)
    return tuple(found)


def _placed(tables: SkeletonTables, at: int, name: str, parent: int, chain: list[int]) -> TreeBody:
    rotation, position = np.eye(3), np.zeros(3)
    if parent != GROUND:
        rotation = tables.body_rotation[parent].T
        position = -rotation @ tables.body_translation[parent]
    steps = []
    for k in chain:
        position = position + rotation @ tables.fixed_translation[k]
        rotation = rotation @ tables.fixed_rotation[k]
        steps.append((k, rotation @ tables.axis[k], position))
    position = position + rotation @ tables.body_translation[at]
    rotation = rotation @ tables.body_rotation[at]
    joints = tuple(
        BodyJoint(k, bool(tables.kind[k] == ROTATION), rotation.T @ axis, rotation.T @ (anchor - position))
        for k, axis, anchor in steps
    )
    return TreeBody(name, parent, rotation, position, joints)
