"""Everything a folder of generated motions says about itself, read and checked for a report."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from bige_opensim.guidance.conflicts import band_text
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.guidance.quantities import Dynamics
from bige_opensim.io.storage import StorageError, read_coordinates, read_storage
from bige_opensim.learning.checkpoint import REFERENCES
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.motion import Motion, MotionError
from bige_opensim.osim.anthropometric_scaling import HEEL_BODY, SHOULDER_BODY, SHOULDER_OF_HEIGHT
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import file_sha256
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.reporting.verdict import CONFIRMED, NOT_SIMULATED, verdict
from bige_opensim.validation.roundtrip import (
    CERTIFICATE,
    MODEL,
    OBJECTIVE,
    RECORD,
    SUMMARY,
    ValidationError,
    generated_motions,
)


class ReportError(ValueError):
    """A folder from which no report can be made, with what is wrong and what to do."""


@dataclass(frozen=True)
class MotionEvidence:
    """One motion: verdict and reason, certificate and search record where there are any, and its curves.

    q in rad and m: what OpenSim analysed, or the file where it was not; None where the file cannot be read.
    """

    name: str
    path: Path
    status: str
    reason: str
    certificate: dict[str, Any] | None
    entry: dict[str, Any]
    q: Motion | None
    simulated: Motion | None
    predicted: Motion | None
    ground_m: float

    def value(self, term: str, which: str) -> float | None:
        """`predicted` or `simulated` value of a term in the unit of the objective file."""
        if self.certificate is not None:
            return self.certificate["terms"][term][which]
        return self.entry.get("predicted", {}).get(term) if which == "predicted" else None

    def met(self, term: str) -> bool | None:
        """Whether OpenSim found a term's bound met; None where that is not known or not asked."""
        return self.certificate["terms"][term]["satisfied"] if self.certificate is not None else None

    @property
    def novelty(self) -> float | None:
        """Distance to the nearest training motion over the usual distance between training motions."""
        return (self.entry.get("nearest_training_motion") or {}).get("novelty")


@dataclass(frozen=True)
class Evidence:
    """A folder of motions, their objective bound to the subject's skeleton, and the training repetitions."""

    folder: Path
    objective: BoundObjective
    skeleton: Skeleton
    model_name: str
    height_m: float | None
    record: dict[str, Any]
    motions: tuple[MotionEvidence, ...]
    cohort: xr.Dataset | None
    synthetic: bool

    def with_status(self, status: str) -> tuple[MotionEvidence, ...]:
        """The motions of one verdict."""
        return tuple(m for m in self.motions if m.status == status)

    @property
    def ranked(self) -> tuple[MotionEvidence, ...]:
        """Confirmed motions, those first that miss the fewest wishes and keep farthest from the bounds they must meet.

        The distance to a bound is in the term's own scale, and that of the tightest required term counts.
        """
        return tuple(sorted(self.with_status(CONFIRMED), key=self._rank))

    def _rank(self, motion: MotionEvidence) -> tuple[int, float, str]:
        missed = sum(motion.met(t.name) is False for t in self.objective.terms)
        required = [(t, motion.value(t.name, "simulated")) for t in self.objective.verdict_terms]
        outside = [max(t.low - x, x - t.high) / t.scale for t, x in required if x is not None]
        return missed, max(outside, default=0.0), motion.name


