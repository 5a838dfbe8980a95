"""How often files are opened on the way of one motion: label, validate, report.

    python benchmarks/way_of_a_motion.py

Counts with strace(1) what commands and the processes that they start open for reading below a folder with a small biped
and its squats: each file's hash, each reading by this package, and each parse of a model by OpenSim, which opens files
without O_CLOEXEC. Prints a table: opens by kind of file, for the command run first and run again.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from generated_motions import begin, entry, vasti_between, write_motion, write_record
from small_models import biped, squat

from bige_opensim.io.storage import write_storage
from bige_opensim.osim.model import load

BIGE = [sys.executable, "-m", "bige_opensim.cli"]


def main() -> None:
    """Count for one motion labelled, and for a folder of two motions validated and reported."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch).resolve()
        folder = generated(place)
        label = ["label", "--model", folder / "model.osim", "--motion", folder / "motion_01.mot", "--audit", "0"]
        rows = {"label": opened([*label, "--out", place / "label"], place)}
        rows["validate"] = opened(["validate", folder, "--jobs", "1"], place)
        rows["validate again"] = opened(["validate", folder, "--jobs", "1"], place)
        rows["report"] = opened(["report", folder], place)
    files = sorted({name for counts in rows.values() for name in counts}, key=lambda n: (".osim" not in n, n))
    print(f"{'opened for reading':48}" + "".join(f"{command:>16}" for command in rows))
    for name in [*files, "all"]:
        counts = [sum(c.values()) if name == "all" else c[name] for c in rows.values()]
        print(f"{name:48}" + "".join(f"{n:>16}" for n in counts))
    print(json.dumps({command: sum(counts.values()) for command, counts in rows.items()}))


def generated(place: Path) -> Path:
    """A folder of two squats as `bige generate` leaves it."""
    folder, model = place / "motions", biped(place / "biped.osim")
    begin(folder, model, vasti_between(0.02, 0.60))
    muscles, entries = load(model).muscle_names, []
    for name, depth in (("motion_01", 1.0), ("motion_02", 0.8)):
        motion = squat(model, frames=40, rate_hz=30.0, depth=depth)
        write_motion(folder, name, motion)
        values = 0.2 + 0.0 * motion.values[:, [0] * len(muscles)]
        path = folder / "predicted" / f"{name}_activations.sto"
        write_storage(path, motion.time, values, muscles, in_degrees=False)
        entries.append(entry(folder, name, motion, 0.2))
    write_record(folder, entries, {})
    return folder


def opened(words: list[object], place: Path) -> Counter[str]:
    """Files below a place that a command opens for reading, by name, in all its processes."""
    log = place / "strace.log"
    command = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=openat,open", "-o", log, *BIGE, *words]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    counts: Counter[str] = Counter()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        found = re.search(r'open(?:at)?\([^"]*"([^"]+)", (O_\S+?)[,)].* = \d+$', line)
        if found is None or "O_DIRECTORY" in found[2] or not found[2].startswith("O_RDONLY"):
            continue
        path = Path(found[1])
        if path.is_relative_to(place) and path.suffix in {".osim", ".mot", ".sto", ".json", ".toml", ".xml", ".csv"}:
            kind = path.name.replace("motion_01.", "<motion>.").replace("motion_02.", "<motion>.")
            kind = re.sub(r"motion_0\d_activations", "predicted activations", kind)
            by = " (OpenSim)" if "O_CLOEXEC" not in found[2] else ""
            counts[f"{kind}{by}"] += 1
    return counts


if __name__ == "__main__":
    if shutil.which("strace") is None:
        sys.exit("strace is needed to count what is opened.")
    main()
