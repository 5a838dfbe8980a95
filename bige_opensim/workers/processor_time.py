"""Processor time of a process and of those that it started."""

from __future__ import annotations

import contextlib
import time

import psutil


def processor_seconds() -> float:
    """What this process, its living children and those that it has waited for have used so far, s.

    Other than the clock's, it does not depend on what else the machine does, or on how many processes share the work.
    """
    own = psutil.Process()
    ended = own.cpu_times()
    total = time.process_time() + ended.children_user + ended.children_system
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            used = child.cpu_times()
            total += used.user + used.system + used.children_user + used.children_system
    return float(total)
