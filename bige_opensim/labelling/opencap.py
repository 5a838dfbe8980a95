"""Activations where OpenCap's own tools look for them.

OpenSimData/Dynamics/<trial>/kinematics_activations_<trial>_so.mot
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bige_opensim.io.storage import read_storage, write_storage
from bige_opensim.labelling.batch import Outcome


def place_in_session(labels: Path, outcome: Outcome, session: Path | None) -> list[Path]:
    """Write coordinates (degrees) and `<muscle>/activation` columns of one labelled trial.

    The file goes below LABELS/<session>, laid out like an OpenCap session, and into the session itself where given.
    """
    folder = labels / outcome.session / outcome.trial
    activations, coordinates = read_storage(folder / "activations.sto"), read_storage(folder / "coordinates.mot")
    at = np.searchsorted(coordinates.time, activations.time - 1e-9)
    names = [*coordinates.names, *(f"{m}/activation" for m in activations.names)]
    values = np.hstack([coordinates.values[at], activations.values])
    written = []
    for root in (labels / outcome.session, session):
        if root is None:
            continue
        target = root / "OpenSimData" / "Dynamics" / outcome.trial
        target.mkdir(parents=True, exist_ok=True)
        path = target / f"kinematics_activations_{outcome.trial}_so.mot"
        write_storage(path, activations.time, values, names, in_degrees=True, title="Coordinates and activations")
        written.append(path)
    return written
