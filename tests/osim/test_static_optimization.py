import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose
from recordings import MODELS, forces_path, motion_path
from small_models import biped, write_squat

from bige_opensim.io.external_loads import ExternalForce, write_external_loads
from bige_opensim.io.storage import read_storage, write_storage
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.motion import Motion
from bige_opensim.osim import static_optimization
from bige_opensim.osim.static_optimization import StaticOptimizationError, run_setup, solve_frames, write_setup

SETTINGS = LabelSettings(geometry="exact", audit=0.0)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def activations(out: Path) -> Motion:
    table = read_storage(out / "activations.sto")
    return Motion(table.time, table.values, table.names)


def compare(request: TrialRequest, settings: LabelSettings) -> tuple[float, float, TrialRequest]:
    """RMS and largest difference of activations between the solvers, and the request labelled by OpenSim."""
    slow = replace(request, out=request.out / "opensim", model_folder=request.out / "opensim")
    quick = replace(request, out=request.out / "fast", model_folder=request.out / "fast")
    by_opensim = label_trial(slow, replace(settings, solver="opensim"))
    label_trial(quick, replace(settings, solver="fast"))
    assert by_opensim["solver"] == "opensim"
    assert by_opensim["frames_solved"] == by_opensim["frames"]
    a, b = activations(slow.out), activations(quick.out)
    assert a.names == b.names
    assert_allclose(a.time, b.time, atol=1e-9)
    assert a.values.max() > 0.1
    difference = a.values - b.values
    return float(np.sqrt((difference**2).mean())), float(np.abs(difference).max()), slow


def walking(shared: Path, folder: Path) -> TrialRequest:
    """Subject 6's walking with the plates' forces on the calcanei."""
    forces = read_storage(forces_path(shared, "subject6", "walking1"))
    write_storage(folder / "plates.mot", forces.time, forces.values, forces.names, in_degrees=False, title="forces")
    plates = [
        ExternalForce(s, f"calcn_{s.lower()}", f"{s}_ground_force_v", f"{s}_ground_force_p", f"{s}_ground_torque_")
        for s in "RL"
    ]
    write_external_loads(folder / "loads.xml", "plates.mot", plates)
    return TrialRequest(
        shared / MODELS["subject6"],
        motion_path(shared, "subject6", "walking1"),
        folder / "out",
        folder / "out",
        session="s6",
        subject="subject6",
        trial="walking1",
        external_loads=folder / "loads.xml",
    )


def test_walking_on_force_plates_has_opensims_activations(shared_data, tmp_path):
    rmse, _, _ = compare(walking(shared_data, tmp_path), replace(SETTINGS, start=0.6, end=0.75))
    assert rmse <= 0.005


@pytest.mark.slow
def test_the_whole_walking_trial_has_opensims_activations(shared_data, tmp_path):
    request = walking(shared_data, tmp_path)
    rmse, _, _ = compare(request, SETTINGS)
    assert rmse <= 0.005


def small_squat(folder: Path) -> TrialRequest:
    model = biped(folder / "biped.osim")
    motion = write_squat(model, folder / "squat.mot")
    return TrialRequest(model, motion, folder / "out", folder / "out", "s", "s", "squat")


def test_a_small_bipeds_squat_with_estimated_forces_has_opensims_activations(tmp_path):
    rmse, largest, _ = compare(small_squat(tmp_path), SETTINGS)
    assert rmse <= 0.002
    assert largest <= 0.02


def rerun_is_the_same(out: Path, elsewhere: Path) -> None:
    """The folder, moved, runs as it is in OpenSim's AnalyzeTool and gives the activations that were kept."""
    shutil.copytree(out, elsewhere)
    tool = opensim.AnalyzeTool(str(elsewhere / "setup_static_optimization.xml"))
    assert tool.run()
    (result,) = elsewhere.glob("*_StaticOptimization_activation.sto")
    again, kept = read_storage(result), activations(out)
    columns = [again.names.index(n) for n in kept.names]
    assert_allclose(again.time, kept.time, atol=1e-5)
    assert_allclose(again.values[:, columns], kept.values, atol=1e-6)


