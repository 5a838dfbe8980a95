"""Forward kinematics of a compiled OpenSim skeleton.

Every joint is a chain of one-degree-of-freedom primitives, each a rotation about or a translation along a fixed
axis by s = f(q_c), where q_c is one independent coordinate and f the joint's own function (couplers composed in).
OpenSim's joints all reduce to such chains: X_FM = Trans(t1 a1 + t2 a2 + t3 a3) Rot(r1) Rot(r2) Rot(r3)
(OpenSim `SpatialTransform`; Seth et al. 2010, doi:10.1007/s11071-010-9717-3).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.physics.carried_loads import is_load
from bige_opensim.physics.hermite import hermite
from bige_opensim.physics.packed_tables import pack, unpack

ROTATION, TRANSLATION = 0, 1


@dataclass(frozen=True, eq=False)
class SkeletonTables:
    """A skeleton as plain arrays: C coordinates, K primitives, S splines of N nodes, B bodies, P contact spheres.

    Attributes
    ----------
    coordinates, rotational, range, default, locked
        Names, angle or not, (C, 2) limits, (C,) default values in rad or m, held (locked or prescribed) or not.
    kind, axis, parent, fixed_rotation, fixed_translation
        (K,) rotation 0 or translation 1; (K, 3) unit axis; (K,) parent primitive or -1 for ground; the constant
        transform from the parent's moved frame, (K, 3, 3) and (K, 3) in m.
    coordinate, affine, spline
        (K,) index of q_c; (K, 2) slope and offset of f; (K,) row of `spline_nodes` or -1 where f is affine.
    spline_low, spline_step, spline_nodes
        (S,) first abscissa; (S,) spacing; (S, N, 2) values and slopes of f on the uniform grid.
    simbody_spin
        (J, 4) rows (carrier, i, j, sign) of Simbody's own rule for the angular acceleration of function-based joints,
        see `dynamics.kinematics`.
    bodies, body_primitive, body_rotation, body_translation, mass, com, inertia
        Names; (B,) last primitive before the body, -1 for none; constant transform from it; kg; (B, 3) m; (B, 3, 3)
        kg m2 about the mass centre in body axes.
    contact_names, contact_body, contact_centre, contact_radius
        Foot contact spheres, (P,) body index, (P, 3) m in the body, (P,) m; right foot first.
    muscles, max_isometric_force, muscle_driven
        Names; (M,) N; coordinates on which at least one muscle acts.
    root
        Rotations (intrinsic sequence) with their axes, and translations, by which the model floats in ground; none
        where nothing floats.
    passive_forces
        Names of springs, ligaments and limits, which are known to OpenSim alone.
    source
        File name and sha256 of the model.

    """

    coordinates: tuple[str, ...]
    rotational: tuple[bool, ...]
    locked: tuple[bool, ...]
    range: np.ndarray
    default: np.ndarray
    kind: np.ndarray
    axis: np.ndarray
    parent: np.ndarray
    fixed_rotation: np.ndarray
    fixed_translation: np.ndarray
    coordinate: np.ndarray
    affine: np.ndarray
    spline: np.ndarray
    spline_low: np.ndarray
    spline_step: np.ndarray
    spline_nodes: np.ndarray
    simbody_spin: np.ndarray
    bodies: tuple[str, ...]
    body_primitive: np.ndarray
    body_rotation: np.ndarray
    body_translation: np.ndarray
    mass: np.ndarray
    com: np.ndarray
    inertia: np.ndarray
    gravity: np.ndarray
    contact_names: tuple[str, ...]
    contact_body: np.ndarray
    contact_centre: np.ndarray
    contact_radius: np.ndarray
    muscles: tuple[str, ...]
    max_isometric_force: np.ndarray
    muscle_driven: tuple[str, ...]
    root: dict[str, Any]
    passive_forces: tuple[str, ...]
    source: dict[str, str]

    def to_bytes(self) -> bytes:
        """All of it as one block."""
        return pack({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def from_bytes(cls, block: bytes) -> SkeletonTables:
        """Inverse of `to_bytes`."""
        return cls(**unpack(block))


class Poses(NamedTuple):
    """Body frames in ground: rotation (..., B, 3, 3) and origin (..., B, 3) in m."""

    rotation: Float[Tensor, "*batch body 3 3"]
    position: Float[Tensor, "*batch body 3"]


class Chain(NamedTuple):
    """Primitives in ground: frame after the motion, and the axis and origin of the motion itself.

    rotation (..., K, 3, 3), position (..., K, 3), axis (..., K, 3), origin (..., K, 3).
    """

    rotation: Tensor
    position: Tensor
    axis: Tensor
    origin: Tensor


class Displacement(NamedTuple):
    """s = f(q) of every primitive, and its first and second derivative in q, each (..., K)."""

    value: Tensor
    slope: Tensor
    curvature: Tensor


class Skeleton(torch.nn.Module):
    """Differentiable forward kinematics of one model, batched over any leading shape.

    Agrees with OpenSim's `Frame.getTransformInGround` to 1e-6 m inside the sampled coordinate range. `mass` (B,) is
    that of every body, `person_mass` that of the bodies that float, carried loads included: a belt or a floor in the
    model is nobody's weight. `own_mass` leaves loads out.
    """

    axis: Tensor
    fixed_rotation: Tensor
    fixed_translation: Tensor
    affine: Tensor
    spline_low: Tensor
    spline_step: Tensor
    spline_nodes: Tensor
    body_rotation: Tensor
    body_translation: Tensor
    mass: Tensor
    com_local: Tensor
    inertia: Tensor
    gravity: Tensor
    contact_centre: Tensor
    contact_radius: Tensor
    range: Tensor
    default: Tensor
    cross: Tensor
    cross_squared: Tensor
    is_rotation: Tensor
    coordinate_index: Tensor
    spline_index: Tensor
    body_primitive_index: Tensor
    contact_body_index: Tensor
    simbody_spin: Tensor
    subtree: Tensor
    selector: Tensor
    person_mass: Tensor
    own_mass: Tensor
    by_level: Tensor
    from_level: Tensor
    parent_in_level: Tensor
    parent_index: Tensor
    ancestors: Tensor

    def __init__(self, tables: SkeletonTables, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.tables = tables
        self.coordinates = tables.coordinates
        self.bodies = tables.bodies
        self.contact_names = tables.contact_names
        t = {k: torch.as_tensor(v, dtype=dtype) for k, v in _float_arrays(tables).items()}
        for name, value in t.items():
            self.register_buffer(name, value, persistent=False)
        cross = torch.stack([_cross_matrix(a) for a in t["axis"]]) if len(tables.axis) else t["axis"].new_zeros(0, 3, 3)
        self.register_buffer("cross", cross, persistent=False)
        self.register_buffer("cross_squared", cross @ cross, persistent=False)
        is_rotation = torch.as_tensor(tables.kind == ROTATION)
        self.register_buffer("is_rotation", is_rotation, persistent=False)
        for name in ("coordinate", "spline", "body_primitive", "contact_body"):
            index = torch.as_tensor(getattr(tables, name).astype(np.int64))
            self.register_buffer(f"{name}_index", index, persistent=False)
        self.register_buffer("simbody_spin", torch.as_tensor(tables.simbody_spin.astype(np.int64)), persistent=False)
        self.register_buffer("subtree", torch.as_tensor(_subtree(tables), dtype=dtype), persistent=False)
        selector = torch.zeros(len(tables.axis), len(tables.coordinates), dtype=dtype)
        selector[torch.arange(len(tables.axis)), torch.as_tensor(tables.coordinate.astype(np.int64))] = 1.0
        self.register_buffer("selector", selector, persistent=False)
        depth = _depths(tables.parent)
        order = np.argsort(depth, kind="stable")
        place = np.argsort(order)
        bounds = np.searchsorted(depth[order], np.arange(depth.max(initial=-1) + 2))
        self._levels = [(int(a), int(b)) for a, b in pairwise(bounds)]
        above = np.array([0 if p < 0 else place[p] - bounds[depth[p]] for p in tables.parent[order]], dtype=np.int64)
        for name, numbers in (("by_level", order), ("from_level", place), ("parent_in_level", above)):
            self.register_buffer(name, torch.as_tensor(numbers.astype(np.int64)), persistent=False)
        self.register_buffer("parent_index", torch.as_tensor(tables.parent.astype(np.int64)), persistent=False)
        self.register_buffer("ancestors", torch.as_tensor(_ancestors(tables.parent), dtype=dtype), persistent=False)
        root = {*tables.root["rotations"], *tables.root["translations"]}
        carries = [tables.coordinates[c] in root for c in tables.coordinate]
        on_root = self.subtree[torch.tensor(carries)].any(0) if root else torch.ones(len(self.bodies), dtype=torch.bool)
        self.register_buffer("person_mass", torch.where(on_root, self.mass, 0.0), persistent=False)
        loads = torch.tensor([is_load(b) for b in self.bodies], dtype=torch.bool)
        self.register_buffer("own_mass", torch.where(loads, 0.0, self.person_mass), persistent=False)

    def moves_like(self, other: Skeleton) -> bool:
        """Whether another was made from this one's tables with other masses or contact points: its joints are these."""
        own = {"mass", "com", "inertia", "contact_centre", "contact_radius"}
        names = (f.name for f in fields(SkeletonTables) if f.name not in own)
        return all(getattr(self.tables, name) is getattr(other.tables, name) for name in names)

    def index(self, coordinate: str) -> int:
        """Position of a coordinate among the channels."""
        return self.coordinates.index(coordinate)

    def displacements(self, q: Float[Tensor, "*batch coordinate"]) -> Displacement:
        """s, ds/dq and d2s/dq2 of every primitive; linear outside the sampled range of a spline."""
        x = q[..., self.coordinate_index]
        value = x * self.affine[:, 0] + self.affine[:, 1]
        slope = self.affine[:, 0].expand_as(x)
        curvature = torch.zeros_like(x)
        splined = torch.nonzero(self.spline_index >= 0).flatten()
        if len(splined):
            row = self.spline_index[splined]
            cubics = hermite(x[..., splined], self.spline_low[row], self.spline_step[row], self.spline_nodes, row)
            value = value.index_copy(-1, splined, cubics.value())
            slope = slope.index_copy(-1, splined, cubics.slope())
            curvature = curvature.index_copy(-1, splined, cubics.curvature())
        return Displacement(value, slope, curvature)

    def chain(self, s: Float[Tensor, "*batch primitive"]) -> Chain:
        """Frames of all primitives in ground, for displacements s (rad, m).

        Down the tree goes one product per level, R_parent (F_k exp([a_k] s_k), F_k a_k, p_k): the turned frame, the
        axis and the origin of primitive k, which F_k and p_k fix in the frame above, side by side.
        """
        batch = s.shape[:-1]
        angle = torch.where(self.is_rotation, s, 0.0)[..., None, None]
        shift = torch.where(self.is_rotation, 0.0, s)[..., None]
        F = self.fixed_rotation
        still = torch.cat([F @ self.axis[..., None], self.fixed_translation[..., None]], -1)
        turned = F + angle.sin() * (F @ self.cross) + (1.0 - angle.cos()) * (F @ self.cross_squared)
        own = torch.cat([turned, still.expand(*turned.shape[:-1], 2)], -1)[..., self.by_level, :, :]
        shift = shift[..., self.by_level, :]
        above = torch.eye(3, dtype=s.dtype, device=s.device).expand(*batch, 1, 3, 3)
        place = s.new_zeros(*batch, 1, 3)
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for first, last in self._levels:
            up = self.parent_in_level[first:last]
            moved = above.index_select(-3, up) @ own[..., first:last, :, :]
            origin = moved[..., 4] + place.index_select(-2, up)
            above = moved[..., :3]
            place = origin + moved[..., 3] * shift[..., first:last, :]
            parts.append((moved, place, origin))
        moved = torch.cat([p[0] for p in parts], -3).index_select(-3, self.from_level)
        position, origin = (torch.cat([p[i] for p in parts], -2).index_select(-2, self.from_level) for i in (1, 2))
        return Chain(moved[..., :3], position, moved[..., 3], origin)

    def body_frames(self, chain: Chain) -> Poses:
        """Body frames from the primitive that carries each body."""
        rotation = chain.rotation[..., self.body_primitive_index, :, :]
        position = chain.position[..., self.body_primitive_index, :]
        p = position + (rotation @ self.body_translation.unsqueeze(-1)).squeeze(-1)
        return Poses(rotation @ self.body_rotation, p)

    def forward(self, q: Float[Tensor, "*batch coordinate"]) -> Poses:
        """Poses of all bodies for coordinates q (rad, m)."""
        return self.body_frames(self.chain(self.displacements(q).value))

    @property
    def floats(self) -> bool:
        """Whether a body floats in ground, so that residuals and ground forces are to be found."""
        return bool(self.tables.root["rotations"] or self.tables.root["translations"])

    def com(self, poses: Poses) -> Float[Tensor, "*batch 3"]:
        """Centre of mass of what floats (of all bodies, where nothing does) in ground, m."""
        return (self.person_mass[:, None] * self.body_coms(poses)).sum(-2) / self.person_mass.sum()

    @property
    def weight_n(self) -> Tensor:
        """Weight of what floats with all that is carried, or of all bodies, where nothing does, N."""
        return self.person_mass.sum() * self.gravity.norm()

    @property
    def body_weight_n(self) -> Tensor:
        """Weight of the person without what is carried, N: what loads in body weights are measured in."""
        return self.own_mass.sum() * self.gravity.norm()

    def body_coms(self, poses: Poses) -> Float[Tensor, "*batch body 3"]:
        """Mass centres of the bodies in ground, m."""
        return poses.position + (poses.rotation @ self.com_local.unsqueeze(-1)).squeeze(-1)

    def station(self, poses: Poses, body: str | int, offset: Float[Tensor, " 3"]) -> Float[Tensor, "*batch 3"]:
        """A point fixed in a body, in ground, m."""
        b = self.bodies.index(body) if isinstance(body, str) else body
        return poses.position[..., b, :] + poses.rotation[..., b, :, :] @ offset

    def contact_points(self, poses: Poses) -> Float[Tensor, "*batch point 3"]:
        """Lowest point of every foot contact sphere in ground, m."""
        b = self.contact_body_index
        centre = (poses.rotation[..., b, :, :] @ self.contact_centre.unsqueeze(-1)).squeeze(-1)
        down = torch.zeros_like(self.contact_centre)
        down[:, 1] = self.contact_radius
        return poses.position[..., b, :] + centre - down


