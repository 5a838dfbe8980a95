"""One process at a time: a lock beside a file that several runs read, change and write."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class LockedError(RuntimeError):
    """Another process is at work where this one was to work alone."""


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of `path` against other processes that ask for it; it ends with its process, however that ends.

    The lock is a file `.<name>.lock` beside it, there while somebody holds it. Where a file system knows no locks, none
    is held.

    Raises
    ------
    LockedError
        Another process holds it, and this one was not to wait.

    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        file = _acquired(lock, wait)
    except BlockingIOError:
        raise LockedError(f"{path}: another process is at work there; wait for it, or name another place.") from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open; the next holder does
            lock.unlink(missing_ok=True)
        os.close(file)


def _acquired(lock: Path, wait: bool) -> int:
    """Descriptor of the lock file, locked: of the one that is there now, not of one that its holder has removed."""
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(file, wait)
        except BlockingIOError:
            os.close(file)
            raise
        except OSError:  # no locks on this file system
            pass
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), lock.stat()):
                return file
        os.close(file)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, wait: bool) -> None:
        try:
            msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if not wait:
                raise BlockingIOError from error
            raise
else:
    import fcntl

    def _lock(file: int, wait: bool) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
