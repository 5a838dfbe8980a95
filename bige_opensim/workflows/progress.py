"""How long work says how far it is; nothing is shown unless someone asks for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, runtime_checkable


@runtime_checkable
class Steps(Protocol):
    """Shows how far a piece of work is."""

    def now(self, text: str) -> None:
        """What is going on."""

    def finish(self, line: str) -> None:
        """One item is done."""

    def advance(self, done: int, text: str, *, every: int) -> None:
        """So many iterations are done."""


Show = Callable[[int, str], AbstractContextManager[Steps]]
"""Opens a display: number of items or iterations, and what they are."""


class Silent:
    """Shows nothing."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what = total, what

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def now(self, text: str) -> None:
        """Nothing."""

    def finish(self, line: str) -> None:
        """Nothing."""

    def advance(self, done: int, text: str, *, every: int) -> None:
        """Nothing."""
