"""Synthetic split squats: one foot flat in front, one on its toes behind."""

import numpy as np
import pytest
import torch

from bige_opensim.guidance.planting import plant_feet
from bige_opensim.guidance.quantities import Frame, Observation
from bige_opensim.motion import Motion
from bige_opensim.movements.repetitions import find_movement
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.synthesis.split_squats import SplitStyle, draw_split_squats, draw_split_style, split_squat_motion


@pytest.fixture(scope="module")
def performed(body: Skeleton) -> tuple[SplitStyle, Motion]:
    """Two repetitions of one person."""
    random = np.random.default_rng(3)
    style = draw_split_style(random)
    return style, split_squat_motion(body, style, draw_split_squats(style, 2, random), random)[0]


def test_the_rule_finds_split_squats_with_the_right_leg_in_front(performed: tuple[SplitStyle, Motion]) -> None:
    found = find_movement(performed[1])
    assert (found.movement, [r.side for r in found.repetitions]) == ("lunge", ["right", "right"])


def test_the_heel_behind_is_up_and_no_foot_moves(body: Skeleton, performed: tuple[SplitStyle, Motion]) -> None:
    motion = performed[1]
    points = body.contact_points(body(torch.as_tensor(motion.values)))
    assert float((points - points[:1]).abs().max()) < 5e-5
    heights = {name: float(points[0, i, 1]) for i, name in enumerate(body.contact_names)}
    assert heights["s1_r"] < 0.005
    assert heights["s1_l"] > 0.05
    assert min(h for n, h in heights.items() if n.endswith("_l")) == pytest.approx(0.0, abs=0.005)


def test_the_trunk_is_upright_and_the_feet_carry(body: Skeleton, performed: tuple[SplitStyle, Motion]) -> None:
    motion = performed[1]
    q, duration = torch.as_tensor(motion.values)[None], torch.tensor([motion.duration], dtype=torch.float64)
    observation = Observation(Frame(body.coordinates, (), body), q, duration, None)
    assert float(observation.beyond_support[0, 3:-3].max()) < -0.01
    lean = np.rad2deg(np.abs(motion["pelvis_tilt"] + motion["lumbar_extension"]))
    assert lean.max() < 35.0


def test_planting_keeps_a_heel_up_that_is_up_from_the_first_frame(
    body: Skeleton, performed: tuple[SplitStyle, Motion]
) -> None:
    """Toes that are bent a little in the first frame are taken for flat feet; those of a split squat are not."""
    q = torch.as_tensor(performed[1].values)[None, ::12]
    planted = plant_feet(body, body.coordinates, q)
    moved = torch.rad2deg((planted - q).abs().amax(dim=(0, 1)))
    legs = [body.index(f"{n}_{s}") for n in ("hip_flexion", "knee_angle", "ankle_angle") for s in "rl"]
    assert float(moved[legs].max()) < 6.0
