"""Hashes of files: a file that has not changed is read for its hash once in a process."""

from __future__ import annotations

import hashlib
import time
from functools import lru_cache
from pathlib import Path

SETTLED_S = 2.0
"""A file changed more recently may change again within the resolution of its time of change: its hash is not kept."""


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, kept by path, size, time of change and inode.

    Raises
    ------
    OSError
        The file cannot be read.

    """
    about = path.stat()
    changed_ns = max(about.st_mtime_ns, about.st_ctime_ns)
    if abs(time.time() - changed_ns / 1e9) < SETTLED_S:
        return _digest(path)
    return _kept(path.absolute(), about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)


@lru_cache(maxsize=1024)
def _kept(path: Path, size: int, modified_ns: int, changed_ns: int, inode: int) -> str:
    return _digest(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
