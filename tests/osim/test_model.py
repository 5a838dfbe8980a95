from functools import partial

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose
from odd_models import changed, with_ranges
from recordings import MODELS
from small_models import biped, body, every_joint, knee_with_patella, write

from bige_opensim.osim.model import (
    Coordinate,
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


def test_a_dependent_coordinate_that_is_locked_as_well_is_refused(tmp_path):
    lock = partial(_lock, name="knee_angle_beta")
    model = load(changed(knee_with_patella(tmp_path / "knee.osim"), tmp_path / "twice.osim", lock))
    with pytest.raises(
        ModelError, match=r"twice\.osim: coordinate knee_angle_beta is locked, and a coupler determines"
    ):
        _ = model.coordinates


def _lock(model: opensim.Model, name: str) -> None:
    model.updCoordinateSet().get(name).setDefaultLocked(True)


def test_a_coupler_that_follows_a_coupled_coordinate_is_refused(tmp_path):
    def follow(model: opensim.Model) -> None:
        coupler = opensim.CoordinateCouplerConstraint()
        coupler.setName("second")
        coupler.setIndependentCoordinateNames(opensim.ArrayStr("knee_angle_beta", 1))
        coupler.setDependentCoordinateName("tilt")
        coupler.setFunction(opensim.LinearFunction(1.0, 0.0))
        model.addConstraint(coupler)

    model = load(changed(knee_with_patella(tmp_path / "knee.osim"), tmp_path / "chain.osim", follow))
    with pytest.raises(ModelError, match=r"chain\.osim: coupler second makes tilt follow knee_angle_beta, and another"):
        _ = model.coordinates


@pytest.mark.parametrize(
    ("limits", "default", "expected"),
    [
        ((-0.3, 2.0), 0.0, (-0.3, 2.0)),
        ((-np.inf, np.inf), 0.2, (0.2 - np.pi, 0.2 + np.pi)),
        ((np.nan, np.nan), 0.0, (-np.pi, np.pi)),
        ((2.0, -2.0), 0.0, (-np.pi, np.pi)),
        ((-np.inf, 1.0), 0.0, (-np.pi, 1.0)),
        ((9.0, 140.0), 0.0, (0.0, np.pi)),
        ((0.5, 1.0), 0.0, (0.0, 1.0)),
    ],
)
def test_poses_that_exist_are_finite_and_hold_the_default(limits, default, expected):
    coordinate = Coordinate("knee", "knee", "rotational", *limits, default, False, False, False)
    assert_allclose(coordinate.pose_range, expected)


@pytest.mark.parametrize("limits", [(-np.inf, np.inf), (-1e9, 1e9), (np.nan, np.nan), (-np.inf, 2.0), (9.0, 140.0)])
def test_muscles_drive_the_same_coordinates_whatever_their_ranges(tmp_path, limits):
    path = biped(tmp_path / "biped.osim")
    legs = {f"{joint}_{side}" for joint in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl"}
    assert load(path).muscle_driven == legs
    assert load(with_ranges(path, tmp_path / "wide.osim", *limits)).muscle_driven == legs


def test_a_muscle_that_moves_a_joint_only_through_a_coupler_drives_its_independent_coordinate(tmp_path):
    def patellar(model: opensim.Model) -> None:
        muscle = opensim.Millard2012EquilibriumMuscle("rectus", 100.0, 0.1, 0.2, 0.0)
        muscle.addNewPathPoint("a", model.getBodySet().get("femur"), opensim.Vec3(0.05, 0, 0))
        muscle.addNewPathPoint("b", model.getBodySet().get("patella"), opensim.Vec3(0.05, 0.05, 0))
        model.addForce(muscle)

    path = changed(knee_with_patella(tmp_path / "knee.osim"), tmp_path / "rectus.osim", patellar)
    assert load(path).muscle_driven == {"knee_angle"}


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
