"""A motion as C3D: the model's markers, and a force plate under each foot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bige_opensim.exporting.selection import Person, Selected, at_even_rate, frame_rate, poses_of
from bige_opensim.io.c3d_writer import PlateForces, write_c3d
from bige_opensim.osim.compile_markers import MarkerPlaces, marker_places
from bige_opensim.osim.model import load
from bige_opensim.physics.contact import FEET
from bige_opensim.provenance import __version__
from bige_opensim.viewer.take import Recorded, at_times, in_skeleton_order

FEET_WORDS = {"r": "right", "l": "left"}


def write_markers_and_forces(selected: Selected, path: Path, markers: MarkerPlaces) -> tuple[str, ...]:
    """Write a motion as C3D, and return what is to be known of it; C3dError where ezc3d is missing or fails."""
    skeleton, recorded = selected.person.skeleton, selected.recorded
    even, first = at_even_rate(recorded.coordinates)
    rotation, position = (part.numpy() for part in poses_of(skeleton, in_skeleton_order(even, skeleton)))
    points = position[:, markers.body] + np.einsum("tmij,mj->tmi", rotation[:, markers.body], markers.place)
    write_c3d(
        path,
        points,
        markers.names,
        rate_hz=frame_rate(even),
        first_frame=first,
        plates=_plates(recorded, even.time),
        ground_m=recorded.ground_m or 0.0,
        about={"COMPANY": "bige_opensim", "SOFTWARE": f"bige_opensim {__version__}"},
    )
    return () if recorded.ground_forces is not None else ("no ground forces are known, so there are no force plates",)


def markers_of(person: Person) -> tuple[MarkerPlaces, tuple[str, ...]]:
    """The markers of a model, or the origins of its bodies where it has none, with a note."""
    found = marker_places(load(person.model), person.skeleton.bodies)
    if found.names:
        return found, ()
    bodies = person.skeleton.bodies
    origins = MarkerPlaces(bodies, np.arange(len(bodies)), np.zeros((len(bodies), 3)))
    return origins, ("the model has no markers: points are the origins of its bodies",)


def _plates(recorded: Recorded, time: np.ndarray) -> list[PlateForces]:
    found = recorded.ground_forces
    if found is None:
        return []
    kinds = ("ground_force_{}_v{}", "ground_force_{}_p{}", "ground_torque_{}_{}")
    return [
        PlateForces(
            FEET_WORDS[side], *(at_times(found.select([kind.format(side, a) for a in "xyz"]), time) for kind in kinds)
        )
        for side in FEET
    ]
