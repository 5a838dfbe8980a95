"""Text files that appear whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path


class StorageError(ValueError):
    """A .mot or .sto file that cannot be used, or a table that must not be written."""


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it appears whole or not at all.

    Raises
    ------
    StorageError
        If the folder does not exist.

    """
    if not path.parent.is_dir():
        raise StorageError(f"{path}: the folder {path.parent} does not exist; create it first.")
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
