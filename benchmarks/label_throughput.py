"""How fast many trials become labels, beside OpenSim's StaticOptimization, where the time goes, and what memory does.

    python benchmarks/label_throughput.py OpenCapData_a OpenCapData_b --out throughput [--jobs 2] [--grow 100000]

Everything is measured in one run: `bige label --solver fast` with an empty cache and its audit, in a process of its
own; then OpenSim's AnalyzeTool with StaticOptimization on some frames of the same trials under the ground forces that
were found; then the steps of one person's trials again, in a process that has them in memory. Seconds are of processor
time, children included, because other work on the machine disturbs the clock; both are written. `--grow` labels the
trials over and over under other names, to so many frames, and watches the memory of all processes. Writes
label_throughput.json and label_throughput.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from watched_process import watch

OPENSIM_FRAMES = 20
STEPS_OF = 6


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sessions", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--opensim-frames", type=int, default=OPENSIM_FRAMES)
    parser.add_argument("--grow", type=int, default=0, help="frames of the run in which memory is watched")
    parser.add_argument("--child", choices=["opensim", "steps"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        found = {"opensim": _opensim, "steps": _steps}[arguments.child](arguments)
        sys.stdout.write("\n" + json.dumps(found) + "\n")
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    labelled = _label(arguments, arguments.sessions, "labels")
    report: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "jobs": arguments.jobs,
        "label": labelled,
        "opensim": _in_a_process(arguments, "opensim"),
        "steps": _in_a_process(arguments, "steps"),
    }
    report["times_opensim"] = labelled["frames_per_cpu_s"] / report["opensim"]["frames_per_cpu_s"]
    if arguments.grow:
        report["growth"] = _grow(arguments, labelled["frames"])
    (arguments.out / "label_throughput.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (arguments.out / "label_throughput.md").write_text(_table(report), encoding="utf-8")
    print(_table(report))


def _label(arguments: argparse.Namespace, sessions: list[Path], name: str) -> dict[str, Any]:
    """`bige label` from an empty cache: frames, seconds, and what the audit found."""
    out = arguments.out / name
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "bige_opensim.cli", "label", *map(str, sessions), "--out", str(out)]
        command += ["--solver", "fast", "--jobs", str(arguments.jobs)]
        before, began = _children_cpu_s(), time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | {"BIGE_CACHE": cache}, stdout=subprocess.DEVNULL)
        watched = watch(process)
        if process.wait() != 0:
            sys.exit(f"{' '.join(command)} failed")
        cpu_s, wall_s = _children_cpu_s() - before, time.perf_counter() - began
    records = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(out.glob("*/*/label.json"))]
    audits = {json.dumps(r["audit"], sort_keys=True): r["audit"] for r in records if "audit" in r}
    frames = sum(r["frames"] for r in records)
    return {
        "trials": len(records),
        "models": len({r["model"]["sha256"] for r in records}),
        "frames": frames,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "frames_per_s": frames / wall_s,
        "frames_per_cpu_s": frames / cpu_s,
        "passed": sum(r["status"] == "passed" for r in records),
        "audited_frames": sum(a["frames"] for a in audits.values()),
        "audit_rmse": float(np.sqrt(np.average([a["rmse"] ** 2 for a in audits.values()]))) if audits else None,
        "audit_worst": max(audits.values(), key=lambda a: a["max"], default=None),
        "memory_mb": watched,
    }


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _in_a_process(arguments: argparse.Namespace, child: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *map(str, arguments.sessions), "--out", str(arguments.out), "--child", child]
    command += ["--opensim-frames", str(arguments.opensim_frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    lines = [line for line in done.stdout.split("\n") if line.startswith("{")]  # OpenSim may print after ours
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _opensim(arguments: argparse.Namespace) -> dict[str, Any]:
    """OpenSim's tool on some frames in the middle of the first label, by its own setup file."""
    import opensim

    from bige_opensim.io.storage import read_storage
    from bige_opensim.osim.messages import only_errors
    from bige_opensim.osim.static_optimization import run_setup

    only_errors()
    folder = next(iter(sorted((arguments.out / "labels").glob("*/*/label.json")))).parent
    time_s = read_storage(folder / "activations.sto").time
    first = (len(time_s) - arguments.opensim_frames) // 2
    scratch = folder.parent / f".{folder.name}.opensim"
    shutil.copytree(folder, scratch, dirs_exist_ok=True)
    try:
        setup = scratch / "setup_static_optimization.xml"
        tool = opensim.AnalyzeTool(str(setup), False)
        start, end = float(time_s[first]), float(time_s[first + arguments.opensim_frames - 1])
        tool.setInitialTime(start)
        tool.setFinalTime(end)
        analysis = tool.getAnalysisSet().get(0)
        analysis.setStartTime(start)
        analysis.setEndTime(end)
        tool.printToXML(str(setup))
        began, wall = time.process_time(), time.perf_counter()
        frames = run_setup(setup).activations.frames
        cpu_s, wall_s = time.process_time() - began, time.perf_counter() - wall
    finally:
        shutil.rmtree(scratch)
    return {"frames": frames, "cpu_s": cpu_s, "wall_s": wall_s, "frames_per_cpu_s": frames / cpu_s}


