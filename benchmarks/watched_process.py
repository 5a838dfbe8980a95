"""The memory of a process and of those that it starts, while it runs."""

from __future__ import annotations

import subprocess
import threading
import time

import psutil

LOOK_S = 1.0


def watch(process: subprocess.Popen[bytes]) -> list[tuple[float, float]]:
    """Seconds and resident MB of a process and its children, filled in while it runs."""
    found: list[tuple[float, float]] = []
    began = time.perf_counter()

    def look() -> None:
        while process.poll() is None:
            try:
                family = [psutil.Process(process.pid)]
                family += family[0].children(recursive=True)
                found.append((time.perf_counter() - began, sum(p.memory_info().rss for p in family) / 1e6))
            except psutil.NoSuchProcess:  # it ended between two looks
                continue
            time.sleep(LOOK_S)

    threading.Thread(target=look, daemon=True).start()
    return found
