"""Labels of recorded motions: `bige label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from bige_opensim.commands.display import Steps, console, fail


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
        return fail("Name session folders, or --model and --motion for a single motion.")
    if single and (model is None or motion is None):
        return fail("--model and --motion go together: name both.")
    if not single and (external_loads or forces or start is not None or end is not None):
        return fail("--external-loads, --forces, --start and --end are for a single motion (--model, --motion).")
    if external_loads and forces:
        return fail("--external-loads and --forces both give measured forces: name one.")
    if forces and grf in ("estimated", "none"):
        return fail(f"--forces and --grf {grf} contradict each other: drop one.")
    grf = grf or ("measured" if forces else "estimated")
    if cutoff < 0:
        return fail(f"--cutoff is a frequency in Hz, 0 for none; got {cutoff:g}.")
    if scheduler is not None and jobs is not None:
        return fail("--jobs is for this machine; how much a cluster does at once, its workers decide.")
    from bige_opensim.workers.worker_process import PROCESSES

    if scheduler is None:
        # its imports and those of this process take seconds: side by side
        PROCESSES.start(1, "bige_opensim.labelling.label_task")

    from bige_opensim.io.opencap import SessionError, find_sessions
    from bige_opensim.labelling.label_trials import Outcome, label_trials, requests_of
    from bige_opensim.labelling.request import LabelSettings, TrialRequest, person_of
    from bige_opensim.labelling.status_table import StatusError, StatusTable, refuse_namesakes
    from bige_opensim.workers.cluster import ClusterError

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
            return fail(str(error))
        requests, rejected = requests_of(listed, out, into_sessions=into_sessions)
    try:
        status = StatusTable(None if single else out, rejected)
        refuse_namesakes(out, () if single else requests)
    except StatusError as error:
        return fail(str(error))
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
        return fail(str(error))
    finally:
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
