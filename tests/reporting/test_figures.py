"""Drawings: points where the numbers are, figures that face the right way and stand on the ground."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from small_models import squat

from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.reporting.figures import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    GoalChart,
    Line,
    Panel,
    curves,
    goal_chart,
)
from bige_opensim.reporting.stick_figure import PHASES, figures, strip


def places(svg: str, style: str) -> np.ndarray:
    """Points (n, 2) of every path of a class."""
    routes = re.findall(rf'<path class="{style}" d="M([^"Z]*)', svg)
    return np.array([[float(x) for x in p.split()] for route in routes for p in route.split("L")])


def test_a_curve_runs_through_its_values_from_edge_to_edge():
    values = np.linspace(2.0, 8.0, 101)
    points = places(curves(Panel("p", (Line(values, "r"),), limits=(0.0, 10.0)), "alt"), "curve r")
    assert points[0, 0] == LEFT
    assert points[-1, 0] == WIDTH - RIGHT
    slope = np.diff(points[:, 1])
    assert np.allclose(slope, slope[0], atol=0.11)
    assert slope[0] < 0, "larger values are higher up"
    assert (points[:, 1] > TOP).all()
    assert (points[:, 1] < HEIGHT - BOTTOM).all()


def test_a_target_without_upper_bound_reaches_the_edge_of_the_panel():
    svg = curves(Panel("p", (Line(np.linspace(0, 10, 101), "r"),), target=(5.0, math.inf)), "alt")
    y, height = (float(re.search(rf'class="target".*?{k}="([\d.]+)"', svg)[1]) for k in ("y", "height"))
    assert y == pytest.approx(TOP)
    assert y + height == pytest.approx((TOP + HEIGHT - BOTTOM) / 2, abs=4)


def test_a_still_curve_and_a_missing_value_can_be_drawn():
    assert "curve r" in curves(Panel("p", (Line(np.zeros(101), "r"),)), "alt")
    chart = GoalChart("g", ("1", "2", "3"), (1.0, None, 1.0), (None, None, 1.0), (None, None, False), (1.0, math.inf))
    svg = goal_chart(chart, "alt")
    assert svg.count('class="estimate"') == 2
    assert svg.count('class="missed"') == 1
    assert 'class="met"' not in svg
    assert "nan" not in svg


def test_alternative_texts_are_escaped():
    assert '"><b>' not in curves(Panel("p", (Line(np.zeros(101), "r"),)), '"><b>')


@pytest.fixture(scope="module")
def figure_parts(model: Path):
    skeleton = Skeleton(compile_skeleton(model))
    return figures(skeleton, squat(model, frames=101).values)


def test_figures_stand_on_the_ground_line(figure_parts):
    svg = strip(figure_parts, "side", "alt")
    ground = float(re.search(r'class="ground" d="M0 (\d+)', svg)[1])
    feet = np.array([[float(x) for x in re.findall(r"\d+", d)] for d in re.findall(r'class="r" d="M([\d ]+)"/>', svg)
                     if d.count(" ") == 7])  # fmt: skip
    assert len(feet) == len(PHASES)
    assert feet[:, 1::2].max(1) == pytest.approx(np.full(len(PHASES), ground), abs=12)


def test_the_side_view_faces_right_and_the_front_view_faces_the_reader(figure_parts):
    foot = next(p for side, p in figure_parts.strokes if side == "r" and p.shape[1] == 4)
    heel, toe = foot[0, 1], foot[0, 2]
    assert toe[0] > heel[0], "the test's own motion walks along x"
    side = strip(figure_parts, "side", "alt")
    d = next(d for d in re.findall(r'class="r" d="M([\d ]+)"/>', side) if d.count(" ") == 7)
    x = [float(v) for v in d.split()[::2]]
    assert x[2] > x[1]
    front = strip(figure_parts, "front", "alt")
    middle = {
        s: np.mean([float(d.split()[0]) for d in re.findall(rf'class="{s}" d="M([\d ]+)"/>', front)]) for s in "rl"
    }
    assert middle["r"] < middle["l"], "the person's right is on the reader's left"


def test_the_pelvis_sinks_between_the_first_and_the_middle_pose(figure_parts):
    thigh = next(p for side, p in figure_parts.strokes if side == "r" and p.shape[1] == 2)
    assert thigh[2, 0, 1] < thigh[0, 0, 1] - 0.05
