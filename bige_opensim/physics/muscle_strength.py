"""What a muscle with a rigid tendon can pull with: OpenSim's three muscle classes, batched and differentiable.

A rigid tendon of length l_t leaves the fibre l_f cos(alpha) = L - l_t along the tendon; the fibres keep the height
h = l_opt sin(alpha_opt) of their parallelogram (OpenSim `MuscleFixedWidthPennationModel`; Zajac 1989):

    l_f = sqrt(h^2 + (L - l_t)^2),  cos(alpha) = (L - l_t) / l_f,  v_f = dL/dt cos(alpha).

With l = l_f / l_opt and v = v_f / (l_opt v_max), the active force at full activation is F_max f_l(l) f_v(v) c, where
the projection c follows what `calcInextensibleTendonActiveFiberForce(state, 1)` of OpenSim 4 computes, class by class:

* Millard2012Equilibrium: c = sqrt(1 - (h / l)^2). OpenSim passes the normalised fibre length l, not l_f, to its
  pennation model in `calcActiveFiberForceAlongTendon`, so c is almost 1; static optimization inherits that.
* Thelen2003: c = cos(alpha).
* DeGrooteFregly2016: c = 1; OpenSim returns the force along the fibre.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.physics.hermite import hermite
from bige_opensim.physics.muscle_tables import DEGROOTE, MILLARD, MUSCLE_CLASSES, THELEN

SMALLEST_PROJECTED_FIBRE = 1e-9

# De Groote et al. 2016 (doi:10.1007/s10439-016-1591-9), with the digits of OpenSim's class: f_l(1) = 1, f_v(0) = 1.
DEGROOTE_ACTIVE = (
    (0.8150671134243542, 1.055033428970575, 0.162384573599574, 0.063303448465465),
    (0.433004984392647, 0.716775413397760, -0.029947116970696, 0.200356847296188),
    (0.1, 1.0, 0.353553390593274, 0.0),
)
DEGROOTE_VELOCITY = (-0.3211346127989808, -8.149, -0.374, 0.8825327733249912)
DEGROOTE_PASSIVE_SHAPE = 4.0
DEGROOTE_SHORTEST_FIBRE = 0.2


def thelen_active(length: Tensor, shape: Tensor) -> Tensor:
    """Active force-length f_l = exp(-(l - 1)^2 / gamma) (Thelen 2003, doi:10.1115/1.1531112, eq. 4)."""
    return torch.exp(-((length - 1) ** 2) / shape)


def thelen_velocity(velocity: Tensor, af: Tensor, flen: Tensor, threshold: Tensor) -> Tensor:
    """Force-velocity f_v at full activation: Thelen 2003 (doi:10.1115/1.1531112), eqs. 6 and 7 solved for the force.

    Shortening: f = (1 + v) / (1 - v / A_f), not below 0. Lengthening: f = (1 + k v F_len) / (1 + k v) with
    k = (2 + 2 / A_f) / (F_len - 1), continued linearly above `threshold` * F_len, as OpenSim's `Thelen2003Muscle`.
    """
    shortening = (1 + velocity.clamp(-1, 0)) / (1 - velocity.clamp(-1, 0) / af)
    k = (2 + 2 / af) / (flen - 1)
    f_linear = threshold * flen
    v_linear = (f_linear - 1) / (k * (flen - f_linear))
    slope = k * (flen - f_linear) ** 2 / (flen - 1)
    bounded = torch.minimum(velocity.clamp(min=0), v_linear)
    lengthening = (1 + k * bounded * flen) / (1 + k * bounded) + slope * (velocity - v_linear).clamp(min=0)
    return torch.where(velocity < 0, shortening, lengthening)


def thelen_passive(length: Tensor, strain: Tensor, shape: Tensor) -> Tensor:
    """Passive force-length, 0 below optimal length, 1 at `strain` (Thelen 2003, doi:10.1115/1.1531112, eq. 3)."""
    return torch.expm1(shape * (length - 1).clamp(min=0) / strain) / torch.expm1(shape)


def degroote_active(length: Tensor, width: Tensor) -> Tensor:
    """Sum of three Gaussian-like curves, widened by `width` (De Groote et al. 2016, doi:10.1007/s10439-016-1591-9)."""
    x = (length - 1) / width + 1
    parts = [b1 * torch.exp(-0.5 * ((x - b2) / (b3 + b4 * x)) ** 2) for b1, b2, b3, b4 in DEGROOTE_ACTIVE]
    return torch.stack(parts).sum(0)


def degroote_velocity(velocity: Tensor) -> Tensor:
    """f_v = d1 asinh(d2 v + d3) + d4 (De Groote et al. 2016, doi:10.1007/s10439-016-1591-9)."""
    d1, d2, d3, d4 = DEGROOTE_VELOCITY
    return d1 * torch.asinh(d2 * velocity + d3) + d4


def degroote_passive(length: Tensor, strain: Tensor) -> Tensor:
    """Exponential through 0 at the shortest fibre (0.2) and 1 at `strain`, as OpenSim's DeGrooteFregly2016Muscle."""
    at_shortest = torch.exp(DEGROOTE_PASSIVE_SHAPE * (DEGROOTE_SHORTEST_FIBRE - 1) / strain)
    at_one = torch.exp(torch.as_tensor(DEGROOTE_PASSIVE_SHAPE))
    return (torch.exp(DEGROOTE_PASSIVE_SHAPE * (length - 1) / strain) - at_shortest) / (at_one - at_shortest)


