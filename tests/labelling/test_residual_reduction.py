"""What is wrong with a body in all trials is corrected within bounds; seats and wrong models stay what they are."""

import json
from dataclasses import replace

import numpy as np
import opensim
import pytest
import torch
from numpy.testing import assert_allclose
from recordings import recorded
from small_models import BIPED_MASS_KG, biped, squat

from bige_opensim.doctor.person_checks import Stated
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_task import label_and_place
from bige_opensim.labelling.label_trial import label_in_memory, label_into_folder
from bige_opensim.labelling.missing_support import find_missing_support
from bige_opensim.labelling.residual_reduction import (
    MASS_SHARE,
    Adjustment,
    Floor,
    ground_of,
    groups_of,
    reduce_residuals,
)
from bige_opensim.labelling.sole_points import standing_frames
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import load
from bige_opensim.physics.contact import ContactSettings
from bige_opensim.physics.skeleton import Skeleton

CONTACT = ContactSettings()
SEAT = "behind the feet, near the pelvis: a seat?"


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory) -> Skeleton:
    return Skeleton(compile_skeleton(biped(tmp_path_factory.mktemp("model") / "biped.osim"), cache=False))


def still(skeleton: Skeleton, seconds: float = 1.0, **pose: float) -> Prepared:
    """The biped at rest on flat feet at height 0."""
    values = np.zeros(len(skeleton.coordinates))
    for name, value in pose.items():
        for coordinate in (name,) if name in skeleton.coordinates else (f"{name}_r", f"{name}_l"):
            values[skeleton.index(coordinate)] = value
    heel = skeleton(torch.as_tensor(values)).position[skeleton.bodies.index("calcn_r")].numpy()
    values[skeleton.index("pelvis_tx")] -= heel[0]
    values[skeleton.index("pelvis_ty")] += 0.042 - heel[1]
    frames = round(50 * seconds) + 1
    return Prepared.of(
        Motion(np.arange(frames) / 50.0, np.tile(values, (frames, 1)), skeleton.coordinates), (0.0, ""), ()
    )


def bow(tilt: float, **more: float) -> dict[str, float]:
    """Upright legs under a pelvis that leans by `tilt` rad."""
    return {"pelvis_tilt": tilt, "hip_flexion": -tilt, **more}


def odd(skeleton: Skeleton, *, trunk_m: float = 0.0, heels_m: float = 0.0, toes_m: float = 0.0) -> Skeleton:
    """The model of somebody whose trunk's mass lies too far back, whose heels are too high and toes too low."""
    t = skeleton.tables
    com, centre = t.com.copy(), t.contact_centre.copy()
    com[t.bodies.index("pelvis"), 0] -= trunk_m
    centre[[n.startswith("s1") for n in t.contact_names], 1] += heels_m
    centre[[n[:2] in ("s5", "s6") for n in t.contact_names], 1] -= toes_m
    return Skeleton(replace(t, com=com, contact_centre=centre))


def lacks(skeleton: Skeleton, w: Prepared, floor: Floor | None = None) -> list[str]:
    state = w.state(skeleton)
    ground = ground_of(skeleton, state, 0.02, floor)
    qd = w.tensor(skeleton, w.qd)
    return [i.where for i in find_missing_support(skeleton, state, qd, w.q.time, ground, CONTACT).intervals]


STANDS = [bow(tilt) for tilt in (-0.2, -0.1, 0.0, 0.1)]


def stands(skeleton: Skeleton, seconds: float = 3.0) -> list[Prepared]:
    return [still(skeleton, seconds, **pose) for pose in STANDS]


def test_people_stand_on_straight_legs_and_still_feet_alone(skeleton, tmp_path):
    assert standing_frames(skeleton, still(skeleton).state(skeleton)).all()
    for pose in ({"hip_flexion": 1.4, "knee_angle": 1.4}, {"hip_flexion_r": 0.5, "knee_angle_r": 0.6}):
        assert not standing_frames(skeleton, still(skeleton, **pose).state(skeleton)).any()
    walks = still(skeleton)
    values = walks.q.values.copy()
    values[:, walks.q.index("pelvis_tx")] += walks.q.time
    moved = walks.moved(walks.q.with_values(values))
    assert not standing_frames(skeleton, moved.state(skeleton)).any()


def test_high_heels_of_somebody_who_stands_are_put_on_the_floor_and_the_seat_behind_disappears(skeleton):
    high = odd(skeleton, heels_m=0.035, toes_m=0.025)
    trials = [still(skeleton, 3.0, **bow(0.1))] * 4
    assert lacks(high, trials[0]) == [SEAT]
    found = reduce_residuals(high, trials, CONTACT)
    assert found.refused == ""
    assert found.ground_m is not None
    corrected = Skeleton(found.adjustment.applied(high.tables))
    heights = corrected.contact_points(corrected(torch.as_tensor(trials[0].q.values[0])))[:, 1].numpy()
    assert np.ptp(heights) < 0.002
    assert lacks(corrected, trials[0], Floor(found.ground_m)) == []


