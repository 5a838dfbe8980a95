"""Small sessions and a script for tests of the front door."""

import os
import subprocess
import sys
from pathlib import Path

from small_models import biped, write_squat

ROOT = Path(__file__).resolve().parents[1]


def small_session(folder: Path, trials: tuple[str, ...] = ("squat1", "squat2"), **squat: float) -> Path:
    """A session of the small biped in OpenCap's layout."""
    model, kinematics = folder / "OpenSimData/Model", folder / "OpenSimData/Kinematics"
    model.mkdir(parents=True)
    kinematics.mkdir(parents=True)
    path = biped(model / "biped_scaled.osim")
    for trial in trials:
        write_squat(path, kinematics / f"{trial}.mot", **squat)
    (folder / "sessionMetadata.yaml").write_text("subjectID: small\nmass_kg: 70.0\nheight_m: 1.7\n", encoding="utf-8")
    return folder


def run_script(code: str, folder: Path, *, timeout_s: float = 900.0) -> str:
    """What a script without a main guard prints, run as a user runs it: in a folder of its own, from a file."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "script.py"
    script.write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "BROWSER": "true"}
    finished = subprocess.run(
        [sys.executable, script.name], cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s,
        check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout
