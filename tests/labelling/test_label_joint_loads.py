"""Joint loads of labels are OpenSim's, are written beside them, and are marked where no body would bear them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from closed_form_movements import squats, walking
from joint_reaction import by_opensim, of_joint
from numpy.testing import assert_allclose
from recordings import recorded
from small_arm import arm

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.io.storage import read_storage
from bige_opensim.labelling.joint_loads import BORNE_BW, JointLoads, joint_loads
from bige_opensim.labelling.kinematics import Prepared, prepare
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_trial import label_in_memory, label_trial
from bige_opensim.labelling.muscle_capacity import exact_actuators
from bige_opensim.labelling.person_model import fitted_muscles
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_lines import compile_lines
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.osim.muscles import muscle_frames
from bige_opensim.physics.contact import GroundForces
from bige_opensim.physics.joint_loads import loaded_joints
from bige_opensim.physics.muscle_lines import FittedLines
from bige_opensim.physics.skeleton import Skeleton

OPENSIM_JOINTS = {"hip": "hip", "knee": "walker_knee", "patellofemoral": "patellofemoral", "ankle": "ankle"}
Case = tuple[OsimModel, Skeleton, Prepared, float, float]


def own_model(movement: str) -> Case:
    """The package's own model in a movement in closed form, and a window of it in which much is bent."""
    motion, start = {"squat": (squats(), 1.2), "gait": (walking(), 1.5)}[movement]
    model = load(built_in(MODEL))
    skeleton = Skeleton(compile_skeleton(model.path))
    known = motion.select([n for n in motion.names if n in [c.name for c in model.coordinates]])
    return model, skeleton, prepare(model, skeleton, known, 6.0), start, start + 0.05


def share(skeleton: Skeleton, p: Prepared) -> GroundForces:
    """Body weight and some shear under the feet, more of it on the right."""
    weight, frames = float(skeleton.weight_n), p.q.frames
    force = torch.tensor([[0.05, 0.7, -0.02], [0.03, 0.5, 0.04]], dtype=torch.float64) * weight
    poses = p.state(skeleton).poses
    point = torch.stack([poses.position[:, skeleton.bodies.index(f"calcn_{s}")] for s in "rl"], 1).clone()
    point[..., 0] += 0.08
    return GroundForces(force.expand(frames, 2, 3).clone(), point, torch.zeros(frames, 2, 3, dtype=torch.float64))


def assert_opensims(folder: Path, case: Case) -> None:
    model, skeleton, whole, start, end = case
    p = whole.between(start, end)
    frames, ground = muscle_frames(model, p.q, p.qd, skeleton.bodies), share(skeleton, p)
    activations = np.random.default_rng(5).uniform(0.0, 0.7, frames.strength.shape)
    found = joint_loads(
        skeleton, p.state(skeleton), exact_actuators(model, skeleton, p, p.state(skeleton)), activations, ground
    )
    names, values = by_opensim(
        folder, model, skeleton, p, frames, activations * frames.strength, ground, whole, frame="child"
    )
    assert found is not None
    assert len(found.joints) == 8
    for k, joint in enumerate(found.joints):
        kind, side = joint.rsplit("_", 1)
        theirs = of_joint(names, values, f"{OPENSIM_JOINTS[kind]}_{side}_on_") / found.weight_n
        assert np.linalg.norm(theirs, axis=1).max() > 0.5
        assert_allclose(found.force[:, k] / found.weight_n, theirs, atol=0.002)


@pytest.mark.parametrize("movement", ["squat", pytest.param("gait", marks=pytest.mark.slow)])
def test_on_the_packages_model_they_are_opensims_on_child_in_child(tmp_path, movement):
    assert_opensims(tmp_path, own_model(movement))


@pytest.mark.parametrize(
    ("who", "trial", "start"),
    [
        pytest.param("phone01", "squats-with-arm-raise", 3.5, marks=pytest.mark.slow),
        ("subject6", "walking1", 1.0),
        pytest.param("subject6", "squats1", 3.0, marks=pytest.mark.slow),
    ],
)
def test_of_recorded_movements_they_are_opensims_on_child_in_child(tmp_path, shared_data, who, trial, start):
    assert_opensims(tmp_path, (*recorded(shared_data, who, trial), start, start + 0.05))


@pytest.mark.parametrize("movement", [pytest.param("squat", marks=pytest.mark.slow), "gait"])
def test_on_rajagopals_model_they_are_opensims_on_child_in_child(tmp_path, shared_data, movement):
    motion, start = {"squat": (squats(), 1.2), "gait": (walking(), 1.5)}[movement]
    model = load(shared_data / "data/rajagopal_dls/final.osim")
    skeleton = Skeleton(compile_skeleton(model.path))
    known = motion.select([n for n in motion.names if n in model.free_coordinates])
    assert_opensims(tmp_path, (model, skeleton, prepare(model, skeleton, known, 6.0), start, start + 0.05))


