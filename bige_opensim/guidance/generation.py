"""From trained networks and an objective to a folder of motions, ready for the round trip through OpenSim."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import bige_opensim
from bige_opensim.guidance.conflicts import band_text
from bige_opensim.guidance.language import SearchSettings, refuse_endless
from bige_opensim.guidance.networks import GenerationError, Networks, load_networks, load_references
from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.guidance.planting import plant_feet
from bige_opensim.guidance.search import Generator, SearchResult, search
from bige_opensim.io.partial_folders import partial_folder, remove_abandoned, replace_folder
from bige_opensim.io.storage import write_coordinates, write_storage, write_whole
from bige_opensim.motion import Motion
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.muscle_tables import MuscleTables
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.predictor import PhysicsPredictor
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables

FORMAT = "bige-generation/1"
RATE_HZ = 50.0
CUTOFF_HZ = 6.0
RECORD = "generation.json"
MOST_MOTIONS = 1000


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate: checkpoints, objective, the subject's model with its compiled skeleton, how many, which seed.

    With compiled `muscles`, the surrogate's search is followed by one through the physics, of `physics_share` times as
    many iterations, which starts where the first ended.
    """

    generator: Path
    surrogate: Path
    objective: Path
    model: Path
    tables: SkeletonTables
    out: Path
    count: int
    seed: int
    iterations: int | None = None
    muscles: MuscleTables | None = None
    physics_share: float = 0.25

    @property
    def iterations_in_all(self) -> int:
        """Iterations of the whole search, those through the physics included."""
        first = self.settings(Objective.load(self.objective)).iterations
        return first + (self.physics_iterations(first) if self.muscles is not None else 0)

    def settings(self, objective: Objective) -> SearchSettings:
        """The objective's settings of the search, shortened or lengthened where this request says so.

        Raises
        ------
        ObjectiveError, GenerationError
            A search that would run for days, or of more motions than memory holds.

        """
        if not 1 <= self.count <= MOST_MOTIONS:
            raise GenerationError(f"{self.count} motions: from 1 to {MOST_MOTIONS} are searched at once.")
        if self.iterations is None:
            return objective.settings
        refuse_endless(self.iterations, "--iterations")
        return shortened(objective.settings, self.iterations)

    def physics_iterations(self, first: int) -> int:
        """Iterations through the physics that follow `first` ones by the surrogate."""
        return max(1, round(self.physics_share * first))


