"""The networks of a search: read, and checked to belong together and to the subject's model."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from bige_opensim.learning.checkpoint import (
    REFERENCES,
    CheckpointError,
    load_generator,
    load_surrogate,
    read_config,
    read_references,
)
from bige_opensim.learning.labelled_trials import FEATURES
from bige_opensim.learning.surrogate import Surrogate
from bige_opensim.learning.vqvae import Generator
from bige_opensim.physics.anthropometry import STRENGTH
from bige_opensim.physics.skeleton import SkeletonTables

ALIKE = 1.0
"""Standard deviations by which the means of two datasets may differ (our choice)."""


class GenerationError(ValueError):
    """Networks, dataset and model that do not belong together."""


class Networks(NamedTuple):
    """A generator with its training repetitions, a surrogate, and what is to be said of the two."""

    generator: Generator
    references: xr.Dataset
    surrogate: Surrogate
    notes: tuple[str, ...]


def load_networks(generator: Path, surrogate: Path, model: Path, tables: SkeletonTables) -> Networks:
    """Read both checkpoints.

    Raises
    ------
    GenerationError, CheckpointError
        A file that is damaged or foreign, or channels that differ between the networks, the references and the model.

    """
    made, predicts = load_generator(generator), load_surrogate(surrogate)
    references = load_references(generator)
    channels = made.channels.coordinates
    _require_same(f"{generator / REFERENCES}: its repetitions have", _names(references, "coordinate"), channels)
    _require_same(f"{surrogate}: the surrogate knows", predicts.channels.coordinates, channels)
    _require_same(
        f"{generator / REFERENCES}: it turns", _turning(references), _turns(channels, made.channels.rotational)
    )
    turns = _turns(predicts.channels.coordinates, predicts.channels.rotational)
    _require_same(f"{surrogate}: the surrogate turns", turns, _turns(channels, made.channels.rotational))
    if references.sizes["repetition"] < 2:
        raise GenerationError(
            f"{generator / REFERENCES}: holds fewer than two repetitions; train the generator on more."
        )
    for what, names, known in (
        ("coordinates", channels, tables.coordinates),
        ("muscles", predicts.channels.muscles, tables.muscles),
    ):
        _require_known(model, what, names, known)
    features = (*FEATURES, *(f"{STRENGTH}{name}" for name in tables.muscles))
    _require_known(surrogate, "subject features", predicts.channels.features, features)
    return Networks(made, references, predicts, _notes(generator, surrogate, made, predicts))


def load_references(checkpoint: Path) -> xr.Dataset:
    """The training repetitions of a generator: starting points, proximity and novelty."""
    try:
        return read_references(checkpoint)
    except CheckpointError as error:
        raise GenerationError(str(error)) from error


def _names(dataset: xr.Dataset, kind: str) -> tuple[str, ...]:
    return tuple(str(name) for name in dataset[kind].values)


def _turning(dataset: xr.Dataset) -> tuple[str, ...]:
    return _turns(_names(dataset, "coordinate"), dataset["rotational"].values)


def _turns(names: Sequence[str], rotational: Sequence[bool] | np.ndarray) -> tuple[str, ...]:
    return tuple(name for name, turns in zip(names, rotational, strict=True) if turns)


def _require_same(where: str, names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Raise GenerationError with the first difference between two lists of channels."""
    if names == expected:
        return
    alone = [*(n for n in names if n not in expected), *(n for n in expected if n not in names)]
    difference = f"{alone[0]} is in one of them only" if alone else "they are in another order"
    raise GenerationError(
        f"{where} the coordinates {', '.join(names)}, the generator {', '.join(expected)}: {difference}. Train both on "
        "the same dataset."
    )


def _require_known(where: Path, what: str, names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        raise GenerationError(
            f"{where}: lacks the {what} {', '.join(unknown[:5])} of the networks"
            f"{f' (nearest to the first: {near[0]})' if near else ''}. Name a model of the family that the training "
            "data used, or train on data of this one."
        )


def _notes(generator: Path, surrogate: Path, made: Generator, predicts: Surrogate) -> tuple[str, ...]:
    """A sentence where the two were trained on different datasets, with the coordinate that differs most.

    Means within `ALIKE` standard deviations say nothing: a surrogate may have been trained on many more motions.
    """
    hashes = [read_config(folder).get("provenance", {}).get("data_sha256") for folder in (generator, surrogate)]
    if hashes[0] == hashes[1]:
        return ()
    ours, theirs = made.channels.scaling["position"], predicts.channels.scaling["position"]
    apart = np.abs(np.subtract(ours.offset, theirs.offset)) / np.asarray(theirs.scale)
    worst = int(apart.argmax())
    if apart[worst] < ALIKE:
        return ()
    return (
        f"{generator.name} and {surrogate.name} were trained on different datasets: what the surrogate says of the "
        f"generator's motions may be wrong ({made.channels.coordinates[worst]} differs most, its mean by "
        f"{apart[worst]:.1f} standard deviations).",
    )
