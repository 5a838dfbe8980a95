"""What there is to examine below some paths, and what each file belongs to."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bige_opensim.doctor.findings import DoctorError
from bige_opensim.io.opencap import Session, find_sessions

TABLES, MODEL, MARKERS, LOADS = (".mot", ".sto"), ".osim", ".trc", ".xml"
SUFFIXES = (*TABLES, MODEL, MARKERS, LOADS)
_METADATA = "sessionMetadata.yaml"


@dataclass(frozen=True)
class Case:
    """One file, or the folder of a session, and its surroundings.

    Attributes
    ----------
    path
        The file or folder.
    relative
        Where a repaired copy goes below the folder of repairs.
    model
        The model that the file belongs to; None if there is none or several could be meant.
    session
        The session that the file is part of.
    motion
        Coordinates recorded with these forces.

    """

    path: Path
    relative: Path
    model: Path | None = None
    session: Session | None = None
    motion: Path | None = None


def find_cases(paths: Iterable[Path], model: Path | None = None) -> list[Case]:
    """Every session and file at or below `paths`, each once.

    Files of a session belong to its model, others to the only .osim in their folder or the nearest folder above it, up
    to the path given; `model` replaces both.

    Raises
    ------
    DoctorError
        If a path does not exist, is a file of another kind, or holds nothing to examine.

    """
    found: dict[Path, Case] = {}
    for path in paths:
        if not path.exists():
            raise DoctorError(f"{path}: does not exist; give files or folders.")
        if path.is_file() and path.suffix.lower() not in SUFFIXES:
            raise DoctorError(f"{path}: {', '.join(SUFFIXES)} files and folders can be examined, not {path.suffix}.")
        cases = list(_of_file(path, model) if path.is_file() else _of_folder(path, model))
        if not cases:
            raise DoctorError(f"{path}: holds no {', '.join(SUFFIXES)} file; give a folder with recordings or models.")
        for case in cases:
            found.setdefault(case.path.resolve(), case)
    return _apart(list(found.values()))


def _apart(cases: list[Case]) -> list[Case]:
    """Cases whose copies do not overwrite one another."""
    used, out = set[Path](), list[Case]()
    for at, case in enumerate(cases):
        out.append(replace(case, relative=Path(str(at)) / case.relative) if case.relative in used else case)
        used.add(out[-1].relative)
    return out


def _of_file(path: Path, model: Path | None) -> Iterator[Case]:
    home = next((folder for folder in path.resolve().parents if _is_session(folder)), None)
    session = find_sessions([home])[0] if home is not None else None
    yield _case(path, Path(path.name), session, model or _model_near(path, path.parent))


def _of_folder(root: Path, model: Path | None) -> Iterator[Case]:
    sessions = [folder for folder in _folders(root) if _is_session(folder)]
    read = {folder: find_sessions([folder])[0] for folder in sessions}
    name = Path(root.resolve().name)
    for folder, session in read.items():
        yield Case(folder, name / folder.relative_to(root), model or session.model_path, session)
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if path.suffix.lower() == LOADS and not _is_loads(path):
            continue
        home = next((folder for folder in path.parents if folder in read), None)
        owner = read[home] if home is not None else None
        yield _case(path, name / path.relative_to(root), owner, model or _model_near(path, root))


def _folders(root: Path) -> Iterator[Path]:
    yield root
    yield from sorted(p for p in root.rglob("*") if p.is_dir() and not p.name.startswith("."))


def _is_session(folder: Path) -> bool:
    return (folder / _METADATA).is_file() or (folder / "OpenSimData").is_dir()


def _is_loads(path: Path) -> bool:
    """Whether an XML document holds ExternalLoads; documents that are broken are taken for some if they say so."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeError, LookupError):
        return b"<ExternalLoads" in path.read_bytes()
    return root.tag == "ExternalLoads" or root.find("./ExternalLoads") is not None


def _case(path: Path, relative: Path, session: Session | None, model: Path | None) -> Case:
    if session is not None and session.model_path is not None:
        model = model if model is not None and _outside(model, session) else session.model_path
    return Case(path, relative, model, session, _motion_near(path, session))


def _outside(model: Path, session: Session) -> bool:
    return not model.resolve().is_relative_to(session.path.resolve())


def _model_near(path: Path, top: Path) -> Path | None:
    for folder in path.parents:
        models = sorted(folder.glob(f"*{MODEL}"))
        if models:
            return models[0] if len(models) == 1 else None
        if folder == top:
            break
    return None


def _motion_near(path: Path, session: Session | None) -> Path | None:
    """Coordinates of the trial: of the session, or beside the file under a name that the file's begins with."""
    for trial in session.trials if session is not None else ():
        if trial.motion_path is not None and _belongs(path.stem, trial.name):
            return trial.motion_path
    if path.stem in ("external_loads", "grf") and (path.parent / "coordinates.mot").is_file():
        return path.parent / "coordinates.mot"
    beside = [p for p in path.parent.iterdir() if p.suffix.lower() in TABLES and p != path]
    candidates = [p for p in beside if _belongs(path.stem, p.stem) and not p.stem.lower().endswith(("_forces", "_grf"))]
    return max(candidates, key=lambda p: len(p.stem), default=None)


def _belongs(stem: str, trial: str) -> bool:
    return stem.startswith(trial) and (len(stem) == len(trial) or not stem[len(trial)].isalnum())
