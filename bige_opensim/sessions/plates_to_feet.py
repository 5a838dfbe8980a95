"""Which foot stands on which force plate when, by the centre of pressure; and the feet's forces that follow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from bige_opensim.io.force_plates import LOADED_N, ForceFile, ForcePlateError, Plate, point_on_plane
from bige_opensim.motion import Motion
from bige_opensim.physics.contact import FEET, GroundForces
from bige_opensim.physics.skeleton import Skeleton

RIGHT, LEFT, BOTH, NEITHER, NOBODY = range(5)
LIFTED_M = 0.03
"""Height above its lowest that a foot under load may have: recorded soles are no planes, and filters blur landings."""
BOTH_COST_M, BOTH_BESIDE_OTHER_COST_M, NEITHER_COST_M = 0.03, 0.10, 0.15
SWITCH_COST_MS = 0.004
TRUSTED_N = 100.0
"""Vertical force from which a centre of pressure counts in full; below, noise of a few N·m moves it by decimetres."""
BELT_STEPS, BELT_SHARE = 4, 0.9
"""A plate that one foot steps on so often, with such a share of the impulse, is this foot's belt of a treadmill."""
WEAK_SHARE = 0.2
"""Load, in shares of a belt's usual peak, below which it is no step but drift, or the other belt's."""
PASSING_S = 0.15
"""On a belt a shorter stretch that both feet seem to stand on is its own foot's, while the other one passes."""
DIRECTIONS = 64
HELD_N = 30.0
"""Filtered vertical force below which a foot keeps the centre of pressure it had: a quotient of two small numbers."""
SIDES = {"r": "right", "l": "left"}


@dataclass(frozen=True, eq=False)
class Feet:
    """Where the feet are: time (T,) s, contact points (T, P, 3) m, the foot of each point (0 right, 1 left)."""

    time: Float[np.ndarray, " time"]
    points: Float[np.ndarray, "time point 3"]
    foot: Int[np.ndarray, " point"]

    @classmethod
    def of(cls, skeleton: Skeleton, q: Motion) -> Feet:
        """Feet of a motion."""
        poses = skeleton(torch.as_tensor(q.select(skeleton.coordinates).values))
        foot = np.array([FEET.index(name[-1]) for name in skeleton.contact_names])
        return cls(q.time, skeleton.contact_points(poses).numpy(), foot)

    def clearance(self) -> Float[np.ndarray, "time foot"]:
        """Height of the lowest point of each foot above the lowest it usually gets (5th percentile), m, at least 0."""
        lowest = np.stack([self.points[:, self.foot == f, 1].min(axis=1) for f in (RIGHT, LEFT)], axis=1)
        return np.maximum(lowest - np.percentile(lowest, 5.0, axis=0), 0.0)


