"""Where the files are that come with the package: models, pipelines, objectives, networks."""

from __future__ import annotations

from pathlib import Path

MODEL = "osim_models/fullbody80.osim"
DEMO = "pipelines/squat.toml"
NETWORK_FOLDER = Path(__file__).resolve().parent / "networks"
OBJECTIVES = "pipelines/objectives/bige_squat.toml"
SAMPLE_SESSION = Path(__file__).resolve().parent / "sample_data" / "session.zip"
BUILT_IN = "built-in"
"""Stands for a network that comes with the package, wherever the folder of a trained one may be named."""


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


def built_in_objectives() -> dict[str, Path]:
    """Files of the objectives that come with the package, by name."""
    return {path.stem: path for path in sorted(built_in(OBJECTIVES).parent.glob("*.toml"))}


def built_in_network(kind: str) -> Path:
    """Folder of the surrogate or generator that comes with the package; FileNotFoundError where it came without."""
    folder = NETWORK_FOLDER / kind
    if (folder / "config.json").is_file():
        return folder
    raise FileNotFoundError(f"{folder}: no {kind} came with this installation; train one, and name its folder.")
