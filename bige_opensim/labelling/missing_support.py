"""Support that is not under the feet or was not measured: a chair, a hand on a rail, a foot beside the plates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import median_filter, uniform_filter1d

from bige_opensim.physics.carriers import HANDS, Carrier
from bige_opensim.physics.contact import FEET, ContactSettings, GroundForces, readiness
from bige_opensim.physics.dynamics import State, body_point_velocity, body_wrenches
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.sessions.plates_to_feet import SIDES, compass, outside, runs

MISSING_BW = 0.1
"""Vertical force in body weights beyond which support is missing: above what a mass wrong by 5 % or noise makes."""
QUIET_G = 0.25
"""Acceleration of the mass centre, in g, below which a lacking force is a support and no error of the accelerations."""
QUIET_S, WINDOW_S = 0.1, 0.3
BEYOND_M = 0.03
"""Distance beyond the feet that the outline of the soles and the place of the mass centre may be wrong by."""
READY = 0.1
WEIGHT_TOLERANCE, STEADY, LEAST_SHARE = 0.05, 0.15, 0.5
"""Differences of mass, and changes of the share that plates carry, that count for none; no person weighs less."""
SEAT_M = 0.15
"""What a seat may lie farther out than the pelvis' origin, between the front of the iliac crests."""
NEAR_PELVIS_M, NEAR_HAND_M, UNDER_FOOT_M = 0.25, 0.2, 0.1


@dataclass(frozen=True)
class MissingSupport:
    """From start to end (s) something else carries up to `peak_missing_bw` body weights; `where` is a guess at what."""

    start_s: float
    end_s: float
    peak_missing_bw: float
    where: str

    def as_dict(self) -> dict[str, Any]:
        """For label.json."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class SupportCheck:
    """Intervals that lack support, the frames within them, and `carried`.

    carried: of the vertical impulse that the motion demands in the other frames, the share that plates measured; None
    without plates.
    """

    time: Float[np.ndarray, " time"]
    intervals: tuple[MissingSupport, ...]
    missing: Bool[np.ndarray, " time"]
    carried: float | None = None

    def at(self, time: Float[np.ndarray, " other"]) -> SupportCheck:
        """The same for some of the frames."""
        rows = np.searchsorted(self.time, time - 1e-6)
        first, last = float(time[0]), float(time[-1])
        cut = [
            replace(i, start_s=max(i.start_s, first), end_s=min(i.end_s, last))
            for i in self.intervals
            if i.start_s <= last and i.end_s >= first
        ]
        return SupportCheck(time, tuple(cut), self.missing[rows], self.carried)


@dataclass(frozen=True, eq=False)
class _Lack:
    """What is lacking per frame in body weights, smoothed, and a guess at where it acts over some frames."""

    weights: Float[np.ndarray, " time"]
    guess: Callable[[slice], str]


def find_missing_support(
    skeleton: Skeleton,
    state: State,
    qd: Float[torch.Tensor, "time coordinate"],
    time: Float[np.ndarray, " time"],
    ground: float,
    contact: ContactSettings,
    measured: GroundForces | None = None,
    others: Sequence[Carrier] = (),
) -> SupportCheck:
    """Frames in which the feet, or the plates, do not carry the body although it hardly accelerates.

    The surroundings must supply the wrench F = sum m (a - g), M = sum (I alpha + w x I w + c x m (a - g)). What of it
    is lacking, in vertical force S:

    - With plates, S = F_y minus the measured vertical force, smoothed by a running median over WINDOW_S. It acts where
      the remaining wrench has its centre of pressure.
    - Without, feet can supply any vertical force whose centre of pressure lies in the hull of the points c_i that are
      on the ground. The zero-moment point of (F, M), x = M_z / F_y, z = -M_x / F_y about the ground plane (Vukobratovic
      and Borovac 2004, doi:10.1142/S0219843604000083), may lie outside, by the distance

          d = max over directions n of  <F_y (n.p - max_i n.c_i)> / <F_y>,

      where < > is the mean over WINDOW_S: noise of the accelerations throws p about, but its mean moves little, and as
      every term is at most 0 while the feet suffice, so is the mean, however the feet move. A support at a distance s
      beyond the feet in that direction carries at least S = F_y d / s, by moments about the edge of the hull. s is that
      of the pelvis if it reaches the zero-moment point (a seat), else of the hand that does (a rail), else of the part
      of the body that is farthest out. Where d is below BEYOND_M, or more than any part reaches (nothing that touches
      the body could push there), it is an error of the motion, not a support. With no point on the ground S = F_y.

    Stretches with S above MISSING_BW body weights count if for QUIET_S of them the mean acceleration of the mass centre
    is below QUIET_G. In flight F is near zero, and while a jump is pushed off or lands the acceleration is large:
    neither lacks support.

    Parameters
    ----------
    skeleton
        The model; needs feet.
    state
        Of T frames.
    qd
        Speeds, rad/s and m/s.
    time
        s.
    ground
        Height of the ground, m.
    contact
        When a point of a foot counts as being on the ground.
    measured
        Forces of plates; None if forces are estimated.
    others
        What is declared to carry besides; its points widen the hull of the feet while they can push.
    """
    step = float(np.median(np.diff(time)))
    width = max(min(2 * round(0.5 * WINDOW_S / step) + 1, 2 * (len(time) // 2) - 1), 1)
    force, moment = (part[:, skeleton.person_mass > 0].sum(dim=-2).numpy() for part in body_wrenches(skeleton, state))
    demand = _Demand(force, moment, float(skeleton.weight_n), width)
    body = _Body(skeleton, state, ground)
    if measured is None:
        points = skeleton.contact_points(state.poses)
        velocity = body_point_velocity(skeleton, state, points, skeleton.contact_body_index)
        ready = readiness(points, velocity, ground, contact).numpy() > READY
        flat = body.feet
        for other in others:
            reached, able = other.footprint(skeleton, state)
            ready = np.concatenate([ready, able.numpy() > READY], axis=1)
            flat = np.concatenate([flat, reached.numpy()[..., [0, 2]]], axis=1)
        lack = _feet_cannot(demand, ready, flat, body, ground)
    else:
        lack = _not_measured(demand, measured, body)
    quiet = np.linalg.norm(demand.mean(force) / demand.weight - [0.0, 1.0, 0.0], axis=1) < QUIET_G
    intervals, missing = [], np.zeros(len(time), dtype=bool)
    for run in runs(lack.weights > MISSING_BW):
        if quiet[run].sum() * step < QUIET_S:
            continue
        missing[run] = True
        peak = round(float(lack.weights[run].max()), 3)
        intervals.append(MissingSupport(float(time[run][0]), float(time[run][-1]), peak, lack.guess(run)))
    carried = None
    if measured is not None and not missing.all():
        known = measured.force[:, :, 1].sum(1).numpy()
        carried = float(known[~missing].sum() / force[~missing, 1].sum())
    return SupportCheck(time, tuple(intervals), missing, carried)


@dataclass(frozen=True, eq=False)
class _Demand:
    """The wrench about the ground origin that the surroundings must supply, body weight (N), the window in frames."""

    force: Float[np.ndarray, "time 3"]
    moment: Float[np.ndarray, "time 3"]
    weight: float
    width: int

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Running mean over the window."""
        return uniform_filter1d(values, self.width, axis=0, mode="nearest")

    def median(self, values: np.ndarray) -> np.ndarray:
        """Running median over the window, which keeps edges where they are."""
        return median_filter(values, size=self.width, mode="nearest")


