"""What an event rule finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Side = Literal["both", "right", "left"]
SIDE_NAMES: tuple[Side, Side] = ("right", "left")
MOVEMENTS = ("squat", "sit-to-stand", "lunge", "jump", "gait")
"""Names of the movements that have an event rule (`repetitions.EVENT_RULES`)."""


class RepetitionError(ValueError):
    """A motion that an event rule cannot read, or a movement without a rule."""


@dataclass(frozen=True)
class Repetition:
    """One repetition; times in seconds of the recording.

    Attributes
    ----------
    start
        First time.
    end
        Last time.
    bottom
        The event that the movement turns about: deepest knee flexion of a squat, lowest hips of a lunge, seat-off of a
        sit-to-stand, last take-off of a jump, toe-off of a stride.
    depth_deg
        Largest knee flexion, degrees.
    side
        The front leg of a lunge, the leg of a stride.
    events
        Name and time of everything found inside, in order of time.

    """

    start: float
    end: float
    bottom: float
    depth_deg: float
    side: Side = "both"
    events: tuple[tuple[str, float], ...] = ()

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start
