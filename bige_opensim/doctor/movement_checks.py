"""Whether a motion is the movement of a person on the ground: sampling, stillness, posture, height, feet that stay."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from bige_opensim.doctor.findings import Finding, Severity
from bige_opensim.doctor.series_checks import USUAL_CUTOFF_HZ, needed_rate, runs
from bige_opensim.motion import Motion

FROZEN_RAD, FROZEN_M = np.deg2rad(0.1), 0.0005
STILL_RAD, STILL_M = np.deg2rad(3.0), 0.02
"""Ranges of a single pose and of quiet stance, which sways by one to two centimetres (Winter 1995,
doi:10.1016/0966-6362(96)82849-9); cameras alone shake by more than the first."""

EVEN = (1e-6, 1e-6, 1e-10, 1e-10)
"""Differences of order 1 to 4 that vanish, over the range of the channel: more than files round by, and less than a
moving body's. The higher ones are small in slow movements too; rounding in files of few digits is larger."""
PAUSE_S, FEWEST_HOLDS, FILLED_IN, STIRS = 0.5, 5, 0.2, 1e-4

GROUND_NOTE_M, GROUND_FAR_M = 0.1, 0.5
OFF_PLATES_M = 0.1
"""Ground of the feet against height 0, and against the plates whose forces are used. Recordings lie within 0.08 m."""

LOADED = 0.2
LOW_M, NEAR_GROUND_M = 0.02, 0.03
SLIDE_M = 0.1
"""Distance that a foot may move while it carries: recorded feet slide by up to 3.2 cm."""
WHOLE_SLIDE_M = 0.5

CARRIED_TOLERANCE = 0.1


def check_filled_in(path: Path, motion: Motion, cutoff_hz: float = USUAL_CUTOFF_HZ) -> list[Finding]:
    """Samples that were filled in between those recorded: held, on lines, or on cubic splines.

    Of what was filled in by polynomials of degree n, the differences of order n + 1 vanish between recorded samples, in
    one stretch from each to the next, and no recording does that. Pauses of half a second and more are left out. A
    warning where fewer frames a second were recorded than the filter's cut-off needs.
    """
    needed_hz = needed_rate(cutoff_hz)
    span = np.ptp(motion.values, axis=0)
    moves = span > STIRS
    if motion.frames < 9 or not moves.any():
        return []
    values = motion.values[:, moves] / span[moves]
    rates = [_recorded_rate(values, order, even, motion.rate_hz) for order, even in enumerate(EVEN, 1)]
    rate_hz = min(rates)
    if rate_hz >= motion.rate_hz:
        return []
    severity: Severity = "warning" if rate_hz < needed_hz else "note"
    sentence = (
        f"Only some {rate_hz:.3g} of {motion.rate_hz:.3g} frames per second were recorded, the others are filled in; "
        f"accelerations need {needed_hz:.3g} or more."
    )
    remedy = "Export at the rate that was recorded."
    return [Finding(path, "", severity, "time-step", sentence, remedy, False, rate_hz, needed_hz, "frames per second")]


def _recorded_rate(values: Float[np.ndarray, "time channel"], order: int, even: float, rate_hz: float) -> float:
    """Stretches per second in which differences of an order vanish; `rate_hz` where they are few."""
    vanish = np.abs(np.diff(values, n=order, axis=0)).max(axis=1) <= even
    lengths = np.array([end - start for start, end in runs(vanish)], dtype=int)
    pause = lengths >= max(int(PAUSE_S * rate_hz), 2)
    left, holds = len(vanish) - int(lengths[pause].sum()), lengths[~pause]
    if len(holds) < FEWEST_HOLDS or holds.sum() < FILLED_IN * left:
        return rate_hz
    return float(len(holds) / left * rate_hz)