@runtime_checkable
class StrengthTables(Protocol):
    """What of `MuscleTables` says how strong muscles are; their paths are not needed."""

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def parameters(self) -> Mapping[str, np.ndarray]: ...  # noqa: D102
    @property
    def curve_low(self) -> np.ndarray: ...  # noqa: D102
    @property
    def curve_step(self) -> np.ndarray: ...  # noqa: D102
    @property
    def curve_nodes(self) -> np.ndarray: ...  # noqa: D102
    @property
    def active_curve(self) -> np.ndarray: ...  # noqa: D102
    @property
    def velocity_curve(self) -> np.ndarray: ...  # noqa: D102
    @property
    def passive_curve(self) -> np.ndarray: ...  # noqa: D102


class Strength(torch.nn.Module):
    """Rigid-tendon forces of M muscles of any mixture of the supported classes."""

    curve_low: Tensor
    curve_step: Tensor
    curve_nodes: Tensor
    active_curve: Tensor
    velocity_curve: Tensor
    passive_curve: Tensor
    unsort: Tensor

    def __init__(self, tables: StrengthTables, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        members = {k: [i for i, c in enumerate(tables.classes) if c == k] for k in MUSCLE_CLASSES}
        self._present = [k for k in MUSCLE_CLASSES if members[k]]
        for kind in self._present:
            self.register_buffer(f"_members_{kind}", torch.tensor(members[kind], dtype=torch.long))
        order = torch.tensor([i for k in self._present for i in members[k]], dtype=torch.long)
        self.register_buffer("unsort", torch.argsort(order))
        for name, values in tables.parameters.items():
            self.register_buffer(f"_{name}", torch.as_tensor(values, dtype=dtype))
        for name in ("curve_low", "curve_step", "curve_nodes"):
            self.register_buffer(name, torch.as_tensor(getattr(tables, name), dtype=dtype))
        for name in ("active_curve", "velocity_curve", "passive_curve"):
            self.register_buffer(name, torch.as_tensor(getattr(tables, name), dtype=torch.long))

    def active(
        self, length: Float[Tensor, "*batch muscle"], velocity: Float[Tensor, "*batch muscle"]
    ) -> Float[Tensor, "*batch muscle"]:
        """Active force in N at full activation, OpenSim's `calcInextensibleTendonActiveFiberForce(state, 1)`.

        Parameters
        ----------
        length, velocity
            Muscle-tendon lengths (m) and lengthening speeds (m/s).

        """
        forces = {MILLARD: self._millard, THELEN: self._thelen, DEGROOTE: self._degroote}
        parts = []
        for kind in self._present:
            members = getattr(self, f"_members_{kind}")
            parts.append(forces[kind](members, length[..., members], velocity[..., members]))
        return torch.cat(parts, -1)[..., self.unsort]

    def passive(self, length: Float[Tensor, "*batch muscle"]) -> Float[Tensor, "*batch muscle"]:
        """Elastic force of the parallel element along the tendon in N, F_max f_p(l) cos(alpha), without damping.

        OpenSim's static optimization leaves it out; fibres shorter than the pennation model allows are held at its
        shortest, as `MuscleFixedWidthPennationModel.calcFiberLength` does.
        """
        parts = []
        for kind in self._present:
            members = getattr(self, f"_members_{kind}")
            fibre, cosine = self._fibre(kind, members, length[..., members])
            fibre = fibre / self._of("optimal_fiber_length", members)
            if kind == MILLARD:
                multiplier = self._curve(self.passive_curve[members], fibre)
            elif kind == THELEN:
                strain = self._of("FmaxMuscleStrain", members)
                multiplier = thelen_passive(fibre, strain, self._of("KshapePassive", members))
            else:
                multiplier = degroote_passive(fibre, self._of("passive_fiber_strain_at_one_norm_force", members))
                multiplier = multiplier * self._of("passive_fiber_force", members)
            parts.append(self._of("max_isometric_force", members) * multiplier * cosine)
        return torch.cat(parts, -1)[..., self.unsort]

    def _of(self, name: str, members: Int[Tensor, " member"]) -> Float[Tensor, " member"]:
        return getattr(self, f"_{name}")[members]

    def _fibre(self, kind: str, members: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Fibre length l_f (m) and cos(alpha)."""
        optimal, pennation = self._of("optimal_fiber_length", members), self._of("pennation_angle_at_optimal", members)
        height = optimal * torch.sin(pennation)
        along = length - self._of("tendon_slack_length", members)
        if kind != DEGROOTE:
            along = torch.maximum(along, self._of("minimum_fiber_length_along_tendon", members))
            along = along.clamp(min=SMALLEST_PROJECTED_FIBRE)
        fibre = torch.sqrt((height**2 + along**2).clamp(min=SMALLEST_PROJECTED_FIBRE**2))
        return fibre, along / fibre

    def _normalised(self, kind: str, members: Tensor, length: Tensor, velocity: Tensor) -> tuple[Tensor, ...]:
        """(l_f, l, v, cos(alpha))."""
        fibre, cosine = self._fibre(kind, members, length)
        optimal = self._of("optimal_fiber_length", members)
        fastest = optimal * self._of("max_contraction_velocity", members)
        return fibre, fibre / optimal, velocity * cosine / fastest, cosine

    def _millard(self, members: Tensor, length: Tensor, velocity: Tensor) -> Tensor:
        """Millard et al. 2013 (doi:10.1115/1.4023390), curves sampled from the model's own."""
        fibre, l, v, _ = self._normalised(MILLARD, members, length, velocity)  # noqa: E741
        multiplier = self._curve(self.active_curve[members], l) * self._curve(self.velocity_curve[members], v)
        height = self._of("optimal_fiber_length", members) * torch.sin(self._of("pennation_angle_at_optimal", members))
        sine = torch.minimum(height / l, torch.sin(self._of("maximum_pennation_angle", members)))
        force = self._of("max_isometric_force", members) * multiplier * torch.sqrt(1 - sine**2)
        return self._without_collapsed(members, length, fibre, force)

    def _thelen(self, members: Tensor, length: Tensor, velocity: Tensor) -> Tensor:
        fibre, l, v, cosine = self._normalised(THELEN, members, length, velocity)  # noqa: E741
        threshold = self._of("fv_linear_extrap_threshold", members)
        multiplier = thelen_active(l, self._of("KshapeActive", members)) * thelen_velocity(
            v, self._of("Af", members), self._of("Flen", members), threshold
        )
        force = self._of("max_isometric_force", members) * multiplier * cosine
        return self._without_collapsed(members, length, fibre, force)

    def _without_collapsed(self, members: Tensor, length: Tensor, fibre: Tensor, force: Tensor) -> Tensor:
        """No force where the fibre would be shorter than the class allows."""
        along = length - self._of("tendon_slack_length", members)
        able = along > self._of("minimum_fiber_length_along_tendon", members)
        able &= fibre > self._of("minimum_fiber_length", members)
        return torch.where(able, force, torch.zeros_like(force))

    def _degroote(self, members: Tensor, length: Tensor, velocity: Tensor) -> Tensor:
        _, l, v, _ = self._normalised(DEGROOTE, members, length, velocity)  # noqa: E741
        width = self._of("active_force_width_scale", members)
        return self._of("max_isometric_force", members) * degroote_active(l, width) * degroote_velocity(v)

    def _curve(self, row: Int[Tensor, " member"], x: Float[Tensor, "*batch member"]) -> Float[Tensor, "*batch member"]:
        """Curve `row` of every muscle at x."""
        return hermite(x, self.curve_low[row], self.curve_step[row], self.curve_nodes, row).value()
