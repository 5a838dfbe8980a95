"""Who is moving: the numbers about a body that a predictor needs beside the motion."""

from __future__ import annotations

import torch

from bige_opensim.physics.carried_loads import is_load
from bige_opensim.physics.skeleton import Skeleton

SEGMENTS = {
    "femur_length_m": ("femur_r", "tibia_r"),
    "tibia_length_m": ("tibia_r", "talus_r"),
    "foot_length_m": ("calcn_r", "toes_r"),
    "pelvis_width_m": ("femur_r", "femur_l"),
    "trunk_length_m": ("torso", "humerus_r"),
}


STANDARD_GRAVITY = 9.80665
"""m/s^2."""

STRENGTH = "strength_"
"""What the names of the muscles' own strengths begin with: `strength_vasmed_r`."""


def subject_features(skeleton: Skeleton) -> dict[str, float]:
    """Mass (kg), distances between joint centres in the default pose (m), and maximum isometric forces (N).

    What is carried is not part of the mass. Forces are the sum, `strength_n`, and every muscle's own,
    `strength_<muscle>`. A model without one of the bodies gets 0 for that length.
    """
    poses = skeleton(skeleton.default)
    where = {b: poses.position[i] for i, b in enumerate(skeleton.bodies)}
    features = {"mass_kg": float(skeleton.mass[[not is_load(body) for body in skeleton.bodies]].sum())}
    for name, (a, b) in SEGMENTS.items():
        features[name] = float(torch.linalg.norm(where[a] - where[b])) if a in where and b in where else 0.0
    strength = skeleton.tables.max_isometric_force
    features["strength_n"] = float(strength.sum())
    return features | {f"{STRENGTH}{name}": float(f) for name, f in zip(skeleton.tables.muscles, strength, strict=True)}
