"""UI-PRMD recordings as OpenCap sessions: a scaled model per person, markers as .trc, mass and height estimated."""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bige_opensim.io.documents import read_json
from bige_opensim.io.storage import write_whole
from bige_opensim.io.trc import Markers, write_trc
from bige_opensim.io.ui_prmd import CLUSTERS, RATE_HZ, Clip, UiPrmdError, generic_places, read_clip
from bige_opensim.osim.model import load, opensim_version
from bige_opensim.osim.person_fit import add_markers, fit_person
from bige_opensim.provenance import provenance
from bige_opensim.sessions.marker_trials import FAILED, KEPT, SOLVED, in_a_process
from bige_opensim.workers.alone import as_they_come

FORMAT = "bige-person/1"
RECORD = "person.json"
CLIPS_TO_FIT, FRAMES_PER_CLIP = 4, 7
CERVICALE_OF_HEIGHT = 0.864
HEEL_MARKER_M = 0.04
BODY_MASS_INDEX = 23.0


@dataclass(frozen=True)
class PersonRequest:
    """One person: clips, the generic model, and the session folder to write."""

    subject: str
    clips: tuple[Clip, ...]
    model: Path
    folder: Path

    def fingerprint(self) -> dict[str, str]:
        """What the session depends on."""
        clips = hashlib.sha256(b"".join(hashlib.sha256(c.path.read_bytes()).digest() for c in self.clips)).hexdigest()
        return {"model": hashlib.sha256(self.model.read_bytes()).hexdigest(), "clips": clips, "format": FORMAT}


@dataclass(frozen=True)
class PersonOutcome:
    """What became of a person: solved, kept (from before) or failed; why; and the record where there is one."""

    subject: str
    status: str
    reason: str
    record: dict[str, Any]

    @property
    def made(self) -> bool:
        """Whether there is a session, made now or before."""
        return bool(self.record)

    @property
    def height_m(self) -> float:
        """Estimated standing height, m."""
        return float(self.record["height_m"])

    @property
    def mass_kg(self) -> float:
        """Estimated mass, kg."""
        return float(self.record["mass_kg"])


def people(clips: Iterable[Clip], model: Path, out: Path) -> list[PersonRequest]:
    """One request per subject, for a session folder `ui_prmd_<subject>` below `out`."""
    groups = itertools.groupby(sorted(clips, key=lambda c: (c.subject, not c.correct, c.name)), key=lambda c: c.subject)
    return [PersonRequest(s, tuple(mine), model, out / f"ui_prmd_{s}") for s, mine in groups]


def make_sessions(requests: Sequence[PersonRequest], *, jobs: int | None = None) -> Iterator[PersonOutcome]:
    """Make the sessions, each in a process of its own; those made before from the same files are kept."""
    return as_they_come(_outcome, requests, jobs)


