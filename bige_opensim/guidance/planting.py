"""Put a motion's feet on the ground: the root translation that joint angles imply while both feet stay planted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.skeleton import Skeleton

SOFT_M = 0.005
"""Width over which the lowest point of a foot is found, m: a hard minimum would jump from heel to toe."""


def plant_feet(
    skeleton: Skeleton, channels: Sequence[str], q: Float[Tensor, "batch time channel"]
) -> Float[Tensor, "batch time channel"]:
    """Replace the root's translations by those that hold both feet in place on the ground at height 0.

    With both feet planted, the joint angles alone say where the pelvis is. Horizontally the mean of all contact points
    stands still; vertically each foot's soft lowest point, -s log sum exp(-y / s) + s log n, is on the ground in the
    mean of both feet. The generator's own translations come from bodies of other sizes and slide by centimetres on this
    one. Valid for movements in which no foot leaves the ground. Coordinates that the model locks or prescribes are put
    where it holds them first.
    """
    default = skeleton.get_buffer("default").to(q)
    places = [skeleton.coordinates.index(n) for n in channels]
    held = [k for k, place in enumerate(places) if skeleton.tables.locked[place]]
    q = q.index_copy(-1, torch.tensor(held, dtype=torch.long), default[places][held].expand(*q.shape[:-1], -1))
    full = default.expand(*q.shape[:-1], -1).clone()
    full[..., places] = q
    points = skeleton.contact_points(skeleton(full))
    right = [i for i, n in enumerate(skeleton.contact_names) if n.endswith("_r")]
    left = [i for i, n in enumerate(skeleton.contact_names) if n.endswith("_l")]
    lowest = torch.stack([_soft_minimum(points[..., side, 1]) for side in (right, left)]).mean(0)
    centre = points[..., [0, 2]].mean(-2)
    drift = centre - centre[:, :1]
    planted = q.clone()
    for name, shift in zip(skeleton.tables.root["translations"], (drift[..., 0], lowest, drift[..., 1]), strict=True):
        k = list(channels).index(name)
        if k not in held:
            planted[..., k] = q[..., k] - shift
    return planted


def _soft_minimum(height: Float[Tensor, "*batch point"]) -> Float[Tensor, "*batch"]:
    n = torch.tensor(float(height.shape[-1])).to(height)
    return -SOFT_M * (torch.logsumexp(-height / SOFT_M, -1) - n.log())
