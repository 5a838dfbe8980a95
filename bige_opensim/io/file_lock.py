"""One process at a time: a lock beside a file that several runs read, change and write."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path` against other processes that ask for it; it ends with its process, however that ends.

    The lock is a file `.<name>.lock` beside it, there while somebody holds it. Where a file system knows no locks, none
    is held.
    """
    lock = path.with_name(f".{path.name}.lock")
    file = _acquired(lock)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open; the next holder does
            lock.unlink(missing_ok=True)
        os.close(file)


def _acquired(lock: Path) -> int:
    """Descriptor of the lock file, locked: of the one that is there now, not of one that its holder has removed."""
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):
            _lock(file)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), lock.stat()):
                return file
        os.close(file)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
