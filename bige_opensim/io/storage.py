"""OpenSim motion and storage files (.mot, .sto), read as people really write them and written as OpenSim reads them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from jaxtyping import Float

from bige_opensim.io.rotation_units import WITHIN_RADIANS, Units, unit_by_range
from bige_opensim.io.text import count, is_plain, number, read_text
from bige_opensim.io.whole_files import StorageError, write_whole
from bige_opensim.motion import Motion

_REGULAR = re.compile(r"[0-9eE+.\t\n-]*")


@dataclass(frozen=True, eq=False)
class StorageTable:
    """The content of a .mot or .sto file.

    Attributes
    ----------
    time
        First column, seconds.
    values
        The other columns, in the file's units.
    names
        Their labels.
    in_degrees
        What the header says of rotations; None where it says nothing.
    title
        First header line without a key, or the value of `name`.
    version
        Header version; 0 for the SIMM header (`datacolumns`, `datarows`) and for no version.
    notes
        Sentences on what was odd but did not prevent reading.
    path
        The file.

    """

    time: Float[np.ndarray, " time"]
    values: Float[np.ndarray, "time channel"]
    names: tuple[str, ...]
    in_degrees: bool | None
    title: str
    version: int
    notes: tuple[str, ...]
    path: Path


@dataclass(frozen=True, eq=False)
class CoordinateFile:
    """Coordinates in radians and metres, what was noticed while reading them, and columns that are no coordinates."""

    motion: Motion
    notes: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def read_storage(path: Path | str, *, gaps: bool = False) -> StorageTable:
    """Read a .mot or .sto file of scalar columns, in the file's units.

    Understands header versions 1 to 3 and the SIMM header, tabs or spaces, any line ends, blank lines and a byte order
    mark. Row and column counts come from the data; header counts that contradict them become notes (OpenSim's Storage
    believes the header and misreads such files without an error). With `gaps`, columns may hold NaN where nothing was
    measured.

    Raises
    ------
    StorageError
        If the file is missing, empty, not text, cut off, or its table has missing, non-numeric or (but for `gaps`)
        non-finite cells, repeated labels, no time, fewer than two rows, or time that does not increase.

    """
    path = Path(path)
    lines = read_text(path, StorageError, "a .mot or .sto file").split("\n")
    ends = [at for at, line in enumerate(lines) if line.strip().lower() == "endheader"]
    if not ends:
        raise StorageError(f"{path}: no 'endheader' line, so it is no OpenSim file or cut off; export it again.")
    header = _Header.parse(path, lines[: ends[0]])
    rows = [(at + 1, line) for at, line in enumerate(lines) if at > ends[0] and line.strip()]
    if not rows:
        raise StorageError(f"{path}: nothing follows 'endheader'; the file is cut off, export it again.")
    labels = _labels(path, rows[0][1], rows[1][1] if len(rows) > 1 else "")
    table = _numbers(path, labels, rows[1:], gaps)
    return StorageTable(
        time=np.ascontiguousarray(table[:, 0]),
        values=np.ascontiguousarray(table[:, 1:]),
        names=labels[1:],
        in_degrees=header.in_degrees,
        title=header.title,
        version=header.version,
        notes=header.contradictions(path, *table.shape),
        path=path,
    )


def write_storage(
    path: Path | str,
    time: Float[np.ndarray, " time"],
    values: Float[np.ndarray, "time channel"],
    names: Sequence[str],
    *,
    in_degrees: bool,
    title: str = "Coordinates",
    version: int = 1,
) -> None:
    """Write a .mot or .sto file, whole or not at all, with digits enough to read back the same numbers.

    Values are written as they are; `in_degrees` only states what they are. Magnitudes below the smallest normal double
    (2.2e-308) become 0, because OpenSim's TimeSeriesTable cannot read them.

    Parameters
    ----------
    path
        File to write; its folder must exist.
    time
        Seconds, strictly increasing, at least two.
    values
        One row per time, one column per name, finite.
    names
        Unique labels without blanks.
    in_degrees
        Unit of the rotations among the columns.
    title
        First line of the file.
    version
        1 (counts in the header, read by every OpenSim), 2 or 3 (as OpenSim 4 writes).

    Raises
    ------
    StorageError
        If anything above does not hold; nothing is written then.

    """
    time, values = np.asarray(time, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if time.ndim != 1 or len(time) < 2 or values.shape != (len(time), len(names)) or not len(names):
        raise StorageError(
            f"{path}: {len(names)} names, times of shape {time.shape} and values of shape {values.shape} do not make a "
            "table; (T,) times with T ≥ 2 and (T, names) values were expected. Nothing was written."
        )
    write_columns(path, time, [columns_text(values, names, path)], in_degrees=in_degrees, title=title, version=version)


@dataclass(frozen=True, eq=False)
class ColumnsText:
    """Columns of a table as text, a line per row: what goes into several files is formatted once."""

    names: tuple[str, ...]
    rows: list[str]

    def at(self, rows: Iterable[int] | np.ndarray) -> ColumnsText:
        """Some rows."""
        return ColumnsText(self.names, [self.rows[int(k)] for k in rows])

    def named(self, names: Iterable[str]) -> ColumnsText:
        """The same under other names."""
        return ColumnsText(tuple(names), self.rows)


def columns_text(
    values: Float[np.ndarray, "time channel"], names: Sequence[str], path: Path | str = "table"
) -> ColumnsText:
    """Columns as text with digits enough to read back the same numbers; StorageError, naming `path`, if not finite."""
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise StorageError(f"{path}: '{names[column]}' is {values[row, column]} in row {row}. Nothing was written.")
    return ColumnsText(tuple(names), _lines(_readable(np.asarray(values, dtype=np.float64))))


def _lines(values: Float[np.ndarray, "time channel"]) -> list[str]:
    """Rows as the shortest decimals that read back as the same doubles, which is also what JSON's writer gives."""
    if not len(values):
        return []
    rows = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return rows[2:-2].replace(",", "\t").split("]\t[")


