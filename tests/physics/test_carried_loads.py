"""What people carry is read as it is written, refused where it cannot be, and has the inertia of its shape."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bige_opensim.physics.carried_loads import (
    BAR_KG,
    BAR_M,
    DISC_AT_M,
    DISC_RADIUS_M,
    CarriedLoad,
    CarriedLoadError,
    ball_inertia,
    ball_radius,
    bar_inertia,
    body_of,
    carried_by,
    loads_of,
    parse_loads,
)


def test_several_loads_are_read_from_one_text_or_from_several():
    two = (CarriedLoad(60.0, "torso"), CarriedLoad(2.5, "hand_r"))
    assert parse_loads(["60kg@torso, 2.5 KG @ hand_r"]) == parse_loads(["60kg@torso", "2.5kg@hand_r"]) == two
    assert loads_of("60kg@torso") == two[:1]
    assert loads_of(None) == parse_loads([""]) == ()
    assert parse_loads(map(str, two)) == two


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("60@torso", "write the mass in kg"),
        ("132lb@torso", "132 lb are 59.87kg"),
        ("-5kg@torso", "more than 0 kg"),
        ("0kg@torso", "more than 0 kg"),
        ("nankg@torso", "MASSkg@BODY"),
        ("1.2.3kg@torso", "MASSkg@BODY"),
        ("torso", "MASSkg@BODY"),
        ("60kg", "MASSkg@BODY"),
        ("401kg@torso", "400 kg is the most"),
        ("300kg@torso,60kg@hand_r,60kg@hand_l", "420 kg together"),
    ],
)
def test_what_cannot_be_is_one_sentence_with_what_to_write(written, said):
    with pytest.raises(CarriedLoadError, match=said) as error:
        parse_loads([written])
    assert "\n" not in str(error.value)


def test_a_loaded_bar_turns_like_a_rod_with_two_discs():
    """Against the sum over points of a fine grid: a rod of 20 kg, and discs of 20 kg a side."""
    z = (np.arange(2000) + 0.5) / 2000 * BAR_M - 0.5 * BAR_M
    radius = np.sqrt((np.arange(400) + 0.5) / 400) * DISC_RADIUS_M  # rings of equal mass
    rod = BAR_KG * (z**2).mean()
    across = rod + 40.0 * (0.5 * (radius**2).mean() + DISC_AT_M**2)
    along = 40.0 * (radius**2).mean()
    assert_allclose(np.diag(bar_inertia(60.0)), [across, across, along], rtol=2e-3)
    assert_allclose(bar_inertia(20.0)[0, 0], rod, rtol=2e-3)


def test_a_ball_of_iron_weighs_what_its_volume_does():
    assert 4.0 / 3.0 * np.pi * ball_radius(10.0) ** 3 * 7200.0 == pytest.approx(10.0)
    assert ball_inertia(10.0)[0, 0] == pytest.approx(0.4 * 10.0 * ball_radius(10.0) ** 2)


def test_a_second_load_counts_to_the_same_body():
    assert body_of("load_hand_r") == body_of("load_hand_r_2") == "hand_r"
    mass = np.array([30.0, 5.0, 7.0, 2.0])
    assert carried_by(["torso", "load_torso", "load_torso_2", "load_hand_r"], mass) == {"torso": 12.0, "hand_r": 2.0}
