"""Functions over many arguments against OpenSim's, one argument at a time."""

from __future__ import annotations

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose

from bige_opensim.osim.functions import values, values_and_slopes

BEYOND_BOTH_ENDS = np.linspace(-3.0, 4.0, 701)


def _spline(knots: list[float]) -> opensim.SimmSpline:
    spline = opensim.SimmSpline()
    for k, x in enumerate(knots):
        spline.addPoint(x, float(np.sin(3.0 * k) + 0.2 * x**2))
    return spline


def _scaled(function: opensim.Function) -> opensim.MultiplierFunction:
    function.this.disown()  # the multiplier deletes it
    return opensim.MultiplierFunction(function, -1.7)


def _stepped() -> opensim.PiecewiseLinearFunction:
    function = opensim.PiecewiseLinearFunction()
    for x, y in ((-1.0, 0.3), (0.5, -2.0), (2.0, 1.0)):
        function.addPoint(x, y)
    return function


UNEVEN = [-2.0, -1.9, -0.4, 0.0, 0.1, 1.5, 2.5]
FUNCTIONS = {
    "constant": opensim.Constant(0.7),
    "line": opensim.LinearFunction(1.3, -0.2),
    "polynomial": opensim.PolynomialFunction(opensim.Vector.createFromMat(np.array([0.4, -1.0, 0.2, 3.0]))),
    "spline": _spline(UNEVEN),
    "spline of three knots": _spline(UNEVEN[:3]),
    "spline of two knots": _spline(UNEVEN[:2]),
    "multiplied spline": _scaled(_spline(UNEVEN)),
    "multiplied line": _scaled(opensim.LinearFunction(1.3, -0.2)),
    "another kind": _stepped(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_slopes_are_those_of_opensim_within_and_beyond_the_knots(name):
    function, first = FUNCTIONS[name], opensim.StdVectorInt()
    first.push_back(0)
    x = np.concatenate([BEYOND_BOTH_ENDS, UNEVEN])
    arguments = [opensim.Vector(1, float(one)) for one in x]
    value, slope = values_and_slopes(function, x)
    assert_allclose(value, [function.calcValue(a) for a in arguments], atol=1e-12)
    assert_allclose(slope, [function.calcDerivative(first, a) for a in arguments], atol=1e-11)
    assert_allclose(values(function, x), value, atol=0)
