import numpy as np
import pytest

from bige_opensim.io.external_loads import (
    ExternalForce,
    ExternalLoadsError,
    ground_forces,
    read_external_loads,
    write_external_loads,
    write_ground_forces,
)
from bige_opensim.io.storage import StorageError, read_storage, write_storage

TIME = np.arange(0, 0.5, 0.01)
MASS_KG = 2.0
GRAVITY = 9.80665


def steady(vector):
    return np.tile(np.asarray(vector, dtype=float), (len(TIME), 1))


def one_sided(folder, force, point, torque, body="block"):
    write_ground_forces(folder / "grf.mot", TIME, {"r": (steady(force), steady(point), steady(torque))})
    write_external_loads(folder / "loads.xml", "grf.mot", ground_forces({"r": body}))
    return folder / "loads.xml"


def test_ground_forces_have_the_columns_of_the_labelled_trial(tmp_path):
    rng = np.random.default_rng(0)
    left, right = (tuple(rng.standard_normal((3, len(TIME), 3))) for _ in range(2))
    write_ground_forces(tmp_path / "grf.mot", TIME, {"l": left, "r": right})
    table = read_storage(tmp_path / "grf.mot")
    assert table.names == tuple(
        f"{prefix}{axis}"
        for side in "rl"
        for prefix in (f"ground_force_{side}_v", f"ground_force_{side}_p", f"ground_torque_{side}_")
        for axis in "xyz"
    )
    np.testing.assert_array_equal(table.values, np.concatenate([*right, *left], axis=1))
    assert table.in_degrees is False
    for force in ground_forces({"r": "calcn_r", "l": "calcn_l"}):
        assert set(force.columns()) < set(table.names)


def test_what_is_written_is_read_back_the_same_by_us_and_by_opensim(osim, tmp_path):
    zero = steady([0, 0, 0])
    write_ground_forces(tmp_path / "grf.mot", TIME, {side: (zero, zero, zero) for side in "rl"})
    forces = (
        *ground_forces({"r": "calcn_r", "l": "calcn_l"}),
        ExternalForce("push <&>", "torso", "ground_force_r_v", point_expressed_in_body="torso"),
    )
    path = tmp_path / "loads.xml"
    write_external_loads(path, "grf.mot", forces)
    ours = read_external_loads(path)
    assert ours.forces == forces
    assert ours.datafile == tmp_path / "grf.mot"
    theirs = osim.ExternalLoads(str(path), True)
    assert theirs.getDataFileName() == "grf.mot"
    assert theirs.getSize() == 3
    for index, force in enumerate(forces):
        item = theirs.get(index)
        assert item.getName() == force.name
        assert item.getAppliedToBodyName() == force.applied_to_body
        assert item.getForceExpressedInBodyName() == force.force_expressed_in_body
        assert item.getPointExpressedInBodyName() == force.point_expressed_in_body
        assert item.getForceIdentifier() == force.force_identifier
        assert item.getPointIdentifier() == force.point_identifier
        assert item.getTorqueIdentifier() == force.torque_identifier


