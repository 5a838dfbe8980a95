"""Which bodies hang on which: what floats free of ground, and which bodies a muscle's path touches."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import opensim

NEGLIGIBLE_MASS_SHARE = 0.01
"""Mass of a body between two joints of a chain, as a share of the model's, below which the chain acts as one joint."""


class Root(NamedTuple):
    """Coordinates that place the floating body in ground, none where nothing floats; or why that cannot be said."""

    coordinates: tuple[str, ...]
    fault: str = ""


class _Joint(NamedTuple):
    """A joint between two base frames, with the motion types of its coordinates that no coupler determines."""

    name: str
    parent: str
    child: str
    coordinates: dict[str, int]
    held: bool


def find_root(model: opensim.Model, held: Collection[str], dependent: Collection[str]) -> Root:
    """The joints by which a body floats: nothing but inertia and the ground's forces hold it.

    A body floats where the way to it from ground leaves it two translations and a rotation at least (a planar, a free,
    a custom joint, or a chain of simpler ones through bodies of no mass to speak of) and no muscle crosses that way.
    A shoulder that starts from ground is an ordinary joint by this, and so is a sliding seat. `held` coordinates
    (locked, prescribed) count as freedoms of a floating joint as long as one of it is free; a joint whose every
    coordinate is held is part of the ground. `dependent` coordinates, which couplers determine, are no freedoms.
    """
    joints = _joints(model, held, dependent)
    turned = next((j for j in joints if j.child == "ground"), None)
    if turned is not None:
        return Root((), f"joint {turned.name} has ground as its child; turn it round, so that ground is its parent")
    on: dict[str, list[_Joint]] = {}
    for joint in joints:
        on.setdefault(joint.parent, []).append(joint)
    if "ground" not in on:
        return Root((), "no joint connects a body to ground")
    crossed = _crossed(model, on)
    starts, fixed = [], ["ground"]
    for body in fixed:
        for joint in on.get(body, []):
            if joint.held:
                fixed.append(joint.child)
            else:
                starts.append(_chain(model, joint, on))
    floating = [chain for chain in starts if _floats(chain) and not any(crossed[j.name] for j in chain)]
    known = {j.name for chain in floating for j in chain}
    elsewhere = [j for j in joints if j.name not in known and _floats([j]) and not j.held and not crossed[j.name]]
    if len(floating) + len(elsewhere) > 1 or elsewhere:
        return Root((), _several([chain[-1] for chain in floating], elsewhere))
    return Root(tuple(n for j in (floating[0] if floating else []) for n in _names(model, j)))


def path_bodies(muscle: opensim.Muscle) -> set[str]:
    """Bodies (ground included) that carry the path's points and the objects it may wrap."""
    path = opensim.GeometryPath.safeDownCast(muscle.getGeometryPath())
    points, wraps = path.getPathPointSet(), path.getWrapSet()
    names = {points.get(i).getParentFrame().findBaseFrame().getName() for i in range(points.getSize())}
    return names | {wraps.get(i).getWrapObject().getFrame().findBaseFrame().getName() for i in range(wraps.getSize())}


def _joints(model: opensim.Model, held: Collection[str], dependent: Collection[str]) -> list[_Joint]:
    joints, found = model.getJointSet(), []
    for i in range(joints.getSize()):
        joint = joints.get(i)
        every = [joint.get_coordinates(k) for k in range(joint.numCoordinates())]
        found.append(
            _Joint(
                joint.getName(),
                joint.getParentFrame().findBaseFrame().getName(),
                joint.getChildFrame().findBaseFrame().getName(),
                {c.getName(): c.getMotionType() for c in every if c.getName() not in dependent},
                all(c.getName() in held for c in every),
            )
        )
    return found


def _names(model: opensim.Model, joint: _Joint) -> list[str]:
    own = model.getJointSet().get(joint.name)
    return [own.get_coordinates(k).getName() for k in range(own.numCoordinates())]


def _chain(model: opensim.Model, joint: _Joint, on: dict[str, list[_Joint]]) -> list[_Joint]:
    """The joint and those that follow it through bodies of negligible mass."""
    bodies = model.getBodySet()
    total = sum(bodies.get(i).getMass() for i in range(bodies.getSize()))
    chain = [joint]
    while bodies.get(chain[-1].child).getMass() <= NEGLIGIBLE_MASS_SHARE * total:
        onward = on.get(chain[-1].child, [])
        if len(onward) != 1:
            break
        chain += onward
    return chain


def _floats(chain: list[_Joint]) -> bool:
    motions = [motion for joint in chain for motion in joint.coordinates.values()]
    translations, rotations = (
        motions.count(k) for k in (opensim.Coordinate.Translational, opensim.Coordinate.Rotational)
    )
    return translations >= 2 and rotations >= 1


def _crossed(model: opensim.Model, on: dict[str, list[_Joint]]) -> dict[str, bool]:
    """Whether a muscle reaches from beyond each joint to before it."""
    muscles = model.getMuscles()
    paths = [path_bodies(muscles.get(i)) for i in range(muscles.getSize())]
    crossed = {}
    for joint in (j for part in on.values() for j in part):
        beyond = [joint.child]
        for body in beyond:
            beyond += [j.child for j in on.get(body, []) if j.child not in beyond]
        crossed[joint.name] = any(path & set(beyond) and path - set(beyond) for path in paths)
    return crossed


def _several(floating: list[_Joint], elsewhere: list[_Joint]) -> str:
    both = [*floating, *elsewhere]
    bodies = ", ".join(f"{j.child} (joint {j.name} on {j.parent})" for j in both)
    if len(both) > 1:
        return f"{len(both)} bodies float free of each other: {bodies}; one can. Weld, lock or remove the others"
    return (
        f"{bodies} floats on a body that moves itself; residuals and ground forces are known for a body that floats in "
        "ground. Lock the joints between ground and it, or connect it to ground"
    )
