"""One motion, ready to be drawn: what is fixed in a person's bodies, and what moves, at the display's rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from bige_opensim.labelling.joint_loads import RESULTANT
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.meshes import body_meshes
from bige_opensim.osim.model import file_sha256
from bige_opensim.osim.muscle_paths import MusclePaths, muscle_paths
from bige_opensim.physics.contact import FEET, ground_height
from bige_opensim.physics.joint_loads import loaded_joints
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.viewer.bodies import Shape, bones, flesh
from bige_opensim.viewer.drawing import (
    BaseOfSupport,
    base_of_support,
    facing_forward,
    force_arrows,
    path_segments,
    stool,
)


class Curve(NamedTuple):
    """A channel over time, to be drawn beside the scene, in a unit that people read."""

    kind: str
    unit: str
    values: Float[np.ndarray, " time"]


@dataclass(frozen=True, eq=False)
class DrawnPerson:
    """What is fixed in the bodies of one model: skin, bones or meshes, and points of muscle paths."""

    sha256: str
    skeleton: Skeleton
    paths: MusclePaths
    flesh: list[Shape]
    bones: list[Shape]

    @classmethod
    def of(cls, model: Path, geometry: Sequence[Path] = ()) -> DrawnPerson:
        """The person of a model file; with folders of geometry, bones are the model's own meshes.

        Raises
        ------
        ModelError
            The model cannot be read.

        """
        skeleton = Skeleton(compile_skeleton(model))
        drawn = bones(skeleton)
        meshes = [Shape(m.body, m.vertices, m.faces) for m in body_meshes(model, geometry)] if geometry else []
        known = {shape.body for shape in meshes}
        return cls(
            file_sha256(model),
            skeleton,
            muscle_paths(model),
            flesh(skeleton),
            meshes + [shape for shape in drawn if shape.body not in known] if meshes else drawn,
        )

    @cached_property
    def segments(self) -> Int[np.ndarray, "segment 2"]:
        """Points between which the muscles are drawn."""
        return path_segments(self.paths.muscle)

    @cached_property
    def path_bodies(self) -> Int[np.ndarray, " point"]:
        """Index in the skeleton of the body of every path point, -1 for ground."""
        names = [self.paths.bodies[b] if b >= 0 else "" for b in self.paths.body]
        return np.array([self.skeleton.bodies.index(n) if n else -1 for n in names], dtype=np.int64)


M_PER_BODY_WEIGHT = 0.1
"""Length of the arrows of joint loads: squats load a knee with three body weights and more."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """A motion to be shown, and what is known of it: rad, m, N and N·m, as `labelling.label.LabelChannels` has them.

    `verdict` is a few words for the title; `ground_m` the height of the ground, None where it is to be found; `seat`
    the place (x, z) of a chair and its height above the ground, m.
    """

    title: str
    verdict: str
    coordinates: Motion
    rotational: frozenset[str]
    activations: Motion | None = None
    moments: Motion | None = None
    ground_forces: Motion | None = None
    ground_m: float | None = None
    joint_loads: Motion | None = None
    seat: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Take:
    """A motion at the display's rate: T frames, on the ground at y = 0, at the origin and facing +X at its start.

    Attributes
    ----------
    rotation, position
        (T, B, 3, 3) and (T, B, 3) of the bodies, m.
    muscle_points
        (T, P, 3) of the muscle paths, m.
    activations
        (T, M), None where they are not known.
    arrows, pushing
        (T, K, 2, 3) tails and tips of the forces on the right and left foot and on what else is carried, such as the
        pelvis on a chair, m; (T, K) which are to be drawn.
    loads
        (T, J, 2, 3) tails and tips of the forces of the proximal on the distal bones of J joints, m: 10 cm for one body
        weight, the tip at the origin of the distal bone.
    com
        (T, 3) of the whole body, m.
    support
        The base of support; None for a model without contact points.
    furniture
        (E, 2, 3) ends of the edges of what stands there, m.
    curves
        Channels by name.

    """

    title: str
    verdict: str
    person: DrawnPerson
    rate_hz: float
    rotation: Float[np.ndarray, "time body 3 3"]
    position: Float[np.ndarray, "time body 3"]
    muscle_points: Float[np.ndarray, "time point 3"]
    activations: Float[np.ndarray, "time muscle"] | None
    arrows: Float[np.ndarray, "time carried 2 3"]
    pushing: Bool[np.ndarray, "time carried"]
    loads: Float[np.ndarray, "time loaded 2 3"]
    com: Float[np.ndarray, "time 3"]
    support: BaseOfSupport | None
    furniture: Float[np.ndarray, "edge 2 3"]
    curves: dict[str, Curve] = field(repr=False)

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.com)

    @property
    def duration(self) -> float:
        """In s."""
        return (self.frames - 1) / self.rate_hz

    @property
    def top(self) -> float:
        """The highest point of a body at the start, with room for a head, m."""
        return float(self.position[0, :, 1].max()) + 0.38


def take(recorded: Recorded, person: DrawnPerson, rate_hz: float) -> Take:
    """Interpolate a motion to the display's rate, move the bodies, and measure what is drawn."""
    skeleton = person.skeleton
    time = display_times(recorded.coordinates.time, rate_hz)
    q = in_skeleton_order(recorded.coordinates.resampled(time), skeleton)
    with torch.no_grad():
        poses = skeleton(torch.as_tensor(q))
        com = skeleton.com(poses).numpy()
        contacts = skeleton.contact_points(poses) if skeleton.contact_names else None
    ground = recorded.ground_m
    if ground is None:
        ground = ground_height(contacts) if contacts is not None else 0.0
    place = _Place.of(skeleton, poses.rotation.numpy(), poses.position.numpy(), ground)
    rotation, position = place.rotation @ poses.rotation.numpy(), place.points(poses.position.numpy())
    com = place.points(com)
    arrows, pushing = _arrows(recorded.ground_forces, time, place, float(skeleton.weight_n))
    return Take(
        title=recorded.title,
        verdict=recorded.verdict,
        person=person,
        rate_hz=rate_hz,
        rotation=rotation.astype(np.float32),
        position=position.astype(np.float32),
        muscle_points=_path_points(person, q, rotation, position, place).astype(np.float32),
        activations=_activations(recorded.activations, person, time),
        arrows=arrows,
        pushing=pushing,
        loads=_load_arrows(recorded.joint_loads, time, skeleton, rotation, position),
        com=com,
        support=None if contacts is None else _support(place.points(contacts.numpy()), com, pushing),
        furniture=np.zeros((0, 2, 3)) if recorded.seat is None else place.points(stool(*recorded.seat, ground)),
        curves=_curves(recorded, time, float(skeleton.body_weight_n)),
    )


