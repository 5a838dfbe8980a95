"""Intervals cover new people as they should, and what is outside is told from what is not."""

import pytest
import torch

from bige_opensim.learning import intervals
from bige_opensim.learning.familiarity import Familiar


def people(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Predictions and targets of people who differ in how wrong the prediction is, four motions each."""
    random = torch.Generator().manual_seed(seed)
    group = torch.arange(count).repeat_interleave(4)
    size = 0.02 + 0.08 * torch.rand(count, 1, 1, generator=random)[group]
    predicted = 0.2 + 0.2 * torch.rand(len(group), 40, 3, generator=random)
    growing = torch.linspace(0.5, 2.0, 40)[None, :, None]
    return predicted, predicted + size * growing * torch.randn(predicted.shape, generator=random), group


def test_new_people_are_covered_at_the_level_asked_for() -> None:
    found = []
    for seed in range(6):
        predicted, target, group = people(40, seed)
        width = intervals.widths(predicted, target, group)
        other = people(30, 100 + seed)
        width = intervals.factor(*other, width) * width
        new = people(60, 200 + seed)
        found.append(float(intervals.coverage(new[0], new[1], width).mean()))
    assert 0.88 <= sum(found) / len(found) <= 0.95


def test_widths_follow_the_phase_in_which_errors_are_large() -> None:
    width = intervals.widths(*people(40, 1))
    assert width.shape == (intervals.PHASES, 3)
    assert (width[-1] / width[0]).min() > 2.0


def test_a_person_with_many_motions_weighs_as_much_as_one_with_few() -> None:
    weights = intervals.equal_weights(torch.tensor([0, 0, 0, 1]))
    assert weights.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1.0])


@pytest.mark.parametrize(("level", "expected"), [(0.25, 1.0), (0.5, 2.0), (0.75, 2.0), (0.76, 3.0), (1.0, 3.0)])
def test_the_weighted_quantile_is_the_least_value_with_that_share_below_it(level: float, expected: float) -> None:
    values, weights = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 2.0])
    assert float(intervals.weighted_quantile(values, weights, level)) == expected


def test_the_distance_of_what_a_gaussian_draws_is_one_in_mean_square() -> None:
    random = torch.Generator().manual_seed(0)
    mixing = torch.randn(5, 5, generator=random) + 3 * torch.eye(5)
    x = torch.randn(20000, 5, generator=random) @ mixing.T + 7.0
    familiar = Familiar.of(x[:10000])
    assert float(familiar.distance(x[10000:]).square().mean()) == pytest.approx(1.0, abs=0.03)
    along = mixing[:, 0] * 10.0 + 7.0
    assert float(familiar.distance(along)) == pytest.approx(10.0 / 5**0.5, rel=0.05)


def test_where_nothing_was_wrong_an_interval_keeps_its_floor() -> None:
    predicted, _, group = people(10, 3)
    width = intervals.widths(predicted, predicted, group)
    assert torch.equal(width, torch.full((intervals.PHASES, 3), intervals.LEAST_WIDTH))
    assert intervals.factor(predicted, predicted, group, width) == 0.0  # what calibration does not go below is 1
    at_rest = torch.zeros(1, 40, 3)
    assert (
        intervals.relative_error(at_rest, at_rest + 0.5 * intervals.LEAST_WIDTH * intervals.LEAST_ACTIVATION)
        <= width[intervals.phase_of(40)]
    ).all()
