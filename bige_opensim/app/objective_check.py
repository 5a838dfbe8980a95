"""An objective on its way between sliders and text: read, held against a person's model, and put into words.

Runs in a process beside the server, because models and OpenSim are large and may crash.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from bige_opensim.guidance.language import ObjectiveError, check_document
from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.objective_text import objective_text
from bige_opensim.io.toml_lines import TomlLines
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.messages import only_errors
from bige_opensim.osim.model import ModelError, OsimModel, load
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.reporting.wording import describe, target_text
from bige_opensim.workflows.objectives import bind_to_model

LONGEST_TEXT = 50_000
SOURCE = "objective.toml"


def checked(asked: dict[str, Any], model: str) -> dict[str, Any]:
    """What is said of an objective, given as text (`toml`) or as the table that such a text holds (`content`).

    ok; error and key where it is not; toml and content in the package's own form; words: what each term measures and
    asks, in which unit, and whether it must be met.
    """
    only_errors()
    try:
        objective = _read(asked)
        found = {"toml": objective_text(objective), "content": tomllib.loads(objective_text(objective))}
        person, skeleton = _model(model)
        bound = bind_to_model(objective, person, skeleton)
    except (ObjectiveError, ModelError) as error:
        return {"ok": False, "error": str(error), "key": getattr(error, "key", "")}
    required = {t.name for t in bound.verdict_terms}
    words = [
        {
            "name": t.name,
            "measures": describe(t),
            "asks": target_text(t),
            "required": t.name in required,
            "unit": t.measured.unit,
        }
        for t in bound.terms
    ]
    return {"ok": True, "words": words, **found}


def _read(asked: dict[str, Any]) -> Objective:
    content, text = asked.get("content"), asked.get("toml")
    if isinstance(content, dict):
        return Objective.from_dict(content, source="objective")
    if not isinstance(text, str) or len(text) > LONGEST_TEXT:
        raise ObjectiveError(f"an objective is a text of up to {LONGEST_TEXT} characters")
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ObjectiveError(f"{SOURCE}: not TOML ({error}).") from error
    found = check_document(table, source=SOURCE, lines=TomlLines(text))
    return Objective(found.name, found.terms, found.settings, found.description, SOURCE, found.cost)


@lru_cache(maxsize=4)
def _model(path: str) -> tuple[OsimModel, Skeleton]:
    return load(Path(path)), Skeleton(compile_skeleton(Path(path)))