def pulls_of(case: Case) -> tuple[JointLoads, JointLoads, FittedLines]:
    """Joint loads by OpenSim's lines of action and by fitted ones, over the whole movement."""
    model, skeleton, p, *_ = case
    state, muscles = p.state(skeleton), fitted_muscles(model.path, skeleton, p.q.select(skeleton.coordinates).values)
    fitted = FittedLines(skeleton, compile_lines(model.path, skeleton, muscles.tables))
    effort = exact_actuators(model, skeleton, p, state)
    assert effort.tendons is not None
    activations, ground = np.full(effort.tendons.active.shape, 0.3), share(skeleton, p)
    exact = joint_loads(skeleton, state, effort, activations, ground)
    lines = fitted(p.tensor(skeleton, p.q), state.poses)
    again = joint_loads(
        skeleton, state, replace(effort, tendons=effort.tendons._replace(lines=lines)), activations, ground
    )
    assert exact is not None
    assert again is not None
    return exact, again, fitted


@pytest.mark.parametrize("movement", ["squat", "gait"])
def test_fitted_lines_of_action_give_loads_within_a_hundredth_of_body_weight(movement):
    case = own_model(movement)
    model, skeleton, whole, *_ = case
    exact, again, fitted = pulls_of((model, skeleton, whole.between(1.0, 1.8), 0.0, 0.0))
    difference = np.linalg.norm(exact.force - again.force, axis=-1) / exact.weight_n
    legs = [k for k, joint in enumerate(exact.joints) if not joint.startswith("hip")]
    assert exact.resultant_bw.max() > 2.0
    assert np.quantile(difference[:, legs], 0.99) < 0.01
    assert np.median(difference) < 0.01
    assert np.median(fitted.tables.rms) < 0.001


def test_a_label_has_its_joint_loads_in_memory_in_its_folder_and_in_its_record(request_of, fast):
    request = request_of()
    made = label_in_memory(request, fast)
    label_trial(request, fast)
    table = read_storage(request.out / "joint_loads.sto")
    assert list(made.joint_loads.columns) == list(table.names)
    assert_allclose(made.joint_loads.to_numpy(), table.values, rtol=1e-12)
    assert_allclose(Label.load(request.out).joint_loads.to_numpy(), table.values)
    entry = json.loads((request.out / "label.json").read_text())["joint_loads"]
    knee = made.joint_loads["knee_r_resultant"]
    assert_allclose(np.linalg.norm(made.joint_loads[[f"knee_r_f{a}" for a in "xyz"]], axis=1), knee)
    assert_allclose(knee / entry["weight_n"], made.joint_loads["knee_r_resultant_bw"])
    assert entry["peaks"]["knee_r"]["peak_bw"] == pytest.approx(float(knee.max()) / entry["weight_n"], abs=1e-4)
    assert entry["peaks"]["knee_r"]["time_s"] == pytest.approx(float(knee.idxmax()))
    assert entry["weight_n"] == pytest.approx(9.80665 * made.record["mass_kg"])
    assert float(made.joint_loads["knee_r_fy"].mean()) < 0  # compression


def test_a_label_of_an_earlier_version_has_none_and_is_read(request_of, fast):
    request = request_of()
    label_trial(request, fast)
    (request.out / "joint_loads.sto").unlink()
    content = json.loads((request.out / "label.json").read_text())
    del content["joint_loads"]
    (request.out / "label.json").write_text(json.dumps(content))
    found = Label.load(request.out)
    assert found.joint_loads.empty
    assert len(found.joint_loads) == len(found.activations)


def test_what_no_body_bears_is_marked_and_fails_no_trial():
    time = np.array([0.0, 0.1, 0.2])
    force = np.zeros((3, 2, 3))
    force[1, 0, 1], force[2, 1, 1] = -1.01 * BORNE_BW["knee"] * 700.0, -0.99 * BORNE_BW["hip"] * 700.0
    loads = JointLoads(("knee_l", "hip_r"), force, 700.0)
    assert loads.entry(time)["beyond"] == ["knee_l"]
    (finding,) = loads.unbearable(Path("squat.mot"), time)
    assert finding.severity == "note"
    assert "knee_l would bear 11.0 body weights at 0.10 s" in finding.sentence
    assert JointLoads(("knee_l", "hip_r"), 0.9 * force, 700.0).unbearable(Path("squat.mot"), time) == []


def test_a_label_says_what_no_body_bears(request_of, fast, monkeypatch):
    request = request_of()
    usual = label_in_memory(request, fast)
    monkeypatch.setitem(BORNE_BW, "knee", 0.5)
    marked = label_in_memory(request, fast)
    assert usual.record["joint_loads"]["beyond"] == []
    assert marked.record["joint_loads"]["beyond"] == ["knee_r", "knee_l"]
    assert marked.record["status"] == usual.record["status"]
    assert "is known to bear more than 0.5" in marked.reason


def test_a_model_without_legs_has_no_joint_loads(tmp_path):
    assert loaded_joints(Skeleton(compile_skeleton(arm(tmp_path / "arm.osim")))) == ()
