"""Checks of coordinate files: unit, columns against the model, conventions, wraps, limits."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bige_opensim.doctor.column_checks import check_columns
from bige_opensim.doctor.findings import FIX, Finding, Severity, listed
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.doctor.movement_checks import (
    check_filled_in,
    check_ground,
    check_posture,
    check_sliding,
    check_stillness,
)
from bige_opensim.doctor.series_checks import check_spikes
from bige_opensim.doctor.storage_checks import Table
from bige_opensim.io.rotation_units import unit_by_range
from bige_opensim.motion import Motion
from bige_opensim.physics.contact import ground_height
from bige_opensim.physics.rotations import continuous_rotations, fastest_rotation

USUAL = frozenset({"pelvis_tilt", "pelvis_tx", "pelvis_ty", "hip_flexion_r", "hip_flexion_l", "ankle_angle_r"})
USUAL_KNEES = ("knee_angle_r", "knee_angle_l")
NOT_COORDINATES = ("speeds", "accelerations")
LIMIT_NOTE, LIMIT_WARNING = np.deg2rad(2.0), np.deg2rad(10.0)
SPIKE_FLOOR_DEG, SPIKE_FLOOR_M = 3.0, 0.01
MOVES_RAD, MOVES_M = np.deg2rad(0.5), 0.002
LARGEST_HEIGHT_M = 10.0
BACKWARDS = np.deg2rad(20.0)
FASTEST_RAD_S = 40.0


class Coordinates(NamedTuple):
    """The coordinate columns of a table: short names, positions in the table, which of them are angles."""

    names: tuple[str, ...]
    columns: tuple[int, ...]
    turns: Bool[np.ndarray, " coordinate"]


def coordinates_in(table: Table, model: KnownModel | None) -> Coordinates | None:
    """The columns that hold coordinate values, or None where the table is no coordinate or states file."""
    if table.title.strip().lower() in NOT_COORDINATES:
        return None
    known = set(model.coordinates) if model is not None else set()
    chosen: dict[str, int] = {}
    for c, label in enumerate(table.names):
        parts = label.strip("/").split("/")
        if len(parts) > 1 and parts[-1] != "value":
            continue
        chosen.setdefault(label if len(parts) == 1 else parts[-2], c)
    here = [name for name in chosen if name in known or name in USUAL or name in USUAL_KNEES]
    if len(here) < 2 and not (known and set(chosen) == set(here) and here):
        return None
    if known & set(here):
        chosen = {name: c for name, c in chosen.items() if name in known}
    return Coordinates(tuple(chosen), tuple(chosen.values()), np.array([_turns(n, model) for n in chosen], dtype=bool))


def _turns(name: str, model: KnownModel | None) -> bool:
    if model is not None and name in model.coordinates:
        return model.coordinates[name].kind == "rotational"
    return not name.endswith(("_tx", "_ty", "_tz", "_beta"))


def unit_of(table: Table, chosen: Coordinates) -> tuple[bool | None, Finding | None]:
    """Whether rotations are in degrees (None: unknown), and the fault of the header in this, if any."""
    values = table.values[:, chosen.columns]
    if not chosen.turns.any():
        return False, None
    seen = unit_by_range(values[:, chosen.turns], values[:, ~chosen.turns])
    said = None if table.in_degrees is None else "degrees" if table.in_degrees else "radians"
    largest = float(np.abs(values[:, chosen.turns]).max())
    if seen is not None and said is not None and seen != said:
        sentence = f"The header says {said}, but the rotations (largest {largest:.4g}) are {seen}."
        return seen == "degrees", Finding(table.path, "header", "error", "degree-flag", sentence, FIX, True)
    if said is None and seen is not None:
        sentence = f"The header does not say inDegrees; by their size ({largest:.4g}) the rotations are {seen}."
        return seen == "degrees", Finding(table.path, "header", "warning", "degree-flag", sentence, FIX, True)
    if said is None:
        sentence = "Neither the header nor the numbers tell whether rotations are in degrees or radians."
        remedy = "Write inDegrees=yes or inDegrees=no into the header, or pass --units to `bige label`."
        return None, Finding(table.path, "header", "error", "degree-flag", sentence, remedy)
    return said == "degrees", None


def motion_of(table: Table, chosen: Coordinates, in_degrees: bool) -> Motion:
    """The coordinates in radians and metres."""
    values = table.values[:, chosen.columns]
    if in_degrees:
        values = np.where(chosen.turns, np.deg2rad(values), values)
    return Motion(table.time, values, chosen.names)


def continuous(motion: Motion, turns: Bool[np.ndarray, " coordinate"], model: KnownModel | None) -> Motion:
    """Angles without 360° wraps and without hops between equal orientations."""
    values = motion.values.copy()
    values[:, turns] = np.unwrap(values[:, turns], axis=0)
    smooth = motion.with_values(values)
    if model is None or not model.triples:
        return smooth
    return continuous_rotations(smooth, model.triples)[0]


def check_coordinates(
    table: Table, chosen: Coordinates, in_degrees: bool, model: KnownModel | None
) -> tuple[list[Finding], Motion]:
    """Everything about a coordinate file but its header, and its motion made continuous."""
    motion = motion_of(table, chosen, in_degrees)
    smooth = continuous(motion, chosen.turns, model)
    path, known = table.path, model if model is not None and model.coordinates else None
    found = [*_wraps(table, motion, smooth, chosen.turns), *_spikes(table, smooth, chosen.turns)]
    found += check_plausible(path, smooth, known)
    turning = [name for name, turns in zip(chosen.names, chosen.turns, strict=True) if turns]
    found += [*check_stillness(path, smooth, turning), *check_filled_in(path, smooth)]
    if known is not None:
        states = any("/" in label for label in table.names)
        others = [] if states else [label for c, label in enumerate(table.names) if c not in chosen.columns]
        found += [*check_columns(path, chosen.names, others, known), *_coupled(path, chosen, known)]
        found += [*_locked(table, smooth, known), *check_limits(path, smooth, known), *_speed(table, smooth, known)]
    return found, smooth


def check_plausible(path: Path, motion: Motion, model: KnownModel | None) -> list[Finding]:
    """What no person's motion does: height of the pelvis, knees, posture, and the way of the feet over the ground."""
    return [*check_height(path, motion), *check_knees(path, motion, model), *_over_ground(path, motion, model)]