class _Body:
    """Where parts of the body are, seen from above: pelvis, hands, all bodies, the footprints, and forward."""

    def __init__(self, skeleton: Skeleton, state: State, ground: float) -> None:
        position = state.poses.position.numpy()
        flat = position[..., [0, 2]]
        root = "pelvis" if "pelvis" in skeleton.bodies else skeleton.bodies[0]
        self.pelvis = flat[:, skeleton.bodies.index(root)]
        found = {side: [name for name in names if name in skeleton.bodies] for side, names in HANDS.items()}
        self.hands = {side: flat[:, skeleton.bodies.index(names[0])] for side, names in found.items() if names}
        self.all = flat
        points = skeleton.contact_points(state.poses).numpy()
        self.feet = points[..., [0, 2]]
        self.foot = np.array([FEET.index(name[-1]) for name in skeleton.contact_names])
        self.clearance = points[..., 1].min(axis=1) - ground
        heels = np.stack([flat[:, skeleton.bodies.index(f"calcn_{side}")] for side in FEET], axis=1)
        forward = self.feet.mean(axis=1) - heels.mean(axis=1)
        self.forward = forward / np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)

    def side_of_feet(self, run: slice, direction: Float[np.ndarray, "time 2"]) -> str:
        """In words, where something lies from the feet."""
        away = np.median(direction, axis=0)
        ahead = np.median(self.forward[run], axis=0)
        along, across = float(away @ ahead), float(away @ np.array([-ahead[1], ahead[0]]))
        if abs(along) >= abs(across):
            return "in front of the feet" if along > 0 else "behind the feet"
        return "right of the feet" if across > 0 else "left of the feet"


