"""Muscles share known moments as the whole least-effort problem does, in C and by torch."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from small_models import biped
from torch import Tensor

from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.physics import native
from bige_opensim.physics.least_effort import solve
from bige_opensim.physics.mechanics import PersonMechanics
from bige_opensim.physics.muscle_share import RESERVE_M, MuscleCapacity, Spans, able, share
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.predictor import PhysicsPredictor
from bige_opensim.physics.skeleton import Skeleton

PAIRS = [(0, 1), (0, 2), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (6, 5)]
"""Muscles and coordinates of two legs: coordinates 1 and 2, and 4 and 5; nothing moves 0 and 3."""

SPANS = Spans(
    tuple("abcdefg"), *torch.tensor(PAIRS).T, torch.full((7,), 0.01, dtype=torch.float64), torch.ones(7).double()
)


@pytest.fixture(params=["C", "torch"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(native, "library", cache(lambda: None))
    elif native.library() is None:
        pytest.skip("not compiled here")
    return str(request.param)


def problem(frames: int = 30) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    capacity = 0.1 * torch.randn(frames, len(PAIRS), generator=random, dtype=torch.float64)
    net = 0.05 * torch.randn(frames, 6, generator=random, dtype=torch.float64)
    return capacity, net


def dense(capacity: Tensor) -> Tensor:
    A = capacity.new_zeros(len(capacity), 6, 7)
    for k, (m, c) in enumerate(PAIRS):
        A[:, c, m] = capacity[:, k]
    return A


def test_the_share_is_that_of_the_whole_problem(where: str) -> None:
    capacity, net = problem()
    opt = torch.full((6,), RESERVE_M, dtype=torch.float64)
    ends = {"lower": SPANS.lower, "upper": SPANS.upper}
    whole = solve(dense(capacity), net, weight=torch.ones(7).double(), reserve_optimal=opt, **ends)
    found, multipliers = share(capacity, net[:, SPANS.moved], SPANS)
    assert whole.solved.all()
    torch.testing.assert_close(found, whole.x, atol=1e-5, rtol=0)
    torch.testing.assert_close(multipliers, whole.multiplier[:, SPANS.moved], atol=1e-2, rtol=1e-4)
    assert 0.05 < float(((found > 0.011) & (found < 0.999)).double().mean()) < 0.95
    single = share(capacity.float()[None], net.float()[None][..., SPANS.moved], SPANS).activations
    assert single.dtype == torch.float32
    torch.testing.assert_close(single[0].double(), found, atol=1e-4, rtol=0)


def test_a_start_changes_nothing_but_how_long_it_takes(where: str) -> None:
    capacity, net = problem()
    usual = share(capacity, net[:, SPANS.moved], SPANS)
    for start in (usual.multipliers, -usual.multipliers):
        again = share(capacity, net[:, SPANS.moved], SPANS, start)
        torch.testing.assert_close(again.activations, usual.activations, atol=1e-5, rtol=0)


def test_multipliers_are_the_slope_of_the_least_effort() -> None:
    """dE / db = lam, by central differences of E = sum a^2 + sum (r / opt)^2."""
    capacity, net = problem(6)
    net = 0.3 * net[:, SPANS.moved]
    multipliers = share(capacity, net, SPANS).multipliers

    def effort(b: Tensor) -> Tensor:
        a = share(capacity, b, SPANS).activations
        moments = torch.zeros_like(b).index_add(1, SPANS.place, capacity * a[:, SPANS.muscle])
        return a.square().sum(1) + ((b - moments) / RESERVE_M).square().sum(1)

    for c in range(len(SPANS.moved)):
        step = torch.zeros_like(net)
        step[:, c] = 1e-6
        slope = (effort(net + step) - effort(net - step)) / 2e-6
        torch.testing.assert_close(slope, multipliers[:, c], atol=2e-2, rtol=2e-3)


def test_gradients_are_those_of_the_active_set(where: str) -> None:
    capacity, net = (x.requires_grad_() for x in problem(6))
    assert torch.autograd.gradcheck(
        lambda c, b: share(c * 1.0, b[:, SPANS.moved], SPANS).activations,
        (capacity, net),
        eps=1e-7,
        atol=1e-4,
        rtol=1e-3,
        nondet_tol=1e-8,
    )


def test_a_frame_that_is_no_number_spoils_no_other(where: str) -> None:
    capacity, net = problem(5)
    usual = share(capacity, net[:, SPANS.moved], SPANS).activations
    net[2, 1] = torch.nan
    found, multipliers = share(capacity, net[:, SPANS.moved], SPANS)
    others = [0, 1, 3, 4]
    torch.testing.assert_close(found[others], usual[others], atol=1e-6, rtol=0)
    if where == "C":
        assert torch.isnan(found[2]).all()
        assert torch.isnan(multipliers[2]).all()


def test_legs_are_problems_of_their_own() -> None:
    assert SPANS.moved == [1, 2, 4, 5]
    blocks = SPANS.entries.blocks
    assert [b.coordinates.tolist() for b in blocks] == [[0, 1], [2, 3]]
    assert [b.unknowns.tolist() for b in blocks] == [[0, 1, 2, 3], [4, 5, 6]]
    assert blocks[1].first is not None
    assert blocks[1].first.tolist() == [0, 1, 2, 4]


def test_spans_are_the_same_where_all_of_them_are() -> None:
    assert SPANS.same(replace(SPANS, upper=SPANS.upper.clone()))
    assert not SPANS.same(replace(SPANS, upper=2 * SPANS.upper))
    assert not SPANS.same(replace(SPANS, muscles=tuple("abcdefh")))
    assert not SPANS.same(replace(SPANS, muscle=SPANS.muscle[:-1], coordinate=SPANS.coordinate[:-1]))


def test_what_muscles_can_do_is_summed_up_and_down() -> None:
    capacity = torch.tensor([[0.1, -0.2, 0.3, 0.4, -0.5, 0.0, 0.0, 0.0, 1.0]])
    up, down = able(capacity, SPANS, [0, 1, 2, 5]).chunk(2, -1)
    torch.testing.assert_close(up, torch.tensor([[0.0, 0.4, 0.4, 1.0]]))
    torch.testing.assert_close(down, torch.tensor([[0.0, 0.0, 0.7, 0.0]]))


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> tuple[Skeleton, Muscles]:
    model = biped(tmp_path_factory.mktemp("biped") / "biped.osim")
    skeleton = Skeleton(compile_skeleton(model))
    return skeleton, Muscles(compile_muscles(model, poses=200, cache=False))


def knee_bend(skeleton: Skeleton, samples: int) -> tuple[Tensor, Tensor]:
    q = skeleton.default.double().repeat(1, samples, 1)
    bend = torch.hann_window(samples, periodic=False, dtype=torch.float64)
    for name, size in (("hip_flexion", 0.7), ("knee_angle", 0.9), ("ankle_angle", 0.3)):
        for side in ("_r", "_l"):
            if name + side in skeleton.coordinates:
                q[0, :, skeleton.index(name + side)] += size * bend
    return q, torch.tensor([2.0])


def test_with_the_predictors_net_moments_the_share_is_the_predictors(
    person: tuple[Skeleton, Muscles],
) -> None:
    skeleton, muscles = person
    q, duration = knee_bend(skeleton, 21)
    predictor = PhysicsPredictor(skeleton, muscles, skeleton.coordinates, samples=21)
    capacity = MuscleCapacity(skeleton, muscles, skeleton.coordinates, samples=21)
    with torch.no_grad():
        solved = predictor.solve(q, duration)
        net = solved.moments[..., capacity.spans.moved] / float(skeleton.weight_n)
        found = share(capacity(q, duration), net, capacity.spans).activations
        half = capacity(q, duration, 2)
    assert solved.solved.all()
    assert float(solved.activations.std()) > 0.02
    torch.testing.assert_close(found, solved.activations, atol=2e-3, rtol=0)
    torch.testing.assert_close(half, capacity(q, duration)[:, ::2])


def test_capacities_are_moment_arms_times_forces_over_weight(person: tuple[Skeleton, Muscles]) -> None:
    skeleton, muscles = person
    q, duration = knee_bend(skeleton, 9)
    names = skeleton.coordinates
    capacity = MuscleCapacity(skeleton, muscles, names, samples=9)
    found, spans = capacity(q, duration)[0], capacity.spans
    speed = (capacity.states.rates[0] @ q)[0] / duration
    lengths, velocities = muscles.lengths_and_velocities(q[0], speed)
    moment = muscles.moment_arms(q[0]) * muscles.strength(lengths, velocities)[..., None] / float(skeleton.weight_n)
    columns = torch.tensor([list(muscles.coordinates).index(names[c]) for c in spans.coordinate.tolist()])
    torch.testing.assert_close(found, moment[:, spans.muscle, columns])


def test_mechanics_are_loads_and_capacities_at_the_same_frames(person: tuple[Skeleton, Muscles]) -> None:
    skeleton, muscles = person
    q, duration = knee_bend(skeleton, 9)
    both = PersonMechanics(skeleton.tables, muscles.tables, skeleton.coordinates, 9)(q, duration, 2)
    assert both.loads.shape[:2] == both.capacity.shape[:2] == (1, 5)
    torch.testing.assert_close(both.at(torch.tensor([1])).loads, both.loads[:, 1:2])
    torch.testing.assert_close(both.of(torch.tensor([0])).capacity, both.capacity)
