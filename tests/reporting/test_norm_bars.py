"""Motions beside norms: who is inside and who is not, in words and as ticks."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reporting_norms import norms_around

from bige_opensim.cli import app
from bige_opensim.reporting.evidence import read_evidence
from bige_opensim.reporting.norm_bars import NormBar, beside_norms
from bige_opensim.reporting.report import write_report
from bige_opensim.validation.norms import Channel, Performance, statistics

MakeFolder = Callable[..., Path]


def test_a_motion_that_bends_as_people_do_is_inside_and_another_is_named(make_folder: MakeFolder):
    evidence = read_evidence(make_folder({"motion_01": 0.40, "motion_02": 0.42}))
    bent = np.rad2deg(np.ptp(evidence.motions[0].q["knee_angle_r"]))  # type: ignore[index]
    numbers = {"motion_01": "1", "motion_02": "2"}
    bars = {bar.caption: bar for bar in beside_norms(evidence, numbers, norms_around(bent)).bars}
    knee = bars["Range of knee flexion, right"]
    assert [n for n, _ in knee.values] == ["1", "2"]
    assert knee.values[0][1] == pytest.approx(bent, rel=1e-3)
    assert knee.outside == ()
    assert "all inside" in knee.note
    far = {bar.caption: bar for bar in beside_norms(evidence, numbers, norms_around(bent + 40.0)).bars}
    assert far["Range of knee flexion, right"].outside == ("1", "2")
    assert "outside: motion 1, 2" in far["Range of knee flexion, right"].note


def test_ticks_are_where_their_values_are_along_the_bar():
    usual = statistics({"a": [1.0], "b": [2.0], "c": [3.0]}, "s")
    low, high = usual.low, usual.high
    assert low is not None
    assert high is not None
    bar = NormBar("Duration", " s", usual, (("1", low), ("2", usual.mean), ("3", high + 1.0)), 1.0)
    places = [float(x) for x in re.findall(r'class="tick[^"]*" d="M([\d.]+) ', bar.svg)]
    share = (usual.mean - low) / (high + 1.0 - low)
    assert places[1] - places[0] == pytest.approx(share * (places[2] - places[0]), abs=0.1)
    box = re.search(r'rect class="target" x="([\d.]+)" y="8" width="([\d.]+)"', bar.svg)
    assert box is not None
    assert float(box[1]) == pytest.approx(places[0], abs=0.1)
    assert float(box[1]) + float(box[2]) < places[2]
    assert bar.svg.count("missed-tick") == 1


def performance(knee_deg: float, movement: str = "squat") -> Performance:
    curve = knee_deg * np.sin(np.linspace(0.0, np.pi, 101))
    return Performance("one", movement, 2.0, {"knee_angle_r": Channel("degrees", curve, True)})


def test_sessions_are_marked_at_the_mean_of_their_repetitions(make_folder: MakeFolder):
    evidence = read_evidence(make_folder({"motion_01": 0.40}))
    sessions = {
        "before": [performance(60.0), performance(64.0), performance(150.0, "gait")],
        "<after>": [performance(80.0)],
        "walk": [performance(30.0, "gait")],
    }
    found = beside_norms(evidence, {"motion_01": "1"}, norms_around(90.0), sessions)
    knee = {bar.caption: bar for bar in found.bars}["Range of knee flexion, right"]
    assert found.sessions == ("before", "<after>")
    assert knee.sessions == (("before", pytest.approx(62.0, rel=1e-3)), ("<after>", pytest.approx(80.0, rel=1e-3)))
    assert "recorded: before 62.0°, <after> 80.0°" in knee.note
    assert knee.svg.count('class="session"') == 2
    assert "<after>" not in knee.svg
    assert knee.outside == beside_norms(evidence, {"motion_01": "1"}, norms_around(90.0)).bars[1].outside


def test_sessions_without_norms_are_a_sentence(make_folder: MakeFolder, tmp_path: Path, capsys):
    folder = make_folder({"motion_01": 0.40})
    arguments = ["report", str(folder), "--sessions", str(tmp_path), "--no-scene"]
    assert app(arguments, result_action="return_value") == 1
    assert "--norms" in capsys.readouterr().err


def test_the_report_shows_the_bars_by_the_command(make_folder: MakeFolder, tmp_path: Path):
    folder = make_folder({"motion_01": 0.40})
    path = norms_around(50.0).save(tmp_path / "norms.json")
    assert (app(["report", str(folder), "--norms", str(path)], result_action="return_value") or 0) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Beside what is usual" in page
    assert "10 repetitions of 5 people (squat)" in page
    assert page.count('class="bar"') >= 3
    assert "Beside what is usual" not in write_report(folder).read_text(encoding="utf-8")


def test_a_file_that_holds_no_norms_ends_with_a_sentence_and_leaves_the_report(
    make_folder: MakeFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = make_folder({"motion_01": 0.40})
    (tmp_path / "norms.json").write_text("{}", encoding="utf-8")
    status = app(["report", str(folder), "--norms", str(tmp_path / "norms.json")], result_action="return_value")
    assert status == 1
    assert "norms.json" in capsys.readouterr().err
    assert not (folder / "report.html").exists()
