"""Edited repetitions: in memory, and as the folder that the round trip and the report work on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bige_opensim.guidance.generated import Generated
from bige_opensim.io.storage import write_coordinates, write_storage
from bige_opensim.motion import Motion

if TYPE_CHECKING:
    import pandas as pd

RECORDED = "recorded"
RECORDED_MOTION, RECORDED_ACTIVATIONS = f"{RECORDED}/recorded.mot", f"{RECORDED}/recorded_activations.sto"


@dataclass(eq=False, repr=False, kw_only=True)
class Edited(Generated):
    """A repetition of a person, changed as little as its objective allows.

    Attributes
    ----------
    recorded
        The repetition as it was recorded: coordinates in rad and m at 50 Hz, on the ground.
    recorded_activations
        Its activations, by the fast solver.

    """

    recorded: Motion
    recorded_activations: Motion

    @property
    def changes(self) -> tuple[str, ...]:
        """What was changed, in sentences."""
        return tuple(self.record["edit"]["changes"])

    def to_frame(self) -> pd.DataFrame:
        """A row per term: its value as recorded, as edited (predicted), what was asked, and whether it is met."""
        import pandas as pd

        entry, before = self.record["motions"][0], self.record["edit"]["recorded"]
        rows = {
            name: {
                "recorded": before[name],
                "edited": entry["predicted"][name],
                "asked": target,
                "met": entry["predicted_met"].get(name),
            }
            for name, target in self.record["terms"].items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("term")

    def __repr__(self) -> str:
        met = "meets" if self.satisfied else "does not meet"
        return f"<Edited {self.record['objective']}: {met} the objective as predicted. {' '.join(self.changes)}>"

    def write(self, folder: Path) -> None:
        """As of any motions, with the recorded one beside them."""
        super().write(folder)
        (folder / RECORDED).mkdir()
        write_coordinates(folder / RECORDED_MOTION, self.recorded, rotational=self.rotational)
        m = self.recorded_activations
        path = folder / RECORDED_ACTIVATIONS
        write_storage(path, m.time, m.values, m.names, in_degrees=False, title="Activations as recorded")
