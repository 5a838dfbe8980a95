"""Activations beside electromyograms: channels matched to muscles, one lag per recording, agreement per muscle.

A surface electromyogram leads the force that it announces by an electromechanical delay, and its envelope is known up
to a factor. So one lag is sought for the whole recording, and every channel is divided by its own peak. What then is
compared is shape and timing: Pearson's r, the root mean square difference of normalised curves, the share of time in
which both are on or both off, and the asymmetry of left and right.

Raw signals become envelopes by the usual steps of surface electromyography (Merletti 1999, standards of the ISEK;
Hermens et al. 2000, doi:10.1016/S1050-6411(00)00027-4): band-pass, rectification, low-pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.signal import butter, sosfiltfilt

from bige_opensim.io.emg import Emg, EmgError
from bige_opensim.motion import Motion

BAND_HZ = (20.0, 450.0)
ENVELOPE_HZ = 6.0
LARGEST_LAG_S = 0.25
LAG_STEP_S = 0.005
SHORTEST_OVERLAP_S = 0.5
ON = 0.2
"""A muscle is on where its normalised curve is above this share of the way from its least to its greatest value."""

SYNONYMS = {
    "soleus": ("soleus", "sol"),
    "gastrocnemius medialis": ("gasmed", "medgas", "gm", "mg", "gastrocnemiusmedialis", "medialgastrocnemius"),
    "gastrocnemius lateralis": ("gaslat", "latgas", "gl", "lg", "gastrocnemiuslateralis", "lateralgastrocnemius"),
    "tibialis anterior": ("tibant", "ta", "tibialisanterior"),
    "tibialis posterior": ("tibpost", "tibialisposterior"),
    "peroneus longus": ("perlong", "pl", "peroneuslongus", "fibularislongus"),
    "peroneus brevis": ("perbrev", "peroneusbrevis", "fibularisbrevis"),
    "vastus medialis": ("vasmed", "vm", "vmo", "vastusmedialis"),
    "vastus lateralis": ("vaslat", "vl", "vastuslateralis"),
    "vastus intermedius": ("vasint", "vi", "vastusintermedius"),
    "rectus femoris": ("recfem", "rectfem", "rf", "rectusfemoris"),
    "semimembranosus": ("semimem", "sm", "semimembranosus"),
    "semitendinosus": ("semiten", "st", "semitendinosus"),
    "biceps femoris long head": ("bflh", "bifemlh", "bf", "bicfem", "bicepsfemoris", "bicepsfemorislonghead"),
    "biceps femoris short head": ("bfsh", "bifemsh", "bicepsfemorisshorthead"),
    "gluteus maximus": ("glmax", "glutmax", "gmax", "gluteusmaximus"),
    "gluteus medius": ("glmed", "glutmed", "gmed", "gluteusmedius"),
    "gluteus minimus": ("glmin", "glutmin", "gmin", "gluteusminimus"),
    "tensor fasciae latae": ("tfl", "tensorfasciaelatae"),
    "adductor longus": ("addlong", "al", "adductorlongus"),
    "adductor magnus": ("addmag", "adductormagnus"),
    "gracilis": ("grac", "gracilis"),
    "sartorius": ("sart", "sar", "sartorius"),
    "erector spinae": ("ercspn", "es", "erectorspinae"),
}
"""Muscles that surface electrodes reach, by the short names of models and of the field, without blanks and digits."""

_SIDE = re.compile(r"(?:^|[\s_.\-])(right|left|r|l)(?=$|[\s_.\-])", re.IGNORECASE)
_NOISE = re.compile(r"(emg|envelope|channel|sensor|ch)(?=$|[\s_.\-\d])|[^a-z]", re.IGNORECASE)


@dataclass(frozen=True)
class MuscleAgreement:
    """How one channel and the muscles that it was matched to go together, at the recording's lag.

    muscles are the model's, whose activations are averaged; side is "r", "l" or ""; r is Pearson's; rmse that of curves
    divided by their peaks; same_state the share of time in which both are on or both are off; own_lag_s and own_r are
    the lag that suits this muscle best and what it gives; emg_mean and activation_mean are means of normalised curves.
    """

    channel: str
    muscle: str
    side: str
    muscles: tuple[str, ...]
    r: float
    rmse: float
    same_state: float
    own_lag_s: float
    own_r: float
    emg_mean: float
    activation_mean: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Agreement of a recording: one lag (s, positive where the electromyogram leads), and a row per matched channel.

    time (T,) s, emg and activation (T, N): the normalised curves that were compared, the electromyogram shifted.
    unmatched: channels for which the model has no muscle.
    """

    lag_s: float
    rows: tuple[MuscleAgreement, ...]
    time: Float[np.ndarray, " time"]
    emg: Float[np.ndarray, "time row"]
    activation: Float[np.ndarray, "time row"]
    unmatched: tuple[str, ...]
    notes: tuple[str, ...]

    def asymmetry(self) -> dict[str, tuple[float, float]]:
        """Per muscle with both sides: (R - L) / (R + L) of the means, of electromyogram and activation."""
        found: dict[str, tuple[float, float]] = {}
        for name in sorted({row.muscle for row in self.rows}):
            sides = {row.side: row for row in self.rows if row.muscle == name}
            if {"r", "l"} <= set(sides):
                right, left = sides["r"], sides["l"]
                found[name] = (
                    _asymmetry(right.emg_mean, left.emg_mean),
                    _asymmetry(right.activation_mean, left.activation_mean),
                )
        return found

    def to_frame(self) -> pd.DataFrame:
        """A row per matched channel."""
        return pd.DataFrame([vars(row) | {"muscles": " ".join(row.muscles)} for row in self.rows])

    def as_dict(self) -> dict[str, Any]:
        """For comparison.json."""
        return {
            "lag_s": self.lag_s,
            "muscles": [asdict(row) for row in self.rows],
            "asymmetry": {k: {"emg": e, "activation": a} for k, (e, a) in self.asymmetry().items()},
            "unmatched_channels": list(self.unmatched),
            "compared_s": [float(self.time[0]), float(self.time[-1])],
            "notes": list(self.notes),
        }


