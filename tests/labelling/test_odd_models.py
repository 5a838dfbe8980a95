"""Models that are not what the squat's is: their labels are right, by OpenSim or by the ordinary model, or refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose
from odd_models import AXES, PLANAR, changed, with_belt, with_ranges, with_root, with_stacked_root
from recordings import MODELS, motion_path
from small_models import biped, squat

from bige_opensim.io.storage import read_storage, write_coordinates
from bige_opensim.labelling.label_trial import TrialError, label_trial
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.motion import Motion, MotionError
from bige_opensim.osim.model import load

FAST = LabelSettings(solver="fast", geometry="exact", audit=0.02)


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    return biped(tmp_path_factory.mktemp("biped") / "biped.osim")


@pytest.fixture(scope="module")
def motion(person) -> Motion:
    """A squat whose pelvis trembles by 2 mm, so that the whole-body shift has work to do."""
    still = squat(person, frames=40, rate_hz=60)
    values = still.values.copy()
    values[:, still.index("pelvis_tx")] += 0.002 * np.sin(8 * np.pi * still.time)
    return still.with_values(values)


def labelled(model: Path, motion: Motion, out: Path, settings: LabelSettings = FAST) -> tuple[dict, np.ndarray]:
    """What label.json holds, and the activations (T, M)."""
    out.mkdir(parents=True, exist_ok=True)
    write_coordinates(out / "motion.mot", motion, rotational=load(model).rotational)
    label = label_trial(
        TrialRequest(model, out / "motion.mot", out / "label", out / "label", "s", "s", "trial"), settings
    )
    return label, read_storage(out / "label" / "activations.sto").values


@pytest.fixture(scope="module")
def ordinary(person, motion, tmp_path_factory):
    label, activations = labelled(person, motion, tmp_path_factory.mktemp("ordinary"))
    assert label["status"] == "passed"
    assert label["whole_body_shift"]["peak_mm"] > 0.5
    assert activations.max() > 0.1
    return activations


def without(motion: Motion, *names: str) -> Motion:
    return motion.select([n for n in motion.names if n not in names])


@pytest.mark.parametrize("solver", ["fast", "opensim"])
@pytest.mark.parametrize("limits", [(-np.inf, np.inf), (-1e6, 1e6), (np.nan, np.nan), (-np.inf, 2.0), (9.0, 140.0)])
def test_ranges_that_say_nothing_change_no_label(person, motion, ordinary, tmp_path, limits, solver):
    path = with_ranges(person, tmp_path / "wide.osim", *limits)
    label, activations = labelled(path, motion, tmp_path / "wide", replace(FAST, solver=solver))
    assert label["status"] == "passed", label["reason"]
    assert_allclose(activations, ordinary, atol=1e-9 if solver == "fast" else 0.02)


def test_polynomial_paths_do_not_depend_on_the_models_ranges(person, motion, tmp_path):
    settings = replace(FAST, geometry="polynomial", audit=0.0)
    _, plain = labelled(person, motion, tmp_path / "plain", settings)
    path = with_ranges(person, tmp_path / "wide.osim", -np.inf, np.inf)
    _, wide = labelled(path, motion, tmp_path / "wide", settings)
    assert_allclose(wide, plain, atol=1e-9)


@pytest.mark.parametrize("order", [PLANAR, PLANAR[::-1], (*AXES,)[::-1]])
def test_a_root_of_fewer_coordinates_or_another_order_gives_the_same_label(person, motion, ordinary, tmp_path, order):
    path = with_root(person, tmp_path / "model.osim", order)
    label, activations = labelled(path, without(motion, *(set(AXES) - set(order))), tmp_path / "label")
    assert label["status"] == "passed", label["reason"]
    assert label["whole_body_shift"]["peak_mm"] > 0.5
    assert label["audit"]["rmse"] < 0.005
    assert_allclose(activations, ordinary, atol=1e-4)


def test_a_stack_of_sliders_and_pins_gives_the_same_label(person, motion, ordinary, tmp_path):
    label, activations = labelled(with_stacked_root(person, tmp_path / "stack.osim"), motion, tmp_path / "label")
    assert label["status"] == "passed", label["reason"]
    assert_allclose(activations, ordinary, atol=1e-4)


@pytest.mark.parametrize("kind", ["Weld", "Slider"])
def test_a_heavy_belt_under_the_person_is_nobodys_weight(person, motion, ordinary, tmp_path, kind):
    path = with_belt(person, tmp_path / "belt.osim", kind)
    if kind == "Slider":
        motion = Motion(motion.time, np.column_stack([motion.values, 0.2 * motion.time**2]), (*motion.names, "belt_0"))
    label, activations = labelled(path, motion, tmp_path / "label")
    assert label["status"] == "passed", label["reason"]
    assert label["root"]["translations"] == ["pelvis_tx", "pelvis_ty", "pelvis_tz"]
    assert label["audit"]["rmse"] < 0.005
    assert_allclose(activations, ordinary, atol=1e-9)


def test_a_welded_pelvis_gets_no_residuals_and_no_ground_forces_and_the_label_says_so(person, motion, tmp_path):
    label, activations = labelled(
        with_root(person, tmp_path / "weld.osim", ()), without(motion, *AXES), tmp_path / "label"
    )
    assert (label["status"], label["grf"]) == ("passed", "none")
    assert any("Nothing floats in this model" in note for note in label["notes"])
    assert label["gates"]["residual_force"]["value"] == label["gates"]["residual_moment"]["value"] == 0.0
    assert label["audit"]["rmse"] < 0.005
    assert activations.max() > 0.05
    assert not (tmp_path / "label" / "label" / "grf.mot").exists()
    json.dumps(label, allow_nan=False)


@pytest.mark.parametrize("kind", ["Free", "Slider"])
def test_a_second_floating_body_and_a_pelvis_on_a_moving_belt_are_refused(person, motion, tmp_path, kind):
    path = with_belt(person, tmp_path / "belt.osim", kind, carries=kind == "Slider")
    with pytest.raises(TrialError, match="float"):
        labelled(path, motion, tmp_path / "label")
    assert not (tmp_path / "label" / "label").exists()


def test_a_model_with_one_foot_cannot_have_ground_forces(person, motion, tmp_path):
    path = changed(person, tmp_path / "one.osim", lambda m: m.updBodySet().get("toes_l").setName("forefoot_l"))
    with pytest.raises(TrialError, match="the model has one foot"):
        labelled(path, motion, tmp_path / "label")


def held(source: Path, path: Path, values: dict[str, float]) -> Path:
    """A model whose coordinates are locked at these values."""

    def change(model: opensim.Model) -> None:
        for name, value in values.items():
            model.updCoordinateSet().get(name).setDefaultValue(value)
            model.updCoordinateSet().get(name).setDefaultLocked(True)

    return changed(source, path, change)


def stiff(motion: Motion, values: dict[str, float]) -> Motion:
    """The motion with coordinates that stand still."""
    table = motion.values.copy()
    for name, value in values.items():
        table[:, motion.index(name)] = value
    return motion.with_values(table)


@pytest.mark.parametrize("geometry", ["exact", "polynomial"])
def test_locked_joints_leave_the_problem_as_they_leave_opensims(person, motion, tmp_path, geometry):
    values = {"ankle_angle_r": 0.3, "ankle_angle_l": 0.3}
    path, moved = held(person, tmp_path / "locked.osim", values), stiff(motion, values)
    label, activations = labelled(path, moved, tmp_path / "label", replace(FAST, geometry=geometry))
    assert label["audit"]["rmse"] < 0.005, label["audit"]
    free, others = labelled(person, moved, tmp_path / "free")
    soleus = [label["muscles"].index(f"soleus_{side}") for side in "rl"]
    assert activations[:, soleus].max() < 0.02
    assert others[:, soleus].max() > 0.1, "the ankle's moment matters where it is not locked"
    assert free["coordinates"] == label["coordinates"]


@pytest.mark.parametrize("solver", ["fast", "opensim"])
def test_a_motion_that_moves_locked_coordinates_is_refused_with_their_names_and_how_far(
    person, motion, tmp_path, solver
):
    path = held(person, tmp_path / "locked.osim", {"knee_angle_r": 0.0, "pelvis_tx": 0.0})
    with pytest.raises(MotionError, match=r"pelvis_tx by up to \d+ mm, knee_angle_r by up to \d\d\.\d degrees.*Unlock"):
        labelled(path, motion, tmp_path / "label", replace(FAST, solver=solver))


@pytest.mark.parametrize("solver", ["fast", "opensim"])
def test_a_model_with_every_coordinate_locked_is_refused(person, motion, tmp_path, solver):
    values = dict(zip(motion.names, motion.values[0], strict=True))
    path = held(person, tmp_path / "locked.osim", values)
    with pytest.raises(TrialError, match="every coordinate is locked or prescribed"):
        labelled(path, stiff(motion, values), tmp_path / "label", replace(FAST, solver=solver))


def test_a_locked_value_that_the_file_has_to_the_digits_it_writes_is_taken_from_the_model(person, motion, tmp_path):
    values = {"ankle_angle_r": 0.3, "ankle_angle_l": 0.3}
    path = held(person, tmp_path / "locked.osim", values)
    _, exact = labelled(path, stiff(motion, values), tmp_path / "exact")
    trembling = stiff(motion, values)
    table = trembling.values.copy()
    table[:, trembling.index("ankle_angle_r")] += 0.004 * np.sin(30 * trembling.time)
    _, near = labelled(path, trembling.with_values(table), tmp_path / "near")
    assert_allclose(near, exact, atol=1e-9)


def test_a_real_squat_keeps_its_label_with_infinite_ranges(shared_data, tmp_path):
    source = shared_data / MODELS["subject6"]
    odd = with_ranges(source, tmp_path / "inf.osim", -np.inf, np.inf, ("knee_angle_r", "hip_adduction_r"))
    found = []
    for model in (source, odd):
        out = tmp_path / model.stem
        request = TrialRequest(model, motion_path(shared_data, "subject6", "squats1"), out, out, "s", "s", "squats1")
        label_trial(request, replace(FAST, audit=0.0, start=3.0, end=3.3))
        found.append(read_storage(out / "activations.sto").values)
    assert found[0].max() > 0.2
    assert_allclose(found[1], found[0], atol=1e-9)
