"""`status.csv` of a folder of labels: a row for every trial, whichever run it was that saw it last."""

from __future__ import annotations

import csv
import filecmp
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bige_opensim.io.file_lock import locked
from bige_opensim.io.whole_files import write_whole
from bige_opensim.labelling.outcome import SKIPPED, Outcome

if TYPE_CHECKING:
    from bige_opensim.labelling.request import TrialRequest

STATUS_FILE = "status.csv"
KEY = ("session", "trial")
STATUS_EVERY_S = 5.0
PEAKS = ("vasmed_r", "vasmed_l")


class StatusError(ValueError):
    """A file in the table's place that is no status table."""


class StatusTable:
    """Outcomes of a run as they come, kept in `status.csv` of a folder, not more than once in a while.

    Rows of earlier runs, and of others at work in the same folder, stay; those of this run's trials are replaced. It is
    written at once: a folder that cannot be written is found before hours of work, not after.

    Raises
    ------
    StatusError
        The folder holds another file of this name.
    OSError
        The folder cannot be written.

    """

    def __init__(self, out: Path | None, outcomes: Iterable[Outcome] = ()) -> None:
        self.out, self.outcomes = out, list(outcomes)
        self.run = datetime.now(UTC).isoformat(timespec="seconds")
        self.write()

    def add(self, outcome: Outcome) -> None:
        """Take one more outcome."""
        self.outcomes.append(outcome)
        if time.monotonic() - self._written > STATUS_EVERY_S:
            with suppress(OSError):  # labels matter more than the table, whose last writing is not forgiven
                self.write()

    def write(self) -> None:
        """Write the table now."""
        self._written = time.monotonic()
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
            write_status(self.out, self.outcomes, self.run)


def refuse_namesakes(out: Path, requests: Iterable[TrialRequest]) -> None:
    """Refuse trials whose labels would replace those of another session of the same name.

    Raises
    ------
    StatusError
        The folder's table has a trial of that name from another file, which is still there and is not the same.

    """
    path = out / STATUS_FILE
    rows = {_key(row): row for row in (read_status(path) if path.exists() else ())}
    for request in requests:
        other = Path(rows.get((request.session, request.trial), {}).get("motion") or request.motion)
        both = other.is_file() and request.motion.is_file() and not other.samefile(request.motion)
        if both and not filecmp.cmp(other, request.motion, shallow=False):
            raise StatusError(
                f"{out / request.session}: holds labels of {other}, which is another file than {request.motion}: two "
                "sessions of one name. Name another --out, or rename a session."
            )


def write_status(out: Path, outcomes: Sequence[Outcome], run: str = "") -> Path:
    """Put outcomes into `status.csv` of a folder, a row per trial; rows of other trials stay.

    Columns: status, what the run did and why, tries, seconds, when the run began, motion, frames, gates, peaks.
    """
    path = out / STATUS_FILE
    with locked(path):
        rows = {_key(row): row for row in (read_status(path) if path.exists() else ())}
        rows |= {_key(row): row for row in (_row(outcome, run) for outcome in outcomes)}
        write_whole(path, _table([rows[key] for key in sorted(rows)]))
        for abandoned in out.glob(f".{STATUS_FILE}.*.part"):
            abandoned.unlink(missing_ok=True)
    return path


def audits_in_short(outcomes: Iterable[Outcome]) -> str:
    """What OpenSim found when it solved frames of fast labels again, in a phrase; empty where it solved none."""
    found = {
        json.dumps(o.label["audit"], sort_keys=True): (o, o.label["audit"]) for o in outcomes if "audit" in o.label
    }
    audits = [(outcome, a) for outcome, a in found.values() if "failed" not in a]
    failed = [a["failed"] for _, a in found.values() if "failed" in a]
    parts = []
    if audits:
        worst, at = max(audits, key=lambda both: both[1]["max"])
        parts.append(
            f"audit by OpenSim: {sum(a['frames'] for _, a in audits)} frames, activations within "
            f"{max(a['rmse'] for _, a in audits):.4f} RMS, {at['max']:.3f} at worst ({at['muscle']} in "
            f"{worst.session}/{at.get('trial', worst.trial)} at {at['time_s']:.2f} s)"
        )
    if failed:
        parts.append(f"{len(failed)} audit(s) failed: {failed[0]}")
    return "; ".join(parts)


def read_status(path: Path) -> list[dict[str, str]]:
    """Rows of a status table, one that a spreadsheet has saved too.

    Raises
    ------
    StatusError
        The file is no such table.

    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        delimiter = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval=""))
    except (UnicodeDecodeError, csv.Error, IsADirectoryError, PermissionError) as error:
        raise StatusError(f"{path}: cannot be read as a table of labels ({error}); move it away.") from error
    if not text.strip():
        return []
    if any(name not in row for row in rows[:1] for name in (*KEY, "status")) or not rows:
        raise StatusError(
            f"{path}: not a table of labels (no columns session, trial, status); move it away, or name another folder."
        )
    return [{k: v for k, v in row.items() if isinstance(k, str) and isinstance(v, str)} for row in rows]


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def _table(rows: Sequence[dict[str, str]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(o: Outcome, run: str) -> dict[str, str]:
    kept = "labelled before from the same files and settings: " if o.labelled and o.this_run == SKIPPED else ""
    row = {"session": o.session, "trial": o.trial, "status": o.status, "this_run": o.this_run}
    row |= {"reason": kept + o.reason, "tries": str(o.tries), "seconds": f"{o.seconds:.1f}", "worker": o.worker}
    row |= {"run": run, "motion": str(Path(o.motion).absolute()) if o.motion else ""}
    if o.label:
        row |= {
            "frames": str(o.label["frames"]),
            "frames_solved": str(o.label["frames_solved"]),
            "solve_s": f"{o.label['timings']['solve_s']:.2f}",
            "total_s": f"{o.label['timings']['total_s']:.2f}",
        }
        row |= _audit_columns(o.label.get("audit"))
        row |= {f"gate_{k}": f"{g['value']:.4g}" for k, g in o.label["gates"].items()}
        row |= {f"peak_{m}": f"{o.label['peaks'][m]:.3f}" for m in PEAKS if m in o.label["peaks"]}
    return row


def _audit_columns(audit: Mapping[str, Any] | None) -> dict[str, str]:
    """Of the audit of all trials of the session and model."""
    if audit is None or "failed" in audit:
        return {} if audit is None else {"audit_worst": f"failed: {audit['failed']}"}
    worst = f"{audit.get('trial', '')} {audit['muscle']} {audit['time_s']:.3f} s".strip()
    numbers = {"audit_rmse": f"{audit['rmse']:.5f}", "audit_max": f"{audit['max']:.4f}"}
    return {"audit_frames": str(audit["frames"])} | numbers | {"audit_worst": worst}
