"""A motion gives way to measured forces by millimetres and degrees, smoothly, and only where it must."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from closed_form_movements import squats
from numpy.testing import assert_allclose
from small_models import biped, squat

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.measured_consistency import FitSettings, fit_to_forces, trunk_angles
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.contact import GroundForces, centre_of_pressure
from bige_opensim.physics.dynamics import body_wrenches
from bige_opensim.physics.joint_problem import net_generalized_forces
from bige_opensim.physics.skeleton import Skeleton


def carried(skeleton: Skeleton, w: Prepared) -> GroundForces:
    """What the motion takes, shared alike by the feet at one centre of pressure."""
    force, moment = (
        part.sum(1, keepdim=True).expand(-1, 2, 3) * 0.5 for part in body_wrenches(skeleton, w.state(skeleton))
    )
    return centre_of_pressure(force.clone(), torch.zeros_like(force), moment.clone())


def root(skeleton: Skeleton) -> tuple[list[int], list[int]]:
    found = skeleton.tables.root
    rotations, places = ([skeleton.coordinates.index(n) for n in found[k]] for k in ("rotations", "translations"))
    return rotations, places


def residual(skeleton: Skeleton, w: Prepared, forces: GroundForces) -> np.ndarray:
    rotations, places = root(skeleton)
    return net_generalized_forces(skeleton, w.state(skeleton), forces)[:, [*rotations, *places]].numpy()


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """The biped's squat, the forces that it takes, and the same squat seen with the body swaying by 4 mm."""
    path = biped(tmp_path_factory.mktemp("model") / "biped.osim")
    skeleton = Skeleton(compile_skeleton(path, cache=False))
    q = squat(path, frames=120).select(skeleton.coordinates)
    true = Prepared.of(q, (0.0, ""), ())
    values = q.values.copy()
    sway = 0.004 * np.sin(2.0 * np.pi * 1.5 * q.time)
    values[:, skeleton.index("pelvis_tx")] += sway
    return skeleton, true, true.moved(q.with_values(values)), carried(skeleton, true), sway


def test_the_right_motion_stays_as_it_is(wrong):
    skeleton, true, _, forces, _ = wrong
    assert np.abs(residual(skeleton, true, forces)).max() < 1e-6
    moved, fit = fit_to_forces(skeleton, true, true.q.time, forces, root(skeleton), np.ones(true.q.frames, dtype=bool))
    assert_allclose(moved.q.values, true.q.values, atol=1e-8)
    assert fit.residual_n[1] < 1e-3


def test_a_sway_that_the_forces_do_not_know_is_taken_back(wrong):
    skeleton, true, seen, forces, sway = wrong
    moved, fit = fit_to_forces(skeleton, seen, seen.q.time, forces, root(skeleton), np.ones(seen.q.frames, dtype=bool))
    assert fit.residual_n[0] > 10.0
    assert fit.residual_n[1] < 0.25 * fit.residual_n[0]
    assert fit.shift.peak_mm < 8.0
    left = (moved.q["pelvis_tx"] - true.q["pelvis_tx"])[12:-12]
    assert np.std(left) < 0.5 * np.std(sway[12:-12])
    others = [n for n in seen.q.names if n not in fit.change.names]
    assert_allclose(moved.q.select(others).values, seen.q.select(others).values)
    said = fit.entry()
    assert said["changed"]["pelvis_tx"]["peak"] == pytest.approx(fit.shift.peak_mm, rel=0.5)
    assert said["residual_force_n"]["after"] < said["residual_force_n"]["before"]


def test_frames_whose_forces_are_not_all_that_carries_say_nothing(wrong):
    skeleton, _, seen, forces, _ = wrong
    nothing = np.zeros(seen.q.frames, dtype=bool)
    moved, fit = fit_to_forces(skeleton, seen, seen.q.time, forces, root(skeleton), nothing)
    assert_allclose(moved.q.values, seen.q.values, atol=1e-12)
    assert fit.residual_n == (0.0, 0.0)


def test_changes_end_beside_the_measured_frames(wrong):
    skeleton, _, seen, forces, _ = wrong
    rows = np.flatnonzero((seen.q.time > 0.9) & (seen.q.time < 1.2))
    moved, _ = fit_to_forces(
        skeleton, seen, seen.q.time[rows], forces.at(rows), root(skeleton), np.ones(len(rows), dtype=bool)
    )
    away = np.abs(moved.q.values - seen.q.values).max(axis=1)
    assert away[rows].max() > 1e-4
    assert_allclose(away[seen.q.time < 0.35], 0.0, atol=1e-12)
    assert np.abs(np.diff(away)).max() < 0.3 * away.max()


def test_the_trunk_turns_where_a_model_has_one(wrong):
    assert trunk_angles(wrong[0]) == []
    skeleton = Skeleton(compile_skeleton(built_in(MODEL)))
    turned = {skeleton.coordinates[c] for c in trunk_angles(skeleton)}
    assert turned == {"lumbar_extension", "lumbar_bending", "lumbar_rotation"}
    known = squats()
    q = np.tile(skeleton.default.numpy(), (60, 1))
    for name in set(known.names) & set(skeleton.coordinates):
        q[:, skeleton.index(name)] = known[name][:60]
    true = Prepared.of(Motion(known.time[:60], q, skeleton.coordinates), (0.0, ""), ())
    bent = q.copy()
    bent[:, skeleton.index("lumbar_extension")] += np.deg2rad(2.0) * np.sin(2.0 * np.pi * 2.0 * known.time[:60])
    seen, every = true.moved(true.q.with_values(bent)), np.ones(60, dtype=bool)
    forces = carried(skeleton, true)
    settings = FitSettings(steps=2)
    _, fit = fit_to_forces(skeleton, seen, seen.q.time, forces, root(skeleton), every, settings)
    _, stiff = fit_to_forces(
        skeleton, seen, seen.q.time, forces, root(skeleton), every, replace(settings, angle_rad=1e-6)
    )
    assert fit.residual_nm[1] < 0.35 * fit.residual_nm[0]
    assert fit.residual_nm[1] < stiff.residual_nm[1]
