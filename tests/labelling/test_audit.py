"""OpenSim audits labels by session and model: pieces of trials agree with whole trials, and every label is told."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bige_opensim.io.storage import read_storage, write_storage
from bige_opensim.labelling import audit as module
from bige_opensim.labelling.audit import AuditedTrial, AuditSource, audit, draw
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_files import model_of
from bige_opensim.labelling.label_trials import label_trials
from bige_opensim.labelling.request import LabelSettings
from bige_opensim.labelling.single_frames import FrameSolver
from bige_opensim.labelling.status_table import audits_in_short, read_status, write_status
from bige_opensim.osim.model import load

AUDITED = LabelSettings(solver="fast", geometry="exact", audit=0.01)


def test_frames_are_drawn_evenly_over_trials_at_least_twenty_of_them():
    frames = [100, 7, 300, 250]
    drawn = draw(frames, 0.001)
    assert sum(map(len, drawn.values())) == 20
    assert {0, 2, 3} <= set(drawn)
    for trial, rows in drawn.items():
        assert (rows >= 0).all()
        assert (rows < frames[trial]).all()
        assert len(set(rows)) == len(rows)
        assert abs(len(rows) - 20 * frames[trial] / sum(frames)) < 2
    assert {k: v.tolist() for k, v in draw(frames, 0.001).items()} == {k: v.tolist() for k, v in drawn.items()}
    assert sum(map(len, draw(frames, 0.5).values())) == round(0.5 * sum(frames))
    assert draw([3, 2], 0.0)[0].tolist() == [0, 1, 2]


@pytest.fixture
def label(request_of, fast) -> Label:
    from bige_opensim.labelling.label_trial import label_into_folder

    return label_into_folder(request_of(), fast)[0]


def test_pieces_of_a_trial_are_solved_as_the_whole_trial_is_at_its_ends_too(label, tmp_path, monkeypatch):
    whole = label.channels.coordinates
    rows = np.array([0, 1, 17, 30, whole.frames - 2, whole.frames - 1])
    stripped = model_of(tmp_path / "labels" / "squat")
    pieces = module._pieces(AuditedTrial.of(label), rows)
    found = np.array([p.activations for p in pieces]) - module._differences(pieces, stripped)
    prepared = Prepared.of(whole, (0.0, ""), ())
    model = load(tmp_path / "biped.osim")
    folder = tmp_path / "labels" / "squat"
    expected, _ = FrameSolver(folder, model, "../model_static_optimization.osim", prepared).solve(whole.time[rows])
    assert_allclose(found, expected, atol=2e-5)
    monkeypatch.setattr(module, "CONTEXT", 2)
    near = module._pieces(AuditedTrial.of(label), rows)
    other = np.array([p.activations for p in near]) - module._differences(near, stripped)
    assert np.abs(other - expected).max() > 1e-3, "two neighbours would do: the pieces are longer than they need be"


def test_a_wrong_label_is_named_with_its_trial_muscle_and_time(label, tmp_path):
    right = AuditedTrial.of(label)
    values = right.activations.values.copy()
    values[:, 3] += 0.25
    wrong = replace(right, name="spoilt", activations=right.activations.with_values(values))
    sources = [AuditSource(60, lambda: right), AuditSource(60, lambda: wrong)]
    found = audit(sources, model_of(tmp_path / "labels" / "squat"), 0.01)
    assert (found["frames"], found["trials"], found["of_frames"], found["of_trials"]) == (20, 2, 120, 2)
    assert (found["trial"], found["muscle"]) == ("spoilt", right.activations.names[3])
    assert found["max"] == pytest.approx(0.25, abs=0.02)
    assert right.activations.time[0] <= found["time_s"] <= right.activations.time[-1]
    assert found["rmse"] == pytest.approx(0.25 * np.sqrt(0.5 / len(right.activations.names)), rel=0.2)


def test_every_label_of_a_session_carries_one_audit_and_a_killed_one_is_made_up_for(request_of, tmp_path):
    requests = [request_of(f"t{k}") for k in range(3)]
    other = replace(requests[2], session="s2", out=tmp_path / "more" / "t2", model_folder=tmp_path / "more")
    requests[2] = other
    outcomes = {o.trial: o for o in label_trials(requests, AUDITED, jobs=2)}
    notes = {r.trial: json.loads((r.out / "label.json").read_text())["audit"] for r in requests}
    assert notes["t0"] == notes["t1"]
    assert (notes["t0"]["of_trials"], notes["t0"]["trials"], notes["t2"]["of_trials"]) == (2, 2, 1)
    assert notes["t0"]["max"] < 0.02
    assert {t: o.label["audit"] for t, o in outcomes.items()} == notes
    rows = {r["trial"]: r for r in read_status(write_status(tmp_path, list(outcomes.values())))}
    assert rows["t0"]["audit_frames"] == "20"
    assert rows["t0"]["audit_worst"].split()[0] == notes["t0"]["trial"]
    assert "40 frames" in audits_in_short(outcomes.values())

    lost = requests[1].out / "label.json"
    record = json.loads(lost.read_text())
    del record["audit"]
    lost.write_text(json.dumps(record))
    made = [(r.out / "activations.sto").stat().st_mtime_ns for r in requests]
    again = {o.trial: o for o in label_trials(requests, AUDITED, jobs=1)}
    assert {o.this_run for o in again.values()} == {"skipped"}
    assert [(r.out / "activations.sto").stat().st_mtime_ns for r in requests] == made
    assert json.loads(lost.read_text())["audit"]["of_trials"] == 1
    assert again["t1"].label["audit"]["frames"] == 20
    assert again["t0"].label["audit"] == notes["t0"]


def test_an_audit_that_cannot_be_made_costs_no_label(request_of, monkeypatch, tmp_path):
    request = request_of()
    broken = tmp_path / "labels" / "model_static_optimization.osim"
    (done,) = label_trials([request], replace(AUDITED, audit=0.0), jobs=1)
    assert "audit" not in done.label
    broken.write_text("no model")
    record = request.out / "label.json"
    content = json.loads(record.read_text())
    content["provenance"]["fingerprint"] = json.loads(json.dumps(request.fingerprint(AUDITED)))
    record.write_text(json.dumps(content))
    (kept,) = label_trials([request], AUDITED, jobs=1)
    assert kept.labelled
    assert "failed" in kept.label["audit"]
    assert "audit" not in json.loads(record.read_text())
    assert "1 audit(s) failed" in audits_in_short([kept])


def test_labels_of_before_are_summed_up_too():
    from bige_opensim.labelling.outcome import Outcome

    old = {"frames": 10, "rmse": 0.001, "max": 0.02, "muscle": "soleus_r", "time_s": 1.5}
    outcome = Outcome("s1", "walk", "passed", "", label={"audit": old})
    assert audits_in_short([outcome]) == (
        "audit by OpenSim: 10 frames, activations within 0.0010 RMS, 0.020 at worst (soleus_r in s1/walk at 1.50 s)"
    )


def test_the_session_file_is_not_older_than_the_label_after_the_audit(request_of, tmp_path):
    request = replace(request_of(), sessions=(tmp_path / "session",))
    list(label_trials([request], AUDITED, jobs=1))
    placed = next((tmp_path / "session").rglob("*_so.mot"))
    assert placed.stat().st_mtime_ns >= (request.out / "label.json").stat().st_mtime_ns
    table = read_storage(placed)
    write_storage(tmp_path / "copy.mot", table.time, table.values, table.names, in_degrees=True)
    assert (tmp_path / "copy.mot").read_text().splitlines()[6:] == placed.read_text().splitlines()[6:]