def _readable(values: np.ndarray) -> np.ndarray:
    """Without magnitudes that OpenSim cannot read."""
    return np.where(np.abs(values) < np.finfo(np.float64).tiny, 0.0, values)


def write_columns(
    path: Path | str,
    time: Float[np.ndarray, " time"],
    parts: Sequence[ColumnsText],
    *,
    in_degrees: bool,
    title: str = "Coordinates",
    version: int = 1,
) -> None:
    """Write columns side by side, as `write_storage`, whose errors it has."""
    path = Path(path)
    names = [name for part in parts for name in part.names]
    _check_labels(path, names)
    time = _readable(np.asarray(time, dtype=np.float64))
    times = columns_text(time[:, None], ["time"], path)
    if (np.diff(time) <= 0).any():
        at = int(np.argmax(np.diff(time) <= 0))
        raise StorageError(f"{path}: time does not increase after row {at} ({time[at]:.9g} s). Nothing was written.")
    if version not in (1, 2, 3):
        raise StorageError(f"{path}: versions 1, 2 and 3 can be written, not {version}.")
    if _Header.parse(path, title.splitlines()).title != title or title.strip().lower() in ("", "endheader"):
        raise StorageError(f"{path}: the title must be one line of text and no header entry; got {title!r}.")
    degrees = f"inDegrees={'yes' if in_degrees else 'no'}"
    if version == 1:
        header = [title, "version=1", f"nRows={len(time)}", f"nColumns={1 + len(names)}", degrees, "endheader"]
    else:
        header = [title, degrees, "DataType=double", f"version={version}", "endheader"]
    body = map("\t".join, zip(times.rows, *(part.rows for part in parts), strict=True))
    write_whole(path, "\n".join([*header, "\t".join(["time", *names]), *body, ""]))


