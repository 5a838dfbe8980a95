"""Residual reduction per person: what is wrong with a body in the same way in all of its trials.

What a model gets wrong of a person (where the trunk's mass lies, how heavy segments are, where the soles are) moves the
zero-moment point in every trial alike, and what the feet cannot supply of it is left to residuals, or looks like a seat
behind a person who stands. OpenSim's Residual Reduction Algorithm (RRA; Delp et al. 2007,
doi:10.1109/TBME.2007.901024) moves the torso's mass centre, proposes masses of the segments, and changes the
kinematics of one trial with measured forces so that the mean residuals vanish. Ours differs:

- It is found once per person from all trials, so that a recording's own errors average out.
- It needs no force plates. Unknown ground forces can supply whatever has its zero-moment point within the feet, so
  least squares are one-sided: only what lies outside of the feet, shrunk by INSET_M, counts.
- The points of the feet are corrected, too (`sole_points`).
- Total mass is kept, since feet that were not measured say nothing about it, and so is what is carried: it weighs on
  the body as declared and is no segment. Kinematics change afterwards, by
  millimetres and trial by trial (`whole_body_shift`).

**Least squares.** With the wrench (F, M) that the motion takes about the trial's ground, linear in the parameters x
(`physics.inertial_parameters`), e = max over directions n of <n . (M_z, -M_x) - F_y max_i n.c_i> / W is how far the
zero-moment point lies beyond the contact points c_i on the ground, < > the mean over WINDOW_S. x minimises

    K sum over trials of mean over samples of rho((e(x) + INSET_M)+ / SPREAD_M) / trials + sum of (x / typical)^2

with Huber's rho and K the smaller of TRIALS and their number, by Gauss-Newton steps (e is piecewise linear in x).
Parameters: the trunk's mass centre (3), masses of groups of segments (left and right alike, total kept), and how far
heels reach backward and toes forward.

**What it must not hide.** A seat, a rail or a wrong model must not become an odd body. Nobody sits with straight legs,
nor while the pelvis rises or sinks half a second away from any rest: only such frames are looked at, so that sitting
says nothing about the trunk.
Feet are only corrected on standing. However many they are, trials count for no more than TRIALS against what is typical
of bodies, and by a robust norm, so that one odd trial among many moves little. And a parameter that would go beyond
its bound is not cut there: the model is left as it is, and the label says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import uniform_filter1d

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.missing_support import QUIET_G, READY, WINDOW_S
from bige_opensim.labelling.sole_points import fitted_points, stand_of, standing_frames
from bige_opensim.physics.contact import FEET, ContactSettings, ground_height, readiness
from bige_opensim.physics.dynamics import State, body_point_velocity, body_wrenches, kinematics
from bige_opensim.physics.inertial_parameters import mass_centre_columns, mass_columns
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables
from bige_opensim.sessions.plates_to_feet import compass, runs

TRUNK_M, MASS_SHARE, SOLE_M, REACH_M = 0.05, 0.10, 0.04, 0.025
"""Bounds: of the trunk's mass centre and the segments' masses as usual for residual reduction, of a contact point's
correction and of heels and toes our choice."""
TYPICAL_TRUNK_M, TYPICAL_MASS_SHARE, TYPICAL_REACH_M = 0.02, 0.03, 0.01
INSET_M, SPREAD_M = 0.02, 0.01
"""People keep off the edges of their feet by the former; the zero-moment point is told within the latter (our choice).
"""
SAMPLE_S, STEPS, TRIALS = 0.1, 60, 4
STANDING_S, MOVING_S = 0.5, 10.0
"""What the feet and what the masses need, s of frames: masses take movements from more than one pose, feet a stand."""
RISING_MS, RESTING_MS, REST_S, BESIDE_REST_S = 0.15, 0.05, 0.3, 0.5
"""Vertical speed of the pelvis that no seat carries; what may be a rest on a seat, and how far it is kept away from.
"""
AGREEING_M = 0.01
"""Standing levels of a person's trials that differ by less are one floor's."""
KEPT_FRAMES = 10_000
"""Frames whose states, some 10 kB each, are kept for the second look at a person's trials."""
GROUPS = {
    "pelvis": ("pelvis", "sacrum"),
    "trunk": ("torso", "head", "lumbar", "thorax"),
    "thighs": ("femur",),
    "shanks": ("tibia", "patella", "fibula"),
    "feet": ("talus", "calcn", "toes"),
    "arms": ("humerus", "ulna", "radius", "hand"),
}


