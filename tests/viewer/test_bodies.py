"""Bodies are closed, symmetric, of the person's own mass, and their feet end where the ground begins."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.loaded_model import write_loaded_model
from bige_opensim.osim.model import load
from bige_opensim.physics.capsules import DENSITY
from bige_opensim.physics.carried_loads import BAR_M, DISC_RADIUS_M, ball_radius, is_load, parse_loads
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.viewer.bodies import Shape, bones, flesh, loft

FULL_BODY = Path(__file__).resolve().parents[2] / "osim_models" / "fullbody80.osim"


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    return Skeleton(compile_skeleton(FULL_BODY))


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Of a closed surface whose triangles face outwards, by the divergence theorem; negative if inwards."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6.0)


def edges_used_once_each_way(faces: np.ndarray) -> bool:
    ways = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return len(np.unique(ways, axis=0)) == len(ways) and {tuple(w) for w in ways} == {tuple(w[::-1]) for w in ways}


def test_a_loft_with_equal_rings_is_a_prism_over_the_rings_polygon():
    centres = np.linspace(0.0, 1.0, 5)[:, None] * np.array([0.3, -0.4, 0.0])
    vertices, faces = loft(centres, np.full((5, 2), (0.2, 0.1)), np.array([0.0, 0.0, 1.0]))
    polygon = 0.5 * 12 * np.sin(2 * np.pi / 12) * 0.2 * 0.1
    assert volume(vertices, faces) == pytest.approx(polygon * 0.5)
    assert edges_used_once_each_way(faces)
    assert np.abs(vertices[:, 2]).max() == pytest.approx(0.2)


def test_every_surface_of_a_person_is_closed_and_faces_outwards(skeleton: Skeleton):
    shapes = [*flesh(skeleton), *bones(skeleton)]
    assert {"pelvis", "torso", "femur_r", "tibia_l", "calcn_r", "humerus_l", "hand_r"} <= {s.body for s in shapes}
    for shape in shapes:
        assert edges_used_once_each_way(shape.faces), shape.body
        assert volume(shape.vertices, shape.faces) > 0.0, shape.body


def test_a_persons_skin_encloses_about_the_persons_mass(skeleton: Skeleton):
    mass = DENSITY * sum(volume(s.vertices, s.faces) for s in flesh(skeleton))
    assert mass == pytest.approx(float(skeleton.person_mass.sum()), rel=0.25)


def test_left_is_the_mirror_image_of_right(skeleton: Skeleton):
    by_body = {s.body: s for s in [*flesh(skeleton)]}
    for body in ("femur", "tibia", "humerus", "calcn", "hand"):
        right, left = (by_body[f"{body}_{side}"].vertices for side in "rl")
        mirrored = right * (1.0, 1.0, -1.0)
        nearest = np.linalg.norm(mirrored[:, None] - left[None], axis=-1).min(1)
        assert nearest.max() < 0.004, body


def test_feet_stand_on_their_lowest_contact_points(skeleton: Skeleton):
    with torch.no_grad():
        poses = skeleton(torch.zeros(len(skeleton.coordinates), dtype=torch.float64))
        lowest = float(skeleton.contact_points(poses)[:, 1].min())
    seen = min(_in_ground(s, skeleton, poses)[:, 1].min() for s in flesh(skeleton))
    assert seen == pytest.approx(lowest, abs=0.004)


def test_a_person_is_as_tall_as_the_model_says(skeleton: Skeleton):
    with torch.no_grad():
        poses = skeleton(torch.zeros(len(skeleton.coordinates), dtype=torch.float64))
    points = np.concatenate([_in_ground(s, skeleton, poses) for s in flesh(skeleton)])
    shoulder = poses.position[skeleton.bodies.index("humerus_r"), 1].item() - points[:, 1].min()
    assert np.ptp(points[:, 1]) == pytest.approx(shoulder / 0.818, rel=0.04)


def test_a_model_of_other_names_has_rods_for_bones(tmp_path):
    from small_models import every_joint

    other = Skeleton(compile_skeleton(every_joint(tmp_path / "pin.osim", "Pin"), cache=False))
    assert flesh(other) == []
    assert bones(other)


def _in_ground(shape: Shape, skeleton: Skeleton, poses) -> np.ndarray:
    b = skeleton.bodies.index(shape.body)
    return shape.vertices @ poses.rotation[b].numpy().T + poses.position[b].numpy()


def test_a_bar_lies_across_the_back_with_its_discs_and_a_weight_in_the_hand_is_a_ball(tmp_path: Path):
    path = write_loaded_model(load(FULL_BODY), tmp_path / "loaded.osim", parse_loads(["60kg@torso", "8kg@hand_r"]))
    loaded = Skeleton(compile_skeleton(path))
    shapes = {shape.body: shape.vertices for shape in bones(loaded) if is_load(shape.body)}
    assert set(shapes) == {"load_torso", "load_hand_r"}
    length, height = (np.ptp(shapes["load_torso"][:, k]) for k in (2, 1))
    assert (length, height) == pytest.approx((BAR_M, 2 * DISC_RADIUS_M), rel=1e-3)
    ball = shapes["load_hand_r"]
    assert np.ptp(ball[:, 1]) == pytest.approx(2 * ball_radius(8.0), rel=0.01)
