"""A laboratory's setups: the same files and numbers as OpenSim's own run of them, or one sentence that says why not."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import opensim
import pytest
import torch
from lab_setups import ARM_MUSCLES, actuator_file, arm, arm_motion, reserve, run_opensim, setup_file
from numpy.testing import assert_allclose
from small_models import biped, write_squat

from bige_opensim.cli import app
from bige_opensim.io.analyze_setup import AnalyzeSetupError
from bige_opensim.io.external_loads import ExternalForce, ExternalLoadsError, write_external_loads
from bige_opensim.io.storage import StorageError, write_storage
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.osim.model import load
from bige_opensim.osim.muscle_parameters import fibre_tables
from bige_opensim.physics.effort_cost import EffortCostError
from bige_opensim.physics.muscle_strength import Strength
from bige_opensim.workflows.solve import SolvedSetup, solve

pytestmark = pytest.mark.usefixtures("own_cache")

RMSE = 0.005


@dataclass(frozen=True)
class Results:
    """A result storage: header, labels and numbers."""

    header: str
    names: list[str]
    values: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "Results":
        header, rest = path.read_text().split("endheader\n", 1)
        labels, *rows = rest.splitlines()
        return cls(header, labels.split("\t"), np.array([[float(cell) for cell in row.split()] for row in rows]))


class Lab:
    """A folder with an arm or a biped, files beside it, and setups on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        arm(folder / "arm.osim")
        arm_motion(folder / "arm.mot")
        pair = [reserve("r_shoulder_elev", 1.0), reserve("r_elbow_flex", 1.0)]
        actuator_file(folder / "reserves.xml", pair)

    def setup(self, edit: Callable[[str], str] = lambda text: text, **options: Any) -> Path:
        usual = {
            "model": "arm.osim",
            "coordinates": "arm.mot",
            "force_sets": ("reserves.xml",),
            "start": 0.3,
            "end": 0.6,
        }
        path = setup_file(self.folder / "setup.xml", **(usual | options))
        path.write_text(edit(path.read_text()))
        return path

    def change_model(self, change: Callable[[opensim.Model], None]) -> None:
        model = opensim.Model(str(self.folder / "arm.osim"))
        change(model)
        model.finalizeConnections()
        model.printToXML(str(self.folder / "arm.osim"))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def compared(setup: Path, out: Path) -> tuple[SolvedSetup, dict[str, tuple[Results, Results]]]:
    """Both runs of a setup: ours, and every storage by OpenSim and by us; RMSE and columns are checked."""
    run_opensim(setup)
    ours = solve(setup, out=out, audit=3)
    results = setup.parent / "results"
    names = sorted(path.name for path in results.iterdir())
    assert names == [f"lab_StaticOptimization_{n}" for n in ("activation.sto", "controls.xml", "force.sto")]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "lab_StaticOptimization_solved.json"])
    pairs = {
        n.split("_")[-1][:-4]: (Results.read(results / n), Results.read(out / n)) for n in names if n[-3:] == "sto"
    }
    for theirs, mine in pairs.values():
        assert mine.header == theirs.header
        assert mine.names == theirs.names
        assert mine.values.shape == theirs.values.shape
        assert_allclose(mine.values[:, 0], theirs.values[:, 0], atol=1e-8)
    muscles = [
        k for k, n in enumerate(pairs["activation"][0].names) if n in ours.activations and n in load_muscles(setup)
    ]
    theirs, mine = (r.values[:, muscles or slice(1, None)] for r in pairs["activation"])
    assert np.sqrt(((mine - theirs) ** 2).mean()) <= RMSE
    assert ours.audit is not None
    assert ours.audit.rmse <= RMSE
    assert ours.solved.all()
    return ours, pairs


def load_muscles(setup: Path) -> tuple[str, ...]:
    return load(setup.parent / re.search("<model_file>(.*)</model_file>", setup.read_text())[1]).muscle_names


