"""The recorded motion of an AnalyzeTool setup, filtered and differentiated as the tool does, and the frames it solves.

AnalyzeTool pads coordinates by half their number of samples at both ends before its low-pass (`Storage::pad`,
`Storage::lowpassIIR`) and keeps the padding: splines run over it, and steps are counted from its first sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import opensim
from jaxtyping import Float, Int
from scipy.signal import butter, lfilter, lfiltic

from bige_opensim.io.analyze_setup import AnalyzeSetup, AnalyzeSetupError
from bige_opensim.io.rotation_units import Units
from bige_opensim.io.storage import read_coordinates, read_storage, write_storage
from bige_opensim.motion import Motion
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.model import OsimModel

RAW_NAME = "coordinates_to_filter.sto"
HELD = 1e-3
"""Difference in rad or m that a file may have from where a locked or prescribed coordinate is."""

EVEN = 1e-9
"""Largest difference of the mean and the smallest step, relative to the mean, of evenly sampled motions."""


@dataclass(frozen=True)
class SetupMotion:
    """All coordinates of the model and their derivatives (rad, m, s) over the recording, padding included.

    rows are the samples that the setup asks for, in increasing order.
    """

    q: Motion
    qd: Motion
    qdd: Motion
    rows: Int[np.ndarray, " frame"]
    notes: tuple[str, ...]

    def at(self, rows: Int[np.ndarray, " frame"]) -> tuple[Motion, Motion, Motion]:
        """Coordinates and derivatives at some samples, two at least."""
        q, qd, qdd = (Motion(m.time[rows], m.values[rows], m.names) for m in (self.q, self.qd, self.qdd))
        return q, qd, qdd


def recorded_motion(setup: AnalyzeSetup, model: OsimModel, folder: Path, units: Units | None = None) -> SetupMotion:
    """Read the coordinates or states of a setup; `folder` is for files on the way.

    Raises
    ------
    StorageError
        The file cannot be read, or belongs to another model.
    AnalyzeSetupError
        It lacks what static optimization needs, or the times of the setup lie outside of it.

    """
    q, qd, notes = _states(setup, model) if setup.states is not None else _coordinates(setup, model, folder, units)
    return SetupMotion(q, qd, qd.derivatives()[0], _rows(setup, q), notes)


def _coordinates(
    setup: AnalyzeSetup, model: OsimModel, folder: Path, units: Units | None
) -> tuple[Motion, Motion, tuple[str, ...]]:
    assert setup.coordinates is not None
    known = [c.name for c in model.coordinates]
    file = read_coordinates(setup.coordinates, rotational=model.rotational, known=known, units=units)
    motion, notes = file.motion, file.notes
    missing = [n for n in model.free_coordinates if n not in motion]
    if len(missing) > 0.5 * len(model.free_coordinates):
        raise AnalyzeSetupError(
            f"{setup.coordinates}: {len(missing)} of the {len(model.free_coordinates)} free coordinates of "
            f"{setup.model.name} are not in the file ({', '.join(missing[:6])}, ...); name the motion of this model."
        )
    if missing:
        notes = (*notes, f"coordinates not in the file keep the model's default: {', '.join(missing)}")
    moved = [n for n in model.held_coordinates if n in motion and _moves(model, motion, n)]
    if moved:
        held = ", ".join(moved)
        notes = (*notes, f"the model holds {held}: values of the file are not used, as in OpenSim")
    if setup.cutoff_hz is not None:
        motion = _filtered(setup, motion, folder / RAW_NAME)
    q = complete(model, motion.select([n for n in motion.names if n not in model.held_coordinates]))
    return q, q.derivatives()[0], notes


def _moves(model: OsimModel, motion: Motion, name: str) -> bool:
    """Whether a motion takes a held coordinate away from where the model has it, by more than rounding."""
    return float(np.abs(motion[name] - model.held_values(name, motion.time)).max()) > HELD


def _filtered(setup: AnalyzeSetup, motion: Motion, raw: Path) -> Motion:
    assert setup.cutoff_hz is not None
    if setup.cutoff_hz >= 0.5 * motion.rate_hz:
        raise AnalyzeSetupError(
            f"{setup.path}: the cut-off of {setup.cutoff_hz:g} Hz must be below half the sampling rate of "
            f"{motion.rate_hz:.4g} Hz; lower it, or write -1 for no filter."
        )
    n = motion.frames // 2
    if n < 3:
        raise AnalyzeSetupError(f"{setup.coordinates}: {motion.frames} samples are too few to be filtered.")
    before, after = slice(n, 0, -1), slice(-2, -n - 2, -1)
    time, values = (
        np.concatenate([2 * x[0] - x[before], x, 2 * x[-1] - x[after]]) for x in (motion.time, motion.values)
    )
    steps = np.diff(time)
    uneven = steps.mean() - steps.min()
    if uneven > EVEN * steps.mean():
        return _resampled_and_filtered(setup.cutoff_hz, motion, raw)
    if uneven > np.finfo(float).eps:
        time = time[0] + steps.min() * np.arange(len(time))
    return Motion(time, lowpass_iir(values, setup.cutoff_hz, 1.0 / steps.mean()), motion.names)


def lowpass_iir(
    values: Float[np.ndarray, "time channel"], cutoff_hz: float, rate_hz: float
) -> Float[np.ndarray, "time channel"]:
    """OpenSim's `Signal::LowpassIIR`: a third-order Butterworth filter, forward and back, the cut-off uncorrected.

    Each pass leaves its first three samples as they are.
    """
    b, a = butter(3, cutoff_hz, fs=rate_hz)

    def one_way(x: np.ndarray) -> np.ndarray:
        past = np.column_stack([lfiltic(b, a, channel[2::-1], channel[2::-1]) for channel in x.T])
        return np.vstack([x[:3], lfilter(b, a, x[3:], axis=0, zi=past)[0]])

    return one_way(one_way(values)[::-1])[::-1]


def _resampled_and_filtered(cutoff_hz: float, motion: Motion, raw: Path) -> Motion:
    """By OpenSim, which brings uneven samples to its smallest step before it filters."""
    write_storage(raw, motion.time, motion.values, motion.names, in_degrees=False)
    storage = opensim.Storage(str(raw))
    raw.unlink()
    storage.pad(motion.frames // 2)
    storage.lowpassIIR(cutoff_hz)
    rows = [storage.getStateVector(i) for i in range(storage.getSize())]
    time = np.array([row.getTime() for row in rows])
    values = np.array([[row.getData().get(k) for k in range(len(motion.names))] for row in rows])
    return Motion(time, values, motion.names)


def _states(setup: AnalyzeSetup, model: OsimModel) -> tuple[Motion, Motion, tuple[str, ...]]:
    assert setup.states is not None
    table = read_storage(setup.states)
    if table.in_degrees:
        raise AnalyzeSetupError(f"{setup.states}: a states file in degrees; OpenSim's states are in radians.")
    column = {name: k for k, name in enumerate(table.names)}
    values, speeds, missing = [], [], []
    for c in model.coordinates:
        names = (f"/jointset/{c.joint}/{c.name}/value", f"{c.joint}/{c.name}/value", c.name)
        rates = (f"/jointset/{c.joint}/{c.name}/speed", f"{c.joint}/{c.name}/speed", f"{c.name}_u")
        value, speed = (next((column[n] for n in known if n in column), None) for known in (names, rates))
        if value is None or speed is None:
            missing.append(c.name)
        else:
            values.append(table.values[:, value])
            speeds.append(table.values[:, speed])
    if missing:
        raise AnalyzeSetupError(
            f"{setup.states}: lacks values or speeds of {', '.join(missing[:6])}{', ...' if len(missing) > 6 else ''}; "
            f"expected states of {setup.model.name}. Where only coordinates are known, name them in <coordinates_file>."
        )
    channels = tuple(c.name for c in model.coordinates)
    q, qd = (Motion(table.time, np.column_stack(columns), channels) for columns in (values, speeds))
    return complete(model, q), qd, table.notes


def _rows(setup: AnalyzeSetup, q: Motion) -> Int[np.ndarray, " frame"]:
    """Samples from the last one not after <initial_time> to the last one not after <final_time>, every interval-th.

    The first and the last are always solved; between them those whose number is a multiple of the interval.
    """
    if setup.end < q.time[0] or setup.start > q.time[-1]:
        raise AnalyzeSetupError(
            f"{setup.path}: <initial_time> {setup.start:g} to <final_time> {setup.end:g} s lie outside of the motion, "
            f"which runs from {q.time[0]:g} to {q.time[-1]:g} s; correct them."
        )
    first, last = (max(int(np.searchsorted(q.time, t, side="right")) - 1, 0) for t in (setup.start, setup.end))
    between = np.arange(first + 1, last)
    return np.unique([first, *between[between % setup.interval == 0], last])
