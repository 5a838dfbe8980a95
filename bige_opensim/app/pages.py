"""What pages show: the content of the work folder in words. Jinja escapes all of it but this package's own drawings."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bige_opensim.app.job_process import PROGRESS
from bige_opensim.app.job_queue import Job
from bige_opensim.app.places import NotHereError, PersonFolder, read_json
from bige_opensim.app.uploads import TAKEN
from bige_opensim.built_in import built_in_objectives
from bige_opensim.guidance.language import BOUNDS, QUANTITIES, STATS

SENTENCES = {
    400: "That could not be understood. Go back, and try again.",
    403: "This is not allowed.",
    404: "There is nothing here: it was deleted, or belongs to somebody else.",
    405: "This is not possible.",
    413: "That is more than is taken at once.",
    421: "This server is not known by that name. Open it by the address that it printed when it started.",
}
STATES = {
    "waiting": "waiting", "running": "at work", "done": "done", "failed": "failed", "cancelled": "cancelled",
}  # fmt: skip
LABEL_STATES = {"passed": "passed", "gates_failed": "not passed", "failed": "failed"}
FIRST_CHOICE = "deep_squat"
QUANTITY_WORDS = {
    "activation": "Muscle activation", "coordinate": "Joint angle or position", "velocity": "Joint velocity",
    "asymmetry": "Difference of left and right", "moment": "Joint moment", "grf": "Ground force",
    "joint_load": "Joint load", "com_velocity": "Speed of the mass centre",
    "com_acceleration": "Acceleration of the mass centre", "foot_slide": "Sliding of the feet",
    "trunk_angle": "Lean of the trunk", "depth": "Depth", "duration": "Duration",
}  # fmt: skip
STAT_WORDS = {"peak": "largest", "min": "smallest", "mean": "mean", "range": "range", "rms": "average size"}
BOUND_WORDS = {
    "between": "between", "at_least": "at least", "at_most": "at most", "equals": "equal to",
    "minimise": "as small as possible", "maximise": "as large as possible",
}  # fmt: skip
UNIT_WORDS = {  # by unit of the objective language: the factor to what the page shows, and its unit there
    "1": (100, "%"), "deg": (1, "°"), "m": (100, "cm"), "deg/s": (1, "°/s"), "m/s": (1, "m/s"), "m/s^2": (1, "m/s²"),
    "N*m/kg": (1, "N·m/kg"), "BW": (1, "× body weight"), "s": (1, "s"),
}  # fmt: skip
SLIDERS = {  # by quantity and unit: lowest, highest, step, and a usual value, as the page shows them
    "activation": {"1": (0, 100, 1, 40)}, "coordinate": {"deg": (-120, 150, 1, 90), "m": (-100, 150, 1, 60)},
    "velocity": {"deg/s": (0, 600, 5, 200), "m/s": (0, 3, 0.05, 1)},
    "asymmetry": {"deg": (0, 30, 0.5, 5), "m": (0, 20, 0.5, 3), "1": (0, 50, 1, 5)},
    "moment": {"N*m/kg": (-4, 4, 0.05, 1)}, "grf": {"BW": (0, 4, 0.05, 1)}, "joint_load": {"BW": (0, 12, 0.1, 3)},
    "com_velocity": {"m/s": (0, 3, 0.05, 1)}, "com_acceleration": {"m/s^2": (0, 15, 0.1, 3)},
    "foot_slide": {"m/s": (0, 0.3, 0.005, 0.03)}, "trunk_angle": {"deg": (0, 90, 1, 45)},
    "depth": {"m": (0, 70, 1, 30)}, "duration": {"s": (0.5, 8, 0.1, 3)},
}  # fmt: skip


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("bige_opensim.app"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"state": STATES.__getitem__, "label_state": lambda s: LABEL_STATES.get(s, s), "when": when}
    return made


def render(template: str, **content: Any) -> str:
    """A page."""
    return _environment().get_template(template).render(**content)


def sentence(status: int) -> str:
    """What is said of an answer that is none."""
    return SENTENCES.get(status, "Something went wrong on the server. Try again; what is finished is kept.")


def when(seconds: float) -> str:
    """A day and time of this machine."""
    return datetime.fromtimestamp(seconds).strftime("%d %b %Y, %H:%M")


def latest(jobs: Sequence[Job], kind: str) -> Job | None:
    """The newest job of a kind."""
    return next((job for job in jobs if job.kind == kind), None)


def standing(person: PersonFolder, jobs: Sequence[Job]) -> str:
    """How far a person is, in a few words."""
    busy = next((job for job in jobs if not job.over), None)
    if busy is not None:
        return f"{busy.title}: {STATES[busy.state]}"
    content = person.content
    if content is None:
        return "files could not be used" if jobs else "no files yet"
    count, found = len(content["trials"]), len(searches(jobs))
    parts = [f"{count} recording{'s' * (count != 1)}"]
    parts += [f"{found} search{'es' * (found != 1)}"] if found else []
    return ", ".join(parts)


def searches(jobs: Sequence[Job]) -> list[Job]:
    """Jobs that make motions."""
    return [job for job in jobs if job.kind in ("search", "edit")]


def person_content(users: Path, person: PersonFolder, jobs: Sequence[Job]) -> dict[str, Any]:
    """Of the page of a person."""
    content, found = person.content, person.findings
    by_severity: dict[str, list[dict[str, Any]]] = {"error": [], "warning": [], "note": []}
    for finding in (found or {}).get("findings", []):
        by_severity.setdefault(str(finding["severity"]), []).append(finding)
    label = latest(jobs, "label")
    return {
        "person": person,
        "examine": latest(jobs, "examine"),
        "findings": None if found is None else by_severity,
        "content": content,
        "trials": [] if content is None else trials(users, person, content, jobs),
        "label": label,
        "labelled": label is not None and label.state == "done",
        "searches": searches(jobs),
    }


def trials(users: Path, person: PersonFolder, content: dict[str, Any], jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """All recordings, with what the newest finished labelling found of each."""
    found = {(t["session"], t["trial"]): t for t in _label_results(users, jobs)}
    return [
        trial | {"number": i, "result": found.get((trial["session"], trial["trial"]))}
        for i, trial in enumerate(content["trials"])
    ]


def _label_results(users: Path, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    done = next((job for job in jobs if job.kind == "label" and job.state == "done"), None)
    results = None if done is None else read_json(users / done.user / "jobs" / done.name / "results.json")
    return [] if results is None else list(results["trials"])


def recording_folder(person: PersonFolder, number: int) -> Path:
    """Folder of the label of a recording; NotHereError where there is no such recording."""
    content = person.content
    if content is None or number >= len(content["trials"]):
        raise NotHereError(str(number))
    trial = content["trials"][number]
    return person.labels / trial["session"] / trial["trial"]


def recording_content(users: Path, person: PersonFolder, number: int, jobs: Sequence[Job]) -> dict[str, Any]:
    """Of the page of a recording."""
    recording_folder(person, number)
    trial = trials(users, person, person.content or {}, jobs)[number]
    if trial["result"] is None:
        raise NotHereError(str(number))
    names = dict((person.content or {})["muscles"])
    peaks = sorted(trial["result"].get("peaks", {}).items(), key=lambda item: -item[1])
    top = [(names.get(name, name), round(100 * value)) for name, value in peaks[:10]]
    label = next(job for job in jobs if job.kind == "label" and job.state == "done")
    return {"person": person, "trial": trial, "result": trial["result"], "muscles": top, "job": label}


def ask_content(person: PersonFolder) -> dict[str, Any]:
    """Of the page on which motions are asked for."""
    content = person.content
    if content is None:
        raise NotHereError(person.identity)
    choices = {
        "muscles": content["muscles"], "coordinates": content["coordinates"], "quantities": QUANTITY_WORDS,
        "stats": {stat: STAT_WORDS[stat] for stat in STATS}, "bounds": {b: BOUND_WORDS[b] for b in BOUNDS},
        "sliders": SLIDERS, "units": UNIT_WORDS, "of": {name: quantity.of for name, quantity in QUANTITIES.items()},
    }  # fmt: skip
    return {
        "person": person, "library": _library(), "first": FIRST_CHOICE, "choices": choices, "trials": content["trials"],
    }  # fmt: skip


@cache
def _library() -> list[tuple[str, str, str]]:
    """File, name and description of the objectives that come with the package."""
    found = []
    for name, path in built_in_objectives().items():
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        found.append((name, str(table["name"]), str(table.get("description", ""))))
    return found


def job_content(folder: Path, job: Job, person: PersonFolder) -> dict[str, Any]:
    """Of the page of a job."""
    results = read_json(folder / "results.json") if job.state == "done" else None
    motions = [] if results is None else results.get("motions", [])
    for motion in motions:
        motion["views"] = [(text, Markup(svg)) for text, svg in motion["views"]]
    objective = folder / "objective.toml"
    return {
        "job": job,
        "person": person,
        "progress": read_json(folder / PROGRESS) or {},
        "motions": motions,
        "results": results or {},
        "toml": objective.read_text(encoding="utf-8") if objective.is_file() else "",
    }


ACCEPT = ",".join(TAKEN)
