from pathlib import Path
from typing import Any

import pytest

from bige_opensim.guidance.language import ObjectiveError, SearchSettings, check_document, read_document

PRESETS = Path(__file__).resolve().parents[2] / "pipelines" / "objectives"
GOOD = {"quantity": "activation", "of": ["vasmed_r"], "stat": "peak", "between": [0.35, 0.45]}


def check(*terms: dict[str, Any], **search: Any) -> Any:
    return check_document({"term": list(terms)} | ({"search": search} if search else {}), source="o.toml")


def test_a_term_carries_what_the_file_says() -> None:
    document = check(GOOD | {"name": "vasti", "weight": 2, "hard": True})
    (term,) = document.terms
    assert (term.name, term.of, term.low, term.high, term.weight, term.hard) == (
        "vasti",
        ("vasmed_r",),
        0.35,
        0.45,
        2,
        True,
    )
    assert document.settings == SearchSettings()


def test_default_schedule_keeps_every_term_on_to_the_end() -> None:
    assert (SearchSettings().warmup, SearchSettings().final) == (0, 0)


def test_the_papers_preset_carries_its_weights_and_schedule() -> None:
    document = read_document(PRESETS / "bige_squat.toml")
    assert [t.weight for t in document.terms] == [0.5, 1, 0.5, 50, 100, 0.1, 1]
    s = document.settings
    assert (s.iterations, s.warmup, s.final, s.beta) == (3000, 500, 500, 0.01)
    tilt = document.terms[0]
    assert (tilt.of, tilt.stat, tilt.goal) == (("pelvis_tilt",), "min", "minimise")


