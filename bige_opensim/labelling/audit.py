"""Check fast labels: OpenSim solves some frames of a person's trials again, and labels keep the difference.

A sample of frames of many trials is solved in one go: around every frame a piece of its trial is cut, and the pieces
are put one after the other on a time axis of their own, so that OpenSim reads one file and starts one analysis.
OpenSim differentiates speeds by an interpolating quintic spline, in which the influence of a sample falls by 0.43 from
one sample to the next (the larger pole of quintic B-splines; Unser et al. 1993, doi:10.1109/78.193220): after 20
samples 5e-8 is left of what comes before and after a piece, some 1e-7 of an activation. Beyond the ends of a trial a
piece goes on as the natural spline through the trial does, along a parabola, so that frames near the ends are
differentiated as in the whole trial too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bige_opensim.io.external_loads import GROUND_FORCES_TITLE, external_forces, write_external_loads
from bige_opensim.io.storage import read_storage, write_storage
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_files import ACTIVATIONS, COORDINATES, GROUND, LOADS, STATES, state_columns
from bige_opensim.motion import Motion
from bige_opensim.osim.static_optimization import solve_frames
from bige_opensim.osim.weighted_model import stretch, write_weighted
from bige_opensim.physics.effort_cost import USUAL

FEWEST_FRAMES = 20
CONTEXT = 20
FRAMES_AT_ONCE = 200
SEED = 0


@dataclass(frozen=True, eq=False)
class AuditedTrial:
    """What an audit needs of a label: coordinates (rad, m) of the whole recording, activations and ground forces."""

    name: str
    coordinates: Motion
    joints: Mapping[str, str]
    activations: Motion
    ground: Motion | None

    @classmethod
    def of(cls, label: Label) -> AuditedTrial:
        """From a label in memory."""
        found = label.channels
        return cls(label.trial, found.coordinates, label.joints, found.activations, found.ground_forces)

    @classmethod
    def read(cls, folder: Path, joints: Mapping[str, str], rotational: frozenset[str]) -> AuditedTrial:
        """From the folder of a label; errors as `read_storage`."""
        written = read_storage(folder / COORDINATES)
        turns = np.array([n in rotational for n in written.names])
        activations = read_storage(folder / ACTIVATIONS)
        ground = read_storage(folder / GROUND) if (folder / GROUND).is_file() else None
        return cls(
            folder.name,
            Motion(written.time, np.where(turns, np.deg2rad(written.values), written.values), written.names),
            joints,
            Motion(activations.time, activations.values, activations.names),
            None if ground is None else Motion(ground.time, ground.values, ground.names),
        )


class AuditSource(NamedTuple):
    """A trial that may be drawn: number of labelled frames, and how to get it."""

    frames: int
    read: Callable[[], AuditedTrial]


class AuditedCost(NamedTuple):
    """Exponent of the cost, and weight (M,) of every muscle, None where all have 1."""

    exponent: float = USUAL.exponent
    weight: Float[np.ndarray, " muscle"] | None = None


USUAL_COST = AuditedCost()


def audit(
    trials: Sequence[AuditSource], model_file: Path, share: float, cost: AuditedCost = USUAL_COST
) -> dict[str, Any]:
    """Solve frames drawn over trials of one model by OpenSim's StaticOptimization under the labels' loads.

    `share` of all frames are drawn, at least FEWEST_FRAMES, spread evenly over the trials and at random between; the
    draw depends on the numbers of frames alone, so that it is repeatable. `model_file` has the reserves. Returns the
    number of frames and of the trials that they are from, of how many, the root mean square and the largest difference
    of activations, with its trial, muscle and time.

    Raises
    ------
    StaticOptimizationError
        OpenSim stopped.

    """
    drawn = draw([t.frames for t in trials], share)
    pieces = [piece for k, rows in drawn.items() for piece in _pieces(trials[k].read(), rows)]
    parts = [pieces[k : k + FRAMES_AT_ONCE] for k in range(0, len(pieces), FRAMES_AT_ONCE)]
    names, differences = pieces[0].muscles, np.concatenate([_differences(p, model_file, cost) for p in parts])
    row, muscle = np.unravel_index(int(np.abs(differences).argmax()), differences.shape)
    return {
        "frames": len(differences),
        "rmse": float(np.sqrt((differences**2).mean())),
        "max": float(np.abs(differences).max()),
        "muscle": names[int(muscle)],
        "time_s": pieces[int(row)].time_s,
        "trial": pieces[int(row)].trial,
        "trials": len(drawn),
        "of_frames": sum(t.frames for t in trials),
        "of_trials": len(trials),
    }


def draw(frames: Sequence[int], share: float) -> dict[int, Int[np.ndarray, " row"]]:
    """Rows to solve by trial: one drawn of each of as many parts as are asked for, of all frames in a row."""
    total = sum(frames)
    count = min(total, max(FEWEST_FRAMES, round(share * total)))
    edges = np.linspace(0, total, count + 1).astype(np.int64)
    at = np.random.default_rng(SEED).integers(edges[:-1], edges[1:])
    starts = np.cumsum([0, *frames])
    trial = np.searchsorted(starts, at, side="right") - 1
    return {int(k): at[trial == k] - starts[k] for k in np.unique(trial)}


@dataclass(frozen=True, eq=False)
class _Piece:
    """A frame between its neighbours, CONTEXT rows before it and as many after it.

    time (R,): s of the trial; states (R, S): values and speeds of coordinates by `state_names`; activations (M,) and
    ground (18,) of the frame, None where the ground does nothing.
    """

    trial: str
    time: Float[np.ndarray, " row"]
    state_names: tuple[str, ...]
    states: Float[np.ndarray, "row state"]
    muscles: tuple[str, ...]
    activations: Float[np.ndarray, " muscle"]
    ground_names: tuple[str, ...]
    ground: Float[np.ndarray, " column"] | None

    @property
    def time_s(self) -> float:
        """Time of the frame."""
        return float(self.time[CONTEXT])


def _in_columns(piece: _Piece, columns: tuple[str, ...]) -> Float[np.ndarray, " column"]:
    """A piece's loads under all columns; what another trial's chair did not carry is 0."""
    values = {} if piece.ground is None else dict(zip(piece.ground_names, piece.ground.tolist(), strict=True))
    return np.array([values.get(name, 0.0) for name in columns])


def _pieces(trial: AuditedTrial, rows: Int[np.ndarray, " row"]) -> list[_Piece]:
    """The drawn rows of a label with the recording around them."""
    q, speeds = _beyond(trial.coordinates)
    names, states = state_columns(trial.joints, q, speeds)
    labelled, ground = trial.activations, trial.ground
    found = []
    for row in rows:
        time = labelled.time[row]
        at = CONTEXT + int(np.abs(trial.coordinates.time - time).argmin())
        around = slice(at - CONTEXT, at + CONTEXT + 1)
        loads = None if ground is None else ground.values[int(np.abs(ground.time - time).argmin())]
        found.append(
            _Piece(
                trial.name,
                q.time[around],
                tuple(names),
                states[around],
                labelled.names,
                labelled.values[row],
                () if ground is None else ground.names,
                loads,
            )
        )
    return found


def _beyond(q: Motion) -> tuple[Motion, Motion]:
    """Coordinates and speeds with CONTEXT rows more at either end, where speeds go on as their natural spline does.

    A natural quintic spline is a parabola beyond its ends, v + v' s + v'' s^2 / 2, and a spline through samples of it
    is the same spline. Coordinates are held: nothing is solved there.
    """
    speeds = q.derivatives()[0]
    first, second = (d.values for d in speeds.derivatives())
    step = float(np.median(np.diff(q.time)))
    s = step * np.arange(1, CONTEXT + 1)
    time = np.concatenate([q.time[0] - s[::-1], q.time, q.time[-1] + s])

    def on(end: int, along: Float[np.ndarray, " row"]) -> Float[np.ndarray, "row coordinate"]:
        a = along[:, None]
        return speeds.values[end] + first[end] * a + 0.5 * second[end] * a**2

    held = np.concatenate([np.repeat(q.values[:1], CONTEXT, 0), q.values, np.repeat(q.values[-1:], CONTEXT, 0)])
    moving = np.concatenate([on(0, -s[::-1]), speeds.values, on(-1, s)])
    return Motion(time, held, q.names), Motion(time, moving, q.names)


def _differences(
    pieces: Sequence[_Piece], model_file: Path, cost: AuditedCost = USUAL_COST
) -> Float[np.ndarray, "frame muscle"]:
    """Activations of the labels minus OpenSim's in the middle of every piece."""
    size = 2 * CONTEXT + 1
    time, shift = np.empty(size * len(pieces)), 0.0
    for k, piece in enumerate(pieces):
        own = piece.time - piece.time[0]
        time[k * size : (k + 1) * size] = shift + own
        shift += own[-1] + own[-1] / (size - 1)
    columns = max((p.ground_names for p in pieces if p.ground is not None), key=len, default=None)
    with TemporaryDirectory(prefix="bige-audit-") as scratch:
        folder = Path(scratch)
        states = np.concatenate([p.states for p in pieces])
        write_storage(folder / STATES, time, states, pieces[0].state_names, in_degrees=False, title="States")
        if columns is not None:
            loads = np.repeat([_in_columns(p, columns) for p in pieces], size, axis=0)
            write_storage(folder / GROUND, time, loads, columns, in_degrees=False, title=GROUND_FORCES_TITLE)
            write_external_loads(folder / LOADS, GROUND, external_forces(columns))
        of_muscles = np.ones(len(pieces[0].muscles))
        if cost.weight is not None:
            of_muscles, _ = stretch(cost.weight, cost.exponent)
            weighted = folder / "weighted.osim"
            model_file = write_weighted(model_file, pieces[0].muscles, cost.weight, cost.exponent, weighted)
        found = solve_frames(
            model_file,
            folder / STATES,
            CONTEXT + size * np.arange(len(pieces)),
            external_loads=folder / LOADS if columns is not None else None,
            exponent=cost.exponent,
        )
    difference = np.array([p.activations for p in pieces])
    for m, muscle in enumerate(pieces[0].muscles):
        if muscle in found:  # OpenSim leaves out muscles that are off
            difference[:, m] -= found[muscle] / of_muscles[m]
    return difference
