"""Joint loads in objectives: the search's are the label's, gradients pass through them, and a surrogate knows none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import biped, squat

from bige_opensim.guidance.by_physics import ByPhysics, refuse_dynamics, without_dynamics
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import Objective
from bige_opensim.io.storage import write_coordinates
from bige_opensim.labelling.label_trial import label_in_memory
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_lines import compile_lines
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.osim.model import load
from bige_opensim.physics.joint_loads import loaded_joints
from bige_opensim.physics.muscle_lines import FittedLines
from bige_opensim.physics.muscles import Muscles
from bige_opensim.physics.predictor import PhysicsPredictor
from bige_opensim.physics.skeleton import Skeleton

FRAMES = 41
KNEE = {"name": "knee", "quantity": "joint_load", "of": ["knee_*"], "stat": "peak", "at_most": 2.5}
DEEP = {"name": "deep", "quantity": "depth", "stat": "peak", "at_least": 0.1}


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Motion, Skeleton, PhysicsPredictor]:
    path = biped(tmp_path_factory.mktemp("biped") / "biped.osim")
    motion, skeleton = squat(path, frames=FRAMES), Skeleton(compile_skeleton(path, cache=False))
    ranges = {n: (float(motion[n].min()) - 0.1, float(motion[n].max()) + 0.1) for n in skeleton.coordinates}
    tables = compile_muscles(path, ranges, poses=200, cache=False)
    lines = FittedLines(skeleton, compile_lines(path, skeleton, tables, cache=False))
    predictor = PhysicsPredictor(skeleton, Muscles(tables), motion.names, samples=FRAMES, lines=lines)
    return path, motion, skeleton, predictor


def tensors(motion: Motion) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.as_tensor(motion.values)[None], torch.tensor([motion.duration], dtype=torch.float64)


def test_predicted_joint_loads_are_the_labels(person, tmp_path):
    path, motion, skeleton, predictor = person
    with torch.no_grad():
        found = predictor.solve(*tensors(motion))
    write_coordinates(tmp_path / "squat.mot", motion, rotational=load(path).rotational)
    request = TrialRequest(path, tmp_path / "squat.mot", tmp_path / "l", tmp_path / "l", "s", "s", "t")
    label = label_in_memory(request, LabelSettings("fast", "exact", audit=0.0, cutoff_hz=0.0, consistency=None))
    columns = [f"{joint.name}_resultant_bw" for joint in loaded_joints(skeleton)]
    expected = label.joint_loads[columns].to_numpy()[4:-4]
    assert found.joint_loads is not None
    assert expected.max() > 1.0
    assert np.abs(found.joint_loads[0].numpy()[4:-4] - expected).max() < 0.05
    assert np.allclose(
        found.grf[0, 20].numpy()[[1, 4]].sum(), label.ground_forces.filter(like="vy").iloc[20].sum(), rtol=0.01
    )


def test_gradient_of_a_peak_load_agrees_with_differences(person):
    _, motion, skeleton, predictor = person
    q, duration = tensors(motion)
    direction = torch.zeros_like(q)
    direction[0, :, motion.index("knee_angle_r")] = torch.hann_window(FRAMES, periodic=False, dtype=q.dtype)
    knee = [joint.name for joint in loaded_joints(skeleton)].index("knee_r")

    def load_at(moved: torch.Tensor) -> torch.Tensor:
        loads = predictor.solve(moved, duration).joint_loads
        assert loads is not None
        return loads[0, FRAMES // 2, knee]

    moved = q.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(load_at(moved), moved)
    h = 1e-5
    with torch.no_grad():
        difference = (load_at(q + h * direction) - load_at(q - h * direction)) / (2 * h)
    assert abs(float(difference)) > 0.1
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-3)


def test_an_objective_reads_the_loads_of_the_motions_that_were_just_solved(person, monkeypatch):
    _, motion, skeleton, predictor = person
    solved = ByPhysics(predictor, range(len(predictor.muscles.names)))
    bound = Objective.from_dict({"term": [KNEE, DEEP]}).bind(
        motion.names, predictor.muscles.names, skeleton, dynamics=solved.dynamics
    )
    q, duration = tensors(motion)
    asked: list[int] = []
    inner = predictor.solve
    monkeypatch.setattr(predictor, "solve", lambda *a: asked.append(1) or inner(*a))
    moved = q.clone().requires_grad_(True)
    evaluation = bound.evaluate(moved, duration, solved.activations(moved, duration))
    assert asked == [1]
    with torch.no_grad():
        loads = inner(q, duration).joint_loads
    assert loads is not None
    names = [joint.name for joint in loaded_joints(skeleton)]
    peaks = loads[0].amax(0)[[names.index("knee_r"), names.index("knee_l")]]
    assert float(evaluation.values["knee"][0].detach()) == pytest.approx(float(peaks.max()), rel=1e-6)
    (gradient,) = torch.autograd.grad(evaluation.loss.sum(), moved)
    assert bool(gradient.isfinite().all())
    assert float(gradient.abs().max()) > 0


def test_other_motions_than_those_just_solved_are_solved_again(person):
    _, motion, _skeleton, predictor = person
    solved = ByPhysics(predictor, range(len(predictor.muscles.names)))
    q, duration = tensors(motion)
    with torch.no_grad():
        solved.activations(q, duration)
        other = solved.dynamics(0.5 * q, duration, None).joint_loads
        direct = predictor.solve(0.5 * q, duration).joint_loads
    assert other is not None
    assert torch.allclose(other, direct, atol=1e-6)
    assert not torch.allclose(other, solved.dynamics(q, duration, None).joint_loads, atol=0.05)


def test_a_surrogate_knows_no_joint_loads_and_says_so():
    objective = Objective.from_dict({"term": [KNEE, DEEP]})
    with pytest.raises(ObjectiveError, match=r"term 'knee' measures joint_load, .* \(--predictor physics\)"):
        refuse_dynamics(objective)
    assert [term.name for term in without_dynamics(objective).terms] == ["deep"]
    refuse_dynamics(without_dynamics(objective))


def test_a_joint_that_is_not_there_is_met_with_the_nearest(person):
    _, motion, skeleton, predictor = person
    objective = Objective.from_dict({"term": [KNEE | {"of": ["kne_r"]}]})
    with pytest.raises(ObjectiveError, match="unknown loaded joint 'kne_r'; did you mean 'knee_r'"):
        objective.bind(motion.names, predictor.muscles.names, skeleton, dynamics=lambda *a: None)  # type: ignore[arg-type, return-value]
