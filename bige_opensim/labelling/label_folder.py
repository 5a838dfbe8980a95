"""The folder of a label comes whole or not at all, and never in the place of something else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bige_opensim.io.partial_folders import partial_folder, remove_abandoned, replace_folder
from bige_opensim.io.storage import StorageError


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to gather a label in, which becomes `out` where the block ends without an error.

    Raises
    ------
    StorageError
        `out` is a file, or a folder that holds other files than a label.

    """
    partial = partial_folder(out)
    remove_abandoned(out.parent)
    _refuse_other_files(out)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        _refuse_other_files(out)
        replace_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_other_files(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out}: this is a file; name an empty or a new folder for the label.")
    if out.exists() and any(out.iterdir()) and not (out / "label.json").is_file():
        raise StorageError(f"{out}: the folder holds other files than a label; name an empty or a new folder.")
