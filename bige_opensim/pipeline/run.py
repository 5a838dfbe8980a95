"""Run the stages in order, each once: a stopped run goes on where it was, a changed setting repeats what follows it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.io.documents import DocumentError, read_json
from bige_opensim.io.file_lock import locked
from bige_opensim.io.opencap import Session
from bige_opensim.io.storage import write_whole
from bige_opensim.labelling.label_files import MODEL_NAME
from bige_opensim.labelling.status_table import STATUS_FILE
from bige_opensim.pipeline import stages
from bige_opensim.pipeline.settings import PipelineError
from bige_opensim.pipeline.stages import PipelineWork
from bige_opensim.provenance import __version__
from bige_opensim.workflows.threads import one_thread

FORMAT = "bige-pipeline/1"
RECORD = "pipeline.json"
METADATA = "sessionMetadata.yaml"
LEFT_BY_STAGES = (".mot", ".osim", ".toml", ".json", ".nc", ".safetensors", ".md")
"""Kinds of files by which the networks' folders and that of the motions are told; others are added by later stages."""


@dataclass(frozen=True)
class Stage:
    """A stage: name, what it does, the settings it depends on, and the file or folder that it leaves."""

    name: str
    does: Callable[[PipelineWork], str]
    depends_on: tuple[str, ...]
    leaves: Callable[[PipelineWork], Path]
    starts_over: bool = True


@dataclass(frozen=True)
class StageDone:
    """What came of a stage: one sentence, its seconds, and whether it was done in an earlier run."""

    name: str
    summary: str
    seconds: float
    kept: bool


STAGES = (
    Stage("people", stages.people, ("cohort",), lambda w: w.sessions),
    Stage("label", stages.label, ("label",), lambda w: w.labels / STATUS_FILE, starts_over=False),
    Stage("dataset", stages.dataset, ("dataset",), lambda w: w.repetitions),
    Stage("surrogate", stages.surrogate, ("surrogate",), lambda w: w.surrogate),
    Stage("generator", stages.generator, ("generator",), lambda w: w.generator),
    Stage("search", stages.search, ("search",), lambda w: w.motions),
    Stage("validate", stages.judge, (), lambda w: w.motions / "summary.csv", starts_over=False),
)
REPORT_STAGE = "report"
NAMES = (*(s.name for s in STAGES), REPORT_STAGE)


def run(work: PipelineWork, until: str = REPORT_STAGE) -> Iterator[StageDone]:
    """Run the stages up to `until`, yielding each as it ends; `pipeline.json` in the folder says what was done.

    A stage is done again when its settings, the recordings or a stage before it have changed since. Labels and
    certificates are kept file by file; networks and motions made from other settings are made anew.

    Raises
    ------
    PipelineError
        `until` is no stage, or the folder holds something else.
    LockedError
        Another run is at work in the folder.
    ValueError, RuntimeError
        Of the stage that failed, with what to do.

    """
    if until not in NAMES:
        raise PipelineError(f"{until} is no stage. Stages: {', '.join(NAMES)}.")
    work.out.mkdir(parents=True, exist_ok=True)
    with locked(work.out / RECORD, wait=False):
        yield from _run_stages(work, until)


def _run_stages(work: PipelineWork, until: str) -> Iterator[StageDone]:
    record = _record(work)
    mark = hashlib.sha256(_marks(work).encode()).hexdigest()
    for stage in STAGES:
        mark = hashlib.sha256(f"{mark} {stage.name} {_settings(work, stage)}".encode()).hexdigest()
        yield _run_stage(work, stage, mark, record)
        if stage.name == until:
            return
    seconds = {name: entry["seconds"] for name, entry in record["stages"].items() if name in NAMES[:-1]}
    report = Stage(REPORT_STAGE, partial(stages.tell, seconds=seconds), (), lambda w: w.report)
    yield _run_stage(work, report, None, record)


def _run_stage(work: PipelineWork, stage: Stage, mark: str | None, record: dict[str, Any]) -> StageDone:
    before = record["stages"].get(stage.name, {})
    leaves = stage.leaves(work)
    same = mark is not None and before.get("mark") == mark
    if same and before.get("done") and before.get("left", digest(leaves)) == digest(leaves) != "":
        return StageDone(stage.name, before["summary"], before["seconds"], kept=True)
    if not same and stage.starts_over and leaves != work.data:
        stages.clear(leaves)
    spent = before.get("seconds", 0.0) if same else 0.0
    record["stages"][stage.name] = {"mark": mark, "done": False, "seconds": spent}
    _write(work, record)
    began = time.monotonic()
    try:
        with one_thread():
            summary = stage.does(work)
    finally:
        spent += time.monotonic() - began
        record["stages"][stage.name]["seconds"] = spent
        _write(work, record)
    record["stages"][stage.name] |= {"done": True, "summary": summary, "left": digest(leaves)}
    _write(work, record)
    return StageDone(stage.name, summary, spent, kept=False)


def _marks(work: PipelineWork) -> str:
    """What a run starts from: this version, and the content of the recordings, or of the model of synthetic people."""
    if work.data is None:
        paths = [built_in(MODEL)]
    else:
        paths = [path for session in work.found_sessions() for path in _files_of(session)]
    files = [(str(path), digest(path)) for path in paths]
    return json.dumps([FORMAT, __version__, str(work.data and work.data.resolve()), files])


def _files_of(session: Session) -> list[Path]:
    found = [session.path / METADATA, session.model_path, *(trial.motion_path for trial in session.trials)]
    return [path for path in found if path is not None and path.is_file()]


def digest(path: Path) -> str:
    """Hash of a file, or of the files directly in a folder that its own stage writes; empty where there is none."""
    if not path.exists():
        return ""
    files = sorted(p for p in path.iterdir() if p.suffix in LEFT_BY_STAGES) if path.is_dir() else [path]
    files = [p for p in files if p.name != MODEL_NAME]  # the validation puts it beside the motions
    each = [f"{p.name} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in files]
    return hashlib.sha256("\n".join(each).encode()).hexdigest()


def _settings(work: PipelineWork, stage: Stage) -> str:
    content = {name: asdict(getattr(work.settings, name)) for name in stage.depends_on}
    if stage.name == "search":
        content["search"]["objective"] = work.settings.search.objective.read_text(encoding="utf-8")
    return json.dumps(content, sort_keys=True, default=str)


def _record(work: PipelineWork) -> dict[str, Any]:
    path = work.out / RECORD
    if path.is_file():
        try:
            found = read_json(path)
        except DocumentError:
            found = {}
        if isinstance(found, dict) and found.get("format") == FORMAT:
            return found
        raise PipelineError(f"{path}: not the record of a pipeline; name a new folder.")
    if any(not path.name.startswith(f".{RECORD}.") for path in work.out.iterdir()):
        raise PipelineError(f"{work.out}: the folder holds other files; name an empty or a new folder.")
    return {"format": FORMAT, "name": work.settings.name, "stages": {}}


def _write(work: PipelineWork, record: dict[str, Any]) -> None:
    write_whole(work.out / RECORD, json.dumps(record, indent=1) + "\n")
