from pathlib import Path
from typing import NamedTuple

import numpy as np
import opensim
import pytest
import torch
from numpy.testing import assert_allclose

from bige_opensim.io.storage import read_coordinates
from bige_opensim.osim import compile_muscles as module
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.osim.model import ModelError, OsimModel, load
from bige_opensim.osim.path_fit import fit_paths
from bige_opensim.osim.path_sampler import PathSampler
from bige_opensim.physics.muscles import Muscles, MuscleTables

CLASSES = ("Millard2012EquilibriumMuscle", "Thelen2003Muscle", "DeGrooteFregly2016Muscle")
SUBJECT2 = "data/opencap_lab/OpenCapData_subject2/OpenSimData"
SUBJECT6 = "data/opencap_lab/OpenCapData_subject6/OpenSimData"
PHONE01 = "data/opencap_lab/OpenCapData_phone01/OpenSimData"
SQUATS = {
    "subject2": (
        f"{SUBJECT2}/Model/LaiArnoldModified2017_contacts_scaled.osim",
        f"{SUBJECT2}/Kinematics/squats1.mot",
    ),
    "subject6": (
        f"{SUBJECT6}/Model/LaiArnoldModified2017_poly_withArms_weldHand_scaled.osim",
        f"{SUBJECT6}/Kinematics/squats1.mot",
    ),
    "phone01": (
        f"{PHONE01}/Model/LaiUhlrich2022_scaled.osim",
        f"{PHONE01}/Kinematics/squats-with-arm-raise.mot",
    ),
    "rajagopal": ("data/rajagopal_dls/final.osim", "data/rajagopal_dls/DLS01_ik.mot"),
}
# The path leaves the pelvic brim at once, by 10 mm, when the hip extends past 2 degrees.
JUMPS = {"phone01": {"iliacus_l"}}
MODELS = ("models/LaiUhlrich2022.osim", "models/Rajagopal2015_ViconPlugInGait.osim")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))


class Reference(NamedTuple):
    """What OpenSim computes in some states: lengths, moment arms, speeds, strengths, and lengths per frame."""

    length: np.ndarray
    moment_arm: np.ndarray
    velocity: np.ndarray
    strength: np.ndarray


def by_opensim(model: OsimModel, q: np.ndarray, qd: np.ndarray, spans: list[tuple[int, ...]]) -> Reference:
    sampler, state = PathSampler(model), None
    length, velocity, strength = (np.empty((len(q), len(sampler.muscles))) for _ in range(3))
    arms = np.zeros((len(q), len(sampler.muscles), q.shape[1]))
    state = sampler.state
    for t in range(len(q)):
        sampler.set_pose(q[t])
        for coordinate, speed in zip(sampler.coordinates, qd[t], strict=True):
            coordinate.setSpeedValue(state, float(speed))
        for d in sampler.driven:
            slope = d.function.calcDerivative(sampler._first, opensim.Vector(1, float(q[t, d.driver])))
            d.coordinate.setSpeedValue(state, float(slope * qd[t, d.driver]))
        model.model.realizeVelocity(state)
        for m, muscle in enumerate(sampler.muscles):
            length[t, m], velocity[t, m] = muscle.getLength(state), muscle.getLengtheningSpeed(state)
            strength[t, m] = muscle.calcInextensibleTendonActiveFiberForce(state, 1.0)
            for c in spans[m]:
                arms[t, m, c] = muscle.computeMomentArm(state, sampler.coordinates[c])
    return Reference(length, arms, velocity, strength)


def all_spans(tables: MuscleTables) -> list[tuple[int, ...]]:
    return [tables.spans(m) for m in range(len(tables.names))]


def muscle_of(kind: str, name: str, force: float, optimal: float, slack: float, pennation: float) -> opensim.Muscle:
    muscle = getattr(opensim, kind)()
    muscle.setName(name)
    muscle.set_max_isometric_force(force)
    muscle.set_optimal_fiber_length(optimal)
    muscle.set_tendon_slack_length(slack)
    muscle.set_pennation_angle_at_optimal(pennation)
    return muscle


