"""Files that appear whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path


class StorageError(ValueError):
    """A .mot or .sto file that cannot be used, or a table that must not be written."""


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8 so that it appears whole or not at all; errors as `write_whole_bytes`."""
    write_whole_bytes(path, text.encode("utf-8"))


def write_whole_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all.

    Raises
    ------
    StorageError
        If the folder does not exist.

    """
    if not path.parent.is_dir():
        raise StorageError(f"{path}: the folder {path.parent} does not exist; create it first.")
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
