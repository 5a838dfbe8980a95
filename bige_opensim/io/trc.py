"""Marker trajectories (.trc), read as people really write them, in metres, with NaN where a marker was not seen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from bige_opensim.io.storage import StorageError, write_whole
from bige_opensim.io.text import count, is_plain, number, read_text

LengthUnits = Literal["m", "cm", "mm"]

METRES: dict[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_SPELLINGS = {"meter": "m", "meters": "m", "metre": "m", "metres": "m", "centimeters": "cm", "millimeters": "mm"}
PLAUSIBLE_EXTENT_M = (0.03, 20.0)


class TrcError(ValueError):
    """A .trc file that cannot be used, or markers that must not be written."""


@dataclass(frozen=True, eq=False)
class Markers:
    """Trajectories of markers.

    Attributes
    ----------
    time
        Seconds, strictly increasing.
    positions
        Metres in the file's own axes; all three NaN where a marker was not seen.
    names
        One per marker, unique.
    rate_hz
        Frames per second, from the median step of `time`.
    notes
        Sentences on what was odd but did not prevent reading.
    path
        The file, or None for markers made otherwise.

    """

    time: Float[np.ndarray, " time"]
    positions: Float[np.ndarray, "time marker 3"]
    names: tuple[str, ...]
    rate_hz: float
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def missing(self) -> Float[np.ndarray, " marker"]:
        """Share of frames in which each marker was not seen."""
        return np.isnan(self.positions).any(axis=2).mean(axis=0)

    def between(self, start: float | None, end: float | None) -> Markers:
        """The frames from `start` to `end`, s, both included; None leaves that side open.

        Raises
        ------
        TrcError
            If fewer than two frames are left.

        """
        low, high = (-np.inf if start is None else start), (np.inf if end is None else end)
        inside = (self.time >= low - 1e-9) & (self.time <= high + 1e-9)
        if inside.sum() < 2:
            raise TrcError(
                f"{self.path}: {inside.sum()} frame(s) lie between {low:g} s and {high:g} s; the file covers "
                f"{self.time[0]:g} to {self.time[-1]:g} s and at least two are needed."
            )
        return replace(self, time=self.time[inside], positions=self.positions[inside])

    def select(self, names: Collection[str]) -> Markers:
        """Only the markers named, in the order of the file."""
        keep = [i for i, name in enumerate(self.names) if name in names]
        return replace(self, positions=self.positions[:, keep], names=tuple(self.names[i] for i in keep))

    def turned(self, up: Literal["x", "y", "z"]) -> Markers:
        """In OpenSim's axes (Y up, right-handed), from axes in which `up` points up.

        Z up: (x, y, z) becomes (x, z, -y). X up: (x, y, z) becomes (y, x, -z).
        """
        if up == "y":
            return self
        order, signs = ((0, 2, 1), (1, 1, -1)) if up == "z" else ((1, 0, 2), (1, 1, -1))
        return replace(self, positions=self.positions[:, :, list(order)] * np.array(signs, dtype=np.float64))


def read_trc(path: Path | str, *, units: LengthUnits | None = None) -> Markers:
    """Read a .trc file as metres.

    Understands tabs or spaces, any line ends, blank lines, a byte order mark, names with or without the two blank cells
    behind them, and three ways to say that a marker was not seen: empty cells, NaN, and 0, 0, 0. The table is believed
    where the header's counts or rate contradict it, with a note. Positions whose extent no person fits (a frame's
    markers closer than 3 cm or wider than 20 m) contradict the declared unit and are refused, unless `units` is given.

    Parameters
    ----------
    path
        The file.
    units
        What the numbers are in, whatever the header says.

    Raises
    ------
    TrcError
        If the file is missing, empty, not text, cut off, no .trc file, or its table has non-numeric cells, repeated
        names, fewer than two rows, or time that does not increase; or if the unit is unknown or wrong.

    """
    path = Path(path)
    text = read_text(path, TrcError, "a .trc file")
    lines = text.split("\n")
    header, at = _header(path, lines)
    rows = [(n + 1, line) for n, line in enumerate(lines) if n > at + 1 and line.strip()]
    axis_labels = lines[at + 1].split()
    if not axis_labels or not all(re.fullmatch(r"[XYZxyz][0-9]*", label) for label in axis_labels):
        raise TrcError(f"{path}: line {at + 2} should hold X1 Y1 Z1 ...; the file is no .trc or damaged.")
    names, columns, notes = _names(path, lines[at], len(axis_labels))
    declared_markers, axes = count(header.get("NumMarkers")), len(axis_labels)
    fewer = declared_markers is not None and declared_markers > len(names) and axes > max(columns) + 1
    if fewer or max(columns) + 3 > axes + 2:
        raise TrcError(
            f"{path}: has {len(names)} names for {declared_markers} markers and {axes} axes, so it is unclear which is "
            "whose; repair the line that begins with 'Frame#'."
        )
    table = _numbers(path, names, max(columns) + 3, axes, rows)
    declared = count(header.get("NumFrames"))
    if not text.endswith("\n") and declared is not None and declared > len(table):
        raise TrcError(
            f"{path}: ends in the middle of line {rows[-1][0]}, after {len(table)} of {declared} frames; the file is "
            "cut off. Export it again."
        )
    raw = np.stack([table[:, c : c + 3] for c in columns], axis=1)
    positions, gaps = _with_gaps(path, raw)
    unit = units or _declared_unit(path, header)
    markers = Markers(table[:, 1], positions * METRES[unit], names, _rate(table[:, 1]), path=path)
    if units is None:
        _check_extent(markers, unit)
    return replace(markers, notes=(*notes, *gaps, *_contradictions(path, header, markers)))


def write_trc(
    path: Path | str,
    time: Float[np.ndarray, " time"],
    positions: Float[np.ndarray, "time marker 3"],
    names: Sequence[str],
    *,
    units: LengthUnits = "m",
) -> None:
    """Write markers (metres) as a .trc file that OpenSim reads, whole or not at all; NaN becomes empty cells.

    Parameters
    ----------
    path
        File to write; its folder must exist.
    time
        Seconds, strictly increasing, at least two.
    positions
        Metres; a marker not seen has three NaN.
    names
        Unique, without tabs.
    units
        Unit of the numbers in the file.

    Raises
    ------
    TrcError
        If anything above does not hold; nothing is written then.

    """
    path = Path(path)
    time, positions = np.asarray(time, dtype=np.float64), np.asarray(positions, dtype=np.float64)
    if time.ndim != 1 or len(time) < 2 or positions.shape != (len(time), len(names), 3) or not len(names):
        raise TrcError(
            f"{path}: {len(names)} names, times of shape {time.shape} and positions of shape {positions.shape} do not "
            "belong together; (T,) times with T ≥ 2 and (T, names, 3) positions were expected. Nothing was written."
        )
    wrong = [name for name in names if not name.strip() or not name.isprintable()]
    wrong += [name for name, count in Counter(names).items() if count > 1]
    if wrong:
        raise TrcError(f"{path}: names must be unique, printable and not blank; wrong: {wrong[:8]}. Nothing written.")
    if not np.isfinite(time).all() or (np.diff(time) <= 0).any() or np.isinf(positions).any():
        raise TrcError(f"{path}: time must be finite and increase and positions be finite or NaN. Nothing was written.")
    rate = f"{_rate(time):.10g}"
    counts = [rate, rate, str(len(time)), str(len(names)), units, rate, "1", str(len(time))]
    axes = [f"{axis}{k + 1}" for k in range(len(names)) for axis in "XYZ"]
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        "\t".join(counts),
        "\t".join(["Frame#", "Time", *(cell for name in names for cell in (name, "", ""))]).rstrip(),
        "\t".join(["", "", *axes]),
        "",
    ]
    seen = ~np.isnan(positions).any(axis=2)
    scaled = positions / METRES[units]
    for t in range(len(time)):
        cells = ("\t".join(map(repr, xyz)) if s else "\t\t" for xyz, s in zip(scaled[t].tolist(), seen[t], strict=True))
        lines.append("\t".join([str(t + 1), repr(float(time[t])), *cells]))
    try:
        write_whole(path, "\n".join([*lines, ""]))
    except StorageError as error:
        raise TrcError(str(error)) from error


def _cells(line: str) -> list[str]:
    return [cell.strip(" ") for cell in line.split("\t")] if "\t" in line else line.split()


def _header(path: Path, lines: list[str]) -> tuple[dict[str, str], int]:
    """What the header declares, and the index of the line of names."""
    at = next((n for n, line in enumerate(lines[:20]) if line.lstrip().lower().startswith("frame#")), None)
    keys = next((n for n, line in enumerate(lines[:20]) if line.lstrip().lower().startswith("datarate")), None)
    if at is None or keys is None or keys >= at or at + 1 >= len(lines):
        raise TrcError(
            f"{path}: no .trc file: lines that begin with 'DataRate' and 'Frame#' were expected in the first 20. "
            "Export the markers again as .trc."
        )
    return dict(zip(lines[keys].split(), lines[keys + 1].split(), strict=False)), at


def _names(path: Path, line: str, axes: int) -> tuple[tuple[str, ...], list[int], list[str]]:
    """Names, the column of each one's x, and notes; columns without a name are left out."""
    cells = _cells(line)
    named = [(c, name) for c, name in enumerate(cells) if c >= 2 and name]
    if len(cells) < 3 or not named or cells[1].lower() != "time":
        raise TrcError(f"{path}: the line of names must be 'Frame#', 'Time' and marker names; got {cells[:4]}.")
    spaced = len(named) == 1 or named[1][0] - named[0][0] != 1
    columns = [c if spaced else 2 + 3 * i for i, (c, _) in enumerate(named)]
    if any(c % 3 != 2 for c in columns):
        raise TrcError(
            f"{path}: the names are not three columns apart, so it is unclear whose columns are whose; repair the line "
            "that begins with 'Frame#' (two empty cells behind every name)."
        )
    names = tuple(name for _, name in named)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TrcError(f"{path}: repeated marker names: {', '.join(repeated[:8])}; rename or remove the copies.")
    if axes > max(columns) + 1 or len(columns) < (max(columns) + 1) // 3:
        return names, columns, [f"{path.name}: columns without a marker name were left out."]
    return names, columns, []


