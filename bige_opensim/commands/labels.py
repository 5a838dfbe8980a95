"""Labels of recorded motions: `bige label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
    audit: float = 0.002,
    cutoff: float = 6.0,
    start: float | None = None,
    end: float | None = None,
    units: Literal["degrees", "radians"] | None = None,
    exponent: float = 2.0,
    weight: Annotated[list[str] | None, Parameter(negative=())] = None,
    volume_weighted: Annotated[bool, Parameter(negative=())] = False,
    passive: Annotated[bool, Parameter(negative=())] = False,
    allow_missing: Annotated[bool, Parameter(negative=())] = False,
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
        Share of frames that OpenSim solves again to check the fast solver, drawn over the trials of a session and
        model, at least 20 of them; 0 for none.
    cutoff
        Low-pass cut-off of the coordinates, Hz; 0 filters nothing.
    start
        First time of a single motion, s.
    end
        Last time of a single motion, s.
    units
        Unit of the rotations, whatever the file's header says.
    exponent
        Exponent of activations and reserves in the cost, above 1.
    weight
        Weight of a muscle, a pattern or a group in the cost, such as vas*_r=2; can be given several times.
    volume_weighted
        Weight muscles by their volume.
    passive
        Let passive fibre forces act, which OpenSim's static optimization leaves out.
    allow_missing
        Label motions that lack coordinates, which keep the model's default; the label says so.
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
    if cutoff < 0:
        return fail(f"--cutoff is a frequency in Hz, 0 for none; got {cutoff:g}.")
    if scheduler is not None and jobs is not None:
        return fail("--jobs is for this machine; how much a cluster does at once, its workers decide.")
    from bige_opensim.workers.worker_process import PROCESSES

    if scheduler is None:
        # its imports and those of this process take seconds: side by side
        PROCESSES.start(1, "bige_opensim.labelling.label_task")

    from bige_opensim.io.opencap import SessionError, find_sessions
    from bige_opensim.labelling.label_trials import Outcome, requests_of
    from bige_opensim.labelling.request import LabelSettings
    from bige_opensim.labelling.status_table import StatusError, audits_in_short
    from bige_opensim.physics.effort_cost import EffortCost, EffortCostError, parse_weights
    from bige_opensim.settings import SettingError
    from bige_opensim.workers.cluster import ClusterError
    from bige_opensim.workflows.label import chosen_forces, single_request
    from bige_opensim.workflows.label_sessions import label_requests

    rejected: list[Outcome] = []
    try:
        settings = LabelSettings(
            solver=solver,
            geometry=geometry,
            audit=audit,
            grf=chosen_forces(grf, forces=forces is not None, external_loads=external_loads is not None),
            cutoff_hz=cutoff,
            start=start,
            end=end,
            units=units,
            allow_missing=allow_missing,
            cost=EffortCost(exponent, parse_weights(weight or []), volume_weighted, passive),
        )
        if model is not None and motion is not None:
            requests = [single_request(model, motion, out, forces, external_loads)]
        else:
            requests, rejected = requests_of(
                find_sessions(sessions or [], outside=out), out, into_sessions=into_sessions
            )
        outcomes = label_requests(
            requests,
            rejected,
            settings,
            status=None if single else out,
            jobs=jobs,
            timeout_s=timeout,
            memory_bytes=None if memory is None else round(1e9 * memory),
            scheduler=scheduler,
            show=Steps,
        )
    except (EffortCostError, SettingError, SessionError, StatusError, ClusterError) as error:
        return fail(str(error))
    if single:
        return 0 if outcomes[0].labelled else 1
    counts = {s: sum(o.status == s for o in outcomes) for s in ("passed", "gates_failed", "skipped", "failed")}
    checked = audits_in_short(outcomes)
    said = [f"{n} {s.replace('_', ' ')}" for s, n in counts.items() if n] + ([checked] if checked else [])
    console.print(", ".join(said), highlight=False)
    return 0 if any(o.labelled for o in outcomes) else 1
