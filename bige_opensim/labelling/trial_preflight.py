"""What the doctor says of a trial that is labelled, asked where each thing is known: before and after it is solved."""

from __future__ import annotations

import numpy as np

from bige_opensim.doctor.findings import Finding
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.doctor.person_checks import STANDARD_GRAVITY
from bige_opensim.doctor.preflight import (
    column_findings,
    contact_findings,
    model_findings,
    motion_findings,
    stop_at_errors,
)
from bige_opensim.io.storage import CoordinateFile
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.measured_forces import Measured
from bige_opensim.labelling.missing_support import SupportCheck
from bige_opensim.labelling.optimization_result import OptimizedFrames
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.physics.contact import feet_of
from bige_opensim.physics.skeleton import Skeleton


def preflight_of(
    request: TrialRequest, settings: LabelSettings, model: KnownModel, recorded: CoordinateFile, cutoff_hz: float
) -> tuple[Finding, ...]:
    """What is found in the model and in the recorded coordinates.

    Raises
    ------
    PreflightError
        Something was found that stops the trial.

    """
    found = [*model_findings(model, request.stated)]
    found += column_findings(request.motion, recorded, model, allow_missing=settings.allow_missing)
    stop_at_errors(found)
    estimated = settings.grf != "none" and model.skeleton is not None and model.skeleton.floats
    supported = estimated or settings.grf == "measured" or request.external_loads is not None
    found += motion_findings(request.motion, recorded.motion, model, cutoff_hz=cutoff_hz, supported=supported)
    stop_at_errors(found)
    return tuple(found)


def contact_preflight(
    request: TrialRequest,
    skeleton: Skeleton,
    window: Prepared,
    solution: OptimizedFrames,
    ground: float,
    measured: Measured | None,
    support: SupportCheck | None,
) -> list[Finding]:
    """What is found where the feet and their forces are; nothing where no ground forces were asked for."""
    if solution.ground is None:
        return []
    mass_kg = float(skeleton.person_mass.sum())
    load = solution.ground.force[..., 1].numpy() / (mass_kg * STANDARD_GRAVITY)
    carried = support.carried if support is not None else None
    if measured is not None and carried is None:
        carried = float(load.sum(axis=1).mean())  # support is missing throughout: the mass may be why
    points = skeleton.contact_points(window.state(skeleton).poses).numpy()
    return contact_findings(
        request.motion,
        window.q.time,
        points,
        np.array(feet_of(skeleton)[0]),
        load,
        ground_m=ground,
        measured=measured is not None,
        carried_kg=(carried, mass_kg),
    )