@dataclass(frozen=True, eq=False)
class Adjustment:
    """What is changed of a person's body.

    trunk, trunk_m: the body whose mass centre moves, and by how much (m, in its axes); masses: share of more mass of
    every group of segments; reach_m: of heels backward and of toes forward; points_m: how far contact points move (m,
    in the axes of their bodies), reach included.
    """

    trunk: str
    trunk_m: Float[np.ndarray, " 3"]
    masses: dict[str, float]
    reach_m: tuple[float, float]
    points_m: Float[np.ndarray, "point 3"]

    @classmethod
    def nothing(cls, skeleton: Skeleton) -> Adjustment:
        """A body as it is."""
        return cls(_trunk(skeleton), np.zeros(3), {}, (0.0, 0.0), np.zeros((len(skeleton.contact_names), 3)))

    def shares_of_bounds(self) -> dict[str, float]:
        """Size of every part over its bound."""
        heel, toe = self.reach_m
        soles = float(np.linalg.norm(self.points_m, axis=1).max(initial=0.0))
        return {
            "trunk mass centre": float(np.linalg.norm(self.trunk_m)) / TRUNK_M,
            **{f"mass of {name}": abs(share) / MASS_SHARE for name, share in self.masses.items()},
            "heels": abs(heel) / REACH_M,
            "toes": abs(toe) / REACH_M,
            "soles": soles / SOLE_M,
        }

    def applied(self, tables: SkeletonTables) -> SkeletonTables:
        """The skeleton of the adjusted body; inertias grow as masses do, and are about the mass centre."""
        scale = np.ones(len(tables.bodies))
        for name, members in groups_of(tables.bodies).items():
            scale[members] += self.masses.get(name, 0.0)
        com = tables.com.copy()
        com[tables.bodies.index(self.trunk)] += self.trunk_m
        return replace(
            tables,
            mass=tables.mass * scale,
            inertia=tables.inertia * scale[:, None, None],
            com=com,
            contact_centre=tables.contact_centre + self.points_m,
        )


@dataclass(frozen=True, eq=False)
class Reduction:
    """What was found for a person: the adjustment, why it is not applied (empty where it is), and on what.

    ground_m: height of the floor in all trials, None where their stands do not agree; beyond_m: root mean square of how
    far zero-moment points lie beyond the feet, before and after.
    """

    adjustment: Adjustment
    refused: str
    trials: int
    standing_s: float
    moving_s: float
    ground_m: float | None
    beyond_m: tuple[float, float]

    @property
    def out_of_bounds(self) -> bool:
        """Whether the body would have to be changed by more than may be."""
        return max(self.adjustment.shares_of_bounds().values()) > 1.0

    def as_dict(self, contact_names: Sequence[str]) -> dict[str, Any]:
        """For label.json."""
        a = self.adjustment
        return {
            "applied": not self.refused,
            "reason": self.refused,
            "trials": self.trials,
            "standing_s": round(self.standing_s, 2),
            "moving_s": round(self.moving_s, 2),
            "trunk": a.trunk,
            "trunk_mass_centre_mm": _mm(a.trunk_m),
            "masses_percent": {name: round(100.0 * share, 2) for name, share in a.masses.items()},
            "heel_and_toe_reach_mm": _mm(np.array(a.reach_m)),
            "foot_points_mm": {name: _mm(point) for name, point in zip(contact_names, a.points_m, strict=True)},
            "ground_height_m": self.ground_m,
            "share_of_bound": {name: round(share, 3) for name, share in a.shares_of_bounds().items()},
            "bounds": {
                "trunk_mass_centre_mm": 1e3 * TRUNK_M,
                "masses_percent": 100.0 * MASS_SHARE,
                "foot_points_mm": 1e3 * SOLE_M,
                "heel_and_toe_reach_mm": 1e3 * REACH_M,
            },
            "beyond_feet_rms_mm": {
                "before": round(1e3 * self.beyond_m[0], 2),
                "after": round(1e3 * self.beyond_m[1], 2),
            },
        }


