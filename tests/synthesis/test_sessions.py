"""Sessions of synthetic people read like recordings and say everywhere that they are none."""

import json

import numpy as np
import pytest
import yaml
from front_door import run_script

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.io.opencap import find_sessions
from bige_opensim.io.storage import read_coordinates
from bige_opensim.labelling.label_trial import label_trial
from bige_opensim.labelling.request import LabelSettings, TrialRequest
from bige_opensim.motion import Motion
from bige_opensim.osim.anthropometric_scaling import standing_height
from bige_opensim.osim.model import ModelError, load
from bige_opensim.synthesis.sessions import (
    KEPT,
    MADE,
    RECORD,
    CohortSettings,
    SynthesisError,
    make_cohort,
    make_person,
    with_noise,
)

SETTINGS = CohortSettings(subjects=1, repetitions=1, seed=4)


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """One person with one squat."""
    folder = tmp_path_factory.mktemp("cohort") / "synth_001"
    made = make_person(folder, 0, built_in(MODEL), SETTINGS)
    assert made.status == MADE
    return folder, made.record


def test_a_person_reads_like_an_opencap_session(person):
    (session,) = find_sessions([person[0]])
    assert session.problems == ()
    assert session.subject == "synth_001"
    assert session.mass_kg == person[1]["person"]["mass_kg"]
    assert [t.name for t in session.trials] == ["squats1"]


def test_the_body_has_the_height_and_mass_drawn(person):
    folder, record = person
    model = load(next((folder / "OpenSimData/Model").glob("*.osim")))
    assert model.mass_kg == pytest.approx(record["person"]["mass_kg"], abs=1e-6)
    assert standing_height(model.model, model.path) == pytest.approx(record["person"]["height_m"], abs=1e-6)


def test_everything_says_that_it_is_synthetic(person):
    folder, _ = person
    assert yaml.safe_load((folder / "sessionMetadata.yaml").read_text(encoding="utf-8"))["synthetic"] is True
    assert json.loads((folder / RECORD).read_text(encoding="utf-8"))["synthetic"] is True
    first = (folder / "OpenSimData/Kinematics/squats1.mot").read_text(encoding="utf-8").splitlines()[0]
    assert "synthetic person, not a recording" in first
    assert find_sessions([folder])[0].synthetic


def test_the_label_of_a_synthetic_motion_says_so_and_passes_the_gates(person, tmp_path):
    folder, _ = person
    (session,) = find_sessions([folder])
    request = TrialRequest(
        model=session.model_path,
        motion=session.trials[0].motion_path,
        out=tmp_path / "label",
        model_folder=tmp_path,
        session=session.name,
        subject=session.subject,
        trial="squats1",
        synthetic=session.synthetic,
    )
    label = label_trial(request, LabelSettings(solver="fast", audit=0.0))
    assert label["synthetic"] is True
    assert label["status"] == "passed", label["reason"]
    assert 0.05 < label["peaks"]["vasmed_r"] < 0.95


def test_people_made_before_are_kept_and_others_made_anew(person):
    folder, _ = person
    before = (folder / RECORD).stat().st_mtime_ns
    assert make_person(folder, 0, built_in(MODEL), SETTINGS).status == KEPT
    assert (folder / RECORD).stat().st_mtime_ns == before


def test_the_same_seed_makes_the_same_person_whatever_the_size_of_the_cohort(person, tmp_path):
    larger = CohortSettings(subjects=30, repetitions=1, seed=4)
    make_person(tmp_path / "synth_001", 0, built_in(MODEL), larger)
    same = "OpenSimData/Kinematics/squats1.mot"
    assert (tmp_path / "synth_001" / same).read_bytes() == (person[0] / same).read_bytes()
    make_person(tmp_path / "other", 0, built_in(MODEL), CohortSettings(subjects=1, repetitions=1, seed=5))
    assert (tmp_path / "other" / same).read_bytes() != (person[0] / same).read_bytes()


WITHOUT_A_MAIN_GUARD = """
from pathlib import Path
with open("times_run.txt", "a") as file:
    file.write("run\\n")
from bige_opensim.built_in import MODEL, built_in
from bige_opensim.synthesis.sessions import CohortSettings, make_cohort
for made in make_cohort(Path("cohort"), built_in(MODEL), CohortSettings(2, 1), jobs=2):
    print(made.name, made.status)
"""


def test_a_script_without_a_main_guard_makes_a_cohort_by_several_processes(tmp_path, own_cache):
    lines = run_script(WITHOUT_A_MAIN_GUARD, tmp_path).splitlines()
    assert sorted(lines) == ["synth_001 made", "synth_002 made"]
    assert (tmp_path / "times_run.txt").read_text() == "run\n", "processes must not run the user's script again"
    assert len(find_sessions([tmp_path / "cohort"])) == 2


def test_what_prevents_a_person_in_another_process_is_raised_here(tmp_path):
    (tmp_path / "synth_001").mkdir()
    (tmp_path / "synth_001/notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SynthesisError, match="holds something else than a synthetic person"):
        list(make_cohort(tmp_path, built_in(MODEL), CohortSettings(1, 1)))
    (tmp_path / "broken.osim").write_text("<OpenSimDocument", encoding="utf-8")
    with pytest.raises(ModelError, match="broken"):
        list(make_cohort(tmp_path / "cohort", tmp_path / "broken.osim", CohortSettings(1, 1)))


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "synth_001").mkdir()
    (tmp_path / "synth_001" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SynthesisError, match="holds something else than a synthetic person"):
        make_person(tmp_path / "synth_001", 0, built_in(MODEL), SETTINGS)
    assert (tmp_path / "synth_001" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_noise_has_the_size_asked_for():
    motion = Motion(np.arange(4000) / 60.0, np.zeros((4000, 2)), ("pelvis_tilt", "pelvis_tx"))
    noisy = with_noise(motion, (True, False), 0.5, np.random.default_rng(0))
    assert np.rad2deg(noisy["pelvis_tilt"].std()) == pytest.approx(0.5, rel=0.05)
    assert noisy["pelvis_tx"].std() == pytest.approx(0.001, rel=0.05)
    assert with_noise(motion, (True, False), 0.0, np.random.default_rng(0)) is motion


def test_motions_read_back_in_radians(person):
    folder, record = person
    model = load(next((folder / "OpenSimData/Model").glob("*.osim")))
    known = [c.name for c in model.coordinates]
    found = read_coordinates(
        folder / "OpenSimData/Kinematics/squats1.mot", rotational=model.rotational, known=known
    ).motion
    knee = 0.5 * (found["knee_angle_r"] + found["knee_angle_l"])
    assert knee.max() == pytest.approx(record["squats"][0]["depth"], abs=2e-3)


@pytest.mark.parametrize(
    ("settings", "message"), [((0, 1, 0, 0.0), "--subjects"), ((1, 0, 0, 0.0), "--reps"), ((1, 1, 0, -1.0), "--noise")]
)
def test_impossible_cohorts_are_refused(settings, message):
    with pytest.raises(SynthesisError, match=message):
        CohortSettings(*settings)
