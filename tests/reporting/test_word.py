"""The report as a Word document: whole, escaped, and from a template that can do nothing but show."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from bige_opensim.cli import app
from bige_opensim.reporting.evidence import ReportError
from bige_opensim.reporting.figures import GoalChart, Line, Panel
from bige_opensim.reporting.panels import Figure
from bige_opensim.reporting.report import report
from bige_opensim.reporting.word_figures import drawn_png

docx = pytest.importorskip("docx")
MakeFolder = Callable[..., Path]


@pytest.fixture
def folder(make_folder: MakeFolder) -> Path:
    return make_folder({"motion_01": 0.40, "motion_02": 0.52})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def template(place: Path, *paragraphs: str) -> Path:
    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    document.save(place)
    return place


def texts(path: Path) -> list[str]:
    document = docx.Document(path)
    cells = [cell.text for table in document.tables for row in table.rows for cell in row.cells]
    return [paragraph.text for paragraph in document.paragraphs] + cells


def test_the_plain_template_shows_verdicts_goals_and_pictures_and_can_be_filled_again(folder, capsys):
    with pytest.raises(SystemExit) as ended:
        app(["report", str(folder), "--docx", "plain", "--no-scene"])
    assert ended.value.code == 0
    assert "report.docx: open it in Word" in capsys.readouterr().out.replace("\n", "")
    shown = texts(folder / "report.docx")
    assert any(text.startswith("Motion 1: ") for text in shown)
    assert any("of 2 motions are confirmed by OpenSim." in text for text in shown)
    assert not any("{" in text or "}" in text for text in shown)
    assert len(docx.Document(folder / "report.docx").inline_shapes) > 10
    again = report(folder, word=folder / "report_template.docx", out=folder / "again.html").word
    assert again == folder / "again.docx"
    without_date = [text for text in texts(again) if "bige_opensim" not in text]
    assert without_date == [text for text in shown if "bige_opensim" not in text]


def test_a_template_of_ones_own_is_filled_and_marks_in_names_stay_text(folder, place):
    own = template(place / "own.docx", "For {{ motions[0].name }}: {{ title }} & <b>{{ person[0].name }}</b>")
    (objective,) = folder.glob("objective.toml")
    before = objective.read_text()
    name = next(line for line in before.splitlines() if line.startswith("name"))
    objective.write_text(before.replace(name, 'name = "<w:p> & {{ version }} squat"', 1))
    found = report(folder, word=own, out=place / "report.html").word
    assert texts(found) == ["For motion_01: <w:p> & {{ version }} squat & <b>Body mass</b>"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ titel }}", "'titel' is undefined. Did you mean 'title'?"),
        ("{{ person[0].nam }}", "Did you mean 'name'?"),
        ("{% for m in motions %}", "template.docx: "),
        ("{{ title.__class__.__mro__ }}", "template.docx: "),
        ("{{ motions[0].muscles[0].image._document.save('x') }}", "template.docx: "),
    ],
)
def test_a_template_that_asks_for_what_there_is_not_writes_nothing(folder, place, text, message):
    own = template(place / "template.docx", text)
    with pytest.raises(ReportError) as refused:
        report(folder, word=own, out=place / "report.html")
    assert message in str(refused.value)
    assert [p.name for p in place.iterdir()] == ["template.docx"]


def test_what_is_no_word_document_is_named(folder, place):
    (place / "text.docx").write_text("hello")
    for name in ("text.docx", "missing.docx"):
        with pytest.raises(ReportError, match=f"{name}: no Word document"):
            report(folder, word=place / name, out=place / "report.html")
    assert not (place / "report.html").exists()


def test_pictures_show_curves_bands_and_targets():
    flat = Line(np.full(101, 40.0), "r")
    panel = Panel("knee", (flat, Line(np.full(101, 50.0), "l dashed")), (np.zeros(101), np.ones(101)), (35.0, np.inf))
    chart = GoalChart("peak", ("1", "2"), (0.3, None), (0.4, 0.6), (True, False), (0.35, 0.45))
    for source in (panel, chart):
        picture = matplotlib.image.imread(BytesIO(drawn_png(Figure("caption", "", source), 75.0)))
        assert abs(picture.shape[1] - 75.0 / 25.4 * 200) < 2
        assert len(np.unique((picture[..., :3] * 255).astype(int).reshape(-1, 3), axis=0)) > 20


def test_without_docxtpl_the_extra_is_named_and_nothing_is_written(folder, place, monkeypatch):
    monkeypatch.setattr("bige_opensim.reporting.word.find_spec", lambda name: None)
    with pytest.raises(ReportError, match=r"pip install 'bige_opensim\[docx\]'"):
        report(folder, word="plain", out=place / "report.html")
    assert not list(place.iterdir())
