"""Feet stay where they are planted, knees and centre of mass go where they are told."""

import numpy as np
import pytest
import torch

from bige_opensim.motion import Motion
from bige_opensim.synthesis.closed_chain import SIDES, ClosedChainError, Stance, plant, solve

EVEN = Stance(toe_out=(0.15, 0.15), heel_x=(0.0, 0.0), heel_z=(0.17, -0.17))
FRAMES = 40


@pytest.fixture(scope="module")
def descent(body):
    """A descent to 95 degrees with rising heels, and what it was told."""
    s = torch.linspace(0.0, 1.0, FRAMES, dtype=torch.float64)
    lift, knee = 0.1 * s, 0.08 + 1.58 * s
    support = plant(body, EVEN, lift)
    posture = body.default.expand(FRAMES, -1).clone()
    for name, bottom in (("pelvis_tilt", -0.45), ("lumbar_extension", -0.5), ("arm_flex_r", 1.5), ("arm_flex_l", 1.5)):
        posture[:, body.index(name)] = bottom * s
    for side in SIDES:
        posture[:, body.index(f"mtp_angle_{side}")] = -lift
    com_x = support.heel + (0.45 + 0.05 * s) * (support.toe - support.heel)
    q = solve(body, posture, support, knee, com_x, support.middle + 0.01 * s)
    return {"q": q, "support": support, "knee": knee, "com_x": com_x, "com_z": support.middle + 0.01 * s, "lift": lift}


def test_contact_points_stay_where_they_are_planted(body, descent):
    points = body.contact_points(body(descent["q"]))
    assert float((points - descent["support"].points).abs().max()) < 1e-5


def test_knees_and_centre_of_mass_follow_their_courses(body, descent):
    q, com = descent["q"], body.com(body(descent["q"]))
    knees = q[:, [body.index("knee_angle_r"), body.index("knee_angle_l")]].mean(1)
    assert float((knees - descent["knee"]).abs().max()) < 1e-4
    assert float((com[:, 0] - descent["com_x"]).abs().max()) < 1e-5
    assert float((com[:, 2] - descent["com_z"]).abs().max()) < 1e-5


def test_the_flat_foot_stands_on_the_ground(body):
    points = plant(body, EVEN, torch.zeros(2, dtype=torch.float64)).points
    assert abs(float(points[..., 1].min())) < 1e-9
    assert float(points[..., 1].max()) < 0.003


def test_a_raised_heel_rises_about_toes_that_stay(body):
    lift = torch.tensor([0.0, 0.12], dtype=torch.float64)
    points = plant(body, EVEN, lift).points
    heel, toes = body.contact_names.index("s1_r"), [body.contact_names.index(f"s{k}_r") for k in (5, 6)]
    assert float((points[1, toes] - points[0, toes]).abs().max()) < 1e-9
    toe_joint = body(body.default).position[body.bodies.index("toes_r")]
    heel_at_rest = body.contact_points(body(body.default))[heel]
    # the toe joint is oblique: the heel rises a little less than it would about a transverse axis
    expected = np.sin(0.12) * float(toe_joint[0] - heel_at_rest[0])
    assert float(points[1, heel, 1] - points[0, heel, 1]) == pytest.approx(0.9 * expected, rel=0.1)


def test_toes_point_outwards_by_the_toe_out(body):
    zero = torch.zeros(1, dtype=torch.float64)
    turned = plant(body, EVEN, zero).points[0]
    straight = plant(body, Stance((0.0, 0.0), EVEN.heel_x, EVEN.heel_z), zero).points[0]
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        heel, toe = (body.contact_names.index(f"{k}_{side}") for k in ("s1", "s5"))

        def direction(points, heel=heel, toe=toe):
            return float(torch.atan2(points[toe, 2] - points[heel, 2], points[toe, 0] - points[heel, 0]))

        assert direction(turned) - direction(straight) == pytest.approx(sign * 0.15, abs=1e-9)


def test_mirrored_feet_and_weight_give_mirrored_legs(body):
    uneven = Stance((0.2, 0.05), (0.01, -0.01), (0.16, -0.19))
    mirrored = Stance((0.05, 0.2), (-0.01, 0.01), (0.19, -0.16))
    posture = body.default.expand(1, -1).clone()
    found = []
    for stance, aside in ((uneven, 0.01), (mirrored, -0.01)):
        support = plant(body, stance, torch.zeros(1, dtype=torch.float64))
        com_x = torch.full((1,), support.heel + 0.4 * (support.toe - support.heel), dtype=torch.float64)
        com_z = torch.full((1,), support.middle + aside, dtype=torch.float64)
        q = solve(body, posture, support, torch.full((1,), 0.8, dtype=torch.float64), com_x, com_z)
        found.append(Motion(np.array([0.0, 1.0]), q.repeat(2, 1).numpy(), body.coordinates))
    for name in ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle"):
        assert found[0][f"{name}_r"][0] == pytest.approx(found[1][f"{name}_l"][0], abs=2e-4)


def test_feet_out_of_reach_are_refused(body):
    far = Stance((0.0, 0.0), (0.0, 0.0), (0.9, -0.9))
    support = plant(body, far, torch.zeros(1, dtype=torch.float64))
    posture = body.default.expand(1, -1).clone()
    target = torch.full((1,), support.heel + 0.1, dtype=torch.float64)
    with pytest.raises(ClosedChainError, match=r"frame 0: the feet stay .* mm from where they are planted"):
        solve(body, posture, support, torch.full((1,), 0.2, dtype=torch.float64), target, 0.0 * target)
