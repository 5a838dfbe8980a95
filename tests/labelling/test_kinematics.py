from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from recordings import MODELS, recorded, tables_of
from scipy.spatial.transform import Rotation
from small_models import biped, every_joint, squat

from bige_opensim.labelling.kinematics import prepare
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import load
from bige_opensim.physics.rotations import continuous_rotations, fastest_rotation, rotation_triples
from bige_opensim.physics.skeleton import Skeleton

NAMES = ("tilt", "list", "rotation")


def smooth_angles(frames: int = 50) -> np.ndarray:
    t = np.linspace(0, 1, frames)
    return np.column_stack([0.3 * np.sin(3 * t), 1.2 + 0.6 * np.sin(5 * t), 0.8 * np.cos(4 * t) - 2.9])


def orientations(angles: np.ndarray) -> np.ndarray:
    return Rotation.from_euler("ZXY", angles).as_matrix()


def moving(angles: np.ndarray) -> Motion:
    return Motion(np.arange(len(angles)) / 100, angles, NAMES)


def test_a_hop_to_the_equivalent_triple_is_undone():
    smooth = smooth_angles()
    hopped = smooth.copy()
    hopped[20:35] = np.column_stack([hopped[20:35, 0] + np.pi, np.pi - hopped[20:35, 1], hopped[20:35, 2] + np.pi])
    assert_allclose(orientations(hopped), orientations(smooth), atol=1e-12)
    fixed, notes = continuous_rotations(moving(hopped), [NAMES])
    assert_allclose(fixed.values, smooth, atol=1e-12)
    assert "tilt" in notes[0]


