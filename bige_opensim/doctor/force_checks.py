"""Checks of force-plate files and of ExternalLoads documents: units, signs, and the foot that each plate belongs to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bige_opensim.doctor.findings import FIX, Finding, listed
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.doctor.movement_checks import check_ground
from bige_opensim.doctor.series_checks import check_spikes
from bige_opensim.doctor.storage_checks import Table
from bige_opensim.io.external_loads import ExternalLoads
from bige_opensim.motion import Motion
from bige_opensim.physics.anthropometry import STANDARD_GRAVITY
from bige_opensim.physics.contact import ground_height

LOADED_N, LOADED_SHARE = 30.0, 0.05
LARGEST_FORCE_N = 20_000.0
FARTHEST_M = 20.0
BESIDE_BOTH_FEET_M = 0.35
STILL_S, STILL_SPREAD = 1.0, 0.02
WEIGHT_TOLERANCE = 0.05
SPIKE_SHARE = 0.1
FEET = ("r", "l")


class Plate(NamedTuple):
    """One force of a table: prefix of its columns, force (T, 3) N, and where it acts (T, 3) m, None if not given."""

    name: str
    force: Float[np.ndarray, "time 3"]
    point: Float[np.ndarray, "time 3"] | None

    @property
    def loaded(self) -> Bool[np.ndarray, " time"]:
        """Samples in which somebody stands on it."""
        size = np.linalg.norm(self.force, axis=1)
        return size > max(LOADED_N, LOADED_SHARE * float(size.max()))

    @property
    def side(self) -> str | None:
        """The foot that the name claims: "r", "l" or None."""
        match = re.match(r"(?:ground_force_)?(r|l|right|left)(?:_|$)", self.name, re.IGNORECASE)
        return match[1][0].lower() if match else None


class Nearness(NamedTuple):
    """The foot that a plate's centre of pressure is nearer to, in what share of its loaded frames, and how near (m)."""

    side: str
    share: float
    distance: float
    worst_time: float


def plates_in(table: Table) -> tuple[Plate, ...]:
    """Forces by columns `<prefix>vx`, `vy`, `vz` with points `<prefix>px`, ... as OpenSim's files have them."""
    found = []
    for label in table.names:
        if not label.endswith("vx") or not {f"{label[:-1]}{a}" for a in "yz"} <= set(table.names):
            continue
        prefix = label[:-2]
        force = np.column_stack([table.values[:, table.names.index(f"{prefix}v{a}")] for a in "xyz"])
        points = [f"{prefix}p{a}" for a in "xyz"]
        point = None
        if set(points) <= set(table.names):
            point = np.column_stack([table.values[:, table.names.index(p)] for p in points])
        found.append(Plate(prefix.rstrip("_"), force, point))
    return tuple(found)


def check_plates(table: Table, plates: tuple[Plate, ...]) -> list[Finding]:
    """Units, the direction of the vertical force, and spikes."""
    found, force = [], np.hstack([plate.force for plate in plates])
    names = [f"{plate.name}_v{a}" for plate in plates for a in "xyz"]
    largest = np.abs(force).max(axis=0)
    if largest.max() > LARGEST_FORCE_N:
        sentence = f"The largest force is {largest.max():.3g} N; the unit is hardly newton."
        remedy = "Convert the forces to newtons."
        found.append(Finding(table.path, names[int(largest.argmax())], "error", "units", sentence, remedy))
    for plate in plates:
        found += [*_direction(table.path, plate), *_point_unit(table.path, plate)]
    idle = [plate.name for plate in plates if not plate.loaded.any()]
    if idle:
        sentence = f"Nobody stands on {listed(idle)}."
        found.append(Finding(table.path, idle[0], "note", "idle-plate", sentence, "Leave it out of the loads."))
    floor = np.maximum(LOADED_N, SPIKE_SHARE * largest)
    return found + check_spikes(table.path, table.time, force, names, floor, ["{:.0f} N"] * len(names))


