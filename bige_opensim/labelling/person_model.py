"""A person's model as labelling uses it, kept in a process between the trials of that person."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from bige_opensim.io.storage import CoordinateFile, StorageError
from bige_opensim.labelling.kinematics import Prepared, prepare
from bige_opensim.labelling.muscle_capacity import moment_errors, ranges_of
from bige_opensim.labelling.quality_gates import FASTEST_ROTATION_RAD_S
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.labelling.trial_inputs import read_motion
from bige_opensim.motion import Motion, MotionError
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_lines import compile_lines
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.osim.model import OsimModel, file_sha256, load, require_muscles, write_static_optimization_model
from bige_opensim.osim.path_sampler import PathSampler
from bige_opensim.physics.mechanics import PersonMechanics
from bige_opensim.physics.muscle_lines import FittedLines
from bige_opensim.physics.muscle_pulls import KnownPaths
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables

KEPT_PEOPLE, KEPT_MOVEMENTS = 2, 4
NEIGHBOURS = 3
FOLLOWED_NM = 10.0
"""Largest error of a muscle's moment at full force, N·m, up to which its polynomials are taken for its path."""
SAMPLED_POSES = 600
KEPT_FRAMES = 30_000
"""Frames of trials that were looked at and are not labelled yet, some 1 kB each."""
MOST_TRIALS, MOST_POSES = 60, 6000
"""Trials, and poses of them, among which those are chosen on which a person's muscle paths are sampled."""


class _ReadTrial(NamedTuple):
    recorded: CoordinateFile
    prepared: Prepared


def _reading(request: TrialRequest, settings: LabelSettings) -> tuple[object, ...]:
    """What tells a trial's motion from others, and from what its file held before."""
    try:
        content = request.motion_sha256
    except OSError:  # said where it is read
        content = ""
    return content, settings.cutoff_hz, settings.units