def test_the_trunks_mass_centre_moves_forward_over_the_feet_and_the_total_mass_is_kept(skeleton):
    behind = odd(skeleton, trunk_m=0.1)
    found = reduce_residuals(behind, stands(skeleton), CONTACT)
    assert found.refused == ""
    before, after = found.beyond_m
    assert before > 0.01
    assert after < 0.2 * before
    a = found.adjustment
    assert 0.005 < a.trunk_m[0] < 0.05
    assert a.trunk_m[2] == pytest.approx(0.0, abs=1e-6)  # left and right are alike
    assert a.reach_m[0] > 0.0
    assert max(a.shares_of_bounds().values()) <= 1.0
    corrected = a.applied(behind.tables)
    assert corrected.mass.sum() == pytest.approx(BIPED_MASS_KG, abs=1e-9)


def test_a_body_that_fits_is_left_alone(skeleton):
    found = reduce_residuals(skeleton, stands(skeleton), CONTACT)
    assert found.refused == ""
    assert np.abs(found.adjustment.trunk_m).max() < 1e-12
    assert np.abs(found.adjustment.points_m).max() < 1e-4
    assert all(share == pytest.approx(0.0, abs=1e-12) for share in found.adjustment.masses.values())


def test_a_body_that_takes_more_than_the_bounds_is_refused_by_name(skeleton):
    found = reduce_residuals(odd(skeleton, trunk_m=0.3), stands(skeleton), CONTACT)
    assert found.out_of_bounds
    assert "trunk mass centre" in found.refused
    assert not found.as_dict(skeleton.contact_names)["applied"]
    high = reduce_residuals(odd(skeleton, heels_m=0.06), stands(skeleton), CONTACT)
    assert "soles" in high.refused


def test_who_sits_says_nothing_of_feet_or_trunk_and_the_seat_is_found_as_before(skeleton):
    sits = still(skeleton, 10.0, hip_flexion=1.4, knee_angle=1.4)
    alone = reduce_residuals(skeleton, [sits] * 3, CONTACT)
    assert "Nobody stands" in alone.refused
    without, beside = (reduce_residuals(skeleton, [*stands(skeleton), *more], CONTACT) for more in ([], [sits] * 3))
    assert_allclose(beside.adjustment.trunk_m, without.adjustment.trunk_m, atol=1e-12)
    assert_allclose(beside.adjustment.points_m, without.adjustment.points_m, atol=1e-12)
    corrected = Skeleton(beside.adjustment.applied(skeleton.tables))
    assert lacks(corrected, sits, Floor(beside.ground_m)) == [SEAT]


def test_one_stand_with_raised_heels_among_many_does_not_lower_them(skeleton):
    raised = still(skeleton, 1.0, ankle_angle=-0.2, pelvis_tilt=-0.2)
    many = reduce_residuals(skeleton, [*stands(skeleton), *stands(skeleton), raised], CONTACT)
    assert np.abs(many.adjustment.points_m[:, 1]).max() < 0.004
    assert np.abs(many.adjustment.trunk_m).max() < 0.01


def test_a_mirrored_body_is_corrected_by_the_mirrored_amount(skeleton):
    t = skeleton.tables
    swaps = [t.contact_names.index(f"{n[:-1]}{'l' if n[-1] == 'r' else 'r'}") for n in t.contact_names]
    centre = t.contact_centre.copy()
    centre[0, 1] += 0.02
    mirrored = t.contact_centre.copy()
    mirrored[swaps[0], 1] += 0.02
    one, other = (
        reduce_residuals(Skeleton(replace(t, contact_centre=c)), stands(skeleton), CONTACT).adjustment.points_m
        for c in (centre, mirrored)
    )
    assert one[0, 1] < -0.015
    assert_allclose(one, other[swaps] * [1, 1, -1], atol=1e-9)


def test_groups_hold_every_body_once_and_both_sides_together(skeleton):
    groups = groups_of((*skeleton.bodies, "backpack"))
    assert sorted(b for g in groups.values() for b in g) == list(range(len(skeleton.bodies) + 1))
    assert len(groups["thighs"]) == 2
    assert groups["backpack"] == [len(skeleton.bodies)]


def test_masses_are_scaled_with_their_inertias(skeleton):
    plain = Adjustment.nothing(skeleton)
    heavier = replace(plain, masses={"thighs": MASS_SHARE}).applied(skeleton.tables)
    for b, name in enumerate(skeleton.bodies):
        factor = 1.0 + MASS_SHARE * name.startswith("femur")
        assert heavier.mass[b] == pytest.approx(factor * skeleton.tables.mass[b])
        assert_allclose(heavier.inertia[b], factor * skeleton.tables.inertia[b])


