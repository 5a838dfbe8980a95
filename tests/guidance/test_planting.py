"""Planted feet stand still on the ground, and only the root's translations change."""

from pathlib import Path

import opensim
import pytest
import torch
from odd_models import changed
from small_models import biped
from small_models import squat as squat_of

from bige_opensim.guidance.planting import SOFT_M, plant_feet
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Skeleton
from tests.recordings import recorded


@pytest.fixture(scope="module")
def squat(shared_data: Path) -> tuple[Skeleton, torch.Tensor]:
    _, skeleton, prepared = recorded(shared_data, "subject6", "squats1", start=3.0, end=4.5)
    return skeleton, prepared.tensor(skeleton, prepared.q).unsqueeze(0)


def test_the_mean_contact_point_stands_still_and_the_lowest_is_on_the_ground(squat) -> None:
    skeleton, q = squat
    planted = plant_feet(skeleton, skeleton.coordinates, q)
    points = skeleton.contact_points(skeleton(planted))[0]
    centre = points[..., [0, 2]].mean(-2)
    assert (centre - centre[0]).abs().max() < 1e-9
    lowest = torch.stack([points[:, :6, 1].amin(-1), points[:, 6:, 1].amin(-1)]).mean(0)
    assert lowest.abs().max() < 4 * SOFT_M


def test_only_the_roots_translations_change(squat) -> None:
    skeleton, q = squat
    planted = plant_feet(skeleton, skeleton.coordinates, q)
    moved = [n for i, n in enumerate(skeleton.coordinates) if not torch.equal(planted[..., i], q[..., i])]
    assert set(moved) == set(skeleton.tables.root["translations"])


def test_planting_does_not_depend_on_where_the_motion_came_from(squat) -> None:
    skeleton, q = squat
    elsewhere = q.clone()
    for k, name in enumerate(skeleton.tables.root["translations"]):
        elsewhere[..., skeleton.index(name)] += 0.3 * (k + 1) * torch.linspace(0.0, 1.0, q.shape[1])
    first, other = (plant_feet(skeleton, skeleton.coordinates, x) for x in (q, elsewhere))
    height = skeleton.index("pelvis_ty")
    assert torch.allclose(first[..., height], other[..., height], atol=1e-9)
    for name in ("pelvis_tx", "pelvis_tz"):
        i = skeleton.index(name)
        shape = [x[..., i] - x[..., :1, i] for x in (first, other)]
        assert torch.allclose(*shape, atol=1e-9)


def test_coordinates_that_the_model_locks_are_put_where_it_holds_them(tmp_path: Path) -> None:
    def lock(model: opensim.Model) -> None:
        for name, value in (("ankle_angle_r", 0.3), ("pelvis_list", 0.0), ("pelvis_tz", 0.05)):
            model.updCoordinateSet().get(name).setDefaultValue(value)
            model.updCoordinateSet().get(name).setDefaultLocked(True)

    free = biped(tmp_path / "biped.osim")
    skeleton = Skeleton(compile_skeleton(changed(free, tmp_path / "locked.osim", lock), cache=False))
    motion = squat_of(free, frames=20)
    channels = motion.names[::-1]
    q = torch.as_tensor(motion.select(channels).values)[None]
    planted = plant_feet(skeleton, channels, q.requires_grad_())
    for name, value in (("ankle_angle_r", 0.3), ("pelvis_list", 0.0), ("pelvis_tz", 0.05)):
        assert (planted[..., channels.index(name)] == value).all()
    assert torch.equal(planted[..., channels.index("knee_angle_r")], q[..., channels.index("knee_angle_r")])
    (gradient,) = torch.autograd.grad(planted.sum(), q)
    assert (gradient[..., channels.index("ankle_angle_r")] == 0.0).all()
