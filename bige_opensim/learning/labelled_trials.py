"""Read the folders of labelled trials for learning, and say why a trial cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bige_opensim.io.documents import DocumentError, read_json
from bige_opensim.io.storage import StorageError, read_storage
from bige_opensim.motion import Motion, MotionError
from bige_opensim.movements.heading import Root, RootError
from bige_opensim.movements.repetitions import (
    AUTO,
    FoundMovement,
    Recording,
    Repetition,
    RepetitionError,
    find_movement,
    find_repetitions,
)

LABEL_FORMAT = "bige-label/1"
FEATURES = {  # of the subject, with units
    "mass_kg": "kg",
    "femur_length_m": "m",
    "tibia_length_m": "m",
    "foot_length_m": "m",
    "pelvis_width_m": "m",
    "trunk_length_m": "m",
    "strength_n": "N",
}
ALWAYS_THERE = ("status", "reason", "session", "subject", "trial")
THERE_WHEN_LABELLED = ("model", "ground_height_m", "coordinates", "muscles", "root", "subject_features")


class LabelError(ValueError):
    """A labelled trial whose files cannot be used."""


@dataclass(frozen=True, eq=False)
class TrialSource:
    """What a dataset takes of a label, from its folder or from memory; attributes as of `LabelledTrial`.

    `vertical_force` is that of each foot in N where it was measured.
    """

    name: str
    label: Mapping[str, Any]
    sha256: str
    q: Motion
    activations: Motion
    moments: Motion
    rotational: frozenset[str]
    vertical_force: Motion | None


@dataclass(frozen=True, eq=False)
class LabelledTrial:
    """A labelled trial with its repetitions.

    Attributes:
        name: Its folder below the folder of labels.
        label: What `label.json` holds.
        sha256: Of `label.json`.
        q: Independent coordinates, rad and m.
        activations: By muscle, 0 to 1.
        moments: Net generalized forces by coordinate, what ground and supports do taken off, N·m and N.
        rotational: Names of the coordinates in rad.
        movement: Event rule that found the repetitions.
        repetitions: In order of time.
    """

    name: str
    label: Mapping[str, Any]
    sha256: str
    q: Motion
    activations: Motion
    moments: Motion
    rotational: frozenset[str]
    movement: str
    repetitions: tuple[Repetition, ...]

    @property
    def subject(self) -> str:
        """Who moves."""
        return str(self.label["subject"])


@dataclass(frozen=True)
class LeftOut:
    """A labelled trial that is not used, and why; `gates` where its quality gates are the reason."""

    trial: str
    reason: str
    gates: bool = False


def label_files(labels_root: Path) -> list[Path]:
    """Every `label.json` at any depth, sorted; folders that are still being written are passed over."""
    return sorted(path for path in labels_root.rglob("label.json") if not path.parent.name.startswith("."))


def read_labelled_trial(
    path: Path, name: str, *, include_failed: bool, movement: str, trials: str
) -> LabelledTrial | LeftOut:
    """The trial of a `label.json`, or the reason for leaving it out.

    Parameters
    ----------
    path
        The `label.json`.
    name
        What to call the trial.
    include_failed
        Take trials that failed quality gates. Trials without a solution are left out in any case.
    movement
        Event rule that must find at least one repetition; `AUTO` takes the one that covers most of the trial.
    trials
        Shell pattern that the trial's name must match.
    """
    try:
        label = _read_label(path)
        refused = _refused(name, label, include_failed, trials)
        return refused if refused is not None else _with_repetitions(_read_source(path, name, label), movement)
    except (LabelError, StorageError, MotionError, RepetitionError) as problem:
        return LeftOut(name, str(problem))
    except RootError as problem:
        return LeftOut(name, f"{name}: {problem}")


def labelled_trial(source: TrialSource, *, include_failed: bool, movement: str, trials: str) -> LabelledTrial | LeftOut:
    """The trial of a label in memory, or the reason for leaving it out; arguments as of `read_labelled_trial`."""
    try:
        refused = _refused(source.name, source.label, include_failed, trials)
        return refused if refused is not None else _with_repetitions(source, movement)
    except (MotionError, RepetitionError) as problem:
        return LeftOut(source.name, str(problem))
    except RootError as problem:
        return LeftOut(source.name, f"{source.name}: {problem}")


def _refused(name: str, label: Mapping[str, Any], include_failed: bool, trials: str) -> LeftOut | None:
    if not fnmatch(str(label["trial"]), trials):
        return LeftOut(name, f"its name does not match '{trials}'")
    if label["status"] == "failed":
        return LeftOut(name, f"failed: {label['reason']}")
    if label["status"] != "passed" and not include_failed:
        return LeftOut(name, f"{label['status']}: {label['reason']}", gates=True)
    return None


def _read_label(path: Path) -> dict[str, Any]:
    try:
        label = read_json(path)
    except DocumentError as problem:
        raise LabelError(f"{problem} Label the trial again.") from problem
    if not isinstance(label, dict) or label.get("format") != LABEL_FORMAT:
        raise LabelError(f"{path}: not a label in format {LABEL_FORMAT}; label the trial again.")
    needed = ALWAYS_THERE if label.get("status") == "failed" else ALWAYS_THERE + THERE_WHEN_LABELLED
    missing = [key for key in needed if key not in label]
    if not missing and label["status"] != "failed":
        missing = [key for key in FEATURES if key not in label["subject_features"]]
    if missing:
        raise LabelError(f"{path}: the label lacks {', '.join(missing)}; label the trial again.")
    return label


def _read_source(path: Path, name: str, label: Mapping[str, Any]) -> TrialSource:
    states = read_storage(path.with_name("states.sto"))
    columns = {tuple(column.strip("/").split("/")[-2:]): at for at, column in enumerate(states.names)}
    wanted = [(c, "value") for c in label["coordinates"]] + [(m, "activation") for m in label["muscles"]]
    missing = ["/".join(key) for key in wanted if key not in columns]
    if missing:
        raise LabelError(f"{states.path}: lacks {', '.join(missing[:6])}, named in its label; label the trial again.")
    values, count = states.values[:, [columns[key] for key in wanted]], len(label["coordinates"])
    q = Motion(states.time, values[:, :count], tuple(label["coordinates"]))
    measured = label.get("grf") == "measured"
    return TrialSource(
        name=name,
        label=label,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        q=q,
        activations=Motion(states.time, values[:, count:], tuple(label["muscles"])),
        moments=_moments(path.with_name("inverse_dynamics.sto"), q.names),
        rotational=_rotational(path.with_name("inverse_dynamics.sto"), label),
        vertical_force=_vertical_force(path.with_name("grf.mot")) if measured else None,
    )


def _with_repetitions(source: TrialSource, movement: str) -> LabelledTrial | LeftOut:
    recording = _recording(source)
    found = find_movement(recording) if movement == AUTO else _found(recording, movement)
    if found.movement is None or not found.repetitions:
        return LeftOut(source.name, _nothing_found(recording, movement))
    return LabelledTrial(
        name=source.name,
        label=source.label,
        sha256=source.sha256,
        q=source.q,
        activations=source.activations,
        moments=source.moments,
        rotational=source.rotational,
        movement=found.movement,
        repetitions=found.repetitions,
    )


def _recording(source: TrialSource) -> Recording:
    label = source.label
    missing = label.get("missing_support") or ()
    return Recording(
        source.q,
        root=Root.from_label(label["root"]),
        lengths={name: float(value) for name, value in label["subject_features"].items()},
        vertical_force=source.vertical_force,
        missing_support=tuple((float(item["start_s"]), float(item["end_s"])) for item in missing),
    )


def _moments(path: Path, coordinates: Sequence[str]) -> Motion:
    table = read_storage(path)
    return by_coordinate(Motion(table.time, table.values, table.names), coordinates)


def by_coordinate(moments: Motion, coordinates: Sequence[str]) -> Motion:
    """Generalized forces under the names of their coordinates; LabelError where one is missing."""
    known = {name.removesuffix("_moment").removesuffix("_force"): at for at, name in enumerate(moments.names)}
    missing = [name for name in coordinates if name not in known]
    if missing:
        raise LabelError(f"inverse_dynamics.sto lacks {', '.join(missing[:6])}; label the trial again.")
    return Motion(moments.time, moments.values[:, [known[name] for name in coordinates]], tuple(coordinates))


def _vertical_force(path: Path) -> Motion:
    table = read_storage(path)
    columns = {f"ground_force_{side}_vy": side for side in "rl"}
    missing = [name for name in columns if name not in table.names]
    if missing:
        raise LabelError(f"{path}: lacks {', '.join(missing)}; label the trial again.")
    return Motion(table.time, table.values[:, [table.names.index(name) for name in columns]], tuple(columns.values()))


def _found(recording: Recording, movement: str) -> FoundMovement:
    return FoundMovement(movement, tuple(find_repetitions(recording, movement=movement)))


def _nothing_found(recording: Recording, movement: str) -> str:
    if movement == AUTO:
        return "no repetition of any movement found"
    reason = f"no repetition of the movement '{movement}' found"
    try:
        other = find_movement(recording)
    except RepetitionError:
        return reason
    if other.movement is None:
        return reason
    return f"{reason}; it holds {len(other.repetitions)} of the movement '{other.movement}'"


def rotation_triples(label: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Coordinates of every joint that turns about three orthogonal axes, as the label says.

    Labels of earlier versions do not: there, the shoulders, whose angles wrap in public recordings.
    """
    if "rotation_triples" in label:
        return [(str(a), str(b), str(c)) for a, b, c in label["rotation_triples"]]
    return shoulders(label["coordinates"])


def shoulders(coordinates: Sequence[str]) -> list[tuple[str, str, str]]:
    """The shoulders' coordinates, by the names that models of the Rajagopal family give them."""
    sides = [(f"arm_flex_{s}", f"arm_add_{s}", f"arm_rot_{s}") for s in "rl"]
    return [triple for triple in sides if set(triple) <= set(coordinates)]


def _rotational(inverse_dynamics: Path, label: Mapping[str, Any]) -> frozenset[str]:
    """Coordinates that are angles, as the label says.

    Labels of earlier versions do not: there, those whose generalized force is a moment (OpenSim's InverseDynamicsTool
    names columns `<q>_moment`).
    """
    if "rotational" in label:
        return frozenset(label["rotational"])
    names = read_storage(inverse_dynamics).names
    return frozenset(name.removesuffix("_moment") for name in names if name.endswith("_moment"))
