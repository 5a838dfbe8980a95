"""Read a text file of whatever line ends, or say in one sentence why it cannot be one."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path, error: type[ValueError], kind: str) -> str:
    """Content of a text file with line ends made "\\n"; undecodable bytes become replacement characters.

    Raises `error` where the file cannot be read, is empty, or is binary; `kind` names what was expected, such as
    "a .trc file".
    """
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); check the path.") from problem
    if not raw.strip():
        raise error(f"{path}: the file is empty; export it again.")
    if b"\0" in raw:
        raise error(f"{path}: not a text file; {kind} in UTF-8 or ASCII was expected.")
    return raw.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
