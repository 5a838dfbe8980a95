"""BVH files: the forward kinematics of what is written are those of the model."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from recordings import MODELS, motion_path
from scipy.spatial.transform import Rotation
from small_models import knee_with_patella

import bige_opensim as bige
from bige_opensim.exporting.animation import SLIDING_M, joint_centre
from bige_opensim.exporting.selection import Person, poses_of
from bige_opensim.io.bvh import zxy_angles
from bige_opensim.io.storage import write_coordinates
from bige_opensim.labelling.label import Label
from bige_opensim.motion import Motion
from bige_opensim.workflows.export import Export

CM = 100.0


class Joint:
    """What a reader of BVH keeps of one joint."""

    def __init__(self, name: str, parent: "Joint | None") -> None:
        self.name, self.parent = name, parent
        self.offset = np.zeros(3)
        self.channels: list[str] = []


def read_bvh(path: Path) -> tuple[list[Joint], np.ndarray, float]:
    """Joints in the order of the file, numbers (T, channels), and seconds a frame, read by the format's words."""
    hierarchy, motion = path.read_text(encoding="utf-8").split("MOTION\n")
    joints: list[Joint] = []
    open_joints: list[Joint | None] = []
    for line in hierarchy.splitlines()[1:]:
        words = line.split()
        if words[0] in ("ROOT", "JOINT"):
            above = [j for j in open_joints if j is not None]
            joints.append(Joint(words[1], above[-1] if above else None))
            open_joints.append(joints[-1])
        elif words[0] == "End":
            open_joints.append(None)
        elif words[0] == "OFFSET" and open_joints[-1] is not None:
            open_joints[-1].offset = np.array(words[1:], dtype=float)
        elif words[0] == "CHANNELS" and open_joints[-1] is not None:
            open_joints[-1].channels = words[2:]
            assert len(words[2:]) == int(words[1])
        elif words[0] == "}":
            open_joints.pop()
    assert not open_joints
    frames, step, rows = motion.split("\n", 2)
    table = np.array([row.split() for row in rows.splitlines()], dtype=float)
    assert len(table) == int(frames.removeprefix("Frames:"))
    assert table.shape[1] == sum(len(j.channels) for j in joints)
    return joints, table, float(step.removeprefix("Frame Time:"))


