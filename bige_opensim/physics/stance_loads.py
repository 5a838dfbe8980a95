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

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.contact import feet_of
from bige_opensim.physics.dynamics import body_wrenches, kinematics, wrench_to_generalized
from bige_opensim.physics.predictor import derivative_matrix
from bige_opensim.physics.skeleton import Skeleton

GROUND_LOADS = ("force_x", "force_y", "force_z", "point_x", "point_z", "right_share", "apart_z", "free_moment")
"""F over body weight; z less the middle between the feet that carries as much, m; s - 1/2; sideways distance of the
feet, m; vertical moment over body weight, m."""

REFLECTED = (1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0)
"""Signs of `GROUND_LOADS` in a mirror through the sagittal plane."""

ON_LEVEL = (1.0, 0.0, 1.0)
"""What takes points to the ground plane."""

LEAST_WEIGHT = 0.05
"""Body weights below which the vertical force does not fall in the zero-moment point: nobody stands then."""


def stands(skeleton: Skeleton) -> bool:
    """Whether the model floats and has contact points under both feet."""
    return skeleton.floats and {name[-1] for name in skeleton.contact_names} == {"r", "l"}


class StanceLoads(torch.nn.Module):
    """(q (N, T, C), duration (N,)) -> loads (N, t, C + 8) at every so many frames, differentiable.

    First the net generalized forces of the channels over body weight, m for moments, then `GROUND_LOADS`. Speeds and
    accelerations are those of natural quintic splines, as in `predictor`.
    """

    rate: Tensor

    def __init__(self, skeleton: Skeleton, channels: Sequence[str], samples: int = 101) -> None:
        super().__init__()
        if not stands(skeleton):
            raise ValueError("loads on two feet need a model that floats, with contact points under both feet")
        self.skeleton = skeleton
        self.columns = [skeleton.coordinates.index(n) for n in channels]
        foot, carriers = feet_of(skeleton)
        self.points = [[i for i, f in enumerate(foot) if f == side] for side in (0, 1)]
        self.carriers = [carriers[points[0]] for points in self.points]
        self.weight_n = float(skeleton.weight_n)
        self.register_buffer("rate", torch.as_tensor(derivative_matrix(samples)), persistent=False)

    def forward(
        self,
        q: Float[Tensor, "batch time channel"],
        duration: Float[Tensor, " batch"],
        every: int = 1,
    ) -> Float[Tensor, "batch frame load"]:
        """Loads in the precision of the skeleton."""
        dtype = self.skeleton.mass.dtype
        full = self.skeleton.get_buffer("default").to(dtype).expand(*q.shape[:2], -1).clone()
        full[..., self.columns] = q.to(dtype)
        T = duration.to(dtype)[:, None, None]
        once, twice = (matrix[::every].to(dtype) for matrix in (self.rate, self.rate @ self.rate))
        qd, qdd = (once @ full) / T, (twice @ full) / T**2
        flat = [x.reshape(-1, x.shape[-1]) for x in (full[:, ::every], qd, qdd)]
        return self._loads(*flat).reshape(len(q), -1, len(self.columns) + len(GROUND_LOADS))

    def _loads(self, q: Tensor, qd: Tensor, qdd: Tensor) -> Float[Tensor, "frame load"]:
        state = kinematics(self.skeleton, q, qd, qdd)
        force, moment = body_wrenches(self.skeleton, state)
        F, M = force.sum(1), moment.sum(1)
        lift = F[:, 1].clamp(min=LEAST_WEIGHT * self.weight_n)
        still = torch.zeros_like(lift)
        z = torch.stack([M[:, 2] / lift, still, -M[:, 0] / lift], -1)
        points = self.skeleton.contact_points(state.poses)
        right, left = (points[:, side].mean(1) * points.new_tensor(ON_LEVEL) for side in self.points)
        apart = right - left
        share = ((z - left) * apart).sum(-1) / apart.square().sum(-1).clamp(min=1e-4)
        share = share.clamp(0.0, 1.0)[:, None]
        off = z - (share * right + (1.0 - share) * left)
        free = M[:, 1] - (z[:, 2] * F[:, 0] - z[:, 0] * F[:, 2])
        couple = torch.stack([still, free, still], -1)
        force, moment = force.clone(), moment.clone()
        for carrier, part, foot in zip(self.carriers, (share, 1.0 - share), (right, left), strict=True):
            force[:, carrier] = force[:, carrier] - part * F
            moment[:, carrier] = moment[:, carrier] - part * (torch.linalg.cross(foot + off, F) + couple)
        net = wrench_to_generalized(self.skeleton, state, force, moment)[:, self.columns]
        told = [F / self.weight_n, off[:, [0, 2]], share - 0.5, apart[:, 2:], free[:, None] / self.weight_n]
        return torch.cat([net / self.weight_n, *told], -1)