def body(model: opensim.Model, name: str) -> opensim.Body:
    new = opensim.Body(name, 1.0, opensim.Vec3(0, -0.15, 0), opensim.Inertia(0.01, 0.01, 0.01))
    model.addBody(new)
    return new


def hang(model: opensim.Model, joint: opensim.Joint, coordinate: str, low: float, high: float) -> None:
    joint.updCoordinate().setName(coordinate)
    joint.updCoordinate().setRangeMin(low)
    joint.updCoordinate().setRangeMax(high)
    model.addJoint(joint)


def write(model: opensim.Model, path: Path) -> Path:
    model.finalizeConnections()
    model.printToXML(str(path))
    return path


def arm(path: Path, kind: str, pennation: float = 0.25) -> Path:
    """Two pins, four muscles of one class, one of them around a cylinder at the elbow."""
    model = opensim.Model()
    model.setName("arm")
    upper, lower = body(model, "upper"), body(model, "lower")
    origin, end = opensim.Vec3(0), opensim.Vec3(0, -0.3, 0)
    shoulder = opensim.PinJoint("shoulder", model.getGround(), origin, origin, upper, origin, origin)
    hang(model, shoulder, "shoulder_flexion", -1.0, 2.0)
    elbow = opensim.PinJoint("elbow", upper, end, origin, lower, origin, origin)
    hang(model, elbow, "elbow_flexion", 0.1, 2.3)
    cylinder = opensim.WrapCylinder()
    cylinder.setName("trochlea")
    cylinder.set_radius(0.018)
    cylinder.set_length(0.2)
    cylinder.set_translation(opensim.Vec3(0, -0.3, 0))
    cylinder.set_quadrant("-x")
    upper.addWrapObject(cylinder)
    ground = model.getGround()
    for name, points, wrapped in (
        ("biceps", [(ground, 0.03, 0.02), (upper, 0.03, -0.05), (lower, 0.03, -0.05)], False),
        ("brachialis", [(upper, 0.01, -0.15), (lower, 0.02, -0.04)], False),
        ("deltoid", [(ground, 0.05, 0.05), (upper, 0.03, -0.12)], False),
        ("triceps", [(upper, -0.03, -0.08), (lower, -0.02, -0.06)], True),
    ):
        muscle = muscle_of(kind, name, 800.0, 0.1, 0.12, pennation)
        for i, (frame, x, y) in enumerate(points):
            muscle.addNewPathPoint(f"{name}_{i}", frame, opensim.Vec3(x, y, 0.001 * i))
        if wrapped:
            muscle.updGeometryPath().addPathWrap(cylinder)
        model.addForce(muscle)
    return write(model, path)


def bench(path: Path, kind: str, pennation: float, change: object = None) -> Path:
    """One muscle between ground and a slider: its length is the slider's position."""
    model = opensim.Model()
    model.setName("bench")
    block = body(model, "block")
    hang(model, opensim.SliderJoint("rail", model.getGround(), block), "position", 0.1, 0.5)
    muscle = muscle_of(kind, "muscle", 1200.0, 0.1, 0.15, pennation)
    muscle.addNewPathPoint("origin", model.getGround(), opensim.Vec3(0))
    muscle.addNewPathPoint("insertion", block, opensim.Vec3(0))
    if change is not None:
        change(muscle)
    model.addForce(muscle)
    return write(model, path)


