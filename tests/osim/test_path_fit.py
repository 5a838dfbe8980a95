"""The linear algebra of path fits."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from bige_opensim.osim.path_fit import _Normal, _solve


def test_one_factorisation_gives_the_least_squares_fit_of_every_number_of_terms():
    rng = np.random.default_rng(0)
    rows, targets = rng.standard_normal((120, 20)), rng.standard_normal((120, 3))
    found = _solve(_Normal(rows.T @ rows, rows.T @ targets), [1, 6, 15])
    assert list(found) == [1, 6, 15]
    for terms, coefficients in found.items():
        expected = np.linalg.lstsq(rows[:, :terms], targets, rcond=None)[0]
        assert_allclose(coefficients, expected, atol=1e-10)
