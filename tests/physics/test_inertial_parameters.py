"""The regressor of inertial parameters is the derivative of the wrench that a motion takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from small_models import biped

from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.dynamics import State, body_wrenches, kinematics
from bige_opensim.physics.inertial_parameters import mass_centre_columns, mass_columns
from bige_opensim.physics.skeleton import Skeleton


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory) -> Skeleton:
    return Skeleton(compile_skeleton(biped(tmp_path_factory.mktemp("model") / "biped.osim"), cache=False))


def wild(skeleton: Skeleton) -> State:
    q, qd, qdd = torch.as_tensor(np.random.default_rng(0).normal(size=(3, 5, len(skeleton.coordinates))))
    return kinematics(skeleton, q, 3.0 * qd, 20.0 * qdd)


def total(skeleton: Skeleton) -> np.ndarray:
    force, moment = body_wrenches(skeleton, wild(skeleton))
    return torch.cat([force.sum(-2), moment.sum(-2)], -1).numpy()


def test_a_groups_column_is_what_more_of_its_mass_adds_exactly(skeleton):
    groups = [[skeleton.bodies.index("pelvis")], [skeleton.bodies.index(f"femur_{s}") for s in "rl"]]
    columns = torch.cat(mass_columns(skeleton, wild(skeleton), groups), -2).numpy()
    t = skeleton.tables
    for g, members in enumerate(groups):
        scale = np.ones(len(t.bodies))
        scale[members] = 1.3
        heavier = Skeleton(replace(t, mass=t.mass * scale, inertia=t.inertia * scale[:, None, None]))
        assert_allclose(total(heavier) - total(skeleton), 0.3 * columns[..., g], rtol=1e-9, atol=1e-8)


def test_the_mass_centres_columns_are_its_derivative_and_err_by_the_second_order_only(skeleton):
    b = skeleton.bodies.index("femur_l")
    columns = torch.cat(mass_centre_columns(skeleton, wild(skeleton), b), -2).numpy()
    t = skeleton.tables

    def error(size: float) -> float:
        d = size * np.array([0.6, -0.5, 0.3])
        com = t.com.copy()
        com[b] += d
        change = total(Skeleton(replace(t, com=com))) - total(skeleton)
        assert np.abs(change).max() > 1.0 * size
        return float(np.abs(change - columns @ d).max())

    assert error(1e-5) < 1e-4 * 1e-5 * np.abs(columns).max()
    assert error(2e-3) == pytest.approx(4 * error(1e-3), rel=1e-6)
