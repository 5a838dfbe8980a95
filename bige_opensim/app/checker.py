"""Objectives are checked in one process beside the server, where models and OpenSim are loaded once for everybody."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bige_opensim.workers.worker_process import Limits, ProcessLostError, Report, TaskStoppedError, WorkerProcess

CHECK_S = 60.0
CHECK_BYTES = 4 * 10**9
CHECK_IDLE_S = 86400.0


def checked(asked: dict[str, Any], model: str, report: Report) -> dict[str, Any]:
    """`objective_check.checked`, which is imported where this runs, not in the server."""
    from bige_opensim.app import objective_check

    return objective_check.checked(asked, model)


class Checker:
    """One process that reads objectives for everybody, started again where it ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(1, "bige-check")  # the process ends with the thread that started it
        self._process: WorkerProcess | None = None

    async def check(self, asked: dict[str, Any], model: Path) -> dict[str, Any]:
        """What `objective_check.checked` says."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._check, asked, str(model))

    def _check(self, asked: dict[str, Any], model: str) -> dict[str, Any]:
        if self._process is None or not self._process.usable:
            self._process = WorkerProcess(CHECK_IDLE_S, "bige_opensim.app.objective_check")
        try:
            found: dict[str, Any] = self._process.run(checked, asked, model, limits=Limits(CHECK_S, CHECK_BYTES))
        except (ProcessLostError, TaskStoppedError):
            return {"ok": False, "error": "The check of this objective failed. Change it, or try again.", "key": ""}
        return found

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
        self._threads.shutdown(wait=False, cancel_futures=True)
