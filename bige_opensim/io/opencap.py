"""OpenCap session folders: which subject, which model, which trials.

Layout as downloaded from app.opencap.ai (Uhlrich et al. 2023, doi:10.1371/journal.pcbi.1011462):
`sessionMetadata.yaml`, `OpenSimData/Model/*.osim`, `OpenSimData/Kinematics/<trial>.mot`, `MarkerData/<trial>.trc` (or
`.c3d`), and `ForceData/<trial>_forces.mot` (or `.sto`) where there were force plates.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from bige_opensim.io.text import number

_METADATA = "sessionMetadata.yaml"
_SEX, _AGE = ("sex", "gender_mf", "gender", "sex_at_birth"), ("age_years", "age")
_CARRY = ("chair", "hands", "calves", "load")
_KEYS = ("subjectID", "mass_kg", "height_m", "openSimModel", "synthetic", *_CARRY, *_SEX, *_AGE)
_SEXES = {"f": "f", "female": "f", "woman": "f", "m": "m", "male": "m", "man": "m"}
_TEXT = "tag:yaml.org,2002:str"
_NOTHING = ("", "~", "null")
_FORCES = "_forces"


class SessionError(ValueError):
    """A path that holds no OpenCap session."""


@dataclass(frozen=True)
class Trial:
    """The files of one recording; `motion_path` is None where there are markers only (inverse kinematics is due)."""

    name: str
    session: str
    motion_path: Path | None
    forces_path: Path | None
    markers_path: Path | None


@dataclass(frozen=True)
class Session:
    """One OpenCap session.

    Attributes
    ----------
    path
        Its folder.
    name
        Folder name, preceded by names of parent folders where two sessions found together share it.
    subject
        `subjectID`, or the folder name where that is missing.
    model_path
        The subject's model; None if there is none, which `problems` then says.
    mass_kg
        From the metadata; None if not given.
    height_m
        From the metadata; None if not given.
    model_name
        `openSimModel` of the metadata.
    trials
        Every trial with coordinates or markers, by name.
    problems
        Sentences on what is missing, broken or ambiguous. The session is usable where there is a model.
    synthetic
        Whether the metadata says that no person was recorded.
    sex
        "f" or "m"; None where the metadata says neither.
    age_years
        From the metadata; None if not given.
    chair
        What people sit on, as `bige label --chair` takes it ("auto", or a height in m); None if not given.
    hands
        What hands rest on, as `bige label --hands` takes it; None if not given.
    calves
        Whether the metadata says that thighs rest on calves in deep squats.
    load
        What people carry, as `bige label --load` takes it; None if not given.

    """

    path: Path
    name: str
    subject: str
    model_path: Path | None
    mass_kg: float | None
    height_m: float | None
    model_name: str | None
    trials: tuple[Trial, ...]
    problems: tuple[str, ...]
    synthetic: bool = False
    sex: str | None = None
    age_years: float | None = None
    chair: str | None = None
    hands: str | None = None
    calves: bool = False
    load: str | None = None


def find_sessions(paths: Iterable[Path | str], *, outside: Path | None = None) -> list[Session]:
    """Every session at or below `paths`, in the order of `paths` and then of folder names, each once.

    A session is a folder with `sessionMetadata.yaml` or `OpenSimData`; sessions are not looked for inside sessions, nor
    in the folder `outside`: what is made of sessions is laid out like them, and may lie among them.

    Raises
    ------
    SessionError
        If a path is no folder, or there is no session at or below it.

    """
    folders: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise SessionError(f"{path}: not a folder; give an OpenCap session or a folder of sessions.")
        apart = frozenset(() if outside is None else [_real(outside)]) - {_real(path)}
        below = _session_folders(path, apart)
        if not below:
            raise SessionError(
                f"{path}: no OpenCap session at or below it; a session is a folder with {_METADATA} or OpenSimData."
            )
        for folder in below:
            folders.setdefault(folder.resolve(), folder)
    names = _unique_names(list(folders)) if folders else []
    return [_read_session(folder, name) for folder, name in zip(folders.values(), names, strict=True)]


def _real(path: Path) -> Path:
    """Without links; unlike `Path.resolve`, no error where links lead in a circle."""
    return Path(os.path.realpath(path))


def _session_folders(folder: Path, above: frozenset[Path]) -> list[Path]:
    here = folder.resolve()
    if here in above:
        return []
    if (folder / _METADATA).is_file() or (folder / "OpenSimData").is_dir():
        return [folder]
    inside = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    return [found for child in inside for found in _session_folders(child, above | {here})]


def _unique_names(folders: list[Path]) -> list[str]:
    names = [folder.name for folder in folders]
    for depth in range(2, max(len(folder.parts) for folder in folders)):
        repeated = {name for name, count in Counter(names).items() if count > 1}
        names = [
            "-".join(folder.parts[-depth:]) if name in repeated else name
            for folder, name in zip(folders, names, strict=True)
        ]
    return [name if names.index(name) == at else f"{name}-{at}" for at, name in enumerate(names)]


def _read_session(path: Path, name: str) -> Session:
    metadata, problems = _metadata(path / _METADATA)
    mass_kg, mass_problems = _positive(metadata, "mass_kg", path)
    height_m, height_problems = _positive(metadata, "height_m", path)
    age_key = next((key for key in _AGE if key in metadata), _AGE[0])
    age_years, age_problems = _positive(metadata, age_key, path)
    subject, model_name = metadata.get("subjectID"), metadata.get("openSimModel")
    model_path, model_problems = _model(path, model_name)
    trials, trial_problems = _trials(path)
    return Session(
        path=path,
        name=name,
        subject=path.resolve().name if subject is None else subject,
        model_path=model_path,
        mass_kg=mass_kg,
        height_m=height_m,
        model_name=model_name,
        trials=tuple(replace(trial, session=name) for trial in trials),
        problems=(*problems, *mass_problems, *height_problems, *age_problems, *model_problems, *trial_problems),
        synthetic=metadata.get("synthetic", "").lower() == "true",
        sex=next((_SEXES[metadata[key].lower()] for key in _SEX if metadata.get(key, "").lower() in _SEXES), None),
        age_years=age_years,
        chair=metadata.get("chair"),
        hands=metadata.get("hands"),
        calves=metadata.get("calves", "").lower() == "true",
        load=metadata.get("load"),
    )


def _metadata(path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    if not path.is_file():
        return {}, (f"{path}: missing; subject and mass are taken from the folder name and the model.",)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as problem:
        reason = " ".join(str(problem).split())[:200]
        return {}, (f"{path}: cannot be read as YAML ({reason}); correct it. Subject and mass are not known from it.",)
    if not isinstance(node, yaml.MappingNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "nothing" if node is None else "text"
        return {}, (f"{path}: lines such as 'subjectID: s1' were expected, there is {kind}; correct it.",)
    entries = [(key.value, value) for key, value in node.value if key.value in _KEYS]
    repeated = [key for key, times in Counter(key for key, _ in entries).items() if times > 1]
    wrong = repeated + [key for key, value in entries if value.tag != _TEXT]
    texts = {key: value.value.strip() for key, value in entries if key not in wrong}
    problems = (f"{path}: {', '.join(wrong)} must be one number or text, given once; correct it.",) if wrong else ()
    return {key: text for key, text in texts.items() if text.lower() not in _NOTHING}, problems


def _positive(metadata: dict[str, str], key: str, path: Path) -> tuple[float | None, tuple[str, ...]]:
    value = metadata.get(key)
    if value is None:
        return None, ()
    try:
        given = number(value)
    except ValueError:
        given = math.nan
    if not math.isfinite(given) or given <= 0:
        return None, (f"{path / _METADATA}: {key} must be a positive number, it is '{value}'; correct it.",)
    return given, ()


def _files(folder: Path, suffix: str) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() == suffix and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file())


def _model(path: Path, model_name: str | None) -> tuple[Path | None, tuple[str, ...]]:
    folder = path / "OpenSimData" / "Model"
    models = _files(folder, ".osim")
    if not models:
        return None, (f"{folder}: no .osim model; add the subject's scaled model there.",)

    def rank(model: Path) -> tuple[bool, bool, bool, str]:
        stem, named = model.stem.lower(), (model_name or "").lower()
        return stem != f"{named}_scaled", "scaled" not in stem, not (named and stem.startswith(named)), model.name

    chosen, *others = sorted(models, key=rank)
    problems = []
    if others:
        problems.append(f"{folder}: {len(models)} models; {chosen.name} is used. Remove the others if that is wrong.")
    if "scaled" not in chosen.stem.lower():
        problems.append(f"{chosen}: nothing in its name says that it is scaled to the subject; check that it is.")
    return chosen, tuple(problems)


def _trials(path: Path) -> tuple[list[Trial], tuple[str, ...]]:
    motions = {file.stem: file for file in _files(path / "OpenSimData" / "Kinematics", ".mot")}
    recorded = {file.stem: file for file in _files(path / "MarkerData", ".c3d")}
    markers = recorded | {file.stem: file for file in _files(path / "MarkerData", ".trc")}
    forces = {
        file.stem.removesuffix(_FORCES): file
        for suffix in (".sto", ".mot")
        for file in _files(path / "ForceData", suffix)
        if file.stem.endswith(_FORCES)
    }
    trials = [
        Trial(name, path.name, motions.get(name), forces.get(name), markers.get(name))
        for name in sorted(motions.keys() | markers.keys())
    ]
    problems = [
        f"{file}: forces of a trial without coordinates or markers; they are not used."
        for name, file in sorted(forces.items())
        if name not in motions and name not in markers
    ]
    problems += [
        f"{file}: the trial has {markers[name].name} too, which is used."
        for name, file in sorted(recorded.items())
        if markers[name] != file
    ]
    if not trials:
        problems.append(f"{path}: no trials; OpenSimData/Kinematics/*.mot or MarkerData/*.trc were expected.")
    return trials, tuple(problems)
