"""A program of its own that reads one C3D file: `python c3d_process.py FILE.c3d OUT.npz [GROUP]`.

ezc3d ends the whole process, or never ends, on some damaged files, and once it is imported OpenSim's Python classes
fail (both register SWIG types of the same names). So it never runs in the process that wants the markers. OUT.npz holds
points (time, point, 3), residuals (time, point), first_frame, and the parameters of the group POINT as JSON; with GROUP
ANALOG it holds analogs (sample, channel), first_frame, and the parameters of ANALOG and POINT instead.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

_BYTES_ALWAYS, _BYTES_PER_BYTE = 4 << 30, 64


def main(source: Path, target: Path, group: str = "POINT") -> None:
    """Read `source` by ezc3d and write what `group` holds into `target`."""
    _limit_memory(_BYTES_ALWAYS + _BYTES_PER_BYTE * source.stat().st_size)
    import ezc3d

    content = ezc3d.c3d(str(source))
    first = np.array(content["header"]["points"]["first_frame"])
    point = _as_json(content["parameters"]["POINT"])
    if group == "ANALOG":
        analogs = np.asarray(content["data"]["analogs"], dtype=np.float64)[0].T
        np.savez(target, analogs=analogs, first_frame=first, point=point, analog=_as_json(content["parameters"][group]))
        return
    np.savez(
        target,
        points=np.asarray(content["data"]["points"], dtype=np.float64)[:3].transpose(2, 1, 0),
        residuals=np.asarray(content["data"]["meta_points"]["residuals"], dtype=np.float64)[0].T,
        first_frame=first,
        point=point,
    )


def _as_json(group: dict[str, Any]) -> np.ndarray:
    """The values of a group's parameters as the bytes of a JSON object."""
    values = {key: np.asarray(entry["value"]).ravel().tolist() for key, entry in group.items() if "value" in entry}
    return np.frombuffer(json.dumps(values).encode(), dtype=np.uint8)


def _limit_memory(size: int) -> None:
    """Damaged counts would otherwise make ezc3d ask for all there is; systems without such limits go without."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if most == resource.RLIM_INFINITY else min(size, most), most))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
