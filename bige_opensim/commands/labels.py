"""Labels of recorded motions: `bige label`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bige_opensim.commands.display import Steps, console, fail
from bige_opensim.commands.json_output import JsonTarget, json_output
from bige_opensim.commands.label_options import CostOptions, LabelOptions, WorkerOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bige_opensim.labelling.outcome import Outcome


def label(
    sessions: Annotated[list[Path] | None, Parameter(negative=())] = None,
    /,
    *,
    out: Path,
    model: Path | None = None,
    motion: Path | None = None,
    external_loads: Path | None = None,
    forces: Path | None = None,
    into_sessions: bool = False,
    json: JsonTarget = None,
    how: LabelOptions = LabelOptions(),
    cost: CostOptions = CostOptions(),
    workers: WorkerOptions = WorkerOptions(),
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
    into_sessions
        Also write kinematics_activations_TRIAL_so.mot into the sessions' OpenSimData/Dynamics.
    json
        Also write what became of every trial to this file; - for standard output.

    """
    single = model is not None or motion is not None
    if single == bool(sessions):
        return fail("Name session folders, or --model and --motion for a single motion.")
    if single and (model is None or motion is None):
        return fail("--model and --motion go together: name both.")
    if not single and (external_loads or forces or how.start is not None or how.end is not None):
        return fail("--external-loads, --forces, --start and --end are for a single motion (--model, --motion).")
    if how.cutoff != "auto" and how.cutoff < 0:
        return fail(f"--cutoff is a frequency in Hz, 0 for none, or auto; got {how.cutoff:g}.")
    if workers.scheduler is not None and workers.jobs is not None:
        return fail("--jobs is for this machine; how much a cluster does at once, its workers decide.")
    from bige_opensim.workers.worker_process import PROCESSES

    if workers.scheduler is None:
        # its imports and those of this process take seconds: side by side
        PROCESSES.start(1, "bige_opensim.labelling.label_task")

    from bige_opensim.io.opencap import SessionError, find_sessions
    from bige_opensim.io.storage import StorageError
    from bige_opensim.labelling.label_trials import requests_of
    from bige_opensim.labelling.status_table import StatusError
    from bige_opensim.physics.carried_loads import CarriedLoadError
    from bige_opensim.physics.effort_cost import EffortCostError
    from bige_opensim.settings import SettingError
    from bige_opensim.workers.cluster import ClusterError
    from bige_opensim.workflows.label import chosen_forces, single_request
    from bige_opensim.workflows.label_sessions import label_requests

    rejected: list[Outcome] = []
    try:
        grf = chosen_forces(how.grf, forces=forces is not None, external_loads=external_loads is not None)
        settings = how.settings(grf, cost.cost())
        if model is not None and motion is not None:
            requests = [single_request(model, motion, out, forces, external_loads)]
        else:
            found = find_sessions(sessions or [], outside=out)
            requests, rejected = requests_of(found, out, into_sessions=into_sessions)
        with json_output(json) as write:
            outcomes = label_requests(
                requests,
                rejected,
                settings,
                status=None if single else out,
                jobs=workers.jobs,
                timeout_s=workers.timeout,
                memory_bytes=workers.memory_bytes,
                scheduler=workers.scheduler,
                show=Steps,
            )
            write(_status(outcomes))
            if not single:
                _print_counts(outcomes)
    except (CarriedLoadError, EffortCostError, SettingError, SessionError) as error:
        return fail(str(error))
    except (StatusError, StorageError, ClusterError) as error:
        return fail(str(error))
    return 0 if any(o.labelled for o in outcomes) else 1


def _status(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What became of every trial, as JSON holds it."""
    keys = ("session", "trial", "status", "reason", "this_run", "seconds", "motion")
    trials = [{key: getattr(outcome, key) for key in keys} for outcome in outcomes]
    return {"format": "bige-label-status/1", "trials": trials}


def _print_counts(outcomes: Sequence[Outcome]) -> None:
    from bige_opensim.labelling.status_table import audits_in_short

    counts = {s: sum(o.status == s for o in outcomes) for s in ("passed", "gates_failed", "skipped", "failed")}
    checked = audits_in_short(outcomes)
    said = [f"{n} {s.replace('_', ' ')}" for s, n in counts.items() if n] + ([checked] if checked else [])
    console.print(", ".join(said), highlight=False)