@dataclass(frozen=True)
class Step:
    """A plate carries a foot ("r" or "l") from start to end, s; distance_m: median, centre of pressure to foot."""

    plate: str
    foot: str
    start_s: float
    end_s: float
    distance_m: float

    def as_dict(self) -> dict[str, Any]:
        """For label.json."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Assignment:
    """owner (N plates, T samples): 0 right foot, 1 left foot, -1 nobody; the steps; and what was noticed."""

    owner: Int[np.ndarray, "plate sample"]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]


def outside(
    point: Float[np.ndarray, "time 2"], corners: Float[np.ndarray, "time corner 2"]
) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, "time 2"]]:
    """Distance of a point from the convex hull of the corners, and the direction from the hull to it; 0 inside.

    d(p) = max over unit vectors n of n.p - max_i n.c_i (the distance from a convex set by its support function), over
    the vectors of `compass`, which is exact to 0.2 %.
    """
    normal = compass()
    beyond = point @ normal.T - (corners @ normal.T).max(axis=1)
    return np.maximum(beyond.max(axis=1), 0.0), normal[beyond.argmax(axis=1)]


def compass() -> Float[np.ndarray, "direction 2"]:
    """Unit vectors in DIRECTIONS directions of the plane."""
    angle = np.arange(DIRECTIONS) * (2.0 * np.pi / DIRECTIONS)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def assign(recorded: ForceFile, feet: Feet, window: tuple[float, float] | None = None) -> Assignment:
    """Foot of every plate and sample, the least-cost explanation of the centres of pressure.

    While a plate is loaded, each frame of the motion is explained by the right foot, the left foot, both at once, or
    neither. A foot costs the distance (m) of the centre of pressure from its footprint (hull of its contact points),
    together with its height off the ground; both feet cost the distance from their common hull and a supplement, larger
    where another plate is loaded too; neither costs a constant. The sum over time, with a cost for every change, is
    minimised by dynamic programming, so that single frames do not decide, and a plate on which one foot follows the
    other is split between them. Costs of frames with a load below TRUSTED_N shrink with it. Samples take the
    explanation of the nearest frame of the motion. A belt of a treadmill, which one foot steps on again and again, is
    that foot's (`_on_belts`).

    `window` is what will be labelled, s; what is outside cannot be refused, and is left out where it is not clear.

    Raises
    ------
    ForcePlateError
        Both feet stand on one plate at once, or the centre of pressure is at neither foot.

    """
    centres = [plate.centre_of_pressure() for plate in recorded.plates]
    at = _nearest(recorded.time, feet.time)
    within = (feet.time >= recorded.time[0] - 0.01) & (feet.time <= recorded.time[-1] + 0.01)
    loaded = np.array([plate.loaded[at] & within for plate in recorded.plates])
    owner = np.full((len(recorded.plates), len(recorded.time)), -1)
    frame_of = _nearest(feet.time, recorded.time)
    first, last = (feet.time[0], feet.time[-1]) if window is None else window
    asked = slice(*np.searchsorted(feet.time, [first - 1e-6, last + 1e-6]).tolist())
    steps: list[Step] = []
    notes: list[str] = []
    for k, plate in enumerate(recorded.plates):
        others = np.asarray(np.delete(loaded, k, axis=0).any(axis=0))
        explained, all_costs = np.full(len(feet.time), -1), np.zeros((len(feet.time), 4))
        for run in runs(loaded[k]):
            costs, load = _costs(centres[k][at[run]], feet, run, others[run]), plate.force[at[run], 1]
            explained[run] = _cheapest(costs * np.minimum(load / TRUSTED_N, 1.0)[:, None], feet.time[run])
            all_costs[run] = costs
        elsewhere = sum((p.force[at, 1] for p in recorded.plates if p is not plate), np.zeros(len(at)))
        explained, astride, said = _on_belts(plate, feet.time, explained, plate.force[at, 1], elsewhere)
        notes += [f"{recorded.path.name}: {text}" for text in said]
        stepping = np.where(astride, NOBODY, explained)
        for run in runs(loaded[k]):
            seen = slice(max(run.start, asked.start), min(run.stop, asked.stop))
            if seen.start < seen.stop:
                _refuse(recorded, plate, feet.time[seen], explained[seen], all_costs[seen])
                steps += _steps(plate, feet.time[seen], stepping[seen], all_costs[seen])
        found = _held(explained)[frame_of]
        owner[k] = np.where(plate.loaded & (found <= LEFT), found, -1)
        notes += _noticed(
            recorded, plate, [step for step in steps if step.plate == plate.name], bool(loaded[k][asked].any())
        )
    return Assignment(owner, tuple(steps), tuple(notes))


def _on_belts(
    plate: Plate,
    time: Float[np.ndarray, " time"],
    explained: Int[np.ndarray, " time"],
    load: Float[np.ndarray, " time"],
    elsewhere: Float[np.ndarray, " time"],
) -> tuple[Int[np.ndarray, " time"], Bool[np.ndarray, " time"], list[str]]:
    """Explanations of a treadmill's belt, whose foot is decided by all of its steps; where the other foot is astride.

    Where the other foot, both or neither seem to stand on it, and the median load is below WEAK_SHARE of the own foot's
    usual peak, it is no step. If the other plates (load `elsewhere`) carry as much less than they usually do at that
    moment of a stance, the other foot stands astride both belts, and the load is its. Else the plate's zero drifts, and
    carries nobody while the load is below that share; what is above are the own foot's landing and lift. A stretch of
    both feet shorter than PASSING_S is the own foot's. The rest is believed: people do step across.

    Returns the explanations, the frames of a foot astride, and what was noticed.
    """
    astride = np.zeros(len(explained), dtype=bool)
    own_runs = {f: runs(explained == f) for f in (RIGHT, LEFT)}
    own = max(own_runs, key=lambda f: len(own_runs[f]))
    impulse = np.maximum(load, 0.0) * np.gradient(time)
    carried = impulse[explained >= 0].sum()
    if len(own_runs[own]) < BELT_STEPS or impulse[explained == own].sum() < BELT_SHARE * carried:
        return explained, astride, []
    weak = WEAK_SHARE * float(np.median([load[run].max() for run in own_runs[own]]))
    found, drifting = explained.copy(), []
    for state in (1 - own, BOTH, NEITHER):
        for run in runs(explained == state):
            if np.median(load[run]) < weak:
                below = load[run] < weak
                astride[run] = below & (state == 1 - own and _lacks(elsewhere, run, load))
                drifting += [] if astride[run].any() else [run]
                found[run] = np.where(below, 1 - own if astride[run].any() else NOBODY, own)
            elif state == BOTH and time[run][-1] - time[run][0] < PASSING_S:
                found[run] = own
    own_foot, other_foot = (SIDES[FEET[f]] for f in (own, 1 - own))
    of = f"plate '{plate.name}' is the {own_foot} foot's by {len(own_runs[own])} steps"
    both_belts = f"the {other_foot} foot stands astride both belts there"
    said = [
        f"{of}; {max(float(np.median(load[run])) for run in some):.0f} N or less in {len(some)} stretch"
        f"{'es' if len(some) > 1 else ''} between them: {what}."
        for some, what in ((runs(astride), both_belts), (drifting, "taken for drift of its zero"))
        if some
    ]
    return found, astride, said


def _lacks(elsewhere: Float[np.ndarray, " time"], run: slice, load: Float[np.ndarray, " time"]) -> bool:
    """Whether the other plates carry less in a run than at the same moments of other stances, by half of its load."""
    stances = [stance for stance in runs(elsewhere > LOADED_N) if stance.stop - stance.start >= BELT_STEPS]
    middle = (run.start + run.stop) // 2
    within = next((stance for stance in stances if stance.start <= middle < stance.stop), None)
    if within is None:
        return False
    rows = np.arange(max(run.start, within.start), min(run.stop, within.stop))
    phase = (rows - within.start) / (within.stop - within.start)
    others = [stance for stance in stances if stance is not within]
    usual = [
        np.interp(phase, np.linspace(0.0, 1.0, stance.stop - stance.start), elsewhere[stance]).mean()
        for stance in others
    ]
    return bool(others) and float(np.median(usual) - elsewhere[rows].mean()) > 0.5 * float(load[rows].mean())


def runs(mask: Bool[np.ndarray, " time"]) -> list[slice]:
    """Stretches in which the mask holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _nearest(grid: np.ndarray, time: np.ndarray) -> Int[np.ndarray, " time"]:
    middles = 0.5 * (grid[1:] + grid[:-1])
    return np.searchsorted(middles, time)


