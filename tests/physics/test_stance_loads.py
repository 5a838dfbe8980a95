"""What joints carry on two feet: a still body's weight, nothing at the root, the mirror, and derivatives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import biped, squat

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.learning.channels import Mirror
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.physics.stance_loads import (
    HEIGHTS,
    LOADS,
    POINTS,
    STANDING_LOADS,
    StanceLoads,
    standing_loads,
    stands,
)

SAMPLES = 31


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return biped(tmp_path_factory.mktemp("biped") / "biped.osim", muscles=False)


@pytest.fixture(scope="module")
def loads(model: Path) -> StanceLoads:
    skeleton = Skeleton(compile_skeleton(model))
    return StanceLoads(skeleton, skeleton.coordinates, SAMPLES)


@pytest.fixture(scope="module")
def q(model: Path, loads: StanceLoads) -> torch.Tensor:
    motion = squat(model).select(loads.skeleton.coordinates)
    return torch.as_tensor(motion.resampled(np.linspace(motion.time[0], motion.time[-1], SAMPLES)).values)[None]


def ground(found: torch.Tensor, name: str) -> torch.Tensor:
    return found[..., found.shape[-1] - len(LOADS) + LOADS.index(name)]


def test_a_still_body_is_carried_by_its_weight_and_the_root_carries_nothing(
    loads: StanceLoads, q: torch.Tensor
) -> None:
    still = q[:, :1].expand(-1, SAMPLES, -1)
    found = loads(still, torch.ones(1))
    assert torch.allclose(ground(found, "force_y"), torch.ones(1, SAMPLES).double(), atol=1e-9)
    for name in ("force_x", "force_z", "free_moment", "right_share"):
        assert float(ground(found, name).abs().max()) < 1e-9, name
    com = loads.skeleton.com(loads.skeleton(still[0, 0]))
    points = loads.skeleton.contact_points(loads.skeleton(still[0, 0]))
    assert float(ground(found, "point_x")[0, 0]) == pytest.approx(float(com[0] - points[:, 0].mean()), abs=1e-9)
    root = [i for i, n in enumerate(loads.skeleton.coordinates) if n.startswith("pelvis")]
    assert len(root) == 6
    assert float(found[..., root].abs().max()) < 1e-9


def test_the_root_carries_nothing_in_motion_either_and_a_faster_motion_takes_more(
    loads: StanceLoads, q: torch.Tensor
) -> None:
    slow, fast = loads(q, torch.tensor([3.0])), loads(q, torch.tensor([1.0]))
    root = [i for i, n in enumerate(loads.skeleton.coordinates) if n.startswith("pelvis")]
    assert float(fast[..., root].abs().max()) < 1e-9
    up = [ground(x, "force_y") - 1.0 for x in (slow, fast)]
    torch.testing.assert_close(up[1], 9.0 * up[0], atol=1e-9, rtol=1e-6)
    assert float(up[1].abs().max()) > 0.02


def test_a_body_mirrored_carries_mirrored_loads() -> None:
    skeleton = Skeleton(compile_skeleton(built_in(MODEL)))
    names = [n for n in skeleton.coordinates if not n.endswith("_beta")]
    loads, mirror, of_loads = StanceLoads(skeleton, names, 5), Mirror.of(names), Mirror.of_loads(names)
    pose = skeleton.get_buffer("default")[[skeleton.coordinates.index(n) for n in names]].expand(1, 5, -1)
    bent = pose + 0.1 * torch.randn(1, 5, len(names), generator=torch.Generator().manual_seed(0)).double()
    duration = torch.tensor([4.0])
    once = loads(bent, duration)
    torch.testing.assert_close(loads(mirror(bent), duration), of_loads(once), atol=1e-9, rtol=1e-6)
    assert float((of_loads(once) - once).abs().max()) > 0.01


def test_feet_are_told_as_the_skeleton_has_them(loads: StanceLoads, q: torch.Tensor) -> None:
    found, skeleton = loads(q, torch.tensor([2.0])), loads.skeleton
    points = skeleton.contact_points(skeleton(q[0]))
    for side in "rl":
        rows = [skeleton.contact_names.index(f"s{k + 1}_{side}") for k in range(POINTS)]
        for k, row in enumerate(rows):
            torch.testing.assert_close(ground(found, f"height_s{k + 1}_{side}")[0], points[:, row, 1])
        heading = torch.stack([ground(found, f"heading_{axis}_{side}")[0] for axis in "xz"])
        torch.testing.assert_close(heading.norm(dim=0), torch.ones(SAMPLES).double())
        assert float(heading[0].min()) > 0.9
    apart = points[:, [n.endswith("_r") for n in skeleton.contact_names]].mean(1)
    apart = apart - points[:, [n.endswith("_l") for n in skeleton.contact_names]].mean(1)
    for axis, column in (("x", 0), ("z", 2)):
        between = ground(found, f"zmp_{axis}_l")[0] - ground(found, f"zmp_{axis}_r")[0]
        torch.testing.assert_close(between, apart[:, column])


def test_every_second_frame_is_every_second_frame_and_gradients_are_the_slopes(
    loads: StanceLoads, q: torch.Tensor
) -> None:
    duration = torch.tensor([2.0], dtype=torch.float64)
    torch.testing.assert_close(loads(q, duration, 2), loads(q, duration)[:, ::2], atol=1e-12, rtol=0.0)
    direction = 0.1 * torch.randn(q.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = torch.randn(loads(q, duration).shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    moved = q.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad((weight * loads(moved, duration)).sum(), moved)
    step = 1e-5
    ends = [(weight * loads(q + s * step * direction, duration)).sum() for s in (1.0, -1.0)]
    assert float((slope * direction).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_a_body_without_feet_on_the_ground_is_refused(model: Path) -> None:
    skeleton = Skeleton(compile_skeleton(model))
    assert stands(skeleton)
    skeleton.contact_names = ()
    assert not stands(skeleton)
    with pytest.raises(ValueError, match="contact points under both feet"):
        StanceLoads(skeleton, skeleton.coordinates, SAMPLES)


def test_heights_count_from_where_somebody_stands() -> None:
    random = torch.Generator().manual_seed(0)
    loads, heights = torch.randn(3, 5, len(LOADS), generator=random), torch.tensor(HEIGHTS)
    found = standing_loads(loads)
    assert (found[..., heights].amin(-1) == 0).all()
    torch.testing.assert_close(found[..., heights].diff(), loads[..., heights].diff())
    torch.testing.assert_close(found[..., ~heights], loads[..., ~heights])
    sunk = torch.where(heights, loads - 0.03, loads)
    torch.testing.assert_close(standing_loads(sunk), found)
    assert [name.startswith("above_") for name in STANDING_LOADS] == list(HEIGHTS)