def _numbers(
    path: Path, names: tuple[str, ...], width: int, axes: int, rows: list[tuple[int, str]]
) -> Float[np.ndarray, "time column"]:
    """All cells, NaN where empty; the first two columns are frame number and time."""
    if len(rows) < 2:
        raise TrcError(f"{path}: has {len(rows)} frame(s); at least two are needed. Export the trial again.")
    table = _full_rows(rows, width, max(width, axes + 2))
    if table is None:
        table = _checked_rows(path, names, width, axes, rows)
    time = table[:, 1]
    if not np.isfinite(time).all():
        raise TrcError(f"{path}: line {rows[int(np.argmin(np.isfinite(time)))][0]} has no time; repair the column.")
    backwards = np.flatnonzero(np.diff(time) <= 0)
    if len(backwards):
        k = int(backwards[0])
        raise TrcError(
            f"{path}: time must increase, but goes from {time[k]:.6g} s to {time[k + 1]:.6g} s at line "
            f"{rows[k + 1][0]}; remove or reorder the rows."
        )
    return table


def _full_rows(rows: list[tuple[int, str]], width: int, widest: int) -> Float[np.ndarray, "time column"] | None:
    """The table of a file with tabs whose rows are all full; None where a row is not, or anything in it is odd."""
    found: list[list[float]] = []
    for _, line in rows:
        cells = line.split("\t")
        if len(cells) != len(found[0] if found else cells) or not width <= len(cells) <= widest or not is_plain(line):
            return None
        try:
            found.append([float(cell) if cell else np.nan for cell in cells])
        except ValueError:
            return None
    table = np.array(found)[:, :width]
    return None if np.isinf(table).any() else table


