"""JSON and TOML files: read whole, or refused with the file's name and what is wrong with it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from bige_opensim.io.file_hash import read_bytes


class DocumentError(ValueError):
    """A file that is missing, unreadable, no JSON or TOML, or nested without end."""


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises
    ------
    DocumentError
        With the file's name and what is wrong.

    """
    try:
        return json.loads(_text(path))
    except RecursionError:
        raise DocumentError(f"{path}: nested too deep for JSON that a person or this package wrote.") from None
    except ValueError as error:
        raise DocumentError(f"{path}: not JSON ({error}).") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file.

    Raises
    ------
    DocumentError
        With the file's name and what is wrong.

    """
    try:
        return tomllib.loads(_text(path))
    except RecursionError:
        raise DocumentError(f"{path}: nested too deep for TOML that a person or this package wrote.") from None
    except ValueError as error:
        raise DocumentError(f"{path}: not a TOML file ({error}).") from error


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read ({error.strerror}).") from error
