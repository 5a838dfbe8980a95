"""What motions take and how the ground can push feet, in C, see `ground_problem.c`."""

from __future__ import annotations

import ctypes

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.physics.contact import FEET, ContactSettings, feet_of
from bige_opensim.physics.frames_last import FramesLast
from bige_opensim.physics.native_skeleton import OfMotions, SkeletonInC
from bige_opensim.physics.skeleton import Skeleton


class _Contact(ctypes.Structure):
    """`Contact` in C."""

    _fields_ = (
        ("skeleton", SkeletonInC),
        *((n, ctypes.c_int) for n in ("feet", "rays", "entries")),
        *((n, ctypes.c_void_p) for n in ("foot", "first", "link", "column", "coordinates_of", "radius", "ray")),
        *((n, ctypes.c_double) for n in ("weight", "height", "height_scale", "speed", "speed_scale")),
    )


class NativeGround(OfMotions):
    """(q, q', q'') -> net generalized forces without ground, how ready foot points are, entries of their rays.

    The ground is at height 0. Entries are those of `contact.contact_columns` that are not zero: generalized forces of
    ray number `ray` (points times rays) on coordinate number `coordinate`.
    """

    name = "bige_ground_problem"

    def __init__(self, skeleton: Skeleton, settings: ContactSettings) -> None:
        super().__init__()
        t, frames = skeleton.tables, FramesLast(skeleton)
        foot, carriers = feet_of(skeleton)
        angle = np.arange(settings.rays) * (2.0 * np.pi / settings.rays)
        along = settings.friction * np.cos(angle), np.ones(settings.rays), settings.friction * np.sin(angle)
        self.foot, self.rays, self.weight_n = foot, np.stack(along, -1), float(skeleton.weight_n)
        feet = sorted(set(foot))  # one of them, where only one has points
        moves = [np.flatnonzero(skeleton.subtree[:, carriers[foot.index(f)]].numpy()) for f in feet]
        of_feet = [np.unique(t.coordinate[links]) for links in moves]
        self.ray: Int[np.ndarray, " entry"]
        self.coordinate: Int[np.ndarray, " entry"]
        rays = [
            (i * settings.rays + r, of_feet[feet.index(f)]) for i, f in enumerate(foot) for r in range(settings.rays)
        ]
        self.ray = np.concatenate([np.full(len(coordinates), ray) for ray, coordinates in rays])
        self.coordinate = np.concatenate([coordinates for _, coordinates in rays])
        self.sizes = len(t.coordinates), len(foot), len(self.ray)
        bodies = t.contact_body.astype(np.int64)
        columns = [np.searchsorted(c, t.coordinate[links]) for c, links in zip(of_feet, moves, strict=True)]
        self.structure = _Contact(
            self._skeleton(t, frames.home, bodies.tolist(), frames.from_carrier(bodies, t.contact_centre)),
            *(len(moves), settings.rays, len(self.ray)),
            self._integers([feet.index(f) for f in foot]),
            *map(self._integers, (np.cumsum([0, *map(len, moves)]), *map(np.concatenate, (moves, columns)))),
            self._integers([len(c) for c in of_feet]),
            *map(self._doubles, (t.contact_radius, self.rays)),
            *(self.weight_n, settings.height_m, settings.height_scale_m, settings.speed_ms, settings.speed_scale_ms),
        )

    def forces(
        self, ready: Float[Tensor, "frame point"], coefficients: Float[Tensor, "frame ray"]
    ) -> Float[Tensor, "frame force"]:
        """Ground forces on the right foot, then on the left, N, from the coefficients of all rays."""
        rays = torch.as_tensor(self.rays)
        of_points = self.weight_n * ready[..., None] * (coefficients.unflatten(-1, (-1, len(rays))) @ rays)
        side = torch.nn.functional.one_hot(torch.tensor(self.foot), len(FEET)).to(of_points)
        return torch.einsum("tpx,ps->tsx", of_points, side).flatten(1)
