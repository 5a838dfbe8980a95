"""Scaled models are as tall, heavy and strong as asked, in the proportions asked."""

from pathlib import Path

import numpy as np
import opensim
import pytest
import torch
from small_arm import arm

from bige_opensim.cli import app
from bige_opensim.osim.anthropometric_scaling import ScalingError, read_segment_scales, scale_model, standing_height
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import ModelError, OsimModel, load
from bige_opensim.physics.skeleton import Skeleton

GENERIC = Path(__file__).resolve().parents[2] / "osim_models" / "fullbody80.osim"
LEG = GENERIC.with_name("planar_leg.osim")


@pytest.fixture(scope="module")
def generic() -> OsimModel:
    return load(GENERIC)


def lengths(path: Path) -> dict[str, float]:
    """Distances between joint centres that a leg and a trunk are made of, m, in the default pose."""
    skeleton = Skeleton(compile_skeleton(path, cache=False))
    where = skeleton(skeleton.default).position.numpy()
    pairs = {"thigh": ("femur_r", "patella_r"), "shank": ("tibia_r", "talus_r"), "foot": ("calcn_r", "toes_r")}
    pairs |= {"hips": ("femur_l", "femur_r"), "arm": ("humerus_l", "ulna_l"), "trunk": ("torso", "humerus_r")}
    index = skeleton.bodies.index
    return {name: float(np.linalg.norm(where[index(a)] - where[index(b)])) for name, (a, b) in pairs.items()}


def fibres(model: OsimModel) -> np.ndarray:
    muscles = model.model.getMuscles()
    return np.array([muscles.get(name).getOptimalFiberLength() for name in model.muscle_names])


@pytest.mark.parametrize(("height_m", "mass_kg"), [(1.55, 50.0), (1.95, 110.0)])
def test_height_and_mass_are_those_asked_for(tmp_path: Path, generic: OsimModel, height_m: float, mass_kg: float):
    done = scale_model(GENERIC, tmp_path / "person.osim", height_m=height_m, mass_kg=mass_kg)
    person = load(done.path)
    assert person.mass_kg == pytest.approx(mass_kg, abs=1e-9)
    assert standing_height(person.model, done.path) == pytest.approx(height_m, abs=1e-9)
    before, after = lengths(GENERIC), lengths(done.path)
    for name, length in before.items():
        assert after[name] / length == pytest.approx(height_m / done.source_height_m, rel=1e-6), name
    assert person.muscle_names == generic.muscle_names
    assert person.free_coordinates == generic.free_coordinates


def test_the_generic_model_is_as_tall_as_a_man_of_its_mass(generic: OsimModel):
    assert 1.6 < standing_height(generic.model, GENERIC) < 1.8


def test_a_model_scaled_to_what_it_is_stays_as_it_is(tmp_path: Path, generic: OsimModel):
    height = standing_height(generic.model, GENERIC)
    same = load(scale_model(GENERIC, tmp_path / "same.osim", height_m=height, mass_kg=generic.mass_kg).path)
    np.testing.assert_allclose(same.max_isometric_force, generic.max_isometric_force, rtol=1e-9)
    np.testing.assert_allclose(fibres(same), fibres(generic), rtol=1e-9)
    a, b = (compile_skeleton(p, cache=False) for p in (GENERIC, same.path))
    for name in ("mass", "com", "inertia", "contact_centre", "contact_radius", "fixed_translation"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), atol=1e-9, err_msg=name)


def test_strength_follows_muscle_volume_over_fibre_length(tmp_path: Path, generic: OsimModel):
    done = scale_model(GENERIC, tmp_path / "person.osim", height_m=1.9, mass_kg=95.0)
    person = load(done.path)
    volume = (47.0 * 95.0 * 1.9 + 1285.0) / (47.0 * generic.mass_kg * done.source_height_m + 1285.0)
    expected = volume * generic.max_isometric_force * fibres(generic) / fibres(person)
    np.testing.assert_allclose(person.max_isometric_force, expected, rtol=1e-9)
    np.testing.assert_allclose(fibres(person) / fibres(generic), 1.9 / done.source_height_m, rtol=1e-3)
    assert done.muscle_volume == pytest.approx(volume)


