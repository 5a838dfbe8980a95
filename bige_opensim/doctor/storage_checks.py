"""Checks of .mot and .sto files as tables: header, order, damage; and what is left when faults are set aside."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bige_opensim.doctor.findings import FIX, Finding, listed
from bige_opensim.doctor.raw_storage import RawStorage
from bige_opensim.doctor.series_checks import check_missing, check_time, fill_short_gaps


class Table(NamedTuple):
    """Rows in order of time without missing numbers, in the file's units, and what the header says of rotations."""

    path: Path
    time: Float[np.ndarray, " time"]
    values: Float[np.ndarray, "time channel"]
    names: tuple[str, ...]
    in_degrees: bool | None
    title: str


def check_table(raw: RawStorage) -> list[Finding]:
    """Header, damaged lines, labels, order of time, missing numbers and time base."""
    found = [*_counts(raw), *_damage(raw), *_labels(raw), *_order(raw)]
    keep = raw.in_order
    if keep.sum() < 2:
        return found
    time, values = raw.time[keep], raw.values[keep]
    return [*found, *check_missing(raw.path, time, values, raw.labels), *check_time(raw.path, time)]


def cleaned(raw: RawStorage) -> Table | None:
    """The table with disordered rows left out, short gaps splined, columns and then rows with long gaps left out.

    None where fewer than nine rows or no columns are left.
    """
    keep = raw.in_order
    time, values = raw.time[keep], raw.values[keep]
    values, _ = fill_short_gaps(time, values)
    once = np.array([raw.labels.index(name) == c for c, name in enumerate(raw.labels)])
    columns = once & (np.isnan(values).mean(axis=0) < 0.5)
    values = values[:, columns]
    rows = ~np.isnan(values).any(axis=1)
    names = tuple(name for name, used in zip(raw.labels, columns, strict=True) if used)
    if rows.sum() < 9 or not names:
        return None
    return Table(raw.path, time[rows], values[rows], names, raw.in_degrees, raw.title)


def _counts(raw: RawStorage) -> list[Finding]:
    true = (len(raw.time) + len(raw.damage), len(raw.labels) + 1)
    wrong = [
        f"{said} {what} where the table has {n}"
        for what, said, n in zip(("rows", "columns"), raw.declared, true, strict=True)
        if said is not None and said != n
    ]
    if not wrong:
        return []
    cut = " The file may be cut off." if (raw.declared[0] or 0) > true[0] else ""
    sentence = f"The header counts {' and '.join(wrong)}; OpenSim believes it and misreads the file silently.{cut}"
    return [Finding(raw.path, "header", "error", "header-counts", sentence, FIX, True)]


def _damage(raw: RawStorage) -> list[Finding]:
    if not raw.damage:
        return []
    first = raw.damage[0]
    sentence = f"{len(raw.damage)} line(s) are no rows of the table: line {first.line} {first.sentence}."
    remedy = "Repair the line by hand, or export the file again."
    return [Finding(raw.path, f"line {first.line}", "error", "damaged-rows", sentence, remedy)]


def _labels(raw: RawStorage) -> list[Finding]:
    repeated = [name for name, n in Counter(raw.labels).items() if n > 1]
    found = []
    if repeated:
        sentence = f"Columns are labelled twice: {listed(repeated)}."
        found.append(Finding(raw.path, repeated[0], "error", "labels", sentence, "Rename or remove the copies."))
    if "" in raw.labels:
        found.append(Finding(raw.path, "header", "error", "labels", "A column has no label.", "Label every column."))
    return found


def _order(raw: RawStorage) -> list[Finding]:
    late = np.flatnonzero(~raw.in_order)
    if not len(late):
        return []
    at = int(late[0])
    same = int(np.isin(raw.time[late], raw.time[raw.in_order]).sum())
    sentence = (
        f"Time does not increase: {same} row(s) repeat a time and {len(late) - same} go back, the first at line "
        f"{raw.lines[at]}."
    )
    return [Finding(raw.path, f"{raw.time[at]:.4g} s", "error", "time-order", sentence, FIX, True)]
