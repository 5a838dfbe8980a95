"""States of all coordinates of a model at the frames of motions that name some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.predictor import derivative_matrix
from bige_opensim.physics.skeleton import Skeleton


class States(NamedTuple):
    """Coordinates, speeds and accelerations, rad, m and s, each (frame, coordinate); so many motions, one by one."""

    q: Tensor
    qd: Tensor
    qdd: Tensor
    motions: int


class MotionStates(torch.nn.Module):
    """(q (N, T, C), duration (N,)) -> states, in the skeleton's precision, differentiable.

    `channels` names the motions' coordinates; others stay at the model's default. Speeds and accelerations are those of
    natural quintic splines, as in `predictor`, through `samples` frames.
    """

    default: Tensor
    rates: Tensor

    def __init__(self, skeleton: Skeleton, channels: Sequence[str], samples: int = 101) -> None:
        super().__init__()
        self.columns = [skeleton.coordinates.index(name) for name in channels]
        rate = derivative_matrix(samples)
        self.register_buffer("default", skeleton.get_buffer("default"), persistent=False)
        rates = torch.as_tensor(np.stack([rate, rate @ rate])).to(self.default)
        self.register_buffer("rates", rates, persistent=False)

    def forward(
        self, q: Float[Tensor, "batch time channel"], duration: Float[Tensor, " batch"], every: int = 1
    ) -> States:
        """At every so many frames."""
        full = self.default.repeat(*q.shape[:2], 1)
        full[..., self.columns] = q.to(full)
        T = duration.to(full)[:, None, None]
        once, twice = (matrix[::every] @ full for matrix in self.rates)
        here, once, twice = (x.flatten(0, 1) for x in (full[:, ::every], once / T, twice / T**2))
        return States(here, once, twice, len(q))
