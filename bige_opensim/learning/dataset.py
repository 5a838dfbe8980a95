"""Labelled trials cut into repetitions of equal length: one xarray dataset, one netCDF file."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from jaxtyping import Float

from bige_opensim.learning.dataset_checks import NAMES, DatasetError, check_dataset
from bige_opensim.learning.labelled_trials import (
    FEATURES,
    LabelledTrial,
    LeftOut,
    TrialSource,
    label_files,
    labelled_trial,
    read_labelled_trial,
    rotation_triples,
    shoulders,
)
from bige_opensim.learning.split import SplitError, split_by_subject
from bige_opensim.motion import Motion
from bige_opensim.movements.heading import Root, RootError, without_heading
from bige_opensim.movements.repetitions import AUTO, Repetition, RepetitionError, event_rule
from bige_opensim.physics.rotations import one_branch
from bige_opensim.provenance import __version__

FORMAT = "bige-repetitions/1"
SAMPLES = 101
VARIABLES = {  # name: (dimensions, units, long name)
    "q": (("repetition", "sample", "coordinate"), "rad or m", "generalized coordinates, heading and place removed"),
    "activations": (("repetition", "sample", "muscle"), "1", "muscle activations of static optimization"),
    "moments": (
        ("repetition", "sample", "coordinate"),
        "N m or N",
        "net generalized forces of the label, what ground and supports do taken off",
    ),
    "features": (("repetition", "feature"), "kg, m or N", "features of the subject"),
    "duration": (("repetition",), "s", "duration of the repetition"),
    "start": (("repetition",), "s", "start of the repetition in its recording"),
    "end": (("repetition",), "s", "end of the repetition in its recording"),
    "depth_deg": (("repetition",), "degree", "largest knee flexion"),
    "side": (("repetition",), "", "both, or the front leg of a lunge, or the leg of a stride: right or left"),
    "events": (("repetition",), "", "events inside the repetition: name and time in its recording (s), as JSON"),
    "subject": (("repetition",), "", "subject"),
    "session": (("repetition",), "", "session"),
    "trial": (("repetition",), "", "trial"),
    "split": (("repetition",), "", "train, validation or test, by subject"),
    "status": (("repetition",), "", "passed or gates_failed: the quality gates of the trial"),
}
ABSENT_IN_OLDER_FILES = {"side": "both", "events": "[]"}


BY_TRIAL = ("labels_sha256", "models", "label_provenance")
"""Attributes that say something of every trial."""


def build_dataset(
    labels: Path | Sequence[TrialSource],
    *,
    include_failed: bool = False,
    split: Mapping[str, str] | None = None,
    seed: int = 0,
    movement: str = "squat",
    trials: str = "*",
) -> xr.Dataset:
    """Cut every labelled trial of a folder, or in memory, into repetitions of 101 samples, split by subject.

    Each repetition is resampled by cubic splines from 0 to 100 % of its duration, turned about the vertical to face
    forward at its first sample, and moved to start above the origin with the ground at height 0. Equal postures are
    equal numbers: angles that wrap are all on one branch (`physics.rotations.one_branch`).

    Parameters
    ----------
    labels
        Folder with labelled trials (`label.json`, `states.sto`, `inverse_dynamics.sto`) at any depth, or what
        trials in memory bring.
    include_failed
        Keep trials that failed quality gates; their `status` says so.
    split
        Split by subject, replacing the one drawn from `seed`.
    seed
        Draws the split among equals.
    movement
        Event rule of `repetitions.EVENT_RULES`; `repetitions.AUTO` finds the movement of each trial, which
        must be the same in all.
    trials
        Shell pattern for the names of the trials to take.

    Returns
    -------
    xr.Dataset
        The variables of `VARIABLES` and the flag `rotational` by coordinate; as attributes the trials left out with
        reasons (`excluded`), whether any is `synthetic`, the root's axes (`root`), and provenance, as JSON.

    Raises
    ------
    DatasetError
        If the movement has no event rule, there are no labels, all are left out, muscles, root joints or
        movements differ between trials, or `split` lacks a subject.
    """
    found, left_out = _read(labels, include_failed, movement, trials)
    first = found[0]
    _check_one_movement(found)
    for other in found[1:]:
        _check_same(first, other)
    shared = set.intersection(*(set(trial.q.names) for trial in found))
    coordinates = [name for name in first.q.names if name in shared]
    ds = _assemble(found, coordinates, _root(first))
    try:
        parts, note = split_by_subject(Counter(ds["subject"].values.tolist()), seed=seed, given=split)
    except SplitError as problem:
        raise DatasetError(str(problem)) from None
    ds["q"].values[:] = one_branch(ds["q"].values, coordinates, ds["rotational"].values, _triples(found))
    ds["split"] = _variable("split", [parts[subject] for subject in ds["subject"].values])
    ds.attrs = {
        "format": FORMAT,
        "movement": first.movement,
        "seed": seed,
        "split_note": note,
        "synthetic": json.dumps(any(trial.label.get("synthetic", False) for trial in found)),
        "root": json.dumps(first.label["root"]),
        "rotation_triples": json.dumps(_triples(found)),
        "excluded": json.dumps([{"trial": item.trial, "reason": item.reason} for item in left_out]),
        "names": json.dumps({kind: ds[kind].values.tolist() for kind in NAMES}),
        "coordinates_left_out": json.dumps(sorted({name for trial in found for name in trial.q.names} - shared)),
        **_provenance(found),
    }
    return ds


def save_dataset(ds: xr.Dataset, path: Path) -> None:
    """Write a dataset as netCDF-4, whole or not at all.

    Raises
    ------
    DatasetError
        If the folder of `path` does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise DatasetError(f"{path}: the folder {path.parent} does not exist; create it first.")
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        packed = {name: {"zlib": True, "complevel": 4} for name in ("q", "activations", "moments") if name in ds}
        ds.to_netcdf(part, engine="h5netcdf", encoding=packed)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_dataset(path: Path) -> xr.Dataset:
    """Read a dataset that `save_dataset` wrote, into memory.

    Raises
    ------
    DatasetError
        If the file is missing, no netCDF, cut off, or holds something else than repetitions that can be
        trained with: see `check_dataset`.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"{path}: there is no such file; make it with `bige dataset LABELS --out {path.name}`.")
    try:
        h5py.File(path).close()  # xarray's reader prints a traceback where this fails
        ds = xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise DatasetError(f"{path}: not a netCDF file, or cut off ({problem}); build the dataset again.") from problem
    may_lack = {*ABSENT_IN_OLDER_FILES, "moments"}
    missing = [name for name in (*VARIABLES, "rotational") if name not in ds and name not in may_lack]
    if ds.attrs.get("format") != FORMAT or missing:
        raise DatasetError(
            f"{path}: not a dataset of repetitions in format {FORMAT} (format: {ds.attrs.get('format', 'none')}; "
            f"missing: {', '.join(missing) or 'nothing'}); build it with `bige dataset LABELS --out {path.name}`."
        )
    added = {n: _variable(n, [v] * ds.sizes["repetition"]) for n, v in ABSENT_IN_OLDER_FILES.items() if n not in ds}
    if "moments" not in ds:
        dimensions, units, long_name = VARIABLES["moments"]
        unknown = np.full(ds["q"].shape, np.nan)
        added["moments"] = (dimensions, unknown, {"long_name": long_name, "units": units})
    ds = ds.assign(added)
    try:
        check_dataset(ds, VARIABLES)
    except (DatasetError, RecursionError) as problem:
        raise DatasetError(f"{path}: {problem}") from problem
    return ds


def joined(dataset: xr.Dataset, others: xr.Dataset) -> xr.Dataset:
    """Repetitions of a dataset, and after them others with the same coordinates, with what both tell of people.

    Activations of muscles that the others lack are not a number there.
    """
    features = [name for name in dataset["feature"].values if name in others["feature"].values]
    mine, theirs = dataset.sel(feature=features), others.sel(feature=features).reindex(muscle=dataset["muscle"])
    both = [n for n, x in mine.data_vars.items() if n in theirs and "repetition" in x.dims]
    found = xr.concat([mine[both], theirs[both]], "repetition", join="override", combine_attrs="override")
    by_trial = {n: json.loads(others.attrs.get(n, "{}")) | json.loads(dataset.attrs.get(n, "{}")) for n in BY_TRIAL}
    synthetic = any(json.loads(x.attrs.get("synthetic", "false")) for x in (dataset, others))
    told = by_trial | {"synthetic": synthetic}
    return found.assign(rotational=mine["rotational"]).assign_attrs({n: json.dumps(x) for n, x in told.items()})


def _read(
    labels: Path | Sequence[TrialSource], include_failed: bool, movement: str, trials: str
) -> tuple[list[LabelledTrial], list[LeftOut]]:
    try:
        if movement != AUTO:
            event_rule(movement)
    except RepetitionError as problem:
        raise DatasetError(str(problem)) from None
    read: list[LabelledTrial | LeftOut]
    if isinstance(labels, Path):
        where = str(labels)
        paths = label_files(labels)
        if not paths:
            raise DatasetError(
                f"{labels}: no labelled trials (label.json) in it or below it; label recordings first with "
                "`bige label SESSIONS --out LABELS`, and give that LABELS folder."
            )
        read = [
            read_labelled_trial(
                path,
                path.parent.relative_to(labels).as_posix(),
                include_failed=include_failed,
                movement=movement,
                trials=trials,
            )
            for path in paths
        ]
    else:
        where = "the labels given"
        if not labels:
            raise DatasetError("no labels were given; label recordings first, and look at why trials failed.")
        read = [
            labelled_trial(source, include_failed=include_failed, movement=movement, trials=trials) for source in labels
        ]
    found = [trial for trial in read if isinstance(trial, LabelledTrial)]
    left_out = [trial for trial in read if isinstance(trial, LeftOut)]
    if not found:
        reasons = "\n".join(f"  {item.trial}: {item.reason}" for item in left_out)
        remedy = "\nUse --include-failed to take trials that failed quality gates."
        raise DatasetError(
            f"{where}: none of the {len(read)} labelled trial(s) can be used:\n{reasons}"
            + (remedy if any(item.gates for item in left_out) else "")
        )
    return found, left_out


def _check_one_movement(trials: Sequence[LabelledTrial]) -> None:
    by_movement: dict[str, list[str]] = {}
    for trial in trials:
        by_movement.setdefault(trial.movement, []).append(trial.name)
    if len(by_movement) > 1:
        found = "\n".join(f"  {movement}: {', '.join(names)}" for movement, names in by_movement.items())
        raise DatasetError(
            f"The trials hold {len(by_movement)} movements, and a dataset holds one:\n{found}\n"
            f"Choose one with --movement {'|'.join(by_movement)}, or choose trials by name with --trials."
        )


def _check_same(first: LabelledTrial, other: LabelledTrial) -> None:
    """Muscles and root must be the same in all trials: their channels would mean different things."""
    if other.activations.names != first.activations.names:
        differing = sorted(set(first.activations.names) ^ set(other.activations.names))
        raise DatasetError(
            f"{other.name} has {len(other.activations.names)} muscles, {first.name} has "
            f"{len(first.activations.names)}; in one of them only, or in another order: "
            f"{', '.join(differing[:8]) or 'none'}. Make one dataset for each kind of model."
        )
    if other.label["root"] != first.label["root"]:
        raise DatasetError(
            f"The models of {first.name} and {other.name} place the body by different root joints "
            f"({first.label['root']} and {other.label['root']}). Make one dataset for each kind of model."
        )


def _assemble(trials: Sequence[LabelledTrial], coordinates: Sequence[str], root: Root) -> xr.Dataset:
    features = _features(trials)
    rows = [(trial, repetition) for trial in trials for repetition in trial.repetitions]
    columns: dict[str, list[Any]] = {
        "q": [_cut_coordinates(t, r, root, coordinates) for t, r in rows],
        "activations": [_resampled(t.activations, r).values.clip(0.0, 1.0) for t, r in rows],
        "moments": [_resampled(t.moments, r).select(coordinates).values for t, r in rows],
        "features": [[float(t.label["subject_features"][name]) for name in features] for t, _ in rows],
        "duration": [r.duration for _, r in rows],
        **{name: [getattr(r, name) for _, r in rows] for name in ("start", "end", "depth_deg", "side")},
        "events": [json.dumps(r.events) for _, r in rows],
        **{name: [str(t.label[name]) for t, _ in rows] for name in ("subject", "session", "trial", "status")},
    }
    rotational = np.array([all(name in t.rotational for t in trials) for name in coordinates])
    names = {"coordinate": coordinates, "muscle": trials[0].activations.names, "feature": features}
    axes = {name: (name, np.array(values, dtype=object), {"long_name": name}) for name, values in names.items()}
    axes["feature"][2]["feature_units"] = json.dumps({name: FEATURES.get(name, "N") for name in features})
    percent = ("sample", np.linspace(0.0, 100.0, SAMPLES), {"units": "%", "long_name": "part of the repetition"})
    flag = ("coordinate", rotational, {"long_name": "true for coordinates in rad, false for coordinates in m"})
    variables = {name: _variable(name, values) for name, values in columns.items()}
    return xr.Dataset({**variables, "rotational": flag}, coords={"sample": percent, **axes})


def triples_of(ds: xr.Dataset) -> list[tuple[str, str, str]]:
    """Coordinates of every joint that turns about three axes; the shoulders in datasets that do not say."""
    if "rotation_triples" not in ds.attrs:
        return shoulders([str(n) for n in ds["coordinate"].values])
    return [(str(a), str(b), str(c)) for a, b, c in json.loads(ds.attrs["rotation_triples"])]


def _triples(trials: Sequence[LabelledTrial]) -> list[tuple[str, str, str]]:
    """Joints about three axes of all trials' models."""
    return sorted({triple for trial in trials for triple in rotation_triples(trial.label)})


