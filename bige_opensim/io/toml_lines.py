"""On which line of a TOML file something stands, found by the parser that reads the file."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TomlLines:
    """Lines of a TOML text.

    The parser itself does not keep them. It accepts the first lines of a text where no value is cut in two, so that a
    key stands on the line after the last acceptable beginning that lacks it. Only texts that were read without an error
    have lines.
    """

    text: str

    def of(self, path: Sequence[str | int]) -> int | None:
        """Number, from 1, of the line where a table or key begins: ("term", 1, "stat"); None where it is not there."""
        lines = self.text.splitlines(keepends=True)
        without = 0
        for count in range(1, len(lines) + 1):
            try:
                content = tomllib.loads("".join(lines[:count]))
            except tomllib.TOMLDecodeError:
                continue
            if _has(content, path):
                return without + 1
            without = count
        return None


def _has(content: Any, path: Sequence[str | int]) -> bool:
    for step in path:
        if isinstance(step, int):
            if not isinstance(content, list) or step >= len(content):
                return False
        elif not isinstance(content, dict) or step not in content:
            return False
        content = content[step]
    return True
