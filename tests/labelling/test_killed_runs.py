"""A run whose processes are killed, and which is itself killed twice and started again, loses and repeats nothing."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from small_models import biped, write_squat

from bige_opensim.labelling.status_table import read_status

needs_signals = pytest.mark.skipif(os.name != "posix", reason="SIGKILL")


def sessions_of(folder: Path, trials: int) -> Path:
    """Two sessions of the small biped with `trials` squats in all."""
    model, motion = biped(folder / "biped.osim"), folder / "squat.mot"
    write_squat(model, motion)
    for k in range(trials):
        place = folder / "data" / f"person{k % 2}" / "OpenSimData"
        (place / "Model").mkdir(parents=True, exist_ok=True)
        (place / "Kinematics").mkdir(exist_ok=True)
        shutil.copy(model, place / "Model" / "biped.osim")
        shutil.copy(motion, place / "Kinematics" / f"squat{k:03}.mot")
    return folder / "data"


class Run:
    """`bige label`, watched from outside."""

    def __init__(self, sessions: Path, out: Path) -> None:
        self.out = out
        words = ["label", sessions, "--out", out, "--solver", "fast", "--geometry", "exact", "--audit", "0"]
        command = [sys.executable, "-m", "bige_opensim.cli", *map(str, words), "--jobs", "2"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def workers(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []

    def kill_a_worker(self, rng: random.Random) -> bool:
        found = self.workers()
        if found:
            rng.choice(found).send_signal(signal.SIGKILL)
        return bool(found)

    def kill(self) -> None:
        """Kill the run as a power cut would, and see that its processes end with it."""
        workers = self.workers()
        self.process.kill()
        self.process.communicate()
        _, alive = psutil.wait_procs(workers, timeout=10.0)
        assert not alive, "processes outlive their run"

    def until(self, labels: int, within_s: float = 120.0) -> None:
        end = time.monotonic() + within_s
        while len(made(self.out)) < labels and self.process.poll() is None:
            assert time.monotonic() < end, f"{len(made(self.out))} labels within {within_s:.0f} s"
            time.sleep(0.02)


def made(out: Path) -> dict[str, tuple[int, int]]:
    """When and where every label was made: a label that is made again changes both."""
    found = {}
    for path in out.glob("*/*/label.json"):
        if not path.parent.name.startswith("."):
            status = path.stat()
            found[path.parent.name] = (status.st_ino, status.st_mtime_ns)
    return found


def leftovers(out: Path) -> list[str]:
    return [p.name for p in out.rglob(".*")]


@needs_signals
@pytest.mark.parametrize(
    ("trials", "worker_kills"), [(6, 1), pytest.param(60, 8, marks=pytest.mark.slow)], ids=["6", "60"]
)
def test_a_run_that_is_killed_twice_loses_and_repeats_nothing(tmp_path, trials, worker_kills):
    sessions, out, rng = sessions_of(tmp_path, trials), tmp_path / "labels", random.Random(0)
    before: dict[str, tuple[int, int]] = {}
    for part in (1, 2):
        run = Run(sessions, out)
        run.until(len(before) + 1)
        for _ in range(worker_kills):
            assert run.kill_a_worker(rng)
            time.sleep(rng.uniform(0.0, 2.0) if worker_kills > 1 else 0.0)
        run.until(part * trials // 3)
        run.kill()
        now = made(out)
        assert before.items() <= now.items()
        assert len(before) < len(now) < trials
        before = now
    last = Run(sessions, out)
    printed, errors = last.process.communicate(timeout=240.0)
    assert last.process.returncode == 0, errors
    assert before.items() <= made(out).items()
    assert leftovers(out) == []
    rows = read_status(out / "status.csv")
    assert len(rows) == trials == len(made(out))
    assert {row["status"] for row in rows} == {"passed"}
    kept = {row["trial"] for row in rows if row["this_run"] == "skipped"}
    assert kept == set(before)
    assert {row["this_run"] for row in rows if row["trial"] not in kept} == {"done"}
    assert printed.count("(labelled before)") == len(before)
    placed = sorted(p.parent.name for p in out.glob("*/OpenSimData/Dynamics/*/kinematics_activations_*_so.mot"))
    assert placed == sorted(made(out))