def _features(trials: Sequence[LabelledTrial]) -> list[str]:
    """Names of the features: `FEATURES`, and strengths of muscles where all labels have them."""
    known = [trial.label["subject_features"] for trial in trials]
    more = [name for name in known[0] if name not in FEATURES and all(name in one for one in known)]
    return [*FEATURES, *more]


def _variable(name: str, values: list[Any]) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
    dimensions, units, long_name = VARIABLES[name]
    if not units:
        return dimensions, np.array(values, dtype=object), {"long_name": long_name}
    return dimensions, np.array(values, dtype=np.float64), {"long_name": long_name, "units": units}


def _provenance(trials: Sequence[LabelledTrial]) -> dict[str, str]:
    return {
        "labels_sha256": json.dumps({trial.name: trial.sha256 for trial in trials}),
        "models": json.dumps({f"{t.label['session']}/{t.label['trial']}": _models(t) for t in trials}),
        "label_provenance": json.dumps({trial.name: trial.label.get("provenance", {}) for trial in trials}),
        "bige_opensim": __version__,
        "numpy": np.__version__,
        "xarray": xr.__version__,
    }


def _models(trial: LabelledTrial) -> dict[str, Any]:
    """File and sha256 of a trial's model, and of the one that residual reduction made of it, where it did."""
    adjusted = (trial.label.get("residual_reduction") or {}).get("model")
    return trial.label["model"] | ({"adjusted_sha256": adjusted["sha256"]} if adjusted else {})


def _root(trial: LabelledTrial) -> Root:
    try:
        root = Root.from_label(trial.label["root"])
    except RootError as problem:
        raise DatasetError(f"{trial.name}: {problem}") from None
    missing = [name for name in (*root.rotations, *root.translations) if name not in trial.q]
    if missing:
        raise DatasetError(f"{trial.name}: its label lacks the root's {', '.join(missing)}; label the trial again.")
    return root


def _resampled(motion: Motion, repetition: Repetition) -> Motion:
    return motion.resampled(np.linspace(repetition.start, repetition.end, SAMPLES))


def _cut_coordinates(
    trial: LabelledTrial, repetition: Repetition, root: Root, coordinates: Sequence[str]
) -> Float[np.ndarray, "sample coordinate"]:
    cut = _resampled(trial.q, repetition)
    return without_heading(cut, root, ground_height_m=float(trial.label["ground_height_m"])).select(coordinates).values
