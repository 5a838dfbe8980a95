"""Sets that no generator made and no good metric should like: noise, shuffled motions, a copy of the training set."""

from __future__ import annotations

import numpy as np

from bige_opensim.validation.motion_set import MotionSet

NOISE, SHUFFLED, COPY = "noise, matched moments", "shuffled in time", "copy of training"
SEEDS = (0, 1, 2)


def noise(training: MotionSet, count: int, seed: int) -> MotionSet:
    """White noise with the mean and the standard deviation of every coordinate at every sample of the training set.

    Samples and coordinates are independent of each other; durations are those of training motions drawn at random, as
    are the bodies.
    """
    draw = np.random.default_rng(seed)
    places = draw.integers(len(training), size=count)
    mean, spread = training.q.mean(axis=0), training.q.std(axis=0)
    values = mean + spread * draw.standard_normal((count, *mean.shape))
    return _made(training, places, NOISE, values)


def shuffled(training: MotionSet, count: int, seed: int) -> MotionSet:
    """Training motions drawn at random, the samples of each in random order: every posture is real, no movement is."""
    draw = np.random.default_rng(seed)
    places = draw.permutation(np.resize(draw.permutation(len(training)), count))
    values = np.stack([training.q[i][draw.permutation(training.q.shape[1])] for i in places])
    return _made(training, places, SHUFFLED, values)


def copy(training: MotionSet) -> MotionSet:
    """The training motions themselves: as near as can be, and nothing new."""
    return training.with_(name=COPY)


def _made(training: MotionSet, places: np.ndarray, name: str, values: np.ndarray) -> MotionSet:
    chosen = training.chosen(places, name=name, q=values)
    return chosen.with_(
        people=tuple(f"{name} {i}" for i in range(len(places))),
        vastus_medialis=np.full_like(chosen.vastus_medialis, np.nan),
        confirmed=(None,) * len(places),
    )
