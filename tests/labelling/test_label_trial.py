import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose
from recordings import MODELS, motion_path
from small_models import biped, every_joint, write_squat

from bige_opensim.io.external_loads import ExternalLoadsError, read_external_loads
from bige_opensim.io.storage import StorageTable, read_storage, write_storage
from bige_opensim.labelling.label_trial import TrialError, label_trial
from bige_opensim.labelling.request import TrialRequest, finished_label
from bige_opensim.motion import MotionError

FILES = {
    "activations.sto",
    "states.sto",
    "grf.mot",
    "external_loads.xml",
    "inverse_dynamics.sto",
    "joint_loads.sto",
    "coordinates.mot",
    "setup_static_optimization.xml",
    "label.json",
}


def table(path: Path) -> StorageTable:
    return read_storage(path)


def rewrite(path: Path, change) -> None:
    """Change the lines of a table: `change(lines)` after the header line `endheader`."""
    lines = path.read_text().splitlines()
    at = lines.index("endheader") + 1
    path.write_text("\n".join([*lines[:at], *change(lines[at:])]) + "\n")


def test_a_label_folder_holds_every_file_and_its_numbers_agree(request_of, fast):
    request = request_of()
    steps = []
    label = label_trial(request, fast, lambda step, share: steps.append(step))
    assert {p.name for p in request.out.iterdir()} == FILES
    assert json.loads((request.out / "label.json").read_text()) == label
    assert label["status"] == "passed", label["reason"]
    assert (label["frames"], label["frames_solved"], label["grf"], label["solver"]) == (60, 60, "estimated", "fast")
    assert label["mass_kg"] == pytest.approx(70.0)
    activations = table(request.out / "activations.sto")
    assert list(activations.names) == label["muscles"]
    assert activations.values.shape == (60, 14)
    assert ((activations.values >= 0.01 - 1e-9) & (activations.values <= 1)).all()
    assert label["peaks"] == pytest.approx(dict(zip(activations.names, activations.values.max(0), strict=True)))
    forces = table(request.out / "grf.mot")
    up = forces.values[:, [forces.names.index(f"ground_force_{s}_vy") for s in "rl"]].sum(1)
    assert up.mean() == pytest.approx(70 * 9.80665, rel=0.05)
    moments = table(request.out / "inverse_dynamics.sto")
    assert "knee_angle_r_moment" in moments.names
    assert "pelvis_ty_force" in moments.names
    assert_allclose(moments.values[:, moments.names.index("pelvis_ty_force")], 0.0, atol=0.05 * 70 * 9.81)
    recorded, kept = table(request.motion), table(request.out / "coordinates.mot")
    assert kept.in_degrees
    assert_allclose(kept.values[:, kept.names.index("knee_angle_r")], recorded.values[:, 7], atol=0.5)
    assert steps[0] == "reading"
    assert len(set(steps)) >= 4


def test_states_hold_values_speeds_in_radians_and_activations_by_path(request_of, fast):
    request = request_of()
    label_trial(request, fast)
    states, kept = table(request.out / "states.sto"), table(request.out / "coordinates.mot")
    assert not states.in_degrees
    value = states.values[:, states.names.index("/jointset/knee_angle_r/knee_angle_r/value")]
    speed = states.values[:, states.names.index("/jointset/knee_angle_r/knee_angle_r/speed")]
    assert_allclose(np.rad2deg(value), kept.values[:, kept.names.index("knee_angle_r")], atol=1e-9)
    assert_allclose(speed[5:-5], np.gradient(value, states.time)[5:-5], atol=0.05)
    activations = table(request.out / "activations.sto")
    column = states.values[:, states.names.index("/forceset/vasmed_r/activation")]
    assert_allclose(column, activations.values[:, activations.names.index("vasmed_r")])


def test_a_window_is_labelled_as_part_of_the_whole(request_of, fast):
    request = request_of()
    label = label_trial(request, replace(fast, start=0.2, end=0.7))
    part = table(request.out / "activations.sto")
    assert (part.time[0], part.time[-1]) == pytest.approx((0.2, 0.7))
    assert label["frames"] == len(part.time) == 31
    label_trial(request, fast)
    whole = table(request.out / "activations.sto")
    inside = (whole.time >= 0.2 - 1e-9) & (whole.time <= 0.7 + 1e-9)
    assert_allclose(part.values, whole.values[inside], atol=1e-6)


def test_the_stripped_model_is_shared_by_a_sessions_trials_and_paths_are_relative(request_of, fast):
    request = request_of()
    label_trial(request, fast)
    setup = (request.out / "setup_static_optimization.xml").read_text()
    assert "<model_file>../model_static_optimization.osim</model_file>" in setup
    assert "<coordinates_file>coordinates.mot</coordinates_file>" in setup
    assert str(request.out.parent) not in setup
    assert (request.model_folder / "model_static_optimization.osim").is_file()
    assert read_external_loads(request.out / "external_loads.xml").datafile == request.out / "grf.mot"


