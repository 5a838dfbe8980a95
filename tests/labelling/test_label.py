"""A label in memory: its tables, its folder, its drawing, and labels of earlier versions."""

import json
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from bige_opensim.io.partial_folders import OutFolderError
from bige_opensim.io.storage import read_coordinates, read_storage
from bige_opensim.labelling.label import Label, LabelError
from bige_opensim.labelling.label_trial import label_in_memory, label_trial
from bige_opensim.labelling.request import finished_label
from bige_opensim.motion import Motion
from bige_opensim.osim.model import load

matplotlib.use("Agg")
TABLES = ("activations", "moments", "ground_forces", "coordinates")


@pytest.fixture
def label(request_of, fast) -> Label:
    return label_in_memory(request_of(), fast)


def assert_same_tables(a: Label, b: Label, rtol: float = 0.0) -> None:
    for name in TABLES:
        assert_frame_equal(getattr(a, name), getattr(b, name), check_exact=rtol == 0.0, rtol=rtol or 1e-5, atol=1e-12)


def test_a_label_in_memory_is_what_a_labelled_folder_holds_and_leaves_nothing_behind(request_of, fast, tmp_path):
    request = request_of()
    before = sorted(tmp_path.rglob("*"))
    made = label_in_memory(request, fast)
    assert sorted(tmp_path.rglob("*")) == before
    label_trial(request, fast)
    for table, file in (
        ("activations", "activations.sto"),
        ("moments", "inverse_dynamics.sto"),
        ("ground_forces", "grf.mot"),
    ):
        written = read_storage(request.out / file)
        found = getattr(made, table)
        assert list(found.columns) == list(written.names)
        assert found.index.name == "time"
        assert_array_equal(found.index, written.time)
        assert_array_equal(found.to_numpy(), written.values)
    kept = {k: v for k, v in json.loads((request.out / "label.json").read_text()).items() if k != "timings"}
    mine = json.loads(json.dumps(made.record))
    kept["provenance"].pop("date"), mine["provenance"].pop("date")
    assert kept == {k: v for k, v in mine.items() if k != "timings"}


def test_coordinates_are_in_radians_and_metres(label, request_of):
    request = request_of()
    recorded = read_coordinates(request.motion, rotational=load(request.model).rotational).motion
    assert_allclose(label.coordinates["knee_angle_r"], recorded["knee_angle_r"], atol=0.01)
    assert_allclose(label.coordinates["pelvis_ty"], recorded["pelvis_ty"], atol=0.005)
    assert {"knee_angle_r", "pelvis_tilt"} <= label.rotational
    assert "pelvis_ty" not in label.rotational


def test_a_saved_label_is_a_labelled_folder_that_opensim_repeats(label, request_of, fast, tmp_path):
    folder = label.save(tmp_path / "mine")
    request = request_of()
    label_trial(replace(request, out=tmp_path / "other", model_folder=tmp_path / "other"), fast)
    other = tmp_path / "other"
    assert {p.name for p in folder.iterdir()} == {p.name for p in other.iterdir()}
    for path in folder.iterdir():
        if path.name != "label.json":
            assert path.read_bytes() == (other / path.name).read_bytes(), path.name
    assert finished_label(replace(request, out=folder), fast) is not None, "`bige label` need not make it again"


def test_a_label_is_read_back_as_it_was_and_can_be_saved_elsewhere(label, tmp_path):
    again = Label.load(label.save(tmp_path / "mine"))
    assert_same_tables(again, label, rtol=1e-12)
    assert (again.passed, again.reason, again.trial, again.session) == (True, label.reason, "squat", "s1")
    assert again.gates == label.gates
    assert (again.rotational, dict(again.joints)) == (label.rotational, dict(label.joints))
    third = Label.load(again.save(tmp_path / "third"))
    assert_same_tables(third, again, rtol=1e-12)


def test_labels_of_earlier_versions_are_read(label, tmp_path):
    """They say neither which coordinates turn nor what to do about a gate."""
    folder = label.save(tmp_path / "mine")
    record = json.loads((folder / "label.json").read_text())
    del record["rotational"]
    for gate in record["gates"].values():
        del gate["remedy"]
    (folder / "label.json").write_text(json.dumps(record))
    old = Label.load(folder)
    assert_same_tables(old, label, rtol=1e-12)
    assert old.rotational == label.rotational
    assert {n: (g.value, g.limit, g.passed) for n, g in old.gates.items()} == {
        n: (g.value, g.limit, g.passed) for n, g in label.gates.items()
    }


def test_a_motion_in_memory_is_labelled_like_its_file(label, request_of, fast):
    request = request_of()
    recorded = read_coordinates(request.motion, rotational=load(request.model).rotational).motion
    more = Motion(recorded.time, np.hstack([recorded.values, recorded.values[:, :1]]), (*recorded.names, "emg"))
    other = label_in_memory(replace(request, motion=Path("nowhere"), recorded=more), fast)
    assert_same_tables(other, label)
    assert any("emg" in note for note in other.record["notes"])
    assert other.record["provenance"]["motion_sha256"] == more.sha256


def test_tables_are_the_users_and_not_the_labels(label, tmp_path):
    label.activations.iloc[:] = 7.0
    assert Label.load(label.save(tmp_path / "mine")).activations.to_numpy().max() <= 1.0


def test_other_files_are_not_replaced_and_other_folders_are_no_labels(label, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    with pytest.raises(OutFolderError, match="holds other files"):
        label.save(taken)
    assert [p.name for p in taken.iterdir()] == ["notes.txt"]
    with pytest.raises(LabelError, match=r"no label\.json; name the folder of one labelled trial"):
        Label.load(taken)


def test_a_label_without_its_model_is_not_half_saved(label, tmp_path):
    folder = label.save(tmp_path / "whole")
    (folder / "model_static_optimization.osim").unlink()
    with pytest.raises(LabelError, match="without the model that static optimization ran on"):
        Label.load(folder).save(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_plot_draws_the_columns_with_degrees_on_the_screen(label):
    ax = (
        label.plot(["vasti_r", "vasti_l"])
        if "vasti_r" in label.activations
        else label.plot(list(label.activations)[:2])
    )
    drawn = ax.get_lines()
    assert len(drawn) == 2
    assert_array_equal(drawn[0].get_ydata(), label.activations[drawn[0].get_label()])
    assert ax.get_xlabel() == "time (s)"
    assert label.plot("knee_angle_r", ax=ax) is ax
    assert_allclose(ax.get_lines()[-1].get_ydata(), np.rad2deg(label.coordinates["knee_angle_r"]))


def test_plot_names_what_there_is_and_does_not_mix_units(label):
    with pytest.raises(LabelError, match=r"knee: no such channel\. Muscles: .*moments: pelvis_tilt_moment"):
        label.plot(["knee"])
    with pytest.raises(LabelError, match="share a unit"):
        label.plot(["knee_angle_r", "knee_angle_r_moment"])


def test_a_label_prints_its_verdict(label):
    assert repr(label).startswith(
        "<Label s1/squat: passed. 60 frames from 0.00 to 0.98 s, 14 muscles. all quality gates"
    )
    assert "residual_force" in label._repr_html_()
