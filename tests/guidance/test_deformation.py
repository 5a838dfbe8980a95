"""Smooth changes on planted feet. Oracles: finite differences, and feet that do not move."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("opensim")

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.guidance.deformation import Deformation, DeformationError, planted_ways, splines
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Skeleton

FRAMES = 25
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    return Skeleton(compile_skeleton(built_in(MODEL)))


def squat(skeleton: Skeleton) -> Tensor:
    """A squat whose feet wander by millimetres, as recorded ones do."""
    phase = torch.linspace(0.0, 1.0, FRAMES, dtype=torch.float64)
    bend = 0.2 + 0.9 * (math.pi * phase).sin() ** 2
    q = skeleton.default.expand(FRAMES, -1).clone()
    for side in "rl":
        q[:, skeleton.index(f"knee_angle_{side}")] = bend
        q[:, skeleton.index(f"hip_flexion_{side}")] = 0.9 * bend
        q[:, skeleton.index(f"ankle_angle_{side}")] = 0.4 * bend
    q[:, skeleton.index("pelvis_tilt")] = -0.3 * bend
    q[:, skeleton.index("lumbar_extension")] = -0.2 * bend
    points = skeleton.contact_points(skeleton(q))
    q[:, skeleton.index("pelvis_ty")] -= points[..., 1].amin(1) - 0.004 * (9 * phase).sin()
    q[:, skeleton.index("pelvis_tx")] -= points[..., 0].mean(1)
    return q


@pytest.fixture(scope="module")
def deformation(skeleton: Skeleton) -> Deformation:
    return Deformation(skeleton, squat(skeleton), 2.0)


def some_change(deformation: Deformation, size: float = 0.3) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    return size * torch.randn(deformation.variables, generator=draw, dtype=torch.float64)


def test_no_change_is_the_recorded_motion_with_feet_that_stand(skeleton: Skeleton, deformation: Deformation) -> None:
    nothing = torch.zeros(deformation.variables, dtype=torch.float64)
    shape = deformation.shape(nothing)
    assert torch.allclose(shape.q, deformation.base, atol=1e-6)
    assert shape.duration == 2.0
    assert deformation.size(nothing, shape).total == pytest.approx(0.0, abs=1e-9)
    ways = planted_ways(skeleton, deformation.base)
    assert float(ways.abs().max()) < 1e-4
    away = (deformation.base - squat(skeleton)).abs()
    assert float(away.max()) < math.radians(6.0)
    assert float(planted_ways(skeleton, squat(skeleton)).abs().max()) > 2e-3


def test_changed_feet_stand_where_they_are_put(skeleton: Skeleton, deformation: Deformation) -> None:
    before = skeleton.contact_points(skeleton(deformation.base))
    x = some_change(deformation)
    x[deformation.placing :] = 0.0
    points = skeleton.contact_points(skeleton(deformation.shape(x).q))
    assert float((points - before).abs().max()) < 1e-4
    x[deformation.placing] = 0.5  # the right foot 2.5 cm forward
    moved = skeleton.contact_points(skeleton(deformation.shape(x).q)) - before
    right = [i for i, n in enumerate(skeleton.contact_names) if n.endswith("_r")]
    expected = torch.zeros_like(moved)
    expected[:, right, 0] = 0.025
    assert float((moved - expected).abs().max()) < 1e-4


def test_joints_stay_within_the_models_range(skeleton: Skeleton, deformation: Deformation) -> None:
    x = some_change(deformation, 1.0)
    q = deformation.shape(x).q[:, deformation.own]
    low, high = skeleton.range[deformation.own].unbind(1)
    assert bool(((q >= low - 1e-9) & (q <= high + 1e-9)).all())


def test_slopes_are_those_of_finite_differences(deformation: Deformation) -> None:
    x, step = some_change(deformation, 0.1), 1e-5
    shape = deformation.shape(x)
    size = deformation.size(x, shape)
    for n in [*range(0, deformation.placing, 17), *range(deformation.placing, deformation.variables)]:
        ahead = x.clone()
        ahead[n] += step
        other = deformation.shape(ahead)
        numeric = (other.q - shape.q) / step
        assert float((numeric - shape.slopes[..., n]).abs().max()) < 0.05 * max(float(numeric.abs().max()), 1e-3)
        of_size = (deformation.size(ahead, other).residuals - size.residuals) / step
        assert float((of_size - size.slopes[:, n]).abs().max()) < 0.05
        stretched = (other.duration - shape.duration) / step
        expected = deformation.duration_slope(shape.duration) if n == deformation.variables - 1 else 0.0
        assert stretched == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_splines_sum_up_to_one_and_none_is_negative() -> None:
    basis = splines(40)
    assert basis.sum(1) == pytest.approx(np.ones(40))
    assert (basis >= 0).all()


def test_a_foot_that_leaves_the_ground_is_refused(skeleton: Skeleton) -> None:
    q = squat(skeleton)
    q[10:15, skeleton.index("knee_angle_r")] += 0.8
    with pytest.raises(
        DeformationError, match=r"the right foot moves up and down by .* cm: only motions on two planted"
    ):
        Deformation(skeleton, q, 2.0)