def forward(joints: list[Joint], table: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rotation (T, 3, 3) and place (T, 3) in cm of every joint: moved by offset and channels, turned in their order."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    at = 0
    for joint in joints:
        turn = np.broadcast_to(np.eye(3), (len(table), 3, 3))
        place = np.broadcast_to(joint.offset, (len(table), 3)).copy()
        for channel in joint.channels:
            value, axis = table[:, at], np.eye(3)["XYZ".index(channel[0])]
            if channel.endswith("position"):
                place += value[:, None] * axis
            else:
                turn = turn @ Rotation.from_rotvec(np.deg2rad(value)[:, None] * axis).as_matrix()
            at += 1
        if joint.parent is not None:
            above, where = found[joint.parent.name]
            turn, place = above @ turn, where + np.einsum("tij,tj->ti", above, place)
        found[joint.name] = turn, place
    return found


def check(model: Path, motion: Motion, done: Export) -> None:
    skeleton = Person.of(model).skeleton
    joints, table, step = read_bvh(next(done.folder.glob("*.bvh")))
    assert step == pytest.approx(1.0 / round(motion.rate_hz, 2), rel=1e-6)
    found = forward(joints, table)
    poses = poses_of(skeleton, motion.select(skeleton.coordinates).values)
    slides = re.search(r"slides by up to ([\d.]+) mm", " ".join(done.notes))
    tolerance_cm = 2e-3 + (float(slides[1]) / 10 if slides else 0.0)
    above = {j.name: j.parent.name for j in joints if j.parent is not None}
    for name, (turn, place) in found.items():
        b = skeleton.bodies.index(name)
        assert_allclose(turn, poses.rotation[:, b].numpy(), atol=1e-5)
        chain = [name]
        while chain[-1] in above:
            chain.append(above[chain[-1]])
        centre = np.einsum("tji,tj->ti", turn, place - CM * poses.position[:, b].numpy())
        drift = np.linalg.norm(centre - centre.mean(0), axis=1).max()
        assert drift <= tolerance_cm * len(chain), f"{name} is a point of its body, but for what slides above it"


def test_a_reader_finds_the_bodies_of_a_squat_turned_and_placed_as_the_model_has_them(
    label: Label, small_model: Path, tmp_path: Path
):
    done = bige.export(label, "bvh", tmp_path / "bvh")
    window = label.channels.coordinates.between(label.activations.index[0], label.activations.index[-1])
    assert not done.notes, "joints that are pins do not slide"
    check(small_model, window, done)


def knee_motion(model: Path) -> Motion:
    time = np.arange(60) / 60.0
    knee = 1.0 - np.cos(2 * np.pi * time)
    skeleton = Person.of(model).skeleton
    return Motion(time, np.column_stack([0.3 * np.sin(knee), 0.1 * knee, 0.9 - 0.1 * knee, knee]), skeleton.coordinates)


def test_a_knee_that_slides_is_placed_within_what_the_note_says(tmp_path: Path):
    model = knee_with_patella(tmp_path / "knee.osim")
    motion = knee_motion(model)
    write_coordinates(tmp_path / "knee.mot", motion, rotational={"tilt", "knee_angle"})
    done = bige.export(tmp_path / "knee.mot", "bvh", tmp_path / "bvh", model=model)
    assert "slides by up to" in done.notes[0]
    check(model, motion, done)


def test_a_recorded_squat_is_within_what_the_note_says(shared_data: Path, tmp_path: Path):
    model = shared_data / MODELS["subject2"]
    path = motion_path(shared_data, "subject2", "squats1")
    done = bige.export(path, "bvh", tmp_path / "bvh", model=model)
    check(model, bige.read_motion(path, model=model), done)
    assert all(float(mm) < 1000 * SLIDING_M for note in done.notes for mm in re.findall(r"([\d.]+) mm", note))


def test_the_centre_of_a_ball_joint_is_found_where_it_is():
    rotation = Rotation.random(50, rng=np.random.default_rng(0)).as_matrix()
    centre, socket = np.array([0.02, -0.3, 0.01]), np.array([0.1, 0.9, -0.2])
    found = joint_centre(rotation, socket - rotation @ centre)
    assert_allclose(found[0], centre, atol=1e-3)
    assert_allclose(found[1], socket, atol=1e-3)
    assert found[2] < 1e-3


def test_angles_give_back_the_rotation_also_where_two_axes_meet():
    angles = np.array([[0.3, 0.2, -0.5], [-2.5, 1.2, 3.0], [0.7, np.pi / 2, 0.4], [0.7, -np.pi / 2, 0.4]])
    turns = Rotation.from_euler("ZXY", angles).as_matrix()
    again = Rotation.from_euler("ZXY", zxy_angles(turns)).as_matrix()
    assert_allclose(again, turns, atol=1e-7)


def test_a_model_with_several_bodies_on_the_ground_has_the_ground_as_its_root(tmp_path: Path):
    import opensim
    from small_models import body, name_coordinates, write

    model = opensim.Model()
    for name in ("left", "right"):
        rod = body(model, name)
        pin = opensim.PinJoint(f"pin_{name}", model.getGround(), rod)
        name_coordinates(pin, [f"swing_{name}"])
        model.addJoint(pin)
    path = write(model, tmp_path / "two.osim")
    time = np.arange(20) / 20.0
    motion = Motion(time, np.column_stack([np.sin(time), np.cos(time)]), ("swing_left", "swing_right"))
    write_coordinates(tmp_path / "two.mot", motion, rotational={"swing_left", "swing_right"})
    done = bige.export(tmp_path / "two.mot", "bvh", tmp_path / "bvh", model=path)
    joints, table, _ = read_bvh(done.folder / "two.bvh")
    assert [(j.name, j.parent.name if j.parent else None) for j in joints] == [
        ("ground", None),
        ("left", "ground"),
        ("right", "ground"),
    ]
    turn = forward(joints, table)["left"][0]
    assert_allclose(np.arctan2(turn[:, 1, 0], turn[:, 0, 0]), np.sin(time), atol=1e-6)