_FLOATS = (
    *("axis", "fixed_rotation", "fixed_translation", "affine", "spline_low", "spline_step", "spline_nodes"),
    *("body_rotation", "body_translation", "mass", "inertia", "gravity", "contact_centre", "contact_radius"),
    *("range", "default"),
)


def _float_arrays(t: SkeletonTables) -> dict[str, np.ndarray]:
    return {n: getattr(t, n) for n in _FLOATS} | {"com_local": t.com}


def _cross_matrix(a: Tensor) -> Tensor:
    z = torch.zeros_like(a[0])
    return torch.stack([torch.stack([z, -a[2], a[1]]), torch.stack([a[2], z, -a[0]]), torch.stack([-a[1], a[0], z])])


def _depths(parent: np.ndarray) -> np.ndarray:
    depth = np.zeros(len(parent), dtype=np.int64)
    for k, p in enumerate(parent):
        depth[k] = 0 if p < 0 else depth[p] + 1
    return depth


def _ancestors(parent: np.ndarray) -> np.ndarray:
    """(K, K) ones where primitive j moves primitive k, itself included."""
    moved = np.eye(len(parent))
    for k, p in enumerate(parent):
        if p >= 0:
            moved[k] += moved[p]
    return moved


def _subtree(t: SkeletonTables) -> np.ndarray:
    """(K, B) ones where primitive k moves body b."""
    moved = np.zeros((len(t.parent), len(t.bodies)))
    for b, k in enumerate(t.body_primitive):
        while k >= 0:
            moved[k, b] = 1.0
            k = t.parent[k]
    return moved
