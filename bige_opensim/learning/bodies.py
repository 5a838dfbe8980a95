"""Bodies that motions are planted on: people's models as arrays, and the same with other masses and strengths."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from bige_opensim.physics.muscle_tables import MuscleTables
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.predictor import PhysicsPredictor
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables

SOFT_M = 0.004
"""How much higher a point of a foot is that carries 1/e of what the lowest does, m."""

SMOOTH = 8
"""Cosines over a motion that its root may be moved by: 1.4 Hz for one of two and a half seconds."""


@dataclass(frozen=True, eq=False)
class Body:
    """A person's model: skeleton, and muscles with polynomial paths."""

    name: str
    skeleton: SkeletonTables
    muscles: MuscleTables

    @property
    def fingerprint(self) -> str:
        """sha256 of its arrays."""
        return hashlib.sha256(self.skeleton.to_bytes() + self.muscles.to_bytes()).hexdigest()

    def predictor(self, coordinates: tuple[str, ...], samples: int) -> PhysicsPredictor:
        """The least-effort problem of motions in these coordinates on this body."""
        return PhysicsPredictor(Skeleton(self.skeleton), Muscles(self.muscles), coordinates, samples=samples)


@dataclass(frozen=True)
class BodySpread:
    """How far masses and strengths are varied: standard deviations of logarithms.

    mass: of the whole body, moments of inertia with it; part_mass: of single bodies, left and right alike; strength: of
    all muscles together; group_strength: of the muscles that span the same joints; muscle_strength: of single muscles;
    side_strength: right against left.
    """

    mass: float = 0.2
    part_mass: float = 0.04
    strength: float = 0.25
    group_strength: float = 0.10
    muscle_strength: float = 0.05
    side_strength: float = 0.03


def varied_body(body: Body, spread: BodySpread, random: np.random.Generator) -> Body:
    """The body with masses, and moments of inertia with them, multiplied by factors drawn from `spread`."""
    tables = body.skeleton
    parts = _shared([_sideless(name) for name in tables.bodies], spread.part_mass, random)
    mass = np.exp(spread.mass * random.standard_normal() + parts)
    varied = replace(tables, mass=tables.mass * mass, inertia=tables.inertia * mass[:, None, None])
    return replace(body, skeleton=varied)


def varied_strength(
    muscles: MuscleTables, spread: BodySpread, random: np.random.Generator
) -> Float[np.ndarray, " muscle"]:
    """Factors on the maximum isometric forces, drawn from `spread`."""
    spans = [frozenset(_sideless(muscles.coordinates[c]) for c in muscles.spans(m)) for m in range(len(muscles.names))]
    right = np.array([1.0 if name.endswith("_r") else -1.0 if name.endswith("_l") else 0.0 for name in muscles.names])
    return np.exp(
        spread.strength * random.standard_normal()
        + _shared(spans, spread.group_strength, random)
        + _shared([_sideless(name) for name in muscles.names], spread.muscle_strength, random)
        + spread.side_strength * random.standard_normal() * right
    )


def _shared(keys: list, size: float, random: np.random.Generator) -> np.ndarray:
    """One normal draw for each different key, in the order in which the keys come first."""
    drawn = {key: size * random.standard_normal() for key in dict.fromkeys(keys)}
    return np.array([drawn[key] for key in keys])


def _sideless(name: str) -> str:
    return re.sub(r"_[rl](?=_|$)", "", name)


def planted(
    skeleton: Skeleton, columns: list[int], q: Float[torch.Tensor, "batch time channel"], ground_share: float = 0.05
) -> Float[torch.Tensor, "batch time channel"]:
    """Root translations that keep the feet where they stand on a body of another size, the ground at height 0.

    q in the skeleton's coordinates `columns`. With feet on the ground the joint angles say where the pelvis is. Points
    of a foot carry it by the share w_i = exp(-y_i / s) / sum exp(-y / s), so that the support goes smoothly from heel
    to toes. Horizontally the points that carry do not slide: the root moves by -sum w_i dp_i from frame to frame, in
    the mean of both feet. Vertically the mean of the feet's soft lowest points, sum w_i y_i, is on the ground, after
    which the whole motion is lifted so that its low percentile is at 0, which is where labelling finds the ground.

    What the root is moved by is kept to its first `SMOOTH` cosines over the motion: 3 mm that come within two frames
    are more than body weight.
    """
    full = skeleton.get_buffer("default").to(q).expand(*q.shape[:-1], -1).clone()
    full[..., columns] = q
    points = skeleton.contact_points(skeleton(full))
    level, step = torch.zeros_like(q[..., 0]), torch.zeros_like(q[:, 1:, :2])
    for side in ("_r", "_l"):
        foot = points[..., [i for i, n in enumerate(skeleton.contact_names) if n.endswith(side)], :]
        carries = torch.softmax(-foot[..., 1] / SOFT_M, -1)
        level += 0.5 * (carries * foot[..., 1]).sum(-1)
        between = 0.5 * (carries[:, 1:] + carries[:, :-1])
        step += 0.5 * (between[..., None] * foot[..., [0, 2]].diff(dim=1)).sum(-2)
    drift = torch.cat([torch.zeros_like(step[:, :1]), step.cumsum(1)], 1)
    shift = _smooth(torch.stack([drift[..., 0], level, drift[..., 1]], -1))
    lowest = (points[..., 1] - shift[..., 1, None]).amin(-1)
    shift[..., 1] += torch.quantile(lowest, ground_share, dim=1, keepdim=True)
    shift[..., [0, 2]] -= shift[:, :1, [0, 2]]
    result = q.clone()
    for axis, name in enumerate(skeleton.tables.root["translations"]):
        result[..., columns.index(skeleton.coordinates.index(name))] -= shift[..., axis]
    return result


def _smooth(x: Float[torch.Tensor, "batch time channel"]) -> Float[torch.Tensor, "batch time channel"]:
    """The first `SMOOTH` cosines cos(pi k t) of curves, and a straight line, by least squares."""
    t = torch.linspace(0, 1, x.shape[1], dtype=x.dtype)
    basis = torch.cat([torch.cos(torch.pi * torch.arange(SMOOTH) * t[:, None]), t[:, None]], 1)
    return basis @ torch.linalg.lstsq(basis.expand(len(x), -1, -1), x).solution
