"""C3D files of points and force plates, written through ezc3d, in mm and a laboratory's usual axes: Z up.

X is OpenSim's X, Y its -Z, Z its Y. A plate is a rectangle on the ground of type 2: six analog channels that give the
force on the person (N) and its moment about the middle of the rectangle (N mm), in the plate's axes, whose Z points
down, so that a person who stands has a negative Fz, as measured files have (C3D user guide, FORCE_PLATFORM:TYPE).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bige_opensim.io.c3d import C3dError

MM = 1000.0
LAB_FROM_OPENSIM = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
PLATE_FROM_LAB = np.diag([1.0, -1.0, -1.0])
MARGIN_M = 0.3
LAST_FRAME = 65535
LIMIT_S = 120.0


class PlateForces(NamedTuple):
    """Force (T, 3) N on one foot, its point (T, 3) m and free torque (T, 3) N·m, in OpenSim's axes."""

    name: str
    force: Float[np.ndarray, "time 3"]
    point: Float[np.ndarray, "time 3"]
    torque: Float[np.ndarray, "time 3"]


def write_c3d(
    path: Path,
    points: Float[np.ndarray, "time point 3"],
    names: Sequence[str],
    *,
    rate_hz: float,
    first_frame: int = 0,
    plates: Sequence[PlateForces] = (),
    ground_m: float = 0.0,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write points (m, OpenSim's axes) and, on the ground of that height, a plate for every foot; whole or not at all.

    `first_frame` is the number of the first frame, from 0: time is the number over the rate. Numbers beyond what the
    format holds begin again at 0. `about` is written as texts of the group MANUFACTURER.

    Raises
    ------
    C3dError
        ezc3d is not installed, or does not write the file.

    """
    if find_spec("ezc3d") is None:
        raise C3dError(
            f"{path}: C3D files are written by ezc3d, which is not installed: pip install 'bige_opensim[c3d]'."
        )
    corners, channels = np.zeros((0, 4, 3)), np.zeros((len(points), 0))
    if plates:
        corners = np.stack([_corners(plate, ground_m) for plate in plates])
        channels = np.concatenate([_channels(p, c) for p, c in zip(plates, corners, strict=True)], axis=1)
    axes = [f"{kind}{axis}" for kind in "FM" for axis in "xyz"]
    said = {
        "points": list(names),
        "rate": rate_hz,
        "first": first_frame if first_frame + len(points) <= LAST_FRAME else 0,
        "X_SCREEN": "+X",
        "Y_SCREEN": "+Z",
        "channels": [f"{axis}_{plate.name}" for plate in plates for axis in axes],
        "units": ["N", "N", "N", "Nmm", "Nmm", "Nmm"] * len(plates),
        "about": dict(about or {}),
    }
    _by_ezc3d(path, said, MM * points @ LAB_FROM_OPENSIM.T, channels, MM * corners)


def _corners(plate: PlateForces, ground_m: float) -> Float[np.ndarray, "4 3"]:
    """A rectangle below everywhere that the foot pushes, m in the laboratory; first +x +y of the plate, then round."""
    pushes = plate.force[:, 1] > 0.0
    where = plate.point[pushes] if pushes.any() else plate.point
    low, high = where.min(0) - MARGIN_M, where.max(0) + MARGIN_M
    x, z, y = (low[0], high[0]), (low[2], high[2]), ground_m
    return np.array([(x[1], y, z[1]), (x[0], y, z[1]), (x[0], y, z[0]), (x[1], y, z[0])]) @ LAB_FROM_OPENSIM.T


def _channels(plate: PlateForces, corners: Float[np.ndarray, "4 3"]) -> Float[np.ndarray, "time 6"]:
    """Fx Fy Fz Mx My Mz: M = (p - middle) x F + T."""
    force, point, torque = (part @ LAB_FROM_OPENSIM.T for part in plate[1:])
    moment = np.cross(point - corners.mean(0), force) + torque
    return np.concatenate([force @ PLATE_FROM_LAB.T, MM * moment @ PLATE_FROM_LAB.T], axis=1)


def _by_ezc3d(
    path: Path, said: Mapping[str, object], points: np.ndarray, analogs: np.ndarray, corners: np.ndarray
) -> None:
    about = np.frombuffer(json.dumps(said).encode(), dtype=np.uint8)
    program = Path(__file__).with_name("c3d_writing_process.py")
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part.c3d")  # ezc3d adds .c3d to other names
    with tempfile.TemporaryDirectory(prefix="bige-c3d-") as folder:
        content = Path(folder) / "content.npz"
        np.savez(content, said=about, points=points, analogs=analogs, corners=corners)
        command = [sys.executable, "-P", str(program), str(content), str(part)]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S)
            if ended.returncode != 0 or not part.is_file():
                reason = ended.stderr.strip().rsplit("\n", 1)[-1] or "it ended without a word"
                raise C3dError(f"{path}: ezc3d did not write it ({reason}).")
            part.replace(path)
        except subprocess.TimeoutExpired as problem:
            raise C3dError(f"{path}: ezc3d did not finish in {LIMIT_S:.0f} s.") from problem
        finally:
            part.unlink(missing_ok=True)