def knee_with_patella(path: Path) -> Path:
    """A patella on a pin of its own, coupled to the knee by a curved function; quadriceps inserts on the patella."""
    model = opensim.Model()
    model.setName("knee")
    shank, patella = body(model, "shank"), body(model, "patella")
    origin = opensim.Vec3(0)
    hang(model, opensim.PinJoint("hinge", model.getGround(), shank), "knee_angle", 0.0, 2.0)
    loose = opensim.PinJoint("groove", model.getGround(), opensim.Vec3(0.01, 0, 0), origin, patella, origin, origin)
    hang(model, loose, "knee_angle_beta", -9.0, 9.0)
    muscle = muscle_of("Millard2012EquilibriumMuscle", "quadriceps", 2000.0, 0.1, 0.2, 0.1)
    muscle.addNewPathPoint("origin", model.getGround(), opensim.Vec3(0.03, 0.3, 0))
    muscle.addNewPathPoint("insertion", patella, opensim.Vec3(0.05, 0.02, 0))
    model.addForce(muscle)
    coupler = opensim.CoordinateCouplerConstraint()
    coupler.setName("patellofemoral")
    names = opensim.ArrayStr()
    names.append("knee_angle")
    coupler.setIndependentCoordinateNames(names)
    coupler.setDependentCoordinateName("knee_angle_beta")
    coefficients = opensim.Vector(3, 0.0)
    for i, value in enumerate((0.1, -0.6, 0.02)):
        coefficients.set(i, value)
    coupler.setFunction(opensim.PolynomialFunction(coefficients))
    model.addConstraint(coupler)
    return write(model, path)


def squat(
    shared: Path, who: str, frames: int
) -> tuple[OsimModel, np.ndarray, np.ndarray, dict[str, tuple[float, float]]]:
    """Model, coordinates and speeds of evenly chosen frames, and the movement's ranges with 3 degrees to spare."""
    model = load(shared / SQUATS[who][0])
    file = read_coordinates(shared / SQUATS[who][1], rotational=model.rotational, units=units_of(who))
    motion = file.motion
    names = model.independent_coordinates
    values = np.column_stack([motion[n] if n in motion.names else np.zeros(motion.frames) for n in names])
    speeds = np.gradient(values, motion.time, axis=0)
    spare = np.deg2rad(3)
    limits = {n: (v.min() - spare, v.max() + spare) for n, v in zip(names, values.T, strict=True)}
    chosen = np.linspace(0, len(values) - 1, frames).astype(int)
    return model, values[chosen], speeds[chosen], limits


def units_of(who: str) -> str | None:
    return "radians" if who == "rajagopal" else None


@pytest.mark.parametrize("kind", CLASSES)
def test_small_arm_agrees_with_opensim_in_lengths_arms_speeds_and_strengths(tmp_path, kind):
    model = load(arm(tmp_path / "arm.osim", kind))
    tables = compile_muscles(model.path, poses=300)
    assert tables.classes == (kind,) * 4
    assert [tuple(tables.coordinates[c] for c in s) for s in all_spans(tables)] == [
        ("shoulder_flexion", "elbow_flexion"),
        ("elbow_flexion",),
        ("shoulder_flexion",),
        ("elbow_flexion",),
    ]
    rng = np.random.default_rng(1)
    q = rng.uniform(tables.lower, tables.upper, (40, 2))
    qd = rng.uniform(-6, 6, (40, 2))
    expected = by_opensim(model, q, qd, all_spans(tables))
    muscles, q, qd = Muscles(tables), torch.as_tensor(q), torch.as_tensor(qd)
    length, velocity = muscles.lengths_and_velocities(q, qd)
    assert muscles.in_range(q).all()
    assert_allclose(length, expected.length, atol=3e-4)
    assert_allclose(muscles.moment_arms(q), expected.moment_arm, atol=2e-3)
    assert_allclose(velocity, expected.velocity, atol=1e-2)
    assert_allclose(muscles.strength(length, velocity), expected.strength, atol=0.02 * 800)
    exact = muscles.strength(torch.as_tensor(expected.length), torch.as_tensor(expected.velocity))
    assert_allclose(exact, expected.strength, atol=1e-5 * 800)