@pytest.fixture
def high_heels(request_of, tmp_path):
    """A request for a stand and a shallow squat on a model whose heels are too high, as a lab's model has them."""
    from bige_opensim.io.storage import write_coordinates
    from bige_opensim.osim.adjusted_model import write_adjusted_model

    request = request_of()
    skeleton = Skeleton(compile_skeleton(request.model, cache=False))
    model = write_adjusted_model(request.model, tmp_path / "high.osim", odd(skeleton, heels_m=0.03).tables)
    q = squat(request.model, frames=61, rate_hz=60.0, depth=0.5)
    motion = tmp_path / "shallow.mot"
    write_coordinates(motion, q, rotational=load(request.model).rotational)
    return replace(request, model=model, motion=motion)


def test_a_label_says_what_was_corrected_and_runs_on_the_corrected_model(high_heels, fast, tmp_path):
    settings = replace(fast, residual_reduction=True)
    label, _ = label_into_folder(high_heels, settings)
    entry = json.loads((high_heels.out / "label.json").read_text())["residual_reduction"]
    assert entry["applied"]
    assert entry["foot_points_mm"]["s1_r"][1] < -15.0
    assert entry["share_of_bound"]["soles"] <= 1.0
    assert entry["effect"]["ground_height_m"]["after"] > entry["effect"]["ground_height_m"]["before"]
    adjusted = high_heels.model_folder / entry["model"]["file"]
    assert label.adjusted_model == adjusted.read_bytes()
    own, used = compile_skeleton(high_heels.model, cache=False), compile_skeleton(adjusted, cache=False)
    assert used.contact_centre[0, 1] < own.contact_centre[0, 1] - 0.015
    off = label_in_memory(high_heels, fast)
    assert off.record["residual_reduction"] is None
    assert off.adjusted_model is None
    saved = type(label).load(label.save(tmp_path / "saved"))
    assert saved.adjusted_model == label.adjusted_model


@pytest.mark.parametrize(
    ("change", "stated", "sentence"),
    [
        (lambda model: model.setGravity(opensim.Vec3(0, -4.9, 0)), Stated(), "Gravity is"),
        (
            lambda model: [b.scaleMass(1.1) for b in model.getBodySet()],
            Stated(BIPED_MASS_KG),
            "sessionMetadata.yaml says",
        ),
    ],
)
def test_a_wrong_model_is_judged_as_it_was_given(high_heels, fast, tmp_path, change, stated, sentence):
    model = opensim.Model(str(high_heels.model))
    model.initSystem()
    change(model)
    model.finalizeConnections()
    model.printToXML(str(tmp_path / "wrong.osim"))
    request = replace(high_heels, model=tmp_path / "wrong.osim", stated=stated)
    found = label_and_place(request, replace(fast, residual_reduction=True), [request], lambda step, share: None)
    assert isinstance(found, str) or found["status"] == "gates_failed"
    assert sentence in (found if isinstance(found, str) else found["reason"])


def test_labels_are_made_again_when_the_persons_trials_change(high_heels, fast, tmp_path):
    settings = replace(fast, residual_reduction=True)
    other = tmp_path / "other.mot"
    other.write_bytes(high_heels.motion.read_bytes() + b"\n")
    alone = replace(high_heels, person_trials=(high_heels.motion,))
    two = replace(high_heels, person_trials=(high_heels.motion, other))
    assert alone.fingerprint(settings) != two.fingerprint(settings)
    assert alone.fingerprint(fast) == two.fingerprint(fast)
    assert "residual_reduction" not in fast.as_fingerprint()


def test_the_chair_of_recorded_sit_to_stands_is_found_on_the_corrected_body(shared_data):
    """As on the body before, within 0.02 s (`test_missing_support`): five rises, six stretches on the seat."""
    _, plain, sits = recorded(shared_data, "subject6", "STS1")
    found = reduce_residuals(plain, [sits, recorded(shared_data, "subject6", "squats1")[2]], CONTACT)
    assert found.refused == ""
    corrected, floor = Skeleton(found.adjustment.applied(plain.tables)), Floor(found.ground_m)
    for skeleton, under in ((plain, None), (corrected, floor)):
        state = sits.state(skeleton)
        ground = ground_of(skeleton, state, 1 / 60, under)
        intervals = find_missing_support(
            skeleton, state, sits.tensor(skeleton, sits.qd), sits.q.time, ground, CONTACT
        ).intervals
        assert [i.where for i in intervals] == [SEAT] * 6
        assert_allclose([i.end_s for i in intervals[:-1]], [0.81, 3.79, 6.44, 9.08, 11.68], atol=0.05)
