"""A small dataset of squat-like repetitions with the variables of `bige_opensim.learning.dataset`."""

import json

import numpy as np
import torch
import xarray as xr

from bige_opensim.physics.mechanics import Mechanics
from bige_opensim.physics.muscle_share import Spans
from bige_opensim.physics.stance_loads import LOADS

SAMPLES = 101
SUBJECTS = {"a": 10, "b": 7, "c": 4, "d": 3}  # repetitions per subject
SPLIT = {"a": "train", "b": "train", "c": "validation", "d": "test"}
FEATURES = {
    "mass_kg": (70.0, 10.0),
    "femur_length_m": (0.41, 0.02),
    "tibia_length_m": (0.42, 0.02),
    "foot_length_m": (0.19, 0.01),
    "pelvis_width_m": (0.21, 0.01),
    "trunk_length_m": (0.39, 0.02),
    "strength_n": (100e3, 15e3),
}
FEATURE_UNITS = {name: {"g": "kg", "m": "m", "n": "N"}[name[-1]] for name in FEATURES}
ROOT = {
    "rotations": ["pelvis_tilt", "pelvis_list", "pelvis_rotation"],
    "axes": [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
    "translations": ["pelvis_tx", "pelvis_ty", "pelvis_tz"],
}
LEG = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle", "mtp_angle")
ARM = ("arm_flex", "arm_add", "arm_rot", "elbow_flex", "pro_sup")
COORDINATES = (
    *("pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx", "pelvis_ty", "pelvis_tz"),
    *(f"{name}_r" for name in LEG),
    *(f"{name}_l" for name in LEG),
    *("lumbar_extension", "lumbar_bending", "lumbar_rotation"),
    *(f"{name}_r" for name in ARM),
    *(f"{name}_l" for name in ARM),
)
MOVING = {  # rad (pelvis_ty: m) per rad of knee flexion
    "pelvis_tilt": -0.35,
    "pelvis_ty": -0.18,
    "hip_flexion": 0.95,
    "hip_adduction": -0.12,
    "knee_angle": 1.0,
    "ankle_angle": 0.28,
    "lumbar_extension": -0.15,
    "arm_flex": 0.8,
}
SPANNED = ("hip_flexion", "knee_angle", "ankle_angle")
MUSCLES_6 = ("vasmed_r", "glmax1_r", "soleus_r", "vasmed_l", "glmax1_l", "soleus_l")
LEG_MUSCLES = (
    *("addbrev", "addlong", "addmagDist", "addmagIsch", "addmagMid", "addmagProx", "bflh", "bfsh", "edl", "ehl"),
    *("fdl", "fhl", "gaslat", "gasmed", "glmax1", "glmax2", "glmax3", "glmed1", "glmed2", "glmed3"),
    *("glmin1", "glmin2", "glmin3", "grac", "iliacus", "perbrev", "perlong", "piri", "psoas", "recfem"),
    *("sart", "semimem", "semiten", "soleus", "tfl", "tibant", "tibpost", "vasint", "vaslat", "vasmed"),
)
MUSCLES_80 = tuple(f"{name}_{side}" for side in "rl" for name in LEG_MUSCLES)


def squat_like_dataset(muscles: tuple[str, ...], seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    subjects = np.array([name for name, count in SUBJECTS.items() for _ in range(count)])
    persons = {name: rng.standard_normal(len(COORDINATES) + len(FEATURES)) for name in SUBJECTS}
    features = np.array(
        [[m + s * z for (m, s), z in zip(FEATURES.values(), persons[name], strict=False)] for name in subjects]
    )
    duration = rng.uniform(1.8, 3.5, len(subjects))
    knee = np.array([_knee_flexion(rng) for _ in subjects])
    q = np.array([_coordinates(k, persons[name][len(FEATURES) :], rng) for k, name in zip(knee, subjects, strict=True)])
    speed = np.gradient(knee, axis=1) * (SAMPLES - 1) / duration[:, None]
    demand = (features[:, 0] * features[:, 1])[:, None] / 29.0 * np.sin(knee / 2) + 0.02 * speed**2
    share = np.linspace(0.25, 0.9, len(muscles))
    activations = np.clip(0.02 + share * demand[..., None] ** (1.0 + share), 0.01, 1.0)
    times = np.concatenate([np.cumsum(duration[subjects == name] + 0.4) for name in SUBJECTS])
    texts = {
        "subject": subjects,
        "session": [f"session_{name}" for name in subjects],
        "trial": ["squats1"] * len(subjects),
        "split": [SPLIT[name] for name in subjects],
        "status": ["passed"] * len(subjects),
        "side": ["both"] * len(subjects),
        "events": ["[]"] * len(subjects),
    }
    numbers = {
        "duration": (duration, "s"),
        "start": (times - duration, "s"),
        "end": (times, "s"),
        "depth_deg": (np.rad2deg(knee.max(1)), "degree"),
    }
    turns = np.array([name not in ROOT["translations"] for name in COORDINATES])
    return xr.Dataset(
        {
            "q": (("repetition", "sample", "coordinate"), q, {"units": "rad or m", "long_name": "coordinates"}),
            "activations": (
                ("repetition", "sample", "muscle"),
                activations,
                {"units": "1", "long_name": "activations"},
            ),
            "moments": (
                ("repetition", "sample", "coordinate"),
                np.full(q.shape, np.nan),
                {"units": "N m or N", "long_name": "moments"},
            ),
            "features": (("repetition", "feature"), features, {"units": "kg, m or N", "long_name": "features"}),
            **{name: ("repetition", v, {"units": unit, "long_name": name}) for name, (v, unit) in numbers.items()},
            **{name: ("repetition", np.array(v, dtype=object), {"long_name": name}) for name, v in texts.items()},
            "rotational": ("coordinate", turns, {"long_name": "true for coordinates in rad"}),
        },
        coords={
            "sample": ("sample", np.linspace(0.0, 100.0, SAMPLES), {"units": "%", "long_name": "sample"}),
            "coordinate": ("coordinate", np.array(COORDINATES, dtype=object), {"long_name": "coordinate"}),
            "muscle": ("muscle", np.array(muscles, dtype=object), {"long_name": "muscle"}),
            "feature": (
                "feature",
                np.array(list(FEATURES), dtype=object),
                {"long_name": "feature", "feature_units": json.dumps(FEATURE_UNITS)},
            ),
        },
        attrs=_attributes(seed)
        | {"names": json.dumps({"coordinate": COORDINATES, "muscle": muscles, "feature": list(FEATURES)})},
    )


def squat_like_mechanics(dataset: xr.Dataset, seed: int = 0) -> Mechanics:
    """Loads, and capacities of muscles of which each moves hip, knee and ankle of its side, all at random."""
    random = torch.Generator().manual_seed(seed)
    muscles = tuple(str(name) for name in dataset["muscle"].values)
    names = [str(name) for name in dataset["coordinate"].values]
    pairs = [(m, names.index(f"{joint}{name[-2:]}")) for m, name in enumerate(muscles) for joint in SPANNED]
    spans = Spans(muscles, *torch.tensor(pairs).T, torch.full((len(muscles),), 0.01), torch.ones(len(muscles)))
    frames = dataset["q"].shape[:2]
    loads = 0.05 * torch.randn(*frames, len(names) + len(LOADS), generator=random)
    usual = 0.1 * torch.randn(len(pairs), generator=random)
    return Mechanics(loads, usual * (1.0 + 0.1 * torch.rand(*frames, len(pairs), generator=random)), spans)


def _attributes(seed: int) -> dict[str, str | int]:
    return {
        "format": "bige-repetitions/1",
        "movement": "squat",
        "seed": seed,
        "split_note": "The split was given by subject.",
        "synthetic": json.dumps(False),
        "root": json.dumps(ROOT),
        "rotation_triples": json.dumps(
            [["arm_flex_l", "arm_add_l", "arm_rot_l"], ["arm_flex_r", "arm_add_r", "arm_rot_r"]]
        ),
        "excluded": "[]",
        "coordinates_left_out": "[]",
        "labels_sha256": "{}",
        "models": "{}",
        "label_provenance": "{}",
        "bige_opensim": "0.1.0",
        "numpy": np.__version__,
        "xarray": xr.__version__,
    }


def _knee_flexion(rng: np.random.Generator) -> np.ndarray:
    phase = np.linspace(0.0, 1.0, SAMPLES) ** rng.uniform(0.85, 1.2)
    shape = (0.5 - 0.5 * np.cos(2 * np.pi * phase)) ** rng.uniform(0.8, 1.6)
    return 0.08 + np.deg2rad(rng.uniform(75.0, 120.0)) * shape


def _coordinates(knee: np.ndarray, person: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    q = np.empty((SAMPLES, len(COORDINATES)))
    for column, name in enumerate(COORDINATES):
        rest = {"pelvis_ty": 0.95, "pelvis_tx": 0.0, "pelvis_tz": 0.0}.get(name, 0.05 * person[column])
        slope = MOVING.get(name, MOVING.get(name.removesuffix("_r").removesuffix("_l"), 0.0))
        sway = 0.01 * rng.standard_normal() * np.sin(np.pi * np.linspace(0.0, 1.0, SAMPLES) * rng.integers(1, 4))
        q[:, column] = rest + slope * (1 + 0.05 * person[column]) * (knee - knee[0]) + sway
    return q
