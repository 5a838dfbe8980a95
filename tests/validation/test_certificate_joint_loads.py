"""Joint loads in certificates: OpenSim's muscles decide them, and files that were changed are found."""

import json

import numpy as np
import pytest

from bige_opensim.io.storage import read_storage, write_storage
from bige_opensim.labelling.joint_loads import BORNE_BW
from bige_opensim.validation.certificate import Certificate
from bige_opensim.validation.generated_folder import GeneratedFolder

NAME = "motion_01"


def content(folder) -> dict:
    return json.loads((folder / NAME / "certificate.json").read_text())


def test_a_certificate_has_the_peaks_of_the_simulated_joint_loads(folder):
    loads = read_storage(folder / NAME / "joint_loads.sto")
    found = content(folder)["joint_loads"]
    assert set(found) == {f"{joint}_{side}" for joint in ("hip", "knee", "ankle") for side in "rl"}
    peak = loads.values[:, loads.names.index("knee_r_resultant_bw")]
    assert found["knee_r"]["peak_bw"] == pytest.approx(peak.max())
    assert found["knee_r"]["borne_bw"] == BORNE_BW["knee"]
    assert f"{NAME}/joint_loads.sto" in content(folder)["files"]


def test_joint_loads_that_the_muscles_do_not_give_are_found_even_with_a_new_certificate(folder):
    path = folder / NAME / "joint_loads.sto"
    table = read_storage(path)
    write_storage(path, table.time, 0.8 * table.values, table.names, in_degrees=False)
    generated = GeneratedFolder(folder)
    (folder / NAME / "certificate.json").write_text(json.dumps(generated.certify(NAME).as_dict()))
    held = GeneratedFolder(folder).hold(NAME)
    assert any("joint_loads.sto is off by" in text for text in held.contradictions)


def test_untouched_joint_loads_are_not_contradicted(folder):
    assert GeneratedFolder(folder).hold(NAME).contradictions == ()


def test_a_certificate_of_an_earlier_version_has_none(folder):
    made = content(folder)
    del made["joint_loads"]
    assert Certificate.from_dict(made).joint_loads is None
    assert "joint_loads" not in Certificate.from_dict(made).as_dict()


def test_a_term_on_joint_loads_is_decided_by_what_opensim_found(folder):
    path = folder / "objective.toml"
    path.write_text(
        path.read_text()
        + '\n[[term]]\nname = "knee load"\nquantity = "joint_load"\nof = ["knee_r"]\nstat = "peak"\nat_most = 0.1\n'
    )
    term = GeneratedFolder(folder).certify(NAME).terms["knee load"]
    loads = read_storage(folder / NAME / "joint_loads.sto")
    peak = np.max(loads.values[:, loads.names.index("knee_r_resultant_bw")])
    assert term.simulated == pytest.approx(float(peak))
    assert term.satisfied is False
    assert term.unit == "BW"
