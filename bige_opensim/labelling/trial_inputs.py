"""What a trial brings: its motion, the height of its ground and the forces that were measured."""

from __future__ import annotations

import numpy as np

from bige_opensim.io.force_plates import ForcePlateError
from bige_opensim.io.storage import CoordinateFile, StorageError, read_coordinates
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.measured_forces import Measured, applied_forces, plate_forces
from bige_opensim.labelling.request import FROM_PLATES, LabelSettings, TrialRequest
from bige_opensim.labelling.residual_reduction import Floor, ground_of
from bige_opensim.motion import Motion, MotionError
from bige_opensim.osim.model import ModelError, OsimModel
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.sessions.plates_to_feet import Feet

SHORTEST_FRAMES = 10


def read_motion(request: TrialRequest, settings: LabelSettings, model: OsimModel) -> CoordinateFile:
    """The recorded coordinates, rad and m.

    Raises
    ------
    StorageError
        The file cannot be read, or holds none of the model's coordinates.

    """
    known = [c.name for c in model.coordinates]
    if request.recorded is not None:
        return _coordinates_of(request.recorded, known)
    return read_coordinates(
        request.motion,
        rotational=model.rotational,
        known=known,
        units=settings.units,  # type: ignore[arg-type]
    )


def _coordinates_of(motion: Motion, known: list[str]) -> CoordinateFile:
    """A motion in memory without the channels that are no coordinates of the model."""
    others = [name for name in motion.names if name not in known]
    if len(others) == len(motion.names):
        raise MotionError(
            f"none of the motion's channels ({', '.join(others[:4])}, ...) is a coordinate of the model; name the "
            "model that it belongs to."
        )
    notes = (f"left out, because the model has no such coordinates: {', '.join(others)}",) if others else ()
    return CoordinateFile(motion.select([name for name in motion.names if name in known]), notes, tuple(others))


def require_frames(motion: Motion, where: str) -> None:
    """Raise MotionError for a motion of fewer than SHORTEST_FRAMES."""
    if motion.frames < SHORTEST_FRAMES:
        raise MotionError(f"{motion.frames} {where}; at least {SHORTEST_FRAMES} are needed.")


def ground_and_forces(
    skeleton: Skeleton,
    whole: Prepared,
    request: TrialRequest,
    settings: LabelSettings,
    cutoff_hz: float,
    floor: Floor | None = None,
) -> tuple[float, Measured | None, tuple[str, ...]]:
    """Height of the ground (m), measured forces where there are any, and what was noticed about them.

    `cutoff_hz` is the trial's low-pass, `floor` that of a person whose soles were corrected.

    Raises
    ------
    ModelError
        Ground forces are asked for, and the model has no feet.
    ForcePlateError, ExternalLoadsError, StorageError
        Measured forces are asked for and missing, or cannot be used.

    """
    measured_only = not skeleton.floats and settings.grf != "measured"
    carried = request.external_loads is not None or not (settings.grf == "none" or measured_only)
    two_feet = {name[-2:] for name in skeleton.contact_names} == {"_r", "_l"}
    if carried and not two_feet:
        raise ModelError(
            f"{request.model}: the model has {'one foot' if skeleton.contact_names else 'no feet'} (expected calcn_r, "
            "toes_r, calcn_l, toes_l), so ground forces can neither be estimated nor applied. Use a model with feet, "
            "or --grf none for a motion that nothing supports."
        )
    if not two_feet:
        return 0.0, None, ()
    measured, notes = _measured(skeleton, whole, request, settings, cutoff_hz)
    if measured is not None:
        return measured.height, measured, notes
    return ground_of(skeleton, whole.state(skeleton), float(np.median(np.diff(whole.q.time))), floor), None, notes


def _measured(
    skeleton: Skeleton, whole: Prepared, request: TrialRequest, settings: LabelSettings, cutoff_hz: float
) -> tuple[Measured | None, tuple[str, ...]]:
    """Measured forces of the frames to be labelled, None where they are not asked for or, by `auto`, not usable."""
    if request.external_loads is None and settings.grf not in FROM_PLATES:
        return None, ()
    time, feet = whole.between(settings.start, settings.end).q.time, Feet.of(skeleton, whole.q)
    if request.external_loads is not None:
        found = applied_forces(request.external_loads, feet, time, cutoff_hz)
        return found, found.notes
    if request.forces is None:
        if settings.grf == "auto":
            return None, ()
        raise ForcePlateError(
            f"{request.motion}: this trial has no force file; expected ForceData/{request.trial}_forces.mot in its "
            "session, or --forces for a single motion. With --grf auto forces are estimated where none were measured."
        )
    try:
        found = plate_forces(request.forces, feet, time, cutoff_hz)
    except (ForcePlateError, StorageError) as error:
        if settings.grf != "auto":
            raise
        return None, (f"Forces were estimated, because the measured ones cannot be used: {error}",)
    return found, found.notes
