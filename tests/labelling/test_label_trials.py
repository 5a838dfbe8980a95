import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from recordings import MODELS, motion_path
from small_models import biped, write_squat

from bige_opensim.io.opencap import find_sessions
from bige_opensim.labelling.label_trials import label_trials, requests_of
from bige_opensim.labelling.outcome import FAILED, PASSED, SKIPPED


def children() -> list[int]:
    """Processes that this one started to label trials."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == os.getpid() and b"worker_process" in command:
            found.append(int(path.parent.name))
    return found


def kill_children() -> list[int]:
    found = children()
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks up processes in /proc")


def partials(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*partial*")]


def test_good_trials_are_labelled_beside_a_bad_one_and_finished_ones_are_not_made_again(request_of, fast):
    good, bad = request_of("good"), request_of("bad")
    bad.motion.write_text("")
    steps = []
    outcomes = list(label_trials([good, bad], fast, jobs=2, progress=lambda *step: steps.append(step)))
    found = {o.trial: o for o in outcomes}
    assert found["good"].status == PASSED
    assert found["good"].labelled
    assert found["bad"].status == FAILED
    assert found["bad"].reason == f"{bad.motion}: the file is empty; export it again."
    assert not found["bad"].labelled
    assert {s[0] for s in steps} >= {"good"}
    assert (good.out / "label.json").is_file()
    assert not bad.out.exists()
    assert partials(good.out.parent) == []
    made = (good.out / "label.json").stat().st_mtime_ns
    (again,) = label_trials([good], fast, jobs=1)
    assert (again.status, again.seconds) == (PASSED, 0.0)
    assert (good.out / "label.json").stat().st_mtime_ns == made
    (other,) = label_trials([good], replace(fast, cutoff_hz=5.0), jobs=1)
    assert other.label["cutoff_hz"] == 5.0


@needs_proc
def test_a_trial_whose_process_is_killed_is_tried_again(request_of, fast):
    requests = [request_of(f"t{k}") for k in range(3)]
    killed = []

    def kill_once(trial: str, step: str, share: float) -> None:
        if trial == "t1" and not killed:
            killed.extend(kill_children())

    outcomes = {o.trial: o for o in label_trials(requests, fast, jobs=1, progress=kill_once)}
    assert len(killed) == 1
    assert {o.status for o in outcomes.values()} == {PASSED}
    assert [outcomes[f"t{k}"].tries for k in range(3)] == [1, 2, 1]
    assert partials(requests[0].out.parent) == []


@needs_proc
def test_a_trial_that_costs_every_process_its_life_is_marked_and_leaves_nothing(request_of, fast):
    victim, other = request_of("victim"), request_of("other")
    killed = []

    def kill(trial: str, step: str, share: float) -> None:
        if trial == "victim" and step == "reading":
            killed.extend(kill_children())

    outcomes = {o.trial: o for o in label_trials([victim, other], fast, jobs=1, progress=kill)}
    assert len(killed) == 2
    assert (outcomes["victim"].status, outcomes["victim"].tries) == (FAILED, 2)
    assert str(victim.motion) in outcomes["victim"].reason
    assert "exit code -9" in outcomes["victim"].reason
    assert outcomes["other"].status == PASSED
    assert not victim.out.exists()
    assert partials(victim.out.parent) == []


def test_a_trial_that_takes_too_long_is_stopped_and_marked(request_of, fast):
    request = request_of()
    (outcome,) = label_trials([request], fast, jobs=1, timeout_s=0.01)
    assert (outcome.status, outcome.tries) == (FAILED, 1)
    assert str(request.motion) in outcome.reason
    assert "stopped after 0 s" in outcome.reason
    assert not request.out.exists()


def test_a_trial_that_takes_too_much_memory_is_stopped_and_marked(request_of, fast):
    request = request_of()
    (outcome,) = label_trials([request], fast, jobs=1, memory_bytes=10**8)
    assert (outcome.status, outcome.tries) == (FAILED, 1)
    assert "stopped above 0.1 GB of memory" in outcome.reason
    assert not request.out.exists()


def test_leaving_early_stops_the_workers(request_of, fast):
    requests = [request_of(f"t{k}") for k in range(3)]
    run = label_trials(requests, fast, jobs=1)
    next(run)
    run.close()
    assert children() == [] or not Path("/proc/self/stat").exists()
    assert partials(requests[0].out.parent) == []


def session(folder: Path, model: Path | None) -> Path:
    kinematics = folder / "OpenSimData" / "Kinematics"
    kinematics.mkdir(parents=True)
    (folder / "MarkerData").mkdir()
    (folder / "MarkerData" / "only_markers.trc").write_text("PathFileType 4\n")
    (folder / "sessionMetadata.yaml").write_text("subjectID: anna\nmass_kg: 70\nheight_m: 1.7\n")
    if model is not None:
        (folder / "OpenSimData" / "Model").mkdir()
        shutil.copy(model, folder / "OpenSimData" / "Model" / "biped_scaled.osim")
        write_squat(model, kinematics / "squat.mot")
    else:
        (kinematics / "squat.mot").write_text("whatever")
    return folder


def test_trials_of_sessions_become_requests_or_say_why_not(tmp_path):
    session(tmp_path / "data" / "with", biped(tmp_path / "biped.osim"))
    session(tmp_path / "data" / "without", None)
    requests, rejected = requests_of(find_sessions([tmp_path / "data"]), tmp_path / "out")
    assert [(r.session, r.trial, r.subject) for r in requests] == [("with", "squat", "anna")]
    assert requests[0].out == tmp_path / "out" / "with" / "squat"
    assert requests[0].model_folder == tmp_path / "out" / "with"
    why = {(o.session, o.trial): o for o in rejected}
    assert why["with", "only_markers"].status == SKIPPED
    assert "run inverse kinematics first" in why["with", "only_markers"].reason
    assert why["without", "squat"].status == FAILED
    assert "no .osim model; add the subject's scaled model" in why["without", "squat"].reason
    assert why["without", "squat"].reason.startswith(str(tmp_path / "data" / "without"))


def test_sessions_of_real_recordings_become_requests_for_every_trial_with_coordinates(shared_data, tmp_path):
    requests, rejected = requests_of(find_sessions([shared_data / "data" / "opencap_lab"]), tmp_path)
    assert {r.trial for r in requests if "subject6" in r.session} == {
        "squats1",
        "squatsAsym1",
        "STS1",
        "STSAsym1",
        "DJ1",
        "walking1",
    }
    assert {r.model for r in requests if "phone01" in r.session} == {shared_data / MODELS["phone01"]}
    assert motion_path(shared_data, "subject2", "squats1") in {r.motion for r in requests}
    assert {o.status for o in rejected} == {SKIPPED}