def _checked_rows(
    path: Path, names: tuple[str, ...], width: int, axes: int, rows: list[tuple[int, str]]
) -> Float[np.ndarray, "time column"]:
    """All cells one by one, which tells what is wrong and where."""
    table = np.full((len(rows), width), np.nan)
    counts = [len(_cells(line)) for _, line in rows]
    for k, (at, line) in enumerate(rows):
        cells = _cells(line)
        filled = max((c + 1 for c, cell in enumerate(cells) if cell), default=0)
        if counts[k] < max(counts) and (filled - 2) % 3:
            raise TrcError(
                f"{path}: line {at} has {counts[k]} cells where others have {max(counts)}, and not three for every "
                f"marker{'; the last line is cut off' if k == len(rows) - 1 else ''}. Export the file again."
            )
        while len(cells) > width and not cells[-1]:
            cells.pop()
        full = len(cells) >= width
        if len(cells) > max(width, axes + 2):
            raise TrcError(
                f"{path}: line {at} has {len(cells)} cells where {len(names)} markers need {width}, so it is unclear "
                "which are whose. Export the file again."
            )
        if not full and ("\t" not in line or (len(cells) - 2) % 3 or len(cells) < 2):
            raise TrcError(
                f"{path}: line {at} has {len(cells)} cells where {len(names)} markers need {width}"
                f"{'; the last line is cut off' if k == len(rows) - 1 else ''}. Export the file again."
            )
        for c, cell in enumerate(cells[:width]):
            if cell:
                table[k, c] = _number(path, at, cell)
    return table