def springs(model: opensim.Model) -> None:
    spring = opensim.SpringGeneralizedForce("r_elbow_flex")
    spring.setName("elbow_spring")
    spring.setStiffness(2.0)
    spring.setRestLength(0.5)
    spring.setViscosity(0.1)
    model.addForce(spring)
    limit = opensim.CoordinateLimitForce("r_shoulder_elev", 45.0, 0.3, -20.0, 0.3, 0.1, 5.0)
    limit.setName("limit")
    model.addForce(limit)


def locked_elbow(model: opensim.Model) -> None:
    elbow = model.updCoordinateSet().get("r_elbow_flex")
    elbow.setDefaultValue(1.2)
    elbow.setDefaultLocked(True)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "filtered, every fifth frame": {"cutoff": 6.0, "interval": 5},
    "from before the recording, filtered": {"cutoff": 8.0, "start": -3.0, "end": -0.3},
    "between samples": {"start": 0.3051, "end": 0.4},
    "one frame": {"start": 0.4, "end": 0.4},
    "exponent 3": {"exponent": 3.0},
    "exponent 1.5": {"exponent": 1.5},
    "without muscle physiology": {"physiology": False},
    "forces replaced by reserves": {"replace": True},
}


@pytest.mark.parametrize("case", CASES)
def test_an_arm_is_solved_as_by_opensim(lab: Lab, case: str):
    compared(lab.setup(**CASES[case]), lab.folder / "ours")


@pytest.mark.parametrize("kind", ["Millard2012EquilibriumMuscle", "DeGrooteFregly2016Muscle"])
def test_other_muscle_classes_are_solved_as_by_opensim(lab: Lab, kind: str):
    arm(lab.folder / "arm.osim", kind=kind)
    compared(lab.setup(), lab.folder / "ours")


@pytest.mark.parametrize("change", [springs, locked_elbow], ids=["springs and limits", "a locked coordinate"])
def test_models_with_more_than_muscles_are_solved_as_by_opensim(lab: Lab, change: Callable[[opensim.Model], None]):
    lab.change_model(change)
    ours, pairs = compared(lab.setup(), lab.folder / "ours")
    assert any("the model holds r_elbow_flex" in note for note in ours.notes) == (change is locked_elbow)
    theirs, mine = pairs["force"]
    other = [k for k, n in enumerate(theirs.names) if n not in ("time", *ARM_MUSCLES) and not n.endswith("_reserve")]
    assert bool(other) == (change is springs)
    assert_allclose(mine.values[:, other], theirs.values[:, other], atol=1e-6)


def test_actuators_that_are_off_or_bounded_are_taken_as_they_are(lab: Lab):
    off = reserve("r_elbow_flex", 5.0)
    off.setName("off")
    off.set_appliesForce(False)
    actuator_file(
        lab.folder / "reserves.xml", [reserve("r_shoulder_elev", 2.0), reserve("r_elbow_flex", 1.0, 0.05), off]
    )
    lab.change_model(lambda model: model.updMuscles().get("BRA").set_appliesForce(False))
    ours, _ = compared(lab.setup(start=0.1, end=0.3), lab.folder / "ours")
    assert "BRA" not in ours.activations
    assert "off" not in ours.activations
    assert ours.activations["r_elbow_flex_reserve"].abs().max() <= 0.05 + 1e-9
    assert_allclose(ours.forces["r_shoulder_elev_reserve"], 2.0 * ours.activations["r_shoulder_elev_reserve"])


def test_residuals_as_point_and_torque_actuators_act_as_in_opensim(lab: Lab):
    """In ground's axes and in a body's own, with directions that are no unit vectors."""
    push, lift = opensim.PointActuator("forearm"), opensim.PointActuator("forearm")
    push.set_point(opensim.Vec3(0, -0.2, 0))
    push.set_direction(opensim.Vec3(2, 0.5, 0))
    push.set_force_is_global(True)
    lift.set_point(opensim.Vec3(0.2, 0.5, 0))
    lift.set_point_is_global(True)
    lift.set_direction(opensim.Vec3(0, 3, 0))
    lift.set_force_is_global(False)
    turn, twist = opensim.TorqueActuator(), opensim.TorqueActuator()
    turn.set_bodyA("humerus")
    turn.set_bodyB("ground")
    turn.set_axis(opensim.Vec3(0, 0, 2))
    twist.set_bodyA("forearm")
    twist.set_bodyB("humerus")
    twist.set_axis(opensim.Vec3(0, 0.2, 1))
    twist.set_torque_is_global(False)
    named = {"FX": push, "FY": lift, "MZ": turn, "ME": twist}
    for k, (name, actuator) in enumerate(named.items()):
        actuator.setName(name)
        actuator.setOptimalForce(3.0 + k)
    actuator_file(lab.folder / "residuals.xml", list(named.values()))
    _, pairs = compared(lab.setup(force_sets=("residuals.xml",)), lab.folder / "ours")
    theirs, mine = pairs["activation"]
    columns = [theirs.names.index(n) for n in named]
    assert np.abs(theirs.values[:, columns]).max() > 0.1
    assert_allclose(mine.values[:, columns], theirs.values[:, columns], atol=2e-3)


