"""Folders in which labels are gathered before they are put in place, named so that abandoned ones can be told."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from pathlib import Path

import psutil

STALE_S = 86400.0
_NAME = re.compile(r"\..+\.partial-(?P<host>.+)-(?P<pid>\d+)-(?P<born>\d+)")


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
    """Whether the process is there and is the one that was born then, not a later one of the same number."""
    try:
        return abs(psutil.Process(pid).create_time() - born) < 2.0
    except psutil.NoSuchProcess:
        return False
