"""A folder of generated motions without a search: a squat of a small biped, and activations that count up."""

from pathlib import Path

import numpy as np
from small_models import write_squat

from bige_opensim.io.storage import write_storage
from bige_opensim.osim.model import load

OBJECTIVE = """
name = "Quick squat"
[[term]]
name = "pace"
quantity = "duration"
at_most = 2.0
hard = true
"""


def generated_folder(model: Path, folder: Path) -> Path:
    """As `bige generate` leaves it, with activations from 0.01 to 0.99 that the search predicted for its motion."""
    (folder / "predicted").mkdir(parents=True)
    (folder / "model.osim").write_bytes(model.read_bytes())
    (folder / "objective.toml").write_text(OBJECTIVE, encoding="utf-8")
    write_squat(model, folder / "motion_01.mot")
    names = load(model).muscle_names
    values = np.repeat(np.linspace(0.01, 0.99, 101)[:, None], len(names), axis=1)
    path = folder / "predicted" / "motion_01_activations.sto"
    write_storage(path, np.linspace(0.0, 1.0, 101), values, names, in_degrees=False, title="Predicted activations")
    return folder