def test_a_changed_model_replaces_the_stripped_one(request_of, fast):
    request = request_of()
    label_trial(request, fast)
    stripped = request.model_folder / "model_static_optimization.osim"
    before = stripped.read_text()
    biped(request.model, strength=1.5)
    label_trial(request, fast)
    assert stripped.read_text() != before
    assert "9000" in stripped.read_text()


def test_a_single_trial_keeps_its_own_model(request_of, fast, tmp_path):
    request = request_of(out=tmp_path / "alone", model_folder=tmp_path / "alone")
    label_trial(request, fast)
    assert {p.name for p in request.out.iterdir()} == FILES | {"model_static_optimization.osim"}


def test_a_finished_label_is_found_until_files_or_settings_change(request_of, fast):
    request = request_of()
    assert finished_label(request, fast) is None
    label = label_trial(request, fast)
    assert finished_label(request, fast) == label
    assert finished_label(request, replace(fast, cutoff_hz=8.0)) is None
    write_squat(request.model, request.motion, depth=0.9)
    assert finished_label(request, fast) is None


def test_without_ground_forces_residuals_carry_the_body_and_gates_say_so(request_of, fast):
    label = label_trial(request_of(), replace(fast, grf="none"))
    assert label["grf"] == "none"
    assert label["status"] == "gates_failed"
    assert label["gates"]["residual_force"]["value"] > 90
    assert label["reason"].startswith("residual_force")
    assert not (request_of().out / "grf.mot").exists()


def test_estimated_forces_given_back_as_measured_ones_give_the_same_activations(request_of, fast, tmp_path):
    request = request_of()
    settings = replace(fast, cutoff_hz=0.0)
    label_trial(request, settings)
    first = table(request.out / "activations.sto")
    again = request_of(out=tmp_path / "again", external_loads=request.out / "external_loads.xml")
    label = label_trial(again, settings)
    assert label["grf"] == "measured"
    assert label["whole_body_shift"] is None
    assert_allclose(table(again.out / "activations.sto").values, first.values, atol=2e-3)


def test_changed_measured_forces_ask_for_a_new_label(request_of, fast, tmp_path):
    request = request_of()
    label_trial(request, fast)
    plates = tmp_path / "plates"
    plates.mkdir()
    for name in ("grf.mot", "external_loads.xml"):
        (plates / name).write_bytes((request.out / name).read_bytes())
    again = request_of(out=tmp_path / "again", external_loads=plates / "external_loads.xml")
    label_trial(again, fast)
    assert finished_label(again, fast) is not None
    forces = table(plates / "grf.mot")
    write_storage(plates / "grf.mot", forces.time, 1.01 * forces.values, forces.names, in_degrees=False)
    assert finished_label(again, fast) is None


def test_locked_coordinates_hold_their_file_values_and_take_no_reserve(request_of, fast, tmp_path):
    model = opensim.Model(str(request_of().model))
    model.initSystem()
    model.updCoordinateSet().get("pelvis_rotation").setDefaultLocked(True)
    model.printToXML(str(tmp_path / "locked.osim"))
    label = label_trial(request_of(model=tmp_path / "locked.osim"), fast)
    assert label["frames_solved"] == label["frames"]
    assert "pelvis_rotation" in label["coordinates"]


def check_nothing_left(request: TrialRequest) -> None:
    assert not request.out.exists()
    if request.out.parent.exists():
        assert [p.name for p in request.out.parent.iterdir() if ".partial" in p.name] == []


def columns_of(lines: list[str], change) -> list[str]:
    return ["\t".join(change(line.split("\t"))) for line in lines]


def with_radians(path: Path) -> None:
    t = read_storage(path)
    turns = [not n.startswith("pelvis_t") or n == "pelvis_tilt" for n in t.names]
    write_storage(path, t.time, np.where(turns, np.deg2rad(t.values), t.values), t.names, in_degrees=True)


def called_radians(path: Path) -> None:
    path.write_text(path.read_text().replace("inDegrees=yes", "inDegrees=no"))


