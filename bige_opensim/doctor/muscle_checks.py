"""Muscles whose fibres the motion leaves no length, or stretches beyond what they can pull at."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bige_opensim.doctor.findings import Finding, listed
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.motion import Motion
from bige_opensim.osim.muscle_parameters import muscle_parameters
from bige_opensim.osim.path_sampler import PathSampler
from bige_opensim.physics.muscle_tables import MUSCLE_CLASSES

LONGEST_FIBRE = 1.6
FRAMES = 60


class Fibres(NamedTuple):
    """Rigid-tendon fibre length over optimal length, and the part along the tendon, (T, M), of the muscles named."""

    names: tuple[str, ...]
    length: Float[np.ndarray, "time muscle"]
    along_tendon: Float[np.ndarray, "time muscle"]


class FibreLengths:
    """Fibre lengths of a model's muscles in poses of a motion, from OpenSim's path lengths.

    With a rigid tendon of length l_t and the fibre's height h = l_opt sin(alpha_opt) kept, the fibre has
    l_f cos(alpha) = L - l_t and l_f = sqrt(h^2 + (L - l_t)^2) (Zajac 1989; OpenSim MuscleFixedWidthPennationModel).
    """

    def __init__(self, model: KnownModel) -> None:
        assert model.osim is not None
        self._model = model
        self._sampler = PathSampler(model.osim)
        kinds = [str(m.getConcreteClassName()) for m in self._sampler.muscles]
        self._of = [i for i, kind in enumerate(kinds) if kind in MUSCLE_CLASSES]
        self.names = tuple(model.osim.muscle_names[i] for i in self._of)
        self._parameters = muscle_parameters([self._sampler.muscles[i] for i in self._of])

    def __call__(self, q: Float[np.ndarray, "time coordinate"]) -> Fibres:
        """Fibres in poses of the independent coordinates (rad, m)."""
        lengths = np.array([self._sampler.lengths(pose)[self._of] for pose in q])
        optimal = self._parameters["optimal_fiber_length"]
        along = (lengths - self._parameters["tendon_slack_length"]) / optimal
        height = np.sin(self._parameters["pennation_angle_at_optimal"])
        return Fibres(self.names, np.hypot(along, height), along)


def telling_frames(q: Float[np.ndarray, "time coordinate"]) -> list[int]:
    """Evenly spread frames, and those where a coordinate is lowest or highest."""
    spread = np.linspace(0, len(q) - 1, min(FRAMES, len(q))).round().astype(int)
    moving = np.ptp(q, axis=0) > 1e-3
    return sorted({*spread.tolist(), *q[:, moving].argmin(axis=0).tolist(), *q[:, moving].argmax(axis=0).tolist()})


def check_muscles(path: Path, motion: Motion, model: KnownModel, fibres: FibreLengths) -> list[Finding]:
    """Muscles that are slack somewhere in the motion, and muscles that are longer than 1.6 optimal fibres."""
    q = model.independent(motion)
    frames = telling_frames(q)
    found = fibres(q[frames])
    slack, stretched = -found.along_tendon, found.length - LONGEST_FIBRE
    shown = (
        (slack, -slack, "slack: with a rigid tendon the fibre has no length left", "nothing"),
        (stretched, found.length, f"stretched beyond {LONGEST_FIBRE:g} optimal fibre lengths", "hardly anything"),
    )
    findings = []
    for excess, value, what, pull in shown:
        worst = excess.max(axis=0)
        muscles = [i for i in np.argsort(-worst) if worst[i] > 0]
        if not muscles:
            continue
        at = excess.argmax(axis=0)
        each = [f"{found.names[i]} ({value[at[i], i]:.2f})" for i in muscles]
        sentence = f"{len(muscles)} muscle(s) cannot reach the motion and are {what}: {listed(each)}."
        remedy = f"Check the model's scaling of fibre and tendon lengths; such a muscle pulls with {pull} there."
        place = f"{found.names[muscles[0]]}, {motion.time[frames[at[muscles[0]]]]:.4g} s"
        findings.append(Finding(path, place, "warning", "muscle-reach", sentence, remedy))
    return findings
