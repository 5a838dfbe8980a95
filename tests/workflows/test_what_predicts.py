"""What says how active muscles are in a search, where nobody chose it and where somebody did."""

import shutil
from pathlib import Path

import pytest

import bige_opensim as bige
from bige_opensim.built_in import BUILT_IN, MODEL, built_in
from bige_opensim.physics import native
from bige_opensim.workflows.alternatives import Case
from bige_opensim.workflows.objectives import objective_file
from bige_opensim.workflows.train import folder_of

SHORT = {"count": 1, "iterations": 2, "rehearsals": 0}


@pytest.fixture(scope="module")
def own_surrogate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network that comes with the package, as if it were somebody's own."""
    return Path(shutil.copytree(folder_of(BUILT_IN, "surrogate"), tmp_path_factory.mktemp("own") / "surrogate"))


def asked(**chosen: object) -> str:
    found = bige.generate("vasti_35_45", model=built_in(MODEL), **SHORT, **chosen)
    assert set(found.record["motions"][0]["predicted"]) >= {"vastus medialis peak"}
    return str(found.record["predictor"])


def test_the_physics_does_where_it_is_compiled_and_no_surrogate_is_named(own_surrogate: Path) -> None:
    first = "physics" if native.library() is not None else "surrogate"
    assert asked() == first
    assert asked(surrogate=own_surrogate) == "surrogate"
    assert asked(refine=1) == "surrogate", "it is the surrogate that is refined"
    assert asked(predictor="surrogate") == "surrogate"


def test_without_a_compiler_the_physics_follows_the_surrogate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: None)
    assert asked() == "surrogate"
    assert asked(predictor="physics") == "surrogate, then physics"


def test_alternatives_know_the_muscles_of_the_person_whom_they_search_for() -> None:
    case = Case(
        objective_file("vasti_35_45"),
        built_in(MODEL),
        folder_of(BUILT_IN, "generator"),
        folder_of(BUILT_IN, "surrogate"),
        count=1,
    )
    assert case.search.mechanics is not None
    assert case.physics.throughout == (native.library() is not None)


def test_what_a_model_moves_and_the_surrogate_does_not_know_is_said(shared_data: Path) -> None:
    """The knees of this model adduct, which decides how its vasti share the load: they are off by half."""
    model = shared_data / "data/rajagopal_dls/final.osim"
    squat = bige.sample_motion().between(0.5, 2.5)
    (said,) = [s for s in bige.predict(squat, model=model).outside if "does not know" in s]
    assert "also move knee_adduction_r, knee_adduction_l, which" in said
    found = bige.generate("vasti_35_45", model=model, **SHORT, predictor="surrogate")
    assert said in found.record["notes"]
    if native.library() is not None:
        assert bige.generate("vasti_35_45", model=model, **SHORT).record["notes"] == []
