"""The command line: `bige COMMAND`. Thin: parses, shows progress, prints results; the work is done in the rooms."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

import bige_opensim

app = App(name="bige", help="Exercise motions that OpenSim confirms.", version=bige_opensim.__version__)
train = App(name="train", help="Train a network on a dataset of repetitions.")
app.command(train)
imports = App(name="import", help="Bring public recordings into the layout of OpenCap sessions.")
app.command(imports)
console = Console()
errors = Console(stderr=True)


class Steps:
    """Progress of many items: a bar on a terminal, one line per finished item elsewhere."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.done = total, what, 0
        self.live = console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, TextColumn("{task.fields[now]}"), console=console, disable=not self.live)
        self.task: TaskID | None = None

    def __enter__(self) -> Steps:
        self.progress.start()
        self.task = self.progress.add_task(self.what, total=self.total, now="")
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def now(self, text: str) -> None:
        """Show what is going on."""
        if self.task is not None:
            self.progress.update(self.task, now=text)

    def finish(self, line: str) -> None:
        """Count one item and print its line."""
        self.done += 1
        if self.task is not None:
            self.progress.advance(self.task)
        (self.progress.console if self.live else console).print(
            line if self.live else f"[{self.done}/{self.total}] {line}", markup=False, highlight=False, soft_wrap=True
        )

    def advance(self, done: int, text: str, *, every: int) -> None:
        """Count iterations; away from a terminal, print every so many."""
        if self.task is not None:
            self.progress.update(self.task, completed=done, now=text)
        if not self.live and (done % every == 0 or done == self.total):
            console.print(f"[{done}/{self.total}] {self.what}: {text}", markup=False, highlight=False)


@app.command
def info() -> None:
    """Print versions and devices."""
    import importlib.metadata
    import platform

    import torch

    table = Table(show_header=False)
    table.add_row("bige_opensim", bige_opensim.__version__)
    table.add_row("python", platform.python_version())
    try:
        from bige_opensim.osim.model import opensim_version

        table.add_row("opensim", opensim_version())
    except ImportError:
        table.add_row("opensim", "not installed: labelling and validation are not available, training and search are")
    for name in ("torch", "numpy", "scipy", "xarray", "cyclopts"):
        table.add_row(name, importlib.metadata.version(name))
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["cpu"]
    table.add_row("devices", ", ".join(devices))
    console.print(table)


@app.command
def doctor(
    paths: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    model: Path | None = None,
    json: Path | None = None,
    fix: Path | None = None,
) -> int:
    """Find faults in models, motions, markers, forces and sessions.

    Parameters
    ----------
    paths
        Files (.osim, .mot, .sto, .trc, ExternalLoads .xml), session folders, or folders of them.
    model
        Model that the motions belong to; by default the session's, or the only one in the folder.
    json
        Also write the findings to this file.
    fix
        New folder for repaired copies and a log of what was changed; the originals stay as they are.

    """
    from bige_opensim.doctor.cases import find_cases
    from bige_opensim.doctor.examination import Examiner
    from bige_opensim.doctor.findings import DoctorError, Finding, counted, counts, write_findings
    from bige_opensim.doctor.repair import LOG, repair_all

    examiner, found = Examiner(), list[Finding]()
    try:
        cases = find_cases(paths, model)
        with Steps(len(cases), "examining") as steps:
            for case in cases:
                steps.now(case.path.name)
                mine = examiner.examine(case)
                found += mine
                steps.finish("\n".join([f"{case.path}: {counted(mine)}", *(f"  {item.line()}" for item in mine)]))
        if json is not None:
            write_findings(json, found, len(cases))
        if fix is not None:
            repairs = repair_all(cases, fix, examiner)
            written = sum(bool(repair.written) for repair in repairs)
            console.print(f"{written} repaired copies in {fix}; see {fix / LOG}", highlight=False)
    except DoctorError as error:
        return _fail(str(error))
    console.print(f"{len(cases)} examined: {counted(found)}", highlight=False)
    return 1 if counts(found)["error"] else 0


