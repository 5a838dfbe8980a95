"""MuJoCo, driven by qpos, has the bodies where OpenSim has them, and the same masses."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from recordings import MODELS, motion_path
from small_models import COORDINATES, every_joint, knee_with_patella

import bige_opensim as bige
from bige_opensim.exporting.body_tree import GROUND, body_tree
from bige_opensim.exporting.mjcf import Z_UP_FROM_OPENSIM, MjcfModel
from bige_opensim.exporting.selection import Person
from bige_opensim.labelling.label import Label
from bige_opensim.motion import Motion
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.physics.skeleton import Skeleton

MM = 1e-3


@pytest.fixture(scope="session")
def mujoco() -> ModuleType:
    return pytest.importorskip("mujoco", reason="MuJoCo is not installed here: pip install mujoco")


def poses(skeleton: Skeleton, count: int = 20) -> np.ndarray:
    """Random coordinates within ±1.2 of 0, where every test model has its range."""
    return np.random.default_rng(0).uniform(-1.2, 1.2, (count, len(skeleton.coordinates)))


def in_opensim(model: OsimModel, names: tuple[str, ...], q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, B, 3, 3) and origins (T, B, 3) of all bodies by OpenSim."""
    bodies = [model.model.getBodySet().get(i) for i in range(model.model.getNumBodies())]
    motion = complete(model, Motion(np.arange(len(q), dtype=float), q, names))
    rotation, origin = [], []
    for row in motion.values:
        model.set_pose(model.state, dict(zip(motion.names, row, strict=True)))
        model.model.realizePosition(model.state)
        placed = [b.getTransformInGround(model.state) for b in bodies]
        turned = [x.R().asMat33() for x in placed]
        rotation.append([[[m.get(i, j) for j in range(3)] for i in range(3)] for m in turned])
        origin.append([x.p().to_numpy() for x in placed])
    return np.array(rotation), np.array(origin)


