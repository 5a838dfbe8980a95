"""The container that crosses rooms: named channels sampled in time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy.interpolate import BSpline, make_interp_spline
from scipy.signal import butter, sosfiltfilt

if TYPE_CHECKING:
    import pandas as pd

_EVEN_STEP_TOLERANCE = 1e-3  # largest departure from an even grid, in steps, that still counts as evenly sampled
_TIME_TOLERANCE_S = 1e-6  # files round their times
_MAX_UPSAMPLING = 50  # an even grid finer than this many times the samples means that the time column is broken


class MotionError(ValueError):
    """A motion that cannot be, or an operation that its samples do not allow."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Channels over time, in radians, metres, seconds and newtons.

    Attributes
    ----------
    time
        Seconds, strictly increasing, at least two samples; need not start at 0 nor be evenly spaced.
    values
        One row per time, one column per name; finite.
    names
        Unique channel names; OpenSim names for coordinates, muscles and forces.

    Raises
    ------
    MotionError
        On construction, if shapes, times, names or values break the above.

    """

    time: Float[np.ndarray, " time"]
    values: Float[np.ndarray, "time channel"]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        time = np.ascontiguousarray(self.time, dtype=np.float64)
        values = np.ascontiguousarray(self.values, dtype=np.float64)
        names = tuple(str(name) for name in self.names)
        _check_time(time)
        _check_values(time, values, names)
        object.__setattr__(self, "time", time)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "names", names)

    @property
    def frames(self) -> int:
        """Number of samples in time."""
        return len(self.time)

    @property
    def duration(self) -> float:
        """Seconds from the first to the last sample."""
        return float(self.time[-1] - self.time[0])

    @property
    def rate_hz(self) -> float:
        """Sampling rate: one over the median step."""
        return float(1.0 / np.median(np.diff(self.time)))

    @property
    def sha256(self) -> str:
        """Hash of times, names and values: equal motions have equal ones."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        digest.update(self.time.tobytes())
        digest.update(self.values.tobytes())
        return digest.hexdigest()

    def to_frame(self) -> pd.DataFrame:
        """A table of its own: index time in s, a column per channel."""
        import pandas as pd

        index = pd.Index(self.time.copy(), name="time")
        return pd.DataFrame(self.values.copy(), index=index, columns=list(self.names))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def index(self, name: str) -> int:
        """Column of the channel `name`.

        Raises
        ------
        MotionError
            If there is no such channel.

        """
        try:
            return self.names.index(name)
        except ValueError:
            raise MotionError(f"There is no channel '{name}'; the motion has {_listed(self.names)}.") from None

    def __getitem__(self, name: str) -> Float[np.ndarray, " time"]:
        return self.values[:, self.index(name)]

    def select(self, names: Iterable[str]) -> Motion:
        """The channels `names`, in that order.

        Raises
        ------
        MotionError
            If a name is missing or repeated.

        """
        chosen = tuple(names)
        missing = [name for name in chosen if name not in self.names]
        if missing:
            raise MotionError(f"The motion lacks {_listed(missing)}; it has {_listed(self.names)}.")
        return Motion(self.time, self.values[:, [self.index(name) for name in chosen]], chosen)

    def between(self, start: float | None = None, end: float | None = None) -> Motion:
        """The samples with start ≤ time ≤ end (seconds); None leaves that side open.

        Raises
        ------
        MotionError
            If fewer than two samples remain.

        """
        low = -np.inf if start is None else start - _TIME_TOLERANCE_S
        high = np.inf if end is None else end + _TIME_TOLERANCE_S
        inside = (self.time >= low) & (self.time <= high)
        if np.count_nonzero(inside) < 2:
            raise MotionError(
                f"Fewer than two samples lie between {start} s and {end} s; "
                f"the motion runs from {self.time[0]:.6g} s to {self.time[-1]:.6g} s."
            )
        return Motion(self.time[inside], self.values[inside], self.names)

    def with_values(self, values: Float[np.ndarray, "time channel"]) -> Motion:
        """The same times and names with other values."""
        return Motion(self.time, values, self.names)

    def resampled(self, time: Float[np.ndarray, " other"]) -> Motion:
        """The motion at other times (seconds), by cubic not-a-knot splines (lower degree below four samples).

        Raises
        ------
        MotionError
            If a time lies outside the recording: splines do not extrapolate motions.

        """
        wanted = np.asarray(time, dtype=np.float64)
        _check_time(wanted)
        if wanted[0] < self.time[0] - _TIME_TOLERANCE_S or wanted[-1] > self.time[-1] + _TIME_TOLERANCE_S:
            raise MotionError(
                f"Times from {wanted[0]:.6g} s to {wanted[-1]:.6g} s were asked of a motion "
                f"that runs from {self.time[0]:.6g} s to {self.time[-1]:.6g} s; cut them with between() first."
            )
        spline = make_interp_spline(self.time - self.time[0], self.values, k=min(3, self.frames - 1))
        return Motion(wanted, spline(np.clip(wanted, self.time[0], self.time[-1]) - self.time[0]), self.names)

    def lowpass(self, cutoff_hz: float) -> Motion:
        """Zero-lag fourth-order Butterworth low-pass; 0 filters nothing.

        A second-order filter runs forward and back, which squares its gain, so its own cut-off is raised until the
        pair has gain 1/√2 at `cutoff_hz`:  tan(π f'/fs) = tan(π f/fs) / (√2 - 1)^¼  (Winter, Biomechanics and Motor
        Control of Human Movement, 4th ed., section 3.4.4.2). Ends are padded by odd reflection about the first and the
        last sample. Unevenly sampled motions are filtered on an even grid of the median step and sampled back.

        Raises
        ------
        MotionError
            If `cutoff_hz` is negative or not below half the sampling rate.

        """
        if cutoff_hz == 0:
            return self
        if not 0 < cutoff_hz < self.rate_hz / 2 * (1 - 1e-9):
            raise MotionError(
                f"The low-pass cut-off must lie between 0 and half the sampling rate ({self.rate_hz / 2:.4g} Hz); "
                f"{cutoff_hz:.4g} Hz was asked. Choose a lower cut-off, or 0 to filter nothing."
            )
        if self.frames < 3:
            return self
        grid = _even_grid(self.time)
        if grid is None:
            return self.with_values(_butterworth_both_ways(self.values, cutoff_hz, (self.frames - 1) / self.duration))
        even = self.resampled(grid)
        filtered = _butterworth_both_ways(even.values, cutoff_hz, (even.frames - 1) / even.duration)
        return even.with_values(filtered).resampled(self.time)

    def derivatives(self) -> tuple[Motion, Motion]:
        """First and second time derivatives, per second and per second squared.

        From the natural quintic spline through every sample: third and fourth derivatives vanish at both ends, as in
        OpenSim's GCVSpline of degree 5 with zero smoothing (Woltring 1986, doi:10.1016/0141-1195(86)90098-7).
        Below six samples, where no quintic is determined, an interpolating polynomial of degree samples - 1 is used.
        """
        spline = _interpolating_spline(self.time - self.time[0], self.values)
        at = self.time - self.time[0]
        first, second = spline.derivative(1)(at), np.zeros_like(self.values)
        if spline.k >= 2:
            second = spline.derivative(2)(at)
        return self.with_values(first), self.with_values(second)


