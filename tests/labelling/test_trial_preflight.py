"""Trials that are wrong although every quality gate holds: each is said in the reason, or stops with a sentence."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import opensim
import pytest
from small_models import squat

from bige_opensim.cli import app
from bige_opensim.doctor.person_checks import Stated
from bige_opensim.doctor.preflight import PreflightError
from bige_opensim.io.storage import read_storage, write_coordinates, write_storage
from bige_opensim.labelling.label_task import label_and_place
from bige_opensim.labelling.label_trial import label_in_memory, label_trial
from bige_opensim.labelling.request import TrialRequest, finished_label
from bige_opensim.labelling.status_table import read_status
from bige_opensim.motion import Motion
from bige_opensim.osim.model import load

MASS_KG = 70.0
HEIGHT_M = (0.4 + np.hypot(0.045, 0.46)) / 0.491


def changed_model(source: Path, target: Path, change: Callable[[opensim.Model], None]) -> Path:
    model = opensim.Model(str(source))
    model.initSystem()
    change(model)
    model.finalizeConnections()
    model.printToXML(str(target))
    return target


def heavier(factor: float) -> Callable[[opensim.Model], None]:
    def change(model: opensim.Model) -> None:
        for body in model.getBodySet():
            body.scaleMass(factor)

    return change


def stronger(factor: float) -> Callable[[opensim.Model], None]:
    def change(model: opensim.Model) -> None:
        for i in range(model.getMuscles().getSize()):
            muscle = model.updMuscles().get(i)
            muscle.setMaxIsometricForce(factor * muscle.getMaxIsometricForce())

    return change


def gravity(*vector: float) -> Callable[[opensim.Model], None]:
    return lambda model: model.setGravity(opensim.Vec3(*vector)) and None


def with_columns(path: Path, **changes: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change columns of a motion in the file's units; the argument is the column."""
    table = read_storage(path)
    values = table.values.copy()
    for name, change in changes.items():
        values[:, table.names.index(name)] = change(values[:, table.names.index(name)])
    write_storage(path, table.time, values, table.names, in_degrees=True)


def renamed(path: Path, **names: str) -> None:
    table = read_storage(path)
    write_storage(path, table.time, table.values, [names.get(n, n) for n in table.names], in_degrees=True)


def without(path: Path, *names: str) -> None:
    table = read_storage(path)
    kept = [i for i, n in enumerate(table.names) if n not in names]
    write_storage(path, table.time, table.values[:, kept], [table.names[i] for i in kept], in_degrees=True)


def sampled(path: Path, rows: np.ndarray, time: np.ndarray | None = None) -> None:
    table = read_storage(path)
    write_storage(path, table.time[rows] if time is None else time, table.values[rows], table.names, in_degrees=True)


def found(label: dict, kind: str) -> dict:
    (entry,) = [f for f in label["preflight"] if f["kind"] == kind]
    return entry


def test_where_nothing_is_wrong_the_preflight_is_empty_and_the_trial_passes(request_of, fast):
    label = label_trial(request_of(stated=Stated(MASS_KG, 1.66)), fast)
    assert (label["status"], label["reason"], label["preflight"]) == ("passed", "all quality gates passed", [])


STOPPED_MODELS = {
    "a tenth of the mass": (heavier(0.1), "body mass index of 2.27"),
    "a hundred times the strength": (stronger(100.0), r"N per cm² of the muscle that a person of this size has"),
    "a hundredth of the strength": (stronger(0.01), r"N per cm² of the muscle that a person of this size has"),
    "half the gravity": (gravity(0, -9.80665 / 2, 0), r"Gravity is \[.*-4.903"),
    "no gravity": (gravity(0, 0, 0), r"Gravity is \[0.0, 0.0, 0.0\]"),
    "gravity sideways": (gravity(0, 0, -9.80665), r"Gravity is \[.*-9.807\]"),
    "gravity in other units": (gravity(0, -980.665, 0), "Gravity is"),
}


@pytest.mark.parametrize("what", STOPPED_MODELS)
def test_a_model_that_is_no_person_stops_the_trial(request_of, fast, tmp_path, what):
    change, sentence = STOPPED_MODELS[what]
    request = request_of()
    request = replace(request, model=changed_model(request.model, tmp_path / "other.osim", change))
    with pytest.raises(PreflightError, match=sentence) as error:
        label_trial(request, fast)
    assert "\n" not in str(error.value)
    assert not request.out.exists()
    assert label_and_place(request, fast, [request], lambda step, share: None) == str(error.value)


