"""Inverse kinematics by OpenSim: the coordinates whose model markers lie closest to the recorded ones."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from bige_opensim.io.marker_names import MarkerMatch, match_markers
from bige_opensim.io.storage import write_coordinates, write_whole
from bige_opensim.io.trc import Markers
from bige_opensim.motion import Motion
from bige_opensim.osim.marker_solver import MarkerError, MarkerSolver
from bige_opensim.osim.model import OsimModel

FEWEST_MARKERS = 6
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

    Attributes:
        motion: All coordinates in model order, rad and m; a frame that failed repeats its neighbour.
        errors: Distance of every marker in every frame, m; NaN where it was not seen.
        markers: Their names in the recording.
        match: How names were matched.
        failed: Frames that OpenSim could not assemble.
        notes: Sentences on what a reader should know.
    """

    motion: Motion
    errors: Float[np.ndarray, "time marker"]
    markers: tuple[str, ...]
    match: MarkerMatch
    failed: Bool[np.ndarray, " time"]
    notes: tuple[str, ...]

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
    progress: Callable[[int], None] = lambda frame: None,
) -> MarkerFit:
    """Minimise in every frame sum_k w_k |p_k(q) - m_k|^2 over the coordinates q, by OpenSim's solver.

    `opensim.InverseKinematicsSolver`, as InverseKinematicsTool uses it, with couplers held exactly. It is started in
    the frame with most markers, where the root is first laid on them from several headings, and tracks from there to
    both ends, so that a person may face anywhere and gaps at the start do no harm. Names are matched by
    `io.marker_names.match_markers`.

    Args:
        model: A scaled model with a marker set.
        markers: The recording, Y up.
        weights: w_k by name of the model's marker; 1 where not named, 0 leaves a marker out. By default those of
            `landmark_weights`.
        progress: Called with the number of frames solved.

    Raises:
        MarkerError: If fewer than six markers are matched, or weights name a marker that the model lacks.
    """
    match = match_markers(markers.names, marker_names(model))
    weights = landmark_weights(model) if weights is None else _checked_weights(model, weights)
    pairs = [(a, b) for a, b in match.pairs if weights.get(b, 1.0) > 0.0]
    observed = markers.select([a for a, _ in pairs])
    seen = ~np.isnan(observed.positions).any(axis=2)
    if len(pairs) < FEWEST_MARKERS or seen.any(axis=0).sum() < FEWEST_MARKERS:
        raise MarkerError(
            f"{markers.path}: {seen.any(axis=0).sum()} of its {len(markers.names)} markers were seen and have a place "
            f"and weight in {model.path.name}; at least {FEWEST_MARKERS} are needed. Recorded: "
            f"{', '.join(markers.names[:8])}; model: {', '.join(marker_names(model)[:8]) or 'none'}. Add the markers "
            "to the model's MarkerSet, or rename them."
        )
    solver = MarkerSolver(model, observed, [b for _, b in pairs], weights)
    start = int(np.argmax(seen.sum(axis=1)))
    solver.start(start)
    count = len(observed.time)
    done = itertools.count(1)
    for direction in (range(start, count), range(start, -1, -1)):
        solver.restart(start)
        for t in direction:
            solver.solve(t)
            progress(next(done))
    motion = Motion(observed.time, solver.values, tuple(c.name for c in model.coordinates))
    errors = np.where(seen, solver.errors, np.nan)
    notes = (*markers.notes, *match.notes, *_remarks(model, observed, match, motion, solver.failed))
    return MarkerFit(motion, errors, observed.names, match, solver.failed, notes)


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

    Raises:
        StorageError: If a folder does not exist.
    """
    write_coordinates(motion_path, fit.motion, rotational=model.rotational)
    rms = 1e3 * fit.frame_rms_m
    rows = [",".join(["time_s", "rms_mm", *(f'"{name}"' if "," in name else name for name in fit.markers)])]
    for time, total, errors in zip(fit.motion.time, rms, 1e3 * fit.errors, strict=True):
        cells = ("" if np.isnan(e) else f"{e:.3f}" for e in (total, *errors))
        rows.append(",".join([f"{time:.6f}", *cells]))
    write_whole(errors_path, "\n".join([*rows, ""]))


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
        notes.append(f"{failed.sum()} frame(s) could not be assembled and repeat their neighbour.")
    tilt = [motion[n] for n in ("pelvis_tilt", "pelvis_list") if n in motion.names]
    if tilt and np.median(np.abs(tilt), axis=1).max() > LYING_RAD:
        notes.append("The pelvis lies; if the person stands, the vertical axis of the markers is not Y: give it.")
    return notes


def _rms(errors: Float[np.ndarray, "time marker"], axis: int) -> Float[np.ndarray, " any"]:
    seen = ~np.isnan(errors)
    total, count = np.where(seen, errors, 0.0) ** 2, seen.sum(axis=axis)
    return np.where(count > 0, np.sqrt(total.sum(axis=axis) / np.maximum(count, 1)), np.nan)
