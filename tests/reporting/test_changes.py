import math
from types import SimpleNamespace

import numpy as np

from bige_opensim.motion import Motion
from bige_opensim.reporting.changes import changes, sentences

NAMES = ("pelvis_tilt", "pelvis_ty", "knee_angle_r", "hip_flexion_l")
SKELETON = SimpleNamespace(coordinates=NAMES, tables=SimpleNamespace(rotational=(True, False, True, True)))
TIME = np.linspace(0.0, 2.0, 101)
LOWEST = np.cos(math.pi * (TIME - 1.0) / 2) ** 2


def motion(**added: np.ndarray) -> Motion:
    values = np.column_stack([added.get(n, 0.0 * TIME) for n in NAMES])
    values[:, 1] += 0.9 - 0.4 * LOWEST
    return Motion(TIME, values, NAMES)


def test_a_change_at_the_lowest_point_is_told_there_in_degrees_and_centimetres():
    bump = np.where(np.abs(TIME - 1.0) < 0.2, 1.0, 0.0)
    after = motion(knee_angle_r=np.deg2rad(8.0) * bump, pelvis_ty=-0.05 * bump, pelvis_tilt=-np.deg2rad(4.0) * bump)
    found = changes(SKELETON, motion(), after)
    told = {c.coordinate: c for c in found if c.phase == "at the lowest point"}
    assert abs(told["knee_angle_r"].largest - 8.0) < 0.5
    assert abs(told["pelvis_ty"].largest + 5.0) < 0.5
    words = sentences(found, motion(), after)
    assert len(words) == 1
    assert words[0].startswith("At the lowest point: ")
    for part in ("the pelvis", "lower", "knee flexion, right", "more", "tilted", "forward"):
        assert part in words[0]
    assert "hip flexion" not in words[0]


def test_no_change_is_said_to_be_none():
    found = changes(SKELETON, motion(), motion())
    assert all(c.mean == 0.0 for c in found)
    assert sentences(found, motion(), motion()) == ["No joint changes by 2 degrees, and no place by a centimetre."]


def test_another_duration_is_compared_at_the_same_share_of_the_cycle():
    slow = motion()
    slow = Motion(1.5 * slow.time, slow.values, slow.names)
    found = changes(SKELETON, motion(), slow)
    assert max(abs(c.largest) for c in found) < 1e-9
    assert sentences(found, motion(), slow) == ["50\N{NO-BREAK SPACE}% slower: 3.00 instead of 2.00 s."]
