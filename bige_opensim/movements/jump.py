"""Jumps: from standing over one or more flights to standing; drop jumps from the box or from touch-down."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from bige_opensim.motion import Motion
from bige_opensim.movements.body import Body, body_of
from bige_opensim.movements.events import Repetition
from bige_opensim.movements.recording import Recording
from bige_opensim.movements.standing import runs

GRAVITY = 9.81
OFF_GROUND_M = 0.03  # clearance of both soles
FALLING = -0.2 * GRAVITY  # vertical acceleration of the centre of mass below which it is not carried
FREELY = -0.6 * GRAVITY  # that a flight must have on average
SHORTEST_FLIGHT_S = 0.08
CUT_SPEED_MS = 1.0  # vertical speed at the file's edge that nobody has who stands
LOADED_N = 200.0  # of both feet; forces low-passed at some 6 Hz pass this within 20 ms of when raw ones pass 20 N
BOTH_FEET_M = 0.10  # clearance of the higher foot just before or after a flight
NEXT_TO_FLIGHT_S = 0.1
QUIET_MS = 0.15  # speed of the centre of mass of somebody who stands still
QUIET_S, QUIET_AT_END_S = 0.2, 0.05
MARGIN_S = 0.1  # of standing kept at both ends


def flights(body: Body, vertical_force: Motion | None = None) -> list[tuple[int, int]]:
    """First and last sample of every flight.

    In the air, both soles are at least 3 cm above the ground and the centre of mass accelerates downwards by 0.2 g or
    more throughout and by 0.6 g or more on average: it falls freely, by 1 g, and filtering spreads the rest. The
    acceleration tells a flight from standing on a box. It is unreliable at the ends of the file; there a vertical
    speed above 1 m/s takes its place. Take-off and landing are moved to where the soles leave and meet the ground, if
    that is within 0.08 s, or to where measured force, if there is one, passes 200 N.
    """
    off_ground = body.clearance.min(axis=1) > OFF_GROUND_M
    acceleration, speed = body.acceleration(body.com)[:, 1], np.abs(body.velocity(body.com)[:, 1])
    edge = np.zeros(len(body.time), dtype=bool)
    near = max(round(SHORTEST_FLIGHT_S * body.rate_hz), 1)
    edge[:near] = edge[-near:] = True
    in_the_air = off_ground & ((acceleration < FALLING) | (edge & (speed > CUT_SPEED_MS)))
    found = []
    for a, b in runs(_closed(in_the_air, near)):
        cut = a == 0 or b == len(body.time) - 1
        free = acceleration[a : b + 1].mean() < FREELY
        if (free and b - a + 1 >= near) or (cut and speed[a : b + 1].max() > CUT_SPEED_MS):
            whole = _to_ground(off_ground, a, -1, near), _to_ground(off_ground, b, 1, near)
            found.append(_by_force(body, vertical_force, *whole))
    return found


def jump_repetitions(recording: Recording) -> list[Repetition]:
    """Jumps off or onto both feet; events are every take-off and landing, the last and first sample on the ground.

    1. Flights are those of `flights`; at least one end of each has both feet near the ground, which running has not.
    2. Flights with no stillness between them belong together: a drop jump, hops. Still is a centre of mass slower than
       0.15 m/s for 0.2 s, or 0.05 s at the file's ends; the turning point of a countermovement is shorter.
    3. A jump starts where stillness ends before its first flight and ends where it begins after its last, plus 0.1 s of
       it each. What the file cuts is left out: without stillness before, it starts with the first landing; without
       stillness after, it ends with the last take-off. There must be a take-off after time on the ground.

    Raises
    ------
    RepetitionError
        If the motion lacks coordinates of pelvis, hips, knees or ankles.

    """
    body = body_of(recording)
    still = _still(body)
    margin = round(MARGIN_S * body.rate_hz)
    found = []
    for group in _groups(_of_both_feet(body, flights(body, recording.vertical_force)), still):
        (leaves, lands), (leaves_last, lands_last) = group[0], group[-1]
        before = [run for run in still if run[0] < leaves]
        after = [run for run in still if run[1] > lands_last]
        start = max(min(before[-1][1], leaves) - margin, before[-1][0]) if before else lands + 1
        end = min(max(after[0][0], lands_last) + margin, after[0][1]) if after else leaves_last - 1
        take_offs = [max(a - 1, start) for a, _ in group if start <= a and a - 1 <= end]
        if not take_offs:
            continue
        events = [("take_off", at) for at in take_offs]
        events += [("landing", b + 1) for _, b in group if start <= b + 1 <= end]
        times = tuple((name, float(body.time[at])) for name, at in sorted(events, key=lambda event: event[1]))
        depth = float(np.rad2deg(body.knees[start : end + 1].max()))
        begins, bottom, ends = body.time[[start, take_offs[-1], end]].tolist()
        found.append(Repetition(begins, ends, bottom, depth, events=times))
    return found


def _still(body: Body) -> list[tuple[int, int]]:
    slow = np.linalg.norm(body.velocity(body.com), axis=1) < QUIET_MS
    long, short = (max(round(seconds * body.rate_hz), 2) for seconds in (QUIET_S, QUIET_AT_END_S))
    last = len(slow) - 1
    return [(a, b) for a, b in runs(slow, short) if b - a + 1 >= long or a == 0 or b == last]


def _closed(condition: Bool[np.ndarray, " time"], gap: int) -> Bool[np.ndarray, " time"]:
    """The condition, with gaps shorter than `gap` samples between stretches filled."""
    filled = condition.copy()
    for a, b in runs(~condition):
        if a > 0 and b < len(condition) - 1 and b - a + 1 < gap:
            filled[a : b + 1] = True
    return filled


def _to_ground(off_ground: Bool[np.ndarray, " time"], at: int, step: int, reach: int) -> int:
    """The sample next to the ground, at most `reach` samples on from `at`; `at` where the ground is farther."""
    outward = off_ground[at::step][: reach + 1]
    return at + step * (int(np.argmin(outward)) - 1) if not outward.all() else at


def _by_force(body: Body, vertical_force: Motion | None, first: int, last: int) -> tuple[int, int]:
    if vertical_force is None:
        return first, last
    total = _on(body, vertical_force)
    middle = (first + last) // 2
    if total[middle] > LOADED_N:
        return first, last
    free = [(a, b) for a, b in runs(total < LOADED_N) if a <= middle <= b]
    return free[0]


def _on(body: Body, vertical_force: Motion) -> Float[np.ndarray, " time"]:
    return np.interp(body.time, vertical_force.time, vertical_force.values.sum(axis=1))


def _of_both_feet(body: Body, found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    near, last = round(NEXT_TO_FLIGHT_S * body.rate_hz), len(body.time) - 1
    higher = body.clearance.max(axis=1)
    heights = [(higher[max(a - near, 0)] if a else np.inf, higher[min(b + near, last)] if b < last else np.inf)
               for a, b in found]  # fmt: skip
    return [flight for flight, height in zip(found, heights, strict=True) if min(height) < BOTH_FEET_M]


def _groups(found: list[tuple[int, int]], still: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    groups: list[list[tuple[int, int]]] = []
    for flight in found:
        if groups and not any(a < flight[0] and b > groups[-1][-1][1] for a, b in still):
            groups[-1].append(flight)
        else:
            groups.append([flight])
    return groups