def check_stillness(path: Path, motion: Motion, rotational: Collection[str]) -> list[Finding]:
    """A file that holds one pose, and a person who stands still for the whole trial."""
    ranges = dict(zip(motion.names, np.ptp(motion.values, axis=0).tolist(), strict=True))
    turned = max((r for n, r in ranges.items() if n in rotational), default=0.0)
    moved = max((r for n, r in ranges.items() if n not in rotational and not n.endswith("_beta")), default=0.0)
    if turned > STILL_RAD or moved > STILL_M:
        return []
    sizes = f"no angle by more than {np.rad2deg(turned):.2g}°, no translation by more than {1000 * moved:.2g} mm"
    measure = (float(np.rad2deg(turned)), float(np.rad2deg(FROZEN_RAD)), "deg")
    if turned <= FROZEN_RAD and moved <= FROZEN_M:
        sentence = f"Nothing moves in the whole trial ({sizes}): this is a pose, not a recording of a person."
        return [Finding(path, "", "warning", "no-movement", sentence, "Look for the recorded motion.", False, *measure)]
    sentence = f"The person stands still for the whole trial ({sizes})."
    return [
        Finding(path, "", "note", "no-movement", sentence, "Nothing is to be done for quiet stance.", False, *measure)
    ]


def check_ground(path: Path, ground_m: float, plates_m: float | None = None) -> list[Finding]:
    """Height of the ground under the feet: against 0, or against the plates whose forces are used."""
    if plates_m is not None:
        away = ground_m - plates_m
        if abs(away) <= OFF_PLATES_M:
            return []
        sentence = f"The feet stand {abs(away):.2f} m {'above' if away > 0 else 'below'} the force plates."
        remedy = "Bring motion and forces to the same origin: move pelvis_ty by the difference."
        measure = (abs(away), OFF_PLATES_M, "m")
        return [Finding(path, "pelvis_ty", "warning", "ground-height", sentence, remedy, False, *measure)]
    if abs(ground_m) <= GROUND_NOTE_M:
        return []
    severity: Severity = "warning" if abs(ground_m) > GROUND_FAR_M else "note"
    far = "far from the ground at height 0" if severity == "warning" else "not at 0"
    sentence = f"The feet stand at a height of {ground_m:.2f} m, {far}."
    remedy = "Move pelvis_ty so that the ground is at 0; measured forces need the same origin."
    measure = (abs(ground_m), GROUND_FAR_M, "m")
    return [Finding(path, "pelvis_ty", severity, "ground-height", sentence, remedy, False, *measure)]


def check_posture(path: Path, com_from_feet: Float[np.ndarray, "time 3"]) -> list[Finding]:
    """The mass centre above the feet, along Y; upside down is an error, lying a warning."""
    up = np.median(com_from_feet, axis=0)
    axis = int(np.abs(up).argmax())
    if axis == 1 and up[1] > 0:
        return []
    severity: Severity = "error" if axis == 1 else "warning"
    sentence = f"The mass centre lies from the feet along {'-' if up[axis] < 0 else '+'}{'XYZ'[axis]}, not above."
    remedy = "Turn the markers so that Y is up and repeat inverse kinematics, unless the person is lying."
    return [Finding(path, "", severity, "sign-convention", sentence, remedy)]


def check_loaded_feet(
    path: Path,
    time: Float[np.ndarray, " time"],
    points: Float[np.ndarray, "time point 3"],
    foot: Int[np.ndarray, " point"],
    load: Float[np.ndarray, "time 2"],
    *,
    measured: bool,
) -> list[Finding]:
    """Feet that slide while they carry.

    A foot that carries has a point at rest, about which it rolls: its slowest one among those within `LOW_M` of its
    lowest. The way that this point's velocity adds up to over a stretch of load is how far the foot slides.

    Estimated forces take the ground to be at rest, so this is a fault. Under measured ones a foot that slides steadily
    stands on the belt of a treadmill, which changes nothing in the mechanics of the body: a note.

    Parameters
    ----------
    path
        The motion.
    time
        s.
    points
        Lowest points of the feet's contact spheres, m.
    foot
        Foot of each point, 0 right, 1 left.
    load
        Vertical force on the right and the left foot in body weights.
    measured
        Whether the forces were measured.

    """
    worst = (0.0, "")
    for f, side in enumerate(("right", "left")):
        mine = points[:, foot == f]
        if not mine.shape[1]:
            continue
        for start, end in _stretches(load[:, f] > LOADED):
            part = slice(start, end)
            where = f"{side} foot, {time[start]:.2f} to {time[end - 1]:.2f} s"
            worst = max(worst, (slide(time[part], mine[part]), where))
    return _slides(path, *worst, measured=measured)


