"""How a person squats, and how one repetition differs from the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bige_opensim.synthesis.closed_chain import SIDES
from bige_opensim.synthesis.people import around, bounded_normal, shares_around

STANDING_KNEE = np.deg2rad(5.0)
FASTEST_KNEE = np.deg2rad(185.0)
"""rad/s; a repetition that would be faster takes longer."""

ARMS = {
    "reaching": {
        "arm_flex": (8, 68, 0.6), "arm_add": (-9, -12, 0.0), "arm_rot": (5, 10, 0.0),
        "elbow_flex": (22, 16, 0.0), "pro_sup": (85, 82, 0.0),
    },
    "clasped": {
        "arm_flex": (14, 66, 0.7), "arm_add": (-22, -24, 0.0), "arm_rot": (8, 28, 0.0),
        "elbow_flex": (108, 96, 0.0), "pro_sup": (97, 97, 0.0),
    },
    "hanging": {
        "arm_flex": (6, 6, 0.5), "arm_add": (-9, -9, 0.0), "arm_rot": (4, -2, 0.0),
        "elbow_flex": (28, 30, 0.0), "pro_sup": (90, 90, 0.0),
    },
}  # fmt: skip
"""Degrees of the arms' coordinates when standing and at the bottom, and what every degree of trunk lean adds there."""
ARM_SCATTER_DEG = {"arm_flex": 6.0, "arm_add": 3.0, "arm_rot": 4.0, "elbow_flex": 6.0, "pro_sup": 3.0}


@dataclass(frozen=True)
class Style:
    """How a person squats. Angles in rad, times in s.

    depth: mean knee flexion at the bottom; lean: of the trunk there; pelvis_share: of the lean that is pelvic tilt;
    early: how much earlier than the knees the trunk leans; tilt, lumbar: when standing; width: between the heels, in
    distances between the hips; toe_out; balance: place of the centre of mass from heel (0) to toe (1) and what is added
    at the bottom; down_s, hold_s, up_s, pause_s; arms: a key of ARMS, and offsets of their coordinates, right and left;
    dorsiflexion: largest of the ankles, beyond which heels rise; shift: of the weight to the right at the bottom, m;
    list, rotation: of the pelvis at the bottom; uneven: toe-out right more than left; stagger: right foot ahead, m.
    """

    depth: float
    lean: float
    pelvis_share: float
    early: float
    tilt: float
    lumbar: float
    width: float
    toe_out: float
    balance: tuple[float, float]
    down_s: float
    hold_s: float
    up_s: float
    pause_s: float
    arms: str
    arm_offsets: dict[str, float]
    dorsiflexion: float
    shift: float
    list: float
    rotation: float
    uneven: float
    stagger: float


@dataclass(frozen=True)
class Squat:
    """One repetition: what of the person's style varies from one to the next, and the rise of the heels, rad.

    `turns`: it comes to no rest at the bottom (`countermovements`), and hold_s is 0.
    """

    depth: float
    lean: float
    balance: float
    shift: float
    down_s: float
    hold_s: float
    up_s: float
    pause_s: float
    heel_lift: float = 0.0
    turns: bool = False

    @property
    def duration(self) -> float:
        """Seconds, the pause after it left out."""
        return self.down_s + self.hold_s + self.up_s


def arm_offsets(random: np.random.Generator) -> dict[str, float]:
    """How far a person's arms are from what is usual, by coordinate, rad."""
    about = around(random)
    return {f"{n}_{s}": np.deg2rad(about(0.0, ARM_SCATTER_DEG[n])) for n in ARM_SCATTER_DEG for s in SIDES}


def draw_style(random: np.random.Generator) -> Style:
    """Draw how a person squats; spreads are those among the people of published squat recordings."""

    about = around(random)
    depth = about(91.0, 9.0)
    arms = str(random.choice(list(ARMS), p=[0.45, 0.4, 0.15]))
    stiff = random.random() < 0.2
    return Style(
        depth=np.deg2rad(depth),
        lean=np.deg2rad(about(55.0, 8.0) + 0.5 * (depth - 91.0)),
        pelvis_share=about(0.42, 0.08),
        early=random.uniform(0.0, 0.5),
        tilt=np.deg2rad(about(-4.0, 2.0)),
        lumbar=np.deg2rad(about(-4.0, 2.0)),
        width=about(1.75, 0.25),
        toe_out=np.deg2rad(about(10.0, 3.5)),
        balance=(about(0.42, 0.03), about(0.02, 0.02)),
        down_s=about(1.25, 0.18),
        hold_s=random.uniform(0.0, 0.4),
        up_s=about(1.15, 0.15),
        pause_s=random.uniform(0.35, 0.8),
        arms=arms,
        arm_offsets=arm_offsets(random),
        dorsiflexion=np.deg2rad(about(28.0, 2.0) if stiff else about(39.0, 2.5)),
        shift=about(0.0, 0.006),
        list=np.deg2rad(about(0.0, 0.7)),
        rotation=np.deg2rad(about(0.0, 1.0)),
        uneven=np.deg2rad(about(0.0, 2.0)),
        stagger=about(0.0, 0.006),
    )


def draw_squats(style: Style, count: int, random: np.random.Generator) -> list[Squat]:
    """Repetitions of one person: a few per cent apart from each other, a little slower and shallower as they go on."""

    about = shares_around(random)
    found = []
    for i in range(count):
        tired = 1.0 + 0.01 * i
        depth = about(style.depth, 0.03) / tired
        quickest = 1.875 * (depth - STANDING_KNEE) / FASTEST_KNEE
        squat = Squat(
            depth=depth,
            lean=about(style.lean, 0.05),
            balance=style.balance[1] + 0.01 * bounded_normal(random),
            shift=style.shift + 0.003 * bounded_normal(random),
            down_s=max(quickest, tired * about(style.down_s, 0.07)),
            hold_s=max(0.0, about(style.hold_s, 0.2)),
            up_s=max(quickest, tired * about(style.up_s, 0.07)),
            pause_s=about(style.pause_s, 0.15),
        )
        found.append(squat)
    return found
