"""The demo, shortened: every stage with fewer people, epochs and motions, and then again."""

import csv
import json

import pytest
from certificate_checks import assert_certificate_says_what_opensim_wrote

from bige_opensim.built_in import DEMO, built_in
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.pipeline.run import NAMES, run
from bige_opensim.pipeline.settings import read_pipeline
from bige_opensim.pipeline.stages import PipelineWork, default_subject, subjects_of
from bige_opensim.reporting.evidence import read_evidence

SHORT = {
    "cohort": {"subjects": 4, "reps": 2, "seed": 1},
    "label": {"audit": 0.001},
    "surrogate": {"epochs": 15},
    "generator": {"epochs": 30},
    "search": {"count": 2, "iterations": 12, "rehearsals": 1},
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory, silently):
    """A finished short demo: its work, and what came of the stages."""
    out = tmp_path_factory.mktemp("demo") / "out"
    work = PipelineWork(read_pipeline(built_in(DEMO), SHORT), out, None, 2, silently)
    return work, list(run(work))


def test_all_stages_run_and_say_what_came_of_them(demo):
    _, done = demo
    assert [d.name for d in done] == list(NAMES)
    summary = {d.name: d.summary for d in done}
    assert summary["people"] == "4 synthetic people, 2 squats each"
    assert summary["label"].startswith("4 of 4 trials passed the quality gates; audit by OpenSim: 80 frames")
    assert summary["dataset"].startswith("8 repetitions")
    assert summary["validate"].endswith("of 2 motions confirmed by OpenSim")


def test_fast_labels_agree_with_opensim(demo):
    for path in demo[0].labels.glob("*/*/label.json"):
        audit = json.loads(path.read_text(encoding="utf-8"))["audit"]
        assert audit["frames"] == 20
        assert audit["rmse"] < 0.01
        assert audit["max"] < 0.06


def test_motions_are_searched_for_a_person_whom_the_networks_do_not_know(demo):
    work, _ = demo
    ds = load_dataset(work.repetitions)
    subject = default_subject(ds)
    assert subject in subjects_of(ds, "test")
    model = work.sessions / subject / "OpenSimData/Model/fullbody80_scaled.osim"
    assert (work.motions / "model.osim").read_bytes() == model.read_bytes()


def test_every_motion_has_a_certificate_and_a_row(demo):
    work, done = demo
    with (work.motions / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    confirmed = [assert_certificate_says_what_opensim_wrote(work.motions, row["name"]) for row in rows]
    assert [row["confirmed"] for row in rows] == [str(x) for x in confirmed]
    summary = next(d.summary for d in done if d.name == "validate")
    assert summary == f"{sum(confirmed)} of 2 motions confirmed by OpenSim"
    assert not read_evidence(work.motions, cohort=work.repetitions).contradictions


def test_dataset_motions_and_report_say_that_people_are_synthetic(demo):
    work, _ = demo
    assert json.loads(load_dataset(work.repetitions).attrs["synthetic"]) is True
    assert json.loads((work.motions / "generation.json").read_text(encoding="utf-8"))["synthetic"] is True
    report = work.report.read_text(encoding="utf-8")
    assert "synthetic" in report
    assert "motion_01" in report


def test_a_second_run_keeps_everything_but_the_report(demo):
    work, first = demo
    before = {p: p.stat().st_mtime_ns for p in work.motions.rglob("*") if p.is_file()}
    again = list(run(work))
    assert [d.kept for d in again] == [True] * (len(first) - 1) + [False]
    assert {p: p.stat().st_mtime_ns for p in work.motions.rglob("*") if p.is_file()} == before