def _costs(
    centre: Float[np.ndarray, "time 3"], feet: Feet, run: slice, others: Bool[np.ndarray, " time"]
) -> Float[np.ndarray, "time 4"]:
    lifted = np.maximum(feet.clearance()[run] - LIFTED_M, 0.0)
    flat, points = centre[:, [0, 2]], feet.points[run][..., [0, 2]]
    single = [outside(flat, points[:, feet.foot == f])[0] for f in (RIGHT, LEFT)]
    costs = np.stack([*single, outside(flat, points)[0], np.full(len(flat), NEITHER_COST_M)], axis=1)
    costs[:, :BOTH] = np.hypot(costs[:, :BOTH], lifted)
    costs[:, BOTH] += lifted.max(axis=1) + np.where(others, BOTH_BESIDE_OTHER_COST_M, BOTH_COST_M)
    return costs


def _cheapest(costs: Float[np.ndarray, "time state"], time: np.ndarray) -> Int[np.ndarray, " time"]:
    """The sequence of states with the least cost over time plus SWITCH_COST_MS per change (Viterbi's recursion)."""
    step = np.gradient(time) if len(time) > 1 else np.ones(1)
    total, came = costs[0] * step[0], np.zeros(costs.shape, dtype=int)
    switch = SWITCH_COST_MS * (1.0 - np.eye(costs.shape[1]))
    for t in range(1, len(costs)):
        through = total[:, None] + switch
        came[t] = through.argmin(axis=0)
        total = through.min(axis=0) + costs[t] * step[t]
    path = [int(total.argmin())]
    for t in range(len(costs) - 1, 0, -1):
        path.append(int(came[t, path[-1]]))
    return np.array(path[::-1])


def _held(explained: Int[np.ndarray, " time"]) -> Int[np.ndarray, " time"]:
    """Frames in which the plate carries nobody take the nearest explanation, for samples between two frames."""
    known = np.flatnonzero(explained >= 0)
    if not len(known):
        return explained
    return explained[known[_nearest(known.astype(float), np.arange(len(explained), dtype=float))]]


