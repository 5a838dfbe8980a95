"""A copy of a model whose person carries something: each load a body welded to the one that carries it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import opensim
from jaxtyping import Float

from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.model import OsimModel
from bige_opensim.physics.carried_loads import (
    BAR_M,
    BAR_RADIUS_M,
    DISC_AT_M,
    DISC_RADIUS_M,
    HANDS,
    LOAD,
    TRUNK,
    CarriedLoad,
    CarriedLoadError,
    ball_inertia,
    ball_radius,
    bar_inertia,
)

BACK_OF_SHOULDERS, ABOVE_SHOULDERS = -0.25, 1.12
BACK_OF_CENTRE, ABOVE_CENTRE = -0.15, 1.33
"""C7 in the torso's axes, in heights of the shoulder joints above its origin, or of its mass centre where the model has
no arms: between the C7 markers of four full-body models (-0.23 to -0.29, 1.06 to 1.17) and that of gait2392."""
HALF_DISC_M = 0.025
_HELD_BY = ("hand", "radius")


@dataclass(frozen=True, eq=False)
class PlacedLoad:
    """A load on a body of a model: kg, its middle in the body's axes (m), and whether it is a bar across the back."""

    body: str
    mass_kg: float
    centre: Float[np.ndarray, " 3"]
    is_bar: bool


def placed_loads(model: OsimModel, loads: Sequence[CarriedLoad]) -> list[PlacedLoad]:
    """Where loads are in a model: a bar at C7 on the torso, others at the mass centre of their body, half in each hand.

    C7 is the model's marker of that name, or where its shoulders or the torso's mass centre put it.

    Raises
    ------
    CarriedLoadError
        The model has no such body; the nearest name is told.

    """
    bodies = model.model.getBodySet()
    names = [bodies.get(i).getName() for i in range(bodies.getSize())]
    found = []
    for load in loads:
        carriers = _carriers(model.path, names, load.place)
        for body in carriers:
            on_back = body == TRUNK
            centre = _c7(model.model) if on_back else bodies.get(body).getMassCenter().to_numpy()
            found.append(PlacedLoad(body, load.mass_kg / len(carriers), centre, on_back))
    return found


@quiet_opensim()
def write_loaded_model(model: OsimModel, path: Path, loads: Sequence[CarriedLoad]) -> Path:
    """Write a copy of a model that carries loads.

    Each is a body `load_<body>` (`load_<body>_2` for a second) welded to that body without an offset, its mass centre
    where the load is, with shapes that OpenSim's GUI draws.

    Raises
    ------
    CarriedLoadError
        As `placed_loads`.

    """
    copy = opensim.Model(str(model.path))
    taken = {copy.getBodySet().get(i).getName() for i in range(copy.getBodySet().getSize())}
    for load in placed_loads(model, loads):
        name = next(n for n in _names(load.body) if n not in taken)
        taken.add(name)
        inertia = np.diag(bar_inertia(load.mass_kg) if load.is_bar else ball_inertia(load.mass_kg))
        centre = opensim.Vec3(*map(float, load.centre))
        body = opensim.Body(name, load.mass_kg, centre, opensim.Inertia(*map(float, inertia)))
        _draw(body, load)
        copy.addBody(body)
        copy.addJoint(opensim.WeldJoint(f"{name}_weld", copy.getBodySet().get(load.body), body))
    copy.finalizeConnections()
    copy.printToXML(str(path))
    return path


def _names(body: str) -> list[str]:
    return [f"{LOAD}{body}", *(f"{LOAD}{body}_{k}" for k in range(2, 100))]


def _carriers(path: Path, names: Sequence[str], place: str) -> list[str]:
    if place in names:
        return [place]
    both = next(([f"{held}_r", f"{held}_l"] for held in _HELD_BY if {f"{held}_r", f"{held}_l"} <= {*names}), None)
    if place == HANDS and both is not None:
        return both
    near = get_close_matches(place, [*names, *((HANDS,) if both else ())], n=1, cutoff=0.4)
    meant = f"did you mean {near[0]!r}? " if near else ""
    lacking = "no hands to carry a load" if place == HANDS else f"no body {place!r} to carry a load"
    raise CarriedLoadError(f"{path}: the model has {lacking}; {meant}Its bodies are {', '.join(names)}.")


def _c7(model: opensim.Model) -> Float[np.ndarray, " 3"]:
    """The middle of a bar that lies across the torso at the height of C7, in the torso's axes, m."""
    markers = model.getMarkerSet()
    for marker in (markers.get(i) for i in range(markers.getSize())):
        frame = marker.getParentFrame()
        if marker.getName().lower() == "c7" and frame.findBaseFrame().getName() == TRUNK:
            at = frame.findTransformInBaseFrame().shiftFrameStationToBase(marker.get_location()).to_numpy()
            return np.array([at[0], at[1], 0.0])
    joints = model.getJointSet()
    shoulders = [
        joint.getParentFrame().findTransformInBaseFrame().p().to_numpy()
        for joint in (joints.get(i) for i in range(joints.getSize()))
        if joint.getParentFrame().findBaseFrame().getName() == TRUNK
        and joint.getChildFrame().findBaseFrame().getName().startswith("humerus")
    ]
    if shoulders:
        x, y, _ = np.mean(shoulders, axis=0)
        return np.array([x + BACK_OF_SHOULDERS * y, ABOVE_SHOULDERS * y, 0.0])
    x, y, _ = model.getBodySet().get(TRUNK).getMassCenter().to_numpy()
    return np.array([x + BACK_OF_CENTRE * y, ABOVE_CENTRE * y, 0.0])


def _draw(body: opensim.Body, load: PlacedLoad) -> None:
    """Shapes for OpenSim's GUI, whose cylinders stand along y."""
    if not load.is_bar:
        parts = [(0.0, opensim.Sphere(ball_radius(load.mass_kg)))]
    else:
        parts = [(0.0, opensim.Cylinder(BAR_RADIUS_M, 0.5 * BAR_M))]
        parts += [(side * DISC_AT_M, opensim.Cylinder(DISC_RADIUS_M, HALF_DISC_M)) for side in (-1.0, 1.0)]
    along_z = opensim.Rotation(0.5 * np.pi, opensim.CoordinateAxis(0))
    for k, (z, shape) in enumerate(parts):
        x, y, middle = map(float, load.centre)
        at = opensim.Transform(along_z, opensim.Vec3(x, y, middle + z))
        frame = opensim.PhysicalOffsetFrame(f"{body.getName()}_shape_{k}", body, at)
        frame.attachGeometry(shape)
        body.addComponent(frame)
