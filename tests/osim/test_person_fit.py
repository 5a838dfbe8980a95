from pathlib import Path

import numpy as np
import opensim
import pytest
import small_models

from bige_opensim.io.trc import Markers, read_trc
from bige_opensim.io.ui_prmd import CLUSTERS, UiPrmdError, find_clips, generic_places, read_clip
from bige_opensim.osim.inverse_kinematics import inverse_kinematics, marker_names
from bige_opensim.osim.model import OsimModel, load
from bige_opensim.osim.person_fit import GROUPS, add_markers, fit_person, scaled
from bige_opensim.sessions.marker_trials import FAILED, KEPT, SOLVED
from bige_opensim.sessions.ui_prmd_sessions import make_sessions, people, stature

TRUE = {"pelvis_depth": 1.06, "pelvis_width": 0.95, "thigh": 1.08, "shank": 0.96, "foot": 1.03}
PLACES = {
    f"{body}{k}": (body, place)
    for body in ("pelvis", "femur_r", "tibia_r", "calcn_r", "femur_l", "tibia_l", "calcn_l")
    for k, place in enumerate(((0.05, 0.02, 0.06), (-0.08, -0.15, 0.03), (0.12, -0.3, -0.05), (0.0, 0.1, -0.08)))
}


@pytest.fixture(scope="module")
def generic(tmp_path_factory) -> OsimModel:
    path = small_models.biped(tmp_path_factory.mktemp("person") / "biped.osim", muscles=False)
    return add_markers(load(path), PLACES)


def recorded(model: OsimModel, frames: int = 8) -> Markers:
    """Markers of a model in a squat, by OpenSim."""
    motion = small_models.squat(model.path, frames=frames)
    state = model.model.initSystem()
    names, positions = marker_names(model), []
    for values in motion.values:
        model.set_pose(state, dict(zip(motion.names, values, strict=True)))
        model.model.realizePosition(state)
        positions.append([model.model.getMarkerSet().get(n).getLocationInGround(state).to_numpy() for n in names])
    return Markers(motion.time, np.array(positions), names, 60.0)


def test_scaling_moves_joints_and_markers_by_the_factors(generic: OsimModel):
    model = scaled(generic, dict.fromkeys(GROUPS, 1.0) | TRUE, {"femur_r0": np.array([0.01, 0.0, 0.0])}, 81.0)
    assert model.mass_kg == pytest.approx(81.0)
    marker = model.model.getMarkerSet().get("femur_r0").get_location().to_numpy()
    np.testing.assert_allclose(marker, np.array([0.05, 0.02, 0.06]) * 1.08 + [0.01, 0, 0])
    state = model.model.initSystem()
    model.model.realizePosition(state)
    knee = (
        model.model.getBodySet()
        .get("tibia_r")
        .findStationLocationInAnotherFrame(state, opensim.Vec3(0), model.model.getBodySet().get("femur_r"))
    )
    np.testing.assert_allclose(knee.to_numpy(), [0.0, -0.4 * 1.08, 0.0], atol=1e-9)


def test_known_proportions_are_found_again(generic: OsimModel):
    markers = recorded(scaled(generic, dict.fromkeys(GROUPS, 1.0) | TRUE, {}))
    person = fit_person(generic, markers, mass_kg=70.0)
    for group, factor in TRUE.items():
        assert person.scales[group] == pytest.approx(factor, abs=0.03), group
    assert person.fit.rms_m < 0.003
    assert person.fit.rms_m < 0.2 * inverse_kinematics(generic, markers).rms_m


def test_a_marker_put_elsewhere_is_moved_there_and_not_the_bones(generic: OsimModel):
    moved = {"tibia_r1": np.array([0.0, 0.06, 0.03])}
    person = fit_person(generic, recorded(scaled(generic, dict.fromkeys(GROUPS, 1.0), moved)), clusters=("tibia_r1",))
    assert person.moved_m["tibia_r1"] == pytest.approx(np.linalg.norm(moved["tibia_r1"]), abs=0.015)
    assert max(d for name, d in person.moved_m.items() if name != "tibia_r1") < 0.01
    assert person.scales["shank"] == pytest.approx(1.0, abs=0.02)


def test_markers_are_not_added_to_a_body_that_is_not_there(generic: OsimModel):
    with pytest.raises(KeyError, match="torso, which the model lacks"):
        add_markers(generic, {"C7": ("torso", (0.0, 0.0, 0.0))})


def test_a_person_of_the_public_data_is_fitted_within_25_mm(shared_data: Path):
    clips = [c for c in find_clips(shared_data / "data/ui_prmd") if c.subject == "s02"]
    first, other = read_clip(clips[0].path), read_clip(clips[12].path)
    pick = np.linspace(0, len(first.time) - 1, 9).astype(int)
    poses = Markers(first.time[:9], first.positions[pick], first.names, 100.0)
    generic = add_markers(load(shared_data / "models/LaiUhlrich2022.osim"), generic_places())
    person = fit_person(generic, poses, clusters=CLUSTERS, rounds=2)
    assert all(0.85 < factor < 1.2 for factor in person.scales.values())
    unseen = Markers(other.time[:8], other.positions[40:48], other.names, 100.0)
    assert inverse_kinematics(person.model, unseen).rms_m < 0.025


def test_height_is_between_that_of_small_and_tall_people(shared_data: Path):
    clips = find_clips(shared_data / "data/ui_prmd")
    for subject in sorted({c.subject for c in clips}):
        mine = [read_clip(c.path) for c in clips if c.subject == subject][:3]
        assert 1.5 < stature(mine) < 2.0


def test_faulty_clips_are_named_and_a_person_without_any_fails(tmp_path: Path, shared_data: Path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "m01_s01_e01_positions.txt").write_text("1,2,3\n")
    requests = people(find_clips(raw), shared_data / "models/LaiUhlrich2022.osim", tmp_path / "out")
    (outcome,) = make_sessions(requests, jobs=1)
    assert outcome.status == FAILED
    assert "m01_s01_e01_positions.txt" in outcome.reason
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_sessions_of_two_people_hold_model_markers_and_metadata(tmp_path: Path, shared_data: Path):
    clips = [c for c in find_clips(shared_data / "data/ui_prmd") if c.subject in ("s02", "s05") and c.episode < "e03"]
    requests = people(clips, shared_data / "models/LaiUhlrich2022.osim", tmp_path)
    assert [o.status for o in make_sessions(requests, jobs=1)] == [SOLVED, SOLVED]
    assert [o.status for o in make_sessions(requests, jobs=1)] == [KEPT, KEPT]
    for request in requests:
        assert len(list((request.folder / "MarkerData").glob("*.trc"))) == 4
        assert "estimated" in (request.folder / "sessionMetadata.yaml").read_text()
        (model,) = (request.folder / "OpenSimData/Model").glob("*.osim")
        first = read_trc(next(iter(sorted((request.folder / "MarkerData").glob("*.trc")))))
        fit = inverse_kinematics(load(model), first.between(0.0, 0.1))
        assert fit.rms_m < 0.025


def test_stature_needs_the_neck(tmp_path: Path):
    m = Markers(np.arange(2) / 100, np.full((2, 3, 3), np.nan), ("C7", "LHEE", "RHEE"), 100.0, path=tmp_path / "a")
    with pytest.raises(UiPrmdError, match="C7"):
        stature([m])
