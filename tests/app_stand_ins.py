"""Jobs of the app that do in a moment what the real ones take minutes for: `python -m app_stand_ins FOLDER`.

Each notes that it ran. A job's title of the form `hang`, `die` or `fail` in its settings says how it goes wrong.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bige_opensim.app.job_process import Progress, work
from bige_opensim.app.places import CONTENT, FINDINGS

RAN = "ran.txt"
SVG = '<svg class="strip" viewBox="0 0 100 40" role="img" aria-label="Figures"><path class="r" d="M5 5V35"/></svg>'
MUSCLES = [["vasmed_r", "vastus medialis, right"], ["vasmed_l", "vastus medialis, left"]]
COORDINATES = [["knee_angle_r", "knee flexion, right"], ["knee_angle_l", "knee flexion, left"]]


def examine(folder: Path, settings: dict[str, Any], progress: Progress) -> str:
    person = folder.parents[1] / "people" / settings["person"]
    trials = [{"session": "s1", "trial": "squats1", "motion": "s1/squats1.mot", "model": "s1/m.osim"}]
    content = {
        "model": "s1/m.osim", "subject": "one", "mass_kg": 70.0, "height_m": 1.7, "trials": trials, "muscles": MUSCLES,
        "coordinates": COORDINATES, "problems": [],
    }  # fmt: skip
    note = {"severity": "warning", "sentence": "<b>Arms</b> are <script>alert(1)</script> missing.", "remedy": "None."}
    findings = {"findings": [note | {"file": "s1/squats1.mot", "place": "arm_flex_r"}]}
    (person / CONTENT).write_text(json.dumps(content), encoding="utf-8")
    (person / FINDINGS).write_text(json.dumps(findings), encoding="utf-8")
    return "1 examined"


def label(folder: Path, settings: dict[str, Any], progress: Progress) -> str:
    gate = {"title": "Sliding", "meaning": "way of a foot", "value": "3 mm", "limit": "20 mm", "passed": True}
    trial = {"session": "s1", "trial": "squats1", "status": "passed", "reason": "", "gates": [gate]}
    results = {"trials": [trial | {"peaks": {"vasmed_r": 0.4, "vasmed_l": 0.39}}]}
    place = folder.parents[1] / "people" / settings["person"] / "labels" / "s1" / "squats1"
    place.mkdir(parents=True, exist_ok=True)
    (place / "view.html").write_text(scene(), encoding="utf-8")
    return _write(folder, results)


def search(folder: Path, settings: dict[str, Any], progress: Progress) -> str:
    (folder / "view.html").write_text(scene(), encoding="utf-8")
    (folder / "report.html").write_text("<h1>Report</h1>", encoding="utf-8")
    term = {"name": "<i>depth</i>", "target": "at least 30 cm", "required": True, "simulated": "31 cm", "met": True}
    motion = {
        "place": "1", "name": "motion_01", "status": "confirmed", "reason": "All goals are met.",
        "facts": [["Feet", "still"]], "terms": [term], "gates": [], "views": [["from the right side", SVG]],
    }  # fmt: skip
    return _write(folder, {"motions": [motion], "conflicts": [], "changes": [], "contradictions": []})


def _write(folder: Path, results: dict[str, Any]) -> str:
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (folder / "bundle.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    return "done by a stand-in"


def scene() -> str:
    """A page that the fixture made, or next to nothing."""
    made = os.environ.get("BIGE_TEST_SCENE")
    return Path(made).read_text(encoding="utf-8") if made else "<p>scene</p>"


def counted(task: Any) -> Any:
    """Note that a task ran to its end; before, wait or go wrong as its settings say."""

    def run(folder: Path, settings: dict[str, Any], progress: Progress) -> str:
        progress.begin("standing in", 10)
        way = settings.get("way", "")
        if way == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "fail":
            raise OSError(f"{folder / 'secret'} could not be read")
        (folder / "begun.txt").touch()
        wait = folder.parents[1] / "wait"
        while way == "hang" or wait.exists():
            time.sleep(0.02)
        message: str = task(folder, settings, progress)
        with (folder / RAN).open("a", encoding="utf-8") as file:
            file.write("ran\n")
        return message

    return run


TASKS = {"examine": counted(examine), "label": counted(label), "search": counted(search), "edit": counted(search)}

if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1]), TASKS, (OSError,))["state"] != "done")
