"""What the jobs of the app do, each through the workflows that scripts and commands use, and each able to go on.

A task leaves in its folder what pages show: `results.json`, drawings, `view.html`, `report.html` and `bundle.zip`.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from bige_opensim.app.job_process import Progress, Task, told
from bige_opensim.app.places import CONTENT, FINDINGS, PersonFolder
from bige_opensim.app.uploads import ARCHIVE, MODEL, MOTIONS, UploadError, check_model, unpack
from bige_opensim.doctor.findings import DoctorError, findings_content
from bige_opensim.guidance.generated import GenerationError
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.search import SearchError
from bige_opensim.io.opencap import Session, SessionError, find_sessions
from bige_opensim.io.partial_folders import OutFolderError
from bige_opensim.io.whole_files import StorageError, write_whole
from bige_opensim.labelling.label import LabelError
from bige_opensim.labelling.outcome import Outcome
from bige_opensim.labelling.status_table import StatusError
from bige_opensim.learning.checkpoint import CheckpointError
from bige_opensim.learning.dataset import DatasetError
from bige_opensim.motion import MotionError
from bige_opensim.osim.model import ModelError, load
from bige_opensim.reporting.cards import cards
from bige_opensim.reporting.evidence import read_evidence
from bige_opensim.reporting.report import ReportError
from bige_opensim.reporting.wording import gate_text, with_side
from bige_opensim.settings import SettingError
from bige_opensim.validation.roundtrip import ValidationError
from bige_opensim.viewer.page import as_html
from bige_opensim.viewer.sources import ViewError
from bige_opensim.workflows.doctor import doctor
from bige_opensim.workflows.edit import EditError, edit
from bige_opensim.workflows.generate import generate
from bige_opensim.workflows.label_sessions import label_sessions
from bige_opensim.workflows.report import report_on
from bige_opensim.workflows.simulated_motions import SimulationError
from bige_opensim.workflows.validate import validate_folder
from bige_opensim.workflows.view import FILE_HZ, takes_of, title_of

ERRORS = (
    UploadError, DoctorError, SessionError, SettingError, StatusError, ModelError, StorageError, MotionError,
    LabelError, ObjectiveError, GenerationError, SearchError, CheckpointError, EditError, SimulationError,
    ValidationError, ReportError, DatasetError, ViewError, OutFolderError, OSError,
)  # fmt: skip
"""What a person can be told; anything else is a fault of this package, and stands in the job's output."""

MOTIONS_FOLDER, RESULTS, VIEW, REPORT, BUNDLE = "motions", "results.json", "view.html", "report.html", "bundle.zip"
STAGES = {"examine": 2, "label": 2, "search": 3, "edit": 3}


def person_of(folder: Path, settings: dict[str, Any]) -> PersonFolder:
    """The person whom the job of a folder is about."""
    return PersonFolder(folder.parents[1] / "people" / settings["person"])


def examine(folder: Path, settings: dict[str, Any], progress: Progress) -> str:
    """Make sessions of what was uploaded, and have the doctor look at them."""
    progress.stages = STAGES["examine"]
    person = person_of(folder, settings)
    progress.begin("unpacking")
    place = person.path / "sessions.part"
    shutil.rmtree(place, ignore_errors=True)
    _make_sessions(person, place)
    for model in place.rglob(f"*{MODEL}"):
        check_model(model)
    shutil.rmtree(person.sessions, ignore_errors=True)
    place.replace(person.sessions)
    progress.begin("examining")
    found = doctor(person.sessions, show=progress)
    content = findings_content(found.findings, len(found.cases))
    for finding in content["findings"]:
        for key in ("file", "sentence", "remedy"):
            finding[key] = _without(str(finding[key]), person.sessions)
    sessions = find_sessions([person.sessions])
    write_whole(person.path / CONTENT, json.dumps(_content(sessions, person.sessions)))
    write_whole(person.path / FINDINGS, json.dumps(content))
    return found.summary


def _make_sessions(person: PersonFolder, place: Path) -> None:
    """Archives as they are, and single files in the layout of a session."""
    files = sorted(path for path in person.uploads.iterdir() if not path.name.startswith("."))
    models = [path for path in files if path.suffix.lower() == MODEL]
    motions = [path for path in files if path.suffix.lower() in MOTIONS]
    for archive in (path for path in files if path.suffix.lower() == ARCHIVE):
        unpack(archive, place / archive.stem)
    if not models and not motions:
        return
    if len(models) != 1 or not motions:
        raise UploadError("A model (.osim) and its motions (.mot, .sto) belong together: send one model with them.")
    folder = place / "recordings" / "OpenSimData"
    for path, sub in [(models[0], "Model"), *((motion, "Kinematics") for motion in motions)]:
        (folder / sub).mkdir(parents=True, exist_ok=True)
        name = path.name if sub == "Model" else f"{path.stem}.mot"
        shutil.copyfile(path, folder / sub / name)


def _content(sessions: list[Session], root: Path) -> dict[str, Any]:
    """Which recordings there are, and what the first model is made of."""
    models = [s.model_path for s in sessions if s.model_path is not None]
    if not models:
        raise UploadError("There is no model (.osim) among the files. Add the person's scaled model.")
    model = load(models[0])
    trials = [
        {
            "session": s.name, "trial": t.name, "motion": t.motion_path.relative_to(root).as_posix(),
            "model": s.model_path.relative_to(root).as_posix(),
        }
        for s in sessions for t in s.trials if t.motion_path is not None and s.model_path is not None
    ]  # fmt: skip
    return {
        "model": models[0].relative_to(root).as_posix(),
        "subject": sessions[0].subject,
        "mass_kg": sessions[0].mass_kg,
        "height_m": sessions[0].height_m,
        "trials": trials,
        "muscles": [[name, with_side(name)] for name in model.muscle_names],
        "coordinates": [[name, with_side(name)] for name in model.independent_coordinates],
        "problems": [_without(problem, root) for s in sessions for problem in s.problems],
    }


