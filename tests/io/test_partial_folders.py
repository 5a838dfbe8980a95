import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bige_opensim.io import partial_folders
from bige_opensim.io.partial_folders import partial_folder, remove_abandoned, remove_partial

NAME = """
from pathlib import Path
from bige_opensim.io.partial_folders import partial_folder
print(partial_folder(Path('{}')))
"""


def of_an_ended_process(out: Path) -> Path:
    code = NAME.format(out.as_posix())
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path = Path(finished.stdout.strip())
    path.mkdir()
    return path


def test_folders_of_ended_processes_are_removed_and_those_of_living_ones_stay(tmp_path):
    mine, label = partial_folder(tmp_path / "squat"), tmp_path / "squat"
    mine.mkdir()
    label.mkdir()
    abandoned = [of_an_ended_process(tmp_path / "squat"), of_an_ended_process(tmp_path / "no longer asked for")]
    (abandoned[0] / "states.sto").write_text("half")
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, label])


@pytest.mark.skipif(os.name != "posix", reason="zombies")
def test_a_process_that_has_ended_and_was_not_asked_for_protects_nothing(tmp_path):
    code = NAME.format((tmp_path / "squat").as_posix())
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        path = Path(process.stdout.readline().strip())
        path.mkdir()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        remove_abandoned(tmp_path)
        assert not path.exists()


def test_a_later_process_of_the_same_number_does_not_protect_a_folder(tmp_path):
    mine = partial_folder(tmp_path / "squat")
    earlier = mine.with_name(f"{mine.name.rpartition('-')[0]}-1000000000")
    earlier.mkdir()
    remove_abandoned(tmp_path)
    assert not earlier.exists()


@pytest.mark.parametrize(("age_s", "stays"), [(60.0, True), (2 * partial_folders.STALE_S, False)])
def test_folders_of_other_machines_are_left_alone_for_a_day(tmp_path, monkeypatch, age_s, stays):
    monkeypatch.setattr("platform.node", lambda: "node-17")
    other = partial_folder(tmp_path / "squat")
    other.mkdir()
    changed = other.stat().st_mtime - age_s
    os.utime(other, (changed, changed))
    monkeypatch.undo()
    remove_abandoned(tmp_path)
    assert other.exists() == stays


def test_only_the_folder_of_that_trial_and_process_is_removed(tmp_path):
    mine, other = partial_folder(tmp_path / "squat"), partial_folder(tmp_path / "squat1")
    for path in (mine, other):
        path.mkdir()
    remove_partial(tmp_path / "squat", os.getpid())
    assert not mine.exists()
    assert other.exists()


def test_a_folder_that_is_not_there_holds_nothing_abandoned(tmp_path):
    remove_abandoned(tmp_path / "labels")
