"""A person's model from a generic one: segments scaled and markers placed so that the model fits recorded markers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import opensim
from jaxtyping import Float

from bige_opensim.io.trc import Markers
from bige_opensim.osim.inverse_kinematics import MarkerFit, inverse_kinematics, marker_names
from bige_opensim.osim.model import OsimModel

GROUPS: dict[str, tuple[str, str]] = {
    "pelvis_depth": ("pelvis", "xy"),
    "pelvis_width": ("pelvis", "z"),
    "thigh": ("femur|patella", "xyz"),
    "shank": ("tibia", "xyz"),
    "foot": ("talus|calcn|toes", "xyz"),
    "trunk": ("torso", "xy"),
    "shoulder_width": ("torso", "z"),
    "upper_arm": ("humerus", "xyz"),
    "forearm": ("ulna|radius|hand", "xyz"),
}
"""Segments scaled together, left and right alike: names of bodies (a pattern) and the axes of them."""

RESIDUAL_M, PELVIS_M, LANDMARK_M, CLUSTER_M = 0.01, 0.006, 0.015, 0.1
RATIO_SPREAD, SIZE_SPREAD = 0.05, 0.2
INDEPENDENT_FRAMES = 3.0
ROUNDS = 5


@dataclass(frozen=True, eq=False)
class FittedPerson:
    """A scaled model with placed markers.

    Attributes
    ----------
    model
        The model; save it with `model.model.printToXML`.
    scales
        Factor of every group of segments.
    moved_m
        How far every marker was moved on its scaled segment, m.
    fit
        Inverse kinematics of the frames that were used, on this model.

    """

    model: OsimModel
    scales: dict[str, float]
    moved_m: dict[str, float]
    fit: MarkerFit


def fit_person(
    generic: OsimModel,
    markers: Markers,
    *,
    clusters: Sequence[str] = (),
    mass_kg: float | None = None,
    rounds: int = ROUNDS,
) -> FittedPerson:
    """Scale `generic` and place its markers so that inverse kinematics fits a few frames in different poses.

    Joint angles and sizes are found in turn. Given the angles, the position of marker k on body b is linear in what is
    sought,

        p_k = p_root + sum over the bodies a above b of R_a diag(u_a) s_a + R_b (diag(m_k) s_b + d_k),

    with rotations R from the angles, vectors u from each body's origin to the next one's, unscaled marker places m,
    factors s and displacements d. Both are the least squares solution with the prior spreads of 5 % for segment against
    size of the whole person, 6 mm for markers on the pelvis, 1.5 cm for other landmarks and 10 cm for markers in
    `clusters`, against 1 cm of noise of which only three frames count as independent, since skin errs alike in
    neighbouring poses. A displacement far beyond its spread is believed rather than spread over the segments (Student's
    t by reweighting).
    Factors are applied by `opensim.Model.scale` (which scales muscles too). The idea is that of Werling et al. (2023,
    doi:10.1371/journal.pone.0295152), without their priors.

    Parameters
    ----------
    generic
        Unscaled model with a marker set.
    markers
        Some ten to forty frames in which the person moves, Y up.
    clusters
        Model markers that sit on no landmark.
    mass_kg
        Mass of the scaled model; None keeps the generic one.
    rounds
        Times that angles and sizes are found.

    Raises
    ------
    MarkerError
        As `inverse_kinematics`.

    """
    chain = _Chain(generic)
    factors = dict.fromkeys(GROUPS, 1.0)
    displaced = {name: np.zeros(3) for name in marker_names(generic)}
    model = generic
    markers = replace(markers, time=np.arange(len(markers.time), dtype=np.float64))  # poses apart, no motion
    for _ in range(rounds):
        fit = inverse_kinematics(model, markers)
        factors, displaced = _sizes(chain, fit, markers, factors, displaced, clusters)
        model = scaled(generic, factors, displaced, mass_kg)
    fit = inverse_kinematics(model, markers)
    return FittedPerson(model, factors, {k: float(np.linalg.norm(d)) for k, d in displaced.items()}, fit)


def scaled(
    generic: OsimModel,
    factors: Mapping[str, float],
    displaced: Mapping[str, Float[np.ndarray, " 3"]],
    mass_kg: float | None = None,
) -> OsimModel:
    """A copy scaled by `factors` of GROUPS, with markers displaced by so many metres in the frames of their bodies."""
    copy = opensim.Model(generic.model)
    state = copy.initSystem()
    scale_set = opensim.ScaleSet()
    for i in range(copy.getBodySet().getSize()):
        name = copy.getBodySet().get(i).getName()
        scale = opensim.Scale()
        scale.setSegmentName(name)
        scale.setScaleFactors(opensim.Vec3(*map(float, _body_factors(name, factors))))
        scale.setApply(True)
        scale_set.cloneAndAppend(scale)
    copy.scale(state, scale_set, True, -1.0 if mass_kg is None else float(mass_kg))
    for name, move in displaced.items():
        marker = copy.updMarkerSet().get(name)
        marker.set_location(opensim.Vec3(*map(float, marker.get_location().to_numpy() + move)))
    copy.finalizeConnections()
    return OsimModel(copy, generic.path)


def add_markers(model: OsimModel, places: Mapping[str, tuple[str, tuple[float, float, float]]]) -> OsimModel:
    """A copy with markers at places given as (body, x, y, z in m), except those that the model has by that name.

    Raises
    ------
    KeyError
        If a body is not in the model.

    """
    copy = opensim.Model(model.model)
    have = set(marker_names(model))
    bodies = {copy.getBodySet().get(i).getName() for i in range(copy.getBodySet().getSize())}
    for name, (body, place) in places.items():
        if body not in bodies:
            raise KeyError(f"{model.path}: marker {name} belongs on body {body}, which the model lacks.")
        if name not in have:
            copy.addMarker(opensim.Marker(name, copy.getBodySet().get(body), opensim.Vec3(*place)))
    copy.finalizeConnections()
    return OsimModel(copy, model.path)


def _body_factors(body: str, factors: Mapping[str, float]) -> list[float]:
    chosen = {
        axis: factors[group]
        for group, (pattern, axes) in GROUPS.items()
        for axis in axes
        if re.fullmatch(rf"({pattern})(_[rl])?", body)
    }
    return [chosen.get(axis, 1.0) for axis in "xyz"]


class _Chain:
    """Bodies of the generic model, what they hang from, and where its markers sit."""

    def __init__(self, model: OsimModel) -> None:
        self.model = model
        joints = model.model.getJointSet()
        self.parent = {}
        for i in range(joints.getSize()):
            joint = joints.get(i)
            child = joint.getChildFrame().findBaseFrame().getName()
            self.parent[child] = joint.getParentFrame().findBaseFrame().getName()
        self.bodies = list(self.parent)
        markers = model.model.getMarkerSet()
        self.places = {}
        for i in range(markers.getSize()):
            marker = markers.get(i)
            body = marker.getParentFrame().findBaseFrame().getName()
            self.places[marker.getName()] = (body, marker.get_location().to_numpy().copy())
        selection = np.zeros((len(self.bodies), 3, len(GROUPS)))
        for b, body in enumerate(self.bodies):
            for g, (pattern, axes) in enumerate(GROUPS.values()):
                if re.fullmatch(rf"({pattern})(_[rl])?", body):
                    selection[b, ["xyz".index(a) for a in axes], g] = 1.0
        self.unscaled = 1.0 - selection.sum(axis=2)
        self.selection = selection

    def frames(self, fit: MarkerFit) -> tuple[Float[np.ndarray, "time body 3 3"], Float[np.ndarray, "time body 3"]]:
        """Rotation and origin of every body of the unscaled model at the angles of `fit`."""
        state = self.model.model.initSystem()
        count = (fit.motion.frames, len(self.bodies))
        R, origin = np.empty((*count, 3, 3)), np.empty((*count, 3))
        for t, values in enumerate(fit.motion.values):
            self.model.set_pose(state, dict(zip(fit.motion.names, values, strict=True)))
            self.model.model.realizePosition(state)
            for b, name in enumerate(self.bodies):
                transform = self.model.model.getBodySet().get(name).getTransformInGround(state)
                rotation = transform.R().asMat33()
                R[t, b] = [[rotation.get(i, j) for j in range(3)] for i in range(3)]
                origin[t, b] = transform.p().to_numpy()
        return R, origin


def _sizes(
    chain: _Chain,
    fit: MarkerFit,
    markers: Markers,
    factors: Mapping[str, float],
    displaced: Mapping[str, Float[np.ndarray, " 3"]],
    clusters: Sequence[str],
) -> tuple[dict[str, float], dict[str, Float[np.ndarray, " 3"]]]:
    """Factors and displacements for the joint angles of `fit`."""
    pairs = dict(fit.match.pairs)
    used = [pairs[name] for name in fit.markers]
    observed = markers.select(fit.markers).positions
    A, b = _equations(chain, fit, used, observed)
    groups, count, frames = len(GROUPS), len(used), len(observed)
    noise = RESIDUAL_M * np.sqrt(max(1.0, frames / INDEPENDENT_FRAMES))
    spread = np.array([_spread(name, chain.places[name][0], clusters) for name in used])
    trust = np.ones(count)
    for _ in range(5):
        prior = np.zeros((groups + 1 + 3 * count, A.shape[1]))
        prior[:groups, :groups] = np.eye(groups) / RATIO_SPREAD
        prior[:groups, groups] = -1.0 / RATIO_SPREAD
        prior[groups, groups] = 1.0 / SIZE_SPREAD
        at = groups + 1 + np.arange(3 * count)
        prior[at, at] = np.repeat(np.sqrt(trust) / spread, 3)
        goal = np.zeros(len(prior))
        goal[groups] = 1.0 / SIZE_SPREAD
        x = np.linalg.lstsq(np.vstack([A / noise, prior]), np.concatenate([b / noise, goal]), rcond=None)[0]
        d = x[groups + 1 : groups + 1 + 3 * count].reshape(count, 3)
        trust = 4.0 / (3.0 + (d**2).sum(axis=1) / spread**2 / 3.0)
    assert len(x) == groups + 1 + 3 * count + 3 * frames
    found = dict(zip(GROUPS, map(float, x[:groups]), strict=True))
    return found, {**displaced, **dict(zip(used, d, strict=True))}


def _spread(marker: str, body: str, clusters: Sequence[str]) -> float:
    if marker in clusters:
        return CLUSTER_M
    return PELVIS_M if body == "pelvis" else LANDMARK_M


def _equations(
    chain: _Chain, fit: MarkerFit, used: Sequence[str], observed: Float[np.ndarray, "time marker 3"]
) -> tuple[Float[np.ndarray, "row unknown"], Float[np.ndarray, " row"]]:
    """Linear equations of all seen marker coordinates in (factors, size, displacements, root positions)."""
    R, origin = chain.frames(fit)
    groups, count, frames = len(GROUPS), len(used), len(observed)
    A = np.zeros((frames, count, 3, groups + 1 + 3 * count + 3 * frames))
    b = observed.copy()
    for k, name in enumerate(used):
        body, place = chain.places[name]
        at = chain.bodies.index(body)
        local = np.tile(place, (frames, 1))
        A[:, k, :, groups + 1 + 3 * k : groups + 4 + 3 * k] = R[:, at]
        while True:
            along = R[:, at] * local[:, None, :]
            A[:, k, :, :groups] += along @ chain.selection[at]
            b[:, k] -= along @ chain.unscaled[at]
            above = chain.parent[chain.bodies[at]]
            if above not in chain.parent:
                break
            up = chain.bodies.index(above)
            local = np.einsum("tji,tj->ti", R[:, up], origin[:, at] - origin[:, up])
            at = up
    start = groups + 1 + 3 * count
    for t in range(frames):
        A[t, :, :, start + 3 * t : start + 3 * t + 3] = np.eye(3)
    seen = ~np.isnan(observed).any(axis=2)
    return A[seen].reshape(-1, A.shape[-1]), b[seen].ravel()