def test_inverse_dynamics_of_a_resting_block_feels_the_written_force_point_and_torque(osim, tmp_path):
    force, point, torque = np.array([3.0, 40.0, -5.0]), np.array([0.2, 0.0, -0.1]), np.array([0.0, 7.0, 0.0])
    loads = one_sided(tmp_path, force, point, torque)
    model = osim.Model()
    model.setName("one_block")
    block = osim.Body("block", MASS_KG, osim.Vec3(0), osim.Inertia(1, 1, 1))
    model.addBody(block)
    model.addJoint(osim.FreeJoint("free", model.getGround(), block))
    model.finalizeConnections()
    model.printToXML(str(tmp_path / "block.osim"))
    names = [f"free_coord_{i}" for i in range(6)]
    write_storage(tmp_path / "q.mot", TIME, np.zeros((len(TIME), 6)), names, in_degrees=False)
    tool = osim.InverseDynamicsTool()
    tool.setModelFileName(str(tmp_path / "block.osim"))
    tool.setCoordinatesFileName(str(tmp_path / "q.mot"))
    tool.setExternalLoadsFileName(str(loads))
    tool.setStartTime(0.0)
    tool.setEndTime(0.4)
    tool.setResultsDir(str(tmp_path))
    tool.setOutputGenForceFileName("id.sto")
    assert tool.run()
    table = read_storage(tmp_path / "id.sto")
    found = dict(zip(table.names, table.values[len(table.time) // 2], strict=True))
    moment = np.cross(point, force) + torque
    weight = np.array([0.0, MASS_KG * GRAVITY, 0.0])
    np.testing.assert_allclose([found[f"free_coord_{i}_moment"] for i in range(3)], -moment, atol=1e-8)
    np.testing.assert_allclose([found[f"free_coord_{i}_force"] for i in (3, 4, 5)], weight - force, atol=1e-3)


def test_a_document_as_opensim_3_wrote_it_is_read_and_switched_off_forces_are_left_out(tmp_path):
    (tmp_path / "plates.mot").write_text("data")
    path = tmp_path / "loads.xml"
    path.write_text(
        """<?xml version="1.0" encoding="UTF-8" ?>
<OpenSimDocument Version="30000"><ExternalLoads name="default"><objects>
<ExternalForce name="right"><isDisabled>false</isDisabled><applied_to_body> calcn_r </applied_to_body>
<force_expressed_in_body>ground</force_expressed_in_body><point_expressed_in_body>ground</point_expressed_in_body>
<force_identifier>R_ground_force_v</force_identifier><point_identifier>R_ground_force_p</point_identifier>
<torque_identifier>R_ground_torque_</torque_identifier><data_source_name>Unassigned</data_source_name></ExternalForce>
<ExternalForce name="left"><isDisabled>true</isDisabled><applied_to_body>calcn_l</applied_to_body>
<force_identifier>L_ground_force_v</force_identifier></ExternalForce>
</objects><groups/><datafile>plates.mot</datafile></ExternalLoads></OpenSimDocument>"""
    )
    loads = read_external_loads(path)
    assert loads.forces == (
        ExternalForce("right", "calcn_r", "R_ground_force_v", "R_ground_force_p", "R_ground_torque_"),
    )
    assert loads.forces[0].columns()[:3] == ("R_ground_force_vx", "R_ground_force_vy", "R_ground_force_vz")


FORCE = (
    "<ExternalForce name='f'><applied_to_body>b</applied_to_body><force_identifier>v</force_identifier></ExternalForce>"
)
DATA = "<datafile>grf.mot</datafile>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not an XML document"),
        ("time a b", "not an XML document"),
        ("<ExternalLoads><objects>", "not an XML document"),
        ("<?xml version='1.0' encoding='no-such'?><a/>", "not an XML document"),
        ("<OpenSimDocument><Model/></OpenSimDocument>", "no <ExternalLoads> as its first element"),
        (f"<ExternalLoads><objects>{FORCE}</objects></ExternalLoads>", "<datafile> is empty"),
        (f"<ExternalLoads>{FORCE}<datafile>no.mot</datafile></ExternalLoads>", "data file no.mot is not at"),
        ("<ExternalLoads><datafile>grf.mot</datafile></ExternalLoads>", "applies no <ExternalForce>"),
        (
            f"<ExternalLoads><objects>{FORCE.replace('>b<', '><')}</objects>{DATA}</ExternalLoads>",
            "force 'f' has no <applied_to_body>",
        ),
        (
            f"<ExternalLoads><objects>{FORCE.replace('>v<', '>Unassigned<')}</objects>{DATA}</ExternalLoads>",
            "force 'f' has no <force_identifier>",
        ),
    ],
)
def test_unusable_documents_are_refused_with_one_sentence(tmp_path, content, message):
    (tmp_path / "grf.mot").write_text("data")
    path = tmp_path / "loads.xml"
    path.write_text(content)
    with pytest.raises(ExternalLoadsError, match=message) as caught:
        read_external_loads(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_document_is_refused(tmp_path):
    with pytest.raises(ExternalLoadsError, match="cannot be read"):
        read_external_loads(tmp_path / "absent.xml")


@pytest.mark.usefixtures("unchecked_shapes")
def test_misuse_writes_nothing(tmp_path):
    zero = steady([0, 0, 0])
    with pytest.raises(StorageError, match="sides 'r' and 'l'"):
        write_ground_forces(tmp_path / "grf.mot", TIME, {"right": (zero, zero, zero)})
    with pytest.raises(StorageError, match=r"ground_force_l_p\* has shape \(50, 2\)"):
        write_ground_forces(tmp_path / "grf.mot", TIME, {"l": (zero, zero[:, :2], zero)})
    with pytest.raises(ExternalLoadsError, match="unique names"):
        write_external_loads(
            tmp_path / "loads.xml", "grf.mot", [*ground_forces({"r": "a"}), *ground_forces({"r": "b"})]
        )
    with pytest.raises(ExternalLoadsError, match="at least one force"):
        write_external_loads(tmp_path / "loads.xml", "grf.mot", [])
    assert not list(tmp_path.iterdir())
