"""Pure terms of an objective: series over a motion, statistics of a series, and penalties of a number.

Shapes are ``(batch, time, channel)`` or ``(batch, time)`` for a series and ``(batch,)`` for a number per motion. Angles
are radians, lengths metres, times seconds, Y is up. Everything is differentiable and runs where its tensors live.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PEAK_SHARPNESS = 0.02
PUSH = 3.0
"""Penalty of a copy of a training motion (our choice): with less, a search lets motions go that are nearly one."""
HINGE_ROUNDING = 0.02


def peak(series: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    """Largest value over time, with a gradient that reaches the frames near the peak.

    The value is the plain maximum, so the search pushes exactly the number the verdict is given on. The gradient is
    that of the log-sum-exp maximum, softmax(x / tau), with tau two hundredths of the series' range: its weights are
    non-negative and sum to one. A plain maximum moves one frame per step, and the peak then hops from frame to frame.
    """
    spread = (series.amax(-1, keepdim=True) - series.amin(-1, keepdim=True)).detach()
    weights = torch.softmax(series.detach() / (PEAK_SHARPNESS * spread + 1e-9), dim=-1)
    spread_gradient = (weights * series).sum(-1)
    return spread_gradient + (series.amax(-1) - spread_gradient).detach()


def trough(series: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    """Smallest value over time, with the spread gradient of `peak`."""
    return -peak(-series)


def span(series: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    """Peak minus trough."""
    return peak(series) - trough(series)


def mean(series: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    """Mean over the cycle."""
    return series.mean(-1)


def rms(series: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    """Root mean square over the cycle; the gradient of a series of zeros is zero."""
    mean_square = series.square().mean(-1)
    return torch.where(mean_square > 0, mean_square.clamp(min=1e-24).sqrt(), torch.zeros_like(mean_square))


def value_at(series: Float[Tensor, "*batch time"], fraction: float) -> Float[Tensor, "*batch"]:
    """Value at a fraction of the cycle (0 first frame, 1 last), linear between frames."""
    place = fraction * (series.shape[-1] - 1)
    before = min(int(place), series.shape[-1] - 2)
    return torch.lerp(series[..., before], series[..., before + 1], place - before)


def time_derivative(
    series: Float[Tensor, "batch time channel"], duration: Float[Tensor, " batch"]
) -> Float[Tensor, "batch time channel"]:
    """Derivative per second of a cycle that lasts `duration` seconds: central differences, second order at the ends."""
    step = duration.reshape(-1, 1, 1) / (series.shape[1] - 1)
    return torch.gradient(series, dim=1, edge_order=2)[0] / step


def second_time_derivative(
    series: Float[Tensor, "batch time channel"], duration: Float[Tensor, " batch"]
) -> Float[Tensor, "batch time channel"]:
    """Second derivative: (x[t+1] - 2 x[t] + x[t-1]) / step^2; the first and last frame repeat their neighbour's."""
    step = duration.reshape(-1, 1, 1) / (series.shape[1] - 1)
    inner = (series[:, 2:] - 2 * series[:, 1:-1] + series[:, :-2]) / step.square()
    return torch.cat([inner[:, :1], inner, inner[:, -1:]], dim=1)


def length(vectors: Float[Tensor, "*batch three"]) -> Float[Tensor, "*batch"]:
    """Euclidean length of the last axis; its gradient at zero is zero, not NaN."""
    squared = vectors.square().sum(-1)
    return torch.where(squared > 0, squared.clamp(min=1e-24).sqrt(), torch.zeros_like(squared))


def mirror_difference(
    motion: Float[Tensor, "batch time channel"],
    right: Sequence[int],
    left: Sequence[int],
    signs: Sequence[float],
) -> Float[Tensor, "batch time pair"]:
    """Size of the difference between a motion and its left-right mirror image, per pair of channels.

    |x_right - s x_left|. A paired channel has s = 1, because OpenSim's left-side axes are mirrored already (flexion,
    adduction and internal rotation are positive on both sides). A midline channel that the mirror negates, such as
    pelvis_list, is its own partner with s = -1 and gives |2 x|.
    """
    sign = motion.new_tensor(list(signs))
    return (motion[..., list(right)] - sign * motion[..., list(left)]).abs()


def foot_slide_speed(
    points: Float[Tensor, "batch time point 3"],
    duration: Float[Tensor, " batch"],
    *,
    ground_height: float = 0.0,
    near: float = 0.02,
) -> Float[Tensor, "batch time point"]:
    """Horizontal speed, m/s, of each contact point while it is near the ground.

    The speed is weighted by a factor that is 1 up to `near` metres above the ground, falls linearly and is 0 from twice
    `near` on. No gradient passes through the factor: a search must not cure sliding by lifting the foot.
    """
    flat = points[..., [0, 2]].flatten(2)
    velocity = time_derivative(flat, duration).unflatten(2, (points.shape[2], 2))
    grounded = (2.0 - (points[..., 1] - ground_height) / near).clamp(0.0, 1.0)
    return length(velocity) * grounded.detach()


