"""Checks of OpenCap session folders as a whole."""

from __future__ import annotations

from bige_opensim.doctor.findings import Finding, Severity, listed
from bige_opensim.doctor.raw_storage import read_raw
from bige_opensim.io.opencap import Session, Trial
from bige_opensim.io.storage import StorageError


def check_session(session: Session, *, model_given: bool = False) -> list[Finding]:
    """What the session's reader noticed, trials without coordinates, and forces that miss their motion in time.

    A missing model is no fault where `model_given`: another one stands in.
    """
    found = []
    for problem in session.problems:
        if model_given and "no .osim model" in problem:
            continue
        severity: Severity = "error" if session.model_path is None and "no .osim model" in problem else "warning"
        text = problem.removeprefix(f"{session.path}/").removeprefix(f"{session.path}: ")
        sentence, _, remedy = text.partition("; ")
        remedy = remedy[:1].upper() + remedy[1:] or "Look at it before labelling."
        found.append(Finding(session.path, "", severity, "session", f"{sentence.rstrip('.')}.", remedy))
    if session.mass_kg is None:
        sentence = "The metadata give no mass_kg, so the model's mass cannot be checked."
        found.append(Finding(session.path, "mass_kg", "note", "mass", sentence, "Add it to sessionMetadata.yaml."))
    without = [trial.name for trial in session.trials if trial.motion_path is None]
    if without:
        sentence = f"Trials have markers but no coordinates: {listed(without)}."
        found.append(Finding(session.path, "", "note", "session", sentence, "Inverse kinematics is due."))
    return found + [finding for trial in session.trials for finding in _overlap(session, trial)]


def _overlap(session: Session, trial: Trial) -> list[Finding]:
    if trial.motion_path is None or trial.forces_path is None:
        return []
    try:
        motion, forces = read_raw(trial.motion_path).time, read_raw(trial.forces_path).time
    except StorageError:
        return []
    if forces.min() <= motion.min() + 1e-6 and forces.max() >= motion.max() - 1e-6:
        return []
    sentence = (
        f"The forces of {trial.name} cover {forces.min():.3f} to {forces.max():.3f} s, its motion {motion.min():.3f} "
        f"to {motion.max():.3f} s."
    )
    remedy = "Label the common part with --start and --end, or export both over the same time."
    return [Finding(trial.forces_path, "", "warning", "time-overlap", sentence, remedy)]
