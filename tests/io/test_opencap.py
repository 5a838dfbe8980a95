from pathlib import Path

import pytest

from bige_opensim.io.opencap import SessionError, find_sessions

METADATA = "subjectID: s1\nmass_kg: 70.5\nheight_m: 1.8\nopenSimModel: LaiUhlrich2022\n"


def make_session(folder: Path, metadata: str | None = METADATA, files=()) -> Path:
    folder.mkdir(parents=True)
    (folder / "OpenSimData").mkdir()
    if metadata is not None:
        (folder / "sessionMetadata.yaml").write_text(metadata)
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    return folder


MODEL = "OpenSimData/Model/LaiUhlrich2022_scaled.osim"
SQUAT = "OpenSimData/Kinematics/squat.mot"


def only(path: Path):
    (session,) = find_sessions([path])
    return session


def test_the_real_sessions_are_found_with_models_masses_and_trials(shared_data):
    sessions = {session.subject: session for session in find_sessions([shared_data])}
    assert sorted(sessions) == ["phone01", "subject2", "subject5", "subject6"]
    assert {name: session.mass_kg for name, session in sessions.items()} == {
        "phone01": 100.0,
        "subject2": 78.2,
        "subject5": 79.4,
        "subject6": 59.0,
    }
    assert all(session.height_m is None and session.problems == () for session in sessions.values())
    assert sessions["phone01"].model_path.name == "LaiUhlrich2022_scaled.osim"
    assert sessions["subject2"].model_path.name == "LaiArnoldModified2017_contacts_scaled.osim"
    drop_jump, _, squats = sessions["subject5"].trials
    assert (drop_jump.name, drop_jump.session) == ("DJ1", "OpenCapData_subject5")
    assert drop_jump.motion_path.is_file()
    assert drop_jump.forces_path.name == "DJ1_forces.mot"
    assert drop_jump.markers_path.name == "DJ1.trc"
    assert (squats.name, squats.motion_path) == ("squats1", None)
    assert squats.markers_path.is_file()
    assert [trial.name for trial in sessions["subject6"].trials] == [
        "DJ1",
        "STS1",
        "STSAsym1",
        "squats1",
        "squatsAsym1",
        "static1",
        "walking1",
    ]


def test_a_session_alone_and_its_parents_give_the_same_session_once(tmp_path):
    folder = make_session(tmp_path / "a" / "b" / "s1", files=[MODEL, SQUAT])
    alone = find_sessions([folder])
    assert find_sessions([tmp_path]) == alone
    assert find_sessions([tmp_path, folder, str(tmp_path / "a")]) == alone
    assert alone[0].subject == "s1"
    assert alone[0].height_m == 1.8
    assert [trial.name for trial in alone[0].trials] == ["squat"]


def test_sessions_with_the_same_folder_name_get_different_names(tmp_path):
    for site in ("north", "south"):
        make_session(tmp_path / site / "s1", files=[MODEL, SQUAT])
    make_session(tmp_path / "south" / "s2", files=[MODEL, SQUAT])
    sessions = find_sessions([tmp_path])
    assert [session.name for session in sessions] == ["north-s1", "south-s1", "s2"]
    assert sessions[1].trials[0].session == "south-s1"


