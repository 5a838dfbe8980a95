"""Rehearsals on bodies simple enough for a verdict in one line: what is off is searched around, what fails is replaced.

The verdict on stilts is another predictor than the search's, and a gate that some motions fail.
"""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from bige_opensim.guidance.generated import Generated, Rehearsal
from bige_opensim.guidance.language import SearchSettings
from bige_opensim.guidance.search import Predictor, SearchResult, search
from bige_opensim.workflows import rehearsal
from bige_opensim.workflows.progress import Silent
from bige_opensim.workflows.rehearsal import rehearsed
from tests.guidance.conftest import _stilts_have_no_limbs  # noqa: F401
from tests.guidance.test_search import DEEP, PLAIN, VASTI, bind, predict, references

pytestmark = pytest.mark.usefixtures("unchecked_shapes")  # what stands for a search here is none

OBJECTIVE = bind(VASTI | {"hard": True}, DEEP)
Verdict = Callable[[SearchResult], list[Rehearsal]]


class Prepared:
    """What `MotionSearch` is to a rehearsal; counts what is searched."""

    def __init__(self, count: int, predictor: Predictor = predict, *, by_physics: bool = False) -> None:
        self.objective, self.by_physics, self.predictor = OBJECTIVE, by_physics, predictor
        self.settings = SearchSettings(iterations=150, learning_rate=0.05, balance=0.0, novelty=0.0)
        self.request = SimpleNamespace(seed=0, count=count)
        self.went_on, self.began = 0, 0
        self.record: dict[str, object] = {}

    def run(self, progress: object = None, *, count: int, seed: int) -> SearchResult:
        self.began += count
        options = {"count": count, "seed": seed, "settings": self.settings, "activations": self.predictor}
        return search(OBJECTIVE, PLAIN, *references(), **options)

    def find(self, settings, *, count, seed, physics, start, errors) -> SearchResult:
        self.went_on += count
        assert physics == self.by_physics
        known = {k: torch.as_tensor(v) for k, v in errors.items()}
        options = {"count": count, "seed": seed, "settings": settings, "activations": self.predictor}
        return search(OBJECTIVE, PLAIN, *references(), start=torch.as_tensor(start), errors=known, **options)

    def values(self, result: SearchResult) -> dict[str, np.ndarray]:
        q, duration = torch.tensor(result.motions), torch.tensor(result.durations)
        return {k: v.numpy() for k, v in OBJECTIVE.evaluate(q, duration, self.predictor(q, duration)).values.items()}

    def generated(self, result: SearchResult) -> SimpleNamespace:
        def told(rehearsals: list[Rehearsal]) -> tuple[SearchResult, list[Rehearsal]]:
            return result, rehearsals

        return SimpleNamespace(result=result, with_rehearsals=told, record=self.record)


def verdict(result: SearchResult, factor: float, fails: Callable[[np.ndarray], bool] = lambda q: False) -> list:
    """A simulation that finds `factor` times the activations that the search predicts."""
    q, duration = torch.tensor(result.motions), torch.tensor(result.durations)
    found = OBJECTIVE.evaluate(q, duration, factor * predict(q, duration))
    return [
        Rehearsal(
            {name: float(values[i]) for name, values in found.values.items()},
            {name: bool(met[i]) for name, met in found.met.items()},
            None,
            () if found.met["vasti"][i] else ("vasti",),
            ("balance: at 0.5 s",) if fails(result.motions[i]) else (),
        )
        for i in range(len(result))
    ]


@pytest.fixture
def start() -> SearchResult:
    return Prepared(5).run(count=5, seed=0)


def go(monkeypatch: pytest.MonkeyPatch, start: SearchResult, judge: Verdict, rounds: int):
    prepared = Prepared(5)
    monkeypatch.setattr(rehearsal, "rehearse", lambda found: judge(found.result))
    monkeypatch.setattr(rehearsal, "explained", lambda found, *why: found)
    result, rehearsals = rehearsed(prepared, start, rounds, Silent)
    return prepared, result, rehearsals


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_motions_end_where_the_simulation_and_not_the_prediction_meets_the_objective(monkeypatch, start, factor):
    judge = lambda result: verdict(result, factor)  # noqa: E731
    assert start.satisfied.all()
    assert not any(r.holds for r in judge(start))
    prepared, result, rehearsals = go(monkeypatch, start, judge, 5)
    assert all(r.holds for r in rehearsals)
    assert all(r.holds for r in judge(result))
    assert prepared.began == 0
    assert 5 <= prepared.went_on <= 20
    assert all(0.35 <= r.values["vasti"] <= 0.45 for r in rehearsals)


