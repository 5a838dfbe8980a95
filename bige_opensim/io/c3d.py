"""Marker trajectories of C3D files, through ezc3d, in metres and OpenSim's axes, with NaN where a marker was not seen.

The format is that of the C3D user guide (www.c3d.org); ezc3d is Michaud and Begon (2021), doi:10.21105/joss.02911.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from bige_opensim.io.trc import METRES, PLAUSIBLE_EXTENT_M, Markers, extent_m

Up = Literal["x", "y", "z"]

_BLOCK, _SIGNATURE = 512, 0x50
_PROCESSORS = {84: ("<", 15), 85: ("<", 13), 86: (">", 12)}  # Intel, DEC, MIPS: byte order, byte of the scale's sign
_LIMIT_S, _LIMIT_S_PER_MB = 20.0, 1.0
_MODEL_OUTPUTS = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "REACTIONS", "SCALARS")
_UNLABELLED = re.compile(r"(.*:)?\*\d*|")
_UPS: tuple[Up, Up, Up] = ("x", "y", "z")
_AXIS = re.compile(r"([+-]?)([XYZ])", re.IGNORECASE)


class C3dError(ValueError):
    """A C3D file that cannot be used, or an installation that cannot read any."""


def read_c3d(path: Path | str, *, up: Up | None = None) -> Markers:
    """Read the markers of a C3D file as metres in OpenSim's axes (Y up).

    A marker was not seen where its residual is negative, or its position is not finite or 0, 0, 0. Angles, forces and
    other outputs of a model that Vicon files among the points (POINT:ANGLES and so on) and trajectories without a label
    (`*12`) are left out, with a note. Time is the number of the frame, from 0, over POINT:RATE.

    Parameters
    ----------
    path
        The file.
    up
        Axis of the file that points up, whatever the file says. By default POINT:X_SCREEN becomes x and POINT:Y_SCREEN
        becomes y; a file without them is taken as it is, with a note.

    Raises
    ------
    C3dError
        If ezc3d is not installed, or the file is missing, no C3D file, damaged or cut off, has fewer than two frames,
        repeated labels, no labelled marker that was seen, no rate, unknown axes, or a unit that is unknown or
        contradicted by the markers' extent (closer than 3 cm or wider than 20 m).

    """
    path = Path(path)
    layout = _Layout.read(path)
    content = _content(path, layout.size)
    point, raw, residuals = content.point, content.points, content.residuals
    if len(raw) < 2 or residuals.shape != raw.shape[:2]:
        raise C3dError(f"{path}: has {len(raw)} frame(s) of markers; at least two are needed. Export the trial again.")
    layout.check_holds(path, len(raw))
    columns, names, notes = _markers(path, point, raw.shape[1])
    raw, residuals = raw[:, columns], residuals[:, columns]
    seen = np.isfinite(raw).all(axis=2) & (raw != 0.0).any(axis=2) & (residuals >= 0.0)
    if not seen.any():
        raise C3dError(f"{path}: no labelled marker was seen in any frame; export the trial again.")
    rate, unit = _rate(path, point), _unit(path, point)
    time = (content.first_frame + np.arange(len(raw))) / rate
    markers = Markers(time, np.where(seen[..., None], raw * METRES[unit], np.nan), names, rate, tuple(notes), path)
    size = extent_m(markers)
    if size is not None and not PLAUSIBLE_EXTENT_M[0] <= size <= PLAUSIBLE_EXTENT_M[1]:
        raise C3dError(
            f"{path}: declared in {unit}, the markers of a frame span {size:.3g} m, which no person does; correct "
            "POINT:UNITS."
        )
    return markers.turned(up) if up is not None else _turned_as_shown(path, markers, point)


@dataclass(frozen=True)
class _Layout:
    """Where the file's own first block puts its frames; ezc3d reads a file that was cut off without a word."""

    size: int
    start: int
    frame_bytes: int

    @classmethod
    def read(cls, path: Path) -> _Layout:
        try:
            with path.open("rb") as file:
                head = file.read(_BLOCK)
                file.seek(_BLOCK * (head[0] - 1) + 3 if head and head[0] else _BLOCK)
                processor = file.read(1)
                size = path.stat().st_size
        except OSError as problem:
            raise C3dError(f"{path}: cannot be read ({problem.strerror}); check the path.") from problem
        if len(head) < _BLOCK or head[1] != _SIGNATURE or not processor or processor[0] not in _PROCESSORS:
            raise C3dError(f"{path}: no C3D file, or its first blocks are damaged; export the trial again.")
        order, sign = _PROCESSORS[processor[0]]
        points, analogs, first, last, _, _, _, start = struct.unpack(f"{order}8H", head[2:18])
        number_bytes = 4 if head[sign] & 0x80 else 2
        layout = cls(size, _BLOCK * (start - 1), number_bytes * (4 * points + analogs))
        if start < 2 or not points:
            raise C3dError(f"{path}: holds no points; export the trial again, with its markers.")
        layout.check_holds(path, max(last - first + 1, 1))
        return layout

    def check_holds(self, path: Path, frames: int) -> None:
        """Refuse a file that is shorter than so many frames."""
        if self.start + frames * self.frame_bytes > self.size:
            whole = max(self.size - self.start, 0) // self.frame_bytes
            raise C3dError(f"{path}: is cut off after {whole} of {frames} frames, or damaged; export the trial again.")


