"""Activations where OpenCap's own tools look for them.

OpenSimData/Dynamics/<trial>/kinematics_activations_<trial>_so.mot
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bige_opensim.io.storage import read_storage, write_storage
from bige_opensim.labelling.request import TrialRequest


def activations_path(session: Path, trial: str) -> Path:
    """Where OpenCap's tools look for a trial's activations."""
    return session / "OpenSimData" / "Dynamics" / trial / f"kinematics_activations_{trial}_so.mot"


def place_in_sessions(request: TrialRequest) -> list[Path]:
    """Write coordinates (degrees) and `<muscle>/activation` columns of a labelled trial into its sessions.

    Files that are newer than the label stay. Returns the files that were written.
    """
    made = (request.out / "label.json").stat().st_mtime_ns
    paths = [activations_path(session, request.trial) for session in request.sessions]
    paths = [p for p in paths if not p.is_file() or p.stat().st_mtime_ns < made]
    if not paths:
        return []
    activations = read_storage(request.out / "activations.sto")
    coordinates = read_storage(request.out / "coordinates.mot")
    at = np.searchsorted(coordinates.time, activations.time - 1e-9)
    names = [*coordinates.names, *(f"{m}/activation" for m in activations.names)]
    values = np.hstack([coordinates.values[at], activations.values])
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_storage(path, activations.time, values, names, in_degrees=True, title="Coordinates and activations")
        for abandoned in path.parent.glob(f".{path.name}.*.part"):
            abandoned.unlink(missing_ok=True)
    return paths
