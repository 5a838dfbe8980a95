"""Checks of .osim models."""

from __future__ import annotations

import math

from bige_opensim.doctor.findings import FIX, Finding, listed
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.doctor.person_checks import Stated, check_person, height_of
from bige_opensim.doctor.repair_models import can_be_repaired
from bige_opensim.osim.model import OsimModel
from bige_opensim.osim.path_sampler import PathSampler
from bige_opensim.physics.muscle_tables import MUSCLE_CLASSES

PLAUSIBLE_MASS_KG = (15.0, 250.0)
WIDEST_RANGE_RAD = 8.0 * math.pi
KNEES = ("knee_angle_r", "knee_angle_l")


def check_model(model: KnownModel, stated: Stated | None = None) -> list[Finding]:
    """Readability, gravity, build and strength, coordinates and muscles; `stated` is what a session says of it."""
    if model.osim is None:
        fixable = model.path.is_file() and can_be_repaired(model.path)
        remedy = FIX if fixable else "Open it in the OpenSim GUI to see what is wrong."
        return [Finding(model.path, "", "error", "unreadable", model.fault, remedy, fixable)]
    found = []
    if not model.coordinates or model.skeleton is None:
        remedy = "Replace the joint or constraint; labelling cannot use the model."
        found.append(Finding(model.path, "", "error", "unsupported", model.skeleton_fault, remedy))
    if model.coordinates:
        found += _coordinates(model)
    return [*found, *_mass(model), *check_person(model, stated or Stated()), *_muscles(model, model.osim)]


def _mass(model: KnownModel) -> list[Finding]:
    """The mass of models whose build nothing tells."""
    assert model.osim is not None
    mass = model.mass_kg
    if mass <= 0:
        sentence = f"The model weighs {mass:.4g} kg."
        return [Finding(model.path, "", "error", "mass", sentence, "Give its bodies their masses.")]
    if height_of(model) is not None or PLAUSIBLE_MASS_KG[0] <= mass <= PLAUSIBLE_MASS_KG[1]:
        return []
    sentence = f"The model weighs {mass:.4g} kg, which no person does."
    return [Finding(model.path, "", "warning", "mass", sentence, "Scale the model to the person's mass.")]


def _coordinates(model: KnownModel) -> list[Finding]:
    found = []
    empty = [n for n, c in model.coordinates.items() if not c.range_max > c.range_min and not c.locked]
    if empty:
        sentence = f"Ranges of coordinates are empty or reversed: {listed(empty)}."
        found.append(Finding(model.path, empty[0], "warning", "ranges", sentence, "Give them a range."))
    wide = [
        n for n, c in model.coordinates.items()
        if c.kind == "rotational" and n not in model.root and c.range_max - c.range_min > WIDEST_RANGE_RAD
    ]  # fmt: skip
    if wide:
        sentence = f"Ranges of angles exceed four turns: {listed(wide)}."
        remedy = "Write ranges in radians; limits of this width are not checked."
        found.append(Finding(model.path, wide[0], "warning", "units", sentence, remedy))
    locked = [n for n, c in model.coordinates.items() if c.locked]
    if locked:
        sentence = f"{len(locked)} coordinate(s) are locked: {listed(locked)}."
        remedy = "Nothing is to be done if these joints should not move."
        found.append(Finding(model.path, locked[0], "note", "locked-coordinates", sentence, remedy))
    missing = [n for n in KNEES if n not in model.coordinates]
    negative = [n for n in KNEES if n in model.coordinates and _negative(model, n)]
    if missing:
        sentence = f"There is no {listed(missing)}."
        remedy = "Repetitions are cut on knee flexion by these names; rename the coordinates to use `bige dataset`."
        found.append(Finding(model.path, missing[0], "note", "missing-coordinates", sentence, remedy))
    if negative:
        sentence = f"{listed(negative)} flex to the negative; knee flexion is positive here."
        remedy = "Use a model whose knee flexes to the positive, such as Rajagopal 2016 or OpenCap's."
        found.append(Finding(model.path, negative[0], "warning", "sign-convention", sentence, remedy))
    return found


def _negative(model: KnownModel, name: str) -> bool:
    limits = model.coordinates[name]
    return limits.range_max < abs(limits.range_min)


def _muscles(model: KnownModel, osim: OsimModel) -> list[Finding]:
    if not osim.muscle_names:
        remedy = "Use a muscle model if the trials are to be labelled."
        return [Finding(model.path, "", "warning", "muscles", "The model has no muscles.", remedy)]
    muscles = PathSampler(osim).muscles if model.coordinates else []
    found, kinds = [], {str(m.getName()): str(m.getConcreteClassName()) for m in muscles}
    others = [f"{name} ({kind})" for name, kind in kinds.items() if kind not in MUSCLE_CLASSES]
    if others:
        sentence = f"{len(others)} muscle(s) are of a class the fast solver does not know: {listed(others)}."
        remedy = "Use the default solver, or replace them by Millard2012EquilibriumMuscle."
        found.append(Finding(model.path, others[0].split()[0], "warning", "unsupported", sentence, remedy))
    for quantity in ("MaxIsometricForce", "OptimalFiberLength", "TendonSlackLength"):
        wrong = [str(m.getName()) for m in muscles if getattr(m, f"get{quantity}")() <= 0]
        if wrong:
            sentence = f"{quantity} is not positive in {listed(wrong)}."
            found.append(Finding(model.path, wrong[0], "error", "muscles", sentence, "Correct it in the model."))
    return found
