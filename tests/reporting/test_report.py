"""The report: offline, complete, escaped, and honest about what was not confirmed."""

import csv
import importlib.resources
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bige_opensim.cli import app
from bige_opensim.reporting.evidence import read_evidence
from bige_opensim.reporting.panels import TRUNK, cohort_bands
from bige_opensim.reporting.report import write_report

MakeFolder = Callable[..., Path]
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Tags must close in order; keeps elements by tag, all attributes and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data.replace("\N{NO-BREAK SPACE}", " ")

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_every_motion_is_shown_with_its_verdict_and_reason(make_folder: MakeFolder):
    folder = make_folder({"motion_01": 0.40, "motion_02": 0.52, "motion_03": None})
    page = page_of(write_report(folder))
    assert [d["id"] for d in page.of("details")] == ["motion-1", "motion-2", "motion-3"]
    assert "1 of 3" in page.text
    assert "1 was simulated, but not confirmed." in " ".join(page.text.split())
    assert "1 has no certificate." in " ".join(page.text.split())
    assert "OpenSim found vastus medialis peak 52.0 %, asked for between 35 and 45 %." in page.text
    assert "It has no certificate yet" in page.text
    assert page.text.count("Missed, but not required: pace 1.98 s, asked for at least 2 s") >= 2


def test_the_page_needs_nothing_from_elsewhere(make_folder: MakeFolder):
    path = write_report(make_folder({"motion_01": 0.40}))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"https?:|url\(|@import|@font-face", text)
    assert not any(page.of(tag) for tag in ("script", "link", "img", "iframe", "object", "base"))
    attributes = [a for _, found in page.elements for a in found]
    assert not [a for a in attributes if a in ("src", "srcset") or a.startswith("on")]
    links = [str(a["href"]) for a in page.of("a")]
    assert links
    for link in links:
        if not link.startswith("#"):
            assert (path.parent / link).is_file()
    assert {a["id"] for _, a in page.elements if a.get("id")} >= {x[1:] for x in links if x.startswith("#")}


def test_every_drawing_has_an_alternative_text(make_folder: MakeFolder):
    page = page_of(write_report(make_folder({"motion_01": 0.40})))
    drawings = page.of("svg")
    assert len([s for s in drawings if s.get("role") == "img" and s.get("aria-label")]) >= 10
    assert all(s.get("aria-label") or s.get("aria-hidden") == "true" for s in drawings)


def test_hostile_names_are_text_and_nothing_else(make_folder: MakeFolder):
    hostile = '"><img src=x onerror=alert(1)>'
    objective = f"""
name = '</title></style><script>alert(1)</script>'
description = '{hostile}'
[[term]]
name = '{hostile}'
quantity = "duration"
at_least = 0.1
"""
    folder = make_folder({hostile: 0.4, "b&amp;lt;script": None}, objective=objective)
    page = page_of(write_report(folder))
    assert not page.of("script")
    assert not page.of("img")
    assert "</title></style><script>alert(1)</script>" in page.text
    assert hostile in page.text
    assert "b&amp;lt;script" in page.text


@pytest.mark.parametrize("mark", [True, 1, "true"])
def test_synthetic_training_data_are_marked_on_the_page(
    make_folder: MakeFolder, references: Callable[..., Path], mark: object
):
    folder = make_folder({"motion_01": 0.40})
    references(folder.parent / "generator" / "references.nc", synthetic=str(mark) if mark is True else mark)
    page = page_of(write_report(folder))
    assert page.text.rstrip().endswith("Synthetic data.")
    assert [p for p in page.of("p") if p.get("class") == "banner"]
    assert "9 training repetitions of 3 synthetic people" in page.text


def test_a_banner_comes_by_argument_and_by_label_and_not_otherwise(make_folder: MakeFolder):
    folder = make_folder({"motion_01": 0.40})
    assert "Synthetic data" not in page_of(write_report(folder)).text
    assert "Synthetic data" in page_of(write_report(folder, synthetic=True)).text
    label = json.loads((folder / "motion_01/label.json").read_text())
    (folder / "motion_01/label.json").write_text(json.dumps(label | {"synthetic": True}))
    assert "Synthetic data" in page_of(write_report(folder)).text
    assert "Synthetic data" not in page_of(write_report(folder, synthetic=False)).text


def test_the_reason_of_a_motion_that_could_not_be_simulated_is_given(make_folder: MakeFolder):
    folder = make_folder({"motion_01": None})
    with (folder / "summary.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", "confirmed", "reason"], ["motion_01", "False", "the knee <explodes>"]])
    page = page_of(write_report(folder))
    assert "the knee <explodes>" in page.text
    assert "summary.csv" in [a["href"] for a in page.of("a")]


