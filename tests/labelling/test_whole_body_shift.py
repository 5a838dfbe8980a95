import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from recordings import recorded, tables_of
from small_models import biped, squat

from bige_opensim.labelling.kinematics import Prepared, prepare
from bige_opensim.labelling.muscle_capacity import root_of
from bige_opensim.labelling.whole_body_shift import ConsistencySettings, Shift, make_consistent, second_difference
from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.physics.contact import ContactSettings, ground_height
from bige_opensim.physics.skeleton import Skeleton

SHIVER_M, SHIVER_HZ = 0.002, 4.0


def consistent(model: OsimModel, skeleton: Skeleton, p: Prepared) -> tuple[Prepared, Shift]:
    ground = ground_height(skeleton.contact_points(skeleton(p.tensor(skeleton, p.q))))
    return make_consistent(skeleton, p, root_of(model, skeleton), ground, ContactSettings(), ConsistencySettings())


def stance(path, seconds: float = 3.0) -> tuple[OsimModel, Skeleton, Prepared]:
    model, skeleton = load(path), Skeleton(tables_of(path))
    return model, skeleton, prepare(model, skeleton, squat(path, frames=int(100 * seconds), rate_hz=100, depth=0.2), 0)


def shivering(p: Prepared, coordinate: str) -> Prepared:
    values = p.q.values.copy()
    values[:, p.q.index(coordinate)] += SHIVER_M * np.sin(2 * np.pi * SHIVER_HZ * p.q.time)
    return p.moved(p.q.with_values(values))


@pytest.mark.parametrize("uneven", [False, True])
def test_second_difference_is_exact_on_quadratics(uneven):
    time = np.linspace(0.5, 2.5, 41)
    if uneven:
        time = np.sort(time + np.random.default_rng(0).uniform(-0.02, 0.02, 41))
    quadratic = 3.0 - 2.0 * time + 4.5 * time**2
    assert_allclose(second_difference(time) @ quadratic, 9.0, rtol=1e-8)
    assert_allclose(second_difference(time) @ (1 + time), 0.0, atol=1e-8)


def test_second_difference_of_a_sine_is_its_second_derivative():
    time = np.linspace(0, 1, 1001)
    inner = (second_difference(time) @ np.sin(2 * np.pi * time))[1:-1]
    assert_allclose(inner, -((2 * np.pi) ** 2) * np.sin(2 * np.pi * time[1:-1]), atol=1e-3)


def check_shiver(model: OsimModel, skeleton: Skeleton, quiet: Prepared) -> None:
    """What the feet cannot push of a shiver is taken out, against the shiver; what they can push may stay."""
    shaken = shivering(quiet, "pelvis_tx")
    after, shift = consistent(model, skeleton, shaken)
    assert shift.residual_before_n > 5
    assert shift.residual_after_n < 0.3 * shift.residual_before_n
    inner = slice(50, -50)
    shiver = (shaken.q["pelvis_tx"] - quiet.q["pelvis_tx"])[inner]
    left = (after.q["pelvis_tx"] - quiet.q["pelvis_tx"])[inner]
    assert left.std() < 0.9 * shiver.std()
    assert np.corrcoef(shift.shift[inner, 0], shiver)[0, 1] < -0.8
    assert np.abs(shift.shift[:, [1, 2]]).max() < 0.2 * np.abs(shift.shift[:, 0]).max()
    assert_allclose(shift.shift[:, 0], after.q["pelvis_tx"] - shaken.q["pelvis_tx"], atol=1e-12)


def test_a_shiver_that_feet_cannot_push_is_taken_out(tmp_path):
    check_shiver(*stance(biped(tmp_path / "biped.osim")))


def test_a_sideways_shiver_that_a_wide_stance_can_push_is_left_alone(tmp_path):
    model, skeleton, quiet = stance(biped(tmp_path / "biped.osim"))
    _, shift = consistent(model, skeleton, shivering(quiet, "pelvis_tz"))
    assert shift.residual_before_n < 2
    assert shift.peak_mm < 0.2


def test_a_motion_that_needs_nothing_is_left_alone(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    p = prepare(model, skeleton, squat(path, frames=200, rate_hz=100), 0.0)
    after, shift = consistent(model, skeleton, p)
    assert shift.peak_mm < 0.2
    assert_allclose(after.q.values, p.q.values, atol=2e-4)


def test_only_the_roots_translations_move_and_derivatives_follow(tmp_path):
    model, skeleton, quiet = stance(biped(tmp_path / "biped.osim"))
    shaken = shivering(quiet, "pelvis_tx")
    after, shift = consistent(model, skeleton, shaken)
    moved = {n for n in shaken.q.names if np.abs(after.q[n] - shaken.q[n]).max() > 1e-12}
    assert "pelvis_tx" in moved
    assert moved <= {"pelvis_tx", "pelvis_ty", "pelvis_tz"}
    assert_allclose(after.qd.values, after.q.derivatives()[0].values)
    assert_allclose(after.qdd.values, after.qd.derivatives()[0].values)
    assert shift.rms_mm == pytest.approx(1e3 * np.sqrt((shift.shift**2).sum(1).mean()))
    assert shift.peak_mm >= shift.rms_mm


def test_frames_that_something_else_carries_are_left_alone(tmp_path):
    """A person who hangs in the air for the whole trial but its end is not shifted by what the ground cannot give."""
    model, skeleton, quiet = stance(biped(tmp_path / "biped.osim"))
    values = quiet.q.values.copy()
    height = 0.25 * (1 - np.tanh((quiet.q.time - 2.0) / 0.2))
    values[:, quiet.q.index("pelvis_ty")] += height
    lifted = quiet.moved(quiet.q.with_values(values))
    ground = float(skeleton.contact_points(skeleton(torch.as_tensor(quiet.q.values)))[..., 1].min())
    root = root_of(model, skeleton)
    _, shift = make_consistent(skeleton, lifted, root, ground, ContactSettings(), ConsistencySettings())
    assert np.abs(shift.shift[:80]).max() < 2e-3


def test_a_shiver_in_a_real_stance_is_taken_out(shared_data):
    model, skeleton, p = recorded(shared_data, "subject6", "squats1", start=0.0, end=2.0)
    pose = np.tile(p.q.values[10], (300, 1))
    check_shiver(model, skeleton, Prepared.of(Motion(np.arange(300) / 100, pose, p.q.names), (0.0, ""), ()))
