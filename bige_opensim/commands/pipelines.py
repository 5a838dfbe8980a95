"""All stages in one go: `bige run`, `bige demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from bige_opensim.commands.display import Steps, console, fail


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


def run(
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
    from bige_opensim.pipeline.run import run as run_stages
    from bige_opensim.pipeline.settings import read_pipeline
    from bige_opensim.pipeline.stages import PipelineWork

    done = []
    try:
        work = PipelineWork(read_pipeline(pipeline, changes), out, data, jobs, Steps)
        for stage in run_stages(work, until):
            done.append(stage)
            kept = " (done before)" if stage.kept else ""
            console.print(f"{stage.name}{kept}: {stage.summary}", markup=False, highlight=False, soft_wrap=True)
    except (ValueError, RuntimeError) as error:
        return fail(str(error))
    table = Table("stage", "seconds", "", title=str(out))
    for stage in done:
        table.add_row(stage.name, f"{stage.seconds:.1f}", "done before" if stage.kept else "")
    table.add_row("total", f"{sum(s.seconds for s in done):.1f}", "")
    console.print(table)
    return 0