def test_twice_the_mass_does_not_pass_by_its_lengths_nor_by_what_is_stated(request_of, fast, tmp_path):
    request = request_of()
    double = replace(request, model=changed_model(request.model, tmp_path / "double.osim", heavier(2.0)))
    label = label_trial(double, fast)
    assert (label["status"], all(g["passed"] for g in label["gates"].values())) == ("gates_failed", True)
    assert label["reason"].startswith("The model weighs 140 kg and is 1.76 m tall by its lengths: a body mass index of")
    assert found(label, "mass")["value"] == pytest.approx(2 * MASS_KG / HEIGHT_M**2)
    stated = label_trial(replace(double, stated=Stated(MASS_KG)), fast)
    assert "sessionMetadata.yaml says 70.0 kg" in stated["reason"]
    heavy = label_trial(replace(double, stated=Stated(2 * MASS_KG)), fast)
    assert (heavy["status"], heavy["preflight"]) == ("passed", [])


@pytest.mark.parametrize(
    ("stated", "sentence"),
    [
        (Stated(MASS_KG * 2.2046), r"says 154.3 kg \(in pounds\?\)"),
        (Stated(55.0), r"The model weighs 70.0 kg, .* says 55.0 kg\."),
        (Stated(MASS_KG, 175.0), r"1.76 m tall, .* says 175 m \(in centimetres\?\)"),
        (Stated(MASS_KG, 69.0), r"says 69 m \(in inches\?\)"),
        (Stated(MASS_KG, 1.25), r"1.76 m tall, .* says 1.25 m\."),
    ],
)
def test_a_person_of_other_mass_or_height_than_stated_does_not_pass(request_of, fast, stated, sentence):
    label = label_trial(request_of(stated=stated), fast)
    assert label["status"] == "gates_failed"
    (entry,) = label["preflight"]
    assert entry["severity"] == "warning"
    assert re.search(sentence, label["reason"])


def test_metadata_that_are_corrected_ask_for_a_new_label(request_of, fast):
    request = request_of(stated=Stated(55.0))
    label_trial(request, fast)
    assert finished_label(request, fast) is not None
    assert finished_label(replace(request, stated=Stated(MASS_KG)), fast) is None


STOPPED_MOTIONS = {
    "floats 10 m up": (lambda p: with_columns(p, pelvis_ty=lambda y: y + 10.0), "hardly in metres"),
    "pelvis in millimetres": (lambda p: with_columns(p, pelvis_ty=lambda y: 1000.0 * y), "hardly in metres"),
    "knees with the other sign": (
        lambda p: with_columns(p, knee_angle_r=np.negative, knee_angle_l=np.negative),
        "knee_angle_r, knee_angle_l bend backwards",
    ),
    "upside down": (lambda p: with_columns(p, pelvis_tilt=lambda a: a + 180.0), "along -Y, not above"),
    "ankle missing": (lambda p: without(p, "ankle_angle_l"), "not in the file: ankle_angle_l."),
    "misspelt": (
        lambda p: renamed(p, ankle_angle_l="ankle_angel_l"),
        r"not in the file: ankle_angle_l \(is 'ankle_angel_l' meant\?\)",
    ),
    "side in front": (
        lambda p: renamed(p, hip_flexion_r="RightHipFlexion", hip_flexion_l="left_hip_flexion"),
        r"hip_flexion_r \(is 'RightHipFlexion' meant\?\), hip_flexion_l \(is 'left_hip_flexion' meant\?\)",
    ),
    "root misspelt": (
        lambda p: renamed(p, pelvis_tilt="pelvis_tlt"),
        r"pelvis_tilt \(is 'pelvis_tlt' meant\?\).*made with another model",
    ),
}


@pytest.mark.parametrize("what", STOPPED_MOTIONS)
def test_a_motion_that_no_person_makes_stops_the_trial(request_of, fast, what):
    spoil, sentence = STOPPED_MOTIONS[what]
    request = request_of()
    spoil(request.motion)
    with pytest.raises(PreflightError, match=sentence) as error:
        label_trial(request, fast)
    assert str(error.value).startswith(str(request.motion))
    assert not request.out.exists()


def ramp(column: np.ndarray, way: float) -> np.ndarray:
    return column + np.linspace(0.0, way, len(column))


