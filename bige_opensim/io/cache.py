"""What takes seconds to make from a model, kept for the next time: a folder of entries that does not outgrow its limit.

An entry is one file, its content behind the content's sha256: it appears whole, and what a disk has damaged is told and
made again. Processes share the folder without locks, since entries are named by what they were made from: two that make
the same one write the same. A folder that is full, read-only or gone costs the time of making things again, no more.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

FOLDER_VARIABLE, SIZE_VARIABLE = "BIGE_CACHE", "BIGE_CACHE_SIZE"
DEFAULT_SIZE = "1 GB"
SUFFIX = ".cached"
ABANDONED_S = 3600.0

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_EARLIER = re.compile(r"(skeleton-\d+|muscles|static-optimization-\d+-[0-9a-f]{8})-[0-9a-f]{32}(\.osim)?")
_PART = re.compile(r"\..+" + re.escape(SUFFIX) + r"\.[0-9a-f]{32}\.part")

Made = TypeVar("Made")


class CacheWarning(UserWarning):
    """The cache cannot be used as it should; results do not depend on it."""


@dataclass(frozen=True)
class CacheUse:
    """Entries in the cache and the bytes that they take."""

    entries: int
    size: int


def cache_folder() -> Path:
    """Where entries are kept: $BIGE_CACHE, or the user's cache folder."""
    given, shared = os.environ.get(FOLDER_VARIABLE), os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given)
    try:
        return (Path(shared) if shared else Path.home() / ".cache") / "bige_opensim"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / "bige_opensim"


def cache_limit() -> int:
    """Bytes that the cache may take: $BIGE_CACHE_SIZE such as "500 MB" or "2GB", by default 1 GB; 0 keeps nothing."""
    text = os.environ.get(SIZE_VARIABLE) or DEFAULT_SIZE
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        _say(f"{SIZE_VARIABLE}={text}: expected a size such as 500 MB or 2 GB; {DEFAULT_SIZE} is taken.")
        found = _SIZE.fullmatch(DEFAULT_SIZE)
        assert found is not None
    return int(float(found[1]) * _UNITS[found[2].upper()])


def kept(
    name: str, make: Callable[[], Made], *, pack: Callable[[Made], bytes], unpack: Callable[[bytes], Made]
) -> Made:
    """The entry `name`, or what `make` makes, which is then kept under this name.

    Parameters
    ----------
    name
        Unique to what the entry is made from: the kind of thing, its format and a hash, as in `skeleton-5-<sha256>`.
    make
        Makes what is asked for when there is no entry.
    pack, unpack
        To the bytes that are kept, and back.

    """
    content = read_entry(name)
    if content is not None:
        return unpack(content)
    made = make()
    write_entry(name, pack(made))
    return made


def read_entry(name: str) -> bytes | None:
    """Content of an entry, which becomes the last used one; None where there is none, or it is damaged."""
    path = _path(name)
    try:
        stored = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _say(f"{cache_folder()}: the cache cannot be read ({error.strerror}); models are compiled each time.")
        return None
    content = stored[hashlib.sha256().digest_size :]
    if hashlib.sha256(content).digest() != stored[: hashlib.sha256().digest_size]:
        _say(f"{cache_folder()}: an entry of the cache was damaged and is made again. Is the disk sound?")
        return None
    with suppress(OSError):  # of another user, or just removed: only the order of removal depends on it
        os.utime(path)
    return content


def write_entry(name: str, content: bytes) -> None:
    """Keep an entry, and remove those not used for longest until all fit into the limit."""
    limit, path = cache_limit(), _path(name)
    stored = hashlib.sha256(content).digest() + content
    if len(stored) > limit:
        return
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(stored)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        _trim(path, limit)
    except OSError as error:
        _say(
            f"{cache_folder()}: the cache cannot be written ({error.strerror}), so models are compiled each time. "
            f"Make room or rights there, or name another folder with {FOLDER_VARIABLE}."
        )


def cache_use() -> CacheUse:
    """Number and size of what the cache holds."""
    found = list(_stored(cache_folder()))
    return CacheUse(len(found), sum(size for _, _, size in found))


def clear_cache() -> CacheUse:
    """Remove all entries, those of earlier versions too, and nothing else; what was removed."""
    before = cache_use()
    for path, _, _ in _stored(cache_folder()):
        _remove(path)
    after = cache_use()
    return CacheUse(before.entries - after.entries, before.size - after.size)


def _path(name: str) -> Path:
    return cache_folder() / f"{name}{SUFFIX}"


def _trim(newest: Path, limit: int) -> None:
    found = sorted(_stored(newest.parent), key=lambda item: item[1])
    excess = sum(size for _, _, size in found) - limit
    for path, _, size in found:
        if path != newest and (excess > 0 or path.suffix != SUFFIX):
            _remove(path)
            excess -= size


def _stored(folder: Path) -> Iterator[tuple[Path, float, int]]:
    """Path, time of last use (s) and size of entries, of those of earlier versions, and of what killed runs left."""
    try:
        paths = list(folder.iterdir())
    except OSError:
        return
    for path in paths:
        part = _PART.fullmatch(path.name)
        if not (path.suffix == SUFFIX or part or _EARLIER.fullmatch(path.name)):
            continue
        try:
            about = path.lstat()
            inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
            size = about.st_size + sum(p.lstat().st_size for p in inside)
        except OSError:  # removed by another process
            continue
        if not part or time.time() - about.st_mtime > ABANDONED_S:
            yield path, about.st_mtime, size


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):  # of another user, or being read (Windows)
        path.unlink(missing_ok=True)


_SAID: set[str] = set()


def _say(text: str) -> None:
    if text not in _SAID:
        _SAID.add(text)
        warnings.warn(text, CacheWarning, stacklevel=3)
