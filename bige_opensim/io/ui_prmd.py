"""The UI-PRMD recordings of exercises: raw Vicon marker positions of people who squat.

Vakanski et al. (2018), A data set of human body movements for physical rehabilitation exercises,
doi:10.3390/data3010002. One file is one repetition: rows of 39 Plug-in-Gait markers times x, y, z in mm, Z up, about
100 rows a second, without a header. A marker that was not seen is 0, 0, 0.
"""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bige_opensim.io.text import numbers
from bige_opensim.io.trc import Markers

RATE_HZ = 100.0
DEEP_SQUAT = "m01"
# fmt: off
MARKERS = (
    "LFHD", "RFHD", "LBHD", "RBHD", "C7", "T10", "CLAV", "STRN", "RBAK",
    "LSHO", "LUPA", "LELB", "LFRM", "LWRA", "LWRB", "LFIN", "RSHO", "RUPA", "RELB", "RFRM", "RWRA", "RWRB", "RFIN",
    "LASI", "RASI", "LPSI", "RPSI", "LTHI", "LKNE", "LTIB", "LANK", "LHEE", "LTOE", "RTHI", "RKNE", "RTIB", "RANK",
    "RHEE", "RTOE",
)
# fmt: on
CLUSTERS = tuple(name for name in MARKERS if re.fullmatch("RBAK|[LR](FHD|BHD|THI|TIB|UPA|FRM|FIN)", name))
_NAME = re.compile(r"(m\d+)_(s\d+)_(e\d+)_positions\w*\.txt(\.gz)?", re.IGNORECASE)
_MIDLINE = {
    "C7": ("torso", (-0.08, 0.44, 0.0)),
    "T10": ("torso", (-0.10, 0.20, 0.0)),
    "CLAV": ("torso", (0.075, 0.40, 0.0)),
    "STRN": ("torso", (0.15, 0.21, 0.0)),
    "RBAK": ("torso", (-0.10, 0.35, 0.09)),
}
_RIGHT = {
    "FHD": ("torso", (0.09, 0.60, 0.06)),
    "BHD": ("torso", (-0.07, 0.60, 0.06)),
    "SHO": ("torso", (-0.01, 0.42, 0.15)),
    "UPA": ("humerus", (0.00, -0.14, 0.04)),
    "ELB": ("humerus", (0.01, -0.29, 0.045)),
    "FRM": ("ulna", (-0.02, -0.13, 0.02)),
    "WRA": ("radius", (-0.02, -0.235, 0.04)),
    "WRB": ("radius", (-0.02, -0.235, -0.02)),
    "FIN": ("hand", (-0.02, -0.08, 0.02)),
    "ASI": ("pelvis", (0.02, 0.00, 0.12)),
    "PSI": ("pelvis", (-0.155, 0.04, 0.045)),
    "THI": ("femur", (0.00, -0.20, 0.07)),
    "KNE": ("femur", (0.00, -0.40, 0.05)),
    "TIB": ("tibia", (0.00, -0.20, 0.06)),
    "ANK": ("tibia", (-0.02, -0.39, 0.05)),
    "HEE": ("calcn", (-0.02, 0.03, 0.0)),
    "TOE": ("calcn", (0.18, 0.03, 0.0)),
}


class UiPrmdError(ValueError):
    """A folder or file that holds no UI-PRMD positions."""


@dataclass(frozen=True)
class Clip:
    """One repetition: movement (m01 is the deep squat), subject, episode, and whether it was done as instructed."""

    path: Path
    movement: str
    subject: str
    episode: str
    correct: bool

    @property
    def name(self) -> str:
        """A name for the trial, such as m01_s02_e03_correct."""
        return f"{self.movement}_{self.subject}_{self.episode}_{'correct' if self.correct else 'incorrect'}"


