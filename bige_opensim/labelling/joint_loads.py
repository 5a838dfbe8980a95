"""Joint contact forces of a labelled trial, in newtons and body weights, and what of them no body bears.

Limits are the largest loads that were measured in a living body or told for one that took no harm: a hip's 8.7 body
weights in stumbling (Bergmann et al. 1993, J Biomech 26:969-990), in running 11.1 at the patella and 14.1 at the
ankle (Scott and Winter 1990, Med Sci Sports Exerc 22:357-369); and for the tibiofemoral joint the 8.0 kN at which
bent cadaver knees broke (Banglmaier et al. 1999, Stapp Car Crash Journal 43:127-140), 10.9 weights of 75 kg.

A load beyond them is marked and fails no trial: it tells of the model, not of the movement, which its person bore. Of
six recordings of squats and sit-to-stands of three people, five load a knee with 12 to 15 body weights, nearly all of
it by the vasti. Their moment arms in the models of Rajagopal et al. and of Lai et al. fall from 42 mm near extension to
18 mm at 100 degrees, and the tension of a path is the same above the kneecap and below, where a real kneecap is a
lever. Residuals, reserves and saturation of such squats pass their gates, and OpenSim's analyses give the same
activations and loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from bige_opensim.doctor.findings import Finding
from bige_opensim.motion import Motion
from bige_opensim.physics.contact import GroundForces
from bige_opensim.physics.dynamics import State
from bige_opensim.physics.joint_loads import contact_forces, in_child_axes, loaded_joints
from bige_opensim.physics.joint_problem import MusclesAndReserves
from bige_opensim.physics.skeleton import Skeleton

BORNE_BW = {"hip": 8.7, "knee": 10.9, "patellofemoral": 11.1, "ankle": 14.1}
"""Resultant contact force by joint, in body weights, above which no body is known to bear it."""
COMPONENTS = ("fx", "fy", "fz", "resultant")


RESULTANT = "_resultant_bw"
"""What ends the names of the columns of `joint_loads.sto` that hold a joint's whole force, in body weights."""


@dataclass(frozen=True)
class JointLoads:
    """Contact forces (T, J, 3) on the distal bones of joints ("knee_r"), N, in these bones' axes; body weight in N."""

    joints: tuple[str, ...]
    force: Float[np.ndarray, "time joint 3"]
    weight_n: float

    @property
    def resultant_bw(self) -> Float[np.ndarray, "time joint"]:
        """Length of the forces, in body weights."""
        return np.linalg.norm(self.force, axis=-1) / self.weight_n

    def motion(self, time: Float[np.ndarray, " time"]) -> Motion:
        """The columns of `joint_loads.sto`: per joint fx, fy, fz and resultant in N, and resultant_bw."""
        length = np.linalg.norm(self.force, axis=-1, keepdims=True)
        columns = np.concatenate([self.force, length, length / self.weight_n], axis=-1)
        names = [f"{joint}_{part}" for joint in self.joints for part in (*COMPONENTS, RESULTANT.lstrip("_"))]
        return Motion(time, columns.reshape(len(time), -1), tuple(names))

    def entry(self, time: Float[np.ndarray, " time"]) -> dict[str, Any]:
        """For label.json: each joint's peak in body weights and when, and the joints that no body's would bear."""
        resultant = self.resultant_bw
        peaks = {
            joint: {"peak_bw": round(float(resultant[at, k]), 4), "time_s": float(time[at])}
            for k, (joint, at) in enumerate(zip(self.joints, resultant.argmax(0), strict=True))
        }
        return {"weight_n": self.weight_n, "peaks": peaks, "beyond": beyond(peaks)}

    def unbearable(self, file: Path, time: Float[np.ndarray, " time"]) -> list[Finding]:
        """A note on the joint that is farthest beyond what any body is known to bear; none where none is."""
        peaks = self.entry(time)["peaks"]
        over = {joint: peaks[joint]["peak_bw"] / limit_bw(joint) for joint in beyond(peaks)}
        if not over:
            return []
        worst = max(over, key=lambda joint: over[joint])
        value, limit = peaks[worst]["peak_bw"], limit_bw(worst)
        return [
            Finding(
                file,
                worst,
                "note",
                "joint-loads",
                f"The joint {worst} would bear {value:.1f} body weights at {peaks[worst]['time_s']:.2f} s, and no body "
                f"is known to bear more than {limit:g}.",
                "Do not read joint loads of this trial as the person's: the model's muscles "
                "press joints too hard where these are bent far.",
                value=value,
                limit=limit,
                unit="BW",
            )
        ]


def limit_bw(joint: str) -> float:
    """Load above which no body is known to bear it, in body weights; `joint` with its side."""
    return BORNE_BW[joint.rsplit("_", 1)[0]]


def beyond(peaks: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Joints whose peak no body bears."""
    return [joint for joint, found in peaks.items() if found["peak_bw"] > limit_bw(joint)]


def joint_loads(
    skeleton: Skeleton,
    state: State,
    actuators: MusclesAndReserves,
    activations: Float[np.ndarray, "time muscle"],
    ground: GroundForces | None,
) -> JointLoads | None:
    """Contact forces of the model's hips, knees, patellofemoral joints and ankles; None where it has none of them.

    See `physics.joint_loads`. Springs and ligaments of the model press no joint here.
    """
    joints = loaded_joints(skeleton)
    if not joints or actuators.tendons is None:
        return None
    pull = actuators.tendons.pull(torch.as_tensor(activations), len(joints))
    force = in_child_axes(state, joints, contact_forces(skeleton, state, joints, pull, ground))
    return JointLoads(tuple(j.name for j in joints), force.numpy(), float(skeleton.body_weight_n))
