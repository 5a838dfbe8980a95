"""Whoever wants a motion confirmed without OpenSim: what they do to the files is found, and said."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import opensim
import pytest
from small_models import squat

from bige_opensim.cli import app
from bige_opensim.io.storage import read_coordinates, read_storage, write_coordinates, write_storage
from bige_opensim.labelling import deciding_frames
from bige_opensim.motion import Motion
from bige_opensim.osim.model import load
from bige_opensim.osim.static_optimization import run_setup
from bige_opensim.validation.generated_folder import GeneratedFolder
from bige_opensim.validation.roundtrip import CONTRADICTED, NOT_CONFIRMED, validate
from bige_opensim.workflows.validate import verdict_line

Held = Callable[[str], str]
NAME = "motion_01"


def certificate(folder: Path, name: str = NAME) -> dict:
    return json.loads((folder / name / "certificate.json").read_text(encoding="utf-8"))


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def edit_certificate(folder: Path, change: Callable[[dict], None]) -> None:
    edit_json(folder / NAME / "certificate.json", change)


def write_motion(folder: Path, motion: Motion) -> None:
    write_coordinates(folder / f"{NAME}.mot", motion, rotational=load(folder / "model.osim").rotational)


def edit_table(path: Path, columns: Callable[[str], bool], change: Callable[[np.ndarray], np.ndarray]) -> None:
    table = read_storage(path)
    values = table.values.copy()
    at = [i for i, n in enumerate(table.names) if columns(n)]
    values[:, at] = change(values[:, at])
    write_storage(path, table.time, values, table.names, in_degrees=table.in_degrees is True)


def rehash(folder: Path) -> None:
    """Write a certificate that agrees with the files as they are now, as a careful forger would."""
    made = GeneratedFolder(folder).certify(NAME)
    (folder / NAME / "certificate.json").write_text(json.dumps(made.as_dict()), encoding="utf-8")


def claims_success(content: dict) -> None:
    content["confirmed"] = content["satisfied"] = True
    content["terms"]["vastus medialis peak"]["simulated"] = 0.40


def lowered(values: np.ndarray) -> np.ndarray:
    return np.minimum(values, 0.8 * values.max())


def is_vastus(name: str) -> bool:
    return "vasmed" in name


def edit_activations(folder: Path) -> None:
    edit_table(folder / NAME / "activations.sto", is_vastus, lowered)


def edit_activations_everywhere(folder: Path) -> None:
    """activations.sto, states.sto and the peaks of label.json, and a certificate with all the new hashes."""
    edit_activations(folder)
    edit_table(folder / NAME / "states.sto", lambda n: is_vastus(n) and n.endswith("activation"), lowered)
    peaks = read_storage(folder / NAME / "activations.sto")

    def change(label: dict) -> None:
        label["peaks"] = {n: float(v) for n, v in zip(peaks.names, peaks.values.max(0), strict=True)}

    edit_json(folder / NAME / "label.json", change)
    rehash(folder)


def edit_activations_and_their_hash(folder: Path) -> None:
    edit_activations(folder)
    rehash(folder)


def edit_forces_everywhere(folder: Path) -> None:
    edit_table(folder / NAME / "grf.mot", lambda n: "force" in n and "_v" in n, lambda v: 0.8 * v)
    rehash(folder)


def share_forces_otherwise(folder: Path) -> None:
    """A fifth of the right foot's load moves to the left foot, and moments and activations follow it in truth."""
    moved = {}

    def take(values: np.ndarray) -> np.ndarray:
        moved["n"] = 0.2 * values
        return 0.8 * values

    table = folder / NAME / "grf.mot"
    edit_table(table, lambda n: n == "ground_force_r_vy", take)
    edit_table(table, lambda n: n == "ground_force_l_vy", lambda v: v + moved["n"])
    found = run_setup(folder / NAME / "setup_static_optimization.xml").activations
    write_storage(folder / NAME / "activations.sto", found.time, found.values, found.names, in_degrees=False)
    rehash(folder)


def edit_moments_everywhere(folder: Path) -> None:
    edit_table(folder / NAME / "inverse_dynamics.sto", lambda n: "knee" in n, lambda v: 0.7 * v)
    rehash(folder)


def edit_coordinates_everywhere(folder: Path) -> None:
    edit_table(folder / NAME / "coordinates.mot", lambda n: "knee" in n, lambda v: v + 3.0)
    rehash(folder)


def pass_all_gates(folder: Path) -> None:
    def change(label: dict) -> None:
        label["gates"]["residual_force"]["value"] = 0.0
        label["gates"]["residual_force"]["limit"] = 1e-3

    edit_json(folder / NAME / "label.json", change)
    rehash(folder)


