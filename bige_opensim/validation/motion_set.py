"""Sets of motions that are compared: repetitions of a dataset, or a folder of generated motions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from bige_opensim.guidance.objective import ObjectiveError
from bige_opensim.io.storage import StorageError, read_coordinates, read_storage
from bige_opensim.learning.dataset import SAMPLES, triples_of
from bige_opensim.motion import Motion, MotionError
from bige_opensim.movements.heading import Root, RootError, without_heading
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import ModelError, load
from bige_opensim.physics.contact import FEET
from bige_opensim.physics.rotations import one_branch
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.generated_folder import CERTIFICATE, MODEL, GeneratedFolder, ValidationError
from bige_opensim.validation.motion_gates import GROUND_M, Anatomy

TRAIN = "train"
VASTUS_MEDIALIS = ("vasmed_r", "vasmed_l")
MOST = 6


class MotionSetError(ValueError):
    """Motions that cannot be compared: another skeleton, an empty folder, too few."""


@dataclass(frozen=True)
class Frame:
    """What all sets of a comparison have in common: coordinates in order, which are angles, and the root."""

    coordinates: tuple[str, ...]
    rotational: tuple[bool, ...]
    root: Root

    @classmethod
    def of(cls, ds: xr.Dataset) -> Frame:
        """Of a dataset of repetitions.

        Raises
        ------
        MotionSetError
            The root is not described, or is not one that has a heading.

        """
        names = tuple(str(n) for n in ds["coordinate"].values)
        if "root" not in ds.attrs:
            raise MotionSetError("the dataset does not say what its root joint is; build it again with `bige dataset`.")
        try:
            root = Root.from_label(json.loads(ds.attrs["root"]))
        except RootError as problem:
            raise MotionSetError(str(problem)) from None
        return cls(names, tuple(bool(r) for r in ds["rotational"].values), root)

    @property
    def angles(self) -> np.ndarray:
        """Places of the angles."""
        return np.flatnonzero(self.rotational)


@dataclass(frozen=True, eq=False)
class MotionSet:
    """Motions of one source, over 0 to 100 % of their durations.

    Attributes
    ----------
    name, frame
        What the set is called, and its coordinates.
    q, duration
        (motion, sample, coordinate) in rad and m, facing forward from above the origin, ground at 0; (motion,) in s.
    people
        Who moves; a generated motion stands for itself.
    bodies
        The body of every motion, None where its model is not known.
    vastus_medialis
        Activations of both sides (motion, sample, 2), nan where they are not known.
    confirmed
        Whether OpenSim confirmed the motion; None where nobody asked.
    source
        For the record: file and sha256.

    """

    name: str
    frame: Frame
    q: Float[np.ndarray, "motion sample coordinate"]
    duration: Float[np.ndarray, " motion"]
    people: tuple[str, ...]
    bodies: tuple[Anatomy | None, ...]
    vastus_medialis: Float[np.ndarray, "motion sample 2"]
    confirmed: tuple[bool | None, ...]
    source: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.q)

    def chosen(self, places: np.ndarray, **changes: Any) -> MotionSet:
        """The motions at these places, with other fields."""
        return replace(
            self,
            q=self.q[places],
            duration=self.duration[places],
            people=tuple(self.people[i] for i in places),
            bodies=tuple(self.bodies[i] for i in places),
            vastus_medialis=self.vastus_medialis[places],
            confirmed=tuple(self.confirmed[i] for i in places),
        ).with_(**changes)

    def with_(self, **changes: Any) -> MotionSet:
        """The same set with other fields."""
        return replace(self, **changes)

    @property
    def degrees(self) -> Float[np.ndarray, "motion sample coordinate"]:
        """Coordinates as files have them: degrees and m."""
        return np.where(self.frame.rotational, np.rad2deg(self.q), self.q)

    @cached_property
    def places(self) -> Places | None:
        """Points of the bodies over time; None unless every motion's body is known."""
        if any(body is None for body in self.bodies):
            return None
        parts = [_places(body, self.frame, q) for body, q in zip(self.bodies, self.q, strict=True) if body is not None]
        first = next(body for body in self.bodies if body is not None)
        foot = np.array([FEET.index(name[-1]) for name in first.skeleton.contact_names], dtype=np.int64)
        contact, joints, com = (np.stack(group) for group in zip(*parts, strict=True))
        return Places(contact, joints, com, foot)


