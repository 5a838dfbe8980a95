"""What keeps an objective from being met, on stilts where the trade between depth and effort is a closed form."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch

from bige_opensim.guidance.compromise import Conflict, Tried, conflict_of, smallest_conflict
from bige_opensim.guidance.generated import Rehearsal
from bige_opensim.guidance.language import SearchSettings
from bige_opensim.guidance.search import SearchResult, search

from .test_search import DEEP, PLAIN, VASTI, bind, predict, references

pytestmark = pytest.mark.usefixtures("unchecked_shapes")  # what stands for a search here is none
LIGHT = VASTI | {"between": [0.1, 0.2], "hard": True}
DEEPER = DEEP | {"at_least": 0.3, "hard": True}
EVEN = {"name": "even", "quantity": "asymmetry", "of": ["knee_angle"], "stat": "rms", "at_most": 5.0, "hard": True}
KNEE = {"name": "knee", "quantity": "coordinate", "of": ["knee_angle_r"], "stat": "peak", "hard": True}
UNITS = {"vasti": "", "depth": "m", "even": "deg", "knee": "deg"}


class Search:
    """What `MotionSearch` is to a conflict."""

    def __init__(self, *terms: dict) -> None:
        self.objective, self.by_physics, self.request = bind(*terms), False, SimpleNamespace(seed=0)
        self.settings = SearchSettings(iterations=400, learning_rate=0.05, balance=0.0, beta=0.0)
        self.asked: list[list[str]] = []

    def first(self) -> SearchResult:
        settings = dataclasses.replace(self.settings, iterations=60)
        options = {"count": 3, "settings": settings, "activations": predict}
        return search(self.objective, PLAIN, *references(), **options)

    def find(self, settings, *, count, seed, physics, start, errors, deciding) -> SearchResult:
        self.asked.append(deciding)
        errors = {k: torch.as_tensor(v) for k, v in errors.items()}
        options = {"count": count, "seed": seed, "settings": settings, "activations": predict}
        objective = self.objective.decided_by(deciding)
        return search(objective, PLAIN, *references(), start=torch.as_tensor(start), errors=errors, **options)


def test_the_smallest_set_leaves_out_what_could_be_met_and_says_how_far_the_others_must_give_way() -> None:
    """0.3 m of depth take 96 degrees of both knees, and 0.58 of the vasti; 0.2 of the vasti allow 0.038 m."""
    asked = Search(EVEN, LIGHT, DEEPER)
    result = asked.first()
    assert not result.satisfied.any()
    found = conflict_of(asked, result)
    assert found.terms == ("vasti", "depth")
    knee = 2.0 * math.acos(1.0 - 0.3 / 0.9)
    assert found.gives_way["vasti"].nearest == pytest.approx(0.6 * math.degrees(knee) / 100.0, abs=0.03)
    assert found.gives_way["depth"].nearest == pytest.approx(
        0.9 * (1.0 - math.cos(math.radians(100.0 / 6.0))), abs=0.01
    )
    assert found.gives_way["depth"].by == pytest.approx(0.3 - found.gives_way["depth"].nearest)
    assert set(found.missed) <= {"vasti", "depth"}
    assert found.missed
    text = " ".join(found.sentences(UNITS))
    assert "'vasti' (between 0.1 and 0.2) and 'depth' (at least 0.3 m) were never met together by this person." in text
    assert "Where 'depth' holds, 'vasti' reaches 0.5" in text
    assert f"The best compromise, {found.motion}, misses " in text


def test_a_term_out_of_reach_by_itself_is_the_whole_set() -> None:
    asked = Search(EVEN, KNEE | {"at_least": 150.0})
    result = asked.first()
    found = conflict_of(asked, result)
    assert found.terms == ("knee",)
    assert found.gives_way["knee"].nearest < 150.0
    assert "was not reached by this person" in found.sentences(UNITS)[0]


def test_motions_that_only_fail_gates_have_no_conflict_of_terms() -> None:
    asked = Search(DEEP | {"hard": True})
    result = asked.first()
    held = {"depth": float(result.values["depth"][0])}
    rehearsals = [Rehearsal(held, {"depth": True}, None, (), ("reserves 7 > 5 %.",)) for _ in range(len(result))]
    found = conflict_of(asked, result, rehearsals)
    assert found.terms == ()
    assert asked.asked == []
    assert found.sentences(UNITS) == ("The best compromise, motion_01, fails a gate: reserves 7 > 5 %.",)
    assert found.as_dict()["failed"] == ["reserves 7 > 5 %."]


def test_the_deletion_filter_ends_with_a_set_of_which_none_can_be_left_out() -> None:
    """Of five terms, a, c and e cannot be met together, whatever else is asked."""
    terms = bind(*({"name": n, "quantity": "depth", "stat": "peak", "at_least": 0.1} for n in "abcde")).terms

    def without(kept, term) -> Tried:
        left = {t.name for t in kept if t is not term}
        return Tried(not {"a", "c", "e"} <= left, 0.07)

    ways = smallest_conflict(terms, without, dict.fromkeys("abcde", 0.0))
    assert tuple(ways) == ("a", "c", "e")
    assert all(way.by == pytest.approx(0.03) for way in ways.values())
    words = Conflict(tuple(ways), ways, "motion_02", {"a": 0.05}).sentences(dict.fromkeys("abcde", "m"))
    assert "Where 'c' and 'e' hold, 'a' reaches 0.07 m and must give way by 0.03 m." in words
