"""Bodies of synthetic people, drawn from published anthropometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SEXES = ("female", "male")
STATURE_M = {"female": (1.6294, 0.0636), "male": (1.7558, 0.0668)}
MASS_KG = {"female": (62.0, 8.4), "male": (78.5, 11.1)}
STATURE_AND_MASS = {"female": 0.53, "male": 0.47}
"""Mean and standard deviation of stature and mass, and their correlation: Gordon et al. (1989), 1988 Anthropometric
Survey of U.S. Army Personnel, Natick/TR-89/044 (2208 women, 1774 men), rounded."""

PROPORTIONS = {"femur": 0.03, "tibia": 0.03, "torso": 0.025, "pelvis": 0.04, "foot": 0.035, "arm": 0.03}
"""Standard deviation of a segment's length at given stature, as a share of it: of the order of the scatter of
buttock-knee length, popliteal height, hip breadth and foot length about their regressions on stature in that survey."""

WIDE_STATURE_M, WIDE_BODY_MASS_INDEX = (1.45, 2.0), (17.0, 36.0)
WIDE_PROPORTIONS = {"femur": 0.09, "tibia": 0.09, "torso": 0.08, "pelvis": 0.22, "foot": 0.07, "arm": 0.07}
"""What scaled models of laboratories show beside the people themselves: hip centres that markers put too wide, long
thighs, a mass that is not the model's. Uniform ranges; standard deviations of the logarithm of a length."""

BODIES = {
    "femur": ("femur", "patella"),
    "tibia": ("tibia",),
    "torso": ("torso",),
    "pelvis": ("pelvis",),
    "foot": ("talus", "calcn", "toes"),
    "arm": ("humerus", "ulna", "radius", "hand"),
}
BODY_MASS_INDEX = (18.5, 30.0)
TAILS = 2.0
"""Standard deviations at which a draw is repeated."""


@dataclass(frozen=True)
class SyntheticPerson:
    """A synthetic person: name, sex, stature in m, mass in kg, and factors on the lengths of bodies at that stature."""

    name: str
    sex: str
    height_m: float
    mass_kg: float
    segment_scales: dict[str, float]


def draw_person(name: str, random: np.random.Generator) -> SyntheticPerson:
    """Draw a person: sex with equal chances, stature and mass from their joint normal distribution, proportions.

    Draws beyond two standard deviations or outside a body mass index of 18.5 to 30 kg/m2 are repeated.
    """
    sex = str(random.choice(SEXES))
    correlation = STATURE_AND_MASS[sex]
    while True:
        tall, heavy = random.standard_normal(2)
        heavy = correlation * tall + np.sqrt(1.0 - correlation**2) * heavy
        height_m = STATURE_M[sex][0] + STATURE_M[sex][1] * tall
        mass_kg = MASS_KG[sex][0] + MASS_KG[sex][1] * heavy
        index = mass_kg / height_m**2
        if max(abs(tall), abs(heavy)) < TAILS and BODY_MASS_INDEX[0] <= index <= BODY_MASS_INDEX[1]:
            break
    scales: dict[str, float] = {}
    for segment, spread in PROPORTIONS.items():
        factor = 1.0 + spread * bounded_normal(random)
        scales |= dict.fromkeys(BODIES[segment], round(factor, 4))
    return SyntheticPerson(name, sex, round(float(height_m), 3), round(float(mass_kg), 1), scales)


def draw_wide_person(name: str, random: np.random.Generator) -> SyntheticPerson:
    """Draw a body for training, of wider proportions than people have: what a network learns from reaches further."""
    height_m = random.uniform(*WIDE_STATURE_M)
    mass_kg = random.uniform(*WIDE_BODY_MASS_INDEX) * height_m**2
    scales: dict[str, float] = {}
    for segment, spread in WIDE_PROPORTIONS.items():
        factor = float(np.exp(spread * bounded_normal(random)))
        scales |= dict.fromkeys(BODIES[segment], round(factor, 4))
    return SyntheticPerson(name, str(random.choice(SEXES)), round(height_m, 3), round(float(mass_kg), 1), scales)


def around(random: np.random.Generator) -> Callable[[float, float], float]:
    """Draws about a mean with a spread."""
    return lambda mean, spread: mean + spread * bounded_normal(random)


def shares_around(random: np.random.Generator) -> Callable[[float, float], float]:
    """Draws about a mean with a spread that is a share of it."""
    return lambda mean, share: mean * (1.0 + share * bounded_normal(random))


def bounded_normal(random: np.random.Generator, bound: float = TAILS) -> float:
    """A standard normal draw, repeated while it is beyond `bound`."""
    while True:
        x = float(random.standard_normal())
        if abs(x) < bound:
            return x
