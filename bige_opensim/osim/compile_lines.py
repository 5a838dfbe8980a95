"""Sample where muscles pull on the bones of a joint, for `physics.muscle_lines`, which runs without opensim."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from bige_opensim.io.cache import kept
from bige_opensim.osim.model import OsimModel, file_sha256, load
from bige_opensim.osim.path_sampler import PathSampler
from bige_opensim.osim.topology import path_bodies
from bige_opensim.physics.joint_loads import LoadedJoint, loaded_joints
from bige_opensim.physics.muscle_lines import LineTables
from bige_opensim.physics.muscle_tables import MuscleTables
from bige_opensim.physics.muscles import monomial_exponents
from bige_opensim.physics.skeleton import Skeleton

FORMAT = 1
POSES = 400
"""Poses, of those that the muscle paths were sampled on, in which lines of action are sampled."""
DEGREES = {0: 0, 1: 9, 2: 7, 3: 5, 4: 4}
FURTHER_DEGREE = 3
"""Total degree by the number of coordinates that a muscle spans, and for more of them."""
LEFT_OUT = 5
"""One pose in so many is left out of a first fit, to tell its error."""


def compile_lines(
    path: Path | str, skeleton: Skeleton, muscles: MuscleTables, *, poses: int = POSES, cache: bool = True
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

    Raises
    ------
    ModelError
        The model cannot be read.

    """
    sampled = muscles.sampled[np.linspace(0, len(muscles.sampled) - 1, min(poses, len(muscles.sampled))).astype(int)]
    digest = hashlib.sha256(np.ascontiguousarray(sampled)).hexdigest()[:32]
    name = f"lines-{FORMAT}-{file_sha256(path)[:32]}-{digest}"

    def make() -> LineTables:
        return _fitted(load(path), skeleton, muscles, sampled)

    return kept(name, make, pack=LineTables.to_bytes, unpack=LineTables.from_bytes) if cache else make()


def _fitted(
    model: OsimModel, skeleton: Skeleton, muscles: MuscleTables, sampled: Float[np.ndarray, "pose coordinate"]
) -> LineTables:
    joints = loaded_joints(skeleton)
    crossings, unit = sample_lines(model, skeleton, joints, sampled)
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


def _monomials(
    x: Float[np.ndarray, "pose span"], powers: Int[np.ndarray, "term span"]
) -> Float[np.ndarray, "pose term"]:
    table = x[:, :, None] ** np.arange(1 + int(powers.max(initial=0)))
    found = np.ones((len(x), len(powers)))
    for j in range(x.shape[1]):
        found *= table[:, j, powers[:, j]]
    return found


def sample_lines(
    model: OsimModel,
    skeleton: Skeleton,
    joints: tuple[LoadedJoint, ...],
    poses: Float[np.ndarray, "pose coordinate"],
) -> tuple[list[tuple[int, int]], Float[np.ndarray, "pose crossing 3"]]:
    """Crossings of muscles and joints by their indices, and the force of a unit tension in the distal bone's axes."""
    sampler = PathSampler(model)
    on_path = [path_bodies(muscle) for muscle in sampler.muscles]
    distal = [{b for b, on in zip(skeleton.bodies, joint.distal, strict=True) if on} for joint in joints]
    crossings = [
        (m, j)
        for m, bodies in enumerate(on_path)
        for j, below in enumerate(distal)
        if bodies & below and bodies - below
    ]
    sets = model.model.getBodySet()
    index = {b: int(sets.get(b).getMobilizedBodyIndex()) for b in skeleton.bodies}
    wanted = {m: sorted({b for k, j in crossings if k == m for b in on_path[m] & distal[j]}) for m, _ in crossings}
    unit = np.zeros((len(poses), len(crossings), 3))
    for t, q in enumerate(poses):
        sampler.set_pose(q)
        force = {m: sampler.forces_of(m, [index[b] for b in bodies]) for m, bodies in wanted.items()}
        for k, (m, j) in enumerate(crossings):
            unit[t, k] = sum(f for b, f in zip(wanted[m], force[m], strict=True) if b in distal[j])
    rotation = skeleton(torch.as_tensor(poses)).rotation.numpy()[:, [joint.child for joint in joints]]
    at = [j for _, j in crossings]
    return crossings, np.einsum("tkyx,tky->tkx", rotation[:, at], unit)
