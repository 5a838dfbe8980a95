"""Results as JSON for scripts: `--json FILE`, or `--json -` for standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from bige_opensim.commands.display import console

STANDARD_OUTPUT = Path("-")
JsonTarget = Annotated[Path | None, Parameter(allow_leading_hyphen=True)]
"""Option of a command whose result scripts read."""


@contextmanager
def json_output(target: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What writes a result: to a file whole or not at all, to standard output, or, without a target, nowhere.

    While a result goes to standard output, everything else goes to standard error. A file whose folder does not exist
    raises StorageError before the work begins.
    """
    if target is None:
        yield lambda content: None
    elif target == STANDARD_OUTPUT:
        before = console.stderr
        console.stderr = True
        try:
            yield lambda content: _to_standard_output(content)
        finally:
            console.stderr = before
    else:
        from bige_opensim.io.storage import StorageError, write_whole

        if not target.absolute().parent.is_dir():
            raise StorageError(f"{target}: the folder {target.parent} does not exist; create it first.")
        yield lambda content: write_whole(target, _text(content))


def _to_standard_output(content: dict[str, Any]) -> None:
    sys.stdout.write(_text(content))


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"
