"""What carries besides the feet: a declared chair, found from how the person rests on it, and hands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.missing_support import SupportCheck
from bige_opensim.physics.carriers import Carrier, OnCalves, OnThighs, Rail
from bige_opensim.physics.seat import Seat
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.settings import SettingError, one_of

AUTO = "auto"
HANDS_ON = ("rail", "knees")
LOWEST_M, HIGHEST_M = 0.1, 1.2
"""Heights above the ground that a declared seat may have: from a low step to a bar stool."""
AGREES_M = 0.1
"""How far the pelvis may rest from a declared height: tissue, cushions and a skeleton's scale (our choice)."""
STILL_MS = 0.1


class ChairError(ValueError):
    """A declared chair that cannot be where the person is."""


@dataclass(frozen=True, eq=False)
class Chair:
    """A seat in a trial.

    height_m: above the ground; rests_m: height above the ground at which the underside of the pelvis rests; declared:
    what was declared.
    """

    seat: Seat
    height_m: float
    rests_m: float
    declared: str

    def as_dict(self) -> dict[str, Any]:
        """For label.json."""
        x, z = self.seat.place
        return {
            "declared": self.declared,
            "height_m": round(self.height_m, 4),
            "pelvis_rests_m": round(self.rests_m, 4),
            "place_m": [round(x, 4), round(z, 4)],
        }


def check_chair(chair: str | None) -> None:
    """Raise SettingError unless a chair is "auto" or a height in m that chairs have."""
    if chair is None or chair == AUTO:
        return
    try:
        height_m = float(chair)
    except ValueError:
        height_m = np.nan
    if not LOWEST_M <= height_m <= HIGHEST_M:
        raise SettingError(
            f"chair = {chair!r}: auto, or the height of the seat above the ground from {LOWEST_M:g} to {HIGHEST_M:g} m "
            "was expected."
        )


@dataclass(frozen=True)
class Declared:
    """What carries besides the feet: chair ("auto" or a height, m), hands ("rail" or "knees"), calves under thighs."""

    chair: str | None = None
    hands: str | None = None
    calves: bool = False

    def of_session(self, session: str, metadata: Declared) -> Declared:
        """What the command declares, and where it says nothing, what the metadata of a session do.

        Raises
        ------
        ChairError
            The metadata's are none.

        """
        try:
            check_chair(metadata.chair)
            if metadata.hands is not None:
                one_of("hands", metadata.hands, HANDS_ON)
        except SettingError as error:
            raise ChairError(f"sessionMetadata.yaml of {session}: {error}") from error
        return Declared(self.chair or metadata.chair, self.hands or metadata.hands, self.calves or metadata.calves)

    def carriers(self, skeleton: Skeleton, chair: Chair | None) -> list[Carrier]:
        """What carries in a trial, where its chair was found.

        Raises
        ------
        ChairError
            Hands are to carry, and the model has none.

        """
        found: list[Carrier] = [] if chair is None else [chair.seat]
        if self.hands is not None:
            held = Rail.of(skeleton) if self.hands == "rail" else OnThighs.of(skeleton)
            if held is None:
                raise ChairError(
                    f"Hands on {'a rail' if self.hands == 'rail' else 'the knees'} are to carry, but the model has no "
                    "hands (expected hand_r, hand_l or radius_r, radius_l). Use a model with arms, or no --hands."
                )
            found.append(held)
        legs = OnCalves.of(skeleton) if self.calves else None
        return found if legs is None else [*found, legs]


def find_chair(
    skeleton: Skeleton, whole: Prepared, ground: float, support: SupportCheck, declared: str
) -> tuple[Chair | None, tuple[str, ...]]:
    """The chair of a trial, and a note where nobody sits on it.

    The person rests where something near the pelvis carries (`missing_support`) and the pelvis is still: there, the
    median height of the underside of the pelvis is the chair's height, its median place the chair's place. A declared
    height replaces the former.

    Raises
    ------
    ChairError
        The pelvis rests farther than AGREES_M from the declared height.

    """
    seat = Seat.under(skeleton, 0.0, (0.0, 0.0))
    if seat is None:
        return None, ("There is no pelvis on two thighs in the model, so the declared chair carries nobody.",)
    points = seat.points(skeleton, whole.state(skeleton)).numpy()[:, [k for k, b in enumerate(seat.body) if b == 0]]
    rests = _rests(points.mean(axis=1), whole.q.time, support)
    if not rests.any():
        return None, ("Nobody rests on the declared chair: the feet carry this trial alone.",)
    rests_m = float(np.median(points[rests, :, 1].min(axis=1))) - ground
    place = np.median(points[rests].mean(axis=1)[:, [0, 2]], axis=0)
    height_m = rests_m if declared == AUTO else float(declared)
    if abs(height_m - rests_m) > AGREES_M:
        raise ChairError(
            f"The declared chair is {height_m:.2f} m high, but the pelvis rests at {rests_m:.2f} m above the ground; "
            "correct the height, or let it be found (--chair auto)."
        )
    found = Seat.under(skeleton, ground + height_m, (float(place[0]), float(place[1])))
    assert found is not None
    return Chair(found, height_m, rests_m, declared), ()


def place_of(chair: Mapping[str, Any] | None) -> tuple[float, float, float] | None:
    """Place (x, z) and height above the ground, m, of a chair as label.json has it; None where there is none."""
    if chair is None:
        return None
    x, z = chair["place_m"]
    return float(x), float(z), float(chair["height_m"])


def seat_of(skeleton: Skeleton, chair: Mapping[str, Any] | None, ground: float) -> Seat | None:
    """The seat of a chair as label.json has it (`Chair.as_dict`), over ground at a height; None where there is none."""
    place = place_of(chair)
    return None if place is None else Seat.under(skeleton, ground + place[2], place[:2])


def _rests(
    pelvis: Float[np.ndarray, "time 3"], time: Float[np.ndarray, " time"], support: SupportCheck
) -> Bool[np.ndarray, " time"]:
    seated = np.zeros(len(time), dtype=bool)
    for interval in support.intervals:
        if "seat" in interval.where:
            seated |= (time >= interval.start_s) & (time <= interval.end_s)
    speed = np.linalg.norm(np.gradient(pelvis, time, axis=0), axis=1)
    return np.asarray(seated & (speed < STILL_MS))
