"""Bounds of the smallest change: statistics as linear bounds on their curves, and gates of a verdict."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bige_opensim.guidance import terms
from bige_opensim.guidance.deformation import Shape, Size
from bige_opensim.guidance.edit import GATE_ROOM, Forces, Norm, Simulation, _tight, edit
from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.quantities import Dynamics

from .conftest import COORDINATES, StiltBody, stilt_squat

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


class StiltDeformation:
    """Squats of the stilt body: x is what knees bend and the trunk leans, tenths of rad, and time."""

    variables, moved = 3, [0, 5, 6]

    def __init__(self) -> None:
        self.skeleton = StiltBody()
        self.base, self.duration = self._motion(torch.zeros(3, dtype=torch.float64)), 2.0

    def _motion(self, x: Tensor) -> Tensor:
        knee = (1.0 + 0.1 * x[0]).reshape(1)
        return stilt_squat(knee, knee, (0.1 * x[1]).reshape(1), 41)[0]

    def shape(self, x: Tensor) -> Shape:
        slopes = torch.func.jacfwd(self._motion)(x)
        return Shape(self._motion(x), self.duration * math.exp(0.1 * float(x[2])), slopes)

    def size(self, x: Tensor, shape: Shape) -> Size:
        return Size(x, torch.eye(3, dtype=x.dtype))

    def proposed(self, x: Tensor) -> Tensor:
        return x[:2]

    def duration_slope(self, duration: float) -> float:
        return 0.1 * duration


def reserves(q: Tensor, duration: Tensor | float) -> Tensor:
    """In shares of the gate's limit: a knee that bends takes as much, a lean takes it off, and so does time."""
    return q[:, 5] * (0.5 + 0.5 * (2.0 / duration) ** 2) / 1.15 + 0.5 * q[:, 0]


def edited(gated: bool, **settings: float) -> tuple[float, float, float, float]:
    """Bend, lean and duration of the smallest change to a knee of 70 degrees, and the gate's value."""
    deformation = StiltDeformation()
    knee = {"name": "knee", "quantity": "coordinate", "of": ["knee_angle_r"], "stat": "peak", "at_least": 70.0}
    objective = Objective.from_dict({"term": [knee]}).bind(COORDINATES, (), deformation.skeleton)

    def forces(q: Tensor, duration: Tensor) -> Forces:
        nothing = Dynamics(torch.zeros(1, len(q), 8), torch.zeros(1, len(q), 6))
        return Forces(torch.zeros(1, len(q), 0), nothing, {"reserves": reserves(q, duration)[:, None]})

    def simulate(shape: Shape) -> Simulation:
        value = float(reserves(shape.q, shape.duration).max())
        knees = np.array([math.degrees(float(shape.q[:, 5].max()))])
        passed = not gated or value <= 1.0
        return Simulation({"knee": knees}, passed, "", {"reserves": value} if gated else {})

    best = edit(objective, deformation, forces, simulate, {}, **settings).best
    assert best.holds
    q, duration = best.shape.q, best.shape.duration
    return float(q[:, 5].max()), float(q[:, 0].min()), duration, float(reserves(q, duration).max())


def test_without_its_gate_a_bound_is_met_by_the_knees_alone() -> None:
    knee, lean, duration, gate = edited(gated=False)
    assert knee == pytest.approx(math.radians(70.0), abs=0.01)
    assert (lean, duration) == pytest.approx((0.0, 2.0), abs=1e-3)
    assert gate > 1.0


def test_a_gate_is_a_bound_that_the_smallest_change_ends_at() -> None:
    """Least l^2 + s^2 with gate(l, s) = 1 less its room: l and s stand to each other as the gate's derivatives do."""
    knee, lean, duration, gate = edited(gated=True)
    assert gate == pytest.approx(1.0 - GATE_ROOM, abs=0.01)
    assert knee == pytest.approx(math.radians(70.0), abs=0.01)
    slower = math.log(duration / 2.0) / 0.1
    by_lean, by_time = 0.5 * 0.1, 0.1 * knee / 1.15 * (2.0 / duration) ** 2
    assert -lean / 0.1 / slower == pytest.approx(by_lean / by_time, rel=0.1)


def test_a_root_mean_square_that_a_step_turns_round_is_seen_before_the_step() -> None:
    """c + J d may be as large as c with the other sign: no product with c says so, the bound on all of it does."""
    T, draw = 60, np.random.default_rng(2)
    waves = np.cos(np.pi * np.outer(np.arange(3), np.arange(T) + 0.5) / T) * np.sqrt(2.0 / T)
    waves[0] /= np.sqrt(2.0)
    products, slopes = draw.normal(size=3), draw.normal(size=(3, 4))
    c = products @ waves
    norm = Norm("rms", float(np.sqrt(np.mean(c**2))) - 0.1, products, slopes, 0.0, T, 1e4)
    for step in (np.zeros(4), draw.normal(size=4), 3.0 * draw.normal(size=4)):
        moved = (products + slopes @ step) @ waves
        excess = float(np.sqrt(np.mean(moved**2))) - 0.1
        assert norm.excess_at(step) == pytest.approx(excess)
        row = norm.row(step)
        assert row.excess + row.slope @ step == pytest.approx(excess)
        other = norm.row(draw.normal(size=4))
        assert other.excess + other.slope @ step <= excess + 1e-12
