"""Sample the joints, limits and markers of a model into the arrays that inverse kinematics runs on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import opensim
from jaxtyping import Float, Int
from scipy.optimize import brentq

from bige_opensim.osim.compile import _Compiler
from bige_opensim.osim.model import Coupler, ModelError, OsimModel
from bige_opensim.physics.marker_skeleton import MarkerTables
from bige_opensim.physics.skeleton import SkeletonTables

COUPLER_SAMPLES = 1001
WIDE_RAD = 10.0


def compile_markers(model: OsimModel, skeleton: SkeletonTables | None = None) -> MarkerTables:
    """Skeleton, markers and limits of a model, by its `skeleton` where that has been compiled, else without forces.

    Limits are those that OpenSim's inverse kinematics keeps: the range of every clamped coordinate; where a clamped
    coordinate follows a coupler, the part of its driver's range in which it stays within its own; none for the joint to
    ground, since a person may face anywhere.

    Raises
    ------
    ModelError
        A joint or constraint is not supported, a coordinate is prescribed, or nothing carries markers.

    """
    _refuse_prescribed(model)
    skeleton = skeleton or _skeleton_without_forces(model)
    places = marker_places(model, skeleton.bodies)
    low, high = _limits(model, skeleton.coordinates)
    return MarkerTables(skeleton=skeleton, names=places.names, body=places.body, place=places.place, low=low, high=high)


class MarkerPlaces(NamedTuple):
    """Where the markers of a model are fixed: names, (M,) index of the body, (M, 3) in the body, m."""

    names: tuple[str, ...]
    body: Int[np.ndarray, " marker"]
    place: Float[np.ndarray, "marker 3"]


def marker_places(model: OsimModel, bodies: Sequence[str]) -> MarkerPlaces:
    """The markers of a model that are fixed in one of the bodies."""
    marker_set = model.model.getMarkerSet()
    names, body, place = [], [], []
    for marker in map(marker_set.get, range(marker_set.getSize())):
        frame = marker.getParentFrame()
        base = frame.findBaseFrame().getName()
        if base in bodies:
            names.append(marker.getName())
            body.append(bodies.index(base))
            place.append(frame.findTransformInBaseFrame().shiftFrameStationToBase(marker.get_location()).to_numpy())
    return MarkerPlaces(tuple(names), np.array(body, dtype=int), np.array(place).reshape(-1, 3))


def _skeleton_without_forces(model: OsimModel) -> SkeletonTables:
    bare = opensim.Model(model.model)
    forces = bare.updForceSet()
    for i in reversed(range(forces.getSize())):
        forces.remove(i)
    bare.finalizeConnections()
    return _Compiler(OsimModel(bare, model.path)).tables()


def _refuse_prescribed(model: OsimModel) -> None:
    coordinates = model.model.getCoordinateSet()
    found = [c.getName() for c in map(coordinates.get, range(coordinates.getSize())) if c.isPrescribed(model.state)]
    if found:
        raise ModelError(
            f"{model.path}: the model prescribes {', '.join(found)} over time, which inverse kinematics on the "
            "compiled skeleton does not follow. Set prescribed to false, or solve with OpenSim (--solver opensim)."
        )


def _limits(model: OsimModel, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    coordinates = model.model.getCoordinateSet()
    low, high = np.full(len(names), -np.inf), np.full(len(names), np.inf)
    for i, name in enumerate(names):
        c = coordinates.get(name)
        if c.getClamped(model.state) and name not in model.root_coordinates:
            low[i], high[i] = c.getRangeMin(), c.getRangeMax()
    for coupler in model.couplers:
        if coordinates.get(coupler.dependent).getClamped(model.state) and coupler.independent in names:
            i = names.index(coupler.independent)
            low[i], high[i] = _within_range_of_dependent(model, coupler, low[i], high[i])
    return low, high


def _within_range_of_dependent(model: OsimModel, coupler: Coupler, low: float, high: float) -> tuple[float, float]:
    """The stretch of the driver's range around its default in which the driven coordinate keeps its own range."""
    driven = model.model.getCoordinateSet().get(coupler.dependent)
    default = model.model.getCoordinateSet().get(coupler.independent).getDefaultValue()
    x = np.linspace(max(low, -WIDE_RAD), min(high, WIDE_RAD), COUPLER_SAMPLES)
    value = model.coupled_values(coupler.dependent, x)
    inside = (value >= driven.getRangeMin()) & (value <= driven.getRangeMax())
    if inside.all() or not inside.any():
        return low, high
    start = int(np.flatnonzero(inside)[np.argmin(np.abs(x[inside] - default))])
    outside = np.flatnonzero(~inside)
    before, behind = outside[outside < start], outside[outside > start]

    def beyond(q: float) -> float:
        value = float(model.coupled_values(coupler.dependent, np.array([q]))[0])
        return max(value - driven.getRangeMax(), driven.getRangeMin() - value)

    return (
        brentq(beyond, x[before[-1]], x[before[-1] + 1]) if len(before) else low,
        brentq(beyond, x[behind[0] - 1], x[behind[0]]) if len(behind) else high,
    )
