"""Parameters and curves of the muscle classes that `physics.muscle_strength` evaluates, read from OpenSim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import opensim
from jaxtyping import Float, Int

from bige_opensim.osim.model import ModelError, OsimModel
from bige_opensim.physics.muscle_tables import DEGROOTE, MILLARD, MUSCLE_CLASSES, THELEN

CURVE_NODES = 2049

_COMMON = (
    "max_isometric_force",
    "optimal_fiber_length",
    "tendon_slack_length",
    "pennation_angle_at_optimal",
    "max_contraction_velocity",
)
_OWN = {
    MILLARD: ("maximum_pennation_angle",),
    THELEN: (
        "maximum_pennation_angle",
        "FmaxMuscleStrain",
        "KshapeActive",
        "KshapePassive",
        "Af",
        "Flen",
        "fv_linear_extrap_threshold",
    ),
    DEGROOTE: ("active_force_width_scale", "passive_fiber_strain_at_one_norm_force"),
}
_DERIVED = ("minimum_fiber_length", "minimum_fiber_length_along_tendon", "passive_fiber_force")
_DOWNCAST = {
    MILLARD: opensim.Millard2012EquilibriumMuscle.safeDownCast,
    THELEN: opensim.Thelen2003Muscle.safeDownCast,
    DEGROOTE: opensim.DeGrooteFregly2016Muscle.safeDownCast,
}


def muscle_parameters(muscles: Sequence[opensim.Muscle]) -> dict[str, Float[np.ndarray, " muscle"]]:
    """Properties of every muscle by OpenSim name, NaN where its class has none, and three derived from them.

    `minimum_fiber_length` (m) below which the active force is zero, `minimum_fiber_length_along_tendon` (m) of the
    pennation model, `passive_fiber_force` 0 where the muscle ignores it, else 1.
    """
    names = [*_COMMON, *dict.fromkeys(p for own in _OWN.values() for p in own), *_DERIVED]
    values = {n: np.full(len(muscles), np.nan) for n in names}
    for i, muscle in enumerate(muscles):
        kind = str(muscle.getConcreteClassName())
        own = _DOWNCAST[kind](muscle)
        for name in (*_COMMON, *_OWN[kind]):
            values[name][i] = getattr(own, f"get_{name}")()
        if kind == DEGROOTE:
            values["passive_fiber_force"][i] = 0.0 if own.get_ignore_passive_fiber_force() else 1.0
        else:
            values["minimum_fiber_length"][i] = own.getMinimumFiberLength()
            values["minimum_fiber_length_along_tendon"][i] = _shortest_along_tendon(own)
    return values


def muscle_curves(muscles: Sequence[opensim.Muscle]) -> tuple[MuscleCurves, Int[np.ndarray, "muscle 3"]]:
    """Sampled Millard curves, and per muscle the rows of active, velocity and passive curve, -1 for other classes."""
    curves, rows = MuscleCurves(), np.full((len(muscles), 3), -1)
    for i, muscle in enumerate(muscles):
        kind = str(muscle.getConcreteClassName())
        if kind == MILLARD:
            own = _DOWNCAST[kind](muscle)
            of_muscle = own.getActiveForceLengthCurve(), own.getForceVelocityCurve(), own.getFiberForceLengthCurve()
            rows[i] = [curves.row(c) for c in of_muscle]
    return curves, rows


@dataclass(frozen=True, eq=False)
class FibreTables:
    """Classes, parameters and curves of a model's muscles without their paths (see `MuscleTables`)."""

    classes: tuple[str, ...]
    parameters: dict[str, Float[np.ndarray, " muscle"]]
    curve_low: Float[np.ndarray, " curve"]
    curve_step: Float[np.ndarray, " curve"]
    curve_nodes: Float[np.ndarray, "curve node 2"]
    active_curve: Int[np.ndarray, " muscle"]
    velocity_curve: Int[np.ndarray, " muscle"]
    passive_curve: Int[np.ndarray, " muscle"]


