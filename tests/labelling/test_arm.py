"""An arm that nothing but its shoulder holds, against OpenSim's AnalyzeTool run by nothing but a setup file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose
from small_arm import ELBOW, MUSCLES, SHOULDER, arm, opensims_own, reach, with_reserves, write_motion

from bige_opensim.io.storage import read_storage
from bige_opensim.labelling.label_trial import TrialError, label_trial
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.motion import Motion, MotionError
from bige_opensim.osim.model import ModelError

Change = Callable[[opensim.Model], object]
SOLVERS = {
    "opensim": LabelSettings(solver="opensim", cutoff_hz=0.0),
    "exact": LabelSettings(solver="fast", geometry="exact", cutoff_hz=0.0),
    "polynomial": LabelSettings(solver="fast", geometry="polynomial", cutoff_hz=0.0),
}


@dataclass(frozen=True)
class Answers:
    """OpenSim's own activations and ours, (T, M), and the label."""

    own: np.ndarray
    ours: np.ndarray
    label: dict

    @property
    def rmse(self) -> float:
        return float(np.sqrt(((self.own - self.ours) ** 2).mean()))


def label_of(model: Path, motion: Motion, solver: str, out: Path) -> tuple[dict, np.ndarray]:
    out.mkdir(parents=True, exist_ok=True)
    request = TrialRequest(
        model, write_motion(out / "motion.mot", motion), out / "label", out / "label", "s", "s", "trial"
    )
    label = label_trial(request, SOLVERS[solver])
    return label, read_storage(out / "label" / "activations.sto").values


def answers(folder: Path, solver: str, change: Change, motion: Motion, *reserved: str, kind: str = "Thelen2003Muscle"):
    """The lab's own run has 1 N·m reserves on the coordinates `reserved`, as the package gives driven joints."""
    folder.mkdir(exist_ok=True)
    model = arm(folder / "arm.osim", kind=kind, change=change)
    lab = with_reserves(model, folder / "with_reserves.osim", dict.fromkeys(reserved, 1.0))
    own = opensims_own(lab, motion, folder / "own")
    label, ours = label_of(model, motion, solver, folder / "ours")
    assert own.activations.names == MUSCLES
    return Answers(own.activations.values, ours, label)


