"""Everything a folder of generated motions says about itself, read and checked for a report."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from bige_opensim.guidance.edited import RECORDED_MOTION
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.guidance.quantities import Dynamics
from bige_opensim.io.documents import DocumentError
from bige_opensim.io.storage import StorageError, read_coordinates
from bige_opensim.learning.checkpoint import REFERENCES
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.motion import Motion, MotionError
from bige_opensim.osim.anthropometric_scaling import HEEL_BODY, SHOULDER_BODY, SHOULDER_OF_HEIGHT
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.reporting.verdict import OLD, contradicted, verdict
from bige_opensim.validation.certificate import Certificate, Simulated
from bige_opensim.validation.generated_folder import MODEL, GeneratedFolder, ValidationError
from bige_opensim.validation.motion_gates import GROUND_M
from bige_opensim.validation.roundtrip import (
    CONFIRMED,
    CONTRADICTED,
    NOT_CHECKABLE,
    SUMMARY,
    Verdict,
    summary_row,
)


class ReportError(ValueError):
    """A folder from which no report can be made, with what is wrong and what to do."""


@dataclass(frozen=True)
class MotionEvidence:
    """One motion: verdict and reason, certificate and search record where there are any, and its curves.

    `certificate` is what OpenSim's files give, whatever certificate.json says. q in rad and m: what OpenSim analysed,
    or the file where it was not; None where the file cannot be read. `outcome` is all that was simulated.
    """

    name: str
    path: Path
    status: str
    reason: str
    certificate: Certificate | None
    entry: dict[str, Any]
    q: Motion | None
    simulated: Motion | None
    predicted: Motion | None
    ground_m: float
    synthetic: bool = False
    outcome: Simulated | None = None

    def value(self, term: str, which: str) -> float | None:
        """`predicted` or `simulated` value of a term in the unit of the objective file."""
        if self.certificate is not None:
            found = self.certificate.terms[term]
            return found.predicted if which == "predicted" else found.simulated
        return self.entry.get("predicted", {}).get(term) if which == "predicted" else None

    def met(self, term: str) -> bool | None:
        """Whether OpenSim found a term's bound met; None where that is not known or not asked."""
        return self.certificate.terms[term].satisfied if self.certificate is not None else None

    @property
    def novelty(self) -> float | None:
        """Distance to the nearest training motion over the usual distance between training motions."""
        return (self.entry.get("nearest_training_motion") or {}).get("novelty")


@dataclass(frozen=True)
class Evidence:
    """A folder of motions, their objective bound to the subject's skeleton, and the training repetitions.

    `contradictions` are those of certificates and files, a sentence each that begins with the motion's name; `recorded`
    is the repetition that was edited, None where motions were not made from one.
    """

    folder: Path
    objective: BoundObjective
    skeleton: Skeleton
    model_name: str
    height_m: float | None
    record: dict[str, Any]
    motions: tuple[MotionEvidence, ...]
    cohort: xr.Dataset | None
    synthetic: bool
    verdicts: tuple[Verdict, ...] = ()
    contradictions: tuple[str, ...] = ()
    recorded: Motion | None = None

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
        generated = GeneratedFolder(folder)
    except (ValidationError, ObjectiveError) as error:
        raise ReportError(str(error)) from error
    skeleton, record = generated.skeleton, generated.record
    repetitions = _cohort(folder, cohort, record)
    bound = _bind(generated.objective, skeleton)
    summary = _summary(folder / SUMMARY)
    verdicts = tuple(_verdict(generated, path.stem, summary) for path in generated.motions)
    motions = tuple(_motion(generated, v, bound) for v in verdicts)
    if synthetic is None:
        synthetic = _marked(record) or _marked(record.get("provenance")) or any(m.synthetic for m in motions)
        synthetic = synthetic or (repetitions is not None and _marked(repetitions.attrs))
    height_m = _height(skeleton)
    contradictions = tuple(f"{v.name}: {text}" for v in verdicts for text in v.contradictions)
    return Evidence(
        folder, bound, skeleton, _model_name(folder / MODEL), height_m, record, motions, repetitions, synthetic,
        verdicts, contradictions, _before_the_edit(folder, skeleton),
    )  # fmt: skip


def _bind(objective: Objective, skeleton: Skeleton) -> BoundObjective:
    def no_dynamics(*_: Any) -> Dynamics:
        return Dynamics(torch.zeros(1), torch.zeros(1))

    try:
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


def _summary(path: Path) -> dict[str, dict[str, str]]:
    """Rows of the table that `bige validate` wrote, by motion."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file) if row.get("name")}


def _verdict(generated: GeneratedFolder, name: str, summary: Mapping[str, dict[str, str]]) -> Verdict:
    """The verdict that the files bear out, whatever certificate.json and summary.csv say."""
    held, row = generated.hold(name), summary.get(name, {})
    found = Verdict(name, held.certificate, row.get("reason") or "", held.contradictions)
    if found.status in (CONTRADICTED, NOT_CHECKABLE):
        return found
    true = {k: str(v) for k, v in summary_row(found).items() if k not in ("reason", "notes", "contradictions")}
    wrong = [f"{SUMMARY} says {k} {row[k]}; it is {v}." for k, v in true.items() if row.get(k, v) != v]
    return replace(found, contradictions=tuple(wrong))


def _motion(generated: GeneratedFolder, found: Verdict, bound: BoundObjective) -> MotionEvidence:
    name, skeleton = found.name, generated.skeleton
    path, certificate = generated.folder / f"{name}.mot", found.certificate
    if certificate is not None and set(certificate.terms) != {t.name for t in bound.terms}:
        certificate = None  # an earlier version's, judged by another objective
    reason = found.reason or "It has no certificate yet: it was not simulated in OpenSim."
    ground_m = GROUND_M
    if certificate is not None:
        reason = verdict(certificate, bound)[1]
    if found.status == NOT_CHECKABLE:
        reason = OLD
    if found.status == CONTRADICTED:
        reason = contradicted(found.contradictions)
    reason = " ".join([reason, *(certificate.notes if certificate is not None else ())])
    q: Motion | None
    try:
        there = certificate is not None and (generated.folder / name / "label.json").is_file()
        simulated = generated.simulated(name) if there else None
        q = simulated.q if simulated is not None else _recorded(path, skeleton)
    except (DocumentError, StorageError, MotionError) as error:
        simulated, q, reason = None, None, f"{reason} Its curves cannot be drawn: {error}"
    if simulated is not None:
        ground_m = float(simulated.label["ground_height_m"])
    return MotionEvidence(
        name, path, found.status, reason, certificate, generated.entry(name), q,
        None if simulated is None else simulated.activations, generated.predicted(name), ground_m,
        simulated is not None and _marked(simulated.label),
        simulated,
    )  # fmt: skip


def _before_the_edit(folder: Path, skeleton: Skeleton) -> Motion | None:
    path = folder / RECORDED_MOTION
    return _recorded(path, skeleton) if path.is_file() else None


def _recorded(path: Path, skeleton: Skeleton) -> Motion:
    rotational = [n for n, r in zip(skeleton.coordinates, skeleton.tables.rotational, strict=True) if r]
    return read_coordinates(path, rotational=rotational, units="degrees").motion


def _marked(content: Any) -> bool:
    """Whether a `synthetic` mark says yes, in whatever way a file format holds truth."""
    value = content.get("synthetic") if hasattr(content, "get") else None
    return str(value).lower() in ("true", "1", "yes")


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
