"""The model that a trial is labelled on: the person's own, or a copy that carries what is declared."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bige_opensim.io.file_hash import file_sha256
from bige_opensim.labelling.person_model import PersonModel, person_model
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.osim.loaded_model import write_loaded_model
from bige_opensim.osim.model import load
from bige_opensim.physics.carried_loads import CarriedLoad, CarriedLoadError, body_of, is_load, parse_loads
from bige_opensim.physics.skeleton import SkeletonTables

_KEPT = 8


def carried_loads(request: TrialRequest, settings: LabelSettings) -> tuple[CarriedLoad, ...]:
    """What is carried in a trial: what the command declares, and where it says nothing, what the session does.

    Raises
    ------
    CarriedLoadError
        The session's metadata declare none that can be.

    """
    if settings.load:
        return settings.load
    try:
        return parse_loads((request.load,))
    except CarriedLoadError as error:
        raise CarriedLoadError(f"sessionMetadata.yaml of {request.session}: {error}") from error


def loaded_person(request: TrialRequest, settings: LabelSettings) -> PersonModel:
    """The person of a trial with what is carried, from this process's memory where it was met before.

    Raises
    ------
    CarriedLoadError
        As `carried_loads`, or the model lacks the body that a load is on.
    ModelError
        As `person_model`.

    """
    loads = carried_loads(request, settings)
    if not loads:
        return person_model(request.model)
    return person_model(_loaded(request.model.absolute(), file_sha256(request.model), loads))


@lru_cache(maxsize=_KEPT)
def _loaded(model: Path, sha256: str, loads: tuple[CarriedLoad, ...]) -> Path:
    """A file that lasts as long as this process: OpenSim reads a person's model again when paths are sampled."""
    folder = TemporaryDirectory(prefix="bige-loaded-")
    _FOLDERS.append(folder)
    return write_loaded_model(load(model), Path(folder.name) / model.name, loads)


_FOLDERS: list[TemporaryDirectory[str]] = []


def load_entries(tables: SkeletonTables) -> list[dict[str, Any]]:
    """For label.json: the loads of a model, each with the body that carries it, kg, and its middle there in m."""
    return [
        {
            "body": body_of(name),
            "mass_kg": round(float(tables.mass[b]), 6),
            "centre_m": [round(float(x), 4) for x in tables.com[b]],
        }
        for b, name in enumerate(tables.bodies)
        if is_load(name)
    ]