def reduce_residuals(skeleton: Skeleton, trials: Sequence[Prepared], contact: ContactSettings) -> Reduction:
    """Find what to change of a body from all trials of a person."""
    plain = Adjustment.nothing(skeleton)
    stands, as_given = [], []
    states: list[State | None] = []
    for w in trials:
        state, step = _state(skeleton, w), _step(w)
        kept = sum(w.q.frames for w, known in zip(trials, states, strict=False) if known is not None)
        states.append(state if kept + w.q.frames <= KEPT_FRAMES else None)
        stand = stand_of(skeleton, state, step)
        stands += [] if stand is None else [stand]
        as_given.append(_samples(skeleton, state, step, None, contact, None)[0])
    standing_s = sum(stand.seconds for stand in stands)
    if standing_s < STANDING_S:
        why = f"Nobody stands on both feet for {STANDING_S:g} s in the {len(trials)} trial(s) of this person."
        return Reduction(plain, why, len(trials), standing_s, 0.0, None, (0.0, 0.0))
    feet = replace(plain, points_m=fitted_points(stands))
    levels = [stand.level_m for stand in stands]
    ground = float(np.median(levels)) if np.ptp(levels) < AGREEING_M else None
    flat = Skeleton(feet.applied(skeleton.tables))
    evidence = _Evidence.of(flat, trials, states, contact, Floor(ground))
    found, after = feet, evidence.beyond(np.zeros(evidence.parameters))
    if evidence.seconds >= MOVING_S:
        x = evidence.least_squares()
        found, after = evidence.adjustment(feet, x), evidence.beyond(x)
    before = _beyond(np.concatenate(as_given))
    beyond = [f"{name} {share:.1f} times" for name, share in found.shares_of_bounds().items() if share > 1.0]
    refused = ""
    if beyond:
        refused = f"The body would have to be changed by more than its bounds ({', '.join(beyond)}): check the model."
    return Reduction(found, refused, len(trials), standing_s, evidence.seconds, ground, (before, after))


@dataclass(frozen=True)
class Floor:
    """The floor under a person whose soles are corrected: its height in all trials, None where that differs."""

    height_m: float | None


def ground_of(skeleton: Skeleton, state: State, step_s: float, floor: Floor | None) -> float:
    """Height of a trial's ground, m.

    Corrected soles tell it: that of the person's floor, or where this trial stands. Otherwise, it is as low as the feet
    get (`contact.ground_height`), which is too low where toes dip in the depth of a squat.
    """
    if floor is not None:
        if floor.height_m is not None:
            return floor.height_m
        stand = stand_of(skeleton, state, step_s)
        if stand is not None and stand.seconds >= STANDING_S:
            return stand.level_m
    return ground_height(skeleton.contact_points(state.poses))


def groups_of(bodies: Sequence[str]) -> dict[str, list[int]]:
    """Bodies by group of segments; each that is in none is a group of its own."""
    found: dict[str, list[int]] = {}
    for b, body in enumerate(bodies):
        stem = body[:-2] if body[-2:] in ("_r", "_l") else body
        found.setdefault(next((g for g, names in GROUPS.items() if stem in names), stem), []).append(b)
    return found


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Samples of all trials: e(x) = max over n of (base + slope x) in m, their weights, and the seconds they stand for.

    base (S, D), slope (S, D, P): P parameters are the trunk's mass centre (3), groups of masses, heels, toes.
    """

    skeleton: Skeleton
    base: Float[np.ndarray, "sample direction"]
    slope: Float[np.ndarray, "sample direction parameter"]
    weight: Float[np.ndarray, " sample"]
    names: tuple[str, ...]
    seconds: float

    @classmethod
    def of(
        cls,
        skeleton: Skeleton,
        trials: Sequence[Prepared],
        states: Sequence[State | None],
        contact: ContactSettings,
        floor: Floor,
    ) -> _Evidence:
        """From trials and their states, as far as these are known: those of a skeleton with other contact points."""
        floats = skeleton.own_mass.numpy() > 0  # what is carried was weighed
        groups = {n: [b for b in g if floats[b]] for n, g in groups_of(skeleton.bodies).items()}
        groups = {n: g for n, g in groups.items() if g}
        parts = [
            _samples(skeleton, known or _state(skeleton, w), _step(w), groups, contact, floor)
            for w, known in zip(trials, states, strict=True)
        ]
        base, slope = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        counts = [len(part[0]) for part in parts if len(part[0])]
        spoken = max(1, len(counts))
        weight = np.repeat([min(TRIALS, spoken) / (spoken * count) for count in counts], counts)
        return cls(skeleton, base, slope, weight, tuple(groups), SAMPLE_S * len(base))

    @property
    def parameters(self) -> int:
        return 3 + len(self.names) + 2

    @cached_property
    def _typical(self) -> Float[np.ndarray, " parameter"]:
        return np.array([TYPICAL_TRUNK_M] * 3 + [TYPICAL_MASS_SHARE] * len(self.names) + [TYPICAL_REACH_M] * 2)

    @cached_property
    def _mass_row(self) -> Float[np.ndarray, " parameter"]:
        """What a change of the groups adds to the total mass, as a share of it."""
        groups = groups_of(self.skeleton.bodies)
        mass = self.skeleton.own_mass.numpy()
        share = [mass[groups[name]].sum() / mass.sum() for name in self.names]
        return np.array([0.0] * 3 + share + [0.0] * 2)

    def beyond(self, x: Float[np.ndarray, " parameter"]) -> float:
        """Root mean square of how far the zero-moment point lies beyond the feet, m."""
        return _beyond(self.base + self.slope @ x)

    def least_squares(self) -> Float[np.ndarray, " parameter"]:
        """The parameters: Gauss-Newton steps on active samples with Huber's weights, the total mass kept."""
        prior = np.diag(1.0 / self._typical**2)
        x = np.zeros(self.parameters)
        rows = np.arange(len(self.base))
        for _ in range(STEPS):
            along = self.base + self.slope @ x
            worst = along.argmax(axis=1)
            e = along[rows, worst] + INSET_M
            on = e > 0.0
            A, r = self.slope[rows[on], worst[on]], e[on]
            weight = self.weight[on] * np.minimum(1.0, SPREAD_M / r) / SPREAD_M**2
            normal, kept = A.T @ (weight[:, None] * A) + prior, self._mass_row
            with_kept = np.block([[normal, kept[:, None]], [kept[None], np.zeros((1, 1))]])
            step = np.linalg.solve(with_kept, np.append(A.T @ (weight * (A @ x - r)), 0.0))[:-1] - x
            x = x + 0.5 * step
            if np.abs(step / self._typical).max() < 1e-4:
                break
        return x

    def adjustment(self, feet: Adjustment, x: Float[np.ndarray, " parameter"]) -> Adjustment:
        heel, toe = float(x[-2]), float(x[-1])
        forward = _forward(self.skeleton)
        reach = forward[:, :, 0] * heel + forward[:, :, 1] * toe
        masses = dict(zip(self.names, x[3:-2].tolist(), strict=True))
        return Adjustment(feet.trunk, x[:3], masses, (heel, toe), feet.points_m + reach)


