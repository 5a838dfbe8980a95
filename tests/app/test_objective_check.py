"""Objectives from sliders and from text become the same, and are held against a person's model."""

import asyncio
from pathlib import Path

import pytest

from bige_opensim.app.checker import Checker
from bige_opensim.app.objective_check import LONGEST_TEXT, checked
from bige_opensim.built_in import MODEL, built_in, built_in_objectives

FULL_BODY = str(built_in(MODEL))


@pytest.mark.parametrize("name", sorted(built_in_objectives()))
def test_the_library_survives_the_way_to_sliders_and_back(name: str):
    by_text = checked({"toml": built_in_objectives()[name].read_text(encoding="utf-8")}, FULL_BODY)
    assert by_text["ok"], by_text["error"]
    by_sliders = checked({"content": by_text["content"]}, FULL_BODY)
    assert by_sliders == by_text
    assert {word["unit"] for word in by_text["words"]} <= {
        "1",
        "deg",
        "m",
        "deg/s",
        "m/s",
        "m/s^2",
        "N*m/kg",
        "BW",
        "s",
    }


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[[term]]", "unknown quantity"),
        ('x = "' + "a" * LONGEST_TEXT, "up to 50000 characters"),
        ("a = " + "[" * 5000, "objective.toml"),
        ('[[term]]\nquantity = "activation"\nof = ["vasmed_x"]\nstat = "peak"\nat_least = 0.2', "vasmed"),
        ('[[term]]\nquantity = "coordinate"\nof = ["knee_angle_r"]\nstat = "peak"\nat_least = 999', "999"),
    ],
)
def test_what_does_not_hold_is_said_in_the_words_of_the_language(toml: str, said: str):
    found = checked({"toml": toml}, FULL_BODY)
    assert not found["ok"]
    assert said in found["error"]
    assert "/tmp" not in found["error"]


@pytest.mark.parametrize("asked", [{}, {"toml": 3}, {"content": []}, {"content": {}}, {"content": {"term": "x"}}])
def test_what_is_no_objective_is_a_sentence(asked: dict):
    assert not checked(asked, FULL_BODY)["ok"]


def test_a_model_that_cannot_be_read_is_a_sentence(tmp_path: Path):
    (tmp_path / "m.osim").write_text("<x/>")
    assert not checked(
        {"toml": '[[term]]\nquantity = "depth"\nstat = "peak"\nat_least = 0.3'}, str(tmp_path / "m.osim")
    )["ok"]


def test_the_process_beside_the_server_checks(tmp_path: Path):
    checker = Checker()
    try:
        found = asyncio.run(checker.check({"toml": "x"}, tmp_path / "m.osim"))
        assert "not TOML" in found["error"]
    finally:
        checker.close()
