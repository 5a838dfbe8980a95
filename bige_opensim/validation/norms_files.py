"""Norms as JSON, which reports read, and as a table (csv)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bige_opensim.io.documents import DocumentError, read_json
from bige_opensim.io.storage import write_whole
from bige_opensim.validation.norms import Statistics

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "bige-norms/1"
DIGITS = 6


class NormsError(ValueError):
    """Norms that cannot be made, written or read, with what to do."""


@dataclass(frozen=True, eq=False)
class Norms:
    """What is usual, by movement.

    Attributes
    ----------
    movements
        By name: `groups`, each with `sex`, `age`, `people`, `repetitions`, `measures` and `symmetry` (by name:
        `validation.norms.Statistics`), the first of all people; and `curves` (by channel: unit, people, mean, low,
        high over 0 to 100 %).
    left_out
        Labels that were not used, and why.
    provenance
        Versions, date, and the labels.

    """

    movements: Mapping[str, Any]
    left_out: tuple[str, ...]
    provenance: Mapping[str, Any]

    def measures(self, movement: str) -> dict[str, Statistics]:
        """Measures and symmetry of all people in a movement, by name."""
        everybody = self.movements[movement]["groups"][0]
        return {**everybody["measures"], **everybody["symmetry"]}

    def to_frame(self) -> pd.DataFrame:
        """A row per movement, group and measure."""
        import pandas as pd

        rows = [
            {
                "movement": movement,
                "sex": group["sex"] or "",
                "age": group["age"] or "",
                "measure": name,
                **asdict(found),
            }
            for movement, content in self.movements.items()
            for group in content["groups"]
            for name, found in {**group["measures"], **group["symmetry"]}.items()
        ]
        return pd.DataFrame(rows)

    def save(self, path: Path | str) -> Path:
        """Write a table where the name ends in .csv, else JSON with the curves; StorageError without its folder."""
        path = Path(path)
        if path.suffix.lower() == ".csv":
            write_whole(path, self.to_frame().to_csv(index=False, float_format=f"%.{DIGITS}g", lineterminator="\n"))
        else:
            content = {"format": FORMAT, **asdict(self)}
            write_whole(path, json.dumps(_plain(content), indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path | str) -> Norms:
        """Read norms that were saved as JSON; NormsError where the file holds none."""
        path = Path(path)
        try:
            content = read_json(path)
            if content["format"] != FORMAT:
                raise NormsError(
                    f"{path}: no norms in format {FORMAT}; `bige norms LABELS --out norms.json` writes them."
                )
            movements = {str(name): _read_movement(found) for name, found in content["movements"].items()}
            return cls(movements, tuple(content["left_out"]), content["provenance"])
        except DocumentError as error:
            raise NormsError(str(error)) from error
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            if isinstance(error, NormsError):
                raise
            raise NormsError(
                f"{path}: not the norms that `bige norms LABELS --out norms.json` writes ({error!r}); make them again."
            ) from error


def _read_movement(content: Mapping[str, Any]) -> dict[str, Any]:
    groups = [
        {**group, **{part: {n: _checked(Statistics(**s)) for n, s in group[part].items()} for part in PARTS}}
        for group in content["groups"]
    ]
    if not groups:
        raise ValueError("no groups")
    return {"groups": groups, "curves": content["curves"]}


PARTS = ("measures", "symmetry")


def _checked(found: Statistics) -> Statistics:
    numbers = (found.mean, found.low, found.high, found.sem, found.mdc95)
    if not all(x is None or (isinstance(x, int | float) and math.isfinite(x)) for x in numbers):
        raise ValueError(f"a number was expected in {found}")
    return found


def _plain(content: Any) -> Any:
    """For JSON: arrays as lists, numbers with as many digits as they mean."""
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, Statistics):
        return _plain(asdict(content))
    if isinstance(content, np.ndarray | list | tuple):
        return [_plain(value) for value in content]
    return float(f"{content:.{DIGITS}g}") if isinstance(content, float) else content
