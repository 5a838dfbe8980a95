import json
import shutil
from pathlib import Path

import numpy as np
import opensim
import pytest
import small_arm
import small_models
import torch
from markers import KNEE_PLACES, full_body, moving, places_by_opensim, recording, with_coordinate
from recordings import MODELS, motion_path

from bige_opensim.cli import app
from bige_opensim.io.opencap import SessionError, find_sessions
from bige_opensim.io.storage import read_coordinates, read_storage
from bige_opensim.io.trc import Markers, read_trc, write_trc
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_markers import compile_markers
from bige_opensim.osim.inverse_kinematics import (
    SOLVERS,
    MarkerError,
    MarkerFit,
    inverse_kinematics,
    inverse_kinematics_of_trials,
    landmark_weights,
    marker_names,
    write_marker_fit,
)
from bige_opensim.osim.model import ModelError, OsimModel, load
from bige_opensim.osim.person_fit import add_markers
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.sessions.marker_trials import (
    FAILED,
    KEPT,
    SKIPPED,
    SOLVED,
    marker_requests,
    session_copy,
    solve_marker_trials,
    write_summary,
)
from bige_opensim.settings import SettingError
from bige_opensim.workflows.inverse_kinematics import inverse_kinematics as workflow

OFFSETS = ((0.05, 0.02, 0.06), (-0.04, -0.15, 0.03), (0.03, -0.3, -0.05))
BODIES = ("pelvis", "femur_r", "tibia_r", "calcn_r", "femur_l", "tibia_l", "calcn_l")


@pytest.fixture(scope="module")
def biped(tmp_path_factory) -> Path:
    """The small biped with three markers on every segment."""
    path = small_models.biped(tmp_path_factory.mktemp("ik") / "biped.osim", muscles=False)
    model = opensim.Model(str(path))
    for name in BODIES:
        for k, offset in enumerate(OFFSETS):
            model.addMarker(opensim.Marker(f"{name}_{k}", model.getBodySet().get(name), opensim.Vec3(*offset)))
    model.finalizeConnections()
    model.printToXML(str(path))
    return path


@pytest.fixture(scope="module")
def squat(biped: Path) -> Motion:
    """A lopsided squat of a person who has turned away."""
    motion = small_models.squat(biped, frames=20)
    values = motion.values.copy()
    for name, by in (("pelvis_rotation", 2.4), ("pelvis_list", 0.1), ("hip_flexion_l", 0.2), ("knee_angle_r", 0.3)):
        values[:, motion.index(name)] += by * (1.0 if name == "pelvis_rotation" else np.sin(motion.time))
    return motion.with_values(values)


def markers_of(biped: Path, motion: Motion, suffix: str = "") -> Markers:
    """Where the markers go, by this package's own forward kinematics (not OpenSim's)."""
    skeleton = Skeleton(compile_skeleton(biped, cache=False))
    poses = skeleton(torch.as_tensor(motion.select(skeleton.coordinates).values))
    names = [f"{body}_{k}" for body in BODIES for k in range(len(OFFSETS))]
    stations = [
        skeleton.station(poses, body, torch.tensor(offset, dtype=torch.float64))
        for body in BODIES
        for offset in OFFSETS
    ]
    positions = torch.stack(stations, dim=1).numpy()
    return Markers(motion.time, positions, tuple(n + suffix for n in names), motion.rate_hz, path=Path("made.trc"))


def worst_degrees(found: Motion, true: Motion) -> float:
    return float(np.rad2deg(np.abs(found.select(true.names).values - true.values)).max())


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_known_motion_is_recovered_to_a_tenth_of_a_degree(biped: Path, squat: Motion, solver):
    fit = inverse_kinematics(load(biped), markers_of(biped, squat), solver=solver)
    assert worst_degrees(fit.motion, squat) < 0.1
    assert fit.rms_m < 1e-4
    assert not fit.failed.any()
    assert fit.notes == ()


@pytest.fixture(scope="module")
def person() -> OsimModel:
    """The package's own model with the markers of Plug-in-Gait."""
    return full_body()


