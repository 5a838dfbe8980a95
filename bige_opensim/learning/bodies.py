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


def planted(skeleton: Skeleton, columns: list[int], q: torch.Tensor, ground_share: float = 0.05) -> torch.Tensor:
    """Root translations that keep the feet where they are on a body of another size, the ground at height 0.

    q (batch, time, channel) in the skeleton's coordinates `columns`. With both feet on the ground the joint angles say
    where the pelvis is: horizontally the mean of all contact points stands still; vertically the mean of the feet's
    lowest points is on the ground, after which the whole motion is lifted so that its low percentile of the lowest
    point is at 0, which is where labelling finds the ground.
    """
    full = skeleton.get_buffer("default").to(q).expand(*q.shape[:-1], -1).clone()
    full[..., columns] = q
    points = skeleton.contact_points(skeleton(full))
    feet = [[i for i, n in enumerate(skeleton.contact_names) if n.endswith(side)] for side in ("_r", "_l")]
    lowest = torch.stack([points[..., foot, 1].amin(-1) for foot in feet])
    level = lowest.mean(0)
    left_over = torch.quantile(lowest.amin(0) - level, ground_share, dim=1, keepdim=True)
    centre = points[..., [0, 2]].mean(-2)
    drift = centre - centre[:, :1]
    result = q.clone()
    for name, shift in zip(
        skeleton.tables.root["translations"], (drift[..., 0], level + left_over, drift[..., 1]), strict=True
    ):
        result[..., columns.index(skeleton.coordinates.index(name))] -= shift
    return result
