"""What many labels take: frames per second and memory over time, trial after trial, with people who exist nowhere.

    python benchmarks/growth.py --out growth [--frames 1000000] [--people 8] [--jobs 2]

Makes synthetic people with the package's own model, copies each as other people under other names until there are as
many frames as asked for, and labels all of them in one run of `bige label --solver fast` with its audit. A copy has a
name of its own and the same model: what a run keeps of models and muscle paths is bounded, what it keeps of trials is
what grows. Watches the resident memory of all processes and fits a line through the second half of the run. Writes
growth.json and growth.md. A million frames take some 20 minutes on two idle cores; `--frames 100000` shows a tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from watched_process import watch

REPETITIONS = 4
FLAT_MB = 100.0
"""Growth per million frames that counts as flat: the outcome of a trial of 300 frames takes some 10 kB."""


def main() -> None:
    """Make the people, label them, and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out) as scratch:
        folder = Path(scratch)
        _make(folder, arguments.people, arguments.frames)
        report = _label(folder / "sessions", folder / "labels", folder / "cache", arguments.jobs)
    (arguments.out / "growth.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (arguments.out / "growth.md").write_text(_table(report), encoding="utf-8")
    print(_table(report))


def _make(folder: Path, people: int, frames: int) -> None:
    """People, each with their squats, copied until there are so many frames."""
    command = [sys.executable, "-m", "bige_opensim.cli", "synth", "--subjects", str(people)]
    command += ["--reps", str(REPETITIONS), "--out", str(folder / "people")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    made = sorted(p.parent.parent.parent for p in (folder / "people").glob("*/OpenSimData/Kinematics/*.mot"))
    there, copies = 0, 0
    while there < frames:
        source = made[copies % len(made)]
        target = folder / "sessions" / f"{source.name}_{copies // len(made):05}"
        shutil.copytree(source, target)
        there += sum(_frames(path) for path in target.glob("OpenSimData/Kinematics/*.mot"))
        copies += 1


def _frames(path: Path) -> int:
    text = path.read_text(encoding="utf-8")
    return len(text.partition("endheader\n")[2].splitlines()) - 1


def _label(sessions: Path, out: Path, cache: Path, jobs: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bige_opensim.cli", "label", str(sessions), "--out", str(out)]
    command += ["--solver", "fast", "--jobs", str(jobs)]
    began = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | {"BIGE_CACHE": str(cache)}, stdout=subprocess.DEVNULL)
    seen = watch(process)
    if process.wait() != 0:
        sys.exit(f"{' '.join(command)} failed")
    wall_s = time.perf_counter() - began
    records = [json.loads(p.read_text(encoding="utf-8")) for p in out.glob("*/*/label.json")]
    frames = sum(r["frames"] for r in records)
    memory = np.array(seen)
    half = memory[len(memory) // 2 :]
    per_frame = np.polyfit(half[:, 0] / wall_s * frames, half[:, 1], 1)[0] if len(half) > 2 else 0.0
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "jobs": jobs,
        "trials": len(records),
        "frames": frames,
        "passed": sum(r["status"] == "passed" for r in records),
        "wall_s": wall_s,
        "frames_per_s": frames / wall_s,
        "peak_mb": float(memory[:, 1].max()),
        "mb_per_million_frames": float(1e6 * per_frame),
        "memory_mb": memory[:: max(1, len(memory) // 200)].tolist(),
    }


def _table(report: dict[str, Any]) -> str:
    grown = report["mb_per_million_frames"]
    return (
        f"{report['trials']} trials, {report['frames']} frames, {report['jobs']} jobs on {report['cores']} cores, "
        f"{report['date']}: {report['wall_s']:.0f} s, {report['frames_per_s']:.0f} frames/s, at most "
        f"{report['peak_mb']:.0f} MB in all processes; in the second half {grown:+.0f} MB per million frames "
        f"({'flat' if grown < FLAT_MB else 'growing'}).\n"
    )


if __name__ == "__main__":
    main()