def _feet_cannot(
    demand: _Demand,
    ready: Bool[np.ndarray, "time point"],
    points: Float[np.ndarray, "time point 2"],
    body: _Body,
    ground: float,
) -> _Lack:
    normal, upward = compass(), np.maximum(demand.force[:, 1], 0.0)
    standing = np.asarray(ready.any(axis=1))
    along = np.where(ready[..., None], points @ normal.T, -np.inf).max(axis=1)
    edge = np.where(standing[:, None], along, 0.0)
    about = np.stack([demand.moment[:, 2], -demand.moment[:, 0]], axis=1)  # F_y p on the plane y = 0
    pressed = (about + ground * demand.force[:, [0, 2]]) @ normal.T
    margin = np.where(standing[:, None], pressed - upward[:, None] * edge, 0.0)
    carried = np.maximum(demand.mean(np.where(standing, upward, 0.0)), 0.02 * demand.weight)
    beyond = demand.mean(margin) / carried[:, None]
    best, frames = beyond.argmax(axis=1), np.arange(len(beyond))
    distance, direction, edge = beyond[frames, best], normal[best], edge[frames, best]
    reach = _reaches(body, direction, edge)
    share = np.zeros_like(distance)
    for part in reversed([part for part in _CARRIERS if part in reach]):
        share = np.where(reach[part] >= distance, distance / np.maximum(reach[part], 1e-9), share)
    weights = np.where(distance > BEYOND_M, share, 0.0) * demand.mean(upward) / demand.weight
    alone = demand.median(np.where(standing, 0.0, upward / demand.weight))

    def guess(run: slice) -> str:
        if np.mean(standing[run]) < 0.5:
            return f"the feet are {float(np.median(body.clearance[run])):.2f} m above the ground: a box or a step?"
        where = body.side_of_feet(run, direction[run])
        out = distance[run] > BEYOND_M
        for part in _CARRIERS[:-1]:
            if part in reach and np.mean(reach[part][run][out] >= distance[run][out]) > 0.5:
                return f"{where}, {_part(part)}"
        return where

    return _Lack(np.maximum(weights, alone), guess)


_CARRIERS = ("pelvis", "hand_r", "hand_l", "body")


def _reaches(
    body: _Body, direction: Float[np.ndarray, "time 2"], edge: Float[np.ndarray, " time"]
) -> dict[str, Float[np.ndarray, " time"]]:
    """How far parts of the body are beyond the edge of the feet, m."""
    parts = {f"hand_{side}": np.einsum("tx,tx->t", hand, direction) for side, hand in body.hands.items()}
    parts["pelvis"] = np.einsum("tx,tx->t", body.pelvis, direction) + SEAT_M
    parts["body"] = np.einsum("tbx,tx->tb", body.all, direction).max(axis=1)
    return {name: along - edge for name, along in parts.items()}


def _not_measured(demand: _Demand, measured: GroundForces, body: _Body) -> _Lack:
    known = measured.torque + torch.linalg.cross(measured.point, measured.force)
    share = _lighter(demand, measured.force[:, :, 1].sum(1).numpy())
    rest = share * demand.force - measured.force.sum(1).numpy()
    turn = share * demand.moment - known.sum(1).numpy()
    place = _crossing(rest, turn, float(measured.point[..., 1].mean()), demand.weight)

    def guess(run: slice) -> str:
        for f, side in enumerate(FEET):
            if np.median(outside(place[run], body.feet[run][:, body.foot == f])[0]) < UNDER_FOOT_M:
                return f"under the {SIDES[side]} foot: off the plates?"
        where = body.side_of_feet(run, place[run] - body.feet[run].mean(axis=1))
        if np.median(np.linalg.norm(place[run] - body.pelvis[run], axis=1)) < NEAR_PELVIS_M:
            return f"{where}, {_part('pelvis')}"
        for side, hand in body.hands.items():
            if np.median(np.linalg.norm(place[run] - hand[run], axis=1)) < NEAR_HAND_M:
                return f"{where}, {_part(f'hand_{side}')}"
        return where

    return _Lack(demand.median(rest[:, 1] / demand.weight), guess)


def _lighter(demand: _Demand, vertical: Float[np.ndarray, " time"]) -> float:
    """What the person weighs in shares of the model, where the plates carry a steady share of it; else 1.

    Plates that always carry the same share say that the model is too heavy: what lacks against a model of another mass
    is no support. A seat or a rail carries at times. The share is the ratio of running means in frames with half the
    model's weight or more; it is steady where median and 95th percentile differ by less than STEADY of it.
    """
    force = demand.mean(demand.force[:, 1])
    standing = force > 0.5 * demand.weight
    if not standing.any():
        return 1.0
    median, most = np.quantile((demand.mean(vertical) / np.where(standing, force, 1.0))[standing], [0.5, 0.95])
    steady = LEAST_SHARE < most < 1.0 - WEIGHT_TOLERANCE and median > (1.0 - STEADY) * most
    return float(median) if steady else 1.0


def _crossing(
    force: Float[np.ndarray, "time 3"], moment: Float[np.ndarray, "time 3"], height: float, weight: float
) -> Float[np.ndarray, "time 2"]:
    """Where a wrench crosses the plane y = height without horizontal moment; far forces of no size stay near 0."""
    vertical = np.maximum(force[:, 1], 0.02 * weight)
    x = (moment[:, 2] + height * force[:, 0]) / vertical
    z = (height * force[:, 2] - moment[:, 0]) / vertical
    return np.stack([x, z], axis=1)


def _part(name: str) -> str:
    if name == "pelvis":
        return "near the pelvis: a seat?"
    return f"near the {SIDES[name[-1]]} hand: a rail or a table?"