BAD_MOTIONS = {
    "empty": (lambda p: p.write_text(""), "the file is empty"),
    "binary": (lambda p: p.write_bytes(bytes(range(256)) * 40), "not a text file"),
    "cut off": (lambda p: p.write_text(p.read_text()[:-40]), "The last row is cut off|cells where"),
    "header only": (lambda p: rewrite(p, lambda rows: []), "nothing follows 'endheader'"),
    "nan": (lambda p: rewrite(p, lambda rows: [*rows[:9], re.sub(r"\S+$", "nan", rows[9]), *rows[10:]]), "is nan"),
    "duplicate": (lambda p: rewrite(p, lambda r: columns_of(r, lambda c: [*c, c[-1]])), "repeated column labels"),
    "time back": (lambda p: rewrite(p, lambda r: [*r[:9], r[5], *r[9:]]), "time must increase"),
    "one row": (lambda p: rewrite(p, lambda r: r[:2]), r"has 1 row\(s\) of data"),
    "two rows": (lambda p: rewrite(p, lambda r: r[:3]), "2 frames .*at least 10 are needed"),
    "nine rows": (lambda p: rewrite(p, lambda r: r[:10]), "9 frames .*at least 10 are needed"),
    "no root": (lambda p: rewrite(p, lambda r: columns_of(r, lambda c: [c[0], *c[7:]])), "made with another model"),
    "radians called degrees": (with_radians, "header says degrees, but .* are radians"),
    "degrees called radians": (called_radians, "header says radians, but .* are degrees"),
}


@pytest.mark.parametrize("kind", BAD_MOTIONS)
def test_a_bad_motion_ends_with_one_sentence_naming_it_and_nothing_written(request_of, fast, kind):
    spoil, message = BAD_MOTIONS[kind]
    request = request_of()
    spoil(request.motion)
    with pytest.raises(TrialError, match=message) as error:
        label_trial(request, fast)
    assert str(error.value).startswith(str(request.motion))
    assert "\n" not in str(error.value)
    check_nothing_left(request)


def test_a_missing_motion_is_named(request_of, fast):
    request = request_of()
    request.motion.unlink()
    with pytest.raises(TrialError, match=r"squat\.mot: cannot be read"):
        label_trial(request, fast)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 5.0}, "lie between 5.0 s and None s"),
        ({"start": 0.2, "end": 0.25}, "4 frames between --start and --end"),
        ({"cutoff_hz": 45.0}, "cut-off must lie between 0 and half the sampling rate"),
    ],
)
def test_a_window_or_filter_that_the_motion_does_not_allow_names_the_motion(request_of, fast, settings, message):
    request = request_of()
    with pytest.raises(MotionError, match=message) as error:
        label_trial(request, replace(fast, **settings))
    assert str(error.value).startswith(str(request.motion))
    check_nothing_left(request)


def test_a_motion_of_another_model_is_refused(request_of, fast, tmp_path):
    request = request_of()
    time = np.linspace(0, 1, 50)
    other = tmp_path / "other.mot"
    write_storage(other, time, np.outer(time, [90.0, 45.0]), ["shoulder", "elbow"], in_degrees=True)
    with pytest.raises(TrialError, match=r"other\.mot: none of its columns .* is a coordinate of the model"):
        label_trial(replace(request, motion=other), fast)
    check_nothing_left(request)


@pytest.mark.parametrize("content", ["", "not a model", "<OpenSimDocument"])
def test_an_unreadable_model_is_named(request_of, fast, tmp_path, content):
    path = tmp_path / "broken.osim"
    path.write_text(content)
    request = request_of(model=path)
    with pytest.raises(TrialError, match=r"broken\.osim: OpenSim cannot read this model"):
        label_trial(request, fast)
    check_nothing_left(request)


def test_a_model_without_muscles_is_named(request_of, fast, tmp_path):
    request = request_of(model=biped(tmp_path / "bones.osim", muscles=False))
    with pytest.raises(TrialError, match=r"bones\.osim: the model has no muscles, so there is nothing to label"):
        label_trial(request, fast)
    check_nothing_left(request)


def test_a_model_with_an_unsupported_joint_is_named(request_of, fast, tmp_path):
    text = request_of().model.read_text().replace('PinJoint name="ankle_angle_l"', 'ScrewJoint name="ankle_angle_l"')
    path = tmp_path / "screw.osim"
    path.write_text(text)
    with pytest.raises(TrialError, match=r"screw\.osim"):
        label_trial(request_of(model=path), fast)


def test_a_folder_with_other_files_is_not_replaced(request_of, fast):
    request = request_of()
    request.out.mkdir(parents=True)
    (request.out / "thesis.txt").write_text("mine")
    with pytest.raises(TrialError, match=r"holds other files than label\.json"):
        label_trial(request, fast)
    assert (request.out / "thesis.txt").read_text() == "mine"
    assert {p.name for p in request.out.parent.iterdir()} <= {"squat", "model_static_optimization.osim"}


