"""Activations of motions in memory, forward and with the gradient: OpenSim, physics by torch and in C, the surrogate.

    python benchmarks/activations.py --model M.osim --motion Q.mot --start 1 --end 9 --out benchmark

The trial is cut into as many motions of 101 samples as a search has, 20, which overlap. One core, the least of some
runs; OpenSim, in the same run, solves frames of the trial one by one, with ground forces given, and has no gradient.
Compiling (skeleton, muscle paths) is timed apart. Writes benchmark.json and a table, with the largest difference of
activations between C and torch.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from bige_opensim.built_in import BUILT_IN
from bige_opensim.io.storage import read_coordinates
from bige_opensim.labelling.kinematics import prepare
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.muscle_capacity import movement_ranges
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.osim.model import load
from bige_opensim.physics import native
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.mechanics import PersonMechanics
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.predictor import PhysicsPredictor
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.workflows.train import folder_of, load_surrogate

SAMPLES, MOTIONS, RUNS, OPENSIM_S = 101, 20, 15, 2.0

Activations = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def without_c() -> Iterator[None]:
    """As where there is no compiler."""
    with patch.object(native, "library", lambda: None):
        yield


def seconds(run: Callable[[], object], runs: int = RUNS) -> float:
    """The least processor time of some runs."""
    found = []
    for _ in range(runs):
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return min(found)


def timed(predict: Activations, q: Tensor, duration: Tensor) -> tuple[float, float]:
    """Forward, and with the gradient of the sum of all activations in the motions."""

    def forward() -> None:
        with torch.no_grad():
            predict(q, duration)

    def with_gradient() -> None:
        x = q.clone().requires_grad_()
        predict(x, duration).sum().backward()

    return seconds(forward), seconds(with_gradient)


def opensim_seconds_a_frame(model: Path, motion: Path, start: float) -> float:
    """What StaticOptimization takes for a frame."""
    with TemporaryDirectory() as scratch:
        request = TrialRequest(model, motion, Path(scratch) / "label", Path(scratch), "m", "m", "m")
        settings = LabelSettings(solver="opensim", audit=0.0, start=start, end=start + OPENSIM_S)
        label = label_trial(request, settings)
    return float(label["timings"]["solve_s"]) / int(label["frames"])


def main() -> None:
    """Time all of them, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--motion", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=float)
    parser.add_argument("--end", type=float)
    given = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    tables, model = compile_skeleton(given.model), load(given.model)
    skeleton = Skeleton(tables)
    trial = read_coordinates(given.motion, rotational=model.rotational).motion
    whole = prepare(model, skeleton, trial, 6.0).between(given.start, given.end)
    muscles = compile_muscles(given.model, movement_ranges(skeleton, whole))
    compiled_s = time.process_time() - began
    surrogate = load_surrogate(folder_of(BUILT_IN, "surrogate"))
    channels = list(surrogate.channels.coordinates)
    q, duration = motions(whole.tensor(skeleton, whole.q), [skeleton.coordinates.index(c) for c in channels], whole)
    person = subject_features(skeleton)
    features = torch.tensor([[person[n] for n in surrogate.channels.features]], dtype=torch.float32).expand(len(q), -1)
    mechanics = PersonMechanics(tables, muscles, channels, SAMPLES)
    in_c = PhysicsPredictor(skeleton, Muscles(muscles), channels, samples=SAMPLES)
    assert in_c.compiled, "compile the physics: python -m bige_opensim.physics.native_build"

    def cold(x: Tensor, d: Tensor) -> Tensor:
        fresh = PhysicsPredictor(skeleton, in_c.muscles, channels, samples=SAMPLES)
        return fresh(x, d)

    ways: dict[str, tuple[float, float]] = {
        "physics in C, from nothing": timed(cold, q, duration),
        "physics in C, on from before": timed(in_c, q, duration),
        "surrogate": timed(lambda x, d: surrogate(x, d, features, mechanics=mechanics(x, d)), q, duration),
    }
    with without_c():
        by_torch = PhysicsPredictor(skeleton, Muscles(muscles), channels, samples=SAMPLES)
        ways["physics by torch, on from before"] = timed(by_torch, q, duration)
        answer = by_torch(q.double(), duration)
    apart = float((answer - in_c(q.double(), duration)).abs().max())
    frame_s = opensim_seconds_a_frame(given.model, given.motion, given.start or float(trial.time[0]))
    frames = len(q) * SAMPLES
    rows = {name: {"forward_s": a, "with_gradient_s": b, "frames_per_s": frames / a} for name, (a, b) in ways.items()}
    rows["opensim"] = {"forward_s": frame_s * frames, "frames_per_s": 1.0 / frame_s}
    report = {"frames": frames, "compiled_s": compiled_s, "c_and_torch_apart": apart, "ways": rows}
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "benchmark.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    lines = ["| | forward, ms | with gradient, ms | frames/s | times OpenSim |", "|---|---|---|---|---|"]
    lines.append(f"| OpenSim StaticOptimization | {1e3 * frame_s * frames:,.0f} | - | {1 / frame_s:.1f} | 1 |")
    for name, (a, b) in ways.items():
        lines.append(f"| {name} | {1e3 * a:.0f} | {1e3 * b:.0f} | {frames / a:,.0f} | {frame_s * frames / a:,.0f} |")
    table = "\n".join(lines)
    (given.out / "benchmark.md").write_text(table + "\n", encoding="utf-8")
    print(f"{table}\n\n{frames} frames; C and torch differ by {apart:.1e}; compiled in {compiled_s:.1f} s")


def motions(q: Tensor, columns: list[int], whole: object) -> tuple[Tensor, Tensor]:
    """Motions of the trial, which overlap, and their durations, s."""
    time_s = np.asarray(whole.q.time)  # type: ignore[attr-defined]
    step = float(np.diff(time_s).mean())
    starts = np.linspace(0, len(q) - SAMPLES, MOTIONS).astype(int)
    cut = torch.stack([q[s : s + SAMPLES, columns] for s in starts]).float()
    return cut, torch.full((MOTIONS,), step * (SAMPLES - 1))


if __name__ == "__main__":
    main()
