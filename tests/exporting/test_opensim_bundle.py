"""Bundles for the OpenSim GUI: its own calls read them, and their setups give the same numbers, wherever they lie."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import opensim
import pytest
from gui_import import check_import, column, imported, labels, largest_activation
from numpy.testing import assert_allclose
from predicted_motions import generated_folder
from small_models import squat, write_squat

import bige_opensim as bige
from bige_opensim.io.external_loads import read_external_loads
from bige_opensim.io.partial_folders import OutFolderError
from bige_opensim.io.storage import StorageTable, read_storage
from bige_opensim.labelling.label import Label
from bige_opensim.settings import SettingError
from bige_opensim.viewer.sources import ViewError

SO_MODEL = "model_static_optimization.osim"


def moved(bundle: Path, elsewhere: Path) -> Path:
    """A copy alone in another place, as one that was mailed."""
    return shutil.copytree(bundle, elsewhere / "mailed")


def run(place: Path, setup: str, result: str) -> StorageTable:
    assert opensim.AnalyzeTool(str(place / setup)).run()
    return read_storage(place / result)


def knee_force(place: Path) -> np.ndarray:
    """Vertical force of the right thigh on the shank, N."""
    loads = run(place, "setup_joint_reaction.xml", "joint_loads_JointReaction_ReactionLoads.sto")
    (name,) = (n for n in loads.names if n.startswith("knee_angle_r_on_") and n.endswith("_fy"))
    return loads.values[:, loads.names.index(name)]


def test_opensims_label_runs_again_to_the_same_activations_and_carries_the_body(small_model: Path, tmp_path: Path):
    label = bige.label(squat(small_model), model=small_model, solver="opensim", end=0.2)
    done = bige.export(label, "opensim", tmp_path / "bundle")
    place = moved(done.folder / label.trial, tmp_path)
    again = run(place, "setup_static_optimization.xml", "static_optimization_StaticOptimization_activation.sto")
    found = again.values[:, [again.names.index(m) for m in label.activations.columns]]
    assert_allclose(found, label.activations.to_numpy(), atol=1e-6)
    assert found.max() > 0.05
    knee = knee_force(place)
    weight = 9.80665 * label.record["mass_kg"]
    assert (knee < -0.2 * weight).all(), "the thigh presses on the shank"


@pytest.mark.parametrize("saved", [False, True], ids=["in memory", "from its folder"])
def test_a_bundle_opens_by_the_guis_calls_and_lacks_nothing(label: Label, saved: bool, tmp_path: Path):
    source = label.save(tmp_path / "labels" / "s1" / "squat") if saved else label
    done = bige.export(source, "opensim", tmp_path / "bundle")
    place = moved(done.folder / done.motions[0], tmp_path)
    check_import(place / SO_MODEL, place)
    loads = read_external_loads(place / "external_loads.xml")
    assert {force.applied_to_body for force in loads.forces} == {"calcn_r", "calcn_l"}
    for setup in place.glob("setup_*.xml"):
        assert f"<model_file>{SO_MODEL}</model_file>" in setup.read_text(encoding="utf-8")
    guide = (place / "README.txt").read_text(encoding="utf-8")
    named = set(re.findall(r"\w+\.(?:osim|sto|xml)", guide))
    assert len(named) >= 5
    assert all((place / name).is_file() for name in named)


def test_files_of_a_label_are_copied_as_they_are(label: Label, tmp_path: Path):
    """Their hashes stand in certificates."""
    folder = label.save(tmp_path / "label")
    place = bige.export(folder, "opensim", tmp_path / "bundle").folder / label.trial
    for path in folder.iterdir():
        if path.name != "setup_static_optimization.xml":
            assert (place / path.name).read_bytes() == path.read_bytes()


def test_a_label_of_a_session_gets_the_model_that_lies_one_folder_up(label: Label, tmp_path: Path):
    folder = label.save(tmp_path / "s1" / "squat")
    (folder / SO_MODEL).replace(folder.parent / SO_MODEL)
    setup = folder / "setup_static_optimization.xml"
    setup.write_text(setup.read_text().replace(f">{SO_MODEL}<", f">../{SO_MODEL}<"), encoding="utf-8")
    place = moved(bige.export(folder, "opensim", tmp_path / "bundle").folder / label.trial, tmp_path)
    assert (place / SO_MODEL).read_bytes() == label.model
    assert f"<model_file>{SO_MODEL}</model_file>" in (place / setup.name).read_text(encoding="utf-8")


def test_a_generated_motion_that_nobody_simulated_opens_with_what_was_predicted(small_model: Path, tmp_path: Path):
    done = bige.export(generated_folder(small_model, tmp_path / "motions"), "opensim", tmp_path / "bundle")
    place = done.folder / "motion_01"
    model, _, states = imported(place / "model.osim", place / "states.sto")
    assert largest_activation(model, states, place / "states.sto") > 0.9
    for file in ("states.sto", "coordinates.mot"):
        model, _, pose = imported(place / "model.osim", place / file)
        knee = np.rad2deg(column(pose, "/jointset/knee_angle_r/knee_angle_r/value"))
        recorded = read_storage(tmp_path / "motions" / "motion_01.mot")
        assert_allclose(knee, recorded.values[:, recorded.names.index("knee_angle_r")], atol=1e-6)


def test_a_plain_motion_opens_and_the_note_says_what_is_not_known(small_model: Path, tmp_path: Path):
    write_squat(small_model, tmp_path / "squat.mot")
    done = bige.export(tmp_path / "squat.mot", "opensim", tmp_path / "bundle", model=small_model)
    assert "no activations are known" in done.notes[0]
    model, storage, _ = imported(done.folder / "squat" / "model.osim", done.folder / "squat" / "states.sto")
    assert model.getNumCoordinates() > 0
    assert not [name for name in labels(storage) if name.endswith("activation")]


def test_an_export_is_replaced_by_the_next_and_other_folders_are_left_alone(label: Label, tmp_path: Path):
    first = bige.export(label, "csv", tmp_path / "out")
    record = json.loads((first.folder / "export.json").read_text(encoding="utf-8"))
    assert (record["format"], record["motions"][0]["name"]) == ("bige-export-csv/1", label.trial)
    bige.export(label, "bvh", tmp_path / "out")
    assert {p.suffix for p in (tmp_path / "out").iterdir()} == {".bvh", ".json"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(OutFolderError, match=r"export\.json"):
        bige.export(label, "csv", tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_names_from_files_never_leave_the_folder(label: Label, tmp_path: Path):
    evil = Label({**label.record, "trial": "../../a b/..\\<c>"}, label.channels, label.joints, label.rotational, None)
    done = bige.export([evil, evil], "csv", tmp_path / "deep" / "down" / "out", model=_model(label, tmp_path))
    assert done.motions == ("a_b/c", "a_b/c_2")
    done = bige.export(evil, "bvh", tmp_path / "deep" / "down" / "out", model=_model(label, tmp_path))
    assert {p.name for p in tmp_path.rglob("*.bvh")} == {"c.bvh"}
    assert all(done.folder in path.parents for path in tmp_path.rglob("*.bvh"))


def _model(label: Label, folder: Path) -> Path:
    path = folder / "model.osim"
    assert label.model is not None
    path.write_bytes(label.model)
    return path


def test_a_format_that_is_none_names_those_that_are(label: Label, tmp_path: Path, unchecked_shapes: None):
    with pytest.raises(SettingError, match="opensim, csv, c3d, bvh, mjcf"):
        bige.export(label, "cvs", tmp_path / "out")  # type: ignore[arg-type]


def test_nothing_to_export_is_a_sentence(tmp_path: Path):
    with pytest.raises(ViewError, match="nothing to export"):
        bige.export([], "csv", tmp_path / "out")
