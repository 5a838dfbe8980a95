"""What every command prints with: the console, progress of many items, and a last sentence where it fails."""

from __future__ import annotations

import errno
import warnings
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

console = Console()
errors = Console(stderr=True)
_as_python_does = warnings.showwarning


class Steps:
    """Progress of many items: a bar on a terminal, one line per finished item elsewhere."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.done = total, what, 0
        self.live = console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, TextColumn("{task.fields[now]}"), console=console, disable=not self.live)
        self.task: TaskID | None = None

    def __enter__(self) -> Steps:
        self.progress.start()
        self.task = self.progress.add_task(self.what, total=self.total, now="")
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def now(self, text: str) -> None:
        """Show what is going on."""
        if self.task is not None:
            self.progress.update(self.task, now=text)

    def finish(self, line: str) -> None:
        """Count one item and print its line."""
        self.done += 1
        if self.task is not None:
            self.progress.advance(self.task)
        (self.progress.console if self.live else console).print(
            line if self.live else f"[{self.done}/{self.total}] {line}", markup=False, highlight=False, soft_wrap=True
        )

    def advance(self, done: int, text: str, *, every: int) -> None:
        """Count iterations; away from a terminal, print every so many."""
        if self.task is not None:
            self.progress.update(self.task, completed=done, now=text)
        if not self.live and (done % every == 0 or done == self.total):
            console.print(f"[{done}/{self.total}] {self.what}: {text}", markup=False, highlight=False)


def show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Show a warning of this package as a sentence, another as Python does."""
    if category.__module__.startswith("bige_opensim."):
        errors.print(f"bige: {message}", markup=False, highlight=False, soft_wrap=True)
    else:
        _as_python_does(message, category, *where, **more)


def explained(error: OSError) -> str:
    """What a file system refused, and what to do."""
    remedy = {
        errno.ENOSPC: "Make room, and start again: what is finished is kept.",
        errno.EDQUOT: "Make room, and start again: what is finished is kept.",
        errno.EROFS: "Name a place that can be written.",
        errno.EACCES: "Ask for the right to use it, or name another place.",
        errno.EPERM: "Ask for the right to use it, or name another place.",
        errno.ELOOP: "Its links lead in a circle: remove one.",
        errno.ENAMETOOLONG: "Choose shorter names.",
    }.get(error.errno or 0, "Check the path, and start again: what is finished is kept.")
    return f"{error.filename or 'a file'}: {error.strerror or error}. {remedy}"


def fail(message: str) -> int:
    """Print why a command stops, and return the exit status that says so."""
    errors.print(f"bige: {message}", markup=False, highlight=False, soft_wrap=True)
    return 1
