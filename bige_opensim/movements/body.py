"""Where pelvis, feet and centre of mass are, in closed form from coordinates and a few lengths.

Event rules need centimetres, not the model: a chain of segments with the axes of OpenSim's full-body models does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from bige_opensim.motion import Motion
from bige_opensim.movements.events import RepetitionError
from bige_opensim.movements.recording import KNEES, Recording, evenly_sampled, knee_flexion, smoothed

SIDES = (("r", 1.0), ("l", -1.0))
LEGS = ("hip_flexion_r", "hip_flexion_l", *KNEES, "ankle_angle_r", "ankle_angle_l")
CUTOFF_HZ = 8.0  # of positions before they are differentiated
GROUND_PERCENTILE = 5.0

# Joint centres and mass centres of Rajagopal et al. (2016, doi:10.1109/TBME.2016.2586891) before scaling: x forward,
# y up, z to the right, m; the shares of the body's mass are those of LaiUhlrich2022, which has the same skeleton.
GENERIC_LENGTHS = {
    "femur_length_m": 0.406,
    "tibia_length_m": 0.400,
    "foot_length_m": 0.179,
    "pelvis_width_m": 0.155,
    "trunk_length_m": 0.409,
}
HIP, LUMBAR = np.array([-0.0563, -0.0785, 0.0773]), np.array([-0.1007, 0.0815, 0.0])
PELVIS_CENTRE = np.array([-0.0707, 0.0, 0.0])
SHOULDER, TORSO_CENTRE = np.array([0.003, 0.372, 0.170]), np.array([-0.030, 0.320, 0.0])
ARM_CENTRE = np.array([0.0, -0.30, 0.0])
HEEL, BALL = np.array([-0.049, -0.084, 0.0]), np.array([0.130, -0.084, 0.0])
THIGH_CENTRE, SHANK_CENTRE, FOOT_CENTRE = 0.42, 0.47, 0.5  # of the segment's length
PELVIS_SHARE, TORSO_SHARE, ARM_SHARE, THIGH_SHARE, SHANK_SHARE, FOOT_SHARE = 0.156, 0.356, 0.049, 0.124, 0.049, 0.021


@dataclass(frozen=True, eq=False)
class Body:
    """Points of the body on an even time grid, m in ground axes; axis 1 is right, left.

    Attributes
    ----------
    time
        s.
    rate_hz
        Samples per second.
    knees
        Flexion (rad), positive in flexion, smoothed.
    pelvis
        Origin of the pelvis.
    hips
        Hip centres.
    heels
        Hind ends of the soles.
    toes
        Soles below the joints of the toes.
    com
        Centre of mass.
    forward
        Horizontal unit vector that the pelvis faces.
    leg_m
        Length of a leg from hip to ankle.
    ground_m
        Height of the ground: low percentile of the lowest sole.

    """

    time: Float[np.ndarray, " time"]
    rate_hz: float
    knees: Float[np.ndarray, "time 2"]
    pelvis: Float[np.ndarray, "time 3"]
    hips: Float[np.ndarray, "time 2 3"]
    heels: Float[np.ndarray, "time 2 3"]
    toes: Float[np.ndarray, "time 2 3"]
    com: Float[np.ndarray, "time 3"]
    forward: Float[np.ndarray, "time 3"]
    leg_m: float
    ground_m: float

    @property
    def clearance(self) -> Float[np.ndarray, "time 2"]:
        """Height of the lowest point of each sole above the ground, m."""
        return np.minimum(self.heels[..., 1], self.toes[..., 1]) - self.ground_m

    @property
    def hip_height(self) -> Float[np.ndarray, " time"]:
        """Height of the middle of the hips above the ground, m."""
        return self.hips[..., 1].mean(axis=1) - self.ground_m

    def ahead(self, points: Float[np.ndarray, "time 2 3"]) -> Float[np.ndarray, "time 2"]:
        """Coordinate of a point of either side along the way that the pelvis faces, m."""
        return np.einsum("tsx,tx->ts", points, self.forward)

    @property
    def balance(self) -> Float[np.ndarray, " time"]:
        """How far the centre of mass lies in front of the middle of the heels, m."""
        return ((self.com - self.heels.mean(axis=1)) * self.forward).sum(axis=1)

    def velocity(self, points: Float[np.ndarray, "time 3"]) -> Float[np.ndarray, "time 3"]:
        """Velocity of a point, m/s, low-passed at 8 Hz."""
        return self._smooth(points).derivatives()[0].values

    def acceleration(self, points: Float[np.ndarray, "time 3"]) -> Float[np.ndarray, "time 3"]:
        """Acceleration of a point, m/s², low-passed at 8 Hz."""
        return self._smooth(points).derivatives()[1].values

    def _smooth(self, points: Float[np.ndarray, "time 3"]) -> Motion:
        motion = Motion(self.time, points, ("x", "y", "z"))
        return motion.lowpass(CUTOFF_HZ) if self.rate_hz > 2.5 * CUTOFF_HZ else motion


def body_of(recording: Recording) -> Body:
    """The points of the body.

    With R the pelvis's orientation and o its origin, hips are at o + R h. Thighs turn by flexion, adduction and
    rotation about z, x and y, mirrored on the left; shanks by minus the knee's flexion and feet by dorsiflexion about
    z; the trunk about z, x and y at the lumbar joint, and the arms at the shoulders. Coordinates that the motion lacks
    count as 0. The centre of mass is the sum of the segments' by `*_SHARE`.

    Raises
    ------
    RepetitionError
        If the motion lacks coordinates of the root, or hip flexion, knee or ankle angles.

    """
    q, root = recording.q, recording.root
    missing = [n for n in (*root.rotations, *root.translations, *LEGS) if n not in q]
    if missing:
        raise RepetitionError(
            f"The rule reads where the feet and the centre of mass are; the motion lacks {', '.join(missing)}. "
            f"It has {', '.join(q.names[:8])}."
        )
    q = evenly_sampled(q)
    lengths = {k: (recording.lengths or {}).get(k, 0.0) or v for k, v in GENERIC_LENGTHS.items()}
    facing, origin = root.orientation(q), q.select(root.translations).values
    flexion = knee_flexion(q)
    sides = [_leg(q, lengths, facing, origin, flexion[:, i], *side) for i, side in enumerate(SIDES)]
    hips, heels, toes, weighted = (np.stack(part, axis=1) for part in zip(*sides, strict=True))
    forward = facing.apply([1.0, 0.0, 0.0]) * [1.0, 0.0, 1.0]
    rate = (q.frames - 1) / q.duration
    return Body(
        time=q.time,
        rate_hz=rate,
        knees=smoothed(flexion, rate),
        pelvis=origin,
        hips=hips,
        heels=heels,
        toes=toes,
        com=weighted.sum(axis=1) + _upper_body(q, lengths, facing, origin),
        forward=forward / np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9),
        leg_m=lengths["femur_length_m"] + lengths["tibia_length_m"],
        ground_m=float(np.percentile(np.minimum(heels[..., 1], toes[..., 1]).min(axis=1), GROUND_PERCENTILE)),
    )


def _leg(
    q: Motion,
    lengths: Mapping[str, float],
    facing: Rotation,
    origin: Float[np.ndarray, "time 3"],
    flexion: Float[np.ndarray, " time"],
    side: str,
    sign: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hip, heel and toe joint (time, 3), and the mass centres of the leg's segments times their shares, summed."""
    offset = HIP * [1.0, 1.0, sign] * (lengths["pelvis_width_m"] / GENERIC_LENGTHS["pelvis_width_m"])
    hip = origin + facing.apply(offset)
    thigh = facing * _turned(q, "hip_flexion", "hip_adduction", "hip_rotation", side, sign)
    knee = hip + thigh.apply([0.0, -lengths["femur_length_m"], 0.0])
    shank = thigh * _about_z(-flexion)
    ankle = knee + shank.apply([0.0, -lengths["tibia_length_m"], 0.0])
    foot = shank * _about_z(_angle(q, f"ankle_angle_{side}"))
    scale = lengths["foot_length_m"] / GENERIC_LENGTHS["foot_length_m"]
    heel, toe = ankle + foot.apply(scale * HEEL), ankle + foot.apply(scale * BALL)
    weighted = THIGH_SHARE * (hip + THIGH_CENTRE * (knee - hip)) + SHANK_SHARE * (knee + SHANK_CENTRE * (ankle - knee))
    return hip, heel, toe, weighted + FOOT_SHARE * (heel + FOOT_CENTRE * (toe - heel))


