"""Folders as `bige generate` leaves them: what they ask of vastus medialis, and the record of their motions."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from bige_opensim.io.storage import write_coordinates
from bige_opensim.motion import Motion
from bige_opensim.osim.model import load

PEAK, PACE = "vastus medialis peak", "pace"
NOVELTY = {"session": "s", "trial": "t", "start_s": 0.0, "distance": 0.6, "novelty": 0.6}


def vasti_between(low: float, high: float, *, title: str = "Squat", paced: bool = True) -> str:
    """An objective that decides by the peaks of both vasti mediales, and asks for a duration besides."""
    pace = f'[[term]]\nname = "{PACE}"\nquantity = "duration"\nat_least = 2.0\n'
    return f"""
name = "{title}"
[[term]]
name = "{PEAK}"
quantity = "activation"
of = ["vasmed_r", "vasmed_l"]
stat = "peak"
between = [{low:.2f}, {high:.2f}]
hard = true
{pace if paced else ""}"""


def begin(folder: Path, model: Path, objective: str) -> None:
    """Make the folder with its model and objective."""
    (folder / "predicted").mkdir(parents=True)
    (folder / "model.osim").write_bytes(model.read_bytes())
    (folder / "objective.toml").write_text(objective, encoding="utf-8")


def write_motion(folder: Path, name: str, motion: Motion) -> None:
    """Write a motion of the folder's model into the folder."""
    write_coordinates(folder / f"{name}.mot", motion, rotational=load(folder / "model.osim").rotational)


def entry(folder: Path, name: str, motion: Motion, peak: float) -> dict[str, object]:
    """What the record says of a motion that was written."""
    return {
        "name": name,
        "duration_s": motion.duration,
        "predicted": {PEAK: peak, PACE: motion.duration},
        "motion_sha256": hashlib.sha256((folder / f"{name}.mot").read_bytes()).hexdigest(),
        "nearest_training_motion": NOVELTY,
    }


def write_record(folder: Path, entries: list[dict[str, object]], made: Mapping[str, object], **more: object) -> None:
    """Write the record of the folder."""
    record = {"format": "bige-generation/1", "motions": entries, "conflicts": [], "provenance": dict(made), **more}
    (folder / "generation.json").write_text(json.dumps(record), encoding="utf-8")
