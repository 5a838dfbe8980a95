"""Inverse kinematics: the coordinates whose model markers lie closest to the recorded ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float

from bige_opensim.io.marker_names import MarkerMatch, match_markers
from bige_opensim.io.storage import write_coordinates, write_whole
from bige_opensim.io.trc import Markers
from bige_opensim.motion import Motion
from bige_opensim.osim.compile_markers import compile_markers
from bige_opensim.osim.marker_solver import ACCURACY, MarkerError, MarkerSolver
from bige_opensim.osim.model import OsimModel
from bige_opensim.physics.inverse_kinematics import TrialSolution, first_frames, solve_trials
from bige_opensim.physics.marker_fits import MarkerFitter
from bige_opensim.physics.marker_skeleton import MarkerSkeleton, MarkerTables
from bige_opensim.physics.skeleton import SkeletonTables

Solver = Literal["fast", "opensim"]
SOLVERS = get_args(Solver)

FEWEST_MARKERS = 6
OTHER_SIZE = 4.0
POOR_M = 0.05
UNDETERMINED_RAD = np.deg2rad(5.0)
"""Standard deviation for markers that err by 1 mm from which a coordinate counts as not determined by them."""
THIN = 0.5
LYING_RAD = np.deg2rad(60.0)

_LANDMARKS = (
    (r"hjc|head|[fb]hd", 0.0),
    (r"mknee|mankle|med_?(knee|ank)|(knee|ank\w*)_?med", 0.0),
    (r"kne|ank|malle", 20.0),
)
_SEGMENTS = (("pelvis", 25.0), ("femur|tibia", 4.0), ("calcn|toes|talus", 7.0))


@dataclass(frozen=True, eq=False)
class MarkerFit:
    """Coordinates found from markers, and how far the model's markers stay from the recorded ones.

    Attributes
    ----------
    motion
        All coordinates in model order, rad and m; a frame that failed repeats its neighbour.
    errors
        Distance of every marker in every frame, m; NaN where it was not seen.
    markers
        Their names in the recording.
    match
        How names were matched.
    failed
        Frames whose fit did not converge.
    notes
        Sentences on what a reader should know.
    spread
        Standard deviation of every independent coordinate, rad or m, for markers that err by 1 mm on average
        (`MarkerFitter.spread`); infinite where no marker tells. Empty with OpenSim's solver.

    """

    motion: Motion
    errors: Float[np.ndarray, "time marker"]
    markers: tuple[str, ...]
    match: MarkerMatch
    failed: Bool[np.ndarray, " time"]
    notes: tuple[str, ...]
    spread: dict[str, float] = field(default_factory=dict)

    @property
    def undetermined(self) -> tuple[str, ...]:
        """Coordinates that the markers hardly tell: they stay where the fit began."""
        return tuple(name for name, s in self.spread.items() if s > UNDETERMINED_RAD)

    @property
    def rms_m(self) -> float:
        """Root mean square over all frames and markers."""
        return float(np.sqrt(np.nanmean(self.errors**2)))

    @property
    def frame_rms_m(self) -> Float[np.ndarray, " time"]:
        """Root mean square over the markers seen in each frame; NaN where none was."""
        return _rms(self.errors, axis=1)

    @property
    def marker_rms_m(self) -> dict[str, float]:
        """Root mean square of each marker over the frames in which it was seen, worst first."""
        values = dict(zip(self.markers, _rms(self.errors, axis=0).tolist(), strict=True))
        return dict(sorted(values.items(), key=lambda item: -np.nan_to_num(item[1])))


def inverse_kinematics(
    model: OsimModel,
    markers: Markers,
    *,
    weights: Mapping[str, float] | None = None,
    solver: Solver = "fast",
    accuracy: float = ACCURACY,
) -> MarkerFit:
    """Minimise in every frame sum_k w_k |p_k(q) - m_k|^2 over the coordinates q, as InverseKinematicsTool does.

    Couplers hold exactly, locked coordinates keep their default, clamped ones their range, those of the root excepted:
    a person may face anywhere. Names are matched by `io.marker_names.match_markers`.

    "fast" solves all frames at once on the compiled skeleton (`physics.inverse_kinematics`), to convergence. "opensim"
    is `opensim.InverseKinematicsSolver`, which tracks from the frame with most markers to both ends and stops each
    frame at its accuracy of 1e-5: up to some tenths of a millimetre before the minimum, which for a knee is up to three
    degrees and for a forearm more.

    Parameters
    ----------
    model
        A scaled model with a marker set.
    markers
        The recording, Y up.
    weights
        w_k by name of the model's marker; 1 where not named, 0 leaves a marker out. By default those of
        `landmark_weights`.
    solver
        "fast" or "opensim".
    accuracy
        At which OpenSim's solver stops.

    Raises
    ------
    MarkerError
        If fewer than six markers are matched or ever seen together, weights name a marker that the model lacks, or the
        markers are another size than the model or its mirror image.
    ModelError
        If the skeleton cannot be compiled, with "fast".

    """
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}; got {solver!r}.")
    if solver == "opensim":
        checked = landmark_weights(model) if weights is None else _checked_weights(model, weights)
        return _fit_by_opensim(model, _used(model, marker_names(model), markers, checked), checked, accuracy)
    (found,) = inverse_kinematics_of_trials(model, [markers], weights=weights)
    if isinstance(found, MarkerError):
        raise found
    return found


def inverse_kinematics_of_trials(
    model: OsimModel,
    trials: Sequence[Markers],
    *,
    weights: Mapping[str, float] | None = None,
    compiled: SkeletonTables | None = None,
) -> list[MarkerFit | MarkerError]:
    """`inverse_kinematics` of several recordings of one person at once; a faulty one yields its error.

    A trial's result does not depend on the others. `compiled` is its file's `compile_skeleton`.

    Raises
    ------
    MarkerError
        If weights name a marker that the model lacks.
    ModelError
        If the skeleton cannot be compiled.

    """
    tables = compile_markers(model, compiled)
    weights = landmark_weights(model) if weights is None else _checked_weights(model, weights)
    found: dict[int, MarkerFit | MarkerError] = {}
    alike: dict[tuple[str, ...], dict[int, _Used]] = {}
    for i, markers in enumerate(trials):
        try:
            used = _used(model, tables.names, markers, weights)
            alike.setdefault(used.names, {})[i] = used
        except MarkerError as error:
            found[i] = error
    for names, group in alike.items():
        skeleton, weight = MarkerSkeleton(tables, names), np.array([weights.get(n, 1.0) for n in names])
        of_size = {}
        for i, used in group.items():
            try:
                _check_size(skeleton, used)
                of_size[i] = used
            except MarkerError as error:
                found[i] = error
        recorded = [used.observed for used in of_size.values()]
        solutions = solve_trials(skeleton, [m.positions for m in recorded], [m.time for m in recorded], weight)
        for (i, used), solution in zip(of_size.items(), solutions, strict=True):
            try:
                _check_mirrored(skeleton, used, solution, weight)
                found[i] = _fit_from_solution(model, tables, used, solution)
            except MarkerError as error:
                found[i] = error
    return [found[i] for i in range(len(trials))]


def landmark_weights(model: OsimModel) -> dict[str, float]:
    """Weights of the model's markers by where they sit, for `inverse_kinematics`.

    25 on the pelvis, 20 at knees and ankles, 7 on the feet, 5 on torso and arms, 4 on thighs and shanks, where
    skin moves most, and 0 for computed hip centres and medial knees and ankles: the values of OpenCap's motion-capture
    pipeline (Uhlrich et al. 2023, doi:10.1371/journal.pcbi.1011462; opencap-core, Setup_IK_Mocap.xml), found from names
    and bodies. 0 also for markers on the head, which full-body models without a neck carry on the torso.
    """
    markers = model.model.getMarkerSet()
    found = {}
    for i in range(markers.getSize()):
        marker = markers.get(i)
        name, body = marker.getName().casefold(), marker.getParentFrame().findBaseFrame().getName()
        rule = next((w for pattern, w in _LANDMARKS if re.search(pattern, name)), None)
        by_body = next((w for pattern, w in _SEGMENTS if re.match(pattern, body)), 5.0)
        found[marker.getName()] = by_body if rule is None else rule
    return found


def marker_names(model: OsimModel) -> tuple[str, ...]:
    """Names of the model's markers in the order of its marker set."""
    markers = model.model.getMarkerSet()
    return tuple(markers.get(i).getName() for i in range(markers.getSize()))


