"""Shift the body as a whole by millimetres so that the ground can supply the forces of the motion.

Positions from markers or video are smooth to the eye and rough in their second derivative: 2 mm at 4 Hz are 130 N for
an 80 kg person, more than the feet can pass on without the centre of pressure leaving them. What the ground cannot
supply is left to residuals. Residual reduction (Delp et al. 2007, doi:10.1109/TBME.2007.901024) therefore changes the
kinematics a little; here the root translation p(t) moves by d(t), the least change that takes the residual away:

    minimise over d   sum_t |r(t) + m d''(t)|^2 / sigma_f^2 + |d(t)|^2 / sigma_d^2

r(t) is the part of the root's force that feet with unilateral friction contact cannot supply, found by the least-effort
problem restricted to the root's coordinates (muscles do not act there). The two steps alternate until r is small. A
root that moves in a plane, or that has translations locked, is shifted along the translations that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import splu

from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.motion import Motion
from bige_opensim.physics.carriers import Carrier
from bige_opensim.physics.contact import ContactSettings, contact_columns
from bige_opensim.physics.dynamics import inverse_dynamics, point_jacobian
from bige_opensim.physics.joint_problem import CHUNK, take
from bige_opensim.physics.least_effort import solve
from bige_opensim.physics.skeleton import Skeleton


@dataclass(frozen=True)
class ConsistencySettings:
    """sigma_d_m: how far the body may plausibly be shifted; sigma_f_n: residual that is as bad as such a shift.

    Frames that lack more than `other_support` body weights of vertical force are left alone: a chair or a hand carries
    there, and no shift of the body would.
    """

    iterations: int = 8
    sigma_d_m: float = 0.003
    sigma_f_n: float = 10.0
    enough_n: float = 2.0
    other_support: float = 0.2
    band_hz: float = 15.0


@dataclass(frozen=True)
class Shift:
    """Whole-body shift that was made, m, and root mean square of the root's unsupplied force before and after, N."""

    shift: Float[np.ndarray, "time 3"]
    residual_before_n: float
    residual_after_n: float

    @property
    def rms_mm(self) -> float:
        """Root mean square of the shift's length."""
        return float(1e3 * np.sqrt((self.shift**2).sum(1).mean()))

    @property
    def peak_mm(self) -> float:
        """Largest length of the shift."""
        return float(1e3 * np.sqrt((self.shift**2).sum(1)).max())


def make_consistent(
    skeleton: Skeleton,
    prepared: Prepared,
    root: tuple[list[int], list[int]],
    ground: float,
    contact: ContactSettings,
    settings: ConsistencySettings,
    unsupported: Bool[np.ndarray, " time"] | None = None,
    others: Sequence[Carrier] = (),
) -> tuple[Prepared, Shift]:
    """Alternate between what the ground cannot supply and the shift that avoids it.

    Frames in which something besides the feet is known to carry (`unsupported`) are left alone, as are those that lack
    more than `other_support`. `others`, such as a declared seat, carry as the feet do.

    The shift is low-passed at `band_hz`: contact at an edge pushes one way only, and without the filter the shift would
    answer with a shiver at the sampling rate.
    """
    demand = RootDemand(skeleton, prepared, root, ground, contact, others)
    mass = float(skeleton.person_mass.sum())
    carried = np.abs(demand.in_ground(demand.residual)[:, 1]) < settings.other_support * mass * float(
        skeleton.gravity.norm()
    )
    if unsupported is not None:
        carried &= ~unsupported
    acceleration = mass * second_difference(prepared.q.time)
    weight = eye_array(prepared.q.frames) / settings.sigma_d_m**2
    factor = splu(csc_array(acceleration.T @ acceleration / settings.sigma_f_n**2 + weight))
    names = tuple(skeleton.coordinates[i] for i in root[1])
    total = Motion(prepared.q.time, np.zeros((prepared.q.frames, len(names))), names)
    band_hz = min(settings.band_hz, 0.45 * prepared.q.rate_hz)
    before = _rms(demand.residual[carried])
    for _ in range(settings.iterations):
        if not carried.any() or np.abs(demand.residual[carried]).max() < settings.enough_n:
            break
        unsupplied = demand.gain * demand.residual * carried[:, None]
        pull = acceleration.T @ unsupplied / settings.sigma_f_n**2 + total.values / settings.sigma_d_m**2
        total = total.with_values(total.values - factor.solve(pull)).lowpass(band_hz)
        demand.shift(acceleration @ total.values)
    values = prepared.q.values.copy()
    values[:, [prepared.q.index(n) for n in names]] += total.values
    moved = prepared.moved(prepared.q.with_values(values)) if total.values.any() else prepared
    return moved, Shift(demand.in_ground(total.values), before, _rms(demand.residual[carried]))


