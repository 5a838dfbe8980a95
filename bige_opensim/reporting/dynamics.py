"""Joint moments, ground forces and joint loads of simulated motions, as curves of a report."""

from __future__ import annotations

import numpy as np

from bige_opensim.labelling.joint_loads import RESULTANT
from bige_opensim.motion import Motion
from bige_opensim.physics.contact import FEET
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.reporting.joint_load_facts import NAMES
from bige_opensim.reporting.panels import Quantity
from bige_opensim.validation.certificate import Simulated

MOMENTS = {
    "hip_flexion": "Hip moment (− extends), N·m/kg",
    "knee_angle": "Knee moment (− extends), N·m/kg",
    "ankle_angle": "Ankle moment (− pushes the toes down), N·m/kg",
}
FORCE = "Ground force, vertical, body weights"
MOMENT, VERTICAL = "_moment", "vertical_"


def dynamics_of(skeleton: Skeleton, found: Simulated) -> Motion:
    """Moments of the legs (N·m/kg), vertical ground forces and joint loads (body weights) over a simulated motion."""
    columns: dict[str, np.ndarray] = {}
    mass = float(skeleton.own_mass.sum())
    for i, name in enumerate(skeleton.coordinates):
        if name[:-2] in MOMENTS:
            columns[name + MOMENT] = found.moments[:, i] / mass
    if found.ground is not None:
        weight = float(skeleton.body_weight_n)
        columns |= {VERTICAL + side: found.vertical_n[:, k] / weight for k, side in enumerate(FEET)}
    if found.joint_loads is not None:
        loads = found.joint_loads
        columns |= {name: loads[name] for name in loads.names if name.endswith(RESULTANT)}
    return (
        Motion(found.q.time, np.column_stack(list(columns.values())), tuple(columns)) if columns else found.q.select(())
    )


def dynamic_quantities() -> list[Quantity]:
    """A panel per joint's moment, one of the ground force, and one per joint's load, both sides in each."""
    moments = [Quantity(caption, tuple((f"{n}_{s}{MOMENT}", s) for s in FEET)) for n, caption in MOMENTS.items()]
    loads = [
        Quantity(f"{caption}, body weights", tuple((f"{n}_{s}{RESULTANT}", s) for s in FEET))
        for n, caption in NAMES.items()
    ]
    return [*moments, Quantity(FORCE, tuple((VERTICAL + s, s) for s in FEET)), *loads]
