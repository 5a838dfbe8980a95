"""Measured ground forces of a trial: from an ExternalLoads file, or from force plates whose feet are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from bige_opensim.io.external_loads import ExternalForce, ExternalLoads, ExternalLoadsError, read_external_loads
from bige_opensim.io.force_plates import ForceFile, ForcePlateError, Plate, read_force_plates, upright
from bige_opensim.io.storage import read_storage
from bige_opensim.labelling.missing_support import SupportCheck
from bige_opensim.motion import Motion
from bige_opensim.physics.contact import FEET, GroundForces
from bige_opensim.sessions.plates_to_feet import SIDES, Assignment, Feet, Step, assign, feet_forces

WRONG_FOOT, PARTLY_WRONG = 0.5, 0.05
FEWEST_FRAMES = 10


@dataclass(frozen=True, eq=False)
class Measured:
    """Forces on the feet at `time` (s), the height of the plates (m), who stood where when, and what was noticed."""

    time: Float[np.ndarray, " time"]
    forces: GroundForces
    height: float
    file: Path
    steps: tuple[Step, ...]
    notes: tuple[str, ...]

    def as_dict(self, support: SupportCheck | None, mass_kg: float) -> dict[str, Any]:
        """For label.json: also the mass that the measured forces carry."""
        carried = support.carried if support is not None else None
        mass = None if carried is None else round(carried * mass_kg, 2)
        return {"file": self.file.name, "carried_kg": mass, "steps": [step.as_dict() for step in self.steps]}


def plate_forces(path: Path, feet: Feet, time: Float[np.ndarray, " time"], cutoff_hz: float) -> Measured:
    """Forces of a file of force plates on the feet that stand on them, at those of the given times that it covers.

    Raises
    ------
    StorageError, ForcePlateError
        As `read_force_plates` and `assign`; or forces and motion hardly overlap, or nobody steps on a plate.

    """
    recorded = read_force_plates(path)
    slack = 0.5 * float(np.median(np.diff(time)))
    covered = (time >= recorded.time[0] - slack) & (time <= recorded.time[-1] + slack)
    extent = f"{recorded.time[0]:.3f} to {recorded.time[-1]:.3f} s"
    spans = f"forces cover {extent}, the motion {time[0]:.3f} to {time[-1]:.3f} s"
    if covered.sum() < FEWEST_FRAMES:
        raise ForcePlateError(f"{path}: {spans}; they hardly overlap. Bring both to the same time.")
    assignment = assign(recorded, feet, (float(time[0]), float(time[-1])))
    if not assignment.steps:
        raise ForcePlateError(f"{path}: nobody steps on a plate during the motion ({spans}); use --grf estimated.")
    notes = [*recorded.notes, *assignment.notes]
    if not covered.all():
        notes.append(f"{path.name}: {spans}; only the frames that both cover were labelled.")
    forces, height = feet_forces(recorded, assignment.owner, time[covered], cutoff_hz)
    return Measured(time[covered], forces, height, path, assignment.steps, tuple(notes))


def applied_forces(path: Path, feet: Feet | None, time: Float[np.ndarray, " time"], cutoff_hz: float) -> Measured:
    """Loads of an ExternalLoads file on the two feet at the given times; compared with where the feet are, if given.

    Raises
    ------
    ExternalLoadsError
        A load acts on another body than a calcaneus, talus or toes, is not expressed in ground, or acts on the foot
        that does not stand there; or the forces do not cover the times.
    ForcePlateError
        As `upright`; with feet also as `assign`.

    """
    loads = read_external_loads(path)
    recorded, owner = _recorded(loads)
    if recorded.time[0] > time[0] + 1e-6 or recorded.time[-1] < time[-1] - 1e-6:
        raise ExternalLoadsError(
            f"{loads.datafile}: forces cover {recorded.time[0]:.3f} to {recorded.time[-1]:.3f} s, the motion "
            f"{time[0]:.3f} to {time[-1]:.3f} s. Cut the motion with --start and --end."
        )
    notes, steps = list(recorded.notes), tuple[Step, ...]()
    if feet is not None:
        found = assign(recorded, feet, (float(time[0]), float(time[-1])))
        steps = found.steps
        notes += _compare(loads, recorded, found, owner, feet)
    forces, height = feet_forces(recorded, owner, time, cutoff_hz)
    return Measured(time, forces, height, loads.datafile, steps, tuple(notes))


def _recorded(loads: ExternalLoads) -> tuple[ForceFile, Int[np.ndarray, "plate sample"]]:
    """The loads as plates, and the foot that the document gives each of them."""
    table = read_storage(loads.datafile)
    series = Motion(table.time, table.values, table.names)
    plates, notes, feet = [], list(table.notes), []
    for load in loads.forces:
        plate, note = upright(loads.datafile, _plate(load, series, loads.path))
        plates.append(plate.with_baseline(table.time))
        notes += [note] if note else []
        feet.append(_foot(load, loads.path))
    owner = np.repeat(np.array(feet)[:, None], len(table.time), axis=1)
    return ForceFile(loads.datafile, table.time, tuple(plates), tuple(notes)), owner


def _compare(
    loads: ExternalLoads,
    recorded: ForceFile,
    found: Assignment,
    applied: Int[np.ndarray, "plate sample"],
    feet: Feet,
) -> Sequence[str]:
    """Notes on loads that act on the wrong foot for a time; loads that do so most of the time are refused."""
    during = (recorded.time >= feet.time[0]) & (recorded.time <= feet.time[-1])
    notes = []
    for k, load in enumerate(loads.forces):
        loaded = during & (found.owner[k] >= 0)
        wrong = float(np.mean(found.owner[k][loaded] != applied[k][loaded])) if loaded.any() else 0.0
        if wrong <= PARTLY_WRONG:
            continue
        side = FEET[applied[k][0]]
        other = SIDES["l" if side == "r" else "r"]
        what = (
            f"{loads.path}: {load.name} acts on {load.applied_to_body}, but in {100 * wrong:.0f} % of its loaded "
            f"samples its centre of pressure is under the {other} foot."
        )
        if wrong > WRONG_FOOT:
            raise ExternalLoadsError(
                f"{what} `bige doctor {loads.path.name} --model MODEL --fix FOLDER` writes a copy that applies it to "
                f"the right body; with --forces {loads.datafile.name} instead, the feet are found."
            )
        notes.append(f"{what} With --forces {loads.datafile.name} instead, it is split between the feet.")
    return notes


def _plate(load: ExternalForce, recorded: Motion, path: Path) -> Plate:
    if load.force_expressed_in_body != "ground" or load.point_expressed_in_body != "ground":
        raise ExternalLoadsError(
            f"{path}: load {load.name} is expressed in {load.force_expressed_in_body}; expected ground. Transform the "
            "force file to ground axes."
        )
    if not load.force_identifier or not load.point_identifier:
        raise ExternalLoadsError(
            f"{path}: load {load.name} has no {'point' if load.force_identifier else 'force'}; expected a force and "
            "the point where it acts. Name their columns in <force_identifier> and <point_identifier>."
        )
    missing = [c for c in load.columns() if c not in recorded]
    if missing:
        raise ExternalLoadsError(
            f"{path}: the force file has no columns {', '.join(missing)}, which {load.name} names."
        )
    identifiers = (load.force_identifier, load.point_identifier, load.torque_identifier)
    force, point, torque = (
        recorded.select([f"{identifier}{axis}" for axis in "xyz"]).values
        if identifier
        else np.zeros((recorded.frames, 3))
        for identifier in identifiers
    )
    return Plate(load.name, force, point, torque)


def _foot(load: ExternalForce, path: Path) -> int:
    body = load.applied_to_body
    if body[:-2] not in ("calcn", "toes", "talus") or body[-1] not in FEET:
        raise ExternalLoadsError(
            f"{path}: load {load.name} acts on {body}; expected calcn_r, calcn_l or toes of a foot. Loads on other "
            "bodies are not supported."
        )
    return FEET.index(body[-1])
