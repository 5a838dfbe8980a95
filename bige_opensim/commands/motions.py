"""Motions by an objective, OpenSim's verdict and the report: `bige generate`, `bige validate`, `bige report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from bige_opensim.commands.display import Steps, console, fail


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
    from bige_opensim.learning.checkpoint import CheckpointError
    from bige_opensim.osim.compile import compile_skeleton
    from bige_opensim.osim.compile_muscles import compile_muscles
    from bige_opensim.osim.model import ModelError

    try:
        tables = compile_skeleton(model)
        muscles = compile_muscles(model, reference_ranges(generator, tables)) if predictor == "physics" else None
        request = GenerationRequest(
            generator, surrogate, objective, model, tables, out, count, seed, iterations, muscles
        )
        total = request.iterations_in_all
        with Steps(total, "searching") as steps:
            every = max(1, total // 10)
            result = run(request, lambda i, n, loss: steps.advance(i, f"loss {loss:.4g}", every=every))
    except (GenerationError, ObjectiveError, CheckpointError, ModelError) as error:
        return fail(str(error))
    console.print(
        f"{int(result.satisfied.sum())} of {count} motions meet the objective by the {predictor}; "
        f"`bige validate {out}` asks OpenSim.",
        highlight=False,
    )
    for sentence in result.conflicts:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    return 0


def validate(motions: Path, /, *, jobs: int | None = None) -> int:
    """Put generated motions back through OpenSim and write their certificates.

    Parameters
    ----------
    motions
        Folder that `bige generate` wrote.
    jobs
        Motions simulated at once; by default one per processor core.

    """
    from bige_opensim.workers.worker_process import PROCESSES

    PROCESSES.start(int(motions.is_dir()), "bige_opensim.labelling.label_task")

    from bige_opensim.validation.roundtrip import ValidationError
    from bige_opensim.validation.roundtrip import validate as run

    verdicts = []
    try:
        with Steps(len(sorted(motions.glob("*.mot"))), "validating") as steps:
            for verdict in run(motions, jobs=jobs, progress=lambda m, s, x: steps.now(f"{m}: {s}")):
                verdicts.append(verdict)
                steps.finish(_verdict_line(verdict))
    except ValidationError as error:
        return fail(str(error))
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
    from bige_opensim.reporting.report import ReportError, write_report

    try:
        path = write_report(motions, out=out, cohort=reference)
    except (ReportError, DatasetError, ModelError, StorageError) as error:
        return fail(str(error))
    console.print(f"{path}: open it in a browser", markup=False, highlight=False, soft_wrap=True)
    return 0
