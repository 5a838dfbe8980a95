"""Activations where OpenCap's own tools look for them.

OpenSimData/Dynamics/<trial>/kinematics_activations_<trial>_so.mot
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bige_opensim.io.storage import StorageTable, read_storage, write_storage
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_files import ACTIVATIONS, COORDINATES, LABEL
from bige_opensim.labelling.request import TrialRequest
from bige_opensim.motion import Motion


def activations_path(session: Path, trial: str) -> Path:
    """Where OpenCap's tools look for a trial's activations."""
    return session / "OpenSimData" / "Dynamics" / trial / f"kinematics_activations_{trial}_so.mot"


def place_in_sessions(request: TrialRequest, label: Label | None = None) -> list[Path]:
    """Write coordinates (degrees) and `<muscle>/activation` columns of a labelled trial into its sessions.

    Files that are newer than the label stay. `label` is what lies in the trial's folder, where it is in memory. Returns
    the files that were written.
    """
    made = (request.out / LABEL).stat().st_mtime_ns
    paths = [activations_path(session, request.trial) for session in request.sessions]
    paths = [p for p in paths if not p.is_file() or p.stat().st_mtime_ns < made]
    if not paths:
        return []
    activations, coordinates = _channels(request.out, label)
    at = np.searchsorted(coordinates.time, activations.time - 1e-9)
    names = [*coordinates.names, *(f"{m}/activation" for m in activations.names)]
    values = np.hstack([coordinates.values[at], activations.values])
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_storage(path, activations.time, values, names, in_degrees=True, title="Coordinates and activations")
        for abandoned in path.parent.glob(f".{path.name}.*.part"):
            abandoned.unlink(missing_ok=True)
    return paths


def _channels(folder: Path, label: Label | None) -> tuple[Motion | StorageTable, Motion | StorageTable]:
    """Activations, and coordinates in degrees."""
    if label is None:
        return read_storage(folder / ACTIVATIONS), read_storage(folder / COORDINATES)
    q = label.channels.coordinates
    turns = np.array([name in label.rotational for name in q.names])
    return label.channels.activations, q.with_values(np.where(turns, np.rad2deg(q.values), q.values))