def call_every_frame_unsolved(folder: Path) -> None:
    edit_activations_everywhere(folder)
    edit_json(folder / NAME / "label.json", lambda label: label.update(frames_solved=0))
    rehash(folder)


def fail_and_say_passed(folder: Path) -> None:
    edit_json(folder / NAME / "label.json", lambda label: label["gates"]["reserves"].update(value=50.0))
    rehash(folder)


def strengthen_model(folder: Path) -> None:
    model = opensim.Model(str(folder / "model.osim"))
    model.initSystem()
    for i in range(model.getMuscles().getSize()):
        muscle = model.updMuscles().get(i)
        muscle.setMaxIsometricForce(2.0 * muscle.getMaxIsometricForce())
    model.printToXML(str(folder / "model.osim"))


def strengthen_model_everywhere(folder: Path) -> None:
    strengthen_model(folder)
    sha = hashlib.sha256((folder / "model.osim").read_bytes()).hexdigest()
    edit_json(folder / NAME / "label.json", lambda label: label["provenance"].update(model_sha256=sha))
    edit_json(folder / "generation.json", lambda record: record["provenance"].update(model_sha256=sha))
    rehash(folder)


def swap_certificates(folder: Path) -> None:
    one, other = (folder / name / "certificate.json" for name in ("motion_01", "motion_02"))
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def loosen(folder: Path) -> None:
    path = folder / "objective.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("0.60", "0.95"), encoding="utf-8")


def loosen_everywhere(folder: Path) -> None:
    loosen(folder)
    rehash(folder)


def replace_motion(folder: Path) -> None:
    shutil.copyfile(folder / "motion_02.mot", folder / "motion_01.mot")


def drop_a_hash(folder: Path) -> None:
    edit_activations(folder)
    rehash(folder)
    edit_certificate(folder, lambda c: c["files"].pop(f"{NAME}/activations.sto"))


def edit_record(folder: Path, **fields: object) -> None:
    """The record of whose frames they are, and a certificate that agrees with it."""
    edit_json(folder / NAME / "label.json", lambda label: label["shared_frames"].update(fields))
    rehash(folder)


def claim_fewer_frames(folder: Path) -> None:
    label = json.loads((folder / NAME / "label.json").read_text(encoding="utf-8"))
    drawn = label["shared_frames"]["audit"]["opensim"]
    edit_record(folder, opensim=drawn, frames=len(drawn.split()))


def draw_frames_by_hand(folder: Path) -> None:
    edit_record(folder, opensim="0-39", frames=40, audit={"opensim": "1 2 3 4", "max": 0.0})


def claim_frames_beyond_the_end(folder: Path) -> None:
    edit_json(folder / NAME / "label.json", lambda label: label["shared_frames"].update(opensim="0-99"))


def edit_frames_of_the_fast_solver(folder: Path) -> None:
    """By less than OpenSim and the fast solver may differ by, where OpenSim has not solved."""
    label = json.loads((folder / NAME / "label.json").read_text(encoding="utf-8"))
    others = np.setdiff1d(np.arange(40), deciding_frames.rows_of(label["shared_frames"]["opensim"]))

    def change(values: np.ndarray) -> np.ndarray:
        values[others] = np.maximum(values[others] - 0.02, 0.01)
        return values

    edit_table(folder / NAME / "activations.sto", is_vastus, change)
    edit_table(folder / NAME / "states.sto", lambda n: is_vastus(n) and n.endswith("activation"), change)
    rehash(folder)


