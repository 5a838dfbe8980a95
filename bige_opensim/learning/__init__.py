"""Learning from labelled repetitions: the dataset, the activation surrogate, the motion generator (no opensim)."""
