"""The stages of the chain, each from the files of those before it to its own, in one folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.guidance.generation import GenerationRequest, generate, reference_ranges
from bige_opensim.io.opencap import Session, find_sessions
from bige_opensim.labelling.label_trials import label_trials, requests_of
from bige_opensim.labelling.request import LabelSettings
from bige_opensim.labelling.status_table import STATUS_FILE, StatusTable
from bige_opensim.learning.dataset import build_dataset, load_dataset, save_dataset
from bige_opensim.learning.training import train_generator, train_surrogate
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.pipeline.settings import PipelineError, PipelineSettings
from bige_opensim.reporting.report import write_report
from bige_opensim.synthesis.sessions import CohortSettings, make_cohort
from bige_opensim.validation.roundtrip import validate

REPORT_EVERY = 20


class Steps(Protocol):
    """Shows how far a stage is."""

    def now(self, text: str) -> None:
        """What is going on."""

    def finish(self, line: str) -> None:
        """One item is done."""

    def advance(self, done: int, text: str, *, every: int) -> None:
        """So many iterations are done."""


Show = Callable[[int, str], AbstractContextManager[Steps]]
"""Opens the display of a stage: number of items or iterations, and what they are."""


@dataclass(frozen=True)
class Work:
    """Where a pipeline works: its settings, its folder, the recordings (None: synthetic people), and how it shows."""

    settings: PipelineSettings
    out: Path
    data: Path | None
    jobs: int | None
    show: Show

    @property
    def sessions(self) -> Path:
        """Folder of the sessions."""
        return self.data or self.out / "sessions"

    @property
    def labels(self) -> Path:
        """Folder of the labels."""
        return self.out / "labels"

    @property
    def repetitions(self) -> Path:
        """The dataset."""
        return self.out / "repetitions.nc"

    @property
    def surrogate(self) -> Path:
        """Checkpoint of the surrogate."""
        return self.out / "surrogate"

    @property
    def generator(self) -> Path:
        """Checkpoint of the generator."""
        return self.out / "generator"

    @property
    def motions(self) -> Path:
        """Folder of the motions."""
        return self.out / "motions"

    @property
    def report(self) -> Path:
        """The report."""
        return self.out / "report.html"


def people(work: Work) -> str:
    """Synthetic people, where no recordings are named."""
    if work.data is not None:
        return f"{len(find_sessions([work.data]))} sessions in {work.data}"
    s = work.settings.cohort
    with work.show(s.subjects, "people") as steps:
        for person in make_cohort(
            work.sessions, built_in(MODEL), CohortSettings(s.subjects, s.reps, s.seed), jobs=work.jobs
        ):
            steps.finish(f"{person.name}: {person.status}")
    return f"{s.subjects} synthetic people, {s.reps} squats each"


def label(work: Work) -> str:
    """Ground forces, moments and activations of every trial with coordinates."""
    s = work.settings.label
    requests, rejected = requests_of(find_sessions([work.sessions]), work.labels)
    _remove_others(work.labels, {r.out for r in requests})
    (work.labels / STATUS_FILE).unlink(missing_ok=True)
    status = StatusTable(work.labels, rejected)
    settings = LabelSettings(solver=s.solver, audit=s.audit, cutoff_hz=s.cutoff_hz)
    with work.show(len(requests), "labelling") as steps:
        for outcome in label_trials(requests, settings, jobs=work.jobs, progress=lambda t, what, _: steps.now(what)):
            status.add(outcome)
            steps.finish(f"{outcome.session}/{outcome.trial}: {outcome.status}. {outcome.reason}")
    status.write()
    labels = [o.label for o in status.outcomes if o.labelled]
    passed = sum(entry["status"] == "passed" for entry in labels)
    audits = [entry["audit"] for entry in labels if "audit" in entry]
    checked = (
        f"; audit by OpenSim: {sum(a['frames'] for a in audits)} frames, activations within "
        f"{max(a['rmse'] for a in audits):.4f} RMS, {max(a['max'] for a in audits):.3f} at worst"
        if audits
        else ""
    )
    return f"{passed} of {len(status.outcomes)} trials passed the quality gates{checked}"


def dataset(work: Work) -> str:
    """Repetitions of 101 samples, split by subject."""
    s = work.settings.dataset
    ds = build_dataset(work.labels, include_failed=s.include_failed, movement=s.movement, trials=s.trials, seed=s.seed)
    save_dataset(ds, work.repetitions)
    splits = [f"{len(subjects_of(ds, part))} {part}" for part in ("train", "validation", "test")]
    return f"{ds.sizes['repetition']} repetitions; people: {', '.join(splits)}"


def surrogate(work: Work) -> str:
    """The network from kinematics to activations."""
    s = work.settings.surrogate
    with work.show(s.epochs, "surrogate") as steps:
        train_surrogate(load_dataset(work.repetitions), work.surrogate, s, report=_epochs(steps))
    return _best(work.surrogate, "rmse", "RMSE of activations on validation people")


def generator(work: Work) -> str:
    """The network that makes motions."""
    s = work.settings.generator
    with work.show(s.epochs, "generator") as steps:
        train_generator(load_dataset(work.repetitions), work.generator, s, report=_epochs(steps))
    return _best(work.generator, "rmse_deg", "degrees RMS of reconstruction on validation people")


def search(work: Work) -> str:
    """Motions of one subject that meet the objective, by the networks and the physics of the subject's model."""
    s = work.settings.search
    ds = load_dataset(work.repetitions)
    subject = s.subject or default_subject(ds)
    model = model_of(subject, find_sessions([work.sessions]))
    tables = compile_skeleton(model)
    physics = s.predictor == "physics"
    muscles = compile_muscles(model, reference_ranges(work.generator, tables)) if physics else None
    request = GenerationRequest(
        work.generator, work.surrogate, s.objective, model, tables, work.motions, s.count, s.seed, s.iterations,
        muscles, s.physics_share,
    )  # fmt: skip
    total = request.iterations_in_all
    with work.show(total, "searching") as steps:
        found = generate(request, lambda i, n, loss: steps.advance(i, f"loss {loss:.3g}", every=max(1, total // 10)))
    conflicts = " ".join(found.conflicts)
    return (
        f"{int(found.satisfied.sum())} of {s.count} motions for {subject} meet the objective as predicted. {conflicts}"
    )


def judge(work: Work) -> str:
    """The round trip of every motion through OpenSim."""
    verdicts = []
    with work.show(len(list(work.motions.glob("*.mot"))), "validating") as steps:
        for verdict in validate(work.motions, jobs=work.jobs, progress=lambda m, what, _: steps.now(f"{m}: {what}")):
            verdicts.append(verdict)
            steps.finish(f"{verdict.name}: {_word(verdict.certificate) if verdict.certificate else verdict.reason}")
    confirmed = sum(bool(v.certificate and v.certificate["confirmed"]) for v in verdicts)
    return f"{confirmed} of {len(verdicts)} motions confirmed by OpenSim"


def tell(work: Work, seconds: dict[str, float]) -> str:
    """The report."""
    return str(write_report(work.motions, out=work.report, cohort=work.repetitions, stages=seconds))


def default_subject(ds: xr.Dataset) -> str:
    """The first subject of the test people, whom no network has seen; of the others where there is none."""
    for part in ("test", "validation", "train"):
        if subjects_of(ds, part):
            return subjects_of(ds, part)[0]
    raise PipelineError("the dataset holds no repetitions.")


def subjects_of(ds: xr.Dataset, part: str) -> list[str]:
    """Subjects of a part of the split, in order."""
    return sorted({str(x) for x in ds["subject"].values[ds["split"].values == part]})


def model_of(subject: str, sessions: list[Session]) -> Path:
    """The model of a subject's session.

    Raises
    ------
    PipelineError
        No session is of that subject.

    """
    for session in sessions:
        if session.subject == subject and session.model_path is not None:
            return session.model_path
    names = ", ".join(sorted({s.subject for s in sessions}))
    raise PipelineError(f"no session with a model is of subject {subject}. Subjects: {names}.")


def clear(path: Path) -> None:
    """Remove what a stage made before from other settings."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_others(labels: Path, wanted: set[Path]) -> None:
    """Remove labels of trials that are no longer among the recordings: the dataset takes all that it finds."""
    for found in labels.glob("*/*/label.json"):
        if found.parent not in wanted:
            shutil.rmtree(found.parent)


def _epochs(steps: Steps) -> Callable[[int, int, dict[str, Any]], None]:
    def show(epoch: int, epochs: int, row: dict[str, Any]) -> None:
        steps.advance(epoch, f"validation {row['validation_score']:.4g}", every=REPORT_EVERY)

    return show


def _best(checkpoint: Path, metric: str, what: str) -> str:
    rows = (checkpoint / "metrics.csv").read_text(encoding="utf-8").splitlines()
    names = rows[0].split(",")
    values = [dict(zip(names, row.split(","), strict=True)) for row in rows[1:]]
    best = min(values, key=lambda row: float(row["validation_score"]))
    return f"{float(best[f'validation_{metric}']):.3g} {what}, epoch {best['epoch']} of {len(values)}"


def _word(certificate: dict[str, Any]) -> str:
    return "confirmed" if certificate["confirmed"] else "not confirmed"