def test_motions_go_on_by_the_physics_where_the_surrogate_leads_astray(monkeypatch, start):
    """A surrogate that takes more work for less is never corrected by what it is off by; physics that err by a tenth
    are."""

    def astray(q: Tensor, duration: Tensor) -> Tensor:
        return 1.0 - predict(q, duration)

    def rehearse(physics: Callable[[], Prepared] | None) -> tuple[Prepared, list[Rehearsal]]:
        prepared = Prepared(5, astray)
        found, rehearsals = rehearsed(prepared, prepared.run(count=5, seed=0), 4, Silent, physics=physics)
        assert len(found) == 5
        return prepared, rehearsals

    monkeypatch.setattr(rehearsal, "rehearse", lambda found: verdict(found.result, 1.0))
    monkeypatch.setattr(rehearsal, "explained", lambda found, *why: found)
    _, alone = rehearse(None)
    assert not all(r.holds for r in alone)
    exact = Prepared(5, lambda q, duration: 1.1 * predict(q, duration), by_physics=True)
    prepared, helped = rehearse(lambda: exact)
    assert all(r.holds for r in helped)
    assert prepared.went_on == 0
    assert exact.went_on >= len(prepared.record["by_physics"]) >= sum(not r.holds for r in alone)


def test_what_holds_is_kept_as_it_is(monkeypatch, start):
    prepared, result, rehearsals = go(monkeypatch, start, lambda found: verdict(found, 1.0), 5)
    assert prepared.went_on == prepared.began == 0
    np.testing.assert_array_equal(result.motions, start.motions)
    assert all(r.holds for r in rehearsals)


def test_others_take_the_places_of_motions_that_fail_a_gate(monkeypatch, start):
    """Whoever leans like the first two is given up; the others are not touched."""
    leans = [float(q[:, 0].min()) for q in start.motions]
    given_up = {lean for lean in leans[:2]}
    judge = lambda result: verdict(result, 1.0, lambda q: float(q[:, 0].min()) in given_up)  # noqa: E731
    prepared, result, rehearsals = go(monkeypatch, start, judge, 3)
    assert all(r.holds for r in rehearsals)
    assert prepared.began == 2
    np.testing.assert_array_equal(result.motions[2:], start.motions[2:])
    assert not (result.motions[:2] == start.motions[:2]).all()


def test_where_others_fail_as_well_no_more_are_searched(monkeypatch, start):
    prepared, _, rehearsals = go(monkeypatch, start, lambda found: verdict(found, 1.0, lambda q: True), 9)
    assert prepared.began == 5
    assert prepared.went_on == 0
    assert not any(r.holds for r in rehearsals)


def test_a_search_that_meets_its_objective_nowhere_is_not_begun_again(monkeypatch, start):
    nowhere = dataclasses.replace(start, satisfied=np.zeros(5, dtype=bool))
    prepared, _, _ = go(monkeypatch, nowhere, lambda found: verdict(found, 1.0, lambda q: True), 9)
    assert prepared.began == 0


def test_what_never_holds_is_said(monkeypatch, start):
    judge = lambda result: verdict(result, 1.0, lambda q: True)  # noqa: E731
    _, result, rehearsals = go(monkeypatch, start, judge, 2)
    assert not any(r.holds for r in rehearsals)
    assert all("balance: at 0.5 s" in r.against for r in rehearsals)
    assert len(result) == 5


def test_a_record_says_what_the_rehearsal_found_of_every_term():
    """A wish that is not met stays unmet, though the motion holds; what the search had predicted is kept beside it."""
    asked = {"name": "motion_01", "predicted": {"vasti": 0.4, "depth": 0.3}, "predicted_satisfied": True}
    record = {"motions": [asked | {"predicted_met": {"vasti": True, "depth": True}}], "predictor": "surrogate"}
    searched = Generated({}, {}, record, None, b"", b"", frozenset(), None)
    holds = Rehearsal({"vasti": 0.44, "depth": 0.1}, {"vasti": True, "depth": False}, None, (), ())
    (told,) = searched.with_rehearsals([holds]).record["motions"]
    assert told["predicted"] == {"vasti": 0.44, "depth": 0.1}
    assert told["searched"] == {"vasti": 0.4, "depth": 0.3}
    assert told["predicted_met"] == {"vasti": True, "depth": False}
    assert told["predicted_satisfied"]
    assert "against" not in told
    fails = Rehearsal({"vasti": 0.5, "depth": 0.1}, {"vasti": False, "depth": False}, None, ("vasti",), ("balance",))
    (told,) = searched.with_rehearsals([fails]).record["motions"]
    assert (told["predicted_satisfied"], told["against"]) == (False, "balance; vasti is 0.5")
