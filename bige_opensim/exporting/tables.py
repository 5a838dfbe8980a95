"""Motions as tidy tables (csv): a row per trial and time, a column per channel, and the unit of every column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bige_opensim.exporting.selection import Selected
from bige_opensim.io.storage import write_whole
from bige_opensim.motion import Motion

TRIALS, UNITS = "trials", "units"
DIGITS = "%.9g"


def write_tables(selected: Sequence[Selected], folder: Path) -> None:
    """Write a table per quantity that is known, one of the trials, and one of the units of all columns.

    Angles are in degrees, as in files of OpenSim; coordinates that follow others by a coupler are left out, for their
    unit is not known. A trial that lacks a channel has an empty cell.
    """
    rows: dict[str, list[pd.DataFrame]] = {}
    units: dict[tuple[str, str], str] = {}
    for one in selected:
        for table, motion, unit_of in _channels(one):
            frame = pd.DataFrame(motion.values, columns=list(motion.names))
            frame.insert(0, "time", motion.time)
            frame.insert(0, "trial", one.name)
            rows.setdefault(table, []).append(frame)
            units |= {(table, "trial"): "", (table, "time"): "s"} | {(table, n): unit_of[n] for n in motion.names}
    about = pd.DataFrame([_trial(one) for one in selected])
    unit_of = TRIAL_UNITS | {f"gate {n}": g.unit for one in selected if one.label for n, g in one.label.gates.items()}
    units |= {(TRIALS, str(column)): unit_of.get(str(column), "") for column in about.columns}
    for table, frames in rows.items():
        _write(folder / f"{table}.csv", pd.concat(frames, ignore_index=True))
    _write(folder / f"{TRIALS}.csv", about)
    described = [(table, column, unit) for (table, column), unit in units.items()]
    _write(folder / f"{UNITS}.csv", pd.DataFrame(described, columns=["table", "column", "unit"]))


TRIAL_UNITS = {"start": "s", "end": "s", "rate": "Hz", "mass": "kg"}


def _channels(one: Selected) -> list[tuple[str, Motion, dict[str, str]]]:
    """Table, channels and the unit of each; angles in degrees."""
    recorded = one.recorded
    q = recorded.coordinates.select(n for n in recorded.coordinates.names if n in one.person.skeleton.coordinates)
    turns = np.array([name in recorded.rotational for name in q.names])
    in_degrees = q.with_values(np.where(turns, np.rad2deg(q.values), q.values))
    found = [("coordinates", in_degrees, {n: "degrees" if t else "m" for n, t in zip(q.names, turns, strict=True)})]
    if recorded.activations is not None:
        found.append(("activations", recorded.activations, dict.fromkeys(recorded.activations.names, "1")))
    if recorded.moments is not None:
        names = recorded.moments.names
        found.append(("moments", recorded.moments, {n: "N m" if n.endswith("_moment") else "N" for n in names}))
    if recorded.ground_forces is not None:
        names = recorded.ground_forces.names
        found.append(("ground_forces", recorded.ground_forces, {n: _ground_unit(n) for n in names}))
    if one.label is not None and one.label.channels.joint_loads is not None:
        loads = one.label.channels.joint_loads
        found.append(("joint_loads", loads, {n: "body weights" if n.endswith("_bw") else "N" for n in loads.names}))
    return found


def _ground_unit(name: str) -> str:
    if name.startswith("ground_torque"):
        return "N m"
    return "N" if "_v" in name else "m"


def _trial(one: Selected) -> dict[str, Any]:
    """The row of a motion in `trials.csv`."""
    q = one.recorded.coordinates
    row: dict[str, Any] = {"trial": one.name, "verdict": one.recorded.verdict, "frames": q.frames}
    row |= {"start": q.time[0], "end": q.time[-1], "rate": q.rate_hz, "model": one.person.model.name}
    row["mass"] = float(one.person.skeleton.own_mass.sum())
    if one.label is None:
        return row
    record = one.label.record
    row |= {key: str(record.get(key, "")) for key in ("session", "subject", "status", "reason")}
    return row | {f"gate {name}": gate.value for name, gate in one.label.gates.items()}


def _write(path: Path, frame: pd.DataFrame) -> None:
    write_whole(path, frame.to_csv(index=False, float_format=DIGITS, lineterminator="\n"))