def display_times(time: Float[np.ndarray, " sample"], rate_hz: float) -> Float[np.ndarray, " frame"]:
    """Times from the first sample on at an even rate, up to the last sample; two at least."""
    count = max(int(np.floor((time[-1] - time[0]) * rate_hz + 1e-3)) + 1, 2)
    return np.minimum(time[0] + np.arange(count) / rate_hz, time[-1] - np.arange(count)[::-1] * 1e-9)


def at_times(motion: Motion, time: Float[np.ndarray, " frame"]) -> Float[np.ndarray, "frame channel"]:
    """Values at other times, linear in between, and the first and the last beyond."""
    return np.column_stack([np.interp(time, motion.time, column) for column in motion.values.T])


class _Place(NamedTuple):
    """Where a motion is put: turned about the vertical, then moved."""

    rotation: Float[np.ndarray, "3 3"]
    origin: Float[np.ndarray, " 3"]

    @classmethod
    def of(cls, skeleton: Skeleton, rotation: np.ndarray, position: np.ndarray, ground: float) -> _Place:
        if "pelvis" not in skeleton.bodies or not skeleton.floats:
            return cls(np.eye(3), np.array([0.0, ground, 0.0]))
        pelvis = skeleton.bodies.index("pelvis")
        x, _, z = position[0, pelvis]
        return cls(facing_forward(rotation[0, pelvis, :, 0]), np.array([x, ground, z]))

    def points(self, points: np.ndarray) -> np.ndarray:
        return (points - self.origin) @ self.rotation.T


def in_skeleton_order(motion: Motion, skeleton: Skeleton) -> Float[np.ndarray, "time coordinate"]:
    """Coordinates in the skeleton's order; those that the motion lacks keep the model's default."""
    default = skeleton.default.numpy()
    columns = [
        motion[name] if name in motion else np.full(motion.frames, default[at])
        for at, name in enumerate(skeleton.coordinates)
    ]
    return np.column_stack(columns)