@pytest.mark.parametrize("kind", ["Thelen2003Muscle", "Millard2012EquilibriumMuscle"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_an_arm_has_opensims_own_activations_no_residuals_and_no_ground(tmp_path, solver, kind):
    found = answers(tmp_path, solver, lambda model: None, reach(), SHOULDER, ELBOW, kind=kind)
    assert found.own.max() > 0.5
    assert found.rmse <= 0.005
    assert np.abs(found.own - found.ours).max() <= 0.02
    assert (found.label["status"], found.label["grf"]) == ("passed", "none")
    assert found.label["root"] == {"rotations": [], "axes": [], "translations": []}
    assert found.label["gates"]["residual_force"]["value"] == found.label["gates"]["residual_moment"]["value"] == 0.0
    assert any("no ground forces are estimated" in note for note in found.label["notes"])
    if solver != "opensim":
        assert found.label["audit"]["rmse"] <= 0.005


def test_plates_and_measured_forces_need_feet(tmp_path):
    model = arm(tmp_path / "arm.osim")
    request = TrialRequest(
        model, write_motion(tmp_path / "m.mot", reach()), tmp_path / "l", tmp_path / "l", "s", "s", "m"
    )
    with pytest.raises(ModelError, match="the model has no feet"):
        label_trial(request, LabelSettings(solver="fast", grf="measured"))
    assert label_trial(request, LabelSettings(solver="fast", grf="auto"))["grf"] == "none"


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_muscle_that_is_off_is_as_good_as_removed(tmp_path, solver):
    def remove(model: opensim.Model) -> None:
        model.updForceSet().remove(model.getForceSet().getIndex("TRIlat"))

    lab = with_reserves(arm(tmp_path / "five.osim", change=remove), tmp_path / "lab.osim", {SHOULDER: 1.0, ELBOW: 1.0})
    five = opensims_own(lab, reach(), tmp_path / "own").activations
    model = arm(tmp_path / "arm.osim", change=lambda m: m.updMuscles().get("TRIlat").set_appliesForce(False))
    label, ours = label_of(model, reach(), solver, tmp_path / "ours")
    off = MUSCLES.index("TRIlat")
    assert (ours[:, off] == 0.0).all()
    assert_allclose(np.delete(ours, off, axis=1), five.values, atol=0.01)
    assert label["peaks"]["TRIlat"] == 0.0
    assert "Muscles that the model switches off (appliesForce) stay at 0: TRIlat." in label["notes"]
    if solver != "opensim":
        assert label["audit"]["rmse"] <= 0.005


@pytest.mark.parametrize("solver", SOLVERS)
def test_controls_within_0_and_1_bound_activations_as_in_opensim(tmp_path, solver):
    def narrow(model: opensim.Model) -> None:
        model.updMuscles().get("TRIlat").setMaxControl(0.3)
        model.updMuscles().get("BRA").setMinControl(0.2)

    found = answers(tmp_path, solver, narrow, reach(), SHOULDER, ELBOW)
    assert found.own[:, MUSCLES.index("TRIlat")].max() == pytest.approx(0.3, abs=1e-3)
    assert found.own[:, MUSCLES.index("BRA")].min() == pytest.approx(0.2, abs=1e-3)
    assert found.rmse <= 0.005


@pytest.mark.parametrize("solver", SOLVERS)
def test_controls_beyond_0_and_1_give_no_activations_beyond(tmp_path, solver):
    def weak(model: opensim.Model) -> None:
        for muscle in model.updMuscles():
            muscle.setMaxIsometricForce(150.0)

    def bold(model: opensim.Model) -> None:
        weak(model)
        for muscle in model.updMuscles():
            muscle.setMinControl(-1.0)  # the only class that lets a control be below its least activation
            muscle.setMaxControl(10.0)

    kind = "DeGrooteFregly2016Muscle"
    found = answers(tmp_path / "weak", solver, weak, reach(), SHOULDER, ELBOW, kind=kind)
    assert found.own.max() == pytest.approx(1.0, abs=1e-3)
    label, ours = label_of(arm(tmp_path / "bold.osim", kind=kind, change=bold), reach(), solver, tmp_path / "bold")
    assert 0.0 <= ours.min() <= ours.max() <= 1.0
    assert ours.max() > 0.99
    assert any("within 0 and 1" in note and "BRA" in note for note in label["notes"])
    assert label["status"] == "gates_failed"
    if solver != "opensim":
        assert label["audit"]["rmse"] <= 0.005


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: (m.setMinControl(0.5), m.setMaxControl(0.2)), "min_control <= max_control .* got 0.5 and 0.2"),
        (lambda m: m.setMaxControl(np.nan), "got 0.01 and nan"),
        (lambda m: m.setMinControl(np.nan), "got nan and 1"),
        (lambda m: (m.setMinControl(2.0), m.setMaxControl(3.0)), "got 2 and 3"),
        (lambda m: m.setMaxIsometricForce(-300.0), "expected a finite, positive MaxIsometricForce, got -300"),
        (lambda m: m.setMaxIsometricForce(np.nan), "MaxIsometricForce, got nan"),
        (lambda m: m.setTendonSlackLength(0.0), "TendonSlackLength, got 0"),
    ],
)
@pytest.mark.parametrize("solver", ["opensim", "exact"])
def test_muscles_that_no_body_can_have_are_refused_by_name(tmp_path, solver, change, message):
    model = arm(tmp_path / "arm.osim", change=lambda m: change(m.updMuscles().get("BRA")))
    with pytest.raises(TrialError, match=rf"arm\.osim: .*{message} of muscle BRA. Correct it"):
        label_of(model, reach(), solver, tmp_path / "ours")


