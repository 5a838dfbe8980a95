"""Terms that no motion can meet together, found without a search. Oracle: a linear program over the same statistics."""

import math
from typing import Any

import pytest
import torch

from bige_opensim.guidance.feasibility import contradiction, require_feasible
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import BoundObjective, Objective

from .conftest import COORDINATES, StiltBody, stilt_squat

MUSCLES = ("vasmed_r", "vasmed_l", "soleus_r", "soleus_l")
REACH = {"knee_angle_r": (0.0, math.radians(120)), "vasmed_r": (0.01, 1.0), "vasmed_l": (0.01, 1.0)}
KNEE = {"quantity": "coordinate", "of": ["knee_angle_r"]}
VASTI = {"quantity": "activation", "of": ["vasmed_*"]}
LEFT = {"quantity": "activation", "of": ["vasmed_l"]}
EQUAL = {"quantity": "asymmetry", "of": ["vasmed"]}


def bind(body: StiltBody, *terms: dict[str, Any]) -> BoundObjective:
    named = [{"name": f"t{i}"} | t for i, t in enumerate(terms)]
    return Objective.from_dict({"term": named}, source="o.toml").bind(COORDINATES, MUSCLES, body)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([KNEE | {"stat": "peak", "at_least": 130}], "'t0' .* is out of reach: knee_angle_r goes from 0 to 120 deg"),
        ([KNEE | {"stat": "range", "at_least": 121}], "'t0' .* is out of reach: knee_angle_r goes"),
        ([VASTI | {"stat": "peak", "at_most": 0.005}], "'t0' .* is out of reach: vasmed_. goes from 0.01 to 1"),
        (
            [
                VASTI | {"stat": "peak", "at_most": 0.3},
                LEFT | {"stat": "rms", "at_least": 0.2},
                LEFT | {"stat": "mean", "at_least": 0.35},
            ],
            "'t0' .at most 0.3. and 't2' .at least 0.35. contradict each other",
        ),
        (
            [
                KNEE | {"stat": "range", "at_most": 50},
                KNEE | {"stat": "min", "at_most": 10},
                KNEE | {"at": 0.5, "at_least": 70},
            ],
            "'t0' .*, 't1' .* and 't2' .* contradict each other",
        ),
        (
            [
                VASTI | {"of": ["vasmed_r"], "stat": "peak", "at_least": 0.5},
                LEFT | {"stat": "peak", "at_most": 0.4},
                EQUAL | {"stat": "peak", "at_most": 0.05},
            ],
            "'t0' .*, 't1' .* and 't2' .* contradict each other",
        ),
        (
            [KNEE | {"stat": "range", "at_least": 100}, KNEE | {"stat": "min", "at_least": 30}],
            "contradict each other: no motion meets them together, because knee_angle_r goes from 0 to 120 deg",
        ),
    ],
)
def test_terms_out_of_reach_are_refused_by_as_few_as_it_takes(
    body: StiltBody, terms: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ObjectiveError, match=message) as caught:
        require_feasible(bind(body, *terms), REACH)
    assert str(caught.value).startswith("o.toml: ")


def test_without_hard_terms_all_decide_and_with_them_wishes_may_contradict(body: StiltBody) -> None:
    high, low = KNEE | {"stat": "min", "at_least": 90}, KNEE | {"of": ["knee_angle_*"], "stat": "mean", "at_most": 80}
    assert contradiction(bind(body, high, low), bind(body, high, low).verdict_terms, {})
    require_feasible(bind(body, high | {"hard": True}, low), {})


@pytest.mark.parametrize("stat", ["peak", "min", "mean", "range", "rms", "at"])
def test_what_a_motion_does_is_never_called_out_of_reach(body: StiltBody, stat: str) -> None:
    """Bounds on exactly the values that a motion has, all statistics and both sides at once."""
    angles = torch.deg2rad(torch.tensor([[70.0], [82.0], [-20.0]], dtype=torch.float64))
    q, two_s = stilt_squat(*angles), torch.tensor([2.0], dtype=torch.float64)
    active = 0.05 + 0.9 * torch.rand(1, 101, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    asked = []
    stats = [{"stat": s} for s in ("peak", "min", "mean", "range", "rms")] + [{"at": x} for x in (0.25, 0.5)]
    for what in stats:
        for quantity, names in (("coordinate", ("knee_angle_r", "knee_angle_l")), ("activation", MUSCLES[:2])):
            asked += [{"quantity": quantity, "of": [n], **what} for n in names]
        asked += [{"quantity": "asymmetry", "of": [n], **what} for n in ("knee_angle", "vasmed")]
    free = bind(body, *(t | {"minimise": True} for t in asked))
    values = free.evaluate(q, two_s, active).values
    exact = [t | {"equals": values[f"t{i}"].item(), "tolerance": 1e-6} for i, t in enumerate(asked)]
    require_feasible(bind(body, *exact), REACH)
    chosen = 0 if stat == "peak" else [next(iter(w.values())) for w in stats].index(0.25 if stat == "at" else stat)
    moved = exact[6 * chosen] | {"of": ["knee_angle_r*"], "equals": exact[6 * chosen]["equals"] + 60.0}
    with pytest.raises(ObjectiveError, match="'moved'"):
        require_feasible(bind(body, *exact, moved | {"name": "moved"}), {})