def test_inertia_grows_with_mass_and_the_square_of_size(tmp_path: Path, generic: OsimModel):
    done = scale_model(GENERIC, tmp_path / "person.osim", height_m=1.9, mass_kg=95.0)
    before, after = compile_skeleton(GENERIC, cache=False), compile_skeleton(done.path, cache=False)
    factor = 95.0 / generic.mass_kg * (1.9 / done.source_height_m) ** 2
    np.testing.assert_allclose(after.inertia, factor * before.inertia, rtol=1e-9, atol=1e-15)


def test_segment_scales_change_proportions_on_both_sides_and_keep_the_height(tmp_path: Path):
    plain = scale_model(GENERIC, tmp_path / "plain.osim", height_m=1.8, mass_kg=80.0)
    long = scale_model(
        GENERIC, tmp_path / "long.osim", height_m=1.8, mass_kg=80.0, segment_scales={"femur": 1.1, "humerus_l": 1.2}
    )
    a, b = lengths(plain.path), lengths(long.path)
    ratio = b["shank"] / a["shank"]
    assert ratio < 1.0
    assert b["thigh"] / a["thigh"] == pytest.approx(1.1 * ratio, rel=1e-6)
    assert b["arm"] / a["arm"] == pytest.approx(1.2 * ratio, rel=1e-6)
    assert long.factors["femur_l"] == long.factors["femur_r"]
    assert long.factors["humerus_r"] == long.factors["tibia_r"]
    assert standing_height(load(long.path).model, long.path) == pytest.approx(1.8, abs=1e-9)


def test_a_wider_pelvis_leaves_its_height(tmp_path: Path):
    wide = scale_model(
        GENERIC, tmp_path / "wide.osim", height_m=1.7, mass_kg=70.0, segment_scales={"pelvis": (1.0, 1.0, 1.2)}
    )
    plain = scale_model(GENERIC, tmp_path / "plain.osim", height_m=1.7, mass_kg=70.0)
    assert lengths(wide.path)["hips"] == pytest.approx(1.2 * lengths(plain.path)["hips"], rel=1e-6)
    assert lengths(wide.path)["trunk"] == pytest.approx(lengths(plain.path)["trunk"], rel=1e-6)


def test_soles_grow_in_length_and_breadth_only(tmp_path: Path):
    done = scale_model(GENERIC, tmp_path / "tall.osim", height_m=1.95, mass_kg=90.0)
    before, after = compile_skeleton(GENERIC, cache=False), compile_skeleton(done.path, cache=False)
    k = 1.95 / done.source_height_m
    np.testing.assert_allclose(after.contact_centre, before.contact_centre * (k, 1.0, k), rtol=1e-9)
    np.testing.assert_allclose(after.contact_radius, before.contact_radius)


def test_a_sphere_in_a_turned_frame_moves_along_the_axes_of_its_body(tmp_path: Path):
    model = opensim.Model(str(GENERIC))
    foot = model.getBodySet().get("calcn_r")
    turned = opensim.Transform(opensim.Rotation(0.7, opensim.Vec3(0.6, 0.8, 0.0)), opensim.Vec3(0.1, 0.02, -0.03))
    frame = opensim.PhysicalOffsetFrame("turned", foot, turned)
    foot.addComponent(frame)
    sphere = opensim.ContactSphere(0.03, opensim.Vec3(0.05, -0.04, 0.02), frame, "turned_sphere")
    model.addContactGeometry(sphere)
    model.finalizeConnections()
    model.printToXML(str(tmp_path / "turned.osim"))

    def place(path: Path) -> np.ndarray:
        loaded = load(path)
        it = opensim.ContactSphere.safeDownCast(loaded.model.getContactGeometrySet().get("turned_sphere"))
        transform = it.getFrame().findTransformInBaseFrame()
        rotation = transform.R().asMat33()
        R = np.array([[rotation.get(i, j) for j in range(3)] for i in range(3)])
        return R @ it.get_location().to_numpy() + transform.p().to_numpy()

    done = scale_model(
        tmp_path / "turned.osim",
        tmp_path / "out.osim",
        height_m=1.9,
        mass_kg=80.0,
        segment_scales={"calcn": (1.2, 1.0, 1.0)},
    )
    x, y, z = done.factors["calcn_r"]
    before = place(tmp_path / "turned.osim")
    lifted = (y - 1.0) * 0.02
    np.testing.assert_allclose(place(done.path), before * (x, 1.0, z) + (0.0, lifted, 0.0), atol=1e-12)


