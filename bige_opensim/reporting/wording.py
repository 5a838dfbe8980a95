"""Terms, muscles, coordinates and checks in plain words, and numbers with the units that readers use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bige_opensim.guidance.language import Term
from bige_opensim.guidance.objective import BoundTerm

MUSCLES = {
    "addbrev": "adductor brevis", "addlong": "adductor longus", "addmagDist": "adductor magnus (distal)",
    "addmagIsch": "adductor magnus (ischial)", "addmagMid": "adductor magnus (middle)",
    "addmagProx": "adductor magnus (proximal)", "bflh": "biceps femoris (long head)",
    "bfsh": "biceps femoris (short head)", "edl": "extensor digitorum longus", "ehl": "extensor hallucis longus",
    "fdl": "flexor digitorum longus", "fhl": "flexor hallucis longus", "gaslat": "gastrocnemius (lateral)",
    "gasmed": "gastrocnemius (medial)", "glmax1": "gluteus maximus (upper)", "glmax2": "gluteus maximus (middle)",
    "glmax3": "gluteus maximus (lower)", "glmax": "gluteus maximus", "glmed1": "gluteus medius (front)",
    "glmed2": "gluteus medius (middle)", "glmed3": "gluteus medius (back)", "glmin1": "gluteus minimus (front)",
    "glmin2": "gluteus minimus (middle)", "glmin3": "gluteus minimus (back)", "grac": "gracilis",
    "iliacus": "iliacus", "perbrev": "peroneus brevis", "perlong": "peroneus longus", "piri": "piriformis",
    "psoas": "psoas", "recfem": "rectus femoris", "sart": "sartorius", "semimem": "semimembranosus",
    "semiten": "semitendinosus", "soleus": "soleus", "tfl": "tensor fasciae latae", "tibant": "tibialis anterior",
    "tibpost": "tibialis posterior", "vasint": "vastus intermedius", "vaslat": "vastus lateralis",
    "vasmed": "vastus medialis",
}  # fmt: skip
"""Names of the muscles of Rajagopal et al. (2016, doi:10.1109/TBME.2016.2586891), without their side."""

COORDINATES = {
    "hip_flexion": "hip flexion", "hip_adduction": "hip adduction", "hip_rotation": "hip internal rotation",
    "knee_angle": "knee flexion", "ankle_angle": "ankle dorsiflexion", "subtalar_angle": "subtalar inversion",
    "mtp_angle": "toe extension", "pelvis_tilt": "pelvis tilt (− is forward)", "pelvis_list": "pelvis list",
    "pelvis_rotation": "pelvis rotation", "pelvis_tx": "pelvis position forward", "pelvis_ty": "pelvis height",
    "pelvis_tz": "pelvis position to the right", "lumbar_extension": "lumbar extension (− is flexion)",
    "lumbar_bending": "lumbar side bending", "lumbar_rotation": "lumbar rotation", "arm_flex": "shoulder flexion",
    "arm_add": "shoulder adduction", "arm_rot": "shoulder rotation", "elbow_flex": "elbow flexion",
    "pro_sup": "forearm pronation",
}  # fmt: skip

COMPONENTS = {"norm": "", "x": " forward", "y": " upward", "z": " to the right"}
STATS = {"peak": "Largest", "min": "Smallest", "mean": "Mean", "range": "Range of", "rms": "Average size (RMS) of"}

GATES = {
    "residual_force": ("Unexplained force", "force that had to be added to hold the body, in % of the peak load"),
    "residual_moment": (
        "Unexplained moment",
        "moment that had to be added, in % of the peak load × the height of the body's centre",
    ),
    "reserves": ("Missing muscle moment", "joint moment that the muscles could not supply, in % of the peak moment"),
    "saturated": ("Muscles at their maximum", "share of muscle values above 99 %"),
    "failed_frames": ("Unsolved instants", "share of the repetition without a solution"),
    "rotation_speed": ("Fastest segment rotation", "a segment that jumps means a broken motion"),
    "whole_body_shift": ("Correction of the body's path", "largest shift needed so that the feet can carry the motion"),
    "sampling": ("Gap between samples", "what happens in between is not simulated"),
    "joint_limits": ("Joints beyond their limits", "the model's ranges, and people's where it sets none"),
    "self_intersection": (
        "Limbs through each other",
        "share of two segments' thickness that overlaps; soft parts give way, bones do not",
    ),
    "ground_height": ("Ground height", "between the ground of the simulation and the one the motion was made for"),
    "floating": ("Floating", "largest height of a foot above the ground while it carries"),
    "penetration": ("Sinking in", "largest depth of a foot below the ground"),
    "foot_slide": ("Sliding", "way of a foot over the ground while it carries"),
    "balance": ("Out of balance", "distance beyond the feet at which the ground would have to push"),
}
SPACE = "\N{NO-BREAK SPACE}"
GATE_UNITS = {
    "degrees beyond a joint's range": "°",
    "ms between samples": "ms",
    **{unit: "mm" for unit in ("mm above the ground", "mm below the ground", "mm while loaded", "mm beyond the feet")},
}


class Display(NamedTuple):
    """Unit on the page, and the factor from the unit of objective files to it."""

    factor: float
    unit: str


PLAIN_UNITS = {
    "1": Display(100.0, f"{SPACE}%"), "deg": Display(1.0, "°"), "m": Display(100.0, f"{SPACE}cm"),
    "deg/s": Display(1.0, "°/s"), "m/s": Display(1.0, f"{SPACE}m/s"), "m/s^2": Display(1.0, f"{SPACE}m/s²"),
    "N*m/kg": Display(1.0, f"{SPACE}N·m/kg"), "BW": Display(1.0, f"{SPACE}× body weight"),
    "s": Display(1.0, f"{SPACE}s"),
}  # fmt: skip


def display(bound: BoundTerm) -> Display:
    """How values of a term are shown: activations in %, lengths in cm, sliding in cm/s."""
    if bound.term.quantity == "foot_slide":
        return Display(100.0, f"{SPACE}cm/s")
    return PLAIN_UNITS[bound.measured.unit]


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, at most five decimals, and a true minus; '–' where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    whole = math.floor(math.log10(abs(value))) + 1
    text = f"{value:.{min(max(digits - whole, 0), 5)}f}"
    return text.replace("-", "−") if float(text) else "0"


def plain(value: float) -> str:
    """A limit as a person would write it: 35, 0.25."""
    return f"{value:.6g}".replace("-", "−")


def value_text(bound: BoundTerm, value: float | None) -> str:
    """A term's value with its unit, with as many digits as it takes to lie on its own side of the bounds."""
    factor, unit = display(bound)
    if value is None or not math.isfinite(value):
        return "–"
    for digits in (3, 4, 5):
        shown = number(factor * value, digits)
        rounded = float(shown.replace("−", "-")) / factor
        if (bound.low <= rounded <= bound.high) == (bound.low <= value <= bound.high):
            break
    return shown + unit


