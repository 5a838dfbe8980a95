"""A .mot or .sto file as it stands, faults included: what `io.storage` refuses is read here and pointed out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bige_opensim.io.storage import StorageError
from bige_opensim.io.text import read_text

_YES, _NO = ("yes", "true", "1", "y"), ("no", "false", "0", "n")


class Damage(NamedTuple):
    """A line that is not a row of the table: its number and what is wrong."""

    line: int
    sentence: str


@dataclass(frozen=True, eq=False)
class RawStorage:
    """A table with its faults.

    Attributes
    ----------
    path
        The file.
    title
        First header line without a key, or the value of `name`.
    version
        Header version; 0 for the SIMM header and for none.
    in_degrees
        What the header says of rotations; None where it says nothing.
    declared
        Rows and columns (time included) that the header counts; None where it does not.
    labels
        Without time, as in the file, perhaps repeated.
    lines
        Line of every row in the file.
    time
        Seconds, finite, perhaps not increasing.
    values
        In the file's units; NaN where a cell is empty of a number.
    damage
        Lines that were left out.

    """

    path: Path
    title: str
    version: int
    in_degrees: bool | None
    declared: tuple[int | None, int | None]
    labels: tuple[str, ...]
    lines: Int[np.ndarray, " time"]
    time: Float[np.ndarray, " time"]
    values: Float[np.ndarray, "time channel"]
    damage: tuple[Damage, ...]

    @property
    def in_order(self) -> Bool[np.ndarray, " time"]:
        """Rows whose time is later than that of every row before."""
        before = np.concatenate([[-np.inf], np.maximum.accumulate(self.time)[:-1]])
        return self.time > before


def read_raw(path: Path) -> RawStorage:
    """Read a .mot or .sto file and keep its faults.

    Raises
    ------
    StorageError
        If it is missing, empty, not text, or has no header end, no time column or fewer than two rows.

    """
    lines = read_text(path, StorageError, "a .mot or .sto file").split("\n")
    end = next((at for at, line in enumerate(lines) if line.strip().lower() == "endheader"), None)
    if end is None:
        raise StorageError(f"{path}: no 'endheader' line, so it is no OpenSim file or cut off; export it again.")
    rows = [(at + 1, line) for at, line in enumerate(lines) if at > end and line.strip()]
    labels = tuple(_cells(rows[0][1])) if rows else ()
    if len(labels) < 2 or labels[0].lower() != "time":
        raise StorageError(f"{path}: no line of labels that begins with 'time' follows the header; export it again.")
    numbers, table, damage = _table(labels, rows[1:])
    if len(table) < 2:
        raise StorageError(f"{path}: {len(table)} readable row(s) of data; at least two are needed. Export it again.")
    header = _header(lines[:end])
    return RawStorage(
        path=path,
        title=header.get("", header.get("name", "")),
        version=_count(header.get("version")) or 0,
        in_degrees=_flag(header.get("indegrees", "")),
        declared=(
            _count(header.get("nrows", header.get("datarows"))),
            _count(header.get("ncolumns", header.get("datacolumns"))),
        ),
        labels=labels[1:],
        lines=numbers,
        time=table[:, 0],
        values=table[:, 1:],
        damage=damage,
    )


def _header(lines: Iterable[str]) -> dict[str, str]:
    """Entries by lower-case key; the title under the empty key."""
    found: dict[str, str] = {}
    for line in (line.strip() for line in lines):
        key, mark, value = line.partition("=") if "=" in line else line.partition(" ")
        if mark == "=" or key.lower() in ("name", "datacolumns", "datarows", "range"):
            found.setdefault(key.strip().lower(), value.strip())
        elif match := re.match(r"angles are in (degrees|radians)", line, re.IGNORECASE):
            found.setdefault("indegrees", "yes" if match[1].lower() == "degrees" else "no")
        elif line:
            found.setdefault("", line)
    return found


def _flag(text: str) -> bool | None:
    return True if text.lower() in _YES else False if text.lower() in _NO else None


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d+", text) else None


def _cells(line: str) -> list[str]:
    """Cells of a line; tabs part them where there are tabs, so that an empty cell keeps its place."""
    cells = [cell.strip() for cell in line.split("\t")] if "\t" in line.strip() else line.split()
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _table(
    labels: tuple[str, ...], rows: list[tuple[int, str]]
) -> tuple[Int[np.ndarray, " time"], Float[np.ndarray, "time column"], tuple[Damage, ...]]:
    numbers, kept, damage = list[int](), list[list[float]](), list[Damage]()
    for number, line in rows:
        texts = _cells(line)
        if len(texts) != len(labels) and "\t" in line:
            texts = line.split() if len(line.split()) == len(labels) else texts
        if len(texts) != len(labels):
            damage.append(Damage(number, f"has {len(texts)} cells where {len(labels)} columns are labelled"))
            continue
        cells = [_number(text) for text in texts]
        if math.isnan(cells[0]):
            damage.append(Damage(number, f"has no time ('{texts[0][:20]}')"))
            continue
        numbers.append(number)
        kept.append(cells)
    return np.array(numbers, dtype=int), np.array(kept).reshape(-1, len(labels)), tuple(damage)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
