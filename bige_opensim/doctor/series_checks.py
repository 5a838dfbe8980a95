"""Checks of any channels over time: time base, missing samples, spikes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import CubicSpline

from bige_opensim.doctor.findings import FIX, Finding, Severity, listed

SHORT_GAP_S = 0.1
LONG_STEP = 1.5  # median steps
UNEVEN_STEP = 0.05  # median steps
SLOWEST_HZ, SLOWEST_STEP_S = 20.0, 0.9
FILTER_ROOM, USUAL_CUTOFF_HZ = 2.5, 6.0
SPIKE_Z = 30.0
_MAD_TO_SIGMA = 1.4826


def needed_rate(cutoff_hz: float) -> float:
    """Frames per second that a motion needs for its accelerations, at a low-pass cut-off (Hz; 0: no filter).

    Voluntary movement reaches 6 Hz (Winter 2009, Biomechanics and Motor Control of Human Movement), so 12 frames per
    second is the least by Shannon's theorem, and a filter needs some room between its cut-off and half the rate.
    """
    return max(SLOWEST_HZ, FILTER_ROOM * cutoff_hz)


def check_time(path: Path, time: Float[np.ndarray, " time"], cutoff_hz: float = USUAL_CUTOFF_HZ) -> list[Finding]:
    """Steps of an increasing time column: gaps, unevenness, and a rate too low for derivatives.

    A gap is a warning where it is longer than half a period of the cut-off: what happened in it cannot be known.
    """
    steps, found = np.diff(time), []
    usual = float(np.median(steps))
    long = np.flatnonzero(steps > LONG_STEP * usual)
    if len(long):
        worst = long[np.argmax(steps[long])]
        sentence = (
            f"{len(long)} step(s) are longer than {LONG_STEP:g} times the usual {usual:.4g} s, the longest "
            f"{steps[worst]:.4g} s."
        )
        remedy = "Frames are missing there; cut the recording at the gap, or export it again."
        limit = 0.5 / (cutoff_hz or USUAL_CUTOFF_HZ)
        severity: Severity = "warning" if steps[worst] > limit else "note"
        measure = (float(steps[worst]), limit, "s")
        found.append(Finding(path, f"{time[worst]:.4g} s", severity, "time-gap", sentence, remedy, False, *measure))
    uneven = np.abs(steps / usual - 1.0)
    uneven[long] = 0.0
    if uneven.max() > UNEVEN_STEP:
        worst = int(uneven.argmax())
        sentence = f"Time steps vary by up to {100 * uneven.max():.0f} % around {usual:.4g} s."
        remedy = "Filters resample such motions to an even step; export at a constant rate if you can."
        found.append(Finding(path, f"{time[worst]:.4g} s", "note", "time-step", sentence, remedy))
    needed_hz = needed_rate(cutoff_hz)
    if usual > (1.0 + UNEVEN_STEP) / needed_hz:
        sentence = f"The recording has {1 / usual:.3g} frames per second; accelerations need {needed_hz:.3g} or more"
        sentence += f" where the filter lets {cutoff_hz:g} Hz pass." if needed_hz > SLOWEST_HZ else "."
        remedy = "Export at the original rate"
        remedy += "; is time in milliseconds or frames?" if usual > SLOWEST_STEP_S else ", or lower --cutoff."
        measure = (1 / usual, needed_hz, "frames per second")
        found.append(Finding(path, "", "warning", "time-step", sentence, remedy, False, *measure))
    return found


def runs(flags: Bool[np.ndarray, " time"]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def gap_seconds(time: Float[np.ndarray, " time"], run: tuple[int, int]) -> float:
    """Time that a run of missing samples spans, from the last sample before to the first after; inf at an end."""
    start, end = run
    return float(time[end] - time[start - 1]) if start > 0 and end < len(time) else np.inf


def check_missing(
    path: Path, time: Float[np.ndarray, " time"], values: Float[np.ndarray, "time channel"], names: Sequence[str]
) -> list[Finding]:
    """Cells without a number: those in short gaps, which can be splined, and the others."""
    short, long = dict[str, float](), dict[str, float]()
    place = {}
    for c in np.flatnonzero(np.isnan(values).any(axis=0)).tolist():
        for run in runs(np.isnan(values[:, c])):
            gap = gap_seconds(time, run)
            group = short if gap <= SHORT_GAP_S + 1e-9 else long
            if gap >= group.get(names[c], 0.0):
                group[names[c]] = gap
                place[id(group), names[c]] = f"{names[c]}, {time[run[0]]:.4g} s"
    found = []
    for group, many in ((short, "gap(s) of at most"), (long, "gap(s) longer than")):
        if not group:
            continue
        worst = max(group, key=lambda name: group[name])
        reach = "reaching the end of the recording" if np.isinf(group[worst]) else f"the longest {group[worst]:.3g} s"
        sentence = f"Numbers are missing in {listed(list(group))}: {many} {SHORT_GAP_S:g} s, {reach}."
        remedy = FIX if group is short else "Fill the gaps from the recording, or cut the trial."
        place_of = place[id(group), worst]
        found.append(Finding(path, place_of, "error", "missing-values", sentence, remedy, group is short))
    return found


def fill_short_gaps(
    time: Float[np.ndarray, " time"], values: Float[np.ndarray, "time channel"]
) -> tuple[Float[np.ndarray, "time channel"], int]:
    """Cubic splines through inner gaps of at most `SHORT_GAP_S`; the filled values and how many cells were filled."""
    out, filled = values.copy(), 0
    for c in np.flatnonzero(np.isnan(values).any(axis=0)):
        known = ~np.isnan(values[:, c])
        if known.sum() < 4:
            continue
        spline = CubicSpline(time[known], values[known, c])
        for start, end in runs(~known):
            if gap_seconds(time, (start, end)) <= SHORT_GAP_S + 1e-9:
                out[start:end, c] = spline(time[start:end])
                filled += end - start
    return out, filled


def departures(values: Float[np.ndarray, "time channel"]) -> Float[np.ndarray, "time channel"]:
    """Distance of every sample from the cubic through its two neighbours on either side; 0 at the ends."""
    out = np.zeros_like(values)
    if len(values) >= 5:
        cubic = (-values[:-4] + 4 * values[1:-3] + 4 * values[3:-1] - values[4:]) / 6
        out[2:-2] = np.abs(values[2:-2] - cubic)
    return out


def spikes(
    values: Float[np.ndarray, "time channel"], floor: Float[np.ndarray, " channel"]
) -> Bool[np.ndarray, "time channel"]:
    """Samples that stand out: robust z of the second difference above 30, and off their neighbours by `floor`.

    z = |d - median(d)| / (1.4826 median|d - median(d)|), d the second difference (Rousseeuw and Croux 1993,
    doi:10.1080/01621459.1993.10476408). Landings and the starts of movements reach z of 20 to 250, but lie on the
    cubic through their neighbours; a spike does not. `floor` is in the unit of the values.
    """
    out = np.zeros(values.shape, dtype=bool)
    if len(values) < 9:
        return out
    second = values[:-2] - 2 * values[1:-1] + values[2:]
    telling = (~np.isnan(second)).sum(axis=0) >= 5
    if not telling.all():
        out[:, telling] = spikes(values[:, telling], floor[telling])
        return out
    centred = np.abs(second - np.nanmedian(second, axis=0))
    spread = _MAD_TO_SIGMA * np.nanmedian(centred, axis=0)
    off = departures(values)
    with np.errstate(invalid="ignore"):
        out[1:-1] = (centred > SPIKE_Z * np.maximum(spread, 1e-12)) & (off[1:-1] > floor)
        peak = off >= np.maximum(np.roll(off, 1, axis=0), np.roll(off, -1, axis=0))
    return out & peak


def check_spikes(
    path: Path,
    time: Float[np.ndarray, " time"],
    values: Float[np.ndarray, "time channel"],
    names: Sequence[str],
    floor: Float[np.ndarray, " channel"],
    shown: Sequence[str],
) -> list[Finding]:
    """One finding on all single samples that stand out; `shown` formats a column's departure ("{:.1f}°")."""
    hits = spikes(values, floor)
    if not hits.any():
        return []
    off = np.where(hits, departures(values) / floor, 0.0)
    t, c = divmod(int(off.argmax()), off.shape[1])
    columns = [names[i] for i in np.argsort(-off.max(axis=0)).tolist() if hits[:, i].any()]
    size = shown[c].format(off[t, c] * floor[c])
    sentence = (
        f"{int(hits.sum())} sample(s) stand out from their neighbours, the worst by {size}, in {listed(columns)}."
    )
    remedy = "Look at the recording there (a marker swap or a bad frame); repair it or leave the stretch out."
    return [Finding(path, f"{names[c]}, {time[t]:.4g} s", "warning", "spike", sentence, remedy)]
