"""What joints carry in a motion on two feet, with the ground force shared plainly between the feet.

Newton and Euler give the force F and the moment M about the ground origin that the whole body takes from the ground.
The zero-moment point z, where F would have to act on the ground plane, says how a person stands: the right foot, whose
contact points have their middle at p_r, carries the share

    s = clip((z - p_l) . (p_r - p_l) / |p_r - p_l|^2, 0, 1)

of F, the left one the rest, each as far from its middle as z is from s p_r + (1 - s) p_l (Vukobratovic and Borovac
2004, doi:10.1142/S0219843604000083, for z). How muscles share the load between the feet is another problem, the one of
`joint_problem`; these loads take no muscles and no solver, and tell a network most of what its activations hang on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics import native_skeleton
from bige_opensim.physics.contact import feet_of
from bige_opensim.physics.frames_last import FramesLast, Wrenches, cross, summed, turned
from bige_opensim.physics.motion_states import MotionStates, States
from bige_opensim.physics.native_stance import Feet, NativeStance
from bige_opensim.physics.skeleton import Skeleton

GROUND_LOADS = ("force_x", "force_y", "force_z", "point_x", "point_z", "right_share", "apart_z", "free_moment")
"""F over body weight; z less the middle between the feet that carries as much, m; s - 1/2; sideways distance of the
feet, m; vertical moment over body weight, m."""

POINTS = 6
"""Contact points under a foot."""

FOOT_LOADS = tuple(
    f"{name}_{side}"
    for side in ("r", "l")
    for name in (*(f"height_s{k + 1}" for k in range(POINTS)), "zmp_x", "zmp_z", "heading_x", "heading_z")
)
"""Of each foot: heights of its contact points, m; z less its middle, m; where it points, a unit vector on the level.