def write_marker_fit(fit: MarkerFit, model: OsimModel, motion_path: Path, errors_path: Path) -> None:
    """Write the coordinates as OpenCap does (version 1, degrees) and the errors as csv, mm, a row per frame.

    Raises
    ------
    StorageError
        If a folder does not exist.

    """
    write_coordinates(motion_path, fit.motion, rotational=model.rotational)
    names = (f'"{name}"' if "," in name else name for name in fit.markers)
    row = ",".join(["%.6f", *["%.3f"] * (1 + len(fit.markers))])
    table = np.column_stack([fit.motion.time, 1e3 * fit.frame_rms_m, 1e3 * fit.errors]).tolist()
    rows = [",".join(["time_s", "rms_mm", *names]), *((row % tuple(values)).replace("nan", "") for values in table)]
    write_whole(errors_path, "\n".join([*rows, ""]))


@dataclass(frozen=True, eq=False)
class _Used:
    """The markers of a recording that count: where seen, their names in the model, and how all names were matched."""

    recorded: Markers
    observed: Markers
    names: tuple[str, ...]
    match: MarkerMatch

    @property
    def seen(self) -> Bool[np.ndarray, "time marker"]:
        return ~np.isnan(self.observed.positions).any(axis=2)

    @property
    def start(self) -> int:
        """The frame with most markers."""
        return int(np.argmax(self.seen.sum(axis=1)))