def _without(text: str, root: Path) -> str:
    return text.replace(f"{root.absolute()}/", "").replace(f"{root}/", "")


def label(folder: Path, settings: dict[str, Any], progress: Progress) -> str:
    """Label all recordings of a person by the fast solver, and show each."""
    progress.stages = STAGES["label"]
    person = person_of(folder, settings)
    progress.begin("labelling")
    labels = label_sessions(person.sessions, out=person.labels, jobs=1, solver="fast", show=progress)
    progress.begin("drawing", len(labels.outcomes))
    results = []
    for outcome in labels.outcomes:
        results.append(_of_label(person, outcome))
        progress.finish(f"{outcome.session}/{outcome.trial}")
    write_whole(folder / RESULTS, json.dumps({"trials": results}))
    made = [path for path in person.labels.rglob("*") if path.is_file() and path.name != VIEW]
    _bundle(folder / BUNDLE, person.labels, made)
    passed = sum(outcome.status == "passed" for outcome in labels.outcomes)
    return f"{passed} of {len(labels.outcomes)} recordings passed the quality gates."


def _of_label(person: PersonFolder, outcome: Outcome) -> dict[str, Any]:
    """A recording as its page shows it; its scene lies beside its label."""
    place = person.labels / outcome.session / outcome.trial
    found: dict[str, Any] = {
        "session": outcome.session, "trial": outcome.trial, "status": outcome.status,
        "reason": _without(outcome.reason, person.sessions),
    }  # fmt: skip
    if not outcome.labelled:
        return found
    takes = takes_of(place, FILE_HZ)
    write_whole(place / VIEW, as_html(takes, title=title_of(takes)))
    active, muscles = takes[0].activations, takes[0].person.paths.muscles
    peaks = {} if active is None else dict(zip(muscles, active.max(0).tolist(), strict=True))
    gates = [gate_text(name, gate) for name, gate in outcome.label["gates"].items()]
    return found | {"gates": gates, "peaks": peaks}


def search(folder: Path, settings: dict[str, Any], progress: Progress) -> str:
    """Search motions for an objective, and ask OpenSim."""
    progress.stages = STAGES["search"]
    person, motions = person_of(folder, settings), folder / MOTIONS_FOLDER
    progress.begin("searching")
    if not (motions / "generation.json").is_file():
        content = person.content or {}
        found = generate(
            folder / "objective.toml", model=person.sessions / content["model"], count=settings["count"],
            seed=settings["seed"], show=progress,
        )  # fmt: skip
        found.save(motions)
    return _judged(folder, motions, progress)


def edited(folder: Path, settings: dict[str, Any], progress: Progress) -> str:
    """Change the person's own recording as little as the objective allows, and ask OpenSim."""
    progress.stages = STAGES["edit"]
    person, motions = person_of(folder, settings), folder / MOTIONS_FOLDER
    progress.begin("changing the recording")
    if not (motions / "generation.json").is_file():
        trial = (person.content or {})["trials"][settings["trial"]]
        found = edit(
            person.sessions / trial["motion"], model=person.sessions / trial["model"],
            objective=folder / "objective.toml", show=progress,
        )  # fmt: skip
        found.save(motions)
    return _judged(folder, motions, progress)


def _judged(folder: Path, motions: Path, progress: Progress) -> str:
    """OpenSim's verdict on the motions of a folder, and everything that is shown and taken home."""
    progress.begin("asking OpenSim")
    verdicts = validate_folder(motions, jobs=1, show=progress)
    progress.begin("writing the report", 4)
    path, contradictions, _ = report_on(motions, folder / REPORT)
    progress.finish("report")
    takes = takes_of(motions, FILE_HZ)
    write_whole(folder / VIEW, as_html(takes, title=title_of(takes)))
    progress.finish("scene")
    write_whole(folder / RESULTS, json.dumps(_results(motions, folder) | {"contradictions": list(contradictions)}))
    progress.finish("results")
    files = [path, folder / VIEW, *(p for p in motions.rglob("*") if p.is_file())]
    _bundle(folder / BUNDLE, folder, files)
    progress.finish("bundle")
    confirmed = sum(verdict.confirmed for verdict in verdicts)
    return f"{confirmed} of {len(verdicts)} motions confirmed by OpenSim."


def _results(motions: Path, folder: Path) -> dict[str, Any]:
    """Cards of all motions as the report has them, best first; drawings are the report's own markup."""
    evidence = read_evidence(motions)
    numbers = {m.name: str(i + 1) for i, m in enumerate(evidence.motions)}
    found, _ = cards(evidence, numbers, folder)
    keys = ("place", "name", "status", "reason", "facts", "terms", "gates")
    edit_record = evidence.record.get("edit") or {}
    return {
        "motions": [
            {key: card[key] for key in keys} | {"views": [[text, str(svg)] for text, svg in card["views"]]}
            for card in found
        ],
        "conflicts": [told(text, folder) for text in evidence.record.get("conflicts", [])],
        "changes": edit_record.get("changes", []),
    }


def _bundle(target: Path, root: Path, files: list[Path]) -> None:
    """A zip archive, whole or not at all."""
    part = target.with_name(f".{target.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            archive.write(path, path.relative_to(root).as_posix())
    part.replace(target)


TASKS: dict[str, Task] = {"examine": examine, "label": label, "search": search, "edit": edited}