@pytest.fixture(scope="module")
def noisy(person: OsimModel) -> Markers:
    """Four frames of a motion that drives some joints against their limits, with 8 mm of noise."""
    tables = compile_markers(person)
    q = moving(tables, frames=4)
    q[:, tables.skeleton.coordinates.index("knee_angle_l")] = -0.1
    q[:, tables.skeleton.coordinates.index("hip_adduction_r")] = 0.7
    return recording(tables, q, noise_m=0.008)


def weighted_rms_m(fit: MarkerFit, weights: dict[str, float]) -> np.ndarray:
    w = np.array([weights[name] for name in fit.markers]) * ~np.isnan(fit.errors)
    return np.sqrt((w * np.nan_to_num(fit.errors) ** 2).sum(axis=1) / w.sum(axis=1))


def test_opensims_solver_reaches_the_same_coordinates_when_it_converges(person: OsimModel, noisy: Markers):
    mine = inverse_kinematics(person, noisy)
    theirs = inverse_kinematics(person, noisy, solver="opensim", accuracy=1e-8)
    assert mine.undetermined == ("mtp_angle_r", "mtp_angle_l")
    told = [name for name in mine.motion.names if name not in mine.undetermined]
    assert len(told) == 33
    assert worst_degrees(mine.motion.select(told), theirs.motion.select(told)) < 0.2
    assert abs(mine.rms_m - theirs.rms_m) < 1e-5


def test_no_frame_of_opensims_at_its_usual_accuracy_lies_below_the_minimum(person: OsimModel, noisy: Markers):
    weights = landmark_weights(person)
    mine = weighted_rms_m(inverse_kinematics(person, noisy), weights)
    theirs = weighted_rms_m(inverse_kinematics(person, noisy, solver="opensim"), weights)
    assert (mine <= theirs + 1e-6).all()
    assert (theirs - mine).max() < 1e-3


def test_clamped_coordinates_keep_their_range_as_in_opensim_and_free_ones_do_not(person: OsimModel, noisy: Markers):
    for solver in SOLVERS:
        fit = inverse_kinematics(person, noisy, solver=solver, accuracy=1e-8)
        assert np.rad2deg(fit.motion["knee_angle_l"]) == pytest.approx(0.0, abs=0.02)
        assert np.rad2deg(fit.motion["hip_adduction_r"]) == pytest.approx(30.0, abs=0.02)
    loose = with_coordinate(person, "knee_angle_l", clamped=False)
    assert np.rad2deg(inverse_kinematics(loose, noisy).motion["knee_angle_l"]).max() < -2.0


def test_locked_coordinates_keep_their_default_as_in_opensim(person: OsimModel, noisy: Markers):
    model = with_coordinate(person, "lumbar_bending", locked=True, default_value=0.15)
    for solver in SOLVERS:
        fit = inverse_kinematics(model, noisy, solver=solver)
        np.testing.assert_allclose(fit.motion["lumbar_bending"], 0.15, atol=1e-9)
        assert "lumbar_bending" not in fit.undetermined


def test_the_range_of_a_coupled_coordinate_limits_the_one_that_drives_it(tmp_path: Path):
    generic = add_markers(load(small_models.knee_with_patella(tmp_path / "knee.osim")), KNEE_PLACES)
    model = with_coordinate(generic, "knee_angle_beta", clamped=True, range=(-0.5, 0.5))
    q = np.column_stack([np.zeros((4, 3)), np.linspace(0.5, 1.1, 4)])
    names = ("tx", "ty", "tilt", "knee_angle")
    positions = places_by_opensim(generic, names, q)
    markers = Markers(np.arange(4) / 10.0, positions, marker_names(generic), 10.0)
    limit = np.interp(0.5, -model.coupled_values("knee_angle_beta", np.linspace(0, 2, 500)), np.linspace(0, 2, 500))
    mine = inverse_kinematics(model, markers, weights={}).motion
    theirs = inverse_kinematics(model, markers, weights={}, solver="opensim", accuracy=1e-8).motion
    assert mine["knee_angle_beta"].min() >= -0.5 - 1e-6
    assert mine["knee_angle"].max() == pytest.approx(limit, abs=1e-4)
    assert worst_degrees(mine, theirs) < 0.2


