import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose
from recordings import MODELS
from small_models import biped, body, every_joint, knee_with_patella, write

from bige_opensim.osim.model import (
    ModelError,
    load,
    require_muscles,
    reserve_optimal_forces,
    save_for_static_optimization,
)


def test_coordinates_are_described_in_the_models_order(tmp_path):
    model = load(knee_with_patella(tmp_path / "knee.osim"))
    assert [(c.name, c.joint, c.kind, c.dependent) for c in model.coordinates] == [
        ("tilt", "root", "rotational", False),
        ("tx", "root", "translational", False),
        ("ty", "root", "translational", False),
        ("knee_angle", "knee", "rotational", False),
        ("knee_angle_beta", "groove", "coupled", True),
    ]
    knee = model.coordinates[3]
    assert (knee.range_min, knee.range_max, knee.locked) == (0.0, 2.0, False)
    assert model.independent_coordinates == model.free_coordinates == ("tilt", "tx", "ty", "knee_angle")
    assert model.root_coordinates == ("tilt", "tx", "ty")
    assert model.rotational == {"tilt", "knee_angle"}  # what is coupled stays in radians in files


def test_coupled_values_are_the_couplers_function(tmp_path):
    model = load(knee_with_patella(tmp_path / "knee.osim"))
    x = np.array([-0.5, 0.75, 2.5])  # nodes of the spline
    assert_allclose(model.coupled_values("knee_angle_beta", x), -0.7 * x + 0.05 * np.sin(x), atol=1e-5)


def test_locked_coordinates_are_independent_but_not_free_and_can_be_posed(tmp_path):
    path = biped(tmp_path / "biped.osim")
    raw = opensim.Model(str(path))
    raw.initSystem()
    raw.updCoordinateSet().get("ankle_angle_l").setDefaultLocked(True)
    model = load(write(raw, tmp_path / "locked.osim"))
    assert "ankle_angle_l" in model.independent_coordinates
    assert "ankle_angle_l" not in model.free_coordinates
    assert set(model.free_coordinates) == set(model.independent_coordinates) - {"ankle_angle_l"}
    state = model.model.initSystem()
    model.set_pose(state, {"ankle_angle_l": 0.3})
    assert model.model.getCoordinateSet().get("ankle_angle_l").getValue(state) == 0.3
    assert sorted(model.mobility_order) == list(range(len(model.coordinates)))


@pytest.mark.parametrize("name", MODELS)
def test_every_real_model_loads_with_mass_muscles_and_bounds(shared_data, name):
    model = load(shared_data / MODELS[name])
    assert len(model.muscle_names) == 80
    assert 50 < model.mass_kg < 110
    assert model.activation_bounds.shape == (80, 2)
    assert (model.activation_bounds[:, 0] < model.activation_bounds[:, 1]).all()
    assert (model.max_isometric_force > 0).all()
    assert model.root_coordinates[:3] == ("pelvis_tilt", "pelvis_list", "pelvis_rotation")
    assert all(c.startswith("knee_angle") for c in {k.independent for k in model.couplers})


def test_reserves_are_weak_where_muscles_act_and_strong_elsewhere(shared_data):
    model = load(shared_data / MODELS["subject6"])
    forces = reserve_optimal_forces(model)
    assert set(forces) == set(model.free_coordinates)
    assert {forces[n] for n in model.root_coordinates} == {1000.0}
    legs = ("hip", "knee", "ankle", "subtalar", "mtp")
    assert {f for n, f in forces.items() if n.startswith(legs)} == {1.0}
    assert {f for n, f in forces.items() if n.startswith(("lumbar", "arm", "elbow", "pro_sup"))} == {250.0}


def test_the_model_for_static_optimization_has_muscles_and_reserves_only(shared_data, tmp_path):
    model = load(shared_data / MODELS["subject2"])
    path = save_for_static_optimization(model, tmp_path / "stripped.osim")
    stripped = load(path)
    forces = stripped.model.getForceSet()
    kinds = {forces.get(i).getConcreteClassName() for i in range(forces.getSize())}
    assert not kinds & {"SmoothSphereHalfSpaceForce", "HuntCrossleyForce"}
    assert stripped.muscle_names == model.muscle_names
    assert stripped.model.getContactGeometrySet().getSize() == 0
    optimal = {}
    for i in range(forces.getSize()):
        actuator = opensim.CoordinateActuator.safeDownCast(forces.get(i))
        if actuator is not None:
            optimal[actuator.getName()] = actuator.getOptimalForce()
            assert (actuator.getMinControl(), actuator.getMaxControl()) == (-np.inf, np.inf)
    assert optimal == {f"reserve_{n}": f for n, f in reserve_optimal_forces(model).items()}
    assert [p.name for p in tmp_path.iterdir()] == ["stripped.osim"]


def test_saving_for_static_optimization_leaves_the_model_itself_alone(tmp_path):
    path = biped(tmp_path / "biped.osim")
    before = path.read_bytes()
    model = load(path)
    save_for_static_optimization(model, tmp_path / "stripped.osim")
    assert path.read_bytes() == before
    assert load(path).muscle_names == model.muscle_names


def test_a_missing_model_is_an_error_with_its_path(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.osim: no such model file"):
        load(tmp_path / "absent.osim")


@pytest.mark.parametrize("content", [b"", b"not xml at all", b"\x00\x01\x02", b"<OpenSimDocument><Model>"])
def test_an_unreadable_model_is_an_error_with_its_path(tmp_path, content):
    path = tmp_path / "broken.osim"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.osim: OpenSim cannot read this model"):
        load(path)


def test_a_model_without_muscles_cannot_be_labelled(tmp_path):
    model = load(every_joint(tmp_path / "model.osim", "Planar"))
    with pytest.raises(ModelError, match=r"model\.osim: the model has no muscles"):
        require_muscles(model)


def test_a_body_without_a_joint_gets_opensims_free_joint_as_root(tmp_path):
    model = opensim.Model()
    body(model, "floating")
    assert len(load(write(model, tmp_path / "floating.osim")).root_coordinates) == 6