def _used(model: OsimModel, known: Sequence[str], markers: Markers, weights: Mapping[str, float]) -> _Used:
    match = match_markers(markers.names, known)
    pairs = {a: b for a, b in match.pairs if weights.get(b, 1.0) > 0.0}
    observed = markers.select(pairs)
    used = _Used(markers, observed, tuple(pairs[name] for name in observed.names), match)
    together = int(used.seen.sum(axis=1).max(initial=0))
    if together < FEWEST_MARKERS:
        raise MarkerError(
            f"{markers.path}: {used.seen.any(axis=0).sum()} of its {len(markers.names)} markers were seen and have a "
            f"place and weight in {model.path.name}, {together} of them in one frame; at least {FEWEST_MARKERS} are "
            f"needed. Recorded: {', '.join(markers.names[:8])}; model: {', '.join(known[:8]) or 'none'}. Add the "
            "markers to the model's MarkerSet, or rename them."
        )
    return used


def _check_size(skeleton: MarkerSkeleton, used: _Used) -> None:
    """Refuse markers that span many times more or less than the model's own: their unit is wrong."""
    own = skeleton.positions(torch.as_tensor(skeleton.tables.skeleton.default)[:, None])[..., 0].numpy()
    there = used.observed.positions[used.start]
    seen = used.seen[used.start]
    ratio = _radius(there[seen]) / max(_radius(own[seen]), 1e-9)
    if not 1.0 / OTHER_SIZE <= ratio <= OTHER_SIZE:
        raise MarkerError(
            f"{used.recorded.path}: its markers span {ratio:.3g} times what the model's do, so the unit is wrong "
            "(mm, cm and m differ by 10, 100 or 1000). Correct 'Units' in line 3 of a .trc file, or POINT:UNITS of a "
            ".c3d file; or the model is scaled to somebody else."
        )


def _check_mirrored(
    skeleton: MarkerSkeleton, used: _Used, solution: TrialSolution, weight: Float[np.ndarray, " marker"]
) -> None:
    """Refuse markers that fit badly, and whose mirror image fits well: left and right are exchanged."""
    w = weight * used.seen[solution.start]
    cost = float(w @ solution.distance[solution.start] ** 2 / w.sum() / 2.0)
    if cost < POOR_M**2 / 2.0:
        return
    image = used.observed.positions[[solution.start]] * np.array([1.0, 1.0, -1.0])
    reflected = first_frames(MarkerFitter(skeleton, image, weight), torch.zeros(1, dtype=torch.int64))
    if float(reflected.cost[0]) < cost / 4.0:
        raise MarkerError(
            f"{used.recorded.path}: the markers are the mirror image of the model's: they lie "
            f"{1e3 * np.sqrt(2.0 * cost):.0f} mm off, and fit once reflected. Exchange the names of left and right "
            "markers, or turn the one axis that points the wrong way."
        )


