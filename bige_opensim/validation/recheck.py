"""Whether the files of a simulated motion belong together by mechanics, whoever wrote them.

A hash says that a file is the one a certificate was made from, not that OpenSim made it: whoever edits a file can write
its new hash into the certificate. But activations that were edited no longer explain the motion. From the coordinates,
the ground forces and the model, joint moments are computed anew, and in some frames the least-effort problem that
OpenSim's StaticOptimization solves is solved again by the fast solver with OpenSim's own muscle paths; what the files
hold must agree within what the two solvers differ by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from bige_opensim.io.storage import read_coordinates, read_storage
from bige_opensim.labelling.chair import seat_of
from bige_opensim.labelling.joint_loads import joint_loads
from bige_opensim.labelling.kinematics import Prepared, prepare
from bige_opensim.labelling.muscle_capacity import exact_actuators, muscle_driven, root_of
from bige_opensim.labelling.quality_gates import SATURATED
from bige_opensim.motion import Motion
from bige_opensim.osim.inverse_dynamics import complete, passive_forces
from bige_opensim.osim.model import OsimModel
from bige_opensim.physics.contact import ContactSettings, GroundForces
from bige_opensim.physics.dynamics import State
from bige_opensim.physics.effort_cost import USUAL, EffortCost
from bige_opensim.physics.joint_problem import (
    MusclesAndReserves,
    net_generalized_forces,
    solve_with_ground,
    solve_with_loads,
)
from bige_opensim.physics.least_effort import LeastEffort
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.certificate import Simulated
from bige_opensim.validation.whose_frames import by_opensim_of

FRAMES = 24
"""Frames in which muscles are solved again, beside those in which the objective's are most and least active."""
ACTIVATION, ACTIVATION_RMS = 0.05, 0.01
"""What activations may differ by from those solved again, in a frame and over all; the two solvers differ by 0.02."""
SAME_SOLVER = 0.003
"""The same in frames that the fast solver solved in OpenSim's stead."""
FORCE_BW = 0.02
"""What the force under a foot may differ by; the same solver gives the same forces."""
LOAD_BW = 0.02
"""What joint loads may differ by; the same lines of action give the same forces."""
SAME_ACTIVATION = 1e-4
MOMENT_SHARE, MOMENT_NM = 0.02, 1.0
ANGLE_RAD, SHIFT_M = 1e-4, 0.001
GATE_SHARE = 0.25
"""What a gate's value may differ by, in shares of its limit."""


def recheck(
    trial: Path,
    motion: Path,
    model: OsimModel,
    skeleton: Skeleton,
    simulated: Simulated,
    muscles: Sequence[str],
    cost: EffortCost = USUAL,
) -> tuple[str, ...]:
    """What in the files of a simulated motion contradicts the others, a sentence each; nothing where they agree.

    Parameters
    ----------
    trial, motion
        Folder of the simulated motion, and the file of the motion.
    model, skeleton
        The model that it was simulated on.
    simulated
        The folder's content (`read_simulated`).
    muscles
        Those on which the verdict stands: frames with their largest and smallest activation are among those solved.
    cost
        What effort costs by the objective.

    """
    whole = Prepared.of(complete(model, simulated.q), (0.0, ""), ())
    return (
        *_same_motion(motion, model, skeleton, simulated),
        *_same_activations(trial, simulated),
        *_mechanics(model, skeleton, simulated, whole, muscles, cost),
    )


def _same_motion(path: Path, model: OsimModel, skeleton: Skeleton, simulated: Simulated) -> Iterator[str]:
    """The coordinates that were simulated are those of the file, but for the shift of the whole body."""
    known = [c.name for c in model.coordinates]
    recorded = read_coordinates(path, rotational=model.rotational, known=known).motion
    asked = prepare(model, skeleton, recorded, 0.0).q.select(skeleton.coordinates)
    q = simulated.q
    if asked.frames != q.frames or np.abs(asked.time - q.time).max() > 1e-6:
        yield f"coordinates.mot has {q.frames} frames, {path.name} has {asked.frames} or others in time."
        return
    difference = np.abs(asked.values - q.values)
    _, translations = root_of(model, skeleton)
    turned = np.delete(difference, translations, axis=1).max()
    if turned > ANGLE_RAD:
        yield f"the angles that were simulated (coordinates.mot) differ from {path.name} by {np.rad2deg(turned):.3g}°."
    shift = simulated.label["whole_body_shift"]
    said = 1e-3 * shift["peak_mm"] if shift is not None else 0.0
    moved = float(np.linalg.norm(difference[:, translations], axis=1).max())
    if moved > said + SHIFT_M:
        yield (
            f"the body was shifted by {1e3 * moved:.3g} mm from {path.name} to coordinates.mot; label.json says "
            f"{1e3 * said:.3g} mm."
        )