@dataclass(frozen=True)
class _Content:
    """What ezc3d found: positions in the file's unit, residuals, number of the first frame, parameters of POINT."""

    points: Float[np.ndarray, "time point 3"]
    residuals: Float[np.ndarray, "time point"]
    first_frame: int
    point: Mapping[str, list[Any]]


def read_c3d_analogs(
    path: Path | str,
) -> tuple[Float[np.ndarray, " sample"], Float[np.ndarray, "sample channel"], tuple[str, ...]]:
    """Time in s, values in the file's units and labels of the analog channels (electromyograms, plates) of a C3D file.

    Time counts from the same 0 as that of `read_c3d`: analog samples run at ANALOG:RATE from the first frame.

    Raises
    ------
    C3dError
        If ezc3d is not installed, or the file is missing, damaged, or has no analog channels.

    """
    path = Path(path)
    layout = _Layout.read(path)
    with tempfile.TemporaryDirectory(prefix="bige-c3d-") as folder:
        target = _by_ezc3d(path, layout.size, Path(folder), "ANALOG")
        with np.load(target, allow_pickle=False) as found:
            analog, point = (json.loads(found[key].tobytes()) for key in ("analog", "point"))
            values, first = found["analogs"], int(found["first_frame"])
    names, rate = tuple(_listed(analog, "LABELS")[: values.shape[1]]), np.ravel(analog.get("RATE", ()))
    if not values.size or len(names) != values.shape[1] or len(rate) != 1 or not rate[0] > 0:
        raise C3dError(f"{path}: holds no analog channels with labels and a rate; export the trial with them.")
    return first / _rate(path, point) + np.arange(len(values)) / float(rate[0]), values, names


def _content(path: Path, size: int) -> _Content:
    with tempfile.TemporaryDirectory(prefix="bige-c3d-") as folder:
        target = _by_ezc3d(path, size, Path(folder), "POINT")
        with np.load(target, allow_pickle=False) as found:
            point = json.loads(found["point"].tobytes())
            return _Content(found["points"], found["residuals"], int(found["first_frame"]), point)


def _by_ezc3d(path: Path, size: int, folder: Path, group: str) -> Path:
    """File with what ezc3d found of one group of the C3D file, read by a process of its own."""
    if find_spec("ezc3d") is None:
        raise C3dError(f"{path}: C3D files are read by ezc3d, which is not installed: pip install 'bige_opensim[c3d]'.")
    program = Path(__file__).with_name("c3d_process.py")
    limit_s = _LIMIT_S + _LIMIT_S_PER_MB * size / 1e6
    target = folder / "content.npz"
    command = [sys.executable, "-P", str(program), str(path), str(target), group]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit_s)
    except subprocess.TimeoutExpired as problem:
        raise C3dError(
            f"{path}: ezc3d did not finish in {limit_s:.0f} s; the file is damaged, export the trial again."
        ) from problem
    if ended.returncode != 0:
        said = ended.stderr.strip().rsplit("\n", 1)[-1] or "it ended without a word"
        raise C3dError(f"{path}: damaged, ezc3d cannot read it ({said}); export the trial again.")
    return target


