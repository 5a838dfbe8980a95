"""Items go through a cluster in their order, each comes back once, and what is lost says why."""

import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from distributed import Client

from bige_opensim.labelling.label_trials import label_trials
from bige_opensim.labelling.outcome import PASSED
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.workers import cluster
from bige_opensim.workers.cluster import ClusterError, Lost, TaskContext, each, local_count, workers


def double(number: int, context: TaskContext) -> int:
    context.tell(["seen", number])
    return 2 * number


def say_and_wait(item: tuple[str, int], context: TaskContext) -> int:
    context.tell(item[1])
    time.sleep(0.05)
    return item[1]


def refuse_odd(number: int, context: TaskContext) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


def note(folder: Path | None, context: TaskContext) -> None:
    if folder is None:
        return
    (folder / "begun").touch()
    while context.wanted():
        time.sleep(0.01)
    (folder / "called off").touch()


def wait_for(path: Path, within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not path.exists():
        assert time.monotonic() < end, f"no {path.name} within {within_s:.0f} s"
        time.sleep(0.02)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Two workers of this process, without trial processes."""
    monkeypatch.setattr(cluster.PROCESSES, "start", lambda count: None)
    with workers(2) as found:
        yield found


def test_what_workers_of_this_process_leave_unsaid_when_they_close_is_not_shown(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    logger = logging.getLogger("distributed.batched")
    for address in ("inproc://192.0.2.2/1/2", "tcp://192.0.2.2:1"):
        logger.info("Batched Comm Closed %r", address)
    assert [r.getMessage() for r in caplog.records if r.name == logger.name] == [
        "Batched Comm Closed 'tcp://192.0.2.2:1'"
    ]


def test_every_item_comes_back_once_with_what_was_told_before(client):
    heard = []
    found = list(each(client, double, range(40), hear=lambda item, message: heard.append((item, *message))))
    assert sorted(found) == [(n, 2 * n) for n in range(40)]
    assert sorted(heard) == [(n, "seen", n) for n in range(40)]


def test_nothing_listens_beyond_this_machine(client):
    listening = [c.laddr.ip for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert set(listening) == {"127.0.0.1"}


def test_an_error_loses_its_item_only(client):
    found = dict(each(client, refuse_odd, range(6)))
    assert {n for n, result in found.items() if isinstance(result, Lost)} == {1, 3, 5}
    assert found[3] == Lost("ValueError: 3 is odd")


def test_items_of_a_group_follow_each_other_and_groups_are_begun_only_where_a_worker_is_free(client):
    order = []

    def begun(item: tuple[str, int], message: object) -> None:
        order.append(item)

    items = [(group, k) for group in "abc" for k in range(5)]
    found = dict(each(client, say_and_wait, items, hear=begun, group=lambda item: item[0]))
    assert set(found) == set(items)
    for group in "ab":  # two workers are left for c
        assert [k for g, k in order if g == group] == list(range(5))
    first_c = order.index(("c", 0))
    done = {g for g, k in order[:first_c] if k == 4}
    assert done, "c was begun while a and b had both work left"


def test_results_may_ask_for_more_items(client):
    def more(item: int, result: int | Lost) -> list[int]:
        return [result + 100] if item < 3 and isinstance(result, int) else []

    found = dict(each(client, double, [1, 2, 3], more=more))
    assert found == {1: 2, 2: 4, 3: 6, 102: 204, 104: 208}


def test_leaving_early_calls_off_what_is_under_way(client, tmp_path):
    run = each(client, note, [tmp_path, None])
    assert next(run) == (None, None)
    wait_for(tmp_path / "begun")
    run.close()
    wait_for(tmp_path / "called off")


def test_workers_are_as_many_as_cores_memory_and_trials_allow(monkeypatch):
    monkeypatch.setattr(cluster, "CPU_COUNT", 8)
    monkeypatch.setattr(cluster, "MEMORY_LIMIT", 4 * 10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 16 * 10**9}))
    assert local_count(100, None, 1.0e9) == 4
    assert local_count(3, None, 1.0e9) == 3
    assert local_count(100, None, 9.0e9) == 1
    assert local_count(100, 6, 1.0e9) == 6


def test_an_address_where_nothing_listens_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with (
        pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9: no scheduler answers"),
        workers(1, "tcp://127.0.0.1:9"),
    ):
        pass


class Started:
    """A scheduler and workers as a user would start them, on free ports of this machine."""

    def __init__(self, folder: Path, workers_wanted: int) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        log = folder / "scheduler.log"
        self._start(log, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = self._address(log)
        for k in range(workers_wanted):
            options = ("--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--name", f"w{k}")
            self._start(folder / f"w{k}.log", "worker", self.address, *options, "--local-directory", str(folder))

    def _start(self, log: Path, *words: str) -> None:
        command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
        with log.open("w") as file:
            self.processes.append(subprocess.Popen(command, stdout=file, stderr=file))

    def _address(self, log: Path) -> str:
        end = time.monotonic() + 60.0
        while time.monotonic() < end:
            found = re.search(r"Scheduler at: *(tcp://\S+)", log.read_text())
            if found:
                return found[1]
            time.sleep(0.1)
        raise AssertionError(f"no scheduler: {log.read_text()}")

    def worker_processes(self) -> list[psutil.Process]:
        """The processes that the workers' nannies look after."""
        nannies = [psutil.Process(p.pid) for p in self.processes[1:]]
        return [c for n in nannies for c in n.children() if "spawn_main" in " ".join(c.cmdline())]

    def close(self) -> None:
        """End everything; a nanny that is starting a worker just then waits for a scheduler that is gone."""
        tree = [q for p in self.processes for q in (*psutil.Process(p.pid).children(recursive=True), p)]
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5.0)
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self.processes:
            process.wait()


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Started]:
    found = Started(tmp_path, 2)
    yield found
    found.close()


def test_a_running_cluster_labels_and_a_killed_worker_costs_a_try(
    started: Started, request_of: Callable[..., TrialRequest], fast: LabelSettings
) -> None:
    requests, killed = [request_of(f"t{k}") for k in range(4)], []

    def kill_a_worker(trial: str, step: str, share: float) -> None:
        if not killed:
            killed.append(started.worker_processes()[0])
            killed[0].kill()

    outcomes = list(label_trials(requests, fast, scheduler=started.address, progress=kill_a_worker))
    assert len(killed) == 1
    assert {o.status for o in outcomes} == {PASSED}
    assert len(outcomes) == 4
    assert sum(o.tries for o in outcomes) >= 4
    assert {o.worker for o in outcomes} <= {"w0", "w1"}
    assert not [p for p in requests[0].out.parent.rglob("*partial*")]
    assert all((r.out / "label.json").is_file() for r in requests)
