"""Sample where muscles pull on the bones of a joint, for `physics.muscle_lines`, which runs without opensim."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from bige_opensim.io.cache import kept
from bige_opensim.osim.mirror import counterparts, mirror_by_name
from bige_opensim.osim.model import file_sha256, load
from bige_opensim.osim.path_sampler import PathSampler
from bige_opensim.osim.topology import path_bodies
from bige_opensim.physics.joint_loads import LoadedJoint, loaded_joints
from bige_opensim.physics.muscle_lines import LineTables
from bige_opensim.physics.muscle_tables import MuscleTables
from bige_opensim.physics.muscles import monomial_exponents
from bige_opensim.physics.skeleton import Skeleton

FORMAT = 3
POSES = 400
"""Poses, of those that the muscle paths were sampled on, in which lines of action are sampled."""
DEGREES = {0: 0, 1: 9, 2: 7, 3: 6, 4: 5}
FURTHER_DEGREE = 3
"""Total degree by the number of coordinates that a muscle spans, and for more of them."""
MIRRORED = np.array([1.0, 1.0, -1.0])
COMPARED_POSES, SAME_DIRECTION = 4, 1e-5
"""Poses in which lines of both sides are compared; difference of unit forces up to which they are alike."""
LEFT_OUT = 5
"""One pose in so many is left out of a first fit, to tell its error."""


def compile_lines(
    path: Path | str,
    skeleton: Skeleton,
    muscles: MuscleTables,
    *,
    poses: int = POSES,
    cache: bool = True,
    sampler: Callable[[], PathSampler] | None = None,
) -> LineTables:
    """Lines of action of a model's muscles at hips, knees, patellofemoral joints and ankles, as polynomials.

    Parameters
    ----------
    path, skeleton
        The .osim file, and its skeleton.
    muscles
        Its muscles, compiled over the movement; lines are fitted on poses of the same movement.
    poses
        Number of poses to sample.
    cache
        Keep and reuse the result.
    sampler
        Gives a sampler of the model, where there is one.

    Raises
    ------
    ModelError
        The model cannot be read.

    """
    digest = hashlib.sha256(np.ascontiguousarray(muscles.sampled)).hexdigest()[:32]
    name = f"lines-{FORMAT}-{file_sha256(path)[:32]}-{digest}-{poses}"

    def make() -> LineTables:
        return _fitted(sampler() if sampler else PathSampler(load(path)), skeleton, muscles, poses)

    return kept(name, make, pack=LineTables.to_bytes, unpack=LineTables.from_bytes) if cache else make()


def _fitted(sampler: PathSampler, skeleton: Skeleton, muscles: MuscleTables, poses: int) -> LineTables:
    crossings, unit, sampled = _sampled(sampler, skeleton, muscles, poses)
    x = (sampled - muscles.centre) / muscles.scale
    kept_out = np.arange(len(x)) % LEFT_OUT == 0
    spans = [muscles.spans(m) for m, _ in crossings]
    widest = max([1, *(len(s) for s in spans)])
    exponents: list[np.ndarray] = [np.zeros(0)] * len(spans)
    coefficients, errors = list(exponents), list(exponents)
    for span in dict.fromkeys(spans):
        alike = [k for k, other in enumerate(spans) if other == span]
        powers = monomial_exponents(len(span), DEGREES.get(len(span), FURTHER_DEGREE))
        monomials = _monomials(x[:, list(span)], powers)
        wanted = unit[:, alike].reshape(len(x), -1)
        first = np.linalg.lstsq(monomials[~kept_out], wanted[~kept_out], rcond=1e-8)[0]
        missed = (monomials[kept_out] @ first - wanted[kept_out]).reshape(-1, len(alike), 3)
        every = np.linalg.lstsq(monomials, wanted, rcond=1e-8)[0].reshape(-1, len(alike), 3)
        for place, k in enumerate(alike):
            exponents[k] = np.pad(powers, ((0, 0), (0, widest - powers.shape[1])))
            coefficients[k], errors[k] = every[:, place], np.linalg.norm(missed[:, place], axis=1)
    rms = [float(np.sqrt((e**2).mean())) for e in errors]
    largest = [float(e.max()) for e in errors]
    return LineTables(
        muscle=np.array([m for m, _ in crossings], dtype=np.int64),
        joint=np.array([j for _, j in crossings], dtype=np.int64),
        span_offsets=np.cumsum([0, *(len(s) for s in spans)]),
        span_coordinates=np.array([c for s in spans for c in s], dtype=np.int64),
        term_offsets=np.cumsum([0, *(len(e) for e in exponents)]),
        exponents=np.concatenate(exponents) if exponents else np.zeros((0, 1), dtype=np.int64),
        coefficients=np.concatenate(coefficients) if coefficients else np.zeros((0, 3)),
        centre=muscles.centre,
        scale=muscles.scale,
        rms=np.array(rms),
        largest=np.array(largest),
    )


def _sampled(
    sampler: PathSampler, skeleton: Skeleton, muscles: MuscleTables, poses: int
) -> tuple[list[tuple[int, int]], Float[np.ndarray, "pose crossing 3"], Float[np.ndarray, "pose coordinate"]]:
    """Crossings, lines of action and the poses that they are of; where both sides are alike, half is sampled.

    Axes of bones point forwards, up and to the right on both sides: a mirrored line has the other z.
    """
    joints, sampled = loaded_joints(skeleton), muscles.sampled
    crossings, here = sample_lines(sampler, skeleton, joints, sampled[:COMPARED_POSES])
    mirror = mirror_by_name(muscles.names, muscles.coordinates, [muscles.spans(m) for m in range(len(muscles.names))])
    other = counterparts([joint.name for joint in joints])
    pairs = [] if mirror is None else [(int(mirror.muscle[m]), int(other[j])) for m, j in crossings]
    if mirror is not None and set(pairs) == set(crossings):
        twins = [crossings.index(pair) for pair in pairs]
        _, there = sample_lines(sampler, skeleton, joints, sampled[:COMPARED_POSES, mirror.coordinate])
        if np.abs(there - here[:, twins] * MIRRORED).max(initial=0.0) < SAME_DIRECTION:
            half = _evenly(sampled[: -(-len(sampled) // 2)], -(-poses // 2))
            _, unit = sample_lines(sampler, skeleton, joints, half)
            both = np.concatenate([unit, unit[:, twins] * MIRRORED])
            return crossings, both, np.concatenate([half, half[:, mirror.coordinate]])
    every = _evenly(sampled, poses)
    return *sample_lines(sampler, skeleton, joints, every), every


def _evenly(poses: Float[np.ndarray, "pose coordinate"], most: int) -> Float[np.ndarray, "kept coordinate"]:
    return poses[np.linspace(0, len(poses) - 1, min(most, len(poses))).astype(int)]


def _monomials(
    x: Float[np.ndarray, "pose span"], powers: Int[np.ndarray, "term span"]
) -> Float[np.ndarray, "pose term"]:
    table = x[:, :, None] ** np.arange(1 + int(powers.max(initial=0)))
    found = np.ones((len(x), len(powers)))
    for j in range(x.shape[1]):
        found *= table[:, j, powers[:, j]]
    return found


def sample_lines(
    sampler: PathSampler,
    skeleton: Skeleton,
    joints: tuple[LoadedJoint, ...],
    poses: Float[np.ndarray, "pose coordinate"],
) -> tuple[list[tuple[int, int]], Float[np.ndarray, "pose crossing 3"]]:
    """Crossings of muscles and joints by their indices, and the force of a unit tension in the distal bone's axes."""
    on_path = [path_bodies(muscle) for muscle in sampler.muscles]
    distal = [{b for b, on in zip(skeleton.bodies, joint.distal, strict=True) if on} for joint in joints]
    crossings = [
        (m, j)
        for m, bodies in enumerate(on_path)
        for j, below in enumerate(distal)
        if bodies & below and bodies - below
    ]
    if not crossings:
        return [], np.zeros((len(poses), 0, 3))
    wanted = {m: sorted(set().union(*(on_path[m] & distal[j] for k, j in crossings if k == m))) for m, _ in crossings}
    groups = _pulled_together(wanted, on_path)
    places = [(m, b) for group in groups for m in group for b in wanted[m]]
    summed = np.array([[k == m and b in distal[j] for m, b in places] for k, j in crossings], dtype=float)
    sets = sampler.model.model.getBodySet()
    index = {b: int(sets.get(b).getMobilizedBodyIndex()) for b in skeleton.bodies}
    asked = [(group, [index[b] for m in group for b in wanted[m]]) for group in groups]
    force = np.zeros((len(poses), len(places), 3))
    for t, q in enumerate(poses):
        sampler.set_pose(q)
        force[t] = np.concatenate([sampler.forces_on(*each) for each in asked])
    unit = np.einsum("kp,tpx->tkx", summed, force)
    rotation = skeleton(torch.as_tensor(poses)).rotation.numpy()[:, [joint.child for joint in joints]]
    at = [j for _, j in crossings]
    return crossings, np.einsum("tkyx,tky->tkx", rotation[:, at], unit)


def _pulled_together(wanted: Mapping[int, Sequence[str]], on_path: Sequence[set[str]]) -> list[list[int]]:
    """Groups of muscles of which none pulls on a body where the force of another is wanted."""
    groups: list[list[int]] = []
    for m, bodies in wanted.items():
        for group in groups:
            if not any(on_path[other] & set(bodies) or on_path[m] & set(wanted[other]) for other in group):
                group.append(m)
                break
        else:
            groups.append([m])
    return groups
