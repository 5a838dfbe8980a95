from pathlib import Path

import numpy as np
import opensim
import pytest
import torch
from numpy.testing import assert_allclose
from odd_models import with_ranges
from recordings import MODELS, tables_of
from small_models import COORDINATES, biped, body, every_joint, knee_with_patella, write

from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.model import ModelError, OsimModel, load
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables


def random_poses(tables: SkeletonTables, count: int, seed: int = 0) -> np.ndarray:
    low, high = np.clip(tables.range, -2.0, 2.0).T
    return np.random.default_rng(seed).uniform(low, high, (count, len(tables.coordinates)))


def by_opensim(model: OsimModel, tables: SkeletonTables, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations (T, B, 3, 3), origins (T, B, 3) and whole-body mass centre (T, 3) in ground."""
    full = complete(model, Motion(np.arange(float(len(q))), q, tables.coordinates))
    state = model.model.initSystem()
    bodies = [model.model.getBodySet().get(b) for b in tables.bodies]
    rotation, position, com = np.empty((len(q), len(bodies), 3, 3)), np.empty((len(q), len(bodies), 3)), []
    for t in range(len(q)):
        model.set_pose(state, dict(zip(full.names, full.values[t], strict=True)))
        model.model.realizePosition(state)
        for b, frame in enumerate(bodies):
            transform = frame.getTransformInGround(state)
            matrix = transform.R().asMat33()
            rotation[t, b] = [[matrix.get(i, j) for j in range(3)] for i in range(3)]
            position[t, b] = transform.p().to_numpy()
        com.append(model.model.calcMassCenterPosition(state).to_numpy())
    return rotation, position, np.array(com)


def check_against_opensim(path: Path, tables: SkeletonTables, count: int) -> None:
    q = random_poses(tables, count)
    rotation, position, com = by_opensim(load(path), tables, q)
    skeleton = Skeleton(tables)
    poses = skeleton(torch.as_tensor(q))
    assert_allclose(poses.position, position, atol=1e-6)
    assert_allclose(poses.rotation, rotation, atol=1e-6)
    assert_allclose(skeleton.com(poses), com, atol=1e-6)
    assert np.ptp(position, axis=0).max() > 0.05


@pytest.mark.parametrize("kind", COORDINATES)
def test_bodies_are_where_opensim_has_them_for_every_kind_of_joint(tmp_path, kind):
    path = every_joint(tmp_path / "model.osim", kind)
    tables = compile_skeleton(path, cache=False)
    assert len(tables.coordinates) == COORDINATES[kind] + 1
    check_against_opensim(path, tables, 20)


def test_splined_knee_and_coupled_patella_are_where_opensim_has_them(tmp_path):
    path = knee_with_patella(tmp_path / "knee.osim")
    tables = compile_skeleton(path, cache=False)
    assert "knee_angle_beta" not in tables.coordinates
    check_against_opensim(path, tables, 50)


@pytest.mark.parametrize("name", MODELS)
def test_bodies_of_real_models_are_where_opensim_has_them(shared_data, name):
    path = shared_data / MODELS[name]
    check_against_opensim(path, tables_of(path), 30)


def test_any_leading_shape_gives_the_poses_of_its_frames(tmp_path):
    tables = compile_skeleton(knee_with_patella(tmp_path / "knee.osim"), cache=False)
    skeleton, q = Skeleton(tables), torch.as_tensor(random_poses(tables, 12))
    flat, shaped, single = skeleton(q), skeleton(q.reshape(3, 4, -1)), skeleton(q[5])
    assert shaped.position.shape == (3, 4, 3, 3)
    assert_allclose(shaped.position.reshape(12, 3, 3), flat.position, atol=1e-14)
    assert_allclose(single.rotation, flat.rotation[5], atol=1e-14)


def test_positions_have_the_gradients_of_finite_differences(tmp_path):
    tables = compile_skeleton(knee_with_patella(tmp_path / "knee.osim"), cache=False)
    skeleton = Skeleton(tables)
    q = torch.as_tensor(random_poses(tables, 3, seed=4)).requires_grad_()

    def positions(x: torch.Tensor) -> torch.Tensor:
        poses = skeleton(x)
        return torch.cat([poses.position.flatten(-2), skeleton.com(poses)], dim=-1)

    assert torch.autograd.gradcheck(positions, (q,), eps=1e-6, atol=1e-6)


def test_beyond_the_sampled_range_functions_go_on_straight(tmp_path):
    tables = compile_skeleton(knee_with_patella(tmp_path / "knee.osim"), cache=False)
    skeleton = Skeleton(tables)
    at = skeleton.index("knee_angle")
    q = torch.zeros(4, len(tables.coordinates), dtype=torch.float64)
    q[:, at] = torch.tensor([3.0, 3.5, 4.0, 4.5])
    d = skeleton.displacements(q)
    splined = skeleton.spline_index >= 0
    assert_allclose(d.value.diff(n=2, dim=0)[:, splined], 0.0, atol=1e-12)
    assert_allclose(d.value.diff(dim=0)[:, splined], 0.5 * d.slope[:-1][:, splined], atol=1e-12)
    assert_allclose(d.curvature[:, splined], 0.0)


def test_stations_move_with_their_body(tmp_path):
    path = every_joint(tmp_path / "model.osim", "Custom")
    tables, model = compile_skeleton(path, cache=False), load(path)
    q = random_poses(tables, 1)
    skeleton, offset = Skeleton(tables), np.array([0.1, -0.2, 0.3])
    state = model.model.initSystem()
    model.set_pose(state, dict(zip(tables.coordinates, q[0], strict=True)))
    model.model.realizePosition(state)
    expected = model.model.getBodySet().get("third").findStationLocationInGround(state, opensim.Vec3(*offset))
    poses = skeleton(torch.as_tensor(q))
    for which in ("third", tables.bodies.index("third")):
        assert_allclose(skeleton.station(poses, which, torch.as_tensor(offset))[0], expected.to_numpy(), atol=1e-9)


def test_contact_points_are_a_radius_below_the_spheres_of_the_model(shared_data):
    path = shared_data / MODELS["subject2"]
    model, tables = load(path), tables_of(path)
    skeleton, q = Skeleton(tables), random_poses(tables, 5)
    points = skeleton.contact_points(skeleton(torch.as_tensor(q)))
    assert [n[-1] for n in tables.contact_names] == ["r"] * 6 + ["l"] * 6
    spheres = {}
    geometry = model.model.getContactGeometrySet()
    for i in range(geometry.getSize()):
        sphere = opensim.ContactSphere.safeDownCast(geometry.get(i))
        if sphere is not None:
            spheres[sphere.getName()] = sphere
    full = complete(model, Motion(np.arange(5.0), q, tables.coordinates))
    state = model.model.initSystem()
    for t in range(5):
        model.set_pose(state, dict(zip(full.names, full.values[t], strict=True)))
        model.model.realizePosition(state)
        for p, name in enumerate(tables.contact_names):
            frame = spheres[name].getFrame()
            centre = frame.findStationLocationInGround(state, spheres[name].get_location()).to_numpy()
            lowest = centre - [0.0, spheres[name].getRadius(), 0.0]
            assert_allclose(points[t, p], lowest, atol=1e-6)


def test_feet_without_spheres_get_scaled_ones_mirrored_left_and_right(tmp_path):
    tables = compile_skeleton(biped(tmp_path / "biped.osim"), cache=False)
    assert tables.contact_names == tuple(f"s{k}_{s}" for s in "rl" for k in range(1, 7))
    right, left = tables.contact_centre[:6], tables.contact_centre[6:]
    assert_allclose(left, right * [1, 1, -1])
    skeleton = Skeleton(tables)
    points = skeleton.contact_points(skeleton(skeleton.default))
    assert_allclose(points[:, 1], skeleton(skeleton.default).position[tables.contact_body, 1] - 0.042, atol=1e-12)


def test_spheres_are_placed_in_feet_whose_toe_joint_has_another_name(tmp_path):
    path = biped(tmp_path / "biped.osim")
    expected = compile_skeleton(path, cache=False).contact_centre
    path.write_text(path.read_text().replace("mtp_", "metatarsophalangeal_"))
    assert_allclose(compile_skeleton(path, cache=False).contact_centre, expected)


def test_tables_are_the_same_after_packing_and_unpacking(tmp_path):
    tables = compile_skeleton(knee_with_patella(tmp_path / "knee.osim"), cache=False)
    again = SkeletonTables.from_bytes(tables.to_bytes())
    for name, value in vars(tables).items():
        if isinstance(value, np.ndarray):
            assert_allclose(getattr(again, name), value, rtol=0, atol=0, err_msg=name)
            assert getattr(again, name).dtype == value.dtype, name
        else:
            assert getattr(again, name) == value, name
    q = torch.as_tensor(random_poses(tables, 3))
    assert_allclose(Skeleton(again)(q).position, Skeleton(tables)(q).position, rtol=0, atol=0)


def test_a_compiled_model_is_read_from_the_cache_until_its_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))
    path = biped(tmp_path / "biped.osim")
    first = compile_skeleton(path)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert_allclose(compile_skeleton(path).mass, first.mass)
    path.write_text(path.read_text().replace("<mass>9</mass>", "<mass>8</mass>"))
    assert compile_skeleton(path).mass.sum() == pytest.approx(first.mass.sum() - 2)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_root_names_rotations_in_sequence_with_their_axes_and_translations(tmp_path):
    root = compile_skeleton(biped(tmp_path / "biped.osim"), cache=False).root
    assert root["rotations"] == ["pelvis_tilt", "pelvis_list", "pelvis_rotation"]
    assert root["axes"] == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert root["translations"] == ["pelvis_tx", "pelvis_ty", "pelvis_tz"]


def test_an_unsupported_joint_is_named_with_its_path(tmp_path):
    model = opensim.Model()
    joint = opensim.EllipsoidJoint("shoulder", model.getGround(), body(model, "ball"), opensim.Vec3(0.1, 0.2, 0.1))
    model.addJoint(joint)
    path = write(model, tmp_path / "odd.osim")
    with pytest.raises(ModelError, match=r"odd\.osim: joint /jointset/shoulder is a EllipsoidJoint, which is not supp"):
        compile_skeleton(path, cache=False)


def test_an_axis_of_two_coordinates_is_named(tmp_path):
    model = opensim.Model()
    transform = opensim.SpatialTransform()
    names = opensim.ArrayStr()
    names.append("a")
    names.append("b")
    part = transform.updTransformAxis(0)
    part.setCoordinateNames(names)
    part.set_function(opensim.MultivariatePolynomialFunction(opensim.Vector(3, 1.0), 2, 1))
    second = transform.updTransformAxis(1)
    second.setCoordinateNames(opensim.ArrayStr("a", 1))
    second.set_function(opensim.LinearFunction(1.0, 0.0))
    third = transform.updTransformAxis(2)
    third.setCoordinateNames(opensim.ArrayStr("b", 1))
    third.set_function(opensim.LinearFunction(1.0, 0.0))
    model.addJoint(opensim.CustomJoint("scapula", model.getGround(), body(model, "blade"), transform))
    with pytest.raises(ModelError, match=r"/jointset/scapula axis .* depends on 2 coordinates; one is supported"):
        compile_skeleton(write(model, tmp_path / "two.osim"), cache=False)


def test_a_constraint_that_is_no_coupler_is_named(tmp_path):
    path = every_joint(tmp_path / "model.osim", "Planar")
    model = opensim.Model(str(path))
    bodies = model.getBodySet()
    weld = opensim.PointConstraint(bodies.get("first"), opensim.Vec3(0), bodies.get("third"), opensim.Vec3(0))
    weld.setName("hold")
    model.addConstraint(weld)
    with pytest.raises(ModelError, match=r"hold is a PointConstraint; only CoordinateCouplerConstraint"):
        compile_skeleton(write(model, tmp_path / "held.osim"), cache=False)


@pytest.mark.parametrize("limits", [(0.0, 0.1), (20.0, 120.0), (-np.inf, np.inf), (np.nan, np.nan)])
def test_a_knee_moves_as_in_opensim_whatever_its_range_says(tmp_path, limits):
    path = with_ranges(knee_with_patella(tmp_path / "knee.osim"), tmp_path / "odd.osim", *limits, ("knee_angle",))
    model, tables = load(path), compile_skeleton(path, cache=False)
    q = np.zeros((9, len(tables.coordinates)))
    q[:, tables.coordinates.index("knee_angle")] = np.linspace(-0.4, 2.4, 9)
    rotation, position, _ = by_opensim(model, tables, q)
    poses = Skeleton(tables)(torch.as_tensor(q))
    assert_allclose(poses.position, position, atol=1e-6)
    assert_allclose(poses.rotation, rotation, atol=1e-6)
