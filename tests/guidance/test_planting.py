"""Planted feet stand flat and still, and everything else stays as near to the motion as that allows."""

import dataclasses
from pathlib import Path

import numpy as np
import opensim
import pytest
import torch
from odd_models import changed
from small_models import biped
from small_models import squat as squat_of
from torch import Tensor

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.guidance.planting import FootPlanting, plant_feet
from bige_opensim.io.storage import read_coordinates
from bige_opensim.learning.augmentation import smooth_curves
from bige_opensim.learning.channels import Mirror
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import load
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.synthesis.squats import squat_motion
from bige_opensim.synthesis.styles import draw_squats, draw_style
from tests.recordings import MODELS, recorded

FRAMES = 61
STILL_M, LEVEL_M = 1e-4, 5e-4


def synthetic(skeleton: Skeleton, bent_deg: float) -> Tensor:
    """Two squats of synthetic people, bent by smooth curves as a generator's motions are, (2, FRAMES, C)."""
    motions = []
    for seed in (1, 2):
        random = np.random.default_rng(seed)
        style = draw_style(random)
        motion, _ = squat_motion(skeleton, style, draw_squats(style, 1, random), random)
        motions.append(motion.resampled(np.linspace(*motion.time[[0, -1]], FRAMES)).values)
    q = torch.as_tensor(np.stack(motions))
    curves = smooth_curves(tuple(q.shape), 4, torch.Generator().manual_seed(2)).double()
    angle = torch.tensor(skeleton.tables.rotational)
    return q + torch.where(angle, np.deg2rad(bent_deg), 0.03) * curves


def of_another_family(shared: Path) -> tuple[Skeleton, Tensor]:
    """A deep squat recorded on the Rajagopal model, whose knees adduct."""
    model = load(shared / MODELS["rajagopal_dls"])
    path = shared / "data/rajagopal_dls/DLS01_ik.mot"
    known = [c.name for c in model.coordinates]
    motion = read_coordinates(path, rotational=model.rotational, known=known, units="radians").motion
    motion = motion.select([n for n in known if n in motion]).resampled(np.linspace(2.0, 4.0, FRAMES))
    skeleton = Skeleton(compile_skeleton(model.path))
    q = skeleton.default.expand(FRAMES, -1).clone()
    q[:, [skeleton.index(n) for n in motion.names]] = torch.as_tensor(motion.values)
    return skeleton, q[None]


@pytest.fixture(scope="module")
def body() -> Skeleton:
    return Skeleton(compile_skeleton(built_in(MODEL)))


@pytest.fixture(scope="module")
def bent(body: Skeleton) -> Tensor:
    return synthetic(body, 3.0)


@pytest.fixture(params=["synthetic", "recorded", "another family"])
def motion(request: pytest.FixtureRequest) -> tuple[Skeleton, Tensor]:
    if request.param == "synthetic":
        body = request.getfixturevalue("body")
        return body, request.getfixturevalue("bent")
    shared = request.getfixturevalue("shared_data")
    if request.param == "another family":
        return of_another_family(shared)
    _, skeleton, prepared = recorded(shared, "subject6", "squats1", start=3.0, end=4.5)
    return skeleton, prepared.tensor(skeleton, prepared.q).unsqueeze(0)


def feet(skeleton: Skeleton, q: Tensor) -> Tensor:
    """Contact points by foot, (batch, time, 2, points, 3)."""
    return skeleton.contact_points(skeleton(q)).unflatten(-2, (2, -1))


def second_difference(skeleton: Skeleton, q: Tensor) -> Tensor:
    """Of the centre of mass, m, (batch, time - 2, 3)."""
    com = skeleton.com(skeleton(q))
    return com[:, 2:] - 2 * com[:, 1:-1] + com[:, :-2]


def com_acceleration(skeleton: Skeleton, q: Tensor) -> Tensor:
    """Largest second difference of the centre of mass, (batch,)."""
    return second_difference(skeleton, q).norm(dim=-1).amax(1)


