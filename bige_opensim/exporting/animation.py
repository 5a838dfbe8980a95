"""A motion as BVH: the bodies of the skeleton as joints of an animation, in cm, Y up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from bige_opensim.exporting.body_tree import GROUND, body_tree
from bige_opensim.exporting.selection import Selected, at_even_rate, frame_rate, poses_of
from bige_opensim.io.bvh import BvhJoint, write_bvh
from bige_opensim.viewer.take import in_skeleton_order

CM = 100.0
SLIDING_M = 0.01
"""A body at the end of the tree that slides more than this is left out: bones of an animation only turn."""
RIDGE = 1e-5
"""Holds a joint's centre at the body's origin where the motion is too small to tell where it is."""


def write_animation(selected: Selected, path: Path) -> tuple[str, ...]:
    """Write a motion as BVH, and return what is to be known of it.

    Joints are bodies, under their OpenSim names, and turn as these do about the centres that `joint_centre` finds:
    their offsets are fixed, as animation programs want them (they disagree on channels that move a joint). How far a
    joint that slides in OpenSim, as a knee does, leaves its centre is returned as a note. The root is the one body that
    hangs on ground, or ground where several do.
    """
    skeleton, tree = selected.person.skeleton, body_tree(selected.person.skeleton.tables)
    even, _ = at_even_rate(selected.recorded.coordinates)
    rotation, position = (part.numpy() for part in poses_of(skeleton, in_skeleton_order(even, skeleton)))
    roots = [at for at, body in enumerate(tree) if body.parent == GROUND]
    joints = [BvhJoint("ground", -1, np.zeros(3), np.zeros(3), np.broadcast_to(np.eye(3), rotation[:, 0].shape))]
    placed = {GROUND: (0, np.zeros(3))}
    """By body: its joint, and the joint's centre in the body, m."""
    slides, left_out = (0.0, ""), []
    for at, body in enumerate(tree):
        turned, moved = _in_parent(rotation, position, at, body.parent)
        end = 2.0 * skeleton.tables.com[at]
        if [at] == roots:
            joints = [BvhJoint(body.name, -1, np.zeros(3), CM * end, turned)]
            placed[at] = (0, np.zeros(3))
            continue
        centre, socket, distance = joint_centre(turned, moved)
        if distance > SLIDING_M and not any(other.parent == at for other in tree):
            left_out.append(body.name)
            continue
        slides = max(slides, (distance, body.name))
        above, of_above = placed[body.parent]
        placed[at] = (len(joints), centre)
        joints.append(BvhJoint(body.name, above, CM * (socket - of_above), CM * (end - centre), turned))
    root = position[:, roots[0]] if len(roots) == 1 else np.zeros((even.frames, 3))
    write_bvh(path, joints, CM * root, 1.0 / frame_rate(even))
    notes = []
    if slides[0] > 1e-4:
        notes.append(f"{slides[1]} slides by up to {1000 * slides[0]:.1f} mm, which BVH leaves out")
    if left_out:
        notes.append(f"left out, for they slide: {', '.join(left_out)}")
    return tuple(notes)


def joint_centre(
    rotation: Float[np.ndarray, "time 3 3"], position: Float[np.ndarray, "time 3"]
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"], float]:
    """The point about which a body turns most nearly in its parent: c in the body, p in the parent, m.

    They minimise Σ |R c + x - p|² + T λ |c|² over the frames (Ehrig et al. 2006, doi:10.1016/j.jbiomech.2005.10.002),
    with a small λ, since along the axis of a hinge any point will do. Also returns the largest distance that is left.
    """
    swing, way = rotation - rotation.mean(0), position - position.mean(0)
    normal = np.einsum("tji,tjk->ik", swing, swing) / len(swing) + RIDGE * np.eye(3)
    centre = -np.linalg.solve(normal, np.einsum("tji,tj->i", swing, way) / len(swing))
    socket = rotation.mean(0) @ centre + position.mean(0)
    left = np.linalg.norm(rotation @ centre + position - socket, axis=1)
    return centre, socket, float(left.max())


def _in_parent(
    rotation: Float[np.ndarray, "time body 3 3"], position: Float[np.ndarray, "time body 3"], at: int, parent: int
) -> tuple[Float[np.ndarray, "time 3 3"], Float[np.ndarray, "time 3"]]:
    """Frame of a body in its parent."""
    if parent == GROUND:
        return rotation[:, at], position[:, at]
    back = rotation[:, parent].swapaxes(-1, -2)
    return back @ rotation[:, at], (back @ (position[:, at] - position[:, parent])[..., None])[..., 0]