@app.command
def label(
    sessions: Annotated[list[Path] | None, Parameter(negative=())] = None,
    /,
    *,
    out: Path,
    model: Path | None = None,
    motion: Path | None = None,
    external_loads: Path | None = None,
    forces: Path | None = None,
    grf: Literal["estimated", "measured", "auto", "none"] | None = None,
    solver: Literal["opensim", "fast"] = "opensim",
    geometry: Literal["polynomial", "exact"] = "polynomial",
    audit: float = 0.02,
    cutoff: float = 6.0,
    start: float | None = None,
    end: float | None = None,
    units: Literal["degrees", "radians"] | None = None,
    jobs: int | None = None,
    timeout: float | None = None,
    memory: float | None = None,
    scheduler: str | None = None,
    into_sessions: bool = False,
) -> int:
    """Label trials with ground forces, joint moments and muscle activations.

    Parameters
    ----------
    sessions
        OpenCap session folders, or folders of them: every trial with coordinates is labelled.
    out
        Where labels go: OUT/SESSION/TRIAL, or OUT itself for a single motion.
    model
        Model of a single motion.
    motion
        A single motion (.mot or .sto).
    external_loads
        ExternalLoads file with measured ground forces of the single motion.
    forces
        Force-plate file (.mot or .sto) of the single motion; which foot stands on which plate is found.
    grf
        Estimate ground forces (the default), use those that a session's force plates measured, do so where they can be
        used and else estimate (auto), or use none.
    solver
        OpenSim's StaticOptimization, or the fast solver that reproduces it.
    geometry
        Muscle paths of the fast solver: polynomials fitted to OpenSim, or OpenSim's own.
    audit
        Share of frames that OpenSim solves again to check the fast solver, at least 10 frames; 0 for none.
    cutoff
        Low-pass cut-off of the coordinates, Hz; 0 filters nothing.
    start
        First time of a single motion, s.
    end
        Last time of a single motion, s.
    units
        Unit of the rotations, whatever the file's header says.
    jobs
        Trials labelled at once; by default one per processor core.
    timeout
        Seconds after which a trial is given up.
    memory
        Gigabytes of memory above which a trial is given up.
    scheduler
        Address of a running dask scheduler whose workers do the labelling, such as tcp://127.0.0.1:8786.
    into_sessions
        Also write kinematics_activations_<trial>_so.mot into the sessions' OpenSimData/Dynamics.

    """
    single = model is not None or motion is not None
    if single == bool(sessions):
        return _fail("Name session folders, or --model and --motion for a single motion.")
    if single and (model is None or motion is None):
        return _fail("--model and --motion go together: name both.")
    if not single and (external_loads or forces or start is not None or end is not None):
        return _fail("--external-loads, --forces, --start and --end are for a single motion (--model, --motion).")
    if external_loads and forces:
        return _fail("--external-loads and --forces both give measured forces: name one.")
    if forces and grf in ("estimated", "none"):
        return _fail(f"--forces and --grf {grf} contradict each other: drop one.")
    grf = grf or ("measured" if forces else "estimated")
    if cutoff < 0:
        return _fail(f"--cutoff is a frequency in Hz, 0 for none; got {cutoff:g}.")
    if scheduler is not None and jobs is not None:
        return _fail("--jobs is for this machine; how much a cluster does at once, its workers decide.")
    from bige_opensim.labelling.trial_process import PROCESSES

    if scheduler is None:
        PROCESSES.start(1)  # its imports and those of this process take seconds: side by side

    from bige_opensim.io.opencap import SessionError, find_sessions
    from bige_opensim.labelling.batch import Outcome, StatusTable, label_trials, requests_of
    from bige_opensim.labelling.cluster import ClusterError
    from bige_opensim.labelling.trial import LabelSettings, TrialRequest, person_of

    settings = LabelSettings(
        solver=solver, geometry=geometry, audit=audit, grf=grf, cutoff_hz=cutoff, start=start, end=end, units=units
    )
    rejected: list[Outcome] = []
    if model is not None and motion is not None:
        person = person_of(model)
        requests = [TrialRequest(model, motion, out, out, person, person, motion.stem, external_loads, forces=forces)]
    else:
        try:
            listed = find_sessions(sessions or [])
        except SessionError as error:
            return _fail(str(error))
        requests, rejected = requests_of(listed, out, into_sessions=into_sessions)
    status = StatusTable(None if single else out, rejected)
    try:
        with Steps(len(requests) + len(rejected), "labelling") as steps:
            for outcome in rejected:
                steps.finish(f"{outcome.session}/{outcome.trial}: {outcome.status}. {outcome.reason}")
            running = label_trials(
                requests,
                settings,
                jobs=jobs,
                timeout_s=timeout,
                memory_bytes=None if memory is None else round(1e9 * memory),
                scheduler=scheduler,
                progress=lambda t, s, x: steps.now(f"{t}: {s}"),
            )
            for outcome in running:
                status.add(outcome)
                steps.finish(_label_line(outcome))
    except ClusterError as error:
        return _fail(str(error))
    status.write()
    outcomes = status.outcomes
    if single:
        return 0 if outcomes[0].labelled else 1
    counts = {s: sum(o.status == s for o in outcomes) for s in ("passed", "gates_failed", "skipped", "failed")}
    console.print(", ".join(f"{n} {s.replace('_', ' ')}" for s, n in counts.items() if n), highlight=False)
    return 0 if any(o.labelled for o in outcomes) else 1