def test_the_setup_left_behind_runs_as_it_is_from_another_place(tmp_path):
    request = small_squat(tmp_path)
    label_trial(request, replace(SETTINGS, end=0.3))
    rerun_is_the_same(request.out, tmp_path / "moved")


@pytest.mark.slow
def test_the_setup_left_behind_by_a_real_trial_runs_as_it_is(shared_data, tmp_path):
    request = walking(shared_data, tmp_path)
    label_trial(request, replace(SETTINGS, start=0.6, end=0.75))
    rerun_is_the_same(request.out, tmp_path / "moved")


def test_only_the_labels_files_are_left_by_opensim(tmp_path):
    request = small_squat(tmp_path)
    label_trial(request, replace(SETTINGS, end=0.2))
    assert not [p.name for p in request.out.iterdir() if "StaticOptimization_" in p.name or p.suffix == ".log"]
    assert not (Path.cwd() / "opensim.log").exists()


def test_measured_forces_enter_through_the_setup(tmp_path):
    request = small_squat(tmp_path)
    label_trial(request, replace(SETTINGS, end=0.2))
    with_forces = activations(request.out)["vasmed_r"].max()
    assert (
        "<external_loads_file>external_loads.xml</external_loads_file>"
        in (request.out / "setup_static_optimization.xml").read_text()
    )
    forces = read_storage(request.out / "grf.mot")
    write_storage(request.out / "grf.mot", forces.time, 0.5 * forces.values, forces.names, in_degrees=False)
    half = run_setup(request.out / "setup_static_optimization.xml").activations["vasmed_r"].max()
    assert half < 0.9 * with_forces


@pytest.mark.parametrize("rows", [[3, 11, 30], [0]], ids=["several", "the first alone"])
def test_single_frames_are_solved_as_the_whole_run_solves_them(tmp_path, rows):
    request = small_squat(tmp_path)
    label_trial(request, replace(SETTINGS, solver="opensim"))
    whole = activations(request.out)
    found = solve_frames(
        request.out / "model_static_optimization.osim",
        request.out / "states.sto",
        np.array(rows),
        external_loads=request.out / "external_loads.xml",
    )
    assert_allclose(np.column_stack([found[name] for name in whole.names]), whole.values[rows], atol=1e-4)


def test_muscles_without_states_of_their_own_change_no_digit_of_static_optimization(tmp_path, monkeypatch):
    request = small_squat(tmp_path)
    label_trial(request, replace(SETTINGS, solver="fast", end=0.2))
    model, states = request.out / "model_static_optimization.osim", request.out / "states.sto"
    loads = request.out / "external_loads.xml"
    without = solve_frames(model, states, np.array([3, 11]), external_loads=loads)
    monkeypatch.setattr(static_optimization, "_without_muscle_states", lambda model: None)
    with_states = solve_frames(model, states, np.array([3, 11]), external_loads=loads)
    assert list(without) == list(with_states)
    assert_allclose([without[name] for name in without], [with_states[name] for name in without], rtol=1e-12)


def test_frames_of_a_model_that_opensim_cannot_read_are_an_error_with_its_path(tmp_path):
    with pytest.raises(StaticOptimizationError, match=r"absent\.osim: OpenSim's StaticOptimization stopped"):
        solve_frames(tmp_path / "absent.osim", tmp_path / "absent.sto", np.array([0]))


def test_a_setup_that_opensim_cannot_run_is_an_error_with_its_path(tmp_path):
    setup = write_setup(
        tmp_path,
        model_file="absent.osim",
        coordinates_file="absent.mot",
        external_loads_file=None,
        start=0.0,
        end=1.0,
    )
    with pytest.raises(StaticOptimizationError, match=r"setup_static_optimization\.xml: OpenSim"):
        run_setup(setup)
