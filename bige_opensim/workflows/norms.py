"""A laboratory's own norms, from its labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bige_opensim.io.opencap import Session, find_sessions
from bige_opensim.io.storage import StorageError
from bige_opensim.labelling.label import Label, LabelError
from bige_opensim.learning.labelled_trials import LeftOut, label_files, labelled_trial
from bige_opensim.movements.repetitions import AUTO, EVENT_RULES
from bige_opensim.provenance import provenance
from bige_opensim.settings import one_of
from bige_opensim.validation.norms import MeasuredTrial, Performance, norms_of
from bige_opensim.validation.norms_files import Norms, NormsError
from bige_opensim.workflows.dataset import trial_source


def norms(
    labels: Iterable[Label] | Label | str | os.PathLike[str],
    *,
    sessions: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    movement: str = AUTO,
    trials: str = "*",
    include_failed: bool = False,
) -> Norms:
    """What is usual among labelled people, by movement: reference intervals, symmetry, minimal detectable change.

    Parameters
    ----------
    labels
        Labels, or the folder that holds them at any depth.
    sessions
        OpenCap session folders, or folders of them, whose `sessionMetadata.yaml` says sex (`sex` or `gender_mf`) and
        age (`age_years`): people of these groups get norms of their own.
    movement
        squat, sit-to-stand, lunge, jump, gait, or auto, which finds the movement of each trial.
    trials
        Pattern of trial names to take, such as "squat*".
    include_failed
        Use trials that failed quality gates too.

    Returns
    -------
    Norms
        Its `to_frame()` is a table; `save("norms.json")` is what `report(norms=)` reads.

    Raises
    ------
    NormsError
        There are no labels, or none has a repetition that can be used.
    SettingError
        There is no such movement.
    SessionError
        A path of `sessions` holds none.

    """
    one_of("movement", movement, [AUTO, *EVENT_RULES])
    about, left_out = _sessions(sessions), list[str]()
    performances: list[Performance] = []
    used = []
    for label, mine in _performances(labels, about, left_out, movement, trials, include_failed):
        used.append(f"{label.session}/{label.trial}")
        performances += mine
    if not performances:
        raise NormsError(f"No label has a repetition that can be used. {' '.join(left_out[:4])}".strip())
    made = provenance()
    return Norms(norms_of(performances), tuple(left_out), {**made, "labels": used})


def performances_by_session(
    labels: Iterable[Label] | Label | str | os.PathLike[str],
) -> dict[str, list[Performance]]:
    """Repetitions of labelled trials by the session that they were recorded in; errors as `norms`."""
    found: dict[str, list[Performance]] = {}
    left_out: list[str] = []
    for label, mine in _performances(labels, {}, left_out, AUTO, "*", include_failed=False):
        found.setdefault(label.session, []).extend(mine)
    if not found:
        raise NormsError(f"No label has a repetition that can be used. {' '.join(left_out[:4])}".strip())
    return found


def _performances(
    labels: Iterable[Label] | Label | str | os.PathLike[str],
    about: Mapping[str, Session],
    left_out: list[str],
    movement: str,
    trials: str,
    include_failed: bool,
) -> Iterator[tuple[Label, list[Performance]]]:
    """Trials that can be used, with their repetitions; `left_out` gets a sentence on each other."""
    for label in _labels(labels, left_out):
        trial = labelled_trial(trial_source(label), include_failed=include_failed, movement=movement, trials=trials)
        if isinstance(trial, LeftOut):
            left_out.append(trial.reason if trial.trial in trial.reason else f"{trial.trial}: {trial.reason}")
            continue
        session, recorded = about.get(label.session), MeasuredTrial.of(label)
        yield (
            label,
            [
                Performance(
                    subject=label.subject,
                    movement=trial.movement,
                    duration_s=repetition.duration,
                    channels=recorded.channels(repetition.start, repetition.end),
                    sex=None if session is None else session.sex,
                    age_years=None if session is None else session.age_years,
                )
                for repetition in trial.repetitions
            ],
        )


def _labels(labels: Iterable[Label] | Label | str | os.PathLike[str], left_out: list[str]) -> Iterator[Label]:
    """Labels from memory or folders, one at a time; folders that cannot be read are left out."""
    if isinstance(labels, Label):
        yield labels
    elif isinstance(labels, str | os.PathLike):
        found = label_files(Path(labels))
        if not found:
            raise NormsError(f"{labels}: no labels at any depth; `bige label` makes them.")
        for path in found:
            try:
                yield Label.load(path.parent)
            except (LabelError, StorageError) as error:
                left_out.append(str(error))
    else:
        yield from labels


def _sessions(paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str]) -> dict[str, Session]:
    given: Sequence[str | os.PathLike[str]] = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    return {session.name: session for session in (find_sessions([Path(p) for p in given]) if given else [])}