def _label_line(outcome: Any) -> str:
    head = f"{outcome.session}/{outcome.trial}: {outcome.status}"
    if not outcome.labelled:
        return f"{head}. {outcome.reason}"
    if outcome.this_run == "skipped":
        return f"{head} (labelled before). {outcome.reason}"
    t = outcome.label["timings"]
    rate = t["frames"] / max(t["solve_s"], 1e-9)
    return f"{head}. {t['frames']} frames, {t['total_s']:.1f} s ({rate:.1f} frames/s). {outcome.reason}"


@app.command
def ik(
    sessions: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    out: Path | None = None,
    into_sessions: bool = False,
    trials: str = "*",
    up: Literal["x", "y", "z"] | None = None,
    jobs: int | None = None,
) -> int:
    """Find coordinates for trials that have markers only, by OpenSim's inverse kinematics.

    Parameters
    ----------
    sessions
        OpenCap session folders with a scaled model, or folders of them.
    out
        Folder for copies of the sessions, in which the coordinates are written.
    into_sessions
        Write the coordinates into the sessions themselves instead.
    trials
        Pattern of trial names to take, such as "squat*".
    up
        Axis of the markers that points up; by default what a .c3d file says, and y of a .trc file.
    jobs
        Trials solved at once; by default one per processor core.

    """
    from bige_opensim.io.opencap import SessionError, find_sessions
    from bige_opensim.labelling import marker_trials as run

    if (out is None) == (not into_sessions):
        return _fail("Name --out for copies of the sessions, or --into-sessions to write into them.")
    requests: list[run.MarkerRequest] = []
    outcomes: list[run.MarkerOutcome] = []
    try:
        for session in find_sessions(sessions):
            folder = session.path if out is None else run.session_copy(session, out)
            mine, others = run.marker_requests(session, folder, trials=trials, up=up)
            requests, outcomes = requests + mine, outcomes + others
    except SessionError as error:
        return _fail(str(error))
    return _solve_markers(requests, outcomes, out, jobs)


@imports.command(name="ui-prmd")
def import_ui_prmd(raw: Path, /, *, model: Path, out: Path, movement: str = "m01", jobs: int | None = None) -> int:
    """Make sessions of the UI-PRMD squats: a scaled model per person, markers, and coordinates.

    Parameters
    ----------
    raw
        Folder with the positions that Vicon recorded (m01_s01_e01_positions.txt, also gzipped), at any depth.
    model
        Generic full-body model, such as LaiUhlrich2022.osim.
    out
        Folder for the sessions.
    movement
        Movement of the data set; m01 is the deep squat.
    jobs
        People or clips at once; by default one per processor core.

    """
    from bige_opensim.io.opencap import find_sessions
    from bige_opensim.io.ui_prmd import UiPrmdError, find_clips
    from bige_opensim.labelling import marker_trials as run
    from bige_opensim.labelling.ui_prmd_sessions import make_sessions, people

    try:
        people_found = people(find_clips(raw, movement), model, out)
    except UiPrmdError as error:
        return _fail(str(error))
    made = []
    with Steps(len(people_found), "people") as steps:
        for person in make_sessions(people_found, jobs=jobs):
            about = (
                f" {person.record['height_m']:.2f} m, {person.record['mass_kg']:.0f} kg (estimated)."
                if person.record
                else ""
            )
            steps.finish(f"{person.subject}: {person.status}.{about} {person.reason}")
            made += [p.folder for p in people_found if p.subject == person.subject and person.record]
    if not made:
        return 1
    requests: list[run.MarkerRequest] = []
    for session in find_sessions(sorted(made)):
        requests += run.marker_requests(session, session.path, again=True)[0]
    return _solve_markers(requests, [], out, jobs)


