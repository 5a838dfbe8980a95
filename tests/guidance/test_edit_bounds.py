"""A bound on a statistic as linear bounds on its curve."""

import numpy as np
import pytest
import torch

from bige_opensim.guidance import terms
from bige_opensim.guidance.edit import _tight

CURVES = np.random.default_rng(0).normal(size=(5, 60)).cumsum(axis=1)
STATISTIC = {"peak": terms.peak, "min": terms.trough, "rms": terms.rms}


@pytest.mark.parametrize(("stat", "sign"), [("peak", 1.0), ("min", -1.0), ("rms", 1.0)])
def test_the_statistic_is_the_largest_of_its_linear_functions(stat: str, sign: float) -> None:
    for curve in CURVES:
        value = sign * float(STATISTIC[stat](torch.as_tensor(curve)))
        own = _tight(stat, sign, curve)
        assert own is not None
        assert max(w @ curve for w in own) == pytest.approx(value)
        for other in CURVES:
            for w in _tight(stat, sign, other) or []:
                assert w @ curve <= value + 1e-12


@pytest.mark.parametrize(("stat", "sign"), [("peak", -1.0), ("min", 1.0), ("mean", 1.0), ("range", 1.0), ("rms", -1.0)])
def test_other_bounds_have_no_linear_functions(stat: str, sign: float) -> None:
    assert _tight(stat, sign, CURVES[0]) is None


def test_frames_of_a_peak_lie_apart_and_near_it() -> None:
    curve = np.zeros(50)
    curve[10:14], curve[30], curve[40] = 9.0, 8.5, 2.0
    chosen = [int(w.argmax()) for w in _tight("peak", 1.0, curve) or []]
    assert chosen[0] in range(10, 14)
    assert 30 in chosen
    assert 40 not in chosen
    assert min(abs(a - b) for a in chosen for b in chosen if a != b) >= 4
