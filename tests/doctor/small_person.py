"""A small person to be examined: a biped, a clean squat, forces under its feet, markers on its bones."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bige_opensim.doctor.findings import Finding
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.io.external_loads import ground_forces, write_external_loads, write_ground_forces
from bige_opensim.io.storage import write_coordinates
from bige_opensim.io.trc import write_trc
from bige_opensim.motion import Motion


class Person(NamedTuple):
    """A clean model and its squat."""

    model: Path
    known: KnownModel
    motion: Motion

    def write_motion(self, path: Path, motion: Motion | None = None) -> Path:
        write_coordinates(path, motion or self.motion, rotational=self.known.osim.rotational)
        return path

    def write_forces(self, path: Path, *, sign: float = 1.0, mass_kg: float | None = None) -> Path:
        """Half of the weight on each foot, acting in the middle of it."""
        feet = self.known.foot_centres(self.motion)
        weight = (mass_kg or self.known.osim.mass_kg) * 9.80665
        sides = {}
        for k, side in enumerate("rl"):
            force = np.zeros((self.motion.frames, 3))
            force[:, 1] = sign * weight / 2
            point = feet[:, k] * [1.0, 0.0, 1.0]
            sides[side] = (force, point, np.zeros_like(force))
        write_ground_forces(path, self.motion.time, sides)
        return path

    def write_loads(self, path: Path, datafile: Path, right: str = "calcn_r", left: str = "calcn_l") -> Path:
        write_external_loads(path, datafile.name, ground_forces({"r": right, "l": left}))
        return path

    def markers(self) -> tuple[np.ndarray, list[str]]:
        """Markers named after the places they sit at, (T, K, 3) m."""
        skeleton, poses = self.known.skeleton, self.known.poses(self.motion)
        places = {
            "r_shoulder": ("pelvis", (0.0, 0.5, 0.2)),
            "L_shoulder": ("pelvis", (0.0, 0.5, -0.2)),
            "C7": ("pelvis", (-0.05, 0.6, 0.0)),
            "r_knee": ("tibia_r", (0.0, 0.0, 0.05)),
            "r_calc": ("calcn_r", (0.0, 0.02, 0.0)),
            "L_calc": ("calcn_l", (0.0, 0.02, 0.0)),
        }
        points = [skeleton.station(poses, body, skeleton.mass.new_tensor(at)) for body, at in places.values()]
        return np.stack([p.numpy() for p in points], axis=1), list(places)

    def write_markers(self, path: Path, positions: np.ndarray | None = None) -> Path:
        clean, names = self.markers()
        write_trc(path, self.motion.time, clean if positions is None else positions, names, units="mm")
        return path


def kinds(findings: Iterable[Finding], *severities: str) -> set[str]:
    return {f.kind for f in findings if not severities or f.severity in severities}


def only(findings: Iterable[Finding], kind: str) -> Finding:
    (found,) = [f for f in findings if f.kind == kind]
    return found


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> Path:
    """Change a text file by its lines."""
    path.write_text("\n".join(change(path.read_text().split("\n"))))
    return path


def change_table(path: Path, change: Callable[[list[list[str]]], None]) -> Path:
    """Change the cells of a .mot file in place; row 0 holds the labels."""
    lines = path.read_text().rstrip("\n").split("\n")
    at = lines.index("endheader") + 1
    rows = [line.split("\t") for line in lines[at:]]
    change(rows)
    counts = {"nRows": len(rows) - 1, "nColumns": len(rows[0])}
    head = [next((f"{k}={n}" for k, n in counts.items() if line.startswith(f"{k}=")), line) for line in lines[:at]]
    path.write_text("\n".join([*head, *("\t".join(row) for row in rows), ""]))
    return path
