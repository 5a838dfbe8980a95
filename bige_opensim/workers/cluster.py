"""Workers of dask.distributed: those of this process by default, or those of a running cluster."""

from __future__ import annotations

import logging
import queue
import uuid
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import dask
import psutil
from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, Worker, get_worker
from distributed.system import MEMORY_LIMIT

from bige_opensim.workers.worker_process import PROCESSES

CONNECT_S = 20.0
LOOK_S = 2.0
LOOPBACK = "127.0.0.1:0"
PLAIN: dict[str, Any] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "30s",
    "distributed.admin.tick.interval": "1s",
}
"""dask without pages, and without the watching of itself that takes a twentieth of a core."""

Asked = TypeVar("Asked")
Done = TypeVar("Done")


class ClusterError(ValueError):
    """No scheduler answers at the address that was given."""


@dataclass(frozen=True)
class Lost:
    """An item that no worker finished, and why."""

    reason: str


@dataclass(frozen=True)
class TaskContext:
    """What a task on a worker needs of the cluster: to tell the client something, and to hear that it may stop."""

    worker: Worker
    key: Any
    topic: str
    index: int

    @property
    def name(self) -> str:
        """The worker's name or address."""
        return str(self.worker.name)

    def tell(self, message: Any) -> None:
        """Send something that msgpack can write to whoever iterates over `each`."""
        self.worker.log_event(self.topic, {"index": self.index, "message": message})

    def wanted(self) -> bool:
        """Whether the client still waits for the result: it may have been stopped or killed."""
        task = self.worker.state.tasks.get(self.key)
        return task is not None and task.state == "executing"


def local_count(trials: int, jobs: int | None, need_bytes: float) -> int:
    """Workers for this machine: `jobs`, or one per core as far as memory goes; never more than there are trials."""
    free = min(psutil.virtual_memory().available, MEMORY_LIMIT or float("inf"))
    return max(1, min(jobs or min(CPU_COUNT, int(free // need_bytes)), trials))


@contextmanager
def workers(count: int, scheduler: str | None = None) -> Iterator[Client]:
    """A client of `count` workers of this process, or of the running cluster at `scheduler`.

    Workers only wait for `worker_process` processes, so those of this process are threads: they start in a tenth of a
    second and need no port. dask's HTTP servers, which cannot be left out, serve nothing, on this machine only.

    Raises
    ------
    ClusterError
        No scheduler answers at the address.

    """
    if scheduler is not None:
        with _connected(scheduler) as client:
            yield client
        return
    logging.getLogger("distributed.batched").addFilter(_not_closed)
    with PROCESSES.kept():
        PROCESSES.start(count)
        with (
            dask.config.set(PLAIN),
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=False,
                protocol="inproc://",
                scheduler_kwargs={"dashboard": False, "dashboard_address": LOOPBACK},
                worker_dashboard_address=LOOPBACK,
                memory_limit=0,
                silence_logs=logging.ERROR,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client


def _not_closed(record: logging.LogRecord) -> bool:
    """Not what the workers of this process could not tell each other any more when they were closed."""
    return "inproc://" not in record.getMessage()


def _connected(scheduler: str) -> Client:
    try:
        return Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"{scheduler}: no scheduler answers ({error}). Start one with `dask scheduler` and name the address that "
            "it prints, such as tcp://127.0.0.1:8786."
        ) from error


class _Queue(Generic[Asked]):
    """Items on their way through a cluster: what waits, what runs, and what is heard of them."""

    def __init__(
        self, client: Client, task: Callable[[Asked, TaskContext], Any], group: Callable[[Asked], Hashable]
    ) -> None:
        self.client, self.task, self.group = client, task, group
        self.topic = f"bige-{uuid.uuid4().hex}"
        self.items: list[Asked] = []
        self.waiting: dict[Hashable, deque[int]] = {}
        self.busy: Counter[Hashable] = Counter()
        self.begun: set[Hashable] = set()
        self.running: dict[Any, tuple[int, Future]] = {}
        self.heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def add(self, items: Iterable[Asked]) -> None:
        """Have more items wait, behind the others of their group."""
        for item in items:
            self.waiting.setdefault(self.group(item), deque()).append(len(self.items))
            self.items.append(item)

    def _pop(self) -> int:
        """The next item of the group of which least is under way; of several, one that has been begun."""
        group = min(self.waiting, key=lambda g: (self.busy[g], g not in self.begun))
        i = self.waiting[group].popleft()
        if not self.waiting[group]:
            del self.waiting[group]
        self.busy[group] += 1
        self.begun.add(group)
        return i

    def finished(self, key: Any) -> tuple[int, Future]:
        """Number and future of an item that no longer runs."""
        i, future = self.running.pop(key)
        self.busy[self.group(self.items[i])] -= 1
        return i, future

    def fill(self) -> None:
        """Have one item per thread of the cluster under way.

        Not more: the scheduler holds every item that a worker has, begun or not, suspect when that worker dies.
        """
        if not self.waiting:
            return
        room = sum(self.client.nthreads().values()) - len(self.running)
        for _ in range(min(room, sum(map(len, self.waiting.values())))):
            i = self._pop()
            future = self.client.submit(_on_worker, self.task, self.items[i], i, self.topic, pure=False)
            self.running[future.key] = i, future
            future.add_done_callback(self.heard.put)

    def next(self) -> Any:
        """A message, a finished future, or None after a while."""
        try:
            return self.heard.get(timeout=LOOK_S)
        except queue.Empty:
            return None


def each(
    client: Client,
    task: Callable[[Asked, TaskContext], Done],
    items: Sequence[Asked],
    *,
    hear: Callable[[Asked, Any], None] = lambda item, message: None,
    group: Callable[[Asked], Hashable] = lambda item: None,
    more: Callable[[Asked, Done | Lost], Iterable[Asked]] = lambda item, result: (),
) -> Iterator[tuple[Asked, Done | Lost]]:
    """Run `task(item, context)` on workers and yield items with their results as they come, `Lost` where there is none.

    Items of a group are begun in their order, and as few groups at once as there are workers: what a process keeps for
    a group serves the next of it. The task of a worker that dies is begun again on another until the scheduler's
    `allowed-failures` are used up. `hear` is called with what tasks tell through their context;
    `more` names further items that a result asks for. Leaving the iteration withdraws what is under way.
    """
    queue_ = _Queue(client, task, group)
    queue_.add(items)
    client.subscribe_topic(queue_.topic, lambda event: queue_.heard.put(event[1]))
    try:
        queue_.fill()
        while queue_.running or queue_.waiting:
            found = queue_.next()
            if isinstance(found, Future):
                i, future = queue_.finished(found.key)
                result = _result(future)
                queue_.add(more(queue_.items[i], result))
                queue_.fill()
                yield queue_.items[i], result
            elif found is None:
                queue_.fill()
            else:
                hear(queue_.items[found["index"]], found["message"])
    finally:
        client.cancel([future for _, future in queue_.running.values()])
        client.unsubscribe_topic(queue_.topic)


def _result(future: Future) -> Any:
    if future.status == "finished":
        return future.result()
    if future.status == "error":
        error = future.exception()
        return Lost(f"{type(error).__name__}: {error}")
    return Lost("the scheduler was lost; start again when it is there: finished trials are kept")


def _on_worker(task: Callable[[Asked, TaskContext], Done], item: Asked, index: int, topic: str) -> Done:
    worker = get_worker()
    return task(item, TaskContext(worker, worker.get_current_task(), topic, index))
