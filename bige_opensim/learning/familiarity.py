"""How far a motion or a body is from those trained on.

From training vectors with mean mu and covariance S = L L', x of D channels has Mahalanobis' distance
d = |L^-1 (x - mu)| / sqrt(D): about 1 for what is usual. For a motion, x are the postures and speeds of its frames as
the network is given them, and d is the mean over frames; for a body, x are its scaled features. What lies farther
than all but one in a hundred of the motions, or bodies, that were kept out of training is outside.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

RIDGE = 0.01
"""Added to the variances of scaled channels: a direction that never varied in training must not decide."""

FAMILIAR = 0.99


class Familiar(NamedTuple):
    """Where training vectors lie: mean (D,), inverse Cholesky factor of the covariance (D, D)."""

    mean: Float[Tensor, " channel"]
    whiten: Float[Tensor, "channel channel"]

    @classmethod
    def of(cls, x: Float[Tensor, "*rows channel"]) -> Familiar:
        """Measured of training vectors."""
        flat = x.flatten(0, -2).double()
        mean = flat.mean(0)
        covariance = (flat - mean).T @ (flat - mean) / len(flat)
        covariance += RIDGE * torch.eye(len(mean), dtype=torch.float64, device=x.device)
        lower = torch.linalg.cholesky(covariance)
        whiten = torch.linalg.solve_triangular(lower, torch.eye(len(mean)).to(lower), upper=False)
        return cls(mean.float(), whiten.float())

    def distance(self, x: Float[Tensor, "*rows channel"]) -> Float[Tensor, "*rows"]:
        """About 1 for what is usual."""
        return ((x - self.mean) @ self.whiten.T).square().mean(-1).sqrt()
