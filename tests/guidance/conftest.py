"""A body simple enough for closed forms: two stilt legs that fold at the knee, a trunk that leans with the pelvis."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from bige_opensim.guidance import quantities, terms
from bige_opensim.guidance.quantities import Observation
from bige_opensim.physics.skeleton import Poses, Skeleton

DEMAND_ON_GROUND = quantities.demand_on_ground

LEG_M = 0.9
TRUNK_COM_M = 0.3
COORDINATES = (
    "pelvis_tilt", "pelvis_list", "pelvis_tx", "pelvis_ty", "pelvis_tz", "knee_angle_r", "knee_angle_l",
    "lumbar_extension",
)  # fmt: skip


class Tables(SimpleNamespace):
    """Told apart by identity, as the tables of a model are."""

    __hash__ = object.__hash__


class StiltBody(Skeleton):
    """Foot height = pelvis_ty - 0.9 cos(knee / 2), COM 0.3 m up the trunk."""

    coordinates = COORDINATES
    bodies = ("pelvis", "torso", "foot_r", "foot_l")
    contact_names = ("s1_r", "s1_l")
    range: Tensor

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        torch.nn.Module.__init__(self)
        self.tables = Tables(
            kind=(),
            mass=(0.0, 70.0, 0.0, 0.0),
            rotational=tuple(not n.startswith("pelvis_t") or n == "pelvis_tilt" for n in COORDINATES),
        )
        limits = torch.tensor([[-math.pi / 2, math.pi / 2]] * len(COORDINATES), dtype=dtype)
        limits[2:5] = torch.tensor([-5.0, 5.0])
        limits[5:7] = torch.tensor([0.0, math.radians(120)])
        self.register_buffer("range", limits)
        self.register_buffer("default", torch.zeros(len(COORDINATES), dtype=dtype))
        for name in ("mass", "person_mass", "own_mass"):
            self.register_buffer(name, torch.tensor([0.0, 70.0, 0.0, 0.0], dtype=dtype))
        self.register_buffer("gravity", torch.tensor([0.0, -9.81, 0.0], dtype=dtype))

    def forward(self, q: Tensor) -> Poses:
        pelvis = q[..., 2:5]
        zero = torch.zeros_like(q[..., 0])
        feet = [
            pelvis + torch.stack([zero, -LEG_M * (q[..., i] / 2).cos(), zero + side], -1)
            for i, side in ((5, 0.1), (6, -0.1))
        ]
        position = torch.stack([pelvis, pelvis, *feet], -2)
        lean = q[..., 0] + q[..., 7]
        c, s, one = lean.cos(), lean.sin(), torch.ones_like(lean)
        torso = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
        still = torch.eye(3, dtype=q.dtype).expand_as(torso)
        return Poses(torch.stack([still, torso, still, still], -3), position)

    def com(self, poses: Poses) -> Tensor:
        return poses.position[..., 1, :] + TRUNK_COM_M * poses.rotation[..., 1, :, 1]

    def contact_points(self, poses: Poses) -> Tensor:
        return poses.position[..., 2:, :]


def stilt_squat(knee_r: Tensor, knee_l: Tensor, tilt: Tensor, frames: int = 101) -> Tensor:
    """Squats with the given peak angles (n,) in rad, feet on the ground at the deeper knee, (n, frames, 8)."""
    shape = (0.5 - 0.5 * torch.cos(2 * math.pi * torch.linspace(0, 1, frames, dtype=knee_r.dtype)))[None]
    right, left = knee_r[:, None] * shape, knee_l[:, None] * shape
    height = LEG_M * (torch.maximum(right, left) / 2).cos()
    zero = torch.zeros_like(height)
    return torch.stack([tilt[:, None] * shape, zero, zero, height, zero, right, left, zero], dim=-1)


def stilt_demand(o: Observation) -> tuple[Tensor, Tensor]:
    """What the only mass takes: m (c'' - g), through the mass."""
    if not isinstance(o.frame.skeleton, StiltBody):
        return DEMAND_ON_GROUND(o)
    gravity, mass = o.frame.skeleton.get_buffer("gravity"), o.frame.skeleton.get_buffer("mass").sum()
    force = mass * (terms.second_time_derivative(o.com, o.duration) - gravity)
    return force, torch.linalg.cross(o.com, force)


@pytest.fixture(autouse=True)
def _stilts_have_no_limbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantities, "demand_on_ground", stilt_demand)


@pytest.fixture
def body() -> StiltBody:
    return StiltBody()
