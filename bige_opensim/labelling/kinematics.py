"""Prepare a recorded motion once, so that every solver sees the same coordinates and derivatives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int

from bige_opensim.labelling.cutoff import Cutoff, chosen_cutoff
from bige_opensim.motion import Motion, MotionError
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.model import OsimModel, model_notes
from bige_opensim.physics.dynamics import State, kinematics, with_mass_centres
from bige_opensim.physics.rotations import continuous_rotations, fastest_rotation, rotation_triples
from bige_opensim.physics.skeleton import Skeleton

HELD_RAD, HELD_M = np.deg2rad(0.5), 0.002
"""How far a file may be from a locked or prescribed value and still mean it."""


@dataclass(frozen=True)
class Prepared:
    """A filtered motion over all coordinates of the model, its derivatives, and the fastest rotation of the recording.

    fastest_rotation: rad/s between two raw samples, and the body that does it: beyond some 40 rad/s inverse
    kinematics has jumped.
    """

    q: Motion
    qd: Motion
    qdd: Motion
    fastest_rotation: tuple[float, str]
    notes: tuple[str, ...]
    _states: dict[int, tuple[Skeleton, State]] = field(init=False, default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, q: Motion, fastest_rotation: tuple[float, str], notes: tuple[str, ...]) -> Prepared:
        """Differentiate complete coordinates as OpenSim's analyses do: a spline through q gives q', one through q' q''.

        (AnalyzeTool turns coordinates into speeds by a quintic GCVSpline, StaticOptimization differentiates a spline of
        the speeds.) The second derivative of the first spline is as good, but another at rough spots and at the ends.
        """
        qd = q.derivatives()[0]
        return cls(q, qd, qd.derivatives()[0], fastest_rotation, notes)

    def moved(self, q: Motion) -> Prepared:
        """The same recording with other coordinates."""
        return Prepared.of(q, self.fastest_rotation, self.notes)

    def between(self, start: float | None, end: float | None) -> Prepared:
        """Frames from start to end, s; derivatives stay those of the whole recording."""
        time = self.q.time
        if (start is None or start <= time[0]) and (end is None or end >= time[-1]):
            return self
        q, qd, qdd = (m.between(start, end) for m in (self.q, self.qd, self.qdd))
        return Prepared(q, qd, qdd, self.fastest_rotation, self.notes)

    def at(self, rows: Int[np.ndarray, " row"]) -> Prepared:
        """Some frames; derivatives stay those of the whole recording."""
        q, qd, qdd = (Motion(m.time[rows], m.values[rows], m.names) for m in (self.q, self.qd, self.qdd))
        return Prepared(q, qd, qdd, self.fastest_rotation, self.notes)

    def state(self, skeleton: Skeleton) -> State:
        """Poses, velocities and accelerations of all bodies, computed once for all skeletons that move alike."""
        if id(skeleton) not in self._states:
            alike = next((known for known in self._states.values() if known[0].moves_like(skeleton)), None)
            if alike is not None:
                state = with_mass_centres(alike[1], alike[0], skeleton)
            else:
                state = kinematics(skeleton, *(self.tensor(skeleton, m) for m in (self.q, self.qd, self.qdd)))
            self._states[id(skeleton)] = skeleton, state
        return self._states[id(skeleton)][1]

    @staticmethod
    def tensor(skeleton: Skeleton, motion: Motion) -> torch.Tensor:
        """Independent coordinates in the skeleton's order."""
        return torch.as_tensor(motion.select(skeleton.coordinates).values)


def prepare(model: OsimModel, skeleton: Skeleton, motion: Motion, cutoff: Cutoff) -> Prepared:
    """Make rotations continuous, low-pass, complete with dependent and held coordinates, differentiate.

    Raises
    ------
    MotionError
        The motion moves a coordinate that the model holds.

    """
    cutoff_hz = chosen_cutoff(motion, skeleton.tables, model.rotational, cutoff).hz
    motion, notes = continuous_rotations(motion, rotation_triples(skeleton.tables))
    motion = _held_in_place(model, motion)
    fastest = fastest_rotation(skeleton, motion, {*model.bodies_with_muscles, "torso"})
    q = complete(model, motion.lowpass(cutoff_hz))
    missing = [c for c in model.free_coordinates if c not in motion]
    if missing:
        notes = (*notes, f"coordinates not in the file keep the model's default: {', '.join(missing)}")
    return Prepared.of(q, fastest, (*notes, *model_notes(model)))


def _held_in_place(model: OsimModel, motion: Motion) -> Motion:
    """The motion with held coordinates where OpenSim has them; MotionError where it takes them elsewhere."""
    values, moved = motion.values.copy(), []
    for name in (n for n in model.held_coordinates if n in motion):
        held = model.held_values(name, motion.time)
        away = float(np.abs(motion[name] - held).max())
        values[:, motion.index(name)] = held
        if name in model.rotational and away > HELD_RAD:
            moved.append(f"{name} by up to {np.rad2deg(away):.1f} degrees")
        elif name not in model.rotational and away > HELD_M:
            moved.append(f"{name} by up to {1e3 * away:.0f} mm")
    if moved:
        raise MotionError(
            f"the model {model.path.name} locks or prescribes coordinates that the motion takes elsewhere: "
            f"{', '.join(moved)}. Unlock them in the model, or use a motion that was made with this model."
        )
    return motion.with_values(values) if model.held_coordinates else motion