def beyond_feet(skeleton: Skeleton, w: Prepared, ground: float, contact: ContactSettings) -> float:
    """Root mean square of how far a trial's zero-moment point lies beyond the feet, m, in quiet frames on them."""
    margin, _, quiet = _margins(skeleton, w.state(skeleton), _step(w), ground, contact, None)
    return _beyond(margin[quiet, :, 0])


def _beyond(along: Float[np.ndarray, "sample direction"]) -> float:
    """Root mean square of the largest margin of every sample, m, as far as it is positive; 0 without samples."""
    if not len(along):
        return 0.0
    return float(np.sqrt((np.maximum(along.max(axis=1), 0.0) ** 2).mean()))


def _samples(
    skeleton: Skeleton,
    state: State,
    step: float,
    groups: dict[str, list[int]] | None,
    contact: ContactSettings,
    floor: Floor | None,
) -> tuple[np.ndarray, np.ndarray]:
    """base and slope of a trial's samples, every SAMPLE_S where the frames can be nobody's seat."""
    margin, reach, quiet = _margins(skeleton, state, step, ground_of(skeleton, state, step, floor), contact, groups)
    chosen = np.flatnonzero(quiet & _nobodys_seat(skeleton, state, step))[:: max(1, round(SAMPLE_S / step))]
    return margin[chosen, :, 0], np.concatenate([margin[chosen, :, 1:], reach[chosen]], axis=-1)