def named(label: str) -> tuple[str, str] | None:
    """The muscle and the side ("r", "l", or "" where none is said) that a label means; None for no known muscle."""
    text = label.strip()
    side = _SIDE.search(text)
    bare = _SIDE.sub(" ", text) if side else text
    word = _NOISE.sub("", bare).lower()
    for muscle, short in SYNONYMS.items():
        if word in short:
            return muscle, side[1][0].lower() if side else ""
    if side is None and len(word) > 1 and word[0] in "rl":  # RVM, Lsoleus
        again = named(f"{word[0]}_{word[1:]}")
        if again is not None:
            return again
    return None


def match_channels(
    channels: Sequence[str], muscles: Sequence[str], given: Mapping[str, Sequence[str]] | None = None
) -> dict[str, tuple[str, ...]]:
    """Muscles of the model for every channel that names one; `given` (channel to muscles) comes first.

    Raises
    ------
    EmgError
        `given` names a channel or a muscle that is not there.

    """
    given = given or {}
    unknown = sorted(set(given) - set(channels)) + sorted({m for names in given.values() for m in names} - set(muscles))
    if unknown:
        raise EmgError(
            f"the map names {', '.join(unknown)}, which are neither channels ({', '.join(channels)}) nor muscles of "
            "the label."
        )
    known = {muscle: named(muscle) for muscle in muscles}
    matched = {}
    for channel in channels:
        meant = named(channel)
        found = tuple(given[channel]) if channel in given else ()
        if not found and meant is not None:
            found = tuple(
                m for m, what in known.items() if what == meant or (what and not meant[1] and what[0] == meant[0])
            )
        if found:
            matched[channel] = found
    return matched


def _named_side(muscle: str) -> tuple[str, str]:
    return named(muscle) or (muscle, "")


def envelope(emg: Emg) -> Motion:
    """Linear envelopes: raw signals are band-passed, rectified and low-passed; envelopes are taken as they are.

    Band 20 to 450 Hz (or 0.45 of the rate), envelope 6 Hz, each a zero-lag Butterworth filter of fourth order.

    Raises
    ------
    EmgError
        A raw signal is sampled too slowly for the band.

    """
    if not emg.raw:
        return Motion(emg.time, np.maximum(emg.values, 0.0), emg.names)
    rate = emg.rate_hz
    if rate < 4 * BAND_HZ[0]:
        raise EmgError(
            f"{emg.path}: raw electromyograms at {rate:.4g} Hz; at least {4 * BAND_HZ[0]:g} Hz are needed. If these "
            "are envelopes, give them without an offset, so that they do not go below 0."
        )
    band = butter(2, (BAND_HZ[0], min(BAND_HZ[1], 0.45 * rate)), "bandpass", fs=rate, output="sos")
    low = butter(2, ENVELOPE_HZ, fs=rate, output="sos")
    rectified = np.abs(sosfiltfilt(band, emg.values - emg.values.mean(0), axis=0))
    return Motion(emg.time, np.maximum(sosfiltfilt(low, rectified, axis=0), 0.0), emg.names)


