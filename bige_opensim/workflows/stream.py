"""Motions without limit for the surrogate: bodies from models, shards from motions on them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from bige_opensim.io.file_hash import file_sha256
from bige_opensim.labelling.person_model import person_mechanics
from bige_opensim.learning.bodies import Body
from bige_opensim.learning.motion_stream import MotionMix, StreamError, StreamSettings
from bige_opensim.learning.training_data import OTHER_SPANS, Repetitions
from bige_opensim.osim.anthropometric_scaling import ScalingError, scale_model
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.model import ModelError
from bige_opensim.physics.mechanics import Mechanics
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables
from bige_opensim.physics.stance_loads import stands
from bige_opensim.synthesis.people import draw_wide_person

POSES = 20_000
"""Poses of varied motions among which those are chosen that muscle paths are fitted to."""


def models_in(places: Sequence[Path | str | os.PathLike[str]]) -> list[Path]:
    """Models (.osim) that are named, or lie in folders that are, at any depth, each content once, by name.

    Raises
    ------
    StreamError
        A place holds no model.

    """
    found: dict[str, Path] = {}
    for place in map(Path, places):
        models = sorted(place.rglob("*.osim")) if place.is_dir() else [place] if place.suffix == ".osim" else []
        if not models:
            raise StreamError(f"{place}: no model (.osim) in it; name models, or folders of sessions")
        for model in models:
            found.setdefault(file_sha256(model), model)
    return list(found.values())


@quiet_opensim()
def stream_bodies(data: Repetitions, models: Sequence[Path], settings: StreamSettings, seed: int = 0) -> Iterator[Body]:
    """The models as bodies, or the first `settings.own_bodies`, and more, scaled from them to wide proportions.

    Muscle paths are fitted around poses of the motions that will be streamed. Models that the dataset's validation and
    test subjects were labelled on are left out.

    Raises
    ------
    StreamError
        No model is left, or one cannot be compiled or scaled.

    """
    held_out = set(data.held_out_models)
    used = [model for model in models if file_sha256(model) not in held_out]
    if not used:
        raise StreamError("all models given are those of validation or test subjects; give the training people's too")
    poses = _Poses(data, settings, seed)
    used = used[: settings.own_bodies or None]
    try:
        for model in used:
            yield _body(model, _name(model), poses)
        with TemporaryDirectory() as folder:
            for index in range(settings.wide_bodies):
                random = np.random.default_rng([seed, index])
                yield _wide(used[int(random.integers(len(used)))], f"wide {index + 1}", Path(folder), random, poses)
    except ModelError as error:
        raise StreamError(str(error)) from error


def _name(model: Path) -> str:
    return "/".join(part for part in model.parts[-4:] if part not in {"OpenSimData", "Model"})


@quiet_opensim()
def mechanics_of(
    dataset: xr.Dataset, models: Sequence[Path], report: Callable[[int, str], None] | None = None
) -> Mechanics | None:
    """What the people's models say of repetitions; not a number in those whose model is not given.

    None where no model that is given stands on two feet. A model that residual reduction corrected counts before the
    one that it was made of, where both are given. Muscle paths are fitted around a person's own repetitions, which
    takes seconds; `report(done, model)` is called after each of the models.

    Raises
    ------
    StreamError
        No model is one that the repetitions were labelled on, the muscles of two differ, or one cannot be compiled.

    """
    of_hash = {file_sha256(model): model for model in models}
    known = json.loads(dataset.attrs.get("models", "{}"))
    trials = [f"{s}/{t}" for s, t in zip(dataset["session"].values, dataset["trial"].values, strict=True)]
    stated = [known.get(trial, {}) for trial in trials]
    named = [(model.get("adjusted_sha256", ""), model.get("sha256", "")) for model in stated]
    hashes = np.array([next((sha256 for sha256 in pair if sha256 in of_hash), "") for pair in named])
    channels = [str(name) for name in dataset["coordinate"].values]
    q, duration = (torch.as_tensor(dataset[name].values) for name in ("q", "duration"))
    used = sorted(set(hashes) & set(of_hash))
    if not used:
        raise StreamError(
            f"none of the {len(models)} models given is one that the repetitions were labelled on, by the dataset; "
            "give those, or none"
        )
    parts: dict[Path, tuple[Tensor, Mechanics]] = {}
    for done, sha256 in enumerate(used, 1):
        skeleton = compile_skeleton(model := of_hash[sha256])
        if not stands(Skeleton(skeleton)):
            continue
        rows = torch.as_tensor(np.flatnonzero(hashes == sha256))
        try:
            person = person_mechanics(model, skeleton, channels, q[rows].flatten(0, 1).numpy(), q.shape[1])
        except ModelError as error:
            raise StreamError(str(error)) from error
        with torch.no_grad():
            parts[model] = rows, person(q[rows], duration[rows])
        if report is not None:
            report(done, _name(model))
    if not parts:
        return None
    first, (_, found) = next(iter(parts.items()))
    loads = torch.full((*q.shape[:2], found.loads.shape[-1]), torch.nan)
    capacity = torch.full((*q.shape[:2], found.capacity.shape[-1]), torch.nan)
    for model, (rows, mechanics) in parts.items():
        if not mechanics.spans.same(found.spans):
            raise StreamError(f"{model}: its muscles are not those of {first}: {OTHER_SPANS}")
        loads[rows], capacity[rows] = mechanics.loads.float(), mechanics.capacity.float()
    return Mechanics(loads, capacity, found.spans)


class _Poses:
    """Poses of the streamed motions, in the coordinates of any model."""

    def __init__(self, data: Repetitions, settings: StreamSettings, seed: int) -> None:
        self.data, self.settings, self.seed = data, settings, seed
        self.drawn: np.ndarray | None = None

    def of(self, tables: SkeletonTables) -> np.ndarray:
        if self.drawn is None:
            mix = MotionMix(self.data, self.settings, tables)
            self.drawn = mix.poses(POSES, torch.Generator().manual_seed(self.seed)).numpy()
        full = np.tile(tables.default, (len(self.drawn), 1))
        known = [n for n in self.data.coordinates if n in tables.coordinates]
        columns = [self.data.coordinates.index(n) for n in known]
        full[:, [tables.coordinates.index(n) for n in known]] = self.drawn[:, columns]
        return full


def _body(model: Path, name: str, poses: _Poses) -> Body:
    skeleton = compile_skeleton(model)
    movement = poses.of(skeleton)
    driven = [skeleton.coordinates.index(n) for n in skeleton.muscle_driven]
    ranges = {skeleton.coordinates[i]: (float(movement[:, i].min()), float(movement[:, i].max())) for i in driven}
    return Body(name, skeleton, compile_muscles(model, ranges, movement=movement))


def _wide(model: Path, name: str, folder: Path, random: np.random.Generator, poses: _Poses) -> Body:
    person = draw_wide_person(name, random)
    scaled = folder / f"{name.replace(' ', '_')}.osim"
    try:
        scale_model(
            model, scaled, height_m=person.height_m, mass_kg=person.mass_kg, segment_scales=person.segment_scales
        )
    except ScalingError as error:
        raise StreamError(f"{model}: {error}") from error
    return _body(scaled, name, poses)
