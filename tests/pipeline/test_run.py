"""Stages run in order and once; stopped runs go on; changed settings repeat what follows."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bige_opensim.pipeline import run as pipeline
from bige_opensim.pipeline.run import NAMES, RECORD, Stage, run
from bige_opensim.pipeline.settings import Cohort, PipelineError, PipelineSettings, Search
from bige_opensim.pipeline.stages import PipelineWork


@pytest.fixture
def calls():
    return []


@pytest.fixture
def work(tmp_path, monkeypatch, calls, silently):
    """A pipeline whose stages only write their name; stages listed in `failing` stop."""
    (tmp_path / "goal.toml").write_text("name = 'one'", encoding="utf-8")
    settings = PipelineSettings(tmp_path / "p.toml", "test", search=Search(objective=tmp_path / "goal.toml"))
    work = PipelineWork(settings, tmp_path / "out", None, 1, silently)

    def stage(original: Stage) -> Stage:
        def does(w: PipelineWork) -> str:
            calls.append(original.name)
            leaves = original.leaves(w)
            leaves.parent.mkdir(parents=True, exist_ok=True)
            if not leaves.is_dir():
                leaves.write_text(original.name, encoding="utf-8")
            return f"{original.name} done"

        return replace(original, does=does)

    monkeypatch.setattr(pipeline, "STAGES", tuple(stage(s) for s in pipeline.STAGES if s.name != "validate"))
    monkeypatch.setattr(pipeline.stages, "tell", lambda w, seconds: calls.append("report") or str(sorted(seconds)))
    return work


def test_stages_run_in_order_and_are_recorded(work, calls):
    done = list(run(work))
    assert calls == [n for n in NAMES if n != "validate"]
    assert [d.kept for d in done] == [False] * len(done)
    record = json.loads((work.out / RECORD).read_text(encoding="utf-8"))
    assert record["stages"]["dataset"]["summary"] == "dataset done"
    assert all(entry["done"] and entry["seconds"] >= 0 for entry in record["stages"].values())


def test_a_second_run_repeats_only_the_report(work, calls):
    list(run(work))
    calls.clear()
    done = list(run(work))
    assert calls == ["report"]
    assert [d.name for d in done if d.kept] == [n for n in NAMES if n not in ("validate", "report")]


def test_a_run_can_end_early_and_go_on(work, calls):
    list(run(work, until="dataset"))
    assert calls == ["people", "label", "dataset"]
    list(run(work))
    assert calls[3:] == ["surrogate", "generator", "search", "report"]


def test_a_changed_setting_repeats_its_stage_and_those_after(work, calls):
    list(run(work))
    calls.clear()
    settings = replace(work.settings, search=replace(work.settings.search, count=3))
    list(run(replace(work, settings=settings)))
    assert calls == ["search", "report"]
    calls.clear()
    list(run(replace(work, settings=replace(settings, cohort=Cohort(subjects=5)))))
    assert calls == [n for n in NAMES if n != "validate"]


def test_a_changed_objective_repeats_the_search(work, calls):
    list(run(work))
    calls.clear()
    work.settings.search.objective.write_text("name = 'two'", encoding="utf-8")
    list(run(work))
    assert calls == ["search", "report"]


def test_a_stage_whose_files_are_gone_is_done_again(work, calls):
    list(run(work))
    calls.clear()
    work.repetitions.unlink()
    list(run(work))
    assert calls == ["dataset", "report"]


def test_a_stage_that_stopped_is_gone_on_with(work, calls, monkeypatch):
    def stop(w: PipelineWork) -> str:
        w.generator.write_text("half", encoding="utf-8")
        raise RuntimeError("stopped")

    whole = pipeline.STAGES
    stopping = tuple(replace(s, does=stop) if s.name == "generator" else s for s in whole)
    monkeypatch.setattr(pipeline, "STAGES", stopping)
    with pytest.raises(RuntimeError, match="stopped"):
        list(run(work))
    monkeypatch.setattr(pipeline, "STAGES", whole)
    assert work.generator.read_text(encoding="utf-8") == "half"
    calls.clear()
    list(run(work))
    assert calls == ["generator", "search", "report"]


def test_new_recordings_are_noticed(work, calls, tmp_path):
    data = tmp_path / "session"
    kinematics = data / "OpenSimData" / "Kinematics"
    kinematics.mkdir(parents=True)
    (kinematics / "a.mot").write_text("1", encoding="utf-8")
    recorded = replace(work, data=data)
    list(run(recorded, until="people"))
    list(run(recorded, until="people"))
    assert calls == ["people"]
    (kinematics / "b.mot").write_text("2", encoding="utf-8")
    list(run(recorded, until="people"))
    assert calls == ["people", "people"]
    assert (kinematics / "a.mot").read_text(encoding="utf-8") == "1"


def test_other_folders_are_refused(work):
    work.out.mkdir()
    (work.out / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(PipelineError, match="holds other files"):
        list(run(work))
    assert [p.name for p in Path(work.out).iterdir()] == ["notes.txt"]


def test_an_unknown_stage_is_refused(work):
    with pytest.raises(PipelineError, match="labels is no stage"):
        list(run(work, until="labels"))


def test_an_output_that_was_changed_or_cut_off_is_made_again(work, calls):
    list(run(work))
    for leaves in (work.repetitions, work.surrogate):
        calls.clear()
        leaves.write_text("half", encoding="utf-8")
        list(run(work))
        assert calls == [{work.repetitions: "dataset", work.surrogate: "surrogate"}[leaves], "report"]


def test_recordings_count_by_their_content_and_metadata_belongs_to_them(work, calls, tmp_path):
    """A subject renamed in sessionMetadata.yaml moves to another split; a copied file is the same file."""
    inside = tmp_path / "data" / "anna" / "OpenSimData"
    for name in ("Model/m.osim", "Kinematics/squat.mot"):
        (inside / name).parent.mkdir(parents=True)
        (inside / name).write_text(name, encoding="utf-8")
    metadata = tmp_path / "data" / "anna" / "sessionMetadata.yaml"
    metadata.write_text("subjectID: anna", encoding="utf-8")
    work = replace(work, data=tmp_path / "data")
    list(run(work))
    calls.clear()
    (inside / "Kinematics" / "squat.mot").touch()
    list(run(work))
    assert calls == ["report"]
    calls.clear()
    metadata.write_text("subjectID: bert", encoding="utf-8")
    list(run(work))
    assert calls[0] == "people"
    calls.clear()
    about = (inside / "Model" / "m.osim").stat()
    (inside / "Model" / "m.osim").write_text("Model/n.osim", encoding="utf-8")  # as long as before
    os.utime(inside / "Model" / "m.osim", ns=(about.st_atime_ns, about.st_mtime_ns))
    list(run(work))
    assert calls[0] == "people"


def test_a_run_whose_folder_lies_among_the_recordings_does_not_take_its_labels_for_sessions(work, tmp_path):
    for name in ("data/anna", "data/out/labels/anna"):
        (tmp_path / name / "OpenSimData").mkdir(parents=True)
    work = replace(work, data=tmp_path / "data", out=tmp_path / "data" / "out")
    assert [session.name for session in work.found_sessions()] == ["anna"]


def test_what_the_validation_adds_to_the_motions_does_not_make_them_other_motions(tmp_path):
    (tmp_path / "motion_01.mot").write_text("1", encoding="utf-8")
    before = pipeline.digest(tmp_path)
    (tmp_path / "model_static_optimization.osim").write_text("2", encoding="utf-8")
    (tmp_path / "summary.csv").write_text("3", encoding="utf-8")
    assert pipeline.digest(tmp_path) == before
    (tmp_path / "motion_01.mot").write_text("4", encoding="utf-8")
    assert pipeline.digest(tmp_path) != before