def _wraps(table: Table, motion: Motion, smooth: Motion, turns: Bool[np.ndarray, " coordinate"]) -> list[Finding]:
    jumps = np.abs(np.diff(smooth.values - motion.values, axis=0)) > 1e-6
    if not jumps.any():
        return []
    columns = [motion.names[c] for c in np.flatnonzero(jumps.any(axis=0))]
    first = int(np.flatnonzero(jumps.any(axis=1))[0]) + 1
    sentence = f"Angles jump to another description of the same orientation: {listed(columns)}."
    place = f"{columns[0]}, {table.time[first]:.4g} s"
    return [Finding(table.path, place, "warning", "wrapping", sentence, FIX, True)]


def _spikes(table: Table, smooth: Motion, turns: Bool[np.ndarray, " coordinate"]) -> list[Finding]:
    """In degrees and metres; coupled coordinates only follow others."""
    values = np.where(turns, np.rad2deg(smooth.values), smooth.values)
    floor = np.where(turns, SPIKE_FLOOR_DEG, SPIKE_FLOOR_M)
    units = ["{:.1f}°" if turn else "{:.3f} m" for turn in turns]
    floor[[name.endswith("_beta") for name in smooth.names]] = np.inf
    return check_spikes(table.path, table.time, values, smooth.names, floor, units)


def check_height(path: Path, motion: Motion) -> list[Finding]:
    """The pelvis at a person's height along Y, in metres."""
    if "pelvis_ty" not in motion:
        return []
    height = float(np.median(motion["pelvis_ty"]))
    sideways = float(np.median(motion["pelvis_tz"])) if "pelvis_tz" in motion else 0.0
    if abs(height) > LARGEST_HEIGHT_M:
        sentence = f"The pelvis is {height:.4g} m high; the translations are hardly in metres."
        remedy = "Divide the translations by 1000 if they are millimetres."
        return [Finding(path, "pelvis_ty", "error", "units", sentence, remedy)]
    if height < 0.2 and abs(sideways) > 0.5:
        sentence = f"The pelvis is {height:.3g} m high along Y and {sideways:.3g} m along Z; Y should point up."
        remedy = "Turn the motion so that Y is up and X forward (OpenSim's axes) before inverse kinematics."
        return [Finding(path, "pelvis_ty", "warning", "sign-convention", sentence, remedy)]
    return []


def check_knees(path: Path, motion: Motion, model: KnownModel | None) -> list[Finding]:
    """Knees that bend backwards."""
    wrong = []
    for name in (n for n in USUAL_KNEES if n in motion):
        limits = model.coordinates.get(name) if model is not None else None
        negative_by_design = limits is not None and limits.range_max < abs(limits.range_min)
        low, high = np.percentile(motion[name], [2, 98])
        if low < -BACKWARDS and high < BACKWARDS and not negative_by_design:
            wrong.append(name)
    if not wrong:
        return []
    lowest = np.rad2deg(min(motion[name].min() for name in wrong))
    sentence = f"{listed(wrong)} bend backwards, to {lowest:.0f}°; knee flexion is positive here."
    remedy = "Change the sign of the knee columns, or use the model that the motion was made with."
    return [Finding(path, wrong[0], "error", "sign-convention", sentence, remedy)]


