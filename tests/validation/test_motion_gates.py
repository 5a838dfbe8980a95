"""Gates of a motion in closed form: move the body by so much, and the gate says so much."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import BIPED_MASS_KG, squat

from bige_opensim.io.storage import read_coordinates
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import load
from bige_opensim.physics.contact import ground_height
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.joint_limits import PEOPLE_DEG, beyond_limits, joint_limits
from bige_opensim.validation.motion_gates import Anatomy, MotionGate, MotionOnGround, motion_gates

FULL_BODY = Path(__file__).parents[2] / "osim_models/fullbody80.osim"
FRAMES, RATE_HZ = 60, 60.0
HALF_WEIGHT_N = 0.5 * BIPED_MASS_KG * 9.81

Gates = Callable[..., dict[str, MotionGate]]


@pytest.fixture(scope="module")
def small(model: Path) -> Anatomy:
    return Anatomy.of(load(model), Skeleton(compile_skeleton(model)))


@pytest.fixture(scope="module")
def person() -> Anatomy:
    return Anatomy.of(load(FULL_BODY), Skeleton(compile_skeleton(FULL_BODY)))


@pytest.fixture(scope="module")
def flat(model: Path) -> Motion:
    """A squat on flat, unmoving feet at height 0."""
    return squat(model, frames=FRAMES, rate_hz=RATE_HZ)


def moved(motion: Motion, **by: float | np.ndarray) -> Motion:
    values = motion.values.copy()
    for name, amount in by.items():
        values[:, motion.index(name)] += amount
    return motion.with_values(values)


def gates_of(anatomy: Anatomy, motion: Motion, *, loaded: np.ndarray | None = None, ground: float = 0.0):
    load_n = np.full((motion.frames, 2), HALF_WEIGHT_N)
    return motion_gates(MotionOnGround(anatomy, motion, load_n if loaded is None else loaded, ground))


def standing(anatomy: Anatomy, frames: int = 50, **degrees: float) -> Motion:
    """A full body that stands still with its lowest point at height 0."""
    skeleton = anatomy.skeleton
    q = np.zeros(len(skeleton.coordinates))
    for name, value in degrees.items():
        q[skeleton.index(name)] = np.deg2rad(value)
    lowest = float(skeleton.contact_points(skeleton(torch.as_tensor(q)))[..., 1].min())
    q[skeleton.index("pelvis_ty")] -= lowest
    return Motion(np.arange(frames) / 50.0, np.tile(q, (frames, 1)), skeleton.coordinates)


def test_a_squat_on_flat_feet_passes_every_gate(small: Anatomy, flat: Motion):
    found = gates_of(small, flat)
    assert set(found) == {
        "sampling", "joint_limits", "self_intersection", "ground_height", "floating", "penetration", "foot_slide",
        "balance",
    }  # fmt: skip
    assert all(gate.satisfied for gate in found.values())
    for name in ("floating", "penetration", "foot_slide"):
        assert found[name].value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("height", [5.0, 0.05, -1.5, -0.04])
def test_a_body_off_the_ground_that_is_known_floats_or_is_buried_by_so_much(small: Anatomy, flat: Motion, height):
    found = gates_of(small, moved(flat, pelvis_ty=height), ground=height)
    gate = found["floating" if height > 0 else "penetration"]
    assert gate.value == pytest.approx(1e3 * abs(height))
    assert found["ground_height"].value == pytest.approx(1e3 * abs(height))
    assert not gate.satisfied
    assert not found["ground_height"].satisfied


def test_a_body_that_hovers_without_load_floats_too_but_a_jump_does_not(small: Anatomy, flat: Motion):
    nothing = np.zeros((FRAMES, 2))
    hover = np.where(flat.time > 0.5, 0.3, 0.0)
    assert gates_of(small, moved(flat, pelvis_ty=hover), loaded=nothing)["floating"].value == pytest.approx(300, abs=1)
    still = np.tile(flat.values[0], (FRAMES, 1))
    time = np.arange(FRAMES) / RATE_HZ
    fall = moved(Motion(time, still, flat.names), pelvis_ty=0.3 + 2.0 * time - 0.5 * 9.80665 * time**2)
    assert gates_of(small, fall, loaded=nothing)["floating"].value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("way", [0.03, 0.12, 3.0])
def test_a_body_that_drifts_while_loaded_slides_as_far_as_it_drifts(small: Anatomy, flat: Motion, way):
    ramp = way * flat.time / flat.duration
    found = gates_of(small, moved(flat, pelvis_tx=0.6 * ramp, pelvis_tz=0.8 * ramp))["foot_slide"]
    assert found.value == pytest.approx(1e3 * way, rel=2e-3)
    assert found.satisfied == (way < 0.08)


def test_a_foot_slides_while_it_is_loaded_only(small: Anatomy, flat: Motion):
    ramp = 2.0 * flat.time / flat.duration
    half = np.full((FRAMES, 2), HALF_WEIGHT_N)
    half[FRAMES // 2 :] = 0.0
    value = gates_of(small, moved(flat, pelvis_tx=ramp), loaded=half)["foot_slide"].value
    assert value == pytest.approx(1e3 * ramp[FRAMES // 2 - 1], rel=1e-6)


def test_a_foot_that_slides_above_the_ground_slides(small: Anatomy, flat: Motion):
    found = gates_of(small, moved(flat, pelvis_tx=flat.time / flat.duration, pelvis_ty=0.03))
    assert found["floating"].satisfied
    assert found["foot_slide"].value == pytest.approx(1e3, rel=1e-6)


@pytest.mark.parametrize("lean", [-1.2, -0.6, 0.0, 0.4])
def test_balance_is_the_way_of_the_mass_centre_beyond_the_feet(small: Anatomy, flat: Motion, lean):
    still = Motion(flat.time, np.tile(flat.values[0], (FRAMES, 1)), flat.names)
    tilted = moved(still, hip_flexion_r=lean, hip_flexion_l=lean, pelvis_tilt=-lean)
    skeleton = small.skeleton
    poses = skeleton(torch.as_tensor(tilted.values[0]))
    points, com = skeleton.contact_points(poses).numpy(), skeleton.com(poses).numpy()
    tilted = moved(tilted, pelvis_ty=-points[:, 1].min())
    beyond = max(com[0] - points[:, 0].max(), points[:, 0].min() - com[0], 0.0)
    gate = gates_of(small, tilted)["balance"]
    assert gate.value == pytest.approx(1e3 * beyond, abs=1e-3)
    assert gate.satisfied == (beyond < 0.04)
    assert (beyond > 0.02) == (lean < -0.5)


def test_a_joint_beyond_its_range_is_beyond_it_by_so_much(small: Anatomy, flat: Motion):
    low, _ = small.limits["ankle_angle_l"]
    gate = gates_of(small, moved(flat, ankle_angle_l=low - np.deg2rad(5.0) - flat["ankle_angle_l"].min()))[
        "joint_limits"
    ]
    assert gate.value == pytest.approx(5.0)
    assert gate.where.startswith("ankle_angle_l")
    assert not gate.satisfied


def test_a_motion_of_few_samples_is_not_judged(small: Anatomy, flat: Motion):
    sparse = Motion(flat.time[::12], flat.values[::12], flat.names)
    gate = gates_of(small, sparse)["sampling"]
    assert gate.value == pytest.approx(200.0)
    assert not gate.satisfied


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, set()),
        ({"mtp_angle_r": 85.0, "mtp_angle_l": 85.0}, {"joint_limits", "penetration"}),
        ({"hip_adduction_r": 12.0, "hip_adduction_l": 12.0}, {"self_intersection"}),
        ({"knee_angle_r": -25.0}, {"joint_limits"}),
        ({"lumbar_extension": 80.0}, {"joint_limits"}),
    ],
    ids=["standing", "toes", "legs", "knee bent backwards", "back bent backwards"],
)
def test_poses_that_people_cannot_take_fail_their_gate(person: Anatomy, change, broken):
    found = gates_of(person, standing(person, **change))
    assert broken - {"penetration"} <= {name for name, gate in found.items() if not gate.satisfied}
    if not broken:
        assert all(gate.satisfied for gate in found.values())


def test_limbs_that_pass_through_each_other_between_two_samples_are_seen(person: Anatomy):
    a, b = (standing(person, 2, hip_adduction_r=x, hip_adduction_l=x).values[0] for x in (-15.0, 24.0))
    time = np.linspace(0.0, 1.0, 12)
    values = np.where(((time * 11).round().astype(int) % 2 == 0)[:, None], a, b)
    crossing = Motion(time, values, person.skeleton.coordinates)
    apart = Motion(time, np.tile(a, (12, 1)), person.skeleton.coordinates)
    assert gates_of(person, apart)["self_intersection"].satisfied
    assert gates_of(person, crossing)["self_intersection"].value > 80.0


def test_limits_are_the_models_where_it_has_some_and_peoples_elsewhere(person: Anatomy, tmp_path: Path):
    text = FULL_BODY.read_text(encoding="utf-8")
    head, tail = text.split('<Coordinate name="mtp_angle_r">', 1)
    body, rest = tail.split("</Coordinate>", 1)
    endless = body.replace(body.split("<range>")[1].split("</range>")[0], "-inf inf")
    (tmp_path / "endless.osim").write_text(f'{head}<Coordinate name="mtp_angle_r">{endless}</Coordinate>{rest}')
    free = body.replace("<clamped>true", "<clamped>false")
    (tmp_path / "free.osim").write_text(f'{head}<Coordinate name="mtp_angle_r">{free}</Coordinate>{rest}')
    people = tuple(np.deg2rad(PEOPLE_DEG["mtp_angle"]))
    assert endless != body
    assert free != body
    assert joint_limits(load(tmp_path / "endless.osim"))["mtp_angle_r"] == pytest.approx(people)
    assert joint_limits(load(tmp_path / "free.osim"))["mtp_angle_r"] == pytest.approx(people)
    assert person.limits["mtp_angle_r"] == pytest.approx(np.deg2rad([-45.0, 30.0]))
    assert person.limits["lumbar_extension"] == pytest.approx(np.deg2rad([-90.0, 60.0]))
    assert not {n for n in person.limits if n.startswith("pelvis") or n.endswith("beta")}


def test_another_description_of_the_same_shoulder_is_within_the_same_limits():
    limits = {"a": (-np.pi / 2, np.pi / 2), "b": (-2.0, np.pi / 2), "c": (-np.pi / 2, np.pi / 2)}
    near = np.deg2rad([[20.0, 30.0, -10.0], [-60.0, -100.0, 80.0]])
    far = np.stack([near[:, 0] + np.pi, np.pi - near[:, 1], near[:, 2] + np.pi - 2 * np.pi], axis=1)
    for values in (near, far, near + np.array([2 * np.pi, 0.0, -2 * np.pi])):
        q = Motion(np.array([0.0, 1.0]), values, ("a", "b", "c"))
        excess = beyond_limits(q, limits, [("a", "b", "c")])
        assert max(float(x.max()) for x in excess.values()) == pytest.approx(0.0, abs=1e-9)
    alone = beyond_limits(Motion(np.array([0.0, 1.0]), far, ("a", "b", "c")), limits, [])
    assert max(float(x.max()) for x in alone.values()) > 1.0


RECORDED = [
    ("opencap_lab/OpenCapData_subject2", "squats1"),
    ("opencap_lab/OpenCapData_subject6", "squats1"),
    ("opencap_lab/OpenCapData_subject6", "squatsAsym1"),
    ("opencap_lab/OpenCapData_phone01", "squats-with-arm-raise"),
    ("rajagopal_dls", "DLS01_ik"),
]


@pytest.mark.parametrize(("session", "trial"), RECORDED, ids=[t for _, t in RECORDED])
def test_recorded_squats_keep_their_joints_and_limbs_in_order(shared_data: Path, session: str, trial: str):
    """Ground, sliding and balance are judged after the shift of the whole body: by labels, not by recordings."""
    folder = shared_data / "data" / session
    path, model = next(folder.rglob(f"{trial}.mot")), load(next(folder.rglob("*.osim")))
    skeleton = Skeleton(compile_skeleton(model.path))
    anatomy = Anatomy.of(model, skeleton)
    recorded = read_coordinates(path, rotational=model.rotational, known=list(skeleton.coordinates)).motion.lowpass(6.0)
    columns = {
        n: np.full(recorded.frames, x) for n, x in zip(skeleton.coordinates, skeleton.tables.default, strict=True)
    }
    columns |= {n: recorded[n] for n in recorded.names}
    q = Motion(recorded.time, np.column_stack([columns[n] for n in skeleton.coordinates]), skeleton.coordinates)
    ground = ground_height(skeleton.contact_points(skeleton(torch.as_tensor(q.values))))
    found = motion_gates(MotionOnGround(anatomy, q, np.zeros((q.frames, 2)), ground, ground))
    for name in ("sampling", "joint_limits", "self_intersection", "ground_height", "penetration", "floating"):
        assert found[name].satisfied, (name, found[name])
