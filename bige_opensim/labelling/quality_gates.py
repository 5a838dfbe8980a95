"""Whether a trial's labels hold: residuals, reserves, saturation and kinematics against published limits.

Limits follow Hicks et al. 2015, "Is my model good enough?", doi:10.1115/1.4029304.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

SATURATED = 0.99
MOMENT_FLOOR_NM = 10.0
RESERVE_SHARE = 0.05
FASTEST_ROTATION_RAD_S = 40.0
GATE_LIMITS = {
    "residual_force": 5.0,
    "residual_moment": 1.0,
    "reserves": 100 * RESERVE_SHARE,
    "saturated": 5.0,
    "failed_frames": 1.0,
    "rotation_speed": FASTEST_ROTATION_RAD_S,
    "whole_body_shift": 20.0,
}
"""What the gates' values must not exceed, in their units."""


@dataclass(frozen=True)
class Gate:
    """One check: the value that was found, the limit it must not exceed, the unit of both, and a remedy."""

    value: float
    limit: float
    unit: str
    remedy: str

    @property
    def passed(self) -> bool:
        """A value that is not finite fails."""
        return bool(np.isfinite(self.value) and self.value <= self.limit)

    def as_dict(self) -> dict[str, Any]:
        """For label.json."""
        return asdict(self) | {"passed": self.passed}

    @classmethod
    def from_dict(cls, gate: Mapping[str, Any]) -> Gate:
        """From label.json; labels of earlier versions may lack the remedy."""
        return cls(float(gate["value"]), float(gate["limit"]), str(gate["unit"]), str(gate.get("remedy", "")))


@dataclass(frozen=True)
class Labelled:
    """What the gates look at; T frames.

    residual_force (T, 3) N, residual_moment (T, 3) N·m: root reserves, fewer where less of the root floats;
    external_force (T,) N: magnitude of the net external force, one value where it does not change; com_height_m: mean
    height above ground; reserves and net_moments (T, J) N·m: of coordinates that muscles drive; activations (T, M);
    solved (T,).
    """

    residual_force: Float[np.ndarray, "time translation"]
    residual_moment: Float[np.ndarray, "time rotation"]
    external_force: Float[np.ndarray, " known"]
    com_height_m: float
    reserves: Float[np.ndarray, "time coordinate"]
    net_moments: Float[np.ndarray, "time coordinate"]
    activations: Float[np.ndarray, "time muscle"]
    solved: np.ndarray
    fastest_rotation: tuple[float, str]
    shift_peak_mm: float


def gates(x: Labelled) -> dict[str, Gate]:
    """All gates of a trial.

    The force that limits are relative to is the peak net external force; body weight, where nothing pushes. A
    coordinate's reserve is compared with its own peak net moment, but with at least 10 N·m, below which a few per cent
    are no more than rounding of the model.
    """
    by_frame = shares_by_frame(x)
    contact = "Check the mass, the ground contact and the trial's start and end (--start, --end)."
    weak = "The muscles are too weak for the motion: scale them"
    found = {
        "residual_force": (by_frame["residual_force"].max(), "% of peak external force", contact),
        "residual_moment": (by_frame["residual_moment"].max(), "% of COM height x peak external force", contact),
        "reserves": (by_frame["reserves"].max(), "% of peak net joint moment", f"{weak}."),
        "saturated": (
            by_frame["saturated"].mean(), "% of muscle frames above 0.99", f"{weak}, or check mass and noise."
        ),
        "failed_frames": (
            100 * (1 - np.mean(x.solved)), "% of frames", "Inspect the frames' coordinates for spikes."
        ),
        "rotation_speed": (
            x.fastest_rotation[0],
            "rad/s",
            f"Inverse kinematics lost {x.fastest_rotation[1]}, which jumps from frame to frame: repair the recording "
            "or cut it (--start, --end).",
        ),
        "whole_body_shift": (
            x.shift_peak_mm, "mm", "The recording's noise is too large for dynamics: lower --cutoff or record again."
        ),
    }  # fmt: skip
    return {n: Gate(float(value), GATE_LIMITS[n], unit, remedy) for n, (value, unit, remedy) in found.items()}


def shares_by_frame(x: Labelled) -> dict[str, Float[np.ndarray, " time"]]:
    """What four gates judge, frame by frame, in %: of the first three the largest counts, of `saturated` the mean."""
    external = max(float(x.external_force.max()), 1e-9)
    peaks = np.maximum(np.abs(x.net_moments).max(0), MOMENT_FLOOR_NM)
    nothing = np.zeros(len(x.solved))
    return {
        "residual_force": 100 * np.linalg.norm(x.residual_force, axis=1) / external,
        "residual_moment": 100 * np.linalg.norm(x.residual_moment, axis=1) / (external * max(x.com_height_m, 1e-9)),
        "reserves": 100 * (np.abs(x.reserves) / peaks).max(1) if x.reserves.size else nothing,
        "saturated": 100 * (x.activations > SATURATED).mean(1),
    }


def verdict(found: dict[str, Gate]) -> tuple[str, str]:
    """Status ("passed" or "gates_failed") and the reason in one sentence."""
    failed = [f"{name} {g.value:.3g} > {g.limit:g} {g.unit}. {g.remedy}" for name, g in found.items() if not g.passed]
    return ("gates_failed", " ".join(failed)) if failed else ("passed", "all quality gates passed")


def infeasible_frames(
    time: Float[np.ndarray, " time"],
    names: list[str],
    reserves: Float[np.ndarray, "time coordinate"],
    net_moments: Float[np.ndarray, "time coordinate"],
) -> list[dict[str, Any]]:
    """Frames whose moments the muscles cannot make, and the coordinate whose reserve carries most of what is lacking.

    A frame is listed when a reserve exceeds the gate's share of its coordinate's peak net moment.
    """
    peaks = np.maximum(np.abs(net_moments).max(0, initial=0.0), MOMENT_FLOOR_NM)
    share = np.abs(reserves) / peaks
    listed = []
    for t in np.flatnonzero((share > RESERVE_SHARE).any(1)):
        worst = int(share[t].argmax())
        listed.append({"time_s": float(time[t]), "coordinate": names[worst], "reserve_nm": float(reserves[t, worst])})
    return listed