def _upper_body(
    q: Motion, lengths: Mapping[str, float], facing: Rotation, origin: Float[np.ndarray, "time 3"]
) -> Float[np.ndarray, "time 3"]:
    """Mass centres of pelvis, trunk with head, and arms, times their shares, summed."""
    wide = lengths["pelvis_width_m"] / GENERIC_LENGTHS["pelvis_width_m"]
    tall = lengths["trunk_length_m"] / GENERIC_LENGTHS["trunk_length_m"]
    lumbar = origin + facing.apply(wide * LUMBAR)
    trunk = facing * _turned(q, "lumbar_extension", "lumbar_bending", "lumbar_rotation")
    weighted = PELVIS_SHARE * (origin + facing.apply(wide * PELVIS_CENTRE))
    weighted += TORSO_SHARE * (lumbar + trunk.apply(tall * TORSO_CENTRE))
    for side, sign in SIDES:
        arm = trunk * _turned(q, "arm_flex", "arm_add", "arm_rot", side, sign)
        shoulder = lumbar + trunk.apply(tall * SHOULDER * [1.0, 1.0, sign])
        weighted += ARM_SHARE * (shoulder + arm.apply(tall * ARM_CENTRE))
    return weighted


def _turned(q: Motion, z: str, x: str, y: str, side: str = "", sign: float = 1.0) -> Rotation:
    """Rotation about z, then x, then y of the moving frame; the last two mirrored for a negative sign."""
    end = f"_{side}" if side else ""
    angles = [_angle(q, f"{name}{end}") for name in (z, x, y)]
    return Rotation.from_euler("ZXY", np.stack(angles, axis=1) * [1.0, sign, sign])


def _about_z(angle: Float[np.ndarray, " time"]) -> Rotation:
    return Rotation.from_rotvec(angle[:, None] * np.array([0.0, 0.0, 1.0]))


def _angle(q: Motion, name: str) -> Float[np.ndarray, " time"]:
    return q[name] if name in q else np.zeros(q.frames)
