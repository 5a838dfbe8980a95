"""People are drawn from the distributions they claim."""

import numpy as np
import pytest

from bige_opensim.synthesis.people import (
    BODY_MASS_INDEX,
    MASS_KG,
    PROPORTIONS,
    STATURE_M,
    TAILS,
    WIDE_STATURE_M,
    bounded_normal,
    draw_person,
    draw_wide_person,
)


@pytest.fixture(scope="module")
def crowd():
    random = np.random.default_rng(3)
    return [draw_person(f"p{i}", random) for i in range(3000)]


@pytest.mark.parametrize("sex", ["female", "male"])
def test_stature_and_mass_have_the_mean_and_spread_of_the_survey(crowd, sex):
    mine = [p for p in crowd if p.sex == sex]
    assert 0.45 < len(mine) / len(crowd) < 0.55
    stature, mass = np.array([p.height_m for p in mine]), np.array([p.mass_kg for p in mine])
    assert stature.mean() == pytest.approx(STATURE_M[sex][0], abs=0.01)
    assert mass.mean() == pytest.approx(MASS_KG[sex][0], abs=1.5)
    assert 0.75 * STATURE_M[sex][1] < stature.std() < STATURE_M[sex][1]
    assert 0.65 * MASS_KG[sex][1] < mass.std() < MASS_KG[sex][1]
    assert np.corrcoef(stature, mass)[0, 1] > 0.3


def test_nobody_is_beyond_the_body_mass_index(crowd):
    index = np.array([p.mass_kg / p.height_m**2 for p in crowd])
    assert index.min() > BODY_MASS_INDEX[0] - 0.1
    assert index.max() < BODY_MASS_INDEX[1] + 0.1


def test_both_sides_of_a_person_have_the_same_proportions(crowd):
    assert all(not name.endswith(("_r", "_l")) for name in crowd[0].segment_scales)
    femurs = np.array([p.segment_scales["femur"] for p in crowd])
    assert femurs.mean() == pytest.approx(1.0, abs=0.005)
    assert 0.02 < femurs.std() < 0.03


def test_the_same_seed_draws_the_same_person():
    assert draw_person("p", np.random.default_rng([7, 1])) == draw_person("p", np.random.default_rng([7, 1]))
    assert draw_person("p", np.random.default_rng([7, 1])) != draw_person("p", np.random.default_rng([7, 2]))


def test_bounded_draws_stay_inside():
    random = np.random.default_rng(0)
    draws = np.array([bounded_normal(random) for _ in range(2000)])
    assert np.abs(draws).max() < TAILS
    assert draws.std() > 0.8


def test_wide_bodies_reach_beyond_people_and_stay_within_their_range():
    random = np.random.default_rng(0)
    wide = [draw_wide_person(f"w{i}", random) for i in range(400)]
    height = np.array([p.height_m for p in wide])
    assert WIDE_STATURE_M[0] <= height.min() < 1.5
    assert 1.9 < height.max() <= WIDE_STATURE_M[1]
    femur = np.log([p.segment_scales["femur"] for p in wide])
    assert femur.std() > 2 * PROPORTIONS["femur"]
    assert all(p.segment_scales["tibia"] > 0.8 for p in wide)
