"""Motions in C move, push and carry as those by torch do, and so do their gradients."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import biped
from torch import Tensor

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.physics import native
from bige_opensim.physics.contact import ContactSettings, columns_at, feet_of, feet_on_ground
from bige_opensim.physics.dynamics import body_wrenches, inverse_dynamics, kinematics
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.native_ground import NativeGround
from bige_opensim.physics.native_skeleton import NativeDemand
from bige_opensim.physics.predictor import PhysicsPredictor, Predicted
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.physics.stance_loads import StanceLoads

pytestmark = pytest.mark.skipif(native.library() is None, reason="not compiled here")

MODELS: dict[str, Callable[[Path], Path]] = {
    "package": lambda folder: built_in(MODEL),
    "biped": lambda folder: biped(folder / "biped.osim"),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS[request.param](tmp_path_factory.mktemp("model"))


def motions(skeleton: Skeleton, count: int, samples: int, size: float) -> tuple[Tensor, Tensor]:
    """Around the default pose; 19 frames and others that do not fill what is solved together."""
    random = torch.Generator().manual_seed(0)
    phase = torch.linspace(0.0, 6.0, samples).double()[:, None]
    shape = (count, 1, len(skeleton.coordinates))
    wave, place = (torch.randn(shape, generator=random, dtype=torch.float64) for _ in range(2))
    q = skeleton.default + size * (wave * torch.sin(phase + place) + 0.3 * place)
    return q.requires_grad_(), torch.linspace(0.7, 2.0, count).double().requires_grad_()


def weighted(*found: Tensor) -> Tensor:
    """A function that no two of the numbers are in alike."""
    random = torch.Generator().manual_seed(1)
    sizes = [x.detach().abs().max().clamp(min=1e-9) for x in found]
    return sum(
        (torch.randn(x.shape, generator=random, dtype=torch.float64) * x / size).sum()
        for x, size in zip(found, sizes, strict=True)
    )  # type: ignore[return-value]


def same(mine: tuple[Tensor, ...], theirs: tuple[Tensor, ...], given: tuple[Tensor, ...], tolerance: float) -> None:
    for x, y in zip(mine, theirs, strict=True):
        assert float(y.detach().abs().max()) > 0.0
        torch.testing.assert_close(x, y, atol=tolerance * float(y.detach().abs().max()), rtol=0)
    slopes, wanted = (torch.autograd.grad(weighted(*found), given) for found in (mine, theirs))
    for x, y in zip(slopes, wanted, strict=True):
        assert float(y.abs().max()) > 0.0
        torch.testing.assert_close(x, y, atol=tolerance * float(y.abs().max()), rtol=0)


@pytest.mark.parametrize(("size", "samples"), [(0.05, 19), (0.6, 11)])
def test_loads_and_their_slopes_are_those_by_torch(model: Path, size: float, samples: int) -> None:
    """In far postures splines end, feet turn away and the load leaves them."""
    skeleton = Skeleton(compile_skeleton(model))
    loads = StanceLoads(skeleton, skeleton.coordinates, samples)
    q, duration = motions(skeleton, 3, samples, size)
    mine = loads(q, duration)
    assert loads._native is not None
    loads._native = None
    same((mine,), (loads(q, duration),), (q, duration), 1e-10)


@pytest.mark.parametrize("sides", ["rl", "l"])
def test_what_moving_takes_and_the_ground_can_do_is_what_the_joint_problem_is_told(model: Path, sides: str) -> None:
    """Of a model with contact points under one foot alone, too."""
    tables, settings = compile_skeleton(model), ContactSettings(rays=3)
    mine = [i for i, name in enumerate(tables.contact_names) if name[-1] in sides]
    points = {name: getattr(tables, name)[mine] for name in ("contact_body", "contact_centre", "contact_radius")}
    skeleton = Skeleton(replace(tables, contact_names=tuple(tables.contact_names[i] for i in mine), **points))
    random = torch.Generator().manual_seed(0)
    q, qd, qdd = (
        (size * torch.randn(21, len(skeleton.coordinates), generator=random, dtype=torch.float64)).requires_grad_()
        for size in (0.1, 1.0, 10.0)
    )
    here = skeleton.default + q
    ground = NativeGround(skeleton, settings)
    tau, ready, entries = ground(here, qd, qdd)
    state = kinematics(skeleton, here, qd, qdd)
    down = feet_on_ground(skeleton, state, 0.0, settings)
    columns = columns_at(skeleton, state, down.points, feet_of(skeleton)[1], down.ready, settings).columns
    mine = torch.zeros_like(columns)
    mine[:, ground.coordinate, ground.ray] = entries
    same((tau, ready, mine), (inverse_dynamics(skeleton, state), down.ready, columns), (q, qd, qdd), 1e-10)


def solved(predictor: PhysicsPredictor, q: Tensor, duration: Tensor, strength: Tensor) -> Predicted:
    predictor._multiplier = None
    return predictor.solve(q, duration, 2, strength)


def test_motions_take_what_they_take_by_torch(model: Path) -> None:
    skeleton = Skeleton(compile_skeleton(model))
    muscles = Muscles(compile_muscles(model))
    predictor = PhysicsPredictor(skeleton, muscles, skeleton.coordinates, samples=21)
    q, duration = motions(skeleton, 3, 21, 0.03)
    strength = torch.linspace(0.8, 1.2, 3 * len(muscles.names)).double().reshape(3, -1)
    mine = solved(predictor, q, duration, strength)
    assert predictor._in_c is not None
    predictor._in_c = None
    theirs = solved(predictor, q, duration, strength)
    assert mine.solved.all()
    assert theirs.solved.all()
    parts = ("activations", "moments", "grf", "residual_force", "residual_moment", "reserves")
    of = [tuple(getattr(x, name) for name in parts) for x in (mine, theirs)]
    same(*of, (q, duration), 1e-6)


def test_what_motions_take_from_their_surroundings_is_what_all_bodies_take(model: Path) -> None:
    skeleton = Skeleton(compile_skeleton(model))
    random = torch.Generator().manual_seed(0)
    q, qd, qdd = (
        (size * torch.randn(13, len(skeleton.coordinates), generator=random, dtype=torch.float64)).requires_grad_()
        for size in (0.3, 2.0, 20.0)
    )
    theirs = tuple(x.sum(-2) for x in body_wrenches(skeleton, kinematics(skeleton, q, qd, qdd)))
    same(NativeDemand(skeleton)(q, qd, qdd), theirs, (q, qd, qdd), 1e-10)
