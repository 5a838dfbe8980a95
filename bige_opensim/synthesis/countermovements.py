"""Countermovement squats of synthetic people: down and at once up again, with no rest at the bottom.

The course is the smoothest one through the bottom (Flash & Hogan 1985, doi:10.1523/JNEUROSCI.05-07-01688.1985, with the
bottom as the point on the way): of all that stand still at both ends and turn at the bottom, the one with the least
integral of the squared jerk. In the share tau of either half, of duration T, with the acceleration a at the bottom,

    S = 10 tau^3 - 15 tau^4 + 6 tau^5 + a T^2 / 2 (tau^3 - 2 tau^4 + tau^5),

the integral over a half is (.. + 120 a T^2 + 9 a^2 T^4) / T^5, which over both is least at

    a = -20/3 (T_down^-3 + T_up^-3) / (T_down^-1 + T_up^-1).

Trunk, arms, weight and heels follow as in a squat (`squats`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from bige_opensim.synthesis.people import around
from bige_opensim.synthesis.styles import STANDING_KNEE, Squat, Style, draw_squats, draw_style

FASTEST_KNEE = np.deg2rad(260.0)
"""rad/s; a repetition that would be faster takes longer (our choice, between squats and jumps)."""
STEEPEST = 1.74
"""Largest dS/dtau of equal halves."""


def draw_quick_style(random: np.random.Generator) -> Style:
    """Draw how a person makes countermovement squats: to a middle depth, each half in about .65 s; our choice."""
    about = around(random)
    style = draw_style(random)
    depth = about(78.0, 7.0)
    lean = style.lean + 0.5 * (np.deg2rad(depth) - style.depth)
    return replace(
        style, depth=np.deg2rad(depth), lean=lean, down_s=about(0.68, 0.06), up_s=about(0.62, 0.06), hold_s=0.0
    )


def draw_countermovements(style: Style, count: int, random: np.random.Generator) -> list[Squat]:
    """Repetitions of one person, a few per cent apart, as those of a squat but quicker and without a rest."""
    found = []
    for squat in draw_squats(style, count, random):
        quickest = STEEPEST * (squat.depth - STANDING_KNEE) / FASTEST_KNEE
        down, up = (max(quickest, around(random)(of, 0.04)) for of in (style.down_s, style.up_s))
        found.append(replace(squat, down_s=down, up_s=up, hold_s=0.0, turns=True))
    return found


def turned_course(time: Float[np.ndarray, " time"], down_s: float, up_s: float) -> Float[np.ndarray, " time"]:
    """S of a repetition that begins at time 0, s: 0 standing, 1 at the bottom."""
    a = -20.0 / 3.0 * (down_s**-3 + up_s**-3) / (1.0 / down_s + 1.0 / up_s)
    down = time <= down_s
    T = np.where(down, down_s, up_s)
    u = np.clip(np.where(down, time, down_s + up_s - time) / T, 0.0, 1.0)
    return np.asarray(u**3 * (10.0 + u * (6.0 * u - 15.0) + 0.5 * a * T**2 * (1.0 - u) ** 2))