def test_folders_that_link_to_their_parents_are_walked_once(tmp_path):
    make_session(tmp_path / "data" / "s1", files=[MODEL, SQUAT])
    (tmp_path / "data" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert [session.name for session in find_sessions([tmp_path])] == ["s1"]


def test_the_scaled_model_named_by_the_metadata_is_preferred_and_the_choice_is_told(tmp_path):
    models = [
        "LaiUhlrich2022.osim",
        "LaiUhlrich2022_scaled.osim",
        "A_scaled.osim",
        "LaiUhlrich2022_scaled_contacts.osim",
    ]
    session = only(make_session(tmp_path / "s", files=[SQUAT, *(f"OpenSimData/Model/{model}" for model in models)]))
    assert session.model_path.name == "LaiUhlrich2022_scaled.osim"
    assert "4 models; LaiUhlrich2022_scaled.osim is used" in session.problems[0]


def test_without_metadata_any_scaled_model_precedes_others(tmp_path):
    files = [SQUAT, "OpenSimData/Model/a.osim", "OpenSimData/Model/b_scaled.osim", "OpenSimData/Model/c_scaled.osim"]
    session = only(make_session(tmp_path / "s", None, files))
    assert session.model_path.name == "b_scaled.osim"
    assert session.subject == "s"
    assert session.mass_kg is None
    assert "sessionMetadata.yaml: missing" in session.problems[0]


def test_an_unscaled_model_is_used_with_a_warning(tmp_path):
    session = only(make_session(tmp_path / "s", files=[SQUAT, "OpenSimData/Model/generic.osim"]))
    assert session.model_path.name == "generic.osim"
    assert "check that it is" in session.problems[0]


def test_a_session_without_a_model_says_so_and_keeps_its_trials(tmp_path):
    session = only(make_session(tmp_path / "s", files=[SQUAT]))
    assert session.model_path is None
    assert session.problems == (
        f"{tmp_path / 's/OpenSimData/Model'}: no .osim model; add the subject's scaled model there.",
    )
    assert len(session.trials) == 1


@pytest.mark.parametrize(
    ("metadata", "subject", "mass_kg", "problem"),
    [
        ("subjectID: [1, 2\nmass_kg: 70", "s", None, "cannot be read as YAML"),
        ("just words", "s", None, "there is text"),
        ("- a\n- b", "s", None, "there is a list"),
        ("", "s", None, "there is nothing"),
        ("!!python/object/apply:os.getcwd []", "s", None, "there is a list"),
        ("subjectID: 7\nmass_kg: 70", "7", 70.0, None),
        ("subjectID: null\nmass_kg: null", "s", None, None),
        ("subjectID: p\nmass_kg: '71.5'", "p", 71.5, None),
        ("subjectID: p\nmass_kg: 70,5", "p", None, "mass_kg must be a positive number, it is '70,5'"),
        ("subjectID: p\nmass_kg: -3", "p", None, "mass_kg must be a positive number, it is '-3'"),
        ("subjectID: p\nmass_kg: .nan", "p", None, "mass_kg must be a positive number"),
        ("subjectID: p\nmass_kg: true", "p", None, "mass_kg must be a positive number"),
        ("\ufeffsubjectID: p\nmass_kg: 60", "p", 60.0, None),
    ],
)
def test_broken_metadata_is_a_sentence_and_never_an_exception(tmp_path, metadata, subject, mass_kg, problem):
    session = only(make_session(tmp_path / "s", metadata, files=[MODEL, SQUAT]))
    assert (session.subject, session.mass_kg) == (subject, mass_kg)
    assert session.model_path is not None
    if problem is None:
        assert session.problems == ()
    else:
        assert problem in session.problems[0]
        assert len(session.problems[0].splitlines()) == 1


def test_metadata_in_another_encoding_is_a_sentence(tmp_path):
    folder = make_session(tmp_path / "s", files=[MODEL, SQUAT])
    (folder / "sessionMetadata.yaml").write_bytes("subjectID: Jörg".encode("latin-1"))
    assert "cannot be read as YAML" in only(folder).problems[0]


def test_trials_are_the_union_of_coordinates_and_markers_and_hidden_files_are_none(tmp_path):
    files = [
        MODEL,
        SQUAT,
        "OpenSimData/Kinematics/.squat.mot.part",
        "OpenSimData/Kinematics/._squat.mot",
        "OpenSimData/Kinematics/notes.txt",
        "MarkerData/squat.TRC",
        "MarkerData/jump.trc",
        "ForceData/squat_forces.mot",
        "ForceData/lost_forces.mot",
        "ForceData/readme.mot",
    ]
    session = only(make_session(tmp_path / "s", files=files))
    jump, squat = session.trials
    assert (jump.name, jump.motion_path, jump.forces_path) == ("jump", None, None)
    assert squat.markers_path.name == "squat.TRC"
    assert squat.forces_path.name == "squat_forces.mot"
    assert len(session.problems) == 1
    assert "lost_forces.mot: forces of a trial without" in session.problems[0]


def test_a_session_without_trials_says_what_was_expected(tmp_path):
    session = only(make_session(tmp_path / "s", files=[MODEL]))
    assert session.trials == ()
    assert "no trials; OpenSimData/Kinematics/*.mot or MarkerData/*.trc were expected" in session.problems[0]


def test_paths_without_a_session_are_refused(tmp_path):
    with pytest.raises(SessionError, match="no OpenCap session at or below it"):
        find_sessions([tmp_path])
    with pytest.raises(SessionError, match="not a folder"):
        find_sessions([tmp_path / "absent"])
    assert find_sessions([]) == []


def test_the_metadata_declare_what_carries_besides_the_feet(tmp_path):
    said = only(
        make_session(tmp_path / "s", METADATA + "chair: 0.45\nhands: knees\ncalves: true\n", files=[MODEL, SQUAT])
    )
    assert (said.chair, said.hands, said.calves) == ("0.45", "knees", True)
    plain = only(make_session(tmp_path / "p", files=[MODEL, SQUAT]))
    assert (plain.chair, plain.hands, plain.calves) == (None, None, False)