def read_coordinates(
    path: Path | str,
    *,
    rotational: Collection[str],
    known: Collection[str] | None = None,
    units: Units | None = None,
) -> CoordinateFile:
    """Read coordinates as radians and metres.

    Only columns in `rotational` are converted: OpenSim leaves coupled coordinates such as `knee_angle_r_beta` in
    radians in degree files too (Coordinate::MotionType Coupled). Columns of a states file are recognised by their
    path (`/jointset/hip_r/hip_flexion_r/value`).

    A header that contradicts the range of the numbers (`rotation_units.unit_by_range` has the rules) is refused, unless
    `units` is given. A trial in which nothing turns enough to tell is believed, with a note. Where the header says
    nothing, the unit that the numbers prove is taken, with a note.

    Parameters
    ----------
    path
        A .mot or .sto file.
    rotational
        Names of the model's rotational coordinates.
    known
        Names of all the model's coordinates; other columns are left out, with a note. None keeps all.
    units
        What the rotations are in, whatever the header says.

    Raises
    ------
    StorageError
        As `read_storage`; also if no column is a coordinate, or the unit is contradicted or unknown.

    """
    table = read_storage(path)
    columns, names, left_out = _coordinate_columns(table, known)
    values = table.values[:, columns]
    turns = np.array([name in rotational for name in names], dtype=bool)
    unit, unit_notes = _rotation_unit(table, values, turns, units)
    if unit == "degrees":
        values = np.where(turns, np.deg2rad(values), values)
    notes = (*table.notes, *_left_out_note(table, left_out), *unit_notes)
    return CoordinateFile(Motion(table.time, values, names), notes, left_out)


def write_coordinates(
    path: Path | str, motion: Motion, *, rotational: Collection[str], title: str = "Coordinates"
) -> None:
    """Write coordinates (radians, metres) as a version-1 file in degrees with short names, as OpenCap does.

    Only columns in `rotational` are converted to degrees; coupled coordinates stay in radians, as OpenSim expects.

    Raises
    ------
    StorageError
        As `write_storage`.

    """
    write_columns(path, motion.time, [coordinates_text(motion, rotational, path)], in_degrees=True, title=title)


def coordinates_text(motion: Motion, rotational: Collection[str], path: Path | str = "table") -> ColumnsText:
    """Coordinates (radians, metres) as `write_coordinates` writes them."""
    turns = np.array([name in rotational for name in motion.names], dtype=bool)
    return columns_text(np.where(turns, np.rad2deg(motion.values), motion.values), motion.names, path)


_DEGREES = {"yes": True, "true": True, "1": True, "y": True, "no": False, "false": False, "0": False, "n": False}


@dataclass(frozen=True)
class _Header:
    """What the lines above `endheader` declare."""

    title: str
    version: int
    in_degrees: bool | None
    rows: int | None
    columns: int | None

    @classmethod
    def parse(cls, path: Path, lines: Iterable[str]) -> _Header:
        title, found, said = "", dict[str, str](), set[bool | None]()
        for line in (line.strip() for line in lines):
            key, _, value = line.partition("=") if "=" in line else line.partition(" ")
            key = key.strip().lower()
            if "=" in line or key in ("name", "datacolumns", "datarows", "range"):
                if key == "indegrees":
                    said.add(_DEGREES.get(value.strip().lower()))
                found.setdefault(key, value.strip())
            elif match := re.match(r"angles are in (degrees|radians)", line, re.IGNORECASE):
                said.add(match[1].lower() == "degrees")
            elif not title:
                title = line
        if found.get("datatype", "double").lower() != "double":
            raise StorageError(
                f"{path}: holds {found['datatype']} columns; only scalar columns (DataType=double) are read. "
                "Write it again with flattened columns."
            )
        if len(said) > 1:
            raise StorageError(
                f"{path}: its header gives the unit of angles more than once, and differently; keep one inDegrees."
            )
        return cls(
            title=title or found.get("name", ""),
            version=count(found.get("version")) or 0,
            in_degrees=next(iter(said), None),
            rows=count(found.get("nrows", found.get("datarows"))),
            columns=count(found.get("ncolumns", found.get("datacolumns"))),
        )

    def contradictions(self, path: Path, rows: int, columns: int) -> tuple[str, ...]:
        """Sentences on counts that the data do not bear out."""
        pairs = (("rows", self.rows, rows), ("columns", self.columns, columns))
        return tuple(
            f"{path.name}: the header says {said} {what}, the table has {true}; the table was believed."
            for what, said, true in pairs
            if said is not None and said != true
        )


