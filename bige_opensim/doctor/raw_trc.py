"""The text of a .trc file as it stands: what its header counts, and rows whose time does not increase."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bige_opensim.io.trc import Markers, TrcError, read_trc


@dataclass(frozen=True)
class RawTrc:
    """A marker file's lines.

    Attributes
    ----------
    path
        The file.
    lines
        All lines, without ends.
    data_line
        Index in `lines` of the line of counts.
    units
        Unit of the header.
    declared_frames, declared_markers
        What the header counts.
    frames, markers
        What the table has.
    disordered
        Line number and time of every row whose time is not later than all before.

    """

    path: Path
    lines: tuple[str, ...]
    data_line: int
    units: str
    declared_frames: int | None
    declared_markers: int | None
    frames: int
    markers: int
    disordered: tuple[tuple[int, float], ...]

    @property
    def sound(self) -> bool:
        """Whether the counts are right and time increases."""
        counts = ((self.declared_frames, self.frames), (self.declared_markers, self.markers))
        return not self.disordered and all(said in (None, true) for said, true in counts)

    def markers_in_order(self) -> Markers:
        """The markers, disordered rows left out.

        Raises
        ------
        TrcError
            As `read_trc`.

        """
        if self.sound:
            return read_trc(self.path)
        with TemporaryDirectory() as folder:
            copy = Path(folder) / self.path.name
            copy.write_text(self.corrected(), encoding="utf-8")
            try:
                return replace(read_trc(copy), path=self.path)
            except TrcError as error:
                raise TrcError(str(error).replace(str(copy), str(self.path))) from error

    def corrected(self) -> str:
        """The text with disordered rows left out and counts that are right."""
        dropped = {number for number, _ in self.disordered}
        kept = [line for number, line in enumerate(self.lines, start=1) if number not in dropped]
        keys, cells = self.lines[self.data_line - 1].split(), self.lines[self.data_line].split()
        right = {"NumFrames": self.frames - len(dropped), "NumMarkers": self.markers}
        values = [str(right.get(key, cell)) for key, cell in zip(keys, cells, strict=False)]
        kept[self.data_line] = "\t".join(values)
        return "\n".join(kept).rstrip("\n") + "\n"


def read_raw_trc(path: Path) -> RawTrc:
    """Read the lines of a .trc file.

    Raises
    ------
    TrcError
        If it cannot be read or has no header of a .trc file.

    """
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise TrcError(f"{path}: cannot be read ({problem.strerror}); check the path.") from problem
    text = raw.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = tuple(text.split("\n"))
    keys = next((n for n, line in enumerate(lines[:20]) if line.lstrip().lower().startswith("datarate")), None)
    names = next((n for n, line in enumerate(lines[:20]) if line.lstrip().lower().startswith("frame#")), None)
    if keys is None or names is None or names <= keys + 1 or len(lines) < names + 3:
        raise TrcError(f"{path}: no .trc file: lines that begin with 'DataRate' and 'Frame#' were expected.")
    header = dict(zip(lines[keys].split(), lines[keys + 1].split(), strict=False))
    frames, disordered, latest = 0, list[tuple[int, float]](), -math.inf
    for number, line in enumerate(lines[names + 2 :], start=names + 3):
        cells = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or len(cells) < 2:
            continue
        frames += 1
        time = _time(cells[1])
        if time <= latest:
            disordered.append((number, time))
        elif not math.isnan(time):
            latest = time
    cells = [cell for cell in (c.strip() for c in lines[names].split("\t" if "\t" in lines[names] else None)) if cell]
    return RawTrc(
        path=path,
        lines=lines,
        data_line=keys + 1,
        units=header.get("Units", "m"),
        declared_frames=_count(header.get("NumFrames")),
        declared_markers=_count(header.get("NumMarkers")),
        frames=frames,
        markers=len(cells) - 2,
        disordered=tuple(disordered),
    )


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
