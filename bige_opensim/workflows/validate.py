"""Generated motions back through OpenSim: what holds, and by how much."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bige_opensim.guidance.generated import Generated
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.validation.roundtrip import Verdict
from bige_opensim.validation.roundtrip import validate as round_trip
from bige_opensim.workflows.progress import Show, Silent

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Certificate:
    """What OpenSim found of one motion.

    Attributes
    ----------
    name
        Of the motion.
    record
        What `certificate.json` holds; empty where the motion could not be simulated.
    reason
        Why the labels passed their gates or did not, or why there is no simulation.

    """

    name: str
    record: Mapping[str, Any]
    reason: str

    @property
    def confirmed(self) -> bool:
        """Whether OpenSim bears the motion out: its labels pass and every deciding term is met."""
        return bool(self.record.get("confirmed", False))

    @property
    def satisfied(self) -> bool:
        """Whether the deciding terms are met, whatever the quality gates say."""
        return bool(self.record.get("satisfied", False))

    @property
    def terms(self) -> dict[str, dict[str, Any]]:
        """By name of the term: target, predicted, simulated, unit, satisfied, decides."""
        return dict(self.record.get("terms", {}))

    def to_frame(self) -> pd.DataFrame:
        """A row per term of the objective."""
        import pandas as pd

        columns = ["target", "predicted", "simulated", "unit", "satisfied", "decides"]
        return pd.DataFrame.from_dict(self.terms, orient="index", columns=columns).rename_axis("term")

    def __repr__(self) -> str:
        return f"<Certificate {self.name}: {'confirmed' if self.confirmed else 'not confirmed'}. {self.reason}>"

    def _repr_html_(self) -> str:
        head = f"<b>{self.name}</b>: {'confirmed' if self.confirmed else 'not confirmed'}. {self.reason}"
        return f"<div>{head}{self.to_frame().to_html()}</div>"


@quiet_opensim()
def validate(
    found: Generated | str | os.PathLike[str], *, jobs: int | None = None, show: Show = Silent
) -> list[Certificate]:
    """Put generated motions through OpenSim: ground forces, static optimization, every term measured again.

    Parameters
    ----------
    found
        What `generate` returned, or the folder where it was saved; labels and certificates are kept there.
    jobs
        Motions at once, each in a process of its own; by default one per processor core.
    show
        How progress is shown; by default not at all.

    Returns
    -------
    list of Certificate
        One per motion, by name. A motion that could not be simulated is not confirmed, and `reason` says why.

    Raises
    ------
    ValidationError
        The folder is no folder of generated motions.

    """
    folder = motions_folder(found)
    verdicts = []
    with show(len(sorted(folder.glob("*.mot"))), "validating") as steps:
        for verdict in round_trip(folder, jobs=jobs, progress=lambda m, step, _: steps.now(f"{m}: {step}")):
            verdicts.append(verdict)
            steps.finish(verdict_line(verdict))
    return [Certificate(v.name, v.certificate or {}, v.reason) for v in sorted(verdicts, key=lambda v: v.name)]


def motions_folder(found: Generated | str | os.PathLike[str]) -> Path:
    """The folder of generated motions."""
    return found.folder if isinstance(found, Generated) else Path(found)


def verdict_line(verdict: Verdict) -> str:
    """What became of a motion, in one line."""
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
