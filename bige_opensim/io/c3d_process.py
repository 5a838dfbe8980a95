"""A program of its own that reads one C3D file: `python c3d_process.py FILE.c3d OUT.npz`.

ezc3d ends the whole process, or never ends, on some damaged files, and once it is imported OpenSim's Python classes
fail (both register SWIG types of the same names). So it never runs in the process that wants the markers. OUT.npz holds
points (time, point, 3), residuals (time, point), first_frame, and the parameters of the group POINT as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

_BYTES_ALWAYS, _BYTES_PER_BYTE = 4 << 30, 64


def main(source: Path, target: Path) -> None:
    """Read `source` by ezc3d and write `target`."""
    _limit_memory(_BYTES_ALWAYS + _BYTES_PER_BYTE * source.stat().st_size)
    import ezc3d

    content = ezc3d.c3d(str(source))
    group = content["parameters"]["POINT"]
    point = {key: np.asarray(entry["value"]).ravel().tolist() for key, entry in group.items() if "value" in entry}
    np.savez(
        target,
        points=np.asarray(content["data"]["points"], dtype=np.float64)[:3].transpose(2, 1, 0),
        residuals=np.asarray(content["data"]["meta_points"]["residuals"], dtype=np.float64)[0].T,
        first_frame=np.array(content["header"]["points"]["first_frame"]),
        point=np.frombuffer(json.dumps(point).encode(), dtype=np.uint8),
    )


def _limit_memory(size: int) -> None:
    """Damaged counts would otherwise make ezc3d ask for all there is; systems without such limits go without."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if most == resource.RLIM_INFINITY else min(size, most), most))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