def test_a_model_that_is_fixed_to_ground_is_fitted_as_by_opensim(tmp_path: Path):
    places = {
        f"{body}{k}": (body, place)
        for body in ("humerus", "forearm")
        for k, place in enumerate(((0.03, 0.0, 0.04), (-0.02, -0.2, 0.0), (0.02, -0.25, -0.05)))
    }
    model = add_markers(load(small_arm.arm(tmp_path / "arm.osim")), places)
    q = np.column_stack([np.linspace(0.2, 0.6, 5), np.linspace(0.5, 1.5, 5)])
    positions = places_by_opensim(model, (small_arm.SHOULDER, small_arm.ELBOW), q)
    markers = Markers(np.arange(5) / 50.0, positions, marker_names(model), 50.0)
    for solver in SOLVERS:
        found = inverse_kinematics(model, markers, weights={}, solver=solver).motion
        assert np.rad2deg(np.abs(found.select((small_arm.SHOULDER, small_arm.ELBOW)).values - q)).max() < 0.05


def test_ranges_without_end_limit_nothing(person: OsimModel, noisy: Markers):
    model = with_coordinate(person, "knee_angle_l", range=(-np.inf, np.inf))
    assert -10.0 < np.rad2deg(inverse_kinematics(model, noisy).motion["knee_angle_l"]).max() < -2.0


def test_a_prescribed_coordinate_is_refused_and_left_to_opensim(person: OsimModel, noisy: Markers):
    model = with_coordinate(person, "mtp_angle_r", prescribed_function=opensim.Constant(0.1), prescribed=True)
    with pytest.raises(ModelError, match=r"mtp_angle_r.*--solver opensim"):
        inverse_kinematics(model, noisy)


def test_left_and_right_exchanged_are_noticed_and_said(person: OsimModel, noisy: Markers):
    other = {"L": "R", "R": "L"}
    names = tuple(other[n[0]] + n[1:] if n[0] in other and n != "RBAK" else n for n in noisy.names)
    swapped = Markers(noisy.time, noisy.positions, names, 100.0, path=Path("swapped.trc")).select(
        [n for n in names if n != "RBAK"]
    )
    with pytest.raises(MarkerError, match=r"swapped\.trc.*mirror image.*Exchange the names"):
        inverse_kinematics(person, swapped)


@pytest.mark.parametrize("factor", [1000.0, 10.0, 0.1, 0.001])
def test_another_unit_of_length_is_noticed_by_the_models_size(person: OsimModel, noisy: Markers, factor: float):
    markers = Markers(noisy.time, factor * noisy.positions, noisy.names, 100.0, path=Path("unit.trc"))
    with pytest.raises(MarkerError, match=r"unit\.trc.*unit is wrong"):
        inverse_kinematics(person, markers)


def test_markers_that_are_never_seen_together_are_too_few(person: OsimModel, noisy: Markers):
    positions = np.full_like(noisy.positions, np.nan)
    for t in range(4):
        positions[t, 5 * t : 5 * t + 5] = noisy.positions[t, 5 * t : 5 * t + 5]
    with pytest.raises(MarkerError, match="5 of them in one frame; at least 6"):
        inverse_kinematics(person, Markers(noisy.time, positions, noisy.names, 100.0))


def test_a_model_of_somebody_else_is_remarked(person: OsimModel, noisy: Markers):
    large = Markers(noisy.time, 1.5 * noisy.positions, noisy.names, 100.0)
    assert any("is it scaled to this person" in note for note in inverse_kinematics(person, large).notes)