def _labels(path: Path, line: str, first_row: str) -> tuple[str, ...]:
    labels = re.split("[\t ]+", line.strip("\t "))
    by_tabs = [label.strip() for label in line.strip().split("\t") if label.strip()]
    if len(labels) != len(by_tabs) == len(first_row.split()):
        labels = by_tabs
    if labels[0].lower() != "time":
        raise StorageError(f"{path}: the first column must be 'time', it is '{labels[0]}'; add a time column.")
    if len(labels) == 1:
        raise StorageError(f"{path}: has a time column only; at least one more column was expected.")
    repeated = [label for label, count in Counter(labels).items() if count > 1]
    if repeated:
        raise StorageError(f"{path}: repeated column labels: {', '.join(repeated)}; rename or remove the copies.")
    return tuple(labels)


def _numbers(
    path: Path, labels: tuple[str, ...], rows: list[tuple[int, str]], gaps: bool
) -> Float[np.ndarray, "time column"]:
    if len(rows) < 2:
        raise StorageError(f"{path}: has {len(rows)} row(s) of data; at least two are needed. Export the trial again.")
    table = _regular([line for _, line in rows], len(labels))
    if table is None:
        table = _cell_by_cell(path, labels, rows)
    wrong = ~np.isfinite(table)
    if gaps:
        wrong[:, 1:] &= ~np.isnan(table[:, 1:])
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise StorageError(
            f"{path}: line {rows[row][0]}, column '{labels[column]}' is {table[row, column]}; "
            "fill the gap or cut the trial."
        )
    backwards = np.flatnonzero(np.diff(table[:, 0]) <= 0)
    if len(backwards):
        before, after = table[backwards[0] : backwards[0] + 2, 0]
        raise StorageError(
            f"{path}: time must increase, but goes from {before:.6g} s to {after:.6g} s "
            f"at line {rows[backwards[0] + 1][0]}; remove or reorder the rows."
        )
    return table


def _regular(lines: list[str], columns: int) -> Float[np.ndarray, "time column"] | None:
    """A table of plain numbers with one tab between them, as we write it, read by JSON's parser; None for any other."""
    body = "\n".join(lines)
    if _REGULAR.fullmatch(body) is None:
        return None
    try:
        rows = orjson.loads("[[" + body.replace("\t", ",").replace("\n", "],[") + "]]")
        table = np.array(rows, dtype=np.float64)
    except ValueError:  # numbers that JSON does not know, such as +1 or .5, or rows of unequal lengths
        return None
    return table if table.shape == (len(lines), columns) else None


def _cell_by_cell(path: Path, labels: tuple[str, ...], rows: list[tuple[int, str]]) -> Float[np.ndarray, "time column"]:
    cells: list[float] = []
    for at, line in rows:
        plain = is_plain(line)
        texts = line.split() if plain else re.split("[\t ]+", line.strip("\t "))
        if len(texts) != len(labels):
            last = " The last row is cut off." if at == rows[-1][0] and len(texts) < len(labels) else ""
            raise StorageError(
                f"{path}: line {at} has {len(texts)} cells where {len(labels)} columns are labelled.{last} "
                "Export the file again, or repair that line."
            )
        try:
            cells.extend(map(float if plain else number, texts))
        except ValueError:
            raise _bad_cell(path, labels, at, texts) from None
    return np.array(cells).reshape(len(rows), len(labels))