def test_external_loads_in_any_frame_act_and_are_reported_as_in_opensim(lab: Lab):
    """A force in ground at a point of the forearm, and one in the humerus' axes without a point; other sample times."""
    time = np.arange(26) / 25
    zero = np.zeros_like(time)
    values = [5 * np.sin(4 * time), zero - 10, zero, zero, zero - 0.2, zero, zero, zero, 0.1 + time]
    names = [f"{prefix}{axis}" for prefix in ("hand_v", "hand_p", "t_") for axis in "xyz"]
    (lab.folder / "forces").mkdir()
    write_storage(lab.folder / "forces" / "hand.mot", time, np.column_stack(values), names, in_degrees=False)
    write_external_loads(
        lab.folder / "forces" / "loads.xml",
        "hand.mot",
        [
            ExternalForce("push", "forearm", "hand_v", "hand_p", "t_", point_expressed_in_body="forearm"),
            ExternalForce("pull", "forearm", "hand_v", "", "t_", force_expressed_in_body="humerus"),
        ],
    )
    _, pairs = compared(lab.setup(external_loads="forces/loads.xml"), lab.folder / "ours")
    theirs, mine = pairs["force"]
    loads = [k for k, n in enumerate(theirs.names) if n.startswith("forearm_")]
    assert len(loads) == 15
    assert_allclose(mine.values[:, loads], theirs.values[:, loads], atol=1e-6)


def test_states_are_read_with_their_own_speeds(lab: Lab):
    time = np.arange(61) / 60
    q = np.column_stack([0.3 + 0.5 * np.sin(3 * time), 1.0 + 0.6 * np.sin(4 * time)])
    qd = np.column_stack([1.5 * np.cos(3 * time), 2.4 * np.cos(4 * time)])
    names = [f"/jointset/{c}/{c}/{what}" for c in ("r_shoulder_elev", "r_elbow_flex") for what in ("value", "speed")]
    table = np.stack([q, qd], -1).reshape(len(time), -1)
    write_storage(lab.folder / "states.sto", time, table, names, in_degrees=False)
    ours, _ = compared(lab.setup(states="states.sto", coordinates=""), lab.folder / "ours")
    both = solve(lab.setup(states="states.sto"), audit=0)
    assert_allclose(both.activations, ours.activations)
    assert "<coordinates_file> is ignored" in both.notes[0]


