"""What became of a trial: what runs tell each other, and the people who wait for them."""

from dataclasses import dataclass, field
from typing import Any

PASSED, GATES_FAILED, FAILED, SKIPPED = "passed", "gates_failed", "failed", "skipped"


@dataclass(frozen=True)
class Outcome:
    """What became of one trial: status, one sentence, and the record of its label but for `label_trials.LEFT_ON_DISK`.

    `tries` counts how often this run began it, on which `worker` last; 0 where the label was there before. `motion` is
    the file of its coordinates.
    """

    session: str
    trial: str
    status: str
    reason: str
    seconds: float = 0.0
    label: dict[str, Any] = field(default_factory=dict)
    tries: int = 0
    worker: str = ""
    motion: str = ""

    @property
    def labelled(self) -> bool:
        """Whether a label folder exists."""
        return self.status in (PASSED, GATES_FAILED)

    @property
    def this_run(self) -> str:
        """What this run did: done, skipped (labelled before, or nothing to label) or failed."""
        if self.labelled:
            return "done" if self.tries else SKIPPED
        return self.status