def _number(path: Path, line: int, cell: str) -> float:
    try:
        value = number(cell)
    except ValueError:
        raise TrcError(
            f"{path}: line {line} holds '{cell[:40]}', not a number (decimal points are expected, not commas); "
            "correct it."
        ) from None
    if np.isinf(value):
        raise TrcError(f"{path}: line {line} holds an infinite number; leave the cells of a missing marker empty.")
    return value


def _with_gaps(
    path: Path, raw: Float[np.ndarray, "time marker 3"]
) -> tuple[Float[np.ndarray, "time marker 3"], list[str]]:
    """NaN for whole markers where any cell is missing or all are zero, and a sentence on each kind."""
    empty = np.isnan(raw)
    partly, zero = empty.any(axis=2) & ~empty.all(axis=2), (raw == 0.0).all(axis=2)
    notes = []
    if partly.any():
        notes.append(f"{path.name}: {partly.sum()} marker positions lack one or two coordinates; taken as not seen.")
    if zero.any():
        notes.append(f"{path.name}: {zero.sum()} marker positions are 0, 0, 0; taken as not seen.")
    if not (~empty.any(axis=2) & ~zero).any():
        raise TrcError(f"{path}: no marker was seen in any frame; export the trial again.")
    return np.where((empty.any(axis=2) | zero)[..., None], np.nan, raw), notes


def _declared_unit(path: Path, header: dict[str, str]) -> LengthUnits:
    said = header.get("Units", "").lower()
    for unit in ("m", "cm", "mm"):
        if _SPELLINGS.get(said, said) == unit:
            return unit
    raise TrcError(
        f"{path}: the unit of length is {said!r}; m, cm or mm was expected under 'Units'. Correct it, or pass units."
    )


def extent_m(markers: Markers) -> float | None:
    """Median over frames of the largest width, m, that the markers span along an axis; None if never two were seen."""
    frames = np.flatnonzero((~np.isnan(markers.positions).any(axis=2)).sum(axis=1) >= 2)
    if not len(frames):
        return None
    p = markers.positions[frames]
    return float(np.median((np.nanmax(p, axis=1) - np.nanmin(p, axis=1)).max(axis=1)))


def _check_extent(markers: Markers, unit: str) -> None:
    """Refuse positions whose extent contradicts their unit."""
    size = extent_m(markers)
    if size is not None and not PLAUSIBLE_EXTENT_M[0] <= size <= PLAUSIBLE_EXTENT_M[1]:
        raise TrcError(
            f"{markers.path}: declared in {unit}, the markers of a frame span {size:.3g} m, which no person does; "
            "the unit is wrong. Correct 'Units' in line 3, or pass units."
        )


def _contradictions(path: Path, header: dict[str, str], markers: Markers) -> list[str]:
    """Sentences on what the header says and the table does not bear out."""
    counts = (("frames", "NumFrames", len(markers.time)), ("markers", "NumMarkers", len(markers.names)))
    notes = [
        f"{path.name}: the header says {header[key]} {what}, the table has {true}; the table was believed."
        for what, key, true in counts
        if key in header and count(header[key]) != true
    ]
    rate = header.get("DataRate", "")
    if not re.fullmatch(r"[0-9]{1,18}\.?[0-9]*", rate) or abs(float(rate) - markers.rate_hz) > 0.01 * markers.rate_hz:
        notes.append(
            f"{path.name}: the header says {rate or 'no'} Hz, the times {markers.rate_hz:.4g} Hz; the times were "
            "believed."
        )
    return notes


def _rate(time: Float[np.ndarray, " time"]) -> float:
    return float(1.0 / np.median(np.diff(time)))
