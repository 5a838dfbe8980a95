"""A copy of a model with one person's strength and range of motion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import opensim

from bige_opensim.osim.messages import quiet_opensim


@quiet_opensim()
def write_personal_model(
    model: Path, path: Path, *, strength: Mapping[str, float], limits: Mapping[str, tuple[float, float]]
) -> Path:
    """Write a copy of a model with weaker or stronger muscles and narrower joints.

    Parameters
    ----------
    model
        An .osim file that OpenSim reads.
    path
        File to write.
    strength
        By muscle: what its `max_isometric_force` is multiplied with. Activations for the same moments rise by the
        inverse, which is how weakness shows in static optimization.
    limits
        By coordinate: its `range`, rad or m, and `clamped`. A default outside is moved to the nearer end.

    """
    copy = opensim.Model(str(model))
    for name, factor in strength.items():
        muscle = copy.updMuscles().get(name)
        muscle.setMaxIsometricForce(muscle.getMaxIsometricForce() * factor)
    for name, (low, high) in limits.items():
        coordinate = copy.updCoordinateSet().get(name)
        coordinate.setDefaultValue(min(max(coordinate.getDefaultValue(), low), high))
        coordinate.setRangeMin(low)
        coordinate.setRangeMax(high)
        coordinate.set_clamped(True)
    copy.finalizeConnections()
    copy.printToXML(str(path))
    return path
