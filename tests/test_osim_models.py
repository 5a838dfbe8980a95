"""The models of this repository: their files are what the builder makes of the tables, and what was published."""

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import opensim
import pytest

from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import OsimModel, load

FOLDER = Path(__file__).resolve().parents[1] / "osim_models"
PARAMETERS = FOLDER / "parameters"
TABLE_FILES = sorted(PARAMETERS.rglob("*.csv"))
ODD = {"pelvis_list", "pelvis_rotation", "pelvis_tz", "lumbar_bending", "lumbar_rotation"}
OTHER_SIDE = {"_r": "_l", "_l": "_r"}


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("osim_models_build", FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def committed(name: str) -> OsimModel:
    return load(FOLDER / f"{name}.osim")


@pytest.fixture
def full() -> OsimModel:
    return committed("fullbody80")


@pytest.fixture
def leg() -> OsimModel:
    return committed("planar_leg")


@pytest.fixture(scope="module")
def published(shared_data: Path) -> OsimModel:
    path = shared_data / "models" / "LaiUhlrich2022.osim"
    if not path.is_file():
        pytest.skip(f"the published model is not here: {path} does not exist")
    return load(path)


def random_pose(model: OsimModel, rng: np.random.Generator) -> dict[str, float]:
    """Independent coordinates anywhere in their ranges (at most 3 rad or m), patellae where their couplers put them."""
    pose = {
        c.name: float(rng.uniform(max(c.range_min, -3.0), min(c.range_max, 3.0)))
        for c in model.coordinates
        if not c.dependent
    }
    for coupler in model.couplers:
        driver = np.array([pose[coupler.independent]])
        pose[coupler.dependent] = float(model.coupled_values(coupler.dependent, driver)[0])
    return pose


def swapped(name: str) -> str:
    return re.sub(r"_[rl](?=$|_)", lambda found: OTHER_SIDE[found[0]], name)


def mirrored_pose(pose: dict[str, float]) -> dict[str, float]:
    return {swapped(name): -value if name in ODD else value for name, value in pose.items()}


def placed(model: OsimModel, pose: dict[str, float]) -> OsimModel:
    model.set_pose(model.state, pose)
    model.model.realizePosition(model.state)
    return model


def muscle_lengths(model: OsimModel) -> dict[str, float]:
    muscles = model.model.getMuscles()
    return {name: muscles.get(name).getLength(model.state) for name in model.muscle_names}


def body_positions(model: OsimModel) -> dict[str, np.ndarray]:
    bodies = model.model.getBodySet()
    found = [bodies.get(i) for i in range(bodies.getSize())]
    return {b.getName(): b.getPositionInGround(model.state).to_numpy() for b in found}


def moment_arm(model: OsimModel, muscle: str, coordinate: str) -> float:
    found = model.model.getCoordinateSet().get(coordinate)
    return model.model.getMuscles().get(muscle).computeMomentArm(model.state, found)


def spanned(model: OsimModel, muscle: str) -> list[str]:
    """Leg coordinates of the muscle's side that could have a moment arm."""
    side = muscle[-2:]
    legs = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle", "mtp_angle")
    return [f"{name}{side}" for name in legs]


@pytest.mark.parametrize("name", ["fullbody80", "planar_leg"])
def test_the_committed_file_is_what_the_builder_makes(builder: ModuleType, name: str, tmp_path: Path):
    made = builder.write(getattr(builder, name)(), tmp_path / f"{name}.osim")
    again = builder.write(getattr(builder, name)(), tmp_path / "again.osim")
    assert made.read_bytes() == again.read_bytes()
    expected = (FOLDER / f"{name}.osim").read_text(encoding="utf-8")
    assert made.read_text(encoding="utf-8") == expected, "run `python osim_models/build.py` and commit what it writes"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.osim", f"{name}.osim"]


def test_the_full_body_has_80_muscles_33_free_coordinates_and_two_coupled_patellae(full: OsimModel):
    assert len(full.muscle_names) == 80
    assert len(full.free_coordinates) == 33
    assert [c.name for c in full.coordinates if c.dependent] == ["knee_angle_r_beta", "knee_angle_l_beta"]
    assert full.root_coordinates[:3] == ("pelvis_tilt", "pelvis_list", "pelvis_rotation")
    assert full.mass_kg == pytest.approx(75.337, abs=1e-6)


def test_the_full_body_is_its_own_mirror_image(full: OsimModel):
    rng = np.random.default_rng(7)
    for _ in range(5):
        pose = random_pose(full, rng)
        lengths, positions = muscle_lengths(placed(full, pose)), body_positions(full)
        there, elsewhere = muscle_lengths(placed(full, mirrored_pose(pose))), body_positions(full)
        for name, length in lengths.items():
            assert there[swapped(name)] == pytest.approx(length, abs=1e-9), name
        for name, position in positions.items():
            np.testing.assert_allclose(elsewhere[swapped(name)], position * (1, 1, -1), atol=1e-9, err_msg=name)


def test_inertias_and_strengths_are_the_same_on_both_sides(full: OsimModel):
    strength = dict(zip(full.muscle_names, full.max_isometric_force, strict=True))
    assert all(strength[swapped(name)] == force for name, force in strength.items())
    tables = compile_skeleton(full.path, cache=False)
    flip = np.diag([1.0, 1.0, -1.0])
    for i, name in enumerate(tables.bodies):
        j = tables.bodies.index(swapped(name))
        assert tables.mass[i] == tables.mass[j]
        np.testing.assert_allclose(flip @ tables.inertia[i] @ flip, tables.inertia[j], atol=1e-15)


def test_names_order_and_ranges_are_those_of_the_published_model(full: OsimModel, published: OsimModel):
    assert full.muscle_names == published.muscle_names
    assert [c.name for c in full.coordinates] == [c.name for c in published.coordinates]
    for ours, theirs in zip(full.coordinates, published.coordinates, strict=True):
        assert (ours.kind, ours.joint, ours.locked) == (theirs.kind, theirs.joint, theirs.locked)
        measured = (ours.range_min, ours.range_max, ours.default)
        assert measured == pytest.approx((theirs.range_min, theirs.range_max, theirs.default), abs=1e-8), ours.name


def test_mass_and_inertia_are_those_of_the_published_model(full: OsimModel, published: OsimModel):
    assert full.mass_kg == pytest.approx(published.mass_kg, abs=1e-6)
    ours, theirs = (compile_skeleton(m.path, cache=False) for m in (full, published))
    assert ours.bodies == theirs.bodies
    for name in ("mass", "com", "inertia"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-9, err_msg=name)


def test_poses_and_muscle_lengths_are_those_of_the_published_model(full: OsimModel, published: OsimModel):
    rng = np.random.default_rng(0)
    for _ in range(40):
        pose = random_pose(published, rng)
        placed(full, pose), placed(published, pose)
        theirs = body_positions(published)
        for name, position in body_positions(full).items():
            np.testing.assert_allclose(position, theirs[name], atol=1e-6, err_msg=name)
        expected = muscle_lengths(published)
        for name, length in muscle_lengths(full).items():
            assert length == pytest.approx(expected[name], abs=1e-4), name


def test_moment_arms_are_those_of_the_published_model(full: OsimModel, published: OsimModel):
    rng = np.random.default_rng(1)
    for _ in range(3):
        pose = random_pose(published, rng)
        placed(full, pose), placed(published, pose)
        for muscle in full.muscle_names:
            for coordinate in spanned(full, muscle):
                expected = moment_arm(published, muscle, coordinate)
                assert moment_arm(full, muscle, coordinate) == pytest.approx(expected, abs=5e-4), (muscle, coordinate)


def test_strength_and_fibres_are_those_of_the_published_model(full: OsimModel, published: OsimModel):
    np.testing.assert_allclose(full.max_isometric_force, published.max_isometric_force, rtol=1e-3)
    for name in full.muscle_names:
        ours, theirs = (
            opensim.Millard2012EquilibriumMuscle.safeDownCast(m.model.getMuscles().get(name)) for m in (full, published)
        )
        for number in ("optimal_fiber_length", "tendon_slack_length", "pennation_angle_at_optimal", "fiber_damping"):
            read = f"get_{number}"
            assert getattr(ours, read)() == pytest.approx(getattr(theirs, read)(), rel=1e-3, abs=1e-9), (name, number)
        for curve in ("ActiveForceLengthCurve", "ForceVelocityCurve", "FiberForceLengthCurve"):
            x = np.linspace(0.3, 1.6, 14) if curve != "ForceVelocityCurve" else np.linspace(-1.0, 1.0, 14)
            a, b = (getattr(m, f"upd_{curve}")() for m in (ours, theirs))
            np.testing.assert_allclose([a.calcValue(v) for v in x], [b.calcValue(v) for v in x], atol=1e-9)


def test_the_bone_files_are_those_of_the_published_model(full: OsimModel, published: OsimModel):
    def bones(path: Path) -> list[str]:
        return re.findall(r"<mesh_file>(.*)</mesh_file>", path.read_text(encoding="utf-8"))

    assert bones(full.path) == bones(published.path)


def test_contact_spheres_are_where_a_model_without_any_gets_them(full: OsimModel, tmp_path: Path):
    bare = opensim.Model(str(full.path))
    bare.initSystem()
    bare.updForceSet().clearAndDestroy()
    bare.updContactGeometrySet().clearAndDestroy()
    bare.finalizeConnections()
    path = tmp_path / "bare.osim"
    bare.printToXML(str(path))
    ours, default = compile_skeleton(full.path, cache=False), compile_skeleton(path, cache=False)
    assert ours.contact_names == default.contact_names
    np.testing.assert_array_equal(ours.contact_body, default.contact_body)
    np.testing.assert_allclose(ours.contact_centre, default.contact_centre, atol=1e-5)
    np.testing.assert_allclose(ours.contact_radius, default.contact_radius)


def test_the_planar_leg_moves_in_its_plane_with_nine_muscles(leg: OsimModel):
    assert len(leg.muscle_names) == 9
    expected = ("pelvis_tilt", "pelvis_tx", "pelvis_ty", "hip_flexion_r", "knee_angle_r", "ankle_angle_r")
    assert leg.free_coordinates == expected
    rng = np.random.default_rng(3)
    height = {name: position[2] for name, position in body_positions(placed(leg, random_pose(leg, rng))).items()}
    moved = body_positions(placed(leg, random_pose(leg, rng)))
    assert {name: position[2] for name, position in moved.items()} == pytest.approx(height, abs=1e-12)


def test_the_planar_leg_carries_the_strength_of_the_muscles_it_lumps(
    builder: ModuleType, leg: OsimModel, full: OsimModel
):
    forces = dict(zip(full.muscle_names, full.max_isometric_force, strict=True))
    lumped = {r["muscle"]: r["lumped"].split() for r in builder.read_table(PARAMETERS / "planar_leg" / "muscles.csv")}
    for name, force in zip(leg.muscle_names, leg.max_isometric_force, strict=True):
        assert force == pytest.approx(sum(forces[other] for other in lumped[name])), name
    assert len({other for others in lumped.values() for other in others}) == sum(map(len, lumped.values()))


@pytest.mark.parametrize(("hip", "knee", "ankle"), [(0.0, 0.1, 0.0), (0.5, 0.6, 0.2), (1.0, 1.2, 0.4), (1.6, 1.9, 0.5)])
def test_the_planar_leg_agrees_with_the_full_body_in_the_sagittal_plane(
    leg: OsimModel, full: OsimModel, hip: float, knee: float, ankle: float
):
    pose = {"hip_flexion_r": hip, "knee_angle_r": knee, "knee_angle_r_beta": knee, "ankle_angle_r": ankle}
    upright = {c.name: c.default for c in full.coordinates}
    placed(leg, {"pelvis_tilt": 0.0, "pelvis_tx": 0.0, "pelvis_ty": upright["pelvis_ty"]} | pose)
    placed(full, upright | pose)
    difference = body_positions(leg)["calcn_r"] - body_positions(full)["calcn_r"]
    assert np.abs(difference[:2]).max() < 5e-3
    for muscle in leg.muscle_names:
        for coordinate in ("hip_flexion_r", "knee_angle_r", "ankle_angle_r"):
            expected = moment_arm(full, muscle, coordinate)
            assert moment_arm(leg, muscle, coordinate) == pytest.approx(expected, abs=8e-3), (muscle, coordinate)


@pytest.mark.parametrize("path", TABLE_FILES, ids=lambda p: p.relative_to(PARAMETERS).as_posix())
def test_every_row_names_a_source_that_is_explained(builder: ModuleType, path: Path):
    explained = set(re.findall(r"^\| `(\w+)` \|", (FOLDER / "SOURCES.md").read_text(encoding="utf-8"), re.MULTILINE))
    rows = builder.read_table(path)
    assert rows
    assert {row["source"] for row in rows} <= explained


def test_every_table_is_described_in_the_sources():
    text = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    missing = [p.name for p in TABLE_FILES if f"`{p.relative_to(PARAMETERS).as_posix()}`" not in text]
    assert not missing


@pytest.mark.parametrize("path", TABLE_FILES, ids=lambda p: p.relative_to(PARAMETERS).as_posix())
def test_tables_hold_one_side_and_finite_numbers(builder: ModuleType, path: Path):
    for row in builder.read_table(path):
        first = next(iter(row.values()))
        assert not re.search(r"_l(?=$|_)", first), "the builder makes the left side"
        for column, cell in row.items():
            if column.endswith(("_m", "_rad", "_kg", "_kgm2", "_n")):
                assert np.isfinite(float(cell)), (first, column)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"m": "a_r", "x_m": "1", "z_m": "2"}, {"m": "a_l", "x_m": "1", "z_m": "-2.0"}),
        ({"m": "a_r", "rx_rad": "1", "rz_rad": "2"}, {"m": "a_l", "rx_rad": "-1.0", "rz_rad": "2"}),
        (
            {"joint": "a_r", "part": "rotation1", "axis_x": "1", "axis_y": "2", "axis_z": "3", "c": "k_r_beta"},
            {"joint": "a_l", "part": "rotation1", "axis_x": "-1.0", "axis_y": "-2.0", "axis_z": "3", "c": "k_l_beta"},
        ),
        (
            {"joint": "a_r", "part": "translation3", "axis_x": "1", "axis_y": "2", "axis_z": "3"},
            {"joint": "a_l", "part": "translation3", "axis_x": "1", "axis_y": "2", "axis_z": "-3.0"},
        ),
    ],
)
def test_the_left_side_is_the_mirror_image_of_the_right(builder: ModuleType, row: dict, expected: dict):
    assert builder.mirrored(row) == expected


