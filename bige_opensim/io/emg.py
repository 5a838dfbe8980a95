"""Electromyograms: raw signals or linear envelopes from .sto, .mot, .csv and the analog channels of .c3d files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from bige_opensim.io.c3d import C3dError, read_c3d_analogs
from bige_opensim.io.storage import StorageError, read_storage

RAW_NEGATIVE = 0.2
UNEVEN = 0.01
TIME_NAMES = ("time", "t", "time_s", "seconds", "time (s)", "time [s]")


class EmgError(ValueError):
    """An electromyogram that cannot be used."""


@dataclass(frozen=True, eq=False)
class Emg:
    """Channels of one recording on an even time grid.

    Attributes
    ----------
    time
        (T,) s, evenly spaced.
    values
        (T, E) in the file's unit, which does not matter: channels are normalised before they are compared.
    names
        Labels of the channels as in the file, without surrounding blanks.
    raw
        Whether the channels are raw signals that swing about zero, and not envelopes.
    notes
        Sentences on what was odd or left out.
    path
        The file.

    """

    time: Float[np.ndarray, " time"]
    values: Float[np.ndarray, "time channel"]
    names: tuple[str, ...]
    raw: bool
    notes: tuple[str, ...]
    path: Path

    @property
    def rate_hz(self) -> float:
        """Samples per second."""
        return (len(self.time) - 1) / float(self.time[-1] - self.time[0])


def read_emg(path: Path | str) -> Emg:
    """Read electromyograms, raw or as envelopes.

    Channels without any signal (constant, or not finite) are left out with a note. A file is raw when its channels
    swing about zero: more than a fifth of the samples, or of the samples about the median, lie on the far side of 0.

    Parameters
    ----------
    path
        .sto or .mot; .csv with a column `time` in s; .c3d, whose analog channels are taken (extra `c3d`).

    Raises
    ------
    EmgError
        If the file is of another kind, damaged, unevenly sampled, or has no channel with a signal.

    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".sto", ".mot"):
        time, values, names = _storage(path)
    elif suffix == ".csv":
        time, values, names = _csv(path)
    elif suffix == ".c3d":
        try:
            time, values, names = read_c3d_analogs(path)
        except C3dError as problem:
            raise EmgError(str(problem)) from problem
    else:
        raise EmgError(f"{path}: electromyograms are read from .sto, .mot, .csv and .c3d files.")
    names = tuple(name.strip() for name in names)
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise EmgError(f"{path}: repeated channels: {', '.join(repeated)}; every channel needs a name of its own.")
    if len(time) < 10:
        raise EmgError(f"{path}: has {len(time)} samples; at least ten are needed.")
    steps = np.diff(time)
    if not np.isfinite(time).all() or not (steps > 0).all() or np.ptp(steps) > UNEVEN * np.median(steps) + 1e-6:
        raise EmgError(f"{path}: time must rise in even steps of seconds; export the signals at a fixed rate.")
    return _with_signal(path, time, values, names)


def _with_signal(path: Path, time: np.ndarray, values: np.ndarray, names: tuple[str, ...]) -> Emg:
    finite = np.isfinite(values).all(0)
    alive = finite & (np.ptp(np.where(np.isfinite(values), values, 0.0), axis=0) > 0)
    notes = []
    if not finite.all():
        left = [n for n, good in zip(names, finite, strict=True) if not good]
        notes.append(f"{path.name}: channels with missing or infinite numbers were left out: {', '.join(left)}.")
    if (finite & ~alive).any():
        flat = [n for n, f, a in zip(names, finite, alive, strict=True) if f and not a]
        notes.append(f"{path.name}: channels that never change were left out: {', '.join(flat)}.")
    if not alive.any():
        raise EmgError(f"{path}: no channel has a signal: all are constant or not finite. Export them again.")
    kept = values[:, alive]
    raw = float(np.mean(kept < 0)) > RAW_NEGATIVE
    clipped = [n for n, x in zip(np.array(names)[alive], kept.T, strict=True) if raw and _clipped(x)]
    if clipped:
        notes.append(
            f"{path.name}: {', '.join(clipped)} stay at their extreme value for 1 % of the samples or more: the "
            "amplifier was overdriven, and their peaks are missing."
        )
    return Emg(time, kept, tuple(np.array(names)[alive].tolist()), raw, tuple(notes), path)


def _clipped(x: Float[np.ndarray, " time"]) -> bool:
    return max(float(np.mean(x == x.max())), float(np.mean(x == x.min()))) >= 0.01


def _storage(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    try:
        table = read_storage(path)
    except StorageError as problem:
        raise EmgError(str(problem)) from problem
    return table.time, table.values, table.names


def _csv(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    try:
        table = pd.read_csv(path, skipinitialspace=True)
        numbers = table.to_numpy(dtype=np.float64)
    except (OSError, ValueError, pd.errors.ParserError) as problem:
        raise EmgError(f"{path}: cannot be read as a table of numbers with one line of names: {problem}") from problem
    names = [str(c) for c in table.columns]
    times = [i for i, name in enumerate(names) if name.strip().lower() in TIME_NAMES]
    if len(times) != 1:
        raise EmgError(f"{path}: expected one column named time, in seconds; columns are {', '.join(names)}.")
    rest = [i for i in range(len(names)) if i != times[0]]
    return numbers[:, times[0]], numbers[:, rest], tuple(names[i] for i in rest)
