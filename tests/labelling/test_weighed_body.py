"""Masses are fitted to what plates carry, once per person, within a bound, and never the load that was weighed."""

from dataclasses import replace

import pytest
from small_models import BIPED_MASS_KG

from bige_opensim.labelling.label_trial import label_in_memory, label_into_folder
from bige_opensim.labelling.person_body import _weighed
from bige_opensim.osim.adjusted_model import write_adjusted_model
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.carried_loads import parse_loads


@pytest.mark.parametrize(("said", "factor"), [(1.005, 1.0), (0.95, 0.95), (1.08, 1.08), (1.2, 1.0)])
def test_masses_follow_the_plates_between_a_hundredth_and_a_tenth(said, factor):
    assert _weighed([(said * 4.0, 4.0), (said * 9.0, 9.0)]) == pytest.approx(factor)
    assert _weighed([]) == 1.0


def test_a_model_that_is_too_light_is_weighed_by_the_plates_and_passes_more(request_of, fast, tmp_path):
    """Plates are those of the biped itself with its load; the model to be labelled is 6 % lighter."""
    request, settings = request_of(), replace(fast, cutoff_hz=0.0, load=parse_loads(["20kg@pelvis"]))
    label_into_folder(request, settings)
    tables = compile_skeleton(request.model, cache=False)
    light = replace(tables, mass=tables.mass / 1.06, inertia=tables.inertia / 1.06)
    model = write_adjusted_model(request.model, tmp_path / "light.osim", light)
    measured = replace(settings, grf="measured")
    again = replace(request, model=model, out=tmp_path / "again", model_folder=tmp_path, forces=request.out / "grf.mot")
    plain, weighed = (label_in_memory(again, replace(measured, residual_reduction=on)) for on in (False, True))
    said = weighed.record["residual_reduction"]
    assert said["weighed"] == pytest.approx(1.06, abs=0.01)
    assert said["applied"]
    assert weighed.adjusted_model is not None
    assert weighed.record["joint_loads"]["weight_n"] == pytest.approx(BIPED_MASS_KG * 9.80665, rel=0.01)
    assert any("masses were fitted" in f["remedy"].lower() for f in weighed.record["preflight"])
    assert weighed.gates["residual_force"].value < 0.5 * plain.gates["residual_force"].value
    assert [entry["mass_kg"] for entry in weighed.record["load"]] == [20.0]
