"""Where the files are that come with the package: models, pipelines, objectives."""

from __future__ import annotations

from pathlib import Path

MODEL = "osim_models/fullbody80.osim"
DEMO = "pipelines/squat.toml"


def built_in(name: str) -> Path:
    """Path of a file such as `osim_models/fullbody80.osim`: inside an installed package, or beside it in a checkout.

    Raises
    ------
    FileNotFoundError
        The package came without it.

    """
    package = Path(__file__).resolve().parent
    for folder in (package / "built_in_files", package.parent):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{package}: {name} is not part of this installation. Install the package again.")
