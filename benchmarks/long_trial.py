"""Frames per second of OpenSim StaticOptimization, OpenSim MocoInverse and the fast solver, side by side on one trial.

    python benchmarks/long_trial.py --model M.osim --motion Q.mot --out benchmark [--start 1 --end 3] [--moco-limit 300]

Every method runs in a process of its own, so that peak memory is its own. The whole label step is timed, from files to
files, after the model has been compiled (the compile time stands beside it). Scaling is measured on the trial repeated:
frames of one motion, and motions of 101 frames. Writes benchmark.json, benchmark.md and benchmark.png.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

METHODS = ("opensim", "fast exact", "fast polynomial")
FRAME_COUNTS = (100, 1_000, 10_000, 100_000)
MOTION_COUNTS = (1, 10, 100, 1_000)
MOTION_FRAMES = 101
MOCO_WINDOW_S = 0.2


def main() -> None:
    """Run all methods and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--motion", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=float)
    parser.add_argument("--end", type=float)
    parser.add_argument("--moco-limit", type=float, default=300.0, help="seconds after which MocoInverse is given up")
    parser.add_argument("--largest", type=int, default=101_000, help="largest number of frames of the scaling run")
    parser.add_argument("--child", choices=[*METHODS, "moco", "scaling"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        sys.stdout.write("\n" + json.dumps(_child(arguments)) + "\n")
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {m: _in_a_process(arguments, m) for m in METHODS}
    found["moco"] = _in_a_process(arguments, "moco", arguments.moco_limit)
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "trial": arguments.motion.name,
        "methods": found,
        "agreement": _agreement(arguments.out),
        "scaling": _in_a_process(arguments, "scaling"),
    }
    (arguments.out / "benchmark.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (arguments.out / "benchmark.md").write_text(_table(report), encoding="utf-8")
    _plot(report, arguments.out / "benchmark.png")
    print(_table(report))


def _in_a_process(arguments: argparse.Namespace, child: str, limit_s: float | None = None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", child, "--largest", str(arguments.largest)]
    for name in ("model", "motion", "out", "start", "end"):
        value = getattr(arguments, name)
        command += [] if value is None else [f"--{name}", str(value)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"not finished after {limit_s:.0f} s"}
    if done.returncode != 0:
        return {"failed": (done.stderr.strip() or "no message").split("\n")[-1]}
    return json.loads(done.stdout.strip().split("\n")[-1])


def _child(arguments: argparse.Namespace) -> dict[str, Any]:
    run = {"moco": _moco, "scaling": _scaling}.get(arguments.child, _label)
    result = run(arguments)
    return result | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _label(arguments: argparse.Namespace) -> dict[str, Any]:
    from bige_opensim.labelling.label_trial import label_trial
    from bige_opensim.labelling.request import LabelSettings, TrialRequest

    solver, _, geometry = arguments.child.partition(" ")
    out = arguments.out / arguments.child.replace(" ", "_")
    request = TrialRequest(arguments.model, arguments.motion, out, out, "benchmark", "benchmark", "benchmark")
    settings = LabelSettings(
        solver=solver, geometry=geometry or "exact", audit=0.0, start=arguments.start, end=arguments.end
    )
    began = time.perf_counter()
    compile_s = 0.0
    if geometry == "polynomial":
        label_trial(request, settings)
        compile_s = time.perf_counter() - began
    runs = []
    for _ in range(1 if solver == "opensim" else 3):
        began = time.perf_counter()
        label = label_trial(request, settings)
        runs.append(time.perf_counter() - began)
    seconds = float(np.median(runs))
    return {
        "frames": label["frames"],
        "seconds": seconds,
        "frames_per_s": label["frames"] / seconds,
        "solve_s": label["timings"]["solve_s"],
        "compile_s": max(0.0, compile_s - seconds),
    }


def _moco(arguments: argparse.Namespace) -> dict[str, Any]:
    """MocoInverse on a short window of OpenSim's own label: same model, coordinates and ground forces."""
    import opensim

    label = arguments.out / "opensim"
    opensim.Logger.removeFileSink()
    opensim.Logger.setLevelString("Error")
    start = json.loads((label / "label.json").read_text(encoding="utf-8"))["provenance"]["configuration"]["start"]
    start = start or 1.0
    processor = opensim.ModelProcessor(str(label / "model_static_optimization.osim"))
    processor.append(opensim.ModOpAddExternalLoads(str(label / "external_loads.xml")))
    processor.append(opensim.ModOpIgnoreTendonCompliance())
    processor.append(opensim.ModOpReplaceMusclesWithDeGrooteFregly2016())
    processor.append(opensim.ModOpIgnorePassiveFiberForcesDGF())
    inverse = opensim.MocoInverse()
    inverse.setModel(processor)
    inverse.setKinematics(opensim.TableProcessor(str(label / "coordinates.mot")))
    inverse.set_kinematics_allow_extra_columns(True)
    inverse.set_initial_time(start)
    inverse.set_final_time(start + MOCO_WINDOW_S)
    inverse.set_mesh_interval(0.05)
    began = time.perf_counter()
    solution = inverse.solve()
    seconds = time.perf_counter() - began
    rate = MOCO_WINDOW_S * 100.0
    return {"frames": rate, "seconds": seconds, "frames_per_s": rate / seconds, "mesh": "0.05 s", "compile_s": 0.0,
            "success": bool(solution.getMocoSolution().success())}  # fmt: skip


def _agreement(out: Path) -> dict[str, dict[str, float | str]]:
    from bige_opensim.io.storage import read_storage

    truth = read_storage(out / "opensim" / "activations.sto")
    found: dict[str, dict[str, float | str]] = {}
    for method in METHODS[1:]:
        other = read_storage(out / method.replace(" ", "_") / "activations.sto")
        error = other.values - truth.values
        worst = np.unravel_index(int(np.abs(error).argmax()), error.shape)
        found[method] = {
            "rmse": float(np.sqrt((error**2).mean())),
            "max": float(np.abs(error).max()),
            "muscle": truth.names[int(worst[1])],
            "time_s": float(truth.time[int(worst[0])]),
        }
    return found


def _scaling(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of physics alone, from coordinates to ground forces and activations, in memory."""
    import torch

    from bige_opensim.io.storage import read_coordinates
    from bige_opensim.labelling.kinematics import prepare
    from bige_opensim.labelling.muscle_capacity import movement_ranges
    from bige_opensim.osim.compile import compile_skeleton
    from bige_opensim.osim.compile_muscles import compile_muscles
    from bige_opensim.osim.model import load
    from bige_opensim.physics.contact import ground_height
    from bige_opensim.physics.joint_problem import CHUNK, MusclesAndReserves, polynomial_columns, solve_with_ground
    from bige_opensim.physics.muscles import Muscles
    from bige_opensim.physics.predictor import PhysicsPredictor
    from bige_opensim.physics.skeleton import Skeleton

    model = load(arguments.model)
    skeleton = Skeleton(compile_skeleton(arguments.model))
    motion = read_coordinates(arguments.motion, rotational=model.rotational).motion
    whole = prepare(model, skeleton, motion, 6.0).between(arguments.start, arguments.end)
    muscles = Muscles(compile_muscles(arguments.model, movement_ranges(skeleton, whole)))
    q, qd, qdd = (whole.tensor(skeleton, m) for m in (whole.q, whole.qd, whole.qdd))
    ground = ground_height(skeleton.contact_points(skeleton(q)))
    predictor = PhysicsPredictor(skeleton, muscles, skeleton.coordinates)

    def solve(frames: int) -> float:
        from bige_opensim.physics.dynamics import kinematics

        began = time.perf_counter()
        for first in range(0, frames, CHUNK):
            rows = torch.arange(first, min(first + CHUNK, frames)) % len(q)
            state = kinematics(skeleton, q[rows], qd[rows], qdd[rows])
            columns = polynomial_columns(muscles, q[rows], qd[rows])
            bounds = predictor.lower, predictor.upper
            actuators = MusclesAndReserves(columns, *bounds, predictor.reserve, predictor.root, predictor.free)
            solve_with_ground(skeleton, state, qd[rows], actuators, ground, predictor.settings)
        return time.perf_counter() - began

    def memory_mb() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    solve(min(1000, len(q)))
    frames = [n for n in FRAME_COUNTS if n <= arguments.largest]
    motions = [n for n in MOTION_COUNTS if n * MOTION_FRAMES <= max(arguments.largest, 101)]
    by_frames = [(n, solve(n), memory_mb()) for n in frames]
    by_motions = [(n, solve(n * MOTION_FRAMES), memory_mb()) for n in motions]
    return {"frames": by_frames, "motions": by_motions, "search_step": _search_step(predictor, q)}


def _search_step(predictor: Any, q: Any) -> dict[str, float]:
    """Forward and backward of 20 motions of 101 frames, from coordinates to the peak of every muscle."""
    import torch

    at = torch.linspace(0, len(q) - 1, MOTION_FRAMES).long()
    batch = q[at].expand(20, -1, -1).clone().requires_grad_(True)
    duration = torch.full((20,), 2.0, dtype=torch.float64)
    runs = []
    for _ in range(4):
        began = time.perf_counter()
        predictor(batch, duration).amax(1).sum().backward()
        runs.append(time.perf_counter() - began)
    return {"first_s": runs[0], "next_s": float(np.median(runs[1:]))}


def _table(report: dict[str, Any]) -> str:
    base = report["methods"]["opensim"].get("frames_per_s")
    lines = [
        f"{report['trial']}, {report['date']}, {report['cores']} cores",
        "",
        "| method | frames | s | frames/s | times OpenSim SO | activation RMSE | max | peak MB | compile s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, m in report["methods"].items():
        if "failed" in m:
            lines.append(f"| {name} | {m['failed']} | | | | | | | |")
            continue
        a = report["agreement"].get(name)
        agreement = f"{a['rmse']:.4f} | {a['max']:.3f} ({a['muscle']})" if a else "- | -"
        ratio = f"{m['frames_per_s'] / base:.3g}" if base else "-"
        lines.append(
            f"| {name} | {m['frames']:.0f} | {m['seconds']:.2f} | {m['frames_per_s']:.1f} | {ratio} | {agreement} | "
            f"{m['peak_mb']:.0f} | {m['compile_s']:.1f} |"
        )
    scaling = report["scaling"]
    lines += ["", "| frames of one motion | s | frames/s | peak MB |", "|---|---|---|---|"]
    lines += [f"| {n} | {s:.2f} | {n / s:.0f} | {mb:.0f} |" for n, s, mb in scaling.get("frames", [])]
    lines += ["", "| motions of 101 frames | s | frames/s | peak MB |", "|---|---|---|---|"]
    lines += [f"| {n} | {s:.2f} | {n * 101 / s:.0f} | {mb:.0f} |" for n, s, mb in scaling.get("motions", [])]
    step = scaling.get("search_step")
    if step:
        lines += ["", f"Forward and backward, 20 motions x 101 frames: {step['first_s']:.2f} s cold, "
                      f"{step['next_s']:.2f} s from the last step's multipliers."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _plot(report: dict[str, Any], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    shown = {k: m["frames_per_s"] for k, m in report["methods"].items() if "frames_per_s" in m}
    left.barh(list(shown), list(shown.values()), color="#4477aa")
    left.set(xscale="log", xlabel="frames per second, files to files", title="Whole label step")
    for name, label, size in (("frames", "frames of one motion", 1), ("motions", "motions of 101 frames", 101)):
        rows = report["scaling"].get(name, [])
        if not rows:
            continue
        right.plot([n * size for n, _, _ in rows], [s for _, s, _ in rows], "o-", label=label)
    right.set(xlabel="frames", ylabel="seconds", title="Physics alone")
    if right.lines:
        right.set(xscale="log", yscale="log")
        right.legend()
    figure.suptitle(f"{report['trial']}, {report['cores']} cores, {report['date']}")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
