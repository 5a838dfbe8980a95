"""Whether a model can be the person: gravity, build, strength, and what a session states of mass and height."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bige_opensim.doctor.findings import Finding, Severity
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.osim.model import OsimModel
from bige_opensim.physics.anthropometry import STANDARD_GRAVITY

GRAVITY_TOLERANCE, TILTED_GRAVITY = 0.1, 1.0
"""m/s2: what gravity varies by over the Earth and files round it to, and the slope of a steep treadmill (10 %)."""

LEG_OF_HEIGHT, SHOULDER_OF_HEIGHT = 0.245 + 0.246, 0.818
"""Thigh and shank, and the shoulder's height, over standing height: Drillis and Contini (1966), in Winter (2009),
Biomechanics and Motor Control of Human Movement."""

LEAN, LEAN_CHILD, CHILD_M, OBESE = 14.0, 12.0, 1.4, 40.0
NOBODY = (8.0, 80.0)
"""kg/m2. People die below a body mass index of 13 (men) or 11 (women; Henry 1990, Eur J Clin Nutr 44:329-335), healthy
children of short stature reach 13. 40 is where obesity of class III begins (WHO Technical Report 894, 2000)."""

MASS_NOTE, MASS_TOLERANCE, HEIGHT_TOLERANCE = 0.02, 0.05, 0.15
"""Shares by which mass may differ from what is stated, and the height that is told from a model's lengths."""

WEAKEST, STRONGEST = 12.0, 200.0
NO_MUSCLE = (3.0, 1000.0)
"""N/cm2: half of the least and half as much again as the most of the specific tensions published for human muscle,
25 (Narici et al. 1992, Eur J Appl Physiol 65:438-444), 60 (Rajagopal et al. 2016, doi:10.1109/TBME.2016.2586891), up to
137 (of those that Buchanan 1995 compares, doi:10.1016/1350-4533(95)00005-8)."""

LEG_BODIES = ("femur", "tibia", "patella", "talus", "calcn", "toes")
_MASS_UNITS = {2.2046: "pounds", 1000.0: "grams"}
_LENGTH_UNITS = {100.0: "centimetres", 1000.0: "millimetres", 39.37: "inches", 3.281: "feet"}
_UNIT_TOLERANCE = 0.12


@dataclass(frozen=True)
class Stated:
    """What metadata say of the person; None where they say nothing."""

    mass_kg: float | None = None
    height_m: float | None = None
    source: str = "sessionMetadata.yaml"


def check_person(model: KnownModel, stated: Stated) -> list[Finding]:
    """Gravity; of models with a leg also build and strength.

    Other gravity is an error for a model with a leg, whose feet carry it, and a note for one without: an arm may be
    measured in a horizontal plane.
    """
    if model.osim is None:
        return []
    height_m = height_of(model)
    if height_m is None:
        return check_gravity(model, "note")
    return [*check_gravity(model, "error"), *_build(model, height_m, stated), *_strength(model, height_m)]


def check_stated(model: KnownModel, stated: Stated) -> list[Finding]:
    """The model's mass, and the height that its lengths tell, against what is stated."""
    height_m = height_of(model)
    found = [] if model.osim is None or stated.mass_kg is None else _stated_mass(model, stated.mass_kg, stated.source)
    if height_m is None or stated.height_m is None:
        return found
    return [*found, *_stated_height(model, height_m, stated.height_m, stated.source)]


def check_gravity(model: KnownModel, severity: Severity) -> list[Finding]:
    """Gravity of the Earth along -Y; the slope of a treadmill may tilt it."""
    assert model.osim is not None
    gravity = np.asarray(model.osim.model.getGravity().to_numpy())
    size, sideways = float(np.linalg.norm(gravity)), float(np.hypot(gravity[0], gravity[2]))
    upright = gravity[1] < 0 and sideways <= TILTED_GRAVITY
    if upright and abs(size - STANDARD_GRAVITY) <= GRAVITY_TOLERANCE:
        return []
    sentence = f"Gravity is {(np.round(gravity, 3) + 0.0).tolist()} m/s²; people live with [0, -9.807, 0], Y up."
    remedy = "Set it to 0, -9.80665, 0."
    return [
        Finding(model.path, "gravity", severity, "gravity", sentence, remedy, False, size, STANDARD_GRAVITY, "m/s2")
    ]


def height_of(model: KnownModel) -> float | None:
    """Standing height of a model's person, m, from its lengths; None without a leg.

    The larger of (thigh + shank) / 0.491, between joint centres and whatever the pose, and of the shoulder's height
    over the heel in the default pose over 0.818, which is too small for a default pose that is not upright.
    """
    skeleton = model.skeleton
    if skeleton is None:
        return None
    at = dict(zip(skeleton.bodies, skeleton(skeleton.default).position.numpy(), strict=True))
    hip, knee, ankle = at.get("femur_r"), at.get("tibia_r"), at.get("talus_r", at.get("calcn_r"))
    if hip is None or knee is None or ankle is None:
        return None
    heights = [(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee)) / LEG_OF_HEIGHT]
    if {"humerus_r", "calcn_r"} <= set(at):
        heights.append((at["humerus_r"][1] - at["calcn_r"][1]) / SHOULDER_OF_HEIGHT)
    return float(max(heights))