def kink(skeleton: Skeleton, q: Tensor, before: Tensor) -> Tensor:
    """Largest second difference that a motion has and another has not, (batch,)."""
    return (second_difference(skeleton, q) - second_difference(skeleton, before)).norm(dim=-1).amax(1)


def low_passed(q: Tensor, names: tuple[str, ...]) -> Tensor:
    """Motions of 2.5 s, low-passed at 6 Hz as those of a search are."""
    time = np.linspace(0.0, 2.5, FRAMES)
    return torch.as_tensor(np.stack([Motion(time, x.numpy(), names).lowpass(6.0).values for x in q]))


def test_every_contact_point_stands_still_on_the_ground(motion) -> None:
    skeleton, q = motion
    mtp = [skeleton.index(f"mtp_angle_{s}") for s in "rl"]
    q[..., mtp] = 0.0
    points = feet(skeleton, plant_feet(skeleton, skeleton.coordinates, q))
    assert (points - points[:, :1]).norm(dim=-1).max() < STILL_M
    assert points[..., 1].amin(-1).abs().max() < STILL_M
    assert points[..., 1].max() < 0.003
    before = feet(skeleton, q)
    assert (before - before[:, :1])[..., [0, 2]].norm(dim=-1).max() > 30 * STILL_M


def test_trunk_and_arms_keep_their_angles_and_limits_are_kept(motion) -> None:
    skeleton, q = motion
    planting = FootPlanting(skeleton, skeleton.coordinates)
    planted = planting(q)
    others = [c for c in range(len(skeleton.coordinates)) if c not in planting.unknown]
    mtp = [skeleton.index(f"mtp_angle_{s}") for s in "rl"]
    still = [c for c in others if c not in mtp]
    assert torch.equal(planted[..., still], q[..., still])
    assert {skeleton.coordinates[c] for c in still} >= {"lumbar_extension", "arm_flex_r", "elbow_flex_l"}
    low, high = skeleton.range[planting.unknown].unbind(-1)
    assert (planted[..., planting.unknown] >= low - 1e-9).all()
    assert (planted[..., planting.unknown] <= high + 1e-9).all()


def test_hips_and_knees_change_by_a_few_degrees_and_the_mass_centre_moves_as_smoothly(motion) -> None:
    skeleton, q = motion
    planted = plant_feet(skeleton, skeleton.coordinates, q)
    for name in ("hip_flexion", "knee_angle"):
        for side in "rl":
            c = skeleton.index(f"{name}_{side}")
            assert (planted - q)[..., c].square().mean().sqrt() < np.deg2rad(3.0)
    assert (com_acceleration(skeleton, planted) < 1.5 * com_acceleration(skeleton, q)).all()


def test_the_pose_is_the_nearest_of_those_that_stand_there(body: Skeleton, bent: Tensor) -> None:
    """What moves the feet by nothing, to first order, changes the cost by nothing."""
    planting = FootPlanting(body, body.coordinates)
    moved = planting(bent)
    start = planting._target(planting._full(bent))[1][..., planting.unknown].flatten(0, 1)
    x = moved[..., planting.unknown].flatten(0, 1)
    inside = ((x > planting.low + 1e-6) & (x < planting.high - 1e-6)).all(1)
    assert inside.sum() > FRAMES
    pull = planting.weight * (x - start)
    _, J = planting.feet.where(moved.flatten(0, 1).T.contiguous())
    J = J[[planting.feet.columns.index(c) for c in planting.unknown]].flatten(1, 3).permute(2, 1, 0)
    _, size, V = torch.linalg.svd(J[inside], full_matrices=True)
    assert (size[:, 11] > 1e3 * size[:, 12]).all()
    along = (V[:, 12:] @ pull[inside].unsqueeze(-1)).squeeze(-1)
    assert along.abs().max() < 0.02 * pull[inside].norm(dim=1).max()


def test_planting_what_is_planted_changes_nothing(body: Skeleton, bent: Tensor) -> None:
    once = plant_feet(body, body.coordinates, bent)
    assert (plant_feet(body, body.coordinates, once) - once).abs().max() < 1e-3