def test_full_turns_are_taken_out():
    smooth = smooth_angles()
    wrapped = (smooth + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(np.diff(wrapped, axis=0)).max() > 3
    fixed, notes = continuous_rotations(moving(wrapped), [NAMES])
    assert np.abs(np.diff(fixed.values, axis=0)).max() < 0.2
    assert_allclose(orientations(fixed.values), orientations(smooth), atol=1e-12)
    assert_allclose(fixed.values[0], wrapped[0])
    assert len(notes) == 1


def test_orientation_is_never_changed_even_by_noise():
    angles = np.random.default_rng(0).uniform(-7, 7, (200, 3))
    fixed, _ = continuous_rotations(moving(angles), [NAMES])
    assert_allclose(orientations(fixed.values), orientations(angles), atol=1e-9)


def test_a_continuous_motion_is_left_alone_without_a_note():
    motion = moving(smooth_angles())
    fixed, notes = continuous_rotations(motion, [NAMES])
    assert fixed is motion
    assert notes == ()


def test_triples_are_the_ball_like_joints_of_a_model(shared_data):
    triples = rotation_triples(tables_of(shared_data / MODELS["subject6"]))
    assert ("pelvis_tilt", "pelvis_list", "pelvis_rotation") in triples
    assert ("hip_flexion_r", "hip_adduction_r", "hip_rotation_r") in triples
    assert ("arm_flex_l", "arm_add_l", "arm_rot_l") in triples
    assert not any("knee" in n or "ankle" in n for t in triples for n in t)


@pytest.mark.parametrize("kind", ["Gimbal", "Ball", "Free", "Custom"])
def test_equivalent_triples_of_a_joint_are_the_same_pose(tmp_path, kind):
    tables = compile_skeleton(every_joint(tmp_path / "model.osim", kind), cache=False)
    (triple,) = rotation_triples(tables)
    skeleton = Skeleton(tables)
    q = np.random.default_rng(0).uniform(-1, 1, (1, len(tables.coordinates)))
    q = np.repeat(q, 2, axis=0)
    a, b, c = (tables.coordinates.index(n) for n in triple)
    sign = np.sign(tables.affine[[list(tables.coordinate).index(i) for i in (a, b, c)], 0])
    s = q[1, [a, b, c]] * sign
    q[1, [a, b, c]] = sign * np.array([s[0] + np.pi, np.pi - s[1], s[2] + np.pi])
    poses = skeleton(skeleton.mass.new_tensor(q))
    assert_allclose(poses.rotation[0], poses.rotation[1], atol=1e-9)


@pytest.mark.parametrize("kind", ["Pin", "Slider", "Universal", "Planar"])
def test_joints_of_fewer_rotations_have_no_triples(tmp_path, kind):
    assert rotation_triples(compile_skeleton(every_joint(tmp_path / "m.osim", kind), cache=False)) == []


def test_the_fastest_rotation_is_found_in_its_body_and_frame(tmp_path):
    path = biped(tmp_path / "biped.osim")
    skeleton = Skeleton(tables_of(path))
    still = squat(path, frames=20, rate_hz=50, depth=0.2)
    assert fastest_rotation(skeleton, still, skeleton.bodies)[0] < 1e-5
    values = still.values.copy()
    values[7:, skeleton.index("ankle_angle_l")] += 1.1
    speed, body = fastest_rotation(skeleton, still.with_values(values), skeleton.bodies)
    assert body in ("calcn_l", "toes_l")
    assert speed == pytest.approx(1.1 * 50, rel=1e-6)
    elsewhere, _ = fastest_rotation(skeleton, still.with_values(values), {"pelvis", "femur_r"})
    assert elsewhere < 1e-5


def test_a_hop_between_descriptions_is_no_fast_rotation(tmp_path):
    path = biped(tmp_path / "biped.osim")
    skeleton, still = Skeleton(tables_of(path)), squat(path, frames=20, rate_hz=50, depth=0.2)
    values = still.values.copy()
    at = [skeleton.index(n) for n in ("pelvis_tilt", "pelvis_list", "pelvis_rotation")]
    values[9:, at] = np.pi - np.array([0.0, 1.0, 0.0]) * values[9:, at]
    assert fastest_rotation(skeleton, still.with_values(values), skeleton.bodies)[0] < 1e-4


def test_missing_coordinates_take_the_models_default_with_a_note(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    whole = squat(path)
    p = prepare(model, skeleton, whole.select([n for n in whole.names if n != "pelvis_list"]), 6.0)
    assert_allclose(p.q["pelvis_list"], 0.0)
    assert p.notes == ("coordinates not in the file keep the model's default: pelvis_list",)


def test_coupled_coordinates_missing_from_the_file_follow_their_driver(shared_data):
    model, _, p = recorded(shared_data, "phone01", "squats-with-arm-raise")
    assert {"knee_angle_r_beta", "knee_angle_l_beta"} <= set(p.q.names)
    assert_allclose(p.q["knee_angle_r_beta"], model.coupled_values("knee_angle_r_beta", p.q["knee_angle_r"]))
    assert p.notes == ()


def test_the_low_pass_comes_before_the_derivatives_and_frames_are_cut_after_both(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    motion = squat(path, frames=120)
    whole = prepare(model, skeleton, motion, 6.0)
    part = whole.between(0.5, 1.0)
    inside = (motion.time >= 0.5 - 1e-9) & (motion.time <= 1.0 + 1e-9)
    assert_allclose(whole.q.select(motion.names).values, motion.lowpass(6.0).values)
    assert_allclose(whole.qd.values, whole.q.derivatives()[0].values)
    assert_allclose(whole.qdd.values, whole.qd.derivatives()[0].values)
    assert_allclose(part.qdd.values, whole.qdd.values[inside])


def test_frames_taken_out_of_a_motion_have_bodies_of_their_own(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(compile_skeleton(path, cache=False))
    whole = prepare(model, skeleton, squat(path, frames=40), 0.0)
    positions = whole.state(skeleton).poses.position
    some = replace(whole, **{name: getattr(whole, name).between(0.2, 0.4) for name in ("q", "qd", "qdd")})
    frames = slice(12, 12 + some.q.frames)
    assert_allclose(some.state(skeleton).poses.position, positions[frames], atol=1e-12)