@pytest.fixture(scope="module")
def gait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A squat on two plates, with reserves and RRA-style residuals in a force set file, as gait setups have them."""
    folder = tmp_path_factory.mktemp("gait")
    model = biped(folder / "biped.osim")
    motion = write_squat(model, folder / "squat.mot")
    request = TrialRequest(model, motion, folder / "plates", folder / "plates", "s", "s", "squat")
    settings = LabelSettings(solver="fast", geometry="exact", audit=0.0, cutoff_hz=0.0, consistency=None)
    label_trial(request, settings)
    actuators: list[opensim.Force] = []
    for k, axis in enumerate("XYZ"):
        force, moment = opensim.PointActuator("pelvis"), opensim.TorqueActuator()
        force.setName(f"F{axis}")
        force.set_direction(opensim.Vec3(*np.eye(3)[k]))
        force.set_force_is_global(True)
        force.set_point(opensim.Vec3(0.0, 0.25, 0.0))
        moment.setName(f"M{axis}")
        moment.set_bodyA("pelvis")
        moment.set_bodyB("ground")
        moment.set_axis(opensim.Vec3(*np.eye(3)[k]))
        for actuator in (force, moment):
            actuator.setOptimalForce(10.0)
            actuators.append(actuator)
    joints = [f"{n}_{side}" for side in "rl" for n in ("hip_flexion", "knee_angle", "ankle_angle")]
    actuators += [reserve(n, 1.0, 1000.0) for n in joints]
    actuator_file(folder / "actuators.xml", actuators)
    setup_file(
        folder / "setup.xml", model="biped.osim", coordinates="squat.mot", force_sets=("actuators.xml",),
        external_loads="plates/external_loads.xml", start=0.2, end=0.5, cutoff=6.0,
    )  # fmt: skip
    return folder


def test_a_gait_like_setup_is_solved_as_by_opensim(gait: Path):
    ours, pairs = compared(gait / "setup.xml", gait / "ours")
    theirs, mine = pairs["force"]
    assert any(n.startswith("calcn_r_ground_force_r_F") for n in theirs.names)
    assert_allclose(mine.values, theirs.values, atol=0.02 * np.abs(theirs.values).max())
    assert ours.activations["vasmed_r"].max() > 0.05


def test_polynomial_paths_solve_the_same(gait: Path):
    exact, fitted = (solve(gait / "setup.xml", geometry=g, audit=0) for g in ("exact", "polynomial"))
    assert_allclose(fitted.activations, exact.activations, atol=0.01)


def test_controls_are_opensims_document(lab: Lab):
    setup = lab.setup()
    run_opensim(setup)
    solve(setup, out=lab.folder / "ours", audit=0)
    name = "lab_StaticOptimization_controls.xml"
    theirs, mine = ((lab.folder / where / name).read_text() for where in ("results", "ours"))
    numbers = re.compile(r"(?<=<value>)[^<]*")
    assert numbers.sub("", mine) == numbers.sub("", theirs)
    assert_allclose(*(np.array(numbers.findall(text), dtype=float) for text in (mine, theirs)), atol=0.01)
    opensim.ControlSet(str(lab.folder / "ours" / name))


def test_paths_are_relative_to_the_setup_wherever_it_is_called_from(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    deep = lab.folder / "setups" / "monday"
    deep.mkdir(parents=True)
    text = lab.setup().read_text()
    for name in ("arm.osim", "arm.mot", "reserves.xml"):
        text = text.replace(name, f"../../{name}")
    (deep / "setup.xml").write_text(text.replace("../../arm.mot", "..\\..\\arm.mot"))
    elsewhere = lab.folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    found = solve(os.path.relpath(deep / "setup.xml"), out="results", audit=0)
    assert (elsewhere / "results" / "lab_StaticOptimization_activation.sto").is_file()
    assert_allclose(found.activations, solve(lab.folder / "setup.xml", audit=0).activations)
    assert not list(deep.glob("*results*"))


@pytest.mark.parametrize("digits", [12, 20])
def test_results_take_the_names_and_digits_of_the_setup(lab: Lab, digits: int):
    def edit(text: str) -> str:
        text = text.replace('<AnalyzeTool name="lab">', '<AnalyzeTool name="walk">')
        text = text.replace('<StaticOptimization name="StaticOptimization">', '<StaticOptimization name="SO">')
        return text.replace("<output_precision>8<", f"<output_precision>{digits}<")

    setup = lab.setup(edit)
    run_opensim(setup)
    solve(setup, out=lab.folder / "ours", audit=0)
    name = "walk_SO_activation.sto"
    theirs, mine = ((lab.folder / where / name).read_text().splitlines()[9] for where in ("results", "ours"))
    assert [len(cell) for cell in mine.split("\t")] == [len(cell) for cell in theirs.split("\t")]


def test_frames_that_no_actuator_can_carry_are_counted(lab: Lab):
    found = solve(lab.setup(force_sets=(), start=0.1, end=0.4))
    assert 0 < found.solved.sum() < len(found.solved)
    assert f"in {(~found.solved).sum()} the actuators cannot produce the motion" in found.summary


REFUSED: dict[str, tuple[Callable[[str], str], str]] = {
    "no model": (lambda t: t.replace("arm.osim", "gone.osim"), "<model_file> names gone.osim"),
    "no motion": (lambda t: t.replace("arm.mot", "gone.mot"), "<coordinates_file> names gone.mot"),
    "no force set": (lambda t: t.replace("reserves.xml", "gone.xml"), "<force_set_files> names gone.xml"),
    "no loads": (
        lambda t: t.replace("<external_loads_file />", "<external_loads_file>gone.xml</external_loads_file>"),
        "<external_loads_file> names gone.xml",
    ),
    "empty model": (lambda t: t.replace("arm.osim", ""), "<model_file> is empty"),
    "neither coordinates nor states": (lambda t: t.replace("arm.mot", ""), "neither <coordinates_file> nor"),
    "speeds": (lambda t: t.replace("<speeds_file />", "<speeds_file>v.sto</speeds_file>"), "<speeds_file> is not"),
    "another analysis": (
        lambda t: t.replace("StaticOptimization", "MuscleAnalysis"), "asks for MuscleAnalysis; only one Static",
    ),
    "two analyses": (
        lambda t: t.replace("</objects>", "<Kinematics name='k'><on>true</on></Kinematics></objects>", 1),
        "asks for StaticOptimization, Kinematics; only one",
    ),
    "no analysis": (lambda t: re.sub("<AnalysisSet.*</AnalysisSet>", "", t, flags=re.DOTALL), "has no analysis"),
    "off": (lambda t: t.replace("<on>true", "<on>false"), "is off (<on>)"),
    "no model forces": (lambda t: t.replace("<use_model_force_set>true", "<use_model_force_set>false"), "leaves the"),
    "controllers": (
        lambda t: re.sub("(Controllers\">\\s*)<objects />", r"\1<objects><PrescribedController/></objects>", t),
        "has controllers (PrescribedController)",
    ),
    "unknown property": (lambda t: t.replace("<initial_time>", "<weight>2</weight><initial_time>"), "<weight> of <Ana"),
    "twice": (lambda t: t.replace("<initial_time>", "<final_time>9</final_time><initial_time>"), "must be there once"),
    "no number": (lambda t: t.replace("<initial_time>0.29999999999999999", "<initial_time>soon"), "must be a number"),
    "reversed": (lambda t: t.replace("<final_time>0.59999999999999998", "<final_time>0.1"), "comes after <final_time>"),
    "outside": (lambda t: t.replace("<initial_time>0.29999999999999999", "<initial_time>5").replace(
        "<final_time>0.59999999999999998", "<final_time>6"), "lie outside of the motion"),
    "exponent 1": (lambda t: t.replace("<activation_exponent>2", "<activation_exponent>1"), "must be above 1; got 1"),
    "step 0": (lambda t: t.replace("<step_interval>1", "<step_interval>0"), "whole number from 1"),
    "maybe": (lambda t: t.replace("<use_muscle_physiology>true", "<use_muscle_physiology>maybe"), "true or false"),
    "fast cut-off": (
        lambda t: t.replace("_for_coordinates>-1", "_for_coordinates>40"), "must be below half the sampling rate",
    ),
    "another tool": (lambda t: t.replace("AnalyzeTool", "ForwardTool"), "holds a <ForwardTool>"),
    "cut off": (lambda t: t[: len(t) // 2], "not an XML document"),
    "entities": (
        lambda t: '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]>' + t.split("?>")[1], "declares a docum",
    ),
    "a path as name": (lambda t: t.replace('name="lab"', 'name="../lab"'), "cannot begin file names"),
    "a setup as force set": (lambda t: t.replace("reserves.xml", "setup.xml"), "holds a <AnalyzeTool>; expected"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_done_is_refused_in_one_sentence_and_nothing_is_written(lab: Lab, case: str):
    edit, message = REFUSED[case]
    setup = lab.setup(edit)
    with pytest.raises(AnalyzeSetupError, match=re.escape(message)) as caught:
        solve(setup, out=lab.folder / "ours")
    assert str(lab.folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (lab.folder / "ours").exists()


def on_nothing(lab: Lab) -> None:
    actuator_file(lab.folder / "reserves.xml", [reserve("r_shoulder_elev", 1.0), reserve("wrist", 1.0)])


def twice_one_name(lab: Lab) -> None:
    actuator_file(lab.folder / "reserves.xml", [reserve("r_elbow_flex", 1.0), reserve("r_elbow_flex", 2.0)])


def pulling(lab: Lab) -> None:
    def add(model: opensim.Model) -> None:
        rope = opensim.PathActuator()
        rope.setName("rope")
        rope.addNewPathPoint("a", model.getGround(), opensim.Vec3(0))
        rope.addNewPathPoint("b", model.getBodySet().get("forearm"), opensim.Vec3(0))
        model.addForce(rope)

    lab.change_model(add)


def unknown_force(lab: Lab) -> None:
    path = lab.folder / "reserves.xml"
    path.write_text(path.read_text().replace("CoordinateActuator", "PluginActuator"))


def too_few(lab: Lab) -> None:
    lab.change_model(lambda model: [model.updMuscles().get(m).set_appliesForce(False) for m in ARM_MUSCLES])
    actuator_file(lab.folder / "reserves.xml", [reserve("r_elbow_flex", 1.0)])


FORCES = {
    on_nothing: "together (CoordinateActuator: Invalid coordinate (wrist) specified in Actuator wrist_reserve)",
    twice_one_name: "r_elbow_flex_reserve are there more than once",
    pulling: "rope is a PathActuator, which is not supported",
    unknown_force: "reserves.xml: OpenSim knows no PluginActuator",
    too_few: "1 actuators for 2 free coordinates",
}


@pytest.mark.parametrize("spoil", FORCES, ids=lambda f: f.__name__)
def test_forces_that_cannot_be_used_are_named(lab: Lab, spoil: Callable[[Lab], None]):
    spoil(lab)
    with pytest.raises(AnalyzeSetupError, match=re.escape(FORCES[spoil])):
        solve(lab.setup(), out=lab.folder / "ours")
    assert not (lab.folder / "ours").exists()


def test_loads_that_end_before_the_motion_are_refused(lab: Lab):
    names = [f"hand_v{a}" for a in "xyz"]
    write_storage(lab.folder / "f.mot", np.array([0.0, 0.2, 0.4]), np.zeros((3, 3)), names, in_degrees=False)
    write_external_loads(lab.folder / "loads.xml", "f.mot", [ExternalForce("hand", "forearm", "hand_v")])
    with pytest.raises(ExternalLoadsError, match=r"forces cover 0 to 0\.4 s, the frames to be solved 0\.3 to 0\.6"):
        solve(lab.setup(external_loads="loads.xml"))


def test_states_without_speeds_are_refused(lab: Lab):
    time = np.arange(61) / 60
    write_storage(
        lab.folder / "states.sto", time, np.ones((61, 2)), ["r_shoulder_elev", "r_elbow_flex"], in_degrees=False
    )
    with pytest.raises(AnalyzeSetupError, match="lacks values or speeds of r_shoulder_elev, r_elbow_flex"):
        solve(lab.setup(states="states.sto"))


def test_damaged_motions_are_refused(lab: Lab):
    (lab.folder / "arm.mot").write_text("nothing")
    with pytest.raises(StorageError, match="endheader"):
        solve(lab.setup())


@pytest.mark.parametrize("cost", [{"weights": {"BIC*": 4.0, "BRA": 0.3}}, {"volume_weighted": True, "exponent": 3.0}])
def test_weights_are_those_of_a_model_whose_forces_have_them(lab: Lab, cost: dict[str, Any]):
    """OpenSim solves the audit in a model whose muscles are weaker by w^(1/p) and may do more by as much."""
    plain, weighted = solve(lab.setup(), audit=0), solve(lab.setup(), audit=8, **cost)
    assert weighted.audit is not None
    assert weighted.audit.rmse <= RMSE
    assert np.abs(weighted.activations[list(ARM_MUSCLES)] - plain.activations[list(ARM_MUSCLES)]).max().max() > 0.02


def test_a_weight_makes_its_muscle_do_less(lab: Lab):
    plain, weighted = solve(lab.setup(), audit=0), solve(lab.setup(), audit=0, weights={"BIClong": 5.0})
    assert weighted.activations["BIClong"].sum() < 0.9 * plain.activations["BIClong"].sum()
    with pytest.raises(EffortCostError, match="'glmax' fits no muscle of the model"):
        solve(lab.setup(), weights={"glmax": 2.0})


def short_tendons(model: opensim.Model) -> None:
    for name in ARM_MUSCLES:
        muscle = model.updMuscles().get(name)
        muscle.set_tendon_slack_length(0.9 * muscle.get_tendon_slack_length())


def arm_pose(time: float) -> dict[str, float]:
    """The pose that `arm_motion` writes, rad."""
    wave = 0.5 * (1 - np.cos(2 * np.pi * time))
    return {"r_shoulder_elev": np.deg2rad(10 + 40 * wave), "r_elbow_flex": np.deg2rad(20 + 80 * wave**2)}


def test_passive_fibres_pull_and_muscles_supply_the_rest(lab: Lab):
    """All tensions and reserves together make the same joint moments with and without, by OpenSim's moment arms."""
    lab.change_model(short_tendons)
    without, within = solve(lab.setup(), audit=0), solve(lab.setup(), passive=True)
    assert within.audit is None
    assert "not compared with OpenSim" in within.summary
    model = load(lab.folder / "arm.osim")
    strength, state = Strength(fibre_tables(model)), model.model.initSystem()
    muscles = [model.model.getMuscles().get(m) for m in ARM_MUSCLES]
    for time in without.activations.index[::6]:
        pose = arm_pose(time)
        model.set_pose(state, pose)
        model.model.realizePosition(state)
        passive = strength.passive(torch.tensor([[m.getLength(state) for m in muscles]]))[0].numpy()
        assert passive.max() > 1.0
        active = within.activations.loc[time, list(ARM_MUSCLES)] > 0.011
        tensions = within.forces.loc[time, list(ARM_MUSCLES)]
        assert (tensions >= passive - 1e-6).all()
        assert active.any()
        for name in pose:
            coordinate = model.model.getCoordinateSet().get(name)
            arms = [m.computeMomentArm(state, coordinate) for m in muscles]
            plain, elastic = (
                f.forces.loc[time, list(ARM_MUSCLES)] @ arms + f.forces.loc[time, f"{name}_reserve"]
                for f in (without, within)
            )
            assert_allclose(elastic, plain, atol=1e-3)


