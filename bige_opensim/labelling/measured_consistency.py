"""Bring a motion and measured ground forces together: millimetres of the body and degrees of the trunk.

Measured forces and accelerations of a recording never fit (skin, markers, masses); what is left is residuals at the
root. OpenSim's Residual Reduction Algorithm (Delp et al. 2007, doi:10.1109/TBME.2007.901024) lets the kinematics give
way, by tracking them with weak residual actuators; ours is one sparse least-squares problem. With r (T, 6) the
residuals of the root and x (T, n) the change of its translations and of the trunk's angles,

    minimise  sum_t |r_t + A_t x''_t + K_t x_t|^2 / s_r^2 + |x_t|^2 / s_x^2 + |x'''_t|^2 / s_b^2,

where A is how residuals depend on accelerations (columns of the mass matrix) and K how they depend on places, the
measured forces kept on the ground (differences). The third derivative keeps x from answering noise with a shiver. A few
such steps take in what is not linear. Feet are moved by as little as the whole body is. Sizes are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import block_diag, csc_array, diags_array, eye_array, hstack, kron
from scipy.sparse.linalg import splu

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.whole_body_shift import Shift, second_difference
from bige_opensim.motion import Motion
from bige_opensim.physics.contact import GroundForces
from bige_opensim.physics.dynamics import kinematics
from bige_opensim.physics.joint_problem import net_generalized_forces
from bige_opensim.physics.skeleton import Skeleton

STEP = 1e-4
EDGE_S = 0.5
"""How far changes go on beside measured frames."""


@dataclass(frozen=True)
class FitSettings:
    """Sizes at which residuals (N, N·m) and changes (m, rad) weigh the same, and how many steps.

    smooth_hz: frequency at which a change weighs as much by its third derivative.
    """

    force_n: float = 5.0
    moment_nm: float = 2.0
    place_m: float = 0.003
    angle_rad: float = float(np.deg2rad(2.0))
    smooth_hz: float = 3.0
    steps: int = 3


@dataclass(frozen=True, eq=False)
class FittedMotion:
    """What was changed, (T, n) m and rad, and root mean squares of the root's residual force and moment.

    residual_n, residual_nm: before and after.
    """

    change: Motion
    angles: tuple[bool, ...]
    residual_n: tuple[float, float]
    residual_nm: tuple[float, float]

    @property
    def shift(self) -> Shift:
        """The way of the whole body, as where forces are estimated."""
        way = np.zeros((self.change.frames, 3))
        places = [k for k, turns in enumerate(self.angles) if not turns]
        way[:, : len(places)] = self.change.values[:, places]
        return Shift(way, *self.residual_n)

    def entry(self) -> dict[str, Any]:
        """For label.json: what was changed, in mm and degrees, and residuals in N and N m, root mean squares."""
        size = np.where(self.angles, np.rad2deg(1.0), 1e3)
        rms, peak = np.sqrt((self.change.values**2).mean(axis=0)) * size, np.abs(self.change.values).max(axis=0) * size
        unit = ["deg" if turns else "mm" for turns in self.angles]
        changed = {
            name: {"rms": round(float(a), 3), "peak": round(float(b), 3), "unit": u}
            for name, a, b, u in zip(self.change.names, rms, peak, unit, strict=True)
        }
        residuals = {"residual_force_n": self.residual_n, "residual_moment_nm": self.residual_nm}
        return {
            "changed": changed,
            **{n: {"before": round(x[0], 3), "after": round(x[1], 3)} for n, x in residuals.items()},
        }


def trunk_angles(skeleton: Skeleton) -> list[int]:
    """Free angles that turn the torso against the pelvis and move no leg."""
    if not {"torso", "pelvis"} <= set(skeleton.bodies):
        return []
    t = skeleton.tables
    moved = (skeleton.selector.T @ skeleton.subtree) > 0
    trunk, pelvis = (skeleton.bodies.index(n) for n in ("torso", "pelvis"))
    chosen = moved[:, trunk] & ~moved[:, pelvis]
    return [c for c in range(len(t.coordinates)) if chosen[c] and t.rotational[c] and not t.locked[c]]


def fit_to_forces(
    skeleton: Skeleton,
    whole: Prepared,
    time: Float[np.ndarray, " time"],
    forces: GroundForces,
    root: tuple[list[int], list[int]],
    known: Bool[np.ndarray, " time"],
    settings: FitSettings = FitSettings(),
) -> tuple[Prepared, FittedMotion]:
    """The motion that fits measured forces, and what was changed.

    Parameters
    ----------
    time, forces
        Of the frames with measured forces. Changes end within EDGE_S of them.
    known
        Frames in which the forces are all that carries; others are left to their neighbours.

    """
    rows, changed = [*root[0], *root[1]], [*root[1], *trunk_angles(skeleton)]
    turns = tuple(skeleton.tables.rotational[c] for c in changed)
    sizes = np.where(turns, settings.angle_rad, settings.place_m)
    weigh = 1.0 / np.array([settings.moment_nm] * len(root[0]) + [settings.force_n] * len(root[1]))
    q = whole.q.between(float(time[0]) - EDGE_S, float(time[-1]) + EDGE_S)
    first, n = int(np.searchsorted(q.time, time[0] - 1e-9)), len(changed)
    inside = slice(first, first + len(time))
    D = csc_array(kron(second_difference(q.time), eye_array(n)))
    step_s = np.diff(q.time)
    along = diags_array([-1.0 / step_s, 1.0 / step_s], offsets=[0, 1], shape=(q.frames - 1, q.frames))
    jerk = kron(along, np.diag(1.0 / (sizes * (2.0 * np.pi * settings.smooth_hz) ** 3))) @ D
    prior = csc_array(diags_array(np.tile(1.0 / sizes**2, q.frames)) + jerk.T @ jerk)
    total = q.select([skeleton.coordinates[c] for c in changed])
    total = total.with_values(np.zeros_like(total.values))
    moved, residuals = whole, list[list[float]]()
    for step in range(settings.steps + 1):
        window = moved.between(float(time[0]), float(time[-1]))
        r, A, K = _residuals(skeleton, window, forces, rows, changed)
        parts = r[known][:, : len(root[0])], r[known][:, len(root[0]) :]
        residuals.append([float(np.sqrt((part**2).sum(1).mean())) if len(part) else 0.0 for part in parts])
        if step == settings.steps:
            break
        w = weigh * known[:, None]
        own = slice(inside.start * n, inside.stop * n)
        of_places = block_diag(list(w[..., None] * K), format="csc")
        B = block_diag(list(w[..., None] * A), format="csc") @ D[own] + hstack(
            [
                csc_array((of_places.shape[0], own.start)),
                of_places,
                csc_array((of_places.shape[0], q.frames * n - own.stop)),
            ]
        )
        pull = B.T @ (r * w).ravel() + prior @ total.values.ravel()
        x = splu(csc_array(B.T @ B + prior)).solve(-pull).reshape(q.frames, n)
        total = total.with_values(total.values + x)
        values = whole.q.values.copy()
        at = np.searchsorted(whole.q.time, q.time - 1e-9)
        values[np.ix_(at, np.array([whole.q.index(name) for name in total.names]))] += total.values
        moved = whole.moved(whole.q.with_values(values))
    change = total.between(float(time[0]), float(time[-1]))
    (moment, force), (moment_after, force_after) = residuals[0], residuals[-1]
    return moved, FittedMotion(change, turns, (force, force_after), (moment, moment_after))


def _residuals(
    skeleton: Skeleton, window: Prepared, forces: GroundForces, rows: list[int], changed: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals (T, 6) of the root, and their derivatives in accelerations and in places of some coordinates."""
    q, qd, qdd = (window.tensor(skeleton, m) for m in (window.q, window.qd, window.qdd))

    def at(q: torch.Tensor, qdd: torch.Tensor) -> torch.Tensor:
        return net_generalized_forces(skeleton, kinematics(skeleton, q, qd, qdd), forces)[:, rows]

    here, A, K = at(q, qdd), [], []
    for c in changed:
        one = torch.zeros_like(q)
        one[:, c] = 1.0
        A.append(at(q, qdd + one) - here)
        K.append((at(q + STEP * one, qdd) - here) / STEP)
    return here.numpy(), torch.stack(A, -1).numpy(), torch.stack(K, -1).numpy()
