"""Taking out heading and place moves the body rigidly and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from bige_opensim.motion import Motion
from bige_opensim.movements.heading import Root, RootError, heading, without_heading

NAMES = ("pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx", "pelvis_ty", "pelvis_tz", "knee_angle_r")
AXES = {"X": [1.0, 0.0, 0.0], "Y": [0.0, 1.0, 0.0], "Z": [0.0, 0.0, 1.0]}


def label_root(sequence: str = "ZXY", signs: tuple[int, int, int] = (1, 1, 1)) -> dict[str, list]:
    axes = [[s * v for v in AXES[a]] for a, s in zip(sequence, signs, strict=True)]
    return {"rotations": list(NAMES[:3]), "axes": axes, "translations": list(NAMES[3:6])}


def moving(seed: int, frames: int = 101, names: tuple[str, ...] = NAMES) -> Motion:
    rng = np.random.default_rng(seed)
    phase = np.linspace(0.0, 2 * np.pi, frames)[:, None]
    size = np.where([n.endswith(("tx", "ty", "tz")) for n in names], 0.5, 0.35)
    values = rng.uniform(-0.6, 0.6, len(names)) + size * np.sin(phase + rng.uniform(0, 6, len(names)))
    return Motion(np.linspace(3.0, 5.0, frames), values, names)


@pytest.mark.parametrize("sequence", ["ZXY", "YXZ", "XZY", "YZX"])
@pytest.mark.parametrize("signs", [(1, 1, 1), (1, -1, 1), (-1, 1, -1)])
def test_orientations_and_positions_turn_together_about_the_vertical(sequence: str, signs: tuple[int, int, int]):
    motion, root = moving(1), Root.from_label(label_root(sequence, signs))
    moved = without_heading(motion, root, ground_height_m=0.07)
    before, after = root.orientation(motion), root.orientation(moved)
    turn = Rotation.from_rotvec([0.0, -heading(before[0]), 0.0])
    assert np.abs(after.as_matrix() - (turn * before).as_matrix()).max() < 1e-12
    p = motion.select(root.translations).values
    assert np.abs(moved.select(root.translations).values - turn.apply(p - [p[0, 0], 0.07, p[0, 2]])).max() < 1e-12
    assert np.array_equal(moved["knee_angle_r"], motion["knee_angle_r"])


def test_the_body_faces_forward_above_the_origin_at_the_first_sample():
    root = Root.from_label(label_root())
    moved = without_heading(moving(2), root)
    assert heading(root.orientation(moved)[0]) == pytest.approx(0.0, abs=1e-12)
    assert (moved["pelvis_tx"][0], moved["pelvis_tz"][0]) == pytest.approx((0.0, 0.0), abs=1e-12)


def test_the_height_above_the_ground_stays():
    motion = moving(3)
    moved = without_heading(motion, Root.from_label(label_root()), ground_height_m=-0.02)
    assert moved["pelvis_ty"] == pytest.approx(motion["pelvis_ty"] + 0.02, abs=1e-12)


def test_it_is_its_own_fixed_point_and_forgets_where_the_motion_was():
    motion, root = moving(4), Root.from_label(label_root())
    once = without_heading(motion, root)
    elsewhere = root.orientation(motion)
    turn = Rotation.from_rotvec([0.0, 2.3, 0.0])
    values = motion.values.copy()
    values[:, :3] = root.angles(turn * elsewhere)
    values[:, 3:6] = turn.apply(values[:, 3:6]) + np.array([4.0, 0.0, -7.0])
    assert without_heading(once, root).values == pytest.approx(once.values, abs=1e-12)
    assert without_heading(motion.with_values(values), root).values == pytest.approx(once.values, abs=1e-12)


def test_turning_on_the_spot_more_than_once_stays_continuous():
    motion, root = moving(5), Root.from_label(label_root())
    values = motion.values.copy()
    values[:, :2] = 0.1
    values[:, 2] = np.linspace(2.5, 2.5 + 9.0, motion.frames)
    moved = without_heading(motion.with_values(values), root)
    assert np.abs(np.diff(moved["pelvis_rotation"])).max() < 0.2
    assert moved["pelvis_rotation"][-1] - moved["pelvis_rotation"][0] == pytest.approx(9.0, abs=0.1)


def test_forward_along_x_is_heading_zero_and_left_is_positive():
    assert heading(Rotation.identity()) == 0.0
    left = Rotation.from_rotvec([0.0, np.pi / 2, 0.0])
    assert left.apply([1.0, 0.0, 0.0]) == pytest.approx([0.0, 0.0, -1.0])
    assert heading(left) == pytest.approx(np.pi / 2)


@pytest.mark.parametrize(
    "axes",
    [[[0.0, 0.0, 1.0], [0.6, 0.8, 0.0], [0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]],
    ids=["oblique", "the same twice"],
)
def test_a_root_that_does_not_turn_about_x_y_and_z_is_refused(axes: list[list[float]]):
    with pytest.raises(RootError, match=r"three coordinate axes.*were expected"):
        Root.from_label(label_root() | {"axes": axes})


def test_a_root_that_cannot_move_freely_is_refused():
    with pytest.raises(RootError, match="three of each are needed"):
        Root.from_label({"rotations": ["a"], "axes": [[0.0, 0.0, 1.0]], "translations": ["x", "y", "z"]})


@pytest.mark.parametrize(
    "model",
    ["models/LaiUhlrich2022.osim", "models/Rajagopal2015_ViconPlugInGait.osim", "data/rajagopal_dls/final.osim"],
    ids=["LaiUhlrich", "Rajagopal", "Rajagopal scaled"],
)
def test_every_body_of_a_real_model_moves_rigidly(shared_data: Path, model: str):
    pytest.importorskip("opensim")
    from bige_opensim.osim.compile import compile_skeleton
    from bige_opensim.physics.skeleton import Skeleton

    tables = compile_skeleton(shared_data / model)
    skeleton = Skeleton(tables)
    root = Root.from_label(json.loads(json.dumps(tables.root)))
    motion = moving(6, frames=25, names=skeleton.coordinates)
    moved = without_heading(motion, root, ground_height_m=0.03)
    before, after = (skeleton(torch.as_tensor(m.values)) for m in (motion, moved))
    turn = torch.as_tensor(Rotation.from_rotvec([0.0, -heading(root.orientation(motion)[0]), 0.0]).as_matrix())
    p0 = torch.as_tensor([motion["pelvis_tx"][0], 0.03, motion["pelvis_tz"][0]])
    expected = (before.position - p0) @ turn.T
    assert (after.position - expected).abs().max() < 1e-9
    assert (after.rotation - turn @ before.rotation).abs().max() < 1e-9