def _margins(
    skeleton: Skeleton,
    state: State,
    step: float,
    ground: float,
    contact: ContactSettings,
    groups: dict[str, list[int]] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far the zero-moment point lies beyond the feet along every direction, m, and what that depends on.

    Returns the margin (T, D, 1 + 3 + G), first of the body as it is, then per metre of the trunk's mass centre and per
    share of the groups' masses (without groups the first alone); the same per metre of reach of heels and toes
    (T, D, 2); and frames with quiet forces and feet on the ground.
    """
    width = max(1, round(WINDOW_S / step))
    weight, on_person = float(skeleton.weight_n), skeleton.person_mass > 0
    force, moment = (part[:, on_person].sum(-2) for part in body_wrenches(skeleton, state))
    columns = []
    if groups is not None:
        columns.append(mass_centre_columns(skeleton, state, skeleton.bodies.index(_trunk(skeleton))))
    if groups:
        columns.append(mass_columns(skeleton, state, list(groups.values())))
    of_force = torch.cat([force[..., None], *(c[0] for c in columns)], -1).numpy()
    of_moment = torch.cat([moment[..., None], *(c[1] for c in columns)], -1).numpy()

    points = skeleton.contact_points(state.poses)
    velocity = body_point_velocity(skeleton, state, points, skeleton.contact_body_index)
    ready = readiness(points, velocity, ground, contact).numpy() > READY
    normal, frames = compass(), np.arange(len(points))[:, None]
    along = np.where(ready[..., None], points.numpy()[..., [0, 2]] @ normal.T, -np.inf)
    corner, edge = along.argmax(axis=1), np.where(np.isfinite(along.max(axis=1)), along.max(axis=1), 0.0)
    turned = state.poses.rotation[:, skeleton.contact_body_index].numpy()
    forward = np.einsum("tpxy,pye->tpxe", turned, _forward(skeleton))[:, :, [0, 2]]

    about = np.stack([of_moment[:, 2], -of_moment[:, 0]], 1) + ground * of_force[:, [0, 2]]  # F_y p on the ground
    margin = np.einsum("dx,txk->tdk", normal, about) - edge[..., None] * of_force[:, None, 1]
    outward = np.einsum("tdxe,dx->tde", forward[frames, corner], normal)
    reach = -outward * np.maximum(of_force[:, 1, :1], 0.0)[..., None]
    mean = uniform_filter1d(of_force[..., 0] / weight, width, axis=0, mode="nearest")
    quiet = np.asarray((np.linalg.norm(mean - [0.0, 1.0, 0.0], axis=1) < QUIET_G) & ready.any(axis=1))
    margin, reach = (uniform_filter1d(x / weight, width, axis=0, mode="nearest") for x in (margin, reach))
    return margin, reach, quiet


def _nobodys_seat(skeleton: Skeleton, state: State, step: float) -> np.ndarray:
    """Frames whose legs are straight, or whose pelvis rises or sinks away from any rest below."""
    height = state.poses.position[:, skeleton.bodies.index(_root(skeleton)), 1].numpy()
    width = max(1, round(WINDOW_S / step))
    rising = np.abs(uniform_filter1d(np.gradient(height, step), width, mode="nearest"))
    stands = standing_frames(skeleton, state)
    beside, around = np.zeros(len(height), dtype=bool), round(BESIDE_REST_S / step)
    for rest in runs(~stands & (rising < RESTING_MS)):
        if (rest.stop - rest.start) * step >= REST_S:
            beside[max(0, rest.start - around) : rest.stop + around] = True
    return np.asarray(stands | ((rising > RISING_MS) & ~beside))


def _forward(skeleton: Skeleton) -> Float[np.ndarray, "point 3 2"]:
    """Direction in which a point moves per metre of reach of the heels, and of the toes, in the axes of its body.

    The last point of each foot is the heel; those of the toes' body, or the foremost where there is none, are the toes.
    """
    names = skeleton.contact_names
    centre = skeleton.contact_centre.numpy()
    bodies = [skeleton.bodies[b] for b in skeleton.contact_body_index.tolist()]
    moves = np.zeros((len(names), 3, 2))
    for side in FEET:
        mine = [p for p, name in enumerate(names) if name[-1] == side]
        hind = [p for p in mine if not bodies[p].startswith("toes")]
        fore = [p for p in mine if bodies[p].startswith("toes")]
        if hind:
            moves[min(hind, key=lambda p: centre[p, 0]), 0, 0] = -1.0
        for p in fore or ([max(mine, key=lambda p: centre[p, 0])] if mine else []):
            moves[p, 0, 1] = 1.0
    return moves


def _trunk(skeleton: Skeleton) -> str:
    return "torso" if "torso" in skeleton.bodies else _root(skeleton)


def _root(skeleton: Skeleton) -> str:
    return "pelvis" if "pelvis" in skeleton.bodies else skeleton.bodies[0]


def _state(skeleton: Skeleton, w: Prepared) -> State:
    """Of one trial of many: not kept."""
    return kinematics(skeleton, *(w.tensor(skeleton, m) for m in (w.q, w.qd, w.qdd)))


def _step(w: Prepared) -> float:
    return float(np.median(np.diff(w.q.time)))


def _mm(values: Float[np.ndarray, " value"]) -> list[float]:
    return [round(1e3 * float(v), 2) for v in values]