def _same_activations(trial: Path, simulated: Simulated) -> Iterator[str]:
    """The activations in states.sto, the peaks in label.json and the share of saturated muscles are the file's."""
    active = simulated.activations
    states = read_storage(trial / "states.sto")
    columns = [f"/forceset/{m}/activation" for m in active.names]
    if not set(columns) <= set(states.names):
        yield "states.sto lacks activations of muscles that activations.sto has."
    else:
        shown = Motion(states.time, states.values, states.names).select(columns).values
        if shown.shape != active.values.shape or np.abs(shown - active.values).max() > SAME_ACTIVATION:
            yield "states.sto and activations.sto hold different activations."
    peaks = dict(zip(active.names, active.values.max(axis=0), strict=True))
    said = simulated.label["peaks"]
    wrong = [m for m, peak in peaks.items() if abs(said.get(m, np.nan) - peak) > SAME_ACTIVATION or m not in said]
    if wrong:
        yield f"label.json holds other peak activations than activations.sto ({', '.join(wrong[:3])})."
    saturated = 100.0 * float((active.values > SATURATED).mean())
    gate = simulated.label["gates"].get("saturated")
    if gate is not None and abs(gate["value"] - saturated) > GATE_SHARE * gate["limit"]:
        yield f"label.json says {gate['value']:.3g} % of muscle frames are saturated, activations.sto {saturated:.3g}."


def _mechanics(
    model: OsimModel,
    skeleton: Skeleton,
    simulated: Simulated,
    whole: Prepared,
    muscles: Sequence[str],
    cost: EffortCost,
) -> Iterator[str]:
    """The moments, the residuals and the muscles' least effort are those of the motion and its ground forces."""
    passive = torch.as_tensor(passive_forces(model, whole.q, whole.qd)) if model.passive_forces else None
    net = net_generalized_forces(skeleton, whole.state(skeleton), simulated.ground, passive)
    allowed = (MOMENT_SHARE * net.abs().amax(0)).clamp(min=MOMENT_NM).numpy()
    off = (np.abs(simulated.moments - net.numpy()) > allowed).any(axis=0)
    if off.any():
        names = [skeleton.coordinates[i] for i in np.flatnonzero(off)]
        yield (
            "inverse_dynamics.sto is not what coordinates.mot and grf.mot give on this model "
            f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})."
        )
    yield from _residuals(model, skeleton, simulated, net)
    rows = _frames(simulated, muscles)
    window = replace(whole, q=_rows(whole.q, rows), qd=_rows(whole.qd, rows), qdd=_rows(whole.qdd, rows))
    state = window.state(skeleton)
    actuators = exact_actuators(model, skeleton, window, state, cost)
    if simulated.ground is not None:
        ground, qd = simulated.label["ground_height_m"], window.tensor(skeleton, window.qd)
        seat = seat_of(skeleton, simulated.label.get("chair"), ground)
        others = [] if seat is None else [seat]
        _, forces = solve_with_ground(skeleton, state, qd, actuators, ground, ContactSettings(), None, others)
        yield from _same_forces(skeleton, simulated, rows, forces)
    answer = solve_with_loads(net[rows], actuators)
    yield from _least_effort(model, simulated, rows, answer)
    yield from _same_joint_loads(skeleton, simulated, rows, state, actuators)
    yield from _reserves(model, skeleton, simulated, net, answer.reserve.numpy()[answer.solved.numpy()])


def _same_forces(
    skeleton: Skeleton, simulated: Simulated, rows: Int[np.ndarray, " frame"], forces: GroundForces
) -> Iterator[str]:
    """The ground forces are those of least effort: how the feet share the load decides what the muscles do."""
    if simulated.ground is None:
        return
    weight = float(skeleton.mass.sum() * skeleton.gravity.norm())
    difference = (simulated.ground.force[rows] - forces.force).norm(dim=-1).amax(-1).numpy() / weight
    if difference.max() > FORCE_BW:
        at = int(difference.argmax())
        yield (
            f"grf.mot is not the ground force that explains the motion with least effort: at "
            f"{simulated.q.time[rows[at]]:.2f} s they differ by {difference[at]:.2g} body weights under a foot."
        )


def _same_joint_loads(
    skeleton: Skeleton,
    simulated: Simulated,
    rows: Int[np.ndarray, " frame"],
    state: State,
    actuators: MusclesAndReserves,
) -> Iterator[str]:
    """The joint contact forces are those of the activations, the motion and the ground forces."""
    written, ground = simulated.joint_loads, simulated.ground
    if written is None:
        return
    forces = None if ground is None else ground.at(rows)
    found = joint_loads(skeleton, state, actuators, simulated.activations.values[rows], forces)
    known = None if found is None else found.motion(simulated.q.time[rows])
    if known is None or known.names != written.names or written.frames != simulated.q.frames:
        yield "joint_loads.sto holds other joints or frames than this model and motion have."
        return
    weight = float(skeleton.mass.sum() * skeleton.gravity.norm())
    unit = np.array([1.0 if name.endswith("_bw") else weight for name in known.names])
    off = (np.abs(known.values - written.values[rows]) / unit).max()
    if off > LOAD_BW:
        yield f"joint_loads.sto is off by {off:.2g} body weights from what the muscles, the motion and grf.mot give."