DOUBTED_MOTIONS = {
    "floats": ("ground-height", lambda p: with_columns(p, pelvis_ty=lambda y: y + 3.0), 3.0),
    "buried": ("ground-height", lambda p: with_columns(p, pelvis_ty=lambda y: y - 1.5), 1.5),
    "slides": ("sliding-feet", lambda p: with_columns(p, pelvis_tx=lambda x: ramp(x, 0.5)), 0.5),
    "slides sideways": ("sliding-feet", lambda p: with_columns(p, pelvis_tz=lambda z: ramp(z, 0.4)), 0.4),
    "one frame": ("no-movement", lambda p: sampled(p, np.zeros(60, dtype=int), np.arange(60) / 60.0), 0.0),
    "held frames": ("time-step", lambda p: sampled(p, 6 * (np.arange(60) // 6), np.arange(60) / 60.0), 10.0),
}


@pytest.mark.parametrize("what", DOUBTED_MOTIONS)
def test_a_motion_that_cannot_be_trusted_does_not_pass_and_the_reason_says_why(request_of, fast, what):
    kind, spoil, value = DOUBTED_MOTIONS[what]
    request = request_of()
    spoil(request.motion)
    label = label_trial(request, fast)
    entry = found(label, kind)
    assert (label["status"], entry["severity"]) == ("gates_failed", "warning")
    assert label["reason"].startswith(entry["sentence"])
    assert entry["value"] == pytest.approx(value, rel=0.15, abs=0.02)


def test_five_frames_a_second_that_were_splined_to_sixty_do_not_pass(request_of, fast):
    request = request_of()
    time = np.arange(121) / 60.0
    slow = squat(request.model, frames=11, rate_hz=5.0).resampled(time)
    write_coordinates(request.motion, slow, rotational=load(request.model).rotational)
    label = label_trial(request, fast)
    assert label["status"] == "gates_failed"
    assert "of 60 frames per second were recorded" in label["reason"]
    assert found(label, "time-step")["value"] == pytest.approx(5.0, rel=0.2)


@pytest.mark.parametrize("cutoff_hz", [0.0, 2.0])
def test_five_frames_a_second_are_slower_than_the_filter_can_judge(request_of, fast, cutoff_hz):
    request = request_of()
    table = read_storage(request.motion)
    slow = squat(request.model, frames=60, rate_hz=5.0)
    write_storage(request.motion, slow.time, np.vstack([table.values]), table.names, in_degrees=True)
    label = label_trial(request, replace(fast, cutoff_hz=cutoff_hz))
    assert label["status"] == "gates_failed"
    assert "5 frames per second; accelerations need 20 or more" in label["reason"]


def test_a_cut_off_close_to_half_the_rate_does_not_pass(request_of, fast):
    label = label_trial(request_of(), replace(fast, cutoff_hz=27.0))
    entry = found(label, "time-step")
    assert (entry["severity"], entry["limit"], label["status"]) == ("warning", 67.5, "gates_failed")
    assert "where the filter lets 27 Hz pass" in label["reason"]


def test_missing_frames_do_not_pass_where_they_are_longer_than_the_filter_can_bridge(request_of, fast):
    request = request_of()
    sampled(request.motion, np.r_[0:20, 27:60])
    label = label_trial(request, fast)
    assert (found(label, "time-gap")["severity"], label["status"]) == ("warning", "gates_failed")
    sampled(request.motion, np.r_[0:10, 12:53])
    assert found(label_trial(request, fast), "time-gap")["value"] == pytest.approx(8 / 60)


def test_coordinates_that_are_missing_stay_at_their_default_where_that_is_allowed(request_of, fast):
    request = request_of()
    without(request.motion, "ankle_angle_l")
    label = label_trial(request, replace(fast, allow_missing=True))
    entry = found(label, "missing-coordinates")
    assert (entry["severity"], entry["place"]) == ("note", "ankle_angle_l")
    assert label["provenance"]["configuration"]["allow_missing"] is True
    assert finished_label(request, fast) is None


def measured_from(request, fast, folder: Path, change: Callable[[str, np.ndarray], np.ndarray]) -> Path:
    """Loads that the squat's estimated forces make, their columns changed."""
    label_trial(request, fast)
    folder.mkdir()
    forces = read_storage(request.out / "grf.mot")
    values = np.column_stack([change(n, forces.values[:, i]) for i, n in enumerate(forces.names)])
    write_storage(folder / "grf.mot", forces.time, values, forces.names, in_degrees=False)
    (folder / "external_loads.xml").write_bytes((request.out / "external_loads.xml").read_bytes())
    return folder / "external_loads.xml"


def test_plates_that_carry_another_person_do_not_pass(request_of, fast, tmp_path):
    def lighter(name: str, column: np.ndarray) -> np.ndarray:
        return column if "_p" in name else 0.77 * column

    loads = measured_from(request_of(), fast, tmp_path / "plates", lighter)
    label = label_trial(request_of(out=tmp_path / "again", external_loads=loads), fast)
    entry = found(label, "carried-mass")
    assert (label["status"], entry["severity"]) == ("gates_failed", "warning")
    assert entry["value"] == pytest.approx(23.0, abs=2.0)
    assert "where the model has 70.0 kg" in label["reason"]


def test_feet_above_the_plates_do_not_pass(request_of, fast, tmp_path):
    def lower(name: str, column: np.ndarray) -> np.ndarray:
        return column - 0.3 if name.endswith("_py") else column

    loads = measured_from(request_of(), fast, tmp_path / "plates", lower)
    label = label_trial(request_of(out=tmp_path / "again", external_loads=loads), fast)
    entry = found(label, "ground-height")
    assert (label["status"], entry["severity"], entry["value"]) == (
        "gates_failed",
        "warning",
        pytest.approx(0.3, abs=0.02),
    )


def test_a_belt_whose_forces_were_measured_is_noted_and_changes_nothing(request_of, fast, tmp_path):
    fast, way = replace(fast, cutoff_hz=0.0), -1.2

    def moved(name: str, column: np.ndarray) -> np.ndarray:
        return ramp(column, way) if name.endswith("_px") else column

    loads = measured_from(request_of(), fast, tmp_path / "plates", lambda name, column: column)
    still = label_trial(request_of(out=tmp_path / "still", external_loads=loads), fast)
    belt = measured_from(request_of(), fast, tmp_path / "belt", moved)
    request = request_of(out=tmp_path / "moved", external_loads=belt)
    with_columns(request.motion, pelvis_tx=lambda x: ramp(x, way))
    label = label_trial(request, fast)
    assert (still["status"], label["status"]) == ("passed", "passed"), label["reason"]
    entry = found(label, "sliding-feet")
    assert (entry["severity"], entry["value"]) == ("note", pytest.approx(1.2, rel=0.05))
    assert label["reason"] == f"all quality gates passed. {entry['sentence']}"
    assert label["peaks"] == pytest.approx(still["peaks"], abs=2e-3)


def test_walking_on_a_treadmill_by_a_lighter_person_says_so(shared_data, fast, tmp_path):
    folder = shared_data / "data/ceinms_gait"
    motion, model = folder / "walk36/ik.sto", folder / "gait2392.osim"
    out = tmp_path / "walk"
    request = TrialRequest(model, motion, out, out, "s", "s", "walk36", forces=folder / "walk36/XLD.mot")
    label = label_trial(request, replace(fast, geometry="polynomial", grf="measured", start=4.0, end=5.5))
    assert (found(label, "sliding-feet")["severity"], label["status"]) == ("note", "gates_failed")
    assert re.search(r"measured forces carry 5[789]\.\d kg where the model has 75\.2 kg", label["reason"])
    assert {f["kind"] for f in label["preflight"]} == {"sliding-feet", "carried-mass"}


def bige(*arguments: object) -> int:
    return app([str(a) for a in arguments], result_action="return_value") or 0


QUICKLY = ("--solver", "fast", "--geometry", "exact", "--audit", 0, "--jobs", 1)


def test_a_session_states_who_was_recorded(request_of, tmp_path):
    request, session, out = request_of(), tmp_path / "s1", tmp_path / "out"
    for folder, file in (("Model", request.model), ("Kinematics", request.motion)):
        (session / "OpenSimData" / folder).mkdir(parents=True)
        (session / "OpenSimData" / folder / file.name).write_bytes(file.read_bytes())
    (session / "sessionMetadata.yaml").write_text("subjectID: s1\nmass_kg: 154.3\nheight_m: 1.75\n")
    assert bige("label", session, "--out", out, *QUICKLY) == 0
    (row,) = read_status(out / "status.csv")
    assert row["status"] == "gates_failed"
    assert "The model weighs 70.0 kg, sessionMetadata.yaml says 154.3 kg (in pounds?)" in row["reason"]


def test_a_motion_without_ankles_is_labelled_where_that_is_allowed(request_of, tmp_path, capsys):
    request, out = request_of(), tmp_path / "out"
    without(request.motion, "ankle_angle_l")
    command = ("label", "--model", request.model, "--motion", request.motion, "--out", out, *QUICKLY)
    assert bige(*command) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "not in the file: ankle_angle_l. Add or rename the columns; `bige label --allow-missing`" in shown
    assert not out.exists()
    assert bige(*command, "--allow-missing") == 0
    assert (out / "label.json").is_file()


def test_a_misspelt_channel_of_a_motion_in_memory_is_met_with_the_nearest_name(request_of, fast):
    request = request_of()
    motion = squat(request.model)
    names = tuple("ankle_angel_r" if name == "ankle_angle_r" else name for name in motion.names)
    with pytest.raises(PreflightError, match=r"ankle_angle_r \(is 'ankle_angel_r' meant\?\)"):
        label_in_memory(replace(request, recorded=Motion(motion.time, motion.values, names)), fast)