def find_clips(raw: Path | str, movement: str = DEEP_SQUAT) -> list[Clip]:
    """Files of positions at or below `raw` of one movement, by subject and episode, correct ones first.

    Incorrect repetitions are known by `_inc` in the file's name or `incorrect` in a folder's.

    Raises
    ------
    UiPrmdError
        If `raw` is no folder or there are none.

    """
    raw = Path(raw)
    clips = []
    for path in sorted(raw.rglob("*")) if raw.is_dir() else []:
        match = _NAME.fullmatch(path.name)
        if match and match[1].lower() == movement:
            folders = "/".join(path.relative_to(raw.parent).parts[:-1]).lower()
            correct = "_inc" not in path.name.lower() and "incorrect" not in folders
            clips.append(Clip(path, match[1].lower(), match[2].lower(), match[3].lower(), correct))
    if not clips:
        raise UiPrmdError(
            f"{raw}: no UI-PRMD positions of movement {movement} at or below it; files named such as "
            f"{movement}_s01_e01_positions.txt or .txt.gz were expected."
        )
    return sorted(clips, key=lambda clip: (clip.subject, not clip.correct, clip.episode))


def read_clip(path: Path | str) -> Markers:
    """Read one file as metres in OpenSim's axes, the person facing +X.

    Raises
    ------
    UiPrmdError
        If the file cannot be read, or is no table of 39 finite positions with at least two rows.

    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("ascii")
        rows = [numbers(line, ",") for line in re.split("\r\n|\r|\n", text) if line.strip()]
    except (OSError, EOFError, zlib.error) as problem:
        raise UiPrmdError(f"{path}: cannot be read ({problem}); download it again.") from problem
    except ValueError as problem:
        raise UiPrmdError(f"{path}: rows of numbers between commas were expected ({problem}).") from problem
    widths = {len(row) for row in rows}
    if len(rows) < 2 or widths != {3 * len(MARKERS)}:
        raise UiPrmdError(
            f"{path}: {len(rows)} rows of {sorted(widths)} numbers; at least 2 rows of {3 * len(MARKERS)} were "
            "expected."
        )
    table = np.array(rows)
    if not np.isfinite(table).all():
        raise UiPrmdError(f"{path}: holds numbers that are not finite; a marker not seen is 0, 0, 0.")
    positions = 1e-3 * table.reshape(len(rows), len(MARKERS), 3)
    positions = np.where((positions == 0.0).all(axis=2, keepdims=True), np.nan, positions)
    time = np.arange(len(rows)) / RATE_HZ
    markers = Markers(time, positions, MARKERS, RATE_HZ, path=path).turned("z")
    return replace(markers, positions=_facing_x(path, markers.positions))


def generic_places() -> dict[str, tuple[str, tuple[float, float, float]]]:
    """Body and place, m, of every marker on a generic full-body model with the frames of Rajagopal et al. (2016,
    doi:10.1109/TBME.2016.2586891), to a centimetre: a start for placing them on a person.
    """
    places = dict(_MIDLINE)
    for name, (body, (x, y, z)) in _RIGHT.items():
        for side, sign in (("R", 1.0), ("L", -1.0)):
            places[side + name] = (body if body in ("torso", "pelvis") else f"{body}_{side.lower()}", (x, y, sign * z))
    return {name: places[name] for name in MARKERS}


def _facing_x(path: Path, positions: np.ndarray) -> np.ndarray:
    """Turned half around where the feet point backwards."""
    toes = positions[:, [MARKERS.index(n) for n in ("LTOE", "RTOE")]]
    heels = positions[:, [MARKERS.index(n) for n in ("LHEE", "RHEE")]]
    forward = np.nanmean(toes - heels, axis=(0, 1)) if not np.isnan(toes - heels).all() else np.full(3, np.nan)
    if not np.abs(forward[0]) > np.abs(forward[2]):
        raise UiPrmdError(f"{path}: the feet do not point along the recording's x axis ({np.round(forward, 2)} m).")
    return positions if forward[0] > 0 else positions * np.array([-1.0, 1.0, -1.0])
