"""A pipeline's file is read whole, and what is wrong with it is said."""

import pytest

from bige_opensim.built_in import DEMO, built_in
from bige_opensim.pipeline.settings import PipelineError, read_pipeline


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        (tmp_path / "goal.toml").write_text("", encoding="utf-8")
        path = tmp_path / "pipeline.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_demo_is_the_one_that_is_promised():
    found = read_pipeline(built_in(DEMO))
    assert (found.cohort.subjects, found.cohort.reps, found.search.count) == (24, 4, 20)
    assert (found.label.solver, found.search.predictor) == ("fast", "physics")
    assert found.label.audit > 0
    assert found.search.objective.is_file()


def test_paths_are_relative_to_the_file_and_changes_replace_values(write):
    path = write('[search]\nobjective = "goal.toml"\ncount = 3\n[generator]\nepochs = 7\n')
    found = read_pipeline(path, {"search": {"count": 5, "subject": "s1"}})
    assert found.search.objective == path.parent / "goal.toml"
    assert (found.search.count, found.search.subject, found.generator.epochs) == (5, "s1", 7)
    assert found.name == "pipeline"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[serach]\ncount = 3", "serach is not known"),
        ("[search]\nnumber = 3", r"\[search\]: unknown key 'number'"),
        ('[search]\ncount = "three"', r"\[search\]: count = 'three': expected int"),
        ('[search]\nobjective = "none.toml"', "there is no file"),
        ("[generator]\nepochs = 0", r"\[generator\]"),
        ('[label]\nsolver = "fsat"', r"\[label\]: solver = 'fsat' is not a choice\. Choose one of: opensim, fast"),
        ("[label]\naudit = 3.0", r"\[label\]: audit = 3.0: a number from 0 to 1"),
        ('[search]\npredictor = "phisics"', r"\[search\]: predictor = 'phisics'.*surrogate, physics"),
        ('[dataset]\nmovement = "sqat"', r"\[dataset\]: movement = 'sqat'.*squat, sit-to-stand"),
        ("[search", "not a TOML file"),
        ("x = " + "[" * 100_000, "nested too deep"),
        (
            "[search]\niterations = 1000000000",
            r"\[search\]: iterations = 1000000000: a number from 1 to 100000",
        ),
        ("[search]\ncount = 1000000000", "count = 1000000000: a number from 1 to 1000"),
        (
            '[search]\npredictor = "oracle"',
            "predictor = 'oracle' is not a choice. Choose one of: auto, surrogate, physics",
        ),
        ('[label]\nsolver = "quick"', "solver = 'quick' is not a choice. Choose one of: opensim, fast"),
        ("[label]\naudit = nan", "audit = nan: a number from 0 to 1"),
        ("[cohort]\nsubjects = 0", "subjects = 0 is not possible"),
        ("[generator]\nlearning_rate = 1e9", "learning_rate = 1e.09 is not possible"),
        ("[generator.model]\nwidth = 1000000", "width = 1e.06 is not possible"),
        ("[generator.model]\nvelocity_weight = 1e308", "velocity_weight = .* is not possible"),
        ("[generator.augmentation]\nangle_deg = inf", "angle_deg = .* is not possible"),
        ('[surrogate]\ndevice = "banana"', "device = 'banana' cannot be used"),
    ],
)
def test_what_is_wrong_is_said(write, text, message):
    with pytest.raises(PipelineError, match=message):
        read_pipeline(write(text))
