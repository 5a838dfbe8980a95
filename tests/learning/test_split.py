"""Subjects, never repetitions, are split."""

import pytest

from bige_opensim.learning.split import SplitError, split_by_subject


def shares(counts: dict[str, int], parts: dict[str, str]) -> dict[str, int]:
    return {part: sum(counts[s] for s, p in parts.items() if p == part) for part in ("train", "validation", "test")}


def test_many_subjects_are_split_about_70_15_15():
    counts = {f"s{i}": 4 + i % 3 for i in range(40)}
    total = sum(counts.values())
    found = shares(counts, split_by_subject(counts)[0])
    assert [found[p] / total for p in found] == pytest.approx([0.7, 0.15, 0.15], abs=0.03)


@pytest.mark.parametrize(
    "counts", [{"a": 5, "b": 5, "c": 5}, {"a": 50, "b": 1, "c": 1, "d": 1}, {"a": 9, "b": 8, "c": 7, "d": 6}], ids=str
)
def test_from_three_subjects_on_every_part_has_one(counts: dict[str, int]):
    assert set(split_by_subject(counts)[0].values()) == {"train", "validation", "test"}


def test_of_three_subjects_the_one_with_most_repetitions_trains():
    assert split_by_subject({"a": 5, "b": 14, "c": 6})[0]["b"] == "train"


def test_the_seed_decides_among_equals_and_always_the_same_way():
    counts = {f"s{i}": 5 for i in range(12)}
    drawn = [split_by_subject(counts, seed=seed)[0] for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2] or drawn[0] != drawn[3]


def test_the_order_of_the_subjects_does_not_matter():
    counts = {f"s{i}": 5 for i in range(12)}
    assert split_by_subject(counts) == split_by_subject(dict(reversed(counts.items())))


def test_two_subjects_train_and_validate():
    parts, note = split_by_subject({"a": 5, "b": 6})
    assert parts == {"a": "validation", "b": "train"}
    assert "none is left to test" in note


def test_one_subject_trains_and_the_note_says_what_is_missing():
    parts, note = split_by_subject({"a": 5})
    assert parts == {"a": "train"}
    assert "Label more subjects" in note


def test_a_given_split_is_taken_as_it_is():
    given = {"a": "test", "b": "train", "not there": "validation"}
    assert split_by_subject({"a": 50, "b": 1}, given=given)[0] == {"a": "test", "b": "train"}


@pytest.mark.parametrize(
    ("given", "named"), [({"a": "train"}, r"without a part: b"), ({"a": "train", "b": "dev"}, r"'b': 'dev'")]
)
def test_a_given_split_must_place_every_subject(given: dict[str, str], named: str):
    with pytest.raises(SplitError, match=named):
        split_by_subject({"a": 5, "b": 5}, given=given)