def _bad_cell(path: Path, labels: tuple[str, ...], at: int, texts: list[str]) -> StorageError:
    for label, text in zip(labels, texts, strict=True):
        try:
            number(text)
        except ValueError:
            return StorageError(
                f"{path}: line {at}, column '{label}' holds '{text[:40]}', not a number "
                "(decimal points are expected, not commas); correct it."
            )
    raise AssertionError("every cell is a number")


def _check_labels(path: Path, names: Sequence[str]) -> None:
    labels = ["time", *names]
    unusable = [label for label in labels if not label or label != "".join(label.split()) or not label.isprintable()]
    unusable += [label for label in names if label.lower() == "time"]
    repeated = [label for label, count in Counter(names).items() if count > 1]
    if unusable or repeated:
        raise StorageError(
            f"{path}: labels must be unique, without blanks and not 'time'; wrong: "
            f"{', '.join(map(repr, (unusable + repeated)[:8]))}. Nothing was written."
        )


def _coordinate_columns(
    table: StorageTable, known: Collection[str] | None
) -> tuple[list[int], tuple[str, ...], tuple[str, ...]]:
    chosen: dict[str, int] = {}
    left_out: list[str] = []
    for column, label in enumerate(table.names):
        parts = label.strip("/").split("/")
        is_value = len(parts) == 1 or parts[-1] == "value"
        name = label if len(parts) == 1 else parts[-2]
        if not is_value or (known is not None and name not in known):
            left_out.append(label)
        elif name in chosen:
            raise StorageError(f"{table.path}: coordinate '{name}' is there twice, once by its path; remove one.")
        else:
            chosen[name] = column
    if not chosen:
        raise StorageError(
            f"{table.path}: none of its columns ({', '.join(table.names[:5])}, ...) is a coordinate of the model; "
            "choose the motion that belongs to this model."
        )
    return list(chosen.values()), tuple(chosen), tuple(left_out)


def _left_out_note(table: StorageTable, left_out: tuple[str, ...]) -> tuple[str, ...]:
    if not left_out:
        return ()
    shown = ", ".join(left_out[:6]) + (" and others" if len(left_out) > 6 else "")
    return (f"{table.path.name}: {len(left_out)} column(s) left out that are no coordinates: {shown}.",)


def _rotation_unit(
    table: StorageTable,
    values: Float[np.ndarray, "time channel"],
    turns: np.ndarray,
    units: Units | None,
) -> tuple[Units, tuple[str, ...]]:
    said: Units | None = None if table.in_degrees is None else ("degrees" if table.in_degrees else "radians")
    if units is not None:
        note = f"{table.path.name}: read as {units} as asked; its header says {said or 'nothing'}."
        return units, () if units == said else (note,)
    if not turns.any():
        return "radians", ()
    seen = unit_by_range(values[:, turns], values[:, ~turns])
    largest = float(np.abs(values[:, turns]).max())
    if said is None and seen is None:
        raise StorageError(
            f"{table.path}: neither the header nor the numbers tell whether rotations are in degrees or radians; "
            "pass --units degrees or --units radians."
        )
    if said is None and seen is not None:
        return seen, (
            f"{table.path.name}: the header gives no unit; by their size ({largest:.4g}) rotations are {seen}.",
        )
    if said is not None and seen is not None and seen != said:
        raise StorageError(
            f"{table.path}: the header says {said}, but the rotations (largest {largest:.4g}) are {seen}; correct "
            f"inDegrees in the file, or pass --units {seen} (or --units {said} if the header is right)."
        )
    assert said is not None
    if said == "degrees" and seen is None and 0 < largest <= WITHIN_RADIANS:
        return said, (
            f"{table.path.name}: nearly still, no rotation beyond {largest:.3g}; read as degrees as the header says. "
            "If that is wrong, pass --units radians.",
        )
    return said, ()
