"""What can be looked at: labels, folders of generated motions, and plain motions with a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from bige_opensim.io.documents import read_json
from bige_opensim.io.storage import StorageTable, read_coordinates, read_storage
from bige_opensim.labelling.chair import place_of
from bige_opensim.labelling.label import Label
from bige_opensim.motion import Motion
from bige_opensim.osim.model import load
from bige_opensim.validation.certificate import Certificate
from bige_opensim.validation.generated_folder import CERTIFICATE, MODEL, OBJECTIVE, GeneratedFolder
from bige_opensim.validation.roundtrip import CONFIRMED, CONTRADICTED, NOT_CHECKABLE, NOT_CONFIRMED, NOT_SIMULATED
from bige_opensim.viewer.take import Recorded

LABEL = "label.json"
STATUS_WORDS = {"passed": "passed", "gates_failed": "gates failed"}


class ViewError(ValueError):
    """Something that cannot be looked at, with what was expected."""


class MotionSource(NamedTuple):
    """A motion and the model file that it belongs to; its label where it has one, and where that lies."""

    model: Path
    recorded: Recorded
    label: Label | None = None
    folder: Path | None = None


class MotionSources:
    """Reads what is to be shown; models that are only in memory get a file that lives as long as this object."""

    def __init__(self, model: Path | None = None) -> None:
        self.model = model
        self._scratch = TemporaryDirectory(prefix="bige-view-")
        self._rotational: dict[Path, tuple[frozenset[str], tuple[str, ...]]] = {}

    def close(self) -> None:
        """Remove the files of models that were only in memory."""
        self._scratch.cleanup()

    def of_label(self, label: Label, title: str | None = None, folder: Path | None = None) -> MotionSource:
        """A label from memory or from its folder."""
        found, record = label.channels, label.record
        window = found.coordinates.between(float(found.speeds.time[0]), float(found.speeds.time[-1]))
        recorded = Recorded(
            title=title or label.trial,
            verdict=STATUS_WORDS.get(str(record["status"]), str(record["status"])),
            coordinates=window,
            rotational=label.rotational,
            activations=found.activations,
            moments=found.moments,
            ground_forces=found.ground_forces,
            ground_m=float(record["ground_height_m"]),
            joint_loads=found.joint_loads,
            seat=place_of(record.get("chair")),
        )
        return MotionSource(self._model_of(label), recorded, label, folder)

    def of_path(self, path: Path) -> Iterator[MotionSource]:
        """The motions of a file or a folder.

        Raises
        ------
        ViewError
            There is nothing to be seen, or the model is not known.
        LabelError, StorageError, ModelError, MotionError, ObjectiveError
            A file cannot be read.

        """
        if path.is_file():
            yield self.of_motion(path)
        elif (path / LABEL).is_file():
            yield self.of_label(Label.load(path), folder=path)
        elif (path / OBJECTIVE).is_file() and (path / MODEL).is_file():
            yield from self.of_generated(path)
        else:
            labels = sorted(p.parent for p in path.rglob(LABEL) if not p.parent.name.startswith("."))
            if not labels:
                raise ViewError(
                    f"{path}: expected a motion (.mot, .sto), a folder of labels or a folder of generated motions; "
                    f"{'there is nothing of that name' if not path.exists() else 'found none of these'}."
                )
            for folder in labels:
                yield self.of_label(Label.load(folder), "/".join(folder.relative_to(path).parts), folder)

    def of_generated(self, path: Path) -> Iterator[MotionSource]:
        """A folder that `bige generate` wrote, with the labels of `bige validate` where there are any."""
        folder = GeneratedFolder(path)
        for motion in folder.motions:
            name = motion.stem
            verdict = verdict_of(folder, name)
            if (path / name / LABEL).is_file():
                found = self.of_label(Label.load(path / name), name, path / name)
                yield found._replace(model=path / MODEL, recorded=replace(found.recorded, verdict=verdict))
            else:
                recorded = self.of_motion(motion, path / MODEL).recorded
                predicted = path / "predicted" / f"{name}_activations.sto"
                yield MotionSource(path / MODEL, _with_prediction(recorded, predicted, verdict))

    def of_motion(self, path: Path, model: Path | None = None) -> MotionSource:
        """A plain motion, with activations where the file has them, on the model given or that of its session."""
        about = model or self.model or _session_model(path)
        if about is None:
            raise ViewError(f"{path}: to which model does it belong? Name it with --model (model=).")
        rotational, known = self._of_model(about)
        motion = read_coordinates(path, rotational=rotational, known=known).motion
        return MotionSource(
            about, Recorded(path.stem, "", motion, rotational, activations=_activations(read_storage(path)))
        )

    def _of_model(self, path: Path) -> tuple[frozenset[str], tuple[str, ...]]:
        if path not in self._rotational:
            model = load(path)
            self._rotational[path] = model.rotational, tuple(c.name for c in model.coordinates)
        return self._rotational[path]

    def _model_of(self, label: Label) -> Path:
        if self.model is not None:
            return self.model
        if label.model is None:
            raise ViewError(f"{label.trial}: the label came without its model; name it with --model (model=).")
        path = Path(self._scratch.name) / f"{hashlib.sha256(label.model).hexdigest()[:16]}.osim"
        if not path.is_file():
            path.write_bytes(label.model)
        return path


def verdict_of(folder: GeneratedFolder, name: str) -> str:
    """The verdict of a motion's certificate, while the files that it was made from are unchanged.

    This is what the certificate says; `bige validate` and `bige report` also derive it anew from OpenSim's files.
    """
    path = folder.folder / name / CERTIFICATE
    if not path.is_file():
        return NOT_SIMULATED
    try:
        certificate = Certificate.from_dict(read_json(path))
    except (ValueError, KeyError, TypeError, AttributeError):
        return CONTRADICTED
    if not certificate.checkable:
        return NOT_CHECKABLE
    if folder.hashes(name) != certificate.files:
        return CONTRADICTED
    return CONFIRMED if certificate.confirmed else NOT_CONFIRMED


def _with_prediction(recorded: Recorded, path: Path, verdict: str) -> Recorded:
    """With the activations that the search predicted, which are given over 0 to 100 % of the motion."""
    if not path.is_file():
        return replace(recorded, verdict=verdict)
    table, time = read_storage(path), recorded.coordinates.time
    share = (table.time - table.time[0]) / (table.time[-1] - table.time[0])
    predicted = Motion(time[0] + share * (time[-1] - time[0]), table.values, table.names)
    return replace(recorded, verdict=f"{verdict}, activations as predicted", activations=predicted)


def _activations(table: StorageTable) -> Motion | None:
    """Columns of a file of states, or of a motion of the OpenSim GUI, that are activations."""
    columns = [i for i, name in enumerate(table.names) if name.endswith("/activation")]
    if not columns:
        return None
    names = tuple(table.names[i].strip("/").split("/")[-2] for i in columns)
    return Motion(table.time, np.clip(table.values[:, columns], 0.0, 1.0), names)


def _session_model(motion: Path) -> Path | None:
    """The one model of the OpenCap session that a motion lies in (OpenSimData/Kinematics beside OpenSimData/Model)."""
    found = sorted(motion.absolute().parent.parent.glob("Model/*.osim"))
    return found[0] if motion.absolute().parent.name == "Kinematics" and len(found) == 1 else None
