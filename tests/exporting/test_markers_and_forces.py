"""C3D files: markers and forces come back as OpenSim has them, by this package's reader and by ezc3d's own filter."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose
from recordings import MODELS, motion_path

import bige_opensim as bige
from bige_opensim.exporting.selection import Person, poses_of
from bige_opensim.io.c3d import C3dError, read_c3d
from bige_opensim.io.c3d_writer import LAB_FROM_OPENSIM, write_c3d
from bige_opensim.labelling.label import Label
from bige_opensim.osim.compile_markers import marker_places
from bige_opensim.osim.model import load

pytest.importorskip("ezc3d", reason="C3D files are written by ezc3d, which is not installed")

PLATES = """
import json, sys
import ezc3d
found = ezc3d.c3d(sys.argv[1], extract_forceplat_data=True)["data"]["platform"]
print(json.dumps([{k: p[k].tolist() for k in ("force", "center_of_pressure", "Tz")} for p in found]))
"""


def plates(path: Path) -> list[dict[str, np.ndarray]]:
    """Forces of the plates as ezc3d's filter has them: N, mm, N mm, in the laboratory."""
    done = subprocess.run([sys.executable, "-c", PLATES, str(path)], capture_output=True, text=True, check=True)
    return [{k: np.array(v) for k, v in plate.items()} for plate in json.loads(done.stdout)]


def with_markers(source: Path, target: Path) -> Path:
    model = opensim.Model(str(source))
    for name, body, place in (("RASI", "pelvis", (0.02, 0.03, 0.13)), ("RHEE", "calcn_r", (-0.02, 0.02, 0.0))):
        model.addMarker(opensim.Marker(name, model.getBodySet().get(body), opensim.Vec3(*place)))
    model.finalizeConnections()
    model.printToXML(str(target))
    return target


def test_plates_give_back_the_ground_forces_their_points_and_their_free_torques(label: Label, tmp_path: Path):
    done = bige.export(label, "c3d", tmp_path / "c3d")
    path = done.folder / f"{label.trial}.c3d"
    ground = label.ground_forces
    found = plates(path)
    assert len(found) == 2
    for side, plate in zip("rl", found, strict=True):
        force, point, torque = (
            ground[[name.format(side, a) for a in "xyz"]].to_numpy() @ LAB_FROM_OPENSIM.T
            for name in ("ground_force_{}_v{}", "ground_force_{}_p{}", "ground_torque_{}_{}")
        )
        assert force[:, 2].max() > 100.0, "the person stands on both feet"
        assert_allclose(plate["force"].T, force, atol=1e-2)
        carries = force[:, 2] > 20.0
        assert_allclose(plate["center_of_pressure"].T[carries] / 1000.0, point[carries], atol=1e-4)
        assert_allclose(plate["Tz"].T[carries][:, 2] / 1000.0, torque[carries][:, 2], atol=1e-2)


def test_points_and_times_are_read_back_in_opensims_axes(label: Label, small_model: Path, tmp_path: Path):
    done = bige.export(label, "c3d", tmp_path / "c3d")
    assert "no markers" in done.notes[0]
    found = read_c3d(done.folder / f"{label.trial}.c3d")
    assert_allclose(found.time, label.activations.index, atol=1e-3)
    skeleton = Person.of(small_model).skeleton
    q = label.channels.coordinates.select(skeleton.coordinates).values
    at = [skeleton.bodies.index(name) for name in found.names]
    assert_allclose(found.positions, poses_of(skeleton, q).position[:, at].numpy(), atol=1e-5)


def test_markers_are_where_opensim_has_them(label: Label, small_model: Path, tmp_path: Path):
    path = with_markers(small_model, tmp_path / "marked.osim")
    done = bige.export(label, "c3d", tmp_path / "c3d", model=path)
    found = read_c3d(done.folder / f"{label.trial}.c3d")
    assert set(found.names) == {"RASI", "RHEE"}
    model = load(path)
    for t in (0, 20, 40):
        model.set_pose(model.state, label.coordinates.iloc[t].to_dict())
        model.model.realizePosition(model.state)
        for name in found.names:
            expected = model.model.getMarkerSet().get(name).getLocationInGround(model.state).to_numpy()
            assert_allclose(found.positions[t, found.names.index(name)], expected, atol=1e-5)


def test_markers_of_a_recording_are_where_opensim_has_them(shared_data: Path, tmp_path: Path):
    path = shared_data / MODELS["subject2"]
    motion = motion_path(shared_data, "subject2", "squats1")
    done = bige.export(motion, "c3d", tmp_path / "c3d", model=path)
    assert "no force plates" in " ".join(done.notes)
    found = read_c3d(done.folder / "squats1.c3d")
    model = load(path)
    places = marker_places(model, Person.of(path).skeleton.bodies)
    assert found.names == places.names
    recorded = bige.read_motion(motion, model=path)
    t = recorded.frames // 2
    model.set_pose(model.state, dict(zip(recorded.names, recorded.values[t], strict=True)))
    model.model.realizePosition(model.state)
    at = int(np.argmin(np.abs(found.time - recorded.time[t])))
    expected = [model.model.getMarkerSet().get(n).getLocationInGround(model.state).to_numpy() for n in found.names]
    assert_allclose(found.positions[at], expected, atol=1e-4)


def test_without_ezc3d_a_sentence_says_how_to_get_it_and_nothing_is_left(
    label: Label, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("bige_opensim.io.c3d_writer.find_spec", lambda name: None)
    with pytest.raises(C3dError, match=r"bige_opensim\[c3d\]"):
        bige.export(label, "c3d", tmp_path / "c3d")
    assert not list(tmp_path.iterdir())


def test_a_trial_that_starts_late_keeps_its_clock(tmp_path: Path):
    points = np.random.default_rng(0).uniform(0.0, 1.0, (10, 2, 3))
    write_c3d(tmp_path / "late.c3d", points, ["a", "b"], rate_hz=100.0, first_frame=250)
    assert_allclose(read_c3d(tmp_path / "late.c3d").time, 2.5 + np.arange(10) / 100.0, atol=1e-6)