def _rms(force: Float[np.ndarray, "time translation"]) -> float:
    return float(np.sqrt((force**2).sum(1).mean())) if len(force) else 0.0


class RootDemand:
    """What contact cannot supply along the root's n translations, and by how much that understates the force.

    `residual` (T, n) in N is understated by the factor `gain`.

    A centre of pressure at the edge of the foot leaves a force f and a moment M unsupplied together; with costs
    (f / f0)^2 + (M / M0)^2 their shares are M / h = f (M0 / f0)^2 / h^2 for a body at height h above ground, so the
    force demand is f (1 + (M0 / f0)^2 / h^2).

    A shift d(t) of the whole body changes the root's generalized forces by J' m d'', J the Jacobian of the mass centre
    with respect to the root's coordinates, and nothing else; contact columns, which move by as little as the shift, are
    kept.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        prepared: Prepared,
        root: tuple[list[int], list[int]],
        ground: float,
        contact: ContactSettings,
        others: Sequence[Carrier] = (),
    ) -> None:
        rows = [*root[0], *root[1]]
        state, qd = prepared.state(skeleton), prepared.tensor(skeleton, prepared.qd)
        self.tau = inverse_dynamics(skeleton, state)[:, rows]
        self.columns = torch.cat(
            [
                contact_columns(skeleton, take(state, part), qd[part], ground, contact).columns[:, rows]
                for part in torch.arange(len(qd)).split(CHUNK)
            ]
        )
        beside = [other.columns(skeleton, state, contact).columns[:, rows] for other in others]
        self.columns = torch.cat([self.columns, *beside], -1)
        com = skeleton.com(state.poses)
        self.com_jacobian = point_jacobian(skeleton, state, com.unsqueeze(-2), [_carrier(skeleton, rows)])[:, 0][
            ..., rows
        ]
        self.rotations = len(root[0])
        self.optimal = com.new_tensor(
            [contact.residual_moment_nm] * len(root[0]) + [contact.residual_force_n] * len(root[1])
        )
        self.weight = contact.weight
        height = max(float(com[:, 1].mean()) - ground, 0.2)
        self.gain = 1.0 + (contact.residual_moment_nm / contact.residual_force_n) ** 2 / height**2
        self.multiplier: torch.Tensor | None = None
        self.residual = self._residual(self.tau)

    def in_ground(self, along: Float[np.ndarray, "time translation"]) -> Float[np.ndarray, "time 3"]:
        """Vectors in ground axes from their parts along the root's translations."""
        return np.einsum("tkn,tn->tk", self.com_jacobian[..., self.rotations :].numpy(), along)

    def shift(self, inertia: Float[np.ndarray, "time translation"]) -> None:
        """Residual for a body shifted by d along the translations, given m d'' (T, n) in N."""
        force = torch.as_tensor(self.in_ground(inertia)).unsqueeze(-1)
        added = (self.com_jacobian.transpose(-1, -2) @ force).squeeze(-1)
        self.residual = self._residual(self.tau + added)

    def _residual(self, tau: torch.Tensor) -> Float[np.ndarray, "time translation"]:
        n = self.columns.shape[-1]
        solution = solve(
            self.columns,
            tau,
            weight=tau.new_full((n,), self.weight),
            lower=tau.new_zeros(n),
            upper=tau.new_full((n,), torch.inf),
            reserve_optimal=self.optimal,
            start=self.multiplier,
            tolerance=1e-6,
        )
        self.multiplier = solution.multiplier
        return solution.reserve[:, self.rotations :].numpy()


def _carrier(skeleton: Skeleton, rows: list[int]) -> int:
    """The body that floats: moved by the root's coordinates and by as few others as possible."""
    moved = skeleton.subtree[torch.isin(skeleton.coordinate_index, torch.tensor(rows))].all(0)
    steps = skeleton.subtree.sum(0)
    return int(torch.where(moved, steps, torch.inf).argmin())


def second_difference(time: Float[np.ndarray, " time"]) -> csc_array:
    """Matrix of the second derivative on a possibly uneven grid, 1/s2; end rows repeat their neighbours."""
    n = len(time)
    before, after = np.diff(time)[:-1], np.diff(time)[1:]
    inner = np.arange(1, n - 1)
    left, middle, right = 2 / (before * (before + after)), -2 / (before * after), 2 / (after * (before + after))
    rows = np.concatenate([inner, inner, inner, [0, 0, 0], [n - 1] * 3])
    cols = np.concatenate([inner - 1, inner, inner + 1, [0, 1, 2], [n - 3, n - 2, n - 1]])
    ends = [left[0], middle[0], right[0], left[-1], middle[-1], right[-1]]
    return csc_array((np.concatenate([left, middle, right, ends]), (rows, cols)), shape=(n, n))
