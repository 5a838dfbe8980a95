"""Whether the feet can supply what a motion takes from the ground, without muscles: the zero-moment point's place.

The motion takes force F and moment M about the ground's origin, found from the motion of all bodies. Feet that can only
push supply them where the zero-moment point

    p = (h F_x + M_z, h F_z - M_x) / F_y        on the ground at height h

lies in the hull of their points c_i (Vukobratovic and Borovac 2004, doi:10.1142/S0219843604000083), which is the case
where  n . p <= max_i n . c_i  in all directions n.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

DIRECTIONS = 16
NEAR_GROUND_M = 0.04
"""Height up to which a point of a foot can carry, as in `ContactSettings`."""
READY = 0.1
"""How far a point can push that counts as resting on a seat, as in `missing_support`."""
LEAST_UPWARD = 0.2
"""Share of body weight below which a frame is in flight, or nearly, and its zero-moment point means nothing."""


def beyond_support(
    force: Float[Tensor, "*batch 3"],
    moment: Float[Tensor, "*batch 3"],
    points: Float[Tensor, "*batch point 3"],
    weight_n: float,
    ground_height: float = 0.0,
    seat: tuple[Float[Tensor, "*batch other 3"], Float[Tensor, "*batch other"]] | None = None,
) -> Float[Tensor, "*batch"]:
    """Distance, m, of the zero-moment point outside the hull of the points on the ground; negative inside it.

    Zero where nothing is near the ground or the motion hardly needs it. No gradient passes through which points those
    are: a search must not cure a fall by putting a foot down in one frame. `seat` are points that rest on a seat, and
    how far each can push, 0 to 1.
    """
    angle = torch.arange(DIRECTIONS, device=force.device, dtype=force.dtype) * (2.0 * math.pi / DIRECTIONS)
    normal = torch.stack([angle.cos(), angle.sin()], -1)
    down = (points[..., 1] - ground_height < NEAR_GROUND_M).detach()
    if seat is not None:
        points, down = torch.cat([points, seat[0]], -2), torch.cat([down, (seat[1] > READY).detach()], -1)
    edge = torch.where(down[..., None], points[..., [0, 2]] @ normal.T, -torch.inf).amax(-2)
    upward = force[..., 1].clamp(min=LEAST_UPWARD * weight_n)
    across = torch.stack([moment[..., 2], -moment[..., 0]], -1) + ground_height * force[..., [0, 2]]
    outside = ((across / upward[..., None]) @ normal.T - edge).amax(-1)
    counts = down.any(-1) & (force[..., 1] > LEAST_UPWARD * weight_n).detach()
    return torch.where(counts, outside, torch.zeros_like(outside))
