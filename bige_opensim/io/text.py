"""Text files of whatever line ends, and numbers that mean the same to every program."""

from __future__ import annotations

import re
from pathlib import Path

from bige_opensim.io.file_hash import read_bytes


def read_text(path: Path, error: type[ValueError], kind: str) -> str:
    """Content of a text file with line ends made "\\n"; undecodable bytes become replacement characters.

    Raises `error` where the file cannot be read, is empty, or is binary; `kind` names what was expected, such as
    "a .trc file".
    """
    try:
        raw = read_bytes(path)
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); check the path.") from problem
    if not raw.strip():
        raise error(f"{path}: the file is empty; export it again.")
    if b"\0" in raw:
        raise error(f"{path}: not a text file; {kind} in UTF-8 or ASCII was expected.")
    return raw.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def is_plain(line: str) -> bool:
    """Whether a line holds nothing that Python takes for a blank or a digit and other programs do not.

    Those are control characters other than the tab, underscores between digits, and characters beyond ASCII.
    """
    return line.isascii() and "_" not in line and line.replace("\t", " ").isprintable()


def number(text: str) -> float:
    """A number as C and OpenSim read it: ASCII, without underscores; blanks around it do no harm.

    Raises
    ------
    ValueError
        If it is none.

    """
    if not is_plain(text):
        raise ValueError(f"not a number: {text[:40]!r}")
    return float(text)


def numbers(line: str, separator: str) -> list[float]:
    """Numbers of a line as `number` reads each of them.

    Raises
    ------
    ValueError
        If a cell holds none.

    """
    if not is_plain(line):
        raise ValueError(f"not a row of numbers: {line[:40]!r}")
    return list(map(float, line.split(separator)))


def count(text: str | None) -> int | None:
    """A count of a header, None where it is not one."""
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text) else None
