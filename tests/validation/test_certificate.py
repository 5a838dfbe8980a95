"""What a certificate says, in closed form: series are made up, so that every number is known beforehand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_models import squat

from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.quantities import GRF_COLUMNS
from bige_opensim.io.storage import StorageError, write_coordinates, write_storage
from bige_opensim.motion import Motion
from bige_opensim.osim.model import load
from bige_opensim.physics.contact import GroundForces
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.certificate import (
    Certificate,
    Simulated,
    certificate,
    judge,
    read_simulated,
    surrogate_gap,
)
from bige_opensim.validation.motion_gates import MotionGate

LABEL = {
    "status": "passed",
    "reason": "all quality gates passed",
    "ground_height_m": 0.0,
    "gates": {"reserves": {"value": 1.0, "limit": 5.0, "unit": "%", "remedy": "", "passed": True}},
    "whole_body_shift": None,
    "timings": {},
    "provenance": {},
}
GATES = {"penetration": MotionGate(4.0, 30.0, "mm below the ground"), "foot_slide": MotionGate(7.0, 50.0, "mm")}
FRAMES = 101
HALF_SINE = np.sin(np.linspace(0.0, np.pi, FRAMES))


def term(quantity: str, **fields: object) -> dict:
    return {"quantity": quantity, **fields}


@pytest.fixture
def simulated(model: Path, skeleton: Skeleton) -> Simulated:
    """Two seconds: activations 0.01 but a half sine of 0.4 in vasmed_r and 0.38 in vasmed_l, 600 N under each foot."""
    motion = squat(model, frames=FRAMES, rate_hz=50.0, depth=1.0)
    muscles = skeleton.tables.muscles
    active = np.full((FRAMES, len(muscles)), 0.01)
    active[:, muscles.index("vasmed_r")] = 0.4 * HALF_SINE
    active[:, muscles.index("vasmed_l")] = 0.38 * HALF_SINE
    moments = np.zeros((FRAMES, len(skeleton.coordinates)))
    moments[:, skeleton.index("knee_angle_r")] = -70.0 * HALF_SINE
    grf = np.tile([0.0, 600.0, 0.0, 0.0, 600.0, 0.0], (FRAMES, 1))
    return Simulated(motion, Motion(motion.time, active, muscles), moments, grf, dict(LABEL))


def certified(simulated: Simulated, skeleton: Skeleton, *terms: dict, entry: dict | None = None) -> Certificate:
    objective = Objective.from_dict({"name": "asked", "term": list(terms)})
    bound, evaluation = judge(objective, skeleton, simulated)
    return certificate("motion_01", bound, evaluation, entry or {}, simulated, GATES, None)


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        (term("activation", of=["vasmed_r"], stat="peak", at_most=1.0), 0.4),
        (term("activation", of=["vasmed_r"], stat="mean", at_most=1.0), 0.4 * HALF_SINE.mean()),
        (term("activation", of=["vasmed_r"], stat="rms", at_most=1.0), 0.4 / np.sqrt(2) * np.sqrt(100 / 101)),
        (term("activation", of=["vasmed_r", "vasmed_l"], stat="peak", minimise=True), 0.39),
        (term("activation", of=["vasmed_r", "vasmed_l"], stat="peak", at_most=0.1), 0.4),
        (term("activation", of=["vasmed_r", "vasmed_l"], stat="peak", at_least=0.9), 0.38),
        (term("activation", of=["vasmed_r"], at=0.25, at_most=1.0), 0.4 * np.sin(np.pi / 4)),
        (term("coordinate", of=["knee_angle_r"], stat="peak", at_most=180.0), np.rad2deg(1.0)),
        (term("moment", of=["knee_angle_r"], stat="min", at_least=-9.0), -1.0),
        (term("grf", of=["ground_force_l_vy"], stat="mean", at_most=9.0), 600.0 / (78.0 * 9.80665)),
        (term("asymmetry", of=["vasmed"], stat="peak", at_most=1.0), 0.02),
        (term("duration", at_least=1.0), 2.0),
    ],
    ids=lambda x: x["quantity"] + "-" + x.get("stat", "at") if isinstance(x, dict) else "",
)
def test_a_term_has_the_value_that_its_series_has(simulated, skeleton, asked, value):
    mass = float(skeleton.mass.sum())
    if asked["quantity"] == "moment":
        value *= 70.0 / mass
    if asked["quantity"] == "grf":
        value = 600.0 / (mass * float(skeleton.gravity.norm()))
    found = next(iter(certified(simulated, skeleton, {"name": "t", **asked}).terms.values()))
    assert found.simulated == pytest.approx(value, rel=2e-3)


@pytest.mark.parametrize(
    ("bounds", "satisfied"),
    [
        ({"between": [0.38, 0.40]}, True),
        ({"between": [0.38, 0.3999]}, False),
        ({"between": [0.3801, 0.40]}, False),
        ({"at_most": 0.40}, True),
        ({"at_most": 0.399999}, False),
        ({"at_least": 0.38}, True),
        ({"at_least": 0.380001}, False),
        ({"equals": 0.39, "tolerance": 0.0101}, True),
        ({"equals": 0.39, "tolerance": 0.0099}, False),
        ({"minimise": True}, None),
    ],
)
def test_a_term_is_satisfied_if_every_muscle_is_within_its_bounds(simulated, skeleton, bounds, satisfied):
    peak = term("activation", name="peak", of=["vasmed_r", "vasmed_l"], stat="peak", **bounds)
    made = certified(simulated, skeleton, peak)
    assert made.terms["peak"].satisfied is satisfied
    assert made.satisfied == made.confirmed == (satisfied is not False)


def test_hard_terms_decide_and_wishes_do_not(simulated, skeleton):
    wish = term("duration", name="pace", at_least=5.0)
    made = certified(simulated, skeleton, wish, term("activation", name="peak", of=["vasmed_r"], stat="peak",
                                                     at_most=0.5, hard=True))  # fmt: skip
    assert {n: t.decides for n, t in made.terms.items()} == {"pace": False, "peak": True}
    assert made.terms["pace"].satisfied is False
    assert made.confirmed
    assert not certified(simulated, skeleton, wish).confirmed


def test_a_motion_is_confirmed_if_label_gates_and_terms_all_agree(simulated, skeleton):
    made = certified(simulated, skeleton, term("duration", name="pace", at_least=1.0))
    assert made.confirmed
    assert not replace(made, labels={"status": "gates_failed", "reason": ""}).confirmed
    for name, gate in GATES.items():
        for value in (gate.limit * 1.0001, np.nan, np.inf):
            broken = GATES | {name: replace(gate, value=value)}
            assert not replace(made, motion_gates=broken).confirmed
        at_the_limit = GATES | {name: replace(gate, value=gate.limit)}
        assert replace(made, motion_gates=at_the_limit).confirmed


def test_the_reason_names_what_fails_and_nothing_else(simulated, skeleton):
    held = certified(simulated, skeleton, term("activation", of="vasmed_r", stat="peak", at_least=0.0, hard=True))
    assert held.confirmed
    assert held.reason == "OpenSim bears out every deciding term, and all gates are passed."
    missed = certified(simulated, skeleton, term("activation", of="vasmed_r", stat="peak", at_least=0.99, hard=True))
    (name,) = missed.terms
    assert missed.reason.startswith(f"{name}: OpenSim finds ")
    failed = replace(held, labels={"status": "gates_failed", "reason": "reserves 9 > 5 %."})
    assert failed.reason == "reserves 9 > 5 %."


def test_prediction_and_novelty_come_from_the_record_of_the_search(simulated, skeleton):
    novelty = {"session": "s", "trial": "t", "start_s": 1.0, "distance": 0.3, "novelty": 0.5}
    entry = {"predicted": {"pace": 1.9}, "nearest_training_motion": novelty}
    pace = term("duration", name="pace", at_least=1.0)
    made = certified(simulated, skeleton, pace, entry=entry)
    assert made.terms["pace"].predicted == 1.9
    assert made.nearest_training_motion == novelty
    without = certified(simulated, skeleton, pace)
    assert without.terms["pace"].predicted is None
    assert without.nearest_training_motion is None


def test_limits_and_contact_are_those_of_the_motion(simulated, skeleton):
    q, at = simulated.q.values.copy(), skeleton.index("ankle_angle_r")
    q[50, at] = float(skeleton.range[at, 1]) + np.deg2rad(4.0)
    beyond = replace(simulated, q=simulated.q.with_values(q))
    made = certified(beyond, skeleton, term("duration", name="pace", at_least=1.0))
    assert made.limit_violations == {"ankle_angle_r": pytest.approx(4.0)}
    assert made.contact == {"penetration_mm": 4.0, "foot_slide_mm": 7.0}


@pytest.mark.parametrize("offset", [0.0, 0.03, -0.02])
def test_the_gap_to_the_surrogate_is_the_offset_between_them(simulated: Simulated, offset: float):
    active = simulated.activations
    phase = np.linspace(0.0, 1.0, 21)
    time = active.time[0] + phase * (active.time[-1] - active.time[0])
    linear = np.outer(active.time, np.linspace(0.0, 0.2, len(active.names)))  # which interpolation keeps
    simulated = replace(simulated, activations=active.with_values(linear))
    there = np.outer(time, np.linspace(0.0, 0.2, len(active.names)))
    there[:, 3] += offset
    predicted = Motion(7.0 * phase, there, active.names)
    gap = surrogate_gap(predicted.select(tuple(reversed(active.names))), simulated)
    assert gap["per_muscle"][active.names[3]] == pytest.approx(abs(offset), abs=1e-12)
    assert gap["per_muscle"][active.names[2]] == pytest.approx(0.0, abs=1e-12)
    assert gap["rmse"] == pytest.approx(abs(offset) / np.sqrt(len(active.names)), abs=1e-12)


def test_a_certificate_is_the_same_after_it_was_written_and_read(simulated, skeleton):
    made = replace(certified(simulated, skeleton, term("duration", name="pace", at_least=1.0)), files={"a": "b"})
    content = json.loads(json.dumps(made.as_dict()))
    assert Certificate.from_dict(content) == made
    assert content["confirmed"] is made.confirmed
    assert content["motion_gates"]["penetration"] == {
        "value": 4.0, "limit": 30.0, "unit": "mm below the ground", "where": "", "satisfied": True,
    }  # fmt: skip
    with pytest.raises(ValueError, match="expected bige-certificate/2"):
        Certificate.from_dict(content | {"format": "bige-certificate/9"})


def test_terms_as_a_table(simulated, skeleton):
    peak = term("activation", name="peak", of=["vasmed_r"], stat="peak", at_most=0.5)
    frame = certified(simulated, skeleton, term("duration", name="pace", at_least=1.0), peak).to_frame()
    assert frame.index.tolist() == ["pace", "peak"]
    assert frame.loc["peak", "simulated"] == pytest.approx(0.4)
    assert frame.loc["pace", "target"] == "at least 1 s"
    assert bool(frame.loc["pace", "satisfied"])


def write_trial(folder: Path, simulated: Simulated, model: Path, rows: int = FRAMES) -> None:
    q, names = simulated.q, simulated.q.names
    write_coordinates(folder / "coordinates.mot", q, rotational=load(model).rotational)
    active = simulated.activations
    write_storage(folder / "activations.sto", active.time, active.values, active.names, in_degrees=False)
    write_storage(folder / "inverse_dynamics.sto", q.time[:rows], simulated.moments[:rows], names, in_degrees=False)
    columns = {n: np.full(FRAMES, float(i)) for i, n in enumerate(GRF_COLUMNS)}
    for side in "rl":
        columns |= {f"ground_force_{side}_p{a}": np.full(FRAMES, 20.0 + i) for i, a in enumerate("xyz")}
        columns |= {f"ground_torque_{side}_{a}": np.full(FRAMES, 30.0 + i) for i, a in enumerate("xyz")}
    table = np.column_stack(list(columns.values()))
    write_storage(folder / "grf.mot", q.time, table, list(columns), in_degrees=False)
    (folder / "label.json").write_text(json.dumps(simulated.label), encoding="utf-8")


def test_what_was_simulated_is_read_back_by_name(simulated: Simulated, skeleton: Skeleton, model: Path, tmp_path: Path):
    write_trial(tmp_path, simulated, model)
    found = read_simulated(tmp_path, skeleton)
    np.testing.assert_allclose(found.q.values, simulated.q.values, atol=1e-9)
    np.testing.assert_allclose(found.activations.values, simulated.activations.values, atol=1e-9)
    assert found.grf[5].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert found.vertical_n[5].tolist() == [1.0, 4.0]
    assert isinstance(found.ground, GroundForces)
    assert found.ground.force[5, 1].tolist() == [3.0, 4.0, 5.0]
    assert found.ground.point[5, 0].tolist() == [20.0, 21.0, 22.0]
    assert found.ground.torque[5, 1].tolist() == [30.0, 31.0, 32.0]


def test_files_of_different_length_are_refused(simulated: Simulated, skeleton: Skeleton, model: Path, tmp_path: Path):
    write_trial(tmp_path, simulated, model, rows=50)
    with pytest.raises(StorageError, match=r"activations\.sto has 101 frames, inverse_dynamics\.sto has 50"):
        read_simulated(tmp_path, skeleton)
