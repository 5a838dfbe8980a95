"""Generated motions back through OpenSim: what holds, and by how much."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from bige_opensim.guidance.generated import Generated
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.validation.certificate import Certificate
from bige_opensim.validation.roundtrip import Verdict
from bige_opensim.validation.roundtrip import validate as round_trip
from bige_opensim.workflows.progress import Show, Silent


def validate(
    found: Generated | str | os.PathLike[str],
    *,
    jobs: int | None = None,
    every_frame: bool = False,
    uncertainty: int = 0,
    show: Show = Silent,
) -> list[Certificate]:
    """Put generated motions through OpenSim: ground forces, static optimization, every term measured again.

    Parameters
    ----------
    found
        What `generate` returned, or the folder where it was saved; labels and certificates are kept there.
    jobs
        Motions at once, each in a process of its own; by default one per processor core.
    every_frame
        Have OpenSim solve every frame, not only those that can decide something and a random share.
    uncertainty
        Draws of body and motion from which 5 to 95 % bands of peaks are found, such as 200; 0 for none. The verdict
        does not look at them.
    show
        How progress is shown; by default not at all.

    Returns
    -------
    list of Certificate
        One per motion, by name. That of a motion that could not be simulated has no terms, and its `labels` say why.

    Raises
    ------
    ValidationError, ObjectiveError, ModelError
        The folder is no folder of generated motions, or its objective or model cannot be read.
    SettingError
        Too few or too many draws.

    """
    return [
        certificate_of(v)
        for v in validate_folder(
            motions_folder(found), jobs=jobs, every_frame=every_frame, uncertainty=uncertainty, show=show
        )
    ]


@quiet_opensim()
def validate_folder(
    folder: Path,
    *,
    jobs: int | None = None,
    every_frame: bool = False,
    uncertainty: int = 0,
    show: Show = Silent,
) -> list[Verdict]:
    """The verdicts on the motions of a folder, by name; certificates and `summary.csv` are written there."""
    verdicts = []
    with show(len(sorted(folder.glob("*.mot"))), "validating") as steps:
        for verdict in round_trip(
            folder,
            jobs=jobs,
            every_frame=every_frame,
            uncertainty=uncertainty,
            progress=lambda m, step, _: steps.now(f"{m}: {step}"),
        ):
            verdicts.append(verdict)
            steps.finish(verdict_line(verdict))
    return sorted(verdicts, key=lambda v: v.name)


def certificate_of(verdict: Verdict) -> Certificate:
    """The certificate of a motion; one without terms where it was not simulated.

    It confirms nothing that the verdict does not: what contradicts it stands in its `labels`.
    """
    certificate = verdict.certificate
    if certificate is None:
        return Certificate.not_simulated(verdict.name, verdict.reason)
    if verdict.contradictions:
        said = {"status": verdict.status, "reason": " ".join(verdict.contradictions)}
        return replace(certificate, labels=said)
    return certificate


def motions_folder(found: Generated | str | os.PathLike[str]) -> Path:
    """The folder of generated motions."""
    return found.folder if isinstance(found, Generated) else Path(found)


def verdict_line(verdict: Verdict) -> str:
    """What became of a motion, in one line."""
    c = verdict.certificate
    if c is None:
        return f"{verdict.name}: no certificate. {verdict.reason}"
    parts = [
        f"{name} {_number(t.predicted)} predicted, {_number(t.simulated)} simulated ({t.target})"
        for name, t in c.terms.items()
        if t.decides
    ]
    failed = [
        f"{name} {g.value:.3g} > {g.limit:g} {g.unit} ({g.where})"
        for name, g in c.motion_gates.items()
        if not g.satisfied
    ]
    sentences = [f"{verdict.name}: {verdict.status}; labels {c.labels['status']}; {'; '.join([*failed, *parts])}"]
    again = [f"Simulated again: {verdict.again}"] if verdict.again else []
    return " ".join([*sentences, *again, *verdict.contradictions])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
