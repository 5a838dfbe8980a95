"""What a network is told of a body: sizes as logarithms, strengths against the body's weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

GRAVITY = 9.81
LEAST = 1e-3
"""A size or strength of 0 (a model without the body, or with the muscle switched off) counts as this."""


def subject_inputs(features: Float[Tensor, "batch feature"], names: Sequence[str]) -> Float[Tensor, "batch feature"]:
    """Natural logarithms of the features of a subject; strengths (N) are divided by body weight first.

    An activation is the share of a muscle's force that a motion takes, and the force goes with weight and size: what
    tells bodies apart are ratios. Where the mass is not among the features, strengths stay in newtons.
    """
    if "mass_kg" in names:
        weight = GRAVITY * features[:, list(names).index("mass_kg"), None].clamp(min=LEAST)
        strengths = torch.tensor([name.startswith("strength_") for name in names], device=features.device)
        features = torch.where(strengths, features / weight, features)
    return features.clamp(min=LEAST).log()