def test_planting_does_not_depend_on_where_the_motion_came_from(body: Skeleton, bent: Tensor) -> None:
    elsewhere = bent.clone()
    shifts = [body.index(n) for n in body.tables.root["translations"]]
    for k, c in enumerate(shifts):
        elsewhere[..., c] += 0.3 * (k + 1) * torch.linspace(0.0, 1.0, FRAMES)
    first, other = (plant_feet(body, body.coordinates, x) for x in (bent, elsewhere))
    level = [shifts[0], shifts[2]]
    first[..., level] -= first[:, :1, level]
    other[..., level] -= other[:, :1, level]
    torch.testing.assert_close(first, other, atol=1e-4, rtol=0.0)


def test_a_mirrored_motion_is_planted_as_the_mirror_image(body: Skeleton, bent: Tensor) -> None:
    mirror = Mirror.of(body.coordinates)
    one, other = plant_feet(body, body.coordinates, bent), plant_feet(body, body.coordinates, mirror(bent))
    torch.testing.assert_close(mirror(one), other, atol=2e-4, rtol=0.0)


def test_a_call_that_starts_from_the_last_one_gives_the_same_answer(body: Skeleton, bent: Tensor) -> None:
    planting = FootPlanting(body, body.coordinates)
    planting(bent.flip(0) + 0.01)
    torch.testing.assert_close(planting(bent), plant_feet(body, body.coordinates, bent), atol=2e-4, rtol=0.0)


def test_heels_rise_about_toes_that_stay(body: Skeleton, bent: Tensor) -> None:
    q = bent.clone()
    rise = 0.3 * torch.hann_window(FRAMES, periodic=False, dtype=q.dtype)
    for side in "rl":
        q[..., body.index(f"mtp_angle_{side}")] = -rise
    points = feet(body, plant_feet(body, body.coordinates, q))
    names = [n[:2] for n in body.contact_names[:6]]
    toes, heel = [names.index(n) for n in ("s5", "s6")], names.index("s1")
    assert (points[..., toes, :] - points[:, :1, :, toes, :]).norm(dim=-1).max() < STILL_M
    assert points[..., heel, 1].amax(1).min() > 0.03
    assert points[..., 1].min() > -STILL_M


def test_a_foot_that_points_down_stands_on_its_toes(body: Skeleton, bent: Tensor) -> None:
    """As the rear foot of a split squat, whose toes no marker bends."""
    q = bent.clone()
    q[..., body.index("ankle_angle_l")] -= np.deg2rad(35.0)
    points = feet(body, plant_feet(body, body.coordinates, q))
    names = [n[:2] for n in body.contact_names[:6]]
    heel, toes = names.index("s1"), [names.index(n) for n in ("s5", "s6")]
    assert points[..., 1, heel, 1].amin() > 0.03
    assert (points[..., 1, toes, :] - points[:, :1, 1, toes, :]).norm(dim=-1).max() < STILL_M
    assert points[..., 0, :, 1].max() < 0.005
    assert points[..., 1].min() > -LEVEL_M


def test_gradient_agrees_with_differences(body: Skeleton, bent: Tensor) -> None:
    planting = FootPlanting(body, body.coordinates)
    random = torch.Generator().manual_seed(3)
    weight = torch.randn(len(body.coordinates), generator=random, dtype=bent.dtype)
    window = torch.hann_window(FRAMES, dtype=bent.dtype)

    def course(q: Tensor) -> Tensor:
        return ((planting(q) * weight).sum(-1) * window).sum()

    q = bent.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(course(q), q)
    legs = [body.index(f"{n}_{s}") for n in ("hip_flexion", "hip_adduction", "knee_angle") for s in "rl"]
    for chosen in (legs, [body.index("pelvis_tilt")], [body.index("lumbar_extension")]):
        direction = torch.zeros_like(bent)
        direction[..., chosen] = window[:, None] * torch.randn(len(chosen), generator=random, dtype=bent.dtype)
        step = 1e-3
        by_differences = (course(bent + step * direction) - course(bent - step * direction)) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(float(by_differences), rel=0.1)


