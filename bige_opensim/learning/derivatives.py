"""Time derivatives of sampled motions, differentiable, in real time."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def time_derivatives(
    q: Float[Tensor, "batch time channel"],
    duration: Float[Tensor, " batch"],
    lengths: Int[Tensor, " batch"] | None = None,
) -> tuple[Float[Tensor, "batch time channel"], Float[Tensor, "batch time channel"]]:
    """First and second derivative by central differences; exact for motions quadratic in time.

    With h = duration / (frames - 1):  v_i = (q_{i+1} - q_{i-1}) / 2h,  a_i = (q_{i+1} - 2 q_i + q_{i-1}) / h^2.
    The first and last frame take the acceleration of their neighbour and v = v_neighbour -+ h a_neighbour.

    Parameters
    ----------
    q
        Motions, uniformly sampled; frames from `lengths` on are padding and influence nothing before them.
    duration
        Time from the first to the last valid frame, s.
    lengths
        Valid frames of each motion, at least 3; all of them when omitted.

    Returns
    -------
    Velocities and accelerations, channel units per s and per s^2; padding repeats the end.

    """
    if lengths is None:
        h = duration[:, None, None] / (q.shape[1] - 1)
        inner = (q[:, 2:] - 2 * q[:, 1:-1] + q[:, :-2]) / h**2
        speed = (q[:, 2:] - q[:, :-2]) / (2 * h)
        ends = (speed[:, :1] - h * inner[:, :1], speed[:, -1:] + h * inner[:, -1:])
        return torch.cat([ends[0], speed, ends[1]], 1), torch.cat([inner[:, :1], inner, inner[:, -1:]], 1)
    last = (lengths - 1)[:, None, None]
    frame = torch.arange(q.shape[1], device=q.device)[None, :, None].minimum(last)  # (1 or batch, time, 1)
    centre = frame.clamp(min=1).minimum(last - 1)
    h = duration[:, None, None] / last
    before, here, after = (torch.take_along_dim(q, centre + step, dim=1) for step in (-1, 0, 1))
    acceleration = (after - 2 * here + before) / h**2
    velocity = (after - before) / (2 * h) + (frame - centre) * h * acceleration
    return velocity, acceleration