class PersonModel:
    """Model, skeleton, and the muscle paths of the movements that the person makes."""

    def __init__(self, path: Path) -> None:
        self.model: OsimModel = load(path)
        require_muscles(self.model)
        self.skeleton = Skeleton(compile_skeleton(path, model=self.model))
        self._muscles: dict[bytes, Muscles] = {}
        self._lines: WeakKeyDictionary[Muscles, FittedLines] = WeakKeyDictionary()
        self._movements: dict[tuple[object, ...], Float[np.ndarray, "pose coordinate"] | None] = {}
        self._read: dict[tuple[object, ...], _ReadTrial] = {}

    @cached_property
    def stripped(self) -> bytes:
        """The model file that OpenSim's static optimization runs on."""
        with TemporaryDirectory(prefix="bige-model-") as folder:
            driven = self.skeleton.tables.muscle_driven
            return write_static_optimization_model(self.model, Path(folder) / "model.osim", driven).read_bytes()

    def recorded(self, request: TrialRequest, settings: LabelSettings) -> CoordinateFile:
        """The motion of a trial, read once where it was looked at before; errors as `read_motion`."""
        read = self._read.get(_reading(request, settings))
        return read.recorded if read is not None else read_motion(request, settings, self.model)

    def prepared(self, request: TrialRequest, settings: LabelSettings, recorded: CoordinateFile) -> Prepared:
        """The motion of a trial that is labelled now, as it was prepared where it was looked at; errors as `prepare`.

        What was kept of the trial is handed over: nobody asks for it again.
        """
        read = self._read.pop(_reading(request, settings), None)
        if read is not None:
            return read.prepared
        return prepare(self.model, self.skeleton, recorded.motion, settings.cutoff_hz)

    def look_at(self, request: TrialRequest, settings: LabelSettings) -> Prepared:
        """A trial read and prepared, and kept until it is labelled; errors as `read_motion` and `prepare`."""
        key = _reading(request, settings)
        if key in self._read:
            return self._read[key].prepared
        recorded = read_motion(request, settings, self.model)
        read = _ReadTrial(recorded, prepare(self.model, self.skeleton, recorded.motion, settings.cutoff_hz))
        if request.recorded is None and sum(r.prepared.q.frames for r in self._read.values()) < KEPT_FRAMES:
            self._read[key] = read
        return read.prepared

    def look_at_movement(self, beside: Sequence[TrialRequest], settings: LabelSettings) -> None:
        """Read the trials that muscle paths will be fitted for."""
        self._movement(beside, settings)

    def muscles(self, q: Motion, beside: Sequence[TrialRequest], settings: LabelSettings) -> Muscles:
        """Muscle paths fitted around what the person does in the trials `beside`, and in `q` where that leaves it.

        One fit serves all trials of a person: around the poses that are taken, it follows OpenSim's paths as well as
        fits over the range of each trial do, which take seconds each.
        """
        own = _thinned(q.select(self.skeleton.coordinates).values, MOST_POSES)
        movement = self._movement(beside, settings) if len(beside) > 1 else None
        if movement is not None:
            muscles = self._fitted(movement)
            if bool(muscles.in_range(torch.as_tensor(own)).all()):
                return muscles
            own = np.concatenate([movement, own])
        return self._fitted(own)

    def known_paths(self, muscles: Muscles, q: Motion) -> KnownPaths | None:
        """OpenSim's own paths where polynomials do not follow a muscle; None where they do everywhere.

        Where a path leaves a wrapping surface at once, by a centimetre in the gluteus maximus of deep squats, no
        polynomial follows it. Looked at are the frames beside which one was sampled that is not followed: a few muscles
        in some frames cost a tenth of what all of them would.
        """
        which, poses = _unfollowed(muscles), q.select(self.skeleton.coordinates).values
        wanted = np.zeros((len(poses), len(muscles.names)), dtype=bool)
        for m in which:
            span = list(muscles.tables.spans(m))
            _, near = KDTree(muscles.tables.sampled[:, span]).query(poses[:, span], NEIGHBOURS)
            wanted[:, m] = muscles.tables.rough[near, m].any(axis=1)
        if not wanted.any():
            return None
        lengths, arms = self._sampler.where(wanted, poses)
        return KnownPaths(torch.as_tensor(which), torch.as_tensor(lengths[:, which]), torch.as_tensor(arms[:, which]))

    def lines(self, muscles: Muscles) -> FittedLines:
        """Lines of action of the muscles, fitted on poses of the same movement as their paths."""
        if muscles not in self._lines:
            tables = compile_lines(self.model.path, self.skeleton, muscles.tables, sampler=lambda: self._sampler)
            self._lines[muscles] = FittedLines(self.skeleton, tables)
        return self._lines[muscles]

    def about_paths(self, muscles: Muscles) -> dict[str, Any]:
        """For label.json: which muscles keep OpenSim's own paths, and the error of the other fits."""
        rms, _ = moment_errors(muscles)
        own = set(_unfollowed(muscles))
        fitted = {n: round(float(rms[m]), 3) for m, n in enumerate(muscles.names) if m not in own}
        return {"by_opensim": [muscles.names[m] for m in sorted(own)], "moment_error_rms_nm": fitted}

    @cached_property
    def _sampler(self) -> PathSampler:
        return PathSampler(load(self.model.path))  # a model of its own: whoever initialises a model spoils its states

    def _fitted(self, movement: Float[np.ndarray, "pose coordinate"]) -> Muscles:
        key = hashlib.sha256(np.ascontiguousarray(movement)).digest()
        if key not in self._muscles:
            while len(self._muscles) >= KEPT_MOVEMENTS:
                del self._muscles[next(iter(self._muscles))]
            self._muscles[key] = fitted_muscles(self.model.path, self.skeleton, movement, lambda: self._sampler)
        return self._muscles[key]

    def _movement(
        self, beside: Sequence[TrialRequest], settings: LabelSettings
    ) -> Float[np.ndarray, "pose coordinate"] | None:
        """Poses of trials, as far as these can be read; None where none can.

        Trials in which a joint turns faster than any does, where inverse kinematics has jumped, are left out: poses
        that nobody takes would spoil the fit for the others.
        """
        key = (tuple(r.motion for r in beside), settings.cutoff_hz, settings.units)
        if key not in self._movements:
            chosen = (beside[k] for k in _evenly(len(beside), MOST_TRIALS))
            poses = [p for r in chosen if (p := self._poses(r, settings)) is not None]
            each = max(1, MOST_POSES // max(1, len(poses)))
            self._movements = {key: np.concatenate([_thinned(p, each) for p in poses]) if poses else None}
        return self._movements[key]

    def _poses(self, request: TrialRequest, settings: LabelSettings) -> Float[np.ndarray, "frame coordinate"] | None:
        try:
            q = self.look_at(request, settings).q.select(self.skeleton.coordinates)
        except (StorageError, MotionError):  # said when that trial is labelled
            return None
        driven = [i for i, n in enumerate(self.skeleton.coordinates) if n in self.skeleton.tables.muscle_driven]
        speed = np.abs(np.diff(q.values[:, driven], axis=0) / np.diff(q.time)[:, None])
        return q.values if speed.max(initial=0.0) < FASTEST_ROTATION_RAD_S else None


def fitted_muscles(
    path: Path,
    skeleton: Skeleton,
    movement: Float[np.ndarray, "pose coordinate"],
    sampler: Callable[[], PathSampler] | None = None,
) -> Muscles:
    """Muscle paths of a model fitted around poses (rad, m) in the order of the skeleton's coordinates.

    `sampler` gives a sampler of the model, where there is one.
    """
    chosen = _thinned(movement, MOST_POSES)
    ranges = ranges_of(skeleton, movement)
    return Muscles(compile_muscles(path, ranges, movement=chosen, poses=SAMPLED_POSES, sampler=sampler))


def person_mechanics(
    path: Path,
    skeleton: SkeletonTables,
    channels: Sequence[str],
    movement: Float[np.ndarray, "pose channel"],
    samples: int,
) -> PersonMechanics:
    """The mechanics of a person's motions in `channels`, muscle paths fitted around poses (rad, m) in these.

    Raises
    ------
    ModelError
        Muscles that are not supported.

    """
    full = np.tile(skeleton.default, (len(movement), 1))
    full[:, [skeleton.coordinates.index(name) for name in channels]] = movement
    muscles = fitted_muscles(path, Skeleton(skeleton), full)
    return PersonMechanics(skeleton, muscles.tables, channels, samples)


def person_model(path: Path) -> PersonModel:
    """The model of a person, from this process's memory where the file is the same as before.

    Raises
    ------
    ModelError
        The model cannot be read or used, or has no muscles.

    """
    return _kept(path.absolute(), file_sha256(path))


@lru_cache(maxsize=KEPT_PEOPLE)
def _kept(path: Path, sha256: str) -> PersonModel:
    return PersonModel(path)


def _unfollowed(muscles: Muscles) -> list[int]:
    _, largest = moment_errors(muscles)
    return [int(m) for m in np.flatnonzero(largest > FOLLOWED_NM)]


def _thinned(poses: Float[np.ndarray, "frame coordinate"], most: int) -> Float[np.ndarray, "pose coordinate"]:
    return poses[_evenly(len(poses), most)]


def _evenly(count: int, most: int) -> Int[np.ndarray, " chosen"]:
    """At most `most` of the numbers below `count`."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
