"""One job, in a process of its own: `python -m bige_opensim.app.job_process FOLDER`.

The process holds the lock of its folder while it works, and writes `result.json` at the end, whole. A second process
for the same folder waits for the first, finds the result and ends: nothing is done twice, whoever was killed when.
Progress is a small file that a page reads; what OpenSim prints goes to `output.txt`, where its parent points it.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from bige_opensim.app.places import read_json
from bige_opensim.io.file_lock import locked
from bige_opensim.io.whole_files import write_whole

JOB, PROGRESS, RESULT, PROCESS, OUTPUT = "job.json", "progress.json", "result.json", "process.json", "output.txt"
LOCK = "work"
EVERY_S = 0.25
NICE = 5


class Progress:
    """How far a job is, in a file: the stage of how many, and in it how many of how many items.

    It shows workflows what they ask of a `Show`: called with a total and what is counted, it is entered for one stage.
    """

    def __init__(self, path: Path, stages: int = 1) -> None:
        self.path, self.stages = path, stages
        self.stage, self.total, self.done, self.what, self.text = 0, 0, 0, "starting", ""
        self._written = 0.0

    def begin(self, what: str, total: int = 0) -> None:
        """The next stage."""
        self.stage = min(self.stage + 1, self.stages)
        self.total, self.done, self.what, self.text = total, 0, what, ""
        self._write(at_once=True)

    def __call__(self, total: int, what: str) -> Progress:
        """Count something else."""
        self.total, self.done, self.what = total, 0, what
        self._write(at_once=True)
        return self

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(at_once=True)

    def now(self, text: str) -> None:
        """What is going on."""
        self.text = text
        self._write()

    def finish(self, line: str) -> None:
        """One item is done."""
        self.done += 1
        self._write(at_once=True)

    def advance(self, done: int, text: str, *, every: int) -> None:
        """So many iterations are done."""
        self.done, self.text = done, text
        self._write()

    def _write(self, *, at_once: bool = False) -> None:
        if not at_once and time.monotonic() - self._written < EVERY_S:
            return
        self._written = time.monotonic()
        keys = ("stage", "stages", "total", "done", "what", "text")
        write_whole(self.path, json.dumps({key: getattr(self, key) for key in keys}))


Task = Callable[[Path, dict[str, Any], Progress], str]
"""What a kind of job does: folder, settings and progress in, a sentence on the result out. It can be done again."""


def work(folder: Path, tasks: dict[str, Task], errors: tuple[type[Exception], ...]) -> dict[str, Any]:
    """Do the job of a folder, unless it has its result; return the result."""
    with locked(folder / LOCK):
        known = read_json(folder / RESULT)
        if known is not None:
            return known
        born = psutil.Process().create_time()
        write_whole(folder / PROCESS, json.dumps({"pid": os.getpid(), "group": os.getpgid(0), "born": born}))
        job = read_json(folder / JOB) or {}
        try:
            message = tasks[job["kind"]](folder, job["settings"], Progress(folder / PROGRESS))
            result = {"state": "done", "message": message}
        except errors as error:
            traceback.print_exc()
            result = {"state": "failed", "message": told(str(error), folder)}
        write_whole(folder / RESULT, json.dumps(result))
        return result


def told(message: str, folder: Path) -> str:
    """A message without the folders of this machine: files by what comes after the work folder's own."""
    root = folder.absolute().parents[3]
    for known in (folder.absolute(), root):
        message = message.replace(f"{known}{os.sep}", "")
    return message


def main() -> None:
    """Do the job whose folder the command line names."""
    os.nice(NICE)  # pages come first
    folder = Path(sys.argv[1])
    from bige_opensim.app.tasks import ERRORS, TASKS

    result = work(folder, TASKS, ERRORS)
    sys.exit(0 if result["state"] == "done" else 1)


if __name__ == "__main__":
    main()
