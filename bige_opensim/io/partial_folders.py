"""Folders in which labels are gathered before they are put in place, named so that abandoned ones can be told."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

STALE_S = 86400.0
_NAME = re.compile(r"\..+\.partial-(?P<host>.+)-(?P<pid>\d+)-(?P<born>\d+)")


class OutFolderError(ValueError):
    """A folder for results that holds something else."""


@contextmanager
def whole_folder(out: Path, marker: str) -> Iterator[Path]:
    """Gather results in a folder beside `out`, which it becomes at the end: whole or not at all.

    A folder of earlier results, told by its file `marker`, is replaced; any other that is not empty is left alone.

    Raises
    ------
    OutFolderError
        `out` is a file, or a folder with other content.

    """
    refuse_other_content(out, marker)
    partial = partial_folder(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(out.parent)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        refuse_other_content(out, marker)
        replace_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_other_content(out: Path, marker: str) -> None:
    """Raise OutFolderError where `out` is a file, or a folder with content but without the file `marker`."""
    if out.exists() and not out.is_dir():
        raise OutFolderError(f"{out}: this is a file; name an empty or a new folder for the results.")
    if out.exists() and any(out.iterdir()) and not (out / marker).is_file():
        raise OutFolderError(f"{out}: the folder holds other files than {marker}; name an empty or a new folder.")


def partial_folder(out: Path) -> Path:
    """Where this process gathers a label before it becomes `out`: named by host, process and the process's birth."""
    born = psutil.Process().create_time()
    return out.with_name(f".{out.name}.partial-{platform.node()}-{os.getpid()}-{born:.0f}")


def replace_folder(partial: Path, out: Path) -> None:
    """Put a finished partial folder in the place of `out`, whose files go only when the new ones stand there."""
    old = partial_folder(out.with_name(f"{out.name}.replaced"))
    while True:
        if out.exists():
            out.replace(old)
        try:
            partial.replace(out)
        except OSError:
            if not out.exists():  # no other process was first
                if old.exists():
                    old.replace(out)
                raise
        else:
            return
        finally:
            shutil.rmtree(old, ignore_errors=True)


def remove_partial(out: Path, pid: int) -> None:
    """Remove what process `pid` of this machine, which has ended, gathered for `out`."""
    for path in out.parent.glob(f".{out.name}.partial-{platform.node()}-{pid}-*"):
        shutil.rmtree(path, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove partial folders of processes that are no more; those of other machines after a day without change."""
    for path in folder.glob(".*.partial-*"):
        found = _NAME.fullmatch(path.name)
        if found is None:
            continue
        if found["host"] == platform.node():
            abandoned = not _lives(int(found["pid"]), int(found["born"]))
        else:
            abandoned = path.exists() and time.time() - path.stat().st_mtime > STALE_S
        if abandoned:
            shutil.rmtree(path, ignore_errors=True)


def _lives(pid: int, born: int) -> bool:
    """Whether the process is at work and is the one that was born then, not a later one of the same number.

    One that has ended stays in the table as a zombie until its parent asks for it: it writes nothing any more.
    """
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - born) < 2.0
    except psutil.NoSuchProcess:
        return False
