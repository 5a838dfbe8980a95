"""What is carried weighs on muscles, joints and ground in labels as in OpenSim, and on nothing else."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from small_models import BIPED_MASS_KG

from bige_opensim.io.storage import write_coordinates
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_task import label_and_place
from bige_opensim.labelling.label_trial import label_in_memory, label_into_folder
from bige_opensim.labelling.residual_reduction import Adjustment, reduce_residuals
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.loaded_model import write_loaded_model
from bige_opensim.osim.model import load
from bige_opensim.physics.carried_loads import is_load, parse_loads
from bige_opensim.physics.contact import ContactSettings
from bige_opensim.physics.skeleton import Skeleton

LOAD = parse_loads(["60kg@pelvis"])
KG = 60.0


def vertical(label: Label) -> np.ndarray:
    forces = label.ground_forces
    return (forces["ground_force_r_vy"] + forces["ground_force_l_vy"]).to_numpy()


def held(request_of, tmp_path, knee: float = 0.9):
    """A request for the biped in a squat that it holds, and the skeleton."""
    request = request_of()
    skeleton = Skeleton(compile_skeleton(request.model, cache=False))
    values = np.zeros(len(skeleton.coordinates))
    for side in "rl":
        values[[skeleton.index(f"{n}_{side}") for n in ("knee_angle", "hip_flexion", "ankle_angle")]] = knee * np.array(
            [1.0, 0.5, 0.5]
        )
    heel = skeleton(torch.as_tensor(values)).position[skeleton.bodies.index("calcn_r")].numpy()
    values[skeleton.index("pelvis_tx")], values[skeleton.index("pelvis_ty")] = -heel[0], 0.042 - heel[1]
    motion = Motion(np.arange(31) / 50.0, np.tile(values, (31, 1)), skeleton.coordinates)
    path = tmp_path / "held.mot"
    write_coordinates(path, motion, rotational=load(request.model).rotational)
    return replace(request, motion=path), skeleton, values


def test_in_a_planar_pose_ground_and_knees_carry_the_load_as_in_closed_form(request_of, fast, tmp_path):
    """A knee of two carries half of the moment of all that is above: m g (x - x_knee) / 2, summed over bodies."""
    request, skeleton, values = held(request_of, tmp_path)
    still = replace(fast, cutoff_hz=0.0, consistency=None)
    plain, loaded = (label_in_memory(request, replace(still, load=load)) for load in ((), LOAD))
    assert [label.record["load"] for label in (plain, loaded)] == [
        [],
        [{"body": "pelvis", "mass_kg": KG, "centre_m": [0.0, 0.25, 0.0]}],
    ]
    g = float(skeleton.gravity.norm())
    assert_allclose(vertical(loaded) - vertical(plain), KG * g, rtol=1e-3)
    poses = skeleton(torch.as_tensor(values))
    where = {n: skeleton.body_coms(poses)[b, 0].item() for b, n in enumerate(skeleton.bodies)}
    knee = poses.position[skeleton.bodies.index("tibia_r"), 0].item()
    above = {n: float(skeleton.mass[skeleton.bodies.index(n)]) for n in ("pelvis", "femur_r", "femur_l")}
    alone = 0.5 * g * sum(kg * (where[n] - knee) for n, kg in above.items())
    by_load = 0.5 * g * KG * (where["pelvis"] - knee)
    assert abs(by_load) > 20.0
    for side in "rl":
        found = [label.moments[f"knee_angle_{side}_moment"].to_numpy() for label in (plain, loaded)]
        assert_allclose(np.abs(found[0]), abs(alone), rtol=2e-3)
        assert_allclose(np.abs(found[1]), abs(alone + by_load), rtol=2e-3)


@pytest.fixture
def squats(request_of, fast):
    """The biped's squat with and without the load, and the request."""
    request = request_of()
    settings = replace(fast, cutoff_hz=0.0)
    return request, label_in_memory(request, settings), label_in_memory(request, replace(settings, load=LOAD))


