"""The low-pass cut-off that fits a movement, by residual analysis of its coordinates.

What a filter of cut-off f takes out of a coordinate, R(f)^2 = mean (x - x_f)^2, is noise alone where f is above the
movement. Winter (Biomechanics and Motor Control of Human Movement, 4th ed., chapter 3) draws a line through that part
of R, whose end at f = 0 is the noise's size s, and takes the f at which R(f) = s: there, as much of the movement is
taken out as noise is let through. We know the filter, so we need no line: of white noise it takes out

    R(f)^2 = s^2 K(f),    K(f) = mean over frequencies v below half the rate of (1 - |H(v)|^2)^2,

with |H|^2 = 1 / (1 + (tan(pi v / f_s) / tan(pi f' / f_s))^4) its gain both ways (`Motion.lowpass` has f'), and s^2 is
fitted to that.

One cut-off serves all coordinates and the ground forces of a trial, so that what the forces do is not filtered away
from what the body does: that of the coordinates that move, at a high quantile, since a filter that is too low for the
fastest joint loses moments that one too high for the slowest only lets tremble. What is left of s in coordinates that
were smoothed before, or that markers tell well, is no measure of how well they tell the bones: s is at least SMOOTH,
below what skin moves on bone. (Without it, residual analysis asks for 10 to 14 Hz in recorded squats, with it for 4 to
7, for 13 to 14 in drop jumps and for 7 to 8 in walking.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from bige_opensim.motion import Motion
from bige_opensim.physics.rotations import continuous_rotations, rotation_triples
from bige_opensim.physics.skeleton import SkeletonTables

AUTO: Literal["auto"] = "auto"
Cutoff = float | Literal["auto"]
LOWEST_HZ, HIGHEST_HZ, STEP_HZ = 4.0, 20.0, 0.25
"""What a cut-off is chosen among (our choice): below, no movement of a whole body is safe; above, markers tremble."""
NOISE = (0.2, 0.4)
"""Where only noise is looked for, in shares of the sampling rate; cut-offs are chosen below."""
MOVES = {True: np.deg2rad(5.0), False: 0.02}
SMOOTH = {True: np.deg2rad(0.2), False: 0.002}
"""Range by which angles (rad) and places (m) count as moving, and the least that counts as noise (our choice)."""
QUANTILE = 0.75
USUAL_HZ = 6.0
"""Taken where nothing moves."""


@dataclass(frozen=True)
class ChosenCutoff:
    """The cut-off of a trial (Hz), and what residual analysis found for each coordinate that moves; None as given."""

    hz: float
    by_coordinate: dict[str, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For label.json."""
        if self.by_coordinate is None:
            return {"by": "given", "hz": self.hz}
        return {"by": "residual analysis", "hz": self.hz, "by_coordinate": self.by_coordinate}


def chosen_cutoff(motion: Motion, tables: SkeletonTables, rotational: frozenset[str], cutoff: Cutoff) -> ChosenCutoff:
    """The cut-off for a motion (rad, m) of a skeleton: the one that is given, or that of residual analysis."""
    if cutoff != AUTO:
        return ChosenCutoff(float(cutoff))
    motion, _ = continuous_rotations(motion, rotation_triples(tables))
    turns = np.array([name in rotational for name in motion.names])
    moves = np.ptp(motion.values, axis=0) > np.where(turns, MOVES[True], MOVES[False])
    if not moves.any():
        return ChosenCutoff(min(USUAL_HZ, NOISE[0] * motion.rate_hz), {})
    names = [name for name, moving in zip(motion.names, moves, strict=True) if moving]
    least = np.where(turns, SMOOTH[True], SMOOTH[False])[moves]
    each = residual_analysis(motion.select(names), least)
    found = round(float(np.quantile(each, QUANTILE)) / STEP_HZ) * STEP_HZ
    return ChosenCutoff(found, {name: round(float(hz), 2) for name, hz in zip(names, each, strict=True)})


def residual_analysis(motion: Motion, least: Float[np.ndarray, " channel"]) -> Float[np.ndarray, " channel"]:
    """The cut-off of each channel, Hz: the lowest at which no more is taken out than noise, or than `least`."""
    rate = motion.rate_hz
    band = np.linspace(NOISE[0] * rate, NOISE[1] * rate, 8)
    choices = np.arange(LOWEST_HZ, min(HIGHEST_HZ, NOISE[0] * rate) + 1e-9, STEP_HZ)
    if not len(choices):
        return np.full(len(motion.names), NOISE[0] * rate)
    taken = _taken_out(motion, band)
    of_white = _of_white_noise(band, rate)
    noise = np.maximum(of_white @ taken / (of_white @ of_white), least**2)
    below = _taken_out(motion, choices) <= noise
    first = np.where(below.any(axis=0), below.argmax(axis=0), len(choices) - 1)
    return np.asarray(choices[first])


def _taken_out(motion: Motion, cutoffs: Float[np.ndarray, " cutoff"]) -> Float[np.ndarray, "cutoff channel"]:
    """Mean square of what a filter takes out of every channel."""
    return np.array([((motion.values - motion.lowpass(float(hz)).values) ** 2).mean(axis=0) for hz in cutoffs])


def _of_white_noise(cutoffs: Float[np.ndarray, " cutoff"], rate_hz: float) -> Float[np.ndarray, " cutoff"]:
    """K(f): the share of white noise's power that filters take out."""
    v = np.tan(0.5 * np.pi * (np.arange(1000) + 0.5) / 1000)
    own = np.tan(np.pi * cutoffs / rate_hz) / (np.sqrt(2.0) - 1.0) ** 0.25
    gain = 1.0 / (1.0 + (v / own[:, None]) ** 4)
    return np.asarray(((1.0 - gain) ** 2).mean(axis=1))
