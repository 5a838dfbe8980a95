from dataclasses import replace

import numpy as np
import pytest

from bige_opensim.labelling.quality_gates import Gate, Labelled, gates, infeasible_frames, verdict

T = 100


def clean() -> Labelled:
    return Labelled(
        residual_force=np.zeros((T, 3)),
        residual_moment=np.zeros((T, 3)),
        external_force=np.full(T, 800.0),
        com_height_m=1.0,
        reserves=np.zeros((T, 2)),
        net_moments=np.tile([100.0, 2.0], (T, 1)),
        activations=np.full((T, 10), 0.3),
        solved=np.ones(T, dtype=bool),
        fastest_rotation=(5.0, "femur_r"),
        shift_peak_mm=3.0,
    )


def one(rows: int, columns: int, value: float) -> np.ndarray:
    values = np.zeros((rows, columns))
    values[17, -1] = value
    return values


def test_a_clean_trial_passes_every_gate():
    found = gates(clean())
    assert all(g.passed for g in found.values())
    assert verdict(found) == ("passed", "all quality gates passed")


@pytest.mark.parametrize(
    ("gate", "changed", "value"),
    [
        ("residual_force", {"residual_force": one(T, 3, -60.0)}, 7.5),  # 60 N of 800 N
        ("residual_moment", {"residual_moment": one(T, 3, 16.0)}, 2.0),  # 16 N·m of 1 m x 800 N
        ("reserves", {"reserves": np.tile([-8.0, 0.0], (T, 1))}, 8.0),  # 8 N·m of 100 N·m
        ("reserves", {"reserves": one(T, 2, 0.9)}, 9.0),  # of 10 N·m, the least that counts, not of 2 N·m
        ("saturated", {"activations": np.where(np.arange(10) < 1, 1.0, 0.3) * np.ones((T, 1))}, 10.0),
        ("failed_frames", {"solved": np.arange(T) >= 3}, 3.0),
        ("rotation_speed", {"fastest_rotation": (120.0, "tibia_l")}, 120.0),
        ("whole_body_shift", {"shift_peak_mm": 25.0}, 25.0),
    ],
)
def test_each_gate_measures_its_share_and_fails_alone(gate, changed, value):
    found = gates(replace(clean(), **changed))
    assert found[gate].value == pytest.approx(value)
    assert [k for k, g in found.items() if not g.passed] == [gate]
    status, reason = verdict(found)
    assert status == "gates_failed"
    assert reason.startswith(f"{gate} {value:.3g} > {found[gate].limit:g} {found[gate].unit}. ")
    assert reason.endswith(".")


def test_the_body_that_turns_too_fast_is_named():
    _, reason = verdict(gates(replace(clean(), fastest_rotation=(120.0, "tibia_l"))))
    assert "tibia_l" in reason


def test_residual_moments_are_compared_with_height_times_force():
    tall = gates(replace(clean(), residual_moment=one(T, 3, 12.0), com_height_m=2.0))
    assert tall["residual_moment"].value == pytest.approx(100 * 12 / (2 * 800))


def test_components_of_a_residual_count_together():
    found = gates(replace(clean(), residual_force=np.tile([24.0, 0.0, 32.0], (T, 1))))
    assert found["residual_force"].value == pytest.approx(5.0)
    assert found["residual_force"].passed


def test_a_value_that_is_not_finite_fails():
    assert not Gate(np.nan, 1.0, "-", "").passed
    assert not Gate(np.inf, 1.0, "-", "").passed
    found = gates(replace(clean(), residual_force=np.full((T, 3), np.nan)))
    assert not found["residual_force"].passed


def test_a_model_without_driven_coordinates_has_no_reserves_to_judge():
    found = gates(replace(clean(), reserves=np.zeros((T, 0)), net_moments=np.zeros((T, 0))))
    assert found["reserves"].value == 0.0


def test_gates_are_written_with_value_limit_unit_and_whether_they_passed():
    entry = gates(clean())["saturated"].as_dict()
    assert {"value": 0.0, "limit": 5.0, "passed": True}.items() <= entry.items()
    assert set(entry) == {"value", "limit", "unit", "remedy", "passed"}


def test_several_failures_are_all_in_the_sentence():
    _, reason = verdict(gates(replace(clean(), shift_peak_mm=25.0, solved=np.zeros(T, dtype=bool))))
    assert "failed_frames 100 > 1 % of frames" in reason
    assert "whole_body_shift 25 > 20 mm" in reason


def test_an_infeasible_frame_names_the_coordinate_whose_reserve_carries_it() -> None:
    time, net = np.array([0.0, 0.1, 0.2]), np.array([[50.0, 5.0], [100.0, 8.0], [20.0, 1.0]])
    reserves = np.array([[1.0, 0.4], [6.0, 0.1], [0.0, -0.6]])
    listed = infeasible_frames(time, ["hip_flexion_r", "mtp_angle_r"], reserves, net)
    assert listed == [
        {"time_s": 0.1, "coordinate": "hip_flexion_r", "reserve_nm": 6.0},
        {"time_s": 0.2, "coordinate": "mtp_angle_r", "reserve_nm": -0.6},
    ]