def elbow_by(motion: Motion) -> Change:
    """Prescribe the elbow by its own motion."""
    spline = opensim.SimmSpline()
    for t, angle in zip(motion.time, motion[ELBOW], strict=True):
        spline.addPoint(float(t), float(angle))

    def change(model: opensim.Model) -> None:
        model.updCoordinateSet().get(ELBOW).setPrescribedFunction(spline)
        model.updCoordinateSet().get(ELBOW).setDefaultIsPrescribed(True)

    return change


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_prescribed_elbow_has_no_equation_as_in_opensim(tmp_path, solver):
    motion = reach()
    found = answers(tmp_path, solver, elbow_by(motion), motion, SHOULDER)
    free = answers(tmp_path / "free", "exact", lambda model: None, motion, SHOULDER, ELBOW)
    inner = slice(1, -1)  # at the ends the function's second derivative is another than a spline's through its values
    assert np.sqrt(((found.own - found.ours)[inner] ** 2).mean()) <= 0.005
    assert np.abs(found.own - free.own).max() > 0.1


def test_a_prescribed_elbow_that_the_file_lacks_is_where_the_model_has_it(tmp_path):
    motion = reach()
    model = arm(tmp_path / "arm.osim", change=elbow_by(motion))
    whole = label_of(model, motion, "exact", tmp_path / "whole")[1]
    assert_allclose(label_of(model, motion.select([SHOULDER]), "exact", tmp_path / "part")[1], whole, atol=1e-6)


@pytest.mark.parametrize("solver", ["opensim", "exact"])
def test_a_motion_that_leaves_a_prescribed_coordinates_course_is_refused(tmp_path, solver):
    motion = reach()
    model = arm(tmp_path / "arm.osim", change=elbow_by(motion))
    other = motion.with_values(motion.values + np.array([0.0, 0.1]))
    with pytest.raises(MotionError, match=rf"locks or prescribes .*{ELBOW} by up to 5\.7 degrees"):
        label_of(model, other, solver, tmp_path / "ours")


def spring(model: opensim.Model) -> None:
    force = opensim.SpringGeneralizedForce(ELBOW)
    force.setName("spring")
    force.setStiffness(10.0)
    force.setRestLength(0.0)
    force.setViscosity(0.5)
    model.addForce(force)


def limit(model: opensim.Model) -> None:
    force = opensim.CoordinateLimitForce(ELBOW, 40.0, 0.4, 0.0, 0.4, 0.01, 10.0)
    force.setName("limit")
    model.addForce(force)


def rope(model: opensim.Model) -> None:
    frames = (model.getBodySet().get("humerus"), opensim.Vec3(0.05, -0.1, 0), model.getBodySet().get("forearm"))
    force = opensim.PointToPointSpring(*frames, opensim.Vec3(0.05, -0.1, 0), 150.0, 0.05)
    force.setName("rope")
    model.addForce(force)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("force", [spring, limit, rope])
def test_springs_limits_and_ropes_of_the_model_act_as_in_opensim(tmp_path, solver, force):
    found = answers(tmp_path, solver, force, reach(), SHOULDER, ELBOW)
    plain = label_of(arm(tmp_path / "plain.osim"), reach(), "exact", tmp_path / "plain")[1]
    assert np.abs(found.own - plain).max() > 0.05
    assert found.rmse <= 0.005
    assert f"These forces of the model act beside the muscles: {force.__name__}." in found.label["notes"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_other_actuators_do_not_take_the_muscles_load(tmp_path, solver):
    def motor(model: opensim.Model) -> None:
        actuator = opensim.ActivationCoordinateActuator(ELBOW)
        actuator.setName("motor")
        actuator.setOptimalForce(50.0)
        model.addForce(actuator)

    label, ours = label_of(arm(tmp_path / "motor.osim", change=motor), reach(), solver, tmp_path / "motor")
    plain = label_of(arm(tmp_path / "plain.osim"), reach(), "exact", tmp_path / "plain")[1]
    assert_allclose(ours, plain, atol=0.01)
    assert "Muscles work without the model's other actuators: motor." in label["notes"]
