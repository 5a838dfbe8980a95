"""Cut a recording into repetitions, by the event rule of its movement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bige_opensim.motion import Motion
from bige_opensim.movements.events import Repetition, RepetitionError
from bige_opensim.movements.gait import gait_repetitions
from bige_opensim.movements.jump import jump_repetitions
from bige_opensim.movements.lunge import lunge_repetitions
from bige_opensim.movements.recording import Recording
from bige_opensim.movements.sit_to_stand import sit_to_stand_repetitions
from bige_opensim.movements.squat import squat_repetitions

__all__ = [
    "AUTO",
    "EVENT_RULES",
    "EventRule",
    "FoundMovement",
    "Recording",
    "Repetition",
    "RepetitionError",
    "event_rule",
    "find_movement",
    "find_repetitions",
]

EventRule = Callable[[Recording], list[Repetition]]
"""Finds the repetitions of one movement, in order of their start."""

EVENT_RULES: dict[str, EventRule] = {
    "squat": squat_repetitions,
    "sit-to-stand": sit_to_stand_repetitions,
    "lunge": lunge_repetitions,
    "jump": jump_repetitions,
    "gait": gait_repetitions,
}
"""Event rules by movement. Another movement is added by its own entry."""

AUTO = "auto"


@dataclass(frozen=True)
class FoundMovement:
    """The movement of a recording, None where no rule finds any, and its repetitions."""

    movement: str | None
    repetitions: tuple[Repetition, ...]


def find_repetitions(recording: Recording | Motion, *, movement: str = "squat") -> list[Repetition]:
    """The repetitions of `movement` in a recording, in order of their start; only strides of gait overlap.

    Parameters
    ----------
    recording
        The recording, or its coordinates alone by OpenSim names (rad and m), at any rate and starting at any time.
    movement
        A key of `EVENT_RULES`.

    Raises
    ------
    RepetitionError
        If the movement has no rule, or the motion lacks the coordinates that its rule reads.

    """
    return event_rule(movement)(recording if isinstance(recording, Recording) else Recording(recording))


def find_movement(recording: Recording | Motion) -> FoundMovement:
    """The movement whose repetitions cover most of a recording, and these; the first of `EVENT_RULES` among equals.

    Rules exclude each other on the same seconds: a squat has its feet side by side and on the ground and its centre of
    mass over them, a sit-to-stand has not, a lunge has one foot in front, a jump a flight, a stride alternating feet.

    Raises
    ------
    RepetitionError
        If the motion lacks coordinates of pelvis, hips, knees or ankles.

    """
    found = {movement: find_repetitions(recording, movement=movement) for movement in EVENT_RULES}
    best = max(found, key=lambda movement: _covered(found[movement]))
    return FoundMovement(best if found[best] else None, tuple(found[best]))


def event_rule(movement: str) -> EventRule:
    """The rule of a movement.

    Raises
    ------
    RepetitionError
        If it has none.

    """
    try:
        return EVENT_RULES[movement]
    except KeyError:
        raise RepetitionError(
            f"There is no event rule for '{movement}'; there are rules for {', '.join(EVENT_RULES)}."
        ) from None


def _covered(repetitions: list[Repetition]) -> float:
    """Seconds inside at least one repetition."""
    total, until = 0.0, float("-inf")
    for repetition in sorted(repetitions, key=lambda r: r.start):
        total += max(repetition.end - max(repetition.start, until), 0.0)
        until = max(until, repetition.end)
    return total