def _coupled(path: Path, chosen: Coordinates, model: KnownModel) -> list[Finding]:
    dependent = [n for n, c in model.coordinates.items() if c.dependent and n not in chosen.names]
    if not dependent:
        return []
    sentence = f"Coupled coordinates are not in the file: {listed(dependent)}."
    remedy = "Nothing is to be done: the model's couplers give them."
    return [Finding(path, dependent[0], "note", "missing-coordinates", sentence, remedy)]


def _locked(table: Table, motion: Motion, model: KnownModel) -> list[Finding]:
    moved = {}
    for name in motion.names:
        coordinate = model.coordinates[name]
        turns = coordinate.kind == "rotational"
        away = float(np.abs(motion[name] - coordinate.default).max())
        if coordinate.locked and away > (MOVES_RAD if turns else MOVES_M):
            moved[name] = f"{name} ({np.rad2deg(away):.1f}°)" if turns else f"{name} ({away:.3f} m)"
    if not moved:
        return []
    sentence = f"Coordinates that the model locks leave their locked value: {listed(list(moved.values()))}."
    remedy = "Unlock them in the model if they should move; they carry no muscle load as they are."
    return [Finding(table.path, next(iter(moved)), "warning", "locked-coordinates", sentence, remedy)]


def check_limits(
    path: Path,
    motion: Motion,
    model: KnownModel,
    *,
    warning_rad: float = LIMIT_WARNING,
    names: Collection[str] | None = None,
) -> list[Finding]:
    """Angles outside the model's range, full turns taken off; a warning beyond `warning_rad`.

    Coordinates that the model locks or couples and those of the root are left out, and those that are not among
    `names`, where these are given.
    """
    excess, at = dict[str, float](), dict[str, int]()
    for name in motion.names if names is None else (n for n in motion.names if n in names):
        c = model.coordinates[name]
        if c.kind != "rotational" or c.locked or c.dependent or name in model.root:
            continue
        beyond = _beyond(motion[name], c.range_min, c.range_max)
        if beyond.max() > LIMIT_NOTE:
            excess[name], at[name] = float(beyond.max()), int(beyond.argmax())
    if not excess:
        return []
    order = sorted(excess, key=lambda name: -excess[name])
    sizes = [f"{name} by {np.rad2deg(excess[name]):.0f}°" for name in order]
    sentence = f"Joints leave the model's range: {listed(sizes)}."
    remedy = "Check the scaling and the markers there, or widen the range in the model if the person can do this."
    severity: Severity = "warning" if excess[order[0]] > warning_rad else "note"
    place = f"{order[0]}, {motion.time[at[order[0]]]:.4g} s"
    worst, limit = float(np.rad2deg(excess[order[0]])), float(np.rad2deg(warning_rad))
    return [Finding(path, place, severity, "joint-limits", sentence, remedy, False, worst, limit, "deg")]


def _beyond(angle: Float[np.ndarray, " time"], low: float, high: float) -> Float[np.ndarray, " time"]:
    """How far angles lie outside [low, high], full turns taken off; nowhere beyond an end that is no number."""
    low, high = -np.inf if np.isnan(low) else low, np.inf if np.isnan(high) else high
    middle = 0.5 * (low + high) if np.isfinite([low, high]).all() else np.nan
    nearest = middle + np.angle(np.exp(1j * (angle - middle))) if np.isfinite(middle) else angle
    return np.maximum(np.maximum(low - nearest, nearest - high), 0.0)


def _over_ground(path: Path, motion: Motion, model: KnownModel | None) -> list[Finding]:
    """The mass centre above the feet, the height of the feet, and their way over the ground."""
    if model is None or model.skeleton is None or not model.has_feet() or "pelvis_ty" not in motion:
        return []
    poses = model.poses(motion)
    feet = model.feet(poses)
    found = check_posture(path, model.skeleton.com(poses).numpy() - feet.mean(axis=1))
    if found:
        return found
    if not model.skeleton.contact_names:
        return check_ground(path, float(np.percentile(feet[..., 1].min(axis=1), 5)))
    points = model.skeleton.contact_points(poses)
    return [*check_ground(path, ground_height(points)), *check_sliding(path, motion.time, points.numpy())]


def _speed(table: Table, motion: Motion, model: KnownModel) -> list[Finding]:
    """Bodies that turn faster than any limb: inverse kinematics has jumped to another solution."""
    if model.skeleton is None:
        return []
    speed, body = fastest_rotation(model.skeleton, motion, model.skeleton.bodies)
    if speed <= FASTEST_RAD_S:
        return []
    sentence = f"{body} turns at {speed:.0f} rad/s between two frames; inverse kinematics has jumped."
    remedy = "Repeat inverse kinematics there with other marker weights, or leave the stretch out."
    return [Finding(table.path, body, "warning", "rotation-speed", sentence, remedy)]
