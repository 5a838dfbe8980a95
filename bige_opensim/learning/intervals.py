"""Intervals around predicted activations, calibrated on people and bodies that were not trained on.

Split conformal prediction (Vovk et al. 2005; Lei et al. 2018, doi:10.1080/01621459.2017.1307116) with people, not
frames, as what is exchangeable (for hierarchies: Lee, Barber, Willett 2023, arXiv:2306.06342). Two steps:

1. The shape: for muscle m in phase p of the repetition the width is w_pm, the 90 % quantile of |a - a'| / (a' + 0.02)
   of predictions a' over motions on bodies that were kept out of training, every body weighing the same.
2. The size: one factor on all widths, the quantile over validation people of |a - a'| / ((a' + 0.02) w_pm), every
   person with the same weight, at the level 0.9 (1 + 1/G) for G people. With fewer than nine people that level is above
   1: 0.9 is taken, and the coverage on new people is then an estimate, not a guarantee. The factor is never below 1:
   people that move more smoothly than the streamed motions must not make the widths of all others smaller.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

COVERAGE = 0.9
PHASES = 10
LEAST_ACTIVATION = 0.02
LEAST_WIDTH = 1e-3


def widths(
    predicted: Float[Tensor, "motion time muscle"],
    target: Float[Tensor, "motion time muscle"],
    group: Int[Tensor, " motion"],
) -> Float[Tensor, "phase muscle"]:
    """Relative widths per phase and muscle; `group` numbers bodies, which count alike."""
    score = relative_error(predicted, target)
    weight = equal_weights(group)
    phase = phase_of(predicted.shape[1])
    found = []
    for p in range(PHASES):
        part = score[:, phase == p]
        each = weight[:, None].expand(part.shape[:2]).flatten()
        found.append(
            torch.stack([weighted_quantile(part[..., m].flatten(), each, COVERAGE) for m in range(part.shape[-1])])
        )
    return torch.stack(found).clamp(min=LEAST_WIDTH)


def factor(
    predicted: Float[Tensor, "motion time muscle"],
    target: Float[Tensor, "motion time muscle"],
    group: Int[Tensor, " motion"],
    width: Float[Tensor, "phase muscle"],
) -> float:
    """By how much the widths have to grow or shrink so that people are covered as they should be."""
    score = relative_error(predicted, target) / width[phase_of(predicted.shape[1])]
    people = len(group.unique())
    level = COVERAGE * (1.0 + 1.0 / people)
    each = equal_weights(group)[:, None, None].expand(score.shape).flatten()
    return float(weighted_quantile(score.flatten(), each, level if level <= 1.0 else COVERAGE))


def relative_error(predicted: Tensor, target: Tensor) -> Tensor:
    """|a - a'| / (a' + 0.02)."""
    return (target - predicted).abs() / (predicted + LEAST_ACTIVATION)


def phase_of(samples: int) -> Int[Tensor, " time"]:
    """Phase, 0 to PHASES - 1, of every sample."""
    return (torch.arange(samples) * PHASES // samples).clamp(max=PHASES - 1)


def equal_weights(group: Int[Tensor, " motion"]) -> Float[Tensor, " motion"]:
    """Weights with which every group weighs the same."""
    _, number, count = group.unique(return_inverse=True, return_counts=True)
    return 1.0 / count[number].float()


def weighted_quantile(values: Float[Tensor, " value"], weights: Float[Tensor, " value"], level: float) -> Tensor:
    """Least value at or below which lies the share `level` of the weight."""
    order = values.argsort()
    share = weights[order].double().cumsum(0)
    at = torch.searchsorted(share, level * share[-1] * (1.0 - 1e-12))
    return values[order[at.clamp(max=len(values) - 1)]]


def coverage(
    predicted: Float[Tensor, "motion time muscle"],
    target: Float[Tensor, "motion time muscle"],
    width: Float[Tensor, "phase muscle"],
) -> Float[Tensor, " motion"]:
    """Share of frames and muscles of every motion whose activation lies within the interval."""
    inside = relative_error(predicted, target) <= width[phase_of(predicted.shape[1])]
    return inside.float().mean((1, 2))