def _listed(point: Mapping[str, Any], key: str) -> list[str]:
    """A list of labels, continued in <key>2, <key>3 and so on beyond 255."""
    found = [str(label).strip() for label in point.get(key, ())]
    for number in range(2, len(point) + 2):
        if f"{key}{number}" not in point:
            break
        found += [str(label).strip() for label in point[f"{key}{number}"]]
    return found


def _said(point: Mapping[str, Any], key: str) -> str:
    return next(iter(_listed(point, key)), "")


def _markers(path: Path, point: Mapping[str, Any], count: int) -> tuple[list[int], tuple[str, ...], list[str]]:
    """Which points are labelled markers, their names, and notes on the others."""
    labels = _listed(point, "LABELS")[:count]
    outputs = {label for key in _MODEL_OUTPUTS for label in _listed(point, key) if label}
    bare = [c for c, label in enumerate(labels) if _UNLABELLED.fullmatch(label)]
    modelled = [c for c, label in enumerate(labels) if label in outputs]
    columns = [c for c in range(len(labels)) if c not in {*bare, *modelled}]
    names = tuple(labels[c] for c in columns)
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated or not names:
        wrong = f"repeated labels: {', '.join(repeated[:8])}" if repeated else "no labelled markers"
        raise C3dError(f"{path}: {wrong}; every marker needs a label of its own. Export the trial again.")
    notes, unnamed = [], count - len(labels) + len(bare)
    if unnamed:
        notes.append(f"{path.name}: {unnamed} trajectories without a label were left out.")
    if modelled:
        notes.append(f"{path.name}: {len(modelled)} outputs of a model among the points were left out.")
    return columns, names, notes


def _rate(path: Path, point: Mapping[str, Any]) -> float:
    rate = np.asarray(point.get("RATE", ()), dtype=np.float64).ravel()
    if len(rate) != 1 or not (np.isfinite(rate[0]) and rate[0] > 0.0):
        raise C3dError(f"{path}: POINT:RATE must be a positive number of frames per second, it is {rate.tolist()}.")
    return float(rate[0])


def _unit(path: Path, point: Mapping[str, Any]) -> str:
    said = _said(point, "UNITS").lower()
    if said not in METRES:
        raise C3dError(f"{path}: POINT:UNITS is {said!r}; m, cm or mm was expected. Correct it.")
    return said


def _turned_as_shown(path: Path, markers: Markers, point: Mapping[str, Any]) -> Markers:
    """The axis that the file shows to the right becomes x, the one it shows upward y; z completes the right hand."""
    said = {key: _said(point, key) for key in ("X_SCREEN", "Y_SCREEN")}
    if not said["Y_SCREEN"]:
        note = f"{path.name}: POINT:Y_SCREEN does not say which axis points up; taken as Y. If that is wrong, give it."
        return replace(markers, notes=(*markers.notes, note))
    upward, right = _axis(said["Y_SCREEN"]), _axis(said["X_SCREEN"])
    if upward is not None and not said["X_SCREEN"] and said["Y_SCREEN"][:1] != "-":
        return markers.turned(_UPS[int(np.argmax(upward))])
    if upward is None or right is None or right @ upward != 0.0:
        raise C3dError(
            f"{path}: POINT:X_SCREEN is {said['X_SCREEN']!r} and POINT:Y_SCREEN {said['Y_SCREEN']!r}; two different "
            "axes such as '+X' and '+Z' were expected. Correct them, or pass --up."
        )
    turn = np.stack([right, upward, np.cross(right, upward)])
    return replace(markers, positions=markers.positions @ turn.T)


def _axis(said: str) -> Float[np.ndarray, " 3"] | None:
    match = _AXIS.fullmatch(said)
    if match is None:
        return None
    return np.eye(3)["XYZ".index(match[2].upper())] * (-1.0 if match[1] == "-" else 1.0)
