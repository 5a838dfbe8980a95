"""One process, many tasks; what goes wrong in a task costs its process, and a process never outlives its parent."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import odd_tasks
import psutil
import pytest

from bige_opensim.workers import worker_process
from bige_opensim.workers.worker_process import (
    Limits,
    Processes,
    ProcessLostError,
    TaskStoppedError,
    TooLargeError,
    WorkerProcess,
)


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    processes.close()


def gone(pid: int, within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_tasks_follow_each_other_in_one_process_and_prints_do_not_disturb_them(pool):
    process, steps = pool.take(), []
    found = [process.run(odd_tasks.pid_and_double, n, report=lambda *step: steps.append(step)) for n in range(3)]
    pool.give_back(process)
    assert [number for _, number in found] == [0, 2, 4]
    assert {pid for pid, _ in found} == {process.pid} != {os.getpid()}
    assert steps == [("doubling", 0.5)] * 3
    assert process.tasks == 3
    assert pool.take() is process
    pool.give_back(process)


def test_a_task_goes_to_the_process_that_did_the_last_of_its_kind(pool):
    first, second = pool.take("a"), pool.take("b")
    pool.give_back(second)
    pool.give_back(first)
    assert pool.take("b") is second
    assert pool.take("c") is first
    pool.give_back(first)
    assert pool.take("a") is first
    pool.give_back(first)
    pool.give_back(second)


def test_a_warning_of_many_processes_is_shown_once_by_their_parent(pool):
    code = (
        "import odd_tasks\n"
        "from bige_opensim.workers.worker_process import Processes\n"
        "pool = Processes()\n"
        "two = [pool.take(), pool.take()]\n"
        "print(len({p.run(odd_tasks.warn, 'the cache is full') for p in two}))\n"
        "pool.close()\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert finished.stdout == "2\n"
    assert finished.stderr.count("the cache is full") == 1


def test_a_process_computes_on_one_thread(pool):
    process = pool.take()
    assert process.run(odd_tasks.threads) == ("1", 1)
    pool.give_back(process)


def test_what_a_process_imports_for_good_is_not_gone_through_for_garbage(pool):
    process = pool.take()
    spared, collecting = process.run(odd_tasks.spared_from_collection)
    assert spared > 50_000
    assert collecting
    pool.give_back(process)


@pytest.mark.parametrize(
    ("task", "message"),
    [(odd_tasks.crash, "without a word .exit code -9"), (odd_tasks.fail, "KeyError: 'nobody thought of this'")],
)
def test_a_crash_or_an_unforeseen_error_costs_the_process(pool, task, message):
    process = pool.take()
    with pytest.raises(ProcessLostError, match=message):
        process.run(task)
    pool.give_back(process)
    assert gone(process.pid)
    assert not process.usable


def test_time_and_memory_are_limited_and_a_task_that_nobody_wants_is_stopped(pool):
    for task, argument, limits, wanted, error, message in (
        (odd_tasks.take_time, 60.0, Limits(timeout_s=0.3), True, TaskStoppedError, "stopped after 0 s"),
        (odd_tasks.hold_the_interpreter, 60, Limits(timeout_s=0.3), True, TaskStoppedError, "stopped after 0 s"),
        (odd_tasks.take_memory, 900, Limits(memory_bytes=10**9), True, TooLargeError, "above 1 GB of memory"),
        (odd_tasks.take_time, 60.0, Limits(), False, TaskStoppedError, "nobody waits"),
    ):
        process = pool.take()
        with pytest.raises(error, match=message):
            process.run(task, argument, limits=limits, wanted=lambda wanted=wanted: wanted)
        pool.give_back(process)
        assert gone(process.pid)


def test_a_process_that_has_grown_is_replaced(pool, monkeypatch):
    process = pool.take()
    process.run(odd_tasks.take_time, 0.0)
    monkeypatch.setattr(worker_process, "WORN_BYTES", 10**6)
    pool.give_back(process)
    assert gone(process.pid)
    monkeypatch.undo()
    other = pool.take()
    assert other is not process
    pool.give_back(other)


def test_a_process_without_tasks_ends():
    idle = WorkerProcess(idle_s=0.1)
    idle.run(odd_tasks.take_time, 0.0)
    assert gone(idle.pid)
    idle.kill()
    assert not idle.usable


OWNER = """
import sys
import odd_tasks
from bige_opensim.workers.worker_process import WorkerProcess
process = WorkerProcess()
def held(step, share):
    print(process.pid, flush=True)
process.run(odd_tasks.hold_the_interpreter, 120, report=held)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process ends when its interpreter is free")
def test_a_process_ends_with_its_killed_parent_even_where_a_tool_holds_the_interpreter():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert psutil.pid_exists(pid)
    owner.kill()
    owner.wait()
    assert gone(pid)