def fibre_tables(model: OsimModel) -> FibreTables:
    """Tables from which `physics.muscle_strength.Strength` evaluates the fibres of a model.

    Raises
    ------
    ModelError
        A muscle's class is not supported.

    """
    muscles = [model.model.getMuscles().get(name) for name in model.muscle_names]
    classes = tuple(str(m.getConcreteClassName()) for m in muscles)
    for name, kind in zip(model.muscle_names, classes, strict=True):
        if kind not in MUSCLE_CLASSES:
            raise ModelError(
                f"{model.path}: the passive force of muscle {name}, a {kind}, is not known here; supported are "
                f"{', '.join(MUSCLE_CLASSES)}. Leave passive forces off."
            )
    curves, rows = muscle_curves(muscles)
    return FibreTables(
        classes, muscle_parameters(muscles), curves.low, curves.step, curves.nodes, rows[:, 0], rows[:, 1], rows[:, 2]
    )


def fibre_volumes(model: OsimModel) -> Float[np.ndarray, " muscle"]:
    """F_max l_opt of every muscle in N·m: its volume times its specific tension."""
    muscles = [model.model.getMuscles().get(name) for name in model.muscle_names]
    return np.array([m.getMaxIsometricForce() * m.getOptimalFiberLength() for m in muscles])


def muscle_groups(model: OsimModel) -> dict[str, tuple[str, ...]]:
    """Names of the muscles in each group of the model's force set, groups without muscles left out."""
    forces = model.model.getForceSet()
    listed = opensim.ArrayStr()
    forces.getGroupNames(listed)
    groups = {}
    for name in (listed.get(i) for i in range(listed.getSize())):
        members = forces.getGroup(name).getPropertyByName("members")
        found = {opensim.PropertyHelper.getValueString(members, k) for k in range(members.size())}
        groups[name] = tuple(m for m in model.muscle_names if m in found)
    return {name: chosen for name, chosen in groups.items() if chosen}


class MuscleCurves:
    """Millard curves sampled once per set of curve parameters."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], int] = {}
        self._grids: list[tuple[float, float, np.ndarray]] = []

    def row(self, curve: opensim.Function) -> int:
        """Row of the table that holds this curve."""
        properties = [curve.getPropertyByIndex(i) for i in range(curve.getNumProperties())]
        values = [opensim.PropertyHelper.getValueDouble(p) if p.size() == 1 else None for p in properties]
        key = (curve.getConcreteClassName(), *map(repr, values))
        if key not in self._rows:
            self._rows[key] = len(self._grids)
            self._grids.append(_sampled(curve))
        return self._rows[key]

    @property
    def low(self) -> Float[np.ndarray, " curve"]:
        """First abscissa of every curve."""
        return np.array([g[0] for g in self._grids])

    @property
    def step(self) -> Float[np.ndarray, " curve"]:
        """Spacing of every curve's uniform grid."""
        return np.array([g[1] for g in self._grids])

    @property
    def nodes(self) -> Float[np.ndarray, "curve node 2"]:
        """Values and slopes on the grids."""
        return np.array([g[2] for g in self._grids]).reshape(-1, CURVE_NODES, 2)


def _sampled(curve: opensim.Function) -> tuple[float, float, np.ndarray]:
    domain = curve.getCurveDomain()
    x = np.linspace(domain.get(0), domain.get(1), CURVE_NODES)
    nodes = np.array([(curve.calcValue(float(v)), curve.calcDerivative(float(v), 1)) for v in x])
    return float(x[0]), float(x[1] - x[0]), nodes


def _shortest_along_tendon(muscle: opensim.Muscle) -> float:
    """Shortest fibre along the tendon of OpenSim's `MuscleFixedWidthPennationModel`, in m."""
    steepest, optimal = muscle.get_maximum_pennation_angle(), muscle.get_optimal_fiber_length()
    if steepest <= 1e-13:
        return 0.01 * optimal
    return float(optimal * np.sin(muscle.get_pennation_angle_at_optimal()) / np.tan(steepest))