def _interpolating_spline(time: Float[np.ndarray, " time"], values: Float[np.ndarray, "time channel"]) -> BSpline:
    if len(time) < 6:
        return make_interp_spline(time, values, k=len(time) - 1)
    natural = [(3, np.zeros(values.shape[1])), (4, np.zeros(values.shape[1]))]
    return make_interp_spline(time, values, k=5, bc_type=(natural, natural))


def _even_grid(time: Float[np.ndarray, " time"]) -> Float[np.ndarray, " grid"] | None:
    """An even grid over `time` with its median step, or None where `time` is even already."""
    even = np.linspace(time[0], time[-1], len(time))
    step = float(np.median(np.diff(time)))
    if np.abs(time - even).max() <= _EVEN_STEP_TOLERANCE * step:
        return None
    count = int(np.ceil((time[-1] - time[0]) / step)) + 1
    if count > _MAX_UPSAMPLING * len(time):
        raise MotionError(
            f"The time steps are too uneven to filter: median {step:.3g} s over {time[-1] - time[0]:.3g} s "
            f"with {len(time)} samples. Resample the motion, or use cut-off 0."
        )
    return np.linspace(time[0], time[-1], max(count, len(time)))


def _butterworth_both_ways(
    values: Float[np.ndarray, "time channel"], cutoff_hz: float, rate_hz: float
) -> Float[np.ndarray, "time channel"]:
    corrected = np.arctan(np.tan(np.pi * cutoff_hz / rate_hz) / (np.sqrt(2.0) - 1.0) ** 0.25) * rate_hz / np.pi
    sections = butter(2, corrected, fs=rate_hz, output="sos")
    # The chord from first to last sample passes unchanged; taking it out keeps the ends free of transients.
    share = np.linspace(0.0, 1.0, len(values))[:, None]
    chord = values[:1] * (1.0 - share) + values[-1:] * share
    padding = min(len(values) - 1, int(np.ceil(6.0 * rate_hz / cutoff_hz)))
    return chord + sosfiltfilt(sections, values - chord, axis=0, padtype="odd", padlen=padding)


def _check_time(time: np.ndarray) -> None:
    if time.ndim != 1 or len(time) < 2:
        raise MotionError(f"A motion needs at least two samples in time; the time array has shape {time.shape}.")
    if not np.isfinite(time).all():
        raise MotionError(f"Time must be finite; sample {int(np.argmin(np.isfinite(time)))} is not.")
    steps = np.diff(time)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        raise MotionError(
            f"Time must increase; it goes from {time[at]:.6g} s to {time[at + 1]:.6g} s at sample {at + 1}."
        )


def _check_values(time: np.ndarray, values: np.ndarray, names: tuple[str, ...]) -> None:
    if values.shape != (len(time), len(names)):
        raise MotionError(
            f"{len(time)} times and {len(names)} names ask for values of shape ({len(time)}, {len(names)}); "
            f"they have shape {values.shape}."
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise MotionError(f"Channel names must be unique; repeated: {_listed(repeated)}.")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise MotionError(f"Values must be finite; '{names[column]}' is {values[row, column]} at {time[row]:.6g} s.")


def _listed(names: Iterable[str], limit: int = 12) -> str:
    names = list(names)
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