def _least_effort(
    model: OsimModel, simulated: Simulated, rows: Int[np.ndarray, " frame"], answer: LeastEffort
) -> Iterator[str]:
    """The activations are those of least effort; frames that OpenSim did not solve, by label.json, may be others."""
    frames, label = simulated.q.frames, simulated.label
    unsolved = label["frames"] - label["frames_solved"]
    gate = label["gates"].get("failed_frames")
    if gate is not None and (label["frames"] != frames or abs(gate["value"] - 100.0 * unsolved / frames) > 1e-6):
        yield f"label.json counts {unsolved} unsolved frames of {label['frames']}; its gate says {gate['value']:.3g} %."
        unsolved = 0
    found = answer.x.numpy()
    active = simulated.activations.select(model.muscle_names).values[rows]
    difference = np.abs(active - found)
    by_opensim = by_opensim_of(simulated.label.get("shared_frames"), frames)[rows]
    allowed = np.where(by_opensim, ACTIVATION, SAME_SOLVER)
    kept = np.argsort(difference.max(axis=1))[: max(len(rows) - unsolved, 0)]
    kept = kept[answer.solved.numpy()[kept]]
    if not len(kept):
        return
    excess = difference[kept] - allowed[kept, None]
    frame, muscle = np.unravel_index(int(excess.argmax()), excess.shape)
    at = kept[frame]
    if difference[at, muscle] > allowed[at] or np.sqrt((difference[kept] ** 2).mean()) > ACTIVATION_RMS:
        yield (
            f"activations.sto does not explain the motion: {model.muscle_names[muscle]} is {active[at, muscle]:.3f} at "
            f"{simulated.q.time[rows[at]]:.2f} s, where the least effort of the muscles is {found[at, muscle]:.3f}."
        )


def _residuals(model: OsimModel, skeleton: Skeleton, simulated: Simulated, net: torch.Tensor) -> Iterator[str]:
    """The ground forces carry the motion as far as label.json says: what is left at the root is its residual."""
    if simulated.ground is None:
        return
    rotations, translations = root_of(model, skeleton)
    peak = max(float(simulated.ground.total.norm(dim=-1).max()), 1e-9)
    com = skeleton.com(skeleton(torch.as_tensor(simulated.q.values)))[:, 1]
    height = max(float(com.mean()) - simulated.label["ground_height_m"], 1e-9)
    found = {
        "residual_force": 100.0 * float(net[:, translations].norm(dim=-1).max()) / peak,
        "residual_moment": 100.0 * float(net[:, rotations].norm(dim=-1).max()) / (peak * height),
    }
    for name, value in found.items():
        gate = simulated.label["gates"].get(name)
        if gate is not None and abs(gate["value"] - value) > GATE_SHARE * max(gate["limit"], gate["value"]):
            yield f"label.json says {name} {gate['value']:.3g}, motion and forces give {value:.3g} {gate['unit']}."


def _reserves(
    model: OsimModel, skeleton: Skeleton, simulated: Simulated, net: torch.Tensor, reserve: np.ndarray
) -> Iterator[str]:
    """What the muscles lack in the frames that were solved again passes the gate of reserves if label.json says so."""
    driven = muscle_driven(model, skeleton)
    gate = simulated.label["gates"].get("reserves")
    if gate is None or not driven or not len(reserve):
        return
    peaks = np.maximum(net[:, driven].abs().amax(0).numpy(), 10.0)
    value = 100.0 * float((np.abs(reserve[:, driven]).max(axis=0) / peaks).max())
    if value > gate["value"] + GATE_SHARE * max(gate["limit"], gate["value"]):
        yield f"label.json says reserves {gate['value']:.3g}; the muscles lack {value:.3g} {gate['unit']}."


def _frames(simulated: Simulated, muscles: Sequence[str]) -> Int[np.ndarray, " frame"]:
    """Evenly spread frames, and those in which moments or the activations of some muscles are largest or smallest."""
    active = simulated.activations.select([m for m in muscles if m in simulated.activations]).values
    chosen = [
        np.linspace(0, simulated.q.frames - 1, FRAMES).round().astype(int),
        active.argmax(axis=0),
        active.argmin(axis=0),
        np.abs(simulated.moments).argmax(axis=0),
    ]
    return np.unique(np.concatenate(chosen))


def _rows(motion: Motion, rows: Int[np.ndarray, " frame"]) -> Motion:
    return Motion(motion.time[rows], motion.values[rows], motion.names)
