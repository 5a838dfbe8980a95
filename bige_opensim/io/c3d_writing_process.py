"""A program of its own that writes one C3D file: `python c3d_writing_process.py CONTENT.npz OUT.c3d`.

ezc3d and OpenSim do not go together in one process (see `c3d_process`). CONTENT.npz holds points (time, point, 3),
analogs (time, channel), corners (plate, 4, 3), and `said`, a JSON object of labels, rate, first frame and units.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS_OF_A_PLATE = 6


def main(source: Path, target: Path) -> None:
    """Write `target` from what `source` holds."""
    import ezc3d

    with np.load(source, allow_pickle=False) as found:
        said = json.loads(found["said"].tobytes())
        points, analogs, corners = (found[key] for key in ("points", "analogs", "corners"))
    content = ezc3d.c3d()
    parameters = content["parameters"]
    parameters["POINT"]["RATE"]["value"] = [said["rate"]]
    parameters["POINT"]["LABELS"]["value"] = tuple(said["points"])
    parameters["POINT"]["UNITS"]["value"] = ("mm",)
    for key in ("X_SCREEN", "Y_SCREEN"):
        content.add_parameter("POINT", key, [said[key]])
    content["header"]["points"]["first_frame"] = said["first"]
    content["data"]["points"] = np.ones((4, points.shape[1], len(points)))
    content["data"]["points"][:3] = points.transpose(2, 1, 0)
    if analogs.size:
        parameters["ANALOG"]["RATE"]["value"] = [said["rate"]]
        parameters["ANALOG"]["LABELS"]["value"] = tuple(said["channels"])
        parameters["ANALOG"]["UNITS"]["value"] = tuple(said["units"])
        content["data"]["analogs"] = analogs.T[None]
        _set_plates(parameters["FORCE_PLATFORM"], corners)
    for key, value in said["about"].items():
        content.add_parameter("MANUFACTURER", key, [value])
    content.write(str(target))


def _set_plates(group: dict[str, Any], corners: np.ndarray) -> None:
    """Force plates of type 2: forces and moments at the middle of the surface."""
    plates = len(corners)
    channels = np.arange(1, CHANNELS_OF_A_PLATE * plates + 1).reshape(plates, CHANNELS_OF_A_PLATE)
    group["USED"]["value"] = [plates]
    group["TYPE"]["value"] = [2] * plates
    group["CHANNEL"]["value"] = channels.T
    group["CORNERS"]["value"] = corners.transpose(2, 1, 0)
    group["ORIGIN"]["value"] = np.zeros((3, plates))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
