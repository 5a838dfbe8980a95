"""Lines of action: the direction along which every muscle pulls where its path crosses a joint.

A unit tension in muscle m acts on the bodies distal to joint J with the force u_mJ. In the axes of J's distal bone it
depends on no other coordinates than the muscle's length does, and is fitted by polynomials of them,

    u_mJ(q) = sum_k w_k prod_c x_c^e_kc,     x_c = (q_c - centre_c) / scale_c,

three components to a crossing, on the poses and the scale of the path polynomials (`MuscleTables`). Its length is 1
where the path crosses the joint once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.physics.joint_loads import LoadedJoint, loaded_joints
from bige_opensim.physics.packed_tables import pack, unpack
from bige_opensim.physics.skeleton import Poses, Skeleton


class Lines(NamedTuple):
    """Force of a unit tension, ground axes, at P crossings of a muscle (P,) and a loaded joint (P,)."""

    muscle: Int[Tensor, " crossing"]
    joint: Int[Tensor, " crossing"]
    unit: Float[Tensor, "*batch crossing 3"]

    def pull(self, tension: Float[Tensor, "*batch muscle"], joints: int) -> Float[Tensor, "*batch joint 3"]:
        """What muscles exert on the bodies distal to each of so many joints, N, in ground axes."""
        force = self.unit * tension[..., self.muscle, None]
        return force.new_zeros(*force.shape[:-2], joints, 3).index_add(-2, self.joint, force)


class Tendons(NamedTuple):
    """What tensions press: active (T, M) at full activation and passive (T, M), N, along `lines`."""

    active: Float[Tensor, "time muscle"]
    passive: Float[Tensor, "time muscle"]
    lines: Lines

    def pull(self, activation: Float[Tensor, "time muscle"], joints: int) -> Float[Tensor, "time joint 3"]:
        """What muscles at some activation exert on the bodies distal to each joint, N, in ground axes."""
        return self.lines.pull(activation * self.active + self.passive, joints)


def lines_of_paths(joints: tuple[LoadedJoint, ...], unit_force: Float[Tensor, "time muscle body 3"]) -> Lines:
    """Lines of action from the forces of a unit tension on every body, in ground axes."""
    if not joints:
        nothing = torch.zeros(0, dtype=torch.long)
        return Lines(nothing, nothing, unit_force.new_zeros(len(unit_force), 0, 3))
    distal = torch.stack([joint.distal for joint in joints]).to(unit_force)
    unit = torch.einsum("jb,tmbx->tmjx", distal, unit_force)
    muscle, joint = torch.nonzero((unit.abs() > 1e-9).any(-1).any(0), as_tuple=True)
    return Lines(muscle, joint, unit[:, muscle, joint])


@dataclass(frozen=True, eq=False)
class LineTables:
    """Fitted lines of action: P crossings, K terms in all, C coordinates.

    Attributes
    ----------
    muscle, joint
        (P,) index of the muscle, and of the joint among `loaded_joints`.
    span_offsets, span_coordinates, term_offsets
        As in `MuscleTables`, by crossing.
    exponents, coefficients
        (K, D) of the crossing's coordinates, zero beyond them; (K, 3), in the axes of the distal bone.
    centre, scale
        (C,) of the coordinates, rad or m.
    rms, largest
        (P,) error of the vector on poses left out of a fit.

    """

    muscle: np.ndarray
    joint: np.ndarray
    span_offsets: np.ndarray
    span_coordinates: np.ndarray
    term_offsets: np.ndarray
    exponents: np.ndarray
    coefficients: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    rms: np.ndarray
    largest: np.ndarray

    def to_bytes(self) -> bytes:
        """All of it as one block."""
        return pack({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def from_bytes(cls, block: bytes) -> LineTables:
        """Inverse of `to_bytes`."""
        return cls(**unpack(block))


class _Group(NamedTuple):
    """Crossings of muscles that span the same coordinates: exponents (K, D), weights (K, crossings * 3)."""

    crossings: list[int]
    coordinates: list[int]
    exponents: Tensor
    weights: Tensor


class FittedLines:
    """Lines of action of a model's muscles from polynomials; batched and differentiable in the coordinates."""

    def __init__(self, skeleton: Skeleton, tables: LineTables) -> None:
        self.tables = tables
        self.child = [joint.child for joint in loaded_joints(skeleton)]
        self.muscle, self.joint = (torch.as_tensor(v, dtype=torch.long) for v in (tables.muscle, tables.joint))
        self.centre, self.scale = torch.as_tensor(tables.centre), torch.as_tensor(tables.scale)
        members: dict[tuple[tuple[int, ...], int], list[int]] = {}
        for p in range(len(tables.muscle)):
            span = tables.span_coordinates[tables.span_offsets[p] : tables.span_offsets[p + 1]]
            terms = int(tables.term_offsets[p + 1] - tables.term_offsets[p])
            members.setdefault((tuple(int(c) for c in span), terms), []).append(p)
        self._groups = [self._group(crossings, list(span)) for (span, _), crossings in members.items()]
        order = [p for group in self._groups for p in group.crossings]
        self._unsort = torch.as_tensor(np.argsort(order), dtype=torch.long)

    def _group(self, crossings: list[int], span: list[int]) -> _Group:
        rows = [slice(*self.tables.term_offsets[p : p + 2]) for p in crossings]
        exponents = torch.as_tensor(self.tables.exponents[rows[0], : len(span)])
        weights = np.concatenate([self.tables.coefficients[r] for r in rows], axis=1)
        return _Group(crossings, span, exponents, torch.as_tensor(weights))

    def __call__(self, q: Float[Tensor, "*batch coordinate"], poses: Poses) -> Lines:
        """Lines of action in poses; `q` in rad and m as the skeleton orders coordinates."""
        x = (q - self.centre) / self.scale
        parts = []
        for group in self._groups:
            monomials = x.new_ones(*x.shape[:-1], 1)
            for j, c in enumerate(group.coordinates):
                top = int(group.exponents[:, j].max())
                powers = torch.stack([x[..., c] ** k for k in range(top + 1)], -1)
                monomials = monomials * powers[..., group.exponents[:, j]]
            parts.append((monomials @ group.weights).unflatten(-1, (len(group.crossings), 3)))
        local = torch.cat(parts, -2)[..., self._unsort, :] if parts else x.new_zeros(*x.shape[:-1], 0, 3)
        rotation = poses.rotation[..., self.child, :, :][..., self.joint, :, :]
        return Lines(self.muscle, self.joint, (rotation @ local.unsqueeze(-1)).squeeze(-1))
