"""What an examination finds: one sentence each, with a place, a severity and a remedy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bige_opensim.io.storage import write_whole

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
FORMAT = "bige-doctor/1"
FIX = "`bige doctor --fix DIR` writes a corrected copy."


class DoctorError(ValueError):
    """A request that cannot be carried out, with what to do."""


@dataclass(frozen=True)
class Finding:
    """One thing found in one file; of several columns with the same fault, the worst is the place.

    Attributes
    ----------
    file
        The file, or the folder of a session.
    place
        Column, time or line; empty where it is the whole file.
    severity
        `error`: the file cannot be used, or misleads. `warning`: results may suffer. `note`: good to know.
    kind
        What was checked, such as "header-counts".
    sentence
        What was found.
    remedy
        What to do.
    fixable
        Whether `repair` corrects it.
    value
        What was measured, where a number decides.
    limit
        The limit that it passed, in the same unit.
    unit
        Of both.

    """

    file: Path
    place: str
    severity: Severity
    kind: str
    sentence: str
    remedy: str
    fixable: bool = False
    value: float | None = None
    limit: float | None = None
    unit: str = ""

    def line(self) -> str:
        """The finding in one line, without the file."""
        return f"{self.severity} [{self.kind}] {self.place + ': ' if self.place else ''}{self.sentence} {self.remedy}"


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then notes, otherwise in the order found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def counts(findings: Iterable[Finding]) -> dict[Severity, int]:
    """How many of each severity."""
    found = [finding.severity for finding in findings]
    return {severity: found.count(severity) for severity in SEVERITIES}


def counted(findings: Iterable[Finding]) -> str:
    """Such as "2 errors, 1 note", or "nothing found"."""
    parts = [f"{n} {severity}{'s' if n > 1 else ''}" for severity, n in counts(findings).items() if n]
    return ", ".join(parts) or "nothing found"


def listed(names: Sequence[str], limit: int = 6) -> str:
    """The first names and how many more there are."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def findings_content(findings: Sequence[Finding], files: int) -> dict[str, Any]:
    """All findings, and how many of each severity, as JSON holds them."""
    items = [asdict(finding) | {"file": str(finding.file)} for finding in findings]
    return {"format": FORMAT, "files": files, "counts": counts(findings), "findings": items}


def write_findings(path: Path, findings: Sequence[Finding], files: int) -> None:
    """Write all findings as JSON, whole or not at all.

    Raises
    ------
    DoctorError
        If the folder of `path` does not exist.

    """
    if not path.parent.is_dir():
        raise DoctorError(f"{path}: the folder {path.parent} does not exist; create it first.")
    write_whole(path, json.dumps(findings_content(findings, files), indent=1) + "\n")
