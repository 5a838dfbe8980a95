"""The doctor as scripts call it: findings as a table, repaired copies, and OpenSim's level as it was."""

import opensim
import pytest

from bige_opensim.doctor.findings import DoctorError
from bige_opensim.workflows.doctor import doctor

BAD = "bad\nversion=1\nnRows=9\nnColumns=2\ninDegrees=no\nendheader\ntime\tknee_angle_r\n0\t0\n0.1\t0.1\n0.2\t0.2\n"


@pytest.fixture
def motion(tmp_path):
    path = tmp_path / "bad.mot"
    path.write_text(BAD, encoding="utf-8")
    return path


def test_findings_are_told_and_nothing_is_written(motion):
    before = opensim.Logger.getLevelString()
    found = doctor(motion)
    assert not found.healthy
    assert found.summary.startswith("1 examined: 1 error")
    (row,) = found.to_frame().query("severity == 'error'").to_dict("records")
    assert (row["file"], row["kind"], row["fixable"]) == (motion, "header-counts", True)
    assert found.repairs == ()
    assert list(motion.parent.iterdir()) == [motion]
    assert opensim.Logger.getLevelString() == before


def test_copies_are_repaired_on_request_and_healthy(motion, tmp_path):
    found = doctor([motion], fix=tmp_path / "fixed", findings_file=tmp_path / "findings.json")
    assert (found.copies, found.repaired) == (1, tmp_path / "fixed/repairs.json")
    assert motion.read_text(encoding="utf-8") == BAD
    assert (tmp_path / "findings.json").is_file()
    assert doctor(tmp_path / "fixed/bad.mot").healthy


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DoctorError, match="does not exist"):
        doctor([tmp_path / "nothing"])


def test_no_findings_are_a_table_without_rows(motion):
    motion.write_text(BAD.replace("nRows=9", "nRows=3"), encoding="utf-8")
    table = doctor(motion).to_frame().query("severity == 'error'")
    assert len(table) == 0
    assert {"file", "place", "severity", "sentence", "remedy"} <= set(table.columns)