def test_a_faulty_trial_yields_its_error_and_the_others_their_fits(person: OsimModel, noisy: Markers):
    strangers = Markers(noisy.time, noisy.positions, tuple(f"M{k}" for k in range(39)), 100.0)
    less = noisy.select(noisy.names[5:])
    huge = Markers(noisy.time, 1e3 * noisy.positions, noisy.names, 100.0)
    first, wrong, second, large = inverse_kinematics_of_trials(person, [noisy, strangers, less, huge])
    assert isinstance(wrong, MarkerError)
    assert isinstance(large, MarkerError)
    assert isinstance(first, MarkerFit)
    assert isinstance(second, MarkerFit)
    assert worst_degrees(first.motion, inverse_kinematics(person, noisy).motion) < 1e-6
    assert worst_degrees(second.motion, inverse_kinematics(person, less).motion) < 1e-6


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_solver_that_does_not_exist_is_named(person: OsimModel, noisy: Markers):
    with pytest.raises(ValueError, match="fast, opensim; got 'quick'"):
        inverse_kinematics(person, noisy, solver="quick")


def test_gaps_are_bridged_and_counted_and_leave_no_error(biped: Path, squat: Motion):
    markers = markers_of(biped, squat)
    positions = markers.positions.copy()
    positions[:8, 4] = np.nan
    positions[5:, 0] = np.nan
    positions[:, 10] = np.nan
    fit = inverse_kinematics(load(biped), Markers(markers.time, positions, markers.names, markers.rate_hz))
    assert worst_degrees(fit.motion, squat) < 0.1
    np.testing.assert_array_equal(np.isnan(fit.errors), np.isnan(positions).any(axis=2))
    assert any("femur_r_1 40%" in note for note in fit.notes)


def test_frames_without_any_marker_are_said_and_end_nothing(biped: Path, squat: Motion):
    markers = markers_of(biped, squat)
    positions = markers.positions.copy()
    positions[[0, 7, 8]] = np.nan
    fit = inverse_kinematics(load(biped), Markers(markers.time, positions, markers.names, markers.rate_hz))
    assert np.flatnonzero(np.isnan(fit.frame_rms_m)).tolist() == [0, 7, 8]
    assert np.isfinite(fit.motion.values).all()
    assert any("3 frame(s) show less than half" in note for note in fit.notes)
    seen = [k for k in range(20) if k not in (0, 7, 8)]
    assert np.rad2deg(np.abs(fit.motion.select(squat.names).values - squat.values)[seen]).max() < 0.1


def test_one_misplaced_marker_shows_in_its_own_error(biped: Path, squat: Motion):
    markers = markers_of(biped, squat)
    positions = markers.positions.copy()
    positions[:, markers.names.index("tibia_l_2")] += 0.05
    fit = inverse_kinematics(load(biped), Markers(markers.time, positions, markers.names, markers.rate_hz))
    assert next(iter(fit.marker_rms_m)) == "tibia_l_2"
    assert fit.frame_rms_m.shape == squat.time.shape
    assert fit.rms_m == pytest.approx(np.sqrt(np.mean(fit.frame_rms_m**2)))


def test_a_marker_of_weight_zero_does_not_count(biped: Path, squat: Motion):
    markers = markers_of(biped, squat)
    positions = markers.positions.copy()
    positions[:, markers.names.index("tibia_l_2")] += 0.05
    spoilt = Markers(markers.time, positions, markers.names, markers.rate_hz)
    fit = inverse_kinematics(load(biped), spoilt, weights={"tibia_l_2": 0.0})
    assert "tibia_l_2" not in fit.markers
    assert worst_degrees(fit.motion, squat) < 0.1


def test_names_with_a_suffix_are_matched_and_said(biped: Path, squat: Motion):
    fit = inverse_kinematics(load(biped), markers_of(biped, squat, suffix="_study"))
    assert worst_degrees(fit.motion, squat) < 0.1
    assert "21 marker(s) matched by similar names" in fit.notes[0]


def test_markers_with_z_up_are_noticed_and_turned(biped: Path, squat: Motion):
    markers = markers_of(biped, squat)
    x, y, z = np.moveaxis(markers.positions, 2, 0)
    lying = Markers(markers.time, np.stack([x, -z, y], axis=2), markers.names, markers.rate_hz)
    assert any("vertical axis" in note for note in inverse_kinematics(load(biped), lying).notes)
    fit = inverse_kinematics(load(biped), lying.turned("z"))
    assert worst_degrees(fit.motion, squat) < 0.1
    assert fit.notes == ()


