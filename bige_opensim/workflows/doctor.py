"""Faults of models, motions, markers, forces and sessions, and repaired copies of their files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bige_opensim.doctor.cases import Case, find_cases
from bige_opensim.doctor.examination import Examiner
from bige_opensim.doctor.findings import Finding, counted, counts, write_findings
from bige_opensim.doctor.repair import LOG, Repair, repair_all
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.workflows.progress import Show, Silent

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Examination:
    """What was found, and what was repaired.

    Attributes
    ----------
    cases
        Files and sessions that were examined.
    findings
        Of all cases in their order, of each the worst first.
    repairs
        What was done for files that needed it; none without a folder for copies.
    repaired
        Log of the repairs, None without them.

    """

    cases: tuple[Case, ...]
    findings: tuple[Finding, ...]
    repairs: tuple[Repair, ...] = ()
    repaired: Path | None = None

    @property
    def healthy(self) -> bool:
        """Whether there is no error: nothing that cannot be used, or misleads."""
        return not counts(self.findings)["error"]

    @property
    def copies(self) -> int:
        """How many repaired copies were written."""
        return sum(bool(repair.written) for repair in self.repairs)

    @property
    def summary(self) -> str:
        """How much was examined, and what was found, in one line."""
        return f"{len(self.cases)} examined: {counted(self.findings)}"

    def to_frame(self) -> pd.DataFrame:
        """A row per finding: file, place, severity, kind, sentence, remedy, value, limit, unit."""
        import pandas as pd

        columns = list(Finding.__dataclass_fields__)
        return pd.DataFrame([asdict(finding) for finding in self.findings], columns=columns)


@quiet_opensim()
def doctor(
    paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    findings_file: str | os.PathLike[str] | None = None,
    fix: str | os.PathLike[str] | None = None,
    show: Show = Silent,
) -> Examination:
    """Examine files and sessions; repair copies of them on request.

    Parameters
    ----------
    paths
        Files (.osim, .mot, .sto, .trc, ExternalLoads .xml), session folders, or folders of them; one or several.
    model
        The model that motions belong to; by default the session's, or the only one in the folder.
    findings_file
        Also write the findings to this JSON file.
    fix
        New folder for repaired copies and a log of what was changed; the originals stay as they are.
    show
        How progress is shown; by default not at all.

    Returns
    -------
    Examination
        Findings and repairs.

    Raises
    ------
    DoctorError
        A path does not exist or holds nothing to examine, or something cannot be written where it was asked for.

    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    cases = find_cases([Path(path) for path in given], None if model is None else Path(model))
    examiner, found = Examiner(), list[Finding]()
    with show(len(cases), "examining") as steps:
        for case in cases:
            steps.now(case.path.name)
            mine = examiner.examine(case)
            found += mine
            steps.finish("\n".join([f"{case.path}: {counted(mine)}", *(f"  {item.line()}" for item in mine)]))
    if findings_file is not None:
        write_findings(Path(findings_file), found, len(cases))
    if fix is None:
        return Examination(tuple(cases), tuple(found))
    repairs = repair_all(cases, Path(fix), examiner)
    return Examination(tuple(cases), tuple(found), tuple(repairs), Path(fix) / LOG)
