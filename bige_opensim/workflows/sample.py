"""A sample to try things on: a synthetic person, made by `pipelines/sample_data.py`, who squats four times."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from bige_opensim.built_in import SAMPLE_SESSION
from bige_opensim.io.cache import cache_folder
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.motion import Motion
from bige_opensim.workflows.label import read_motion

SESSION, TRIAL = "OpenCapData_sample", "squats1"


@dataclass(frozen=True)
class SampleSession:
    """A session folder in OpenCap's layout; it can be given wherever a path is asked for.

    path: the folder; model: the person's model (.osim); motion: the file of the one trial (.mot).
    """

    path: Path
    model: Path
    motion: Path

    def __fspath__(self) -> str:
        return str(self.path)


def sample_session() -> SampleSession:
    """The sample session: a scaled model and a motion of four squats at 30 Hz, of nobody.

    It is unpacked into the package's cache folder ($BIGE_CACHE, or the user's cache) when it is first asked for.

    Returns
    -------
    SampleSession
        Its folder, and in it the model and the motion.

    """
    place = cache_folder() / f"sample-{file_sha256(SAMPLE_SESSION)[:16]}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=place.parent))
        with zipfile.ZipFile(SAMPLE_SESSION) as archive:
            archive.extractall(part)
        try:
            part.replace(place)
        except OSError:  # another process was first
            shutil.rmtree(part)
    folder = place / SESSION
    model = next((folder / "OpenSimData/Model").glob("*.osim"))
    return SampleSession(folder, model, folder / f"OpenSimData/Kinematics/{TRIAL}.mot")


def sample_motion() -> Motion:
    """The motion of the sample session, in rad and m; its model is `sample_session().model`."""
    session = sample_session()
    return read_motion(session.motion, model=session.model)
