"""Where a motion starts and which way it faces, taken out of its coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from bige_opensim.motion import Motion

LARGEST_AXIS_ERROR = 1e-6


class RootError(ValueError):
    """A root joint whose rotations are not a sequence about the three coordinate axes."""


@dataclass(frozen=True)
class Root:
    """The joint from ground to the first body: R = R₁(s₁ q₁) R₂(s₂ q₂) R₃(s₃ q₃) about axes fixed in the moving frame.

    Attributes
    ----------
    rotations
        Names of q₁, q₂, q₃ (rad).
    sequence
        Their axes as scipy writes intrinsic sequences, "ZXY" for OpenSim's pelvis.
    signs
        s, +1 or -1.
    translations
        Names of the coordinates along ground X, Y and Z (m).

    """

    rotations: tuple[str, str, str]
    sequence: str
    signs: tuple[float, float, float]
    translations: tuple[str, str, str]

    @classmethod
    def from_label(cls, root: Mapping[str, Any]) -> Root:
        """The root as `SkeletonTables.root` and `label.json` describe it.

        Raises
        ------
        RootError
            If there are not three rotations about three different coordinate axes and three translations.

        """
        rotations, translations = tuple(root["rotations"]), tuple(root["translations"])
        axes = np.array(root["axes"], dtype=np.float64)
        if len(rotations) != 3 or len(translations) != 3 or axes.shape != (3, 3):
            raise RootError(
                f"the root joint has rotations {rotations} and translations {translations}; three of each are needed "
                "to remove the heading. Use a model whose pelvis moves freely."
            )
        main = np.abs(axes).argmax(axis=1)
        rest = np.abs(axes) - np.eye(3)[main]
        if np.abs(rest).max() > LARGEST_AXIS_ERROR or len(set(main)) != 3:
            raise RootError(
                f"the root's rotations {', '.join(rotations)} turn about {axes.tolist()}; the three coordinate axes, "
                "each once, were expected. Use a model whose pelvis rotations turn about X, Y and Z."
            )
        signs = tuple(float(np.sign(axis[at])) for axis, at in zip(axes, main, strict=True))
        return cls(rotations, "".join("XYZ"[at] for at in main), signs, translations)  # type: ignore[arg-type]

    def orientation(self, motion: Motion) -> Rotation:
        """Rotations from the root's moving frame to ground, one per sample."""
        return Rotation.from_euler(self.sequence, motion.select(self.rotations).values * self.signs)

    def angles(self, orientation: Rotation) -> Float[np.ndarray, "time 3"]:
        """The coordinates q₁, q₂, q₃ (rad) of orientations, continuous in time; |q₂| ≤ π/2."""
        return np.unwrap(orientation.as_euler(self.sequence), axis=0) * self.signs


def heading(orientation: Rotation) -> float:
    """Yaw (rad) about ground Y of the forward axis X of one orientation: 0 along ground X, positive towards -Z."""
    forward = orientation.apply([1.0, 0.0, 0.0])
    return float(np.arctan2(-forward[2], forward[0]))


def without_heading(motion: Motion, root: Root, *, ground_height_m: float = 0.0) -> Motion:
    """The same motion, facing along ground X and above the origin at its first sample, with the ground at height 0.

    The body moves rigidly: with ψ the heading at the first sample, orientations become R_y(-ψ) R, positions
    R_y(-ψ) (p - p₀) with p₀ = (tx(0), ground height, tz(0)); the other coordinates stay.

    Raises
    ------
    MotionError
        If the motion lacks a coordinate of the root.

    """
    orientation = root.orientation(motion)
    turn = Rotation.from_euler("Y", -heading(orientation[0]))
    position = motion.select(root.translations).values
    moved = turn.apply(position - np.array([position[0, 0], ground_height_m, position[0, 2]]))
    values = motion.values.copy()
    values[:, [motion.index(name) for name in root.rotations]] = root.angles(turn * orientation)
    values[:, [motion.index(name) for name in root.translations]] = moved
    return motion.with_values(values)
