"""Objectives by name, put into words, and refused before any work."""

import re
from pathlib import Path

import pytest
from small_models import biped

import bige_opensim as bige
from bige_opensim.cli import app
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import Objective
from bige_opensim.workflows.objectives import objective_file

PROMISED = {
    "bige_squat", "deep_squat", "quadriceps_sparing_squat", "acl_return_squat", "symmetric_retraining",
    "slow_eccentric_squat", "sit_to_stand_knee_sparing", "split_squat", "countermovement_squat",
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_promised_objectives_come_with_the_package():
    assert set(bige.objectives()) >= PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_shipped_objective_fits_the_packages_model_and_says_where_its_numbers_come_from(name: str):
    found = bige.check_objective(name)
    assert found.path.stem == name
    assert any(t.required for t in found.terms)
    if name != "bige_squat":  # its sources are its comments: the paper's weights, one by one
        assert re.search(r"doi:10\.\d{4,}/\S+", found.description)
        assert "choice" in found.description


def test_an_objective_in_words_is_a_table(tmp_path: Path):
    frame = bige.check_objective("deep_squat").to_frame()
    assert frame.loc["knee flexion", "measures"] == "Largest knee flexion, right and left"
    assert frame.loc["knee flexion", "asks"] == "at least 100°"
    assert frame["required"].sum() == 1


def test_a_name_is_no_path_and_a_wrong_one_is_met_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ObjectiveError, match="did you mean 'deep_squat'"):
        objective_file("depp_squat")
    assert objective_file("deep_squat.toml") == Path("deep_squat.toml")
    Path("deep_squat").write_text("own", encoding="utf-8")
    assert objective_file("deep_squat") == Path("deep_squat")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"knee_angle_r", "knee_angle_l"',
            '"knee_angel_r"',
            "line 9: term .*unknown coordinate 'knee_angel_r'; did you",
        ),
        (
            "at_least = 100.0",
            "at_least = 170.0",
            "line 6: 'knee flexion' .at least 170 deg. is out of reach: knee_angle_",
        ),
    ],
)
def test_a_wrong_objective_is_met_with_file_line_and_remedy(tmp_path: Path, capsys, old: str, new: str, message: str):
    text = objective_file("deep_squat").read_text(encoding="utf-8")
    lines = text.replace("\\\n", "").splitlines(keepends=True)
    path = tmp_path / "mine.toml"
    path.write_text("".join(lines).replace(old, new), encoding="utf-8")
    assert app(["objective", "check", str(path)], result_action="return_value") == 1
    assert re.search(f"bige: {re.escape(str(path))}, {message}", capsys.readouterr().err)


def test_names_are_held_against_the_model_that_is_given(tmp_path: Path):
    model = biped(tmp_path / "biped.osim")
    with pytest.raises(ObjectiveError, match="unknown muscle 'vaslat_r'"):
        bige.check_objective("quadriceps_sparing_squat", model=model)


def test_the_list_says_what_each_is_for(capsys):
    assert app(["objective", "list"], result_action="return_value") == 0
    said = capsys.readouterr().out
    for name, path in bige.objectives().items():
        assert name in said
        assert Objective.load(path).description.split(".")[0] in said
