"""Checks of marker files (.trc)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bige_opensim.doctor.findings import FIX, Finding, Severity, listed
from bige_opensim.doctor.raw_trc import RawTrc
from bige_opensim.doctor.series_checks import SHORT_GAP_S, check_spikes, check_time, gap_seconds, runs
from bige_opensim.io.trc import Markers

SPIKE_FLOOR_M = 0.02
OFTEN_MISSING = 0.2
PERSON_M = (0.3, 3.5)
_LOW = re.compile(r"calc|heel|toe|ank|hee|5meta|mt5", re.IGNORECASE)
_HIGH = re.compile(r"neck|c7|should|sho|acrom|clav|head", re.IGNORECASE)


def check_trc_text(raw: RawTrc) -> list[Finding]:
    """Header counts and order of rows, as they stand in the file."""
    found = []
    counts = (("frames", raw.declared_frames, raw.frames), ("markers", raw.declared_markers, raw.markers))
    wrong = [
        f"{said} {what} where the table has {true}" for what, said, true in counts if said is not None and said != true
    ]
    if wrong:
        sentence = f"The header counts {' and '.join(wrong)}."
        found.append(Finding(raw.path, "header", "error", "header-counts", sentence, FIX, True))
    if raw.disordered:
        number, time = raw.disordered[0]
        sentence = f"Time does not increase in {len(raw.disordered)} row(s), the first at line {number}."
        found.append(Finding(raw.path, f"{time:.4g} s", "error", "time-order", sentence, FIX, True))
    return found


def check_markers(path: Path, markers: Markers) -> list[Finding]:
    """Time base, notes of the reader, missing markers, size, direction and spikes."""
    found = [
        Finding(path, "", "note", "reading", _sentence(path, note), "Export the file again if that is wrong.")
        for note in markers.notes
    ]
    found += [*check_time(path, markers.time), *_missing(path, markers), *_size(path, markers), *_up(path, markers)]
    flat = markers.positions.reshape(len(markers.time), -1)
    names = [f"{name} {axis}" for name in markers.names for axis in "XYZ"]
    floor = np.full(flat.shape[1], SPIKE_FLOOR_M)
    return found + check_spikes(path, markers.time, flat, names, floor, ["{:.3f} m"] * len(names))


def _sentence(path: Path, note: str) -> str:
    text = note.removeprefix(f"{path.name}: ")
    return text[:1].upper() + text[1:]


def _missing(path: Path, markers: Markers) -> list[Finding]:
    gone = np.isnan(markers.positions).any(axis=2)
    short, long = list[str](), list[str]()
    for m, name in enumerate(markers.names):
        gaps = [gap_seconds(markers.time, run) for run in runs(gone[:, m])]
        if any(gap <= SHORT_GAP_S + 1e-9 for gap in gaps):
            short.append(name)
        if any(gap > SHORT_GAP_S + 1e-9 for gap in gaps):
            long.append(f"{name} ({100 * markers.missing[m]:.0f} %)")
    found = []
    if short:
        sentence = f"Gaps of at most {SHORT_GAP_S:g} s in {len(short)} marker(s): {listed(short)}."
        found.append(Finding(path, short[0], "warning", "missing-markers", sentence, FIX, True))
    if long:
        severity: Severity = "warning" if (markers.missing > OFTEN_MISSING).any() else "note"
        sentence = f"Gaps longer than {SHORT_GAP_S:g} s, or at an end, in {len(long)} marker(s): {listed(long)}."
        remedy = "Inverse kinematics leaves them out in those frames; fill them in the capture software if they matter."
        found.append(Finding(path, long[0].split()[0], severity, "missing-markers", sentence, remedy))
    return found


def _size(path: Path, markers: Markers) -> list[Finding]:
    full = ~np.isnan(markers.positions).all(axis=(1, 2))
    extent = np.nanmax(markers.positions[full], axis=1) - np.nanmin(markers.positions[full], axis=1)
    height = float(np.median(extent, axis=0).max())
    if PERSON_M[0] <= height <= PERSON_M[1] or len(markers.names) < 6:
        return []
    sentence = f"The markers of a frame span {height:.3g} m; a person was expected."
    remedy = "Check the unit in the header, and look for markers that lie elsewhere (ghosts)."
    return [Finding(path, "", "warning", "units", sentence, remedy)]


def _up(path: Path, markers: Markers) -> list[Finding]:
    low = [m for m, name in enumerate(markers.names) if _LOW.search(name)]
    high = [m for m, name in enumerate(markers.names) if _HIGH.search(name)]
    if not low or not high:
        return []
    mean = np.ma.masked_invalid(markers.positions).mean(axis=0)
    up = (mean[high].mean(axis=0) - mean[low].mean(axis=0)).filled(np.nan)
    if np.isnan(up).any():
        return []
    axis = int(np.abs(up).argmax())
    if axis == 1 and up[1] > 0:
        return []
    sentence = f"The shoulders lie from the feet along {'-' if up[axis] < 0 else '+'}{'XYZ'[axis]}; Y should point up."
    remedy = "Turn the markers so that Y is up and X forward before inverse kinematics."
    return [Finding(path, "", "warning", "sign-convention", sentence, remedy)]