@pytest.mark.parametrize("pennation", [0.0, 0.4])
@pytest.mark.parametrize("kind", CLASSES)
def test_strength_is_opensims_over_all_lengths_and_speeds(tmp_path, kind, pennation):
    model = load(bench(tmp_path / "bench.osim", kind, pennation))
    tables = compile_muscles(model.path, poses=32)
    length, speed = (a.ravel() for a in np.meshgrid(np.linspace(0.121, 0.421, 41), np.linspace(-1.3, 1.3, 27)))
    expected = by_opensim(model, length[:, None], speed[:, None], [()])
    assert_allclose(expected.length[:, 0], length, atol=1e-12)
    strength = Muscles(tables).strength(torch.as_tensor(expected.length), torch.as_tensor(expected.velocity))
    assert_allclose(strength, expected.strength, atol=2e-5 * 1200)
    assert expected.strength.max() > 1200


@pytest.mark.parametrize("kind", CLASSES)
def test_passive_force_is_opensims_with_a_rigid_tendon(tmp_path, kind):
    def rigid(muscle):
        muscle.set_ignore_tendon_compliance(kind != "Thelen2003Muscle")
        if kind != "Thelen2003Muscle":
            muscle.set_fiber_damping(0.0)

    model = load(bench(tmp_path / "bench.osim", kind, 0.3, rigid))
    tables = compile_muscles(model.path, poses=32)
    sampler = PathSampler(model)
    length = np.linspace(0.18, 0.34, 33)
    expected = []
    for x in length:
        sampler.set_pose(np.array([x]))
        if kind == "Thelen2003Muscle":  # its tendon is never rigid: give it the fibre that a rigid tendon leaves
            fibre = np.hypot(x - 0.15, 0.1 * np.sin(0.3))
            model.model.setStateVariableValue(sampler.state, "/forceset/muscle/fiber_length", float(fibre))
        model.model.realizeDynamics(sampler.state)
        expected.append(sampler.muscles[0].getPassiveFiberForceAlongTendon(sampler.state))
    force = Muscles(tables).passive_force(torch.as_tensor(length[:, None]))[:, 0]
    assert_allclose(force, expected, atol=1e-5 * 1200)
    assert max(expected) > 600


def test_curves_with_other_parameters_are_sampled_of_their_own(tmp_path):
    def steeper(muscle):
        opensim.Millard2012EquilibriumMuscle.safeDownCast(muscle).upd_ForceVelocityCurve().set_isometric_slope(8.0)

    kind = "Millard2012EquilibriumMuscle"
    model = load(bench(tmp_path / "steep.osim", kind, 0.1, steeper))
    steep = compile_muscles(model.path, poses=32)
    plain = compile_muscles(bench(tmp_path / "plain.osim", kind, 0.1), poses=32)
    length, velocity = torch.tensor([[0.25]], dtype=torch.float64), torch.tensor([[-0.1]], dtype=torch.float64)
    expected = by_opensim(model, np.array([[0.25]]), np.array([[-0.1]]), [()]).strength
    assert_allclose(Muscles(steep).strength(length, velocity), expected, atol=1e-3)
    assert (Muscles(plain).strength(length, velocity) - expected).abs() > 10


def test_a_coupled_coordinate_is_eliminated_from_lengths_and_folded_into_moment_arms(tmp_path):
    model = load(knee_with_patella(tmp_path / "knee.osim"))
    tables = compile_muscles(model.path, poses=200)
    assert tables.coordinates == ("knee_angle",)
    q = np.linspace(0.05, 1.95, 12)[:, None]
    expected = by_opensim(model, q, np.ones_like(q), [(0,)])
    muscles = Muscles(tables)
    assert_allclose(muscles.lengths(torch.as_tensor(q)), expected.length, atol=1e-5)
    assert_allclose(muscles.moment_arms(torch.as_tensor(q)), expected.moment_arm, atol=1e-4)
    assert_allclose(muscles.velocities(torch.as_tensor(q), torch.ones(12, 1)), expected.velocity, atol=1e-4)


