"""Hashes of files: a file that has not changed is read for its hash once in a process, or not at all if it was read."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import NamedTuple

SETTLED_S = 2.0
"""A file changed more recently may change again within the resolution of its time of change: its hash is not kept."""
MOST = 1024


class _State(NamedTuple):
    """What changes with a file's content."""

    path: Path
    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> _State:
        about = path.stat()
        return cls(path.absolute(), about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)

    @property
    def settled(self) -> bool:
        return abs(time.time() - max(self.modified_ns, self.changed_ns) / 1e9) >= SETTLED_S


_HASHES: dict[_State, str] = {}
_LOCK = threading.Lock()


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, kept by path, size, times of change and inode.

    Raises
    ------
    OSError
        The file cannot be read.

    """
    known = _HASHES.get(_State.of(path))
    return known if known is not None else _read(path)[1]


def read_bytes(path: Path) -> bytes:
    """A file's bytes; their hash is kept, so that `file_sha256` need not read the file again.

    Raises
    ------
    OSError
        The file cannot be read.

    """
    return _read(path)[0]


def _read(path: Path) -> tuple[bytes, str]:
    """Bytes and hash; the hash is kept where the file had settled before and is the same afterwards."""
    before = _State.of(path)
    settled = before.settled
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if settled and _State.of(path) == before:
        with _LOCK:
            while len(_HASHES) >= MOST:
                del _HASHES[next(iter(_HASHES))]
            _HASHES[before] = digest
    return content, digest
