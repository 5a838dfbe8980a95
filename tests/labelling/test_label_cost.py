"""Costs other than OpenSim's usual one in labels: exponent, weights, volume, passive fibres."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import opensim
import pytest
import torch
from numpy.testing import assert_allclose

from bige_opensim.cli import app
from bige_opensim.io.storage import read_storage
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.physics.effort_cost import EffortCost, EffortCostError, parse_weights
from bige_opensim.settings import SettingError

pytestmark = pytest.mark.usefixtures("own_cache")

AUDITED = LabelSettings(solver="fast", geometry="exact", audit=0.2)


def activations(request: TrialRequest) -> np.ndarray:
    return read_storage(request.out / "activations.sto").values


def labelled(request_of: Callable[..., Any], name: str, settings: LabelSettings) -> tuple[dict[str, Any], np.ndarray]:
    request = request_of("squat")
    request = replace(request, out=request.out.with_name(name))
    label = label_trial(request, settings)
    return label, activations(request)


@pytest.mark.parametrize("exponent", [1.5, 3.0])
def test_both_solvers_find_the_same_label_for_an_exponent(request_of: Callable[..., Any], exponent: float):
    cost = EffortCost(exponent=exponent)
    fast, ours = labelled(request_of, "fast", replace(AUDITED, cost=cost))
    _, theirs = labelled(request_of, "opensim", LabelSettings(solver="opensim", start=0.3, end=0.6, cost=cost))
    _, usual = labelled(request_of, "usual", replace(AUDITED, audit=0.0))
    time = read_storage(request_of("squat").out.with_name("opensim") / "activations.sto").time
    at = [
        int(np.abs(read_storage(request_of("squat").out.with_name("fast") / "activations.sto").time - t).argmin())
        for t in time
    ]
    assert np.sqrt(((ours[at] - theirs) ** 2).mean()) < 0.005
    assert fast["audit"]["rmse"] < 0.005
    assert np.abs(ours - usual).max() > 0.03
    assert fast["cost"]["exponent"] == exponent
    setup = (request_of("squat").out.with_name("fast") / "setup_static_optimization.xml").read_text()
    assert f"<activation_exponent>{exponent:g}</activation_exponent>" in setup


@pytest.mark.parametrize(
    "cost",
    [
        EffortCost(weights=(("gasmed_*", 0.2), ("soleus_r", 6.0))),
        EffortCost(volume_weighted=True),
        EffortCost(exponent=3.0, weights=(("soleus_*", 4.0),), volume_weighted=True),
    ],
    ids=["weights", "volume", "both, cubed"],
)
def test_opensim_audits_weights_in_a_model_that_has_them(request_of: Callable[..., Any], cost: EffortCost):
    label, weighted = labelled(request_of, "weighted", replace(AUDITED, cost=cost))
    _, usual = labelled(request_of, "usual", replace(AUDITED, audit=0.0))
    assert label["audit"]["rmse"] < 0.005
    assert np.abs(weighted - usual).max() > 0.02
    assert label["cost"] == cost.as_dict() == json.loads(json.dumps(cost.as_dict()))
    assert not list(request_of("squat").out.with_name("weighted").glob("*weighted*"))
    assert any("has the exponent of the cost, not its weights" in note for note in label["notes"])


def test_mirrored_weights_give_mirrored_activations(request_of: Callable[..., Any]):
    right, left = (
        labelled(request_of, side, replace(AUDITED, audit=0.0, cost=EffortCost(weights=((f"vasmed_{side}", 8.0),))))[1]
        for side in "rl"
    )
    half = right.shape[1] // 2
    assert_allclose(right, np.roll(left, half, axis=1), atol=0.02)
    assert np.abs(right[:, :half] - right[:, half:]).max() > 0.02


def test_passive_fibres_take_over_what_they_carry(request_of: Callable[..., Any]):
    label, passive = labelled(request_of, "passive", replace(AUDITED, cost=EffortCost(passive=True)))
    _, usual = labelled(request_of, "usual", replace(AUDITED, audit=0.0))
    assert "audit" not in label
    assert any("Not audited" in note for note in label["notes"])
    assert np.abs(passive - usual).max() > 0.01


def test_opensims_solver_is_not_asked_for_what_it_lacks():
    for cost in (EffortCost(weights=(("vas*", 2.0),)), EffortCost(volume_weighted=True), EffortCost(passive=True)):
        with pytest.raises(EffortCostError, match="use --solver fast"):
            LabelSettings(solver="opensim", cost=cost)
    assert LabelSettings(solver="opensim", cost=EffortCost(exponent=3.0)).cost.exponent == 3.0


def test_the_device_changes_no_fingerprint_and_one_that_is_not_there_is_refused():
    assert "device" not in LabelSettings().as_fingerprint()
    with pytest.raises(SettingError, match=r"device = 'banana' cannot be used .*; cpu always can\."):
        LabelSettings(device="banana")


def test_the_usual_cost_leaves_fingerprints_as_they_were():
    usual, other = LabelSettings().as_fingerprint(), LabelSettings(cost=EffortCost(exponent=3.0)).as_fingerprint()
    assert "cost" not in usual
    assert other["cost"]["exponent"] == 3.0


def test_weights_by_name_pattern_and_group_multiply():
    cost = EffortCost(weights=(("vas*", 2.0), ("KNEE", 3.0), ("vasmed", 5.0)))
    names = ("vasmed", "vaslat", "soleus")
    weights = cost.muscle_weights(names, {"KNEE": ("vasmed", "soleus")}, np.ones(3))
    assert_allclose(weights, [30.0, 2.0, 3.0])
    volume = replace(cost, weights=(), volume_weighted=True).muscle_weights(names, {}, np.array([1.0, 2.0, 3.0]))
    assert_allclose(volume, [0.5, 1.0, 1.5])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EffortCost(exponent=1.0), "must be above 1; got 1"),
        (lambda: EffortCost(exponent=float("nan")), "must be above 1; got nan"),
        (lambda: EffortCost(weights=(("vas", 0.0),)), "weight of vas must be above 0"),
        (lambda: parse_weights(["vas"]), "written as MUSCLE=NUMBER"),
        (lambda: parse_weights(["=2"]), "written as MUSCLE=NUMBER"),
        (lambda: EffortCost(weights=(("x*", 2.0),)).muscle_weights(("a",), {"G": ()}, np.ones(1)), "fits no muscle"),
    ],
)
def test_costs_that_cannot_be_are_refused(make: Callable[[], object], message: str):
    with pytest.raises(EffortCostError, match=message):
        make()


def test_splitting_a_muscle_in_two_halves_changes_nothing_with_volume_weights():
    """Two halves of half the force and half the volume do what the whole does (Holmberg and Klarbring 2012)."""
    from bige_opensim.physics.least_effort import solve

    def share(force: list[float], volume: list[float]) -> torch.Tensor:
        n = len(force)
        one = torch.ones(n, dtype=torch.float64)
        found = solve(
            torch.tensor([[force]], dtype=torch.float64), torch.tensor([[30.0]], dtype=torch.float64),
            weight=torch.tensor(volume, dtype=torch.float64), lower=0.0 * one, upper=one,
            reserve_optimal=torch.full((1,), 1e-3, dtype=torch.float64), exponent=3.0 * one,
        )  # fmt: skip
        return found.x[0]

    whole = share([50.0, 20.0], [5.0, 1.0])
    halves = share([25.0, 25.0, 20.0], [2.5, 2.5, 1.0])
    assert_allclose(halves, [whole[0], whole[0], whole[1]], rtol=1e-6)


def test_the_command_passes_costs_on(request_of: Callable[..., Any], capsys: pytest.CaptureFixture[str]):
    request = request_of("squat")
    command = ["label", "--model", str(request.model), "--motion", str(request.motion), "--out", str(request.out)]
    usual = ["--solver", "fast", "--geometry", "exact", "--audit", "0", "--jobs", "1"]
    cost = ["--exponent", "3", "--weight", "vas*=2", "--weight", "soleus_r=4", "--volume-weighted", "--passive"]
    assert app([*command, *cost], result_action="return_value") == 1
    assert "use --solver fast" in capsys.readouterr().err
    assert app([*command, *usual, *cost], result_action="return_value") == 0
    label = json.loads((request.out / "label.json").read_text())
    assert label["cost"] == {
        "exponent": 3.0,
        "weights": {"vas*": 2.0, "soleus_r": 4.0},
        "volume_weighted": True,
        "passive": True,
    }
    assert app([*command, *usual, "--weight", "wing=2"], result_action="return_value") == 1
    assert "fits no muscle" in capsys.readouterr().out


def test_groups_of_the_model_are_weights_names(request_of: Callable[..., Any]):
    from bige_opensim.osim.model import load
    from bige_opensim.osim.muscle_parameters import muscle_groups

    request = request_of("squat")
    model = opensim.Model(str(request.model))
    forces = model.updForceSet()
    forces.addGroup("knee_extensors")
    for name in ("vasmed_r", "vasmed_l"):
        forces.addObjectToGroup("knee_extensors", name)
    model.finalizeConnections()
    model.printToXML(str(request.model))
    assert muscle_groups(load(request.model)) == {"knee_extensors": ("vasmed_r", "vasmed_l")}