def test_locked_coordinates_are_sampled_like_the_others(tmp_path):
    path = arm(tmp_path / "arm.osim", CLASSES[0])
    free = compile_muscles(path, poses=64)
    model = opensim.Model(str(path))
    model.updCoordinateSet().get("elbow_flexion").setDefaultLocked(True)
    locked = compile_muscles(write(model, tmp_path / "locked.osim"), poses=64)
    assert locked.coordinates == free.coordinates
    assert_allclose(locked.coefficients, free.coefficients, atol=1e-12)


def test_ranges_come_from_the_movement_else_from_the_model_and_flag_frames(tmp_path):
    tables = compile_muscles(arm(tmp_path / "arm.osim", CLASSES[0]), {"elbow_flexion": (0.4, 1.2)}, poses=64)
    assert_allclose(tables.lower, [-1.0, 0.4])
    assert_allclose(tables.upper, [2.0, 1.2])
    q = torch.tensor([[0.0, 0.5], [0.0, 1.3], [2.1, 0.5]])
    assert Muscles(tables, torch.float32).in_range(q).tolist() == [True, False, False]


def test_a_coordinate_that_stood_still_keeps_its_moment_arm(tmp_path):
    model = load(arm(tmp_path / "arm.osim", CLASSES[0]))
    tables = compile_muscles(model.path, {"elbow_flexion": (0.9, 0.9)}, poses=400)
    q = np.array([[0.3, 0.9]])
    expected = by_opensim(model, q, q, all_spans(tables))
    assert_allclose(Muscles(tables).moment_arms(torch.as_tensor(q)), expected.moment_arm, atol=3e-4)


def test_paths_are_followed_better_around_the_poses_of_a_movement_than_over_its_box(tmp_path):
    model = load(arm(tmp_path / "arm.osim", CLASSES[0]))
    phase = np.linspace(0.0, 1.0, 200)
    movement = np.stack([-0.8 + 2.5 * phase, 0.3 + 1.8 * phase**2], axis=1)
    ranges = {"shoulder_flexion": (-0.9, 1.8), "elbow_flexion": (0.2, 2.2)}
    around = compile_muscles(model.path, ranges, movement=movement, poses=40, cache=False)
    box = compile_muscles(model.path, ranges, poses=40, cache=False)
    sampler = PathSampler(model)
    expected = np.stack([sampler.moment_arms(q) for q in movement])
    errors = [
        np.sqrt(np.mean((Muscles(t).moment_arms(torch.as_tensor(movement)).numpy() - expected) ** 2, axis=(0, 2)))
        for t in (around, box)
    ]
    assert [around.spans(m) for m in range(4)] == [box.spans(m) for m in range(4)]
    assert errors[0].sum() < 0.7 * errors[1].sum()
    assert (errors[0] < 2e-3).all()
    assert around.sampled.shape == (40, 2)
    assert (around.lower <= movement.min(axis=0)).all()
    assert (around.upper >= movement.max(axis=0)).all()


def test_muscles_that_are_pulled_on_together_have_the_moment_arms_they_have_alone(shared_data):
    check_pulled_together(load(shared_data / MODELS[0]))


def test_muscles_of_the_built_in_model_that_are_pulled_on_together_have_the_moment_arms_they_have_alone():
    check_pulled_together(load(Path(__file__).parents[2] / "osim_models" / "fullbody80.osim"))


def check_pulled_together(model: OsimModel) -> None:
    compiler = module._Compiler(PathSampler(model))
    rng = np.random.default_rng(2)
    poses = rng.uniform(-0.3, 0.8, (6, len(compiler.sampler.names)))
    probed = compiler._probe(poses)
    assert len(probed.together) < 0.5 * len(model.muscle_names)
    assert sorted(m for group in probed.together for m in group) == list(range(len(model.muscle_names)))
    lengths, arms = compiler._sampled(poses[:2], probed)
    for n in range(2):
        alone = compiler.sampler.moment_arms(poses[n])
        assert_allclose(lengths[n], compiler.sampler.lengths(poses[n]), atol=1e-12)
        for m, span in enumerate(probed.spans):
            assert_allclose(arms[n, m, list(span)], alone[m, list(span)], atol=1e-9)


