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
from bige_opensim.validation.norms import statistics

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
