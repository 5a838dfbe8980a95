"""What happens to people: odd places for results, disks that are full, folders that are files, everything twice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_models import biped, write_squat

from bige_opensim.cli import app
from bige_opensim.io.file_lock import LockedError, locked
from bige_opensim.io.opencap import find_sessions
from bige_opensim.labelling.status_table import read_status

FAST = ["--solver", "fast", "--geometry", "exact", "--audit", "0", "--jobs", "1"]


@pytest.fixture(autouse=True)
def apart(own_cache: None) -> None:
    """Compiled models of these tests stay out of the user's cache."""


def session(folder: Path) -> Path:
    """A session of the small biped with one squat."""
    inside = folder / "OpenSimData"
    (inside / "Model").mkdir(parents=True)
    (inside / "Kinematics").mkdir()
    model = biped(inside / "Model" / "biped_scaled.osim")
    write_squat(model, inside / "Kinematics" / "squat.mot")
    return folder


def bige(*words: object, before: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv = ['bige', *sys.argv[1:]]; {before}\nfrom bige_opensim.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_labels_that_lie_among_the_recordings_are_not_taken_for_sessions(tmp_path, capsys):
    data = tmp_path / "data"
    session(data / "anna")
    for _ in range(2):
        assert app(["label", str(data), "--out", str(data / "labels"), *FAST], result_action="return_value") == 0
    assert "labelled before" in capsys.readouterr().out
    rows = read_status(data / "labels" / "status.csv")
    assert [(row["session"], row["this_run"]) for row in rows] == [("anna", "skipped")]
    assert sorted(p.name for p in (data / "labels").iterdir()) == ["anna", "status.csv"]


def test_labels_may_go_into_the_sessions_themselves(tmp_path):
    data = tmp_path / "data"
    session(data / "anna")
    for _ in range(2):
        assert app(["label", str(data), "--out", str(data), *FAST], result_action="return_value") == 0
    assert [row["session"] for row in read_status(data / "status.csv")] == ["anna"]


def test_folders_with_spaces_accents_and_steps_back_are_folders(tmp_path):
    data = session(tmp_path / "Übung 1; $HOME" / "Анна").parent
    out = tmp_path / "there" / ".." / "Ergebnisse (neu) é%20"
    (tmp_path / "there").mkdir()
    done = bige("label", data, "--out", out, *FAST)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "Ergebnisse (neu) é%20" / "Анна" / "squat" / "label.json").is_file()
    (row,) = read_status(out / "status.csv")
    assert (row["session"], row["status"]) == ("Анна", "passed")


def test_links_that_lead_in_a_circle_end(tmp_path):
    data = session(tmp_path / "data" / "anna").parent
    (data / "again").symlink_to(data)
    (data / "self").symlink_to(data / "self")
    (data / "anna" / "OpenSimData" / "up").symlink_to(data)
    assert [found.name for found in find_sessions([data])] == ["anna"]


@pytest.mark.parametrize(
    "where", ["file/inside", "circle", *(pytest.param(x, marks=pytest.mark.slow) for x in ("file", "circle/inside"))]
)
def test_an_output_that_cannot_be_a_folder_is_one_sentence(tmp_path, where: str):
    data = session(tmp_path / "data" / "anna").parent
    (tmp_path / "file").write_text("precious")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    done = bige("label", data, "--out", tmp_path / where, *FAST)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("bige: ")
    assert where.partition("/")[0] in done.stderr
    assert (tmp_path / "file").read_text() == "precious"


FULL = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))"  # noqa: E501


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits of file sizes")
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path):
    data = session(tmp_path / "data" / "anna").parent
    out = tmp_path / "labels"
    assert bige("label", data, "--out", out, *FAST).returncode == 0
    row = (out / "status.csv").read_text().splitlines(keepends=True)[1]
    with (out / "status.csv").open("a") as file:
        file.writelines(row.replace("anna", f"bert{i}") for i in range(90))
    before = (out / "status.csv").read_bytes()
    done = bige("label", data, "--out", out, *FAST, before=FULL)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "start again: what is finished is kept" in done.stderr
    assert (out / "status.csv").read_bytes() == before
    assert not list(out.glob(".*"))


def test_two_runs_in_one_folder_do_not_undo_each_others_work(tmp_path):
    from bige_opensim.built_in import DEMO, built_in
    from bige_opensim.pipeline.run import RECORD

    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out" / RECORD):
        done = bige("run", built_in(DEMO), "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "another process is at work there" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_lock_is_for_one_and_ends_with_its_holder(tmp_path):
    holder = (
        "import sys, time; from pathlib import Path; from bige_opensim.io.file_lock import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, str(tmp_path / "thing")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with (
        pytest.raises(LockedError, match="thing: another process is at work there"),
        locked(tmp_path / "thing", wait=False),
    ):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path / "thing", wait=False):
        pass
    shutil.rmtree(tmp_path)
