"""Capsules: distances against a minimisation, sizes against measured people, and who may touch whom."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from small_models import biped

from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.capsules import DENSITY, capsules_of, cylinder_radius, segment_distance
from bige_opensim.physics.skeleton import Skeleton

FULL_BODY = Path(__file__).parents[2] / "osim_models/fullbody80.osim"


@pytest.fixture(scope="module")
def person() -> Skeleton:
    return Skeleton(compile_skeleton(FULL_BODY, cache=False))


def pose(skeleton: Skeleton, **degrees: float) -> torch.Tensor:
    q = torch.zeros(len(skeleton.coordinates), dtype=torch.float64)
    for name, value in degrees.items():
        q[skeleton.index(name)] = np.deg2rad(value)
    return q


def by_minimisation(a: np.ndarray, b: np.ndarray) -> float:
    def squared(x: np.ndarray) -> float:
        return float(((a[0] + x[0] * (a[1] - a[0]) - b[0] - x[1] * (b[1] - b[0])) ** 2).sum())

    starts = [(s, t) for s in (0.0, 0.5, 1.0) for t in (0.0, 0.5, 1.0)]
    bounds = [(0.0, 1.0), (0.0, 1.0)]
    return min(minimize(squared, x, bounds=bounds, tol=1e-14).fun for x in starts) ** 0.5


def test_the_distance_of_segments_is_the_least_over_all_of_their_points():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 60, 2, 3))
    b[:10] = a[:10] + random.normal(size=(10, 1, 3))  # parallel
    b[10:20, 1] = b[10:20, 0]  # points
    a[15:20, 1] = a[15:20, 0]
    found = segment_distance(torch.as_tensor(a), torch.as_tensor(b)).numpy()
    assert_allclose(found, [by_minimisation(x, y) for x, y in zip(a, b, strict=True)], atol=2e-6)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([[0, 0, 0], [1, 0, 0]], [[0.5, -1, 0], [0.5, 1, 0]], 0.0),
        ([[0, 0, 0], [1, 0, 0]], [[0.5, -1, 0.25], [0.5, 1, 0.25]], 0.25),
        ([[0, 0, 0], [1, 0, 0]], [[3, 0, 0], [5, 0, 0]], 2.0),
        ([[0, 0, 0], [1, 0, 0]], [[0, 2, 0], [1, 2, 0]], 2.0),
        ([[0, 0, 0], [0, 0, 0]], [[3, 4, 0], [3, 4, 0]], 5.0),
    ],
    ids=["crossing", "crossing above", "in line", "parallel", "points"],
)
def test_the_distance_of_segments_in_closed_form(a, b, expected):
    tensors = (torch.tensor(x, dtype=torch.float64) for x in (a, b))
    assert_allclose(float(segment_distance(*tensors)), expected, atol=1e-9)


def test_a_cylinder_of_that_radius_weighs_what_the_segment_does():
    radius = cylinder_radius(9.3, 0.41)
    assert_allclose(np.pi * radius**2 * 0.41 * DENSITY, 9.3)


def test_segments_are_as_far_around_as_those_of_people(person: Skeleton):
    capsules = capsules_of(person)
    around = {n: 2 * np.pi * float(r) for n, r in zip(capsules.names, capsules.radius, strict=True)}
    expected = {"thigh": (0.45, 0.62), "shank": (0.28, 0.38), "upper arm": (0.25, 0.36), "forearm": (0.20, 0.30)}
    for name, (low, high) in expected.items():
        assert low < around[f"{name}_r"] < high
        assert around[f"{name}_r"] == pytest.approx(around[f"{name}_l"], rel=1e-6)
    assert 0.70 < around["trunk"] < 0.95
    assert 0.50 < around["head"] < 0.62


def test_the_ends_of_a_capsule_are_the_joints(person: Skeleton):
    capsules, poses = capsules_of(person), person(pose(person, knee_angle_r=60, hip_flexion_r=40))
    axes = capsules.axes(poses)
    for name, ends in (("thigh_r", ("femur_r", "tibia_r")), ("shank_r", ("tibia_r", "talus_r"))):
        where = torch.stack([poses.position[person.bodies.index(b)] for b in ends])
        assert_allclose(axes[capsules.names.index(name)], where, atol=0.012)  # the knee's centre moves as it bends


def test_segments_no_more_than_touch_in_standing_squatting_and_with_arms_up(person: Skeleton):
    poses = [
        pose(person),
        pose(person, **{f"{n}_{s}": v for s in "rl" for n, v in SQUAT.items()}),
        pose(person, **{f"arm_flex_{s}": 170.0 for s in "rl"}),
    ]
    assert float(capsules_of(person).overlap(person(torch.stack(poses))).max()) < 0.25


SQUAT = {"hip_flexion": 115.0, "knee_angle": 130.0, "ankle_angle": 35.0, "arm_flex": 90.0}


@pytest.mark.parametrize(
    ("bent", "pair"),
    [
        ({"hip_adduction_r": 20.0, "hip_adduction_l": 20.0}, {"thigh_r", "thigh_l"}),
        ({"arm_flex_r": 30.0, "elbow_flex_r": 130.0, "arm_rot_r": 90.0}, {"forearm_r", "trunk"}),
        ({"hip_flexion_r": 160.0, "hip_adduction_r": 20.0, "lumbar_extension": -80.0}, {"thigh_r", "trunk"}),
    ],
    ids=["legs crossed", "arm in the chest", "thigh in the chest"],
)
def test_segments_that_pass_through_each_other_overlap_by_most_of_their_thickness(person: Skeleton, bent, pair):
    capsules = capsules_of(person)
    overlap = capsules.overlap(person(pose(person, **bent)))
    found = {frozenset(capsules.pair_names(k)): float(x) for k, x in enumerate(overlap)}
    assert found[frozenset(pair)] > 0.5


def test_overlap_grows_as_legs_cross(person: Skeleton):
    capsules = capsules_of(person)
    legs = [k for k in range(len(capsules.pairs)) if set(capsules.pair_names(k)) == {"shank_r", "shank_l"}]
    poses = [pose(person, hip_adduction_r=x, hip_adduction_l=x) for x in (0.0, 2.0, 4.0, 6.0)]
    overlap = capsules.overlap(person(torch.stack(poses)))[:, legs[0]]
    assert all(a < b for a, b in pairwise(overlap.tolist()))


def test_a_model_has_capsules_for_the_bodies_that_it_has(tmp_path: Path):
    legs = capsules_of(Skeleton(compile_skeleton(biped(tmp_path / "biped.osim", muscles=False), cache=False)))
    assert set(legs.names) == {f"{part}_{s}" for part in ("thigh", "shank", "foot") for s in "rl"}
    assert len(legs.pairs) == 9