def generate(request: GenerationRequest, progress: Callable[[int, int, float], None] | None = None) -> SearchResult:
    """Search for motions and write them: `<name>.mot`, `generation.json`, `objective.toml`, `model.osim`.

    The folder is written whole or not at all. Motions are resampled to 50 Hz, eight times their highest frequency, and
    low-passed at 6 Hz as the recordings that the networks learned from were, so that the file is the motion that
    OpenSim will judge.

    Raises
    ------
    GenerationError, ObjectiveError, CheckpointError
        With what does not fit and what to do.

    """
    if request.out.exists() and any(request.out.iterdir()) and not (request.out / RECORD).is_file():
        raise GenerationError(f"{request.out}: the folder holds other files; name an empty or a new folder.")
    skeleton = Skeleton(request.tables, dtype=torch.float32)
    networks = load_networks(request.generator, request.surrogate, request.model, request.tables)
    vqvae, references, surrogate, _ = networks
    channels, muscles = vqvae.channels.coordinates, surrogate.channels.muscles
    _require_free_pelvis(request)
    objective = Objective.load(request.objective).bind(channels, muscles, skeleton)
    features = torch.tensor([subject_features(skeleton)[n] for n in surrogate.channels.features], dtype=torch.float32)

    def decode(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q, duration = vqvae.decode(z)
        return plant_feet(skeleton, channels, q), duration

    def predict(q: torch.Tensor, duration: torch.Tensor) -> torch.Tensor:
        return surrogate(q, duration, features.expand(len(q), -1))

    q = plant_feet(skeleton, channels, torch.as_tensor(references["q"].values, dtype=torch.float32))
    durations = torch.as_tensor(references["duration"].values, dtype=torch.float32)
    settings = request.settings(objective.objective)
    by_physics = request.muscles is not None and objective.needs_activations
    after = shortened(settings, request.physics_iterations(settings.iterations))
    whole = settings.iterations + (after.iterations if by_physics else 0)
    people = [str(s) for s in references["subject"].values]
    find = partial(search, objective, Generator(decode, vqvae.encode, vqvae.quantise), q, durations)
    find = partial(find, count=request.count, seed=request.seed, people=people)
    tell = progress or (lambda done, of, loss: None)
    result = find(activations=predict, settings=settings, progress=lambda i, _, loss: tell(i, whole, loss))
    outside: torch.Tensor | None = None
    if by_physics and request.muscles is not None:
        body, cost = (Skeleton(request.tables), Muscles(request.muscles)), objective.objective.cost
        physics = PhysicsPredictor(*body, channels, samples=q.shape[1], cost=cost)
        order = [request.muscles.names.index(m) for m in muscles]
        result = find(
            activations=lambda q, duration: physics(q, duration)[..., order],
            settings=after,
            start=torch.as_tensor(result.latents, dtype=torch.float32),
            progress=lambda i, _, loss: tell(settings.iterations + i, whole, loss),
        )
        with torch.no_grad():
            physics(torch.as_tensor(result.motions), torch.as_tensor(result.durations))
        outside = physics.outside
    _write(request, objective, networks, result, outside)
    return result


def _require_free_pelvis(request: GenerationRequest) -> None:
    """Motions are planted on the feet by the pelvis, and the physics knows of muscles and the ground alone."""
    if len(request.tables.root["translations"]) != 3:
        raise GenerationError(
            f"{request.model}: motions are generated for models whose pelvis floats, with three translations; this one "
            f"has {', '.join(request.tables.root['translations']) or 'none'}. Use a model with a free pelvis."
        )
    if request.muscles is not None and request.tables.passive_forces:
        raise GenerationError(
            f"{request.model}: the physics does not know the forces {', '.join(request.tables.passive_forces)} of this "
            "model. Search with the surrogate alone, or remove them."
        )


def shortened(settings: SearchSettings, iterations: int) -> SearchSettings:
    """The same schedule over another number of iterations."""
    share = iterations / settings.iterations
    warmup, final = round(settings.warmup * share), round(settings.final * share)
    return replace(settings, iterations=iterations, warmup=warmup, final=final)


def reference_ranges(checkpoint: Path, tables: SkeletonTables) -> dict[str, tuple[float, float]]:
    """Range of every coordinate over a generator's training motions, padded by a fifth and at least 10 degrees."""
    references = load_references(checkpoint)
    ranges = {}
    for name in (str(n) for n in references["coordinate"].values):
        if name in tables.coordinates:
            x = references["q"].sel(coordinate=name).values
            pad = max(0.2 * float(np.ptp(x)), np.deg2rad(10.0))
            ranges[name] = (float(x.min() - pad), float(x.max() + pad))
    return ranges


def smooth(q: np.ndarray, duration: float, channels: tuple[str, ...]) -> Motion:
    """101 samples as a motion at 50 Hz, low-passed like recordings; q (sample, channel) in rad and m."""
    coarse = Motion(np.linspace(0.0, duration, len(q)), q, channels)
    frames = max(round(duration * RATE_HZ) + 1, 12)
    fine = coarse.resampled(np.linspace(0.0, duration, frames))
    return fine.lowpass(CUTOFF_HZ)


def _write(
    request: GenerationRequest,
    objective: BoundObjective,
    networks: Networks,
    result: SearchResult,
    outside: torch.Tensor | None,
) -> None:
    references, muscles = networks.references, networks.surrogate.channels.muscles
    folder = partial_folder(request.out)
    remove_abandoned(request.out.parent)
    (folder / "predicted").mkdir(parents=True)
    rotational = [n for n, r in zip(request.tables.coordinates, request.tables.rotational, strict=True) if r]
    entries = []
    for i in range(len(result.motions)):
        name = f"motion_{i + 1:02d}"
        motion = smooth(result.motions[i], float(result.durations[i]), result.channels)
        motion_file = folder / f"{name}.mot"
        write_coordinates(motion_file, motion, rotational=rotational)
        if result.activations is not None:
            time = np.linspace(0.0, float(result.durations[i]), result.activations.shape[1])
            path = folder / "predicted" / f"{name}_activations.sto"
            write_storage(path, time, result.activations[i], muscles, in_degrees=False, title="Predicted activations")
        entry = _entry(name, i, result, references)
        entry["motion_sha256"] = hashlib.sha256(motion_file.read_bytes()).hexdigest()
        if outside is not None:
            entry["frames_outside_fitted_paths"] = int(outside[i].sum())
        entries.append(entry)
    shutil.copyfile(request.model, folder / "model.osim")
    shutil.copyfile(request.objective, folder / "objective.toml")
    record = {
        "format": FORMAT,
        "objective": objective.objective.name,
        "synthetic": json.loads(references.attrs.get("synthetic", "false")),
        "predictor": "surrogate" if request.muscles is None else "surrogate, then physics",
        "terms": {t.name: _target(t) for t in objective.terms},
        "motions": entries,
        "conflicts": list(result.conflicts),
        "notes": list(networks.notes),
        "usual_distance": result.usual_distance,
        "usual_nearest_distance": result.usual_nearest_distance,
        "provenance": {
            "bige_opensim": bige_opensim.__version__,
            "torch": torch.__version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "model_sha256": request.tables.source["sha256"],
            "generator": request.generator.name,
            "surrogate": request.surrogate.name,
            "seed": result.seed,
            "settings": asdict(result.settings),
        },
    }
    write_whole(folder / RECORD, json.dumps(record, indent=1))
    replace_folder(folder, request.out)


def _target(term: Any) -> str:
    return band_text(term) if term.bounded else term.term.goal


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