def _steps(arguments: argparse.Namespace) -> dict[str, Any]:
    """Processor seconds per step of labelling one person's trials, model and muscle paths in memory."""
    import torch

    from bige_opensim.io.opencap import find_sessions
    from bige_opensim.labelling.label_task import audit_labels, label_and_place
    from bige_opensim.labelling.label_trials import requests_of
    from bige_opensim.labelling.request import LabelSettings

    torch.set_num_threads(1)
    settings = LabelSettings(solver="fast")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BIGE_CACHE"] = str(Path(folder) / "cache")
        requests, _ = requests_of(find_sessions(arguments.sessions[:1]), Path(folder) / "labels")
        requests = [r for r in requests if r.session == requests[0].session][: 1 + STEPS_OF]
        spent: Counter[str] = Counter()
        last = ["", time.process_time()]

        def step(name: str, share: float = 0.0) -> None:
            now = time.process_time()
            spent[str(last[0])] += now - float(last[1])
            last[:] = [name, now]

        label_and_place(requests[0], settings, requests, step)
        step("")
        first = dict(spent)
        spent.clear()
        frames = 0
        for request in requests[1:]:
            done = label_and_place(request, settings, requests, step)
            step("")
            frames += 0 if isinstance(done, str) else done["frames"]
        warm = dict(spent)
        spent.clear()
        checked = audit_labels(requests, settings.audit, settings.cost, step)
        step("")
    return {
        "first_trial_s": first,
        "warm_s": warm,
        "warm_trials": len(requests) - 1,
        "warm_frames": frames,
        "audit_s": sum(spent.values()),
        "audit_frames": 0 if isinstance(checked, str) else checked["frames"],
    }


def _grow(arguments: argparse.Namespace, frames: int) -> dict[str, Any]:
    """The sessions again and again as other people, until there are `--grow` frames; memory over time."""
    from bige_opensim.io.opencap import find_sessions

    with tempfile.TemporaryDirectory(dir=arguments.out) as folder:
        copies = -(-arguments.grow // frames)
        for k in range(copies):
            for session in find_sessions(arguments.sessions):
                shutil.copytree(session.path, Path(folder) / f"{session.name}_{k:04}")
        found = _label(arguments, [Path(folder)], "grown")
    shutil.rmtree(arguments.out / "grown")
    memory = np.array(found.pop("memory_mb"))
    half = len(memory) // 2
    slope = (
        np.polyfit(memory[half:, 0] / found["wall_s"] * found["frames"], memory[half:, 1], 1)[0] if half > 2 else 0.0
    )
    return found | {
        "peak_mb": float(memory[:, 1].max()),
        "second_half_mb_per_million_frames": float(1e6 * slope),
        "memory_mb": memory[:: max(1, len(memory) // 200)].tolist(),
    }


def _table(report: dict[str, Any]) -> str:
    label, opensim, steps = report["label"], report["opensim"], report["steps"]
    worst = label["audit_worst"]
    lines = [
        f"{label['trials']} trials of {label['models']} models, {label['frames']} frames, {report['jobs']} jobs on "
        f"{report['cores']} cores, {report['date']}, empty cache",
        "",
        "| | frames | wall s | processor s | frames/s | frames per processor s |",
        "|---|---|---|---|---|---|",
        f"| coordinates to labels, audit included | {label['frames']} | {label['wall_s']:.1f} | {label['cpu_s']:.1f} | "
        f"{label['frames_per_s']:.0f} | {label['frames_per_cpu_s']:.0f} |",
        f"| OpenSim's StaticOptimization alone | {opensim['frames']} | {opensim['wall_s']:.1f} | "
        f"{opensim['cpu_s']:.1f} | {opensim['frames'] / opensim['wall_s']:.1f} | {opensim['frames_per_cpu_s']:.2f} |",
        "",
        f"{report['times_opensim']:.0f} times OpenSim per processor second.",
    ]
    if worst is not None:
        lines += [
            f"Audit: {label['audited_frames']} frames, activations within {label['audit_rmse']:.4f} RMS, "
            f"{worst['max']:.3f} at worst ({worst['muscle']} in {worst['trial']} at {worst['time_s']:.2f} s).",
        ]
    count, frames = steps["warm_trials"], steps["warm_frames"]
    lines += ["", f"| step, {count} trials of {frames} frames, all in memory | ms per trial |", "|---|---|"]
    lines += [f"| {name or 'before and after'} | {1e3 * s / count:.0f} |" for name, s in steps["warm_s"].items()]
    lines += [f"| all | {1e3 * sum(steps['warm_s'].values()) / count:.0f} |"]
    lines += [
        "",
        f"First trial of a person (model, path fit): {sum(steps['first_trial_s'].values()):.1f} s; audit of "
        f"{steps['audit_frames']} frames: {steps['audit_s']:.1f} s.",
    ]
    grown = report.get("growth")
    if grown:
        lines += [
            "",
            f"Growth: {grown['frames']} frames in {grown['trials']} trials, {grown['wall_s']:.0f} s, at most "
            f"{grown['peak_mb']:.0f} MB in all processes; in the second half "
            f"{grown['second_half_mb_per_million_frames']:+.0f} MB per million frames.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
