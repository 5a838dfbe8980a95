"""Inverse dynamics with the frames last is inverse dynamics: values, slopes, and what does not float."""

from collections.abc import Callable
from pathlib import Path

import opensim
import pytest
import torch
from small_models import biped, body, every_joint, knee_with_patella, write

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.dynamics import body_wrenches, inverse_dynamics, kinematics
from bige_opensim.physics.frames_last import FramesLast
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.physics.stance_loads import StanceLoads

MODELS: dict[str, Callable[[Path], Path]] = {
    "package": lambda folder: built_in(MODEL),
    "biped": lambda folder: biped(folder / "biped.osim", muscles=False),
    "knee": lambda folder: knee_with_patella(folder / "knee.osim"),
    "custom joint": lambda folder: every_joint(folder / "custom.osim", "Custom"),
    "universal joint": lambda folder: every_joint(folder / "universal.osim", "Universal"),
}


def states(skeleton: Skeleton, frames: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    q, qd, qdd = (
        torch.randn(frames, len(skeleton.coordinates), generator=random, dtype=torch.float64) for _ in range(3)
    )
    return 0.4 * q, 2.0 * qd, 20.0 * qdd


@pytest.mark.parametrize("name", MODELS)
def test_values_and_slopes_are_those_of_inverse_dynamics(name: str, tmp_path: Path) -> None:
    skeleton = Skeleton(compile_skeleton(MODELS[name](tmp_path)))
    swift = FramesLast(skeleton)
    state = [x.requires_grad_(True) for x in states(skeleton, 5)]
    found = swift(*(x.T for x in state))
    told = kinematics(skeleton, *state)
    for mine, theirs in zip((found.force, found.moment), body_wrenches(skeleton, told), strict=True):
        torch.testing.assert_close(mine.permute(2, 0, 1), theirs, atol=1e-8, rtol=1e-9)
    tau, expected = swift.generalized(found, found.force, found.moment).T, inverse_dynamics(skeleton, told)
    assert float(expected.detach().abs().amax(1).min()) > 1.0
    torch.testing.assert_close(tau, expected, atol=1e-8, rtol=1e-9)
    weight = torch.randn(tau.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    slopes, wanted = (torch.autograd.grad((weight * x).sum(), state, retain_graph=True) for x in (tau, expected))
    for mine, theirs in zip(slopes, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-7, rtol=1e-8)


def test_single_precision_is_off_by_less_than_a_thousandth_of_body_weight() -> None:
    tables = compile_skeleton(built_in(MODEL))
    pose = torch.as_tensor(tables.default).expand(1, 101, -1)
    wave = torch.sin(torch.linspace(0.0, 9.0, 101).double())[:, None] * torch.linspace(-0.2, 0.3, pose.shape[-1])
    double, single = (
        StanceLoads(Skeleton(tables, dtype=dtype), tables.coordinates)(pose + wave, torch.tensor([2.0])).double()
        for dtype in (torch.float64, torch.float32)
    )
    assert float(double.abs().max()) > 1.0
    assert 0.0 < float((single - double).abs().max()) < 1e-3


def test_a_heavy_floor_is_nobodys_weight(tmp_path: Path) -> None:
    plain = biped(tmp_path / "biped.osim", muscles=False)
    model = opensim.Model(str(plain))
    floor = body(model, "floor", mass=500.0)
    model.addJoint(opensim.WeldJoint("underfoot", model.getGround(), floor))
    with_floor = write(model, tmp_path / "floor.osim")
    loads = []
    for path in (plain, with_floor):
        skeleton = Skeleton(compile_skeleton(path))
        pose = skeleton.default.expand(1, 9, -1)
        loads.append(StanceLoads(skeleton, skeleton.coordinates, 9)(pose, torch.ones(1)))
    torch.testing.assert_close(loads[1], loads[0], atol=1e-9, rtol=1e-9)
