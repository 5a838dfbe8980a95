"""Moments, ground forces and joint loads of a report: per kilogram and per body weight of the person."""

import numpy as np
import pytest
import torch
from small_models import biped

from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.contact import GroundForces
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.reporting.dynamics import VERTICAL, dynamic_quantities, dynamics_of
from bige_opensim.validation.certificate import Simulated


def test_moments_are_per_kilogram_and_forces_per_body_weight(tmp_path):
    skeleton = Skeleton(compile_skeleton(biped(tmp_path / "biped.osim")))
    mass, weight = float(skeleton.mass.sum()), float(skeleton.weight_n)
    time, names = np.array([0.0, 0.5, 1.0]), tuple(skeleton.coordinates)
    q = Motion(time, np.zeros((3, len(names))), names)
    moments, grf = np.zeros((3, len(names))), np.zeros((3, 6))
    knee = names.index("knee_angle_r")
    moments[:, knee] = [0.0, -2.0 * mass, 0.0]
    grf[:, 1], grf[:, 4] = 0.75 * weight, 0.25 * weight
    nothing = torch.zeros(3, 2, 3, dtype=torch.float64)
    loads = Motion(time, np.full((3, 2), [[2.5, 99.0]]), ("knee_r_resultant_bw", "knee_r_fx"))
    found = dynamics_of(
        skeleton, Simulated(q, q, moments, grf, {}, GroundForces(nothing, nothing, nothing, None), loads)
    )
    assert found["knee_angle_r_moment"].tolist() == pytest.approx([0.0, -2.0, 0.0])
    assert [found[VERTICAL + side][0] for side in "rl"] == pytest.approx([0.75, 0.25])
    assert found["knee_r_resultant_bw"][0] == 2.5
    assert "knee_r_fx" not in found.names
    shown = {name for quantity in dynamic_quantities() for name, _ in quantity.channels}
    assert set(found.names) <= shown
