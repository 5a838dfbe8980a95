"""Sets of motions from folders and datasets: certificates, branches of angles, bodies."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from squat_repetitions import repetitions

from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation import controls
from bige_opensim.validation.evaluation import per_motion_values
from bige_opensim.validation.motion_set import (
    Frame,
    MotionSet,
    MotionSetError,
    anatomy,
    generated,
    recordings,
)


@pytest.fixture(scope="session")
def frame(model: Path) -> Frame:
    return Frame.of(repetitions(model, each=1))


@pytest.fixture(scope="session")
def training(model: Path, tmp_path_factory: pytest.TempPathFactory) -> MotionSet:
    path = tmp_path_factory.mktemp("reps") / "reps.nc"
    path.write_bytes(b"")
    body = anatomy(model)
    return recordings(repetitions(model, each=2), "training", lambda split: split == "train", lambda sha: body, path)


def test_certificates_say_which_motions_are_confirmed(finished: Path, frame: Frame, tmp_path: Path):
    folder = tmp_path / "motions"
    shutil.copytree(finished, folder)
    found = generated(folder, "x", frame)
    assert found.confirmed == (True, True)
    assert per_motion_values(found)["confirmed"].mean() == 1.0
    assert np.isfinite(found.vastus_medialis).all()
    (folder / "motion_01" / "certificate.json").unlink()
    shutil.copyfile(folder / "motion_01.mot", folder / "motion_02.mot")
    changed = generated(folder, "x", frame)
    assert changed.confirmed == (None, False)


def test_motions_that_nobody_validated_are_neither_confirmed_nor_refuted(finished: Path, frame: Frame, tmp_path: Path):
    for name in ("motion_01.mot", "motion_02.mot", "model.osim"):
        shutil.copyfile(finished / name, tmp_path / name)
    found = generated(tmp_path, "x", frame)
    assert found.confirmed == (None, None)
    assert np.isnan(found.vastus_medialis).all()
    assert np.isnan(per_motion_values(found)["confirmed"]).all()


def test_a_folder_of_another_skeleton_is_refused(finished: Path, frame: Frame):
    other = Frame((*frame.coordinates, "elbow_flex_r"), (*frame.rotational, True), frame.root)
    with pytest.raises(MotionSetError, match="another skeleton than the reference's; it lacks elbow_flex_r"):
        generated(finished, "x", other)


def test_contact_points_and_joints_are_those_of_the_skeleton(training: MotionSet, skeleton: Skeleton):
    places = training.places
    assert places is not None
    poses = skeleton(skeleton.mass.new_tensor(training.q[3]))
    assert places.contact[3] == pytest.approx(skeleton.contact_points(poses).numpy())
    assert places.joints[3] == pytest.approx(poses.position.numpy())
    assert places.com[3] == pytest.approx(skeleton.com(poses).numpy())


def test_noise_has_the_moments_of_the_training_set_at_every_sample(training: MotionSet):
    found = controls.noise(training, 4000, seed=0)
    spread = training.q.std(axis=0)
    assert found.q.mean(axis=0) == pytest.approx(training.q.mean(axis=0), abs=0.08 * spread.max())
    assert found.q.std(axis=0) == pytest.approx(spread, abs=0.08 * spread.max())
    assert set(found.duration) <= set(training.duration)


def test_shuffled_motions_have_the_postures_of_training_motions_in_another_order(training: MotionSet):
    found = controls.shuffled(training, 10, seed=0)
    originals = [np.sort(q, axis=0) for q in training.q]
    for motion in found.q:
        assert any(np.array_equal(np.sort(motion, axis=0), one) for one in originals)
        assert not any(np.array_equal(motion, one) for one in training.q)


def test_controls_of_one_seed_are_the_same_and_of_another_are_not(training: MotionSet):
    for make in (controls.noise, controls.shuffled):
        assert np.array_equal(make(training, 5, 1).q, make(training, 5, 1).q)
        assert not np.array_equal(make(training, 5, 1).q, make(training, 5, 2).q)