def _stretches(loaded: Bool[np.ndarray, " time"]) -> Iterator[tuple[int, int]]:
    return ((start, end) for start, end in runs(loaded) if end - start >= 3)


def slide(time: Float[np.ndarray, " time"], points: Float[np.ndarray, "time point 3"]) -> float:
    """How far the resting point of a foot, see `check_loaded_feet`, moves horizontally from where it began, m."""
    velocity = np.gradient(points, time, axis=0)[..., [0, 2]]
    height = points[..., 1]
    low = height < height.min(axis=1, keepdims=True) + LOW_M
    slowest = np.where(low, np.linalg.norm(velocity, axis=-1), np.inf).argmin(axis=1)
    moved = np.cumsum(velocity[np.arange(len(time)), slowest] * np.gradient(time)[:, None], axis=0)
    return float(np.linalg.norm(moved, axis=1).max())


def check_sliding(
    path: Path, time: Float[np.ndarray, " time"], points: Float[np.ndarray, "time point 3"]
) -> list[Finding]:
    """A body whose feet all slide while one of them is on the ground, where the forces are not known."""
    lowest = points[..., 1].min(axis=1)
    near = lowest < np.percentile(lowest, 5) + NEAR_GROUND_M
    found = ((slide(time[a:b], points[a:b]), f"{time[a]:.2f} to {time[b - 1]:.2f} s") for a, b in _stretches(near))
    distance, where = max(found, default=(0.0, ""))
    return _slides(path, distance, where, measured=False) if distance > WHOLE_SLIDE_M else []


def _slides(path: Path, distance: float, where: str, *, measured: bool) -> list[Finding]:
    if distance <= SLIDE_M:
        return []
    measure = (distance, SLIDE_M, "m")
    if measured:
        sentence = f"Feet move by up to {distance:.2f} m while they carry ({where}): a treadmill's belt?"
        remedy = "Nothing is to be done if they walked on a treadmill whose forces were measured."
        return [Finding(path, where, "note", "sliding-feet", sentence, remedy, False, *measure)]
    sentence = f"Feet slide by up to {distance:.2f} m while they carry ({where}); the ground does not move."
    remedy = "Check the scaling and the pelvis' translations; on a treadmill add the belt's way, or measure the forces."
    return [Finding(path, where, "warning", "sliding-feet", sentence, remedy, False, *measure)]


def check_carried(path: Path, carried: float | None, mass_kg: float) -> list[Finding]:
    """The mass that measured forces carry, `carried` as a share of the model's, against the model's."""
    if carried is None or abs(carried - 1.0) <= CARRIED_TOLERANCE:
        return []
    kg = carried * mass_kg
    sentence = f"The measured forces carry {kg:.1f} kg where the model has {mass_kg:.1f} kg."
    remedy = (
        f"Scale the model to the person (bige scale, --mass {kg:.1f}), declare what the person carries (--load), or "
        "check the plates' zero and that they are this trial's, unless something else carried the person throughout."
    )
    measure = (100 * abs(carried - 1.0), 100 * CARRIED_TOLERANCE, "% of the model's mass")
    return [Finding(path, "", "warning", "carried-mass", sentence, remedy, False, *measure)]
