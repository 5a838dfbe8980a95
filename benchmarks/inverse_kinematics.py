"""Inverse kinematics by the fast solver beside OpenSim's: frames per second, agreement, and where the time goes.

    python benchmarks/inverse_kinematics.py [SESSION...] [--trials 8] [--frames 10] [--accuracy 1e-8] [--out FILE.md]

Sessions are OpenCap folders with a scaled model and markers. Without any, the package's own model makes the markers of
a motion of all its joints, with 8 mm of noise. The fast solver does all trials from files to files; OpenSim does a few
frames in the middle of some trials, at the accuracy of its InverseKinematicsTool and at a finer one, because it stops
short of the minimum at the former. Times are processor time on one core, all in this process.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.io.opencap import find_sessions
from bige_opensim.io.trc import Markers, write_trc
from bige_opensim.io.ui_prmd import generic_places
from bige_opensim.osim.compile_markers import compile_markers
from bige_opensim.osim.inverse_kinematics import MarkerFit, inverse_kinematics, landmark_weights
from bige_opensim.osim.marker_solver import ACCURACY, MarkerSolver
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.osim.person_fit import add_markers
from bige_opensim.physics.rotations import rotation_triples
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.sessions.marker_trials import SOLVED, MarkerRequest, marker_requests, session_copy, solve_together

WITHIN_DEG = 0.2
NOISE_M, MADE_TRIALS, MADE_FRAMES = 0.008, 20, 250
PARTS = {
    "reading markers": "read_markers",
    "limits and places of markers": "compile_markers",
    "first frames": "first_frames",
    "tracking": "_track",
    "solving, all of it": "solve_trials",
    "writing": "write_marker_fit",
}


@dataclass(frozen=True)
class Compared:
    """One trial's few frames: the fast fit, OpenSim's two, and their seconds per frame."""

    fast: MarkerFit
    usual: MarkerFit
    finer: MarkerFit
    usual_s: float
    finer_s: float
    weights: dict[str, float]
    triples: list[tuple[str, str, str]]


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sessions", type=Path, nargs="*")
    parser.add_argument("--trials", type=int, default=8, help="trials of which OpenSim does a few frames")
    parser.add_argument("--frames", type=int, default=10, help="how many frames OpenSim does of each")
    parser.add_argument("--accuracy", type=float, default=1e-8, help="the finer accuracy of OpenSim's solver")
    parser.add_argument("--out", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        requests = _requests(arguments.sessions, Path(folder))
        frames, seconds, parts = _whole_way(requests)
        chosen = [requests[k] for k in np.linspace(0, len(requests) - 1, arguments.trials).astype(int)]
        compared = [_compare(request, arguments.frames, arguments.accuracy) for request in chosen]
    text = _table(len(requests), frames, seconds, parts, compared, arguments.accuracy)
    sys.stdout.write(text)
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")


def _requests(sessions: Sequence[Path], folder: Path) -> list[MarkerRequest]:
    found = []
    for session in find_sessions(sessions or [_made_session(folder / "made")]):
        copy = session_copy(session, folder / "copies")
        found += marker_requests(session, copy, again=True)[0]
    return found


def _made_session(folder: Path) -> Path:
    model = add_markers(load(built_in(MODEL)), generic_places())
    for part in ("OpenSimData/Model", "MarkerData"):
        (folder / part).mkdir(parents=True)
    model.model.printToXML(str(folder / "OpenSimData/Model/fullbody80_scaled.osim"))
    (folder / "sessionMetadata.yaml").write_text("subjectID: made\nmass_kg: 75.0\nheight_m: 1.7\n", encoding="utf-8")
    tables, random = compile_markers(model), np.random.default_rng(0)
    skeleton, time_s = Skeleton(tables.skeleton), np.arange(MADE_FRAMES) / 100.0
    low, high = np.clip(tables.low, -0.8, 0.8), np.clip(tables.high, -0.8, 1.4)
    for k in range(MADE_TRIALS):
        phase, rate = random.uniform(0, 2 * np.pi, len(low)), random.uniform(0.3, 0.7, len(low))
        q = 0.5 * (low + high) + 0.4 * (high - low) * np.sin(phase + 2 * np.pi * rate * time_s[:, None])
        poses = skeleton(torch.as_tensor(q))
        stations = (
            skeleton.station(poses, int(b), torch.as_tensor(p)) for b, p in zip(tables.body, tables.place, strict=True)
        )
        positions = torch.stack(list(stations), 1).numpy()
        positions += NOISE_M * random.standard_normal(positions.shape)
        write_trc(folder / f"MarkerData/t{k:02d}.trc", time_s, positions, tables.names, units="mm")
    return folder


def _whole_way(requests: list[MarkerRequest]) -> tuple[int, float, dict[str, float]]:
    """Frames and seconds of all trials from files to files, and the share of each part by a profile of one model."""
    groups: dict[Path, list[MarkerRequest]] = {}
    for request in requests:
        groups.setdefault(request.model, []).append(request)
    for group in groups.values():
        solve_together(group[:1])  # the skeleton is compiled and kept
    started = time.process_time()
    results = [result for group in groups.values() for result in solve_together(group)]
    seconds = time.process_time() - started
    failed = [content for status, content in results if status != SOLVED]
    if failed:
        sys.stdout.write("\n".join(["failed:", *map(str, failed), ""]))
    frames = sum(content["frames"] for status, content in results if status == SOLVED)
    profile = cProfile.Profile(time.process_time)
    profile.runcall(solve_together, next(iter(groups.values())))
    stats = pstats.Stats(profile)
    by_name = {name: row[3] for (_, _, name), row in stats.stats.items()}  # type: ignore[attr-defined]
    return frames, seconds, {part: by_name.get(name, 0.0) / by_name["solve_together"] for part, name in PARTS.items()}


def _compare(request: MarkerRequest, frames: int, accuracy: float) -> Compared:
    model, markers = load(request.model), request.read_markers()
    middle = len(markers.time) // 2
    some = markers.between(markers.time[middle], markers.time[min(middle + frames, len(markers.time)) - 1])
    usual, usual_s = _timed(model, some, ACCURACY)
    finer, finer_s = _timed(model, some, accuracy)
    triples = rotation_triples(compile_markers(model).skeleton)
    return Compared(inverse_kinematics(model, some), usual, finer, usual_s, finer_s, landmark_weights(model), triples)


def _timed(model: OsimModel, markers: Markers, accuracy: float) -> tuple[MarkerFit, float]:
    """OpenSim's fit, and its seconds per frame once it tracks."""
    fit = inverse_kinematics(model, markers, solver="opensim", accuracy=accuracy)
    names = [dict(fit.match.pairs)[name] for name in fit.markers]
    solver = MarkerSolver(model, markers.select(fit.markers), names, landmark_weights(model), accuracy)
    solver.values[0] = fit.motion.values[0]
    solver.restart(0)
    started = time.process_time()
    for t in range(1, len(markers.time)):
        solver.solve(t)
    return fit, (time.process_time() - started) / (len(markers.time) - 1)


