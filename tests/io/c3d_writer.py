"""Writes a C3D file by ezc3d in a process of its own, for ezc3d and OpenSim do not go together in one process."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def write_c3d(
    path: Path,
    positions: np.ndarray,
    names: Sequence[str],
    *,
    units: str = "m",
    rate: float = 100.0,
    first: int = 0,
    residuals: np.ndarray | None = None,
    point: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Positions (time, marker, 3) in m, stored in `units`; `point` are further text parameters of POINT."""
    recipe = path.with_suffix(".npz")
    said = {"names": list(names), "units": units, "rate": rate, "first": first, "point": dict(point or {})}
    scale = {"m": 1.0, "cm": 100.0, "mm": 1000.0}.get(units, 1.0)
    arrays = {} if residuals is None else {"residuals": residuals}
    np.savez(recipe, positions=scale * positions, said=np.array(json.dumps(said)), **arrays)
    subprocess.run([sys.executable, __file__, str(recipe), str(path)], check=True, capture_output=True)
    recipe.unlink()
    return path


def main(recipe: Path, path: Path) -> None:
    import ezc3d

    with np.load(recipe) as found:
        positions, said = found["positions"], json.loads(str(found["said"]))
        residuals = found.get("residuals")
    content = ezc3d.c3d()
    parameters = content["parameters"]["POINT"]
    parameters["RATE"]["value"] = [said["rate"]]
    parameters["LABELS"]["value"] = tuple(said["names"])
    parameters["UNITS"]["value"] = (said["units"],)
    for key, value in said["point"].items():
        content.add_parameter("POINT", key, list(value))
    content["header"]["points"]["first_frame"] = said["first"]
    content["data"]["points"] = np.ones((4, positions.shape[1], len(positions)))
    content["data"]["points"][:3] = positions.transpose(2, 1, 0)
    if residuals is not None:
        content["data"]["meta_points"]["residuals"] = residuals.T[None]
    content.write(str(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