def test_coordinates_that_the_model_locks_are_put_where_it_holds_them(tmp_path: Path) -> None:
    def lock(model: opensim.Model) -> None:
        for name, value in (("ankle_angle_r", 0.3), ("pelvis_list", 0.0), ("pelvis_tz", 0.05)):
            model.updCoordinateSet().get(name).setDefaultValue(value)
            model.updCoordinateSet().get(name).setDefaultLocked(True)

    free = biped(tmp_path / "biped.osim")
    skeleton = Skeleton(compile_skeleton(changed(free, tmp_path / "locked.osim", lock), cache=False))
    motion = squat_of(free, frames=20)
    channels = motion.names[::-1]
    q = torch.as_tensor(motion.select(channels).values)[None]
    planted = plant_feet(skeleton, channels, q.requires_grad_())
    for name, value in (("ankle_angle_r", 0.3), ("pelvis_list", 0.0), ("pelvis_tz", 0.05)):
        assert (planted[..., channels.index(name)] == value).all()
    points = feet(skeleton, planted.detach()[..., [channels.index(n) for n in skeleton.coordinates]])
    assert (points[:, :, 1] - points[:, :1, 1]).norm(dim=-1).max() < 0.02
    (gradient,) = torch.autograd.grad(planted.sum(), q)
    assert (gradient[..., channels.index("ankle_angle_r")] == 0.0).all()
    assert torch.isfinite(gradient).all()


def test_legs_of_plain_hinges_stand_too(tmp_path: Path) -> None:
    model = biped(tmp_path / "biped.osim")
    skeleton = Skeleton(compile_skeleton(model, cache=False))
    motion = squat_of(model, frames=20)
    q = torch.as_tensor(motion.select(skeleton.coordinates).values)[None]
    bent = q + 0.03 * smooth_curves(tuple(q.shape), 4, torch.Generator().manual_seed(2)).double()
    points = feet(skeleton, plant_feet(skeleton, skeleton.coordinates, bent))
    assert (points - points[:, :1]).norm(dim=-1).max() < STILL_M
    assert points[..., 1].amin(-1).abs().max() < LEVEL_M


def test_a_planted_motion_that_was_filtered_is_planted_again_without_a_kink(body: Skeleton, bent: Tensor) -> None:
    """Heels stay as high as they were, and ankles that were at their limit do not meet it again at once."""
    stiff = dataclasses.replace(body.tables, range=body.tables.range.copy())
    ankles = [body.index(f"ankle_angle_{s}") for s in "rl"]
    toes = [body.index(f"mtp_angle_{s}") for s in "rl"]
    high = float(bent[..., ankles].max()) - np.deg2rad(5.0)
    stiff.range[ankles, 1] = high
    skeleton = Skeleton(stiff)
    names, hump = skeleton.coordinates, torch.sin(torch.linspace(0.0, torch.pi, FRAMES, dtype=bent.dtype)) ** 4
    bent = bent.clone()
    bent[..., toes] = -0.25 * hump[:, None]
    planted = FootPlanting(skeleton, names, margin_rad=np.deg2rad(1.0))(bent)
    assert float(planted[..., ankles].amax()) == pytest.approx(high - np.deg2rad(1.0), abs=1e-6)
    smooth = low_passed(planted, names)
    again = FootPlanting(skeleton, names, again=True)(smooth)
    assert float(again[..., ankles].amax()) <= high + 1e-9
    assert float((again - planted)[..., toes].abs().max()) < np.deg2rad(0.5)
    assert kink(skeleton, again, smooth).max() < 5e-4
    points = feet(skeleton, again)
    down = points[..., 1] < 1e-3
    assert (points - points[:, :1])[..., [0, 2]].norm(dim=-1)[down].max() < 0.002
    usual = FootPlanting(skeleton, names)
    at_limit = low_passed(usual(bent), names)
    anew = usual(at_limit)
    assert float((anew - at_limit)[..., toes].abs().max()) > np.deg2rad(1.0)
    assert kink(skeleton, anew, at_limit).max() > 2e-3
