"""The script of a page of motions, and the hash by which a browser is told to run it and no other."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources


def script() -> str:
    """Drawing (scene.js), then playing (player.js)."""
    folder = resources.files("bige_opensim.viewer")
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in ("scene.js", "player.js"))


def script_source() -> str:
    """What a content security policy names to let a page's script run, and no other: its hash."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script().encode()).digest()).decode('ascii')}"
