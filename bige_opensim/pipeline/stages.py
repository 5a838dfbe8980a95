"""The stages of the chain, each from the files of those before it to its own, in one folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from bige_opensim.guidance.generated import require_free
from bige_opensim.io.opencap import Session, find_sessions
from bige_opensim.labelling.label_trials import requests_of
from bige_opensim.labelling.status_table import STATUS_FILE, audits_in_short
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.pipeline.settings import PipelineError, PipelineSettings
from bige_opensim.synthesis.movements import MOVEMENTS
from bige_opensim.synthesis.sessions import CohortSettings
from bige_opensim.workflows.dataset import repetitions
from bige_opensim.workflows.generate import search_motions
from bige_opensim.workflows.label_sessions import label_requests
from bige_opensim.workflows.people import make_people
from bige_opensim.workflows.progress import Show
from bige_opensim.workflows.report import report
from bige_opensim.workflows.train import train_generator, train_surrogate
from bige_opensim.workflows.validate import validate_folder


@dataclass(frozen=True)
class PipelineWork:
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

    def found_sessions(self) -> list[Session]:
        """The sessions; what this run makes of them may lie among them, and is none."""
        return find_sessions([self.sessions], outside=self.out if self.data is not None else None)

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


def people(work: PipelineWork) -> str:
    """Synthetic people, where no recordings are named."""
    if work.data is not None:
        return f"{len(work.found_sessions())} sessions in {work.data}"
    s = work.settings.cohort
    make_people(
        work.sessions, CohortSettings(s.subjects, s.reps, s.seed, movement=s.movement), jobs=work.jobs, show=work.show
    )
    return f"{s.subjects} synthetic people, {s.reps} {MOVEMENTS[s.movement].plural} each"


def label(work: PipelineWork) -> str:
    """Ground forces, moments and activations of every trial with coordinates."""
    requests, rejected = requests_of(work.found_sessions(), work.labels)
    _remove_others(work.labels, {r.out for r in requests})
    (work.labels / STATUS_FILE).unlink(missing_ok=True)
    settings = work.settings.label.settings()
    outcomes = label_requests(requests, rejected, settings, status=work.labels, jobs=work.jobs, show=work.show)
    labels = [o.label for o in outcomes if o.labelled]
    passed = sum(entry["status"] == "passed" for entry in labels)
    checked = audits_in_short(outcomes)
    return f"{passed} of {len(outcomes)} trials passed the quality gates{'; ' if checked else ''}{checked}"


def dataset(work: PipelineWork) -> str:
    """Repetitions of 101 samples, split by subject."""
    s = work.settings.dataset
    ds = repetitions(
        work.labels,
        include_failed=s.include_failed,
        movement=s.movement,
        trials=s.trials,
        seed=s.seed,
        out=work.repetitions,
    )
    splits = [f"{len(subjects_of(ds, part))} {part}" for part in ("train", "validation", "test")]
    return f"{ds.sizes['repetition']} repetitions; people: {', '.join(splits)}"


def surrogate(work: PipelineWork) -> str:
    """The network from kinematics to activations."""
    settings = work.settings.surrogate
    models = [s.model_path for s in work.found_sessions() if s.model_path is not None]
    needed = models if settings.start or settings.stream.motions else ()  # their paths take seconds a person
    train_surrogate(work.repetitions, out=work.surrogate, settings=settings, models=needed, show=work.show)
    return _best(work.surrogate, "rmse", "RMSE of activations on validation people")


def generator(work: PipelineWork) -> str:
    """The network that makes motions."""
    train_generator(work.repetitions, out=work.generator, settings=work.settings.generator, show=work.show)
    return _best(work.generator, "rmse_deg", "degrees RMS of reconstruction on validation people")


def search(work: PipelineWork) -> str:
    """Motions of one subject that meet the objective, by the networks and the physics of the subject's model."""
    s = work.settings.search
    ds = load_dataset(work.repetitions)
    subject = s.subject or default_subject(ds)
    model = model_of(subject, work.found_sessions())
    require_free(work.motions)
    found = search_motions(s.objective, model, work.generator, work.surrogate, s.settings(), work.show)
    found.save(work.motions)
    conflicts = " ".join(found.conflicts)
    return f"{found.satisfied} of {s.count} motions for {subject} meet the objective as predicted. {conflicts}"


def judge(work: PipelineWork) -> str:
    """The round trip of every motion through OpenSim."""
    verdicts = validate_folder(work.motions, jobs=work.jobs, show=work.show)
    confirmed = sum(v.confirmed for v in verdicts)
    return f"{confirmed} of {len(verdicts)} motions confirmed by OpenSim"


def tell(work: PipelineWork, seconds: dict[str, float]) -> str:
    """The report."""
    return str(report(work.motions, work.report, reference=work.repetitions, stages=seconds))


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


def _best(checkpoint: Path, metric: str, what: str) -> str:
    rows = (checkpoint / "metrics.csv").read_text(encoding="utf-8").splitlines()
    names = rows[0].split(",")
    values = [dict(zip(names, row.split(","), strict=True)) for row in rows[1:]]
    best = min(values, key=lambda row: float(row["validation_score"]))
    return f"{float(best[f'validation_{metric}']):.3g} {what}, epoch {best['epoch']} of {len(values)}"