def test_compiled_muscles_are_kept_by_model_ranges_and_poses(tmp_path, monkeypatch):
    path = arm(tmp_path / "arm.osim", CLASSES[0])
    first = compile_muscles(path, poses=64)
    with monkeypatch.context() as patch:
        patch.setattr(module, "fit_paths", None)
        again = compile_muscles(path, poses=64)
        with pytest.raises(TypeError):
            compile_muscles(path, {"elbow_flexion": (0.4, 1.2)}, poses=64)
    assert_allclose(again.coefficients, first.coefficients)
    assert again.source == first.source


def test_an_unsupported_muscle_is_named_with_its_path(tmp_path):
    path = bench(tmp_path / "bench.osim", "Millard2012AccelerationMuscle", 0.1)
    with pytest.raises(ModelError, match=r"bench\.osim: muscle /forceset/muscle is a Millard2012AccelerationMuscle"):
        compile_muscles(path)


def test_a_range_for_an_unknown_coordinate_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"ranges were given for wrist, .*shoulder_flexion, elbow_flexion"):
        compile_muscles(arm(tmp_path / "arm.osim", CLASSES[0]), {"wrist": (0.0, 1.0)})


@pytest.mark.parametrize("limits", [(1.0, 0.5), (0.2, np.nan), (0.2, np.inf)])
def test_an_empty_or_infinite_range_is_an_error(tmp_path, limits):
    with pytest.raises(ModelError, match=r"finite low <= high for the range of elbow_flexion"):
        compile_muscles(arm(tmp_path / "arm.osim", CLASSES[0]), {"elbow_flexion": limits})


def test_ranges_of_a_subject_far_from_the_origin_are_fine(tmp_path):
    tables = compile_muscles(bench(tmp_path / "bench.osim", CLASSES[0], 0.1), {"position": (7.0, 7.5)}, poses=32)
    assert tables.spans(0) == (0,)
    assert tables.length_max[0] < 1e-9


def test_an_unbounded_translation_needs_a_range(tmp_path):
    model = opensim.Model(str(bench(tmp_path / "bench.osim", CLASSES[0], 0.1)))
    model.updCoordinateSet().get("position").setRangeMax(99999.9)
    path = write(model, tmp_path / "rail.osim")
    with pytest.raises(ModelError, match=r"coordinate position moves muscles and its range is 0\.1 to 99999\.9"):
        compile_muscles(path, poses=32)
    assert_allclose(compile_muscles(path, {"position": (0.1, 0.5)}, poses=32).length_max, 0, atol=1e-9)


def test_a_model_without_muscles_is_an_error(tmp_path):
    model = opensim.Model()
    hang(model, opensim.PinJoint("pin", model.getGround(), body(model, "rod")), "angle", -1.0, 1.0)
    with pytest.raises(ModelError, match="no muscles"):
        compile_muscles(write(model, tmp_path / "rod.osim"))


def test_a_polynomial_is_recovered_and_a_jump_is_reported_and_does_not_bend_the_rest():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (900, 2))
    length = 0.3 + 0.02 * x[:, 0] - 0.01 * x[:, 0] ** 2 * x[:, 1]
    slope = np.stack([0.02 - 0.02 * x[:, 0] * x[:, 1], -0.01 * x[:, 0] ** 2], axis=1)
    jumped = length + 0.02 * (x[:, 0] > 0.93)
    both = np.stack([length, jumped], axis=1)
    arms = -np.stack([slope, slope], axis=1)
    clean, broken = fit_paths(x, both, arms, [(0, 1), (0, 1)], np.ones(2), np.zeros(2, bool))
    assert clean.length_max < 1e-9
    assert clean.outlier_fraction == 0
    assert 0.01 < broken.outlier_fraction < 0.06
    assert broken.length_max > 0.015
    sound = x[:, 0] < 0.93
    predicted = np.prod(x[:, None] ** broken.exponents, axis=2) @ broken.coefficients
    assert np.sqrt(np.mean((predicted - length)[sound] ** 2)) < 3e-4


