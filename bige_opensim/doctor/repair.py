"""Repaired copies of files, and a log of what was changed; originals are never written."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bige_opensim.doctor.cases import LOADS, MARKERS, MODEL, TABLES, Case
from bige_opensim.doctor.coordinate_checks import Coordinates, coordinates_in, unit_of
from bige_opensim.doctor.examination import Examiner
from bige_opensim.doctor.findings import DoctorError
from bige_opensim.doctor.force_checks import wrong_feet
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.doctor.raw_storage import RawStorage, read_raw
from bige_opensim.doctor.raw_trc import read_raw_trc
from bige_opensim.doctor.repair_models import ModelRepairError, repair_model
from bige_opensim.doctor.series_checks import fill_short_gaps
from bige_opensim.doctor.storage_checks import cleaned
from bige_opensim.io.external_loads import ExternalLoadsError, read_external_loads
from bige_opensim.io.storage import StorageError, write_storage, write_whole
from bige_opensim.io.trc import LengthUnits, TrcError, write_trc
from bige_opensim.motion import Motion
from bige_opensim.physics.rotations import continuous_rotations

LOG = "repairs.json"
FORMAT = "bige-repairs/1"
_UNITS: dict[str, LengthUnits] = {"mm": "mm", "cm": "cm", "millimeters": "mm", "centimeters": "cm"}


@dataclass(frozen=True)
class Repair:
    """What was done for one file; `written` is empty where nothing was, and `problem` then says why.

    Attributes
    ----------
    original
        The file.
    sha256
        Of the original.
    written
        The copy, relative to the folder of repairs.
    actions
        One sentence for every change.
    problem
        What prevents a repair.

    """

    original: str
    sha256: str
    written: str
    actions: tuple[str, ...]
    problem: str = ""


def repair_all(
    cases: Sequence[Case], out: Path, examiner: Examiner, progress: Callable[[Case], None] = lambda case: None
) -> list[Repair]:
    """Write repaired copies of the cases that need one, and `repairs.json`, below `out`.

    Repaired are: header counts, the degree flag, rows whose time does not increase (left out), hops of angles between
    equal orientations and 360° wraps (made continuous), gaps of at most 0.1 s (cubic splines), ExternalLoads that apply
    a plate to the wrong foot (the bodies of the forces are exchanged), and Thelen muscles whose least activation or
    control is below 0.01 (raised). The folder appears whole or not at all.

    Raises
    ------
    DoctorError
        If `out` exists and is not an empty folder, or its parent does not exist.

    """
    if (out.exists() and (not out.is_dir() or any(out.iterdir()))) or not out.resolve().parent.is_dir():
        raise DoctorError(f"{out}: a new or empty folder in an existing one was expected, so that nothing is replaced.")
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.resolve().parent))
    try:
        repairs = []
        for case in (case for case in cases if case.path.is_file()):
            progress(case)
            repairs.append(_repair(case, staging, examiner))
        repairs = [repair for repair in repairs if repair.actions or repair.problem]
        log = {"format": FORMAT, "repairs": [asdict(repair) for repair in repairs]}
        write_whole(staging / LOG, json.dumps(log, indent=1) + "\n")
        staging.chmod(0o755)
        if out.exists():
            out.rmdir()
        staging.replace(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return repairs


def _repair(case: Case, staging: Path, examiner: Examiner) -> Repair:
    suffix = case.path.suffix.lower()
    kinds = {MARKERS: _repair_markers, LOADS: _repair_loads, MODEL: _repair_model}
    kinds |= dict.fromkeys(TABLES, _repair_storage)
    target = staging / case.relative
    actions, problem = list[str](), ""
    try:
        if suffix in kinds:
            actions = kinds[suffix](case, target, examiner)
    except (StorageError, TrcError, ExternalLoadsError, ModelRepairError) as error:
        problem = str(error).replace(str(target), str(case.path))
    sha256 = hashlib.sha256(case.path.read_bytes()).hexdigest()
    written = case.relative.as_posix() if actions and not problem else ""
    return Repair(str(case.path), sha256, written, () if problem else tuple(actions), problem)


def _repair_storage(case: Case, target: Path, examiner: Examiner) -> list[str]:
    raw = read_raw(case.path)
    if raw.damage:
        first = raw.damage[0]
        raise StorageError(f"{case.path}: line {first.line} {first.sentence}; repair it by hand first.")
    keep, actions = raw.in_order, _header_actions(raw)
    if not keep.all():
        actions.append(f"{int((~keep).sum())} row(s) whose time does not increase were left out")
    time, values = raw.time[keep], raw.values[keep]
    values, in_degrees = _coordinates(raw, time, values, examiner.known(case), actions)
    values, filled = fill_short_gaps(time, values)
    if filled:
        actions.append(f"{filled} missing number(s) in short gaps were filled by cubic splines")
    if actions:
        target.parent.mkdir(parents=True, exist_ok=True)
        flag = bool(in_degrees)
        title = "" if "=" in raw.title else raw.title
        write_storage(target, time, values, raw.labels, in_degrees=flag, title=title or case.path.stem)
    return actions


def _header_actions(raw: RawStorage) -> list[str]:
    true = (len(raw.time), len(raw.labels) + 1)
    return [
        f"the header's count of {what} was corrected from {said} to {n}"
        for what, said, n in zip(("rows", "columns"), raw.declared, true, strict=True)
        if said is not None and said != n
    ]


def _coordinates(
    raw: RawStorage, time: np.ndarray, values: np.ndarray, model: KnownModel | None, actions: list[str]
) -> tuple[np.ndarray, bool | None]:
    """Values with continuous angles, and the flag that is right."""
    table = cleaned(raw)
    chosen = coordinates_in(table, model) if table is not None else None
    if table is None or chosen is None:
        return values, raw.in_degrees
    in_degrees, fault = unit_of(table, chosen)
    if in_degrees is None:
        return values, raw.in_degrees
    if fault is not None:
        actions.append(f"the header now says inDegrees={'yes' if in_degrees else 'no'}")
    columns = [raw.labels.index(table.names[c]) for c in chosen.columns]
    unit = np.where(chosen.turns & in_degrees, np.deg2rad(1.0), 1.0)
    before = values[:, columns] * unit
    after = _continuous_with_gaps(time, before, chosen, model)
    moved = [c for c in range(len(columns)) if np.nanmax(np.abs(after[:, c] - before[:, c]), initial=0.0) > 1e-6]
    if moved:
        actions.append(f"angles were made continuous in {', '.join(chosen.names[c] for c in moved)}")
    out = values.copy()
    for c in moved:
        out[:, columns[c]] = after[:, c] / unit[c]
    return out, in_degrees


def _continuous_with_gaps(
    time: np.ndarray, angles: np.ndarray, chosen: Coordinates, model: KnownModel | None
) -> np.ndarray:
    """As `coordinate_checks.continuous`, NaN kept; a joint that hops loses samples that lack one of its angles."""
    out = angles.copy()
    for c in np.flatnonzero(chosen.turns):
        known = ~np.isnan(out[:, c])
        out[known, c] = np.unwrap(out[known, c])
    for triple in model.triples if model is not None else ():
        columns = [chosen.names.index(name) for name in triple if name in chosen.names]
        whole = ~np.isnan(out[:, columns]).any(axis=1)
        if len(columns) < 3 or whole.sum() < 2:
            continue
        before = Motion(time[whole], out[whole][:, columns], triple)
        after = continuous_rotations(before, [triple])[0]
        if np.abs(after.values - before.values).max() > 1e-6:
            out[:, columns] = np.nan
            out[np.ix_(whole, columns)] = after.values
    return out


def _repair_markers(case: Case, target: Path, examiner: Examiner) -> list[str]:
    raw, actions = read_raw_trc(case.path), list[str]()
    if not raw.sound:
        actions.append("header counts were corrected and rows whose time does not increase left out")
    markers = raw.markers_in_order()
    flat = markers.positions.reshape(len(markers.time), -1)
    filled_values, filled = fill_short_gaps(markers.time, flat)
    if filled:
        actions.append(f"{filled // 3} marker position(s) in short gaps were filled by cubic splines")
    if actions:
        target.parent.mkdir(parents=True, exist_ok=True)
        units = _UNITS.get(raw.units.lower(), "m")
        positions = filled_values.reshape(markers.positions.shape)
        write_trc(target, markers.time, positions, markers.names, units=units)
    return actions


def _repair_model(case: Case, target: Path, examiner: Examiner) -> list[str]:
    return repair_model(case.path, target)


def _repair_loads(case: Case, target: Path, examiner: Examiner) -> list[str]:
    loads, model = read_external_loads(case.path), examiner.known(case)
    motion, table = examiner.motion(case.motion, model), cleaned(read_raw(loads.datafile))
    if motion is None or table is None or model is None or not model.has_feet():
        return []
    wrong, actions = wrong_feet(loads, table, motion, model), list[str]()
    document = ElementTree.parse(case.path)
    for item in document.getroot().iter("ExternalForce"):
        near, body = wrong.get(item.get("name", "").strip()), item.find("applied_to_body")
        if near is not None and body is not None and body.text:
            before = body.text.strip()
            body.text = before[:-1] + near.side
            actions.append(f"{item.get('name')} was moved from {before} to {body.text}")
    if actions:
        target.parent.mkdir(parents=True, exist_ok=True)
        for item in document.getroot().iter("datafile"):
            item.text = loads.datafile.name
        copy = target.with_name(loads.datafile.name)
        if not copy.exists():
            forces = Case(loads.datafile, Path(copy.name), case.model, case.session, case.motion)
            actions += _repair_storage(forces, copy, examiner)
        if not copy.exists():
            shutil.copyfile(loads.datafile, copy)
            actions.append(f"{loads.datafile.name} was copied beside it")
        text = ElementTree.tostring(document.getroot(), encoding="unicode")
        write_whole(target, f'<?xml version="1.0" encoding="UTF-8" ?>\n{text}\n')
    return actions
