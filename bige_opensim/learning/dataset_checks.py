"""What a dataset of repetitions must be, checked once, where it is read: inside, it is trusted."""

from __future__ import annotations

import json
from difflib import get_close_matches

import numpy as np
import xarray as xr

NAMES = ("coordinate", "muscle", "feature")
LARGEST_ANGLE_RAD = 4 * np.pi
LARGEST_PLACE_M = 20.0
SHORTEST_S, LONGEST_S = 0.05, 300.0
LARGEST_FEATURE = {"kg": 1000.0, "m": 3.0, "N": 1e7}
ACTIVATION_TOLERANCE = 1e-6
SPLITS = ("train", "validation", "test")
AGAIN = "build the dataset again with `bige dataset`."


class DatasetError(ValueError):
    """Labels that make no dataset, or a file that is none."""


def check_dataset(ds: xr.Dataset, variables: dict[str, tuple[tuple[str, ...], str, str]]) -> None:
    """Refuse what would train, or be reported, without a word.

    Parameters
    ----------
    ds
        The dataset.
    variables
        Dimensions, units and meaning of every variable; text where the units are empty.

    Raises
    ------
    DatasetError
        The first thing that is wrong, and what to do.

    """
    for name, (dimensions, units, _) in variables.items():
        _check_variable(ds, name, dimensions, units)
    if ds["rotational"].dims != ("coordinate",) or ds["rotational"].dtype.kind not in "bui":
        raise DatasetError(f"rotational must say of every coordinate whether it turns, true or false; {AGAIN}")
    if ds.sizes["repetition"] == 0:
        raise DatasetError("it holds no repetition; label more trials and " + AGAIN)
    for name in NAMES:
        _check_names(ds, name)
    _check_split(ds)
    _check_coordinates(ds)
    _check_activations(ds)
    _check_durations(ds)
    _check_features(ds)


def _check_variable(ds: xr.Dataset, name: str, dimensions: tuple[str, ...], units: str) -> None:
    variable = ds[name]
    if variable.dims != dimensions:
        raise DatasetError(
            f"{name} has the dimensions {', '.join(map(str, variable.dims)) or 'none'}, expected are "
            f"{', '.join(dimensions)}; select or rename them, or {AGAIN}"
        )
    if units and variable.dtype.kind not in "fiu":
        raise DatasetError(f"{name} holds {variable.dtype}, expected are numbers in {units}; {AGAIN}")
    found = variable.attrs.get("units", units)
    if units and found != units:
        raise DatasetError(f"{name} is in {found}, expected is {units}; convert it, or {AGAIN}")


def _check_names(ds: xr.Dataset, kind: str) -> None:
    if kind not in ds.coords or ds[kind].dims != (kind,):
        raise DatasetError(f"the {kind}s have no names; {AGAIN}")
    names = [str(name) for name in ds[kind].values]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"the {kind} {twice[0]} is there {names.count(twice[0])} times; keep one, or {AGAIN}")
    built = json.loads(ds.attrs.get("names", "{}")).get(kind, names)
    unknown = [name for name in names if name not in built]
    if unknown:
        missing = [name for name in built if name not in names]
        near = get_close_matches(unknown[0], missing, n=1, cutoff=0.4)
        raise DatasetError(
            f"the {kind} {unknown[0]} is not among those that the dataset was built with"
            f"{f' (nearest: {near[0]})' if near else ''}; names are those of the model: rename it back, or {AGAIN}"
        )


def _check_split(ds: xr.Dataset) -> None:
    unknown = sorted(set(map(str, ds["split"].values)) - set(SPLITS))
    if unknown:
        raise DatasetError(f"the split {unknown[0]!r} is none of {', '.join(SPLITS)}; correct it, or {AGAIN}")


def _check_coordinates(ds: xr.Dataset) -> None:
    turns = ds["rotational"].values.astype(bool)
    _refuse(ds, "q", ~np.isfinite(ds["q"].values), f"is not finite; {AGAIN}")
    largest = np.where(turns, LARGEST_ANGLE_RAD, LARGEST_PLACE_M)
    q = np.abs(ds["q"].values)
    _refuse(
        ds, "q", (q > largest) & turns, "is no angle in radians (degrees, perhaps); convert the rotations, or " + AGAIN
    )
    _refuse(ds, "q", q > largest, "is no place in metres (millimetres, perhaps); convert the translations, or " + AGAIN)


def _check_activations(ds: xr.Dataset) -> None:
    """Activations may be absent (NaN): such repetitions train a generator only."""
    a = ds["activations"].values
    beyond = (a < -ACTIVATION_TOLERANCE) | (a > 1.0 + ACTIVATION_TOLERANCE)
    _refuse(ds, "activations", beyond, f"is no activation, which lies between 0 and 1; correct it, or {AGAIN}")


def _check_durations(ds: xr.Dataset) -> None:
    bad = ~((ds["duration"].values >= SHORTEST_S) & (ds["duration"].values <= LONGEST_S))
    why = f"is no duration of a repetition in s ({SHORTEST_S:g} to {LONGEST_S:g}); correct it, or {AGAIN}"
    _refuse(ds, "duration", bad, why)


def _check_features(ds: xr.Dataset) -> None:
    units = json.loads(ds["feature"].attrs.get("feature_units", "{}"))
    largest = np.array([LARGEST_FEATURE.get(units.get(str(name)), np.inf) for name in ds["feature"].values])
    f = ds["features"].values
    bad = ~(np.isfinite(f) & (f > 0) & (f <= largest))
    _refuse(ds, "features", bad, f"is no such feature of a person; correct it, or {AGAIN}")


def _refuse(ds: xr.Dataset, name: str, bad: np.ndarray, why: str) -> None:
    """Raise with the first bad value, its channel, subject and repetition."""
    if not bad.any():
        return
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    channel = [str(ds[d].values[i]) for d, i in zip(ds[name].dims, at, strict=True) if d in NAMES]
    raise DatasetError(
        f"{' '.join([name, *channel])} = {ds[name].values[at]:g} in repetition {at[0]} (of subject "
        f"{ds['subject'].values[at[0]]}) {why}"
    )
