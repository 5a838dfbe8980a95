"""How long verdicts take: OpenSim on the frames that decide, beside OpenSim on every frame, on the same motions.

    python benchmarks/validation.py MOTIONS --out validation [--jobs 2] [--motions 20]

MOTIONS is a folder that `bige generate` wrote. Both ways are measured in one run, on copies of it, with the commands
that people use, in processes of their own; the second time in this order, so that neither has a warmer cache. Seconds
are of processor time, children included, because other work on the machine disturbs the clock; both are written.
Verdicts and values are compared motion by motion. The profile is of one motion in this process. Writes validation.json
and validation.md.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

STEPS = {
    "OpenSim's static optimization": ("single_frames.py", "solve"),
    "OpenSim's model and motion": ("single_frames.py", "__init__"),
    "muscle paths and strengths": ("muscle_capacity.py", "exact_effort"),
    "ground forces": ("joint_problem.py", "solve_with_ground"),
    "consistency with the ground": ("whole_body_shift.py", "make_consistent"),
    "fast solver": ("optimization.py", "_by_fast_solver"),
    "preflight": ("trial_preflight.py", "preflight_of"),
    "writing": ("label_files.py", "write_files"),
    "certificate": ("generated_folder.py", "certify"),
}
"""Function that a step is, by its file and name."""


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("motions", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--motions", dest="count", type=int, default=20, help="motions of the folder that are taken")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        some, every = (_copy(arguments.motions, Path(scratch) / n, arguments.count) for n in ("some", "every"))
        report: dict[str, Any] = {
            "date": datetime.now(UTC).date().isoformat(),
            "cores": os.cpu_count(),
            "jobs": arguments.jobs,
            "motions": len(list(some.glob("*.mot"))),
            "deciding": _validated(some, arguments.jobs),
            "every": _validated(every, arguments.jobs, "--every-frame"),
            "compared": _compared(some, every),
            "profile_s": _profile(some),
        }
    report["ratio"] = report["every"]["cpu_s"] / report["deciding"]["cpu_s"]
    (arguments.out / "validation.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    text = _markdown(report)
    (arguments.out / "validation.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def _copy(motions: Path, folder: Path, count: int) -> Path:
    """The folder as it was before it was validated, with its first motions."""
    folder.mkdir()
    for path in sorted(motions.iterdir()):
        if path.suffix in (".toml", ".json") or path.name == "model.osim":
            shutil.copy(path, folder)
    for path in sorted(motions.glob("*.mot"))[:count]:
        shutil.copy(path, folder)
    if (motions / "predicted").is_dir():
        shutil.copytree(motions / "predicted", folder / "predicted")
    return folder


def _validated(folder: Path, jobs: int, *options: str) -> dict[str, float]:
    """Seconds that `bige validate` took."""
    command = [sys.executable, "-m", "bige_opensim.cli", "validate", str(folder), "--jobs", str(jobs), *options]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": cpu, "wall_s": time.perf_counter() - began}


def _compared(some: Path, every: Path) -> dict[str, Any]:
    """Motions with the same verdict, frames that OpenSim solved, and the largest differences of what decides."""
    same, frames, of_frames, largest, between, unsure = 0, 0, 0, 0.0, 0.0, 0.0
    names = sorted(p.stem for p in some.glob("*.mot"))
    for name in names:
        a, b = (json.loads((f / name / "certificate.json").read_text(encoding="utf-8")) for f in (some, every))
        same += a["confirmed"] == b["confirmed"] and a["labels"]["status"] == b["labels"]["status"]
        shared = a["shared_frames"]
        frames, of_frames = frames + shared["frames"], of_frames + shared["of_frames"]
        between = max(between, shared["largest_difference"])
        for term, found in a["terms"].items():
            difference = abs(found["simulated"] - b["terms"][term]["simulated"])
            if found["decides"]:
                largest = max(largest, difference)
            unsure = max(unsure, difference - found.get("within", 0.0))
    return {
        "same_verdict": same,
        "frames_by_opensim": frames,
        "of_frames": of_frames,
        "largest_difference_of_deciding_values": largest,
        "largest_excess_over_what_certificates_say": max(unsure, 0.0),
        "largest_difference_of_activations": between,
    }


def _profile(folder: Path) -> dict[str, float]:
    """Seconds of processor time of one motion in this process, by step; the first motion has warmed it up."""
    from bige_opensim.labelling.label_trial import label_into_folder
    from bige_opensim.labelling.request import TrialRequest
    from bige_opensim.osim.messages import only_errors
    from bige_opensim.validation.deciding_terms import ObjectiveAsks
    from bige_opensim.validation.generated_folder import GeneratedFolder
    from bige_opensim.validation.roundtrip import SETTINGS

    only_errors()
    generated = GeneratedFolder(folder)
    asked, settings = ObjectiveAsks(generated.objective), replace(SETTINGS, cost=generated.objective.cost)

    def judge(path: Path) -> None:
        out = folder / path.stem
        shutil.rmtree(out, ignore_errors=True)
        request = TrialRequest(folder / "model.osim", path, out, folder, "m", "m", path.stem, asked=asked)
        label_into_folder(request, settings)
        generated.certify(path.stem)

    first, second = generated.motions[0], generated.motions[-1]
    judge(first)
    return _by_step(lambda: judge(second))


def _by_step(work: Callable[[], None]) -> dict[str, float]:
    profile = cProfile.Profile(time.process_time)
    profile.runcall(work)
    stats = pstats.Stats(profile)
    found = dict.fromkeys(STEPS, 0.0)
    total = 0.0
    for (file, _, function), (_, _, own, cumulative, _) in stats.stats.items():  # type: ignore[attr-defined]
        total += own
        for step, (module, name) in STEPS.items():
            if Path(file).name == module and function == name:
                found[step] += cumulative
    return found | {"everything else": total - sum(found.values()), "one motion": total}


def _markdown(report: dict[str, Any]) -> str:
    some, every, c = report["deciding"], report["every"], report["compared"]
    share = c["frames_by_opensim"] / c["of_frames"]
    lines = [
        f"# Verdicts on {report['motions']} motions, {report['jobs']} jobs, {report['cores']} cores ({report['date']})",
        "",
        "| OpenSim solves | processor time, s | clock, s | frames by OpenSim |",
        "|---|---|---|---|",
        f"| what can decide | {some['cpu_s']:.0f} | {some['wall_s']:.0f} | {c['frames_by_opensim']} ({share:.0%}) |",
        f"| every frame | {every['cpu_s']:.0f} | {every['wall_s']:.0f} | {c['of_frames']} |",
        f"| ratio | {report['ratio']:.1f} | {every['wall_s'] / some['wall_s']:.1f} | |",
        "",
        f"Same verdict: {c['same_verdict']} of {report['motions']}. Values of deciding terms differ by "
        f"{c['largest_difference_of_deciding_values']:.1e} at most, others by no more than certificates say "
        f"(+{c['largest_excess_over_what_certificates_say']:.1e}); activations in frames that both solvers solved by "
        f"{c['largest_difference_of_activations']:.4f}.",
        "",
        "| one motion | processor time, s |",
        "|---|---|",
        *(f"| {step} | {seconds:.2f} |" for step, seconds in report["profile_s"].items()),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