def by_the_tree(skeleton: Skeleton, mjcf: MjcfModel, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kinematics of hinges and slides as MuJoCo's documentation has them, in numpy: for machines without MuJoCo."""
    columns = {joint.primitive: k for k, joint in enumerate(mjcf.joints)}
    rotations, origins = [], []
    for row in qpos:
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for body in body_tree(skeleton.tables):
            above, at = (np.eye(3), np.zeros(3)) if body.parent == GROUND else found[body.parent]
            x, r = at + above @ body.position, above @ body.rotation
            for joint in body.joints:
                told = mjcf.joints[columns[joint.primitive]]
                value = row[columns[joint.primitive]] + told.offset
                axis = r @ (told.sign * joint.axis)
                if joint.turns:
                    anchor = x + r @ joint.anchor
                    turn = rodrigues(axis, value)
                    x, r = anchor + turn @ (x - anchor), turn @ r
                else:
                    x = x + value * axis
            found.append((r, x))
        rotations.append([r for r, _ in found])
        origins.append([x for _, x in found])
    return np.array(rotations), np.array(origins)


def rodrigues(axis: np.ndarray, angle: float) -> np.ndarray:
    k = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def by_mujoco(mujoco: ModuleType, mjcf: MjcfModel, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by MuJoCo itself, turned back to OpenSim's axes."""
    model = mujoco.MjModel.from_xml_string(mjcf.xml)
    data = mujoco.MjData(model)
    assert [model.joint(k).name for k in range(model.njnt)] == [j.name for j in mjcf.joints]
    bodies = [model.body(name).id for name in mjcf.skeleton.bodies]
    rotation, origin = [], []
    for row in qpos:
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        rotation.append(Z_UP_FROM_OPENSIM.T @ data.xmat[bodies].reshape(-1, 3, 3))
        origin.append(data.xpos[bodies] @ Z_UP_FROM_OPENSIM)
    return np.array(rotation), np.array(origin)


def check_kinematics(path: Path, q: np.ndarray, mujoco: ModuleType | None, tolerance_m: float = MM) -> None:
    skeleton = Person.of(path).skeleton
    mjcf = MjcfModel(skeleton, "person")
    qpos = mjcf.qpos(q)
    found = by_mujoco(mujoco, mjcf, qpos) if mujoco else by_the_tree(skeleton, mjcf, qpos)
    model = load(path)
    names = [model.model.getBodySet().get(i).getName() for i in range(model.model.getNumBodies())]
    order = [names.index(body) for body in skeleton.bodies]
    rotation, origin = (part[:, order] for part in in_opensim(model, skeleton.coordinates, q))
    assert np.ptp(origin, axis=0).max() > 0.01
    assert_allclose(found[1], origin, atol=tolerance_m)
    assert_allclose(found[0], rotation, atol=1e-5)


@pytest.mark.parametrize("kind", COORDINATES)
def test_hinges_and_slides_of_every_joint_move_bodies_as_opensim_does(kind: str, tmp_path: Path):
    path = every_joint(tmp_path / "model.osim", kind)
    check_kinematics(path, poses(Person.of(path).skeleton), None, 1e-6)


@pytest.mark.parametrize("kind", COORDINATES)
def test_mujoco_has_the_bodies_of_every_joint_where_opensim_has_them(kind: str, tmp_path: Path, mujoco: ModuleType):
    path = every_joint(tmp_path / "model.osim", kind)
    check_kinematics(path, poses(Person.of(path).skeleton), mujoco, 1e-6)


def knee_poses() -> np.ndarray:
    knee = np.linspace(0.0, 2.0, 15)
    return np.column_stack([0.3 * np.sin(knee), 0.1 * knee, 0.9 - 0.1 * knee, knee])


def test_a_knee_whose_axis_moves_and_its_coupled_patella_are_where_opensim_has_them(tmp_path: Path):
    check_kinematics(knee_with_patella(tmp_path / "knee.osim"), knee_poses(), None, 1e-5)


def test_mujoco_has_a_knee_whose_axis_moves_and_its_coupled_patella_there_too(tmp_path: Path, mujoco: ModuleType):
    check_kinematics(knee_with_patella(tmp_path / "knee.osim"), knee_poses(), mujoco, 1e-5)


def sample_squat() -> tuple[Path, np.ndarray]:
    session = bige.sample_session()
    motion = bige.sample_motion()
    skeleton = Person.of(session.model).skeleton
    return session.model, motion.select(skeleton.coordinates).values[::20]


def test_bodies_of_a_whole_squat_are_where_opensim_has_them(own_cache: None):
    check_kinematics(*sample_squat(), None)


def test_mujoco_has_the_bodies_of_a_whole_squat_within_a_millimetre_of_opensim(own_cache: None, mujoco: ModuleType):
    check_kinematics(*sample_squat(), mujoco)


def test_mujoco_has_the_bodies_of_a_recorded_squat_within_a_millimetre(shared_data: Path, mujoco: ModuleType):
    path = shared_data / MODELS["subject2"]
    skeleton = Person.of(path).skeleton
    motion = bige.read_motion(motion_path(shared_data, "subject2", "squats1"), model=path)
    check_kinematics(path, motion.select(skeleton.coordinates).values[::40], mujoco)


def test_mujoco_has_the_masses_and_the_mass_centre_of_opensim(own_cache: None, mujoco: ModuleType):
    path, q = sample_squat()
    mjcf = MjcfModel(Person.of(path).skeleton, "person")
    model = mujoco.MjModel.from_xml_string(mjcf.xml)
    data = mujoco.MjData(model)
    data.qpos[:] = mjcf.qpos(q[:1])[0]
    mujoco.mj_forward(model, data)
    person = load(path)
    pose = complete(person, Motion(np.arange(2.0), q[:2], mjcf.skeleton.coordinates))
    person.set_pose(person.state, dict(zip(pose.names, pose.values[0], strict=True)))
    person.model.realizePosition(person.state)
    assert model.body_subtreemass[0] == pytest.approx(person.mass_kg, rel=1e-5)
    centre = person.model.calcMassCenterPosition(person.state).to_numpy()
    assert_allclose(data.subtree_com[0] @ Z_UP_FROM_OPENSIM, centre, atol=1e-4)
    assert_allclose(model.opt.gravity, [0.0, 0.0, -9.80665])


def test_the_joint_of_a_coordinate_has_its_name_and_its_value(tmp_path: Path):
    path = every_joint(tmp_path / "model.osim", "Custom")
    skeleton = Person.of(path).skeleton
    mjcf = MjcfModel(skeleton, "person")
    q = poses(skeleton)
    qpos = mjcf.qpos(q)
    for joint in (j for j in mjcf.joints if j.free):
        assert_allclose(qpos[:, mjcf.joints.index(joint)], q[:, skeleton.index(joint.name)], atol=1e-12)
    assert {j.name for j in mjcf.joints} >= set(skeleton.coordinates)


def test_simulated_joints_follow_their_coordinate_by_polynomials_that_fit(tmp_path: Path, mujoco: ModuleType):
    """One evaluation of MuJoCo's own constraint residuals, in poses of the model, is within the misfit that is told."""
    mjcf = MjcfModel(Person.of(knee_with_patella(tmp_path / "knee.osim")).skeleton, "knee")
    model = mujoco.MjModel.from_xml_string(mjcf.xml)
    data = mujoco.MjData(model)
    assert model.neq == sum(not joint.free for joint in mjcf.joints) > 0
    for row in mjcf.qpos(knee_poses()):
        data.qpos[:] = row
        mujoco.mj_forward(model, data)
        assert np.abs(data.efc_pos[: data.ne]).max() <= max(mjcf.misfit_m, mjcf.misfit_rad) + 1e-9
    assert 0.0 < mjcf.misfit_m < 2e-3
    assert 0.0 < mjcf.misfit_rad < np.deg2rad(3.0)


def test_an_export_holds_the_model_and_qpos_of_every_motion(label: Label, tmp_path: Path):
    done = bige.export([label, label], "mjcf", tmp_path / "mjcf")
    assert done.motions == (label.trial, f"{label.trial}_2")
    tables = [pd.read_csv(done.folder / f"{name}_qpos.csv") for name in done.motions]
    assert (done.folder / "model.xml").is_file()
    assert not (done.folder / "model_2.xml").exists(), "one person"
    knee = np.interp(tables[0]["time"], label.coordinates.index, label.coordinates["knee_angle_r"])
    assert_allclose(tables[0]["knee_angle_r"], knee, atol=1e-8)
