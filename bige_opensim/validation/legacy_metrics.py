"""The metrics of Maheshwari et al. 2025 (BIGE, L4DC, PMLR 283:1243-1256), so that their tables can be set beside ours.

Fidelity, diversity, penetration, floating and sliding are computed as the authors' published evaluation scripts do
(`calculate_wasserstein.py`, `foot_sliding_checker.py`). The script of Table 3 (`calculate_guidance.py`) is not among
them: how the table averages is not established, and what is computed here are the quantities that the paper's
constraints are on, each as its docstring says. None of these numbers says by itself that a motion is a person's: the
first two are won by noise, which is why they are printed beside controls.

Arrays have the units of files: degrees and m together where the scripts pool a file's columns.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

BINS = 10
CONTACT_M = 0.01
"""Heights and depths below this are 0 in the paper's foot metrics."""


def fidelity(file_values: Float[np.ndarray, n * more], reference: Float[np.ndarray, m * other]) -> float:
    """(μ - μ_r)² + (σ - σ_r)² of all numbers of all motions in one pool: coordinates, samples, degrees and metres.

    The squared Wasserstein-2 distance of two one-dimensional normal distributions; lower is nearer. Two numbers stand
    for all motions, so that any set with the same two is perfect. The scripts pool 33 file columns.
    """
    return float((file_values.mean() - reference.mean()) ** 2 + (file_values.std() - reference.std()) ** 2)


def diversity(file_values: Float[np.ndarray, n * more]) -> Float[np.ndarray, " n"]:
    """Entropy, in nats, of the histogram of each motion's numbers in ten bins over their range; at most ln 10.

    The scripts call its mean over motions diversity, higher being better. It does not compare motions with each other:
    twenty copies of one motion have that motion's.
    """
    counts = np.array([np.histogram(x, bins=BINS)[0] for x in file_values.reshape(len(file_values), -1)])
    share = counts / counts.sum(axis=1, keepdims=True)
    return -np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), 0.0).sum(axis=1)


def lowest_joints(joints: Float[np.ndarray, "n sample joint 3"]) -> Float[np.ndarray, "n sample"]:
    """Height of the lowest joint of every frame above the ground, m.

    The ground is where the median of these heights over the whole set is, as in the scripts: a set that floats as a
    whole has its ground in the air. Joints are the origins of the model's bodies, where OpenSim's joints are.
    """
    height = joints[..., 1].min(axis=-1)
    return height - np.median(height)


def penetration(height: Float[np.ndarray, "n sample"]) -> Float[np.ndarray, " n"]:
    """Mean depth of the lowest joint below the ground, m; depths under 1 cm count as 0."""
    return np.where(height <= -CONTACT_M, -height, 0.0).mean(axis=1)


def floating(height: Float[np.ndarray, "n sample"]) -> Float[np.ndarray, " n"]:
    """Mean height of the lowest joint above the ground, m; heights under 1 cm count as 0."""
    return np.where(height >= CONTACT_M, height, 0.0).mean(axis=1)


def sliding(
    joints: Float[np.ndarray, "n sample joint 3"], duration: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Mean speed, m/s, of the joint that is lowest in a frame, over frames in which it is less than 1 cm up.

    The way to the next frame is three-dimensional, as in the scripts, which take all motions for 60 Hz; here the step
    is the motion's own. A motion without such frames has nan.
    """
    lowest = joints[..., 1].argmin(axis=-1)[:, :-1, None, None]
    way = np.take_along_axis(np.diff(joints, axis=1), lowest, axis=2)[:, :, 0]
    speed = np.linalg.norm(way, axis=-1) * ((joints.shape[1] - 1) / duration)[:, None]
    touches = lowest_joints(joints)[:, :-1] < CONTACT_M
    count = touches.sum(axis=1)
    return np.where(count > 0, np.where(touches, speed, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def root_mean_square(values: Float[np.ndarray, n * more]) -> Float[np.ndarray, " n"]:
    """Root mean square of each motion, over everything else.

    For Table 3: asymmetry (right minus left hip flexion, knee and ankle angle, degrees), angular velocity (of all
    rotations, degrees/s), velocity (m/s) and acceleration (m/s²) of the centre of mass. The published losses are mean
    squares of the same per frame at 60 Hz, and take the pelvis for the centre of mass.
    """
    return np.sqrt((values.reshape(len(values), -1) ** 2).mean(axis=1))


def forward_tilt(pelvis_tilt: Float[np.ndarray, "n sample"]) -> Float[np.ndarray, " n"]:
    """Most forward pelvis tilt of each motion, positive forwards, in the unit of `pelvis_tilt` (OpenSim's sign).

    The paper maximises the tilt; its code minimises the mean square.
    """
    return -pelvis_tilt.min(axis=1)


def peak_activation(activations: Float[np.ndarray, "n sample muscle"]) -> Float[np.ndarray, " n"]:
    """Peak over time, in the mean over the muscles (the paper's: vastus medialis of both sides, asked to 0.35-0.45)."""
    return activations.max(axis=1).mean(axis=1)
