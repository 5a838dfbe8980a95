"""What a report says of how sure a motion's peaks are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bige_opensim.reporting.wording import SPACE, number, with_side

JOINTS = {"hip": "hip", "knee": "knee", "patellofemoral": "kneecap", "ankle": "ankle"}


def band_facts(uncertainty: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """A row for the muscles that are asked for, and one for joint loads: where nine of ten draws have their peaks."""
    if uncertainty is None:
        return []
    muscles, joints = [], []
    for name, (low, _, high) in uncertainty["peaks"].items():
        joint, pressed = name.removesuffix("_resultant_bw"), name.endswith("_resultant_bw")
        if pressed:
            stem, side = joint.rsplit("_", 1)
            where = f"{JOINTS.get(stem, stem)}, {'right' if side == 'r' else 'left'}"
            joints.append(f"{where} {number(low, 2)} to {number(high, 2)}")
        else:
            muscles.append(f"{with_side(name)} {number(100 * low, 2)} to {number(100 * high, 2)}{SPACE}%")
    draws = f"90{SPACE}% of {uncertainty['draws']} draws"
    found = [("How sure: peak activations", f"{'; '.join(muscles)} in {draws}")] if muscles else []
    return [*found, ("How sure: peak joint loads", f"{'; '.join(joints)} body weights in {draws}")] if joints else found