def test_a_coupled_coordinate_follows_its_coupler(tmp_path: Path):
    path = small_models.knee_with_patella(tmp_path / "knee.osim")
    model = opensim.Model(str(path))
    for body in ("femur", "tibia"):
        for k, offset in enumerate(((0.1, 0.0, 0.1), (0.0, -0.2, -0.1), (-0.1, -0.3, 0.0))):
            model.addMarker(opensim.Marker(f"{body}{k}", model.getBodySet().get(body), opensim.Vec3(*offset)))
    model.finalizeConnections()
    state = model.initSystem()
    time, bend = np.arange(5) / 50, np.linspace(0.4, 1.2, 5)
    positions = []
    for value in bend:
        model.getCoordinateSet().get("knee_angle").setValue(state, float(value))
        model.realizePosition(state)
        places = [model.getMarkerSet().get(i).getLocationInGround(state).to_numpy() for i in range(6)]
        positions.append(places)
    names = tuple(model.getMarkerSet().get(i).getName() for i in range(6))
    model.printToXML(str(path))
    loaded = load(path)
    fit = inverse_kinematics(loaded, Markers(time, np.array(positions), names, 50.0), weights={})
    assert np.rad2deg(np.abs(fit.motion["knee_angle"] - bend)).max() < 0.1
    expected = loaded.coupled_values("knee_angle_beta", fit.motion["knee_angle"])
    np.testing.assert_allclose(fit.motion["knee_angle_beta"], expected, atol=1e-4)


def test_too_few_known_markers_are_refused(biped: Path, squat: Motion):
    markers = markers_of(biped, squat)
    strangers = Markers(markers.time, markers.positions, tuple(f"M{k}" for k in range(21)), markers.rate_hz)
    with pytest.raises(MarkerError, match="0 of its 21 markers"):
        inverse_kinematics(load(biped), strangers)


@pytest.mark.parametrize("weights", [{"nobody": 1.0}, {"pelvis_0": -1.0}, {"pelvis_0": np.nan}])
def test_weights_that_mean_nothing_are_refused(biped: Path, squat: Motion, weights):
    with pytest.raises(MarkerError, match="wrong: "):
        inverse_kinematics(load(biped), markers_of(biped, squat), weights=weights)


def test_the_written_motion_is_read_back_in_degrees(tmp_path: Path, biped: Path, squat: Motion):
    model = load(biped)
    fit = inverse_kinematics(model, markers_of(biped, squat))
    write_marker_fit(fit, model, tmp_path / "t.mot", tmp_path / "t.csv")
    back = read_coordinates(tmp_path / "t.mot", rotational=model.rotational).motion
    np.testing.assert_allclose(back.values, fit.motion.values, atol=1e-12)
    assert read_storage(tmp_path / "t.mot").in_degrees
    rows = (tmp_path / "t.csv").read_text().splitlines()
    assert rows[0].split(",") == ["time_s", "rms_mm", *fit.markers]
    assert len(rows) == 21


def test_weights_follow_landmarks_of_the_laboratory_marker_set(shared_data: Path):
    weights = landmark_weights(load(shared_data / MODELS["subject5"]))
    expected = {
        "r.ASIS": 25,
        "r_knee": 20,
        "L_ankle": 20,
        "r_calc": 7,
        "r_thigh1": 4,
        "L_sh3": 4,
        "C7": 5,
        "r_mknee": 0,
    }
    assert {name: weights[name] for name in expected} == expected
    assert weights["R_HJC"] == 0


def test_a_real_squat_is_fitted_within_15_mm(shared_data: Path):
    folder = shared_data / "data/opencap_lab/OpenCapData_subject5"
    model = load(shared_data / MODELS["subject5"])
    fit = inverse_kinematics(model, read_trc(folder / "MarkerData/squats1.trc").between(3.0, 3.5))
    assert 1e3 * fit.rms_m < 15
    assert len(fit.motion.names) == 35
    assert np.ptp(fit.motion["knee_angle_r"]) > 0


