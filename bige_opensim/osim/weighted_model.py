"""A model whose static optimization in OpenSim has weights on its muscles.

OpenSim's cost is sum |x|^p with every weight 1. With y = w^(1/p) x, an actuator of weight w costs w |x|^p = |y|^p,
pulls with (F / w^(1/p)) y, and its box is stretched by w^(1/p): a weaker actuator with a wider box, which OpenSim can
solve.
All weights together are raised until the smallest is 1, since muscles refuse controls below their smallest activation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import opensim
from jaxtyping import Float


def stretch(weight: Float[np.ndarray, " muscle"], exponent: float) -> tuple[Float[np.ndarray, " muscle"], float]:
    """What OpenSim's controls of the weighted model are to be divided by: those of muscles, and of other actuators."""
    raised = 1.0 / min(1.0, float(weight.min(initial=1.0)))
    return ((weight * raised) ** (1.0 / exponent)).clip(min=1.0), raised ** (1.0 / exponent)


def write_weighted(
    model_file: Path, muscles: tuple[str, ...], weight: Float[np.ndarray, " muscle"], exponent: float, path: Path
) -> Path:
    """Write the copy of a model in which OpenSim's unweighted cost is the weighted cost of the original.

    Its actuators besides muscles are CoordinateActuators, PointActuators and TorqueActuators.
    """
    model = opensim.Model(str(model_file))
    forces = model.updForceSet()
    of_muscles, of_others = stretch(weight, exponent)
    factors = dict(zip(muscles, of_muscles.tolist(), strict=True))
    for force in (forces.get(i) for i in range(forces.getSize())):
        actuator, muscle = opensim.ScalarActuator.safeDownCast(force), opensim.Muscle.safeDownCast(force)
        if actuator is None:
            continue
        factor = factors.get(force.getName(), of_others)
        actuator.setMinControl(actuator.getMinControl() * factor)
        actuator.setMaxControl(actuator.getMaxControl() * factor)
        if muscle is not None:
            muscle.setMaxIsometricForce(muscle.getMaxIsometricForce() / factor)
        else:
            own = getattr(opensim, force.getConcreteClassName()).safeDownCast(force)
            own.setOptimalForce(own.getOptimalForce() / factor)
    model.finalizeConnections()
    model.printToXML(str(path))
    return path