def _solve_markers(requests: list[Any], others: list[Any], out: Path | None, jobs: int | None) -> int:
    """Solve trials with progress, write and print the table of their errors, and return the exit status."""
    from bige_opensim.labelling import marker_trials as run

    outcomes = list(others)
    with Steps(len(requests) + len(others), "inverse kinematics") as steps:
        for outcome in others:
            steps.finish(f"{outcome.session}/{outcome.trial}: {outcome.status}, {outcome.reason}")
        for outcome in run.solve_marker_trials(requests, jobs=jobs):
            outcomes.append(outcome)
            errors_mm = f" RMS {outcome.record['rms_mm']:.1f} mm." if outcome.record else ""
            steps.finish(f"{outcome.session}/{outcome.trial}: {outcome.status}.{errors_mm} {outcome.reason}")
    if out is not None:
        run.write_summary(out / run.SUMMARY, outcomes)
    _print_marker_errors([o for o in outcomes if o.record])
    return 1 if any(o.status == run.FAILED for o in outcomes) or not outcomes else 0


def _print_marker_errors(outcomes: list[Any]) -> None:
    table = Table("session", "trial", "frames", "RMS mm", "worst frame mm", "worst markers mm")
    for o in outcomes:
        worst = ", ".join(f"{m} {o.record['marker_rms_mm'][m]:.0f}" for m in o.record["worst_markers"][:3])
        numbers = (f"{o.record[key]:.1f}" for key in ("rms_mm", "worst_frame_rms_mm"))
        table.add_row(o.session, o.trial, str(o.record["frames"]), *numbers, worst)
    if outcomes:
        console.print(table)
        within = sum(o.record["rms_mm"] <= 25.0 for o in outcomes)
        console.print(f"{within} of {len(outcomes)} trials are fitted within 25 mm RMS.", highlight=False)


@app.command
def dataset(
    labels: Path,
    /,
    *,
    out: Path,
    include_failed: bool = False,
    movement: Literal["squat", "sit-to-stand", "lunge", "jump", "gait", "auto"] = "squat",
    trials: str = "*",
    seed: int = 0,
) -> int:
    """Cut labelled trials into repetitions of 101 samples, split by subject.

    Parameters
    ----------
    labels
        Folder that `bige label` wrote.
    out
        The netCDF file to write.
    include_failed
        Keep trials that failed the quality gates, marked.
    movement
        Which repetitions to cut. auto finds the movement of each trial; a dataset holds one, so it must be the same
        in all.
    trials
        Pattern of trial names to take, such as "squat*".
    seed
        Seed of the split.

    """
    from bige_opensim.learning.dataset import DatasetError, build_dataset, save_dataset

    try:
        ds = build_dataset(labels, include_failed=include_failed, movement=movement, trials=trials, seed=seed)
        save_dataset(ds, out)
    except DatasetError as error:
        return _fail(str(error))
    _print_dataset(ds, out)
    return 0


def _print_dataset(ds: Any, out: Path) -> None:
    import json

    table = Table("subject", "split", "repetitions", "duration s", "depth deg", title=f"{out}: {ds.attrs['movement']}")
    for subject in dict.fromkeys(ds["subject"].values.tolist()):
        mine = ds.isel(repetition=ds["subject"].values == subject)
        duration, depth = mine["duration"].values, mine["depth_deg"].values
        table.add_row(
            subject,
            str(mine["split"].values[0]),
            str(mine.sizes["repetition"]),
            f"{duration.min():.2f}-{duration.max():.2f}",
            f"{depth.min():.0f}-{depth.max():.0f}",
        )
    console.print(table)
    for item in json.loads(ds.attrs.get("excluded", "[]")):
        console.print(f"left out {item['trial']}: {item['reason']}", markup=False, highlight=False, soft_wrap=True)


@train.command(name="surrogate")
def train_surrogate_command(
    *, data: Path, out: Path, seed: int = 0, config: Path | None = None, epochs: int | None = None
) -> int:
    """Train the network that predicts activations from kinematics.

    Parameters
    ----------
    data
        Dataset of repetitions that `bige dataset` wrote.
    out
        Checkpoint folder; an interrupted training there goes on.
    seed
        Seed of weights, order and augmentation.
    config
        TOML or JSON file with training settings.
    epochs
        Replaces the configured number of epochs.

    """
    return _train("surrogate", data, out, seed, config, epochs)


