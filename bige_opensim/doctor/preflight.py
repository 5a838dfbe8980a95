"""The doctor's checks that `bige label` runs on every trial: what they find, what stops a trial, what a label says.

Errors stop the trial. Warnings make its numbers untrustworthy: it does not pass. Notes are good to know.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from bige_opensim.doctor.column_checks import check_columns
from bige_opensim.doctor.coordinate_checks import check_height, check_knees, check_limits
from bige_opensim.doctor.findings import Finding, Severity
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.doctor.movement_checks import (
    LOADED,
    check_carried,
    check_filled_in,
    check_ground,
    check_loaded_feet,
    check_posture,
    check_stillness,
)
from bige_opensim.doctor.person_checks import Stated, check_person, check_stated
from bige_opensim.doctor.series_checks import check_time
from bige_opensim.io.storage import CoordinateFile
from bige_opensim.motion import Motion

FAR_OUTSIDE = np.deg2rad(30.0)
"""Beyond a muscle-driven joint's range: deep squats pass a model's knee limit of 120 degrees by up to 20."""
POSTURE_FRAMES = 60

_MODELS: dict[tuple[Path, str, Stated], tuple[Finding, ...]] = {}
"""Findings of a process's models: people's trials follow one another."""


class PreflightError(ValueError):
    """A trial that cannot be what it is said to be, with the sentence and the remedy of what was found."""


def model_findings(model: KnownModel, stated: Stated) -> tuple[Finding, ...]:
    """Whether the model can be the person; once per model and process."""
    assert model.osim is not None
    key = (model.path, model.osim.sha256, stated)
    if key not in _MODELS:
        _MODELS[key] = (*check_person(model, stated), *check_stated(model, stated))
    return _MODELS[key]


def column_findings(path: Path, recorded: CoordinateFile, model: KnownModel, *, allow_missing: bool) -> list[Finding]:
    """Whether the file has the coordinates that the model needs."""
    return check_columns(path, recorded.motion.names, recorded.left_out, model, allow_missing=allow_missing)


def motion_findings(
    path: Path, motion: Motion, model: KnownModel, *, cutoff_hz: float, supported: bool
) -> list[Finding]:
    """Whether the recorded coordinates (rad, m) can be a person's movement; `supported`: whether the feet carry."""
    assert model.osim is not None
    found = [*check_time(path, motion.time, cutoff_hz), *check_filled_in(path, motion, cutoff_hz)]
    found += check_stillness(path, motion, model.osim.rotational)
    found += [*check_height(path, motion), *check_knees(path, motion, model)]
    driven = model.skeleton.tables.muscle_driven if model.skeleton is not None else ()
    found += check_limits(path, motion, model, warning_rad=FAR_OUTSIDE, names=driven)
    if supported and model.skeleton is not None and model.has_feet():
        rows = np.linspace(0, motion.frames - 1, min(POSTURE_FRAMES, motion.frames)).round().astype(int)
        poses = model.poses(Motion(motion.time[rows], motion.values[rows], motion.names))
        found += check_posture(path, model.skeleton.com(poses).numpy() - model.feet(poses).mean(axis=1))
    return found


def contact_findings(
    path: Path,
    time: Float[np.ndarray, " time"],
    points: Float[np.ndarray, "time point 3"],
    foot: Int[np.ndarray, " point"],
    load: Float[np.ndarray, "time 2"],
    *,
    ground_m: float,
    measured: bool,
    carried_kg: tuple[float | None, float] = (None, 0.0),
) -> list[Finding]:
    """Whether the feet stand where their forces are.

    Parameters
    ----------
    path
        The motion.
    time
        s.
    points
        Lowest points of the feet, m.
    foot
        Foot of each point, 0 right, 1 left.
    load
        Vertical force on the right and the left foot in body weights.
    ground_m
        Height of the ground, or of the plates.
    measured
        Whether plates measured the forces.
    carried_kg
        The share of the model's mass that they carry, None if it is not known, and that mass.

    """
    found = check_loaded_feet(path, time, points, foot, load, measured=measured)
    if not measured:
        return [*check_ground(path, ground_m), *found]
    under = [points[load[:, f] > LOADED][:, foot == f, 1].min(axis=1) for f in range(load.shape[1])]
    lowest = np.concatenate(under)
    stand_m = float(np.median(lowest)) if len(lowest) else ground_m
    return [*check_ground(path, stand_m, ground_m), *found, *check_carried(path, *carried_kg)]


def stop_at_errors(findings: Iterable[Finding]) -> None:
    """Raise PreflightError with every error's sentence and remedy; the file of the first is named."""
    errors = of_severity(findings, "error")
    if errors:
        raise PreflightError(f"{errors[0].file}: {sentences(errors)}")


def sentences(findings: Iterable[Finding]) -> str:
    """What was found and what to do, one after the other."""
    return " ".join(f"{f.sentence} {f.remedy}".strip() for f in findings)


def of_severity(findings: Iterable[Finding], severity: Severity) -> list[Finding]:
    """The findings of one severity."""
    return [f for f in findings if f.severity == severity]


def as_entry(finding: Finding) -> dict[str, Any]:
    """For label.json."""
    kept = ("severity", "kind", "place", "sentence", "remedy", "value", "limit", "unit")
    return {name: getattr(finding, name) for name in kept}
