"""Compiled tables as bytes: arrays as safetensors, names and other small things as JSON in the same block."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load, save

_REST = "json"


def pack(content: Mapping[str, Any]) -> bytes:
    """Arrays, mappings of arrays, and what JSON can hold, as one block of bytes."""
    arrays: dict[str, np.ndarray] = {}
    rest = {}
    for name, value in content.items():
        if isinstance(value, np.ndarray):
            arrays[name] = np.ascontiguousarray(value)
        elif isinstance(value, Mapping) and value and all(isinstance(v, np.ndarray) for v in value.values()):
            arrays |= {f"{name}.{key}": np.ascontiguousarray(v) for key, v in value.items()}
        else:
            rest[name] = value
    arrays[_REST] = np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8)
    return bytes(save(arrays))


def unpack(block: bytes) -> dict[str, Any]:
    """What `pack` packed; lists come back as tuples."""
    arrays = load(block)
    rest = json.loads(arrays.pop(_REST).tobytes())
    content: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in rest.items()}
    for name, array in arrays.items():
        outer, _, inner = name.partition(".")
        if inner:
            content.setdefault(outer, {})[inner] = array
        else:
            content[name] = array
    return content