@pytest.mark.parametrize(
    ("who", "trial", "start", "limit_deg"),
    [("subject6", "squats1", 3.0, 1.0), ("phone01", "squats-with-arm-raise", 3.0, 2.5)],
)
def test_the_laboratorys_own_coordinates_are_found_again(shared_data: Path, who, trial, start, limit_deg):
    model = load(shared_data / MODELS[who])
    folder = shared_data / f"data/opencap_lab/OpenCapData_{who}"
    fit = inverse_kinematics(model, read_trc(folder / f"MarkerData/{trial}.trc").between(start, start + 0.3))
    theirs = read_coordinates(motion_path(shared_data, who, trial), rotational=model.rotational).motion
    theirs = theirs.between(fit.motion.time[0] - 1e-6, fit.motion.time[-1] + 1e-6)
    for name in ("pelvis_tilt", "hip_flexion_r", "hip_flexion_l", "knee_angle_r", "knee_angle_l", "ankle_angle_r"):
        rms = np.sqrt(np.mean((fit.motion[name] - theirs[name]) ** 2))
        assert np.rad2deg(rms) < limit_deg, name


@pytest.fixture
def session(tmp_path: Path, biped: Path, squat: Motion) -> Path:
    folder = tmp_path / "recorded" / "s1"
    (folder / "OpenSimData/Model").mkdir(parents=True)
    (folder / "MarkerData").mkdir()
    shutil.copyfile(biped, folder / "OpenSimData/Model/biped_scaled.osim")
    (folder / "sessionMetadata.yaml").write_text("subjectID: s1\nmass_kg: 70.0\n")
    markers = markers_of(biped, squat)
    write_trc(folder / "MarkerData/good.trc", markers.time, markers.positions, markers.names, units="mm")
    content = (folder / "MarkerData/good.trc").read_text()
    (folder / "MarkerData/empty.trc").write_text("")
    (folder / "MarkerData/cut.trc").write_text(content[: len(content) // 2])
    (folder / "MarkerData/binary.trc").write_bytes(bytes(range(256)) * 10)
    (folder / "MarkerData/metres.trc").write_text(content.replace("\tmm\t", "\tm\t"))
    twice = content.replace("femur_r_1", "femur_r_0")
    (folder / "MarkerData/twice.trc").write_text(twice)
    write_trc(folder / "MarkerData/large.trc", markers.time, 10 * markers.positions, markers.names, units="mm")
    image = markers.positions * np.array([1.0, 1.0, -1.0])
    write_trc(folder / "MarkerData/mirrored.trc", markers.time, image, markers.names, units="mm")
    few = markers.select(markers.names[:5])
    write_trc(folder / "MarkerData/few.trc", few.time, few.positions, few.names, units="mm")
    (folder / "MarkerData/strangers.trc").write_text(
        content.replace("_0\t", "_x\t").replace("_1", "_y").replace("_2", "_z")
    )
    return folder


def test_a_session_is_solved_in_a_copy_and_faulty_files_are_named(session: Path, tmp_path: Path, squat: Motion):
    before = {path: path.read_bytes() for path in session.rglob("*") if path.is_file()}
    (found,) = find_sessions([session])
    copy = session_copy(found, tmp_path / "out")
    requests, others = marker_requests(found, copy)
    outcomes = {o.trial: o for o in (*others, *solve_marker_trials(requests, jobs=1))}
    assert {name: o.status for name, o in outcomes.items()} == {
        "good": SOLVED, "empty": FAILED, "cut": FAILED, "binary": FAILED, "metres": FAILED, "strangers": FAILED,
        "twice": FAILED, "large": FAILED, "mirrored": FAILED, "few": FAILED,
    }  # fmt: skip
    for name in outcomes:
        assert name == "good" or f"{name}.trc" in outcomes[name].reason
    assert {path.name for path in (copy / "OpenSimData/Kinematics").iterdir()} == {
        "good.mot", "good_ik.json", "good_marker_errors.csv",
    }  # fmt: skip
    assert {path: path.read_bytes() for path in session.rglob("*") if path.is_file()} == before
    (solved,) = find_sessions([tmp_path / "out"])
    trial = next(t for t in solved.trials if t.name == "good")
    model = load(solved.model_path)
    back = read_coordinates(trial.motion_path, rotational=model.rotational).motion
    assert worst_degrees(back, squat) < 0.1
    record = json.loads((copy / "OpenSimData/Kinematics/good_ik.json").read_text())
    assert record["rms_mm"] < 0.1
    write_summary(tmp_path / "out/summary.csv", outcomes.values())
    assert len((tmp_path / "out/summary.csv").read_text().splitlines()) == 11

    again = {o.trial: o.status for o in solve_marker_trials([r for r in requests if r.trial == "good"], jobs=1)}
    assert again == {"good": KEPT}


def test_a_trial_with_coordinates_is_skipped(session: Path, tmp_path: Path, biped: Path):
    (session / "OpenSimData/Kinematics").mkdir()
    small_models.write_squat(biped, session / "OpenSimData/Kinematics/good.mot", frames=20)
    (found,) = find_sessions([session])
    requests, others = marker_requests(found, tmp_path, trials="good")
    assert requests == []
    assert [o.status for o in others] == [SKIPPED]


def test_the_command_line_solves_a_session_and_names_what_failed(session: Path, tmp_path: Path, capsys):
    words = ["ik", str(session), "--out", str(tmp_path / "out"), "--jobs", "1", "--trials", "[ge]*"]
    assert app(words, result_action="return_value") == 1
    shown = capsys.readouterr().out
    assert "s1/good: solved. RMS 0.0 mm" in shown
    assert "s1/empty: failed." in shown
    rows = (tmp_path / "out/inverse_kinematics.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in rows[1:]] == [["s1", "empty", "failed"], ["s1", "good", "solved"]]


def test_a_script_gets_what_became_of_every_trial(session: Path, tmp_path: Path):
    found = workflow(session, out=tmp_path / "out", trials="[ge]*", jobs=1)
    assert [o.trial for o in found.solved] == [o.trial for o in found.well_fitted] == ["good"]
    assert [o.trial for o in found.failed] == ["empty"]
    assert found.solved[0].rms_mm < 0.1 <= 25.0
    name, largest_mm = found.solved[0].worst_markers[0]
    assert largest_mm == max(found.solved[0].record["marker_rms_mm"].values())
    assert found.solved[0].record["marker_rms_mm"][name] == largest_mm
    table = found.to_frame()
    assert table.loc[("s1", "good"), "status"] == SOLVED
    assert np.isnan(table.loc[("s1", "empty"), "rms_mm"])
    assert workflow(session, out=tmp_path / "out", trials="good", jobs=1).outcomes[0].status == KEPT


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "into_sessions"),
        ({"out": "a", "into_sessions": True}, "into_sessions"),
        ({"out": "a", "solver": "fats"}, "fast, opensim|opensim, fast"),
        ({"out": "a", "up": "w"}, "x, y, z"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_is_read(options, says):
    with pytest.raises(SettingError, match=says):
        workflow("nowhere", **options)


@pytest.mark.parametrize("options", [[], ["--out", "a", "--into-sessions"]])
def test_the_command_line_wants_one_place_to_write(session: Path, capsys, options):
    assert app(["ik", str(session), *options], result_action="return_value") == 1
    assert "--into-sessions" in capsys.readouterr().err


def test_the_session_itself_is_no_place_for_its_copy(session: Path):
    (found,) = find_sessions([session])
    with pytest.raises(SessionError, match="is the session itself"):
        session_copy(found, session.parent)


def test_marker_names_come_in_the_models_order(biped: Path):
    assert marker_names(load(biped))[:4] == ("pelvis_0", "pelvis_1", "pelvis_2", "femur_r_0")
