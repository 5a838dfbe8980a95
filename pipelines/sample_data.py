"""Make the sample session that comes with the package: a synthetic person who squats four times.

    python pipelines/sample_data.py

Writes bige_opensim/sample_data/session.zip: the second person of `bige synth --seed 0`, the motion at 30 Hz and rounded
to 1e-5 degrees and 1e-7 m. The same versions make the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.io.storage import read_storage, write_storage
from bige_opensim.synthesis.sessions import TRIAL, CohortSettings, make_person
from bige_opensim.workflows.sample import ARCHIVE, SESSION

PERSON, SQUATS, SEED = 1, 4, 0
EVERY = 2
DECIMALS_DEG, DECIMALS_M = 5, 7
EPOCH = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    """Make the session and pack it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / SESSION
        settings = CohortSettings(subjects=PERSON + 1, repetitions=SQUATS, seed=SEED)
        make_person(folder, PERSON, built_in(MODEL), settings)
        thin_out(folder / f"OpenSimData/Kinematics/{TRIAL}.mot")
        pack(folder, ARCHIVE)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size / 1e3:.0f} kB")


def thin_out(path: Path) -> None:
    """Keep every second sample and the digits that matter."""
    table = read_storage(path)
    metres = np.array([name.startswith("pelvis_t") and name[-2:] in ("tx", "ty", "tz") for name in table.names])
    values = np.where(metres, table.values.round(DECIMALS_M), table.values.round(DECIMALS_DEG))[::EVERY]
    write_storage(path, table.time[::EVERY].round(6), values, table.names, in_degrees=True, title=table.title)


def pack(folder: Path, archive: Path) -> None:
    """A zip file whose bytes depend on the files alone."""
    part = archive.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix(), EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, path.read_bytes())
    shutil.move(part, archive)


if __name__ == "__main__":
    main()