@train.command(name="generator")
def train_generator_command(
    *, data: Path, out: Path, seed: int = 0, config: Path | None = None, epochs: int | None = None
) -> int:
    """Train the network that generates motions.

    Parameters
    ----------
    data
        Dataset of repetitions that `bige dataset` wrote.
    out
        Checkpoint folder; an interrupted training there goes on.
    seed
        Seed of weights, order and augmentation.
    config
        TOML or JSON file with training settings.
    epochs
        Replaces the configured number of epochs.

    """
    return _train("generator", data, out, seed, config, epochs)


def _train(kind: str, data: Path, out: Path, seed: int, config: Path | None, epochs: int | None) -> int:
    from bige_opensim.learning import training
    from bige_opensim.learning.checkpoint import CheckpointError
    from bige_opensim.learning.dataset import DatasetError, load_dataset

    settings_type: Any = training.SurrogateTraining if kind == "surrogate" else training.GeneratorTraining
    run: Callable[..., Path] = training.train_surrogate if kind == "surrogate" else training.train_generator
    try:
        settings = training.read_training_config(config, settings_type) if config else settings_type()
        settings = replace(settings, seed=seed, **({"epochs": epochs} if epochs else {}))
        ds = load_dataset(data)
        with Steps(settings.epochs, f"training {kind}") as steps:
            folder = run(ds, out, settings, report=lambda e, n, m: steps.advance(e, _metrics(m), every=20))
    except (DatasetError, CheckpointError, training.TrainingError) as error:
        return _fail(str(error))
    console.print((folder / "card.md").read_text(encoding="utf-8"), markup=False, highlight=False)
    return 0


def _metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in metrics.items())