ATTACKS = [
    (lambda f: edit_certificate(f, claims_success), "certificate.json says terms.vastus medialis peak.simulated 0.4;"),
    (edit_activations, "motion_01/activations.sto was changed after the certificate was made"),
    (edit_activations_and_their_hash, "states.sto and activations.sto hold different activations"),
    (edit_activations_everywhere, "activations.sto does not explain the motion: vasmed"),
    (claim_fewer_frames, "OpenSim has not solved all frames that decide vastus medialis peak"),
    (draw_frames_by_hand, "label.json has other audited frames than the motion's hash draws"),
    (lambda f: edit_record(f, margin=1e-4), "label.json has a margin of 0.0001, less than"),
    (lambda f: edit_record(f, frames=39), "label.json miscounts the frames that OpenSim solved"),
    (claim_frames_beyond_the_end, "OpenSim's files of this motion cannot be read"),
    (edit_frames_of_the_fast_solver, "activations.sto does not explain the motion: vasmed"),
    (edit_forces_everywhere, "inverse_dynamics.sto is not what coordinates.mot and grf.mot give"),
    (share_forces_otherwise, "grf.mot is not the ground force that explains the motion with least effort"),
    (edit_moments_everywhere, "inverse_dynamics.sto is not what coordinates.mot and grf.mot give"),
    (edit_coordinates_everywhere, "differ from motion_01.mot by 3°"),
    (pass_all_gates, "label.json says residual_force 0"),
    (call_every_frame_unsolved, "label.json counts 40 unsolved frames of 40; its gate says 0 %"),
    (fail_and_say_passed, "label.json says passed, its gates say otherwise"),
    (replace_motion, "motion_01.mot was changed after the certificate was made"),
    (swap_certificates, "certificate.json is that of motion_02"),
    (loosen, "objective.toml was changed after the certificate was made"),
    (loosen_everywhere, "objective.toml asks for other goals than the search did"),
    (strengthen_model, "model.osim was changed after the certificate was made"),
    (strengthen_model_everywhere, "activations.sto does not explain the motion"),
    (lambda f: (f / NAME / "activations.sto").unlink(), "motion_01/activations.sto is missing"),
    (lambda f: (f / NAME / "label.json").write_text("{"), "OpenSim's files of this motion cannot be read"),
    (lambda f: (f / NAME / "certificate.json").write_text("[1]"), "certificate.json is no certificate"),
    (lambda f: edit_certificate(f, lambda c: c.pop("terms")), "certificate.json is no certificate"),
    (drop_a_hash, "does not say from which motion_01/activations.sto it was made"),
    (lambda f: edit_certificate(f, lambda c: c["nearest_training_motion"].update(novelty=3.0)), "novelty 3"),
    (lambda f: edit_certificate(f, lambda c: c["motion_gates"]["balance"].update(limit=1e9)), "balance.limit"),
]
IDS = [
    "certificate", "activations", "activations and hash", "activations everywhere", "fewer frames",
    "drawn by hand", "small margin", "miscounted", "frames beyond the end", "fast frames", "forces", "shared forces",
    "moments", "coordinates", "gates", "unsolved", "verdict", "motion", "swapped", "objective",
    "objective everywhere", "model", "model everywhere", "missing file", "broken label", "no certificate", "no terms",
    "hash dropped", "novelty", "limit",
]  # fmt: skip


def test_an_untouched_folder_contradicts_nothing(folder: Path, held: Held):
    assert held("motion_01") == held("motion_02") == ""
    assert GeneratedFolder(folder).hold(NAME).confirmed


@pytest.mark.parametrize(("attack", "said"), ATTACKS, ids=IDS)
def test_tampering_is_found_and_the_motion_is_not_confirmed(
    folder: Path, held: Held, attack: Callable[[Path], object], said: str
):
    attack(folder)
    assert said in held(NAME)
    assert not GeneratedFolder(folder).hold(NAME).confirmed


def test_report_summary_and_command_say_what_contradicts(folder: Path, capsys: pytest.CaptureFixture[str]):
    edit_certificate(folder, claims_success)
    assert app(["report", str(folder)], result_action="return_value") == 1
    said = "certificate.json says terms.vastus medialis peak.simulated 0.4;"
    assert f"contradiction: motion_01: {said}" in capsys.readouterr().out
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert said in page
    assert '<div class="big">1 of 2</div>' in page
    rows = rows_of(folder)
    assert [r["confirmed"] for r in rows] == ["False", "True"]
    assert rows[0]["verdict"] == CONTRADICTED
    assert said in rows[0]["contradictions"]
    assert float(rows[0]["vastus medialis peak simulated"]) < 0.35


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_an_edited_summary_is_contradicted_by_the_certificates(folder: Path, capsys: pytest.CaptureFixture[str]):
    simulated = rows_of(folder)[0]["vastus medialis peak simulated"]
    path = folder / "summary.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(simulated, "0.4"), encoding="utf-8")
    assert app(["report", str(folder)], result_action="return_value") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert f"motion_01: summary.csv says vastus medialis peak simulated 0.4; it is {simulated}." in out
    assert rows_of(folder)[0]["vastus medialis peak simulated"] == simulated


def test_a_certificate_of_an_earlier_version_is_read_and_cannot_be_checked(folder: Path):
    def older(content: dict) -> None:
        for key in ("files", "motion_gates", "notes"):
            del content[key]
        content["format"] = "bige-certificate/1"

    edit_certificate(folder, older)
    found = GeneratedFolder(folder).hold(NAME)
    assert found.certificate is not None
    assert not found.confirmed
    assert found.certificate.confirmed
    assert app(["report", str(folder)], result_action="return_value") == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "not checkable" in page
    assert '<div class="big">1 of 2</div>' in page
    assert "does not say from which files it was made" in page


