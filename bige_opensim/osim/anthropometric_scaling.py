"""A model scaled to a height, a mass and proportions of segments, with muscle strength that follows its size."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import opensim
from jaxtyping import Float

from bige_opensim.osim.model import OsimModel, load

SHOULDER_BODY, HEEL_BODY = "humerus_r", "calcn_r"
SHOULDER_OF_HEIGHT = 0.818
HIP_BODY, HIP_OF_HEIGHT = "femur_r", 0.530
VOLUME_CM3_PER_KG_M, VOLUME_CM3 = 47.0, 1285.0

Factors = tuple[float, float, float]


class ScalingError(ValueError):
    """A model that cannot be scaled as asked, with what is wrong and what to do."""


@dataclass(frozen=True)
class Scaling:
    """What was done to a model.

    Attributes
    ----------
    path
        The scaled model.
    source_height_m
        Standing height of the model before, m.
    source_mass_kg
        Mass of the model before, kg.
    height_m
        Standing height now, m.
    mass_kg
        Mass now, kg.
    factors
        Factors of every body along its x, y and z axes.
    muscle_volume
        Total muscle volume over that of the model before.

    """

    path: Path
    source_height_m: float
    source_mass_kg: float
    height_m: float
    mass_kg: float
    factors: dict[str, Factors]
    muscle_volume: float


def scale_model(
    model_path: Path | str,
    out: Path | str,
    *,
    height_m: float | None = None,
    mass_kg: float,
    segment_scales: Mapping[str, float | Sequence[float]] | None = None,
) -> Scaling:
    """Write a copy of a model that has the height, the mass and the proportions asked for.

    1. Body b gets the factors k p_b, with its proportions p_b from `segment_scales` (1 where not named) and one k for
       all bodies, such that `standing_height` is `height_m`. Heights are linear in k.
    2. `opensim.Model.scale` scales geometry, fibres, tendons and inertia; all masses change by one factor to `mass_kg`.
    3. Spheres of contact, which `Model.scale` leaves where they are, move with their body in length and breadth
       (x and z). Their height and radius stay, since soles are no thicker under tall people.
    4. Muscles get the maximum isometric force

           F = F_model (V / V_model) (l_model / l),    V = 47.0 mass height + 1285 cm3,

       with the optimal fibre length l and the total muscle volume V of the lower limbs in kg and m (Handsfield et al.
       2014, doi:10.1016/j.jbiomech.2013.12.002): force follows the cross-section, volume over length.

    Parameters
    ----------
    model_path
        The model to scale; it needs the bodies calcn_r and humerus_r, or femur_r, to be measured.
    out
        The file to write, whole or not at all; its folder is made if need be.
    height_m
        Standing height, m; None leaves all lengths as they are.
    mass_kg
        Mass, kg.
    segment_scales
        Proportion of a body, or of the bodies of both sides (`femur` for `femur_r` and `femur_l`): a factor, or three
        along the body's axes. A body's own name counts before the name of both sides.

    Raises
    ------
    ScalingError
        If a number is not positive, a body is unknown, the model cannot be measured or scaled, or `out` is the model
        itself or cannot be written.
    ModelError
        If the model is missing or unreadable.

    """
    if height_m is not None:
        _require_positive("height", height_m, " m")
    _require_positive("mass", mass_kg, " kg")
    source = load(model_path)
    out = Path(out)
    if out.exists() and out.samefile(source.path):
        raise ScalingError(f"{out}: the scaled model would replace the model it is made from. Name another file.")
    proportions = _proportions(source, segment_scales or {})
    source_height_m = standing_height(source.model, source.path)
    height_m = source_height_m if height_m is None else height_m
    size = height_m / standing_height(_scaled(source, proportions, mass_kg).model, source.path)
    factors = {body: (size * x, size * y, size * z) for body, (x, y, z) in proportions.items()}
    person = _scaled(source, factors, mass_kg)
    _move_contact_spheres(person.model, factors)
    volume = _muscle_volume_cm3(height_m, mass_kg) / _muscle_volume_cm3(source_height_m, source.mass_kg)
    _strengthen(person, source, volume)
    person.model.setName(out.stem)
    _write(person.model, out)
    return Scaling(out, source_height_m, source.mass_kg, height_m, mass_kg, factors, volume)


def standing_height(model: opensim.Model, path: Path | str) -> float:
    """Standing height of the person that a model stands for, m.

    The height of the shoulder (origin of humerus_r) over the heel (origin of calcn_r) in the model's default pose, over
    0.818, or in a model without arms that of the hip (origin of femur_r) over 0.530: their shares of standing height
    after Drillis and Contini (1966), in Winter (2009), Biomechanics and Motor Control of Human Movement.

    Raises
    ------
    ScalingError
        If the model, named by `path` in the message, lacks these bodies or does not stand.

    """
    bodies = model.getBodySet()
    upper, share = (SHOULDER_BODY, SHOULDER_OF_HEIGHT) if bodies.contains(SHOULDER_BODY) else (HIP_BODY, HIP_OF_HEIGHT)
    for name in (upper, HEEL_BODY):
        if not bodies.contains(name):
            raise ScalingError(
                f"{path}: the model has no {name if name == HEEL_BODY else SHOULDER_BODY}. Its height is measured from "
                f"{HEEL_BODY} to {SHOULDER_BODY}, or to {HIP_BODY}; use a model with these bodies."
            )
    state = model.initSystem()
    model.realizePosition(state)
    above, heel = (bodies.get(name).getPositionInGround(state).get(1) for name in (upper, HEEL_BODY))
    if not above > heel:
        raise ScalingError(
            f"{path}: {upper} is not above {HEEL_BODY} in the default pose ({above:.3f} m, {heel:.3f} m). "
            "Give the coordinates default values of upright standing, Y up."
        )
    return float(above - heel) / share


def read_segment_scales(words: Sequence[str]) -> dict[str, float | Factors]:
    """Proportions from words such as `femur=1.05` or `pelvis=1,1,1.1` (along x, y, z).

    Raises
    ------
    ScalingError
        If a word is not of that form, or names a body for the second time.

    """
    found: dict[str, float | Factors] = {}
    for word in words:
        body, _, text = word.partition("=")
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not body or len(numbers) not in (1, 3):
            raise ScalingError(
                f"{word!r} is no proportion of a body. Write a body and a factor, such as femur=1.05, or three along "
                "x, y and z, such as pelvis=1,1,1.1."
            )
        if body in found:
            raise ScalingError(f"{word!r} gives {body} a second proportion. Name every body once.")
        found[body] = numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])
    return found


def _require_positive(what: str, value: float, unit: str = "") -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ScalingError(f"The {what} must be a positive number, got {value:g}{unit}.")


def _proportions(model: OsimModel, scales: Mapping[str, float | Sequence[float]]) -> dict[str, Factors]:
    """Factors of every body before the common one, as asked for by the name of the body or of both sides."""
    bodies = model.model.getBodySet()
    names = [bodies.get(i).getName() for i in range(bodies.getSize())]
    both_sides = {name: re.sub("_[rl]$", "", name) for name in names}
    asked = {}
    for name, scale in scales.items():
        if name not in both_sides and name not in both_sides.values():
            known = ", ".join(sorted(set(both_sides.values())))
            raise ScalingError(f"{model.path}: no body {name!r} to scale. Bodies: {known}.")
        values = [float(x) for x in np.atleast_1d(scale)]
        if len(values) not in (1, 3):
            raise ScalingError(f"The scale of {name} must be one factor or three along x, y and z, got {len(values)}.")
        for value in values:
            _require_positive(f"scale of {name}", value)
        asked[name] = (values[0], values[len(values) // 2], values[-1])
    return {name: asked.get(name, asked.get(both, (1.0, 1.0, 1.0))) for name, both in both_sides.items()}


def _scaled(source: OsimModel, factors: Mapping[str, Factors], mass_kg: float) -> OsimModel:
    """A copy scaled by OpenSim, with the mass distribution of `source`."""
    copy = opensim.Model(source.model)
    state = copy.initSystem()
    scale_set = opensim.ScaleSet()
    for body, values in factors.items():
        scale = opensim.Scale()
        scale.setSegmentName(body)
        scale.setScaleFactors(opensim.Vec3(*values))
        scale.setApply(True)
        scale_set.cloneAndAppend(scale)
    try:
        copy.scale(state, scale_set, True, float(mass_kg))
        copy.finalizeConnections()
        return OsimModel(copy, source.path)
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0]
        raise ScalingError(
            f"{source.path}: OpenSim cannot scale this model ({reason}). Ask for factors nearer to 1, or open it in "
            "the OpenSim GUI's Scale Tool to see what is wrong."
        ) from error


def _move_contact_spheres(model: opensim.Model, factors: Mapping[str, Factors]) -> None:
    """Move spheres along x and z of their body; in a frame R on the body, p becomes R' diag(x, 1, z) R p."""
    geometry = model.updContactGeometrySet()
    for i in range(geometry.getSize()):
        sphere = opensim.ContactSphere.safeDownCast(geometry.get(i))
        if sphere is None:
            continue
        frame = sphere.getFrame()
        body = frame.findBaseFrame().getName()
        if body not in factors:
            continue
        x, _, z = factors[body]
        transform = frame.findTransformInBaseFrame()
        rotation = transform.R().asMat33()
        R_body_frame = np.array([[rotation.get(row, column) for column in range(3)] for row in range(3)])
        moved = R_body_frame.T @ (np.array([x, 1.0, z]) * (R_body_frame @ sphere.get_location().to_numpy()))
        sphere.set_location(opensim.Vec3(*map(float, moved)))


def _muscle_volume_cm3(height_m: float, mass_kg: float) -> float:
    return VOLUME_CM3_PER_KG_M * mass_kg * height_m + VOLUME_CM3


def _strengthen(person: OsimModel, source: OsimModel, volume: float) -> None:
    """Maximum isometric forces from those of `source`, for `volume` times its muscle volume."""
    forces = volume * source.max_isometric_force * _optimal_fibre_lengths(source) / _optimal_fibre_lengths(person)
    for name, force in zip(source.muscle_names, forces, strict=True):
        person.model.updMuscles().get(name).setMaxIsometricForce(float(force))


def _optimal_fibre_lengths(model: OsimModel) -> Float[np.ndarray, " muscle"]:
    muscles = model.model.getMuscles()
    return np.array([muscles.get(name).getOptimalFiberLength() for name in model.muscle_names])


def _write(model: opensim.Model, out: Path) -> None:
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    model.finalizeConnections()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not model.printToXML(str(partial)):
                raise OSError("OpenSim could not write the model")
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ScalingError(f"{out}: cannot be written ({reason}). Name a file in a folder you can write to.") from error