def test_a_failed_quality_check_is_told_before_the_muscles(make_folder: MakeFolder):
    page = page_of(write_report(make_folder({"motion_01": 0.40}, residual_n=100.0)))
    assert "failed its quality checks (unexplained force 14 %, limit 5 %)" in page.text
    assert "0 of 1" in page.text


def test_a_motion_that_changed_after_its_simulation_is_not_confirmed(make_folder: MakeFolder):
    folder = make_folder({"motion_01": 0.40})
    motion = folder / "motion_01.mot"
    motion.write_text(motion.read_text() + "\n")
    page = page_of(write_report(folder))
    assert "0 of 1" in page.text
    assert "motion_01.mot was changed after the certificate was made." in page.text


def test_an_objective_that_changed_after_the_verdict_contradicts_it(make_folder: MakeFolder):
    folder = make_folder({"motion_01": 0.50})
    objective = folder / "objective.toml"
    objective.write_text(objective.read_text().replace("0.45", "0.60"))
    page = page_of(write_report(folder))
    assert "0 of 1" in page.text
    assert "1 has a certificate that the files contradict" in " ".join(page.text.split())
    assert "objective.toml was changed after the certificate was made." in page.text


def test_a_motion_that_no_person_could_make_is_not_confirmed_and_the_reason_says_why(make_folder: MakeFolder):
    page = page_of(write_report(make_folder({"motion_01": 0.40}, knee_rad=-1.0)))
    assert "0 of 1" in page.text
    assert "No person moves like this: joints beyond their limits" in page.text
    assert "Joints beyond their limits" in page.text


def test_a_motion_file_that_cannot_be_read_is_shown_without_curves(make_folder: MakeFolder):
    folder = make_folder({"motion_01": 0.40, "motion_02": None})
    (folder / "motion_02.mot").write_text("no motion")
    page = page_of(write_report(folder))
    assert "Its curves cannot be drawn" in page.text
    assert "1 of 2" in page.text


def test_confirmed_motions_that_keep_farthest_from_the_bounds_come_first(make_folder: MakeFolder):
    evidence = read_evidence(make_folder({"a": 0.44, "b": 0.50, "c": 0.40, "d": 0.36}))
    assert [m.name for m in evidence.ranked] == ["c", "a", "d"]


def test_the_band_holds_the_middle_of_the_training_repetitions(
    make_folder: MakeFolder, references: Callable[..., Path]
):
    folder = make_folder({"motion_01": 0.40})
    evidence = read_evidence(folder, cohort=references(folder.parent / "reps.nc"))
    bands = cohort_bands(evidence)
    low, high = bands["knee_angle_r"]
    depths = np.rad2deg(np.linspace(0.4, 1.2, 9))
    assert np.isclose(low.max(), np.percentile(depths, 10), atol=0.1)
    assert np.isclose(high.max(), np.percentile(depths, 90), atol=0.1)
    assert bands["vasmed_r"][0][-1] == 100.0
    assert TRUNK not in bands


def test_without_training_repetitions_the_page_says_so(make_folder: MakeFolder):
    assert "No training repetitions were at hand" in page_of(write_report(make_folder({"motion_01": 0.4}))).text


def test_twenty_motions_stay_below_three_megabytes(make_folder: MakeFolder, references: Callable[..., Path]):
    folder = make_folder({f"motion_{i + 1:02d}": 0.36 + 0.004 * i for i in range(20)})
    path = write_report(folder, cohort=references(folder.parent / "reps.nc"), stages={"search": 12.0, "check": 30.0})
    assert path.stat().st_size < 3e6
    page = page_of(path)
    assert len(page.of("details")) == 20
    assert "42.0 s" in page.text


def test_a_folder_without_motions_is_refused_with_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert app(["report", str(tmp_path)], result_action="return_value") == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "found 0 motions and no model.osim, objective.toml. Name a folder that `bige generate` wrote." in message


def test_the_command_writes_where_it_is_told(
    make_folder: MakeFolder, references: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, out = make_folder({"motion_01": 0.4}), tmp_path / "for the clinic.html"
    reference = references(tmp_path / "reps.nc")
    words = ["report", str(folder), "--out", str(out), "--reference", str(reference)]
    assert app(words, result_action="return_value") == 0
    assert not (folder / "report.html").exists()
    page = page_of(out)
    assert "motions/motion_01.mot" in [a["href"] for a in page.of("a")]
    assert "9 training repetitions of 3 people" in page.text


def test_template_and_style_sheet_are_part_of_the_package():
    templates = importlib.resources.files("bige_opensim.reporting") / "templates"
    assert {"report.html.j2", "report.css"} <= {item.name for item in templates.iterdir()}
