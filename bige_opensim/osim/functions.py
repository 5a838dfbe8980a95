"""OpenSim's functions of one variable over many arguments at once.

A call into OpenSim per argument takes some 3 µs, and a model is compiled from a hundred thousand of them. The usual
functions are closed forms, and a spline's pieces are cubics, which value and slope at its knots determine.
"""

from __future__ import annotations

import numpy as np
import opensim
from jaxtyping import Float

FEWEST_KNOTS = 3


def values(function: opensim.Function, x: Float[np.ndarray, " argument"]) -> Float[np.ndarray, " argument"]:
    """f(x) for every argument."""
    return values_and_slopes(function, x)[0]


def values_and_slopes(
    function: opensim.Function, x: Float[np.ndarray, " argument"]
) -> tuple[Float[np.ndarray, " argument"], Float[np.ndarray, " argument"]]:
    """f(x) and f'(x) for every argument, as `calcValue` and `calcDerivative` give them."""
    x = np.asarray(x, dtype=np.float64)
    kind = function.getConcreteClassName()
    if kind == "Constant":
        return np.full_like(x, opensim.Constant.safeDownCast(function).getValue()), np.zeros_like(x)
    if kind == "LinearFunction":
        line = opensim.LinearFunction.safeDownCast(function)
        return line.getSlope() * x + line.getIntercept(), np.full_like(x, line.getSlope())
    if kind == "PolynomialFunction":
        powers = opensim.PolynomialFunction.safeDownCast(function).getCoefficients().to_numpy()
        return np.polyval(powers, x), np.polyval(np.polyder(powers), x)
    if kind == "MultiplierFunction":
        scaled = opensim.MultiplierFunction.safeDownCast(function)
        value, slope = values_and_slopes(scaled.getFunction(), x)
        return scaled.getScale() * value, scaled.getScale() * slope
    if kind == "SimmSpline":
        spline = opensim.SimmSpline.safeDownCast(function)
        if spline.getSize() >= FEWEST_KNOTS:
            knots = np.array([spline.getX(i) for i in range(spline.getSize())])
            return _cubics(knots, *_one_by_one(function, knots), x)
    return _one_by_one(function, x)


def _one_by_one(function: opensim.Function, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first = opensim.StdVectorInt()
    first.push_back(0)
    argument = opensim.Vector(1, 0.0)
    found = np.empty((2, len(x)))
    for k, one in enumerate(x.tolist()):
        argument.set(0, one)
        found[0, k], found[1, k] = function.calcValue(argument), function.calcDerivative(first, argument)
    return found[0], found[1]


def _cubics(knots: np.ndarray, value: np.ndarray, slope: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Piecewise cubics through values and slopes at knots, continued along their end slopes (OpenSim `SimmSpline`)."""
    k = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    inside = np.clip(x, knots[0], knots[-1])
    h = knots[k + 1] - knots[k]
    t, rise = (inside - knots[k]) / h, value[k + 1] - value[k]
    m0, m1 = slope[k] * h, slope[k + 1] * h
    second, third = 3.0 * rise - 2.0 * m0 - m1, m0 + m1 - 2.0 * rise
    there = value[k] + t * (m0 + t * (second + t * third))
    steepness = (m0 + t * (2.0 * second + 3.0 * t * third)) / h
    return there + steepness * (x - inside), steepness