def test_a_run_of_right_rows_is_followed_by_its_left_image(builder: ModuleType):
    rows = [{"body": name} for name in ("pelvis", "femur_r", "tibia_r", "torso", "ulna_r")]
    names = [row["body"] for row in builder.both_sides(rows)]
    assert names == ["pelvis", "femur_r", "tibia_r", "femur_l", "tibia_l", "torso", "ulna_r", "ulna_l"]


def test_a_table_with_a_ragged_line_is_refused(builder: ModuleType, tmp_path: Path):
    path = tmp_path / "bodies.csv"
    path.write_text("body,mass_kg\npelvis,1\nfemur_r\n", encoding="utf-8")
    with pytest.raises(builder.ParameterError, match="line 3 has another number of cells"):
        builder.read_table(path)


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("joints", "type", "ball", "is of type 'ball'"),
        ("joint_axes", "function", "cubic", "has function 'cubic'"),
        ("coordinates", "joint", "elsewhere", "coordinates, 2 are described"),
    ],
)
def test_tables_that_contradict_each_other_are_refused(
    builder: ModuleType, table: str, column: str, value: str, message: str
):
    tables = builder.planar_leg_tables()
    tables[table][0][column] = value
    with pytest.raises(builder.ParameterError, match=message):
        builder.build("wrong", tables)
