"""Work on the jobs of a queue: a process per job, in a group of its own, with limits of time and memory.

Two lanes keep short work from waiting behind long: files are examined and labelled in one, motions searched in the
other; each does one job after another.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bige_opensim.app.job_process import OUTPUT, PROCESS, RESULT
from bige_opensim.app.job_queue import Job, JobQueue, State
from bige_opensim.app.places import read_json

LANES: dict[str, tuple[str, ...]] = {"short": ("examine", "label"), "long": ("search", "edit")}
LOOK_S = 0.2
JOB_PROCESS = "bige_opensim.app.job_process"
MOST_TRIES = 2
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


@dataclass(frozen=True)
class JobLimits:
    """What one job may take."""

    seconds: float = 7200.0
    memory_bytes: int = 8_000_000_000


class Runner:
    """Threads that take jobs from the queue and watch over their processes."""

    def __init__(
        self,
        queue: JobQueue,
        users: Path,
        limits: JobLimits = JobLimits(),
        module: str = JOB_PROCESS,
    ) -> None:
        self.queue, self.users, self.limits, self.module = queue, users, limits, module
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Have what an earlier server left behind wait again, and begin."""
        self.queue.recover()
        for lane, kinds in LANES.items():
            thread = threading.Thread(target=self._serve, args=(kinds,), name=f"bige-{lane}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the processes at work; their jobs wait for the next server."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def cancel(self, job: Job) -> None:
        """End a job for good, and all its processes."""
        self.queue.end(job.name, "cancelled")
        self._kill_worker(self.folder(job))

    def folder(self, job: Job) -> Path:
        """Where a job works."""
        return self.users / job.user / "jobs" / job.name

    def _serve(self, kinds: tuple[str, ...]) -> None:
        while not self._stop.is_set():
            job = self.queue.claim(kinds)
            if job is None:
                self._stop.wait(LOOK_S)
            else:
                self._do(job)

    def _do(self, job: Job) -> None:
        folder = self.folder(job)
        with (folder / OUTPUT).open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", self.module, str(folder)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )  # fmt: skip
        stopped = self._watch(job, process)
        if stopped is not None:
            _kill_group(process.pid)
            self._kill_worker(folder)
            process.wait()
        if self._stop.is_set() and read_json(folder / RESULT) is None:
            return  # still running in the table: the next server takes it up
        self._note(job, folder, stopped)

    def _watch(self, job: Job, process: subprocess.Popen[bytes]) -> str | None:
        """Wait for the process; a sentence where it has to be ended."""
        began = time.monotonic()
        while process.poll() is None:
            time.sleep(LOOK_S)
            now = self.queue.job(job.name)
            if now is None or now.state == "cancelled":
                return "cancelled"
            if self._stop.is_set():
                return "the server stops"
            if time.monotonic() - began > self.limits.seconds:
                return f"It was stopped after {self.limits.seconds / 60:.0f} minutes."
            if _memory(process.pid) > self.limits.memory_bytes:
                return f"It was stopped above {self.limits.memory_bytes / 1e9:.3g} GB of memory."
        return None

    def _note(self, job: Job, folder: Path, stopped: str | None) -> None:
        result = read_json(folder / RESULT)
        if result is not None:
            state: State = "done" if result.get("state") == "done" else "failed"
            self.queue.end(job.name, state, str(result.get("message", "")))
        elif stopped is not None:
            self.queue.end(job.name, "failed", stopped)
        elif job.tries < MOST_TRIES:
            self.queue.wait_again(job.name)
        else:
            self.queue.end(job.name, "failed", "The work ended without a word, twice. This is a fault of the program.")

    def _kill_worker(self, folder: Path) -> None:
        """End the process that works in a folder, which an earlier server may have started."""
        about = read_json(folder / PROCESS)
        if about is None:
            return
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(about["pid"]))
            if abs(process.create_time() - float(about["born"])) < 1.0 and about["group"] == about["pid"]:
                _kill_group(process.pid)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for one in family:
        with suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total
