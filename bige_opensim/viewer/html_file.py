"""A scene as one HTML file that needs nothing beside it: viser's client and recording, and curves that follow it."""

from __future__ import annotations

import base64
import html
import json
import zlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from bige_opensim.viewer.stage import SMALLEST_STEP, Stage, loopback_server, stopped
from bige_opensim.viewer.take import Take

LEVELS = 255


def as_html(takes: Sequence[Take], *, overlaid: bool = False, title: str = "bige view") -> str:
    """The takes as one page: play, pause, a slider, speed, and curves for the muscle or joint that is picked."""
    server = loopback_server()
    try:
        recording = server.get_scene_serializer()
        stage = Stage(server, takes, overlaid=overlaid, step_m=SMALLEST_STEP)
        for frame in range(1, stage.frames):
            recording.insert_sleep(1.0 / takes[0].rate_hz)
            stage.show(frame)
        recording.insert_sleep(1.0 / takes[0].rate_hz)
        page = recording.as_html()
    finally:
        stopped(server)
    return with_curves(page, takes, title)


def with_curves(page: str, takes: Sequence[Take], title: str) -> str:
    """The page with its title and the panel of curves."""
    folder = resources.files("bige_opensim.viewer")
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("curves.css", "curves.js"))
    data = json.dumps(curve_data(takes)).replace("<", "\\u003c")
    panel = (
        f'<style>{style}</style><script type="application/json" id="bige-curves">{data}</script>'
        f"<script>{script}</script></body>"
    )
    titled = page.replace("<title>Viser</title>", f"<title>{html.escape(title)}</title>", 1)
    head, _, tail = titled.rpartition("</body>")
    return f"{head}{panel}{tail}"


def curve_data(takes: Sequence[Take]) -> dict[str, Any]:
    """Every channel of every take in steps of a 255th of the channel's range, packed (zlib, base64).

    `channels` gives name, kind, unit, lowest and highest value; `values` holds, channel by channel, the takes' frames
    one after the other. A take without a channel has zeros there, and is named in the channel's `lacking`.
    """
    names = list(dict.fromkeys(name for take in takes for name in take.curves))
    channels, packed = [], []
    for name in names:
        found = [take.curves.get(name) for take in takes]
        first = next(c for c in found if c is not None)
        low = min(float(c.values.min()) for c in found if c is not None)
        high = max(float(c.values.max()) for c in found if c is not None)
        step = (high - low) / LEVELS or 1.0
        for take, curve in zip(takes, found, strict=True):
            levels = np.zeros(take.frames) if curve is None else (curve.values - low) / step
            packed.append(np.rint(levels).astype(np.uint8))
        channels.append({
            "name": name, "kind": first.kind, "unit": first.unit, "low": low, "high": high,
            "lacking": [i for i, c in enumerate(found) if c is None],
        })  # fmt: skip
    blob = zlib.compress(np.concatenate(packed).tobytes(), 9)
    return {
        "titles": [take.title for take in takes],
        "frames": [take.frames for take in takes],
        "rate": takes[0].rate_hz,
        "channels": channels,
        "values": base64.b64encode(blob).decode("ascii"),
    }