def trunk_inclination(rotation: Float[Tensor, "batch time 3 3"]) -> Float[Tensor, "batch time"]:
    """Angle, rad, between the trunk's long axis (Y of the torso body) and the vertical; 0 upright, pi/2 lying down.

    `rotation` takes torso vectors to the ground: its second column is the long axis in the ground frame.
    """
    axis = rotation[..., 1]
    return torch.atan2(length(axis[..., [0, 2]]), axis[..., 1])


def drop_from_highest(height: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    """How far below its own highest place of the cycle a point is, metres, positive downward."""
    return peak(height).unsqueeze(-1) - height


def range_excess(
    motion: Float[Tensor, "*batch time channel"], low: Float[Tensor, " channel"], high: Float[Tensor, " channel"]
) -> Float[Tensor, "*batch time channel"]:
    """How far each channel is outside its range, zero inside."""
    return (low - motion).clamp(min=0) + (motion - high).clamp(min=0)


def joint_excess(
    motion: Float[Tensor, "batch time channel"],
    low: Float[Tensor, " channel"],
    high: Float[Tensor, " channel"],
    triples: Sequence[Sequence[int]],
) -> Float[Tensor, "batch time channel"]:
    """`range_excess`, with joints that turn about three axes described as exceeds their ranges least.

    (a, b, c) and (a + pi, pi - b, c + pi), by whole turns nearest to the middle of the ranges, are one orientation.
    """
    excess = range_excess(motion, low, high)
    for triple in triples:
        at = list(triple)
        middle = (0.5 * (low[at] + high[at])).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        first = motion[..., at]
        both = torch.stack([first, first * first.new_tensor([1.0, -1.0, 1.0]) + math.pi])
        both = both - 2.0 * math.pi * torch.round((both - middle) / (2.0 * math.pi)).detach()
        beyond = range_excess(both, low[at], high[at])
        better = beyond[1].detach().amax(-1, keepdim=True) < beyond[0].detach().amax(-1, keepdim=True)
        excess = excess.index_copy(
            -1, torch.tensor(at, device=motion.device), torch.where(better, beyond[1], beyond[0])
        )
    return excess


def penetration(
    points: Float[Tensor, "batch time point 3"], *, ground_height: float = 0.0
) -> Float[Tensor, "batch time"]:
    """Depth, metres, of the deepest contact point below the ground; zero when none is."""
    return (ground_height - points[..., 1]).amax(-1).clamp(min=0)


def floating(points: Float[Tensor, "batch time point 3"], *, ground_height: float = 0.0) -> Float[Tensor, "batch time"]:
    """Height, metres, of the lowest contact point above the ground; zero when any touches it."""
    return (points[..., 1] - ground_height).amin(-1).clamp(min=0)


def signed_violation(value: Float[Tensor, "*batch"], low: float, high: float) -> Float[Tensor, "*batch"]:
    """Distance to the band [low, high], positive outside and negative inside; a missing bound is infinite."""
    return torch.maximum(low - value, value - high)


def inside(value: Float[Tensor, "*batch"], low: float, high: float) -> Bool[Tensor, "*batch"]:
    """Whether a value lies in the closed band [low, high]."""
    return (value >= low) & (value <= high)


def band_penalty(value: Float[Tensor, "*batch"], low: float, high: float, scale: float) -> Float[Tensor, "*batch"]:
    """Penalty of leaving the band [low, high], in units of `scale`.

    With the violation v measured from a band narrowed on each side by a margin and e = max(v, 0) / scale, the penalty
    is sqrt(e^2 + d^2) - d with d = 0.02: linear except very near zero. A linear penalty of enough weight is exact, it
    reaches its bound while other terms pull (a squared one always stops short of it). The margin leaves room for the
    rounding, and in a closed band for the error of the predictor: a quarter of the band's width but at most half a
    scale; at a single bound a tenth of a scale.
    """
    margin = min(0.5 * scale, 0.25 * (high - low)) if math.isfinite(high - low) else 0.1 * scale
    excess = signed_violation(value, low + margin, high - margin).clamp(min=0) / scale
    return (excess.square() + HINGE_ROUNDING**2).sqrt() - HINGE_ROUNDING


class ProximityScale(NamedTuple):
    """Distances from a motion to its nearest neighbour that are usual among the reference motions, dimensionless."""

    near: float
    far: float


def normalised_distance(
    motions: Float[Tensor, "n time channel"],
    references: Float[Tensor, "r time channel"],
    scale: Float[Tensor, " channel"],
) -> Float[Tensor, "n r"]:
    """Root mean square, over time and channels, of the difference in units of each channel's scale."""
    a, b = (motions / scale).flatten(1), (references / scale).flatten(1)
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / a.shape[1] ** 0.5


def tube_penalty(distance: Float[Tensor, " n"], usual: ProximityScale) -> Float[Tensor, " n"]:
    """Penalty of a nearest-neighbour distance that is unusual among the reference motions themselves.

    max(0, d / far - 1)^2 + PUSH max(0, 1 - d / near). The first part brings a motion back that has left the data; it is
    zero between `near` and `far`, so nothing draws a motion onto a training motion; the second part pushes a near copy
    away, as hard as it takes: a linear penalty reaches its bound, a squared one stops short of it.
    """
    return (distance / usual.far - 1).clamp(min=0).square() + PUSH * torch.relu(1 - distance / usual.near)