def test_the_ground_gives_what_body_and_load_take_throughout_a_squat(squats, tmp_path):
    """Momentum balance: forces of the ground and residuals are the mass times acceleration less gravity of all."""
    request, plain, loaded = squats
    path = write_loaded_model(load(request.model), tmp_path / "loaded.osim", LOAD)
    skeleton = Skeleton(compile_skeleton(path, cache=False))
    q = loaded.channels.coordinates
    motions = Prepared.of(q, (0.0, ""), ()).state(skeleton).motions
    takes = (skeleton.mass[:, None] * (motions.com_acceleration - skeleton.gravity)).sum(-2).numpy()[:, 1]
    residual = loaded.moments["pelvis_ty_force"].to_numpy()
    assert_allclose(vertical(loaded) + residual, takes, atol=0.5)
    assert np.ptp(takes) > 0.1 * takes.mean()
    quiet = np.abs(takes / float(skeleton.weight_n) - 1.0) < 0.02
    rise = (vertical(loaded) - vertical(plain))[quiet]
    assert_allclose(rise, KG * 9.80665, rtol=0.05)


def test_joint_loads_are_in_weights_of_the_body_alone(squats):
    _, plain, loaded = squats
    weight = BIPED_MASS_KG * 9.80665
    assert plain.record["mass_kg"] == loaded.record["mass_kg"] == pytest.approx(BIPED_MASS_KG)
    for label in (plain, loaded):
        assert label.record["joint_loads"]["weight_n"] == pytest.approx(weight, rel=1e-3)
    peaks = [max(p["peak_bw"] for p in label.record["joint_loads"]["peaks"].values()) for label in (plain, loaded)]
    assert peaks[1] > 1.3 * peaks[0]


def test_opensims_own_run_on_the_written_files_has_the_load(request_of, fast):
    request = request_of()
    settings = replace(fast, cutoff_hz=0.0, end=0.2, load=LOAD)
    by_fast = label_in_memory(request, settings)
    by_opensim, _ = label_into_folder(request, replace(settings, solver="opensim"))
    assert_allclose(by_opensim.activations, by_fast.activations, atol=0.01)
    assert by_opensim.activations.to_numpy().max() > 0.1
    assert not (request.out / "model_loaded.osim").exists()  # beside the other trials of the model
    again = Label.load(request.out)
    assert again.record["load"] == by_fast.record["load"]
    assert again.loaded_model == (request.model_folder / "model_loaded.osim").read_bytes()


def test_a_session_declares_a_load_unless_the_command_does_and_bad_ones_are_one_sentence(request_of, fast):
    request = request_of()
    light = replace(request, load="5kg@pelvis")
    assert request.fingerprint(fast) != light.fingerprint(fast)
    assert "load" not in request.fingerprint(fast)["settings"]
    assert label_in_memory(light, fast).record["load"][0]["mass_kg"] == 5.0
    assert label_in_memory(light, replace(fast, load=LOAD)).record["load"][0]["mass_kg"] == KG
    for wrong, said in (("5lb@pelvis", "sessionMetadata.yaml of s1: load = '5lb@pelvis'"), ("5kg@torso", "no body")):
        found = label_and_place(replace(request, load=wrong), fast, [request], lambda step, share: None)
        assert isinstance(found, str)
        assert said in found


def test_residual_reduction_leaves_the_load_as_it_was_weighed(request_of, tmp_path):
    request, _, values = held(request_of, tmp_path, knee=0.1)
    path = write_loaded_model(load(request.model), tmp_path / "loaded.osim", LOAD)
    skeleton = Skeleton(compile_skeleton(path, cache=False))
    time = np.arange(600) / 50.0
    still = Prepared.of(Motion(time, np.tile(values, (600, 1)), skeleton.coordinates), (0.0, ""), ())
    found = reduce_residuals(skeleton, [still], ContactSettings())
    assert found.refused == ""
    assert set(found.adjustment.masses) == {"pelvis", "thighs", "shanks", "feet"}
    changed = replace(found.adjustment, trunk_m=np.array([0.03, 0.0, 0.0]), masses={"pelvis": 0.05})
    assert isinstance(changed, Adjustment)
    after = changed.applied(skeleton.tables)
    b = next(b for b, name in enumerate(skeleton.bodies) if is_load(name))
    assert after.mass[b] == KG
    assert_allclose(after.com[b], skeleton.tables.com[b])
    json.dumps(found.as_dict(skeleton.contact_names))
