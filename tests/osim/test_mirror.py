"""What is sampled of one side is taken for the other where both are alike, and only there."""

from pathlib import Path

import numpy as np
import opensim
import pytest
import torch
from numpy.testing import assert_allclose
from small_models import biped, write

from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_lines import compile_lines
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.osim.mirror import counterparts, find_mirror
from bige_opensim.osim.model import load
from bige_opensim.osim.path_sampler import PathSampler
from bige_opensim.physics.joint_loads import loaded_joints
from bige_opensim.physics.muscle_lines import FittedLines
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.skeleton import Skeleton

POSES = 80


@pytest.fixture(scope="module")
def alike(tmp_path_factory) -> Path:
    return biped(tmp_path_factory.mktemp("alike") / "biped.osim")


@pytest.fixture(scope="module")
def unlike(alike, tmp_path_factory) -> Path:
    """The same biped with one muscle of the left leg two millimetres farther from the bone."""
    model = opensim.Model(str(alike))
    model.initSystem()
    muscle = next(m for m in (model.getMuscles().get(k) for k in range(14)) if m.getName().endswith("_l"))
    path = opensim.GeometryPath.safeDownCast(muscle.updPath())
    point = opensim.PathPoint.safeDownCast(path.updPathPointSet().get(0))
    point.setLocation(opensim.Vec3(*(point.get_location().to_numpy() + np.array([0.002, 0.0, 0.0]))))
    return write(model, tmp_path_factory.mktemp("unlike") / "biped.osim")


def movement(sampler: PathSampler) -> np.ndarray:
    """One leg bends, and the other hardly."""
    rng = np.random.default_rng(3)
    bent = np.array([0.2 if n.endswith("_l") else 1.0 for n in sampler.names])
    return bent * rng.uniform(-0.6, 0.1, (200, len(sampler.names)))


@pytest.fixture
def counted(monkeypatch) -> list[np.ndarray]:
    """The poses in which OpenSim is asked for moment arms."""
    found, asked = [], PathSampler.lengths_and_moment_arms

    def noted(self, q, together=None):
        found.append(q)
        return asked(self, q, together)

    monkeypatch.setattr(PathSampler, "lengths_and_moment_arms", noted)
    return found


def compiled(path: Path) -> tuple[PathSampler, Muscles]:
    sampler = PathSampler(load(path))
    ranges = {n: (-0.7, 0.2) for n in sampler.names}
    tables = compile_muscles(
        path, ranges, movement=movement(sampler), poses=POSES, cache=False, sampler=lambda: sampler
    )
    return sampler, Muscles(tables)


def largest_error(sampler: PathSampler, muscles: Muscles, poses: np.ndarray) -> float:
    expected = np.stack([sampler.moment_arms(q) for q in poses])
    found = muscles.moment_arms(torch.as_tensor(poses)).numpy()
    spanned = np.zeros(expected.shape[1:], dtype=bool)
    for m in range(len(spanned)):
        spanned[m, list(muscles.tables.spans(m))] = True
    return float(np.abs(found - expected)[:, spanned].max())


def test_counterparts_are_named_for_the_other_side():
    assert list(counterparts(["knee_angle_r", "pelvis_tilt", "knee_angle_l", "vas_med_R", "alone_l"])) == [
        2,
        1,
        0,
        3,
        4,
    ]


def test_half_as_many_poses_of_a_symmetric_model_are_sampled_and_both_legs_are_followed_as_far_as_either_bends(
    alike, counted
):
    sampler, muscles = compiled(alike)
    asked = len(counted)
    swapped = movement(sampler)[:40][:, counterparts(sampler.names)]
    assert asked < 24 + 12 + POSES // 2 + 1
    assert len(muscles.tables.sampled) == POSES
    assert largest_error(sampler, muscles, movement(sampler)[:40]) < 1e-3
    assert largest_error(sampler, muscles, swapped) < 1e-3


def test_both_sides_of_a_model_that_differ_are_each_fitted_to_their_own_paths(unlike, counted):
    sampler, muscles = compiled(unlike)
    assert len(counted) >= 24 + POSES
    assert len(muscles.tables.sampled) == POSES
    assert largest_error(sampler, muscles, movement(sampler)[:40]) < 1e-3


def test_a_muscle_of_one_side_alone_has_no_mirror(alike, unlike, tmp_path):
    model = opensim.Model(str(alike))
    model.initSystem()
    model.updForceSet().remove(0)
    lone = write(model, tmp_path / "lone.osim")
    for path, there in ((alike, True), (unlike, False), (lone, False)):
        sampler = PathSampler(load(path))
        spans = [compile_spans(sampler, m) for m in range(len(sampler.muscles))]
        assert (find_mirror(sampler, spans, [[m] for m in range(len(spans))], movement(sampler)) is not None) == there


def compile_spans(sampler: PathSampler, muscle: int) -> tuple[int, ...]:
    arms = np.stack([sampler.moment_arms(q) for q in movement(sampler)[:3]])[:, muscle]
    return tuple(np.flatnonzero((np.abs(arms) > 1e-6).any(axis=0)).tolist())


@pytest.mark.parametrize("which", ["alike", "unlike"])
def test_lines_of_action_of_both_legs_are_those_of_opensims_paths(which, request):
    path = request.getfixturevalue(which)
    sampler, muscles = compiled(path)
    skeleton = Skeleton(compile_skeleton(path, cache=False))
    fitted = FittedLines(
        skeleton, compile_lines(path, skeleton, muscles.tables, poses=POSES, cache=False, sampler=lambda: sampler)
    )
    index = {b: int(sampler.model.model.getBodySet().get(b).getMobilizedBodyIndex()) for b in skeleton.bodies}
    joints = loaded_joints(skeleton)
    for q in movement(sampler)[:3]:
        sampler.set_pose(q)
        found = fitted(torch.as_tensor(q), skeleton(torch.as_tensor(q)))
        assert {joints[int(j)].name for j in found.joint} == {
            f"{n}_{s}" for n in ("hip", "knee", "ankle") for s in "rl"
        }
        for muscle, joint, unit in zip(found.muscle, found.joint, found.unit, strict=True):
            below = [index[b] for b, on in zip(skeleton.bodies, joints[int(joint)].distal, strict=True) if on]
            expected = sampler.forces_on([int(muscle)], below).sum(axis=0)
            assert_allclose(unit.numpy(), expected, atol=2e-3)