def _direction(path: Path, plate: Plate) -> list[Finding]:
    if not plate.loaded.any():
        return []
    mean = plate.force[plate.loaded].mean(axis=0)
    axis = int(np.abs(mean).argmax())
    if axis != 1:
        sentence = f"The largest force of {plate.name} acts along {'XYZ'[axis]}; Y should point up."
        remedy = "Turn the forces and points so that Y is up and X forward (OpenSim's axes)."
        return [Finding(path, f"{plate.name}_v{'xyz'[axis]}", "error", "sign-convention", sentence, remedy)]
    if mean[1] < 0:
        sentence = f"The vertical force of {plate.name} is negative: the force on the plate, not on the foot."
        remedy = "Change the sign of all three components, and of the torque."
        return [Finding(path, f"{plate.name}_vy", "error", "sign-convention", sentence, remedy)]
    return []


def _point_unit(path: Path, plate: Plate) -> list[Finding]:
    if plate.point is None or not plate.loaded.any():
        return []
    farthest = float(np.median(np.abs(plate.point[plate.loaded]).max(axis=1)))
    if farthest <= FARTHEST_M:
        return []
    sentence = f"The centre of pressure of {plate.name} is {farthest:.3g} m from the origin; the unit is hardly metre."
    remedy = "Divide the points by 1000 if they are millimetres."
    return [Finding(path, f"{plate.name}_px", "error", "units", sentence, remedy)]


def weight_n(table: Table, plates: tuple[Plate, ...]) -> float | None:
    """Total vertical force while it hardly changes (1 s within 2 % of the mean), or None if it never rests."""
    total = np.sum([plate.force[:, 1] for plate in plates], axis=0)
    width = round(STILL_S / float(np.median(np.diff(table.time))))
    if width < 3 or len(total) <= width:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(total, width)
    mean, spread = windows.mean(axis=1), windows.std(axis=1)
    still = (mean > 200.0) & (spread < STILL_SPREAD * mean)
    return float(np.median(mean[still])) if still.any() else None


def check_weight(table: Table, plates: tuple[Plate, ...], mass_kg: float, source: str) -> list[Finding]:
    """The weight on the plates at rest against a mass."""
    weight = weight_n(table, plates)
    if weight is None or abs(weight / (mass_kg * STANDARD_GRAVITY) - 1.0) <= WEIGHT_TOLERANCE:
        return []
    sentence = f"At rest the plates carry {weight / STANDARD_GRAVITY:.1f} kg, but {source} has {mass_kg:.1f} kg."
    remedy = "Correct the mass and scale the model again, or check the plates' zero (a foot beside the plates counts)."
    return [Finding(table.path, "", "warning", "mass", sentence, remedy)]


def nearest_foot(table: Table, plate: Plate, motion: Motion, feet: Float[np.ndarray, "time 2 3"]) -> Nearness | None:
    """Which foot a plate's centre of pressure belongs to; None where both were never recorded together under load.

    Distances are horizontal, from the middle of each foot, in the frames of the motion.
    """
    if plate.point is None:
        return None
    inside = (motion.time >= table.time[0]) & (motion.time <= table.time[-1])
    time = motion.time[inside]
    nearest = np.searchsorted(table.time, time - 1e-9).clip(0, len(table.time) - 1)
    loaded = plate.loaded[nearest]
    if loaded.sum() < 3:
        return None
    point, where = plate.point[nearest][loaded], feet[inside][loaded]
    distance = np.linalg.norm((where - point[:, None])[..., [0, 2]], axis=2)
    left = distance[:, 1] < distance[:, 0]
    side = int(left.mean() > 0.5)
    mine = left == bool(side)
    worst = int(np.where(mine, distance[:, 1 - side] - distance[:, side], -np.inf).argmax())
    return Nearness(FEET[side], float(mine.mean()), float(np.median(distance[:, side])), float(time[loaded][worst]))


def check_named_sides(table: Table, plates: tuple[Plate, ...], motion: Motion, model: KnownModel) -> list[Finding]:
    """Plates whose name claims a foot, against where the feet are."""
    found, feet = [], model.foot_centres(motion)
    for plate in plates:
        near = nearest_foot(table, plate, motion, feet)
        if near is None:
            continue
        if plate.side is not None and near.side != plate.side:
            sentence = _wrong_foot(plate.name, plate.side, near)
            remedy = "Swap the names of the columns, or apply the force to the other foot."
            place = f"{plate.name}, {near.worst_time:.4g} s"
            found.append(Finding(table.path, place, "error", "wrong-foot", sentence, remedy))
        elif near.distance > BESIDE_BOTH_FEET_M:
            found.append(_far(table.path, plate.name, near))
    return found


