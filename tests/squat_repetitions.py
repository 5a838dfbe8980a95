"""Repetitions of squats of the small biped by several people, as `bige dataset` makes them."""

import json
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from bige_opensim.io.storage import write_coordinates
from bige_opensim.learning.dataset import FORMAT, SAMPLES
from bige_opensim.learning.labelled_trials import FEATURES
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.motion_set import sha256

SPLIT = {"a": "train", "b": "train", "c": "train", "d": "train", "e": "train", "f": "test", "g": "validation"}
SOLE_M = 0.042
MUSCLES = ("vasmed_r", "vasmed_l")


def squats(skeleton: Skeleton, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Squats (count, 101, coordinate) of one person on flat, unmoving feet at height 0, and their durations, s."""
    draw = np.random.default_rng(seed)
    depth, lean, late = draw.uniform(0.9, 1.5), draw.uniform(0.45, 0.75), draw.uniform(0.8, 1.2)
    phase = np.linspace(0.0, 1.0, SAMPLES)
    q = np.zeros((count, SAMPLES, len(skeleton.coordinates)))
    for motion in q:
        skewed = phase ** (late * draw.normal(1.0, 0.03))
        knee = 0.1 + 0.5 * depth * draw.normal(1.0, 0.04) * (1 - np.cos(2 * np.pi * skewed))
        for side in "rl":
            motion[:, skeleton.index(f"knee_angle_{side}")] = knee
            motion[:, skeleton.index(f"ankle_angle_{side}")] = 0.45 * knee
            motion[:, skeleton.index(f"hip_flexion_{side}")] = lean * knee
        motion[:, skeleton.index("pelvis_tilt")] = (0.55 - lean) * knee
    heel = skeleton(torch.as_tensor(q)).position[..., skeleton.bodies.index("calcn_r"), :].numpy()
    q[..., skeleton.index("pelvis_tx")] -= heel[..., 0] - heel[:, :1, 0]
    q[..., skeleton.index("pelvis_ty")] += SOLE_M - heel[..., 1]
    return q, draw.uniform(2.0, 2.6) * draw.normal(1.0, 0.05, count)


def repetitions(model: Path, *, each: int = 4) -> xr.Dataset:
    """Of seven people, all with the body of `model`, of whom five train."""
    tables = compile_skeleton(model)
    skeleton = Skeleton(tables)
    parts = [squats(skeleton, each, seed) for seed in range(len(SPLIT))]
    q, duration = (np.concatenate(group) for group in zip(*parts, strict=True))
    people = [name for name in SPLIT for _ in range(each)]
    texts = {
        "subject": people,
        "session": [f"session_{name}" for name in people],
        "trial": ["squats"] * len(people),
        "split": [SPLIT[name] for name in people],
        "status": ["passed"] * len(people),
        "side": ["both"] * len(people),
        "events": ["[]"] * len(people),
    }
    n = len(people)
    numbers = {"duration": duration, "start": np.zeros(n), "end": duration, "depth_deg": np.full(n, 60.0)}
    activations = np.repeat(0.4 * np.sin(np.pi * np.linspace(0, 1, SAMPLES))[None, :, None], n, axis=0)
    axes = {"coordinate": tables.coordinates, "muscle": MUSCLES, "feature": tuple(FEATURES)}
    models = {f"session_{name}/squats": {"file": model.name, "sha256": sha256(model)} for name in SPLIT}
    return xr.Dataset(
        {
            "q": (("repetition", "sample", "coordinate"), q),
            "activations": (("repetition", "sample", "muscle"), np.repeat(activations, 2, axis=2)),
            "features": (("repetition", "feature"), np.ones((n, len(FEATURES)))),
            "rotational": ("coordinate", np.array(tables.rotational)),
            **{name: ("repetition", np.array(values, dtype=object)) for name, values in texts.items()},
            **{name: ("repetition", values) for name, values in numbers.items()},
        },
        coords={
            "sample": np.linspace(0.0, 100.0, SAMPLES),
            **{name: (name, np.array(values, dtype=object)) for name, values in axes.items()},
        },
        attrs={"format": FORMAT, "root": json.dumps(tables.root), "models": json.dumps(models)},
    )


def write_motions(folder: Path, model: Path, q: np.ndarray, duration: np.ndarray) -> Path:
    """A folder of motions with their model."""
    tables = compile_skeleton(model)
    rotational = [n for n, r in zip(tables.coordinates, tables.rotational, strict=True) if r]
    folder.mkdir(parents=True)
    (folder / "model.osim").write_bytes(model.read_bytes())
    for i, (values, seconds) in enumerate(zip(q, duration, strict=True)):
        motion = Motion(np.linspace(0.0, seconds, len(values)), values, tables.coordinates)
        write_coordinates(folder / f"motion_{i + 1:02d}.mot", motion, rotational=rotational)
    return folder
