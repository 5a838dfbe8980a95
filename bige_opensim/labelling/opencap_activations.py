"""Activations where OpenCap's own tools look for them.

OpenSimData/Dynamics/<trial>/kinematics_activations_<trial>_so.mot
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bige_opensim.io.storage import columns_text, read_storage, write_columns
from bige_opensim.labelling.label_files import ACTIVATIONS, COORDINATES, LABEL, LabelText
from bige_opensim.labelling.request import TrialRequest


def activations_path(session: Path, trial: str) -> Path:
    """Where OpenCap's tools look for a trial's activations."""
    return session / "OpenSimData" / "Dynamics" / trial / f"kinematics_activations_{trial}_so.mot"


def place_in_sessions(request: TrialRequest, written: LabelText | None = None) -> list[Path]:
    """Write coordinates (degrees) and `<muscle>/activation` columns of a labelled trial into its sessions.

    Files that are newer than the label stay. `written` is what was just written into the trial's folder; without it,
    its files are read. Returns the files that were written.
    """
    made = (request.out / LABEL).stat().st_mtime_ns
    paths = [activations_path(session, request.trial) for session in request.sessions]
    paths = [p for p in paths if not p.is_file() or p.stat().st_mtime_ns < made]
    if not paths:
        return []
    text = written if written is not None else _text(request.out)
    activations = text.activations.named(f"{m}/activation" for m in text.activations.names)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = [text.coordinates, activations]
        write_columns(path, text.time, parts, in_degrees=True, title="Coordinates and activations")
        for abandoned in path.parent.glob(f".{path.name}.*.part"):
            abandoned.unlink(missing_ok=True)
    return paths


def _text(folder: Path) -> LabelText:
    activations, coordinates = read_storage(folder / ACTIVATIONS), read_storage(folder / COORDINATES)
    at = np.searchsorted(coordinates.time, activations.time - 1e-9)
    return LabelText(
        activations.time,
        columns_text(activations.values, activations.names),
        columns_text(coordinates.values[at], coordinates.names),
    )