def check_height_of_plates(table: Table, plates: tuple[Plate, ...], motion: Motion, model: KnownModel) -> list[Finding]:
    """The ground under the feet against the height at which the plates' forces act."""
    assert model.skeleton is not None
    heights = [plate.point[plate.loaded, 1] for plate in plates if plate.point is not None and plate.loaded.any()]
    if not heights or not model.skeleton.contact_names:
        return []
    ground_m = ground_height(model.skeleton.contact_points(model.poses(motion)))
    return check_ground(table.path, ground_m, float(np.median(np.concatenate(heights))))


def wrong_feet(loads: ExternalLoads, table: Table, motion: Motion, model: KnownModel) -> dict[str, Nearness]:
    """Forces of the document that act on the foot farther from their centre of pressure, by name."""
    feet = model.foot_centres(motion)
    by_prefix = {plate.name: plate for plate in plates_in(table)}
    wrong = {}
    for force in loads.forces:
        plate = by_prefix.get(force.force_identifier.removesuffix("v").rstrip("_"))
        side = force.applied_to_body[-1:]
        near = nearest_foot(table, plate, motion, feet) if plate is not None else None
        if near is not None and side in FEET and near.side != side:
            wrong[force.name] = near
    return wrong


def check_loads(loads: ExternalLoads, table: Table, motion: Motion | None, model: KnownModel | None) -> list[Finding]:
    """Columns and bodies that an ExternalLoads document names, and whether each force is on the right foot."""
    path, found = loads.path, []
    missing = [column for force in loads.forces for column in force.columns() if column not in table.names]
    if missing:
        sentence = f"{loads.datafile.name} has no columns {listed(missing)}."
        remedy = "Correct the identifiers in the document (prefixes of the labels, without x, y, z)."
        found.append(Finding(path, missing[0], "error", "columns", sentence, remedy))
    bodies = {force.applied_to_body for force in loads.forces}
    if len(bodies) == 1 and len({force.force_identifier for force in loads.forces}) > 1:
        sentence = f"Every force acts on {next(iter(bodies))}."
        remedy = "Apply each plate to the foot that stands on it."
        found.append(Finding(path, next(iter(bodies)), "warning", "one-foot", sentence, remedy))
    if model is not None and model.skeleton is not None:
        strange = sorted(bodies - set(model.skeleton.bodies) - {"ground"})
        if strange:
            sentence = f"{model.path.name} has no body {listed(strange)}."
            found.append(Finding(path, strange[0], "error", "columns", sentence, "Name bodies of the model."))
    if motion is None or model is None or not model.has_feet():
        sentence = "Without the motion of the trial and its model, the feet cannot be compared with the plates."
        remedy = "Keep the trial's .mot beside the document under the same name, and give --model."
        return [*found, Finding(path, "", "note", "wrong-foot", sentence, remedy)]
    for name, near in wrong_feet(loads, table, motion, model).items():
        body = next(force.applied_to_body for force in loads.forces if force.name == name)
        place = f"{name}, {near.worst_time:.4g} s"
        sentence = _wrong_foot(name, body[-1], near)
        found.append(Finding(path, place, "error", "wrong-foot", sentence, FIX, True))
    return found


def _wrong_foot(name: str, side: str, near: Nearness) -> str:
    sides = {"r": "right", "l": "left"}
    return (
        f"{name} is applied to the {sides[side]} foot, but in {100 * near.share:.0f} % of its loaded frames its centre "
        f"of pressure is nearer to the {sides[near.side]} one ({near.distance:.2f} m)."
    )


def _far(path: Path, name: str, near: Nearness) -> Finding:
    sentence = f"The centre of pressure of {name} is {near.distance:.2f} m from the nearest foot."
    remedy = "Bring motion and forces to the same axes, origin and time before measured forces are used."
    return Finding(path, name, "warning", "plate-position", sentence, remedy)
