"""`status.csv` keeps what every run found, whoever writes it, how often, and how badly it ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bige_opensim.io.file_lock import locked
from bige_opensim.labelling.label_trials import label_trials
from bige_opensim.labelling.outcome import FAILED, PASSED, SKIPPED, Outcome
from bige_opensim.labelling.status_table import StatusError, StatusTable, read_status, refuse_namesakes, write_status


def outcome(session: str, trial: str, status: str = FAILED, reason: str = "a reason, with a comma") -> Outcome:
    return Outcome(session, trial, status, reason, tries=1)


def rows_of(folder: Path) -> dict[str, str]:
    return {f"{row['session']}/{row['trial']}": row["status"] for row in read_status(folder / "status.csv")}


def test_the_status_table_has_a_row_for_every_trial_and_keeps_commas(tmp_path, request_of, fast):
    (done,) = label_trials([request_of()], fast, jobs=1)
    lost = Outcome("s0", "lost", FAILED, 'it said "no", twice')
    rows = read_status(write_status(tmp_path, [done, lost]))
    assert [(r["session"], r["trial"], r["status"]) for r in rows] == [("s0", "lost", FAILED), ("s1", "squat", PASSED)]
    assert rows[0]["reason"] == 'it said "no", twice'
    assert rows[0]["frames"] == ""
    assert rows[1]["frames"] == "60"
    assert float(rows[1]["gate_residual_force"]) < 5
    assert float(rows[1]["peak_vasmed_r"]) == pytest.approx(done.label["peaks"]["vasmed_r"], abs=1e-3)


def test_a_second_run_keeps_the_rows_of_the_first_and_replaces_its_own(tmp_path):
    first = StatusTable(tmp_path, [outcome("anna", "squat"), outcome("anna", "walk")])
    first.write()
    before = {row["trial"]: row for row in read_status(tmp_path / "status.csv") if row["session"] == "anna"}
    second = StatusTable(tmp_path)
    second.add(outcome("bert", "squat", PASSED))
    second.add(outcome("anna", "walk", SKIPPED, "no coordinates"))
    second.write()
    assert rows_of(tmp_path) == {"anna/squat": FAILED, "anna/walk": SKIPPED, "bert/squat": PASSED}
    after = {row["trial"]: row for row in read_status(tmp_path / "status.csv") if row["session"] == "anna"}
    assert after["squat"] == before["squat"]
    assert (before["walk"]["reason"], after["walk"]["reason"]) == ("a reason, with a comma", "no coordinates")


def test_every_row_says_when_its_run_began(tmp_path):
    for name, run in (("anna", "2026-01-01T08:00:00+00:00"), ("bert", "2026-01-02T08:00:00+00:00")):
        write_status(tmp_path, [outcome(name, "squat")], run)
    assert [row["run"][:10] for row in read_status(tmp_path / "status.csv")] == ["2026-01-01", "2026-01-02"]


def test_tables_of_versions_without_the_column_of_runs_are_continued(tmp_path):
    (tmp_path / "status.csv").write_text('session,trial,status,reason\nanna,squat,passed,"good, it seems"\n')
    write_status(tmp_path, [outcome("bert", "squat")])
    assert rows_of(tmp_path) == {"anna/squat": PASSED, "bert/squat": FAILED}
    assert read_status(tmp_path / "status.csv")[0]["reason"] == "good, it seems"


def test_a_table_that_a_spreadsheet_saved_with_semicolons_is_continued(tmp_path):
    text = "\ufeffsession;trial;status;reason\r\nanna;squat;passed;good, it seems\r\n"
    (tmp_path / "status.csv").write_bytes(text.encode())
    write_status(tmp_path, [outcome("bert", "squat")])
    assert rows_of(tmp_path) == {"anna/squat": PASSED, "bert/squat": FAILED}


@pytest.mark.parametrize("content", [b"patient,diagnosis\n1,none\n", b"\xff\xfe\x00binary", b"session,trial\n"])
def test_another_file_of_that_name_is_refused_before_any_work_and_stays(tmp_path, content: bytes):
    path = tmp_path / "status.csv"
    path.write_bytes(content)
    with pytest.raises(StatusError, match=r"status\.csv: .*move it away"):
        StatusTable(tmp_path)
    assert path.read_bytes() == content


def test_labels_of_another_session_of_the_same_name_are_not_replaced(tmp_path, request_of, fast):
    """Subject01 of one site and Subject01 of another, labelled into one folder."""
    mine = request_of()
    write_status(tmp_path, list(label_trials([mine], fast, jobs=1)))
    refuse_namesakes(tmp_path, [mine])
    (tmp_path / "copy").mkdir()
    copy = shutil.copy(mine.motion, tmp_path / "copy" / "squat.mot")
    refuse_namesakes(tmp_path, [replace(mine, motion=copy)])
    copy.write_text(copy.read_text() + "\n")
    with pytest.raises(StatusError, match=r"two sessions of one name. Name another --out"):
        refuse_namesakes(tmp_path, [replace(mine, motion=copy)])
    mine.motion.unlink()  # the recordings were moved and corrected: that is the same session
    refuse_namesakes(tmp_path, [replace(mine, motion=copy)])


WRITER = """
import sys
from pathlib import Path
from bige_opensim.labelling.outcome import FAILED, Outcome
from bige_opensim.labelling.status_table import write_status
name = sys.argv[1]
for i in range(int(sys.argv[3])):
    write_status(Path(sys.argv[2]), [Outcome(name, f"t{k}", FAILED, "why") for k in range(i + 1)])
    print(i, flush=True)
"""


def writer(name: str, folder: Path, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, name, str(folder), str(count)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_runs_at_once_in_one_folder_lose_no_row(tmp_path):
    crowd = [writer(f"s{i}", tmp_path, 25) for i in range(3)]
    assert [process.communicate()[0].count("\n") for process in crowd] == [25] * 3
    assert set(rows_of(tmp_path)) == {f"s{i}/t{k}" for i in range(3) for k in range(25)}
    assert [p.name for p in tmp_path.iterdir()] == ["status.csv"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_writer_leaves_a_whole_table_and_no_lock_that_holds(tmp_path):
    write_status(tmp_path, [outcome("before", "squat")])
    for i in range(3):
        process = writer(f"s{i}", tmp_path, 10**6)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 * i)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = rows_of(tmp_path)
        assert found["before/squat"] == FAILED
        assert all(f"s{k}/t0" in found for k in range(i + 1))
    started = time.monotonic()
    write_status(tmp_path, [outcome("after", "squat")])
    assert time.monotonic() - started < 5.0
    assert [p.name for p in tmp_path.iterdir()] == ["status.csv"]


def test_a_lock_file_that_a_power_cut_left_holds_nobody(tmp_path):
    (tmp_path / ".status.csv.lock").touch()
    with locked(tmp_path / "status.csv"):
        assert (tmp_path / ".status.csv.lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_written_meanwhile_does_not_stop_the_run_but_its_end(tmp_path, monkeypatch):
    table = StatusTable(tmp_path)
    monkeypatch.setattr("bige_opensim.labelling.status_table.STATUS_EVERY_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("bige_opensim.labelling.status_table.write_whole", _disk_full)
        table.add(outcome("anna", "squat"))
        with pytest.raises(OSError, match="No space left"):
            table.write()
    table.write()
    assert rows_of(tmp_path) == {"anna/squat": FAILED}


def _disk_full(path: Path, text: str) -> None:
    raise OSError(28, "No space left on device", str(path))
