"""A model that carries something moves as OpenSim says, and the load is where it was declared."""

import numpy as np
import opensim
import pytest
import torch
from numpy.testing import assert_allclose
from small_models import BIPED_MASS_KG, biped

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.loaded_model import placed_loads, write_loaded_model
from bige_opensim.osim.model import load
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.carried_loads import CarriedLoadError, bar_inertia, parse_loads
from bige_opensim.physics.dynamics import inverse_dynamics, kinematics
from bige_opensim.physics.skeleton import Skeleton


@pytest.fixture(scope="module")
def own():
    return load(built_in(MODEL))


def test_a_bar_lies_at_c7_and_weights_in_the_hands_are_shared(own, tmp_path):
    bar, right, left = placed_loads(own, parse_loads(["60kg@torso", "10kg@hands"]))
    assert (bar.body, right.body, left.body) == ("torso", "hand_r", "hand_l")
    assert right.mass_kg == left.mass_kg == 5.0
    assert_allclose(bar.centre, [-0.085, 0.435, 0.0], atol=0.02)  # C7 of the model of Rajagopal et al. with markers


def test_a_marker_on_c7_is_where_the_bar_lies(tmp_path):
    model = opensim.Model(str(built_in(MODEL)))
    model.addMarker(opensim.Marker("C7", model.getBodySet().get("torso"), opensim.Vec3(-0.1, 0.4, 0.02)))
    model.finalizeConnections()
    model.printToXML(str(tmp_path / "marked.osim"))
    (bar,) = placed_loads(load(tmp_path / "marked.osim"), parse_loads(["60kg@torso"]))
    assert_allclose(bar.centre, [-0.1, 0.4, 0.0])


@pytest.mark.parametrize(
    ("written", "said"),
    [("5kg@tors", "did you mean 'torso'"), ("5kg@head", "no body 'head'"), ("5kg@Hands", "'hands'")],
)
def test_a_body_that_is_not_there_is_one_sentence_with_the_nearest(own, tmp_path, written, said):
    with pytest.raises(CarriedLoadError, match=said) as error:
        write_loaded_model(own, tmp_path / "x.osim", parse_loads([written]))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "x.osim").exists()


def test_a_model_without_hands_holds_nothing(tmp_path):
    with pytest.raises(CarriedLoadError, match="no hands"):
        placed_loads(load(biped(tmp_path / "biped.osim")), parse_loads(["5kg@hands"]))


def test_what_is_carried_is_weighed_but_is_not_the_persons(tmp_path):
    model = load(biped(tmp_path / "biped.osim"))
    loaded = load(write_loaded_model(model, tmp_path / "loaded.osim", parse_loads(["60kg@pelvis", "5kg@pelvis"])))
    skeleton = Skeleton(compile_skeleton(loaded.path, cache=False))
    g = float(skeleton.gravity.norm())
    assert loaded.mass_kg == pytest.approx(BIPED_MASS_KG)
    assert float(skeleton.weight_n) == pytest.approx((BIPED_MASS_KG + 65.0) * g)
    assert float(skeleton.body_weight_n) == pytest.approx(BIPED_MASS_KG * g)
    assert subject_features(skeleton)["mass_kg"] == pytest.approx(BIPED_MASS_KG)


def test_inverse_dynamics_with_a_load_is_opensims(tmp_path):
    model = load(biped(tmp_path / "biped.osim"))
    loaded = load(write_loaded_model(model, tmp_path / "loaded.osim", parse_loads(["60kg@pelvis", "8kg@femur_r"])))
    skeleton = Skeleton(compile_skeleton(loaded.path, cache=False))
    q, qd, qdd = np.random.default_rng(3).uniform(-0.4, 0.4, (3, len(skeleton.coordinates)))
    found = inverse_dynamics(skeleton, kinematics(skeleton, *map(torch.as_tensor, (q, qd, qdd))))
    osim = opensim.Model(str(loaded.path))
    osim.updForceSet().clearAndDestroy()
    state = osim.initSystem()
    order = loaded.mobility_order
    at = {n: order[i] for i, n in enumerate(c.name for c in loaded.coordinates)}
    for n, x, v in zip(skeleton.coordinates, q, qd, strict=True):
        coordinate = osim.getCoordinateSet().get(n)
        coordinate.setValue(state, float(x), False)
        coordinate.setSpeedValue(state, float(v))
    acceleration = opensim.Vector(len(order), 0.0)
    for n, a in zip(skeleton.coordinates, qdd, strict=True):
        acceleration.set(int(at[n]), float(a))
    osim.realizeVelocity(state)
    theirs = opensim.InverseDynamicsSolver(osim).solve(state, acceleration)
    expected = np.array([theirs.get(int(at[n])) for n in skeleton.coordinates])
    assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_opensim_has_the_bars_inertia_and_draws_it(own, tmp_path):
    model = opensim.Model(str(write_loaded_model(own, tmp_path / "loaded.osim", parse_loads(["60kg@torso"]))))
    model.initSystem()
    body = model.getBodySet().get("load_torso")
    inertia = body.getInertia().getMoments().to_numpy()
    assert_allclose(inertia, np.diag(bar_inertia(60.0)))
    assert sum(c.getConcreteClassName() == "Cylinder" for c in model.getComponentsList()) == 3
