"""Loads that a person carries: a bar on the back, weights in the hands, anything that is fixed to a body.

A load is a body of its own, welded to the body that carries it, so that kinematics, dynamics, ground forces and OpenSim
know it without a word: in models its name begins with LOAD. What counts in body weights leaves it out.

Shapes are our choice of what gyms have. A bar on the back is a straight rod across the body (2.2 m, 20 kg, 28 mm thick)
with the rest of the mass in two discs of 0.45 m at its sleeves; below 20 kg it is the rod alone. With the bar along z,
rod m_b, discs m_d each at distance d,

    I_z = m_b r^2 / 2 + 2 m_d R^2 / 2,        I_x = I_y = m_b (3 r^2 + L^2) / 12 + 2 m_d (R^2 / 4 + d^2).

Whatever else is carried is a ball of cast iron, I = 2 m r^2 / 5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LOAD = "load_"
"""What the names of bodies that are loads begin with."""
TRUNK, HANDS = "torso", "hands"
FORM = "60kg@torso"
HEAVIEST_KG = 400.0
"""More than anybody was seen to squat or to carry is a slip of the pen (our choice)."""
POUND_KG = 0.45359237
BAR_KG, BAR_M, BAR_RADIUS_M = 20.0, 2.2, 0.014
DISC_RADIUS_M, DISC_AT_M = 0.225, 0.75
IRON_KG_M3 = 7200.0

Loads = str | Sequence[str] | None
"""What scripts say of loads: "60kg@torso", or several of them."""

_WRITTEN = re.compile(r"\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*([a-zA-Z]*)\s*@\s*(\w+)\s*", re.IGNORECASE)


class CarriedLoadError(ValueError):
    """A load that cannot be: how it is written, its mass, or where it is carried."""


@dataclass(frozen=True)
class CarriedLoad:
    """A mass (kg) and where it is carried: the name of a body, or "hands" for both of them."""

    mass_kg: float
    place: str

    def __str__(self) -> str:
        return f"{self.mass_kg:g}kg@{self.place}"


def parse_loads(written: Iterable[str]) -> tuple[CarriedLoad, ...]:
    """Loads from texts such as `60kg@torso` or `60kg@torso, 5kg@hand_r`.

    Raises
    ------
    CarriedLoadError
        A text of another form, a mass in another unit, not above 0, or all of them above HEAVIEST_KG.

    """
    found = tuple(_parsed(part) for text in written for part in text.split(",") if part.strip())
    total = sum(load.mass_kg for load in found)
    if total > HEAVIEST_KG:
        raise CarriedLoadError(
            f"The loads weigh {total:g} kg together, and {HEAVIEST_KG:g} kg is the most that is taken for true; "
            "give what is carried in kg."
        )
    return found


def loads_of(load: Loads) -> tuple[CarriedLoad, ...]:
    """What a script says of loads; errors as `parse_loads`."""
    return parse_loads(() if load is None else (load,) if isinstance(load, str) else load)


def _parsed(text: str) -> CarriedLoad:
    written = _WRITTEN.fullmatch(text)
    try:
        kg = math.nan if written is None else float(written[1])
    except ValueError:
        kg = math.nan
    if written is None or math.isnan(kg):
        raise CarriedLoadError(f"load = {text.strip()!r}: MASSkg@BODY was expected, such as {FORM} or 20kg@hands.")
    unit = written[2].lower()
    if unit != "kg":
        in_kg = {"lb": kg * POUND_KG, "lbs": kg * POUND_KG, "g": 1e-3 * kg}.get(unit)
        meant = f" {kg:g} {unit} are {in_kg:.4g}kg." if in_kg is not None else ""
        raise CarriedLoadError(f"load = {text.strip()!r}: write the mass in kg, such as {FORM}.{meant}")
    if not kg > 0.0:
        raise CarriedLoadError(f"load = {text.strip()!r}: a load weighs more than 0 kg.")
    return CarriedLoad(kg, written[3])


def is_load(body: str) -> bool:
    """Whether a body of a model is a load that its person carries."""
    return body.startswith(LOAD)


def body_of(load: str) -> str:
    """The body that carries a load, from the name of the load's body: "hand_r" of load_hand_r and of load_hand_r_2."""
    return re.sub(r"_\d+$", "", load.removeprefix(LOAD))


def carried_by(bodies: Sequence[str], mass: Float[np.ndarray, " body"]) -> dict[str, float]:
    """What bodies of a model carry, kg by body."""
    found: dict[str, float] = {}
    for name, kg in zip(bodies, mass, strict=True):
        if is_load(name):
            found[body_of(name)] = found.get(body_of(name), 0.0) + float(kg)
    return found


def bar_inertia(mass_kg: float) -> Float[np.ndarray, "3 3"]:
    """Moments of inertia (kg m2) of a loaded bar along z about its middle."""
    bar, discs = min(mass_kg, BAR_KG), max(mass_kg - BAR_KG, 0.0)
    along = 0.5 * (bar * BAR_RADIUS_M**2 + discs * DISC_RADIUS_M**2)
    across = bar * (3.0 * BAR_RADIUS_M**2 + BAR_M**2) / 12.0 + discs * (0.25 * DISC_RADIUS_M**2 + DISC_AT_M**2)
    return np.diag([across, across, along])


def ball_radius(mass_kg: float) -> float:
    """Radius of a ball of cast iron, m."""
    return float((0.75 * mass_kg / (np.pi * IRON_KG_M3)) ** (1.0 / 3.0))


def ball_inertia(mass_kg: float) -> Float[np.ndarray, "3 3"]:
    """Moments of inertia (kg m2) of a ball of cast iron about its middle."""
    return 0.4 * mass_kg * ball_radius(mass_kg) ** 2 * np.eye(3)