def make_session(request: PersonRequest) -> dict[str, Any]:
    """Write a session: model, markers, metadata and, last, person.json, whose content is returned.

    Raises
    ------
    UiPrmdError, MarkerError, ModelError, TrcError, StorageError
        The person's files cannot be used.

    """
    markers, notes = _readable(request.clips)
    height_m = stature(list(markers.values()))
    mass_kg = BODY_MASS_INDEX * height_m**2
    try:
        generic = add_markers(load(request.model), generic_places())
    except KeyError as error:
        raise UiPrmdError(str(error)) from error
    person = fit_person(generic, _poses(list(markers.values())), clusters=CLUSTERS, mass_kg=mass_kg)
    for part in ("OpenSimData/Model", "OpenSimData/Kinematics", "MarkerData"):
        (request.folder / part).mkdir(parents=True, exist_ok=True)
    for name, m in markers.items():
        write_trc(request.folder / "MarkerData" / f"{name}.trc", m.time, m.positions, m.names, units="mm")
    model_path = request.folder / "OpenSimData/Model" / f"{request.model.stem}_scaled.osim"
    partial = model_path.with_name(f".{uuid.uuid4().hex}.part")
    person.model.model.setName(f"{request.model.stem}_{request.subject}")
    person.model.model.printToXML(str(partial))
    partial.replace(model_path)
    metadata = {
        "subjectID": f"ui_prmd_{request.subject}",
        "mass_kg": round(mass_kg, 1),
        "height_m": round(height_m, 2),
        "openSimModel": request.model.stem,
        "estimated": ["mass_kg", "height_m"],
        "estimated_from": f"height of marker C7 / {CERVICALE_OF_HEIGHT}; body mass index {BODY_MASS_INDEX:g} kg/m2",
        "source": "UI-PRMD, Vakanski et al. 2018, doi:10.3390/data3010002",
    }
    write_whole(request.folder / "sessionMetadata.yaml", yaml.safe_dump(metadata, sort_keys=False))
    record = {
        "format": FORMAT,
        "subject": request.subject,
        "trials": list(markers),
        "notes": notes,
        "rms_mm": 1e3 * person.fit.rms_m,
        "scales": person.scales,
        "markers_moved_mm": {k: 1e3 * v for k, v in person.moved_m.items()},
        "height_m": height_m,
        "mass_kg": mass_kg,
        "provenance": provenance(
            opensim=opensim_version(),
            fingerprint=request.fingerprint(),
        ),
    }
    write_whole(request.folder / RECORD, json.dumps(record, indent=1) + "\n")
    return record


def stature(markers: Sequence[Markers]) -> float:
    """Height of a person, m, from the highest that marker C7 stands above the floor.

    The seventh cervical vertebra of adults is at 86.4 % of their height (ANSUR, Gordon et al. 1989, Natick/TR-89/044,
    cervicale height over stature, both sexes); the heel marker of Plug-in-Gait is taken to be 4 cm above the floor.

    Raises
    ------
    UiPrmdError
        If C7 or the heels were never seen.

    """
    tops, floors = [], []
    for m in markers:
        p = m.positions[:, :, 1]
        tops.append(p[:, m.names.index("C7")])
        floors.append(p[:, [m.names.index("LHEE"), m.names.index("RHEE")]].ravel())
    top, floor = np.concatenate(tops), np.concatenate(floors)
    if np.isnan(top).all() or np.isnan(floor).all():
        raise UiPrmdError(f"{markers[0].path}: C7 and the heels must be seen for an estimate of height.")
    rise = float(np.nanpercentile(top, 95) - np.nanpercentile(floor, 5))
    return (rise + HEEL_MARKER_M) / CERVICALE_OF_HEIGHT


def _readable(clips: Sequence[Clip]) -> tuple[dict[str, Markers], list[str]]:
    markers, notes = {}, []
    for clip in clips:
        try:
            markers[clip.name] = read_clip(clip.path)
        except UiPrmdError as error:
            notes.append(str(error))
    if not markers:
        raise UiPrmdError(" ".join(notes))
    return markers, notes


def _poses(markers: Sequence[Markers]) -> Markers:
    """Frames in different poses of a few clips from first to last, one after the other."""
    clips = sorted(set(np.linspace(0, len(markers) - 1, CLIPS_TO_FIT).astype(int).tolist()))
    frames = (markers[k].positions for k in clips)
    chosen = [p[np.linspace(0, len(p) - 1, FRAMES_PER_CLIP).astype(int)] for p in frames]
    positions = np.concatenate(chosen)
    return replace(markers[0], time=np.arange(len(positions)) / RATE_HZ, positions=positions)


def _outcome(request: PersonRequest) -> PersonOutcome:
    try:
        record = read_json(request.folder / RECORD)
        if record["provenance"]["fingerprint"] == request.fingerprint():
            return PersonOutcome(request.subject, KEPT, "made before from the same files.", record)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    status, content = in_a_process(make_session, request)
    if status != SOLVED:
        return PersonOutcome(request.subject, FAILED, f"{request.folder.name}: {content}", {})
    return PersonOutcome(request.subject, SOLVED, " ".join(content["notes"]), content)
