"""What a report says of joint contact forces, beside what instrumented implants measured in people."""

from __future__ import annotations

from collections.abc import Mapping

from bige_opensim.reporting.wording import SPACE, listed, number, split_side

IN_VIVO = {
    "hip": "implants measured 1.4 to 2.6 in daily life (Bergmann et al. 2001), 2.0 in squats, 1.8 in sit-to-stands",
    "knee": "implants measured 2.3 to 3.5 in daily life (Kutzner et al. 2010), 2.5 in squats, 2.7 in sit-to-stands",
}
"""Mean peaks of activities from standing up to stairs (doi:10.1016/S0021-9290(01)00040-9,
doi:10.1016/j.jbiomech.2010.03.046), and medians of OrthoLoad's squats and sit-to-stands, in body weights.
"""
NAMES = {"hip": "Hip load", "knee": "Knee load", "patellofemoral": "Load of the kneecap", "ankle": "Ankle load"}


def load_facts(loads: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str]]:
    """A row per joint: peaks of both sides in body weights, what implants measured, and a mark beyond what is borne."""
    found = []
    for joint, name in NAMES.items():
        sides = {split_side(full)[1]: load for full, load in loads.items() if split_side(full)[0] == joint}
        if not sides:
            continue
        peaks = listed([f"{number(load['peak_bw'], 2)} {side}" for side, load in sides.items()])
        said = [f"peak {peaks}{SPACE}body weights"]
        if any(load["peak_bw"] > load["borne_bw"] for load in sides.values()):
            limit = next(iter(sides.values()))["borne_bw"]
            said.append(f"more than any body is known to bear ({number(limit, 3)}): not to be read as the person's")
        if joint in IN_VIVO:
            said.append(IN_VIVO[joint])
        found.append((name, "; ".join(said)))
    return found
