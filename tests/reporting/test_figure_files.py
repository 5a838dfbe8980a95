"""Figures as files: drawings that stand alone, and the numbers that they are drawn from."""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from reporting_norms import norms_around

from bige_opensim.cli import app
from bige_opensim.io.storage import read_storage

MakeFolder = Callable[..., Path]


@pytest.fixture
def drawn(make_folder: MakeFolder, tmp_path: Path) -> tuple[Path, Path]:
    """Folders of two motions and of the figures of their report."""
    folder = make_folder({"motion_01": 0.40, "motion_02": 0.52})
    norms = norms_around(50.0).save(tmp_path / "norms.json")
    figures = tmp_path / "figures"
    arguments = ["report", str(folder), "--norms", str(norms), "--figures", str(figures)]
    assert (app(arguments, result_action="return_value") or 0) == 0
    return folder, figures


def test_every_figure_of_the_page_is_a_drawing_and_a_table_with_its_caption(drawn: tuple[Path, Path]):
    folder, figures = drawn
    index = pd.read_csv(figures / "figures.csv")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert len(index) == page.count('class="chart"') + page.count('class="bar"')
    assert {p.stem for p in figures.glob("*.svg")} == set(index["file"])
    assert {p.stem for p in figures.glob("*.csv")} == {*index["file"], "figures"}
    assert {name.split("_")[0] for name in index["file"]} == {"goal", "all", "motion", "norm"}


def test_drawings_stand_alone(drawn: tuple[Path, Path]):
    for path in drawn[1].glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        style = root.find("{http://www.w3.org/2000/svg}style")
        assert style is not None
        assert style.text is not None
        assert "var(" not in style.text
        assert not re.findall(r"(?:href|src|url|@import|<script)", text)
        classes = {c for e in root.iter() for c in e.get("class", "").split()} - {"chart", "bar", "many"}
        assert {c for c in classes if c != "missed-tick"} <= set(re.findall(r"\.([\w-]+)", style.text)), path.name


def test_tables_hold_the_numbers_of_the_drawings(drawn: tuple[Path, Path]):
    folder, figures = drawn
    (goal,) = figures.glob("goal_*vastus_medialis_peak.csv")
    assert list(pd.read_csv(goal)["opensim"]) == [pytest.approx(40.0), pytest.approx(52.0)]
    (muscle,) = figures.glob("motion_1_muscles_*vastus_medialis_right.csv")
    table = pd.read_csv(muscle)
    found = read_storage(folder / "motion_01" / "activations.sto")
    shown = 100.0 * found.values[:, found.names.index("vasmed_r")]
    phase = 100.0 * (found.time - found.time[0]) / (found.time[-1] - found.time[0])
    assert_allclose(
        table["value" if "value" in table else "right"], np.interp(table["percent"], phase, shown), atol=1e-3
    )
    assert table["target_low"].max() == 35.0
    (knee,) = figures.glob("norm_*range_of_knee_flexion_right.csv")
    assert list(pd.read_csv(knee)["motion"]) == [1, 2]


def test_a_folder_with_other_files_is_left_alone(
    make_folder: MakeFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x", encoding="utf-8")
    arguments = ["report", str(make_folder({"motion_01": 0.40})), "--figures", str(tmp_path / "mine")]
    assert app(arguments, result_action="return_value") == 1
    assert "figures.csv" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
