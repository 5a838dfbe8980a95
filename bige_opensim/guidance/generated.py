"""Motions that a search found: in memory, and as the folder that the round trip and the report work on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from bige_opensim.guidance.conflicts import target_of
from bige_opensim.guidance.networks import GenerationError
from bige_opensim.guidance.objective import BoundObjective
from bige_opensim.guidance.search import SearchResult
from bige_opensim.io.partial_folders import whole_folder
from bige_opensim.io.storage import write_coordinates, write_storage, write_whole
from bige_opensim.motion import Motion
from bige_opensim.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "bige-generation/1"
RATE_HZ = 50.0
CUTOFF_HZ = 6.0
RECORD, MODEL, OBJECTIVE = "generation.json", "model.osim", "objective.toml"


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal of the verdict found of one motion: see `workflows.rehearsal`.

    values of the terms, and whether those that have a bound are met, by name; activations; the deciding terms that are
    not met; what else a verdict would say against it, a sentence each.
    """

    values: dict[str, float]
    met: dict[str, bool]
    activations: Motion | None
    unmet: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether OpenSim can be expected to confirm the motion."""
        return not self.unmet and not self.failed

    @property
    def against(self) -> str:
        """What speaks against the motion, in words."""
        unmet = [f"{name} is {self.values[name]:.3g}" for name in self.unmet]
        return "; ".join([*self.failed, *unmet])


@dataclass(eq=False, repr=False)
class Generated:
    """Motions that were searched for an objective.

    Attributes
    ----------
    motions
        By name: coordinates in rad and m at 50 Hz, as OpenSim will judge them.
    predicted
        By name: the activations that the search predicted, 0 to 1; empty where the objective asks for none.
    record
        What `generation.json` holds: predicted values of the terms, distance to the training motions, provenance.
    result
        The search itself: latents, losses, history; None where latents were not searched.
    model, objective
        The files of the subject's model and of the objective, as they were.
    rotational
        Coordinates that are angles: degrees in files.
    references
        The training repetitions of the generator (netCDF), which the report compares with; None without a generator.

    """

    motions: Mapping[str, Motion]
    predicted: Mapping[str, Motion]
    record: dict[str, Any]
    result: SearchResult | None
    model: bytes
    objective: bytes
    rotational: frozenset[str]
    references: Path | None
    _place: Path | None = field(default=None, init=False)
    _temporary: TemporaryDirectory[str] | None = field(default=None, init=False)

    @property
    def conflicts(self) -> tuple[str, ...]:
        """Which terms contradict each other, where no motion meets them all."""
        return tuple(self.record["conflicts"])

    @property
    def satisfied(self) -> int:
        """How many motions meet the objective as predicted."""
        return sum(bool(entry["predicted_satisfied"]) for entry in self.record["motions"])

    @property
    def folder(self) -> Path:
        """Where its files are: where it was saved, else a temporary folder that lives as long as this object."""
        if self._place is None or not self._place.is_dir():
            self._temporary = TemporaryDirectory(prefix="bige-motions-")
            self._place = Path(self._temporary.name) / "motions"
            self.write(self._place)
        return self._place

    def save(self, folder: Path | str) -> Path:
        """Write `<name>.mot`, `generation.json`, `objective.toml`, `model.osim`, whole or not at all.

        Certificates and labels go along where the motions were validated before.

        Raises
        ------
        GenerationError
            The folder holds other files than generated motions.

        """
        out = Path(folder)
        require_free(out)
        if self._place is not None and self._place.absolute() == out.absolute():
            return self.folder
        with whole_folder(out, RECORD) as partial:
            if self._place is not None and self._place.is_dir():
                shutil.copytree(self._place, partial, dirs_exist_ok=True)
            else:
                self.write(partial)
        self._place = out
        return out

    def with_rehearsals(self, rehearsals: Sequence[Rehearsal | None]) -> Generated:
        """The same with what rehearsals found, by motion, in place of what the search predicted."""
        predicted, entries = dict(self.predicted), []
        for entry, found in zip(self.record["motions"], rehearsals, strict=True):
            if found is not None and found.values:
                entry = entry | {
                    "searched": entry["predicted"],
                    "predicted": dict(found.values),
                    "predicted_met": dict(found.met),
                    "predicted_satisfied": found.holds,
                }
            if found is not None and not found.holds:
                entry = entry | {"predicted_satisfied": False, "against": found.against}
            if found is not None and found.activations is not None and entry["name"] in predicted:
                predicted[entry["name"]] = found.activations
            entries.append(entry)
        record = self.record | {"motions": entries, "predictor": f"{self.record['predictor']}, then rehearsed"}
        return replace(self, predicted=predicted, record=record)

    def to_frame(self) -> pd.DataFrame:
        """A row per motion: whether the prediction satisfies the objective, its terms, duration (s), novelty."""
        import pandas as pd

        rows = {
            entry["name"]: {
                "predicted_satisfied": entry["predicted_satisfied"],
                **entry["predicted"],
                "duration_s": entry["duration_s"],
                "novelty": entry["nearest_training_motion"]["novelty"],
            }
            for entry in self.record["motions"]
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("name")

    def __len__(self) -> int:
        return len(self.motions)

    def __repr__(self) -> str:
        met = f"{self.satisfied} meet the objective as predicted"
        return f"<Generated {self.record['objective']}: {len(self)} motions, {met}>"

    def write(self, folder: Path) -> None:
        """Write the files into a new folder, and remember nothing of it; `save` does so whole or not at all."""
        (folder / "predicted").mkdir(parents=True)
        hashes = {}
        for name, motion in self.motions.items():
            path = folder / f"{name}.mot"
            write_coordinates(path, motion, rotational=self.rotational)
            hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        for name, m in self.predicted.items():
            path = folder / "predicted" / f"{name}_activations.sto"
            write_storage(path, m.time, m.values, m.names, in_degrees=False, title="Predicted activations")
        (folder / MODEL).write_bytes(self.model)
        (folder / OBJECTIVE).write_bytes(self.objective)
        entries = [entry | {"motion_sha256": hashes[entry["name"]]} for entry in self.record["motions"]]
        write_whole(folder / RECORD, json.dumps(self.record | {"motions": entries}, indent=1))


def require_free(out: Path) -> None:
    """Raise GenerationError where motions would take the place of something else."""
    if out.exists() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise GenerationError(f"{out}: the folder holds other files; name an empty or a new folder.")


def smooth(q: np.ndarray, duration: float, channels: tuple[str, ...]) -> Motion:
    """101 samples as a motion at 50 Hz, low-passed like recordings; q (sample, channel) in rad and m."""
    coarse = Motion(np.linspace(0.0, duration, len(q)), q, channels)
    frames = max(round(duration * RATE_HZ) + 1, 12)
    fine = coarse.resampled(np.linspace(0.0, duration, frames))
    return fine.lowpass(CUTOFF_HZ)


def generation_record(
    objective: BoundObjective,
    result: SearchResult,
    references: xr.Dataset,
    outside: torch.Tensor | None,
    predictor: str,
    notes: Sequence[str],
    made_by: Mapping[str, Any],
) -> dict[str, Any]:
    """What `generation.json` holds; `made_by` goes into its provenance."""
    entries = []
    for i in range(len(result.motions)):
        entry = _entry(name_of(i), i, result, references)
        if outside is not None:
            entry["frames_outside_fitted_paths"] = int(outside[i].sum())
        entries.append(entry)
    return {
        "format": FORMAT,
        "objective": objective.objective.name,
        "synthetic": json.loads(references.attrs.get("synthetic", "false")),
        "predictor": predictor,
        "terms": {t.name: target_of(t) for t in objective.terms},
        "motions": entries,
        "conflicts": list(result.conflicts),
        "notes": list(notes),
        "usual_distance": result.usual_distance,
        "usual_nearest_distance": result.usual_nearest_distance,
        "provenance": provenance(
            torch=torch.__version__,
            **made_by,
            seed=result.seed,
            settings=asdict(result.settings),
        ),
    }


def name_of(i: int) -> str:
    """Name of the i-th motion of a search."""
    return f"motion_{i + 1:02d}"


def _entry(name: str, i: int, result: SearchResult, references: xr.Dataset) -> dict[str, Any]:
    nearest = int(result.nearest_reference[i])
    return {
        "name": name,
        "duration_s": float(result.durations[i]),
        "predicted": {k: float(v[i]) for k, v in result.values.items()},
        "predicted_met": {k: bool(v[i]) for k, v in result.met.items()},
        "predicted_satisfied": bool(result.satisfied[i]),
        "loss": float(result.loss[i]),
        "nearest_training_motion": {
            "session": str(references["session"].values[nearest]),
            "trial": str(references["trial"].values[nearest]),
            "start_s": float(references["start"].values[nearest]),
            "distance": float(result.nearest[i]),
            "novelty": float(result.novelty[i]),
        },
        "limit_violations": result.limit_violations[i],
    }