def read_evidence(folder: Path, *, cohort: Path | None = None, synthetic: bool | None = None) -> Evidence:
    """Read a folder that `bige generate` and `bige validate` wrote; motions without a certificate say so.

    Without `cohort`, the training repetitions of the generator that the record names are taken, where its folder lies
    beside this one. Without `synthetic`, the marks in the record, the labels and the training repetitions decide.

    Raises
    ------
    ReportError
        The folder lacks motions, the model or the objective, or its files do not belong together.
    DatasetError, ModelError, StorageError
        The cohort, the model or activations cannot be read.

    """
    try:
        paths = generated_motions(folder)
    except ValidationError as error:
        raise ReportError(str(error)) from None
    tables = compile_skeleton(folder / MODEL)
    skeleton = Skeleton(tables)
    record = _json(folder / RECORD) if (folder / RECORD).is_file() else {}
    repetitions = _cohort(folder, cohort, record)
    bound = _bind(folder / OBJECTIVE, skeleton)
    failures = _failures(folder / SUMMARY)
    motions = tuple(_motion(path, bound, skeleton, record, failures) for path in paths)
    if synthetic is None:
        synthetic = _marked(record) or _marked(record.get("provenance")) or _any_label_marked(folder, motions)
        synthetic = synthetic or (repetitions is not None and _marked(repetitions.attrs))
    height_m = _height(skeleton)
    return Evidence(
        folder, bound, skeleton, _model_name(folder / MODEL), height_m, record, motions, repetitions, synthetic
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: not a JSON file ({error}); run `bige validate {path.parent}` again.") from error


def _bind(path: Path, skeleton: Skeleton) -> BoundObjective:
    def no_dynamics(*_: Any) -> Dynamics:
        return Dynamics(torch.zeros(1), torch.zeros(1))

    try:
        objective = Objective.load(path)
        return objective.bind(skeleton.coordinates, skeleton.tables.muscles, skeleton, dynamics=no_dynamics)
    except ObjectiveError as error:
        raise ReportError(str(error)) from error


def _cohort(folder: Path, given: Path | None, record: dict[str, Any]) -> xr.Dataset | None:
    """Training repetitions: the file given, or those of the generator beside the folder."""
    if given is None:
        generator = str(record.get("provenance", {}).get("generator", ""))
        beside = folder.absolute().parent / Path(generator).name / REFERENCES
        if not generator or not beside.is_file():
            return None
        given = beside
    ds = load_dataset(given)
    training = ds["split"].values == "train"
    return ds.isel(repetition=training) if training.any() else ds


def _failures(path: Path) -> dict[str, str]:
    """Reasons of the motions that `bige validate` could not simulate."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["name"]: row.get("reason") or "" for row in csv.DictReader(file) if row.get("name")}


def _motion(
    path: Path, bound: BoundObjective, skeleton: Skeleton, record: dict[str, Any], failures: dict[str, str]
) -> MotionEvidence:
    name, folder = path.stem, path.parent
    entry: dict[str, Any] = next((m for m in record.get("motions", []) if m.get("name") == name), {})
    certificate_file = folder / name / CERTIFICATE
    certificate = _json(certificate_file) if certificate_file.is_file() else None
    status, reason = NOT_SIMULATED, failures.get(name) or "It has no certificate yet: it was not simulated in OpenSim."
    if certificate is not None and certificate["provenance"].get("motion_sha256") not in (None, file_sha256(path)):
        certificate = None
        reason = "The file was changed after it was simulated; its certificate is about another motion."
    ground_m, source = 0.0, path
    if certificate is not None:
        _require_same_targets(certificate, bound, certificate_file)
        status, reason = verdict(certificate, bound)
        ground_m = float(_json(folder / name / "label.json")["ground_height_m"])
        source = folder / name / "coordinates.mot"
    try:
        rotational = [n for n, r in zip(skeleton.coordinates, skeleton.tables.rotational, strict=True) if r]
        q = read_coordinates(source, rotational=rotational, units="degrees").motion
    except (StorageError, MotionError) as error:
        q, reason = None, f"{reason} Its curves cannot be drawn: {error}"
    simulated = _activations(folder / name / "activations.sto") if certificate is not None else None
    predicted = _activations(folder / "predicted" / f"{name}_activations.sto")
    return MotionEvidence(name, path, status, reason, certificate, entry, q, simulated, predicted, ground_m)


def _activations(path: Path) -> Motion | None:
    if not path.is_file():
        return None
    table = read_storage(path)
    return Motion(table.time, table.values, table.names)


def _require_same_targets(certificate: dict[str, Any], bound: BoundObjective, path: Path) -> None:
    asked = {t.name: band_text(t) if t.bounded else t.term.goal for t in bound.terms}
    judged = {name: term["target"] for name, term in certificate["terms"].items()}
    if asked != judged:
        raise ReportError(
            f"{path}: the certificate was judged by other goals than {OBJECTIVE} asks for now; "
            f"run `bige validate {path.parent.parent}` again."
        )


def _marked(content: Any) -> bool:
    """Whether a `synthetic` mark says yes, in whatever way a file format holds truth."""
    value = content.get("synthetic") if hasattr(content, "get") else None
    return str(value).lower() in ("true", "1", "yes")


def _any_label_marked(folder: Path, motions: tuple[MotionEvidence, ...]) -> bool:
    return any(_marked(_json(folder / m.name / "label.json")) for m in motions if m.certificate is not None)


def _model_name(path: Path) -> str:
    try:
        for _, element in ElementTree.iterparse(path, events=("start",)):
            if element.tag == "Model":
                return element.get("name", "")
    except ElementTree.ParseError as error:
        raise ReportError(f"{path}: not an .osim file ({error})") from error
    return ""


def _height(skeleton: Skeleton) -> float | None:
    """Standing height as `anthropometric_scaling.standing_height` measures it, m; None without shoulder or heel."""
    if not {SHOULDER_BODY, HEEL_BODY} <= set(skeleton.bodies):
        return None
    y = skeleton(skeleton.default).position[:, 1].numpy()
    rise = y[skeleton.bodies.index(SHOULDER_BODY)] - y[skeleton.bodies.index(HEEL_BODY)]
    return float(rise) / SHOULDER_OF_HEIGHT if rise > 0 else None


def full_coordinates(skeleton: Skeleton, motion: Motion) -> np.ndarray:
    """A motion in the skeleton's order (time, coordinate); coordinates it does not carry stay at their default."""
    q = np.tile(skeleton.tables.default, (motion.frames, 1)).astype(float)
    for i, name in enumerate(skeleton.coordinates):
        if name in motion.names:
            q[:, i] = motion[name]
    return q
