"""Where the app keeps things: one work folder, in it a folder per user, in that one per person and one per job.

::

    WORK/app.sqlite                                    users and jobs
    WORK/users/USER/people/PERSON/                     person.json, uploads/, sessions/, findings.json, labels/
    WORK/users/USER/jobs/JOB/                          job.json, progress.json, result.json, output.txt, and its results

Every name in a path is one that this module made (hexadecimal), or one that `safe_name` has made harmless.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bige_opensim.io.documents import DocumentError
from bige_opensim.io.documents import read_json as read_document
from bige_opensim.io.whole_files import write_whole

IDENTITY = re.compile(r"[0-9a-f]{16}")
USER = re.compile(r"[0-9a-f]{32}")
LONGEST_NAME = 80
PERSON, FINDINGS, CONTENT = "person.json", "findings.json", "content.json"


class NotHereError(LookupError):
    """What was asked for is not there, or belongs to somebody else."""


def new_identity() -> str:
    """A name for a person or a job, which nobody guesses."""
    return secrets.token_hex(8)


def safe_name(name: str, otherwise: str = "file") -> str:
    """The last part of a file's name with nothing in it that a path, a shell or a page could take for more."""
    last = re.split(r"[/\\]", name)[-1]
    kept = re.sub(r"[^A-Za-z0-9._ ()+-]", "_", last).strip(" .")
    stem, dot, ending = kept.rpartition(".")
    if dot:
        return f"{(stem or otherwise)[: LONGEST_NAME - len(ending) - 1]}.{ending}"[:LONGEST_NAME]
    return kept[:LONGEST_NAME] or otherwise


def read_json(path: Path) -> dict[str, Any] | None:
    """Content of a file that this app wrote whole; None where it is not there, or is no table."""
    try:
        content = read_document(path)
    except DocumentError:
        return None
    return content if isinstance(content, dict) else None


@dataclass(frozen=True)
class UserFolder:
    """What belongs to one user."""

    path: Path

    @property
    def people(self) -> list[PersonFolder]:
        """Everybody who was uploaded, the newest first."""
        found = [PersonFolder(p) for p in (self.path / "people").glob("*") if (p / PERSON).is_file()]
        return sorted(found, key=lambda person: -person.created)

    def person(self, identity: str) -> PersonFolder:
        """One of the user's people; NotHereError for any other."""
        found = PersonFolder(self.path / "people" / identity)
        if not IDENTITY.fullmatch(identity) or not (found.path / PERSON).is_file():
            raise NotHereError(identity)
        return found

    def new_person(self, name: str) -> PersonFolder:
        """A folder for one more person."""
        found = PersonFolder(self.path / "people" / new_identity())
        found.uploads.mkdir(parents=True)
        write_whole(found.path / PERSON, json.dumps({"name": name[:LONGEST_NAME], "created": time.time()}))
        return found

    def job(self, identity: str) -> Path:
        """The folder of a job; NotHereError where the user has none of that name."""
        folder = self.path / "jobs" / identity
        if not IDENTITY.fullmatch(identity) or not folder.is_dir():
            raise NotHereError(identity)
        return folder

    def size(self) -> int:
        """Bytes of all files."""
        return sum(p.stat().st_size for p in self.path.rglob("*") if p.is_file() and not p.is_symlink())


@dataclass(frozen=True)
class PersonFolder:
    """What is known of one person: uploaded files, sessions made of them, findings and labels."""

    path: Path

    @property
    def identity(self) -> str:
        """Name of the folder, which stands in addresses."""
        return self.path.name

    @property
    def about(self) -> dict[str, Any]:
        """The name that was given, and when."""
        return read_json(self.path / PERSON) or {}

    @property
    def name(self) -> str:
        """As the user sees it."""
        return str(self.about.get("name", "Person"))

    @property
    def created(self) -> float:
        """Seconds since 1970."""
        return float(self.about.get("created", 0.0))

    @property
    def uploads(self) -> Path:
        """Files as they came."""
        return self.path / "uploads"

    @property
    def sessions(self) -> Path:
        """Sessions in OpenCap's layout, made of the uploaded files."""
        return self.path / "sessions"

    @property
    def labels(self) -> Path:
        """Labels of all recordings, `SESSION/TRIAL`."""
        return self.path / "labels"

    @property
    def findings(self) -> dict[str, Any] | None:
        """What the doctor found; None before it was asked."""
        return read_json(self.path / FINDINGS)

    @property
    def content(self) -> dict[str, Any] | None:
        """Model, muscles, coordinates and recordings; None before the files were examined."""
        return read_json(self.path / CONTENT)
