"""Generated motions with the verdict that their files bear out, and bones from a folder of geometry."""

from pathlib import Path

import numpy as np
import opensim
import pytest
from predicted_motions import generated_folder
from small_models import body, write

from bige_opensim.osim.meshes import body_meshes
from bige_opensim.viewer.sources import ViewError
from bige_opensim.viewer.take import DrawnPerson
from bige_opensim.workflows.view import takes_of


@pytest.fixture
def generated(small_model: Path, tmp_path: Path) -> Path:
    """A folder as `bige generate` leaves it, with the activations that the search predicted for its motion."""
    return generated_folder(small_model, tmp_path / "motions")


def test_a_motion_that_was_not_simulated_says_so_and_shows_what_was_predicted_over_its_whole_length(generated: Path):
    take = takes_of(generated, 30.0)[0]
    assert (take.title, take.verdict) == ("motion_01", "not simulated, activations as predicted")
    assert take.activations is not None
    np.testing.assert_allclose(take.activations[:, 0], np.linspace(0.01, 0.99, take.frames), atol=0.02)


def test_a_certificate_that_cannot_be_read_confirms_nothing(generated: Path):
    (generated / "motion_01").mkdir()
    (generated / "motion_01" / "certificate.json").write_text('{"confirmed": true}', encoding="utf-8")
    assert takes_of(generated, 30.0)[0].verdict.startswith("contradicted")


TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


def model_with_mesh(path: Path) -> Path:
    model = opensim.Model()
    rod = body(model, "rod")
    mesh = opensim.Mesh("tetrahedron.obj")
    mesh.set_scale_factors(opensim.Vec3(0.1, 0.2, 0.3))
    rod.attachGeometry(mesh)
    lost = opensim.Mesh("lost.obj")
    rod.attachGeometry(lost)
    pin = opensim.PinJoint("pin", model.getGround(), rod)
    pin.updCoordinate().setName("swing")
    model.addJoint(pin)
    return write(model, path)


def test_meshes_of_a_geometry_folder_are_scaled_as_the_model_says(tmp_path: Path):
    model = model_with_mesh(tmp_path / "rod.osim")
    folder = tmp_path / "Geometry"
    folder.mkdir()
    (folder / "tetrahedron.obj").write_text(TETRAHEDRON, encoding="utf-8")
    (found,) = body_meshes(model, [folder])
    assert found.body == "rod"
    np.testing.assert_allclose(np.sort(found.vertices.sum(1)), [0.0, 0.1, 0.2, 0.3])
    assert len(found.faces) == 4
    assert [s.body for s in DrawnPerson.of(model, [folder]).bones] == ["rod"]
    assert body_meshes(model, [tmp_path / "elsewhere"]) == []


def test_a_folder_without_anything_to_see_is_a_sentence(tmp_path: Path):
    with pytest.raises(ViewError, match="found none of these"):
        takes_of(tmp_path, 30.0)
