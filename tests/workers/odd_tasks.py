"""Tasks for worker processes: some do their work, others do what OpenSim does on a bad day."""

import ctypes
import gc
import os
import signal
import time
import warnings
from collections.abc import Callable

Report = Callable[[str, float], None]


def pid_and_double(number: int, report: Report) -> tuple[int, int]:
    report("doubling", 0.5)
    os.write(1, b"OpenSim prints what it likes\n")
    return os.getpid(), 2 * number


def threads(report: Report) -> tuple[str, int]:
    import torch

    return os.environ["OMP_NUM_THREADS"], torch.get_num_threads()


def spared_from_collection(report: Report) -> tuple[int, bool]:
    return gc.get_freeze_count(), gc.isenabled()


def take_time(seconds: float, report: Report) -> float:
    time.sleep(seconds)
    return seconds


def hold_the_interpreter(seconds: int, report: Report) -> int:
    """As OpenSim's tools do: no other thread of the process can run meanwhile."""
    report("holding", 0.0)
    return ctypes.PyDLL(None).sleep(seconds)


def take_memory(megabytes: int, report: Report) -> int:
    block = bytearray(os.urandom(1024)) * (1024 * megabytes)
    time.sleep(20.0)
    return len(block)


def warn(text: str, report: Report) -> int:
    from bige_opensim.io.cache import CacheWarning

    warnings.warn(text, CacheWarning, stacklevel=1)
    return os.getpid()


def crash(report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(report: Report) -> None:
    raise KeyError("nobody thought of this")