def _stated_mass(model: KnownModel, stated_kg: float, source: str) -> list[Finding]:
    mass_kg = model.mass_kg
    away = abs(mass_kg / stated_kg - 1.0)
    if away <= MASS_NOTE:
        return []
    severity: Severity = "warning" if away > MASS_TOLERANCE else "note"
    unit = _other_unit(stated_kg / max(mass_kg, 1e-9), _MASS_UNITS)
    sentence = f"The model weighs {mass_kg:.1f} kg, {source} says {stated_kg:.1f} kg{unit}."
    remedy = "Scale the model to the measured mass, or correct what is stated."
    share, limit = 100 * away, 100 * MASS_TOLERANCE
    return [Finding(model.path, "", severity, "mass", sentence, remedy, False, share, limit, "% of the stated mass")]


def _stated_height(model: KnownModel, height_m: float, stated_m: float, source: str) -> list[Finding]:
    away = abs(height_m / stated_m - 1.0)
    if away <= HEIGHT_TOLERANCE:
        return []
    unit = _other_unit(stated_m / height_m, _LENGTH_UNITS)
    sentence = f"By its lengths the model is {height_m:.2f} m tall, {source} says {stated_m:.4g} m{unit}."
    remedy = "Use the person's own model, scale it, or correct what is stated."
    share, limit = 100 * away, 100 * HEIGHT_TOLERANCE
    return [Finding(model.path, "", "warning", "height", sentence, remedy, False, share, limit, "% of the height")]


def _other_unit(ratio: float, units: dict[float, str]) -> str:
    for factor, unit in units.items():
        if abs(ratio / factor - 1.0) <= _UNIT_TOLERANCE:
            return f" (in {unit}?)"
    return ""


def _build(model: KnownModel, height_m: float, stated: Stated) -> list[Finding]:
    """The body mass index of mass and lengths; a mass that is stated too needs only be that of a person."""
    mass = model.mass_kg
    index = mass / height_m**2
    confirmed = stated.mass_kg is not None and abs(mass / stated.mass_kg - 1.0) <= MASS_TOLERANCE
    low, high = (LEAN_CHILD if height_m < CHILD_M else LEAN, OBESE) if not confirmed else NOBODY
    if low <= index <= high:
        return []
    severity: Severity = "warning" if NOBODY[0] <= index <= NOBODY[1] else "error"
    sentence = (
        f"The model weighs {mass:.4g} kg and is {height_m:.2f} m tall by its lengths: a body mass index of "
        f"{index:.3g} kg/m², people have {low:g} to {high:g}."
    )
    remedy = "Scale the model to the person's mass and markers"
    remedy += "." if severity == "error" else "; if it is right, state mass_kg in the session's sessionMetadata.yaml."
    limit = low if index < low else high
    return [Finding(model.path, "", severity, "mass", sentence, remedy, False, index, limit, "kg/m2")]


def _strength(model: KnownModel, height_m: float) -> list[Finding]:
    """The specific tension that the leg muscles' forces ask of the muscle that a person of this size has.

    A muscle of volume v and optimal fibre length l pulls with F = sigma v / l, so sigma = sum(F l) / V. The volume of
    the muscles of one lower limb is V = 47.0 mass height + 1285 cm3 (kg, m; Handsfield et al. 2014,
    doi:10.1016/j.jbiomech.2013.12.002), measured on people of a body mass index up to 30; what weighs more is taken
    as no muscle. Strong and weak people, lumped and divided muscles lie far inside the limits.
    """
    assert model.osim is not None
    assert model.skeleton is not None
    legs = sum(f"femur_{side}" in model.skeleton.bodies for side in "rl")
    pull = 100.0 * sum(_force_times_fibre(model.osim))
    if pull <= 0.0 or not legs:
        return []
    lean_kg = float(np.clip(model.mass_kg, 18.5 * height_m**2, 30.0 * height_m**2))
    tension = pull / (legs * (47.0 * lean_kg * height_m + 1285.0))
    if WEAKEST <= tension <= STRONGEST:
        return []
    severity: Severity = "warning" if NO_MUSCLE[0] <= tension <= NO_MUSCLE[1] else "error"
    sentence = (
        f"The leg muscles pull with {tension:.3g} N per cm² of the muscle that a person of this size has; people's "
        f"do with {WEAKEST:g} to {STRONGEST:g}."
    )
    remedy = "Correct the muscles' max_isometric_force (N) and optimal_fiber_length (m)."
    limit = WEAKEST if tension < WEAKEST else STRONGEST
    return [Finding(model.path, "", severity, "strength", sentence, remedy, False, tension, limit, "N/cm2")]


def _force_times_fibre(osim: OsimModel) -> Iterator[float]:
    """Maximum isometric force times optimal fibre length, N·m, of the muscles that touch a leg."""
    muscles = osim.model.getMuscles()
    for i in range(muscles.getSize()):
        muscle = muscles.get(i)
        points = muscle.getGeometryPath().getPathPointSet()
        ends = {points.get(k).getParentFrame().findBaseFrame().getName() for k in range(points.getSize())}
        if any(str(body).rsplit("_", 1)[0] in LEG_BODIES for body in ends):
            yield muscle.getMaxIsometricForce() * muscle.getOptimalFiberLength()
