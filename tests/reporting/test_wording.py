"""Terms in plain words, and numbers that do not contradict their verdict."""

from pathlib import Path
from typing import Any

import pytest

from bige_opensim.guidance.objective import BoundTerm, Objective
from bige_opensim.guidance.quantities import Dynamics
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.reporting.wording import channel_names, describe, listed, number, target_text, value_text

SPACE = "\N{NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def skeleton(model: Path) -> Skeleton:
    return Skeleton(compile_skeleton(model))


def bind(skeleton: Skeleton, **term: Any) -> BoundTerm:
    objective = Objective.from_dict({"name": "o", "term": [term]})
    muscles = skeleton.tables.muscles
    bound = objective.bind(skeleton.coordinates, muscles, skeleton, dynamics=lambda *_: Dynamics(*2 * [None]))
    return bound.terms[0]


@pytest.mark.parametrize(
    ("term", "expected", "target"),
    [
        (
            {"quantity": "activation", "of": ["vas*"], "stat": "peak", "between": [0.35, 0.45]},
            "Peak activation of vastus medialis, right and left",
            "between 35 and 45 %",
        ),
        (
            {"quantity": "coordinate", "of": ["knee_angle_r"], "at": 0.5, "equals": 90, "tolerance": 5},
            "Knee flexion, right at 50 % of the repetition",
            "between 85 and 95°",
        ),
        (
            {"quantity": "asymmetry", "of": ["hip_flexion", "knee_angle"], "stat": "rms", "minimise": True},
            "Average size (RMS) of right–left difference of hip flexion and knee flexion",
            "as small as possible",
        ),
        (
            {"quantity": "moment", "of": ["knee_angle_l"], "stat": "peak", "at_most": 1.25},
            "Largest joint moment of knee flexion, left",
            "at most 1.25 N·m/kg",
        ),
        (
            {"quantity": "grf", "stat": "peak", "at_most": 1.5},
            "Largest vertical ground force under the right and left foot",
            "at most 1.5 × body weight",
        ),
        (
            {"quantity": "com_velocity", "of": ["y"], "stat": "rms", "minimise": True},
            "Average size (RMS) of speed of the body's centre of mass upward",
            "as small as possible",
        ),
        (
            {"quantity": "depth", "stat": "peak", "at_least": 0.25},
            "Depth: drop of the pelvis below its highest point",
            "at least 25 cm",
        ),
        (
            {"quantity": "foot_slide", "stat": "rms", "at_most": 0.08},
            "Average size (RMS) of sliding speed of the feet on the ground",
            "at most 8 cm/s",
        ),
        ({"quantity": "velocity", "stat": "rms", "maximise": True}, None, "as large as possible"),
        ({"quantity": "duration", "between": [1.5, 4]}, "Duration of the repetition", "between 1.5 and 4 s"),
    ],
)
def test_a_term_reads_as_a_person_would_say_it(
    skeleton: Skeleton, term: dict[str, Any], expected: str | None, target: str
):
    bound = bind(skeleton, **term)
    assert describe(bound).replace(SPACE, " ") == (expected or "Average size (RMS) of speed of all joint angles")
    assert target_text(bound).replace(SPACE, " ") == target


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.4, "40.0 %"), (0.45, "45.0 %"), (0.45004, "45.004 %"), (0.3499, "34.99 %"), (None, "–"), (float("nan"), "–")],
)
def test_a_value_is_never_rounded_onto_the_other_side_of_its_bound(
    skeleton: Skeleton, value: float | None, expected: str
):
    bound = bind(skeleton, quantity="activation", of=["vasmed_r"], stat="peak", between=[0.35, 0.45])
    assert value_text(bound, value).replace(SPACE, " ") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(12.345, "12.3"), (0.0123, "0.0123"), (1234.5, "1234"), (-3.0, "−3.00"), (0.0, "0"), (-1e-9, "0")],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, expected: str):
    assert number(value) == expected


def test_sides_are_said_once_where_all_names_share_them():
    assert channel_names(["vasmed_r", "vaslat_r"]) == "vastus medialis and vastus lateralis, right"
    assert channel_names(["vasmed_r", "vaslat_l"]) == "vastus medialis, right and vastus lateralis, left"
    assert channel_names(["my_own_muscle"]) == "my_own_muscle"


def test_long_lists_are_cut():
    assert listed(list("abcdefg")) == "a, b, c, d and 3 more"
