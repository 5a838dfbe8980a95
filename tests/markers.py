"""Marker sets on the package's own models, and recordings made with this package's forward kinematics."""

from pathlib import Path

import numpy as np
import opensim
import torch

from bige_opensim.io.trc import Markers
from bige_opensim.io.ui_prmd import generic_places
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.osim.person_fit import add_markers
from bige_opensim.physics.marker_skeleton import MarkerTables
from bige_opensim.physics.skeleton import Skeleton

FULL_BODY = Path(__file__).resolve().parents[1] / "osim_models/fullbody80.osim"
KNEE_PLACES = {
    f"{body}{k}": (body, place)
    for body in ("femur", "tibia", "patella")
    for k, place in enumerate(((0.1, 0.0, 0.1), (0.0, -0.2, -0.1), (-0.1, -0.3, 0.0)))
}


def full_body() -> OsimModel:
    """The model that comes with the package, with the 39 markers of Plug-in-Gait."""
    return add_markers(load(FULL_BODY), generic_places())


def places(tables: MarkerTables, q: np.ndarray) -> np.ndarray:
    """Places (T, M, 3) of all markers for coordinates (T, C), by the forward kinematics of the labels."""
    skeleton = Skeleton(tables.skeleton)
    poses = skeleton(torch.as_tensor(q))
    stations = [
        skeleton.station(poses, int(body), torch.as_tensor(place))
        for body, place in zip(tables.body, tables.place, strict=True)
    ]
    return torch.stack(stations, dim=1).numpy()


def places_by_opensim(model: OsimModel, motion_names: tuple[str, ...], q: np.ndarray) -> np.ndarray:
    """The same by OpenSim, couplers assembled."""
    state = model.model.initSystem()
    markers = [model.model.getMarkerSet().get(i) for i in range(model.model.getMarkerSet().getSize())]
    found = []
    for row in q:
        values = dict(zip(motion_names, row, strict=True))
        for coupler in model.couplers:
            values[coupler.dependent] = float(
                model.coupled_values(coupler.dependent, np.array([values[coupler.independent]]))[0]
            )
        model.set_pose(state, values)
        model.model.realizePosition(state)
        found.append([marker.getLocationInGround(state).to_numpy() for marker in markers])
    return np.array(found)


def moving(tables: MarkerTables, frames: int = 40, seed: int = 3) -> np.ndarray:
    """Smooth coordinates (T, C) inside the limits: every joint swings through half of its range on its own."""
    random = np.random.default_rng(seed)
    t = tables.skeleton
    low = np.clip(np.where(np.isfinite(tables.low), tables.low, -0.6), -1.0, None)
    high = np.clip(np.where(np.isfinite(tables.high), tables.high, 0.6), None, 1.4)
    phase, rate = random.uniform(0, 2 * np.pi, len(low)), random.uniform(0.5, 1.0, len(low))
    swing = np.sin(phase + 2.0 * np.pi * rate * np.arange(frames)[:, None] / 100.0)
    q = 0.5 * (low + high) + 0.3 * (high - low) * swing
    return np.where(np.array(t.locked), t.default, q)


def recording(tables: MarkerTables, q: np.ndarray, noise_m: float = 0.0, rate_hz: float = 100.0) -> Markers:
    """Markers of a motion with independent noise."""
    noise = noise_m * np.random.default_rng(0).standard_normal((len(q), len(tables.names), 3))
    time = np.arange(len(q)) / rate_hz
    return Markers(time, places(tables, q) + noise, tables.names, rate_hz, path=Path("made.trc"))


def with_coordinate(model: OsimModel, name: str, **settings: object) -> OsimModel:
    """A copy in which a coordinate has other properties (`locked`, `clamped`, `default_value`, `range`, ...)."""
    copy = opensim.Model(model.model)
    joints = (copy.updJointSet().get(i) for i in range(copy.getJointSet().getSize()))
    own = (joint.upd_coordinates(k) for joint in joints for k in range(joint.numCoordinates()))
    coordinate = next(c for c in own if c.getName() == name)
    for key, value in settings.items():
        if key == "range":
            coordinate.set_range(0, value[0])
            coordinate.set_range(1, value[1])
        else:
            getattr(coordinate, f"set_{key}")(value)
    copy.finalizeConnections()
    return OsimModel(copy, model.path)