def test_the_command_writes_the_files_and_says_how_far_opensim_is(lab: Lab, capsys: pytest.CaptureFixture[str]):
    setup, out = lab.setup(), lab.folder / "out"
    assert app(["solve", str(setup), "--out", str(out)], result_action="return_value") == 0
    line = capsys.readouterr().out.strip()
    assert re.fullmatch(
        r"setup\.xml: 19 frame\(s\), .* frames/s\); OpenSim solved 10 of the frames again: RMSE 0\.00\d+, largest "
        r"difference 0\.\d+ \(\w+ at 0\.\d+ s\)\.",
        line,
    )
    record = json.loads((out / "lab_StaticOptimization_solved.json").read_text())
    assert record["audit"]["frames"] == 10
    assert record["cost"] == {"exponent": 2.0, "weights": {}, "volume_weighted": False, "passive": False}


def test_the_command_says_in_one_line_what_it_cannot_do(lab: Lab, capsys: pytest.CaptureFixture[str]):
    setup = lab.setup(REFUSED["two analyses"][0])
    assert app(["solve", str(setup), "--out", str(lab.folder / "out")], result_action="return_value") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert not (lab.folder / "out").exists()


def test_other_files_in_the_results_folder_stay(lab: Lab):
    out = lab.folder / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    solve(lab.setup(), out=out, audit=0)
    assert (out / "mine.txt").read_text() == "keep"
    assert len(list(out.iterdir())) == 5
    solve(lab.setup(), out=out, audit=0)
    assert len(list(out.iterdir())) == 5