They say which points the ground can push, and how far the load can go from one foot to the other."""

LOADS = (*GROUND_LOADS, *FOOT_LOADS)

HEIGHTS = tuple(name.startswith("height_") for name in LOADS)
"""Which of `LOADS` are heights."""

STANDING_LOADS = tuple(name.replace("height_", "above_") for name in LOADS)
"""Those of `standing_loads`."""

REFLECTED = frozenset(
    {"force_z", "point_z", "right_share", "free_moment", "zmp_z_r", "zmp_z_l", "heading_z_r", "heading_z_l"}
)
"""Those of `LOADS` that change their sign in a mirror through the sagittal plane; those of feet change places."""

ON_LEVEL = (1.0, 0.0, 1.0)
"""What takes points to the ground plane."""

LEAST_FOOT_M2 = 1e-4
"""Size of what says where a foot points, m^2, below which it hardly lies on the level."""

LEAST_APART_M2 = 1e-4
"""Distance of the feet, squared, m^2, below which they share the load as if they were that far apart."""

LEAST_WEIGHT = 0.05
"""Body weights below which the vertical force does not fall in the zero-moment point: nobody stands then."""


def standing_loads(loads: Float[Tensor, "*batch load"]) -> Float[Tensor, "*batch load"]:
    """`LOADS` with heights of contact points above the lowest one, m, on which somebody stands.

    People who are recorded stand some centimetres in the ground, or over it, where those who are planted do not.
    """
    heights = torch.tensor(HEIGHTS, device=loads.device)
    lowest = loads.masked_fill(~heights, torch.inf).amin(-1, keepdim=True)
    return torch.where(heights, loads - lowest, loads)


def stands(skeleton: Skeleton) -> bool:
    """Whether the model floats and has contact points under both feet."""
    return skeleton.floats and len(skeleton.contact_names) == 2 * POINTS


class StanceLoads(torch.nn.Module):
    """(q (N, T, C), duration (N,)) -> loads (N, t, C + L) at every so many frames, differentiable.

    First the net generalized forces of the channels over body weight, m for moments, then the L of `LOADS`. In C where
    there is a compiler, on a graphics card by torch.
    """

    places: Tensor
    means: Tensor
    forward_of: Tensor

    def __init__(self, skeleton: Skeleton, channels: Sequence[str], samples: int = 101) -> None:
        super().__init__()
        if not stands(skeleton):
            raise ValueError("loads on two feet need a model that floats, with contact points under both feet")
        self.skeleton, self.frames = skeleton, FramesLast(skeleton)
        self.states = MotionStates(skeleton, channels, samples)
        foot, carriers = feet_of(skeleton)
        side = np.array(foot)
        self.carriers = [carriers[foot.index(s)] for s in (0, 1)]
        self.weight_n = float(skeleton.weight_n)
        bodies = skeleton.tables.contact_body.astype(np.int64)
        self.bodies = bodies.tolist()
        self.order = [skeleton.contact_names.index(f"s{k + 1}_{s}") for s in "rl" for k in range(POINTS)]
        places = self.frames.from_carrier(bodies, skeleton.tables.contact_centre)
        own = np.stack([side == s for s in (0, 1)])
        means = own / own.sum(1, keepdims=True)
        along = skeleton.tables.contact_centre[:, 0]
        forward_of = own * (along - (means @ along)[:, None])
        for name, numbers in {"places": places[:, None], "means": means, "forward_of": forward_of}.items():
            self.register_buffer(name, torch.as_tensor(numbers).to(skeleton.mass), persistent=False)
        self._native: NativeStance | None = None
        if native_skeleton.able(skeleton.tables):
            order = self.order
            feet = Feet(
                bodies[order].tolist(),
                places[order],
                skeleton.tables.contact_radius[order],
                forward_of.sum(0)[order],
                self.carriers,
                self.weight_n,
                LEAST_WEIGHT,
                LEAST_APART_M2,
                LEAST_FOOT_M2,
            )
            at_home = skeleton.tables, self.frames.home
            self._native = NativeStance(*at_home, feet, self.states.columns, len(LOADS))

    def forward(
        self,
        q: Float[Tensor, "batch time channel"],
        duration: Float[Tensor, " batch"],
        every: int = 1,
    ) -> Float[Tensor, "batch frame load"]:
        """Loads in the precision of the skeleton."""
        return self.of(self.states(q, duration, every))

    def of(self, states: States) -> Float[Tensor, "batch frame load"]:
        """Loads of states."""
        if self._native is not None and states.q.device.type == "cpu":
            (found,) = self._native(states.q, states.qd, states.qdd)
            found = found.to(states.q)
        else:
            found = self._loads(*(x.T.contiguous() for x in states[:3])).T
        return found.unflatten(0, (states.motions, -1))

    def _loads(self, q: Tensor, qd: Tensor, qdd: Tensor) -> Float[Tensor, "load frame"]:
        found = self.frames(q, qd, qdd)
        F, M = found.force.sum(0), found.moment.sum(0)
        lift = F[1].clamp(min=LEAST_WEIGHT * self.weight_n)
        still = torch.zeros_like(lift)
        z = torch.stack([M[2] / lift, still, -M[0] / lift])
        points = self._points(found)
        right, left = middles = summed(self.means, points) * points.new_tensor(ON_LEVEL)[:, None]
        apart = right - left
        share = ((z - left) * apart).sum(0) / apart.square().sum(0).clamp(min=LEAST_APART_M2)
        share = share.clamp(0.0, 1.0)
        off = z - (share * right + (1.0 - share) * left)
        free = M[1] - (z[2] * F[0] - z[0] * F[2])
        couple = torch.stack([still, free, still])
        feet = ((share, right), (1.0 - share, left))
        pushed = torch.stack([part * F for part, _ in feet])
        twisted = torch.stack([part * (cross(foot + off, F) + couple) for part, foot in feet])
        at = torch.tensor(self.carriers)
        force, moment = found.force.index_add(0, at, pushed, alpha=-1), found.moment.index_add(0, at, twisted, alpha=-1)
        net = self.frames.generalized(found, force, moment)[self.states.columns]
        told = [F / self.weight_n, off[[0, 2]], share[None] - 0.5, apart[2:], free[None] / self.weight_n]
        return torch.cat([net / self.weight_n, *told, self._of_feet(points, z - middles)])

    def _of_feet(
        self, points: Float[Tensor, "point 3 frame"], off: Float[Tensor, "2 3 frame"]
    ) -> Float[Tensor, "load frame"]:
        """`FOOT_LOADS`; `off` is the zero-moment point less the middle of each foot."""
        level = [0, 2]
        heights = points[self.order, 1] - self.skeleton.contact_radius[self.order, None]
        along = summed(self.forward_of, points)[:, level]
        heading = along / along.norm(dim=1, keepdim=True).clamp(min=LEAST_FOOT_M2)
        return torch.cat([heights.unflatten(0, (2, POINTS)), off[:, level], heading], 1).flatten(0, 1)

    def _points(self, found: Wrenches) -> Float[Tensor, "point 3 frame"]:
        """Contact points, m."""
        return found.position[self.bodies] + turned(self.places, found.rotation[self.bodies])[:, 0]
