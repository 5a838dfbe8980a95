"""Jobs wait, run and end once, in a fair order, whatever is killed when."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_stand_ins import RAN

from bige_opensim.app.checker import Checker
from bige_opensim.app.job_process import JOB, PROCESS
from bige_opensim.app.job_queue import Job, JobQueue, QueueFullError
from bige_opensim.app.places import NotHereError, UserFolder, new_identity, read_json
from bige_opensim.app.runner import JobLimits, Runner
from bige_opensim.app.security import Access
from bige_opensim.app.server import App

KINDS = ("search",)
USUAL_LIMITS = JobLimits()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    made = JobQueue(tmp_path / "app.sqlite")
    yield made
    made.close()


def add(queue: JobQueue, user: str = "a", kind: str = "search") -> str:
    return queue.add(new_identity(), user, "p", kind, "t", {"n": 1}).name


def test_a_job_is_taken_once_and_ends_once(queue: JobQueue):
    name = add(queue)
    assert queue.claim(("label",)) is None
    job = queue.claim(KINDS)
    assert job is not None
    assert (job.name, job.state, job.tries, job.settings) == (name, "running", 1, {"n": 1})
    assert queue.claim(KINDS) is None
    assert queue.end(name, "done", "good")
    assert not queue.end(name, "cancelled")
    found = queue.job(name)
    assert found is not None
    assert (found.state, found.message) == ("done", "good")


def test_users_take_turns(queue: JobQueue):
    mine = [add(queue, "a") for _ in range(3)]
    theirs = [add(queue, "b") for _ in range(2)]
    order = []
    while (job := queue.claim(KINDS)) is not None:
        order.append(job.name)
        queue.end(job.name, "done")
    assert order == [mine[0], theirs[0], mine[1], theirs[1], mine[2]]


def test_who_fills_the_queue_is_told(tmp_path: Path):
    queue = JobQueue(tmp_path / "app.sqlite", most_waiting=2)
    add(queue), add(queue)
    with pytest.raises(QueueFullError, match="2 jobs are waiting"):
        add(queue)
    add(queue, "b")
    queue.close()


def test_what_was_claimed_by_a_server_that_was_killed_waits_again(tmp_path: Path, queue: JobQueue):
    name = add(queue)
    code = "import os, sys; from pathlib import Path; from bige_opensim.app.job_queue import JobQueue; "
    code += "JobQueue(Path(sys.argv[1])).claim(('search',)); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(queue.path)], check=False)
    found = queue.job(name)
    assert found is not None
    assert found.state == "running"
    assert queue.recover() == 1
    again = queue.claim(KINDS)
    assert again is not None
    assert (again.name, again.tries) == (name, 1)


def make_app(root: Path, limits: JobLimits = USUAL_LIMITS) -> App:
    (root / "users").mkdir(parents=True, exist_ok=True)
    queue = JobQueue(root / "app.sqlite")
    return App(root, Access(), queue, Runner(queue, root / "users", limits, "app_stand_ins"), checker=Checker())


def start(app: App, kind: str = "examine", **settings: Any) -> Job:
    user = UserFolder(app.users / "u")
    person = user.people[0] if user.people else user.new_person("One")
    return app.add_job("u", person, kind, "t", settings)


def until(app: App, job: Job, seconds: float = 20.0) -> Job:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = app.queue.job(job.name)
        assert now is not None
        if now.over:
            return now
        time.sleep(0.02)
    raise AssertionError("the job did not end")


def begun(app: App, job: Job) -> int:
    """Wait until the job's process is inside its work; its number."""
    folder, deadline = app.runner.folder(job), time.monotonic() + 20.0
    while not (folder / "begun.txt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int((read_json(folder / PROCESS) or {})["pid"])


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    made = make_app(tmp_path / "work", JobLimits(seconds=15.0))
    made.runner.start()
    yield made
    made.runner.stop()
    made.queue.close()


def test_a_job_leaves_its_result_and_a_failure_a_sentence_without_paths(app: App):
    good, bad = start(app), start(app, way="fail")
    assert until(app, good).message == "1 examined"
    failed = until(app, bad)
    assert failed.state == "failed"
    assert failed.message == "secret could not be read"


def test_a_job_that_dies_is_tried_twice_and_then_given_up(app: App):
    ended = until(app, start(app, way="die"))
    assert (ended.state, ended.tries) == ("failed", 2)


def test_cancelling_ends_the_whole_process_group(app: App):
    job = start(app, way="hang")
    pid = begun(app, job)
    app.runner.cancel(job)
    deadline = time.monotonic() + 5.0
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()
    assert until(app, job).state == "cancelled"
    assert not (app.runner.folder(job) / RAN).exists()


SERVER = """
import sys, time
from pathlib import Path
from test_job_queue import make_app
app = make_app(Path(sys.argv[1]))
app.runner.start()
time.sleep(60)
"""


def test_a_killed_server_loses_no_job_and_does_none_twice(tmp_path: Path):
    """Killed while one job is inside its work (its process lives on) and two wait."""
    root = tmp_path / "work"
    app = make_app(root)
    (app.users / "u").mkdir()
    (app.users / "u" / "wait").touch()
    jobs = [start(app) for _ in range(3)]
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, *(p for p in sys.path if p)])
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(root)], env=os.environ | {"PYTHONPATH": path})
    pid = begun(app, jobs[0])
    server.send_signal(signal.SIGKILL)
    server.wait()
    assert Path(f"/proc/{pid}").exists()
    app.runner.start()
    time.sleep(0.5)  # the second process of the first job is there, and waits for the first
    (app.users / "u" / "wait").unlink()
    assert [until(app, job).state for job in jobs] == ["done"] * 3
    app.runner.stop()
    assert [(app.runner.folder(job) / RAN).read_text() for job in jobs] == ["ran\n"] * 3
    app.queue.close()


def test_a_server_that_is_stopped_lets_its_job_wait_for_the_next(tmp_path: Path):
    app = make_app(tmp_path / "work")
    app.runner.start()
    (app.users / "u").mkdir()
    (app.users / "u" / "wait").touch()
    job = start(app)
    pid = begun(app, job)
    app.runner.stop()
    assert not Path(f"/proc/{pid}").exists()
    (app.users / "u" / "wait").unlink()
    app.queue.close()
    again = make_app(tmp_path / "work")
    again.runner.start()
    assert until(again, job).state == "done"
    again.runner.stop()
    again.queue.close()


@pytest.mark.parametrize("identity", ["..", "../../x", "0" * 15, "g" * 16, "0" * 16, ""])
def test_nobody_else_is_found_by_an_identity(tmp_path: Path, identity: str):
    user = UserFolder(tmp_path / "u")
    user.new_person("One")
    with pytest.raises(NotHereError):
        user.person(identity)
    with pytest.raises(NotHereError):
        user.job(identity)


def test_the_job_file_is_there_before_the_job_can_be_taken(tmp_path: Path):
    app = make_app(tmp_path / "work")
    job = start(app, kind="search", toml='name = "x"', count=2)
    folder = app.runner.folder(job)
    assert read_json(folder / JOB) == {"kind": "search", "settings": {"count": 2, "person": job.person}}
    assert (folder / "objective.toml").read_text() == 'name = "x"'
    app.queue.close()
