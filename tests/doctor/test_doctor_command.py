"""`bige doctor` as a person meets it, and on every real recording."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_person import Person, edit

from bige_opensim.cli import app
from bige_opensim.doctor.cases import find_cases
from bige_opensim.doctor.examination import Examiner
from bige_opensim.doctor.findings import SEVERITIES
from bige_opensim.doctor.repair import repair_all
from bige_opensim.io.external_loads import ExternalForce, read_external_loads, write_external_loads


def run(*arguments: object) -> int:
    return app(["doctor", *map(str, arguments)], result_action="return_value") or 0


def test_a_clean_folder_ends_with_status_0(person: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    person.write_motion(tmp_path / "squat.mot")
    assert run(tmp_path, "--model", person.model) == 0
    assert "nothing found" in capsys.readouterr().out


def test_errors_are_printed_written_as_json_and_end_with_status_1(
    person: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = person.write_motion(tmp_path / "squat.mot")
    edit(path, lambda lines: [line.replace("nRows=90", "nRows=99") for line in lines])
    assert run(path, "--model", person.model, "--json", tmp_path / "found.json", "--fix", tmp_path / "fixed") == 1
    assert "error [header-counts] header: " in capsys.readouterr().out
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["counts"]["error"] == 1
    (finding,) = [f for f in written["findings"] if f["severity"] == "error"]
    expected = {"file", "place", "severity", "kind", "sentence", "remedy", "fixable", "value", "limit", "unit"}
    assert finding.keys() == expected
    assert finding["file"] == str(path)
    assert run(tmp_path / "fixed" / "squat.mot", "--model", person.model) == 0


@pytest.mark.parametrize("name", ["nowhere", "notes.txt", "empty"])
def test_paths_without_anything_to_examine_end_with_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / name) == 1
    shown = capsys.readouterr()
    assert name in shown.err
    assert "Traceback" not in shown.out + shown.err


def test_files_of_the_same_name_are_repaired_side_by_side(person: Person, tmp_path: Path):
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(person.write_motion(tmp_path / folder / "squat.mot"))
        edit(paths[-1], lambda lines: [line.replace("nRows=90", "nRows=99") for line in lines])
    assert run(*paths, "--model", person.model, "--fix", tmp_path / "fixed") == 1
    assert len(list((tmp_path / "fixed").rglob("squat.mot"))) == 2


@pytest.mark.parametrize("name", ["squat.mot", "squat_forces.mot", "squat_loads.xml", "squat.trc"])
def test_no_mutated_file_ends_the_examination(person: Person, tmp_path: Path, name: str):
    person.write_motion(tmp_path / "squat.mot")
    person.write_loads(tmp_path / "squat_loads.xml", person.write_forces(tmp_path / "squat_forces.mot"))
    person.write_markers(tmp_path / "squat.trc")
    clean, examiner, random = (tmp_path / name).read_bytes(), Examiner(), np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(clean)
        for at in random.integers(0, len(clean), random.integers(1, 12)):
            content[at] = random.choice([*b"0-9.eE\t\n nN=<>\xff"])
        cut = random.integers(0, len(content)) if random.random() < 0.2 else len(content)
        (tmp_path / name).write_bytes(bytes(content[:cut]))
        for case in find_cases([tmp_path / name], person.model):
            for finding in examiner.examine(case):
                assert finding.sentence.endswith((".", "?", ")")) or finding.kind == "unreadable"
                assert finding.severity in SEVERITIES


def examined(*paths: Path) -> dict[Path, set[str]]:
    examiner = Examiner()
    return {case.path: {f.kind for f in examiner.examine(case)} for case in find_cases(paths)}


def test_a_real_session_is_examined_without_errors(shared_data: Path):
    session = shared_data / "data/opencap_lab/OpenCapData_phone01"
    examiner = Examiner()
    found = [f for case in find_cases([session]) for f in examiner.examine(case)]
    assert not [f.line() for f in found if f.severity == "error"]
    assert {"spike", "missing-coordinates"} <= {f.kind for f in found}


def test_plates_of_a_real_walk_that_all_act_on_one_foot_are_put_right(shared_data: Path, tmp_path: Path):
    session = shared_data / "data/opencap_lab/OpenCapData_subject6"
    (model,) = session.glob("OpenSimData/Model/*.osim")
    shutil.copy(session / "OpenSimData/Kinematics/walking1.mot", tmp_path)
    shutil.copy(session / "ForceData/walking1_forces.mot", tmp_path)
    forces = [ExternalForce(s, "calcn_r", f"{s}_ground_force_v", f"{s}_ground_force_p") for s in ("R", "L")]
    write_external_loads(tmp_path / "walking1_loads.xml", "walking1_forces.mot", forces)
    examiner, cases = Examiner(), find_cases([tmp_path], model)
    wrong = [f for case in cases for f in examiner.examine(case) if f.kind == "wrong-foot"]
    assert [f.place.split(",")[0] for f in wrong] == ["L"]
    repair_all(cases, tmp_path / "fixed", examiner)
    (written,) = (tmp_path / "fixed").rglob("walking1_loads.xml")
    assert [f.applied_to_body for f in read_external_loads(written).forces] == ["calcn_r", "calcn_l"]


@pytest.mark.slow
def test_every_real_recording_is_examined(shared_data: Path):
    found = examined(shared_data / "data", shared_data / "models")
    assert len(found) >= 30
    assert not [path for path, kinds in found.items() if "unreadable" in kinds]
