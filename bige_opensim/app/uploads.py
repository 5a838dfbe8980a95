"""Files that strangers send: what is taken, and what of an archive is unpacked. Nothing of it is executed.

A file is taken by its ending and by how it begins, up to a size. An archive gives only files of known kinds, under
names that stay in its folder, up to a number, a size and a ratio; what it says of sizes is not believed but counted.
Models are XML without document types or entities (`io.xml_document`), and may name geometry, but no file of another
place.
"""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bige_opensim.app.places import safe_name
from bige_opensim.io.xml_document import read_xml

ARCHIVE, MODEL, MOTIONS = ".zip", ".osim", (".mot", ".sto")
TAKEN = (ARCHIVE, MODEL, *MOTIONS)
UNPACKED = (MODEL, *MOTIONS, ".trc", ".yaml", ".yml")
CHUNK = 1 << 20
DEEPEST = 12
FILE_TAG = re.compile(r"(file|filename|file_name)$", re.IGNORECASE)


class UploadError(ValueError):
    """A file that is not taken, with the reason and what to send instead."""


@dataclass(frozen=True)
class UploadLimits:
    """How much is taken: bytes of a file and of all files of an archive, their number, and the ratio of packing."""

    file_bytes: int = 300_000_000
    unpacked_bytes: int = 1_000_000_000
    files: int = 3_000
    ratio: float = 200.0
    user_bytes: int = 5_000_000_000


USUAL = UploadLimits()


def accepted_name(name: str) -> str:
    """The harmless form of a file's name, if files of its kind are taken.

    Raises
    ------
    UploadError
        Its ending is none of those.

    """
    kept = safe_name(name)
    if PurePosixPath(kept).suffix.lower() not in TAKEN or kept.startswith("."):
        raise UploadError(
            "This kind of file is not taken. Send a zipped OpenCap session (.zip), or a model (.osim) and its motions "
            "(.mot, .sto)."
        )
    return kept


def check_beginning(path: Path) -> None:
    """Refuse a file that does not begin as its ending promises.

    Raises
    ------
    UploadError
        It is something else, or empty.

    """
    with path.open("rb") as file:
        start = file.read(4096)
    kind = path.suffix.lower()
    if not start:
        raise UploadError(f"{path.name} is empty.")
    if kind == ARCHIVE and not start.startswith(b"PK\x03\x04"):
        raise UploadError(f"{path.name} is no zip archive. Zip the session's folder again.")
    if kind != ARCHIVE and b"\0" in start:
        raise UploadError(f"{path.name} is no text, as files of OpenSim are. Export it again.")
    if kind == MODEL and not start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise UploadError(f"{path.name} is no OpenSim model. Save it again in OpenSim.")


def unpack(archive: Path, folder: Path, limits: UploadLimits = USUAL) -> list[Path]:
    """Unpack the files of known kinds into a new folder, whole or not at all.

    Raises
    ------
    UploadError
        The archive is broken, encrypted, too large, or would write elsewhere.

    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return list(_unpacked(opened, folder, archive.stat().st_size, limits))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UploadError):
            raise
        raise UploadError(
            f"{archive.name} cannot be unpacked. Zip the session's folder again, without a password."
        ) from error


def _unpacked(opened: zipfile.ZipFile, folder: Path, packed: int, limits: UploadLimits) -> Iterator[Path]:
    members = opened.infolist()
    if len(members) > limits.files:
        raise UploadError(f"The archive holds {len(members)} files; up to {limits.files} are taken. Send one session.")
    room = min(limits.unpacked_bytes, int(limits.ratio * packed) + CHUNK)
    written = set[str]()
    for member in members:
        place = _place(member)
        if place is None:
            continue
        if place.as_posix().lower() in written:
            raise UploadError("The archive holds two files of one name. Zip the session's folder again.")
        written.add(place.as_posix().lower())
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        room -= _copy(opened, member, target, room)
        yield target
    if not written:
        raise UploadError("The archive holds no model and no motions (.osim, .mot, .sto, .trc).")


def _place(member: zipfile.ZipInfo) -> PurePosixPath | None:
    """Where a member goes; None for folders, and for kinds of files that are left out."""
    name = member.filename
    parts = name.split("/")
    if "\\" in name or name.startswith("/") or ".." in parts or ":" in name or "\0" in name or len(parts) > DEEPEST:
        raise UploadError("The archive names files outside its own folder. Zip the session's folder again.")
    mode = member.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UploadError("The archive holds links instead of files. Zip the session's folder again.")
    if member.is_dir() or PurePosixPath(name).suffix.lower() not in UNPACKED:
        return None
    kept = [part for part in parts if part not in ("", ".")]
    if any(part.startswith(".") or part == "__MACOSX" for part in kept):
        return None
    return PurePosixPath(*(safe_name(part) for part in kept))


def _copy(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, room: int) -> int:
    size = 0
    with opened.open(member) as source, target.open("xb") as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > room:
                raise UploadError("The archive is too large when unpacked. Send one session, without its videos.")
            file.write(chunk)
    return size


def check_model(path: Path) -> None:
    """Refuse a model that names files of another place.

    Raises
    ------
    UploadError
        It is no XML document, has entities, or names such a file.

    """
    for element in read_xml(path, UploadError, "an OpenSim model").iter():
        text = (element.text or "").strip()
        if FILE_TAG.search(str(element.tag)) and (
            text.startswith(("/", "\\", "~")) or ":" in text or ".." in re.split(r"[/\\]", text)
        ):
            raise UploadError(
                f"{path.name} names a file outside its folder ({text[:80]}); name geometry by file alone."
            )
