"""A model whose static optimization in OpenSim has weights on its muscles.

OpenSim's cost is sum |x|^p with every weight 1. With y = w^(1/p) a, a muscle of weight w costs w a^p = y^p, pulls with
(F / w^(1/p)) y, and its box is stretched by w^(1/p): a weaker muscle with a wider box, which OpenSim can solve.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import opensim
from jaxtyping import Float


def stretch(weight: Float[np.ndarray, " muscle"], exponent: float) -> Float[np.ndarray, " muscle"]:
    """w^(1/p): what OpenSim's controls of the weighted model are to be divided by."""
    return weight ** (1.0 / exponent)


def write_weighted(
    model_file: Path, muscles: tuple[str, ...], weight: Float[np.ndarray, " muscle"], exponent: float, path: Path
) -> Path:
    """Write the copy of a model in which OpenSim's unweighted cost is the weighted cost of the original."""
    model = opensim.Model(str(model_file))
    for name, factor in zip(muscles, stretch(weight, exponent).tolist(), strict=True):
        muscle = model.updMuscles().get(name)
        muscle.setMaxIsometricForce(muscle.getMaxIsometricForce() / factor)
        muscle.setMinControl(muscle.getMinControl() * factor)
        muscle.setMaxControl(muscle.getMaxControl() * factor)
    model.finalizeConnections()
    model.printToXML(str(path))
    return path
