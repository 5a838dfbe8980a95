"""States of all coordinates of a model at the frames of motions that name some of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import make_interp_spline
from torch import Tensor

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
    natural quintic splines; their matrices are kept for motions of `samples` frames.
    """

    default: Tensor
    rates: Tensor

    def __init__(self, skeleton: Skeleton, channels: Sequence[str], samples: int = 101) -> None:
        super().__init__()
        self.columns = [skeleton.coordinates.index(name) for name in channels]
        self.register_buffer("default", skeleton.get_buffer("default"), persistent=False)
        self.register_buffer("rates", self._rates(samples), persistent=False)

    def forward(
        self, q: Float[Tensor, "batch time channel"], duration: Float[Tensor, " batch"], every: int = 1
    ) -> States:
        """At every so many frames."""
        full = self.default.repeat(*q.shape[:2], 1)
        full[..., self.columns] = q.to(full)
        T = duration.to(full)[:, None, None]
        rates = self.rates if q.shape[1] == self.rates.shape[-1] else self._rates(q.shape[1])
        once, twice = (matrix[::every] @ full for matrix in rates)
        here, once, twice = (x.flatten(0, 1) for x in (full[:, ::every], once / T, twice / T**2))
        return States(here, once, twice, len(q))

    def _rates(self, samples: int) -> Float[Tensor, "2 sample sample"]:
        """What takes samples to their first and second derivatives, of motions that last 1 s."""
        rate = derivative_matrix(samples)
        return torch.as_tensor(np.stack([rate, rate @ rate])).to(self.default)


@lru_cache(maxsize=8)
def derivative_matrix(samples: int) -> Float[np.ndarray, "sample sample"]:
    """D with (D x)_i = x'(t_i) of the natural quintic spline through x on `samples` even times from 0 to 1."""
    t = np.linspace(0.0, 1.0, samples)
    zero = np.zeros(samples)
    ends = [(3, zero), (4, zero)]
    return make_interp_spline(t, np.eye(samples), k=5, bc_type=(ends, ends))(t, 1)
