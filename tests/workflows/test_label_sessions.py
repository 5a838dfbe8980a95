"""Many trials through the front door: the engine of the command, and results that are read when they are asked for."""

import pytest
from front_door import small_session
from pandas.testing import assert_frame_equal

import bige_opensim as bige
from bige_opensim.cli import app
from bige_opensim.io.opencap import SessionError

FAST = {"solver": "fast", "geometry": "exact", "audit": 0.0}


@pytest.fixture(scope="module")
def session(tmp_path_factory, own_cache):
    folder = small_session(tmp_path_factory.mktemp("data") / "session", frames=30)
    (folder / "OpenSimData/Kinematics/broken.mot").write_text("nothing", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def labels(session, tmp_path_factory):
    return bige.label_sessions(session, out=tmp_path_factory.mktemp("out") / "labels", jobs=1, **FAST)


def test_a_trial_that_cannot_be_labelled_costs_only_itself_and_says_why(labels):
    assert [label.trial for label in labels] == ["squat1", "squat2"]
    assert (len(labels), labels[-1].trial, [one.trial for one in labels[:1]]) == (2, "squat2", ["squat1"])
    assert [(o.trial, o.status) for o in labels.failed] == [("broken", "failed")]
    assert "broken.mot" in labels.failed[0].reason
    table = labels.to_frame()
    assert table.loc[("session", "squat1"), "status"] == "passed"
    assert list(table.index.get_level_values("trial")) == ["broken", "squat1", "squat2"]


def test_the_command_and_the_function_are_one_engine(session, labels, capsys):
    """What the function made, the command finds done, from the same files and settings."""
    words = ["label", session, "--out", labels.folder, "--solver", "fast", "--geometry", "exact", "--audit", "0"]
    assert app([str(w) for w in (*words, "--jobs", "1")], result_action="return_value") == 0
    printed = capsys.readouterr().out
    assert printed.count("passed (labelled before)") == 2
    assert "2 passed, 1 failed" in printed


def test_costs_other_than_opensims_are_the_same_in_memory_in_folders_and_for_the_command(session, tmp_path, capsys):
    cost = {"exponent": 3.0, "weights": {"soleus_*": 4.0}, "volume_weighted": True, "passive": True}
    kinematics, model = session / "OpenSimData/Kinematics", next(session.rglob("*.osim"))
    one = bige.label(kinematics / "squat1.mot", model=model, **FAST, **cost)
    usual = bige.label(kinematics / "squat1.mot", model=model, **FAST)
    assert one.record["cost"] == cost
    assert (one.activations - usual.activations).abs().to_numpy().max() > 0.02
    labels = bige.label_sessions(session, out=tmp_path / "labels", jobs=1, **FAST, **cost)
    assert_frame_equal(labels[0].activations, one.activations, atol=1e-6)
    words = ["label", session, "--out", tmp_path / "labels", "--solver", "fast", "--geometry", "exact", "--audit", "0"]
    words += ["--exponent", "3", "--weight", "soleus_*=4", "--volume-weighted", "--passive", "--jobs", "1"]
    app([str(w) for w in words], result_action="return_value")
    assert capsys.readouterr().out.count("(labelled before)") == 2


def test_folders_without_sessions_are_refused(tmp_path):
    with pytest.raises(SessionError, match=str(tmp_path)):
        bige.label_sessions(tmp_path, out=tmp_path / "labels")
