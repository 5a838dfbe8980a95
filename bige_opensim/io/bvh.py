"""BVH, the hierarchies of joints that animation programs read: joints with offsets, and angles frame by frame.

The format is that of Biovision (Meredith and Maddock 2001, Motion Capture File Formats Explained): a joint's frame is
its parent's, moved by OFFSET and turned by the angles of its channels, in their order, about moved axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bige_opensim.io.storage import write_whole

ANGLES = ("Zrotation", "Xrotation", "Yrotation")
PLACES = ("Xposition", "Yposition", "Zposition")


class BvhJoint(NamedTuple):
    """A joint: its parent (index, -1 for the root), its place in the parent, and the end of a joint without children.

    rotations (T, 3, 3) turn the joint's axes into its parent's.
    """

    name: str
    parent: int
    offset: Float[np.ndarray, " 3"]
    end: Float[np.ndarray, " 3"]
    rotations: Float[np.ndarray, "time 3 3"]


def write_bvh(path: Path, joints: Sequence[BvhJoint], root: Float[np.ndarray, "time 3"], step_s: float) -> None:
    """Write joints, parents before children, and the path of the root, in one unit of length; StorageError as others.

    Only the root has channels of place.
    """
    order = list(_depth_first(joints, -1))
    lines = ["HIERARCHY", *_hierarchy(joints, -1, 0), "MOTION", f"Frames: {len(root)}", f"Frame Time: {step_s:.9g}"]
    columns = [root, *(np.rad2deg(_unwound(zxy_angles(joints[j].rotations))) for j in order)]
    lines += [" ".join(f"{v:.6f}" for v in row) for row in np.concatenate(columns, axis=1)]
    write_whole(path, "\n".join([*lines, ""]))


def zxy_angles(rotation: Float[np.ndarray, "time 3 3"]) -> Float[np.ndarray, "time 3"]:
    """Angles (z, x, y), rad, of R = Rz(z) Rx(x) Ry(y); at x = ±90 degrees, where z and y turn alike, y is 0."""
    x = np.arcsin(np.clip(rotation[:, 2, 1], -1.0, 1.0))
    locked = np.abs(rotation[:, 2, 1]) > 1.0 - 1e-12
    z = np.where(
        locked,
        np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0]),
        np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1]),
    )
    y = np.where(locked, 0.0, np.arctan2(-rotation[:, 2, 0], rotation[:, 2, 2]))
    return np.column_stack([z, x, y])


def _unwound(angles: Float[np.ndarray, "time 3"]) -> Float[np.ndarray, "time 3"]:
    """Without hops of a full turn, which programs would fill with a spin."""
    return np.unwrap(angles, axis=0)


def _depth_first(joints: Sequence[BvhJoint], parent: int) -> Iterator[int]:
    for at, joint in enumerate(joints):
        if joint.parent == parent:
            yield at
            yield from _depth_first(joints, at)


def _hierarchy(joints: Sequence[BvhJoint], parent: int, depth: int) -> Iterator[str]:
    indent = "\t" * depth
    for at, joint in enumerate(joints):
        if joint.parent != parent:
            continue
        channels = [*PLACES, *ANGLES] if parent < 0 else list(ANGLES)
        yield f"{indent}{'ROOT' if parent < 0 else 'JOINT'} {joint.name}"
        yield f"{indent}{{"
        yield f"{indent}\tOFFSET {_numbers(joint.offset)}"
        yield f"{indent}\tCHANNELS {len(channels)} {' '.join(channels)}"
        inside = list(_hierarchy(joints, at, depth + 1))
        yield from inside or (f"{indent}\t{line}" for line in ("End Site", "{", f"\tOFFSET {_numbers(joint.end)}", "}"))
        yield f"{indent}}}"


def _numbers(values: Float[np.ndarray, " 3"]) -> str:
    return " ".join(f"{v:.6f}" for v in values)
