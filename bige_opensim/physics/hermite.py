"""Curves that were sampled on uniform grids: cubic Hermite interpolation, linear beyond the ends."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Cubics(NamedTuple):
    """For every x the cubic of its cell, y0 + m0 t + c2 t^2 + c3 t^3 with 0 <= t <= 1, and what lies beyond the grid.

    Slopes are per cell; `beyond` is how many cells x lies above (positive) or below (negative) the grid, `m1` the slope
    at the cell's end, `step` the cell's width.
    """

    t: Tensor
    y0: Tensor
    m0: Tensor
    m1: Tensor
    c2: Tensor
    c3: Tensor
    beyond: Tensor
    step: Tensor

    def value(self) -> Tensor:
        """The curve at x."""
        inside = self.y0 + self.t * (self.m0 + self.t * (self.c2 + self.t * self.c3))
        return inside + self.beyond.clamp(min=0) * self.m1 + self.beyond.clamp(max=0) * self.m0

    def slope(self) -> Tensor:
        """The derivative of the curve at x."""
        return (self.m0 + self.t * (2.0 * self.c2 + 3.0 * self.c3 * self.t)) / self.step

    def curvature(self) -> Tensor:
        """The second derivative of the curve at x, 0 beyond the grid."""
        curvature = (2.0 * self.c2 + 6.0 * self.c3 * self.t) / (self.step * self.step)
        return torch.where(self.beyond == 0, curvature, torch.zeros_like(curvature))


def hermite(
    x: Float[Tensor, "*batch curve"],
    low: Float[Tensor, " curve"],
    step: Float[Tensor, " curve"],
    nodes: Float[Tensor, "row node 2"],
    row: Int[Tensor, " curve"],
) -> Cubics:
    """The cubics of curves at x; curve s is row `row[s]` of the nodes.

    On a cell from node i to i + 1 of width h, with values y and slopes d at the nodes, m0 = h d_i, m1 = h d_{i+1},

        y(t) = y_i + m0 t + (3 (y_{i+1} - y_i) - 2 m0 - m1) t^2 + (2 (y_i - y_{i+1}) + m0 + m1) t^3.

    Parameters
    ----------
    x
        Where the curves are asked for.
    low, step
        First abscissa and spacing of every curve's grid.
    nodes
        Values and slopes at the nodes.
    row
        Row of the nodes that belongs to each curve.

    """
    u = (x - low) / step
    last = nodes.shape[1] - 1
    inside = u.clamp(0.0, float(last))
    cell = inside.detach().floor().clamp(max=last - 1).long()
    t = inside - cell
    flat, at = nodes.reshape(-1, 2), row * nodes.shape[1] + cell
    left, right = flat[at], flat[at + 1]
    m0, m1 = left[..., 1] * step, right[..., 1] * step
    rise = right[..., 0] - left[..., 0]
    return Cubics(t, left[..., 0], m0, m1, 3.0 * rise - 2.0 * m0 - m1, m0 + m1 - 2.0 * rise, u - inside, step)