def compare(
    activations: Motion,
    emg: Emg,
    given: Mapping[str, Sequence[str]] | None = None,
    *,
    largest_lag_s: float = LARGEST_LAG_S,
) -> Comparison:
    """Match channels and muscles, find the lag that suits all of them best, and say how well they then agree.

    The lag maximises the mean over matched muscles of Fisher's z = artanh r; the electromyogram is moved later by it.

    Parameters
    ----------
    activations
        (T, M) activations of a label, time in s on the clock of the electromyogram.
    emg
        The recording.
    given
        Channel to muscles, where the labels do not say.

    Raises
    ------
    EmgError
        No channel names a muscle of the label, the recordings share less than half a second, or a map is wrong.

    """
    matched = match_channels(emg.names, activations.names, given)
    if not matched:
        raise EmgError(
            f"{emg.path}: no channel ({', '.join(emg.names)}) was recognised as a muscle of the label; say with a map "
            "which is which."
        )
    curves = envelope(emg)
    time = _common_time(activations, curves, largest_lag_s, emg)
    wanted = np.column_stack(
        [np.mean([np.interp(time, activations.time, activations[m]) for m in ms], axis=0) for ms in matched.values()]
    )
    lags = np.arange(-round(largest_lag_s / LAG_STEP_S), round(largest_lag_s / LAG_STEP_S) + 1) * LAG_STEP_S
    shifted = np.stack([_at(curves, tuple(matched), time - lag) for lag in lags])
    r = np.stack([_pearson(part, wanted) for part in shifted])
    best = int(np.nanargmax(np.nanmean(np.arctanh(np.clip(r, -0.999999, 0.999999)), axis=1)))
    chosen = shifted[best]
    notes = list(emg.notes)
    if best in (0, len(lags) - 1):
        notes.append(
            f"the lag lies at the end of what was searched ({largest_lag_s:g} s): check that the clocks agree."
        )
    emg_curves, model_curves = _normalised(chosen), _normalised(wanted)
    rows = tuple(
        _row(channel, muscles, k, r, best, lags, emg_curves[:, k], model_curves[:, k])
        for k, (channel, muscles) in enumerate(matched.items())
    )
    left_out = tuple(name for name in emg.names if name not in matched)
    sideless = [c for c, ms in matched.items() if len({side for _, side in map(_named_side, ms)}) > 1]
    if sideless:
        notes.append(f"{', '.join(sideless)} name no side: compared with the mean of both; a map says which it is.")
    return Comparison(float(lags[best]), rows, time, emg_curves, model_curves, left_out, tuple(notes))


def _row(
    channel: str, muscles: tuple[str, ...], k: int, r: np.ndarray, best: int, lags: np.ndarray, e: np.ndarray,
    a: np.ndarray,
) -> MuscleAgreement:  # fmt: skip
    muscle, side = named(channel) or _named_side(muscles[0])
    side = side or _named_side(muscles[0])[1]
    own = int(np.nanargmax(r[:, k])) if np.isfinite(r[:, k]).any() else best
    return MuscleAgreement(
        channel=channel,
        muscle=muscle,
        side=side,
        muscles=muscles,
        r=float(r[best, k]),
        rmse=float(np.sqrt(np.mean((e - a) ** 2))),
        same_state=float(np.mean(_on(e) == _on(a))),
        own_lag_s=float(lags[own]),
        own_r=float(r[own, k]),
        emg_mean=float(e.mean()),
        activation_mean=float(a.mean()),
    )


def _common_time(activations: Motion, curves: Motion, lag_s: float, emg: Emg) -> Float[np.ndarray, " time"]:
    start = max(activations.time[0], curves.time[0] + lag_s)
    end = min(activations.time[-1], curves.time[-1] - lag_s)
    if end - start < SHORTEST_OVERLAP_S:
        raise EmgError(
            f"{emg.path}: runs from {curves.time[0]:.4g} to {curves.time[-1]:.4g} s and the label from "
            f"{activations.time[0]:.4g} to {activations.time[-1]:.4g} s; they must share {SHORTEST_OVERLAP_S:g} s and "
            f"{lag_s:g} s at either end. Put both on one clock."
        )
    return np.arange(start, end, LAG_STEP_S)


def _at(curves: Motion, names: tuple[str, ...], time: np.ndarray) -> np.ndarray:
    return np.column_stack([np.interp(time, curves.time, curves[name]) for name in names])


def _pearson(a: Float[np.ndarray, "time row"], b: Float[np.ndarray, "time row"]) -> Float[np.ndarray, " row"]:
    """Pearson's r per column; NaN where either does not vary."""
    a, b = a - a.mean(0), b - b.mean(0)
    size = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.divide((a * b).sum(0), size, out=np.full(a.shape[1], np.nan), where=size > 0)


def _normalised(x: Float[np.ndarray, "time row"]) -> Float[np.ndarray, "time row"]:
    return x / np.maximum(x.max(0), 1e-12)


def _asymmetry(right: float, left: float) -> float:
    return (right - left) / (right + left)


def _on(x: Float[np.ndarray, " time"]) -> np.ndarray:
    return x > x.min() + ON * (x.max() - x.min())
