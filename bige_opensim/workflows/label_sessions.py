"""Labels of many trials, by workers: one engine for scripts, commands and pipelines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from bige_opensim.io.opencap import find_sessions
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_trials import label_trials, requests_of
from bige_opensim.labelling.outcome import SKIPPED, Outcome
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.labelling.status_table import STATUS_FILE, StatusTable, read_status, refuse_namesakes
from bige_opensim.physics.carried_loads import Loads, loads_of
from bige_opensim.physics.effort_cost import EffortCost, Weights, weight_pairs
from bige_opensim.workflows.progress import Show, Silent

if TYPE_CHECKING:
    import pandas as pd

Paths = str | os.PathLike[str]


class Labels(Sequence[Label]):
    """Labels of many trials, in their folders: each is read when it is asked for.

    Attributes
    ----------
    folder
        Where they are.
    outcomes
        What became of every trial, those without a label included.

    """

    def __init__(self, folder: Path, requests: Iterable[TrialRequest], outcomes: Iterable[Outcome]) -> None:
        self.folder = folder
        self.outcomes = tuple(sorted(outcomes, key=lambda o: (o.session, o.trial)))
        places = {(r.session, r.trial): r.out for r in requests}
        self._places = [places[o.session, o.trial] for o in self.outcomes if o.labelled]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Trials that have no label; `reason` says why."""
        return tuple(o for o in self.outcomes if not o.labelled)

    def to_frame(self) -> pd.DataFrame:
        """The status table: a row per trial with status, reason, frames, gates and peaks."""
        import pandas as pd

        mine = {(o.session, o.trial) for o in self.outcomes}
        rows = [row for row in read_status(self.folder / STATUS_FILE) if (row["session"], row["trial"]) in mine]
        return pd.DataFrame(rows).set_index(["session", "trial"])

    @overload
    def __getitem__(self, at: int) -> Label: ...
    @overload
    def __getitem__(self, at: slice) -> list[Label]: ...
    def __getitem__(self, at: int | slice) -> Label | list[Label]:
        places = self._places[at]
        return Label.load(places) if isinstance(places, Path) else [Label.load(place) for place in places]

    def __iter__(self) -> Iterator[Label]:
        return (Label.load(place) for place in self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        passed = sum(o.status == "passed" for o in self.outcomes)
        return f"<Labels in {self.folder}: {len(self)} of {len(self.outcomes)} trials, {passed} passed>"


def label_sessions(
    sessions: Paths | Sequence[Paths],
    *,
    out: Paths,
    jobs: int | None = None,
    solver: str = "opensim",
    geometry: str = "polynomial",
    audit: float = 0.002,
    grf: str = "estimated",
    cutoff_hz: float | Literal["auto"] = 6.0,
    units: str | None = None,
    allow_missing: bool = False,
    exponent: float = 2.0,
    weights: Weights = (),
    volume_weighted: bool = False,
    passive: bool = False,
    residual_reduction: bool = True,
    chair: str | float | None = None,
    hands: str | None = None,
    calves: bool = False,
    device: str = "cpu",
    load: Loads = None,
    uncertainty: int = 0,
    timeout_s: float | None = None,
    memory_bytes: int | None = None,
    scheduler: str | None = None,
    into_sessions: bool = False,
    show: Show = Silent,
) -> Labels:
    """Label every trial with coordinates of OpenCap session folders into `out/<session>/<trial>`.

    A trial that cannot be labelled costs only itself: it is in `failed` with the reason. Labels that are there from
    the same files and settings are kept.

    Parameters
    ----------
    sessions
        A session folder or several, or folders of them at any depth.
    out
        Folder for the labels; `status.csv` in it has a row per trial.
    jobs
        Trials at once, each in a process of its own; by default one per processor core, as far as memory goes.
    solver, geometry, audit, grf, cutoff_hz, units, allow_missing, exponent, weights, volume_weighted, passive,
    residual_reduction, chair, hands, calves, device, load, uncertainty
        As of `label`, the body from all trials of a session; measured forces are those of each trial's own file.
    timeout_s, memory_bytes
        What one trial may take before it is given up.
    scheduler
        Address of a running dask scheduler whose workers do the labelling instead of this machine.
    into_sessions
        Also write `kinematics_activations_<trial>_so.mot` into the sessions' `OpenSimData/Dynamics`.
    show
        How progress is shown; by default not at all.

    Returns
    -------
    Labels
        A sequence of `Label`, each read from its folder when it is asked for.

    Raises
    ------
    SettingError, EffortCostError, CarriedLoadError
        A setting that is none of its values.
    SessionError
        There are no sessions in the folders.
    ClusterError
        No scheduler answers at the address.
    StatusError
        The folder holds another file as `status.csv`, or labels of another session of the same name.

    """
    settings = LabelSettings(
        solver=solver,
        geometry=geometry,
        audit=audit,
        grf=grf,
        cutoff_hz=cutoff_hz,
        units=units,
        allow_missing=allow_missing,
        cost=EffortCost(exponent, weight_pairs(weights), volume_weighted, passive),
        residual_reduction=residual_reduction,
        chair=None if chair is None else str(chair),
        hands=hands,
        calves=calves,
        device=device,
        load=loads_of(load),
        uncertainty=uncertainty,
    )
    folder = Path(out)
    requests, rejected = requests_of(
        find_sessions(paths_of(sessions), outside=folder), folder, into_sessions=into_sessions
    )
    outcomes = label_requests(
        requests,
        rejected,
        settings,
        status=folder,
        jobs=jobs,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
        scheduler=scheduler,
        show=show,
    )
    return Labels(folder, requests, outcomes)


def paths_of(paths: Paths | Sequence[Paths]) -> list[Path]:
    """One path or several as a list."""
    if isinstance(paths, str | os.PathLike):
        return [Path(paths)]
    return [Path(path) for path in paths]


def label_requests(
    requests: Sequence[TrialRequest],
    rejected: Sequence[Outcome],
    settings: LabelSettings,
    *,
    status: Path | None,
    jobs: int | None = None,
    timeout_s: float | None = None,
    memory_bytes: int | None = None,
    scheduler: str | None = None,
    show: Show = Silent,
) -> list[Outcome]:
    """Label trials with progress, and keep `status.csv` in the folder `status`; the rest as of `label_sessions`."""
    table = StatusTable(status, rejected)
    if status is not None:
        refuse_namesakes(status, requests)
    try:
        _label_all(table, requests, settings, jobs, timeout_s, memory_bytes, scheduler, show)
    finally:
        table.write()
    return table.outcomes


def _label_all(
    table: StatusTable,
    requests: Sequence[TrialRequest],
    settings: LabelSettings,
    jobs: int | None,
    timeout_s: float | None,
    memory_bytes: int | None,
    scheduler: str | None,
    show: Show,
) -> None:
    rejected = list(table.outcomes)
    with show(len(requests) + len(rejected), "labelling") as steps:
        for outcome in rejected:
            steps.finish(outcome_line(outcome))

        def tell(trial: str, step: str, share: float) -> None:
            steps.now(f"{trial}: {step}")

        running = label_trials(
            requests,
            settings,
            jobs=jobs,
            timeout_s=timeout_s,
            memory_bytes=memory_bytes,
            scheduler=scheduler,
            progress=tell,
        )
        for outcome in running:
            table.add(outcome)
            steps.finish(outcome_line(outcome))


def outcome_line(outcome: Outcome) -> str:
    """What became of a trial, in one line."""
    head = f"{outcome.session}/{outcome.trial}: {outcome.status}"
    if not outcome.labelled:
        return f"{head}. {outcome.reason}"
    if outcome.this_run == SKIPPED:
        return f"{head} (labelled before). {outcome.reason}"
    t = outcome.label["timings"]
    rate = t["frames"] / max(t["solve_s"], 1e-9)
    return f"{head}. {t['frames']} frames, {t['total_s']:.1f} s ({rate:.1f} frames/s). {outcome.reason}"
