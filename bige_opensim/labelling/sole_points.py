"""Where the soles are: foot contact points corrected on frames in which a person stands on flat feet.

Markers on shoes, the scale of a foot and the angle of an ankle each misplace a sole by a centimetre or two, always in
the same way. Recorded people stand with heels 2 to 5 cm above the balls of their feet; as points that high do not push,
the feet then seem to end at the balls, and who stands seems to lean on something behind. A person who stands has flat
feet: the standing parts of all trials say where the points of the soles are, as a static trial does for markers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from bige_opensim.physics.contact import FEET
from bige_opensim.physics.dynamics import State, body_point_velocity
from bige_opensim.physics.skeleton import Skeleton

STRAIGHT = 0.95
"""Height of hip over ankle, in lengths of thigh and shank, from which a leg stands: knees bent by up to 36 degrees. Who
sits or squats is below."""
STILL_MS, LEVEL_M = 0.1, 0.03
"""A standing foot's speed, and the difference of the feet's heights, at most."""
SPREAD_M, TYPICAL_M = 0.005, 0.02
"""By how much a point's height differs between stands, and how far it is usually misplaced (our choice: between the
trials of eight people it varied by 1 to 5 mm, between points and people by 12)."""


@dataclass(frozen=True)
class Stand:
    """What the standing frames of a trial say: seconds, mean height of the soles and of each point (P,), m, and the
    vertical in the axes of each point's body (P, 3)."""

    seconds: float
    level_m: float
    height_m: Float[np.ndarray, " point"]
    upward: Float[np.ndarray, "point 3"]


def standing_frames(skeleton: Skeleton, state: State) -> Bool[np.ndarray, " time"]:
    """Frames in which a person stands: both legs straight and upright, both feet still and side by side."""
    place = dict(zip(skeleton.bodies, state.poses.position.unbind(-2), strict=True))
    points = skeleton.contact_points(state.poses)
    speed = body_point_velocity(skeleton, state, points, skeleton.contact_body_index).norm(dim=-1)
    stands = speed.amax(-1) < STILL_MS
    foot = np.array([FEET.index(name[-1]) for name in skeleton.contact_names])
    heights = [points[:, foot == f, 1].mean(-1) for f in range(len(FEET))]
    stands &= (heights[0] - heights[1]).abs() < LEVEL_M
    for side in FEET:
        joints = [place.get(f"{name}_{side}") for name in ("femur", "tibia", "talus", "calcn")]
        hip, knee, ankle = joints[0], joints[1], joints[2] if joints[2] is not None else joints[3]
        if hip is None or knee is None or ankle is None:
            return np.zeros(len(points), dtype=bool)
        leg = (hip - knee).norm(dim=-1) + (knee - ankle).norm(dim=-1)
        stands &= hip[:, 1] - ankle[:, 1] > STRAIGHT * leg
    return np.asarray(stands)


def stand_of(skeleton: Skeleton, state: State, step_s: float) -> Stand | None:
    """What a trial's standing frames say; None where nobody stands."""
    rows = standing_frames(skeleton, state)
    if not rows.any():
        return None
    height = np.median(skeleton.contact_points(state.poses)[..., 1].numpy()[rows], axis=0)
    turned = state.poses.rotation[torch.as_tensor(rows)][:, skeleton.contact_body_index]
    return Stand(float(rows.sum() * step_s), float(height.mean()), height, turned[..., 1, :].mean(0).numpy())


def fitted_points(stands: Sequence[Stand]) -> Float[np.ndarray, "point 3"]:
    """How far to move every contact point, m in the axes of its body, so that standing feet are flat.

    Points move along the mean vertical u_i of the stands, which leaves their places on the ground alone. For point i,
    with y_ik its height in stand k and h_k that of all points of this stand, the move is a_i u_i, where a_i minimises

        sum over k of rho((y_ik + a_i - h_k) / SPREAD_M) + (a_i / TYPICAL_M)^2

    with Huber's rho, by iteratively reweighted least squares: one stand with raised heels does not count for more.
    """
    gap = np.stack([stand.height_m - stand.level_m for stand in stands])
    upward = np.mean([stand.upward for stand in stands], axis=0)
    up = np.zeros(gap.shape[1])
    for _ in range(20):
        weight = np.minimum(1.0, SPREAD_M / np.maximum(np.abs(gap + up), 1e-12)) / SPREAD_M**2
        up = -(weight * gap).sum(axis=0) / (weight.sum(axis=0) + 1.0 / TYPICAL_M**2)
    return up[:, None] * upward / np.linalg.norm(upward, axis=1, keepdims=True)