def test_the_clinicians_example_bounds_both_vasti() -> None:
    term = read_document(PRESETS / "vasti_35_45.toml").terms[0]
    assert (term.of, term.low, term.high, term.hard) == (("vasmed_r", "vasmed_l"), 0.35, 0.45, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "activations"}, "unknown quantity 'activations'; did you mean 'activation'"),
        ({"wieght": 1}, "unknown key 'wieght'; did you mean 'weight'"),
        ({"of": []}, "activation needs of"),
        ({"of": [3]}, "of must be a list of names"),
        ({"stat": None}, "give either stat"),
        ({"at": 0.5}, "give either stat"),
        ({"stat": "pek"}, "unknown stat 'pek'; did you mean 'peak'"),
        ({"stat": None, "at": 50}, "the middle is at = 0.5"),
        ({"between": None}, "give one of between"),
        ({"at_least": 0.2}, "got between, at_least"),
        ({"between": [0.45, 0.35]}, "contradictory bounds, at least 0.45 and at most 0.35"),
        ({"between": [35, 45]}, "35 % is written 0.35"),
        ({"between": 0.4}, r"two numbers, \[low, high\]"),
        ({"between": [0.3, "x"]}, "must be a number of at most"),
        ({"between": [0.3, float("inf")]}, "must be a number of at most"),
        ({"weight": 1e308}, "weight must be a number of at most 1e.06, not 1e.308"),
        ({"weight": 10**5000}, "weight must be a number of at most 1e.06, not a longer one"),
        ({"weight": float("nan")}, "weight must be a number of at most 1e.06, not nan"),
        ({"scale": 1e-300}, "scale must be 1e-06 at least"),
        ({"quantity": ["activation"]}, "unknown quantity .'activation'."),
        ({"quantity": {"name": "activation"}}, "unknown quantity"),
        ({"stat": ["peak"]}, "unknown stat"),
        ({"of": [["vasmed_r"]]}, "of must be a list of names"),
        ({"unit": ["deg"]}, "unit .'deg'. does not fit"),
        ({"tolerance": 0.1}, "goes with equals"),
        ({"between": None, "minimise": True, "hard": True}, "hard needs a bound"),
        ({"between": None, "minimise": True, "maximise": True}, "give one of"),
        ({"weight": -1}, "weight must not be negative"),
        ({"scale": 0}, "scale must be 1e-06 at least"),
        ({"hard": "yes"}, "hard must be true or false"),
        ({"unit": "%"}, "unit '%' does not fit activation, which is in 1"),
        ({"quantity": "coordinate", "unit": "rad"}, "unit 'rad' does not fit coordinate, which is in deg or m"),
        ({"quantity": "depth"}, "remove of"),
        ({"quantity": "duration", "of": []}, "remove stat and at"),
        ({"quantity": "foot_slide", "of": [], "between": [-2, -1]}, "never negative"),
    ],
)
def test_a_wrong_term_is_refused_with_the_file_the_term_and_the_remedy(change: dict[str, Any], message: str) -> None:
    table = {k: v for k, v in (GOOD | change).items() if v is not None}
    with pytest.raises(ObjectiveError, match=message) as caught:
        check(table)
    assert str(caught.value).startswith("o.toml: term 1")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"stat": "peak", "at_least": 0.5}, {"stat": "peak", "at_most": 0.4}),
        ({"stat": "min", "at_least": 0.5}, {"stat": "peak", "at_most": 0.4}),
        ({"at": 0.5, "equals": 0.5, "tolerance": 0.05}, {"stat": "peak", "at_most": 0.4}),
    ],
)
def test_terms_that_no_motion_can_meet_together_are_refused(first: dict[str, Any], second: dict[str, Any]) -> None:
    base = {"quantity": "activation", "of": ["vasmed_r"]}
    with pytest.raises(ObjectiveError, match=r"'a' and 'b' contradict each other"):
        check(base | first | {"name": "a"}, base | second | {"name": "b"})
    check(base | first | {"name": "a"}, base | second | {"name": "b", "of": ["vasmed_l"]})


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"iteration": 5}, "did you mean 'iterations'"),
        ({"iterations": 10, "warmup": 5, "final": 5}, "must leave at least one of 10"),
        ({"iterations": 1.5}, "whole number"),
        ({"beta": -1}, "beta must not be negative"),
    ],
)
def test_a_wrong_search_table_is_refused(search: dict[str, Any], message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        check(GOOD, **search)


def test_documents_without_terms_or_with_twin_names_are_refused() -> None:
    with pytest.raises(ObjectiveError, match="at least one"):
        check_document({}, source="o.toml")
    with pytest.raises(ObjectiveError, match="each its own name"):
        check(GOOD, GOOD)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe\x00"])
def test_files_that_are_not_toml_or_absent_name_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    with pytest.raises(ObjectiveError, match=r"broken\.toml: cannot be read"):
        read_document(path)
    path.write_bytes(content)
    with pytest.raises(ObjectiveError, match=r"broken\.toml: not a TOML file"):
        read_document(path)


def test_the_effort_table_has_the_exponent_that_opensim_has() -> None:
    read = check_document({"term": [GOOD], "effort": {"exponent": 3}}, source="o.toml")
    assert read.cost.exponent == 3.0
    assert check(GOOD).cost.usual
    for table, message in (
        ({"exponent": 1.0}, r"o.toml: \[effort\]: The exponent of the cost must be above 1; got 1"),
        ({"weights": {"vas*": 2}}, r"o.toml: \[effort\]: unknown key 'weights'"),
        (3, r"o.toml: \[effort\]: must be a table"),
    ):
        with pytest.raises(ObjectiveError, match=message):
            check_document({"term": [GOOD], "effort": table}, source="o.toml")


def test_errors_of_a_file_name_the_line_of_the_key(tmp_path: Path) -> None:
    good = '[[term]]\nquantity = "depth"\nstat = "peak"\nat_least = 0.2\n'
    path = tmp_path / "o.toml"
    for added, line, message in (
        ('name = "x"\nwieght = 2\n', 6, "term 1 ('x'): unknown key 'wieght'; did you mean 'weight'?"),
        ('unit = "cm"\n', 5, "term 1: unit 'cm' does not fit depth"),
        ('\n[[term]]\nquantity = "activation"\nstat = "peak"\nat_most = 1\n', 7, "term 2: activation needs of"),
        ('\n[[term]]\n# none\nquantity = "depth"\nstat = "mena"\nat_most = 1\n', 9, "term 2: unknown stat 'mena'"),
        (f"\n{good}", 6, "two terms are called 'peak depth'"),
        ("[search]\nbeta = -1\n", 6, "[search]: beta must not be negative"),
        (
            '\n[[term]]\nquantity = "depth"\nname = "b"\nstat = "peak"\nat_most = 0.1\n',
            10,
            "terms 'peak depth' and 'b'",
        ),
    ):
        path.write_text(good + added, encoding="utf-8")
        with pytest.raises(ObjectiveError) as caught:
            read_document(path)
        assert str(caught.value).startswith(f"{path}, line {line}: {message}")


def test_an_objective_may_be_about_one_movement() -> None:
    assert check(GOOD).movement is None
    assert check_document({"movement": "lunge", "term": [GOOD]}, source="o.toml").movement == "lunge"
    with pytest.raises(ObjectiveError, match="'sit-to-stnd' is no movement; did you mean 'sit-to-stand'"):
        check_document({"movement": "sit-to-stnd", "term": [GOOD]}, source="o.toml")
