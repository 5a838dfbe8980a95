"""A process that does one task after another, so that a crash, a leak or a hang inside OpenSim costs one try."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import psutil

from bige_opensim.workers.kept_memory import keep_freed_memory

CHECK_S = 0.1
START_S = 300.0
IDLE_S = 120.0
WORN_BYTES = 10**9
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
PR_SET_PDEATHSIG = 1

READY, PROGRESS, WARNED, DONE, RAISED, ENDED = "ready", "progress", "warned", "done", "raised", "ended"

Report = Callable[[str, float], None]
Task = Callable[..., Any]
"""A function of a module, called with its arguments and a `Report`; it may return whatever can be pickled."""


class ProcessLostError(RuntimeError):
    """The process ended in the middle of a task; another try may do better."""


class TaskStoppedError(RuntimeError):
    """The task took too long, too much memory, or nobody wants its result any more."""


class TooLargeError(TaskStoppedError):
    """The process took too much memory, part of it perhaps for earlier tasks."""


@dataclass(frozen=True)
class Limits:
    """What one task may take: seconds, and bytes of resident memory."""

    timeout_s: float | None = None
    memory_bytes: int | None = None


class WorkerProcess:
    """One process that waits for tasks and ends with its parent; `ready_for` is a module that it imports at once.

    Standard input and output of the process carry the messages; whatever OpenSim prints goes to standard error. Without
    a task for `idle_s` it ends: a cluster's worker may outlive the runs that used it.
    """

    def __init__(self, idle_s: float = IDLE_S, ready_for: str = "") -> None:
        code = f"from {__name__} import serve; serve({os.getpid()}, {idle_s}, {ready_for!r})"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self._answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_collect, args=(self._process.stdout, self._answers), daemon=True).start()
        self._ready = False
        self.tasks = 0
        self.about: object = None

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it lives and has not grown by OpenSim's leak (some 54 MB per run of a tool)."""
        return self._process.poll() is None and self._memory() < WORN_BYTES

    def run(
        self,
        task: Task,
        *arguments: Any,
        limits: Limits = Limits(),
        report: Report = lambda step, share: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Any:
        """Do one task and return its result; time counts from when the process has started.

        This package's warnings in the process become warnings here, where each is shown once.

        Raises
        ------
        ProcessLostError
            The process ended, or the task raised an error.
        TaskStoppedError
            A limit was passed, or `wanted` said no; the process was killed.

        """
        self.tasks += 1
        try:
            pickle.dump((task, arguments), self._requests)
            self._requests.flush()
        except OSError as error:
            raise self._lost() from error
        started = time.monotonic()
        while True:
            try:
                kind, content = self._answers.get(timeout=CHECK_S)
            except queue.Empty:
                kind, content = "", None
            if kind == READY:
                self._ready, started = True, time.monotonic()
            elif kind == PROGRESS:
                report(*content)
            elif kind == WARNED:
                text, category = content
                warnings.warn(text, category, stacklevel=2)
            elif kind == DONE:
                return content
            elif kind == RAISED:
                self.kill()
                raise ProcessLostError(content)
            elif kind == ENDED:
                raise self._lost()
            self._enforce(limits, time.monotonic() - started, wanted)

    def _enforce(self, limits: Limits, seconds: float, wanted: Callable[[], bool]) -> None:
        stop = None
        if not wanted():
            stop = TaskStoppedError("stopped because nobody waits for it any more")
        elif not self._ready and seconds > START_S:
            stop = TaskStoppedError(f"not begun, because no process started within {START_S:.0f} s")
        elif self._ready and limits.timeout_s is not None and seconds > limits.timeout_s:
            stop = TaskStoppedError(f"stopped after {limits.timeout_s:.0f} s")
        elif limits.memory_bytes is not None and self._memory() > limits.memory_bytes:
            stop = TooLargeError(f"stopped above {limits.memory_bytes / 1e9:.3g} GB of memory")
        if stop is not None:
            self.kill()
            raise stop

    def _lost(self) -> ProcessLostError:
        self._process.wait()
        return ProcessLostError(f"the process ended without a word (exit code {self._process.returncode})")

    def _memory(self) -> int:
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()


class Processes:
    """Processes that wait for tasks, shared by the threads of a worker."""

    def __init__(self) -> None:
        self._all: list[WorkerProcess] = []
        self._idle: list[WorkerProcess] = []
        self._lock = threading.Lock()
        self._ready_for = ""
        self._keepers = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Let processes wait for more tasks within; when the outermost of such blocks ends, so do they."""
        self._keepers += 1
        try:
            yield
        finally:
            self._keepers -= 1
            if not self._keepers:
                self.close()

    def start(self, count: int, ready_for: str = "") -> None:
        """Have `count` processes ready or starting; those made from now on import the module `ready_for` at once."""
        with self._lock:
            self._ready_for = ready_for or self._ready_for
            for _ in range(count - len(self._all)):
                self._idle.append(self._new())

    def take(self, about: object = None) -> WorkerProcess:
        """A process for one task, a new one where none waits; one whose last task was about the same where it waits."""
        with self._lock:
            while self._idle:
                process = next((p for p in self._idle if p.about == about), self._idle[0])
                self._idle.remove(process)
                if process.usable:
                    break
                self._drop(process)
            else:
                process = self._new()
            process.about = about
            return process

    def give_back(self, process: WorkerProcess) -> None:
        """Keep a process for another task, unless it has ended or grown."""
        with self._lock:
            if process in self._all and process.usable:
                self._idle.append(process)
            else:
                self._drop(process)

    def close(self) -> None:
        """End all processes, busy ones too."""
        with self._lock:
            for process in list(self._all):
                self._drop(process)
            self._idle.clear()

    def _new(self) -> WorkerProcess:
        process = WorkerProcess(ready_for=self._ready_for)
        self._all.append(process)
        return process

    def _drop(self, process: WorkerProcess) -> None:
        process.kill()
        if process in self._all:
            self._all.remove(process)


PROCESSES = Processes()
"""The processes of this interpreter."""


def _collect(stream: IO[bytes], answers: queue.SimpleQueue[tuple[str, Any]]) -> None:
    try:
        while True:
            answers.put(pickle.load(stream))
    except (EOFError, OSError, pickle.UnpicklingError):  # the process ended, perhaps in the middle of a message
        answers.put((ENDED, None))


def serve(parent: int, idle_s: float, ready_for: str = "") -> None:
    """Do the tasks that come on standard input: what a `WorkerProcess` runs. Ends with its parent, or when idle."""
    keep_freed_memory()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(parent)
    sending = threading.Lock()

    def send(kind: str, content: Any = None) -> None:
        with sending:
            pickle.dump((kind, content), answers)
            answers.flush()

    def tell(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        sys.__excepthook__(kind, error, trace)
        send(RAISED, f"{kind.__name__}: {error}")
        os._exit(1)

    sys.excepthook = tell
    _hand_on_warnings(lambda text, category: send(WARNED, (text, category)))
    tasks: queue.SimpleQueue[tuple[Task, tuple[Any, ...]]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(os.fdopen(os.dup(0), "rb"), tasks), daemon=True).start()
    _import_for_good(ready_for)
    send(READY)
    while True:
        try:
            task, arguments = tasks.get(timeout=idle_s)
        except queue.Empty:
            os._exit(0)
        send(DONE, task(*arguments, lambda step, share: send(PROGRESS, (step, share))))


def _import_for_good(module: str) -> None:
    """Import torch and a module, and spare the garbage collector what they leave, which lives as long as the process.

    Going through the half a million objects of torch and OpenSim again and again would take a tenth of the work.
    """
    gc.disable()
    import torch

    if module:
        importlib.import_module(module)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    gc.enable()


def _hand_on_warnings(tell: Callable[[str, type[Warning]], None]) -> None:
    """Let warnings of this package be told, and others be shown as they are."""
    show, package = warnings.showwarning, __name__.partition(".")[0]

    def hand_on(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__module__.partition(".")[0] == package:
            tell(str(message), category)
        else:
            show(message, category, *where, **more)

    warnings.showwarning = hand_on


def _listen(stream: IO[bytes], tasks: queue.SimpleQueue[tuple[Task, tuple[Any, ...]]]) -> None:
    try:
        while True:
            tasks.put(pickle.load(stream))
    except (EOFError, OSError, pickle.UnpicklingError):  # the parent is no more
        os._exit(1)


def _end_with(parent: int) -> None:
    """Do not outlive the parent: a killed run would leave processes that write beside its successor's.

    Where standard input ends, `_listen` ends the process; but OpenSim's tools hold the interpreter for minutes, so on
    Linux the kernel is asked to do it (prctl(2), PR_SET_PDEATHSIG).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