def target_text(bound: BoundTerm) -> str:
    """What was asked for: 'between 35 and 45 %', 'at least 25 cm', 'as small as possible'."""
    if not bound.bounded:
        return "as small as possible" if bound.term.goal == "minimise" else "as large as possible"
    factor, unit = display(bound)
    low, high = plain(factor * bound.low), plain(factor * bound.high)
    if math.isinf(bound.high):
        return f"at least {low}{unit}"
    return f"at most {high}{unit}" if math.isinf(bound.low) else f"between {low} and {high}{unit}"


def split_side(name: str) -> tuple[str, str]:
    """A name without its side, and the side: ('vasmed', 'right'); '' for names without one."""
    for ending, side in (("_r", "right"), ("_l", "left")):
        if name.endswith(ending):
            return name[: -len(ending)], side
    return name, ""


def plain_name(name: str) -> str:
    """Muscle or coordinate in words, without its side; names that are not known stay as they are."""
    base, _ = split_side(name)
    return MUSCLES.get(base) or COORDINATES.get(base) or base


def with_side(name: str) -> str:
    """'vastus medialis, right'."""
    _, side = split_side(name)
    return f"{plain_name(name)}, {side}" if side else plain_name(name)


def listed(names: Sequence[str], most: int = 5) -> str:
    """'a, b and c'; beyond so many, 'a, b, c and 9 more'."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def channel_names(labels: Sequence[str]) -> str:
    """Channels in words: each name once, the sides said once where all have the same."""
    bases = list(dict.fromkeys(plain_name(x) for x in labels))
    sides = {base: [split_side(x)[1] for x in labels if plain_name(x) == base] for base in bases}
    kinds = {tuple(s) for s in sides.values()}
    if len(kinds) == 1:
        both = [s for s in kinds.pop() if s]
        return listed(bases) + (f", {' and '.join(both)}" if both else "")
    return listed([with_side(x) for x in labels])


def describe(bound: BoundTerm) -> str:
    """What a term measures, as one phrase."""
    term, labels = bound.term, bound.measured.labels
    if term.quantity == "duration":
        return "Duration of the repetition"
    if term.quantity == "depth" and term.stat == "peak":
        return "Depth: drop of the pelvis below its highest point"
    what = _subject(term, labels)
    if term.stat == "at":
        return f"{what[0].upper()}{what[1:]} at {plain(100 * (term.at or 0.0))}{SPACE}% of the repetition"
    if term.quantity == "activation" and term.stat == "peak":
        return f"Peak {what}"
    return f"{STATS[term.stat]} {what}"


def _subject(term: Term, labels: Sequence[str]) -> str:
    names = channel_names(labels)
    everything = "all joint angles" if not term.of else names
    return {
        "activation": f"activation of {names}",
        "coordinate": names,
        "velocity": f"speed of {everything}",
        "asymmetry": f"right–left difference of {everything}",
        "moment": f"joint moment of {names}",
        "grf": _ground_force(labels),
        "joint_load": f"contact force of {names}",
        "com_velocity": "speed of the body's centre of mass" + _directions(labels),
        "com_acceleration": "acceleration of the body's centre of mass" + _directions(labels),
        "foot_slide": "sliding speed of the feet on the ground",
        "trunk_angle": "lean of the trunk from the vertical",
        "depth": "drop of the pelvis below its highest point",
    }[term.quantity]


def _ground_force(labels: Sequence[str]) -> str:
    axes = {"vx": "forward", "vy": "vertical", "vz": "sideways"}
    kinds = listed(list(dict.fromkeys(axes.get(x[-2:], x) for x in labels)))
    feet = [side for letter, side in (("r", "right"), ("l", "left")) if any(f"_{letter}_v" in x for x in labels)]
    return f"{kinds} ground force under the {' and '.join(feet)} foot"


def _directions(labels: Sequence[str]) -> str:
    found = [COMPONENTS.get(x, f" {x}") for x in labels]
    return listed([x for x in found if x]) if any(found) else ""


def gate_text(name: str, gate: Mapping[str, Any]) -> dict[str, Any]:
    """A gate for a table: plain name, explanation, value and limit with unit, and whether it passed."""
    title, meaning = GATES.get(name, (name.replace("_", " "), gate["unit"]))
    unit = SPACE + GATE_UNITS.get(gate["unit"], "%" if gate["unit"].startswith("%") else gate["unit"])
    return {
        "title": title,
        "meaning": meaning,
        "value": number(gate["value"], 2) + unit,
        "limit": plain(gate["limit"]) + unit,
        "passed": bool(gate["passed"] if "passed" in gate else gate["satisfied"]),
    }
