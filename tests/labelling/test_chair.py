"""A declared chair carries who sits on it, is found where the pelvis rests, and acts in OpenSim's own run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from recordings import recorded
from small_models import biped

from bige_opensim.io.external_loads import read_external_loads
from bige_opensim.io.storage import read_storage, write_coordinates
from bige_opensim.labelling.chair import ChairError, check_chair, declared_chair, find_chair
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_task import label_and_place
from bige_opensim.labelling.label_trial import label_into_folder
from bige_opensim.labelling.missing_support import find_missing_support
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import load
from bige_opensim.physics.contact import ContactSettings, ground_height
from bige_opensim.physics.seat import Seat
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.settings import SettingError

CONTACT = ContactSettings()


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory) -> Skeleton:
    return Skeleton(compile_skeleton(biped(tmp_path_factory.mktemp("model") / "biped.osim"), cache=False))


def sitting(skeleton: Skeleton, seconds: float = 1.0) -> Prepared:
    """The biped at rest with bent hips and knees, feet flat at height 0."""
    values = np.zeros(len(skeleton.coordinates))
    for side in "rl":
        values[skeleton.index(f"hip_flexion_{side}")] = 1.4
        values[skeleton.index(f"knee_angle_{side}")] = 1.4
    heel = skeleton(torch.as_tensor(values)).position[skeleton.bodies.index("calcn_r")].numpy()
    values[skeleton.index("pelvis_tx")] -= heel[0]
    values[skeleton.index("pelvis_ty")] += 0.042 - heel[1]
    frames = round(30 * seconds) + 1
    q = Motion(np.arange(frames) / 30.0, np.tile(values, (frames, 1)), skeleton.coordinates)
    return Prepared.of(q, (0.0, ""), ())


def lacking(skeleton: Skeleton, w: Prepared, seat: Seat | None = None):
    qd = w.tensor(skeleton, w.qd)
    return find_missing_support(
        skeleton, w.state(skeleton), qd, w.q.time, 0.0, CONTACT, others=[] if seat is None else [seat]
    )


def lowest(skeleton: Skeleton, w: Prepared) -> np.ndarray:
    seat = Seat.under(skeleton, 0.0, (0.0, 0.0))
    assert seat is not None
    under = [k for k, b in enumerate(seat.body) if b == 0]
    return seat.points(skeleton, w.state(skeleton)).numpy()[:, under, 1].min(axis=1)


def test_the_chair_is_found_where_the_pelvis_rests_and_nothing_is_missing_on_it(skeleton):
    w = sitting(skeleton)
    chair, notes = find_chair(skeleton, w, 0.0, lacking(skeleton, w), "auto")
    assert notes == ()
    assert chair is not None
    assert chair.height_m == pytest.approx(lowest(skeleton, w)[0], abs=1e-9)
    assert lacking(skeleton, w, chair.seat).intervals == ()
    elsewhere = replace(chair.seat, place=(chair.seat.place[0] - 1.0, chair.seat.place[1]))
    assert lacking(skeleton, w, elsewhere).intervals != ()


def test_a_declared_height_is_taken_where_the_pelvis_rests_near_it_and_refused_elsewhere(skeleton):
    w = sitting(skeleton)
    rests = float(lowest(skeleton, w)[0])
    chair, _ = find_chair(skeleton, w, 0.0, lacking(skeleton, w), f"{rests + 0.02:.3f}")
    assert chair is not None
    assert chair.height_m == pytest.approx(rests + 0.02, abs=1e-3)
    with pytest.raises(ChairError, match="the pelvis rests at"):
        find_chair(skeleton, w, 0.0, lacking(skeleton, w), f"{rests + 0.2:.3f}")


def test_who_stands_uses_no_chair(skeleton):
    w = sitting(skeleton)
    upright = np.where(np.isclose(w.q.values, 1.4), 0.0, w.q.values)
    upright[:, w.q.index("pelvis_ty")] = 0.84
    upright[:, w.q.index("pelvis_tx")] = 0.0
    stands = w.moved(w.q.with_values(upright))
    chair, notes = find_chair(skeleton, stands, 0.0, lacking(skeleton, stands), "auto")
    assert chair is None
    assert notes == ("Nobody rests on the declared chair: the feet carry this trial alone.",)


def test_a_session_declares_its_chair_unless_the_command_does(request_of, fast):
    assert declared_chair("s1", None, "auto") == "auto"
    assert declared_chair("s1", "0.45", "auto") == "0.45"
    with pytest.raises(ChairError, match=r"sessionMetadata.yaml of s1: chair = '-0.2'"):
        declared_chair("s1", None, "-0.2")
    plain, seated = request_of(), request_of(chair="auto")
    assert plain.fingerprint(fast) != seated.fingerprint(fast)


@pytest.mark.parametrize("height", ["-0.2", "0", "3", "high", "nan"])
def test_a_chair_through_the_floor_or_the_ceiling_is_no_setting(height):
    with pytest.raises(SettingError, match=r"from 0\.1 to 1\.2 m"):
        check_chair(height)


@pytest.mark.parametrize("solver", ["fast", "opensim"])
def test_a_sitter_passes_on_the_chair_and_opensim_applies_its_force(request_of, fast, tmp_path, solver):
    request = request_of()
    skeleton = Skeleton(compile_skeleton(request.model, cache=False))
    w = sitting(skeleton, 0.6)
    motion = tmp_path / "sits.mot"
    write_coordinates(motion, w.q, rotational=load(request.model).rotational)
    request = replace(request, motion=motion)
    settings = replace(fast, solver=solver, cutoff_hz=0.0)
    label, _ = label_into_folder(request, replace(settings, chair="auto"))
    assert not [g for n, g in label.gates.items() if n.startswith("residual") and not g.passed]
    assert label.record["missing_support"] == []
    forces = read_storage(request.out / "grf.mot")
    total = forces.values[:, [n.endswith("_vy") for n in forces.names]].sum(axis=1)
    assert_allclose(total, float(skeleton.weight_n), rtol=0.01)
    seat = forces.values[:, [n.startswith("support_force_") and n.endswith("_vy") for n in forces.names]]
    assert seat.sum(axis=1).min() > 0.3 * float(skeleton.weight_n)
    applied = {f.applied_to_body for f in read_external_loads(request.out / "external_loads.xml").forces}
    assert applied == {"calcn_r", "calcn_l", "pelvis", "femur_r", "femur_l"}


def test_a_wrong_height_is_one_message(request_of, fast, tmp_path):
    request = request_of()
    skeleton = Skeleton(compile_skeleton(request.model, cache=False))
    motion = tmp_path / "sits.mot"
    write_coordinates(motion, sitting(skeleton, 0.6).q, rotational=load(request.model).rotational)
    request = replace(request, motion=motion)
    said = label_and_place(request, replace(fast, chair="1.1"), [request], lambda step, share: None)
    assert isinstance(said, str)
    assert said.count("\n") == 0
    assert "1.10 m high" in said


@pytest.mark.parametrize("trial", ["STS1", "STSAsym1"])
def test_the_chair_of_recorded_sit_to_stands_carries_until_the_seat_is_left(shared_data, trial):
    _, skeleton, w = recorded(shared_data, "subject6", trial)
    state, qd = w.state(skeleton), w.tensor(skeleton, w.qd)
    ground = ground_height(skeleton.contact_points(state.poses))
    before = find_missing_support(skeleton, state, qd, w.q.time, ground, CONTACT)
    chair, _ = find_chair(skeleton, w, ground, before, "auto")
    assert chair is not None
    height = w.q["pelvis_ty"]
    seated = height < height.min() + 0.03
    assert chair.height_m == pytest.approx(np.median(lowest(skeleton, w)[seated]) - ground, abs=0.03)
    assert find_missing_support(skeleton, state, qd, w.q.time, ground, CONTACT, others=[chair.seat]).intervals == ()
