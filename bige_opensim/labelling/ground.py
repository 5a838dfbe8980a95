"""Ground forces of a trial: from force plates, or estimated together with the muscles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from bige_opensim.io.external_loads import ExternalForce, ExternalLoadsError, read_external_loads
from bige_opensim.io.storage import read_storage
from bige_opensim.motion import Motion
from bige_opensim.physics.contact import FEET, GroundForces, centre_of_pressure


def measured_ground_forces(
    path: Path, time: Float[np.ndarray, " time"], cutoff_hz: float
) -> tuple[GroundForces, float]:
    """Loads of an ExternalLoads file on the two feet at the given times, and the height of the plates, m.

    Force and moment about the ground origin are filtered like the coordinates, and the centre of pressure is computed
    from the filtered wrench: filtering the centre of pressure itself would let it jump whenever a foot lifts.

    Raises
    ------
    ExternalLoadsError
        A load acts on another body than a calcaneus or toes, or is not expressed in ground.

    """
    loads = read_external_loads(path)
    table = read_storage(loads.datafile)
    recorded = Motion(table.time, table.values, table.names)
    if recorded.time[0] > time[0] + 1e-6 or recorded.time[-1] < time[-1] - 1e-6:
        raise ExternalLoadsError(
            f"{loads.datafile}: forces cover {recorded.time[0]:.3f} to {recorded.time[-1]:.3f} s, the motion "
            f"{time[0]:.3f} to {time[-1]:.3f} s. Cut the motion with --start and --end."
        )
    force = np.zeros((len(time), 2, 3))
    moment = np.zeros((len(time), 2, 3))
    heights = []
    for load in loads.forces:
        f, m, height = _wrench(load, recorded, path)
        foot = _foot(load, path)
        both = Motion(recorded.time, np.hstack([f, m]), tuple("abcdef")).lowpass(cutoff_hz).resampled(time).values
        force[:, foot] += both[:, :3]
        moment[:, foot] += both[:, 3:]
        heights += [height] if height is not None else []
    ground = float(np.mean(heights)) if heights else 0.0
    about = np.zeros_like(force)
    about[..., 1] = ground
    moved = moment - np.cross(about, force)
    return centre_of_pressure(*(torch.as_tensor(v) for v in (force, about, moved))), ground


def _wrench(load: ExternalForce, recorded: Motion, path: Path) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Force (T, 3), moment about the ground origin (T, 3), and the height of the plate where it is ever loaded."""
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
    f = recorded.select([f"{load.force_identifier}{a}" for a in "xyz"]).values
    p = recorded.select([f"{load.point_identifier}{a}" for a in "xyz"]).values
    torque = np.zeros_like(f)
    if load.torque_identifier:
        torque = recorded.select([f"{load.torque_identifier}{a}" for a in "xyz"]).values
    loaded = f[:, 1] > 20.0
    height = float(np.median(p[loaded, 1])) if loaded.any() else None
    return f, torque + np.cross(p, f), height


def _foot(load: ExternalForce, path: Path) -> int:
    body = load.applied_to_body
    if body[:-2] not in ("calcn", "toes", "talus") or body[-1] not in FEET:
        raise ExternalLoadsError(
            f"{path}: load {load.name} acts on {body}; expected calcn_r, calcn_l or toes of a foot. Loads on other "
            "bodies are not supported."
        )
    return FEET.index(body[-1])