def _refuse(
    recorded: ForceFile, plate: Plate, time: np.ndarray, explained: np.ndarray, costs: Float[np.ndarray, "time 4"]
) -> None:
    for state in (BOTH, NEITHER):
        found = runs(explained == state)
        if not found:
            continue
        run = max(found, key=lambda r: r.stop - r.start)
        when = f"{time[run][0]:.2f} to {time[run][-1]:.2f} s"
        if state == BOTH:
            raise ForcePlateError(
                f"{recorded.path}: both feet stand on plate '{plate.name}' at once ({when}); how they share its force "
                "was not measured. Cut the motion (--start, --end), or estimate the forces (--grf estimated)."
            )
        away = float(np.median(costs[run, :BOTH].min(axis=1)))
        raise ForcePlateError(
            f"{recorded.path}: the force on plate '{plate.name}' acts {away:.2f} m away from either foot ({when}). "
            "Bring forces and motion to the same axes, origin and time, give torques about the points of the file, and "
            "take the offset of unloaded plates off."
        )


def _steps(plate: Plate, time: np.ndarray, explained: np.ndarray, costs: Float[np.ndarray, "time 4"]) -> list[Step]:
    return [
        Step(plate.name, FEET[f], float(time[r][0]), float(time[r][-1]), float(np.median(costs[r, f])))
        for f in (RIGHT, LEFT)
        for r in runs(explained == f)
    ]


def _noticed(recorded: ForceFile, plate: Plate, steps: list[Step], loaded: bool) -> list[str]:
    if not loaded:
        return [f"{recorded.path.name}: nobody stands on plate '{plate.name}' during the motion."]
    wrong = sorted({SIDES[s.foot] for s in steps if plate.side not in (None, s.foot)})
    if not wrong:
        return []
    return [
        f"{recorded.path.name}: plate '{plate.name}' is named for the other side, but by its centre of pressure the "
        f"{' and the '.join(wrong)} foot stands on it; the centre of pressure was believed."
    ]


def feet_forces(
    recorded: ForceFile,
    owner: Int[np.ndarray, "plate sample"],
    time: Float[np.ndarray, " time"],
    cutoff_hz: float,
) -> tuple[GroundForces, float]:
    """Forces on the right and the left foot at the given times, and the height of the plates, m.

    Force and moment about the ground origin are filtered like the coordinates, and the centre of pressure is formed
    from the filtered wrench. Filtering the centre of pressure itself would let it jump whenever a foot lifts.
    """
    height = float(np.mean([plate.height for plate in recorded.plates if plate.loaded.any()] or [0.0]))
    wrench = np.zeros((len(recorded.time), 2, 6))
    for k, plate in enumerate(recorded.plates):
        both = np.hstack([plate.force, plate.moment])
        for f in (RIGHT, LEFT):
            wrench[:, f] += np.where((owner[k] == f)[:, None], both, 0.0)
    names = tuple(f"{part}{axis}_{side}" for side in FEET for part in ("force_", "moment_") for axis in "xyz")
    series = Motion(recorded.time, wrench.reshape(len(wrench), 12), names).lowpass(cutoff_hz)
    filtered = series.resampled(np.clip(time, recorded.time[0], recorded.time[-1])).values.reshape(-1, 2, 6)
    return at_centre_of_pressure(filtered[..., :3], filtered[..., 3:], height, time), height


def at_centre_of_pressure(
    force: Float[np.ndarray, "time foot 3"],
    moment: Float[np.ndarray, "time foot 3"],
    height: float,
    time: Float[np.ndarray, " time"],
) -> GroundForces:
    """The same wrenches (moment about the ground origin) with their force at the centre of pressure, always finite.

    It is where the force crosses the plane at `height` (`point_on_plane`) where F_y exceeds HELD_N. Elsewhere the point
    moves evenly from the last to the next centre of pressure, and the torque M - p x F takes the rest of the moment, so
    the wrench stays what was measured.
    """
    point = np.zeros_like(force)
    point[..., 1] = height
    for f in range(force.shape[1]):
        loaded = force[:, f, 1] > HELD_N
        if not loaded.any():
            continue
        crossing = point_on_plane(force[loaded, f], moment[loaded, f], height)
        for axis in (0, 2):
            point[:, f, axis] = np.interp(time, time[loaded], crossing[:, axis])
    torque = moment - np.cross(point, force)
    return GroundForces(torch.as_tensor(force), torch.as_tensor(point), torch.as_tensor(torque))