def test_a_bodys_own_name_counts_before_the_name_of_both_sides(tmp_path: Path):
    done = scale_model(
        GENERIC, tmp_path / "p.osim", height_m=1.7, mass_kg=70.0, segment_scales={"ulna_l": 1.3, "ulna": 1.1}
    )
    size = done.factors["pelvis"][0]
    assert done.factors["ulna_l"] == pytest.approx((1.3 * size,) * 3)
    assert done.factors["ulna_r"] == pytest.approx((1.1 * size,) * 3)


def test_a_scaled_model_is_compiled_to_opensims_own_kinematics(tmp_path: Path):
    """The knee's translations become scaled functions in the file; the compiled skeleton must follow them."""
    done = scale_model(GENERIC, tmp_path / "tall.osim", height_m=1.95, mass_kg=90.0, segment_scales={"femur": 1.05})
    person = load(done.path)
    skeleton = Skeleton(compile_skeleton(done.path, cache=False))
    q = dict(zip(skeleton.coordinates, skeleton.default.tolist(), strict=True)) | {
        "knee_angle_r": 1.9,
        "knee_angle_l": 0.7,
    }
    patellae = {c.dependent: q[c.independent] for c in person.couplers}
    person.set_pose(person.state, q | patellae)
    person.model.realizePosition(person.state)
    position = skeleton(torch.tensor(list(q.values()), dtype=torch.float64)).position.numpy()
    for i, name in enumerate(skeleton.bodies):
        expected = person.model.getBodySet().get(name).getPositionInGround(person.state).to_numpy()
        np.testing.assert_allclose(position[i], expected, atol=1e-6, err_msg=name)


def test_a_published_model_can_be_scaled_too(shared_data: Path, tmp_path: Path):
    path = shared_data / "models" / "LaiUhlrich2022.osim"
    theirs = load(scale_model(path, tmp_path / "theirs.osim", height_m=1.8, mass_kg=82.0).path)
    ours = load(scale_model(GENERIC, tmp_path / "ours.osim", height_m=1.8, mass_kg=82.0).path)
    np.testing.assert_allclose(ours.max_isometric_force, theirs.max_isometric_force, rtol=1e-3)
    np.testing.assert_allclose(fibres(ours), fibres(theirs), rtol=1e-3)


def test_the_scaled_file_is_written_whole_into_a_new_folder(tmp_path: Path):
    done = scale_model(GENERIC, tmp_path / "new" / "person.osim", height_m=1.7, mass_kg=70.0)
    assert [p.name for p in done.path.parent.iterdir()] == ["person.osim"]
    assert opensim.Model(str(done.path)).getName() == "person"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"height_m": 0.0}, "height must be a positive number, got 0 m"),
        ({"height_m": float("nan")}, "height must be a positive number, got nan m"),
        ({"mass_kg": -70.0}, "mass must be a positive number, got -70 kg"),
        ({"segment_scales": {"femur": 0.0}}, r"scale of femur must be a positive number, got 0\."),
        ({"segment_scales": {"thigh": 1.1}}, "no body 'thigh' to scale. Bodies: calcn, femur"),
    ],
)
def test_what_cannot_be_scaled_is_refused_and_nothing_is_written(tmp_path: Path, wrong: dict, message: str):
    out = tmp_path / "person.osim"
    with pytest.raises(ScalingError, match=message):
        scale_model(GENERIC, out, **({"height_m": 1.7, "mass_kg": 70.0} | wrong))
    assert not out.exists()


def test_without_a_height_lengths_stay_and_masses_change_by_one_factor(tmp_path: Path, generic: OsimModel):
    done = scale_model(GENERIC, tmp_path / "light.osim", mass_kg=0.8 * generic.mass_kg)
    light = load(done.path)
    assert done.height_m == done.source_height_m
    assert standing_height(light.model, light.path) == pytest.approx(done.height_m)
    assert light.mass_kg == pytest.approx(0.8 * generic.mass_kg)
    assert np.all(light.max_isometric_force < generic.max_isometric_force)


