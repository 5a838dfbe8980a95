"""What is installed: versions, devices, and the cache of compiled models."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import torch

from bige_opensim.io import cache
from bige_opensim.physics.native import library
from bige_opensim.provenance import __version__

BESIDE = ("torch", "numpy", "scipy", "xarray", "cyclopts")


def installation() -> dict[str, Any]:
    """Versions, devices, what solves least effort, and cache (bytes), as `bige info --json` writes them.

    opensim is None where it is missing.
    """
    try:
        from bige_opensim.osim.model import opensim_version

        opensim = opensim_version()
    except ImportError:
        opensim = None
    use = cache.cache_use()
    return {
        "format": "bige-info/1",
        "bige_opensim": __version__,
        "python": platform.python_version(),
        "opensim": opensim,
        **{name: importlib.metadata.version(name) for name in BESIDE},
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["cpu"],
        "least_effort": "torch" if library() is None else "C",
        "cache": {
            "folder": str(cache.cache_folder()),
            "entries": use.entries,
            "bytes": use.size,
            "limit_bytes": cache.cache_limit(),
        },
    }