@dataclass(frozen=True, eq=False)
class Places:
    """Contact points, joints (origins of the bodies) and centre of mass over time, m, and the foot of every point."""

    contact: Float[np.ndarray, "motion sample point 3"]
    joints: Float[np.ndarray, "motion sample joint 3"]
    com: Float[np.ndarray, "motion sample 3"]
    foot: np.ndarray


def _places(body: Anatomy, frame: Frame, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    skeleton = body.skeleton
    full = skeleton.default.expand(len(q), -1).clone()
    full[:, [skeleton.index(name) for name in frame.coordinates]] = torch.as_tensor(q, dtype=full.dtype)
    poses = skeleton(full)
    points = (skeleton.contact_points(poses), poses.position, skeleton.com(poses))
    return tuple(p.double().numpy() for p in points)  # type: ignore[return-value]


def recordings(
    ds: xr.Dataset, name: str, chosen: Callable[[str], bool], bodies: Callable[[str], Anatomy | None], source: Path
) -> MotionSet:
    """Repetitions of a dataset whose part of the split is `chosen`; `bodies` gives the body of a model's sha256."""
    frame = Frame.of(ds)
    part = ds.isel(repetition=np.array([chosen(str(s)) for s in ds["split"].values], dtype=bool))
    models = json.loads(ds.attrs.get("models", "{}"))
    trials = zip(part["session"].values, part["trial"].values, strict=True)
    digests = [_model_of(models, str(session), str(trial)) for session, trial in trials]
    found = tuple(bodies(digest) if digest else None for digest in digests)
    muscles = [str(m) for m in part["muscle"].values]
    q = part["q"].values.astype(np.float64)
    vastus = np.full((*q.shape[:2], 2), np.nan)
    if all(m in muscles for m in VASTUS_MEDIALIS):
        vastus = part["activations"].values[..., [muscles.index(m) for m in VASTUS_MEDIALIS]]
    return MotionSet(
        name=name,
        frame=frame,
        q=one_branch(q, frame.coordinates, frame.rotational, triples_of(ds)),
        duration=part["duration"].values.astype(np.float64),
        people=tuple(str(s) for s in part["subject"].values),
        bodies=tuple(b if b is not None and _has(b, frame) else None for b in found),
        vastus_medialis=vastus,
        confirmed=(None,) * len(q),
        source={"file": source.name, "sha256": sha256(source)},
    )


def dataset_like(ds: xr.Dataset, frame: Frame, path: Path) -> tuple[xr.Dataset, tuple[str, ...]]:
    """A dataset with the coordinates of `frame` in its order, and a note where its order was another.

    Raises
    ------
    MotionSetError
        Another skeleton: coordinates, what is an angle, or the root differ.

    """
    names = [str(n) for n in ds["coordinate"].values]
    missing, more = ([n for n in a if n not in b] for a, b in ((frame.coordinates, names), (names, frame.coordinates)))
    if missing or more:
        raise MotionSetError(
            f"{path}: a dataset of another skeleton than the reference; it lacks {_listed(missing)} and has "
            f"{_listed(more)} besides. Compare motions of one skeleton."
        )
    ordered = ds.sel(coordinate=list(frame.coordinates))
    if Frame.of(ordered) != frame:
        raise MotionSetError(
            f"{path}: its coordinates are named as the reference's, but their units or the root joint differ. Compare "
            "motions of one skeleton."
        )
    if names != list(frame.coordinates):
        return ordered, (f"{path.name}: coordinates are in another order than in the reference; taken by name.",)
    return ordered, ()


def generated(folder: Path, name: str, frame: Frame) -> MotionSet:
    """A folder of generated motions (*.mot and model.osim), with the certificates that it holds.

    Raises
    ------
    MotionSetError
        The folder is none of generated motions, is empty, or is of another skeleton.

    """
    files = sorted(folder.glob("*.mot"))
    if not files or not (folder / MODEL).is_file():
        raise MotionSetError(
            f"{folder}: expected motions (*.mot) and {MODEL}, found {len(files)} motions"
            f"{'' if (folder / MODEL).is_file() else f' and no {MODEL}'}. Name a folder that `bige generate` wrote, or "
            "a dataset that `bige dataset` wrote (.nc)."
        )
    try:
        body = anatomy(folder / MODEL)
        motions = [_read(path, body, frame) for path in files]
    except (ModelError, StorageError, MotionError, OSError) as problem:
        raise MotionSetError(f"{folder}: {problem}") from problem
    q = np.stack([m.values for m in motions])
    confirmed, note = _confirmed(folder, files)
    return MotionSet(
        name=name,
        frame=frame,
        q=one_branch(q, frame.coordinates, frame.rotational, body.triples),
        duration=np.array([m.duration for m in motions]),
        people=tuple(path.stem for path in files),
        bodies=(body,) * len(files),
        vastus_medialis=np.stack([_simulated_vastus(folder / path.stem) for path in files]),
        confirmed=confirmed,
        source={"folder": folder.name, "sha256": {p.name: sha256(p) for p in [*files, folder / MODEL]}},
        notes=note,
    )


def anatomy(model: Path) -> Anatomy:
    """The body of a model file."""
    return Anatomy.of(load(model), Skeleton(compile_skeleton(model)))


def sha256(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _has(body: Anatomy, frame: Frame) -> bool:
    return set(frame.coordinates) <= set(body.skeleton.coordinates)


def _read(path: Path, body: Anatomy, frame: Frame) -> Motion:
    if not _has(body, frame):
        missing = [n for n in frame.coordinates if n not in body.skeleton.coordinates]
        raise MotionSetError(
            f"{path.parent}: {MODEL} is another skeleton than the reference's; it lacks {_listed(missing)}. Compare "
            "motions of one skeleton."
        )
    rotational = [n for n, r in zip(frame.coordinates, frame.rotational, strict=True) if r]
    motion = read_coordinates(path, rotational=rotational, known=body.skeleton.coordinates, units="degrees").motion
    missing = [n for n in frame.coordinates if n not in motion]
    if missing:
        raise MotionSetError(
            f"{path}: lacks the coordinates {_listed(missing)} of the reference. Compare motions of one skeleton."
        )
    motion = motion.select(frame.coordinates)
    even = motion.resampled(np.linspace(motion.time[0], motion.time[-1], SAMPLES))
    return without_heading(even, frame.root, ground_height_m=GROUND_M)


def _confirmed(folder: Path, files: Sequence[Path]) -> tuple[tuple[bool | None, ...], tuple[str, ...]]:
    """OpenSim's verdicts, each held against the files it was made from."""
    certified = [(folder / p.stem / CERTIFICATE).is_file() for p in files]
    nobody: tuple[bool | None, ...] = (None,) * len(files)
    if not any(certified):
        return nobody, ()
    try:
        whole = GeneratedFolder(folder)
    except (ValidationError, ObjectiveError) as problem:
        return nobody, (f"certificates are not read: {problem}",)
    held = tuple(whole.hold(p.stem).confirmed if there else None for p, there in zip(files, certified, strict=True))
    return held, ()


def _simulated_vastus(folder: Path) -> Float[np.ndarray, "sample 2"]:
    """Activations that OpenSim found, over 0 to 100 % of the motion; nan where there are none."""
    unknown = np.full((SAMPLES, 2), np.nan)
    if not (folder / "activations.sto").is_file():
        return unknown
    try:
        table = read_storage(folder / "activations.sto")
    except (StorageError, OSError):
        return unknown
    if not all(m in table.names for m in VASTUS_MEDIALIS):
        return unknown
    at = np.linspace(table.time[0], table.time[-1], SAMPLES)
    columns = [table.values[:, list(table.names).index(m)] for m in VASTUS_MEDIALIS]
    return np.column_stack([np.interp(at, table.time, c) for c in columns])


def _model_of(models: Mapping[str, Mapping[str, str]], session: str, trial: str) -> str | None:
    """sha256 of the model of a trial, of which a dataset knows the folder below its labels."""
    named = {key: m["sha256"] for key, m in models.items() if key.rpartition("/")[2] == trial}
    inside = {key: digest for key, digest in named.items() if session in key.split("/")}
    digests = set((inside or named).values())
    return digests.pop() if len(digests) == 1 else None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return (", ".join(names[:MOST]) or "nothing") + more