def test_a_model_without_arms_is_measured_to_its_hips(tmp_path: Path):
    before = load(LEG)
    done = scale_model(LEG, tmp_path / "leg.osim", height_m=1.7, mass_kg=0.5 * before.mass_kg)
    after = load(done.path)
    assert standing_height(after.model, after.path) == pytest.approx(1.7)
    assert 1.5 < done.source_height_m < 2.0
    assert after.mass_kg == pytest.approx(0.5 * before.mass_kg)


def test_a_published_model_without_arms_gets_the_mass_that_plates_carry(shared_data: Path, tmp_path: Path):
    done = scale_model(shared_data / "data/ceinms_gait/gait2392.osim", tmp_path / "person.osim", mass_kg=58.1)
    assert done.height_m == pytest.approx(done.source_height_m)
    assert load(done.path).mass_kg == pytest.approx(58.1)


def test_a_model_without_a_leg_says_what_is_missing(tmp_path: Path):
    with pytest.raises(ScalingError, match=r"the model has no humerus_r\. Its height is measured"):
        scale_model(arm(tmp_path / "arm.osim"), tmp_path / "out.osim", height_m=1.7, mass_kg=70.0)


def test_a_model_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="no such model file"):
        scale_model(tmp_path / "none.osim", tmp_path / "out.osim", height_m=1.7, mass_kg=70.0)


def test_the_model_itself_is_not_overwritten(tmp_path: Path):
    path = tmp_path / "generic.osim"
    path.write_bytes(GENERIC.read_bytes())
    with pytest.raises(ScalingError, match="would replace the model it is made from"):
        scale_model(path, path, height_m=1.7, mass_kg=70.0)
    assert path.read_bytes() == GENERIC.read_bytes()


def test_proportions_are_read_from_the_command_lines_words():
    assert read_segment_scales(["femur=1.05", "pelvis=1,1,1.1"]) == {"femur": 1.05, "pelvis": (1.0, 1.0, 1.1)}


def test_a_body_named_twice_on_the_command_line_is_refused():
    with pytest.raises(ScalingError, match="gives femur a second proportion"):
        read_segment_scales(["femur=1.05", "femur=1.1"])


def test_two_factors_for_a_body_are_refused(tmp_path: Path):
    with pytest.raises(ScalingError, match="one factor or three along x, y and z, got 2"):
        scale_model(GENERIC, tmp_path / "p.osim", height_m=1.7, mass_kg=70.0, segment_scales={"femur": (1.0, 1.1)})


def test_a_file_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(ScalingError, match="cannot be written"):
        scale_model(GENERIC, tmp_path / "taken" / "p.osim", height_m=1.7, mass_kg=70.0)
    (tmp_path / "p.osim").mkdir()
    with pytest.raises(ScalingError, match="cannot be written"):
        scale_model(GENERIC, tmp_path / "p.osim", height_m=1.7, mass_kg=70.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.osim", "taken"]


@pytest.mark.parametrize("text", ["femur", "femur=", "=1.1", "femur=long", "femur=1,2"])
def test_a_proportion_that_is_none_is_refused(text: str):
    with pytest.raises(ScalingError, match="is no proportion of a body"):
        read_segment_scales([text])


def test_the_command_line_scales_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["scale", str(GENERIC), "--height", "1.8", "--mass", "80", "--segment", "femur=1.05"]
    assert app([*words, "--out", str(tmp_path / "p.osim")], result_action="return_value") == 0
    assert "-> 1.800 m, 80.0 kg" in capsys.readouterr().out
    assert load(tmp_path / "p.osim").mass_kg == pytest.approx(80.0)
    wrong = [*words, "--segment", "thigh=1.1", "--out", str(tmp_path / "q.osim")]
    assert app(wrong, result_action="return_value") == 1
    assert "no body 'thigh'" in capsys.readouterr().err
    assert not (tmp_path / "q.osim").exists()
