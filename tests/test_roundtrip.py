"""The whole chain, shortened, on a real recording: label, dataset, train, generate, validate by OpenSim."""

import csv
import json
from pathlib import Path

import pytest
from certificate_checks import assert_certificate_says_what_opensim_wrote

from bige_opensim.cli import app
from bige_opensim.validation.generated_folder import GeneratedFolder
from bige_opensim.validation.roundtrip import validate

SESSION = "data/opencap_lab/OpenCapData_subject6"


def run(*arguments: object) -> int:
    return app([str(a) for a in arguments], result_action="return_value") or 0


@pytest.fixture(scope="module")
def chain(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything up to the search, in a folder: labels, reps.nc, surrogate, generator, motions."""
    folder = tmp_path_factory.mktemp("chain")
    session = shared_data / SESSION
    model = next((session / "OpenSimData/Model").glob("*.osim"))
    motion = session / "OpenSimData/Kinematics/squats1.mot"
    label = ("label", "--model", model, "--motion", motion, "--out", folder / "labels/squats1")
    assert run(*label, "--solver", "fast", "--audit", "0.01") == 0
    assert run("dataset", folder / "labels", "--out", folder / "reps.nc") == 0
    for network in ("surrogate", "generator"):
        data = ("--data", folder / "reps.nc", "--out", folder / network)
        assert run("train", network, *data, "--epochs", 4) == 0
    objective = Path(__file__).parents[1] / "pipelines/objectives/vasti_35_45.toml"
    networks = ("--generator", folder / "generator", "--surrogate", folder / "surrogate")
    search = ("--objective", objective, "--model", model, "-n", 2, "--iterations", 3, "--rehearsals", 1)
    assert run("generate", *networks, *search, "--out", folder / "motions") == 0
    return folder


def test_fast_labels_are_audited_by_opensim(chain: Path) -> None:
    label = json.loads((chain / "labels/squats1/label.json").read_text())
    assert label["status"] == "passed"
    assert label["audit"]["frames"] >= 10
    assert label["audit"]["rmse"] <= 0.005
    assert label["audit"]["max"] <= 0.06


def test_generation_leaves_motions_model_objective_and_record(chain: Path) -> None:
    folder = chain / "motions"
    record = json.loads((folder / "generation.json").read_text())
    assert [m["name"] for m in record["motions"]] == ["motion_01", "motion_02"]
    assert {p.name for p in folder.glob("*.mot")} == {"motion_01.mot", "motion_02.mot"}
    assert (folder / "model.osim").is_file()
    assert (folder / "objective.toml").is_file()
    assert all(m["nearest_training_motion"]["distance"] > 0 for m in record["motions"])


def test_the_round_trip_gives_every_motion_a_certificate_decided_by_opensim(chain: Path) -> None:
    folder = chain / "motions"
    (folder / "motion_02.mot").unlink(missing_ok=True)
    verdicts = list(validate(folder, jobs=1))
    assert [v.name for v in verdicts] == ["motion_01"]
    confirmed = assert_certificate_says_what_opensim_wrote(folder, "motion_01")
    assert verdicts[0].confirmed is confirmed
    simulated = verdicts[0].certificate.terms["vastus medialis peak"].simulated
    with (folder / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["name"], r["confirmed"]) for r in rows] == [("motion_01", str(confirmed))]
    assert float(rows[0]["vastus medialis peak simulated"]) == pytest.approx(simulated, rel=1e-3)
    assert GeneratedFolder(folder).hold("motion_01").contradictions == ()


def test_a_second_validation_simulates_nothing_again(chain: Path) -> None:
    folder = chain / "motions"
    before = (folder / "motion_01/label.json").stat().st_mtime_ns
    list(validate(folder, jobs=1))
    assert (folder / "motion_01/label.json").stat().st_mtime_ns == before
