import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bige_opensim.guidance.language import ObjectiveError, SearchSettings
from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.guidance.proximity import MARGIN, Manifold, Neighbourhood
from bige_opensim.guidance.search import START_NOISE, Generator, SearchError, SearchResult, _starts, search

from .conftest import COORDINATES, StiltBody, stilt_squat

FRAMES = 41
QUICK = SearchSettings(iterations=150, learning_rate=0.05, balance=0.0)
VASTI = {"name": "vasti", "quantity": "activation", "of": ["vasmed_*"], "stat": "peak", "between": [0.35, 0.45]}
DEEP = {"name": "depth", "quantity": "depth", "stat": "peak", "at_least": 0.15}


def decode(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Latents (n, 1, 4): right and left knee and lean in units of 10 degrees, duration in s."""
    z = latents[:, 0]
    angle = torch.deg2rad(10 * z[:, :3])
    return stilt_squat(angle[:, 0], angle[:, 1], angle[:, 2], FRAMES), z[:, 3]


def encode(q: Tensor, duration: Tensor) -> Tensor:
    peaks = torch.rad2deg(q[:, FRAMES // 2][:, [5, 6, 0]]) / 10
    return torch.cat([peaks, duration[:, None]], 1)[:, None]


def quantise(latents: Tensor) -> Tensor:
    return latents + ((latents * 4).round() / 4 - latents).detach()


def predict(q: Tensor, duration: Tensor) -> Tensor:
    """Vastus medialis at 0.6 for a knee at 100 degrees, each side from its own knee."""
    return 0.6 * torch.rad2deg(q[..., [5, 6]]) / 100


PLAIN = Generator(decode, encode)
QUANTISED = Generator(lambda z: decode(quantise(z)), encode, quantise)


def references(count: int = 24) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    knee = 60 + 45 * torch.rand(count, generator=random, dtype=torch.float64)
    other = knee + 3 * torch.randn(count, generator=random, dtype=torch.float64)
    lean = -15 - 25 * torch.rand(count, generator=random, dtype=torch.float64)
    duration = 1.5 + 2 * torch.rand(count, generator=random, dtype=torch.float64)
    return stilt_squat(torch.deg2rad(knee), torch.deg2rad(other), torch.deg2rad(lean), FRAMES), duration


def bind(*terms: dict[str, Any]) -> BoundObjective:
    return Objective.from_dict({"term": list(terms)}).bind(COORDINATES, ("vasmed_r", "vasmed_l"), StiltBody())


def run(*terms: dict[str, Any], generator: Generator = PLAIN, **options: Any) -> SearchResult:
    options = {"count": 5, "activations": predict, "settings": QUICK} | options
    return search(bind(*terms), generator, *references(), **options)


@pytest.mark.parametrize("generator", [PLAIN, QUANTISED], ids=["continuous", "quantised"])
def test_a_feasible_objective_is_met_by_every_motion_and_by_an_independent_evaluation(generator: Generator) -> None:
    result = run(VASTI | {"hard": True}, DEEP, generator=generator)
    assert result.satisfied.all()
    assert result.met["depth"].all()
    assert result.conflicts == ()
    q, duration = torch.tensor(result.motions), torch.tensor(result.durations)
    again = bind(VASTI, DEEP).evaluate(q, duration, predict(q, duration))
    assert again.satisfied.all()
    np.testing.assert_allclose(result.values["vasti"], again.values["vasti"].numpy(), atol=1e-6)
    assert result.limit_violations == [{}] * 5


def test_the_same_seed_gives_the_same_motions_and_another_seed_others() -> None:
    first, second, other = (
        run(VASTI, seed=seed, settings=dataclasses.replace(QUICK, iterations=20)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.motions, second.motions)
    assert np.abs(first.motions - other.motions).max() > 1e-3


def test_known_errors_of_a_prediction_are_searched_around() -> None:
    """Values are too small by 0.1 for the first three motions: they end with predictions 0.1 lower, the others do not.

    Searching goes on from where it was, and motions are put in the places of others.
    """
    before = run(VASTI, seed=4)
    errors = {"vasti": torch.tensor([0.1, 0.1, 0.1])}
    after = run(VASTI, count=3, start=torch.as_tensor(before.latents[:3]), errors=errors)
    assert after.satisfied.all()
    raw = bind(VASTI).evaluate(torch.tensor(after.motions), torch.tensor(after.durations), predict_of(after))
    peaks = raw.channel_values["vasti"].numpy()
    np.testing.assert_allclose(peaks + 0.1, after.channel_values["vasti"], atol=1e-6)
    assert (peaks <= 0.35 + 1e-9).all()
    whole = before.with_motions([4, 0, 2], after)
    np.testing.assert_array_equal(whole.motions[[4, 0, 2]], after.motions)
    np.testing.assert_array_equal(whole.motions[[1, 3]], before.motions[[1, 3]])
    assert whole.values["vasti"].tolist() == [
        after.values["vasti"][1],
        before.values["vasti"][1],
        after.values["vasti"][2],
        before.values["vasti"][3],
        after.values["vasti"][0],
    ]
    assert len(whole.history["total"]) == len(before.history["total"]) + len(after.history["total"])
    part = whole.take([4, 1])
    np.testing.assert_array_equal(part.latents, whole.latents[[4, 1]])
    assert part.limit_violations == [whole.limit_violations[4], whole.limit_violations[1]]


def predict_of(result: SearchResult) -> Tensor:
    return predict(torch.tensor(result.motions), torch.tensor(result.durations))


def test_motions_do_not_see_one_another() -> None:
    settings = dataclasses.replace(QUICK, iterations=15)

    def alone(z: Tensor) -> tuple[Tensor, Tensor]:
        parts = [decode(x[None]) for x in z]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    together = run(VASTI, settings=settings).motions
    np.testing.assert_allclose(
        run(VASTI, settings=settings, generator=Generator(alone, encode)).motions, together, atol=1e-9
    )


def test_an_infeasible_objective_says_which_terms_conflict() -> None:
    result = run(VASTI | {"between": [0.1, 0.2]}, DEEP | {"at_least": 0.3})
    assert not result.satisfied.any()
    text = " ".join(result.conflicts)
    assert "'vasti'" in text
    assert "'depth'" in text
    assert "cosine -" in text


def test_a_target_beyond_the_joint_limit_names_the_term_and_the_nearest_value() -> None:
    result = run({"name": "bend", "quantity": "coordinate", "of": ["knee_angle_r"], "stat": "peak", "at_least": 150})
    assert not result.satisfied.any()
    assert "'bend' was never met" in result.conflicts[0]
    assert "at least 150 deg" in result.conflicts[0]
    assert "joint_limits" in result.conflicts[0] or "proximity" in result.conflicts[0]


def test_proximity_alone_does_not_collapse_onto_a_training_motion() -> None:
    settings = SearchSettings(iterations=200, warmup=199, beta=1.0, learning_rate=0.05, balance=0.0, novelty=0.0)
    result = run(VASTI | {"weight": 0.0}, settings=settings)
    tube = Neighbourhood(references()[0], bind(VASTI).frame.rotational).tube
    assert (result.nearest >= 0.9 * tube.near).all()
    assert (result.nearest <= 1.1 * tube.far).all()


def test_proximity_holds_an_unbounded_objective_near_the_data() -> None:
    lean = {"name": "lean", "quantity": "coordinate", "of": ["pelvis_tilt"], "stat": "min", "minimise": True}
    free = run(lean, settings=dataclasses.replace(QUICK, beta=0.0))
    held = run(lean, settings=dataclasses.replace(QUICK, beta=30.0))
    assert held.novelty.mean() < 0.7 * free.novelty.mean()
    assert held.values["lean"].mean() < np.rad2deg(references()[0][..., 0].amin(1).mean().item())


def test_novelty_of_a_copy_is_zero_and_of_an_average_reference_usual() -> None:
    q, _ = references()
    near = Neighbourhood(q, bind(VASTI).frame.rotational)
    copy = near.novelty(q)
    assert copy.nearest.max() < 1e-9
    assert copy.reference.tolist() == list(range(len(q)))
    assert 0 < near.usual_nearest < near.usual
    assert near.tube.near <= near.usual_nearest <= near.tube.far


def test_latents_between_codes_farther_than_usual_are_penalised() -> None:
    codes = torch.arange(8.0)[:, None] + 0.05
    manifold = Manifold(lambda z: z.round(), codes)
    assert manifold.penalty(codes).max() < 1e-6
    assert manifold.penalty(torch.tensor([[2.4]])).item() == pytest.approx(63.0**2, rel=1e-3)


def test_history_and_progress_cover_every_iteration() -> None:
    calls: list[tuple[int, int, float]] = []
    settings = dataclasses.replace(QUICK, iterations=12, warmup=4, final=2)
    result = run(VASTI, settings=settings, progress=lambda *a: calls.append(a))
    assert [c[:2] for c in calls] == [(i + 1, 12) for i in range(12)]
    assert {len(v) for v in result.history.values()} == {13}
    assert {
        "total",
        "proximity",
        "joint_limits",
        "penetration",
        "floating",
        "balance",
        "self_intersection",
        "term: vasti",
    } == set(result.history)


def test_motions_leave_when_they_have_arrived_and_the_others_go_on_as_if_alone() -> None:
    """Arrived motions cost nothing more; those that are left end where they end without the others."""
    sizes: list[int] = []

    def counted(z: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(z))
        return decode(z)

    latents = encode(*references())[:4].clone()
    latents[:3] = torch.tensor([6.5, 6.5, -2.0, 2.5])
    settings = dataclasses.replace(QUICK, iterations=400, novelty=0.0)
    all_ = run(VASTI, generator=Generator(counted, encode), start=latents, count=4, settings=settings)
    assert all_.satisfied.all()
    assert sizes[1:5] == [4, 4, 1, 1]  # each step decodes once more, for the manifold
    assert len(all_.history["total"]) < 200
    alone = run(VASTI, start=latents[3:], count=1, settings=settings)
    np.testing.assert_allclose(all_.motions[3], alone.motions[0], atol=1e-9)


def test_drafts_are_searched_by_and_results_are_whole() -> None:
    def thin(z: Tensor) -> tuple[Tensor, Tensor]:
        q, duration = decode(z)
        return q[:, ::4], duration

    result = run(VASTI, generator=Generator(decode, encode, None, thin))
    assert result.motions.shape[1] == FRAMES
    assert result.activations is not None
    assert result.activations.shape[1] == FRAMES
    assert result.satisfied.all()
    novelty = Neighbourhood(references()[0], bind(VASTI).frame.rotational)
    q = torch.tensor(result.motions)
    np.testing.assert_allclose(novelty.novelty(q[:, ::4]).nearest, novelty.novelty(q).nearest, rtol=0.1)


def test_starts_are_the_most_promising_of_many() -> None:
    none = dataclasses.replace(QUICK, iterations=1, learning_rate=0.0, beta=0.0)
    losses = [run(VASTI, count=count, settings=none).loss for count in (1, 5)]
    assert losses[0].mean() < 0.2
    assert losses[1].mean() < 0.5 * run(VASTI, count=5, settings=none, start=encode(*references())[:5]).loss.mean()


def test_starts_differ_as_the_references_do() -> None:
    """Weighted means of two would have two thirds of their variance."""
    latents = torch.randn(40, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 5.0
    starts = _starts(latents, 4000, seed=1)
    spread = float(starts.var(0).sum() / latents.var(0).sum())
    assert spread == pytest.approx(1.0 + START_NOISE**2, abs=0.06)
    np.testing.assert_allclose(starts.mean(0), latents.mean(0), atol=0.1)


def test_terms_are_off_in_the_warmup_and_on_after_it() -> None:
    settings = SearchSettings(60, 30, 0, 0.05, beta=0.0, joint_limits=0.0, penetration=0.0, floating=0.0, balance=0.0)
    history = run(VASTI | {"between": [0.1, 0.2]}, settings=settings).history["term: vasti"]
    assert np.ptp(history[:30]) < 1e-6
    assert history[-1] < 0.8 * history[30]


def test_misuse_is_refused() -> None:
    with pytest.raises(ObjectiveError, match="measures muscles"):
        run(VASTI, activations=None)
    q, duration = references()
    with pytest.raises(ObjectiveError, match="at least two reference motions"):
        search(bind(DEEP), PLAIN, q[:1], duration[:1], count=1)


def test_a_generator_that_returns_no_number_stops_the_search_with_a_sentence() -> None:
    broken = Generator(lambda z: (decode(z)[0] * math.nan, decode(z)[1]), encode, quantise)
    with pytest.raises(SearchError, match="loss of motion 0 is not finite at iteration 0"):
        run(DEEP, generator=broken)


def test_repetitions_of_one_person_do_not_say_how_near_another_may_come() -> None:
    one = torch.zeros(2, 11, 1)
    one[1] = 0.01
    other = one + 1.0
    q = torch.cat([one, other])
    alone, by_person = Neighbourhood(q, (True,)), Neighbourhood(q, (True,), ["a", "a", "b", "b"])
    assert by_person.usual == alone.usual
    assert by_person.usual_nearest > 50 * alone.usual_nearest
    assert float(alone.penalty(torch.full((1, 11, 1), 0.3))) > 0.0
    assert float(by_person.penalty(torch.full((1, 11, 1), 0.3))) > 0.0
    assert float(by_person.penalty(torch.full((1, 11, 1), 2.0))) < 0.1


def test_novelty_asked_for_is_where_the_tube_begins() -> None:
    q = torch.linspace(0.0, 1.0, 5)[:, None, None].expand(-1, 11, 1)
    plain, novel = Neighbourhood(q, (True,)), Neighbourhood(q, (True,), novelty=0.8)
    assert novel.tube.near == pytest.approx(MARGIN * 0.8 * novel.usual)
    assert novel.tube.far > novel.tube.near > plain.tube.near
    between = torch.full((1, 11, 1), 0.625)
    assert float(novel.penalty(between)) > float(plain.penalty(between))


def test_a_search_that_asks_for_novelty_ends_farther_from_the_training_motions() -> None:
    settings = SearchSettings(iterations=60, learning_rate=0.05, beta=1.0, manifold=0.0, balance=0.0, novelty=0.0)
    usual = run(VASTI, settings=settings)
    novel = run(VASTI, settings=dataclasses.replace(settings, novelty=1.0))
    assert novel.novelty.mean() > 1.5 * usual.novelty.mean()
