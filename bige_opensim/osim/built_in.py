"""Where the model that comes with the package is."""

from __future__ import annotations

from pathlib import Path

from bige_opensim.osim.model import ModelError

FULL_BODY = "fullbody80.osim"


def built_in_model(name: str = FULL_BODY) -> Path:
    """Path of a model of `osim_models`: inside an installed package, or beside it in a checkout.

    Raises
    ------
    ModelError
        The package came without it.

    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "osim_models", package.parent / "osim_models"):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{package}: {name} is not part of this installation. Install the package again, or name a model.")