def _path_points(
    person: DrawnPerson, q: np.ndarray, rotation: np.ndarray, position: np.ndarray, place: _Place
) -> Float[np.ndarray, "time point 3"]:
    """Path points in the scene; one that is not in use lies on the one before it."""
    local, body, used = person.paths.locations(q), person.path_bodies, person.paths.in_use(q)
    points = np.einsum("tpij,tpj->tpi", rotation[:, body], local) + position[:, body]
    fixed = body < 0
    points[:, fixed] = place.points(local[:, fixed])
    for at in range(1, points.shape[1]):
        if person.paths.muscle[at] == person.paths.muscle[at - 1]:
            points[:, at] = np.where(used[:, at, None], points[:, at], points[:, at - 1])
    return points


def _activations(
    found: Motion | None, person: DrawnPerson, time: np.ndarray
) -> Float[np.ndarray, "time muscle"] | None:
    """By muscle in the order of the paths; a muscle without activation has NaN."""
    if found is None:
        return None
    values = np.full((len(time), len(person.paths.muscles)), np.nan)
    known = [m for m in person.paths.muscles if m in found]
    values[:, [person.paths.muscles.index(m) for m in known]] = at_times(found.select(known), time) if known else 0.0
    return values


def _arrows(found: Motion | None, time: np.ndarray, place: _Place, weight_n: float) -> tuple[np.ndarray, np.ndarray]:
    if found is None:
        return np.zeros((len(time), len(FEET), 2, 3)), np.zeros((len(time), len(FEET)), dtype=bool)
    carried = [f"ground_force_{side}" for side in FEET]
    carried += [
        name[: -len("_vx")] for name in found.names if name.startswith("support_force_") and name.endswith("_vx")
    ]
    force, point = (
        np.stack([at_times(found.select([f"{name}_{kind}{a}" for a in "xyz"]), time) for name in carried], axis=1)
        for kind in "vp"
    )
    return force_arrows(force @ place.rotation.T, place.points(point), weight_n)


def _support(contacts: np.ndarray, com: np.ndarray, pushing: np.ndarray) -> BaseOfSupport:
    """The feet's base of support; who leans on something else need not be balanced over it."""
    found = base_of_support(contacts, com)
    return found._replace(balanced=found.balanced | pushing[:, len(FEET) :].any(1))


def _load_arrows(
    found: Motion | None, time: np.ndarray, skeleton: Skeleton, rotation: np.ndarray, position: np.ndarray
) -> Float[np.ndarray, "time loaded 2 3"]:
    """Of the joints whose forces are known, which are given in the axes of the distal bones, N."""
    joints = [] if found is None else [j for j in loaded_joints(skeleton) if f"{j.name}_fx" in found]
    arrows = np.zeros((len(time), len(joints), 2, 3))
    for k, joint in enumerate(joints):
        assert found is not None
        force = at_times(found.select([f"{joint.name}_f{axis}" for axis in "xyz"]), time)
        in_scene = np.einsum("tij,tj->ti", rotation[:, joint.child], force)
        arrows[:, k, 1] = position[:, joint.child]
        arrows[:, k, 0] = arrows[:, k, 1] - M_PER_BODY_WEIGHT * in_scene / float(skeleton.weight_n)
    return arrows


def _curves(recorded: Recorded, time: np.ndarray, weight_n: float) -> dict[str, Curve]:
    """Activations, coordinates in degrees or m, moments, and vertical ground forces and joint loads in body weights."""
    found: dict[str, Curve] = {}
    if recorded.activations is not None:
        values = at_times(recorded.activations, time)
        found |= {n: Curve("muscle", "activation", values[:, i]) for i, n in enumerate(recorded.activations.names)}
    coordinates = at_times(recorded.coordinates, time)
    for i, name in enumerate(recorded.coordinates.names):
        turns = name in recorded.rotational
        found[name] = Curve(
            "joint", "°" if turns else "m", np.rad2deg(coordinates[:, i]) if turns else coordinates[:, i]
        )
    if recorded.moments is not None:
        values = at_times(recorded.moments, time)
        for i, name in enumerate(recorded.moments.names):
            found[name] = Curve("moment", "N·m" if name.endswith("_moment") else "N", values[:, i])
    if recorded.ground_forces is not None:
        for side in FEET:
            name = f"ground_force_{side}_vy"
            vertical = at_times(recorded.ground_forces.select([name]), time)[:, 0]
            found[name] = Curve("force", "body weights", vertical / weight_n)
    if recorded.joint_loads is not None:
        for name in recorded.joint_loads.names:
            if name.endswith(RESULTANT):
                values = at_times(recorded.joint_loads.select([name]), time)[:, 0]
                found[f"{name.removesuffix(RESULTANT)}_load"] = Curve("load", "body weights", values)
    return found