def test_squat_lengths_arms_speeds_and_strengths_agree_with_opensim(shared_data):
    check_squat(shared_data, "subject2", poses=512, frames=12)


@pytest.mark.slow
@pytest.mark.parametrize("who", SQUATS)
def test_squats_of_every_recording_agree_with_opensim(shared_data, who):
    check_squat(shared_data, who, poses=1500, frames=60)


def check_squat(shared: Path, who: str, poses: int, frames: int) -> None:
    model, q, qd, limits = squat(shared, who, frames)
    tables = compile_muscles(model.path, limits, poses=poses)
    expected = by_opensim(model, q, qd, all_spans(tables))
    muscles, q, qd = Muscles(tables), torch.as_tensor(q), torch.as_tensor(qd)
    assert muscles.in_range(q).all()
    length, velocity = muscles.lengths_and_velocities(q, qd)
    strongest = tables.parameters["max_isometric_force"]
    jumping = tables.outlier_fraction > 0.05
    assert {n for n, j in zip(tables.names, jumping, strict=True) if j} <= JUMPS.get(who, set())
    assert rms(length - expected.length)[~jumping].max() < 5e-4
    assert rms(muscles.moment_arms(q) - expected.moment_arm)[~jumping].max() < 2e-3
    assert rms(velocity - expected.velocity)[~jumping].max() < 5e-3
    assert (rms(muscles.strength(length, velocity) - expected.strength) / strongest)[~jumping].max() < 0.02
    exact = muscles.strength(torch.as_tensor(expected.length), torch.as_tensor(expected.velocity))
    assert (np.abs(exact.numpy() - expected.strength) / strongest).max() < 1e-6


def rms(error: torch.Tensor) -> np.ndarray:
    return np.sqrt(np.mean(np.asarray(error) ** 2, axis=0))


def test_moment_arms_that_are_no_derivatives_of_lengths_are_named(shared_data):
    limits = {f"{c}_{s}": r for s in "rl" for c, r in (("knee_angle", (0.0, 1.0)), ("hip_flexion", (-0.3, 1.0)))}
    tables = compile_muscles(shared_data / MODELS[0], limits, poses=128)
    assert {n for n, a in zip(tables.names, tables.apart, strict=True) if a} == {
        "gasmed_r",
        "gasmed_l",
        "gaslat_r",
        "gaslat_l",
    }


def test_legs_are_fitted_independently_of_each_other_and_alike(shared_data):
    tables = compile_muscles(shared_data / MODELS[0], poses=64)
    for m, name in enumerate(tables.names):
        spanned = {tables.coordinates[c] for c in tables.spans(m)}
        assert all(c.endswith(name[-2:]) for c in spanned), name
        assert not any("beta" in c or "pelvis" in c for c in spanned)
    right = [m for m, n in enumerate(tables.names) if n.endswith("_r")]
    left = [tables.names.index(tables.names[m][:-2] + "_l") for m in right]
    assert_allclose(tables.length_rms[left], tables.length_rms[right], rtol=0.2, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_wide_ranges_are_fitted_but_for_few_muscles_with_wrapping_jumps(shared_data, name):
    limits = {f"hip_flexion_{s}": tuple(np.deg2rad((-20.0, 125.0))) for s in "rl"}
    limits |= {f"knee_angle_{s}": tuple(np.deg2rad((0.0, 130.0))) for s in "rl"}
    tables = compile_muscles(shared_data / name, limits)
    poor = {n[:-2] for n, e in zip(tables.names, tables.length_rms, strict=True) if e > 3.5e-4}
    assert poor <= {"glmax1", "glmax2", "tfl", "gaslat"}
    reported = dict(zip(tables.names, tables.outlier_fraction, strict=True))
    assert reported["glmax1_r"] > 0.01
