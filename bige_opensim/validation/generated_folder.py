"""A folder of generated motions: certificates made from its files, and certificates held against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bige_opensim.guidance.conflicts import target_of
from bige_opensim.guidance.objective import Objective
from bige_opensim.io.documents import DocumentError, read_json
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.io.storage import StorageError, read_storage
from bige_opensim.labelling.chair import check_chair
from bige_opensim.motion import Motion, MotionError
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.settings import SettingError
from bige_opensim.validation.certificate import (
    Certificate,
    Simulated,
    certificate,
    judge,
    no_dynamics,
    read_simulated,
)
from bige_opensim.validation.motion_gates import Anatomy, MotionOnGround, motion_gates
from bige_opensim.validation.recheck import recheck
from bige_opensim.validation.whose_frames import sentence, shared_frames, uncertainties, undecided

MODEL, OBJECTIVE, RECORD, CERTIFICATE = "model.osim", "objective.toml", "generation.json", "certificate.json"
SIMULATION_MODEL = "model_static_optimization.osim"
REQUIRED = ("label.json", "coordinates.mot", "activations.sto", "states.sto", "inverse_dynamics.sto")
OPTIONAL = ("grf.mot", "joint_loads.sto", "external_loads.xml", "setup_static_optimization.xml")
UNREADABLE = (OSError, StorageError, MotionError, ValueError, KeyError, TypeError)
"""What reading files that someone damaged can raise."""
MOST = 4
CLOSE = 1e-6
"""Relative difference of numbers that are the same but for rounding."""


class ValidationError(ValueError):
    """A folder that is no folder of generated motions."""


def generated_motions(folder: Path) -> list[Path]:
    """The motions of a folder that `bige generate` wrote, by name.

    Raises
    ------
    ValidationError
        The folder lacks motions, the model or the objective.

    """
    motions = sorted(folder.glob("*.mot"))
    missing = [n for n in (MODEL, OBJECTIVE) if not (folder / n).is_file()]
    if not motions or missing:
        raise ValidationError(
            f"{folder}: expected motions (*.mot), {MODEL} and {OBJECTIVE}, found {len(motions)} motions"
            + (f" and no {', '.join(missing)}" if missing else "")
            + ". Name a folder that `bige generate` wrote."
        )
    return motions


@dataclass(frozen=True)
class Held:
    """A certificate held against the files of its folder.

    Attributes
    ----------
    certificate
        As OpenSim's files give it now, whatever certificate.json says; as certificate.json has it where it is of an
        earlier version and cannot be checked; None where there is none or OpenSim's files cannot be read.
    contradictions
        What speaks against it, a sentence each.

    """

    certificate: Certificate | None
    contradictions: tuple[str, ...] = ()

    @property
    def confirmed(self) -> bool:
        """Whether the motion is confirmed, by files that nothing contradicts."""
        c = self.certificate
        return c is not None and c.checkable and c.confirmed and not self.contradictions


class GeneratedFolder:
    """The model, the objective and the record of a folder of motions, read once.

    Raises
    ------
    ValidationError, ObjectiveError, ModelError
        The folder lacks motions, model or objective, or they cannot be read.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.motions = generated_motions(folder)
        self.skeleton = Skeleton(compile_skeleton(folder / MODEL))
        self.objective = Objective.load(folder / OBJECTIVE)
        self.record = _record(folder / RECORD)
        self._known: dict[str, tuple[Any, Any]] = {}

    @cached_property
    def model(self) -> OsimModel:
        """The model as OpenSim has it."""
        return load(self.folder / MODEL)

    @cached_property
    def anatomy(self) -> Anatomy:
        """What the motion gates need."""
        return Anatomy.of(self.model, self.skeleton)

    @property
    def chair(self) -> str | None:
        """What the motions start on, as `LabelSettings.chair` takes it; None where the feet alone carry.

        Raises
        ------
        ValidationError
            generation.json says something that is no chair.

        """
        chair = self.record.get("chair")
        try:
            check_chair(None if chair is None else str(chair))
        except SettingError as error:
            raise ValidationError(f"{self.folder / RECORD}: {error}") from error
        return None if chair is None else str(chair)

    def entry(self, name: str) -> dict[str, Any]:
        """What the record of the search says of a motion; nothing where the file is not the one the search wrote."""
        found: dict[str, Any] = next((m for m in self.record.get("motions", []) if m.get("name") == name), {})
        return {} if self._replaced(name, found) else found

    def notes(self, name: str) -> tuple[str, ...]:
        """What a reader of a motion's certificate should know besides."""
        entries = [m for m in self.record.get("motions", []) if m.get("name") == name]
        if self.record and not entries:
            return ("The search did not make this motion: generation.json does not know it.",)
        if any(self._replaced(name, e) for e in entries):
            return (
                "The motion is not the one that the search wrote: it was edited or replaced since. What the search "
                "predicted, and how new it is, are not known.",
            )
        return ()

    def _replaced(self, name: str, entry: Mapping[str, Any]) -> bool:
        return entry.get("motion_sha256", None) not in (None, file_sha256(self.folder / f"{name}.mot"))

    def simulated(self, name: str) -> Simulated:
        """What OpenSim found of a motion, read again only where its files are others than before.

        Raises
        ------
        DocumentError, StorageError, MotionError
            As `read_simulated`.

        """
        folder = self.folder / name
        files = [folder / f for f in (*REQUIRED, *OPTIONAL)]
        found: Simulated = self._unless_known(f"{name}/", files, lambda: read_simulated(folder, self.skeleton))
        return found

    def predicted(self, name: str) -> Motion | None:
        """The activations that the search predicted of a motion, None without a file of them; read as `simulated`.

        Raises
        ------
        StorageError, MotionError
            The file cannot be read.

        """
        path = self.folder / "predicted" / f"{name}_activations.sto"
        found: Motion | None = self._unless_known(path.name, [path], lambda: _activations(path))
        return found

    def _unless_known(self, about: str, files: list[Path], read: Callable[[], Any]) -> Any:
        """What was read of files before, or what is read now, where one of them is another."""
        there = [p for p in files if p.is_file()]
        state = [(p.name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for p in there for s in (p.stat(),)]
        known, found = self._known.get(about, (None, None))
        if known != state:
            found = read()
            self._known[about] = state, found
        return found

    def certify(self, name: str) -> Certificate:
        """The certificate of a motion from the files of its simulation, as they are.

        Raises
        ------
        OSError, StorageError, MotionError, ValueError, KeyError
            A file is missing or cannot be read.

        """
        simulated = self.simulated(name)
        bound, evaluation = judge(self.objective, self.skeleton, simulated)
        gates = motion_gates(
            MotionOnGround(
                self.anatomy,
                simulated.q,
                simulated.vertical_n,
                simulated.label["ground_height_m"],
                chair=simulated.label.get("chair"),
            )
        )
        entry, notes = self.entry(name), self.notes(name)
        if simulated.label.get("chair"):
            notes = (*notes, f"A seat carries, too, {simulated.label['chair']['height_m']:.2f} m above the ground.")
        predicted = self.predicted(name) if entry or not notes else None
        record = shared_frames(simulated)
        return certificate(
            *(name, bound, evaluation, entry, simulated, gates, predicted),
            files=self.hashes(name),
            notes=notes if record is None else (*notes, sentence(record)),
            within=uncertainties(bound, simulated, self._activation_bounds(simulated)),
            person=self.record.get("person"),
        )

    def _activation_bounds(self, simulated: Simulated) -> np.ndarray:
        """(M, 2) for the muscles of a simulation."""
        bounds = dict(zip(self.model.muscle_names, np.asarray(self.model.activation_bounds), strict=True))
        return np.array([bounds[m] for m in simulated.activations.names])

    def hashes(self, name: str) -> dict[str, str]:
        """sha256 of every file on which a certificate stands, by its path in the folder."""
        paths = [
            f"{name}.mot", MODEL, OBJECTIVE, RECORD, SIMULATION_MODEL, f"predicted/{name}_activations.sto",
            *(f"{name}/{file}" for file in (*REQUIRED, *OPTIONAL)),
        ]  # fmt: skip
        return {p: file_sha256(self.folder / p) for p in paths if (self.folder / p).is_file()}

    def hold(self, name: str) -> Held:
        """Hold a motion's certificate against the files that it was made from, and those against each other."""
        path = self.folder / name / CERTIFICATE
        if not path.is_file():
            return Held(None)
        try:
            content = read_json(path)
            said = Certificate.from_dict(content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Held(self._certified(name)[0], (f"certificate.json is no certificate ({error!r}).",))
        if not said.checkable:
            return Held(said, self._of_another_motion(said, name))
        made, unreadable = self._certified(name)
        contradictions = [*_of_another(said, name), *self._changed(said, name), *unreadable]
        if made is not None:
            contradictions += [*_disagreements(content, made), *self.inconsistencies(name), *self.other_search()]
        return Held(made, tuple(contradictions))

    def _of_another_motion(self, said: Certificate, name: str) -> tuple[str, ...]:
        """For certificates without hashes: their provenance has that of the motion."""
        known = said.provenance.get("motion_sha256")
        changed = known not in (None, file_sha256(self.folder / f"{name}.mot"))
        found = _of_another(said, name)
        return (*found, f"{name}.mot was changed after it was simulated.") if changed else found

    def _certified(self, name: str) -> tuple[Certificate | None, tuple[str, ...]]:
        try:
            return self.certify(name), ()
        except UNREADABLE as error:
            return None, (_unreadable(error),)

    def _changed(self, said: Certificate, name: str) -> list[str]:
        now = self.hashes(name)
        needed = {f"{name}.mot", MODEL, OBJECTIVE, *(f"{name}/{file}" for file in REQUIRED)}
        unnamed = sorted((needed | set(now)) - set(said.files))
        found = [f"{p} is missing." for p in sorted(set(said.files) - set(now))]
        found += [
            f"{p} was changed after the certificate was made." for p, h in now.items() if said.files.get(p, h) != h
        ]
        return found + (
            [f"the certificate does not say from which {', '.join(unnamed)} it was made."] if unnamed else []
        )

    def changed_in_trial(self, name: str) -> tuple[str, ...]:
        """Files that OpenSim wrote for a motion and that are not, any more, those of its certificate."""
        try:
            content = read_json(self.folder / name / CERTIFICATE)
            said = Certificate.from_dict(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return ()
        changed = self._changed(said, name) if said.checkable else []
        return tuple(text for text in changed if text.startswith(f"{name}/"))

    def inconsistencies(self, name: str) -> tuple[str, ...]:
        """What in the files of a simulated motion contradicts the others (`recheck`), or the model and the motion."""
        try:
            return self._inconsistencies(name)
        except UNREADABLE as error:
            return (_unreadable(error),)

    def _inconsistencies(self, name: str) -> tuple[str, ...]:
        simulated = self.simulated(name)
        hashes, provenance = self.hashes(name), simulated.label["provenance"]
        pairs = ((MODEL, provenance.get("model_sha256")), (f"{name}.mot", provenance.get("motion_sha256")))
        other = [f"label.json is about another {path}." for path, sha in pairs if sha not in (None, hashes[path])]
        if simulated.label.get("solver", "opensim") != "opensim":
            other.append(f"label.json is by the solver {simulated.label['solver']}, not by OpenSim.")
        failed = [n for n, g in simulated.label["gates"].items() if not g["value"] <= g["limit"]]
        warned = any(finding["severity"] == "warning" for finding in simulated.label.get("preflight", []))
        if (simulated.label["status"] == "passed") != (not failed and not warned):
            other.append(f"label.json says {simulated.label['status']}, its gates say otherwise.")
        muscles = list(dict.fromkeys(m for t in self.objective.terms for m in t.of))
        motion = self.folder / f"{name}.mot"
        cost = self.objective.cost
        bound, _ = judge(self.objective, self.skeleton, simulated)
        bounds, sha = self._activation_bounds(simulated), hashes[f"{name}.mot"]
        return (
            *other,
            *recheck(self.folder / name, motion, self.model, self.skeleton, simulated, muscles, cost),
            *undecided(bound, simulated, bounds, sha),
        )

    def other_search(self) -> tuple[str, ...]:
        """Whether model and objective are those of the search, where its record says."""
        found = []
        made = self.record.get("provenance", {}).get("model_sha256")
        if made not in (None, file_sha256(self.folder / MODEL)):
            found.append(f"{MODEL} is not the model that the motions were searched for.")
        asked = self.record.get("terms")
        muscles = self.skeleton.tables.muscles
        bound = self.objective.bind(self.skeleton.coordinates, muscles, self.skeleton, dynamics=no_dynamics)
        now = {t.name: target_of(t) for t in bound.terms}
        if asked is not None and asked != now:
            other = sorted(set(asked.items()) ^ set(now.items()))
            words = "; ".join(f"{name}: {target}" for name, target in other)
            found.append(f"{OBJECTIVE} asks for other goals than the search did ({words}).")
        return tuple(found)


def _activations(path: Path) -> Motion | None:
    if not path.is_file():
        return None
    table = read_storage(path)
    return Motion(table.time, table.values, table.names)


def _record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except DocumentError as error:
        raise ValidationError(f"{error} Generate the motions again.") from error
    if not isinstance(content, dict):
        raise ValidationError(f"{path}: not the record of a search; generate the motions again.")
    return content


def _unreadable(error: Exception) -> str:
    return f"OpenSim's files of this motion cannot be read ({error})."


def _of_another(said: Certificate, name: str) -> tuple[str, ...]:
    return () if said.name == name else (f"certificate.json is that of {said.name}.",)


def _disagreements(content: Mapping[str, Any], made: Certificate) -> list[str]:
    """Where certificate.json says something else than OpenSim's files give."""
    found = []
    for path, said, true in _leaves(content, made.as_dict(), ""):
        words = path.split(".")
        if words[0] not in ("files", "notes", "format") and words[-1] != "where" and not _same(said, true):
            found.append(f"certificate.json says {path} {_short(said)}; OpenSim's files give {_short(true)}.")
    others = len(found) - MOST
    return found if others <= 0 else [*found[:MOST], f"certificate.json disagrees in {others} more numbers."]


def _leaves(said: Any, true: Any, path: str) -> list[tuple[str, Any, Any]]:
    if isinstance(true, Mapping) and isinstance(said, Mapping):
        keys = [*true, *(k for k in said if k not in true)]
        return [leaf for k in keys for leaf in _leaves(said.get(k), true.get(k), f"{path}.{k}" if path else str(k))]
    return [(path, said, true)]


def _same(said: Any, true: Any) -> bool:
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (said, true))
    return bool(np.isclose(said, true, rtol=CLOSE, atol=CLOSE, equal_nan=True)) if numbers else said == true


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return (
        {True: "yes", False: "no", None: "nothing"}.get(value, str(value))
        if not isinstance(value, list | dict)
        else "…"
    )
