"""Items that need no cluster: each in a process beside this one, so that OpenSim's crash costs one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

from bige_opensim.workers.worker_process import PROCESSES, Report

Asked = TypeVar("Asked")
Done = TypeVar("Done")
Errors = tuple[type[Exception], ...]


def as_they_come(work: Callable[[Asked], Done], requests: Iterable[Asked], jobs: int | None) -> Iterator[Done]:
    """Results of `work` on every request, `jobs` at once (one per processor core by default), first come first.

    `work` runs in threads of this process; what needs a process of its own goes through `alone`. These processes end
    with the iteration: the kernel ends a process whose parent thread ends, and who takes one just then would lose it.
    """
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        waiting = [pool.submit(work, request) for request in requests]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()
            PROCESSES.close()


def alone(task: Callable[..., Done], *arguments: Any, errors: Errors) -> Done:
    """Run a function of a module in another process and return its result; the caller needs no main guard.

    Raises
    ------
    Exception
        What the task raised, where it is one of `errors`.
    ProcessLostError
        The process ended, or the task raised something else.

    """
    process = PROCESSES.take()
    try:
        found = process.run(_attempt, task, arguments, errors)
    finally:
        PROCESSES.give_back(process)
    if isinstance(found, errors):
        raise found
    result: Done = found
    return result


def _attempt(task: Callable[..., Any], arguments: tuple[Any, ...], errors: Errors, report: Report) -> Any:
    try:
        return task(*arguments)
    except errors as error:
        return error