@app.command
def generate(
    *,
    generator: Path,
    surrogate: Path,
    objective: Path,
    model: Path,
    out: Path,
    count: Annotated[int, Parameter(name=["-n", "--count"])] = 8,
    seed: int = 0,
    iterations: int | None = None,
    predictor: Literal["surrogate", "physics"] = "surrogate",
) -> int:
    """Search for motions that meet an objective.

    Parameters
    ----------
    generator
        Checkpoint of the generator.
    surrogate
        Checkpoint of the surrogate.
    objective
        Objective file (TOML).
    model
        The subject's model.
    out
        Folder for the motions.
    count
        How many motions.
    seed
        Seed of the starting points.
    iterations
        Replaces the objective's number of search iterations.
    predictor
        What says how active the muscles are: the surrogate alone, or, after the surrogate's search, a shorter one
        through the physics of the subject's model.

    """
    from bige_opensim.guidance.generation import GenerationError, GenerationRequest, reference_ranges
    from bige_opensim.guidance.generation import generate as run
    from bige_opensim.guidance.language import ObjectiveError
    from bige_opensim.guidance.objective import Objective
    from bige_opensim.learning.checkpoint import CheckpointError
    from bige_opensim.osim.compile import compile_skeleton
    from bige_opensim.osim.compile_muscles import compile_muscles
    from bige_opensim.osim.model import ModelError

    try:
        total = iterations or Objective.load(objective).settings.iterations
        tables = compile_skeleton(model)
        muscles = compile_muscles(model, reference_ranges(generator, tables)) if predictor == "physics" else None
        request = GenerationRequest(
            generator, surrogate, objective, model, tables, out, count, seed, iterations, muscles
        )
        total += round(GenerationRequest.physics_share * total) if muscles is not None else 0
        with Steps(total, "searching") as steps:
            every = max(1, total // 10)
            result = run(request, lambda i, n, loss: steps.advance(i, f"loss {loss:.4g}", every=every))
    except (GenerationError, ObjectiveError, CheckpointError, ModelError) as error:
        return _fail(str(error))
    console.print(
        f"{int(result.satisfied.sum())} of {count} motions meet the objective by the {predictor}; "
        f"`bige validate {out}` asks OpenSim.",
        highlight=False,
    )
    for sentence in result.conflicts:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    return 0


@app.command
def validate(motions: Path, /, *, jobs: int | None = None) -> int:
    """Put generated motions back through OpenSim and write their certificates.

    Parameters
    ----------
    motions
        Folder that `bige generate` wrote.
    jobs
        Motions simulated at once; by default one per processor core.

    """
    from bige_opensim.labelling.trial_process import PROCESSES

    PROCESSES.start(int(motions.is_dir()))

    from bige_opensim.validation.roundtrip import ValidationError
    from bige_opensim.validation.roundtrip import validate as run

    verdicts = []
    try:
        with Steps(len(sorted(motions.glob("*.mot"))), "validating") as steps:
            for verdict in run(motions, jobs=jobs, progress=lambda m, s, x: steps.now(f"{m}: {s}")):
                verdicts.append(verdict)
                steps.finish(_verdict_line(verdict))
    except ValidationError as error:
        return _fail(str(error))
    confirmed = sum(bool(v.certificate and v.certificate["confirmed"]) for v in verdicts)
    console.print(f"{confirmed} of {len(verdicts)} motions confirmed by OpenSim; see {motions / 'summary.csv'}")
    return 0 if any(v.certificate for v in verdicts) else 1


def _verdict_line(verdict: Any) -> str:
    c = verdict.certificate
    if c is None:
        return f"{verdict.name}: no certificate. {verdict.reason}"
    parts = [
        f"{name} {_number(t['predicted'])} predicted, {_number(t['simulated'])} simulated ({t['target']})"
        for name, t in c["terms"].items()
        if t["decides"]
    ]
    return f"{verdict.name}: {'confirmed' if c['confirmed'] else 'not confirmed'}; labels {c['labels']['status']}; " + (
        "; ".join(parts)
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


@app.command
def report(motions: Path, /, *, reference: Path | None = None, out: Path | None = None) -> int:
    """Write one offline HTML file that shows what was asked, the verdict on every motion, and its curves.

    Parameters
    ----------
    motions
        Folder that `bige generate` and `bige validate` wrote.
    reference
        Dataset of repetitions (netCDF) whose range the curves are shown in; by default the training repetitions of the
        generator, where its folder lies beside that of the motions.
    out
        File to write; by default report.html in the folder of the motions.

    """
    from bige_opensim.io.storage import StorageError
    from bige_opensim.learning.dataset import DatasetError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.report.report import ReportError, write_report

    try:
        path = write_report(motions, out=out, cohort=reference)
    except (ReportError, DatasetError, ModelError, StorageError) as error:
        return _fail(str(error))
    console.print(f"{path}: open it in a browser", markup=False, highlight=False, soft_wrap=True)
    return 0


@app.command
def synth(
    *,
    subjects: int,
    out: Path,
    reps: int = 4,
    seed: int = 0,
    noise: float = 0.0,
    model: Path | None = None,
    jobs: int | None = None,
) -> int:
    """Make sessions of synthetic people who squat: a scaled model and a motion with planted feet each.

    Parameters
    ----------
    subjects
        How many people.
    out
        Folder for the sessions.
    reps
        Squats of each person.
    seed
        The same seed makes the same people.
    noise
        Standard deviation of noise on every coordinate, degrees (and 2 mm per degree), as of a sensor.
    model
        Generic full-body model to scale; by default the one that comes with the package.
    jobs
        People at once; by default one per processor core.

    """
    from bige_opensim.built_in import MODEL, built_in
    from bige_opensim.osim.anthropometric_scaling import ScalingError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.synthesis.sessions import CohortSettings, SynthesisError, make_cohort

    try:
        settings = CohortSettings(subjects, reps, seed, noise)
        with Steps(subjects, "people") as steps:
            for made in make_cohort(out, model or built_in(MODEL), settings, jobs=jobs):
                steps.finish(_person_line(made))
    except (SynthesisError, ScalingError, ModelError) as error:
        return _fail(str(error))
    console.print(f"{subjects} synthetic people in {out}", highlight=False)
    return 0


def _person_line(made: Any) -> str:
    person, squats = made.record["person"], made.record["squats"]
    deepest = math.degrees(max(s["depth"] for s in squats))
    about = f"{person['sex']}, {person['height_m']:.2f} m, {person['mass_kg']:.0f} kg"
    return f"{made.name}: {made.status}. {about}, {len(squats)} squats to {deepest:.0f} degrees of the knees"


@app.command
def demo(*, out: Path = Path("bige_demo"), jobs: int | None = None) -> int:
    """Show the whole system at work: synthetic people, labels, networks, a search, OpenSim's verdicts, a report.

    Parameters
    ----------
    out
        Folder for everything that is made; an interrupted demo there goes on.
    jobs
        Trials at once; by default one per processor core.

    """
    from bige_opensim.built_in import DEMO, built_in

    status = _run_pipeline(built_in(DEMO), out, None, jobs)
    if status == 0:
        console.print(
            "\nThese people were synthetic. Next, with OpenCap sessions of your own:\n"
            f"  bige run {built_in(DEMO)} --data PATH/TO/SESSIONS --out squats",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return status


@app.command(name="run")
def run_command(
    pipeline: Path,
    /,
    *,
    out: Path,
    data: Path | None = None,
    until: str = "report",
    subject: str | None = None,
    count: int | None = None,
    jobs: int | None = None,
) -> int:
    """Run a pipeline: label, dataset, surrogate, generator, search, validate, report, by one TOML file.

    Parameters
    ----------
    pipeline
        TOML file with a table per stage, such as pipelines/squat.toml.
    out
        Folder for everything that is made; an interrupted run there goes on.
    data
        OpenCap session folders, at any depth; without it the file's synthetic people are made.
    until
        Last stage to run: people, label, dataset, surrogate, generator, search, validate or report.
    subject
        Subject to search motions for, in place of the file's.
    count
        How many motions to search, in place of the file's.
    jobs
        Trials at once; by default one per processor core.

    """
    changes = {name: value for name, value in (("subject", subject), ("count", count)) if value is not None}
    return _run_pipeline(pipeline, out, data, jobs, until, {"search": changes})


def _run_pipeline(
    pipeline: Path,
    out: Path,
    data: Path | None,
    jobs: int | None,
    until: str = "report",
    changes: dict[str, dict[str, Any]] | None = None,
) -> int:
    from bige_opensim.pipeline.run import run
    from bige_opensim.pipeline.settings import read_pipeline
    from bige_opensim.pipeline.stages import Work

    done = []
    try:
        work = Work(read_pipeline(pipeline, changes), out, data, jobs, Steps)
        for stage in run(work, until):
            done.append(stage)
            kept = " (done before)" if stage.kept else ""
            console.print(f"{stage.name}{kept}: {stage.summary}", markup=False, highlight=False, soft_wrap=True)
    except (ValueError, RuntimeError) as error:
        return _fail(str(error))
    table = Table("stage", "seconds", "", title=str(out))
    for stage in done:
        table.add_row(stage.name, f"{stage.seconds:.1f}", "done before" if stage.kept else "")
    table.add_row("total", f"{sum(s.seconds for s in done):.1f}", "")
    console.print(table)
    return 0


@app.command
def scale(
    model: Path,
    /,
    *,
    out: Path,
    height: float,
    mass: float,
    segment: Annotated[list[str] | None, Parameter(negative=())] = None,
) -> int:
    """Scale a model to a person's height and mass, muscle strength with them.

    Parameters
    ----------
    model
        The model to scale (.osim), such as osim_models/fullbody80.osim.
    out
        The model file to write.
    height
        Standing height, m.
    mass
        Mass, kg.
    segment
        Proportion of a body, such as femur=1.05 or pelvis=1,1,1.1 (along x, y, z); the height is kept. May be repeated.

    """
    from bige_opensim.osim.anthropometric_scaling import ScalingError, read_segment_scales, scale_model
    from bige_opensim.osim.model import ModelError

    try:
        segments = read_segment_scales(segment or [])
        done = scale_model(model, out, height_m=height, mass_kg=mass, segment_scales=segments)
    except (ScalingError, ModelError) as error:
        return _fail(str(error))
    console.print(
        f"{done.path}: {done.source_height_m:.3f} m, {done.source_mass_kg:.1f} kg -> {height:.3f} m, {mass:.1f} kg; "
        f"muscle volume x {done.muscle_volume:.3f}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _fail(message: str) -> int:
    errors.print(f"bige: {message}", markup=False, highlight=False, soft_wrap=True)
    return 1


def main() -> None:
    """Run the command line and exit with its status."""
    warnings.filterwarnings("ignore", message="enable_nested_tensor")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # dask leaves waits behind when it closes
    sys.exit(app(result_action="return_value") or 0)


if __name__ == "__main__":
    main()