def _radius(points: Float[np.ndarray, "marker 3"]) -> float:
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _fit_from_solution(model: OsimModel, tables: MarkerTables, used: _Used, solution: TrialSolution) -> MarkerFit:
    columns = dict(zip(tables.skeleton.coordinates, solution.q.T, strict=True))
    for coupler in model.couplers:
        columns[coupler.dependent] = model.coupled_values(coupler.dependent, columns[coupler.independent])
    names = tuple(c.name for c in model.coordinates)
    motion = Motion(used.observed.time, np.column_stack([columns[name] for name in names]), names)
    spread = dict(zip(tables.skeleton.coordinates, solution.spread.tolist(), strict=True))
    return _marker_fit(model, used, motion, solution.distance, ~solution.converged, spread)


def _fit_by_opensim(model: OsimModel, used: _Used, weights: Mapping[str, float], accuracy: float) -> MarkerFit:
    solver = MarkerSolver(model, used.observed, used.names, weights, accuracy)
    solver.start(used.start)
    for direction in (range(used.start, len(used.seen)), range(used.start, -1, -1)):
        solver.restart(used.start)
        for t in direction:
            solver.solve(t)
    motion = Motion(used.observed.time, solver.values, tuple(c.name for c in model.coordinates))
    return _marker_fit(model, used, motion, solver.errors, solver.failed, {})


def _marker_fit(
    model: OsimModel,
    used: _Used,
    motion: Motion,
    distance: Float[np.ndarray, "time marker"],
    failed: Bool[np.ndarray, " time"],
    spread: dict[str, float],
) -> MarkerFit:
    errors = np.where(used.seen, distance, np.nan)
    remarks = _remarks(model, used.observed, used.match, motion, failed)
    fit = MarkerFit(motion, errors, used.observed.names, used.match, failed, (), spread)
    poor = f"The markers lie {1e3 * fit.rms_m:.0f} mm (RMS) from the model's: is it scaled to this person, and are its "
    notes = [
        *used.recorded.notes,
        *used.match.notes,
        *remarks,
        *([poor + "markers where they were on the skin?"] if fit.rms_m > POOR_M else []),
        *([f"No marker tells {', '.join(fit.undetermined)}."] if fit.undetermined else []),
    ]
    return replace(fit, notes=tuple(notes))


def _checked_weights(model: OsimModel, weights: Mapping[str, float]) -> Mapping[str, float]:
    unknown = set(weights) - set(marker_names(model))
    wrong = [name for name, w in weights.items() if not (np.isfinite(w) and w >= 0.0)]
    if unknown or wrong:
        raise MarkerError(
            f"{model.path}: weights must be finite, not negative, and name markers of the model; "
            f"wrong: {', '.join(sorted({*unknown, *wrong}))}."
        )
    return weights


def _remarks(
    model: OsimModel, observed: Markers, match: MarkerMatch, motion: Motion, failed: Bool[np.ndarray, " time"]
) -> list[str]:
    notes = []
    idle = [name for name, _ in match.pairs if name not in observed.names]
    if idle:
        notes.append(f"{len(idle)} marker(s) have no weight in the fit: {', '.join(idle)}.")
    if match.unmatched:
        notes.append(f"{len(match.unmatched)} marker(s) are not in the model: {', '.join(match.unmatched)}.")
    if match.unused:
        notes.append(f"{len(match.unused)} marker(s) of the model were not recorded: {', '.join(match.unused)}.")
    gaps = [f"{name} {share:.0%}" for name, share in zip(observed.names, observed.missing, strict=True) if share > 0]
    if gaps:
        notes.append(f"Not seen in a share of the frames: {', '.join(gaps)}.")
    thin = np.isnan(observed.positions).any(axis=2).mean(axis=1) > THIN
    if thin.any():
        notes.append(f"{thin.sum()} frame(s) show less than half of the markers; coordinates there are a guess.")
    if failed.any():
        notes.append(f"{failed.sum()} frame(s) could not be fitted: the solver did not converge there.")
    tilt = [motion[n] for n in ("pelvis_tilt", "pelvis_list") if n in motion.names]
    if tilt and np.median(np.abs(tilt), axis=1).max() > LYING_RAD:
        notes.append("The pelvis lies; if the person stands, the vertical axis of the markers is not Y: give it.")
    return notes


def _rms(errors: Float[np.ndarray, "time marker"], axis: int) -> Float[np.ndarray, " any"]:
    seen = ~np.isnan(errors)
    total, count = np.where(seen, errors, 0.0) ** 2, seen.sum(axis=axis)
    return np.where(count > 0, np.sqrt(total.sum(axis=axis) / np.maximum(count, 1)), np.nan)