def loads_xml(
    folder: Path, body: str = "calcn_r", point: str = "p_", expressed: str = "ground", to: float = 2.0
) -> Path:
    time = np.linspace(-0.5, to, 200)
    names = [f"{k}_{a}" for k in ("f", "p", "m") for a in "xyz"]
    values = np.zeros((200, 9))
    values[:, 1] = 350.0
    write_storage(folder / "forces.mot", time, values, names, in_degrees=False, title="forces")
    path = folder / "loads.xml"
    path.write_text(
        "<OpenSimDocument Version='40000'><ExternalLoads name='x'><objects><ExternalForce name='plate'>"
        f"<applied_to_body>{body}</applied_to_body><force_expressed_in_body>{expressed}</force_expressed_in_body>"
        "<point_expressed_in_body>ground</point_expressed_in_body><force_identifier>f_</force_identifier>"
        f"<point_identifier>{point}</point_identifier><torque_identifier>m_</torque_identifier>"
        "</ExternalForce></objects><datafile>forces.mot</datafile></ExternalLoads></OpenSimDocument>"
    )
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"body": "pelvis"}, "load plate acts on pelvis; expected calcn_r"),
        ({"expressed": "calcn_r"}, "load plate is expressed in calcn_r; expected ground"),
        ({"point": "q_"}, "the force file has no columns q_x, q_y, q_z, which plate names"),
        ({"point": ""}, "load plate has no point"),
        ({"to": 0.5}, r"forces cover -0\.500 to 0\.500 s, the motion 0\.000 to 0\.983 s"),
    ],
)
def test_external_loads_that_cannot_be_used_are_named(request_of, fast, tmp_path, options, message):
    request = request_of(external_loads=loads_xml(tmp_path, **options))
    with pytest.raises(ExternalLoadsError, match=message):
        label_trial(request, fast)
    check_nothing_left(request)


def test_measured_forces_need_a_model_with_feet(fast, tmp_path):
    model = opensim.Model(str(every_joint(tmp_path / "model.osim", "Custom")))
    muscle = opensim.Millard2012EquilibriumMuscle("m", 100.0, 0.1, 0.2, 0.0)
    muscle.addNewPathPoint("a", model.getBodySet().get("first"), opensim.Vec3(0))
    muscle.addNewPathPoint("b", model.getBodySet().get("third"), opensim.Vec3(0.1, 0, 0))
    model.addForce(muscle)
    model.finalizeConnections()
    model.printToXML(str(tmp_path / "footless.osim"))
    time = np.linspace(0, 1, 50)
    names = [f"q{k}" for k in range(6)] + ["swing"]
    write_storage(tmp_path / "m.mot", time, np.outer(np.sin(9 * time), np.full(7, 20.0)), names, in_degrees=True)
    request = TrialRequest(
        tmp_path / "footless.osim", tmp_path / "m.mot", tmp_path / "o", tmp_path / "o", "s", "s", "m"
    )
    with pytest.raises(TrialError, match=r"footless\.osim: the model has no feet"):
        label_trial(request, fast)
    with pytest.raises(TrialError, match=r"footless\.osim: the model has no feet"):
        label_trial(replace(request, external_loads=loads_xml(tmp_path)), fast)
    assert label_trial(replace(request), replace(fast, grf="none"))["status"] in ("passed", "gates_failed")


def test_an_interrupted_trial_leaves_nothing_behind(request_of, fast):
    def stop(step: str, share: float) -> None:
        if step == "writing":
            raise KeyboardInterrupt

    request = request_of()
    with pytest.raises(KeyboardInterrupt):
        label_trial(request, fast, stop)
    check_nothing_left(request)


def test_an_interrupted_second_labelling_keeps_the_first(request_of, fast):
    def stop(step: str, share: float) -> None:
        if step == "writing":
            raise KeyboardInterrupt

    request = request_of()
    first = label_trial(request, fast)
    with pytest.raises(KeyboardInterrupt):
        label_trial(request, replace(fast, cutoff_hz=4.0), stop)
    assert json.loads((request.out / "label.json").read_text()) == first


def test_thirty_frames_of_a_real_squat_are_labelled(shared_data, tmp_path, fast):
    request = TrialRequest(
        shared_data / MODELS["subject6"],
        motion_path(shared_data, "subject6", "squats1"),
        tmp_path / "squats1",
        tmp_path,
        session="s6",
        subject="subject6",
        trial="squats1",
    )
    label = label_trial(request, replace(fast, start=1.0, end=1.29))
    assert {p.name for p in request.out.iterdir()} == FILES
    assert (label["frames"], label["frames_solved"]) == (30, 30)
    assert table(request.out / "activations.sto").values.shape == (30, 80)
    assert 0.02 < label["peaks"]["vasmed_r"] < 0.9