def _degrees(fit: MarkerFit, other: MarkerFit, triples: Sequence[tuple[str, str, str]]) -> dict[str, np.ndarray]:
    """|difference| of what the markers tell; equal orientations of a ball-like joint count as equal."""
    theirs = {name: other.motion[name] for name in fit.motion.names}
    for triple in triples:
        mine, (a, b, c) = np.array([fit.motion[n] for n in triple]), (theirs[n] for n in triple)
        two = np.array([[a, b, c], [a + np.pi, np.pi - b, c + np.pi]])
        two += 2 * np.pi * np.round((mine - two) / (2 * np.pi))
        nearest = np.abs(two - mine).sum(axis=1).argmin(axis=0)
        theirs |= {n: np.take_along_axis(two[:, k], nearest[None], 0)[0] for k, n in enumerate(triple)}
    told = [name for name in fit.motion.names if name not in fit.undetermined]
    return {name: np.rad2deg(np.abs(fit.motion[name] - theirs[name])) for name in told}


def _weighted_mm(fit: MarkerFit, weights: dict[str, float]) -> np.ndarray:
    """sqrt(2 phi) of every frame."""
    model_names = dict(fit.match.pairs)
    w = np.array([weights[model_names[name]] for name in fit.markers]) * ~np.isnan(fit.errors)
    return 1e3 * np.sqrt((w * np.nan_to_num(fit.errors) ** 2).sum(axis=1) / w.sum(axis=1))


def _table(
    trials: int, frames: int, seconds: float, parts: dict[str, float], compared: list[Compared], accuracy: float
) -> str:
    usual_s = float(np.mean([c.usual_s for c in compared]))
    finer_s = float(np.mean([c.finer_s for c in compared]))
    rows = [
        "| | fast | OpenSim, 1e-5 | OpenSim, finer |",
        "|---|---|---|---|",
        f"| frames per second of one core | {frames / seconds:,.0f} (files to files) | {1 / usual_s:.1f} | "
        f"{1 / finer_s:.1f} |",
        f"| times as fast | | {frames / seconds * usual_s:,.0f} | {frames / seconds * finer_s:,.0f} |",
    ]
    for what, of in (("1e-5", "usual"), (f"{accuracy:g}", "finer")):
        others = [getattr(c, of) for c in compared]
        by_name: dict[str, list[np.ndarray]] = {}
        for c, other in zip(compared, others, strict=True):
            for name, d in _degrees(c.fast, other, c.triples).items():
                by_name.setdefault(name, []).append(d)
        within = {name: float((np.concatenate(d) <= WITHIN_DEG).mean()) for name, d in by_name.items()}
        worst = sorted(within, key=lambda name: within[name])[:5]
        rms = max(1e3 * abs(c.fast.rms_m - o.rms_m) for c, o in zip(compared, others, strict=True))
        below = np.concatenate(
            [
                _weighted_mm(o, c.weights) - _weighted_mm(c.fast, c.weights)
                for c, o in zip(compared, others, strict=True)
            ]
        )
        everything = np.concatenate([np.concatenate(d) for d in by_name.values()])
        least = ", ".join(f"{name} {within[name]:.1%}" for name in worst)
        rows += [
            "",
            f"Against OpenSim at {what}, {len(below)} frames of {len(compared)} trials: marker RMS of a trial differs "
            f"by at most {rms:.4f} mm; OpenSim's weighted RMS lies {below.min():.4f} to {below.max():.4f} mm above; "
            f"{(everything <= WITHIN_DEG).mean():.2%} of all angles that markers tell are within {WITHIN_DEG} degrees, "
            f"99 % within {np.percentile(everything, 99):.3f}; least {least}.",
        ]
    shares = ", ".join(f"{part} {share:.0%}" for part, share in parts.items())
    rows += ["", f"{trials} trials, {frames:,} frames in {seconds:.1f} s. Profile of one model: {shares}.", ""]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