@pytest.mark.parametrize("keep_certificate", [True, False], ids=["with its certificate", "without"])
def test_edited_activations_are_not_laundered_by_validating_again(folder: Path, keep_certificate: bool):
    before = read_storage(folder / NAME / "activations.sto").values
    edit_activations_everywhere(folder)
    if not keep_certificate:
        (folder / NAME / "certificate.json").unlink()
    verdicts = {v.name: v for v in validate(folder, jobs=1)}
    assert "activations.sto does not explain the motion" in verdicts[NAME].again
    assert verdicts[NAME].reason == "all quality gates passed"
    assert "Simulated again: activations.sto does not explain" in verdict_line(verdicts[NAME])
    assert verdicts[NAME].confirmed
    np.testing.assert_allclose(read_storage(folder / NAME / "activations.sto").values, before, atol=1e-6)
    assert verdicts["motion_02"].reason == "all quality gates passed"


def test_validating_again_judges_by_the_files_of_now(folder: Path):
    loosen(folder)
    replaced = squat(folder / "model.osim", frames=40, rate_hz=30.0, depth=0.6)
    write_motion(folder, replaced)
    before = certificate(folder)["terms"]["vastus medialis peak"]["simulated"]
    other = (folder / "motion_02/label.json").stat().st_mtime_ns
    verdicts = {v.name: v for v in validate(folder, jobs=1)}
    now = certificate(folder)["terms"]["vastus medialis peak"]
    assert now["target"] == "between 0.02 and 0.95"
    assert now["simulated"] < 0.9 * before
    assert (folder / "motion_02/label.json").stat().st_mtime_ns == other
    assert "other goals than the search did" in verdicts[NAME].contradictions[0]
    assert not any(v.confirmed for v in verdicts.values())
    assert "other goals" in rows_of(folder)[0]["contradictions"]


def test_a_motion_put_in_place_of_a_generated_one_has_neither_its_prediction_nor_its_novelty(folder: Path):
    write_motion(folder, squat(folder / "model.osim", frames=40, rate_hz=30.0, depth=0.9))
    made = {v.name: v for v in validate(folder, jobs=1)}[NAME].certificate
    assert made is not None
    assert made.nearest_training_motion is None
    assert made.surrogate_gap is None
    assert made.terms["vastus medialis peak"].predicted is None
    assert "not the one that the search wrote" in made.notes[0]
    assert "not the one that the search wrote" in rows_of(folder)[0]["notes"]


def test_a_motion_that_fails_now_keeps_no_certificate_of_before(folder: Path):
    (folder / f"{NAME}.mot").write_text("no motion")
    assert {v.name: v for v in validate(folder, jobs=1)}[NAME].certificate is None
    assert not (folder / NAME / "certificate.json").exists()


def test_a_body_that_floats_or_is_buried_can_be_simulated_and_is_not_confirmed(folder: Path):
    rotational = load(folder / "model.osim").rotational
    for name, height in (("motion_01", 5.0), ("motion_02", -1.5)):
        motion = read_coordinates(folder / f"{name}.mot", rotational=rotational).motion
        values = motion.values.copy()
        values[:, motion.index("pelvis_ty")] += height
        write_coordinates(folder / f"{name}.mot", motion.with_values(values), rotational=rotational)
    floating, buried = sorted(validate(folder, jobs=1), key=lambda v: v.name)
    for verdict, gate in ((floating, "floating"), (buried, "penetration")):
        assert verdict.certificate is not None
        assert all(g["passed"] for g in verdict.certificate.gates.values())
        assert verdict.certificate.satisfied
        assert verdict.status == NOT_CONFIRMED
        failed = {name for name, g in verdict.certificate.motion_gates.items() if not g.satisfied}
        assert failed == {gate, "ground_height"}


def test_a_validated_folder_may_be_moved(folder: Path, tmp_path: Path):
    moved = folder.rename(tmp_path / "elsewhere")
    assert GeneratedFolder(moved).hold(NAME).confirmed


def test_gates_are_part_of_the_verdict(folder: Path):
    made = GeneratedFolder(folder).certify(NAME)
    for name, gate in made.motion_gates.items():
        broken = replace(gate, value=gate.limit + 1e-6)
        assert not replace(made, motion_gates=made.motion_gates | {name: broken}).confirmed
    assert made.confirmed
